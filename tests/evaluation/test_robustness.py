# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot robustness` from a checkpoint to its page, its parts against rows that are changed, encoded and answered."""

import io
import json
import re
from dataclasses import replace

import datasets
import numpy as np
import pytest
import torch
from datasets import Audio, Dataset, Image
from helpers import save_untrained
from open_rows import make_config, make_processor
from PIL import Image as PILImage
from safetensors.torch import load_file, save_file
from small_checkpoints import save_generator, save_patients
from small_datasets import MODALITIES, noise_png, write_parquet_folder

from mixture_of_transformers import MoTConfig, MoTProcessor
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.evaluation import robustness
from mixture_of_transformers.evaluation.missing import draw_absent, take_away
from mixture_of_transformers.evaluation.robustness import Bench, RobustnessArguments, numbers
from mixture_of_transformers.finetune.batches import encode_split
from mixture_of_transformers.modalities_mot import CELLS, AudioModality, ImageModality, SeriesModality, TableModality
from mixture_of_transformers.modality_mot import RowReading
from mixture_of_transformers.serving.evaluate import open_checkpoint, parser_of
from mixture_of_transformers.subsets_mot import all_subsets, subset_name
from mixture_of_transformers.training.encoded import EncodedDataset, kinds_of
from mixture_of_transformers.training.evaluation import answer_subsets

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("own_cache")]
ROWS = 12
SUBSETS = [subset_name(subset) for subset in all_subsets(MODALITIES)]
NAMES_OF_VALUES = ["upper_case", "lost_values", "dropout", "white_noise"]
FEW = ["--corruptions", "white_noise", "jpeg", "lost_words", "upper_case"]


@pytest.fixture(scope="module")
def rows() -> Dataset:
    """Some rows of the embedded digits, the last two of which lack something."""
    split = load_digits_dataset()["test"].select(range(ROWS))
    split = split.cast_column("image", Image(decode=False)).cast_column("audio", Audio(decode=False))
    lost = np.zeros((ROWS, 3), dtype=bool)
    lost[-2, 0] = lost[-1, 1:] = True
    cells = [[None if lost[i, j] else row[m] for j, m in enumerate(MODALITIES)] for i, row in enumerate(split)]
    columns = {m: [row[j] for row in cells] for j, m in enumerate(MODALITIES)} | {"label": split["label"][:]}
    return Dataset(datasets.table.pa.Table.from_pydict(columns, schema=split.features.arrow_schema))


@pytest.fixture(scope="module")
def place(rows, tmp_path_factory):
    """A folder with `data` and `outputs/digits`, a checkpoint with random weights, whose answers differ."""
    folder = tmp_path_factory.mktemp("place")
    write_parquet_folder({"test": rows}, folder / "data")
    save_untrained(folder / "outputs", "classification", "retrieval")
    weights = folder / "outputs/digits/model.safetensors"
    draw = torch.Generator().manual_seed(0)
    tensors = {n: t + 0.1 * torch.randn(t.shape, generator=draw).to(t.dtype) for n, t in load_file(weights).items()}
    save_file(tensors, weights, metadata={"format": "pt"})
    return folder


def arguments_of(place, out, *options: str, checkpoint: str = "digits") -> list[str]:
    named = ["--dataset_name", str(place / "data"), "--split", "test", "--cache_gigabytes", "0"]
    return [str(place / "outputs" / checkpoint), *named, "--output_dir", str(out), *options]


@pytest.fixture(scope="module")
def found(place):
    """What the command returned; its files are in `place / "out"`."""
    return robustness.robustness(arguments_of(place, place / "out", *FEW))


@pytest.fixture(scope="module")
def bench(place, tmp_path_factory) -> Bench:
    parser = parser_of(RobustnessArguments, "mot robustness", "CHECKPOINT", None)
    opened = open_checkpoint(parser, arguments_of(place, tmp_path_factory.mktemp("bench")))
    return robustness.bench_of(opened)[0]


def answers_to(bench: Bench, rows) -> np.ndarray:
    """(N, S, 10) logits of rows that are encoded as they are."""
    trainer, data = bench.trainer, bench.data
    encoded = encode_split("test", rows, trainer.processing_class, trainer.model.config, data, num_proc=0)
    return answer_subsets(trainer, encoded).logits


