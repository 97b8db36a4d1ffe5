# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Bad input is refused with an error that names the argument, what came and what was expected.

The first half calls models with one thing wrong at a time; the second half builds configs that cannot be.
"""

import re
from functools import partial

import numpy as np
import pytest
import torch
from helpers import (
    FEATURE_SIZES,
    MASKS,
    MODALITIES,
    NUM_CHANNELS,
    NUM_MEL_BINS,
    PATCH_SIZE,
    TIMES,
    VOCAB_SIZE,
    build,
    make_inputs,
    run,
    tiny_config,
    without,
)
from huggingface_hub.errors import StrictDataclassError

from mixture_of_transformers import (
    MoTConfig,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageConfig,
    MoTModel,
    modeling_mot,
)

BATCH_SIZE = 3
NUM_LABELS = 4
# The strict dataclass wraps what a validator raises in an error of its own.
CONFIG_ERRORS = (ValueError, StrictDataclassError)


@pytest.fixture(scope="module")
def model():
    return build(MoTModel, tiny_config())


@pytest.fixture(scope="module")
def feature_model():
    return build(MoTModel, tiny_config(features=True))


def inputs_for(subset, **options):
    """Three rows without padding."""
    return {name: value[:BATCH_SIZE] for name, value in make_inputs(subset, masks=None, **options).items()}


def assert_refused(call, *names, numbers=()):
    """A ValueError that holds all the names and, as whole numbers, all the numbers."""
    with pytest.raises(ValueError, match=re.escape(names[0])) as caught:
        call()
    message = str(caught.value)
    for name in names:
        assert name in message, f"{name} is not in: {message}"
    for number in numbers:
        assert re.search(rf"(?<![\d.]){number}(?!\d)", message), f"{number} is not in: {message}"


# The model


def test_no_modality(model):
    assert_refused(lambda: model(), "input_ids", "pixel_values", "input_features")


def test_masks_alone_are_no_modality(model):
    assert_refused(lambda: model(attention_mask=torch.ones(2, 3)), "input_ids")


@pytest.mark.parametrize("raw, features", [("input_ids", "text_features"), ("pixel_values", "image_features")])
def test_raw_input_and_features_of_one_modality(model, raw, features):
    modality = {"input_ids": "text", "pixel_values": "image"}[raw]
    both = inputs_for((modality,)) | inputs_for((modality,), features=True)
    assert_refused(lambda: model(**both), raw, features)


@pytest.mark.parametrize("features", ["text_features", "image_features"])
def test_features_for_a_model_of_raw_input(model, features):
    modality = features.split("_")[0]
    assert_refused(lambda: model(**inputs_for((modality,), features=True)), features)


@pytest.mark.parametrize("modality, raw", [("text", "input_ids"), ("image", "pixel_values")])
def test_raw_input_for_a_model_of_features(feature_model, modality, raw):
    assert_refused(lambda: feature_model(**inputs_for((modality,))), raw)


@pytest.mark.parametrize("name", ["text_features", "image_features", "input_features"])
def test_features_of_the_wrong_width(feature_model, name):
    modality = {"text_features": "text", "image_features": "image", "input_features": "audio"}[name]
    value = inputs_for((modality,), features=True)[name][..., :-1]
    width = FEATURE_SIZES[modality]
    assert_refused(lambda: feature_model(**{name: value}), name, numbers=(width - 1, width))


@pytest.mark.parametrize("modality, name", [("image", "pixel_values"), ("audio", "input_features")])
def test_batch_sizes_that_differ(model, modality, name):
    inputs = inputs_for(("text", modality))
    inputs[name] = inputs[name][:2]
    assert_refused(lambda: model(**inputs), name, "input_ids", numbers=(2, BATCH_SIZE))


@pytest.mark.parametrize("token", [VOCAB_SIZE, 1234, -7])
def test_ids_outside_the_vocabulary(model, token):
    inputs = inputs_for(("text",))
    inputs["input_ids"][1, 2] = token
    assert_refused(lambda: model(**inputs), "input_ids", numbers=(token, VOCAB_SIZE - 1))


def test_masked_ids_outside_the_vocabulary_are_legal(model):
    inputs = inputs_for(("text",))
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    inputs["attention_mask"][1, 2] = 0
    inputs["input_ids"][1, 2] = -100
    assert model(**inputs).last_hidden_state.isfinite().all()


def test_text_longer_than_max_position_embeddings(model):
    assert_refused(
        lambda: model(input_ids=torch.ones(2, 17, dtype=torch.int64)), "max_position_embeddings", numbers=(17, 16)
    )


@pytest.mark.parametrize("shape", [(2, 5, 8, 8), (2, 2, 5, 8, 8)])
def test_pictures_with_the_wrong_number_of_channels(model, shape):
    assert_refused(lambda: model(pixel_values=torch.zeros(shape)), "pixel_values", numbers=(5, NUM_CHANNELS))


@pytest.mark.parametrize("shape, size", [((2, 3, 10, 8), 10), ((2, 3, 8, 9), 9), ((2, 2, 3, 8, 11), 11)])
def test_a_picture_size_the_patch_does_not_divide(model, shape, size):
    assert_refused(lambda: model(pixel_values=torch.zeros(shape)), "pixel_values", numbers=(size, PATCH_SIZE))


@pytest.mark.parametrize("shape", [(3, 8, 8), (2, 2, 2, 3, 8, 8)])
def test_pictures_of_the_wrong_rank(model, shape):
    assert_refused(lambda: model(pixel_values=torch.zeros(shape)), "pixel_values", str(shape), "frames")


def test_audio_longer_than_max_frames(model):
    assert_refused(lambda: model(input_features=torch.zeros(2, 41, NUM_MEL_BINS)), "input_features", numbers=(41, 40))


def test_audio_with_the_wrong_number_of_mel_bins(model):
    value = torch.zeros(2, 11, NUM_MEL_BINS + 1)
    assert_refused(lambda: model(input_features=value), "input_features", numbers=(NUM_MEL_BINS + 1, NUM_MEL_BINS))


def test_more_frames_than_learned_positions(model):
    learned = build(MoTModel, tiny_config(every_tower={"position_embedding_type": "learned"}))
    assert model(pixel_values=torch.zeros(2, 7, 3, 8, 8)).last_hidden_state.isfinite().all()
    assert_refused(lambda: learned(pixel_values=torch.zeros(2, 7, 3, 8, 8)), "num_frames", numbers=(7, 6))


@pytest.mark.parametrize(
    "subset, options, shape, expected",
    [
        (("text",), {}, (3, 9), (3, 7)),
        (("text",), {}, (1, 7), (3, 7)),
        (("text",), {}, (3, 1), (3, 7)),
        (("text",), {}, (3,), (3, 7)),
        (("image",), {}, (3, 6), (3,)),
        (("image",), {}, (1,), (3,)),
        (("image",), {"frames": True}, (3,), (3, 3)),
        (("image",), {"frames": True}, (3, 4), (3, 3)),
        (("image",), {"frames": True}, (3, 1), (3, 3)),
        (("audio",), {}, (3, 6), (3, 11)),
        (("audio",), {}, (3, 1), (3, 11)),
        (("audio",), {}, (2, 11), (3, 11)),
    ],
)
def test_masks_of_the_wrong_shape(model, subset, options, shape, expected):
    name = MASKS[subset[0]]
    inputs = inputs_for(subset, **options) | {name: torch.ones(shape)}
    assert_refused(lambda: model(**inputs), name, numbers=(*shape, *expected))


@pytest.mark.parametrize("modality", MODALITIES)
def test_feature_masks_of_the_wrong_shape(feature_model, modality):
    inputs = inputs_for((modality,), features=True) | {MASKS[modality]: torch.ones(BATCH_SIZE, 4)}
    length = next(iter(inputs.values())).shape[1]
    assert_refused(lambda: feature_model(**inputs), MASKS[modality], numbers=(4, length))


@pytest.mark.parametrize(
    "modality, name", [("text", "input_ids"), ("image", "pixel_values"), ("audio", "input_features")]
)
def test_a_modality_the_config_lacks(modality, name):
    lacking = build(MoTModel, tiny_config(**{f"{modality}_config": None}))
    inputs = inputs_for(MODALITIES)
    assert lacking(**without(inputs, modality)).last_hidden_state.isfinite().all()
    assert_refused(lambda: lacking(**inputs), name, modality)


@pytest.fixture(scope="module")
def clock_model():
    return build(MoTModel, tiny_config(time_positions=True))


@pytest.mark.parametrize("modality, name", TIMES.items())
def test_times_for_a_model_that_counts(model, modality, name):
    inputs = inputs_for((modality,), frames=True)
    times = torch.zeros(next(iter(inputs.values())).shape[:2])
    assert_refused(lambda: model(**inputs, **{name: times}), name, "time_positions")


@pytest.mark.parametrize(
    "modality, options, shape, expected",
    [
        ("image", {}, (3,), (3, 1)),
        ("image", {}, (3, 2), (3, 1)),
        ("image", {"frames": True}, (3, 4), (3, 3)),
        ("image", {"frames": True}, (1, 3), (3, 3)),
        ("image", {"frames": True}, (3,), (3, 3)),
        ("audio", {}, (3, 6), (3, 11)),
        ("audio", {}, (1, 11), (3, 11)),
        ("audio", {}, (11,), (3, 11)),
    ],
)
def test_times_of_the_wrong_shape(clock_model, modality, options, shape, expected):
    inputs = inputs_for((modality,), **options) | {TIMES[modality]: torch.zeros(shape)}
    assert_refused(lambda: clock_model(**inputs), TIMES[modality], numbers=(*shape, *expected))


def test_frames_without_times(clock_model):
    assert_refused(lambda: clock_model(**inputs_for(("image",), frames=True)), "pixel_times", "pixel_values")


@pytest.mark.parametrize("modality, name", TIMES.items())
def test_features_without_times(modality, name):
    model = build(MoTModel, tiny_config(features=True, time_positions=True))
    inputs = inputs_for((modality,), features=True)
    assert_refused(lambda: model(**inputs), name, next(iter(inputs)))


def test_an_unknown_kind_of_times(clock_model):
    assert_refused(lambda: clock_model(**inputs_for(("text",)), audio_times=torch.zeros(3, 11)), "audio_times")


# Keywords that nothing reads


EVERY_CLASS = (MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
every_class = pytest.mark.parametrize("model_class", EVERY_CLASS)


@pytest.mark.parametrize(
    "name, nearest",
    [
        ("pixel_value", "pixel_values"),
        ("pixel_values_videos", "pixel_values"),
        ("input_feature", "input_features"),
        ("input_id", "input_ids"),
        ("attention_masks", "attention_mask"),
        ("input_embeds", "inputs_embeds"),
        ("images", None),
        ("audio", None),
        ("position_ids", None),
        ("favourite_colour", None),
    ],
)
@every_class
def test_an_unknown_keyword_beside_known_ones_is_refused_with_the_nearest(model_class, name, nearest):
    model = build(model_class, tiny_config())
    inputs = inputs_for(("text",))
    hint = f"did you mean `{nearest}`?" if nearest else "It takes input_ids"
    assert_refused(lambda: model(**inputs, **{name: torch.zeros(BATCH_SIZE, 3)}), f"`{name}`", hint)


@pytest.mark.parametrize(
    "model_class, name, nearest",
    [
        (MoTForSequenceClassification, "label", "labels"),
        (MoTForSequenceClassification, "modality_subset", "modality_subsets"),
        (MoTForRetrieval, "returns_loss", "return_loss"),
        (MoTForPreTraining, "image_label", "image_labels"),
    ],
)
def test_the_nearest_keyword_is_one_of_that_head(model_class, name, nearest):
    model = build(model_class, tiny_config())
    assert_refused(lambda: model(**inputs_for(("text",)), **{name: 1}), f"`{name}`", f"`{nearest}`")


@pytest.mark.parametrize("method", ["get_text_features", "get_fused_features"])
def test_features_of_retrieval_take_no_unknown_keyword(method):
    model = build(MoTForRetrieval, tiny_config())
    assert_refused(lambda: getattr(model, method)(**inputs_for(("text",)), pixel_value=1), "pixel_value")


def test_labels_are_no_argument_of_a_model_without_a_head(model):
    assert_refused(lambda: model(**inputs_for(("text",)), labels=torch.zeros(BATCH_SIZE)), "labels")


@every_class
def test_options_of_the_library_and_empty_arguments_pass(model_class):
    model = build(model_class, tiny_config())
    inputs = inputs_for(("text", "image"))
    options = {"output_attentions": False, "output_hidden_states": False, "return_dict": True, "use_cache": False}
    options |= {"num_items_in_batch": torch.tensor(3), "token_type_ids": torch.zeros_like(inputs["input_ids"])}
    plain, optional = run(model, inputs), run(model, inputs, **options, inputs_embeds=None, position_ids=None)
    for name, value in plain.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(value, optional[name]), name


def test_embedded_words_and_ids_exclude_each_other(model):
    inputs = inputs_for(("text",))
    assert_refused(lambda: model(**inputs, inputs_embeds=torch.zeros(BATCH_SIZE, 7, 32)), "input_ids", "inputs_embeds")


@pytest.mark.parametrize("shape", [(BATCH_SIZE, 7, 31), (BATCH_SIZE, 7)])
def test_embedded_words_of_the_wrong_shape(model, shape):
    assert_refused(lambda: model(inputs_embeds=torch.zeros(shape)), "inputs_embeds", numbers=(*shape, 32))


def test_embedded_words_for_a_model_of_features(feature_model):
    assert_refused(lambda: feature_model(inputs_embeds=torch.zeros(3, 7, 32)), "text_features", "inputs_embeds")


# The labels


def classify(labels, **fields):
    fields = {"num_labels": NUM_LABELS} | fields
    classifier = build(MoTForSequenceClassification, tiny_config(**fields))
    return lambda: classifier(**inputs_for(("text", "audio")), labels=labels)


@pytest.mark.parametrize("label", [NUM_LABELS, 99, -3])
def test_a_label_outside_the_classes(label):
    assert_refused(classify(torch.tensor([0, label, 1])), "labels", numbers=(label, NUM_LABELS))


@pytest.mark.parametrize("labels", [[0, 1, 2], np.array([0, 1, 2]), (0, 1, 2), 1])
def test_labels_that_are_no_tensor(labels):
    kind = type(labels).__name__
    assert_refused(classify(labels), f"`labels` has type {kind}", "torch.tensor(labels)")
    retrieval = build(MoTForRetrieval, tiny_config())
    assert_refused(lambda: retrieval(**inputs_for(("text", "audio")), labels=labels), f"`labels` has type {kind}")
    pretraining = build(MoTForPreTraining, tiny_config())
    for m in ("text", "audio"):
        call = partial(pretraining, **inputs_for(("text", "audio")), **{f"{m}_labels": labels})
        assert_refused(call, f"`{m}_labels` has type {kind}")
    masked = build(MoTForMaskedLM, tiny_config())
    assert_refused(lambda: masked(**inputs_for(("text",)), labels=labels), f"`labels` has type {kind}")


def test_labels_of_another_batch_size():
    assert_refused(classify(torch.tensor([0, 1])), "labels", numbers=(2, BATCH_SIZE))


def test_single_label_labels_of_the_wrong_shape():
    call = classify(torch.zeros(BATCH_SIZE, 2, dtype=torch.int64), problem_type="single_label_classification")
    assert_refused(call, "labels", numbers=(2, BATCH_SIZE))


@pytest.mark.parametrize("shape", [(BATCH_SIZE, 5), (BATCH_SIZE,), (2, NUM_LABELS)])
def test_multi_label_labels_of_the_wrong_shape(shape):
    call = classify(torch.zeros(shape), problem_type="multi_label_classification")
    assert_refused(call, "labels", numbers=(*shape, BATCH_SIZE, NUM_LABELS))


@pytest.mark.parametrize(
    "num_labels, shape", [(1, (2,)), (1, (BATCH_SIZE, 5)), (2, (BATCH_SIZE,)), (2, (BATCH_SIZE, 1))]
)
def test_regression_labels_of_the_wrong_shape(num_labels, shape):
    call = classify(torch.zeros(shape), problem_type="regression", num_labels=num_labels)
    assert_refused(call, "labels", numbers=(*shape, BATCH_SIZE))


@pytest.mark.parametrize("labels", [[0.7, 1.2, 2.9], [0.0, 1.0, 2.0], [0.0, float("nan"), 2.0]])
def test_floats_are_no_classes(labels):
    """Cut to whole numbers, 0.7 would be class 0."""
    call = classify(torch.tensor(labels), problem_type="single_label_classification")
    assert_refused(call, "labels", "torch.float32", "regression", "-100")


@pytest.mark.parametrize("shape", [(BATCH_SIZE,), (BATCH_SIZE, 1)])
def test_one_class_per_row_has_one_loss_in_either_shape(shape):
    labels = torch.tensor([0, 3, 1])
    expected = classify(labels)().loss
    assert torch.equal(classify(labels.reshape(shape))().loss, expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.float32])
def test_a_mark_for_each_class_is_multi_label_of_any_type(dtype):
    labels = torch.eye(NUM_LABELS)[:BATCH_SIZE]
    expected = classify(labels, problem_type="multi_label_classification")().loss
    assert torch.equal(classify(labels.to(dtype))().loss, expected)


def test_multi_label_labels_beyond_zero_and_one():
    labels = torch.tensor([[0.0, 1.0, 3.5, 0.0]] * BATCH_SIZE)
    assert_refused(classify(labels), "labels", "3.5", "regression")


def test_classes_of_one_output():
    with pytest.raises(CONFIG_ERRORS, match="num_labels=2"):
        tiny_config(num_labels=1, problem_type="single_label_classification")
    classifier = build(MoTForSequenceClassification, tiny_config(num_labels=1))
    classifier.config.problem_type = "single_label_classification"  # too late for the config to refuse
    assert_refused(lambda: classifier(**inputs_for(("text",)), labels=torch.tensor([0, 1, 0])), "labels", "num_labels")


def test_one_output_is_a_number_before_any_label_was_seen():
    """Or transformers' pipelines would take it for a probability."""
    assert build(MoTForSequenceClassification, tiny_config(num_labels=1)).config.problem_type == "regression"
    kept = build(MoTForSequenceClassification, tiny_config(num_labels=1, problem_type="multi_label_classification"))
    assert kept.config.problem_type == "multi_label_classification"


