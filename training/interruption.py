# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Interrupted runs: which checkpoint is whole, where a run goes on, whether there is room, and how to stop well.

A checkpoint has its name only when it is complete (training/run_folder.py); its files are opened all the same, for a
disk may lose what a process has written.
"""

import json
import shutil
import signal
import tempfile
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from transformers import TrainerCallback, TrainerState
from transformers.utils import logging

from mixture_of_transformers.training.run_folder import (
    STATE,
    clear_unfinished,
    own_checkpoints,
    run_of_folder,
    run_of_state,
)

logger = logging.get_logger(__name__)

INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_model.safetensors"
WEIGHTS = ("model.safetensors", ADAPTER, INDEX)
WEIGHT_FILES = ("model", "adapter_model")  # how the names of files with weights begin, also of shards
TRAINING = ("optimizer.pt", "scheduler.pt")  # zip archives, as all that torch saves
NOTHING_SAVED = "No checkpoint was saved before, as --save_strategy steps or epoch does, and training begins anew: "
# The bytes of a parameter in float32, and those of the two averages that AdamW keeps of it.
WEIGHT_BYTES, OPTIMIZER_BYTES = 4, 8


# ---------------------------------------------------------------------------------------------------------------------
# Checkpoints to go on from
# ---------------------------------------------------------------------------------------------------------------------


def newest_whole_checkpoint(folder: Path) -> Path | None:
    """The last `checkpoint-*` of a folder's own run that is whole; later ones are reported with what they lack."""
    for path in reversed(own_checkpoints(folder)):
        damage = next(damages(path), None)
        if damage is None:
            return path
        logger.warning_once(f"{path} is damaged and passed over: {damage}.")
    return None


def damages(checkpoint: Path) -> Iterator[str]:
    """What is wrong with a checkpoint that a Trainer wrote."""
    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        yield f"{STATE} cannot be read ({error})"
    weights = next((checkpoint / name for name in WEIGHTS if (checkpoint / name).exists()), None)
    if weights is None:
        yield f"none of {', '.join(WEIGHTS)} is there"
        return
    try:
        shards = {weights.name}
        if weights.name == INDEX:
            shards = set(json.loads(weights.read_text(encoding="utf-8"))["weight_map"].values())
        for name in sorted(shards):
            with safe_open(checkpoint / name, framework="pt"):  # compares the header with the file's size
                pass
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        yield f"{weights.name} cannot be read ({error})"
    for name in [*TRAINING, *sorted(path.name for path in checkpoint.glob("rng_state*.pth"))]:
        try:
            zipfile.ZipFile(checkpoint / name).close()
        except (OSError, zipfile.BadZipFile) as error:
            yield f"{name} cannot be read ({error})"


def checkpoint_to_resume(choice: str | bool | None, folder: Path) -> str | None:
    """
    What `resume_from_checkpoint` means: for "auto" the last whole checkpoint of the folder's own run, or None where
    there is none; for True, or "true" on a command line, the last that there is; else one by its path.

    Raises:
        ValueError: there is no such checkpoint, or it is damaged, or of a version with other parameters.
    """
    choice = {"true": True, "false": False}.get(str(choice).lower(), choice)
    if not choice:
        return None
    if choice == "auto":
        newest = newest_whole_checkpoint(folder) if folder.is_dir() else None
        if newest:
            check_version(newest)
        return newest and str(newest)
    found = next((str(path) for path in reversed(own_checkpoints(folder))), None) if choice is True else str(choice)
    if found is None:
        raise ValueError(
            f"{folder} has no checkpoint to go on from: give --resume_from_checkpoint auto, which then trains anew."
        )
    check_checkpoint(Path(found))
    check_version(Path(found))
    return found


def run_to_go_on(choice: str | bool | None, folder: Path) -> Path | None:
    """
    Where the run lies that `resume_from_checkpoint` goes on with: in its folder if it has ended, or a checkpoint.
    """
    if choice == "auto" and finished_state(folder):
        return folder
    found = checkpoint_to_resume(choice, folder)
    return found and Path(found)


def check_checkpoint(path: Path) -> None:
    """
    Raises:
        ValueError: training cannot go on from what is there, if anything is.
    """
    if not path.is_dir():
        damage = "there is no such folder"
    else:
        # FSDP and DeepSpeed have formats of their own for all but the state.
        is_sharded = any(path.glob("pytorch_model_fsdp*")) or any(path.glob("global_step*"))
        damage = None if is_sharded and (path / STATE).is_file() else next(damages(path), None)
    if damage is not None:
        raise ValueError(
            f"No training can go on from {path}: {damage}. Name a checkpoint-* folder that is whole, or give "
            "--resume_from_checkpoint auto, which takes the newest such one in --output_dir."
        )


def check_version(checkpoint: Path) -> None:
    """
    Raises:
        ValueError: the checkpoint was saved with the scales of a contrastive loss as one vector. Its weights load, but
            its optimizer counts its parameters otherwise than a model has them now.
    """
    files = [path for path in checkpoint.glob("*.safetensors") if path.name.startswith(WEIGHT_FILES)]
    names = [name for path in files for name in names_in(path)]
    if any(name.rpartition(".")[2] == "log_scale" for name in names):
        raise ValueError(
            f"{checkpoint} was saved by an earlier version, whose optimizer cannot go on in this one. Begin a run "
            f"with its weights: another --output_dir, and --model_name_or_path {checkpoint}."
        )


