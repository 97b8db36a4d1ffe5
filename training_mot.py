# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Training on any subset of the modalities: `MoTTrainer` with its arguments and data collator.

Rows pass through the processor once (`EncodedDataset`; `cache_features` keeps them on disk) or whenever they are read
(`StreamedDataset`), are augmented and padded to a batch (`MoTCollator`), and train one model for every subset of its
modalities at once (the objective of `MoTTrainer`).
"""

import inspect
import itertools
import json
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import safetensors.torch
import torch
from accelerate.utils import DistributedType, gather_object
from datasets.fingerprint import Hasher
from torch.nn import functional as F
from transformers import (
    DataCollatorForLanguageModeling,
    EarlyStoppingCallback,
    EvalPrediction,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)
from transformers.trainer_pt_utils import LengthGroupedSampler
from transformers.utils import logging

from .augmentation_mot import AudioAugmentation, ImageAugmentation
from .checkpoints_mot import StopOnSignal, check_folder, check_room, checkpoint_to_resume, checkpoints_at_once
from .configuration_mot import MODALITIES
from .data_mot import RowStream, is_ready_features
from .gradient_cache_mot import cached_step
from .launch_mot import check_engine, check_processes
from .loss_mot import IGNORED_LABEL
from .metrics_mot import compute_metrics, pairwise_retrieval_metrics
from .modeling_mot import MoTForRetrieval
from .optimization_mot import WITHOUT_DECAY, freeze, split_by_learning_rate

logger = logging.get_logger(__name__)

# For each sequence-like input of the processor, its mask, and the modality that both belong to.
INPUTS = {
    "input_ids": ("attention_mask", "text"),
    "text_features": ("attention_mask", "text"),
    "pixel_values": ("pixel_mask", "image"),
    "image_features": ("pixel_mask", "image"),
    "input_features": ("input_features_mask", "audio"),
}
# Inputs that may come with the seconds of their frames.
TIMES = {"pixel_values": "pixel_times", "input_features": "input_features_times"}


def all_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, the small ones first, each in the order given."""
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def draw_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """What a step trains: every modality alone, and one larger subset at random."""
    subsets = all_subsets(modalities)
    singles, larger = subsets[: len(modalities)], subsets[len(modalities) :]
    return singles + ([larger[int(torch.randint(len(larger), ()))]] if larger else [])


def subset_name(subset: Iterable[str]) -> str:
    """`text+image`: the key of a subset in losses, results and tables."""
    return "+".join(subset)


# ---------------------------------------------------------------------------------------------------------------------
# Data: rows of a dataset -> encoded rows -> batches
# ---------------------------------------------------------------------------------------------------------------------


