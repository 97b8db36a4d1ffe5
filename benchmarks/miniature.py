# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The Mixture-of-Transformers of arXiv 2411.04996 in miniature: dense against untied at equal operations per token.

    python -m benchmarks.miniature --dataset_name path/to/digits3m        an hour and a half on one core
    python -m benchmarks.miniature --dataset_name path/to/digits3m --page only docs/miniature.md and its picture
    python -m benchmarks.miniature --steps 60                             a look, on the embedded digits

First a grid of learning rates: both arms with the first seed, at full length. Then, at the rate that suits the two
best together, each arm with each seed, the comparison before its parts. A run leaves a file in `--output_dir` when it
is done, and what has its file is not run again: an interrupted command goes on. The page is written from these files
by `benchmarks/miniature_page.py`.
"""

import argparse
import functools
import json
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import date
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import get_constant_schedule_with_warmup

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM, look_up

from .miniature_data import (
    AUDIO_START,
    BEGIN_AUDIO,
    BEGIN_IMAGE,
    END_AUDIO,
    END_IMAGE,
    IMAGE_START,
    IMAGE_TOKENS,
    PAD,
    ROW_TOKENS,
    VOCABULARY,
    Corpus,
    load_corpus,
)
from .miniature_page import DENSE, UNTIED, choose_rate, write_page
from .page import ROOT, conditions

ARMS = {
    DENSE: {"experts": {"image": "text", "audio": "text"}},
    UNTIED: {"untied": ["attention", "mlp", "norm"]},
    "attention": {"untied": ["attention"]},
    "mlp": {"untied": ["mlp"]},
    "norm": {"untied": ["norm"]},
}
SEEDS = (0, 1, 2)
STEPS, BATCH_SIZE, WARM_UP = 700, 16, 50
EVALUATED_EVERY, EVALUATED_AT_ONCE = 50, 64
LEARNING_RATES = (2e-3, 4e-3, 8e-3)
WEIGHT_DECAY, BETAS, MAX_GRADIENT = 0.1, (0.9, 0.95), 1.0


def build(arm: str) -> MoTForCausalLM:
    config = MoTCausalConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        intermediate_size=176,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=ROW_TOKENS,
        tie_word_embeddings=True,
        use_cache=False,
        pad_token_id=PAD,
        token_ranges=[["image", IMAGE_START, AUDIO_START], ["audio", AUDIO_START, VOCABULARY]],
        begin_ids={"image": BEGIN_IMAGE, "audio": BEGIN_AUDIO},
        end_ids={"image": END_IMAGE, "audio": END_AUDIO},
        num_tokens={"image": IMAGE_TOKENS},
        **ARMS[arm],
    )
    return MoTForCausalLM(config)


def inputs(rows: np.ndarray) -> dict[str, torch.Tensor]:
    """Of rows (B, L) that are padded at their ends, where no token that counts sees it."""
    input_ids = torch.from_numpy(rows)
    return {"input_ids": input_ids, "labels": input_ids.masked_fill(input_ids == PAD, -100)}


def train(corpus: Corpus, arm: str, seed: int, learning_rate: float, steps: int) -> dict:
    """One run: the losses on what is held out as it goes, and what it cost. The seed decides the batches."""
    torch.manual_seed(seed)
    model, rng = build(arm), np.random.default_rng(seed)
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": WEIGHT_DECAY}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate, betas=BETAS)
    schedule = get_constant_schedule_with_warmup(optimizer, WARM_UP)
    validation = corpus.validation()
    result = {"arm": arm, "seed": seed, "learning_rate": learning_rate, **size(model, validation[:BATCH_SIZE])}
    result |= {"steps": [], "seconds": [], "losses": {modality: [] for modality in model.config.modalities}}
    seconds = 0.0
    for step in range(1, steps + 1):
        batch = inputs(corpus.batch(rng.choice(corpus.train, BATCH_SIZE, replace=False), rng))
        start = time.process_time()
        model(**batch).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        seconds += time.process_time() - start
        if step % EVALUATED_EVERY == 0 or step == steps:
            result["steps"].append(step)
            result["seconds"].append(seconds)
            for modality, loss in evaluate(model, validation).items():
                result["losses"][modality].append(loss)
    return result


@torch.no_grad()
def evaluate(model: MoTForCausalLM, rows: np.ndarray) -> dict[str, float]:
    """The mean cross-entropy over the targets of each modality, in nats."""
    modalities, ranges = model.config.modalities, model.config.token_ranges
    totals, counts = dict.fromkeys(modalities, 0.0), dict.fromkeys(modalities, 0)
    model.eval()
    for start in range(0, len(rows), EVALUATED_AT_ONCE):
        batch = inputs(rows[start : start + EVALUATED_AT_ONCE])
        losses, targets = model(**batch).losses, batch["labels"][:, 1:]
        numbers = look_up(targets[targets != -100], ranges, range(len(modalities)))
        for number, modality in enumerate(modalities):
            count = int((numbers == number).sum())
            totals[modality] += losses[modality].item() * count
            counts[modality] += count
    model.train()
    return {modality: totals[modality] / counts[modality] for modality in modalities}


@torch.no_grad()
def size(model: MoTForCausalLM, rows: np.ndarray) -> dict[str, float]:
    """The weights beside the table of embeddings, and the operations that a token's linear layers take forward."""
    weights = sum(weight.numel() for weight in model.model.parameters()) - model.model.embed_tokens.weight.numel()
    with FlopCounterMode(display=False) as counter:
        model(**inputs(rows))
    return {"weights": weights, "operations": counter.get_total_flops() / rows.size}


