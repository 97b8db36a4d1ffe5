# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTForPreTraining` and `MoTForMaskedLM`: what is hidden, what is predicted, and what the losses are made of.

What a call hides is read off the arguments of `encode_collected`; targets are then written out by hand, patch by patch
and frame by frame. Batches come from `helpers.make_inputs`, whose rows differ in padding and in the modalities they
have.
"""

import functools
import math

import pytest
import torch
from helpers import (
    ARCHITECTURES,
    FEATURE_INPUTS,
    FEATURE_SIZES,
    MASKS,
    MODALITIES,
    NUM_CHANNELS,
    NUM_MEL_BINS,
    PATCH_SIZE,
    RAW_INPUTS,
    SUBSETS,
    VOCAB_SIZE,
    batch_size_of,
    build,
    make_inputs,
    max_difference,
    poison,
    presence,
    run,
    subset_name,
    tiny_config,
    without,
)
from torch.nn import functional as F
from transformers import BertTokenizer, DataCollatorForLanguageModeling, Trainer, TrainingArguments

from mixture_of_transformers import MoTForMaskedLM, MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification
from mixture_of_transformers.contrastive_mot import Side, contrastive_loss
from mixture_of_transformers.head_pretraining_mot import draw_hidden
from mixture_of_transformers.loss_mot import IGNORED_LABEL

TOLERANCE = 1e-5
EXACT = 1e-6
SHARES = {"text": 0.15, "image": 0.6, "audio": 0.5}
CONTRASTIVE = ("contrastive/text-image", "contrastive/text-audio", "contrastive/image-audio")
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "red", "cat", "dog", "sings")

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
every_subset = pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
some_subset = pytest.mark.parametrize("subset", [("text",), ("image", "audio"), MODALITIES], ids=subset_name)
every_kind = pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
every_stem = pytest.mark.parametrize("stem", ["linear", "conv"])


def config_for(architecture="default", features=False, **overrides):
    """With spans of four frames, so that a short clip may show some and hide some."""
    overrides["audio_config"] = {"mask_span": 4} | (overrides.get("audio_config") or {})
    return tiny_config(architecture, features=features, **overrides)


def new_model(architecture="default", features=False, **overrides):
    return build(MoTForPreTraining, config_for(architecture, features, **overrides))


model_for = functools.cache(new_model)  # in eval mode, built once: tests read it and never change it


def run_seeded(model, inputs, seed=0, **options):
    """The output with the draws of a seed, and what was hidden: modality -> (B, N) bool."""
    hidden, encode = {}, model.mot.encode_collected

    def spy(given, **arguments):
        hidden.update({m: tokens for m, (tokens, _) in arguments["covered"].items()})
        return encode(given, **arguments)

    model.mot.encode_collected = spy
    try:
        torch.manual_seed(seed)
        return run(model, inputs, **{"return_loss": True} | options), hidden
    finally:
        del model.mot.encode_collected


def text_labels_for(inputs):
    """Every other real token is to be predicted."""
    labels = torch.arange(inputs["input_ids"].numel()).reshape(inputs["input_ids"].shape) % VOCAB_SIZE
    return labels.masked_fill((labels % 2 == 0) | (inputs["attention_mask"] == 0), IGNORED_LABEL)


def real_frames(inputs, row):
    return inputs["input_features_mask"][row].nonzero().flatten().tolist()


# What is hidden


def test_the_default_shares_are_those_of_their_papers():
    config = tiny_config()
    assert {m: config.modality_config(m).mask_ratio for m in MODALITIES} == SHARES


@pytest.mark.parametrize("ratio", [0.1, 0.6, 1.0])
@pytest.mark.parametrize("frames", [False, True], ids=["pictures", "frames"])
def test_the_configured_share_of_each_rows_real_patches_is_hidden(frames, ratio):
    model, inputs = new_model(image_config={"mask_ratio": ratio}), make_inputs(("text", "image"), frames=frames)
    _, hidden = run_seeded(model, inputs)
    mask = inputs["pixel_mask"] if frames else inputs["pixel_mask"][:, None]
    real = mask.repeat_interleave(6, dim=1) != 0  # 2 rows and 3 columns of patches
    assert hidden["image"].shape == real.shape
    assert not (hidden["image"] & ~real).any()
    for row in range(len(real)):
        assert hidden["image"][row].sum() == round(ratio * int(real[row].sum()))


def test_the_configured_share_of_ready_features_is_hidden():
    model, inputs = new_model(features=True), make_inputs(MODALITIES, features=True)
    _, hidden = run_seeded(model, inputs)
    for modality in ("text", "image"):
        real = inputs[MASKS[modality]] != 0
        assert not (hidden[modality] & ~real).any()
        assert hidden[modality].sum(dim=1).tolist() == [round(SHARES[modality] * int(n)) for n in real.sum(dim=1)]
    assert not (hidden["audio"] & (inputs["input_features_mask"] == 0)).any()


@pytest.mark.parametrize("ratio, span", [(0.5, 10), (0.3, 4), (0.8, 2), (0.6, 1)])
def test_spans_hide_the_configured_share_of_every_place_on_average(ratio, span):
    """Also of the first tokens, which fewer spans reach that start within the clip."""
    real = torch.ones(4000, 20, dtype=torch.bool)
    share = draw_hidden(real, ratio, span).float().mean(dim=0)
    assert (share - ratio).abs().max() < 5 * math.sqrt(ratio * (1 - ratio) / len(real))


def test_spans_are_whole_between_the_ends_of_a_clip():
    hidden = draw_hidden(torch.ones(300, 40, dtype=torch.bool), 0.3, span=5)
    inner = 0
    for row in hidden.tolist():
        runs = "".join("x" if token else "." for token in row)
        for part in runs.strip("x").split("."):  # without the runs that an end may cut
            assert len(part) == 0 or len(part) >= 5
            inner += bool(part)
    assert inner > 100


def test_spans_hide_real_tokens_alone():
    real = torch.rand(100, 30) < 0.5
    assert not (draw_hidden(real, 0.9, span=4) & ~real).any()
    assert torch.equal(draw_hidden(real, 1.0, span=4), real)


@every_stem
def test_audio_is_hidden_in_spans_of_real_tokens(stem):
    model = new_model(audio_config={"stem": stem, "stem_stride": 2, "mask_ratio": 0.7})
    inputs = make_inputs(("audio",))
    _, hidden = run_seeded(model, inputs)
    for row in range(batch_size_of(inputs)):
        number = -(-len(real_frames(inputs, row)) // 2)
        assert hidden["audio"].shape[1] == 6 and not hidden["audio"][row, number:].any()
    assert hidden["audio"].any()


def test_other_draws_hide_other_tokens():
    model, inputs = model_for(), make_inputs(MODALITIES, masks="ones")
    first, again, other = (run_seeded(model, inputs, seed=seed)[1] for seed in (1, 1, 2))
    for modality in ("image", "audio"):
        assert torch.equal(first[modality], again[modality])
        assert not torch.equal(first[modality], other[modality])


# What is hidden is not seen


def change_patches(pixels, tokens):
    """Other pixels in the patches (B, N) of frames (B, F, C, H, W) or pictures."""
    frames = pixels.clone() if pixels.dim() == 5 else pixels[:, None].clone()
    columns = frames.shape[-1] // PATCH_SIZE
    per_frame = columns * (frames.shape[-2] // PATCH_SIZE)
    for row, token in tokens.nonzero().tolist():
        frame, place = divmod(token, per_frame)
        y, x = (PATCH_SIZE * i for i in divmod(place, columns))
        frames[row, frame, :, y : y + PATCH_SIZE, x : x + PATCH_SIZE] = 7 * torch.randn(
            NUM_CHANNELS, PATCH_SIZE, PATCH_SIZE
        )
    return frames.reshape(pixels.shape)


def change_frames(inputs, tokens, stride):
    """Other mel frames where the tokens (B, N) stand, which count real frames only."""
    frames = inputs["input_features"].clone()
    for row, token in tokens.nonzero().tolist():
        for frame in real_frames(inputs, row)[token * stride : (token + 1) * stride]:
            frames[row, frame] = 7 * torch.randn(NUM_MEL_BINS)
    return frames


def predictions_of(output):
    return {m: output[f"{m}_predictions"] for m in MODALITIES if f"{m}_predictions" in output}


def largest_change(left, right):
    return max(max_difference(left[f"{m}_predictions"], right[f"{m}_predictions"]) for m in predictions_of(left))


@pytest.mark.parametrize("frames", [False, True], ids=["pictures", "frames"])
@every_stem
def test_predictions_do_not_depend_on_hidden_patches(stem, frames):
    """A convolution looks over a patch's edge, so the pixels themselves must be gone before it."""
    model = new_model(image_config={"stem": stem, "use_cls_token": frames})
    inputs = make_inputs(MODALITIES, frames=frames)
    output, hidden = run_seeded(model, inputs)
    changed = inputs | {"pixel_values": change_patches(inputs["pixel_values"], hidden["image"])}
    assert not torch.equal(changed["pixel_values"], inputs["pixel_values"])
    other, _ = run_seeded(model, changed)
    assert largest_change(output, other) < EXACT
    for term in CONTRASTIVE:
        assert max_difference(other.losses[term], output.losses[term]) < EXACT
    assert max_difference(other.losses["image"], output.losses["image"]) > 1e-3  # the targets did change
    seen = ~hidden["image"] & (torch.arange(hidden["image"].shape[1]) < 6)
    changed = inputs | {"pixel_values": change_patches(inputs["pixel_values"], seen)}
    assert largest_change(output, run_seeded(model, changed)[0]) > 0.01


