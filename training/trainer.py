# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Training on any subset of the modalities: `MoTTrainer` with its arguments and data collator.

Rows pass through the processor once (`EncodedDataset`; `cache_features` keeps them on disk) or whenever they are read
(`StreamedDataset`), are augmented and padded to a batch (`MoTCollator`), and train one model for every subset of its
modalities at once (the objective of `MoTTrainer`).
"""

import contextlib
import errno
import inspect
import itertools
import json
import math
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
import pyarrow
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
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_pt_utils import BatchRebalanceSampler, LengthGroupedSampler
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from mixture_of_transformers.configuration_mot import MODALITIES
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.column_types import is_ready_features
from mixture_of_transformers.data.secrets import hide
from mixture_of_transformers.data.sources import fingerprint_of_files
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.loss_mot import IGNORED_LABEL, problem_type_of
from mixture_of_transformers.processing_mot import frames_per_second
from mixture_of_transformers.training.augmentation import AudioAugmentation, ImageAugmentation
from mixture_of_transformers.training.gradient_cache import cached_step
from mixture_of_transformers.training.interruption import (
    StopOnSignal,
    check_can_go_on,
    check_folder,
    check_room,
    checkpoint_to_resume,
    checkpoints_at_once,
    finished_state,
    newest_whole_checkpoint,
    saving_into,
    weights_file,
)
from mixture_of_transformers.training.launch import check_engine, check_one_device, check_processes
from mixture_of_transformers.training.metrics import (
    NOT_ALWAYS_DEFINED,
    compute_metrics,
    greater_is_better,
    pairwise_retrieval_metrics,
)
from mixture_of_transformers.training.optimization import WITHOUT_DECAY, freeze, split_by_learning_rate
from mixture_of_transformers.training.pushing import being_pushed, push_checkpoint, push_folder
from mixture_of_transformers.training.run_folder import (
    RUN,
    SAVING,
    STATE,
    begin_run,
    clear_unfinished,
    delete_old_checkpoints,
    keep_best_checkpoint,
    owned,
    put_in_place,
    put_model_in_place,
    run_of_state,
)

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
# The disk is full, a quota or a limit of size is reached, the place is read-only or somebody else's.
CANNOT_BE_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


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
        allow_urls: as of the processor; `Places.follow_urls` says it of a dataset.
    """

    def __init__(
        self,
        split,
        processor,
        cache_bytes: int = 4 * 2**30,
        max_audio_seconds: float | None = None,
        max_text_tokens: int | None = None,
        allow_urls: bool | str = True,
    ):
        super().__init__()
        features = getattr(split, "features", None) or {}
        for column, kind in features.items():
            if isinstance(kind, (datasets.Image, datasets.Audio, datasets.Video)) and kind.decode:
                split = split.cast_column(column, type(kind)(decode=False))  # decoding is the processor's work
        self.split, self.processor = split, processor
        self.free_bytes = cache_bytes
        rate = frames_per_second(processor.feature_extractor)
        self.reading = Reading(processor.limits, allow_urls, max_audio_seconds)
        self.max_frames = None if max_audio_seconds is None else round(max_audio_seconds * rate)
        self.text_options = {"truncation": True, "max_length": max_text_tokens} if max_text_tokens else {}
        self.cache: dict[int, dict] = {}
        self.missing_label = missing_label(features.get("label"))
        # Columns of vectors are ready features, which the processor takes under another name than raw input.
        self.argument_names = {
            "text": "text_features" if is_ready_features(features.get("text")) else "text",
            "image": "image_features" if is_ready_features(features.get("image")) else "images",
            "audio": "audio_features" if is_ready_features(features.get("audio")) else "audio",
            "video": "image_features" if is_ready_features(features.get("video")) else "videos",
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
        reading = {"allow_urls": self.reading.allow_urls, "max_audio_seconds": self.reading.max_audio_seconds}
        encoded = self.processor(**arguments, **reading, return_tensors="pt")
        example = {name: value[0] for name, value in encoded.items() if name in (*INPUTS, *TIMES.values())}
        for name in ("input_features", "input_features_times"):
            if name in example and self.max_frames is not None:
                example[name] = example[name][: self.max_frames]
        if row.get("label") is not None:
            example["labels"] = torch.as_tensor(row["label"])
        elif self.missing_label is not None:  # a batch of such rows alone has labels too, none of which counts
            example["labels"] = self.missing_label
        return example


class EvaluatedRows(torch.utils.data.Dataset):
    """
    The rows of an `EpochDataset` as evaluation reads them: always those of epoch 0, so that every evaluation sees the
    same, and the epoch that they train in stays as it is.
    """

    def __init__(self, rows: EpochDataset):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.rows[index] | {"epoch": torch.tensor(0)}

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """A batch at once, where the rows can be read so."""
        read = getattr(self.rows, "__getitems__", lambda indices: [self.rows[index] for index in indices])
        return [row | {"epoch": torch.tensor(0)} for row in read(indices)]


class StreamedDataset(torch.utils.data.IterableDataset):
    """
    Rows of a stream, encoded as they come, one epoch after another without end: how many steps to train is
    `max_steps`, and to skip the rows of so many steps is to resume.

    Args:
        stream: a `RowStream`.
        processor, max_audio_seconds, max_text_tokens, allow_urls: as for `EncodedDataset`.
    """

    def __init__(self, stream: RowStream, processor, **limits):
        self.encoder = EncodedDataset(stream, processor, **limits)
        self.stream = stream.read_by(self.encoder.reading)

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        for epoch in itertools.count():
            is_empty = True
            for row in self.stream.rows(epoch, self.encoder.encode):
                is_empty = False
                yield row | {"epoch": torch.tensor(epoch)}
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

    Raises:
        OSError: the file cannot be written there.
    """
    folder = Path(folder or Path(datasets.config.HF_DATASETS_CACHE) / "features")
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = features_fingerprint(dataset)
    found = list(folder.glob(f"{fingerprint}*.arrow"))
    try:
        rows = encode_into(dataset, folder / f"{fingerprint}.arrow", num_proc)
        if len(rows) == len(dataset):
            return CachedDataset(rows)
    except (pyarrow.ArrowException, OSError) as error:
        if not found or getattr(error, "errno", None) in CANNOT_BE_WRITTEN:
            raise
    logger.warning(f"{found[0]} is cut short or damaged: its rows are encoded again.")
    for path in found:
        path.unlink()
    return CachedDataset(encode_into(dataset, folder / f"{fingerprint}.arrow", num_proc))


def encode_into(dataset: EncodedDataset, file: Path, num_proc: int | None) -> datasets.Dataset:
    """The encoded rows in an Arrow file, as they are there if it is."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process would wait for ever for the threads that it lacks
    try:
        return dataset.split.with_format(None).map(
            lambda row: {"tensors": safetensors.torch.save(dataset.encode(row))},
            remove_columns=dataset.split.column_names,
            features=datasets.Features(tensors=datasets.Value("large_binary")),
            writer_batch_size=100,
            num_proc=num_proc,
            new_fingerprint=file.stem,
            cache_file_name=str(file),
            desc="Encoding",
        )
    finally:
        torch.set_num_threads(threads)


def features_fingerprint(dataset: EncodedDataset) -> str:
    """
    A hash of all that decides what a row is encoded to: the data, the state of the files that they name, the options,
    and what the processor would save.
    """
    hasher = Hasher()
    data = fingerprint_of_files(dataset.split)
    for part in (data, dataset.max_frames, dataset.text_options, dataset.argument_names):
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
    push_training_state: bool = field(
        default=False,
        metadata={
            "help": "With `hub_strategy` checkpoint or all_checkpoints: push the state of optimizer, schedule and random "
            "numbers, too, from which training can go on; they are pickles."
        },
    )

    def __post_init__(self):
        hide(self.hub_token)
        if self.early_stopping_patience is not None:
            self.load_best_model_at_end = True
        if self.greater_is_better is None and self.metric_for_best_model is not None:
            self.greater_is_better = greater_is_better(self.metric_for_best_model)
        super().__post_init__()
        if self.lr_scheduler_type in ("reduce_lr_on_plateau", "greedy"):  # which go by the same metric
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


class EpochCallback(TrainerCallback):
    """Tells the training rows their epoch, which accelerate does not where several processes share the batches."""

    def on_epoch_begin(self, args, state, control, train_dataloader=None, **kwargs):
        if isinstance(train_dataloader.dataset, EpochDataset):
            train_dataloader.dataset.set_epoch(epoch_of(state))


class ResumeCallback(TrainerCallback):
    """Gives a trainer back what a checkpoint holds of it beyond the library's own state, and takes away an older run's end."""

    def __init__(self, trainer: "MoTTrainer"):
        self.trainer = trainer

    def on_train_begin(self, args, state, control, **kwargs):
        if args.should_save:  # the checkpoint is loaded, and what an earlier run left is finished no longer
            folder = Path(args.output_dir)
            state.stateful_callbacks[RUN] = begin_run(folder, run_of_state(vars(state)) if state.global_step else None)
            (folder / STATE).unlink(missing_ok=True)
            clear_unfinished(folder)
        if state.global_step:
            self.trainer.keep_rates(kwargs["optimizer"])
        self.trainer.restore_losses(state)
        self.trainer.restore_patience(state)


def epoch_of(state: TrainerState) -> int:
    """The number of the epoch that a run is in, from 0."""
    return int(round(state.epoch or 0, 6))


class LengthSampler(LengthGroupedSampler):
    """
    Rows of like length together, in an order that seed and epoch decide, so that a resumed run has the same.

    Args:
        rows_of_a_step: among how many of these batches' rows the order is drawn.
        lengths: of each row.
        seed: of the order.
        epoch: gives the number of the epoch when it begins.
    """

    def __init__(self, rows_of_a_step: int, lengths: list[int], seed: int, epoch: Callable[[], int]):
        super().__init__(rows_of_a_step, lengths=lengths)
        self.seed, self.epoch = seed, epoch

    def __iter__(self) -> Iterator[int]:
        self.generator = torch.Generator().manual_seed(self.seed + self.epoch())
        return super().__iter__()


class RebalanceSampler(BatchRebalanceSampler):
    """
    As the library's, in another order in each epoch, also on one process, where nothing tells the library's its epoch
    unless the run was resumed.

    Args:
        epoch: gives the number of the epoch when it begins.
    """

    def __init__(self, *args, epoch: Callable[[], int], **kwargs):
        super().__init__(*args, **kwargs)
        self.epoch_now = epoch

    def __iter__(self) -> Iterator[list[int]]:
        self.epoch = self.epoch_now()
        return super().__iter__()


@contextlib.contextmanager
def random_numbers_of_its_own(seed: int):
    """Random numbers that begin at `seed` and leave those outside as they are."""
    devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices):
        torch.random.default_generator.manual_seed(seed)
        torch.cuda.manual_seed(seed)
        yield


