# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a training would take on many GPUs, on paper: the tables of docs/scaling.md.

    python -m benchmarks.scaling                        a thousand GPUs and a billion rows
    python -m benchmarks.scaling --gpus 64 --rows 5e7

Operations are those of benchmarks/flops.py at the rate that one H200 was measured to do them (docs/benchmarks.md, "On
a GPU"). What autograd keeps, the bytes of a row, and what it costs to encode it and to read past it are measured here,
on one thread. Memory, links and cores are the vendor's figures. Nothing here was run on more than one GPU.
"""

import argparse
import io
import statistics
import tempfile
import time
import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from datasets import load_dataset
from PIL import Image

from mixture_of_transformers import MoTConfig, MoTModel, MoTProcessor
from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.configuration_mot import SIZES
from mixture_of_transformers.contrastive_mot import contrastive_pairs
from mixture_of_transformers.data.shares import rows_of
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM
from mixture_of_transformers.training.encoded import RowEncoder

from .flops import causal_forward_flops, training_flops
from .shapes import TOKENS, full_rows

# NVIDIA's data sheet of the H200 SXM and its guide to the DGX H200: eight GPUs with 112 cores, a port of 400 Gbit/s
# for each GPU, and NVLink, which has 900 GB/s for both directions together.
MEMORY, NVLINK, PORT, CORES, FLOAT32 = 141e9, 450e9, 50e9, 14, 67e12
BFLOAT16 = 368e12  # operations a second in training at width 768, 256 rows, measured: docs/benchmarks.md, "On a GPU"
GPUS_OF_A_MACHINE = 8
# Bytes of a parameter in training: float32 weights and gradients, the two averages of AdamW.
WEIGHT, GRADIENT, ADAM = 4, 4, 8
BFLOAT16_BYTES = 2
ROWS_A_GPU, DOCUMENTS_A_GPU, DOCUMENT = 256, 4, 4096  # of a step; tokens of a document
CHAMELEON = {
    "vocab_size": 65536,
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
}
TOKEN_RANGES = [["image", 32768, 49152], ["audio", 49152, 65536]]
SECONDS_OF_SOUND, PICTURE = 10, (640, 480)
ROUNDS = 15


@dataclass
class Plan:
    """A model, and what one row of it is."""

    name: str
    parameters: int
    layer_parameters: int  # the most of a layer, which FSDP gathers at once
    operations: int  # of a forward and a backward pass over a row
    kept: float  # bytes that autograd keeps of a row, in bfloat16
    rows: int  # of a GPU's batch
    unit: str = "rows"

    @property
    def seconds(self) -> float:
        """Of a step, computing alone."""
        return self.rows * self.operations / BFLOAT16


# ---------------------------------------------------------------------------------------------------------------------
# Models
# ---------------------------------------------------------------------------------------------------------------------


def vit_sized(width: int, layers: int) -> MoTConfig:
    """A tower as large as a ViT for each modality."""
    towers = {f"{modality}_config": {"num_hidden_layers": layers} for modality in TOKENS}
    sizes = {"hidden_size": width, "num_attention_heads": width // 64, "intermediate_size": 4 * width}
    return MoTConfig(**sizes, **towers)


def plans() -> Iterator[Plan]:
    configs = {name: MoTConfig.of_size(name) for name in SIZES}
    configs |= {"ViT-B towers": vit_sized(768, 12), "ViT-L towers": vit_sized(1024, 24)}
    kept = kept_by_layer(encoder, 64)
    for name, config in configs.items():
        with torch.device("meta"):
            model = MoTModel(config)
        towers = [config.modality_config(m) for m in config.modalities]
        tokens = sum(TOKENS[m] * t.num_hidden_layers for m, t in zip(config.modalities, towers)) + sum(TOKENS.values())
        operations = training_flops(config, full_rows(1))
        bytes_kept = BFLOAT16_BYTES * kept * tokens * config.hidden_size
        yield Plan(name, *sizes_of(model), operations, bytes_kept, ROWS_A_GPU)
    config = MoTCausalConfig(**CHAMELEON, token_ranges=TOKEN_RANGES)
    with torch.device("meta"):
        model = MoTForCausalLM(config)
    kept = kept_by_layer(decoder, 64)
    bytes_kept = BFLOAT16_BYTES * kept * DOCUMENT * config.hidden_size * config.num_hidden_layers
    operations = 3 * causal_forward_flops(config, [DOCUMENT])
    yield Plan("generator, 7B", *sizes_of(model), operations, bytes_kept, DOCUMENTS_A_GPU, "documents")


def sizes_of(model: torch.nn.Module) -> tuple[int, int]:
    """Parameters of a model, and of its largest layer."""
    layers = [m for m in model.modules() if type(m).__name__ in model._no_split_modules]
    return model.num_parameters(), max(sum(p.numel() for p in layer.parameters()) for layer in layers)


def encoder(layers: int) -> tuple[Callable, int]:
    """A forward of one tower of width 64, and its tokens."""
    tower = {"num_hidden_layers": layers, "feature_size": 64, "use_cls_token": False}
    sizes = {"hidden_size": 64, "num_attention_heads": 1, "intermediate_size": 256}
    config = MoTConfig(**sizes, text_config=None, audio_config=None, image_config=tower)
    model = MoTModel(config).train()
    return lambda: model(image_features=torch.randn(1, TOKENS["image"], 64)), TOKENS["image"]


def decoder(layers: int) -> tuple[Callable, int]:
    """As `encoder`, of a generator of the same proportions as that of 7B, whose tokens are of all modalities."""
    sizes = {"hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 1, "vocab_size": 96}
    ranges = [["image", 32, 64], ["audio", 64, 96]]
    model = MoTForCausalLM(MoTCausalConfig(**sizes, num_hidden_layers=layers, token_ranges=ranges)).train()
    return lambda: model(input_ids=torch.arange(192)[None] // 2), 192


def kept_by_layer(make: Callable[[int], tuple[Callable, int]], width: int) -> float:
    """How many numbers autograd keeps of a token in a layer, in widths: what one layer more adds."""
    counts = []
    for layers in (1, 2):
        torch.manual_seed(0)
        forward, tokens = make(layers)
        counts.append(kept_numbers(forward))
    return (counts[1] - counts[0]) / (tokens * width)


def kept_numbers(forward: Callable) -> int:
    """The floats that a forward keeps for its backward pass, each storage once and without parameters."""
    kept: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.is_floating_point() and not isinstance(tensor, torch.nn.Parameter) and not is_transposed(tensor):
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = forward()
    del output
    return sum(tensor.untyped_storage().nbytes() // tensor.element_size() for tensor in kept.values())


def is_transposed(tensor: torch.Tensor) -> bool:
    """Whether it is a parameter as a product reads it."""
    return isinstance(tensor._base, torch.nn.Parameter)


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def example_row() -> dict:
    """A sentence, a picture of 640 x 480 as JPEG, and ten seconds of sound as 16-bit WAV."""
    random = np.random.default_rng(0)
    small = random.integers(0, 255, (24, 32, 3), np.uint8)
    picture = np.asarray(Image.fromarray(small).resize(PICTURE, Image.Resampling.BICUBIC), np.int16)
    noisy = np.clip(picture + random.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)
    image, sound = io.BytesIO(), io.BytesIO()
    Image.fromarray(noisy).save(image, "JPEG", quality=85)
    with wave.open(sound, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes((random.normal(0, 3000, SECONDS_OF_SOUND * 16_000)).astype(np.int16).tobytes())
    return {
        "text": "A man in a red coat plays the violin at the corner of a street while it rains. " * 3,
        "image": {"bytes": image.getvalue(), "path": None},
        "audio": {"bytes": sound.getvalue(), "path": None},
    }


def size_of(row: dict) -> int:
    return len(row["text"]) + len(row["image"]["bytes"]) + len(row["audio"]["bytes"])


def processor_milliseconds(call: Callable[[], object]) -> float:
    """The median of several calls, in the time of this process alone."""
    call()
    seconds = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        seconds.append(time.process_time() - start)
    return 1000 * statistics.median(seconds)


def encoding_costs(row: dict) -> dict[str, float]:
    """Milliseconds of a core to decode and encode each part of a row."""
    encoder = RowEncoder(MoTProcessor(tokenizer=train_tokenizer([row["text"]])))
    return {name: processor_milliseconds(lambda name=name: encoder.encode({name: row[name]})) for name in row}


def reading_cost(row: dict, rows: int = 200) -> float:
    """Milliseconds of a core to read past a row of another reader's, undecoded."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "train.parquet")
        pq.write_table(pa.Table.from_pylist([row] * rows), path, row_group_size=50)
        shard = load_dataset("parquet", data_files=path, split="train", streaming=True, cache_dir=folder)
        return processor_milliseconds(lambda: list(islice(rows_of(shard, 0, 1), rows))) / rows


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------


def table(title: str, columns: list[str], lines: list[list[str]]) -> str:
    widths = [max(map(len, cells)) for cells in zip(columns, *lines)]
    rows = [columns, ["-" * width for width in widths], *lines]
    written = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in rows]
    return "\n".join([f"## {title}", "", *written, ""])


