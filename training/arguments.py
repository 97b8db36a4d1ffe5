# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The arguments of a training run: `MoTTrainingArguments`."""

from dataclasses import dataclass, field
from typing import Literal

import torch
from transformers import TrainingArguments

from mixture_of_transformers.data.secrets import hide
from mixture_of_transformers.training.launch import check_processes
from mixture_of_transformers.training.metrics import greater_is_better


@dataclass
class MoTTrainingArguments(TrainingArguments):
    """`TrainingArguments` with a choice of what a step trains, which parameters learn how fast, and when to stop."""

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "learning_rates"]

    objective: Literal["subsets", "given"] = field(
        default="subsets",
        metadata={
            "help": "`subsets`: each step trains every single modality and one larger subset, so that one model "
            "answers from any of them; `given`: each row with the modalities it has."
        },
    )
    learning_rates: dict | str | None = field(
        default=None,
        metadata={
            "help": "Peak learning rates of modalities, parts, or parts of modalities, as JSON, where they differ "
            'from `learning_rate`: \'{"encoders": 1e-4, "text.encoders": 2e-5}\' for towers that start warm.'
        },
    )
    layer_decay: float = field(
        default=1.0, metadata={"help": "Multiplies the learning rate once for each layer between it and the head."}
    )
    contrastive_chunk_size: int | None = field(
        default=None,
        metadata={
            "help": "Embed so many rows of a batch at a time when a model learns to retrieve: the memory of a chunk, "
            "the loss of the whole batch, at the cost of one more forward (cached gradients)."
        },
    )
    freeze: list[str] = field(
        default_factory=list,
        metadata={"help": "Modalities (text), parts (encoders) or parts of modalities (text.encoders) not to train."},
    )
    class_weights: Literal["balanced"] | None = field(
        default=None,
        metadata={
            "help": "`balanced`: rare classes count as much as frequent ones in the training loss: each row by rows / "
            "(classes * rows of its class); of several classes at once, each that a row has by how many lack it."
        },
    )
    train_sampling_strategy: str = field(
        default="random",
        metadata={
            "help": "The order of the training rows: `random`, `sequential`, `group_by_length`, `batch_rebalance`, or "
            "`balance_modalities`, by which rows of a modality that many lack come more often.",
            "choices": ["random", "sequential", "group_by_length", "batch_rebalance", "balance_modalities"],
        },
    )
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations without a better `metric_for_best_model` (the loss if not given), "
            "and keep the best checkpoint. Needs an `eval_strategy` and the same `save_strategy`."
        },
    )
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available,
        metadata={
            "help": "Copy batches from pinned memory; by default where there is an accelerator to copy them to."
        },
    )
    remove_unused_columns: bool = field(
        default=False,
        metadata={
            "help": "Take away the columns that the model does not name; by default rows reach the collator whole."
        },
    )
    push_training_state: bool = field(
        default=False,
        metadata={
            "help": "With `hub_strategy` checkpoint or all_checkpoints: push the state of optimizer, schedule and "
            "random numbers, too, from which training can go on; they are pickles."
        },
    )

    def __post_init__(self):
        hide(self.hub_token)
        if self.early_stopping_patience is not None:
            self.load_best_model_at_end = True
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        super().__post_init__()
        if self.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):  # They go by the same metric.
            mode = "max" if self.greater_is_better else "min"
            self.lr_scheduler_kwargs = {"mode": mode} | (self.lr_scheduler_kwargs or {})
        check_processes(self.world_size)
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError(
                "--early_stopping_patience counts evaluations, of which there are none: set --eval_strategy."
            )

    def __getstate__(self) -> dict:
        """What is pickled, as training_args.bin is: all but tokens."""
        return {name: None if name.endswith("_token") else value for name, value in vars(self).items()}
