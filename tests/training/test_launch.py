# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run has the processes and the engine that it was started for, or stops; the configurations for accelerate load."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file
from helpers import build, tiny_config

from mixture_of_transformers import MoTModel
from mixture_of_transformers.training.launch import processes_of

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGS = sorted((REPOSITORY / "configs").glob("*.yaml"))
ACCELERATE = [sys.executable, "-m", "accelerate.commands.launch"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]


def start(command: list[str], folder: Path, script: str, **environment: str) -> subprocess.CompletedProcess:
    (folder / "packages").mkdir()
    (folder / "packages" / "mixture_of_transformers").symlink_to(
        REPOSITORY, target_is_directory=True
    )  # also where it is not installed
    environment |= {"PYTHONPATH": str(folder / "packages"), "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    command = [*command, str(REPOSITORY / script), "--max_steps", "1", "--output_dir", str(folder / "out")]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=os.environ | environment)


@pytest.mark.training
@pytest.mark.parametrize(
    "script", ["run_finetune.py", pytest.param("examples/train_with_accelerate.py", marks=pytest.mark.slow)]
)
def test_one_process_that_was_to_be_two_says_so_and_stops(script, tmp_path):
    """What `accelerate launch --cpu` starts."""
    done = start([*ACCELERATE, "--cpu", "--num_processes", "2"], tmp_path, script)
    assert done.returncode != 0
    assert "2 processes were asked for, but this one runs alone" in done.stderr and "torchrun" in done.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_a_configuration_asks_for_processes_too(tmp_path):
    config = tmp_path / "two.yaml"
    config.write_text(
        "compute_environment: LOCAL_MACHINE\ndistributed_type: MULTI_CPU\nuse_cpu: true\nnum_processes: 2\n"
    )
    done = start([*ACCELERATE, "--config_file", str(config)], tmp_path, "run_finetune.py")
    assert "2 processes were asked for, but this one runs alone" in done.stderr


@pytest.mark.slow
def test_an_engine_that_does_not_run_is_an_error(tmp_path):
    environment = {"ACCELERATE_USE_FSDP": "true", "FSDP_VERSION": "2", "ACCELERATE_USE_CPU": "true"}
    done = start(TORCHRUN, tmp_path, "examples/train_with_accelerate.py", **environment)
    assert done.returncode != 0
    assert "was asked for, but" in done.stderr or "were asked for, but" in done.stderr


@pytest.mark.parametrize(
    "words, number",
    [([], 1), (["--num_processes", "3", "x.py"], 3), (["x.py", "--num_processes", "3"], 1), (["--cpu", "x.py"], 1)],
)
def test_the_launchers_own_options_count(words, number):
    assert processes_of(words) == number


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configurations_load_and_name_the_layers_of_the_model(path):
    assert path.read_text(encoding="utf-8").startswith("# ")  # when to choose it
    config = load_config_from_file(str(path))
    assert config.num_processes == 2 and config.num_machines == 1
    if wrapped := config.fsdp_config.get("fsdp_transformer_layer_cls_to_wrap"):
        model = build(MoTModel, tiny_config(num_joint_layers=1))
        assert set(wrapped.split(",")) == set(model._no_split_modules)
        assert set(wrapped.split(",")) <= {type(module).__name__ for module in model.modules()}


def test_there_is_a_configuration_for_each_engine():
    assert {path.stem for path in CONFIGS} == {"ddp", "fsdp2", "deepspeed_zero2", "deepspeed_zero3"}
