# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The end of a run: its checkpoint is safe before what may fail, `mot evaluate` does the rest again, `mot predict`
answers whole datasets, and what a run prints works when it is pasted."""

import contextlib
import io
import json
import re
import shlex
import shutil
import sys
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers import MoTConfig, MoTForPreTraining, MoTForRetrieval, MoTProcessor, run_finetune
from mixture_of_transformers.__main__ import main as mot
from mixture_of_transformers.finetune.commands import command_line
from mixture_of_transformers.finetune.predictions import answers
from mixture_of_transformers.finetune.table import print_table, written
from mixture_of_transformers.finetune.usage import usage_lines
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.pushing import push_command
from mixture_of_transformers.training.trainer import MoTTrainer

TINY = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
TINY |= {f"{modality}_config": {"num_hidden_layers": 1} for modality in ("text", "image", "audio")}
WORDS = {"neg": "awful dull grey", "neu": "plain usual even", "pos": "great bright warm"}
ROWS = {"train": 12, "validation": 6, "test": 7}
pytestmark = [pytest.mark.training, pytest.mark.usefixtures("own_cache")]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def picture(path: Path, value: int) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (value, 60, 60)).save(path)
    return str(path)


def tone(path: Path, hertz: int, seconds: float = 0.3) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    samples = 0.3 * np.sin(2 * np.pi * hertz * np.arange(int(16000 * seconds)) / 16000)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return str(path)


def write_rows(folder: Path, splits: dict[str, list[dict]]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in splits.items():
        Dataset.from_list(rows).to_parquet(folder / f"{name}.parquet")
    return folder


def write_clips(folder: Path, names=tuple(WORDS), label="label", score: bool = False, **rows: int) -> Path:
    """Sentences and pictures that show their class, or a score."""
    splits = {}
    for split, number in (rows or ROWS).items():
        splits[split] = []
        for i in range(number):
            name = names[i % len(names)]
            image = picture(folder / f"media/{name}.png", 100 * list(WORDS).index(name))
            value = float(list(WORDS).index(name)) if score else name
            splits[split].append({"text": f"{WORDS[name]} {i}", "image": image, label: value})
    return write_rows(folder, splits)


def train(*options, data: Path, out: Path) -> dict:
    """A run in this process, of a model as small as can be."""
    options = [*map(str, options), "--output_dir", str(out), "--per_device_train_batch_size", "6"]
    options += ["--cache_gigabytes", "0", "--dataset_name", str(data)]
    if "--model_name_or_path" not in options:
        given = json.loads(options[options.index("--config_overrides") + 1]) if "--config_overrides" in options else {}
        merged = TINY | {k: TINY[k] | v if isinstance(v, dict) and k in TINY else v for k, v in given.items()}
        options += ["--config_overrides", json.dumps(merged)]
    options += [] if "--max_steps" in options else ["--max_steps", "2"]
    return run_finetune.main([*options, "--disable_tqdm", "true"])


def command(*arguments) -> str:
    """What a command of the package prints."""
    previous, sys.argv = sys.argv, ["mot", *map(str, arguments)]
    try:
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            mot()
    finally:
        sys.argv = previous
    return printed.getvalue()


def results_of(folder: Path, name: str = "results.json") -> dict:
    return json.loads((folder / name).read_text())


def assert_alike(found: dict, expected: dict) -> None:
    """Equal to rounding error, at every depth."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        if isinstance(value, dict):
            assert_alike(found[key], value)
        else:
            assert found[key] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value), key


