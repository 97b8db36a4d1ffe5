# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Every argument of every head that is of the wrong kind is refused by its name, and a call that is refused changes
nothing. (Shapes and values that do not fit are in test_bad_input.py.)
"""

import copy
import re

import numpy as np
import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config
from PIL import Image

from mixture_of_transformers import (
    MoTFeatureExtractor,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTModel,
    MoTProcessor,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer

HEADS = (MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
IDS, FLOATS, MASKS = "input_ids", ("pixel_values", "input_features"), "attention_mask pixel_mask input_features_mask"
MASKS = tuple(MASKS.split())
LABELS = {
    MoTForSequenceClassification: ("labels",),
    MoTForRetrieval: ("labels",),
    MoTForPreTraining: ("text_labels", "image_labels", "audio_labels"),
    MoTForMaskedLM: ("labels",),
}
OF_NO_KIND = {
    "a list": lambda value: value.tolist(),
    "an array of numpy": lambda value: value.numpy(),
    "a string": str,
    "a number": lambda value: 1,
    "True": lambda value: True,
    "complex": lambda value: value.to(torch.complex64),
    "sparse": lambda value: value.to_sparse(),
    "nested": lambda value: torch.nested.nested_tensor(list(value)),
    "on the meta device": lambda value: value.to("meta"),
}
IS_NO_ID = {str(dtype): lambda value, dtype=dtype: value.to(dtype) for dtype in (torch.bool, torch.int16, torch.uint8)}
IS_NO_ID |= {"floats": lambda value: value.float(), "of no rows": lambda value: value[:0]}
IS_NO_FLOAT = {
    str(dtype): lambda value, dtype=dtype: value.to(dtype) for dtype in (torch.bool, torch.int64, torch.uint8)
}
IS_NO_FLOAT |= {"of no rows": lambda value: value[:0], "of no size": lambda value: value[:, :, :0]}
IS_NO_MASK = {
    "NaN": lambda value: value * float("nan"),
    "added to scores": lambda value: (1.0 - value) * torch.finfo(torch.float32).min,
    "added to scores without padding": lambda value: torch.zeros_like(value, dtype=torch.float32),
    "negative": lambda value: -1.0 - value,
}


def wrong_values(name):
    if name in MASKS:
        return OF_NO_KIND | IS_NO_MASK
    is_ids = name in (IDS, "labels", "text_labels")
    return OF_NO_KIND | (IS_NO_ID if is_ids else IS_NO_FLOAT)


def right_arguments(head):
    """Three rows with everything, one of them padded, and labels."""
    inputs = {name: value[:3] for name, value in make_inputs(MODALITIES, masks="padding").items()}
    for name in MASKS:
        inputs[name][2] = 0
    inputs["attention_mask"][2, 0] = 1
    labels = {
        MoTForSequenceClassification: {"labels": torch.tensor([0, 1, 2])},
        MoTForRetrieval: {"labels": torch.tensor([0, 1, 2])},
        MoTForMaskedLM: {"labels": inputs["input_ids"]},
        MoTForPreTraining: {
            "text_labels": inputs["input_ids"],
            "image_labels": inputs["pixel_values"],
            "audio_labels": inputs["input_features"],
        },
    }
    return inputs | labels.get(head, {})


@pytest.fixture(scope="module", params=HEADS, ids=lambda head: head.__name__)
def head(request):
    return build(request.param, tiny_config(num_labels=4))


def state_of(model):
    return copy.deepcopy(model.config.to_dict()), [module.training for module in model.modules()], model.state_dict()


def refusal(model, arguments):
    """The message with which a call is refused."""
    with pytest.raises(ValueError) as caught:
        model(**arguments)
    return str(caught.value)


def test_an_argument_of_the_wrong_kind_is_refused_by_its_name_and_changes_nothing(head):
    arguments = right_arguments(type(head))
    before = state_of(head)
    for name in (IDS, *FLOATS, *MASKS, *LABELS.get(type(head), ())):
        for what, make in wrong_values(name).items():
            message = refusal(head, arguments | {name: make(arguments[name])})
            assert f"`{name}`" in message, f"{name} {what}: {message}"
            assert re.search("expect|pass ", message), f"{name} {what}: {message}"
            config, modes, weights = state_of(head)
            assert (config, modes) == before[:2], f"{name} {what}"
            assert all(torch.equal(value, before[2][key]) for key, value in weights.items())
    assert head(**arguments) is not None


def test_a_flag_that_is_neither_true_nor_false_is_refused_by_its_name(head):
    arguments = right_arguments(type(head))
    names = ["output_hidden_states", "output_attentions", "output_encoder_hidden_states", "output_encoder_attentions"]
    names += ["return_loss"] if isinstance(head, (MoTForRetrieval, MoTForPreTraining)) else []
    for name in names:
        for value in (torch.ones(3), "yes", 0.5, [True]):
            assert f"`{name}` has type" in refusal(head, arguments | {name: value})
        assert head(**arguments | {name: True}) is not None


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_whole_numbers_of_both_sizes_are_ids(head, dtype):
    arguments = right_arguments(type(head))
    expected = head(**arguments)
    found = head(**arguments | {IDS: arguments[IDS].to(dtype)})
    name = next(name for name, value in expected.items() if isinstance(value, torch.Tensor) and value.ndim)
    assert torch.equal(found[name], expected[name])


@pytest.mark.parametrize("kind", [torch.bool, torch.uint8, torch.int32, torch.float16, torch.float32])
def test_a_mask_of_any_type_of_numbers_means_the_same(kind):
    model, arguments = build(MoTModel, tiny_config()), right_arguments(MoTModel)
    expected = model(**arguments).last_hidden_state
    other = {name: value.to(kind) if name in MASKS else value for name, value in arguments.items()}
    assert torch.equal(model(**other).last_hidden_state, expected)


@pytest.mark.parametrize("subsets", [[[["text"]]], [[None]], [[1]], [("text", {})], "text", [("speech",)]])
def test_subsets_of_the_wrong_kind_are_refused(subsets):
    model = build(MoTForSequenceClassification, tiny_config(num_labels=4))
    assert "`modality_subsets`" in refusal(model, right_arguments(MoTModel) | {"modality_subsets": subsets})


@pytest.mark.parametrize(
    "wrong, right",
    [
        (torch.tensor([0.0, 1.0, 2.0]), torch.tensor([0, 1, 2])),
        (torch.tensor([0, 1, 9]), torch.eye(4)[:3]),
        (torch.full((3, 4), 2.0), torch.tensor([0, 1, 2])),
        (torch.zeros(2, 4), torch.tensor([0, 1, 2])),
    ],
)
def test_refused_labels_do_not_decide_what_the_problem_is(wrong, right):
    model = build(MoTForSequenceClassification, tiny_config(num_labels=4))
    arguments = right_arguments(MoTModel)
    refusal(model, arguments | {"labels": wrong})
    refusal(model, arguments | {"labels": wrong, "modality_subsets": [("text",), ("text", "audio")]})
    assert model.config.problem_type is None
    assert model(**arguments, labels=right).loss.isfinite()


def test_a_folder_that_cannot_be_written_leaves_the_config_as_it_was(tmp_path):
    model = build(MoTModel, tiny_config())
    (tmp_path / "model.safetensors").mkdir()  # where a file should go
    with pytest.raises(Exception, match="Is a directory"):
        model.save_pretrained(tmp_path)
    assert not hasattr(model.config, "custom_pipelines")


@pytest.mark.parametrize("mean, std", [(0, 0), (0, -1.0), (float("nan"), 1.0), (0, float("inf"))])
def test_a_scale_that_is_none_is_refused_before_the_head_is_changed(mean, std):
    model = build(MoTForSequenceClassification, tiny_config(num_labels=1, problem_type="regression"))
    weight = model.classifier.weight.clone()
    with pytest.raises(ValueError, match="`std`"):
        model.set_scale(mean, std)
    assert torch.equal(model.classifier.weight, weight)


def test_an_array_is_what_the_error_says_it_is():
    model = build(MoTModel, tiny_config())
    message = refusal(model, {IDS: np.ones((2, 3), dtype=np.int64)})
    assert "`input_ids` has type ndarray, expected a tensor" in message and "torch.tensor(input_ids)" in message


# What the processor and its parts are given


@pytest.fixture(scope="module")
def processor():
    return MoTProcessor(tokenizer=train_tokenizer(["one two"] * 9))


SOUND, PICTURE = np.zeros(4000, dtype=np.float32), np.zeros((3, 8, 8), dtype=np.uint8)
NO_ARRAYS = {
    "complex": lambda array: array.astype(np.complex64),
    "a complex tensor": lambda array: torch.from_numpy(array).to(torch.complex64),
    "sparse": lambda array: torch.from_numpy(array).to_sparse(),
    "on the meta device": lambda array: torch.from_numpy(array).to("meta"),
    "of dates": lambda array: array.astype("datetime64[s]"),
}
ARRAYS = {
    "images": PICTURE,
    "videos": PICTURE[None],
    "audio": SOUND,
    "text_features": PICTURE[0],
    "image_features": PICTURE[0],
    "audio_features": PICTURE[0],
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_an_array_that_holds_no_real_numbers_is_refused_by_its_name(processor, name, kind):
    value = NO_ARRAYS[kind](ARRAYS[name])
    for given, place in ((value, name), ([None, value], f"{name}[1]")):
        beside = {"text": ["one", "two"]} if isinstance(given, list) and name != "text_features" else {}
        with pytest.raises(ValueError, match=re.escape(place)) as caught:
            processor(**{name: given}, **beside, sampling_rate=16_000)
        assert "expected" in str(caught.value)


@pytest.mark.parametrize(
    "options, name",
    [
        ({"videos_kwargs": {"num_frames": "a"}}, "num_frames"),
        ({"videos_kwargs": {"num_frames": 0}}, "num_frames"),
        ({"videos_kwargs": 5}, "videos_kwargs"),
        ({"text_kwargs": "x"}, "text_kwargs"),
    ],
)
def test_options_of_the_wrong_kind_are_refused_by_their_name(processor, options, name):
    with pytest.raises(ValueError, match=name):
        processor(videos=[[PICTURE, PICTURE]], **options)


@pytest.mark.parametrize(
    "sound",
    [1, "a", None, b"abc", True, {"a": 1}, ["a"], [SOUND, None], SOUND[None, None], SOUND * np.nan]
    + [[], SOUND[:0], [SOUND, SOUND[:0]], np.zeros((0, 100))],
)
def test_a_waveform_of_the_wrong_kind_is_refused_by_the_extractor(sound):
    with pytest.raises(ValueError, match="`raw_speech`"):
        MoTFeatureExtractor()(sound, sampling_rate=16_000)


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_an_array_that_is_no_waveform_is_refused_by_the_extractor(kind):
    with pytest.raises(ValueError, match="`raw_speech`"):
        MoTFeatureExtractor()(NO_ARRAYS[kind](SOUND))


NO_PICTURES = [1, None, True, b"abc", {"a": 1}, [Image.new("RGB", (4, 4)), None], [], Image.new("RGB", (0, 4))]
NO_PICTURES += [
    PICTURE[:, :0],
    PICTURE + np.nan,
    np.full((3, 8, 8), "a"),
    *(make(PICTURE) for make in NO_ARRAYS.values()),
]


@pytest.mark.parametrize("pictures", NO_PICTURES)
def test_pictures_of_the_wrong_kind_are_refused_by_the_image_processor(pictures):
    with pytest.raises(ValueError, match="`images`"):
        MoTImageProcessor()(pictures, return_tensors="pt")


@pytest.mark.parametrize("name", ["text_features", "image_features", "audio_features"])
@pytest.mark.parametrize("value", [PICTURE[0] == 0, PICTURE[0] + np.nan, [[True, False]]])
def test_ready_features_are_finite_numbers(processor, name, value):
    with pytest.raises(ValueError, match=rf"{name}\[0\]"):
        processor(**{name: [value]})


@pytest.mark.parametrize("size", [(0, 0), (0, 4), (4, 0)])
def test_a_picture_has_a_pixel_at_least(processor, size):
    for given, place in (
        ({"images": [None, Image.new("L", size)]}, "images[1]"),
        ({"videos": [[Image.new("L", size)]]}, "videos[0]"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"{place} is a picture of {size[0]} x {size[1]} pixels")):
            processor(**given, **({"text": ["one", "two"]} if "images" in given else {}))


@pytest.mark.parametrize("name, lowest", [("max_length", 1), ("pad_to_multiple_of", 1), ("stride", 0)])
def test_lengths_of_text_are_whole_numbers(processor, name, lowest):
    for value in ("a", lowest - 1, 1.5, True, 10**30):
        for options in ({name: value}, {"text_kwargs": {name: value}}):
            with pytest.raises(ValueError, match=f"`{name}` is {value!r}: expected a whole number from {lowest}"):
                processor(text="one two", **options)
    assert processor(text="one two", **{name: 4}, truncation=True)["input_ids"].shape == (1, 4)


@pytest.mark.parametrize("value", ["a", -1, 0, float("nan"), float("inf"), []])
def test_seconds_of_sound_are_a_number_above_zero(processor, value):
    with pytest.raises(ValueError, match="`max_audio_seconds`"):
        processor(audio=SOUND, sampling_rate=16_000, max_audio_seconds=value)


@pytest.mark.parametrize("value", ["Public", "false", 2, []])
def test_a_word_that_nobody_knows_follows_no_urls(processor, value):
    with pytest.raises(ValueError, match="`allow_urls` is .* expected True, False or 'public'"):
        processor(text="one", allow_urls=value)


@pytest.mark.parametrize(
    "name, values",
    [
        ("image_mean", [[0.5, "x", 0.5], [0.5, float("nan"), 0.5], [1e308] * 3]),
        ("image_std", [[0.5, 0, 0.5], [1e-300] * 3, "x"]),
        ("rescale_factor", [float("inf"), "x"]),
        ("size", [{"height": 0, "width": 8}, {"height": 8, "width": -8}, {"height": 10**12, "width": 8}]),
    ],
)
def test_a_setting_with_which_no_picture_can_be_processed_is_named(name, values):
    for value in values:
        with pytest.raises(ValueError, match=f"`{name}`"):
            MoTImageProcessor(**{name: value})(Image.new("RGB", (4, 4)), return_tensors="pt")


@pytest.mark.parametrize(
    "name", ["dither", "preemphasis", "input_scale_factor", "padding_value", "mel_floor", "dynamic_range"]
)
def test_a_setting_with_which_no_sound_can_be_processed_is_named(name):
    for value in ("1", float("nan"), float("inf"), 1e308, [[]]):
        if (name, value) != ("dynamic_range", 1e308):
            with pytest.raises(ValueError, match=f"`{name}`"):
                MoTFeatureExtractor(**{name: value})
