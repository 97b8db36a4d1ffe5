# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where training diverges: which numbers are not finite, and the error that says what to try.

Each function takes the trainer, a `MoTTrainer`.
"""

import math
from pathlib import Path

import torch
from transformers import Trainer

from mixture_of_transformers.training.interruption import newest_whole_checkpoint


def check_loss(trainer: Trainer, loss: torch.Tensor, inputs: dict[str, torch.Tensor]) -> None:
    """
    Raises FloatingPointError if the loss of a batch is not finite; the error names the inputs that are not either.
    """
    if not torch.isfinite(loss):
        raise divergence(trainer, f"the loss is {loss.item()}{not_finite(inputs)}")


def check_gradients(trainer: Trainer, norm: torch.Tensor | float | None) -> None:
    """Raises FloatingPointError if the norm of the gradients is not finite."""
    number = norm.item() if torch.is_tensor(norm) else norm
    # Float16 has a scaler, here or in DeepSpeed, which leaves such a step out and goes on with smaller gradients.
    has_scaler = trainer.accelerator.scaler is not None or trainer.is_deepspeed_enabled
    if number is not None and not math.isfinite(number) and not has_scaler:
        raise divergence(trainer, f"the norm of the gradients is {number}")


def check_weights(trainer: Trainer) -> None:
    """Raises FloatingPointError if a weight that learns is not finite."""
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad and not torch.isfinite(parameter.detach()).all():
            raise divergence(trainer, f"{name} is not finite")


def divergence(trainer: Trainer, what: str) -> FloatingPointError:
    args, folder = trainer.args, Path(trainer.args.output_dir)
    good = newest_whole_checkpoint(folder) if folder.is_dir() else None
    precision = "".join(f", float32 in place of --{name}" for name in ("bf16", "fp16") if getattr(args, name))
    return FloatingPointError(
        f"The training diverged near step {trainer.state.global_step + 1}: {what}. "
        + (f"{good} is whole and stays as it is. " if good else "No checkpoint was saved before. ")
        + f"Try a lower --learning_rate (now {args.learning_rate:g}), a longer warm-up (--warmup_steps, now "
        f"{args.warmup_steps:g}), --max_grad_norm 1 or less (now {args.max_grad_norm:g}){precision}."
    )


def not_finite(inputs: dict[str, torch.Tensor]) -> str:
    """Which inputs of a batch hold NaN or infinity, as the end of a sentence; labels may."""
    names = [n for n, v in inputs.items() if n != "labels" and torch.is_tensor(v) and v.is_floating_point()]
    names = [f"`{name}`" for name in names if not torch.isfinite(inputs[name]).all()]
    return f", for {' and '.join(names)} of the batch hold NaN or infinity" if names else ""