@pytest.mark.parametrize("labels", [torch.rand(BATCH_SIZE), torch.tensor([0, 1]), torch.tensor([0, 99, 1])])
def test_a_refused_call_leaves_the_problem_open(labels):
    classifier = build(MoTForSequenceClassification, tiny_config(num_labels=NUM_LABELS))
    assert_refused(lambda: classifier(**inputs_for(("text",)), labels=labels), "labels")
    assert classifier.config.problem_type is None
    classifier(**inputs_for(("text",)), labels=torch.tensor([0, 1, 2]))
    assert classifier.config.problem_type == "single_label_classification"


@pytest.mark.parametrize("shape", [(BATCH_SIZE,), (BATCH_SIZE, 1)])
def test_one_number_per_row_is_a_regression_label(shape):
    """A target (B, 1) must not be broadcast against (B,): both shapes give the same loss."""
    labels = torch.tensor([0.5, -1.0, 2.0])
    output = classify(labels.reshape(shape), problem_type="regression", num_labels=1)()
    assert torch.allclose(output.loss, ((output.logits.reshape(-1) - labels) ** 2).mean())


# The config


@pytest.mark.parametrize("name", ["text_config", "image_config", "audio_config"])
def test_heads_that_do_not_divide_the_width_of_a_tower(name):
    with pytest.raises(CONFIG_ERRORS, match=r"num_attention_heads") as caught:
        tiny_config(**{name: {"hidden_size": 36, "num_attention_heads": 8}})
    assert "36" in str(caught.value) and "8" in str(caught.value)


