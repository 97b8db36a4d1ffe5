# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""On a GPU

Made for an H200: bfloat16 at the base size (width 768, 12 heads, feed-forward 3072, 12 layers for each modality, one
global layer) on ready features, 64 text, 197 image and 300 audio tokens a row. Model FLOPs utilisation is the
operations of `benchmarks/flops.py` a second over those of one large matrix product on random data in the same run.
Training is a forward and a backward pass; *compiled* is `torch.compile(model)`. Ragged batches are compared at as many
rows as the full batch, and at as many more as give them the full batch's operations (*as much work*), which is what a
batch of a given memory or number of tokens holds: few tokens leave a GPU waiting for the processor that tells it what
to do. Full batches attend by the kernel that PyTorch picks, cuDNN's on this GPU; rows of many lengths by its
FlashAttention 2, which is slower on the same work, so that not all of what they cost beyond the ideal is overhead.
Attention alone is timed in eight calls at a time, as the layers of a model follow each other. `python -m
benchmarks.gpu --tiny` walks through all of it on any machine, with figures that mean nothing.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers.utils import is_flash_attn_2_available

from mixture_of_transformers import MoTModel
from mixture_of_transformers.sparse_attention_mot import (
    BlockSparsity,
    block_pattern,
    block_sparse_attention,
    block_sparse_flex_attention,
)

from .bare import inference, model_forward, training
from .flops import forward_flops
from .measure import NotMeasured, Row, Table, as_time, take_turns
from .shapes import (
    BASE,
    RAGGED,
    SMALL,
    TOKENS,
    Shape,
    build,
    feature_config,
    feature_inputs,
    feature_masks,
    fill,
    full_rows,
    ragged_rows,
)

UTILISATION, NEAR_IDEAL, OF_DENSITY = 0.45, 1.15, 0.6  # the bars
QUEUED = 8  # attentions that a GPU is given before it is waited for
NOMINAL_PEAK = 790e12  # bfloat16 operations a second of an H200's matrix products on random data


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    shape: Shape = BASE
    batch_size: int = 256
    product_size: int = 8192  # of the square matrices whose product is the peak
    sparse_length: int = 16384
    block_size: int = 128

    @property
    def implementations(self) -> list[str]:
        if self.device == "cpu":
            return ["sdpa"]
        return ["sdpa", "flex_attention"] + ["flash_attention_2"] * is_flash_attn_2_available()

    def place(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: tensor.to(self.device, self.dtype if tensor.is_floating_point() else None)
            for name, tensor in tensors.items()
        }

    def model(self, implementation: str) -> MoTModel:
        return build(feature_config(self.shape), implementation).to(self.device, self.dtype)

    def step(
        self, model: MoTModel, inputs: dict[str, torch.Tensor], train: bool, rows: list | None = None
    ) -> Callable:
        """A forward or training step; `rows` of None passes no masks."""
        forward = model_forward(model.train(train), None if rows is None else self.place(feature_masks(rows)))
        return training(forward, inputs, model) if train else inference(forward, inputs)


TINY = Setting("cpu", torch.float32, SMALL, batch_size=3, product_size=256, sparse_length=1024, block_size=64)


def measured_peak(size: int, device: str, dtype: torch.dtype, seconds: float) -> float:
    """Operations a second of the product of two random square matrices."""
    matrices = [torch.randn(size, size, device=device, dtype=dtype) for _ in range(2)]
    times = take_turns({"product": lambda: matrices[0] @ matrices[1]}, seconds)
    return 2 * size**3 / float(np.median(times["product"]))


def utilisation_row(name: str, step: Callable[[], object], operations: int, peak: float, seconds: float) -> Row:
    """A step of so many operations, against a peak of operations a second."""
    rates = operations / take_turns({"step": step}, seconds)["step"]  # operations a second
    usual = float(np.median(rates))
    return Row.of(
        name,
        rates / peak,
        bar=UTILISATION,
        at_least=True,
        details={
            "time": as_time(operations / usual),
            "TFLOP/s": f"{usual / 1e12:.3g}",
            "of the nominal peak": f"{usual / NOMINAL_PEAK:.2f}",
        },
    )


def utilisation_table(title: str, peak: float) -> Table:
    note = f"The measured peak is {peak / 1e12:.3g} TFLOP/s, the nominal one {NOMINAL_PEAK / 1e12:.0f}."
    return Table(title, note=note, value="utilisation")


def utilisation(setting: Setting, seconds: float) -> Table:
    peak = measured_peak(setting.product_size, setting.device, setting.dtype, seconds)
    table = utilisation_table("Model FLOPs utilisation of training on full batches", peak)
    operations = 3 * forward_flops(feature_config(setting.shape), full_rows(setting.batch_size))
    inputs = setting.place(feature_inputs(feature_config(setting.shape), setting.batch_size))
    variants = [(implementation, False) for implementation in setting.implementations] + [("sdpa", True)]
    for implementation, compiled in variants:
        model = setting.model(implementation)
        step = setting.step(torch.compile(model) if compiled else model, inputs, train=True)
        name = f"{implementation}{', compiled' * compiled}, {setting.batch_size} rows"
        table.rows.append(utilisation_row(name, step, operations, peak, seconds))
    return table