@pytest.mark.parametrize("stride", [1, 2, 3])
@every_stem
def test_predictions_do_not_depend_on_hidden_audio(stem, stride):
    model = new_model(audio_config={"stem": stem, "stem_stride": stride, "mask_ratio": 0.4})
    inputs = make_inputs(MODALITIES)
    output, hidden = run_seeded(model, inputs)
    changed = inputs | {"input_features": change_frames(inputs, hidden["audio"], stride)}
    assert not torch.equal(changed["input_features"], inputs["input_features"])
    other, _ = run_seeded(model, changed)
    assert largest_change(output, other) < EXACT
    assert max_difference(other.losses["audio"], output.losses["audio"]) > 1e-3
    changed = inputs | {"input_features": change_frames(inputs, ~hidden["audio"], stride)}
    assert largest_change(output, run_seeded(model, changed)[0]) > 0.01


@pytest.mark.parametrize("modality", MODALITIES)
def test_predictions_do_not_depend_on_hidden_features(modality):
    model, inputs = model_for(features=True), make_inputs(MODALITIES, features=True)
    name = FEATURE_INPUTS[modality]
    output, hidden = run_seeded(model, inputs)
    for tokens, is_seen in ((hidden[modality], False), (~hidden[modality], True)):
        changed = inputs | {name: torch.where(tokens[..., None], 7.0, inputs[name])}
        other, _ = run_seeded(model, changed)
        assert (largest_change(output, other) > 0.01) if is_seen else (largest_change(output, other) < EXACT)


