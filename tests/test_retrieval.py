# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTForRetrieval`: each modality is embedded by itself, only fused features mix, and its losses teach.

Held to the reference of the equations, to its own calls with less, and to the invariants of the base model. Batches
come from `helpers.make_inputs`, whose rows differ in padding and in the modalities they have.
"""

import copy
import functools

import pytest
import torch
import transformers
from helpers import (
    ARCHITECTURES,
    MASKS,
    MODALITIES,
    SUBSETS,
    VOCAB_SIZE,
    batch_size_of,
    build,
    compact_inputs,
    input_items,
    make_inputs,
    max_difference,
    poison,
    presence,
    real_row,
    run,
    select_rows,
    subset_name,
    tiny_config,
    without,
)
from reference import layer_norm, reference_forward
from torch.nn import functional as F

from mixture_of_transformers import MoTForRetrieval, MoTModel
from mixture_of_transformers.contrastive_mot import Side, contrastive_loss, sigmoid_loss
from mixture_of_transformers.fusion_mot import FUSIONS
from mixture_of_transformers.loss_mot import IGNORED_LABEL
from mixture_of_transformers.training.metrics import retrieval_metrics

TOLERANCE = 1e-5
EXACT = 1e-6
PAIRS = (("text", "image"), ("text", "audio"), ("image", "audio"))
SEVERAL = [subset for subset in SUBSETS if len(subset) > 1]
FEATURES = {"text": "get_text_features", "image": "get_image_features", "audio": "get_audio_features"}

every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)
some_architecture = pytest.mark.parametrize("architecture", ["default", "uneven_towers"])
every_subset = pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
some_subset = pytest.mark.parametrize("subset", [("text",), ("image", "audio"), MODALITIES], ids=subset_name)
every_kind = pytest.mark.parametrize("features", [False, True], ids=["raw", "features"])
every_fusion = pytest.mark.parametrize("fusion", FUSIONS)
every_loss = pytest.mark.parametrize("loss_name", ["infonce", "sigmoid"])
every_kind_of_positives = pytest.mark.parametrize("positives", ["row", "label"])

CHANGES = [{"architecture": name} for name in ARCHITECTURES] + [{"fusion_type": name} for name in FUSIONS]


@functools.cache
def model_for(architecture="default", features=False, **overrides):
    """A model in eval mode, built once: tests read it and never change it."""
    return new_model(architecture, features, **overrides)


def new_model(architecture="default", features=False, **overrides):
    model = build(MoTForRetrieval, tiny_config(architecture, features=features, **overrides))
    with torch.no_grad():  # temperatures and biases within their limits, of each pair its own
        for log_scale, value in zip(model.contrastive.log_scale.parameters(), torch.linspace(0.5, 2, 9)):
            log_scale.fill_(value)
    return model


def fused(model, inputs):
    with torch.no_grad():
        return model.get_fused_features(**inputs).pooler_output


def features_of(model, modality, inputs):
    """What `get_text_features` and its siblings say of that modality alone."""
    for other in set(MODALITIES) - {modality}:
        inputs = without(inputs, other)
    with torch.no_grad():
        return getattr(model, FEATURES[modality])(**inputs)


def embeddings_of(output):
    """modality -> (B, projection_dim), for those that were given."""
    return {m: output[f"{m}_embeds"] for m in MODALITIES if f"{m}_embeds" in output}


def lengths_of(vectors):
    return vectors.norm(dim=1)


def labels_for(inputs):
    """Some rows alike, some alone, some unknown."""
    labels = torch.arange(batch_size_of(inputs)) % 3
    labels[labels == 2] = IGNORED_LABEL
    return labels


# 1. Reference


def reference_embedding(model, row):
    """The head of the only modality, or that for several, on the fused vector of the equations."""
    weights = {name: value.double() for name, value in model.state_dict().items()}
    backbone = {name.removeprefix("mot."): value for name, value in weights.items() if name.startswith("mot.")}
    pooled = reference_forward(backbone, model.config, row).pooler_output.double()
    name = f"contrastive.projections.{next(iter(row)) if len(row) == 1 else 'fused'}"
    vector = layer_norm(pooled[None], weights, f"{name}.0", model.config.layer_norm_eps)[0]
    vector = weights[f"{name}.1.weight"] @ vector
    return vector / vector.square().sum().sqrt()


@pytest.mark.parametrize("architecture, features", [(name, False) for name in ARCHITECTURES] + [("default", True)])
def test_embeddings_equal_the_reference(architecture, features):
    model = model_for(architecture, features)
    inputs = make_inputs(MODALITIES, features=features)
    embeddings, together = embeddings_of(run(model, inputs)), fused(model, inputs)
    for index in range(batch_size_of(inputs)):
        row = real_row(inputs, index)
        assert max_difference(together[index], reference_embedding(model, row)) < TOLERANCE
        for modality, value in row.items():
            expected = reference_embedding(model, {modality: value})
            assert max_difference(embeddings[modality][index], expected) < TOLERANCE, modality


# Embeddings


@every_subset
@some_architecture
def test_embeddings_have_length_one_and_are_zero_where_absent(architecture, subset):
    model, inputs = model_for(architecture), make_inputs(subset)
    output = run(model, inputs)
    assert set(embeddings_of(output)) == set(subset)
    for modality, vectors in embeddings_of(output).items():
        assert vectors.shape == (batch_size_of(inputs), model.config.projection_dim)
        has = torch.tensor([modality in row for row in presence(subset)])
        assert max_difference(lengths_of(vectors[has]), torch.ones(int(has.sum()))) < TOLERANCE
        assert (vectors[~has] == 0).all()
    assert max_difference(lengths_of(fused(model, inputs)), torch.ones(batch_size_of(inputs))) < TOLERANCE


@every_architecture
def test_a_row_without_any_token_has_zero_embeddings(architecture):
    inputs = make_inputs(MODALITIES)
    for modality in MODALITIES:
        inputs[MASKS[modality]][1] = 0
    model = model_for(architecture)
    assert all((vectors[1] == 0).all() for vectors in embeddings_of(run(model, inputs)).values())
    assert (fused(model, inputs)[1] == 0).all()


@every_kind
@every_subset
@some_architecture
def test_embeddings_in_a_batch_equal_the_features_of_each_modality_alone(architecture, subset, features):
    model, inputs = model_for(architecture, features), make_inputs(subset, features=features)
    for modality, vectors in embeddings_of(run(model, inputs)).items():
        assert max_difference(vectors, features_of(model, modality, inputs).pooler_output) < EXACT


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@every_architecture
def test_an_embedding_does_not_see_the_other_modalities_of_its_row(architecture, training):
    model = new_model(architecture).train(training)
    inputs, others = make_inputs(MODALITIES), make_inputs(MODALITIES, seed=7)
    expected = embeddings_of(run(model, inputs))
    for modality in MODALITIES:
        mixed = others | {name: inputs[name] for name in inputs.keys() - without(inputs, modality).keys()}
        embeddings = embeddings_of(run(model, mixed))
        assert max_difference(embeddings[modality], expected[modality]) < EXACT
        for other in set(MODALITIES) - {modality}:
            assert max_difference(embeddings[other], expected[other]) > 0.01


@pytest.mark.parametrize("modality", MODALITIES)
def test_features_say_what_the_model_says_of_that_modality(modality):
    model, inputs = model_for(), make_inputs((modality,))
    output = features_of(model, modality, inputs)
    expected = run(model.mot, inputs)
    assert torch.equal(output.last_hidden_state, expected.last_hidden_state)
    assert torch.equal(output.attention_mask, expected.attention_mask)
    assert torch.equal(run(model, inputs).model_outputs[modality].pooler_output, expected.pooler_output)


@every_fusion
@some_architecture
def test_a_row_of_one_modality_has_fused_features_equal_to_its_own(architecture, fusion):
    model, inputs = model_for(architecture, fusion_type=fusion), make_inputs(MODALITIES)
    together, alone = fused(model, inputs), embeddings_of(run(model, inputs))
    for index, row in enumerate(presence(MODALITIES)):
        for modality in row:
            difference = max_difference(together[index], alone[modality][index])
            assert difference < TOLERANCE if len(row) == 1 else difference > 0.01


@every_fusion
def test_fused_features_depend_on_every_modality_of_the_row(fusion):
    model, inputs, others = model_for(fusion_type=fusion), make_inputs(MODALITIES), make_inputs(MODALITIES, seed=7)
    expected = fused(model, inputs)
    for _, name, _, _ in input_items(inputs):
        assert max_difference(fused(model, inputs | {name: others[name]})[0], expected[0]) > 1e-4, name


# 2. Absent is absent


@every_subset
@some_architecture
def test_a_row_alone_has_the_embeddings_it_has_in_a_batch(architecture, subset):
    model, inputs = model_for(architecture), make_inputs(subset)
    embeddings, together = embeddings_of(run(model, inputs)), fused(model, inputs)
    for index in range(batch_size_of(inputs)):
        row = compact_inputs(inputs, index)
        assert max_difference(fused(model, row)[0], together[index]) < TOLERANCE
        for modality, vectors in embeddings_of(run(model, row)).items():
            assert max_difference(vectors[0], embeddings[modality][index]) < TOLERANCE


@pytest.mark.parametrize("subset", SEVERAL, ids=subset_name)
@some_architecture
def test_a_modality_masked_out_equals_one_not_given(architecture, subset):
    model = model_for(architecture)
    for absent in subset:
        inputs = make_inputs(subset, masks="ones")
        inputs[MASKS[absent]] = torch.zeros_like(inputs[MASKS[absent]])
        embeddings, expected = embeddings_of(run(model, inputs)), embeddings_of(run(model, without(inputs, absent)))
        assert (embeddings.pop(absent) == 0).all()
        assert embeddings.keys() == expected.keys()
        assert all(max_difference(embeddings[m], expected[m]) < TOLERANCE for m in expected)
        assert max_difference(fused(model, inputs), fused(model, without(inputs, absent))) < TOLERANCE


@every_subset
@some_architecture
def test_permuting_rows_permutes_embeddings_and_keeps_the_loss(architecture, subset):
    model, inputs = model_for(architecture), make_inputs(subset)
    order, labels = torch.randperm(batch_size_of(inputs)), labels_for(inputs)
    output = run(model, inputs, labels=labels)
    permuted = run(model, select_rows(inputs, order), labels=labels[order])
    for modality, vectors in embeddings_of(permuted).items():
        assert max_difference(vectors, embeddings_of(output)[modality][order]) < TOLERANCE
    assert max_difference(permuted.loss, output.loss) < TOLERANCE


def loss_and_gradients(model, inputs, **options):
    model.zero_grad(set_to_none=True)
    output = model(**inputs, return_loss=True, **options)
    output.loss.backward()
    return output, {name: parameter.grad for name, parameter in model.named_parameters()}


@pytest.mark.parametrize("rubbish", [float("nan"), 1e30])
@every_kind
@some_subset
def test_poison_in_masked_positions_changes_neither_losses_nor_gradients(subset, features, rubbish):
    model, inputs = new_model(features=features).train(), make_inputs(subset, features=features)
    output, gradients = loss_and_gradients(model, inputs)
    poisoned, poisoned_gradients = loss_and_gradients(model, poison(inputs, rubbish))
    assert max_difference(poisoned.loss, output.loss) < EXACT
    for modality, vectors in embeddings_of(output).items():
        assert max_difference(embeddings_of(poisoned)[modality], vectors) < EXACT
    for name, gradient in gradients.items():
        assert max_difference(poisoned_gradients[name], gradient) < EXACT * max(1, gradient.abs().max().item()), name


# Similarities


@every_loss
@every_subset
def test_logits_are_scaled_cosines_of_each_two_modalities(subset, loss_name):
    model, inputs = model_for(contrastive_loss=loss_name), make_inputs(subset)
    output = run(model, inputs)
    embeddings = embeddings_of(output)
    for modality in MODALITIES:
        others = [m for m in subset if m != modality]
        logits = getattr(output, f"logits_per_{modality}")
        if modality not in subset or not others:
            assert logits is None
            continue
        pair = "-".join(m for m in MODALITIES if m in (modality, others[0]))
        cosines = F.cosine_similarity(embeddings[modality][:, None], embeddings[others[0]][None], dim=2)
        expected = model.contrastive.log_scale()[pair].exp() * cosines
        if loss_name == "sigmoid":
            expected = expected + model.contrastive.bias()[pair]
        assert max_difference(logits, expected) < TOLERANCE


@pytest.mark.parametrize("beyond, limit", [(-2.0, 1.0), (9.0, 100.0)])
def test_logits_know_the_limits_of_the_temperature(beyond, limit):
    model, inputs = new_model(), make_inputs(("text", "image"))
    with torch.no_grad():
        model.contrastive.log_scale()["text-image"].fill_(beyond)
    output = run(model, inputs)
    assert max_difference(output.logits_per_text / limit, output.text_embeds @ output.image_embeds.T) < TOLERANCE


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
def test_many_texts_against_one_image_and_a_few_sounds(training):
    """Zero-shot use: no loss, and any number of rows of each modality."""
    model, inputs = new_model().train(training), make_inputs(MODALITIES, masks=None)
    numbers = {"text": 5, "image": 1, "audio": 3}
    rows = {name: value[: numbers[modality]] for modality, name, value, _ in input_items(inputs)}
    output, whole = run(model, rows, return_loss=False), run(model, inputs, return_loss=False)
    assert output.loss is None and output.losses is None
    assert output.logits_per_text.shape == (5, 1)
    assert output.logits_per_image.shape == (1, 5)
    assert output.logits_per_audio.shape == (3, 5)
    assert max_difference(output.logits_per_text, whole.logits_per_text[:5, :1]) < TOLERANCE
    assert max_difference(output.logits_per_audio, whole.logits_per_audio[:3, :5]) < TOLERANCE
    assert torch.equal(output.logits_per_image, output.logits_per_text.T)


@pytest.mark.parametrize(
    "options", [{"return_loss": True}, {"labels": torch.arange(5)}], ids=["return_loss", "labels"]
)
def test_a_loss_needs_as_many_rows_of_each_modality(options):
    inputs = make_inputs(("text", "image"), masks=None)
    rows = inputs | {"input_ids": torch.cat([inputs["input_ids"]] * 2)}
    with pytest.raises(ValueError, match=r"same number of rows.*`input_ids` has 12 rows.*`pixel_values` has 6 rows"):
        model_for()(**rows, **options)


# Losses


def names_for(subset, within=False):
    """The pairs of which both sides are given."""
    names = ["-".join(pair) for pair in PAIRS if set(pair) <= set(subset)]
    if len(subset) == 3:
        names += ["image+audio-text", "text+audio-image", "text+image-audio"]
    return names + [f"{m}-{m}" for m in subset if within]


@every_kind_of_positives
@every_subset
def test_losses_have_the_names_of_their_pairs_and_the_loss_is_their_mean(subset, positives):
    model = model_for(contrastive_positives=positives)
    inputs = make_inputs(subset)
    output = run(model, inputs, labels=labels_for(inputs))
    assert list(output.losses) == names_for(subset, within=positives == "label")
    expected = torch.stack(list(output.losses.values())).mean() if output.losses else torch.zeros(())
    assert max_difference(output.loss, expected) < EXACT


@every_kind_of_positives
@every_loss
def test_each_loss_compares_what_its_name_says(loss_name, positives):
    """Single modalities as `forward` embeds them, several as `get_fused_features` does."""
    model = model_for(contrastive_loss=loss_name, contrastive_positives=positives)
    inputs = make_inputs(MODALITIES)
    labels, losses = labels_for(inputs), run(model, inputs, labels=labels_for(inputs)).losses
    for name, loss in losses.items():
        sides, stored = [], name if "+" not in name else f"fused-{name.partition('-')[2]}"
        for part in name.split("-"):
            mixed = inputs
            for absent in set(MODALITIES) - set(part.split("+")):
                mixed = without(mixed, absent)
            vectors = fused(model, mixed)
            sides.append(Side(vectors, vectors.ne(0).any(dim=1)))
        settings = [numbers[stored] for numbers in model.contrastive()]
        rules = {"labels": labels, "positives": positives, "same": len(set(name.split("-"))) == 1}
        if loss_name == "sigmoid":
            expected = sigmoid_loss(*sides, *settings, **rules)
        else:
            expected = contrastive_loss(*sides, settings[0], **rules)
        assert max_difference(loss, expected) < TOLERANCE, name


@pytest.mark.parametrize(
    "training, options, has_loss",
    [
        (True, {}, True),
        (False, {}, False),
        (True, {"return_loss": False}, False),
        (False, {"return_loss": True}, True),
        (False, {"labels": torch.arange(10)}, True),
    ],
)
def test_a_loss_comes_in_training_with_labels_or_on_request(training, options, has_loss):
    output = run(new_model().train(training), make_inputs(MODALITIES), **options)
    assert (output.loss is not None) == (output.losses is not None) == has_loss


def test_rows_with_the_same_label_are_not_pushed_apart():
    """With all rows of one label nothing but positives is left, and the loss of a row against its own part is 0."""
    model, inputs = model_for(), make_inputs(MODALITIES)
    output = run(model, inputs, labels=torch.zeros(batch_size_of(inputs), dtype=torch.long))
    assert output.loss.item() == 0
    assert run(model, inputs, return_loss=True).loss > 0.1


@pytest.mark.parametrize("labels", [torch.zeros(9, dtype=torch.long), torch.zeros(10, 2, dtype=torch.long)])
def test_labels_of_the_wrong_shape_are_refused(labels):
    with pytest.raises(ValueError, match=r"`labels` has shape .*\(10,\)"):
        model_for()(**make_inputs(MODALITIES), labels=labels)


def test_labels_that_are_no_whole_numbers_are_refused():
    with pytest.raises(ValueError, match=r"`labels` has .*type torch.float32.*whole numbers"):
        model_for()(**make_inputs(MODALITIES), labels=torch.zeros(10))


# 6. Gradients exist


def assert_every_gradient(gradients):
    for name, gradient in gradients.items():
        assert gradient is not None, f"{name} has no gradient"
        assert gradient.isfinite().all(), f"the gradient of {name} is not finite"


@pytest.mark.parametrize("labelled", [False, True], ids=["unlabelled", "labelled"])
@every_kind_of_positives
@every_loss
@every_subset
def test_every_parameter_has_a_gradient_whatever_is_absent(subset, loss_name, positives, labelled):
    model = new_model(contrastive_loss=loss_name, contrastive_positives=positives).train()
    inputs = make_inputs(subset)
    _, gradients = loss_and_gradients(model, inputs, labels=labels_for(inputs) if labelled else None)
    assert_every_gradient(gradients)
    # Rows of unknown labels have no positive within their modality, but to the sigmoid loss they are negatives.
    learns = len(subset) > 1 or (positives == "label" and (labelled or loss_name == "sigmoid"))
    for modality in MODALITIES:
        gradient = gradients[f"contrastive.projections.{modality}.1.weight"]
        assert gradient.ne(0).any() == (learns and modality in subset), modality
    assert gradients["contrastive.projections.fused.1.weight"].ne(0).any() == (len(subset) == 3)


@some_subset
@pytest.mark.parametrize("changes", CHANGES, ids=lambda changes: next(iter(changes.values())))
def test_every_parameter_has_a_gradient_in_every_architecture(changes, subset):
    _, gradients = loss_and_gradients(new_model(**changes).train(), make_inputs(subset))
    assert_every_gradient(gradients)


@every_kind_of_positives
@every_loss
@pytest.mark.parametrize("only", MODALITIES)
def test_a_model_of_one_modality_trains(only, loss_name, positives):
    """Alone it has nothing to be compared with but other rows of the same label."""
    absent = {f"{m}_config": None for m in MODALITIES if m != only}
    model = new_model(contrastive_loss=loss_name, contrastive_positives=positives, **absent).train()
    inputs = make_inputs((only,))
    for labels in (None, torch.zeros(batch_size_of(inputs), dtype=torch.long)):
        output, gradients = loss_and_gradients(model, inputs, labels=labels)
        assert_every_gradient(gradients)
        assert list(output.losses) == names_for((only,), within=positives == "label")


@every_loss
def test_a_batch_without_any_token_has_a_loss_and_gradients_of_zero(loss_name):
    model, inputs = new_model(contrastive_loss=loss_name).train(), make_inputs(MODALITIES)
    for modality in MODALITIES:
        inputs[MASKS[modality]].zero_()
    output, gradients = loss_and_gradients(model, inputs)
    assert output.loss.item() == 0
    assert all((gradient == 0).all() for gradient in gradients.values())


# 5. Round trip


def answers(model, inputs):
    """Every tensor of the output but the base model's, from a copy of the weights, which is aligned in memory."""
    output = run(copy.deepcopy(model), inputs)
    tensors = {name: value for name, value in output.items() if isinstance(value, torch.Tensor)}
    return tensors | output.losses