TASKS = {
    "classification": ["--learning_rate", 0.02, "--max_steps", 20, "--save_strategy", "steps", "--save_steps", 10],
    "regression": ["--task", "regression"],
    "retrieval": ["--task", "retrieval"],
    "pretraining": ["--task", "pretraining", "--per_device_eval_batch_size", "3", "--seed", "5"],
    "adapter": ["--lora", "--learning_rate", 0.1],
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A function that gives the folder of a finished run for each of TASKS and what it printed, made once; its data
    lie in `data` or, scores, in `scores` beside it. Folders are for reading: `copy_of` gives one to change."""
    root, made = tmp_path_factory.mktemp("finished"), {}
    write_clips(root / "data")
    write_clips(root / "scores", score=True)

    def run(task: str) -> tuple[Path, str]:
        if task not in made:
            options = list(TASKS[task])
            if task == "adapter":
                options += ["--model_name_or_path", run("classification")[0]]
            with contextlib.redirect_stdout(io.StringIO()) as printed:
                train(*options, data=root / ("scores" if task == "regression" else "data"), out=root / task)
            made[task] = (root / task, printed.getvalue())
        return made[task]

    return run


@pytest.fixture
def copy_of(finished, tmp_path):
    return lambda task: Path(shutil.copytree(finished(task)[0], tmp_path / "out"))


# ------------------------------------------------- nothing is lost --------------------------------------------------


def card_in_the_way(out, monkeypatch):
    (out / "README.md").mkdir(parents=True)


def out_of_memory(out, monkeypatch):
    def fail(self, dataset):
        raise MemoryError("not enough of it")

    monkeypatch.setattr(MoTTrainer, "evaluate_subsets", fail)


@pytest.mark.parametrize("obstacle", [out_of_memory, card_in_the_way])
def test_what_fails_after_the_training_leaves_the_checkpoint_and_says_how_to_do_the_rest(
    obstacle, tmp_path, monkeypatch
):
    out, data = tmp_path / "my runs" / "first", write_clips(tmp_path / "data")
    with monkeypatch.context() as patch:
        obstacle(out, patch)
        (out / "results.json").parent.mkdir(parents=True, exist_ok=True)
        for name in ("results.json", "report.html"):
            (out / name).write_text("{}")  # of an earlier run
        with pytest.raises(RuntimeError, match=re.escape(f"checkpoint is safe in {out}")) as failure:
            train(data=data, out=out)
    AutoModelForSequenceClassification.from_pretrained(out)
    assert not (out / "results.json").exists() or results_of(out)["task"] == "classification"
    assert not (out / "report.html").exists()
    if (out / "README.md").is_dir():
        (out / "README.md").rmdir()
    again = next(line for line in str(failure.value).splitlines() if " evaluate " in line)
    arguments = shlex.split(again)
    command(*arguments[arguments.index("evaluate") :])
    assert results_of(out)["subsets"]["text+image"]["rows"] == ROWS["test"]
    assert f"{results_of(out)['subsets']['text']['accuracy']:.4f}" in (out / "README.md").read_text()


def test_ctrl_c_during_the_evaluation_keeps_the_checkpoint(tmp_path, monkeypatch, capsys):
    def interrupt(self, dataset):
        raise KeyboardInterrupt

    monkeypatch.setattr(MoTTrainer, "evaluate_subsets", interrupt)
    with pytest.raises(SystemExit) as stop:
        train(data=write_clips(tmp_path / "data"), out=tmp_path / "out")
    assert stop.value.code == 130
    assert load_file(tmp_path / "out" / "model.safetensors")
    assert f"evaluate {tmp_path / 'out'}" in capsys.readouterr().err


@pytest.mark.parametrize("task", TASKS)
def test_mot_evaluate_writes_what_the_run_has_written(task, copy_of, tmp_path):
    out = copy_of(task)
    results, card = results_of(out), (out / "README.md").read_text()
    (out / "results.json").unlink()
    (out / "README.md").unlink()
    printed = command("evaluate", out)
    assert_alike(results_of(out), results)
    assert (out / "README.md").read_text() == card
    assert "one checkpoint:" in printed and f"The checkpoint is in {out}" in printed


def test_an_adapter_can_be_merged_after_the_run(copy_of):
    out = copy_of("adapter")
    results = results_of(out)
    command("evaluate", out, "--merge_lora")
    assert results_of(out)["subsets"] == results["subsets"]
    assert load_file(out / "model.safetensors") and not (out / "adapter_model.safetensors").exists()
    AutoModelForSequenceClassification.from_pretrained(out)


def test_merging_that_fails_keeps_the_adapter(finished, tmp_path, monkeypatch):
    from peft import LoraModel

    def fail(self, *arguments, **options):
        raise MemoryError("not enough of it")

    monkeypatch.setattr(LoraModel, "merge_and_unload", fail)
    base, out = finished("classification")[0], tmp_path / "out"
    with pytest.raises(RuntimeError, match=r"evaluate .*out --merge_lora"):
        train("--model_name_or_path", base, "--lora", "--merge_lora", data=base.parent / "data", out=out)
    assert load_file(out / "adapter_model.safetensors")


def test_other_data_are_matched_by_class_names_and_leave_the_run_its_own_results(copy_of, tmp_path):
    out = copy_of("classification")
    own = results_of(out)
    assert own["subsets"]["text"]["accuracy"] == 1.0
    other = write_clips(tmp_path / "other", names=("pos", "neg"), label="mood", test=4)
    command("evaluate", out, "--dataset_name", other, "--label_column", "mood")
    found = results_of(out, "results-other-test.json")
    assert found["subsets"]["text"]["accuracy"] == 1.0 and found["subsets"]["text"]["rows"] == 4
    assert found["dataset"] == "other" and results_of(out) == own
    command("evaluate", out, "--split", "validation")
    assert results_of(out, "results-data-validation.json")["subsets"]["text"]["rows"] == ROWS["validation"]
    strange = write_rows(tmp_path / "strange", {"test": [{"text": "odd", "label": "mixed"}]})
    with pytest.raises(SystemExit, match="mixed"):
        command("evaluate", out, "--dataset_name", strange)
    unlabelled = write_rows(tmp_path / "unlabelled", {"test": [{"text": "odd", "label": ""}]})
    with pytest.raises(SystemExit, match="mot predict"):
        command("evaluate", out, "--dataset_name", unlabelled)


def test_a_checkpoint_within_a_run_is_evaluated_on_the_runs_data(copy_of):
    out = copy_of("classification")
    command("evaluate", out / "checkpoint-20")
    assert results_of(out / "checkpoint-20")["subsets"] == results_of(out)["subsets"]


def test_each_checkpoint_says_which_run_and_step_it_is_of_and_goes_on_as_that_run_alone(copy_of, tmp_path):
    out = copy_of("classification")
    record = json.loads((out / "checkpoint-10" / "run.json").read_text())
    assert (
        record["run"]["weights"] == "of step 10"
        and record["data"] == json.loads((out / "run.json").read_text())["data"]
    )
    assert "weights are those of step 10." in command("evaluate", out / "checkpoint-10")
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="was trained on .*data for classification; you ask for .*other"):
        train("--resume_from_checkpoint", "auto", data=write_clips(tmp_path / "other"), out=out)
    assert before == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_resumed_run_records_the_rate_that_held(copy_of, finished, capsys):
    out, data = copy_of("classification"), finished("classification")[0].parent / "data"
    options = ["--resume_from_checkpoint", "auto", "--max_steps", 21, "--learning_rate", 0.5]
    train(*options, data=data, out=out)
    command_of_run = json.loads((out / "run.json").read_text())["run"]["command"]
    assert "--learning_rate 0.02 " in command_of_run and "0.5" not in command_of_run


def test_errors_of_other_data_speak_of_the_checkpoint_and_of_a_folder_that_is_not_there(copy_of, tmp_path):
    strange = write_rows(tmp_path / "strange", {"test": [{"text": "odd", "label": "mixed"}]})
    with pytest.raises(SystemExit, match="among the 3 classes of the checkpoint: .*It answers with these alone"):
        command("evaluate", copy_of("classification"), "--dataset_name", strange)
    with pytest.raises(SystemExit, match="There is no folder o/nope, and no such model"):
        command("evaluate", "o/nope")


def test_the_help_of_mot_predict_names_its_form_for_a_dataset(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["mot", "predict", "--help"])
    with pytest.raises(SystemExit):
        mot()
    assert "mot predict --dataset NAME --help" in capsys.readouterr().out


def test_a_checkpoint_without_a_run_asks_for_data_and_then_is_evaluated(copy_of, finished):
    out, data = copy_of("classification"), finished("classification")[0].parent / "data"
    results = results_of(out)
    for name in ("run.json", "results.json", "README.md"):
        (out / name).unlink()
    with pytest.raises(SystemExit, match="--dataset_name"):
        command("evaluate", out)
    command("evaluate", out, "--dataset_name", data)
    assert results_of(out)["subsets"] == results["subsets"]
    assert "## Training\n\nData: data.\n\n##" in (out / "README.md").read_text()


def test_data_that_have_moved_are_an_error_that_names_them(copy_of):
    out = copy_of("classification")
    record = json.loads((out / "run.json").read_text())
    record["data"]["dataset_name"] += "/moved"
    (out / "run.json").write_text(json.dumps(record))
    with pytest.raises(SystemExit, match=r"trained on .*data/moved, which is not there"):
        command("evaluate", out)


def test_no_file_of_a_run_holds_its_token(tmp_path):
    line = command_line(["python"], ["--hub-token=hf_secret", "--hub_model_id", "a", "--hub_token", "b c"])
    assert line == "python --hub_model_id a"
    data, out = write_clips(tmp_path / "data"), tmp_path / "out"
    train("--hub_token", "hf_secret", "--max_steps", 1, data=data, out=out)
    assert not [path for path in out.rglob("*") if path.is_file() and b"hf_secret" in path.read_bytes()]


# ------------------------------------------------- which weights are kept -------------------------------------------


def test_the_run_says_which_weights_it_kept(finished, tmp_path, capsys):
    folder, printed = finished("classification")
    assert "its weights are those of the last step, 20." in printed
    # The first evaluation is the best one: its step has a rate of 0, and the next ones destroy the model.
    often = ["--eval_strategy", "steps", "--eval_steps", 1, "--save_strategy", "steps", "--save_steps", 1]
    often += ["--load_best_model_at_end", "true", "--lr_scheduler_type", "constant_with_warmup", "--warmup_steps", 4]
    out = tmp_path / "out"
    train(*often, "--learning_rate", 3.0, "--max_steps", 4, data=folder.parent / "data", out=out)
    state = json.loads((out / "checkpoint-4" / "trainer_state.json").read_text())
    assert state["best_global_step"] == 1
    kept, best = (
        load_file(path / "model.safetensors") for path in (out, out / f"checkpoint-{state['best_global_step']}")
    )
    assert all(torch.equal(kept[name], best[name]) for name in best)
    said = f"of step {state['best_global_step']}, the best of the evaluations by loss ({state['best_metric']:.4g})"
    assert said in capsys.readouterr().out and said in (out / "README.md").read_text()


# ------------------------------------------------- rows without labels ----------------------------------------------


def lines_of(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def expected_logits(folder: Path, rows: list[dict]) -> torch.Tensor:
    model, processor = (
        AutoModelForSequenceClassification.from_pretrained(folder),
        AutoProcessor.from_pretrained(folder),
    )
    batch = processor(text=[row["text"] for row in rows], images=[row["image"] for row in rows], padding=True)
    with torch.no_grad():
        return model.eval()(**batch).logits


@pytest.mark.parametrize("how", ("no column", "empty cells"))
def test_a_test_split_without_labels_is_answered_row_by_row(how, finished, tmp_path, caplog):
    data, out = tmp_path / "data", tmp_path / "out"
    shutil.copytree(finished("classification")[0].parent / "data", data)  # whose pictures stay where they are
    test = Dataset.from_parquet(str(data / "test.parquet"))
    number, kind, test = len(test), test.features["label"], test.remove_columns("label")
    if how == "empty cells":
        test = test.add_column("label", [None] * number, feature=kind)
    test.to_parquet(data / "test.parquet")
    results = train("--allow_outside_paths", data=data, out=out)
    assert results["split"] == "validation" and "the results are those of the validation split" in caplog.text
    found = lines_of(out / "predictions.jsonl")
    logits = expected_logits(out, Dataset.from_parquet(str(data / "test.parquet")).to_list())
    names = AutoModelForSequenceClassification.from_pretrained(out).config.id2label
    assert [line["row"] for line in found] == list(range(ROWS["test"]))
    assert [line["label"] for line in found] == [names[i] for i in logits.argmax(-1).tolist()]
    for line, row in zip(found, logits.softmax(-1).tolist()):
        assert list(line["probabilities"].values()) == pytest.approx(row, abs=1e-5)
        assert list(line["probabilities"]) == list(names.values())


def test_mot_predict_answers_each_row_of_a_dataset_and_names_those_it_cannot_read(finished, tmp_path):
    folder = finished("classification")[0]
    rows = [{"text": f"great {i}", "image": picture(tmp_path / "new/new.png", 200)} for i in range(5)]
    rows[1]["image"] = str(tmp_path / "new/missing.png")
    new = write_rows(tmp_path / "new", {"train": rows})
    answers = tmp_path / "answers" / "new.jsonl"
    command("predict", "--model", folder, "--dataset_name", new, "--split", "train", "--output", answers)
    found = lines_of(answers)
    assert [line["row"] for line in found] == [0, 1, 2, 3, 4] and "missing image file" in found[1]["error"]
    good = [row for i, row in enumerate(rows) if i != 1]
    labels = expected_logits(folder, good).argmax(-1).tolist()
    names = MoTConfig.from_pretrained(folder).id2label
    assert [line["label"] for line in found if "label" in line] == [names[i] for i in labels]
    assert sorted(path.name for path in answers.parent.iterdir()) == [".new.jsonl.run.json", "new.jsonl"]


def test_mot_predict_answers_scores(finished, tmp_path):
    folder, data = finished("regression")[0], finished("regression")[0].parent / "scores"
    command("predict", "--model", folder, "--dataset_name", data, "--split", "validation")
    logits = expected_logits(folder, Dataset.from_parquet(str(data / "validation.parquet")).to_list())
    found = [line["score"] for line in lines_of(tmp_path / "predictions.jsonl")]
    assert found == pytest.approx(logits[:, 0].tolist(), abs=1e-5)


def test_several_labels_are_answered_with_those_that_are_likely():
    config = MoTConfig(id2label={0: "neg", 1: "pos"}, problem_type="multi_label_classification")
    (first, second) = answers(np.array([[2.0, -1.0], [0.5, 3.0]]), config)
    assert first["labels"] == ["neg"] and second["labels"] == ["neg", "pos"]
    assert first["probabilities"] == pytest.approx({"neg": 1 / (1 + np.exp(-2)), "pos": 1 / (1 + np.exp(1))})


def test_a_model_that_only_learned_without_labels_predicts_nothing(finished):
    folder = finished("pretraining")[0]
    with pytest.raises(SystemExit, match="is for pretraining"):
        command("predict", "--model", folder, "--dataset_name", folder.parent / "data")


# ------------------------------------------------- what a run prints ------------------------------------------------


def run_usage(printed: str, tmp_path: Path) -> str:
    """Paste the printed lines, with files for those that they name."""
    code = printed.split("without this package:")[1]
    code = code.replace("picture.png", picture(tmp_path / "files/picture.png", 50))
    code = code.replace("sound.wav", tone(tmp_path / "files/sound.wav", 440))
    if "clip.mp4" in code:
        code = code.replace("clip.mp4", video(tmp_path / "files/clip.mp4"))
    with contextlib.redirect_stdout(io.StringIO()) as said:
        exec(code, {})  # noqa: S102 (the lines that were printed are what is tested)
    return said.getvalue()


def video(path: Path) -> str:
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        for value in range(10):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 20 * value, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(path)


def write_features(folder: Path, label: str = "label", number: int = 12, **changes) -> Path:
    """Vectors in place of words, faces and voices; `test` may differ."""
    draw, splits = np.random.default_rng(0), {}
    for split in ("train", "validation", "test"):
        sizes = {"text": (5, 6), "vision": (9, 3), "audio": (30, 4)} | (changes if split == "test" else {})
        splits[split] = [
            {name: draw.normal(size=size).tolist() for name, size in sizes.items()} | {label: float(draw.normal())}
            for _ in range(number)
        ]
    return write_rows(folder, splits)


def test_the_printed_usage_of_ready_features_runs(tmp_path, capsys):
    train(data=write_features(tmp_path / "data"), out=tmp_path / "out")
    printed = capsys.readouterr().out
    assert run_usage(printed, tmp_path).strip()
    inputs = next(line for line in printed.splitlines() if "audio_features=" in line)
    assert "np.ones((8, 4))" in inputs and inputs.split("  #")[0] in (tmp_path / "out" / "README.md").read_text()


def test_rows_that_do_not_fit_end_the_run_before_its_training(tmp_path, capsys):
    with pytest.raises(ValueError, match="Row 0 of split 'test' has 600 text features, but the model takes 512"):
        train(data=write_features(tmp_path / "data", text=(600, 6)), out=tmp_path / "out")
    assert "train_loss" not in capsys.readouterr().out and not (tmp_path / "out/model.safetensors").exists()


@pytest.mark.parametrize("model_class, task", [(MoTForRetrieval, "retrieval"), (MoTForPreTraining, "pretraining")])
def test_the_usage_of_ready_features_runs_for_heads_without_labels(model_class, task, tmp_path):
    towers = {f"{m}_config": {"feature_size": size} for m, size in (("text", 6), ("image", 3), ("audio", 4))}
    model_class(MoTConfig.of_size("tiny", **towers)).save_pretrained(tmp_path / "out")
    MoTProcessor().save_pretrained(tmp_path / "out")
    usage = usage_lines(task, str(tmp_path / "out"), MoTConfig.from_pretrained(tmp_path / "out"))
    assert run_usage(f"without this package:{usage}", tmp_path).strip()


@pytest.mark.parametrize("task", TASKS)
def test_the_printed_usage_of_raw_data_runs_from_anywhere(task, finished, tmp_path):
    assert run_usage(finished(task)[1], tmp_path).strip()


def test_the_printed_usage_of_a_model_of_videos_runs(tmp_path, capsys):
    rows = [
        {"video": video(tmp_path / "data/clips/a.mp4"), "text": f"word {i}", "label": "ab"[i % 2]} for i in range(8)
    ]
    data = write_rows(tmp_path / "data", dict.fromkeys(ROWS, rows))
    train("--image_size", 16, data=data, out=tmp_path / "out")
    printed = capsys.readouterr().out
    assert "videos='clip.mp4'" in printed
    assert run_usage(printed, tmp_path).strip() in ("a", "b")


def test_ready_features_in_a_column_called_video_are_taken():
    rows = Dataset.from_list([{"video": np.ones((5, 3)).tolist(), "label": 1.0}])
    encoded = EncodedDataset(rows, MoTProcessor())[0]
    assert torch.equal(encoded["image_features"], torch.ones(5, 3))


def test_learned_positions_limit_the_vectors_of_the_printed_usage():
    config = MoTConfig.of_size(
        "tiny",
        text_config=None,
        audio_config=None,
        image_config={"feature_size": 5, "position_embedding_type": "learned", "num_frames": 3},
    )
    assert "image_features=np.ones((3, 5))" in usage_lines("classification", "folder", config)


NUMBERS = [0.5, -0.25, 0.0, 464.9022, 319818.1284, -123456.7, 3e12, -1e300, 1e-9, float("nan"), float("inf")]


def test_tables_line_up_whatever_the_numbers(capsys):
    names = ["a", "median_rank", "a_metric_with_a_very_long_name", "pearson"]
    rows = {"text": {}, "text+image+audio+a rather long name": {}}
    for row, start in zip(rows, (0, 5)):
        rows[row] = {name: NUMBERS[(start + i) % len(NUMBERS)] for i, name in enumerate(names)} | {"rows": 10**9}
    del rows["text"]["pearson"]  # which not every row has
    print_table({"split": "test", "subsets": rows})
    heading, *lines = capsys.readouterr().out.splitlines()[2:]
    ends = [match.end() for match in re.finditer(r"\S+", heading)][1:]
    for line in lines:
        assert [match.end() for match in re.finditer(r"\S+", line)][-len(ends) :] == ends
        assert all(line[end - 1] != " " and line[end : end + 2] in ("  ", "") for end in ends)
    assert all(float(written(number)) == pytest.approx(number, rel=1e-3, nan_ok=True) for number in NUMBERS)


def test_printed_commands_keep_paths_with_spaces_whole():
    line = push_command(Path("/tmp/my runs/it's"), "user/model")  # noqa: S108 (nothing is written there)
    assert shlex.split(line)[:5] == ["hf", "upload", "user/model", "/tmp/my runs/it's", "."]  # noqa: S108 (nothing is written there)
    line = command_line(["python", "a b/run_finetune.py"], ["--output_dir", "my runs"])
    assert shlex.split(line) == ["python", "a b/run_finetune.py", "--output_dir", "my runs"]
