# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Runs that are killed: a tiny model of each task, trained in a process of its own that the tests may kill at any
moment.

The processes are forked, so that a run need not import the package anew and costs about a second.
"""

import multiprocessing
import random
import signal
import time
from pathlib import Path

import huggingface_hub
import torch
from safetensors.torch import load_file
from transformers.utils.hub import hf_api

from mixture_of_transformers import MoTConfig, MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification
from mixture_of_transformers.training import run_folder
from mixture_of_transformers.training.trainer import EpochDataset, MoTCollator, MoTTrainer, MoTTrainingArguments

STEPS, ROWS = 9, 22
TASKS = ("classification", "multi_label", "regression", "retrieval", "pretraining")
STRATEGIES = ("random", "sequential", "group_by_length", "batch_rebalance")
forks = multiprocessing.get_context("fork")


class Rows(EpochDataset):
    def __init__(self, task: str):
        super().__init__()
        self.rows = rows_of(task)

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.in_epoch(self.rows[index])


def rows_of(task: str) -> list[dict]:
    """Encoded rows of text of several lengths and a small picture, which some lack."""
    generator = torch.Generator().manual_seed(0)
    labels = {
        "classification": lambda i: torch.tensor(i % 3),
        "multi_label": lambda i: torch.tensor([i % 2, i % 3 == 0, 1]).float(),
        "regression": lambda i: torch.tensor(i / 10),
    }
    rows = []
    for i in range(ROWS):
        row = {"input_ids": torch.randint(5, 30, (3 + i % 7,), generator=generator)}
        if task in ("retrieval", "pretraining") or i % 4:
            row["pixel_values"] = torch.randn(3, 8, 8, generator=generator)
        rows.append(row | ({"labels": labels[task](i)} if task in labels else {}))
    return rows


def model_of(task: str):
    torch.manual_seed(0)
    problem = {"classification": "single_label_classification", "multi_label": "multi_label_classification"}
    fields = {"problem_type": problem.get(task, "regression"), "num_labels": 1 if task == "regression" else 3}
    config = MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=16,
        projection_dim=8,
        hidden_dropout=0.1,
        text_config={"vocab_size": 30, "num_hidden_layers": 1, "max_position_embeddings": 16},
        image_config={"image_size": 8, "patch_size": 4, "num_hidden_layers": 1},
        audio_config=None,
        **(fields if task not in ("retrieval", "pretraining") else {}),
    )
    classes = {"retrieval": MoTForRetrieval, "pretraining": MoTForPreTraining}
    return classes.get(task, MoTForSequenceClassification)(config)


def train(
    folder: str, task: str, strategy: str, accumulation: int = 1, slowly: float = 0.0, hub: str = "", **options
) -> None:
    """
    A run with a checkpoint after every second step, or what is left of it.

    Args:
        slowly: seconds before each file is safe on the disk.
        hub: the address of a Hub, for runs that push.
    """
    if hub:
        huggingface_hub.constants.ENDPOINT = huggingface_hub.hf_api.api.endpoint = hf_api().endpoint = hub
        huggingface_hub.constants.HF_HUB_OFFLINE, huggingface_hub.constants.HF_HUB_DISABLE_XET = False, True
        options |= {"push_to_hub": True, "hub_always_push": True}
    if slowly:
        sync = run_folder.os.fsync
        run_folder.os.fsync = lambda file: (time.sleep(slowly), sync(file))
    torch.set_num_threads(1)
    settings = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": 2, "logging_steps": 1} | options
    args = MoTTrainingArguments(
        folder,
        max_steps=STEPS,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        train_sampling_strategy=strategy,
        learning_rate=1e-2,
        use_cpu=True,
        report_to="none",
        disable_tqdm=True,
        **settings,
    )
    collator = MoTCollator(modality_dropout=0.2)
    rows = Rows(task)
    trainer = MoTTrainer(model_of(task), args, data_collator=collator, train_dataset=rows, eval_dataset=rows)
    trainer.train("auto")
    trainer.save_model()


def run(folder: Path, *arguments, kill_after: float | None = None, **options) -> int:
    """The exit code of a run; minus 9 where it was killed after so many seconds."""
    process = forks.Process(target=train, args=(str(folder), *arguments), kwargs=options)
    process.start()
    process.join(kill_after)
    if process.is_alive():
        process.kill()
    process.join()
    return process.exitcode


def seconds_of(folder: Path, *arguments, **options) -> float:
    start = time.monotonic()
    assert run(folder, *arguments, **options) == 0
    return time.monotonic() - start


def run_with_kills(folder: Path, kills: int, seed: int, seconds: float, *arguments, **options) -> list[bool]:
    """A run that is killed at random moments until it was so often, and then left alone; says which kills hit a
    save."""
    moments, in_a_save = random.Random(seed), []
    while len(in_a_save) < kills:
        code = run(folder, *arguments, kill_after=moments.uniform(0.2, seconds), **options)
        if code == 0:
            return in_a_save
        assert code == -signal.SIGKILL
        in_a_save.append((folder / run_folder.SAVING).is_dir())
    assert run(folder, *arguments, **options) == 0
    return in_a_save


def differences(folder: Path, reference: Path) -> list[str]:
    """The weights that are not bit for bit those of another run."""
    found, expected = (load_file(path / "model.safetensors") for path in (folder, reference))
    assert found.keys() == expected.keys()
    return [name for name, value in expected.items() if not torch.equal(found[name], value)]