# The losses, from predictions and targets written out


def patch_target(pixels, token):
    """A patch's pixels, row by row, with mean 0 and variance 1."""
    frames = pixels if pixels.dim() == 4 else pixels[None]
    columns = frames.shape[-1] // PATCH_SIZE
    frame, place = divmod(token, columns * (frames.shape[-2] // PATCH_SIZE))
    y, x = (PATCH_SIZE * i for i in divmod(place, columns))
    values = [
        frames[frame, channel, y + i, x + j].item()
        for i in range(PATCH_SIZE)
        for j in range(PATCH_SIZE)
        for channel in range(NUM_CHANNELS)
    ]
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return [(value - mean) / math.sqrt(variance) for value in values]


def frames_target(frames, real, token, stride):
    """The mel frames of a token, of which the last one may have fewer."""
    return [value for frame in real[token * stride : (token + 1) * stride] for value in frames[frame].tolist()]


def image_loss(predictions, pixels, tokens):
    errors = [
        (prediction - target) ** 2
        for row, token in tokens.nonzero().tolist()
        for prediction, target in zip(predictions[row, token].tolist(), patch_target(pixels[row], token))
    ]
    return sum(errors) / len(errors)


def audio_loss(predictions, inputs, frames, tokens, stride):
    errors = [
        abs(prediction - target)
        for row, token in tokens.nonzero().tolist()
        for prediction, target in zip(
            predictions[row, token].tolist(), frames_target(frames[row], real_frames(inputs, row), token, stride)
        )
        if not math.isnan(target)
    ]
    return sum(errors) / len(errors)


@pytest.mark.parametrize("frames", [False, True], ids=["pictures", "frames"])
@every_architecture
def test_reconstruction_losses_are_errors_at_what_was_hidden(architecture, frames):
    model, inputs = model_for(architecture), make_inputs(MODALITIES, frames=frames)
    output, hidden = run_seeded(model, inputs)
    stride = model.config.audio_config.stem_stride
    expected = image_loss(output.image_predictions, inputs["pixel_values"], hidden["image"])
    assert output.losses["image"].item() == pytest.approx(expected, rel=1e-4)
    expected = audio_loss(output.audio_predictions, inputs, inputs["input_features"], hidden["audio"], stride)
    assert output.losses["audio"].item() == pytest.approx(expected, rel=1e-4)


def test_reconstruction_losses_of_features_are_errors_at_what_was_hidden():
    model, inputs = model_for(features=True), make_inputs(MODALITIES, features=True)
    output, hidden = run_seeded(model, inputs)
    for modality, error in (("text", F.mse_loss), ("image", F.mse_loss), ("audio", F.l1_loss)):
        predictions = output[f"{modality}_predictions"]
        assert predictions.shape[-1] == FEATURE_SIZES[modality]
        targets = inputs[FEATURE_INPUTS[modality]][hidden[modality]]
        assert max_difference(output.losses[modality], error(predictions[hidden[modality]], targets)) < TOLERANCE


@every_architecture
def test_the_text_loss_is_cross_entropy_at_the_labels_given(architecture):
    model, inputs = model_for(architecture), make_inputs(MODALITIES)
    labels = text_labels_for(inputs)
    output, hidden = run_seeded(model, inputs, text_labels=labels)
    assert output.text_predictions.shape == (*labels.shape, VOCAB_SIZE)
    expected = F.cross_entropy(output.text_predictions.transpose(1, 2), labels)
    assert max_difference(output.losses["text"], expected) < TOLERANCE
    assert "text" not in hidden


def test_contrastive_terms_compare_the_modalities_as_they_were_seen():
    """What is hidden is hidden from them, too."""
    model, inputs = model_for(), make_inputs(MODALITIES)
    output, hidden = run_seeded(model, inputs)
    tokens = {m: (h, model.mask_tokens(m)) for m, h in hidden.items()}
    sides = {}
    for modality in MODALITIES:
        with torch.no_grad():
            encoded = model.mot.encode(**inputs, covered=tokens)
            pooled = model.mot.join(encoded, (modality,)).pooler_output
            vectors = F.normalize(model.contrastive.projections[modality](pooled), dim=1)
        sides[modality] = Side(vectors, torch.tensor([modality in row for row in presence(MODALITIES)]))
    assert [name for name in output.losses if "/" in name] == list(CONTRASTIVE)
    for name in CONTRASTIVE:
        pair = name.removeprefix("contrastive/")
        first, second = pair.split("-")
        expected = contrastive_loss(sides[first], sides[second], model.contrastive.log_scale()[pair])
        assert max_difference(output.losses[name], expected) < TOLERANCE


WEIGHTINGS = [
    {},
    {"text": 0.5, "image": 2, "audio": 0.25, "contrastive": 3},
    {"text": 0},
    {"image": 0},
    {"audio": 0, "text": 2},
    {"contrastive": 0},
    {"text": 0, "image": 0, "audio": 0},
]


@pytest.mark.parametrize("weights", WEIGHTINGS, ids=str)
def test_the_loss_is_the_weighted_sum_with_contrastive_terms_as_their_mean(weights):
    """A part of weight 0 is not built, and the others are what they were."""
    model, inputs = new_model(modality_weights=weights), make_inputs(MODALITIES)
    output, _ = run_seeded(model, inputs, text_labels=text_labels_for(inputs))
    weights = {"text": 1, "image": 1, "audio": 1, "contrastive": 1} | weights
    terms = [m for m in MODALITIES if weights[m]] + (list(CONTRASTIVE) if weights["contrastive"] else [])
    assert list(output.losses) == terms
    expected = sum(weights[m] * output.losses[m] for m in terms if m in MODALITIES)
    if weights["contrastive"]:
        expected = expected + weights["contrastive"] * sum(output.losses[name] for name in CONTRASTIVE) / 3
    assert max_difference(output.loss, expected) < TOLERANCE
    assert set(model.prediction_heads) == {m for m in MODALITIES if weights[m]}
    assert set(model.mask_tokens.state_dict()) == {m for m in ("image", "audio") if weights[m]}
    assert hasattr(model, "contrastive") == bool(weights["contrastive"])


# Labels of the caller's own


def test_with_image_labels_nothing_is_hidden_and_nan_is_left_out():
    model, inputs = model_for(), make_inputs(MODALITIES)
    labels = torch.randn(inputs["pixel_values"].shape)
    labels[0, :, :PATCH_SIZE, :PATCH_SIZE] = labels[2, :, PATCH_SIZE:] = math.nan
    output, hidden = run_seeded(model, inputs, image_labels=labels)
    tokens = torch.ones(len(labels), 6, dtype=torch.bool) & (inputs["pixel_mask"][:, None] != 0)
    tokens[0, 0] = tokens[2, 3:] = False
    assert not hidden["image"].any() and hidden["audio"].any()
    expected = image_loss(output.image_predictions, labels, tokens)
    assert output.losses["image"].item() == pytest.approx(expected, rel=1e-4)
    plain = run(model, inputs, return_loss=False)
    with_labels = run(model, without(inputs, "audio"), image_labels=labels)
    assert (
        max_difference(with_labels.image_predictions, run(model, without(inputs, "audio")).image_predictions) < EXACT
    )
    assert plain.image_predictions.shape == with_labels.image_predictions.shape


@pytest.mark.parametrize("normalized", [False, True], ids=["plain", "mean_normalization"])
def test_with_audio_labels_nothing_is_hidden_and_nan_is_left_out(normalized):
    model = new_model(audio_config={"mean_normalization": normalized})
    inputs = make_inputs(MODALITIES)
    labels = torch.randn(inputs["input_features"].shape)
    labels[0, 2] = labels[1, :2] = labels[0, 5, 3] = math.nan
    output, hidden = run_seeded(model, inputs, audio_labels=labels)
    targets = labels.clone()
    if normalized:
        for row in range(len(labels)):
            real = real_frames(inputs, row)
            targets[row] -= labels[row, real].nanmean(dim=0)
    tokens = torch.arange(6) < -(-inputs["input_features_mask"].sum(dim=1, keepdim=True) // 2)
    assert not hidden["audio"].any() and hidden["image"].any()
    expected = audio_loss(output.audio_predictions, inputs, targets, tokens, stride=2)
    assert output.losses["audio"].item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("modality", MODALITIES)
def test_with_labels_of_features_nothing_is_hidden_and_nan_is_left_out(modality):
    model, inputs = model_for(features=True), make_inputs(MODALITIES, features=True)
    labels = torch.randn(inputs[FEATURE_INPUTS[modality]].shape)
    labels[0, 1, 2:5] = labels[3] = math.nan
    output, hidden = run_seeded(model, inputs, **{f"{modality}_labels": labels})
    assert not hidden[modality].any()
    counted = labels.isfinite() & (inputs[MASKS[modality]] != 0)[..., None]
    error = F.l1_loss if modality == "audio" else F.mse_loss
    expected = error(output[f"{modality}_predictions"][counted], labels[counted])
    assert max_difference(output.losses[modality], expected) < TOLERANCE


def test_labels_of_nothing_but_nan_have_no_loss():
    model, inputs = model_for(), make_inputs(MODALITIES)
    labels = {
        "text_labels": torch.full_like(inputs["input_ids"], IGNORED_LABEL),
        "image_labels": torch.full_like(inputs["pixel_values"], math.nan),
        "audio_labels": torch.full_like(inputs["input_features"], math.nan),
    }
    output = run(model, inputs, **labels)
    assert [output.losses[m].item() for m in MODALITIES] == [0, 0, 0]
    assert output.loss.isfinite()


@pytest.mark.parametrize(
    "training, options, has_loss",
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"return_loss": False}, False),
        (False, {"return_loss": True}, True),
        (False, {"text_labels": True}, True),
    ],
)
def test_a_loss_comes_in_training_with_labels_or_on_request(training, options, has_loss):
    inputs = make_inputs(MODALITIES)
    options = {"text_labels": text_labels_for(inputs)} if "text_labels" in options else options
    output = run(new_model().train(training), inputs, **options)
    assert (output.loss is not None) == (output.losses is not None) == has_loss
    assert set(predictions_of(output)) == set(MODALITIES)


