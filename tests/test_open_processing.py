# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""MoTProcessor with modalities that a user declares, several cells in one row, and documents."""

import importlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from test_processing import make_processor, picture, tone

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.modalities_mot import KINDS
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.processing_mot import MoTProcessor, encode_rows

RATE = 16000
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
MODALITIES = {
    "title": {"kind": "text"},
    "depth": {"kind": "mot_image", "size": 8, "scale": 0.001},
    "thumb": {"kind": "image", "size": {"height": 12, "width": 10}, "mean": 0.5, "std": 0.5},
    "heart": {"kind": "audio", "sampling_rate": 4000, "num_mel_bins": 20, "max_frequency": 2000.0},
    "clip": {"kind": "video", "size": 8},
}


@pytest.fixture(scope="module")
def processor():
    return make_processor(modalities=MODALITIES)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def equal(batch, other, names=None):
    """Whether two batches, or some inputs of them, are the same to the last bit."""
    names = names or set(batch) | set(other)
    return all(torch.equal(batch[name], other[name]) for name in names)


def segments_of(batch, names, row):
    """The real values of each segment of a row, in their order."""
    real = batch[names.mask][row].bool()
    numbers = batch[names.segments][row][real]
    return [batch[names.raw][row][real][numbers == i] for i in numbers.unique()]


# ---------------------------------------------------------------------------------------------------------------------
# Modalities under names of a user's
# ---------------------------------------------------------------------------------------------------------------------


def test_a_declared_modality_gives_what_its_kind_gives_under_the_names_that_follow_from_its_own(processor, rng):
    texts, sounds = ["a small cat", None, "red"], [None, tone(), tone(880.0)]
    batch = processor(title=texts, heart=[None, *sounds[1:]], sampling_rate=RATE)
    assert set(batch) == {"title_values", "title_mask", "heart_values", "heart_mask"}
    assert set(batch) < set(processor.model_input_names)
    as_text = processor(text=texts, images=[None, picture(rng), None])
    assert torch.equal(batch["title_values"], as_text["input_ids"])
    assert torch.equal(batch["title_mask"], as_text["attention_mask"])
    extractor = MoTFeatureExtractor(feature_size=20, sampling_rate=4000, max_frequency=2000.0)
    other = make_processor(feature_extractor=extractor)(audio=sounds[1:], sampling_rate=RATE)
    assert torch.equal(batch["heart_values"][1:], other["input_features"])
    assert batch["heart_mask"].sum(1).tolist()[0] == 0