def test_heads_that_do_not_divide_the_joint_width():
    with pytest.raises(CONFIG_ERRORS, match=r"num_attention_heads") as caught:
        MoTConfig(hidden_size=100, num_attention_heads=8)
    assert "100" in str(caught.value) and "8" in str(caught.value)


def test_a_patch_that_does_not_divide_the_image():
    with pytest.raises(CONFIG_ERRORS, match=r"patch_size") as caught:
        MoTImageConfig(image_size=30, patch_size=7)
    assert "30" in str(caught.value) and "7" in str(caught.value)


def test_no_modality_in_the_config():
    with pytest.raises(CONFIG_ERRORS, match=r"text_config"):
        MoTConfig(text_config=None, image_config=None, audio_config=None)


def test_unknown_fusion_type():
    with pytest.raises(CONFIG_ERRORS, match=r"fusion_type") as caught:
        MoTConfig(fusion_type="blend")
    for name in ("blend", "early", "late", "hierarchical", "attention"):
        assert name in str(caught.value)


def test_unknown_position_embedding_type():
    with pytest.raises(CONFIG_ERRORS, match=r"position_embedding_type"):
        tiny_config(text_config={"position_embedding_type": "sinusoidal_2d"})


@pytest.mark.parametrize(
    "name, kind, features",
    [
        ("image_config", "learned", False),
        ("image_config", "sinusoidal", False),
        ("image_config", "learned", True),
        ("audio_config", "learned", False),
        ("audio_config", "learned", True),
    ],
)
def test_time_positions_of_another_kind(name, kind, features):
    with pytest.raises(CONFIG_ERRORS, match=rf"{name}.position_embedding_type") as caught:
        tiny_config(features=features, time_positions=True, **{name: {"position_embedding_type": kind}})
    assert "time_positions" in str(caught.value) and f'"{kind}"' in str(caught.value)