@pytest.mark.parametrize("modality", MODALITIES)
def test_labels_without_their_input_are_refused(modality):
    inputs = make_inputs(MODALITIES)
    labels = {f"{modality}_labels": inputs[RAW_INPUTS[modality]]}
    with pytest.raises(ValueError, match=f"`{modality}_labels` was given without `{RAW_INPUTS[modality]}`"):
        model_for()(**without(inputs, modality), **labels)


@pytest.mark.parametrize("modality", MODALITIES)
def test_labels_of_another_shape_are_refused(modality):
    inputs = make_inputs(MODALITIES)
    labels = {f"{modality}_labels": inputs[RAW_INPUTS[modality]][:3]}
    with pytest.raises(ValueError, match=f"`{modality}_labels` has shape"):
        model_for()(**inputs, **labels)


# Gradients exist, and rubbish changes nothing


def loss_and_gradients(model, inputs, **options):
    model.zero_grad(set_to_none=True)
    torch.manual_seed(4)
    output = model(**inputs, **options)
    output.loss.backward()
    return output, {name: parameter.grad for name, parameter in model.named_parameters()}


def assert_every_gradient(gradients):
    for name, gradient in gradients.items():
        assert gradient is not None, f"{name} has no gradient"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize(
    "subset, labelled",
    [(subset, labelled) for subset in SUBSETS for labelled in (False, True) if "text" in subset or not labelled],
    ids=lambda value: subset_name(value) if isinstance(value, tuple) else f"labelled-{value}",
)
@every_architecture
def test_every_parameter_has_a_gradient_whatever_is_absent(architecture, subset, labelled):
    model, inputs = new_model(architecture).train(), make_inputs(subset)
    options = {"text_labels": text_labels_for(inputs)} if labelled else {}
    _, gradients = loss_and_gradients(model, inputs, **options)
    assert_every_gradient(gradients)
    for modality in MODALITIES:
        learns = labelled if modality == "text" else modality in subset
        assert gradients[f"prediction_heads.{modality}.decoder.weight"].ne(0).any() == learns, modality
    for modality in ("image", "audio"):
        assert gradients[f"mask_tokens.{modality}"].ne(0).any() == (modality in subset)


