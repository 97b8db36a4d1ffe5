# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From the table that a person has to a checkpoint that answers its rows, and to one that takes a column more."""

import csv
import json
import shutil

import datasets
import pytest
import torch
from any_table import CATEGORIES, NUMBERS, any_table, write_media, write_table
from forked import run_mot, run_script
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.run_finetune import main as finetune_main

pytestmark = pytest.mark.training
ROWS = 40
SMALL = ["--per_device_train_batch_size", "8", "--use_cpu", "--config_overrides"]
SMALL += ['{"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}']


def finetune(folder, *options: str):
    done = run_mot(folder, "finetune", *SMALL, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the table `visits.csv`, what a run of three steps on it printed, and its checkpoint in `out`."""
    folder = tmp_path_factory.mktemp("visits")
    write_table(folder / "visits.csv", any_table(folder, ROWS))
    done = finetune(folder, "--dataset_name", "visits.csv", "--max_steps", "3", "--output_dir", "out")
    return folder, done.stdout


def test_every_column_is_in_the_printed_list_once(trained):
    folder, printed = trained
    with open(folder / "visits.csv") as file:
        columns = csv.DictReader(file).fieldnames
    lines = printed.split("Name another with")[0].splitlines()
    for column in columns:
        assert sum(f"'{column}' (" in line for line in lines) == 1, column
    left_out = {line.split("'")[1] for line in lines if line.startswith("left out")}
    assert left_out == {"row_id", "visit_date", "serial", "constant", "code"}


def test_the_checkpoint_takes_what_was_found_and_its_processor_knows_it(trained):
    folder, _ = trained
    model, processor = AutoModel.from_pretrained(folder / "out"), AutoProcessor.from_pretrained(folder / "out")
    assert set(model.config.modalities) == {
        *("text", "image", "audio", "title", "back", "side", "accelerometer", "table")
    }
    assert processor.modalities["accelerometer"]["num_channels"] == 3
    table = processor.modalities["table"]
    assert table["numbers"].keys() == {*NUMBERS} and table["categories"].keys() == {*CATEGORIES}


def test_the_pipeline_answers_a_row_of_raw_cells_and_any_part_of_it(trained):
    folder, _ = trained
    model = AutoModelForSequenceClassification.from_pretrained(folder / "out")
    classify = MultimodalClassificationPipeline(model, processor=AutoProcessor.from_pretrained(folder / "out"))
    row = any_table(folder, 1)[0]
    cells = {"text": row["Review Text"], "title": row["Title"], "accelerometer": row["accelerometer"]}
    cells |= {"image": str(folder / row["front"]), "audio": str(folder / row["recording"])}
    cells |= {"table": {name: row[name] for name in (*NUMBERS, *CATEGORIES)}}
    for part in (cells, {"table": {"n0": 0.5}}, {"accelerometer": cells["accelerometer"], "text": None}):
        assert {answer["label"] for answer in classify(part)} == {"yes", "no"}
    with pytest.raises(ValueError, match="has a column 'age': expected one of 'n0'"):
        classify({"table": {"age": 71}})


def test_the_printed_lines_run_as_they_are(trained):
    folder, printed = trained
    write_media(folder)
    shutil.copy(folder / "a.png", folder / "picture.png"), shutil.copy(folder / "a.wav", folder / "sound.wav")
    (folder / "lines.py").write_text(printed.split("without this package:")[1])
    done = run_script(folder / "lines.py", folder)
    assert done.stdout.strip() in ("yes", "no"), done.stderr[-3000:]


def test_the_checkpoint_is_evaluated_again_and_answers_the_file(trained):
    folder, printed = trained
    done = run_mot(folder, "evaluate", "out", "--output_dir", "again")
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = (json.loads((folder / f"{name}/results.json").read_text()) for name in ("out", "again"))
    assert first["subsets"] == second["subsets"]
    others = any_table(folder, ROWS)
    others[3]["accelerometer"] = [[0.5, 1.5, -2.0]] * 5000  # longer than the model takes: cut, as in training
    others[4]["Title"] = "the cat " * 300
    write_table(folder / "others.csv", others)
    done = run_mot(folder, "predict", "--dataset", "others.csv", "--model", "out", "--output", "answers.csv")
    assert done.returncode == 0, done.stderr[-3000:]
    with open(folder / "answers.csv") as file:
        answers = list(csv.DictReader(file))
    assert {answer["label"] for answer in answers} <= {"yes", "no"}
    assert len(answers) == ROWS and not any(answer["error"] for answer in answers)


# Growing


@pytest.fixture(scope="module")
def grown(trained):
    """The table's folder with `base`, of the text alone, and `grown` out of it without learning."""
    folder, _ = trained
    options = ["--dataset_name", "visits.csv", "--max_steps", "1", "--learning_rate", "0"]
    none = [f"--{cell}_column=none" for cell in ("image", "audio")]
    finetune(
        folder,
        *options,
        *none,
        "--text_column",
        "Title",
        "--extra_columns",
        "vitals=n0,n1,city",
        "none",
        "--output_dir",
        "base",
    )
    more = ["--audio_column", "recording", "--extra_columns", "imu=accelerometer"]
    finetune(folder, *options, "--model_name_or_path", "base", *more, "--output_dir", "grown")
    return folder


def test_a_checkpoint_grows_by_what_is_named_and_keeps_what_it_knew(grown):
    base, more = (AutoProcessor.from_pretrained(grown / name) for name in ("base", "grown"))
    assert more.modalities["vitals"] == base.modalities["vitals"]
    assert more.modalities["imu"]["num_channels"] == 3 and more.modalities.keys() == {"vitals", "imu"}
    assert more.tokenizer.vocab == base.tokenizer.vocab
    record = json.loads((grown / "grown/run.json").read_text())["data"]
    assert record["columns_found"] == {"text": "Title", "audio": "recording", "label": "label"}
    assert list(json.loads((grown / "grown/results.json").read_text())["subsets"])[-1] == "text+audio+vitals+imu"
    assert "**imu**: series of 3 channels" in (grown / "grown/README.md").read_text()


def test_answers_to_rows_without_what_was_added_stay(grown):
    old, new = (AutoModelForSequenceClassification.from_pretrained(grown / name).eval() for name in ("base", "grown"))
    processor = AutoProcessor.from_pretrained(grown / "grown")
    rows = {"text": ["the cat sat", None, "a dog"], "vitals": [{"n0": 0.4, "city": "red"}, {"n1": 7}, None]}
    inputs = processor(**rows, return_tensors="pt")
    with torch.no_grad():
        assert torch.allclose(old(**inputs).logits, new(**inputs).logits, atol=1e-6)
    imu = processor(text="the cat sat", imu=[[[1.0, 2.0, 3.0]] * 5], return_tensors="pt")
    assert not torch.allclose(new(**imu).logits, new(**processor(text="the cat sat", return_tensors="pt")).logits)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extra_columns", "imu=n5,n6"], "'imu' that is not that of the data .its kind is series.*table"),
        (["--extra_columns", "vitals=n0,n5"], "'vitals' that is not that of the data .*column 'n5'"),
        (["--lora", "--extra_columns", "words:text=Review Text"], "of words would be new"),
    ],
)
def test_what_a_checkpoint_cannot_be_given_is_an_error_before_the_training(options, message, grown, monkeypatch):
    monkeypatch.chdir(grown)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(grown.parent / "datasets"))
    with pytest.raises(ValueError, match=message):
        finetune_main(
            [*SMALL[:3], "--output_dir=no", "--dataset_name=visits.csv", "--model_name_or_path=grown", *options]
        )


@pytest.mark.slow
def test_adapters_of_a_grown_checkpoint_load_with_its_modalities(grown):
    options = ["--dataset_name", "visits.csv", "--max_steps", "1", "--model_name_or_path", "grown"]
    finetune(grown, *options, "--lora", "--lora_rank", "2", "--output_dir", "adapter")
    assert list(json.loads((grown / "adapter/results.json").read_text())["subsets"])[-1] == "text+audio+vitals+imu"
    done = run_mot(grown, "evaluate", "adapter", "--output_dir", "adapter-again")
    assert done.returncode == 0, done.stderr[-3000:]