def test_learned_positions_of_text_beside_time_positions_are_legal():
    config = tiny_config(time_positions=True, text_config={"position_embedding_type": "learned"})
    assert build(MoTModel, config)(**inputs_for(("text",))).last_hidden_state.isfinite().all()


def test_a_width_too_odd_for_two_dimensional_sinusoids():
    with pytest.raises(CONFIG_ERRORS, match=r"image_config.hidden_size") as caught:
        tiny_config(image_config={"hidden_size": 30, "num_attention_heads": 2})
    assert "30" in str(caught.value) and "4" in str(caught.value)


@pytest.mark.parametrize("name", ["text_config", "audio_config"])
def test_a_width_too_odd_for_sinusoids(name):
    with pytest.raises(CONFIG_ERRORS, match=rf"{name}.hidden_size") as caught:
        tiny_config(**{name: {"hidden_size": 15, "num_attention_heads": 3}})
    assert "15" in str(caught.value) and "2" in str(caught.value)


@pytest.mark.parametrize(
    "typo, field",
    [
        ("num_joint_layer", "num_joint_layers"),
        ("hidden_sizes", "hidden_size"),
        ("fusiontype", "fusion_type"),
        ("attention_droput", "attention_dropout"),
    ],
)
def test_a_near_miss_warns_with_the_right_name(typo, field, caplog):
    config = MoTConfig(**{typo: 2})
    assert typo in caplog.text and f"`{field}`" in caplog.text
    assert getattr(config, typo) == 2


