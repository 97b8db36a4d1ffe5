# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot predict --dataset`: the file has an answer, or an error, for every row; it says what the pipeline says of each
row alone, and the same whether the run was killed or not."""

import csv
import io
import json
import random
import resource
import shutil
import signal
import time
from contextlib import redirect_stdout
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from helpers import save_untrained
from killed_runs import forks
from small_files import as_csv, as_lines, write, write_png
from small_media import sound_bytes
from transformers import pipeline

from mixture_of_transformers import MoTForRetrieval, MoTProcessor
from mixture_of_transformers.processing_mot import encode_rows
from mixture_of_transformers.serving import predict_dataset

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("own_cache")]
WORDS = ("one", "two", "my answer is eight", "nothing that anybody has said before, and at some length")


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory) -> Path:
    """A folder with `digits`, which classifies, and `digits-retrieval`: of random weights, for all modalities."""
    outputs = tmp_path_factory.mktemp("outputs")
    save_untrained(outputs, "classification", "retrieval")
    return outputs


@pytest.fixture
def rows(tmp_path) -> list[dict]:
    """Rows with every mix of the modalities, and an id, by paths of files in `tmp_path / "data"`."""
    folder, found = tmp_path / "data", []
    write_png(folder / "a.png", 40), write_png(folder / "b.png", 200)
    noise = np.random.default_rng(0).normal(0, 0.1, 8000).astype("float32")
    (folder / "long.wav").write_bytes(sound_bytes(noise))
    (folder / "short.wav").write_bytes(sound_bytes(noise[:3000]))
    for i in range(21):
        has = i % 7 + 1  # a bit for each modality
        row = {"id": f"r{i}", "text": WORDS[i % 4] if has & 1 else None}
        row["image"] = ("a.png", "b.png")[i % 2] if has & 2 else None
        found.append(row | {"audio": ("long.wav", "short.wav")[i % 2] if has & 4 else None})
    return found


def write_csv(path: Path, rows: list[dict]) -> str:
    """Sentences have commas, so that every cell is quoted."""
    return write(path, as_csv([{k: v and f'"{v}"' for k, v in row.items()} for row in rows]))


def predict(*arguments) -> str:
    with redirect_stdout(io.StringIO()) as printed:
        predict_dataset.main([str(argument) for argument in arguments])
    return printed.getvalue()


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def row_of(folder: Path, row: dict) -> dict:
    """A row as the pipeline takes it."""
    paths = {name: str(folder / row[name]) for name in ("image", "audio") if row[name]}
    return paths | ({"text": row["text"]} if row["text"] else {})


# --------------------------------------------- the same answers everywhere -----------------------------------------


def test_every_row_gets_the_answer_and_the_contributions_that_the_pipeline_gives_it_alone(checkpoints, rows, tmp_path):
    data, model, out = tmp_path / "data", checkpoints / "digits", tmp_path / "answers.jsonl"
    write_csv(data / "rows.csv", rows)
    predict("--model", model, "--dataset", data / "rows.csv", "--output", out, "--batch_size", 5, "--contributions")
    classify = pipeline("multimodal-classification", model=str(model), processor=MoTProcessor.from_pretrained(model))
    found = lines_of(out)
    assert [answer["row"] for answer in found] == list(range(len(rows)))
    for row, answer in zip(rows, found):
        expected = classify(row_of(data, row), return_attribution=True, truncation=True)
        scores = {pair["label"]: pair["score"] for pair in expected["labels"]}
        assert answer["probabilities"] == pytest.approx(scores, abs=1e-5)
        assert answer["label"] == expected["labels"][0]["label"]
        assert answer["contributions"] == pytest.approx(expected["attribution"], abs=1e-5)


@pytest.mark.parametrize("top_k", [None, 2])
def test_parquet_csv_and_json_lines_hold_the_same(top_k, checkpoints, rows, tmp_path):
    source = write(tmp_path / "data" / "rows.jsonl", as_lines(rows))
    files = {suffix: tmp_path / f"answers{suffix}" for suffix in (".parquet", ".csv", ".jsonl")}
    options = ["--keep_columns", "id", "text", *(["--top_k", top_k] if top_k else [])]
    for file in files.values():
        predict("--model", checkpoints / "digits", "--dataset", source, "--output", file, *options)
    table, lines = pq.read_table(files[".parquet"]), lines_of(files[".jsonl"])
    assert [{k: v for k, v in row.items() if v is not None} for row in table.to_pylist()] == lines
    with open(files[".csv"], newline="") as file:
        cells = list(csv.DictReader(file))
    for row, line, given in zip(cells, lines, rows, strict=True):
        assert (row["row"], row["id"], row["text"]) == (str(line["row"]), given["id"], given["text"] or "")
        assert row["label"] == line["label"] and row["error"] == ""
        if top_k:
            assert json.loads(row["top"]) == line["top"] and len(line["top"]) == 2
            assert line["top"][0]["label"] == line["label"] and line["top"][0]["score"] > line["top"][1]["score"]
        else:
            assert {name: float(row[f"probabilities.{name}"]) for name in line["probabilities"]} == line[
                "probabilities"
            ]


def test_a_model_that_retrieves_gives_the_embedding_of_each_modality_and_of_all_together(checkpoints, rows, tmp_path):
    source, model = write_csv(tmp_path / "data" / "rows.csv", rows), checkpoints / "digits-retrieval"
    predict("--model", model, "--dataset", source, "--output", tmp_path / "answers.parquet", "--batch_size", 4)
    head, processor = MoTForRetrieval.from_pretrained(model).eval(), MoTProcessor.from_pretrained(model)
    names = {"text": "text", "image": "images", "audio": "audio"}
    for row, answer in zip(rows, pq.read_table(tmp_path / "answers.parquet").to_pylist(), strict=True):
        given = row_of(tmp_path / "data", row)
        subsets = {name: {name: given[name]} if name in given else None for name in names} | {"fused": given}
        for kind, part in subsets.items():
            vector = answer[f"{kind}_embedding"]
            assert (vector is None) == (part is None)
            if part is not None:
                batch = encode_rows(processor, head, {names[k]: [v] for k, v in part.items()}, truncation=True)
                with torch.no_grad():
                    expected = head.get_fused_features(**batch).pooler_output[0].tolist()
                assert vector == pytest.approx(expected, abs=1e-5)


# ------------------------------------------------ what is an input -------------------------------------------------


def test_the_list_says_of_each_column_what_it_is_and_a_label_is_kept_under_another_name(checkpoints, rows, tmp_path):
    rows = [row | {"label": "zero" if i % 2 else "one"} for i, row in enumerate(rows)]
    source, out = write_csv(tmp_path / "data" / "rows.csv", rows), tmp_path / "answers.jsonl"
    arguments = ["--model", checkpoints / "digits", "--dataset", source, "--output", out]
    printed = predict(*arguments, "--keep_columns", "label")
    assert "text: column 'text'" in printed and "audio: column 'audio'" in printed
    assert "label: no column" in printed and "left out: column 'label'" in printed
    assert [answer["given_label"] for answer in lines_of(out)] == [row["label"] for row in rows]
    with pytest.raises(ValueError, match="--keep_columns nope: there is no such column; there are id, text"):
        predict(*arguments, "--keep_columns", "nope")


def test_the_columns_that_a_run_was_trained_on_come_first(checkpoints, rows, tmp_path):
    """The file has two columns that could be the text, and one is better known than the one that was trained on."""
    model = Path(shutil.copytree(checkpoints / "digits", tmp_path / "model"))
    remembered = {"dataset_name": "elsewhere", "columns_found": {"text": "remark", "label": "verdict"}, "task": None}
    remembered |= {"sentiment_metrics": False, "on_bad_example": "skip"}
    remembered |= {"max_text_tokens": None, "max_audio_seconds": None}
    run = {"data": remembered, "settings": {}, "run": {"name": "model", "dataset": "elsewhere"}}
    (model / "run.json").write_text(json.dumps(run))
    rows = [row | {"remark": f"remark number {i}", "verdict": f"it is {i}"} for i, row in enumerate(rows)]
    source, out = write_csv(tmp_path / "data" / "rows.csv", rows), tmp_path / "answers.jsonl"
    printed = predict("--model", model, "--dataset", source, "--output", out)
    assert "text: column 'remark'" in printed and "column 'verdict' (string), the label, which is no input" in printed
    printed = predict("--model", model, "--dataset", source, "--output", out, "--text_column", "text")
    assert "text: column 'text'" in printed


def test_paths_out_of_the_dataset_are_refused_and_so_is_an_output_among_the_data(checkpoints, rows, tmp_path):
    outside = str(write_png(tmp_path / "elsewhere.png"))
    source = write_csv(tmp_path / "data" / "rows.csv", [*rows, rows[1] | {"image": outside}])
    arguments = ["--model", checkpoints / "digits", "--dataset"]
    with pytest.raises(ValueError, match="does not lie in .*--allow_outside_paths"):
        predict(*arguments, source, "--output", tmp_path / "answers.csv")
    with pytest.raises(ValueError, match="would be read as data"):
        predict(*arguments, tmp_path / "data", "--output", tmp_path / "data" / "more" / "answers.csv")
    with pytest.raises(ValueError, match="would be read as data"):
        predict(*arguments, source, "--output", source)
    with pytest.raises(ValueError, match=r"expected a file of the suffix \.parquet, \.csv, \.jsonl"):
        predict(*arguments, source, "--output", tmp_path / "answers.xlsx", "--allow_outside_paths")


@pytest.mark.parametrize(
    "model, options, message",
    [
        ("digits", ("--top_k", "0"), "--top_k is 0"),
        ("digits-retrieval", ("--top_k", "2"), "--top_k is for models that classify"),
        ("digits-retrieval", ("--contributions",), "answers with embeddings"),
        ("digits", ("--split", "dev"), "has no split 'dev'; it has train"),
    ],
)
def test_what_a_model_or_the_data_cannot_give_is_an_error(model, options, message, checkpoints, rows, tmp_path):
    source = write_csv(tmp_path / "data" / "rows.csv", rows)
    with pytest.raises(ValueError, match=message):
        predict("--model", checkpoints / model, "--dataset", source, "--output", tmp_path / "a.csv", *options)


# --------------------------------------------------- bad rows ------------------------------------------------------


def test_rows_that_cannot_be_read_stand_in_the_file_with_the_reason_and_the_others_are_answered(
    checkpoints, rows, tmp_path
):
    data, out = tmp_path / "data", tmp_path / "answers.jsonl"
    (data / "broken.png").write_bytes(b"no picture")
    expected = dict(enumerate(rows))
    rows[3] = rows[3] | {"image": "missing.png"}
    rows[7] = rows[7] | {"image": "broken.png"}
    rows[8] = rows[8] | {"text": None, "image": None, "audio": None}
    arguments = ["--model", checkpoints / "digits", "--dataset", write_csv(data / "rows.csv", rows)]
    printed = predict(*arguments, "--output", out, "--batch_size", 4, "--keep_columns", "id")
    assert "21 predictions are in" in printed and "3 rows could not be answered" in printed
    assert "1 corrupt image, 1 empty row, 1 missing image file" in printed
    found = lines_of(out)
    assert [row["id"] for row in found] == [row["id"] for row in rows]
    assert {row["row"]: row["error"].partition(":")[0] for row in found if "error" in row} == {
        3: "missing image file",
        7: "corrupt image",
        8: "empty row",
    }
    assert not any("label" in row for row in found if "error" in row)
    classify = pipeline(
        "multimodal-classification",
        model=str(checkpoints / "digits"),
        processor=MoTProcessor.from_pretrained(checkpoints / "digits"),
    )
    for i in (2, 4, 9):  # in one batch with those
        assert found[i]["label"] == classify(row_of(data, expected[i]), truncation=True)[0]["label"]
    with pytest.raises(ValueError, match="Row 3 of split 'train' is a bad example, missing image file"):
        predict(*arguments, "--output", tmp_path / "other.jsonl", "--on_bad_example", "raise")
    assert not (tmp_path / "other.jsonl").exists()


# ------------------------------------------------- killed runs -----------------------------------------------------


def killed(arguments: list, unfinished: Path, parts: int) -> int:
    """The exit code of a run in a process of its own, killed as soon as so many parts are there."""
    process = forks.Process(target=predict, args=arguments)
    process.start()
    while process.is_alive() and len(list(unfinished.glob("part-*"))) < parts:
        time.sleep(0.001)
    process.kill()
    process.join()
    return process.exitcode


@pytest.mark.parametrize("suffix", [".parquet", ".csv", ".jsonl"])
def test_a_killed_run_goes_on_and_leaves_the_same_bytes(suffix, checkpoints, rows, tmp_path, monkeypatch):
    torch.set_num_threads(1)  # a forked process has no threads
    monkeypatch.setattr(predict_dataset, "PART_ROWS", 8)
    many = [row | {"id": f"r{i}"} for i, row in enumerate(rows * 6)]
    many[40]["image"] = "missing.png"
    source = write_csv(tmp_path / "data" / "rows.csv", many)
    options = ["--model", checkpoints / "digits", "--dataset", source, "--batch_size", 8, "--keep_columns", "id"]
    whole, out = tmp_path / f"whole{suffix}", tmp_path / f"answers{suffix}"
    predict(*options, "--output", whole)
    unfinished, arguments = tmp_path / f".{out.name}.unfinished", [*options, "--output", out]
    moments = random.Random(0)
    done = 0
    for _ in range(2):
        done += moments.randint(2, 6)
        assert killed(arguments, unfinished, done) == -signal.SIGKILL
        assert not out.exists() and len(list(unfinished.glob("part-*"))) >= done
    with pytest.raises(ValueError, match=r"is unfinished, and was begun with other --top_k \(None, now 3\)"):
        predict(*arguments, "--top_k", 3)
    assert "rows were answered before: going on." in predict(*arguments)
    assert out.read_bytes() == whole.read_bytes() and not unfinished.exists()
    before = out.stat().st_mtime_ns
    assert "is finished: 126 rows were answered by this very command" in predict(*arguments)
    assert out.stat().st_mtime_ns == before
    predict(*arguments, "--top_k", 3)  # another question is answered anew
    assert out.read_bytes() != whole.read_bytes()


def test_two_processes_do_not_write_one_file(checkpoints, rows, tmp_path, monkeypatch):
    source, out = write_csv(tmp_path / "data" / "rows.csv", rows), tmp_path / "answers.csv"
    arguments = ["--model", checkpoints / "digits", "--dataset", source, "--output", out]
    inside = predict_dataset.PredictionFile.finish

    def meanwhile(self, parts):
        monkeypatch.undo()
        with pytest.raises(OSError, match="Another process is writing"):
            predict(*arguments)
        return inside(self, parts)

    monkeypatch.setattr(predict_dataset.PredictionFile, "finish", meanwhile)
    predict(*arguments)
    assert out.exists()


# ---------------------------------------------------- memory -------------------------------------------------------


def peak_of(checkpoint: Path, source: str, out: Path, queue) -> None:
    """How many MB the peak of a process grew by while it answered."""
    torch.set_num_threads(1)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    predict("--model", checkpoint, "--dataset", source, "--output", out, "--contributions")
    queue.put((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)


@pytest.mark.slow
def test_ten_times_the_rows_take_no_more_memory(checkpoints, tmp_path):
    torch.set_num_threads(1)
    peaks, queue = {}, forks.Queue()
    for number in (1000, 10_000):
        rows = [{"id": i, "text": f"{WORDS[i % 4]} {i}"} for i in range(number)]
        source = write(tmp_path / str(number) / "rows.jsonl", as_lines(rows))
        out = tmp_path / f"{number}.parquet"
        process = forks.Process(target=peak_of, args=(checkpoints / "digits", source, out, queue))
        process.start()
        peaks[number] = queue.get(timeout=600)
        process.join()
        assert pq.read_metadata(out).num_rows == number
    assert peaks[10_000] < peaks[1000] + 40, peaks
