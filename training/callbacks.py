# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What goes on beside training: rows are told their epoch, and a resumed run gets back what a checkpoint holds.

The library's own state of a checkpoint knows nothing of the loss terms since the last log, nor of the patience that is
left, nor whether the arguments ask for other rates than those of the optimizer that goes on.
"""

from pathlib import Path

import torch
from transformers import Trainer, TrainerCallback, TrainerState

from mixture_of_transformers.training.encoded import EpochDataset, StreamedRows
from mixture_of_transformers.training.optimization import keep_settings
from mixture_of_transformers.training.run_folder import RUN, STATE, begin_run, clear_unfinished, run_of_state

SINCE_LOG = "losses_since_log"  # where a checkpoint's state keeps them


def epoch_of(state: TrainerState) -> int:
    """The number of the epoch that a run is in, from 0."""
    return int(round(state.epoch or 0, 6))


class EpochCallback(TrainerCallback):
    """Tells the training rows their epoch, which accelerate does not where several processes share the batches."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if isinstance(train_dataloader.dataset, EpochDataset):
            train_dataloader.dataset.set_epoch(epoch_of(state))


class ResumeCallback(TrainerCallback):
    """
    Gives a trainer back what a checkpoint holds of it beyond the library's own state, and takes away the end that an
    older run left in the folder.

    Args:
        trainer: a `MoTTrainer`.
    """

    def __init__(self, trainer: Trainer):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if args.should_save:  # the checkpoint is loaded, and what an earlier run left is finished no longer
            folder = Path(args.output_dir)
            state.stateful_callbacks[RUN] = begin_run(folder, run_of_state(vars(state)) if state.global_step else None)
            (folder / STATE).unlink(missing_ok=True)
            clear_unfinished(folder)
        if state.global_step:
            keep_settings(args, self.trainer.asked, kwargs["optimizer"])
        restore_losses(self.trainer, state)
        restore_patience(self.trainer, state)

    def on_step_end(self, args, state, control, **kwargs):
        if isinstance(self.trainer.train_dataset, StreamedRows):  # The library counts from where the reading goes on.
            state.epoch = state.global_step / state.max_steps


def losses_since_log(trainer: Trainer) -> dict:
    """What the next log of a `MoTTrainer` will take its means of, as JSON."""
    return {
        "step": trainer._globalstep_last_logged,
        "loss": trainer.accelerator.reduce(trainer._tr_loss, reduction="mean").item(),
        "terms": {name: (float(total), int(number)) for name, (total, number) in trainer.loss_terms.items()},
    }


def restore_losses(trainer: Trainer, state: TrainerState) -> None:
    """Go on with the means of the next log where the checkpoint's run was."""
    trainer.loss_terms = {}
    if state.global_step and (saved := state.stateful_callbacks.get(SINCE_LOG)):
        trainer._globalstep_last_logged = saved["step"]
        trainer._tr_loss += saved["loss"]
        trainer._total_loss_scalar -= saved["loss"]  # `train_loss` is of this process' own steps
        trainer.loss_terms = {
            name: (torch.tensor(total, device=trainer.args.device), number)
            for name, (total, number) in saved["terms"].items()
        }


def restore_patience(trainer: Trainer, state: TrainerState) -> None:
    """Early stopping goes on counting in a resumed run, and counts from 0 in another one of the same trainer."""
    stopping = trainer.early_stopping
    if stopping is None:
        return
    stopping.early_stopping_patience = trainer.args.early_stopping_patience
    saved = state.stateful_callbacks.get("EarlyStoppingCallback") if state.global_step else None
    attributes = saved["attributes"] if isinstance(saved, dict) else {"early_stopping_patience_counter": 0}
    vars(stopping).update(attributes)
    state.stateful_callbacks["EarlyStoppingCallback"] = stopping.state()
