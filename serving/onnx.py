# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A model as an ONNX file, and that file with 8-bit integers, for ONNX Runtime.

    inputs = processor(text=["…", "…"], images=[…], audio=[…], return_tensors="pt")
    export_onnx(model, inputs, "model.onnx")
    quantize_onnx("model.onnx", "model-int8.onnx")

    session = onnxruntime.InferenceSession("model-int8.onnx")
    (logits,) = session.run(["logits"], dict(processor(…, return_tensors="np")))

Needs `pip install 'mixture-of-transformers[onnx]'`. When it pays and what it costs: `docs/inference.md`.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn
from transformers import PreTrainedModel

from mixture_of_transformers.configuration_mot import MoTConfig

# From this version on attention is one operator, which ONNX Runtime computes as fast as PyTorch does.
OPSET_VERSION = 23


class NamedTensors(nn.Module):
    """A model that returns by name the tensors of its output, but those named like an input, as ONNX allows no two."""

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        output = self.model(**inputs)
        return {name: value for name, value in output.items() if torch.is_tensor(value) and name not in inputs}


@torch.no_grad()
def export_onnx(model: PreTrainedModel, inputs: Mapping[str, torch.Tensor], path: str | Path) -> None:
    """
    Write what `model(**inputs)` computes to an ONNX file whose inputs and outputs keep their names.

    Args:
        model: any MoT model; it is left in evaluation mode.
        inputs: an example. The file takes all of these and no others: give every modality that it is to know, with a
            mask where rows may lack it or differ in length. The numbers of rows, tokens, frames, samples and ready
            features may be others later, the size of a picture and the columns of a table may not.
        path: the file to write; weights of more than 2 GB go beside it.
    """
    named = NamedTensors(model).eval()
    # A size of one would be taken for fixed.
    inputs = {name: torch.cat([value, value]) for name, value in inputs.items()}
    program = torch.onnx.export(
        named,
        kwargs={"inputs": inputs},
        input_names=list(inputs),
        output_names=list(named(inputs)),
        dynamic_shapes={"inputs": {n: dynamic_dimensions(model.config, n, value) for n, value in inputs.items()}},
        opset_version=OPSET_VERSION,
        dynamo=True,
        verbose=False,
    )
    program.save(path)


def dynamic_dimensions(config: MoTConfig, name: str, value: torch.Tensor) -> dict:
    """
    The rows, and the length where there is one: pictures (B, C, H, W) and their mask (B,) have none, and that of a
    table (B, C), of whose columns each has its place, is no other in other rows.
    """
    towers = ((kind, config.modality_config(m)) for m, kind in config.kinds.items())
    placed = [kind.names for kind, tower in towers if tower is not None and kind.segment_length(tower) is not None]
    is_placed = any(name in (names.raw, names.mask) for names in placed)
    return dict.fromkeys((0,) if is_placed or value.ndim in (1, 4) else (0, 1), torch.export.Dim.DYNAMIC)


def quantize_onnx(source: str | Path, target: str | Path) -> None:
    """
    Dynamic quantisation of a file of `export_onnx`: linear layers multiply 8-bit integers, weights quantised here for
    each output, activations when they come, for each batch; all else stays float32.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = onnx.load(source)
    del model.graph.value_info[:]  # the exporter leaves shapes of weights that it has transposed since
    quantize_dynamic(
        model,
        target,
        op_types_to_quantize=["MatMul", "Gemm"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        reduce_range=True,  # 7 bits of a weight: with 8, sums overflow on processors without VNNI
    )