def test_a_near_miss_in_a_modality_warns_with_the_right_name(caplog):
    tiny_config(text_config={"vocabsize": 2})
    assert "`vocab_size`" in caplog.text


def test_known_keys_and_far_ones_do_not_warn(caplog, tmp_path):
    config = tiny_config(num_labels=3, problem_type="regression", my_own_key=1)
    config.save_pretrained(tmp_path)
    MoTConfig.from_pretrained(tmp_path)
    assert "did you mean" not in caplog.text


@pytest.mark.parametrize(
    "key, message",
    [
        ("depth_config", "`depth_config` declares the modality 'depth' and needs a `model_type`, one of mot_text, "),
        ("audoi_config", "`audoi_config` .* Did you mean `audio_config`"),
        ("images_config", "cannot be called 'images': .* Did you mean 'image'"),
        ("vision_config", "cannot be called 'vision': that name means something else"),
    ],
)
def test_a_config_of_a_modality_without_a_kind_is_refused(key, message):
    with pytest.raises(CONFIG_ERRORS, match=message):
        MoTConfig(**{key: {"patch_size": 4}})


def test_configs_that_the_library_keeps_are_legal(tmp_path):
    loaded = round_trip(MoTConfig.of_size("tiny", quantization_config={"quant_method": "torchao"}), tmp_path)
    assert loaded.quantization_config == {"quant_method": "torchao"}


