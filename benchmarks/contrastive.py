# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Time and memory of `contrastive_loss`, forward and backward, against a loss that holds all N x N logits.

    OMP_NUM_THREADS=1 python benchmarks/contrastive.py

Times are those that one thread spends on a processor, and each is also given in GEMMs: products of N x N x d, of which
the whole matrix takes 3 and `contrastive_loss` 4. The losses take turns, so that what else the machine does meets both,
and their medians count.
Memory is what a process of its own holds at its peak beyond what it held before the step, so that what the allocator
and BLAS need counts, too. It is read from /proc and so needs Linux.
"""

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import torch
from torch.nn import functional as F

from mot.loss_mot import Embeddings, contrastive_loss

LOG_SCALE = 2.659  # ln(1 / 0.07), where CLIP starts
ROWS_OF_A_PRODUCT = 512


def naive_info_nce(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """The loss of CLIP as transformers has it; `first` and `second` are (N, d)."""
    logits = torch.matmul(first, second.t()) * log_scale.exp()
    rows = torch.arange(len(logits), device=logits.device)
    return (F.cross_entropy(logits, rows) + F.cross_entropy(logits.t(), rows)) / 2


def chunked_info_nce(first: torch.Tensor, second: torch.Tensor, log_scale: torch.Tensor) -> torch.Tensor:
    """`contrastive_loss` of rows that all have both sides."""
    present = torch.ones(len(first), dtype=torch.bool, device=first.device)
    return contrastive_loss(Embeddings(first, present), Embeddings(second, present), log_scale)


LOSSES = {"naive": naive_info_nce, "mot": chunked_info_nce}


def make_inputs(number: int, width: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random unit vectors (N, d) of two sides, and the scale."""
    generator = torch.Generator().manual_seed(0)
    first, second = (F.normalize(torch.randn(number, width, generator=generator), dim=1) for _ in range(2))
    return first.requires_grad_(), second.requires_grad_(), torch.tensor(LOG_SCALE, requires_grad=True)


def step(loss: Callable, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The gradients of all inputs."""
    return torch.autograd.grad(loss(*inputs), inputs)


@torch.no_grad()
def multiply(first: torch.Tensor, second: torch.Tensor) -> None:
    """One product of N x N x d, by parts that are thrown away."""
    product = first.new_empty(ROWS_OF_A_PRODUCT, len(second))
    for rows in first.split(ROWS_OF_A_PRODUCT):
        torch.mm(rows, second.T, out=product[: len(rows)])


def seconds_of(function: Callable) -> float:
    start = time.thread_time()
    function()
    return time.thread_time() - start


def measure_seconds(names: list[str], number: int, width: int, rounds: int) -> dict[str, float]:
    """The median seconds of a step with each loss, and of one product under "GEMM"."""
    inputs = make_inputs(number, width)
    steps = {"GEMM": lambda: multiply(*inputs[:2])} | {
        name: lambda name=name: step(LOSSES[name], inputs) for name in names
    }
    seconds = {name: [] for name in steps}
    for _ in range(rounds):
        for name, function in steps.items():
            seconds[name].append(seconds_of(function))
    return {name: statistics.median(values) for name, values in seconds.items()}


def peak_memory() -> int:
    """The bytes that this process has held at most; unlike `ru_maxrss`, nothing of the process that started it."""
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def print_extra_memory(name: str, number: int, width: int) -> None:
    """What one step needs beyond its inputs. To be called in a process of its own."""
    step(LOSSES[name], make_inputs(16, width))  # what is loaded once does not count
    inputs = make_inputs(number, width)
    before = peak_memory()
    step(LOSSES[name], inputs)
    print(peak_memory() - before)


def measure_memory(name: str, number: int, width: int) -> int:
    """The bytes that a step holds at its peak beyond its inputs, its gradients included."""
    command = [sys.executable, __file__, "--memory-of", name, "--number", str(number), "--width", str(width)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def errors(number: int, width: int) -> dict[str, float]:
    """How far the gradients of each loss are from float64, at most, relative to the largest number of a gradient."""
    inputs = make_inputs(number, width)
    exact = step(naive_info_nce, tuple(tensor.detach().double().requires_grad_() for tensor in inputs))
    return {
        name: max(
            ((gradient - wanted).abs().max() / wanted.abs().max()).item()
            for gradient, wanted in zip(step(loss, inputs), exact)
        )
        for name, loss in LOSSES.items()
    }


def print_row(name: str, number: int, seconds: dict[str, float], memory: int) -> None:
    gemms = seconds[name] / seconds["GEMM"]
    print(f"| {number} | {name} | {seconds[name]:.2f} | {gemms:.1f} | {memory / 2**20:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--number", type=int, default=8192, help="rows with both losses")
    parser.add_argument("--alone", type=int, default=32768, help="rows with `contrastive_loss` alone; 0 for none")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory-of", choices=LOSSES, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.memory_of:
        print_extra_memory(arguments.memory_of, arguments.number, arguments.width)
        return
    print("| N | loss | seconds | GEMMs | extra MiB |\n|---|---|---|---|---|")
    seconds = measure_seconds(list(LOSSES), arguments.number, arguments.width, arguments.rounds)
    memory = {name: measure_memory(name, arguments.number, arguments.width) for name in LOSSES}
    for name in LOSSES:
        print_row(name, arguments.number, seconds, memory[name])
    if arguments.alone:
        alone = measure_seconds(["mot"], arguments.alone, arguments.width, rounds=1)
        print_row("mot", arguments.alone, alone, measure_memory("mot", arguments.alone, arguments.width))
    print(f"time {seconds['mot'] / seconds['naive']:.2f} x, memory {memory['mot'] / memory['naive']:.3f} x naive")
    error = errors(2048, arguments.width)
    print(f"gradients within {error['mot']:.1e} of float64, naive ones within {error['naive']:.1e}")


if __name__ == "__main__":
    main()