def test_the_command_measures_every_subset_and_every_severity_and_writes_all_of_it(found, place):
    assert json.loads((place / "out/robustness.json").read_text()) == found
    assert list(found["as_is"]) == SUBSETS and found["rows"] == ROWS and found["dataset"] == "data"
    assert [found["as_is"][m]["rows"] for m in MODALITIES] == [ROWS - 1, ROWS - 1, ROWS - 1]
    assert [of["rate"] for of in found["missing"]["alike"]] == pytest.approx([0.1 * i for i in range(1, 10)])
    assert [of["rare"] for of in found["missing"]["unequal"]] == list(MODALITIES)
    suffered = {m: list(of) for m, of in found["corruptions"].items()}
    assert suffered == {"text": ["lost_words", "upper_case"], "image": ["jpeg"], "audio": ["white_noise"]}
    for modality, corruptions in found["corruptions"].items():
        for name, corruption in corruptions.items():
            several = robustness.OF_KIND[type(kinds_of(MoTProcessor())[modality])]
            (known,) = (c for c in several if c.name == name)
            assert tuple(at["value"] for at in corruption["severities"]) == known.values
            assert all(list(at["subsets"]) == [s for s in SUBSETS if modality in s] for at in corruption["severities"])


def test_the_numbers_of_the_page_are_those_of_the_json(found, place):
    page = (place / "out/robustness.md").read_text()
    tables = [[c.strip() for c in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("|")]
    by_first = {tuple(row[:2]): row for row in tables}
    of = found["as_is"]["text+audio"]
    shown = next(row for row in tables if row[0] == "text+audio")
    expected = [f"{of['accuracy']:.3f}", "{:.3f} to {:.3f}".format(*of["accuracy_interval"])]
    assert shown[1:] == [*expected, f"{of['expected_calibration_error']:.3f}", str(of["rows"])]
    for of in found["missing"]["alike"]:
        shown = next(row for row in tables if row[0] == f"{of['rate']:.1f}")
        assert shown[1:5] == [*(f"{of['absent'][m]:.2f}" for m in MODALITIES), f"{of['accuracy']:.3f}"]
    for corruptions in found["corruptions"].values():
        for name, corruption in corruptions.items():
            for at in corruption["severities"]:
                value = f"{at['value']:g} {corruption['unit']}" if corruption["unit"] else ""
                shown = by_first[name.replace("_", " "), value]
                assert shown[2:6] == [f"{of['accuracy']:.3f}" for of in at["subsets"].values()]
    assert f"{found['missing']['spread']:.3f}" in page


def test_every_picture_that_the_page_shows_is_there(found, place):
    pytest.importorskip("matplotlib")
    shown = re.findall(r"\]\((.+?)\)", (place / "out/robustness.md").read_text())
    assert shown == [f"robustness_{name}.png" for name in ("missing", *MODALITIES)]
    assert all(load_image(place / "out" / name, name, convert_rgb=True).width > 800 for name in shown)


def test_the_same_seed_gives_the_same_figures_and_another_seed_others(found, place, tmp_path):
    again = robustness.robustness(arguments_of(place, tmp_path, *FEW))
    assert again == found
    other = robustness.robustness(arguments_of(place, tmp_path, "--corruptions", "none", "--seed", "1"))
    assert other["as_is"] == found["as_is"] and other["corruptions"] == {}
    assert other["missing"] != found["missing"]


def test_rows_without_modalities_get_the_answers_of_rows_without_their_cells(bench):
    for rates in (0.5, {"audio": 0.9, "text": 0.2}):
        absent = draw_absent(
            bench.present,
            dict.fromkeys(MODALITIES, 0.5) if rates == 0.5 else {"text": 0.2, "image": 0.0, "audio": 0.9},
            7,
        )
        found = answer_subsets(bench.trainer, bench.without(absent)).logits[:, -1]
        expected = answers_to(bench, take_away(bench.rows, rates, 7))[:, -1]
        assert absent.any() and found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("modality, name", [("audio", "reverberation"), ("image", "rotation"), ("text", "lost_words")])
def test_cells_that_suffer_get_the_answers_of_rows_that_hold_them_so(bench, modality, name):
    (corruption,) = (c for c in robustness.OF_KIND[type(bench.kinds[modality])] if c.name == name)
    found = answer_subsets(bench.trainer, bench.corrupted(modality, corruption, 2)).logits
    cells = robustness.CorruptedCells(
        bench.rows.select_columns(modality), bench.kinds[modality], bench.reading, corruption, 2, bench.seed
    )
    rows = [row if row[modality] is None else row | cells[i] for i, row in enumerate(bench.rows)]
    assert found == pytest.approx(answers_to(bench, rows), abs=1e-5)
    clean, place = answer_subsets(bench.trainer, bench.encoded).logits, MODALITIES.index(modality)
    others = [number for number, subset in enumerate(SUBSETS) if modality not in subset]
    assert np.array_equal(found[:, others], clean[:, others])
    assert np.abs(found[:, place] - clean[:, place]).max() > 1e-3


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_severity_of_0_changes_no_answer(bench, modality):
    corruption = robustness.OF_KIND[type(bench.kinds[modality])][0]
    found = answer_subsets(bench.trainer, bench.corrupted(modality, corruption, 0)).logits
    assert found == pytest.approx(answer_subsets(bench.trainer, bench.encoded).logits, abs=1e-5)


def test_without_matplotlib_the_page_has_its_tables_and_no_pictures(found, tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.evaluation.robustness_page.find_spec", lambda name: None)
    robustness.write_page(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["robustness.json", "robustness.md"]
    assert "![" not in (tmp_path / "robustness.md").read_text()


def test_numbers_of_no_row_are_none_and_those_of_some_are_right():
    assert numbers(np.zeros((0, 3)), np.zeros(0)) == {"rows": 0}
    of = numbers(np.log([[0.9, 0.1], [0.6, 0.4]]), np.array([0, 1]), interval=True)
    assert of["accuracy"] == 0.5 and of["rows"] == 2 and of["accuracy_interval"] == [0, 1]
    assert of["expected_calibration_error"] == pytest.approx((0.1 + 0.6) / 2)


def test_a_classifier_of_tables_and_series_is_measured_with_modalities_missing_and_values_lost(tmp_path):
    save_patients(tmp_path / "patients")
    random = np.random.default_rng(0)
    rows = [
        {
            "text": "a note",
            "age": 40 + i,
            "pulse": 60.5,
            "sex": "fm"[i % 2],
            "ward": "south",
            "label": ["resting", "walking", "running"][i % 3],
        }
        | {"movement": random.standard_normal((100, 3)).tolist()}
        for i in range(6)
    ]
    write_parquet_folder({"test": Dataset.from_list(rows)}, tmp_path / "data")
    columns = ["--extra_columns", "vitals=age,pulse,sex,ward", "imu=movement"]
    options = ["--dataset_name", str(tmp_path / "data"), "--split", "test", "--output_dir", str(tmp_path / "out")]
    found = robustness.robustness([str(tmp_path / "patients"), *options, *columns, "--corruptions", *NAMES_OF_VALUES])
    assert found["modalities"] == ["text", "vitals", "imu"]
    suffered = {m: list(of) for m, of in found["corruptions"].items()}
    assert suffered == {"text": ["upper_case"], "vitals": ["lost_values"], "imu": ["dropout", "white_noise"]}
    assert [of["rare"] for of in found["missing"]["unequal"]] == found["modalities"]


def test_what_a_series_and_a_table_have_lost_is_absent_where_they_are_encoded():
    processor = make_processor()
    reading, random = RowReading(processor, ("imu", "vitals"), allow_urls=False), np.random.default_rng(0)
    vitals = {"age": 41.0, "bmi": 22.5, "sex": "f"}
    rows = Dataset.from_list([{"imu": random.standard_normal((100, 2)).tolist(), "vitals": vitals}])
    for name, several in (("imu", SeriesModality), ("vitals", TableModality)):
        corruption, kind = robustness.OF_KIND[several][0], processor.kinds[name]
        encoded = {
            severity: EncodedDataset(
                robustness.CorruptedCells(rows, kind, reading, corruption, severity, seed=0), processor
            )[0][f"{name}_values"]
            for severity in (0, 5)
        }
        clean = EncodedDataset(rows.select_columns([name]), processor)[0][f"{name}_values"]
        assert torch.equal(encoded[0].nan_to_num(99), clean.nan_to_num(99))
        lost = encoded[5].isnan() & ~clean.isnan()
        assert lost.any() and torch.equal(encoded[5][~lost].nan_to_num(99), clean[~lost].nan_to_num(99))


def test_only_raw_sounds_texts_series_tables_and_pictures_of_colours_suffer():
    config, processor = make_config(), make_processor()  # of text, depth, imu, vitals
    rows = Dataset.from_dict({"text": ["a"], "depth": [None], "imu": [None], "vitals": [None]})
    names = ["upper_case", "blur", "telephone"]
    assert {
        m: [c.name for c in of] for m, of in robustness.corruptions_of(config, processor, rows, names).items()
    } == {"text": ["upper_case"]}
    assert robustness.corruptions_of(config, processor, rows.remove_columns("text"), names) == {}
    found = robustness.corruptions_of(config, processor, rows, ["dropout", "lost_values"])
    assert {m: [c.name for c in of] for m, of in found.items()} == {"imu": ["dropout"], "vitals": ["lost_values"]}
    config, processor = MoTConfig.of_size("tiny", text_config={"feature_size": 5}), MoTProcessor()
    rows = Dataset.from_dict({"text": [None], "image": [None], "audio": [None]})
    found = robustness.corruptions_of(config, processor, rows, None)
    assert found == {"image": robustness.OF_KIND[ImageModality], "audio": robustness.OF_KIND[AudioModality]}


def test_babble_is_of_all_other_rows_that_have_a_sound_and_never_of_the_row_itself(bench):
    (babble,) = (c for c in robustness.OF_KIND[AudioModality] if c.name == "babble_noise")
    cells = robustness.CorruptedCells(bench.rows, bench.kinds["audio"], bench.reading, babble, 4, bench.seed)
    clean = [
        None if row["audio"] is None else bench.kinds["audio"].decode_cell(CELLS["audio"], row["audio"], bench.reading)
        for row in bench.rows
    ]
    for row in (0, ROWS - 2):
        others = robustness.OtherCells(cells, row)
        expected = [sound for number, sound in enumerate(clean) if sound is not None and number != row]
        assert len(others) == len(expected) == ROWS - 2
        assert all(np.array_equal(other["array"], sound["array"]) for other, sound in zip(others, expected))
        changed = babble.apply(clean[row], 4, bench.seed, row, expected)
        assert np.array_equal(cells[row]["audio"]["array"], changed["array"])


def test_bad_input_babble_where_only_one_row_has_a_sound_is_an_error_before_anything_is_measured(bench):
    alone = replace(bench, rows=bench.rows.select([0, ROWS - 1]))  # of which the second lacks a sound
    babble = {"audio": [c for c in robustness.OF_KIND[AudioModality] if c.needs_others]}
    with pytest.raises(
        ValueError, match="babble_noise is made of the audio of other rows, and 1 of these rows has any"
    ):
        alone.measure(babble)


def video_rows() -> Dataset:
    """A video as a list of frames, a still picture, and a row with nothing."""
    pictures = [{"bytes": noise_png(number), "path": None} for number in range(4)]
    return Dataset.from_dict({"image": [None, pictures[0], None], "video": [pictures[1:], None, None]})


@pytest.mark.parametrize("name", ["blur", "occlusion", "rotation"])
def test_every_frame_of_a_video_suffers_as_one_picture_of_that_row_would(name):
    (corruption,) = (c for c in robustness.OF_KIND[ImageModality] if c.name == name)
    reading = RowReading(MoTProcessor(), ("image",), allow_urls=False)
    rows = video_rows()
    cells = robustness.CorruptedCells(rows, kinds_of(MoTProcessor())["image"], reading, corruption, 2, seed=3)
    frames = [PILImage.open(io.BytesIO(frame["bytes"])).convert("RGB") for frame in rows[0]["video"]]
    (found,) = cells[0]["video"]
    assert [f.tobytes() for f in found] == [corruption.apply(f, 2, 3, row=0).tobytes() for f in frames]
    still = PILImage.open(io.BytesIO(rows[1]["image"]["bytes"]))
    assert {c: f.tobytes() for c, f in cells[1].items()} == {"image": corruption.apply(still, 2, 3, row=1).tobytes()}


def test_a_video_at_a_severity_of_0_is_encoded_as_it_is_on_disk():
    processor, rows = MoTProcessor(num_frames=2), video_rows()
    (blur,) = (c for c in robustness.OF_KIND[ImageModality] if c.name == "blur")
    reading = RowReading(processor, ("image",), allow_urls=False)
    cells = robustness.CorruptedCells(rows, kinds_of(processor)["image"], reading, blur, 0, seed=0)
    (clean, found), worse = (EncodedDataset(of, processor)[0] for of in (rows, cells)), cells
    worse.severity = 3
    assert clean["pixel_values"].shape[0] == 2 and torch.equal(found["pixel_values"], clean["pixel_values"])
    assert not torch.equal(EncodedDataset(worse, processor)[0]["pixel_values"], clean["pixel_values"])


def test_videos_suffer_but_where_the_model_asks_for_the_times_of_frames():
    config, rows = MoTConfig.of_size("tiny"), video_rows()
    found = robustness.corruptions_of(config, MoTProcessor(), rows, ["blur"])
    assert {m: [c.name for c in of] for m, of in found.items()} == {"image": ["blur"]}
    assert robustness.corruptions_of(config, MoTProcessor(return_times=True), rows, ["blur"]) == {}


def test_each_of_several_pictures_of_a_row_suffers():
    pictures = [noise_png(1), noise_png(2)]
    rows = Dataset.from_dict({"views": [[{"bytes": content, "path": None} for content in pictures]]})
    (blur,) = (c for c in robustness.OF_KIND[ImageModality] if c.name == "blur")
    reading = RowReading(MoTProcessor(), ("views",), allow_urls=False)
    cells = robustness.CorruptedCells(rows, ImageModality.called("views"), reading, blur, 3, seed=0)
    expected = [blur.apply(PILImage.open(io.BytesIO(content)), 3).tobytes() for content in pictures]
    assert [picture.tobytes() for picture in cells[0]["views"]] == expected


def test_bad_input_a_checkpoint_that_chooses_no_class_is_named(place, tmp_path):
    for checkpoint, purpose in (("digits-retrieval", "retrieval"), ("generator", "generation")):
        if checkpoint == "generator":
            save_generator(place / "outputs/generator")
        with pytest.raises(ValueError, match=f"one class among several, and .* is for {purpose}: `mot evaluate`"):
            robustness.robustness(arguments_of(place, tmp_path, checkpoint=checkpoint))


def test_bad_input_a_regression_is_named(place, tmp_path):
    config = json.loads((place / "outputs/digits/config.json").read_text())
    folder = place / "outputs/scores"
    folder.mkdir()
    for path in (place / "outputs/digits").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    one = {"id2label": {"0": "score"}, "label2id": {"score": 0}, "problem_type": "regression"}
    (folder / "config.json").write_text(json.dumps(config | one))
    weights = load_file(folder / "model.safetensors")
    weights |= {name: tensor[:1].clone() for name, tensor in weights.items() if name.startswith("classifier.")}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="is for regression"):
        robustness.robustness(arguments_of(place, tmp_path, checkpoint="scores"))


def test_bad_input_a_corruption_that_is_not_known_is_named_before_anything_is_measured(place, tmp_path):
    with pytest.raises(ValueError, match="'rain'; expected some of typing_errors, .*lost_values, or 'none' alone"):
        robustness.robustness(arguments_of(place, tmp_path, "--corruptions", "jpeg", "rain"))
    assert not list(tmp_path.iterdir())


def test_without_the_package_that_encodes_sound_the_error_names_it_and_the_rest_goes_on(monkeypatch):
    monkeypatch.setattr(robustness, "has_av", lambda: False)
    with pytest.raises(ImportError, match=r"mp3 and opus need PyAV.*\[video\]"):
        robustness.check_corruptions(None)
    robustness.check_corruptions(["white_noise"])
    robustness.check_corruptions(["none"])
