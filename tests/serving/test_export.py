# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A model as an ONNX file answers as the model does, in float32 and with 8-bit integers, for rows of any kind."""

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, max_difference, run, select_rows, tiny_config
from open_rows import inputs_of, make_model

from mixture_of_transformers import MoTForSequenceClassification

onnxruntime = pytest.importorskip("onnxruntime", reason="needs `pip install '.[onnx]'`")
pytest.importorskip("onnxscript", reason="needs `pip install '.[onnx]'`")

from mixture_of_transformers.serving.onnx import export_onnx, quantize_onnx  # noqa: E402

pytestmark = pytest.mark.training  # an export takes half a minute


def logits(path, inputs):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {name: value.numpy() for name, value in inputs.items()})[0])


@pytest.mark.parametrize("architecture", ["default", "joint_only"])
def test_an_onnx_file_answers_as_the_model(architecture, tmp_path):
    model = build(MoTForSequenceClassification, tiny_config(architecture, num_labels=4))
    inputs = make_inputs(MODALITIES)
    expected = run(model, inputs).logits
    exported, quantized = tmp_path / "model.onnx", tmp_path / "model-int8.onnx"
    export_onnx(model, inputs, exported)
    assert max_difference(logits(exported, inputs), expected) < 1e-4
    alone = select_rows(inputs, [0])
    assert max_difference(logits(exported, alone), run(model, alone).logits) < 1e-4
    quantize_onnx(exported, quantized)
    assert quantized.stat().st_size < exported.stat().st_size
    error = logits(quantized, inputs) - expected
    assert 0 < error.norm() < 0.1 * expected.norm()


@pytest.mark.parametrize("subset", [("text", "depth"), ("imu", "vitals")], ids="+".join)
def test_any_modalities_go_into_a_file_by_their_names(subset, tmp_path):
    model, inputs = make_model(MoTForSequenceClassification, num_labels=3), inputs_of(subset)
    export_onnx(model, inputs, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", providers=["CPUExecutionProvider"])
    assert {each.name for each in session.get_inputs()} == inputs.keys()
    for some in (inputs, inputs_of(subset, 1), inputs_of(subset, 5)):
        assert max_difference(logits(tmp_path / "model.onnx", some), run(model, some).logits) < 1e-4