# ---------------------------------------------------------------------------------------------------------------------
# Runs
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Task:
    """A run, which leaves a file in `folder`."""

    folder: Path
    corpus: Corpus
    steps: int
    arm: str
    learning_rate: float
    seed: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.arm}-{self.learning_rate:g}-{self.seed}.json"


def runs(arms: list[str], seeds: list[int]) -> Iterator[tuple[str, int]]:
    """Arms and seeds, the comparison first and its parts after it, so that what is done first tells most."""
    for group in (
        [arm for arm in arms if arm in (DENSE, UNTIED)],
        [arm for arm in arms if arm not in (DENSE, UNTIED)],
    ):
        yield from ((arm, seed) for seed in seeds for arm in group)


def keep(task: Task) -> dict:
    """What a run leaves in its file; it is not run again where it has one."""
    file = task.file
    if not file.exists():
        torch.set_num_threads(1)
        result = {"date": date.today().isoformat(), **conditions()}
        result |= train(task.corpus, task.arm, task.seed, task.learning_rate, task.steps)
        file.with_suffix(".part").write_text(json.dumps(result), encoding="utf-8")
        file.with_suffix(".part").rename(file)
        losses = ", ".join(f"{modality} {values[-1]:.3f}" for modality, values in result["losses"].items())
        print(f"{file.stem}: {losses}; {result['seconds'][-1]:.0f} s", flush=True)
    return json.loads(file.read_text(encoding="utf-8"))


def keep_all(tasks: list[Task], processes: int) -> list[dict]:
    """The runs, in the order of the tasks; each of several processes takes the next task that nobody has."""
    if processes == 1:
        return list(map(keep, tasks))
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        return list(pool.map(keep, tasks))


def check_settings(file: Path, settings: dict) -> None:
    """Raise a ValueError where a folder holds runs of other settings: curves of both would stand in one picture."""
    if file.exists() and json.loads(file.read_text(encoding="utf-8")) != settings:
        raise ValueError(
            f"`--output_dir` {file.parent} holds runs of other data or steps ({file.name}): name another."
        )
    file.write_text(json.dumps(settings, indent=1), encoding="utf-8")


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.miniature",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset_name", help="a folder of digits3m; by default the embedded digits")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--learning_rate", type=float, help="instead of the best of the grid")
    parser.add_argument("--processes", type=int, default=1, help="runs at the same time, one thread each (default: 1)")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "outputs" / "miniature")
    parser.add_argument("--page", action="store_true", help="only write docs/miniature.md of what is there")
    arguments = parser.parse_args(options)
    if arguments.page:
        return write_page(arguments.output_dir)
    folder, steps = arguments.output_dir, arguments.steps
    folder.mkdir(parents=True, exist_ok=True)
    corpus = load_corpus(arguments.dataset_name)
    check_settings(folder / "settings.json", {"steps": steps, "corpus": corpus.facts})
    task = functools.partial(Task, folder, corpus, steps)
    rates = LEARNING_RATES if arguments.learning_rate is None else [arguments.learning_rate]
    grid = [task(arm, rate, arguments.seeds[0]) for rate in rates for arm in (DENSE, UNTIED)]
    rate = choose_rate(keep_all(grid, arguments.processes))
    keep_all([task(arm, rate, seed) for arm, seed in runs(arguments.arms, arguments.seeds)], arguments.processes)


if __name__ == "__main__":
    main()
