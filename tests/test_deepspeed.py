# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""DeepSpeed trains on two processes what one process would, and its checkpoint is one that any process loads."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from deepspeed_steps import OPTIONS, ragged_rows
from helpers import max_difference
from toy_trainers import model_of, trainer_of

from mixture_of_transformers import MoTForSequenceClassification

TESTS = Path(__file__).resolve().parent
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="deepspeed is not installed"),
]


@pytest.mark.parametrize("stage", [2, 3])
def test_two_processes_under_zero_learn_what_one_would_and_leave_a_whole_checkpoint(stage, tmp_path):
    """By the configuration that users start it with. The first run compiles an operation of DeepSpeed's."""
    programs = Path(sys.executable).parent
    command = [
        str(programs / "accelerate"),
        "launch",
        "--config_file",
        str(TESTS.parent / "configs" / f"deepspeed_zero{stage}.yaml"),
    ]
    command += ["--mixed_precision", "no", str(TESTS / "deepspeed_steps.py"), str(tmp_path / "two")]
    environment = os.environ | {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS)}
    environment["PATH"] = os.pathsep.join([str(programs), os.environ["PATH"]])  # of ninja
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    reports = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"engine')]
    assert reports == [{"engine": "DeepSpeedEngine", "stage": stage, "processes": 2}] * 2
    alone = trainer_of(tmp_path / "one", model_of(), ragged_rows(), **OPTIONS, gradient_accumulation_steps=2)
    alone.train()
    found = MoTForSequenceClassification.from_pretrained(tmp_path / "two").state_dict()
    expected, before = alone.model.state_dict(), model_of().state_dict()
    assert found.keys() == expected.keys()
    assert max(max_difference(found[name], expected[name]) for name in found) < 1e-5
    assert max(max_difference(found[name], before[name]) for name in found) > 1e-2