def number(value: float, unit: str = "") -> str:
    """Two or three digits with the prefix of the SI."""
    for limit, prefix in ((1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= limit:
            return f"{value / limit:.3g} {prefix}{unit}".strip()
    return f"{value:.3g} {unit}".strip()


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{1000 * seconds:.2g} ms" if seconds < 0.1 else f"{1000 * seconds:.0f} ms"
    if seconds < 600:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.3g} min" if seconds < 36_000 else f"{seconds / 3600:.3g} h"


def computing(found: list[Plan], gpus: int, rows: float) -> str:
    columns = ["model", "parameters", "operations", "a GPU", f"{gpus:,} GPUs", f"{number(rows)} rows"]
    lines = []
    for plan in found:
        rate = BFLOAT16 / plan.operations
        speeds = [f"{number(rate)} {plan.unit}/s", f"{number(gpus * rate)} {plan.unit}/s"]
        lines.append([plan.name, number(plan.parameters), number(plan.operations), *speeds])
        lines[-1].append(duration(rows / rate / gpus))
    return table("Computing, for a row or a document", columns, lines)


def memory(found: list[Plan], gpus: int) -> str:
    columns = ["model", "DDP", "ZeRO-2", "FSDP2, ZeRO-3", "kept for backward", "fits by"]
    lines = []
    for plan in found:
        whole = plan.parameters * (WEIGHT + GRADIENT + ADAM)
        zero_2 = plan.parameters * (WEIGHT + (GRADIENT + ADAM) / gpus)
        sharded = whole / gpus + 2 * plan.layer_parameters * BFLOAT16_BYTES
        activations = plan.rows * plan.kept
        engines = {"DDP": whole, "ZeRO-2": zero_2, "FSDP2": sharded}
        fits = next((name for name, state in engines.items() if state + activations < MEMORY), "smaller batches")
        states = [number(state, "B") for state in engines.values()]
        lines.append([plan.name, *states, f"{number(activations, 'B')} ({plan.rows} {plan.unit})", fits])
    return table("Memory of a GPU", columns, lines)


def moving(found: list[Plan], gpus: int) -> str:
    columns = ["model", "computing", "DDP", "time", "FSDP2", "time"]
    lines = []
    for plan in found:
        share = (gpus - 1) / gpus
        reduced = 2 * share * GRADIENT * plan.parameters  # a ring sends and gathers each gradient once
        sharded = share * 3 * BFLOAT16_BYTES * plan.parameters  # gathered forward and backward, gradients scattered
        cells = [f"{number(size, 'B')}" for size in (reduced, sharded)]
        times = [duration(size / PORT) for size in (reduced, sharded)]
        lines.append([plan.name, duration(plan.seconds), cells[0], times[0], cells[1], times[1]])
    return table("Bytes that a GPU sends in a step, and their time at 50 GB/s", columns, lines)


def comparing(found: list[Plan], gpus: int) -> str:
    """The contrastive loss: for each pair of sides five products of n x N x d in float32 on a process, of one four."""
    width, pairs = MoTConfig().projection_dim, [p for p in contrastive_pairs(tuple(TOKENS)) if p[0] != p[1]]
    sides = len({side for pair in pairs for side in pair})
    step = next(plan.seconds for plan in found if plan.name == "ViT-B towers")
    columns = ["GPUs", "rows compared", "gathered", "time", "products", "time", "step of ViT-B towers"]
    lines = []
    for processes in sorted({1, 8, 64, gpus}):
        rows = processes * ROWS_A_GPU
        gathered = rows * sides * width * 4
        products = (5 if processes > 1 else 4) * 2 * ROWS_A_GPU * rows * width * len(pairs)
        link = NVLINK if processes <= GPUS_OF_A_MACHINE else PORT
        times = [duration(gathered / link), duration(products / FLOAT32), duration(step)]
        cells = [f"{processes:,}", f"{rows:,}", number(gathered, "B"), times[0], number(products), times[1], times[2]]
        lines.append(cells)
    return table("The contrastive loss of a step", columns, lines)


def reading(found: list[Plan], gpus: int, rows: float) -> str:
    row = example_row()
    costs, past = encoding_costs(row), reading_cost(row)
    total = sum(costs.values())
    columns = ["model", "rows/s of a GPU", "cores for them", "cores there are", "bytes/s of a GPU", f"of {gpus:,}"]
    lines = []
    for plan in (plan for plan in found if plan.unit == "rows"):
        rate = BFLOAT16 / plan.operations
        cells = [f"{rate:,.0f}", f"{rate * total / 1000:.1f}", str(CORES), number(rate * size_of(row), "B")]
        lines.append([plan.name, *cells, number(gpus * rate * size_of(row), "B")])
    parts = ", ".join(f"{name} {cost:.2f}" for name, cost in costs.items())
    return "\n".join(
        [
            table("Reading and encoding", columns, lines),
            f"A row has {size_of(row) / 1000:,.0f} kB, and {number(rows)} of them {number(rows * size_of(row), 'B')}. "
            f"To decode and encode one takes {total:.1f} ms of a core ({parts}); to read past one {past:.3f} ms.",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=1000)
    parser.add_argument("--rows", type=float, default=1e9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found, gpus = list(plans()), arguments.gpus
    print(computing(found, gpus, arguments.rows))
    print(memory(found, gpus))
    print(moving(found, gpus))
    print(comparing(found, gpus))
    print(reading(found, gpus, arguments.rows))


if __name__ == "__main__":
    main()