def test_the_vocabulary_of_a_config_is_that_of_its_text():
    config = tiny_config()
    assert config.vocab_size == config.text_config.vocab_size == VOCAB_SIZE
    config.vocab_size = 60
    assert config.text_config.vocab_size == 60
    assert not hasattr(tiny_config(text_config=None), "vocab_size")


def round_trip(config, folder):
    config.save_pretrained(folder)
    return MoTConfig.from_pretrained(folder)


def test_an_unknown_key_survives_the_round_trip(tmp_path):
    loaded = round_trip(tiny_config(favourite_colour="green", text_config={"dialect": "norse"}), tmp_path)
    assert loaded.favourite_colour == "green"
    assert loaded.text_config.dialect == "norse"


@pytest.mark.parametrize("modality", MODALITIES)
def test_an_explicit_none_survives_the_round_trip(modality, tmp_path):
    loaded = round_trip(tiny_config(**{f"{modality}_config": None}), tmp_path)
    assert loaded.modality_config(modality) is None
    assert loaded.modalities == tuple(m for m in MODALITIES if m != modality)


@pytest.mark.parametrize("architecture", ["default", "uneven_towers"])
def test_the_config_survives_the_round_trip(architecture, tmp_path):
    config = tiny_config(architecture)
    assert round_trip(config, tmp_path).to_dict() == config.to_dict()