class EpochDataset(torch.utils.data.Dataset):
    """
    Rows that carry the number of the epoch as `epoch`, by which the collator augments them anew.

    It lies in shared memory, so that `set_epoch` reaches the workers of a `DataLoader` that live on. accelerate calls it
    before each epoch.
    """

    def __init__(self):
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def in_epoch(self, row: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return row | {"epoch": self.epoch.clone()}


class EncodedDataset(EpochDataset):
    """
    Rows of a dataset with columns `text`, `image`, `audio`, `video`, `label` (any may be missing or None), each as the
    processor's tensors without the batch dimension. Rows are encoded when first asked for and kept in memory as long
    as they fit, so that later epochs cost no decoding.

    Args:
        split: a `datasets.Dataset`, a `RowStream`, of which rows can only be encoded, or any sequence of such rows.
        processor: a `MoTProcessor`.
        cache_bytes: the memory for encoded rows, by default 4 GiB.
        max_audio_seconds, max_text_tokens: longer inputs are cut.
    """

    def __init__(
        self,
        split,
        processor,
        cache_bytes: int = 4 * 2**30,
        max_audio_seconds: float | None = None,
        max_text_tokens: int | None = None,
    ):
        super().__init__()
        features = getattr(split, "features", None) or {}
        for column, kind in features.items():
            if isinstance(kind, (datasets.Image, datasets.Audio, datasets.Video)) and kind.decode:
                split = split.cast_column(column, type(kind)(decode=False))  # decoding is the processor's work
        self.split, self.processor = split, processor
        self.free_bytes = cache_bytes
        self.max_frames = None if max_audio_seconds is None else int(max_audio_seconds * 100)
        self.text_options = {"truncation": True, "max_length": max_text_tokens} if max_text_tokens else {}
        self.cache: dict[int, dict] = {}
        self.missing_label = missing_label(features.get("label"))
        # Columns of vectors are ready features, which the processor takes under another name than raw input.
        self.argument_names = {
            "text": "text_features" if is_ready_features(features.get("text")) else "text",
            "image": "image_features" if is_ready_features(features.get("image")) else "images",
            "audio": "audio_features" if is_ready_features(features.get("audio")) else "audio",
            "video": "videos",
        }

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        if index in self.cache:
            return self.in_epoch(self.cache[index])
        row = self.encode(self.split[index])
        size = sum(value.nbytes for value in row.values())
        if size <= self.free_bytes:
            self.free_bytes -= size
            self.cache[index] = row
        return self.in_epoch(row)

    def encode(self, row: dict) -> dict[str, torch.Tensor]:
        arguments = {
            name: [row[column]] for column, name in self.argument_names.items() if row.get(column) is not None
        }
        if "text" in arguments:
            arguments["text_kwargs"] = self.text_options
        encoded = self.processor(**arguments, return_tensors="pt")
        example = {name: value[0] for name, value in encoded.items() if name in (*INPUTS, *TIMES.values())}
        for name in ("input_features", "input_features_times"):
            if name in example and self.max_frames is not None:
                example[name] = example[name][: self.max_frames]
        if row.get("label") is not None:
            example["labels"] = torch.as_tensor(row["label"])
        elif self.missing_label is not None:  # a batch of such rows alone has labels too, none of which counts
            example["labels"] = self.missing_label
        return example


class StreamedDataset(torch.utils.data.IterableDataset):
    """
    Rows of a stream, encoded as they come, one epoch after another without end: how many steps to train is
    `max_steps`, and to skip the rows of so many steps is to resume.

    Args:
        stream: a `RowStream`.
        processor, max_audio_seconds, max_text_tokens: as for `EncodedDataset`.
    """

    def __init__(self, stream: RowStream, processor, **limits):
        self.stream, self.encoder = stream, EncodedDataset(stream, processor, **limits)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for epoch in itertools.count():
            is_empty = True
            for row in self.stream.rows(epoch):
                is_empty = False
                yield self.encoder.encode(row) | {"epoch": torch.tensor(epoch)}
            if is_empty and torch.utils.data.get_worker_info() is None:
                raise ValueError(f"The stream of split '{self.stream.split_name}' has no row that can be read.")
            if is_empty:  # there are more workers than shards
                return


class CachedDataset(EpochDataset):
    """
    The rows of an `EncodedDataset`, read from disk.

    Args:
        rows: a `datasets.Dataset` with one column `tensors`, each row's tensors as the bytes of a safetensors file. So
            stored they are read some twenty times as fast as from columns of arrays.
    """

    def __init__(self, rows: datasets.Dataset):
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.in_epoch(safetensors.torch.load(self.rows[index]["tensors"]))

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """A batch at once, which is what a `DataLoader` asks for."""
        return [self.in_epoch(safetensors.torch.load(tensors)) for tensors in self.rows[indices]["tensors"]]


def cache_features(dataset: EncodedDataset, num_proc: int | None = None, folder: str | None = None) -> CachedDataset:
    """
    Every row of a dataset decoded and encoded once, into an Arrow file that later calls find again, also those of other
    processes. Another processor, other options or other data give another file. What is random comes after, in the
    collator.

    Args:
        dataset: over a `datasets.Dataset`.
        num_proc: how many processes share the work.
        folder: where the file goes, by default `features` in the cache of `datasets`.
    """
    folder = Path(folder or Path(datasets.config.HF_DATASETS_CACHE) / "features")
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = features_fingerprint(dataset)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process would wait for ever for the threads that it lacks
    try:
        rows = dataset.split.with_format(None).map(
            lambda row: {"tensors": safetensors.torch.save(dataset.encode(row))},
            remove_columns=dataset.split.column_names,
            features=datasets.Features(tensors=datasets.Value("large_binary")),
            writer_batch_size=100,
            num_proc=num_proc,
            new_fingerprint=fingerprint,
            cache_file_name=str(folder / f"{fingerprint}.arrow"),
            desc="Encoding",
        )
    finally:
        torch.set_num_threads(threads)
    return CachedDataset(rows)


def features_fingerprint(dataset: EncodedDataset) -> str:
    """A hash of all that decides what a row is encoded to: the data, the options, and what the processor would save."""
    hasher = Hasher()
    for part in (dataset.split._fingerprint, dataset.max_frames, dataset.text_options, dataset.argument_names):
        hasher.update(part)
    with tempfile.TemporaryDirectory() as folder:
        dataset.processor.save_pretrained(folder)
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "tokenizer.json":  # which remembers how the last texts were cut and padded
                content = json.loads(content) | {"truncation": None, "padding": None}
            hasher.update((str(path.relative_to(folder)), content))
    return hasher.hexdigest()


def encoded_bytes(dataset: EncodedDataset, samples: int = 32) -> int:
    """About how much memory all rows take, from some that are spread evenly."""
    indices = np.linspace(0, len(dataset) - 1, min(samples, len(dataset))).astype(int).tolist()
    sizes = [sum(value.nbytes for value in dataset[index].values()) for index in indices]
    return int(np.mean(sizes) * len(dataset)) if sizes else 0


def missing_label(kind) -> torch.Tensor | None:
    """What stands for a missing label of a column of this type: -100 for a class, NaN for numbers."""
    if kind is None:
        return None
    if isinstance(kind, datasets.List):
        return torch.full((kind.length,), torch.nan) if kind.length > 0 else None
    is_number = isinstance(kind, datasets.Value) and kind.dtype.startswith("float")
    return torch.tensor(torch.nan if is_number else IGNORED_LABEL)


@dataclass
class MoTCollator:
    """
    Encoded rows to a batch: augmented (in training), padded, with masks; a modality that a row lacks is zeros with a
    zero mask, one that no row has is left out. A row without a label gets -100, or NaN where labels are numbers.

    What is random depends on the seed, the epoch that a row carries and what the row holds, on nothing else: the batch
    is the same whichever worker makes it, streamed or not, and in a run that was resumed.

    Args:
        pad_token_id: what pads `input_ids`.
        image_augmentation: an `ImageAugmentation`, or None.
        audio_augmentation: an `AudioAugmentation`, or None.
        modality_dropout: the probability with which each modality of a row is hidden; never a row's last one.
        modality_dropout_warmup: over how many epochs it rises from 0, evenly, for rows that carry their epoch.
        word_masking: hides words and gives them as `text_labels`, for pretraining; or None.
        pad_to_multiple_of: pads tokens, frames and ready features to a multiple of this, so that compiled models see
            few lengths. The model's own limits must allow for it.
        return_loss: asks a head that retrieves or pretrains for its loss, which needs no labels, in evaluation too: for
            a plain `Trainer`, with `label_names=[]`.
        seed: of augmentation, dropout and masking.
    """

    pad_token_id: int = 0
    image_augmentation: ImageAugmentation | None = None
    audio_augmentation: AudioAugmentation | None = None
    modality_dropout: float = 0.0
    modality_dropout_warmup: int = 0
    word_masking: DataCollatorForLanguageModeling | None = None
    pad_to_multiple_of: int = 1
    return_loss: bool = False
    seed: int = 0

    def __call__(self, rows: list[dict[str, torch.Tensor]]) -> dict:
        rows = [self.augment(row) for row in rows]
        batch = {}
        for name, (mask_name, _) in INPUTS.items():
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                batch[name], batch[mask_name] = self.pad(name, values)
        for name in (*TIMES.values(), "text_labels"):
            values = [row.get(name) for row in rows]
            if any(value is not None for value in values):
                batch[name], _ = self.pad(name, values)
        labels = [row["labels"] for row in rows if "labels" in row]
        if labels:
            missing = torch.full_like(labels[0], torch.nan if labels[0].is_floating_point() else IGNORED_LABEL)
            batch["labels"] = torch.stack([row.get("labels", missing) for row in rows])
        if self.return_loss:
            batch["return_loss"] = True
        return batch

    def augment(self, row: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        random = self.row_generator(row)
        row = self.drop_modalities(row, random)
        if self.audio_augmentation and "input_features" in row:
            row = self.augment_audio(row, random)
        if self.image_augmentation and "pixel_values" in row:
            row = row | {"pixel_values": self.image_augmentation(row["pixel_values"], random)}
        if self.word_masking and "input_ids" in row:
            self.word_masking.generator = random
            ids, labels = self.word_masking.torch_mask_tokens(row["input_ids"][None].clone())
            row = row | {"input_ids": ids[0], "text_labels": labels[0]}
        return row

    def row_generator(self, row: dict[str, torch.Tensor]) -> torch.Generator:
        """Its state is a hash of the seed and the row, of which the epoch is a part."""
        content = zlib.crc32(str(self.seed).encode())
        for name in sorted(row):
            content = zlib.crc32(row[name].contiguous().reshape(-1).view(torch.uint8).numpy(), content)
        return torch.Generator().manual_seed(content)  # of which torch takes 32 bits

    def drop_modalities(self, row: dict[str, torch.Tensor], random: torch.Generator) -> dict[str, torch.Tensor]:
        rate = self.modality_dropout
        if "epoch" in row and self.modality_dropout_warmup:
            rate *= min(1.0, row["epoch"].item() / self.modality_dropout_warmup)
        if not rate:
            return row
        names = [name for name in INPUTS if name in row]
        dropped = [name for name in names if torch.rand((), generator=random) < rate]
        if len(dropped) == len(names):
            dropped.pop(int(torch.randint(len(names), (), generator=random)))
        dropped += [TIMES[name] for name in dropped if name in TIMES]
        return {name: value for name, value in row.items() if name not in dropped}

    def augment_audio(self, row: dict[str, torch.Tensor], random: torch.Generator) -> dict[str, torch.Tensor]:
        """Another tempo gives other frames over the same seconds, so that what happened together stays together."""
        row = row | {"input_features": self.audio_augmentation(row["input_features"], random)}
        if "input_features_times" in row:
            times, length = row["input_features_times"], len(row["input_features"])
            row["input_features_times"] = F.interpolate(times[None, None], size=length, mode="linear")[0, 0]
        return row

    def pad(self, name: str, values: list[torch.Tensor | None]) -> tuple[torch.Tensor, torch.Tensor]:
        """Values (L_i, ...) with their own lengths, or single images (C, H, W), to one tensor and its mask."""
        example = next(value for value in values if value is not None)
        if is_picture(name, example):
            mask = torch.tensor([value is not None for value in values]).long()
            return torch.stack([torch.zeros_like(example) if value is None else value for value in values]), mask
        lengths = [0 if value is None else len(value) for value in values]
        fill = {"input_ids": self.pad_token_id, "text_labels": IGNORED_LABEL}.get(name, 0)
        longest = -(-max(lengths) // self.pad_to_multiple_of) * self.pad_to_multiple_of
        padded = example.new_full((len(values), longest, *example.shape[1:]), fill)
        for row, value, length in zip(padded, values, lengths):
            if value is not None:
                row[:length] = value
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        return padded, mask.long()


# ---------------------------------------------------------------------------------------------------------------------
# Trainer
# ---------------------------------------------------------------------------------------------------------------------


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
            "help": "Peak learning rates of modalities, parts, or parts of modalities, as JSON, where they differ from "
            '`learning_rate`: \'{"encoders": 1e-4, "text.encoders": 2e-5}\' for towers that start warm.'
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
    early_stopping_patience: int | None = field(
        default=None,
        metadata={
            "help": "Stop after so many evaluations without a better `metric_for_best_model` (the loss if not given), "
            "and keep the best checkpoint. Needs an `eval_strategy` and the same `save_strategy`."
        },
    )
    dataloader_pin_memory: bool = field(
        default_factory=torch.cuda.is_available, metadata={"help": "Where there is an accelerator to copy to."}
    )
    remove_unused_columns: bool = field(default=False, metadata={"help": "Rows go to the collator whole."})

    def __post_init__(self):
        if self.early_stopping_patience is not None:
            self.load_best_model_at_end = True
        super().__post_init__()
        check_processes(self.world_size)
        if self.early_stopping_patience is not None and self.eval_strategy == "no":
            raise ValueError(
                "--early_stopping_patience counts evaluations, of which there are none: set --eval_strategy."
            )


class EpochCallback(TrainerCallback):
    """Tells the training rows their epoch, which accelerate does not where several processes share the batches."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if isinstance(train_dataloader.dataset, EpochDataset):
            train_dataloader.dataset.set_epoch(int(round(state.epoch or 0, 6)))


class MoTTrainer(Trainer):
    """
    `Trainer` for all MoT models. Each loss term is logged beside the loss.

    Heads that classify or regress train with `objective="subsets"`: a step's loss is the mean over every single
    modality and one random larger subset, the encoders run once. That teaches each modality to answer alone, slow ones
    too, better than modality dropout (see `docs/training.md`). Heads that retrieve or pretrain have losses over
    several modalities of their own. `evaluate` of a model that retrieves also ranks the whole evaluation set:
    `eval_recall_at_1` and its like are means over all pairs of `evaluate_retrieval`, fit for `metric_for_best_model`.

    Args:
        train_collator: makes the batches of training, where `data_collator` makes those of evaluation.
    """

    def __init__(self, *args, train_collator: MoTCollator | None = None, **kwargs):
        super().__init__(*args, **kwargs)
        if not isinstance(self.args, MoTTrainingArguments):
            raise TypeError(f"`args` are {type(self.args).__name__}; MoTTrainer takes MoTTrainingArguments.")
        check_engine(self.accelerator)
        self.train_collator = train_collator or self.data_collator
        self.add_callback(EpochCallback)
        self.stop = StopOnSignal(self.accelerator)
        self.add_callback(self.stop)
        if self.args.freeze:
            freeze(self.model, self.args.freeze)
        if self.args.early_stopping_patience is not None:
            self.add_callback(EarlyStoppingCallback(self.args.early_stopping_patience))
        accepted = inspect.signature(self.head.forward).parameters
        self.takes_subsets, self.retrieves = "modality_subsets" in accepted, isinstance(self.head, MoTForRetrieval)
        if self.args.contrastive_chunk_size is not None:
            self.check_chunks()
        if "return_loss" in accepted:  # a loss that needs no labels, also in evaluation
            self.can_return_loss, self.label_names = True, []
        self.loss_terms: dict[str, list[torch.Tensor]] = defaultdict(list)

    def get_train_dataloader(self):
        evaluation_collator, self.data_collator = self.data_collator, self.train_collator
        try:
            dataloader = super().get_train_dataloader()
        finally:
            self.data_collator = evaluation_collator
        # Every pass over the data draws a seed for its workers: not from the numbers that dropout draws from, so that
        # a stream, which is one pass, trains as rows that are read again in each epoch.
        dataloader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return dataloader

    @property
    def head(self) -> torch.nn.Module:
        """The model itself, also where adapters wrap it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _get_train_sampler(self, train_dataset=None):
        dataset = self.train_dataset if train_dataset is None else train_dataset
        if self.args.train_sampling_strategy != "group_by_length" or not hasattr(dataset, "__len__"):
            return super()._get_train_sampler(train_dataset)
        # The library's own lengths are those of one input, which a row may lack.
        rows_of_a_step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthGroupedSampler(rows_of_a_step, lengths=[length_of(row) for row in dataset])

    def get_decay_parameter_names(self, model) -> list[str]:
        """Weight decay is for matrices; not for norms, biases and scales, nor for embeddings and learned tokens."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(part in name for part in WITHOUT_DECAY)]

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and (self.args.learning_rates or self.args.layer_decay != 1):
            rates = self.args.learning_rates or {}
            split_by_learning_rate(optimizer, model or self.model, rates, self.args.layer_decay)
        return optimizer

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch=None):
        if self.can_return_loss:
            inputs = {**inputs, "return_loss": True}
        if model.training and self.takes_subsets and self.args.objective == "subsets":
            inputs = self.with_subsets(inputs)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            for name, term in (outputs.get("losses") or {}).items():
                self.loss_terms[name].append(term.detach())
        return (loss, outputs) if return_outputs else loss

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        As `Trainer.train`, and `resume_from_checkpoint` may be "auto": the newest checkpoint that is whole, if there is
        any. Ctrl-C and SIGTERM end it with a checkpoint; `stop.received` then has the signal's number.

        Raises:
            OSError: the checkpoints cannot be written to `output_dir`, or would not fit.
        """
        folder = Path(self.args.output_dir)
        if self.args.should_save:
            check_folder(folder)
            steps = 0 if self.args.save_strategy == "no" else self.number_of_steps()
            check_room(folder, self.model, checkpoints_at_once(self.args, steps))
        return super().train(checkpoint_to_resume(resume_from_checkpoint, folder), **kwargs)

    def number_of_steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        batches = len(self.get_train_dataloader())
        return int(self.args.num_train_epochs * max(batches // self.args.gradient_accumulation_steps, 1))

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        if self.args.contrastive_chunk_size is None:
            return super().training_step(model, inputs, num_items_in_batch)
        model.train()
        inputs = self._prepare_inputs(inputs)

        def backward(loss: torch.Tensor) -> None:
            self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

        with self.compute_loss_context_manager():
            loss, terms = cached_step(
                model,
                self.head.contrastive,
                inputs,
                self.args.contrastive_chunk_size,
                backward,
                no_sync=lambda: self.accelerator.no_sync(model),
            )
        for name, term in terms.items():
            self.loss_terms[name].append(term.detach())
        return loss / self.current_gradient_accumulation_steps

    def _prepare_inputs(self, inputs: dict) -> dict:
        prepared = super()._prepare_inputs(inputs)
        for name in inputs.keys() & set(
            TIMES.values()
        ):  # DeepSpeed has floats cast, and half precision spoils seconds
            prepared[name] = inputs[name].to(prepared[name].device)
        return prepared

    def check_chunks(self) -> None:
        if not self.retrieves:
            raise ValueError(
                f"contrastive_chunk_size is for models that retrieve, not for {type(self.head).__name__}: leave it out, "
                "and use gradient_accumulation_steps."
            )
        if self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                f"contrastive_chunk_size works on one process and under DDP, not {self.accelerator.distributed_type}."
            )

    def with_subsets(self, inputs: dict[str, torch.Tensor]) -> dict:
        subsets = draw_subsets(self.model.config.modalities)
        inputs = {**inputs, "modality_subsets": subsets}
        if self.label_smoother is not None or self.compute_loss_func is not None:
            # These see logits (B, S, num_labels): each subset gets the labels, but for rows that have nothing of it.
            labels = inputs["labels"][:, None].expand(-1, len(subsets), *inputs["labels"].shape[1:])
            nothing = ~torch.stack([row_has(inputs, subset, any) for subset in subsets], dim=1)
            missing = float("nan") if labels.is_floating_point() else IGNORED_LABEL
            inputs["labels"] = labels.masked_fill(nothing.reshape(nothing.shape + (1,) * (labels.ndim - 2)), missing)
        return inputs

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:
            logs |= {f"loss/{name}": torch.stack(terms).mean().item() for name, terms in self.loss_terms.items()}
            self.loss_terms.clear()
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        if self.retrieves:
            means = mean_over_pairs(self.evaluate_retrieval(dataloader.dataset))
            output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in means.items()})
        return output

    def batches(self, dataset):
        """The model ready to evaluate, with each batch of a dataset on its device."""
        model = self._wrap_model(self.model, training=False).eval()
        for inputs in self.get_eval_dataloader(dataset):
            yield model, self._prepare_inputs(inputs)

    @torch.no_grad()
    def evaluate_subsets(self, dataset) -> dict[str, dict[str, float]]:
        """
        Metrics of one model on every non-empty subset of its modalities, each over the rows that have all of it and a
        label (their number is `rows`): `{"text": {"accuracy": …, "rows": …}, …, "text+image+audio": {…}}`. They are
        those of the trainer's own `compute_metrics`, if it has one. Encoders run once.
        """
        subsets = all_subsets(self.model.config.modalities)
        logits, labels, complete = [], [], []
        for model, inputs in self.batches(dataset):
            batch_labels = inputs.pop("labels")
            batch_logits = model(**inputs, modality_subsets=subsets).logits  # (B, S, num_labels)
            batch_complete = torch.stack([row_has(inputs, subset, all) for subset in subsets], dim=1)  # (B, S)
            gathered = self.accelerator.gather_for_metrics((batch_logits, batch_labels, batch_complete))
            for tensors, tensor in zip((logits, labels, complete), gathered):
                tensors.append(tensor.float().cpu().numpy())
        logits, labels, complete = (np.concatenate(arrays) for arrays in (logits, labels, complete))
        return {
            subset_name(subset): self.subset_metrics(logits[:, i], labels, complete[:, i] > 0)
            for i, subset in enumerate(subsets)
        }

    def subset_metrics(self, logits: np.ndarray, labels: np.ndarray, rows: np.ndarray) -> dict[str, float]:
        has_label = np.isfinite(labels) & (labels != IGNORED_LABEL)
        rows = rows & has_label.reshape(len(rows), -1).any(axis=1)
        if not rows.any():
            return {"rows": 0}
        if self.compute_metrics is None:
            numbers = compute_metrics(logits[rows], labels[rows], self.model.config.problem_type)
        else:
            numbers = self.compute_metrics(EvalPrediction(predictions=logits[rows], label_ids=labels[rows]))
        return numbers | {"rows": int(rows.sum())}

    @torch.no_grad()
    def evaluate_retrieval(self, dataset) -> dict[str, dict[str, float]]:
        """
        Search metrics over a whole dataset, both directions of every two modalities, and each modality against all
        others together: `{"text->image": {"recall_at_1": …, …}, …, "text+audio->image": {…}, …}`, each over the rows
        that have all of them. With labels, `precision_at_1` says how often the first item shows the query's label.
        """
        embeddings, labels = self.embed(dataset)
        present = {name: (vectors**2).sum(axis=1) > 0 for name, vectors in embeddings.items()}
        modalities = self.model.config.modalities
        pairs = [(a, b) for a, b in itertools.combinations(modalities, 2)]
        if len(modalities) > 2:
            pairs += [(subset_name(other for other in modalities if other != m), m) for m in modalities]
            present |= {subset_name(s): np.all([present[m] for m in s], axis=0) for s in all_subsets(modalities)}
        return pairwise_retrieval_metrics(embeddings, present, labels, pairs)

    def embed(self, dataset) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """
        Embeddings (N, projection_dim) of every modality, and of all but one where that is several, zero for rows that
        have none of it; and the labels (N,), if there are any.
        """
        modalities = self.model.config.modalities
        subsets = [subset for subset in all_subsets(modalities) if len(subset) in (1, len(modalities) - 1)]
        vectors, labels = defaultdict(list), []
        for model, inputs in self.batches(dataset):
            found = {"labels": inputs.pop("labels")} if "labels" in inputs else {}
            encoded = model.mot.encode(**inputs)
            found |= {subset_name(subset): model.embed(encoded, subset).vectors for subset in subsets}
            gathered = self.accelerator.gather_for_metrics(found)
            labels.append(gathered.pop("labels", None))
            for name, tensor in gathered.items():
                vectors[name].append(tensor.float().cpu().numpy())
        has_labels = labels[0] is not None
        return (
            {name: np.concatenate(arrays) for name, arrays in vectors.items()},
            torch.cat(labels).cpu().numpy() if has_labels else None,
        )

    @torch.no_grad()
    def evaluate_terms(self, dataset) -> dict[str, dict[str, float]]:
        """The mean of each loss term over a dataset's batches, always with the same hidden tokens."""
        terms = defaultdict(list)
        with torch.random.fork_rng():
            torch.manual_seed(self.args.seed)
            for model, inputs in self.batches(dataset):
                losses = model(**inputs, return_loss=True).losses
                # As objects: processes whose batches lack a modality have no such term.
                for found in gather_object([{name: loss.item() for name, loss in losses.items()}]):
                    for name, loss in found.items():
                        terms[name].append(loss)
        return {name: {"loss": float(np.mean(losses)), "batches": len(losses)} for name, losses in terms.items()}


def mean_over_pairs(pairs: dict[str, dict[str, float]]) -> dict[str, float]:
    """The mean of each metric over the pairs of `evaluate_retrieval` that any row has both sides of."""
    values = defaultdict(list)
    for numbers in pairs.values():
        for name, value in numbers.items():
            values[name].append(value)
    return {name: float(np.mean(found)) for name, found in values.items() if name != "rows"}


def length_of(row: dict[str, torch.Tensor]) -> int:
    """How much of an encoded row is padded in a batch: its tokens, frames and ready features."""
    return sum(len(value) for name, value in row.items() if name in INPUTS and not is_picture(name, value))


def is_picture(name: str, value: torch.Tensor) -> bool:
    """Whether an encoded input is one image, of the same size in every row."""
    return name == "pixel_values" and value.ndim == 3


def row_has(inputs: dict[str, torch.Tensor], subset: tuple[str, ...], how) -> torch.Tensor:
    """(B,) bool: which rows of a batch have all (`how=all`) or any (`how=any`) of a subset's modalities."""
    batch_size = len(next(value for name, value in inputs.items() if name in INPUTS))
    has = dict.fromkeys(MODALITIES, torch.zeros(batch_size, dtype=torch.bool))
    for name, (mask_name, modality) in INPUTS.items():
        if inputs.get(name) is not None:
            has[modality] = inputs[mask_name].reshape(batch_size, -1).any(dim=1)
    device = next(value.device for name, value in inputs.items() if name in INPUTS)
    stacked = torch.stack([has[modality].to(device) for modality in subset])
    return stacked.all(dim=0) if how is all else stacked.any(dim=0)
