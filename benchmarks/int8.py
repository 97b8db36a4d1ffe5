# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""8-bit integers

The model as an ONNX file in ONNX Runtime, in float32 and with dynamic quantisation of its linear layers to 8-bit
integers (`mixture_of_transformers.serving.onnx`), against the model itself in eager PyTorch and float32, in the same
process. Real shape (width 512, 8 heads, feed-forward 2048, 4 layers for each modality, one global layer; 64 text, 197
image and 300 audio tokens) on ready features and on the default config's raw input (ids, 224 x 224 pixels, 600 mel
frames), 8 rows, one thread. Masks are given; *full* batches miss nothing, of *lengths* text and audio have 20 to 100 %
of their tokens, which PyTorch leaves out and ONNX Runtime computes.

What is won depends on the processor: with AVX2 alone an 8-bit product costs half of a float32 one, with VNNI a
quarter.

`python -m benchmarks.int8 CHECKPOINT DATASET` compares the accuracy of a classifier with and without quantisation, on
every subset of its modalities.
"""

import argparse
import platform
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from datasets import load_dataset

from mixture_of_transformers import MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.serving.onnx import export_onnx, quantize_onnx
from mixture_of_transformers.subsets_mot import bounded_subsets, subset_name
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset

from .bare import inference, model_forward
from .measure import Row, Table, take_turns
from .ragged import Setting

BAR = 0.6  # of eager float32
ACCURACY_BAR = 0.5  # points
BATCH_SIZE = 8


def session(path: Path, threads: int = 1) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
    """An ONNX file as a function from its inputs to its first output."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    model = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def run(inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.from_numpy(model.run(None, {name: value.numpy() for name, value in inputs.items()})[0])

    return run


def sessions(model: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> dict[str, Callable]:
    """The model in ONNX Runtime, in float32 and with 8-bit integers."""
    with TemporaryDirectory() as folder:
        exported, quantized = Path(folder, "model.onnx"), Path(folder, "model-int8.onnx")
        export_onnx(model, inputs, exported)
        quantize_onnx(exported, quantized)
        return {"ONNX float32": session(exported), "ONNX int8": session(quantized)}


def speed(raw: bool, seconds: float) -> list[Row]:
    setting = Setting(raw, BATCH_SIZE)
    batches = {"full": setting.rows(None), "lengths": setting.rows("lengths")}
    batches = {kind: setting.inputs | setting.masks(rows) for kind, rows in batches.items()}
    others, rows = sessions(setting.model, batches["full"]), []
    for kind, inputs in batches.items():
        steps = {"PyTorch": inference(model_forward(setting.model), inputs)}
        steps |= {name: lambda run=run, inputs=inputs: run(inputs) for name, run in others.items()}
        expected = steps["PyTorch"]()
        times = take_turns(steps, seconds)
        for name in others:
            error = ((steps[name]() - expected).norm() / expected.norm()).item()
            bar = BAR if (name, kind) == ("ONNX int8", "full") else None
            rows.append(times.row(f"{kind}: {name} / PyTorch", name, "PyTorch", bar, error=f"{error:.1e}"))
    return rows


def tables(seconds: float) -> Iterator[Table]:
    capabilities = torch.cpu.get_capabilities()
    vnni = any(capabilities.get(name) for name in ("avx512_vnni", "avx_vnni", "i8mm", "amx_int8"))
    note = f"{platform.machine()}, {'with' if vnni else 'without'} instructions for products of 8-bit integers."
    for raw in (False, True):
        title = f"{'Raw input' if raw else 'Ready features'}, {BATCH_SIZE} rows, 1 thread"
        yield Table(title, speed(raw, seconds), note=note)


# ---------------------------------------------------------------------------------------------------------------------
# Accuracy
# ---------------------------------------------------------------------------------------------------------------------


def keep(subset: tuple[str, ...], inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same batch with all other modalities masked out."""
    hidden = {modality.names.mask for name, modality in MODALITIES.items() if name not in subset}
    return {name: torch.zeros_like(value) if name in hidden else value for name, value in inputs.items()}


@torch.no_grad()
def accuracy(checkpoint: str, dataset: str, split: str = "test", batch_size: int = 50) -> Table:
    """How a classifier's accuracy changes with 8-bit integers, for every subset of its modalities."""
    model = MoTForSequenceClassification.from_pretrained(checkpoint).eval()
    processor = MoTProcessor.from_pretrained(checkpoint)
    rows = EncodedDataset(load_dataset(dataset, split=split), processor)
    collate = MoTCollator(processor.tokenizer.pad_token_id)
    batches = list(torch.utils.data.DataLoader(rows, batch_size, collate_fn=collate))
    labels = torch.cat([batch.pop("labels") for batch in batches])
    run = sessions(model, batches[0])["ONNX int8"]
    table = Table(f"Accuracy on {Path(dataset).name}, {len(labels)} rows", value="change in points")
    for subset in bounded_subsets(model.config.modalities):
        masked = [keep(subset, batch) for batch in batches]
        right = {
            "float32": torch.cat([model(**batch).logits for batch in masked]).argmax(dim=1) == labels,
            "int8": torch.cat([run(batch) for batch in masked]).argmax(dim=1) == labels,
        }
        shares = {name: values.double().mean().item() for name, values in right.items()}
        change = 100 * abs(shares["int8"] - shares["float32"])
        details = {name: f"{share:.3f}" for name, share in shares.items()}
        table.rows.append(Row(subset_name(subset), change, change, change, ACCURACY_BAR, details=details))
    return table


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.int8", description="Accuracy with 8-bit integers.")
    parser.add_argument("checkpoint", help="the folder of a classifier")
    parser.add_argument("dataset", help="a folder or Hub dataset with a test split")
    arguments = parser.parse_args()
    print(accuracy(arguments.checkpoint, arguments.dataset).markdown())