def test_the_default_config_has_every_modality():
    assert MoTConfig().modalities == MODALITIES


def test_what_a_modality_leaves_out_is_the_joint_value():
    config = MoTConfig(hidden_size=64, num_attention_heads=4, layer_norm_eps=1e-3, text_config={"hidden_size": 32})
    assert (config.text_config.hidden_size, config.image_config.hidden_size) == (32, 64)
    assert config.text_config.num_attention_heads == 4
    assert config.audio_config.layer_norm_eps == 1e-3


def test_the_number_of_layers_is_that_of_the_joint_sequence():
    assert tiny_config("uneven_towers").num_hidden_layers == 3


@pytest.mark.parametrize("dtype, has, warns", [("bfloat16", "avx512_bf16", True), ("float32", "", False)])
def test_half_precision_without_instructions_for_it_is_warned_of(dtype, has, warns, monkeypatch):
    warnings = []
    monkeypatch.setattr(modeling_mot.logger, "warning_once", warnings.append)
    model, inputs = build(MoTModel, tiny_config()).to(getattr(torch, dtype)), make_inputs(("text",))
    for flags in ({}, {has: True}, {"architecture": "aarch64"}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda flags=flags: {"architecture": "x86_64"} | flags)
        run(model, inputs)
    assert len(warnings) == warns and all(f"torch.{dtype}" in warning for warning in warnings)


def test_mixed_precision_without_instructions_for_it_is_warned_of(monkeypatch):
    warnings = []
    monkeypatch.setattr(modeling_mot.logger, "warning_once", warnings.append)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"architecture": "x86_64"}, raising=False)
    with torch.autocast("cpu", torch.bfloat16):
        run(build(MoTModel, tiny_config()), make_inputs(("text",)))
    assert len(warnings) == 1
