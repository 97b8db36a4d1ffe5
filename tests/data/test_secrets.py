# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tokens are written nowhere, and what is shared says nothing of this machine: the words of commands, cards, pickles,
and all that a run pushes to a Hub on localhost, while it trains and at its end."""

import copy
import io
import json
import os
import pickle
import shlex
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from killed_runs import run
from markdown_it import MarkdownIt

from mixture_of_transformers import MoTConfig
from mixture_of_transformers.data.secrets import hide, place_name, without_places, without_secrets
from mixture_of_transformers.finetune.card import write_card
from mixture_of_transformers.finetune.commands import command_line
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.record import Record, Run
from mixture_of_transformers.finetune.usage import usage_lines
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.interruption import damages

TOKEN = "hf_" + "aB3" * 11


@pytest.mark.parametrize(
    "text, expected",
    [
        (f"user said {TOKEN}.", "user said ...."),
        ("https://user:pa55@host/data.csv", "https://host/data.csv"),
        ("https://tok@host/data.csv failed", "https://host/data.csv failed"),
        ("https://host/x.csv?token=abc&n=3", "https://host/x.csv?token=...&n=3"),
        ("https://s3/x?X-Amz-Signature=0af&X-Amz-Date=1", "https://s3/x?X-Amz-Signature=...&X-Amz-Date=1"),
        ("'https://h/x?a=1&api_key=k'", "'https://h/x?a=1&api_key=...'"),
        ("s3cr3t of the environment", "... of the environment"),
        ("given on the command line", "... on the command line"),
        ("user/hf_clips and mail@host, hidden_size=3", "user/hf_clips and mail@host, hidden_size=3"),
    ],
)
def test_no_token_is_left_in_a_text_whatever_its_form(text, expected, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "s3cr3t")
    monkeypatch.setattr("mixture_of_transformers.data.secrets.given_secrets", set())
    hide("given")
    hide(None)
    assert without_secrets(text) == expected


def test_the_words_of_a_command_name_files_without_their_places():
    home, here = str(Path.home()), os.getcwd()
    words = ["--dataset_name", f"{home}/clips", f"--output_dir={here}/out", "--text_model", "user/model@main"]
    words += ["~/voices", "../there/pictures", "runs/a", f'{{"file": "{here}/x.json"}}', "--seed", "3"]
    found = without_places(words)
    assert found[:5] == ["--dataset_name", "clips", "--output_dir=out", "--text_model", "user/model@main"]
    assert found[5:] == ["voices", "pictures", "runs/a", '{"file": "x.json"}', "--seed", "3"]


def test_the_name_of_a_place_is_its_last_part_without_what_a_url_asks_for():
    assert place_name("/home/me/clips/") == "clips" and place_name("user/clips") == "clips"
    assert place_name("https://me:pw@host/a/x%20y.csv?token=1") == "x y.csv" and place_name("https://host") == "host"


@pytest.mark.parametrize("option", [["--hub_token", TOKEN], [f"--hub-token={TOKEN}"], ["--hub_tok", TOKEN]])
def test_the_command_of_a_run_has_no_token(option):
    url = "https://me:pw@host/x.csv?token=abc"
    line = command_line(["python"], [*option, "--dataset_name", url, "--run_name", f"a {TOKEN}"])
    assert shlex.split(line) == ["python", "--dataset_name", "https://host/x.csv?token=...", "--run_name", "a ..."]


def test_pickled_training_arguments_have_no_token_and_those_in_use_keep_it(tmp_path):
    arguments = MoTTrainingArguments(str(tmp_path), hub_token=TOKEN, use_cpu=True)
    torch.save(arguments, file := io.BytesIO())
    assert TOKEN.encode() not in file.getvalue() + pickle.dumps(arguments)
    assert arguments.hub_token == TOKEN and copy.copy(arguments).output_dir == str(tmp_path)


def test_a_record_of_data_at_a_signed_address_has_no_token(tmp_path):
    data = DataArguments(dataset_name="https://host/x.csv?token=abc")
    Record.of(data, MoTTrainingArguments(str(tmp_path), use_cpu=True), Run("name", "x.csv")).write(tmp_path)
    assert "abc" not in (tmp_path / "run.json").read_text()


# Cards


BOLD = ("strong_open", "strong_close")  # of the names of modalities
HOSTILE = [
    'a: "b"',
    "x\n---\n# Heading",
    "<img src=x onerror=alert(1)>",
    "[l](https://e.org)",
    "`$x$` |",
    "*_b_*",
    "-",
]


def card_of(folder: Path, run: Run, names=HOSTILE) -> str:
    labels = {"id2label": dict(enumerate(names)), "label2id": {name: i for i, name in enumerate(names)}}
    config = MoTConfig.of_size("tiny", num_labels=len(names), problem_type="single_label_classification", **labels)
    results = {"task": "classification", "split": "te|st", "seed": 0, "seconds": 1.0}
    results |= {"subsets": {"text": {"accuracy": 0.5, "rows": 3}}}
    usage = usage_lines("classification", run.name, config)
    write_card(folder, results, usage, run, config, 10)
    return (folder / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_text_in_a_card_and_its_front_matter_stays_whole(name, tmp_path):
    run_of = Run(name, name, rows={name: 3}, command=shlex.join(["python", "--dataset_name", name]))
    text = card_of(tmp_path, run_of)
    card = ModelCard(text)
    assert card.data.eval_results[0].dataset_name == name and card.data.license == "apache-2.0"
    front = text.split("\n---\n")[0]
    assert yaml.safe_load(front.removeprefix("---\n"))["license"] == "apache-2.0"
    parts = MarkdownIt("commonmark").enable("table").parse(card.text)
    headings = [parts[i + 1].content for i, part in enumerate(parts) if part.type == "heading_open"]
    assert len(headings) == 8 and headings[1:4] == ["Inputs", "Labels", "Results"]
    pieces = [piece for part in parts for piece in part.children or []]
    assert [piece.attrs["href"] for piece in pieces if piece.type == "link_open"] == [
        "https://arxiv.org/abs/2411.04996"
    ]
    assert {piece.type for piece in pieces} <= {"text", "softbreak", "link_open", "link_close", "code_inline", *BOLD}
    assert not [part for part in parts if part.type == "html_block"]
    shown = ["".join(piece.content for piece in part.children or []) for part in parts]
    assert f"One of 7 classes: {', '.join(' '.join(n.split()) for n in HOSTILE)}." in shown
    assert shown[1] == " ".join(name.rpartition("/")[2].split())


def test_a_card_names_no_place_of_this_machine(tmp_path):
    command = shlex.join(
        ["python", "run_finetune.py", "--dataset_name", str(tmp_path / "clips"), "--output_dir=/a/b/out"]
    )
    text = card_of(tmp_path, Run("out", "clips", command=command), names=["a", "b"])
    assert str(tmp_path) not in text and "/a/b" not in text and "--dataset_name clips --output_dir=out" in text


# What a run pushes


def pushed(server, name: str) -> dict[str, bytes]:
    """path -> content of all files that a repository ever had."""
    repository = server.repositories["model", name]
    return {path: file for files in repository.commits.values() for path, (file, _) in files.items()}


PICKLES = (".bin", ".pt", ".pth", ".pkl")


@pytest.mark.training
@pytest.mark.parametrize(
    "strategy, asked, folders",
    [
        ("every_save", False, set()),
        ("checkpoint", False, {"last-checkpoint"}),
        ("all_checkpoints", True, {f"checkpoint-{step}" for step in (2, 4, 6, 8, 9)}),
    ],
)
def test_a_run_pushes_no_pickle_no_report_no_place_and_no_state_that_nobody_asked_for(
    strategy, asked, folders, hub_server, tmp_path
):
    out, name = tmp_path / "out", f"user/{strategy}"
    out.mkdir()
    (out / "bad_rows.jsonl").write_text("rows of the data")
    options = {"hub": hub_server.endpoint, "hub_token": "hf_test", "hub_strategy": strategy, "hub_model_id": name}
    options |= {"metric_for_best_model": "loss", "load_best_model_at_end": True, "eval_strategy": "steps"}
    options |= {"eval_steps": 2, "push_training_state": asked}
    assert run(out, "classification", "random", **options) == 0
    files = pushed(hub_server, name)
    assert {"model.safetensors", "config.json"} <= set(files)
    assert {path.partition("/")[0] for path in files if "/" in path} == folders
    state = {path for path in files if path.endswith(PICKLES) or path.endswith("trainer_state.json")}
    if asked:
        parts = {"optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"}
        assert state == {f"{folder}/{part}" for folder in folders for part in parts}
        last = tmp_path / "pulled"
        last.mkdir()
        for path, content in files.items():
            if path.startswith("checkpoint-8/"):
                (last / Path(path).name).write_bytes(content)
        assert not list(damages(last))
        assert json.loads(files["checkpoint-8/trainer_state.json"])["best_model_checkpoint"].startswith("checkpoint-")
    else:
        assert not state
    assert not [path for path in files if "bad_rows" in path or Path(path).name.startswith(".run")]
    secrets = (b"hf_test", str(tmp_path).encode())
    assert not [path for path, content in files.items() for secret in secrets if secret in content]
    local = [path for path in out.rglob("*") if path.is_file()]
    assert not [path for path in local if b"hf_test" in path.read_bytes()]