@every_kind
@every_loss
def test_saved_and_loaded_is_bit_equal(loss_name, features, tmp_path):
    """By its class and as `AutoModel`, which means retrieval in a folder of retrieval."""
    model = new_model("uneven_towers", features, contrastive_loss=loss_name)
    model.save_pretrained(tmp_path)
    inputs = make_inputs(MODALITIES, features=features) | {"return_loss": True}
    expected = answers(model, inputs)
    assert {"loss", "text_embeds", "logits_per_audio", "image+audio-text"} <= expected.keys()
    for auto_class in (MoTForRetrieval, transformers.AutoModel):
        loaded, info = auto_class.from_pretrained(tmp_path, output_loading_info=True)
        assert type(loaded) is MoTForRetrieval
        assert not any(info.values()), info
        found = answers(loaded, inputs)
        assert found.keys() == expected.keys()
        assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_base_checkpoint_lacks_the_contrastive_head_alone(tmp_path):
    model = build(MoTModel, tiny_config())
    model.save_pretrained(tmp_path)
    loaded, info = MoTForRetrieval.from_pretrained(tmp_path, output_loading_info=True)
    assert info["missing_keys"] == {n for n in loaded.state_dict() if n.startswith("contrastive.")}
    assert not info["unexpected_keys"]
    assert torch.equal(
        run(loaded.mot, make_inputs(MODALITIES)).pooler_output, run(model, make_inputs(MODALITIES)).pooler_output
    )