def test_pictures_share_the_image_processor_but_for_their_settings(processor, rng):
    pictures = [picture(rng, "RGBA"), None, picture(rng, "L")]
    batch = processor(thumb=pictures, images=[None, picture(rng), None])
    values = batch["thumb_values"]
    assert values.shape == (3, 3, 12, 10) and batch["thumb_mask"].tolist() == [1, 0, 1]
    options = {"size": {"height": 12, "width": 10}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    by_options = make_processor()(images=pictures[::2], images_kwargs=options)["pixel_values"]
    torch.testing.assert_close(values[::2], by_options)


def test_frames_of_a_declared_video_lie_as_those_of_videos_do(processor, rng):
    frames = [[picture(rng) for _ in range(number)] for number in (2, 3)]
    batch = processor(clip=frames)
    assert batch["clip_values"].shape == (2, 3, 3, 8, 8) and batch["clip_mask"].tolist() == [[1, 1, 0], [1, 1, 1]]
    assert torch.equal(batch["clip_values"][0, :2], processor(clip=[frames[0]])["clip_values"][0])


def test_any_declared_modality_may_come_as_ready_features(processor):
    batch = processor(depth_features=[np.ones((2, 5)), None, np.ones((3, 5))], title=[None, "a", None])
    assert batch["depth_features"].shape == (3, 3, 5) and batch["depth_mask"].sum(1).tolist() == [2, 0, 3]
    with pytest.raises(ValueError, match="Got both depth and depth_features"):
        processor(depth=[np.ones((8, 8))], depth_features=[np.ones((2, 5))])


@pytest.mark.parametrize("form", ["array", "tensor", "picture", "file", "channel first"])
def test_every_one_of_sixteen_bits_of_a_depth_is_kept(processor, rng, form, tmp_path):
    depth = rng.integers(0, 2**16, (8, 8), dtype=np.uint16)
    depth[0, :2] = 0, 2**16 - 1
    Image.fromarray(depth).save(tmp_path / "depth.png")
    assert Image.open(tmp_path / "depth.png").mode == "I;16"
    forms = {"array": depth, "tensor": torch.from_numpy(depth.astype(np.int32)), "channel first": depth[None]}
    forms |= {"picture": Image.fromarray(depth), "file": str(tmp_path / "depth.png")}
    batch = processor(depth=[forms[form]])
    assert batch["depth_values"].shape == (1, 1, 8, 8)
    expected = torch.from_numpy(depth.astype(np.float32))[None, None] * 0.001
    assert torch.equal(batch["depth_values"], expected)


@pytest.mark.parametrize("channels", [1, 2, 5])
def test_values_of_any_number_of_channels_are_standardised_by_channel(rng, channels):
    mean, std = rng.normal(size=channels), rng.uniform(1, 2, channels)
    settings = {"kind": "image", "num_channels": channels, "size": 6, "mean": mean.tolist(), "std": std.tolist()}
    processor = make_processor(modalities={"bands": settings})
    array = rng.normal(size=(6, 6, channels)).astype(np.float32)
    values = processor(bands=[array])["bands_values"][0]
    expected = ((array - mean) / std).transpose(2, 0, 1)
    torch.testing.assert_close(values, torch.from_numpy(expected).float())
    assert torch.equal(values, processor(bands=[array.transpose(2, 0, 1)])["bands_values"][0])
    larger = np.kron(array, np.ones((3, 3, 1)))  # constant within what becomes one pixel
    shape = processor(bands=[larger], images=[picture(rng)])["bands_values"].shape
    assert shape == (1, channels, 6, 6)


def test_what_pictures_of_the_training_split_teach_standardises_them(rng, tmp_path):
    depths = [rng.integers(0, 5000, (6, 5), dtype=np.uint16) for _ in range(3)]
    Image.fromarray(depths[0]).save(tmp_path / "first.png")
    kind = MoTProcessor().kinds["image"].called("depth")
    settings = kind.learn([None, str(tmp_path / "first.png"), depths[1:]])
    every = np.stack(depths)
    assert settings["num_channels"] == 1 and kind.config_fields(settings) == {"num_channels": 1}
    np.testing.assert_allclose([settings["mean"], settings["std"]], [[every.mean()], [every.std()]])
    processor = make_processor(modalities={"depth": {"kind": "image", "size": {"height": 6, "width": 5}, **settings}})
    values = processor(depth=depths)["depth_values"]
    torch.testing.assert_close(torch.stack([values.mean(), values.std(correction=0)]), torch.tensor([0.0, 1.0]))
    for colours in (picture(rng), picture(rng, "L"), rng.random((5, 5, 3)), np.zeros((4, 5), np.uint8)):
        assert kind.learn([None, colours]) == {}
    assert kind.learn(iter([np.ones((9, 8, 7))])) == {"num_channels": 7, "mean": [1.0] * 7, "std": [1.0] * 7}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.zeros((8, 8, 3)), r"depth\[0\] is an array and shape \(8, 8, 3\), expected 1 channels"),
        (Image.new("RGB", (8, 8)), r"depth\[0\] is a picture of mode RGB"),
        (np.full((8, 8), np.nan), r"depth\[0\] holds NaN"),
        ([np.zeros((8, 8)), np.zeros(8)], r"depth\[0\]\[1\] is an array and shape \(8,\)"),
    ],
)
def test_a_depth_that_cannot_be_one_is_named(processor, value, message):
    with pytest.raises(ValueError, match=message):
        processor(depth=[value])