@pytest.mark.parametrize(
    "changes",
    [
        {"features": True},
        {"fusion_type": "attention"},
        {"contrastive_loss": "sigmoid", "image_config": {"stem": "conv"}},
        {"contrastive_positives": "label", "modality_weights": {"image": 0}},
        {"modality_weights": {"contrastive": 0}, "every_tower": {"use_cls_token": True}},
    ],
    ids=str,
)
@some_subset
def test_every_parameter_has_a_gradient_in_every_setting(subset, changes):
    model = new_model(**changes).train()
    _, gradients = loss_and_gradients(model, make_inputs(subset, features="features" in changes))
    assert_every_gradient(gradients)


@pytest.mark.parametrize("only", MODALITIES)
def test_a_model_of_one_modality_trains(only):
    absent = {f"{m}_config": None for m in MODALITIES if m != only}
    model = build(MoTForPreTraining, tiny_config(**absent)).train()
    assert not hasattr(model, "contrastive")
    inputs = make_inputs((only,))
    labels = {"text_labels": text_labels_for(inputs)} if only == "text" else {}
    output, gradients = loss_and_gradients(model, inputs, **labels)
    assert list(output.losses) == [only]
    assert_every_gradient(gradients)


@pytest.mark.parametrize("rubbish", [float("nan"), 1e30])
@every_kind
@some_subset
def test_poison_in_masked_positions_changes_neither_losses_nor_gradients(subset, features, rubbish):
    model, inputs = new_model(features=features).train(), make_inputs(subset, features=features)
    output, gradients = loss_and_gradients(model, inputs)
    poisoned, poisoned_gradients = loss_and_gradients(model, poison(inputs, rubbish))
    assert poisoned.losses.keys() == output.losses.keys()
    for name, loss in output.losses.items():
        assert max_difference(poisoned.losses[name], loss) < EXACT, name
    for name, gradient in gradients.items():
        assert max_difference(poisoned_gradients[name], gradient) < EXACT * max(1, gradient.abs().max().item()), name