# 7. Losses teach


@every_loss
def test_training_finds_every_row_by_each_of_its_modalities(loss_name):
    """Rows whose text, image and sound have nothing in common but that they stand in one row are learned by heart."""
    number, generator = 6, torch.Generator().manual_seed(5)
    inputs = {
        "input_ids": torch.randint(1, VOCAB_SIZE, (number, 4), generator=generator),
        "pixel_values": torch.randn(number, 3, 8, 8, generator=generator),
        "input_features": torch.randn(number, 8, 6, generator=generator),
    }
    model = MoTForRetrieval(tiny_config(contrastive_loss=loss_name)).train()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        losses.append(model(**inputs).loss)
        losses[-1].backward()
        optimizer.step()
    assert losses[-1] < 0.5 * losses[0]
    model.eval()
    parts = {(m,): vectors for m, vectors in embeddings_of(run(model, inputs)).items()}
    for others in SEVERAL[:3]:
        mixed = inputs
        for absent in set(MODALITIES) - set(others):
            mixed = without(mixed, absent)
        parts[others] = fused(model, mixed)
    for queries, items in parts.items():
        for other, others in parts.items():
            if not set(queries) & set(other):
                assert retrieval_metrics(items, others)["recall_at_1"] == 1, (queries, other)


@pytest.mark.parametrize("modality", MODALITIES)
def test_features_of_one_modality_refuse_the_others(modality):
    """Mixing is what `get_fused_features` is for; here it would move the embedding in silence."""
    model = build(MoTForRetrieval, tiny_config())
    with pytest.raises(ValueError, match=f"`get_{modality}_features` encodes {modality} alone.*get_fused_features"):
        getattr(model, f"get_{modality}_features")(**make_inputs(MODALITIES))