# ---------------------------------------------------------------------------------------------------------------------
# Declarations
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("modalities", "message"),
    [
        ([], r"`modalities` is \[\]"),
        ({"depth": "image"}, r"`depth` is 'image': expected a dict with a `kind`"),
        ({"depth": {"size": 8}}, "expected a dict with a `kind`"),
        ({"depth": {"kind": "imge"}}, "kind of the modality `depth`: `imge`: did you mean `image`"),
        ({"depth": {"kind": "image", "scal": 1}}, "setting of the modality `depth`: `scal`: did you mean `scale`"),
        ({"depth": {"kind": "image", "size": 0}}, r"`depth` \(image\): `size` is 0"),
        ({"depth": {"kind": "image", "num_channels": 2, "mean": [1, 2, 3]}}, "one for each of 2 channels"),
        ({"depth": {"kind": "image", "scale": 1, "std": 0}}, "`std` is 0, expected a finite number other than 0"),
        ({"depth": {"kind": "image", "mean": {1, 2}}}, "JSON"),
        ({"heart": {"kind": "audio", "num_mel_bins": 0}}, r"`heart` \(audio\)"),
        ({"title": {"kind": "text", "max_length": 0}}, "`max_length` is 0"),
        ({"image": {"kind": "image"}}, "'image'"),
        ({"images": {"kind": "image"}}, "'images'"),
        ({"padding": {"kind": "text"}}, "'padding'"),
        ({"2d": {"kind": "image"}}, "'2d'"),
    ],
)
def test_a_declaration_that_cannot_be_is_refused_with_what_would_be_right(modalities, message):
    with pytest.raises(ValueError, match=message):
        make_processor(modalities=modalities)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("dept", "depth"), ("titel", "title"), ("heart_feature", "heart_features"), ("iimages", "images")],
)
def test_an_unknown_keyword_is_an_error_that_names_the_nearest(processor, name, nearest):
    with pytest.raises(ValueError, match=f"`{name}`: did you mean `{nearest}`"):
        processor(text="a", **{name: ["a"]})


def test_a_name_that_a_user_gave_means_what_it_names_also_where_it_is_a_synonym_elsewhere():
    batch = make_processor(modalities={"sentence": {"kind": "text"}})(sentence=["a cat"], text=["red"])
    assert set(batch) == {"sentence_values", "sentence_mask", "input_ids", "attention_mask"}


def test_declarations_and_their_order_survive_saving_and_loading(processor, tmp_path, rng):
    processor.save_pretrained(tmp_path)
    loaded = MoTProcessor.from_pretrained(tmp_path)
    assert loaded.modalities == processor.modalities and list(loaded.kinds) == list(processor.kinds)
    rows = {"title": ["a", None], "depth": [rng.normal(size=(9, 7)), None], "clip": [None, [picture(rng)] * 2]}
    assert equal(processor(**rows), loaded(**rows))


