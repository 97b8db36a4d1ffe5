# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Whether a run has the processes, and the engine over them, that it was started for.

Launchers fall back in silence: `accelerate launch --cpu --num_processes 2` starts one process, and FSDP asked for on a
CPU leaves several that know nothing of each other. A run that believes itself two processes wide trains with half the
batch, or overwrites its own checkpoints.
"""

import os
import shlex
import sys
from pathlib import Path

import psutil
from accelerate import Accelerator
from accelerate.commands.config.config_args import default_config_file, load_config_from_file
from accelerate.commands.launch import launch_command_parser
from accelerate.utils import DistributedType

from mixture_of_transformers.training.command import RunError

TORCHRUN = "torchrun --nproc_per_node {} run_finetune.py ..., on a CPU with ACCELERATE_USE_CPU=true before it"
# What `accelerate launch` sets where it was asked for an engine.
ENGINES = {"ACCELERATE_USE_FSDP": DistributedType.FSDP, "ACCELERATE_USE_DEEPSPEED": DistributedType.DEEPSPEED}


def check_processes(number: int) -> None:
    """
    Args:
        number: of the processes that know of each other.

    Raises:
        RunError: the launcher was asked for several processes, and this one runs alone.
    """
    asked = max(int(os.environ.get("WORLD_SIZE", 1)), processes_of(launcher_words()))
    if number == 1 < asked:
        raise RunError(
            f"{asked} processes were asked for, but this one runs alone: start it with {TORCHRUN.format(asked)}."
        )


def check_one_device(number: int) -> None:
    """
    Args:
        number: of the devices that this process would spread each batch over, in threads (`nn.DataParallel`).

    Raises:
        RunError: there are several. Rows of one batch have different modalities, and contrastive losses compare
            all of them, so that its parts do not add up to the batch.
    """
    if number > 1:
        script = ["--no-python"] * (not sys.argv[0].endswith(".py")) + sys.argv  # a script, or the command `mot`
        raise RunError(
            f"This one process sees {number} GPUs, and it cannot split a batch over them. Train on all of them "
            f"with\n\n    {shlex.join(['torchrun', '--nproc_per_node', str(number), *script])}\n\n"
            "or on one of them with CUDA_VISIBLE_DEVICES=0 before the command."
        )


def check_engine(accelerator: Accelerator) -> None:
    """
    Raises:
        RunError: `accelerate launch` was asked for FSDP or DeepSpeed, and the processes run as something else.
    """
    for variable, engine in ENGINES.items():
        if os.environ.get(variable, "").lower() in ("1", "true") and accelerator.distributed_type != engine:
            raise RunError(
                f"{engine.value} was asked for, but the processes run as {accelerator.distributed_type.value}: it "
                "needs accelerators, of which none was found. Without it: "
                f"{TORCHRUN.format(accelerator.num_processes)}."
            )


def launcher_words() -> list[str]:
    """The arguments of the `accelerate launch` that started this process; none if nothing did."""
    parent = psutil.Process().parent()
    words = parent.cmdline() if parent else []
    names = [Path(word).name for word in words]
    if "accelerate" in names and "launch" in names:
        return words[names.index("launch") + 1 :]
    for name in ("accelerate-launch", "accelerate.commands.launch"):
        if name in names:
            return words[names.index(name) + 1 :]
    return []


def processes_of(words: list[str]) -> int:
    """
    How many processes the arguments of `accelerate launch`, or the configuration that they name, ask for; else 1.
    """
    if not words:
        return 1
    options, _ = launch_command_parser().parse_known_args(words)
    if options.num_processes:
        return options.num_processes
    if options.config_file or os.path.isfile(default_config_file):
        return load_config_from_file(options.config_file).num_processes or 1
    return 1