# What pretraining leaves, others read


@pytest.mark.parametrize(
    "head_class, new",
    [
        (MoTForSequenceClassification, {"classifier.weight", "classifier.bias"}),
        (MoTForRetrieval, set()),
        (MoTForMaskedLM, set()),
        (MoTForPreTraining, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_pretrained_folder_lacks_nothing_but_a_new_head(head_class, new, tmp_path):
    model = new_model("uneven_towers")
    model.save_pretrained(tmp_path)
    loaded, info = head_class.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == new and not info["mismatched_keys"]
    found, saved = loaded.state_dict(), model.state_dict()
    assert all(torch.equal(value, saved[name]) for name, value in found.items() if name not in new)
    assert info["unexpected_keys"] == saved.keys() - found.keys()


def repetitive_batch(number=6):
    """Rows that say one thing over and over, so that what is hidden can be told from what is not."""
    generator = torch.Generator().manual_seed(5)
    patches = torch.randn(number, NUM_CHANNELS, PATCH_SIZE, PATCH_SIZE, generator=generator)
    return {
        "input_ids": torch.randint(5, VOCAB_SIZE, (number, 1), generator=generator).repeat(1, 4),
        "pixel_values": patches.repeat(1, 1, 2, 2),
        "input_features": torch.randn(number, 1, NUM_MEL_BINS, generator=generator).repeat(1, 12, 1),
    }


def test_training_lowers_every_term():
    model, inputs = MoTForPreTraining(config_for()), repetitive_batch()
    labels = torch.full_like(inputs["input_ids"], IGNORED_LABEL)
    labels[:, 1] = inputs["input_ids"][:, 1]
    inputs["input_ids"][:, 1] = 4  # stands for [MASK]
    before = run_seeded(model.eval(), inputs, text_labels=labels)[0].losses
    optimizer = torch.optim.Adam(model.train().parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        model(**inputs, text_labels=labels).loss.backward()
        optimizer.step()
    after = run_seeded(model.eval(), inputs, text_labels=labels)[0].losses
    assert set(before) == {*MODALITIES, *CONTRASTIVE}
    for name, loss in after.items():
        assert loss < 0.9 * before[name], name


# Masked words


def masked_lm(architecture="default", **overrides):
    return build(MoTForMaskedLM, tiny_config(architecture, **overrides))


@pytest.mark.parametrize("subset", [s for s in SUBSETS if "text" in s], ids=subset_name)
@every_architecture
def test_the_loss_of_masked_words_is_cross_entropy(architecture, subset):
    model, inputs = masked_lm(architecture), make_inputs(subset)
    labels = text_labels_for(inputs)
    output = run(model, inputs, labels=labels)
    assert output.logits.shape == (*labels.shape, VOCAB_SIZE)
    expected = F.cross_entropy(output.logits.transpose(1, 2), labels, ignore_index=IGNORED_LABEL)
    assert max_difference(output.loss, expected) < TOLERANCE
    assert run(model, inputs).loss is None


def test_masked_words_are_those_of_pretraining():
    model = model_for()
    other = MoTForMaskedLM(model.config).eval()
    other.load_state_dict(model.state_dict(), strict=False)
    inputs = make_inputs(MODALITIES)
    labels = text_labels_for(inputs)
    expected = run(model, inputs, return_loss=False).text_predictions
    output = run(other, inputs, labels=labels)
    assert max_difference(output.logits, expected) < EXACT
    text = make_inputs(("text",))
    expected = run(model, text, text_labels=text_labels_for(text))
    assert max_difference(run(other, text, labels=text_labels_for(text)).loss, expected.losses["text"]) < EXACT


@pytest.mark.parametrize("modality", ["image", "audio"])
def test_words_are_predicted_in_the_light_of_image_and_sound(modality):
    model, inputs, others = masked_lm(), make_inputs(MODALITIES), make_inputs(MODALITIES, seed=7)
    logits = run(model, inputs).logits
    changed = run(model, inputs | {RAW_INPUTS[modality]: others[RAW_INPUTS[modality]]}).logits
    assert max_difference(changed[0], logits[0]) > 0.01
    absent = presence(MODALITIES).index(("text",))
    assert max_difference(changed[absent], logits[absent]) < EXACT


def test_masked_words_need_words():
    with pytest.raises(ValueError, match="needs `input_ids`"):
        masked_lm()(**make_inputs(("image", "audio")))
    for config in (tiny_config(features=True), tiny_config(text_config=None)):
        with pytest.raises(ValueError, match=r"`MoTForMaskedLM` needs token ids.*`text_config`"):
            MoTForMaskedLM(config)


def test_labels_of_masked_words_are_named_when_their_shape_is_wrong():
    inputs = make_inputs(("text",))
    with pytest.raises(ValueError, match=r"`labels` has shape \(3, 7\), expected \(4, 7\)"):
        masked_lm()(**inputs, labels=inputs["input_ids"][:3])


@pytest.mark.parametrize("word", [-1, VOCAB_SIZE])
def test_a_word_outside_the_vocabulary_is_no_label(word):
    inputs = make_inputs(("text",))
    with pytest.raises(ValueError, match=rf"`labels` holds {word}, outside the vocabulary of {VOCAB_SIZE}"):
        masked_lm()(**inputs, labels=torch.full_like(inputs["input_ids"], word))


@pytest.mark.parametrize("subset", [("text",), ("text", "audio"), MODALITIES], ids=subset_name)
@pytest.mark.parametrize("fusion", ["late", "hierarchical"])
def test_every_parameter_of_masked_words_has_a_gradient(subset, fusion):
    model, inputs = masked_lm(fusion_type=fusion).train(), make_inputs(subset)
    _, gradients = loss_and_gradients(model, inputs, labels=text_labels_for(inputs))
    assert_every_gradient(gradients)


@pytest.mark.parametrize("model_class", [MoTForMaskedLM, MoTForPreTraining])
def test_resizing_the_vocabulary_resizes_input_and_output(model_class):
    model, inputs = build(model_class, tiny_config()), make_inputs(("text",))
    expected = run(model, inputs)
    expected = expected.logits if model_class is MoTForMaskedLM else expected.text_predictions
    model.resize_token_embeddings(VOCAB_SIZE + 3, mean_resizing=False)
    assert model.config.text_config.vocab_size == VOCAB_SIZE + 3
    assert model.get_input_embeddings().weight.shape[0] == VOCAB_SIZE + 3
    assert model.get_output_embeddings().weight.shape[0] == model.get_output_embeddings().bias.shape[0]
    output = run(model, inputs)
    output = output.logits if model_class is MoTForMaskedLM else output.text_predictions
    assert output.shape[-1] == VOCAB_SIZE + 3
    assert max_difference(output[..., :VOCAB_SIZE], expected) < EXACT
    new_words = inputs | {"input_ids": torch.full_like(inputs["input_ids"], VOCAB_SIZE + 2)}
    assert torch.isfinite(next(iter(run(model, new_words).values()))).all()


def test_a_plain_trainer_fills_in_words_with_the_collator_of_the_library(tmp_path):
    tokenizer = BertTokenizer(
        vocab={word: i for i, word in enumerate(WORDS)}, model_input_names=["input_ids", "attention_mask"]
    )
    collator = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.5, seed=0)
    rows = [dict(tokenizer(words)) for words in ("a small red cat", "a dog", "a cat sings", "small dog sings")]
    model = masked_lm(text_config={"vocab_size": len(WORDS)})
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = Trainer(model, arguments, train_dataset=rows, data_collator=collator)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 2 and all(0 < loss < 100 for loss in losses)
    decoder = "prediction_heads.text.decoder.weight"
    assert not torch.equal(dict(model.named_parameters())[decoder], before[decoder])