SINCE_LOG = "losses_since_log"  # where a checkpoint's state keeps them


class MoTTrainer(Trainer):
    """
    `Trainer` for all MoT models. Each loss term is logged beside the loss.

    Heads that classify or regress train with `objective="subsets"`: a step's loss is the mean over every single
    modality and one random larger subset, the encoders run once. That teaches each modality to answer alone, slow ones
    too, better than modality dropout (see `docs/training.md`). Heads that retrieve or pretrain have losses over
    several modalities of their own. `evaluate` of a model that retrieves also ranks the whole evaluation set:
    `eval_recall_at_1` and its like are means over all pairs of `evaluate_retrieval`, fit for `metric_for_best_model`;
    that of a model with several losses reports each as `eval_loss/text` and its like.

    An evaluation leaves the training that it interrupts as it is: neither the epoch of the rows nor a random number
    changes.

    Args:
        train_collator: makes the batches of training, where `data_collator` makes those of evaluation.

    Raises:
        TypeError: `args` are not `MoTTrainingArguments`.
        ValueError: label smoothing is asked for without classes, or chunks without retrieval, or freezing leaves
            nothing to train.
        RuntimeError: one process would train on several devices, or the engine asked for is not there.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        args: MoTTrainingArguments | None = None,
        *others,
        train_collator: MoTCollator | None = None,
        **kwargs,
    ):
        if not isinstance(args, MoTTrainingArguments):
            raise TypeError(f"`args` are {type(args).__name__}; MoTTrainer takes MoTTrainingArguments.")
        super().__init__(model, args, *others, **kwargs)
        check_engine(self.accelerator)
        check_one_device(self.args.n_gpu)
        self.train_collator = train_collator or self.data_collator
        self.add_callback(EpochCallback)
        self.add_callback(ResumeCallback(self))
        self.stop = StopOnSignal(self.accelerator)
        self.add_callback(self.stop)
        if self.args.freeze:
            freeze(self.model, self.args.freeze)
        self.early_stopping = None
        if self.args.early_stopping_patience is not None:
            self.early_stopping = EarlyStoppingCallback(self.args.early_stopping_patience)
            self.add_callback(self.early_stopping)
        accepted = inspect.signature(self.head.forward).parameters
        kind = getattr(self.head, "answers_with", None)
        self.takes_subsets, self.retrieves = kind in ("classes", "numbers"), kind == "embeddings"
        if self.args.contrastive_chunk_size is not None:
            self.check_chunks()
        if "return_loss" in accepted:  # a loss that needs no labels, also in evaluation
            self.can_return_loss, self.label_names = True, []
        if self.args.label_smoothing_factor:
            self.check_label_smoothing()
        self.is_finished = False  # whether `train` found its run finished, and left the folder as it is
        self.saving = False  # whether a checkpoint is being written
        self.checkpoints_pushed: set[Path] = set()  # on their way to the Hub
        # Writes what else belongs into a checkpoint's folder, before it has its name.
        self.add_to_checkpoint: Callable[[Path], None] = lambda folder: None
        # The sum of each loss term since the last log, or over an evaluation, and of how many batches.
        self.loss_terms: dict[str, tuple[torch.Tensor | float, int]] = {}
        self.evaluated_terms: dict[str, tuple[torch.Tensor | float, int]] = {}
        self.asked: dict[str, float] = {}  # `settings_of` the optimizer as it was made
        self.measured: tuple = (None, [])  # a dataset and the lengths of its rows

    def get_train_dataloader(self):
        evaluation_collator, self.data_collator = self.data_collator, self.train_collator
        try:
            dataloader = super().get_train_dataloader()
        finally:
            self.data_collator = evaluation_collator
        return dataloader

    def _get_dataloader(self, dataset, *args, is_training: bool = False, **kwargs):
        if isinstance(dataset, EpochDataset) and not is_training:
            dataset = EvaluatedRows(dataset)
        dataloader = super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        # Every pass over the data draws a seed for its workers: not from the numbers that dropout draws from, so that
        # a stream, which is one pass, trains as rows that are read again in each epoch, and evaluations in between
        # change nothing.
        dataloader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return dataloader

    @property
    def head(self) -> torch.nn.Module:
        """The model itself, also where adapters wrap it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def _get_train_sampler(self, train_dataset=None):
        dataset, args = self.train_dataset if train_dataset is None else train_dataset, self.args
        if args.train_sampling_strategy not in ("group_by_length", "batch_rebalance") or not hasattr(
            dataset, "__len__"
        ):
            return super()._get_train_sampler(train_dataset)
        # The library's own lengths are those of one input, which a row may lack.
        lengths, rows_of_a_step = self.lengths_of(dataset), args.train_batch_size * args.gradient_accumulation_steps
        if args.train_sampling_strategy == "group_by_length":
            return LengthSampler(rows_of_a_step, lengths, args.seed, epoch=lambda: epoch_of(self.state))
        return RebalanceSampler(
            lengths,
            effective_batch_size=rows_of_a_step * args.world_size,
            dp_size=args.world_size,
            grad_accum=args.gradient_accumulation_steps,
            seed=args.seed,
            rank=args.process_index,
            drop_last=args.dataloader_drop_last,
            epoch=lambda: epoch_of(self.state),
        )

    def _get_eval_sampler(self, eval_dataset):
        """Rows in their own order, whatever that of training: the predictions stand as the rows do."""
        if not hasattr(eval_dataset, "__len__") or self.args.world_size > 1:  # accelerate shares them out in order
            return None
        return torch.utils.data.SequentialSampler(eval_dataset)

    def lengths_of(self, dataset) -> list[int]:
        """The length of each row, which takes reading them all, once."""
        if self.measured[0] is not dataset:
            self.measured = (dataset, [length_of(dataset[i]) for i in range(len(dataset))])
        return self.measured[1]

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
        if is_new and optimizer is not None:
            self.asked = settings_of(optimizer)
        return optimizer

    def keep_rates(self, optimizer) -> None:
        """Where the state of a checkpoint's optimizer, which goes on, is not what the arguments ask for, say so and let
        the arguments be those that hold."""
        kept, args = settings_of(optimizer), self.args
        for name, old in kept.items():
            new = self.asked.get(name, old)
            if math.isclose(old, new, rel_tol=1e-9):
                continue
            asked = getattr(args, name)
            # The highest rate is a multiple of the argument where --learning_rates has one.
            setattr(args, name, asked * old / new if name == "learning_rate" and new else old)
            logger.warning(
                f"--{name} stays {getattr(args, name):g}, that of the checkpoint, whose schedule goes on; {asked:g} is not "
                "taken. To train with it, begin a run with the checkpoint's weights (--model_name_or_path)."
            )

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch=None):
        if self.can_return_loss:
            inputs = {**inputs, "return_loss": True}
        if model.training and self.takes_subsets and self.args.objective == "subsets":
            inputs = self.with_subsets(inputs)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.add_terms(self.loss_terms if model.training else self.evaluated_terms, outputs.get("losses") or {})
        return (loss, outputs) if return_outputs else loss

    @staticmethod
    def add_terms(sums: dict, terms: dict[str, torch.Tensor]) -> None:
        for name, term in terms.items():
            total, number = sums.get(name, (0.0, 0))
            sums[name] = (total + term.detach(), number + 1)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        As `Trainer.train`, and `resume_from_checkpoint` may be "auto": the newest checkpoint that is whole, if there is
        any; a checkpoint that is named must be whole. Ctrl-C and SIGTERM end it with a checkpoint; `stop.received` then has the signal's number.

        A run that has done all steps that are asked for is not trained any further: its state and its weights (the
        best, if those were to be kept) are loaded. Where the output folder holds the finished model itself,
        `is_finished` says so.

        Raises:
            OSError: the checkpoints cannot be written to `output_dir`, or would not fit.
            ValueError: the checkpoint that is asked for is not there or damaged, or "auto" finds a finished run that is
                to go on, and no checkpoint to go on from. Nothing in the folder has changed then.
            FloatingPointError: the training diverged: the loss, the gradients or the weights are not finite.
        """
        folder, steps = Path(self.args.output_dir), self.number_of_steps()
        self.is_finished = False
        ended = finished_state(folder)
        if resume_from_checkpoint == "auto" and ended:
            if self.is_done(ended, steps):
                self.is_finished = True
                return self.take_finished(folder, ended)
            check_can_go_on(folder, ended, steps)
        checkpoint = checkpoint_to_resume(resume_from_checkpoint, folder)
        if checkpoint is not None:
            place, state = Path(checkpoint), TrainerState.load_from_json(str(Path(checkpoint) / STATE))
            if self.is_done(state, steps):
                is_last = ended is not None and ended.global_step == state.global_step
                self.is_finished = is_last and place.resolve().parent == folder.resolve()
                return self.take_finished(folder if self.is_finished else place, state)
            logger.warning(f"Going on from {checkpoint}.")
        elif resume_from_checkpoint == "auto":
            logger.warning(f"{folder} has no whole checkpoint: training starts anew.")
        if self.args.should_save:
            check_folder(folder)
            number = 0 if self.args.save_strategy == "no" else steps
            check_room(folder, self.model, checkpoints_at_once(self.args, number))
        with owned(folder) if self.is_world_process_zero() else contextlib.nullcontext():
            return super().train(checkpoint, **kwargs)

    def number_of_steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        return self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]

    def is_done(self, state: TrainerState, steps: int) -> bool:
        """Whether a run in this state has done so many steps, or has stopped early."""
        if state.global_step >= steps:
            return True
        patience, saved = self.args.early_stopping_patience, state.stateful_callbacks.get("EarlyStoppingCallback")
        waited = saved["attributes"]["early_stopping_patience_counter"] if isinstance(saved, dict) else 0
        return patience is not None and waited >= patience and steps <= state.max_steps

    def take_finished(self, folder: Path, state: TrainerState) -> TrainOutput:
        """Make the state and the weights of a run that is done, in `folder`, those of this trainer."""
        logger.warning(
            f"Nothing to do: {folder} holds a run that ended after {state.global_step} steps, which are all that are "
            "asked for. Ask for more with --num_train_epochs or --max_steps, or train anew in another --output_dir."
        )
        self.state = state
        is_adapter, best = self.head is not self.model, Path(state.best_model_checkpoint or folder)
        places = [folder] if self.is_finished or not self.args.load_best_model_at_end else [best, folder]
        places += [newest] if (newest := newest_whole_checkpoint(Path(self.args.output_dir))) else []
        place = next((place for place in places if weights_file(place, is_adapter)), None)
        if place is None or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            logger.warning("Its weights, which are merged or sharded, are not loaded into this model.")
        else:
            self._load_from_checkpoint(str(place))
        losses = [entry["train_loss"] for entry in state.log_history if "train_loss" in entry]
        return TrainOutput(state.global_step, losses[-1] if losses else math.nan, {})

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        As `Trainer.save_model`. Beside an adapter stands the config of the model that it makes. What a finished run
        leaves in its folder has its state, by which "auto" knows it.

        Raises:
            FloatingPointError: the weights are not finite; what lies in the folder stays.
            OSError: they could not be written; what lies in the folder stays.
        """
        self.check_weights()
        if self.saving:  # a checkpoint, which is renamed when it is complete
            self.save_parts(output_dir)
            return
        folder, is_end = Path(output_dir or self.args.output_dir), output_dir is None
        with saving_into(folder, self.state.global_step):
            self.save_parts(str(folder / SAVING / "model"))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                put_model_in_place(folder)
                if is_end and self.state.global_step and not self.is_in_train and not self.stop.received:
                    self.state.save_to_json(str(folder / SAVING / STATE))
                    put_in_place(folder / SAVING / STATE, folder / STATE)
                clear_unfinished(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def save_parts(self, folder: str) -> None:
        """The weights with their config and processor; beside an adapter the config of the model that it makes."""
        super().save_model(folder, _internal_call=True)
        if self.args.should_save and self.head is not self.model:
            self.head.config.save_pretrained(folder)

    def _get_output_dir(self, trial) -> str:
        """Where the checkpoints are; while one is being written, a folder beside them."""
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / SAVING) if self.saving else folder

    def _save_checkpoint(self, model, trial) -> None:
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        self.state.stateful_callbacks[SINCE_LOG] = self.losses_since_log()
        with saving_into(folder, self.state.global_step):
            self.saving = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.saving = False
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if best.name == name or best.is_dir():
                self.state.best_model_checkpoint = str(best)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(folder / SAVING / name / STATE))
                self.add_to_checkpoint(folder / SAVING / name)
                put_in_place(folder / SAVING / name, folder / name)
                clear_unfinished(folder)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))
        if self.args.should_save:
            delete_old_checkpoints(folder, self.args.save_total_limit, best, being_pushed(self))

    def _finalize_training(self, trial, *args, **kwargs) -> TrainOutput:
        """As the library's, whose last cleaning with `save_total_limit=1` would take other runs' checkpoints, too."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super()._finalize_training(trial, *args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save and limit == 1 and self.state.best_model_checkpoint is not None:
            keep_best_checkpoint(Path(self._get_output_dir(trial)), Path(self.state.best_model_checkpoint))
        return output

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.saving:  # when the checkpoint has its name
            push_checkpoint(self, Path(checkpoint_folder))

    def push_to_hub(self, commit_message: str | None = "End of training", blocking: bool = True, **kwargs):
        """As `Trainer.push_to_hub`, of what is for others: no pickle, no report of bad rows, no place of this machine."""
        return push_folder(self, commit_message, blocking, **kwargs)

    def losses_since_log(self) -> dict:
        """What the next log will take its means of, as JSON."""
        return {
            "step": self._globalstep_last_logged,
            "loss": self.accelerator.reduce(self._tr_loss, reduction="mean").item(),
            "terms": {name: (float(total), number) for name, (total, number) in self.loss_terms.items()},
        }

    def restore_losses(self, state: TrainerState) -> None:
        """Go on with the means of the next log where the checkpoint's run was."""
        self.loss_terms = {}
        if state.global_step and (saved := state.stateful_callbacks.get(SINCE_LOG)):
            self._globalstep_last_logged = saved["step"]
            self._tr_loss += saved["loss"]
            self._total_loss_scalar -= saved["loss"]  # `train_loss` is of this process' own steps
            self.loss_terms = {
                name: (torch.tensor(total, device=self.args.device), number)
                for name, (total, number) in saved["terms"].items()
            }

    def restore_patience(self, state: TrainerState) -> None:
        """Early stopping goes on counting in a resumed run, and counts from 0 in another one of the same trainer."""
        if self.early_stopping is None:
            return
        self.early_stopping.early_stopping_patience = self.args.early_stopping_patience
        saved = state.stateful_callbacks.get("EarlyStoppingCallback") if state.global_step else None
        attributes = saved["attributes"] if isinstance(saved, dict) else {"early_stopping_patience_counter": 0}
        vars(self.early_stopping).update(attributes)
        state.stateful_callbacks["EarlyStoppingCallback"] = self.early_stopping.state()

    def _hp_search_setup(self, trial) -> None:
        """Every `train` comes by here, when `model_init` has made its model and a trial has set its arguments."""
        super()._hp_search_setup(trial)
        if self.args.freeze and self.model_init is not None:
            freeze(self.model, self.args.freeze)

    def _determine_best_metric(self, metrics: dict[str, float], trial) -> bool:
        """A metric that these answers leave undefined, such as a correlation with a constant, is no better."""
        name = (self.args.metric_for_best_model or "").removeprefix("eval_")
        if name in NOT_ALWAYS_DEFINED and "eval_mae" in metrics and f"eval_{name}" not in metrics:
            logger.warning(f"{name} is not defined for these answers, which do not count as the best.")
            return False
        return super()._determine_best_metric(metrics, trial)

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        if self.args.contrastive_chunk_size is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self.chunked_step(model, inputs)
        if not torch.isfinite(loss):
            raise self.divergence(f"the loss is {loss.item()}{not_finite(inputs)}")
        return loss

    def chunked_step(self, model, inputs) -> torch.Tensor:
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
        self.add_terms(self.loss_terms, terms)
        return loss / self.current_gradient_accumulation_steps

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        number = norm.item() if torch.is_tensor(norm) else norm
        # Float16 has a scaler, here or in DeepSpeed, which leaves such a step out and goes on with smaller gradients.
        has_scaler = self.accelerator.scaler is not None or self.is_deepspeed_enabled
        if number is not None and not math.isfinite(number) and not has_scaler:
            raise self.divergence(f"the norm of the gradients is {number}")
        return norm

    def check_weights(self) -> None:
        """Raises FloatingPointError if a weight that learns is not finite."""
        for name, parameter in self.model.named_parameters():
            if parameter.requires_grad and not torch.isfinite(parameter.detach()).all():
                raise self.divergence(f"{name} is not finite")

    def divergence(self, what: str) -> FloatingPointError:
        args, folder = self.args, Path(self.args.output_dir)
        good = newest_whole_checkpoint(folder) if folder.is_dir() else None
        precision = "".join(f", float32 in place of --{name}" for name in ("bf16", "fp16") if getattr(args, name))
        return FloatingPointError(
            f"The training diverged near step {self.state.global_step + 1}: {what}. "
            + (f"{good} is whole and stays as it is. " if good else "No checkpoint was saved before. ")
            + f"Try a lower --learning_rate (now {args.learning_rate:g}), a longer warm-up (--warmup_steps, now "
            f"{args.warmup_steps:g}), --max_grad_norm 1 or less (now {args.max_grad_norm:g}){precision}."
        )

    def check_label_smoothing(self) -> None:
        if self.can_return_loss:
            raise ValueError(
                f"label_smoothing_factor is for classes, and {type(self.head).__name__} learns without: leave it out."
            )
        problem = self.problem_type()
        if self.takes_subsets and problem != "single_label_classification":
            raise ValueError(
                "label_smoothing_factor spreads a label over the classes of single_label_classification; this model's "
                f"problem_type is {problem}: leave it out."
            )

    def problem_type(self) -> str:
        """That of the config, or what the labels say where it is silent; the first row must do."""
        config, rows = self.head.config, self.train_dataset
        if config.problem_type is not None:
            return config.problem_type
        row = rows[0] if hasattr(rows, "__getitem__") and len(rows) else {}
        return problem_type_of(torch.as_tensor(row.get("labels", 0)), config.num_labels)

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
            logs |= {f"loss/{name}": float(total / number) for name, (total, number) in self.loss_terms.items()}
            self.loss_terms = {}
        super().log(logs, *args, **kwargs)

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        if self.is_in_train:
            self.check_weights()  # before metrics complain of answers that are not numbers
        self.evaluated_terms = {}
        with random_numbers_of_its_own(self.args.seed):
            output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        numbers = {f"loss/{name}": loss for name, loss in self.means_of_terms().items()}
        if self.retrieves:
            numbers |= mean_over_pairs(self.evaluate_retrieval(dataloader.dataset))
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in numbers.items()})
        return output

    def means_of_terms(self) -> dict[str, float]:
        """Each loss term over an evaluation's batches, of all processes."""
        # As objects: processes whose batches lack a modality have no such term.
        sums = {name: (float(total), number) for name, (total, number) in self.evaluated_terms.items()}
        found = gather_object([sums])
        names = dict.fromkeys(name for sums in found for name in sums)
        pairs = {name: [sums[name] for sums in found if name in sums] for name in names}
        return {n: sum(total for total, _ in p) / sum(number for _, number in p) for n, p in pairs.items()}

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
        if not len(dataset):
            return {subset_name(subset): {"rows": 0} for subset in subsets}
        logits, labels, complete = [], [], []
        for model, inputs in self.batches(dataset):
            batch_labels = inputs.pop("labels", None)
            batch_logits = model(**inputs, modality_subsets=subsets).logits  # (B, S, num_labels)
            if batch_labels is None:
                batch_labels = self.no_labels(batch_logits[:, 0])
            batch_complete = torch.stack([row_has(inputs, subset, all) for subset in subsets], dim=1)  # (B, S)
            gathered = self.accelerator.gather_for_metrics((batch_logits, batch_labels, batch_complete))
            for tensors, tensor in zip((logits, labels, complete), gathered):
                tensors.append(tensor.float().cpu().numpy())
        logits, labels, complete = (np.concatenate(arrays) for arrays in (logits, labels, complete))
        return {
            subset_name(subset): self.subset_metrics(logits[:, i], labels, complete[:, i] > 0)
            for i, subset in enumerate(subsets)
        }

    def no_labels(self, logits: torch.Tensor) -> torch.Tensor:
        """Labels none of which counts, for logits (B, num_labels) of a batch whose rows have none."""
        problem = self.head.config.problem_type
        shape = logits.shape if problem == "multi_label_classification" else logits.shape[:1]
        return logits.new_full(shape, IGNORED_LABEL, dtype=torch.float32)

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
        if not len(dataset):
            width = self.model.config.projection_dim
            return {subset_name(subset): np.zeros((0, width)) for subset in subsets}, None
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
        with random_numbers_of_its_own(self.args.seed):
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


