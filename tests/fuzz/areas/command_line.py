# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Command lines with odd words. Each ends with 0, or with one line and a code, without a traceback."""

import contextlib
import io
import shutil
import sys
from pathlib import Path

import numpy as np

import mixture_of_transformers.evaluation.evaluate  # noqa: F401  (here, once, not in every worker)
import mixture_of_transformers.search.commands  # noqa: F401
from mixture_of_transformers.__main__ import main

from ..case import Case
from ..odd import one, show
from ..world import World

WORDS = (
    "",
    " ",
    "nothing",
    "-1",
    "0",
    "1e99",
    "nan",
    "-",
    "--",
    "é",
    "\udcff",
    "none",
    "a" * 5000,
    ".",
    "/",
    "{}",
    "[]",
)
WORDS += ("true", "0x10", "1,2", "%s", "{0}", "~", "*", "--help me", "http://127.0.0.1:9/", "null", "2", "digits")
OPTIONS = {
    "finetune": ("--task", "--seed", "--max_steps", "--text_column", "--label_column", "--learning_rate", "--size"),
    "evaluate": ("--split", "--seed", "--dataset_name", "--per_device_eval_batch_size", "--task", "--label_column"),
    "predict": ("--text", "--image", "--audio", "--video", "--top_k", "--window", "--model", "--attribution"),
    "index": ("--split", "--model", "--batch_size", "--text_column", "--on_bad_example", "--dataset_config"),
    "search": ("--text", "--image", "--audio", "-k", "--modality", "--model"),
    "demo": ("--model", "--index", "--host", "--port"),
}
OPTIONS["finetune"] += (
    "--train_split",
    "--config_overrides",
    "--max_audio_seconds",
    "--max_text_tokens",
    "--eval_strategy",
)
OPTIONS["finetune"] += (
    "--num_train_epochs",
    "--validation_split",
    "--cache_gigabytes",
    "--lora_rank",
    "--optim",
    "--debug",
)
OPTIONS["finetune"] += (
    "--modality_dropout",
    "--image_size",
    "--patch_size",
    "--resume_from_checkpoint",
    "--save_strategy",
)
OPTIONS["finetune"] += (
    "--tokenizer_name",
    "--text_model",
    "--split_column",
    "--max_train_samples",
    "--lr_scheduler_type",
)


def command_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    command = one(rng, tuple(OPTIONS))
    option, word = one(rng, OPTIONS[command]), one(rng, WORDS)
    arguments = sound_arguments(command, world, folder)
    kind = one(rng, ("value", "value", "value", "value", "unknown", "lost", "positional", "command"))
    odd = [option, word]
    if kind == "value":
        odd = [f"{option}={word}"] if option[1] == "-" and rng.random() < 0.5 else odd
        arguments += odd
        names = (option.lstrip("-"), *option.strip("-").split("_"), *([word] if word.strip() else []))
    elif kind == "unknown":
        odd, names = ["--nonsense", word], ("--nonsense",)
        arguments += odd
    elif kind == "lost":
        odd = [arguments.pop(int(rng.integers(len(arguments))))]
        names = (*odd, "required", "expected", "arguments")
    elif kind == "positional":
        odd, names = [word], (word.strip() or "unrecognized", "unrecognized arguments")
        arguments += odd
    else:
        command, odd, names = word, [word], ("command",)
    if command == "demo":  # which would wait for visitors
        (folder / "space").mkdir()
        (folder / "space" / "full").touch()
        arguments += ["--space_dir", "space"]
        names += ("--space_dir",)

    def call():
        sys.argv = ["mot", command, *arguments]
        errors = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
            try:
                main()
                code = 0
            except SystemExit as stop:
                code = stop.code
        return code, errors.getvalue()

    def judged():
        code, written = call()
        line = code if isinstance(code, str) else (written.strip().splitlines() or [""])[-1]
        if code in (0, None):
            return code, written
        if "Traceback" in written or "not foreseen" in line or "\n" in line.strip():
            raise AssertionError(line)
        raise ValueError(f"{line}")  # a named error, if it names what was odd

    return Case(f"mot {command[:20]} of which {kind}: {show(odd)}", judged, names)


def sound_arguments(command: str, world: World, folder: Path) -> list[str]:
    """A command that would work, on a table of eight rows."""
    table = folder / "table.csv"
    table.write_text("text,label\n" + "".join(f"red cat {i},{'ab'[i % 2]}\n" for i in range(12)))
    small = '{"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_encoder_layers": 1}'
    if command == "finetune":
        data = ["--dataset_name", str(table), "--output_dir", "out", "--cache_gigabytes", "0"]
        return [*data, "--config_overrides", small, "--max_steps", "1", "--use_cpu", "true"]
    if command == "evaluate":
        model = folder / "model"
        shutil.copytree(world.checkpoint, model)
        data = ["--dataset_name", str(table), "--split", "train", "--label_column", "label"]
        return [str(model), *data, "--output_dir", "out"]
    if command == "predict":
        return ["--model", str(world.checkpoint), "--text", "red cat"]
    if command == "index":
        return [str(table), "--model", str(world.folder / "retriever"), "--output_dir", "index"]
    if command == "search":
        return [str(world.index), "--model", str(world.folder / "retriever"), "--text", "red"]
    return ["--model", str(world.checkpoint)]
