# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The contrastive loss

Forward and backward of `contrastive_loss` (two sides of N rows and width 512, at the temperature where CLIP starts),
against the loss of CLIP as transformers has it, which holds all N x N logits (*naive*), and against the same with
masks for rows that lack a side, which `contrastive_loss` knows as well (*masked*). *GEMMs* are products of N x N x
512: the whole matrix takes 3, `contrastive_loss` 4, and what is above that is everything else. Memory is what a step
needs at its peak beyond its inputs. Errors are the largest of any gradient against the same in float64, in millionths.
Four products are the fewest that do without the whole matrix, so 4 over what the naive loss takes is the least ratio
of times that a machine can show. *Cached gradients* (`--contrastive_chunk_size`) are a training step of
`MoTForRetrieval` at the small shape on ready features of text and audio: one more forward, so about 4/3 of the time,
for the memory of a chunk. *One of 8* is what a process of eight computes of a loss of all their rows, against what it
takes alone with all of them: five products of its rows with all, four of all with all, so 5/32 of the arithmetic. (The
sums between processes are made of this one alone.)
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.distributed as dist
from torch.nn import functional as F

from mixture_of_transformers import MoTForRetrieval
from mixture_of_transformers.contrastive_mot import Side, contrastive_loss
from mixture_of_transformers.training.gradient_cache import cached_step

from .measure import Row, Table, peak_memory, take_turns
from .shapes import SMALL, TOKENS, feature_config, feature_inputs

WIDTH, COMPARED, ALONE, EXACT, SHARED = 512, 8192, 32768, 2048, 4096
LOG_SCALE = 2.659  # ln(1 / 0.07)
ROWS_OF_A_PRODUCT = 512

Inputs = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


def naive_info_nce(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The loss of CLIP as transformers has it; `first` and `second` are (N, d)."""
    logits = torch.matmul(first, second.t()) * log_scale.exp()
    rows = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.t(), rows)) / 2


def masked_info_nce(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The same with the rules for rows that lack a side, all N x N logits held: what `contrastive_loss` computes."""
    present = torch.ones(len(first), dtype=torch.bool, device=first.device)
    counted = present[:, None] & present
    positive = torch.eye(len(first), dtype=torch.bool, device=first.device) & counted
    logits = torch.matmul(first, second.t()) * log_scale.exp()
    losses = []
    for scores, kept, wanted in ((logits, counted, positive), (logits.t(), counted.t(), positive.t())):
        log_probabilities = scores.masked_fill(~kept, torch.finfo(scores.dtype).min).log_softmax(dim=1)
        total = -log_probabilities.masked_fill(~wanted, 0).sum(dim=1) / wanted.sum(dim=1).clamp(min=1)
        losses.append(total.sum() / wanted.any(dim=1).sum().clamp(min=1))
    return sum(losses) / 2


def chunked_info_nce(
    first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor, own: slice | None = None
) -> torch.Tensor:
    """`contrastive_loss` of rows that all have both sides."""
    present = torch.ones(len(first), dtype=torch.bool, device=first.device)
    return contrastive_loss(Side(first, present), Side(second, present), log_scale, own=own)


def make_inputs(number: int) -> Inputs:
    """Random unit vectors (N, d) of two sides, and the scale."""
    generator = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(number, WIDTH, generator=generator), dim=1) for _ in range(2))
    return first.requires_grad_(), second.requires_grad_(), torch.tensor(LOG_SCALE, requires_grad=True)


def gradients(loss: Callable, inputs: Inputs) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(loss(*inputs), inputs)


@torch.no_grad()
def multiply(first: torch.Tensor, second: torch.Tensor) -> None:
    """One product of N x N x d, by parts that are thrown away."""
    product = first.new_empty(ROWS_OF_A_PRODUCT, len(second))
    for rows in first.split(ROWS_OF_A_PRODUCT):
        torch.mm(rows, second.T, out=product[: len(rows)])