def names_in(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as weights:
        return list(weights.keys())


def weights_file(folder: Path, is_adapter: bool) -> Path | None:
    """The file with the weights, or with the names of their shards, of a whole model or of an adapter; or None."""
    names = [ADAPTER] if is_adapter else [name for name in WEIGHTS if name != ADAPTER]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def finished_state(folder: Path) -> TrainerState | None:
    """The state of the folder's own run, if it has ended and left its model in the folder itself; or None."""
    has_weights = any((folder / name).is_file() for name in WEIGHTS)
    if not has_weights or not (folder / STATE).is_file():
        return None
    state = TrainerState.load_from_json(str(folder / STATE))
    return state if run_of_folder(folder) in (None, run_of_state(vars(state))) else None


def is_done(args, state: TrainerState, steps: int) -> bool:
    """Whether a run in this state, with these `MoTTrainingArguments`, has done so many steps or has stopped early."""
    if state.global_step >= steps:
        return True
    patience, saved = args.early_stopping_patience, state.stateful_callbacks.get("EarlyStoppingCallback")
    waited = saved["attributes"]["early_stopping_patience_counter"] if isinstance(saved, dict) else 0
    return patience is not None and waited >= patience and steps <= state.max_steps


def check_can_go_on(folder: Path, state: TrainerState, steps: int) -> None:
    """
    Raises:
        ValueError: the folder holds a run that is finished, and not what training on to so many steps would need.
    """
    if newest_whole_checkpoint(folder) is None:
        raise ValueError(
            f"{folder} holds a run that ended after {state.global_step} steps and kept no checkpoint from which to go "
            f"on to {steps}. Begin with its weights, --model_name_or_path {folder}, in another --output_dir; or leave "
            "out --resume_from_checkpoint to train anew, which replaces it."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Room on the disk
# ---------------------------------------------------------------------------------------------------------------------


def check_folder(folder: Path) -> None:
    """
    Raises:
        OSError: nothing can be written into the folder, which is made if it is not there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as file:
            file.write(b"\0" * 4096)
    except OSError as error:
        raise OSError(
            f"The results of this run cannot be written to {folder} ({error}): name another folder with --output_dir."
        ) from error


def check_room(folder: Path, model: torch.nn.Module, checkpoints: int) -> None:
    """
    Args:
        checkpoints: how many lie in the folder at once, beside the model that is saved at the end.

    Raises:
        OSError: the disk has less room than they take.
    """
    weights = sum(parameter.numel() for parameter in model.parameters()) * WEIGHT_BYTES
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad) * OPTIMIZER_BYTES
    needed, free = weights + checkpoints * (weights + trained), shutil.disk_usage(folder).free
    if free < needed:
        raise OSError(
            f"The disk of {folder} has {free / 2**20:,.0f} MiB left, and this run needs about {needed / 2**20:,.0f}: "
            f"the model and {checkpoints} checkpoints with the state of the optimizer. Make room, keep fewer with "
            "--save_total_limit, or name another folder with --output_dir."
        )


@contextmanager
def saving_into(folder: Path, step: int) -> Iterator[None]:
    """
    Raises:
        OSError: what is saved meanwhile cannot be written, such as onto a full disk; it says how to go on. Half a
            checkpoint is taken away, and what was saved before stays.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:  # torch and safetensors have errors of their own
        clear_unfinished(folder)
        good = newest_whole_checkpoint(folder) if folder.is_dir() else None
        free = shutil.disk_usage(next(path for path in (folder, *folder.resolve().parents) if path.exists())).free
        raise OSError(
            f"Step {step} could not be saved in {folder} ({error}; the disk has {free / 2**20:,.0f} MiB left). "
            + (f"{good} is whole and stays as it is: " if good else NOTHING_SAVED)
            + "make room, or keep fewer checkpoints with --save_total_limit, and give --resume_from_checkpoint auto."
        ) from error


def checkpoints_at_once(args, steps: int) -> int:
    """
    How many checkpoints a run with these `TrainingArguments` comes to hold, counting the one that is being written.
    """
    if args.save_strategy == "no":
        return 0
    per_run = {"steps": steps // max(int(args.save_steps), 1), "epoch": int(args.num_train_epochs)}
    written = max(per_run.get(str(args.save_strategy.value), 1), 1)
    return min(written, args.save_total_limit + 1) if args.save_total_limit else written


# ---------------------------------------------------------------------------------------------------------------------
# Signals
# ---------------------------------------------------------------------------------------------------------------------


class StopOnSignal(TrainerCallback):
    """
    Ctrl-C (SIGINT) and SIGTERM end the training after the step they fall into, with a checkpoint, on all processes
    alike. A second signal acts at once.
    """

    def __init__(self, accelerator):
        self.accelerator = accelerator
        self.received: int | None = None
        self.previous: dict = {}

    def on_train_begin(self, args, state, control, **kwargs):
        self.received = None
        if threading.current_thread() is threading.main_thread():
            self.previous = {number: signal.signal(number, self.receive) for number in (signal.SIGINT, signal.SIGTERM)}

    def receive(self, number: int, frame) -> None:
        self.received = number
        self.restore()
        print(f"\n{signal.Signals(number).name}: saving after this step; once more to stop at once.", flush=True)

    def restore(self) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        self.previous = {}

    def on_step_end(self, args, state, control, **kwargs):
        if self.accelerator.num_processes > 1:
            if self.received:
                self.accelerator.set_trigger()
            if self.accelerator.check_trigger():
                self.received = self.received or signal.SIGTERM
        if self.received:
            control.should_save = control.should_training_stop = True

    def on_train_end(self, args, state, control, **kwargs):
        self.restore()
