# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows, models and trainers that are small enough to be trained within a test."""

import torch
from helpers import MODALITIES, build, make_inputs, tiny_config

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EpochDataset
from mixture_of_transformers.training.metrics import compute_metrics
from mixture_of_transformers.training.trainer import MoTTrainer

NAMES = ("input_ids", "pixel_values", "input_features")
SAVING = {"save_strategy": "steps", "save_steps": 2}


def encoded_row(text: int | None = None, image: bool = False, audio: int | None = None, label: int = 0) -> dict:
    row = {"labels": torch.tensor(label)}
    if text is not None:
        row["input_ids"] = torch.randint(1, 20, (text,))
    if image:
        row["pixel_values"] = torch.randn(3, 8, 8)
    if audio is not None:
        row["input_features"] = torch.randn(audio, 80)
    return row


def tiny_model(model_class=MoTForSequenceClassification, **kwargs):
    config = MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        text_config={"vocab_size": 20, "num_hidden_layers": 1},
        image_config={"image_size": 8, "patch_size": 4, "num_hidden_layers": 1},
        audio_config={"num_hidden_layers": 1},
        num_labels=3,
        problem_type="single_label_classification",
        **kwargs,
    )
    return model_class(config)


def toy_rows(number: int) -> list[dict]:
    """Each modality alone tells the label; every third row lacks something."""
    rows = []
    for i in range(number):
        label = i % 3
        row = encoded_row(text=3, image=True, audio=6, label=label)
        row["input_ids"][:] = label + 1
        row["pixel_values"][:] = label - 1.0
        row["input_features"][:] = label - 1.0
        if i % 3 == 0:
            row.pop(("input_ids", "pixel_values", "input_features")[i // 3 % 3])
        rows.append(row)
    return rows


def toy_trainer(tmp_path, model=None, **kwargs) -> MoTTrainer:
    options = {"max_steps": 60, "learning_rate": 1e-2, "report_to": "none", "save_strategy": "no", "logging_steps": 10}
    arguments = {key: kwargs.pop(key) for key in list(kwargs) if key in MoTTrainingArguments.__dataclass_fields__}
    return MoTTrainer(
        model=model or tiny_model(),
        args=MoTTrainingArguments(str(tmp_path), per_device_train_batch_size=12, **options | arguments),
        train_dataset=toy_rows(36),
        data_collator=MoTCollator(),
        **kwargs,
    )


def rows_of(number: int = 24, labels: bool = True) -> list[dict]:
    """Rows of every modality but that every second lacks one, text among them; the label is in the values."""
    generator, rows = torch.Generator().manual_seed(0), []
    inputs = make_inputs(MODALITIES, masks=None)
    for i in range(number):
        row = {name: inputs[name][i % len(inputs[name])] for name in NAMES}
        row["input_features"] = torch.randn(4 + i % 7, 6, generator=generator)
        if i % 2:
            row.pop(NAMES[i // 2 % 3])
        rows.append(row | {"labels": torch.tensor(i % 3)} if labels else row)
    return rows


class Rows(EpochDataset):
    """Rows that know their epoch, as encoded and cached ones do."""

    def __init__(self, rows: list[dict]):
        super().__init__()
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        return self.in_epoch(self.rows[index])


def model_of(head=MoTForSequenceClassification, **fields):
    fields = {"num_labels": 3, "problem_type": "single_label_classification"} | fields
    return build(head, tiny_config(**fields)).train()


def trainer_of(folder, model=None, rows=None, eval_rows=None, collator=None, model_init=None, metrics=None, **options):
    defaults = {"max_steps": 4, "learning_rate": 1e-3, "save_strategy": "no", "logging_steps": 1, "report_to": "none"}
    defaults |= {"per_device_train_batch_size": 6, "per_device_eval_batch_size": 5, "use_cpu": True}
    rows = rows_of() if rows is None else rows
    return MoTTrainer(
        None if model_init else model or model_of(),
        MoTTrainingArguments(str(folder), disable_tqdm=True, **defaults | options),
        train_collator=collator,
        data_collator=MoTCollator(),
        train_dataset=rows,
        eval_dataset=rows if eval_rows is None else eval_rows,
        model_init=model_init,
        compute_metrics=metrics,
    )


def accuracy(prediction) -> dict:
    return compute_metrics(prediction.predictions, prediction.label_ids, "single_label_classification")


def weights_of(trainer) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def assert_same_weights(found: dict, expected: dict) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def logged(trainer) -> dict[int, dict[str, float]]:
    """step -> the losses of its log."""
    entries = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {entry["step"]: {n: v for n, v in entry.items() if n.startswith("loss")} for entry in entries}