def settings_of(optimizer) -> dict[str, float]:
    """What an optimizer was made with, by the names of the arguments: the highest of its groups' peak rates, and the like."""
    groups = optimizer.param_groups
    found = {
        "learning_rate": [group.get("initial_lr", group["lr"]) for group in groups],
        "weight_decay": [group["weight_decay"] for group in groups if "weight_decay" in group],
    }
    for i, name in enumerate(("adam_beta1", "adam_beta2")):
        found[name] = [group["betas"][i] for group in groups if "betas" in group]
    return {name: float(max(values)) for name, values in found.items() if values}


def length_of(row: dict[str, torch.Tensor]) -> int:
    """How much of an encoded row is padded in a batch: its tokens, frames and ready features."""
    return sum(len(value) for name, value in row.items() if name in INPUTS and not is_picture(name, value))


def not_finite(inputs: dict[str, torch.Tensor]) -> str:
    """Which inputs of a batch hold NaN or infinity, as the end of a sentence; labels may."""
    names = [n for n, v in inputs.items() if n != "labels" and torch.is_tensor(v) and v.is_floating_point()]
    names = [f"`{name}`" for name in names if not torch.isfinite(inputs[name]).all()]
    return f", for {' and '.join(names)} of the batch hold NaN or infinity" if names else ""


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