def steps(number: int) -> dict[str, Callable]:
    inputs = make_inputs(number)
    return {
        "MoT": lambda: gradients(chunked_info_nce, inputs),
        "naive": lambda: gradients(naive_info_nce, inputs),
        "masked": lambda: gradients(masked_info_nce, inputs),
        "GEMM": lambda: multiply(*inputs[:2]),
    }


def constant(name: str, value: float, bar: float | None, **details: str) -> Row:
    return Row(name, value, value, value, bar, details=details)


def error(loss: Callable) -> float:
    inputs = make_inputs(EXACT)
    exact = gradients(naive_info_nce, tuple(tensor.detach().double().requires_grad_() for tensor in inputs))
    found = zip(gradients(loss, inputs), exact)
    return max((ours - wanted).abs().max().item() for ours, wanted in found)


def cached(seconds: float, number: int = 256, chunk_size: int = 32) -> Table:
    """A training step on a whole batch, and the same in chunks."""
    tokens = {m: TOKENS[m] for m in ("text", "audio")}
    config = feature_config(SMALL, tokens, projection_dim=SMALL.hidden_size)
    torch.manual_seed(0)
    model, inputs = MoTForRetrieval(config).train(), feature_inputs(config, number, tokens)

    def whole() -> None:
        model.zero_grad(set_to_none=True)
        model(**inputs, return_loss=True).loss.backward()

    def in_chunks() -> None:
        model.zero_grad(set_to_none=True)
        cached_step(model, model.contrastive, inputs, chunk_size)

    times = take_turns({"cached": in_chunks, "whole": whole}, seconds)
    memory = {name: peak_memory(step) for name, step in (("cached", in_chunks), ("whole", whole))}
    detail = f"{memory['cached']:.0f} / {memory['whole']:.0f} MiB"
    rows = [
        times.row("time: cached / whole", "cached", "whole"),
        constant("memory: cached / whole", memory["cached"] / memory["whole"], None, memory=detail),
    ]
    return Table(f"Cached gradients, {number} rows in chunks of {chunk_size}, 1 thread", rows)


def shared_out(seconds: float) -> Table:
    """A step of one process of several, in a group of its own."""
    inputs = make_inputs(SHARED)

    def step(processes: int) -> tuple[torch.Tensor, ...]:
        own = slice(0, SHARED // processes) if processes > 1 else None
        return gradients(partial(chunked_info_nce, own=own), inputs)

    candidates = {"alone": partial(step, 1)} | {f"one of {n}": partial(step, n) for n in (2, 8, 64)}
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        times = take_turns(candidates, seconds)
    finally:
        dist.destroy_process_group()
    rows = [times.row(f"time: {name} / alone", name, "alone") for name in candidates if name != "alone"]
    return Table(f"The loss of several processes' rows, N = {SHARED}, 1 thread", rows)


def tables(seconds: float) -> Iterator[Table]:
    candidates = steps(COMPARED)
    times = take_turns(candidates, seconds)
    memory = {name: peak_memory(candidates[name]) for name in ("MoT", "naive", "masked")}
    rows = [
        times.row("time: MoT / naive", "MoT", "naive", 0.5),
        times.row("time: MoT / masked", "MoT", "masked"),
        *(
            constant(
                f"memory: MoT / {other}",
                memory["MoT"] / memory[other],
                0.12,
                memory=f"{memory['MoT']:.0f} / {memory[other]:.0f} MiB",
            )
            for other in ("naive", "masked")
        ),
        times.row("MoT in GEMMs", "MoT", "GEMM", 6.0),
        times.row("naive in GEMMs", "naive", "GEMM"),
        constant(f"errors of MoT, N = {EXACT}", 1e6 * error(chunked_info_nce), 1.0),
        constant(f"errors of naive, N = {EXACT}", 1e6 * error(naive_info_nce), None),
    ]
    yield Table(f"N = {COMPARED}, 1 thread", rows)
    alone = peak_memory(steps(ALONE)["MoT"])
    row = constant("memory of MoT in GiB", alone / 1024, 1.5, memory=f"{alone:.0f} MiB")
    yield Table(f"N = {ALONE}, where all logits would take 4 GiB each time they are held", [row], value="value")
    yield cached(seconds)
    yield shared_out(seconds)