def ragged(setting: Setting, train: bool, seconds: float) -> Table:
    name = "training" if train else "forward"
    table = Table(f"Ragged batches against ideal, {name}", value="time / (share × full)")
    config, number = feature_config(setting.shape), setting.batch_size
    operations = forward_flops(config, full_rows(number))
    batches = {}
    for kind, raggedness in RAGGED.items():
        batches[kind] = ragged_rows(number, TOKENS, *raggedness)
        more = round(number * operations / forward_flops(config, batches[kind]))
        batches[f"{kind}, as much work"] = ragged_rows(more, TOKENS, *raggedness)
    inputs = setting.place(feature_inputs(config, max(map(len, batches.values()))))

    def step(model: MoTModel, rows: list | None) -> Callable:
        first = {name: values[: number if rows is None else len(rows)] for name, values in inputs.items()}
        return setting.step(model, first, train, rows)

    for implementation in setting.implementations:
        model = setting.model(implementation)
        steps = {kind: step(model, rows) for kind, rows in batches.items()}
        times = take_turns({"full": step(model, None)} | steps, seconds)
        for kind, rows in batches.items():
            share = forward_flops(config, rows) / operations
            details = {"rows": str(len(rows)), "fill": f"{fill(rows):.2f}", "share": f"{share:.2f}"}
            table.rows.append(times.row(f"{implementation}, {kind}", kind, "full", NEAR_IDEAL, share, **details))
    return table


def block_sparse(setting: Setting, seconds: float) -> Table:
    length, block_size = setting.sparse_length, setting.block_size
    segments = (length // 8, length // 4, length - length // 8 - length // 4)
    options = BlockSparsity(block_size, sparsity=0.9, seed=0, layer=0)
    counts = torch.tensor([[tokens // block_size for tokens in segments]])
    density = block_pattern(counts, length // block_size, options).float().mean().item()
    attend = block_sparse_attention if setting.device == "cpu" else block_sparse_flex_attention
    shape = (1, setting.shape.heads, length, 64)
    tensors = [torch.randn(shape, device=setting.device, dtype=setting.dtype, requires_grad=True) for _ in range(3)]
    backend = SDPBackend.MATH if setting.device == "cpu" else SDPBackend.FLASH_ATTENTION

    def sparse() -> torch.Tensor:
        return attend(*tensors, (segments,), options, scaling=64**-0.5)

    def dense() -> torch.Tensor:
        with sdpa_kernel(backend):
            return F.scaled_dot_product_attention(*tensors)

    table = Table(
        f"Block-sparse against dense attention, {length:,} tokens",
        note=f"Blocks of {block_size} tokens, density {density:.3f}; the ideal speed-up is 1 / density.",
        value="speed-up × density",
    )
    for train in (False, True):
        times = take_turns({"sparse": layers_of(sparse, train), "dense": layers_of(dense, train)}, seconds)
        speed = np.median(times["dense"] / times["sparse"])
        table.rows.append(
            times.row(
                "forward and backward" if train else "forward",
                "dense",
                "sparse",
                OF_DENSITY,
                1 / density,
                at_least=True,
                **{"speed-up": f"{speed:.2f}"},
            )
        )
    return table


def layers_of(forward: Callable[[], torch.Tensor], train: bool) -> Callable[[], object]:
    """An attention's forward, or forward and backward, several times as in a model of several layers."""

    def backward() -> None:
        forward().square().sum().backward()

    call = backward if train else torch.no_grad()(forward)
    return lambda: [call() for _ in range(QUEUED)]


def tables(seconds: float, setting: Setting | None = None) -> Iterator[Table]:
    if setting is None:
        if not torch.cuda.is_available():
            raise NotMeasured("no GPU was at hand")
        setting = Setting()
    yield utilisation(setting, seconds)
    for train in (False, True):
        yield ragged(setting, train, seconds)
    yield block_sparse(setting, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=12.0, help="how long a comparison may take (default: 12)")
    parser.add_argument("--tiny", action="store_true", help="a walk through on the CPU")
    arguments = parser.parse_args()
    try:
        for table in tables(arguments.seconds, TINY if arguments.tiny else None):
            print(f"\n{table.title}\n\n{table.note}\n\n{table.markdown()}", flush=True)
    except NotMeasured as error:
        parser.exit(1, f"Nothing was measured: {error}. `--tiny` walks through on the CPU.\n")


if __name__ == "__main__":
    main()