@pytest.mark.training
def test_a_process_without_the_package_loads_declarations(processor, tmp_path):
    MoTProcessor.register_for_auto_class()
    processor.save_pretrained(tmp_path / "saved")
    code = """
import sys
sys.modules["mixture_of_transformers"] = None
import numpy as np
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained("saved", trust_remote_code=True)
batch = processor(title=[["a", "cat"], None], depth=[None, np.full((8, 8), 2000, np.uint16)])
print(batch["title_segments"].tolist(), batch["depth_values"].max().item())
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, timeout=100)
    assert result.returncode == 0, result.stderr[-2000:]
    assert result.stdout.strip() == "[[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 0]] 2.0"


def test_a_kind_of_a_users_own_goes_with_a_processor_that_is_saved(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setitem(KINDS, "sonar", importlib.import_module("modality_sonar").SonarModality)
    MoTProcessor.register_for_auto_class()
    processor = make_processor(modalities={"front": {"kind": "sonar"}})
    for _ in range(2):
        processor.save_pretrained(tmp_path)
    assert (tmp_path / "modalities_mot.py").read_text().count("register(SonarModality)") == 1
    assert (tmp_path / "modality_sonar.py").exists()
    assert MoTProcessor.from_pretrained(tmp_path).kinds["front"].kind == processor.kinds["front"].kind


# ---------------------------------------------------------------------------------------------------------------------
# Segments
# ---------------------------------------------------------------------------------------------------------------------


def several(rng):
    """Argument -> three cells of one row."""
    clips = [[picture(rng) for _ in range(number)] for number in (1, 3, 2)]
    return {
        "text": ["a small cat", "red", "dog sings"],
        "title": ["red", "a small cat", "dog sings"],
        "images": [picture(rng) for _ in range(3)],
        "videos": clips,
        "audio": [tone(seconds=seconds) for seconds in (0.2, 0.4, 0.3)],
        "heart": [tone(seconds=seconds) for seconds in (0.4, 0.2, 0.3)],
        "depth": [rng.normal(size=(8, 8)) for _ in range(3)],
        "clip": clips,
    }


ARGUMENTS = ["text", "title", "images", "videos", "audio", "heart", "depth", "clip"]


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_each_segment_has_the_values_of_a_row_of_its_own(processor, rng, argument):
    cells = several(rng)[argument]
    names = processor.rows.raw[argument][1].names
    other = {"text": ["a"] * 4} if argument == "audio" else {"audio": [tone()] * 4}
    nothing = None if isinstance(cells[0], list) else []  # of videos [] is one without frames
    batch = processor(**{argument: [cells[:2], None, nothing, [cells[2]]]}, **other, sampling_rate=RATE)
    assert batch[names.segments].dtype == batch[names.mask].dtype == torch.int64
    assert batch[names.segments].shape == batch[names.mask].shape == batch[names.raw].shape[:2]
    found = segments_of(batch, names, 0) + segments_of(batch, names, 3)
    for cell, segment in zip(cells, found, strict=True):
        alone = processor(**{argument: [cell]}, sampling_rate=RATE)
        expected = alone[names.raw] if alone[names.mask].ndim == 1 else alone[names.raw][0]
        assert torch.equal(segment, expected)
    assert not batch[names.mask][1:3].any() and not batch[names.raw][1:3].any()


@pytest.mark.parametrize("argument", ARGUMENTS)
def test_one_segment_is_no_segments(processor, rng, argument):
    cells = several(rng)[argument]
    nested = processor(**{argument: [[cell] for cell in cells]}, sampling_rate=RATE)
    plain = processor(**{argument: cells}, sampling_rate=RATE)
    if argument in ("videos", "clip"):
        nested = processor(**{argument: [[clip] for clip in cells]})
    assert not [name for name in nested if name.endswith("_segments")]
    assert equal(nested, plain)


def test_pictures_and_videos_of_a_batch_are_segments_beside_each_other(processor, rng):
    front, back = picture(rng), picture(rng)
    clips = [[picture(rng)] * 2, [picture(rng)] * 3]
    batch = processor(images=[[front, back], None], videos=[None, clips])
    assert batch["pixel_segments"].tolist() == [[0, 1, 0, 0, 0], [0, 0, 1, 1, 1]]
    assert batch["pixel_mask"].tolist() == [[1, 1, 0, 0, 0], [1] * 5]
    by_form = processor(
        videos=[None, [np.stack([np.asarray(f) for f in clip]) for clip in clips]], images=[front, None]
    )
    assert torch.equal(batch["pixel_values"][1], by_form["pixel_values"][1])


def test_a_list_of_frames_is_one_video_and_a_list_of_videos_is_several(processor, rng, tmp_path):
    frames = [picture(rng) for _ in range(3)]
    contents = []
    for frame in frames:
        frame.save(buffer := io.BytesIO(), "PNG")
        contents.append(buffer.getvalue())
    paths = [tmp_path / f"{i}.png" for i in range(3)]
    for path, content in zip(paths, contents):
        path.write_bytes(content)
    plain = processor(videos=[frames])
    for form in (contents, paths, [{"bytes": None, "path": str(path)} for path in paths]):
        assert equal(processor(videos=[form]), plain)
    for clip in ("https://example.org/a.mp4?x=1", "a.MOV", b"no picture", {"bytes": None, "path": "a.webm"}):
        cell = processor.kinds["image"].cells[1]
        assert processor.kinds["image"].segments_of(cell, [clip, clip]) == [clip, clip]


def test_ready_features_of_several_segments_follow_each_other(processor, rng):
    first, second = rng.normal(size=(2, 5)).astype(np.float32), rng.normal(size=(3, 5)).astype(np.float32)
    batch = processor(image_features=[[first, second.tolist()], first.tolist()])
    assert batch["pixel_segments"].tolist() == [[0, 0, 1, 1, 1], [0] * 5]
    np.testing.assert_array_equal(batch["image_features"][0], np.concatenate([first, second]))


def test_times_of_segments_are_those_of_each_file_and_of_pictures_zero(rng):
    timed = make_processor(return_times=True)
    batch = timed(
        audio=[[tone(seconds=0.3), tone(seconds=0.2)]], images=[[picture(rng), picture(rng)]], sampling_rate=RATE
    )
    alone = [timed(audio=tone(seconds=s), sampling_rate=RATE)["input_features_times"][0] for s in (0.3, 0.2)]
    assert torch.equal(batch["input_features_times"][0], torch.cat(alone))
    assert batch["pixel_times"].tolist() == [[0.0, 0.0]]


def test_a_segment_that_cannot_be_read_is_named_where_it_stands(processor, rng):
    with pytest.raises(ValueError, match=r"images\[1\]\[2\] is not a picture"):
        processor(images=[picture(rng), [picture(rng), None, b"nothing"]])
    with pytest.raises(FileNotFoundError, match=r"audio\[0\]\[1\]: there is no file"):
        processor(audio=[[tone(), "absent.wav"]], sampling_rate=RATE)
    with pytest.raises(ValueError, match=r"text\[0\]\[1\] has type int"):
        processor(text=[["a", 3]])


def test_padding_on_the_left_leaves_no_gap_between_segments():
    processor = make_processor()
    processor.tokenizer.padding_side = "left"
    batch = processor(text=[["a", "a small cat"], "red"])
    assert batch["input_ids"].tolist() == [[2, 5, 3, 2, 5, 6, 8, 3], [2, 7, 3, 0, 0, 0, 0, 0]]


def test_what_is_said_of_a_whole_segment_is_refused(processor):
    with pytest.raises(ValueError, match=r"`length` of shape \(2,\)"):
        processor(text=[["a", "red"]], return_length=True)


# ---------------------------------------------------------------------------------------------------------------------
# Documents
# ---------------------------------------------------------------------------------------------------------------------


def test_the_parts_of_a_document_are_segments_with_their_place_as_time(processor, rng):
    image, depth, sound = picture(rng), rng.normal(size=(8, 8)), tone()
    document = [{"text": "a cat"}, {"image": image}, {"text": None}, {"text": "red"}, {"depth": [depth, depth]}]
    others = [[{"sound": sound}, {"videos": [image, image]}, {"image": image}]]
    batch = processor([document, *others], sampling_rate=RATE)
    assert batch["input_segments"].tolist() == [[0, 0, 0, 0, 1, 1, 1], [0] * 7]
    assert batch["input_times"].tolist() == [[0.0] * 4 + [2.0] * 3, [0.0] * 7]
    assert batch["pixel_segments"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert batch["pixel_times"].tolist() == [[1.0, 0.0, 0.0], [1.0, 1.0, 2.0]]
    assert batch["depth_segments"].tolist() == [[0, 1], [0, 0]] and batch["depth_times"][0].tolist() == [3.0, 3.0]
    assert batch["input_features_times"].dtype == torch.float32 and not batch["input_features_times"].any()
    rows = {"text": [["a cat", "red"], None], "depth": [[depth, depth], None], "audio": [None, sound]}
    by_name = processor(**rows, sampling_rate=RATE)
    assert equal(batch, by_name, ["input_ids", "attention_mask", "input_segments", "depth_values", "input_features"])


def test_documents_are_given_by_position_by_name_and_alone(processor):
    document = [{"text": "a"}, {"title": "red"}]
    batch = processor([document, document[1:]])
    assert equal(processor(documents=[document, document[1:]]), batch)
    assert equal(processor(document), processor([document]))
    assert batch["title_times"].tolist() == [[1.0] * 3, [0.0] * 3]


def test_places_take_the_place_of_seconds(rng):
    batch = make_processor(return_times=True)([[{"text": "a"}, {"audio": {"array": tone(), "sampling_rate": RATE}}]])
    assert set(batch["input_features_times"].flatten().tolist()) == {1.0}


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([[{"txt": "a"}]], r"part documents\[0\]\[0\]: `txt`: did you mean `text`"),
        ([[{"text": "a"}], [{"text": " "}]], "Row 1 is empty"),
        ([[{"text": "a", "title": "b"}]], r"documents\[0\]\[0\] is .* expected a dict with one key"),
        ([None], r"documents\[0\] has type NoneType"),
        ("a", "`documents` is 'a'"),
        ([[{"text": "a"}, {"depth": np.zeros(3)}]], r"documents\[0\]\[1\] is an array"),
        (
            [[{"image": np.zeros((3, 3, 3))}, {"image_features": np.zeros((3, 3))}]],
            "Got both images and image_features",
        ),
    ],
)
def test_a_document_that_cannot_be_is_named(processor, documents, message):
    with pytest.raises(ValueError, match=message):
        processor(documents=documents)


def test_documents_and_inputs_by_name_do_not_mix(processor):
    with pytest.raises(ValueError, match="Got `documents` and text"):
        processor(documents=[[{"text": "a"}]], text="a")


# ---------------------------------------------------------------------------------------------------------------------
# Options, rows of a model
# ---------------------------------------------------------------------------------------------------------------------


def test_options_of_one_modality_stand_over_those_of_its_kind(processor):
    words = "a small red cat sings"
    own = {"title": {"truncation": True, "max_length": 3}}
    batch = processor(title=words, text=words, modality_kwargs=own)
    assert batch["title_values"].shape == (1, 3) and batch["input_ids"].shape == (1, 7)
    with pytest.raises(ValueError, match="modality in modality_kwargs: `titel`: did you mean `title`"):
        processor(title=words, modality_kwargs={"titel": {}})
    with pytest.raises(ValueError, match="`max_lenght`: did you mean `max_length`"):
        processor(title=words, modality_kwargs={"title": {"max_lenght": 3}})


def test_a_text_is_cut_where_its_settings_say_if_it_is_cut():
    processor = make_processor(modalities={"title": {"kind": "text", "max_length": 4}})
    words = "a small red cat sings"
    assert processor(title=words)["title_values"].shape == (1, 7)
    batch = processor(title=words, text=words, truncation=True)
    assert batch["title_values"].shape == (1, 4) and batch["input_ids"].shape == (1, 6)


def tiny_model(num_labels=3):
    towers = {"text_config": {"vocab_size": 30, "max_position_embeddings": 8}, "audio_config": {"max_frames": 60}}
    towers |= {"image_config": {"image_size": 16, "patch_size": 8}}
    towers = {name: {"num_hidden_layers": 1, **tower} for name, tower in towers.items()}
    config = MoTConfig(hidden_size=16, num_attention_heads=2, intermediate_size=16, **towers, num_labels=num_labels)
    return MoTForSequenceClassification(config).eval()


def test_rows_of_a_pipeline_have_lists_of_segments(rng):
    """A row that is read and decoded by itself gives what the processor makes of it undecoded."""
    processor = make_processor(modalities=MODALITIES)
    classify = MultimodalClassificationPipeline(tiny_model(), processor=processor)
    pictures, depth = [picture(rng), picture(rng)], rng.integers(0, 2**16, (9, 7), dtype=np.uint16)
    clips = [[picture(rng)] * 2, [picture(rng)]]
    row = {"text": ["a", " ", "red cat"], "image": pictures, "depth": [depth, Image.fromarray(depth)]}
    row |= {"audio": [{"array": tone(), "sampling_rate": RATE}, None], "heart": (RATE, tone()), "title": None}
    batch = classify.encode([classify.preprocess(row), classify.preprocess({"text": [], "video": clips})])
    expected = processor(
        text=[["a", "red cat"], None],
        images=[pictures, None],
        videos=[None, clips],
        depth=[[depth, depth], None],
        audio=[tone(), None],
        heart=[{"array": processor_tone(4000), "sampling_rate": 4000}, None],
        sampling_rate=RATE,
    )
    assert equal(batch, expected)


def processor_tone(rate):
    """The tone at another rate, as the processor resamples it."""
    return load_audio(tone(), "tone", rate, RATE)[0]


def test_rows_are_cut_by_the_limits_of_their_own_modality(rng):
    model, processor = tiny_model(), make_processor()
    rows = {"text": ["a small red cat sings a a a a a", "a"], "audio": [[tone(seconds=2.0), tone()], tone()]}
    rows["audio"] = [[{"array": s, "sampling_rate": RATE} for s in rows["audio"][0]], (RATE, rows["audio"][1])]
    batch = encode_rows(processor, model, rows, truncation=True)
    assert batch["input_ids"].shape == (2, 8)
    assert [len(segment) for segment in segments_of(batch, processor.kinds["audio"].names, 0)] == [60, 49]


def open_model(processor):
    """A model of the modalities that `processor` was told of, and of text."""
    sizes = {
        "title": {"vocab_size": 30},
        "depth": {"image_size": 8, "patch_size": 4},
        "thumb": {"image_size": 12, "patch_size": 2},
        "heart": {"max_frames": 120},
        "clip": {"image_size": 8, "patch_size": 4},
    }
    towers = {"text_config": {"vocab_size": 30, "num_hidden_layers": 1}, "image_config": None, "audio_config": None}
    for name, modality in processor.kinds.items():
        if name in sizes:
            fields = modality.config_fields(modality.settings_in(processor)) | sizes[name] | {"num_hidden_layers": 1}
            towers[f"{name}_config"] = {"model_type": modality.config_class.model_type, **fields}
    config = MoTConfig(hidden_size=16, num_attention_heads=2, intermediate_size=16, num_labels=3, **towers)
    return MoTForSequenceClassification(config).eval()


def test_a_model_answers_rows_of_declared_modalities_alone_as_in_a_batch(processor, rng):
    model = open_model(processor)
    assert set(model.config.modalities) == {"text", *MODALITIES}
    classify = MultimodalClassificationPipeline(model, processor=processor)
    depth, sound = rng.integers(0, 2**16, (9, 7), dtype=np.uint16), {"array": tone(), "sampling_rate": RATE}
    rows = [
        {"title": "a cat", "depth": depth},
        {"text": "red", "title": ["a", "dog sings"], "heart": [sound, sound], "depth": [depth, depth.T, depth]},
        {"clip": [picture(rng), picture(rng)], "thumb": picture(rng)},
        {"clip": [[picture(rng)] * 2, [picture(rng)]]},
    ]
    together = classify(rows, batch_size=4)
    for answers, row in zip(together, rows):
        scores = {answer["label"]: answer["score"] for answer in answers}
        alone = {answer["label"]: answer["score"] for answer in classify(row)}
        assert scores == pytest.approx(alone, abs=1e-5)
    with pytest.raises(ValueError, match="Unknown part of a row `titel`: did you mean `title`"):
        classify({"titel": "a"})


def test_a_model_takes_documents_in_which_only_the_order_of_parts_differs_and_hears_it(processor, rng):
    model, depth = open_model(processor), rng.integers(0, 2**12, (8, 8), dtype=np.uint16)
    parts = [{"text": "a cat"}, {"depth": depth}, {"text": "red"}]
    batch = encode_rows(processor, model, {"documents": [parts, parts[::-1], parts]})
    with torch.no_grad():
        answers = model(**batch).logits
    torch.testing.assert_close(answers[0], answers[2])
    assert not torch.allclose(answers[0], answers[1], atol=1e-6)
    with torch.no_grad():
        a, b = (model(**processor(text=[texts])).logits for texts in (["a cat", "red"], ["red", "a cat"]))
    torch.testing.assert_close(a, b)  # without places they are a set


def test_a_model_whose_modality_the_processor_does_not_know_is_refused():
    model = tiny_model()
    processor = make_processor()
    processor.rows.kinds.pop("audio")
    with pytest.raises(ValueError, match="The model takes the modality `audio`, of which the processor knows nothing"):
        MultimodalClassificationPipeline(model, processor=processor)
