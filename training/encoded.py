# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of a dataset or a stream as the processor's tensors, without the batch dimension.

Rows of a dataset are encoded when first asked for (`EncodedDataset`; `cache_features` of training/feature_cache.py
keeps them on disk), those of a stream whenever they are read (`StreamedDataset`).
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any

import datasets
import torch

from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.column_types import is_medium, is_ready_features
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.shares import Place, Share
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.image_processing_mot import MoTImageProcessor
from mixture_of_transformers.loss_mot import IGNORED_LABEL
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES, MODALITY_OF_CELL, raw_modality_of
from mixture_of_transformers.modality_audio_mot import frames_per_second
from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.processing_mot import MoTProcessor

# What share a call of the processor: of eight photos as cameras make them, 300 MB are decoded at a time.
ROWS_AT_ONCE = 8


def modalities_of(inputs: Mapping[str, torch.Tensor], kinds: Mapping[str, Modality] | None = None) -> list[Modality]:
    """
    The modalities of which an encoded row, or a batch of them, has something.

    Args:
        kinds: all that there may be, by their names; by default those whose arguments have names of their own, and any
            other that names its arguments by rule.
    """
    present = {name for name, value in inputs.items() if value is not None}
    kinds = MODALITIES if kinds is None else kinds
    return [modality for modality in kinds.values() if present.intersection(modality.names.inputs)]


def kinds_of(owner) -> dict[str, Modality]:
    """What the modalities of a model's config, or of a processor, are for raw input, by their names."""
    if hasattr(owner, "modality_config"):
        return {name: raw_modality_of(owner.modality_config(name), name) for name in owner.modalities}
    return dict(getattr(owner, "kinds", MODALITIES))


# ---------------------------------------------------------------------------------------------------------------------
# One row
# ---------------------------------------------------------------------------------------------------------------------


class RowEncoder:
    """
    A row with columns `text`, `image`, `audio`, `video`, those of the processor's other modalities by their names, and
    `label` (any may be missing or None) as the processor's tensors.

    Args:
        processor: a `MoTProcessor`.
        features: the types of the columns, where they are known.
        max_audio_seconds, max_text_tokens: longer inputs are cut.
        allow_urls: as of the processor; `AllowedPaths.follow_urls` says it of a dataset.
        config: of the model, which says where rows of its other modalities are cut; by default they are not.
    """

    def __init__(
        self,
        processor,
        features: Mapping | None = None,
        max_audio_seconds: float | None = None,
        max_text_tokens: int | None = None,
        allow_urls: bool | str = True,
        config=None,
    ):
        features = features or {}
        self.processor, self.kinds = processor, kinds_of(processor)
        self.extras = {name: kind for name, kind in self.kinds.items() if name not in MODALITIES}
        towers = {} if config is None else {name: config.modality_config(name) for name in config.extra_modalities}
        self.towers = {name: tower for name, tower in towers.items() if name in self.extras}
        rate = frames_per_second(processor.feature_extractor)
        self.reading = Reading(processor.limits, allow_urls, max_audio_seconds)
        self.options = {"allow_urls": allow_urls, "max_audio_seconds": max_audio_seconds, "return_tensors": "pt"}
        self.max_frames = None if max_audio_seconds is None else round(max_audio_seconds * rate)
        sounds = [modality for modality in self.kinds.values() if modality.takes_samples]
        self.of_frames = {name for modality in sounds for name in modality.names.of_row}
        self.text_options = {"truncation": True, "max_length": max_text_tokens} if max_text_tokens else {}
        self.missing_label = missing_label(features.get("label"))
        # Columns of vectors are ready features, which the processor takes under another name than raw input.
        self.argument_names = {column: argument_of(column, features.get(column)) for column in CELLS}
        self.argument_names |= {name: kind.cells[0].argument for name, kind in self.extras.items()}

    def encode(self, row: dict) -> dict[str, torch.Tensor]:
        arguments: dict[str, Any] = {
            name: [row[column]] for column, name in self.argument_names.items() if not is_absent_cell(row.get(column))
        }
        if any(
            kind.predicts_ids and cell.argument in arguments for kind in self.kinds.values() for cell in kind.cells
        ):
            arguments["text_kwargs"] = self.text_options
        encoded = self.processor(**arguments, **self.options)
        for name, tower in self.towers.items():
            encoded |= self.extras[name].cut(tower, encoded)
        kept = {name for modality in self.kinds.values() for name in modality.names.of_row}
        return self.finished({name: value[0] for name, value in encoded.items() if name in kept}, row)

    def encode_rows(self, rows: list[dict]) -> list[dict[str, torch.Tensor]]:
        """
        What `encode` makes of each row, to the last bit. Plain ones share a call of the processor, which costs several
        times as much as what it does for a row.
        """
        encoded: list[dict | None] = [None] * len(rows)
        plain = [i for i, row in enumerate(rows) if self.is_plain(row)] if is_independent(self.processor) else []
        if len(plain) > 1:
            with suppress(ValueError, OSError):  # which `encode` raises for the row alone
                for i, example in zip(plain, self.encode_plain([rows[i] for i in plain])):
                    encoded[i] = example
        return [self.encode(row) if example is None else example for row, example in zip(rows, encoded)]

    def is_plain(self, row: dict) -> bool:
        """Whether a row is one text, one picture and one sound, or fewer of these, all of them raw input."""
        present = [column for column in self.argument_names if not is_absent_cell(row.get(column))]
        return all(
            column in MODALITIES
            and self.argument_names[column] == CELLS[column].argument
            and not isinstance(row[column], list)  # several segments
            for column in present
        )

    def encode_plain(self, rows: list[dict]) -> Iterator[dict[str, torch.Tensor]]:
        cells = {CELLS[column].argument: [row.get(column) for row in rows] for column in MODALITIES}
        batch = self.processor(**cells, text_kwargs=self.text_options, **self.options)
        for i, row in enumerate(rows):
            example = {}
            for names in (modality.names for modality in MODALITIES.values() if modality.names.mask in batch):
                mask = batch[names.mask][i].bool()
                if mask.any():
                    # A copy of what is real, which does not keep the batch; a picture (C, H, W) is real as a whole.
                    real = {name: batch[name][i] for name in names.of_row if name in batch}
                    example |= {name: value[mask] if mask.ndim else value.clone() for name, value in real.items()}
            yield self.finished(example, row)

    def finished(self, example: dict[str, torch.Tensor], row: dict) -> dict[str, torch.Tensor]:
        """An encoded row, cut and with its label."""
        for name in self.of_frames & example.keys():
            example[name] = example[name][: self.max_frames]
        if row.get("label") is not None:
            example["labels"] = torch.as_tensor(row["label"])
        elif self.missing_label is not None:  # a batch of such rows alone has labels too, none of which counts
            example["labels"] = self.missing_label
        return example


def is_independent(processor) -> bool:
    """
    Whether what a processor makes of a row is the same in any batch, as that of the package's own parts is; of others,
    or of a tokenizer that is set to pad a text alone, it is not known.
    """
    own = (
        (processor, MoTProcessor),
        (processor.image_processor, MoTImageProcessor),
        (processor.feature_extractor, MoTFeatureExtractor),
    )
    pads = {"padding", "pad_to_multiple_of"} & processor.tokenizer.init_kwargs.keys()
    return all(type(part) is kind for part, kind in own) and not pads


def argument_of(column: str, kind) -> str:
    """The argument of the processor that takes a column of this type, or of a type that is not known."""
    if is_ready_features(kind):
        return MODALITIES[MODALITY_OF_CELL[column]].features_argument
    return CELLS[column].argument


def missing_label(kind) -> torch.Tensor | None:
    """What stands for a missing label of a column of this type: -100 for a class, NaN for numbers."""
    if kind is None:
        return None
    if isinstance(kind, datasets.List):
        return torch.full((kind.length,), torch.nan) if kind.length > 0 else None
    is_number = isinstance(kind, datasets.Value) and kind.dtype.startswith("float")
    return torch.tensor(torch.nan if is_number else IGNORED_LABEL)


# ---------------------------------------------------------------------------------------------------------------------
# All rows
# ---------------------------------------------------------------------------------------------------------------------


class EpochDataset(torch.utils.data.Dataset):
    """
    Rows that carry the number of the epoch as `epoch`, by which the collator augments them anew.

    The number lies in shared memory, so that `set_epoch`, which accelerate calls before each epoch, reaches the
    workers of a `DataLoader` that live on.
    """

    def __init__(self):
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        self.epoch.fill_(epoch)

    def in_epoch(self, row: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return row | {"epoch": self.epoch.clone()}


class EncodedDataset(EpochDataset):
    """
    Rows of a dataset with columns `text`, `image`, `audio`, `video`, those of the processor's other modalities by
    their names, and `label` (any may be missing or None), each as the processor's tensors without the batch dimension.
    Rows are encoded when first asked for and kept in memory as long as they fit, so that later epochs cost no
    decoding.

    Args:
        split: a `datasets.Dataset`, or any sequence of such rows.
        processor: a `MoTProcessor`.
        cache_bytes: the memory for encoded rows, by default 4 GiB.
        max_audio_seconds, max_text_tokens, allow_urls, config: as of `RowEncoder`.
    """

    def __init__(
        self,
        split,
        processor,
        cache_bytes: int = 4 * 2**30,
        max_audio_seconds: float | None = None,
        max_text_tokens: int | None = None,
        allow_urls: bool | str = True,
        config=None,
    ):
        super().__init__()
        features = getattr(split, "features", None) or {}
        for column, kind in features.items():
            if is_medium(kind) and kind.decode:
                split = split.cast_column(column, type(kind)(decode=False))  # decoding is the processor's work
        self.split, self.free_bytes = split, cache_bytes
        self.encoder = RowEncoder(processor, features, max_audio_seconds, max_text_tokens, allow_urls, config)
        self.cache: dict[int, dict] = {}

    @property
    def reading(self) -> Reading:
        """How the media of the rows are read, by which `drop_bad_examples` knows the bad ones."""
        return self.encoder.reading

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """A batch at once, which is what a `DataLoader` asks for."""
        found = {index: self.cache[index] for index in indices if index in self.cache}
        new = [index for index in dict.fromkeys(indices) if index not in found]
        for start in range(0, len(new), ROWS_AT_ONCE):
            some = new[start : start + ROWS_AT_ONCE]
            found |= zip(some, self.encode_rows([self.split[index] for index in some]))
        for index in new:
            size = sum(value.nbytes for value in found[index].values())
            if size <= self.free_bytes:
                self.free_bytes -= size
                self.cache[index] = found[index]
        return [self.in_epoch(found[index]) for index in indices]

    def encode_rows(self, rows: list[dict]) -> list[dict[str, torch.Tensor]]:
        return self.encoder.encode_rows(rows)


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


class PlacedRow(dict):
    """A row of a stream as tensors, with the place behind it, which is no part of what it holds."""

    def __init__(self, row: Mapping[str, Any], share: Share, place: Place):
        super().__init__(row)
        self.share, self.place = share, place


class StreamedRows(torch.utils.data.IterableDataset):
    """
    Rows of a stream as tensors, one epoch after another without end: how many steps to train is `max_steps`. So a
    process whose rows are fewer begins its next epoch where it would have to wait.

    Each worker of a `DataLoader` in each process reads its own share of the rows.

    Args:
        stream: a `RowStream`.
        encode: gives the encoded form of a row.
    """

    wanted = "that can be read"

    def __init__(self, stream: RowStream, encode: Callable[[dict], dict]):
        self.stream, self.encode = stream, encode
        self.process, self.processes = 0, 1
        self.places: dict[int, Place] = {}  # of readers, where they go on
        self.turn = 0  # of the workers, which of them would have made the first batch

    def in_process(self, process: int, processes: int) -> None:
        """Read the share of one of several processes."""
        self.process, self.processes = process, processes

    def share(self) -> Share:
        """What is read here, in a worker or in the process itself."""
        worker = torch.utils.data.get_worker_info()
        number, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        number = (number + self.turn) % workers
        return Share(number * self.processes + self.process, self.processes * workers)

    def finished(self, row: dict, share: Share, place: Place) -> dict[str, Any] | None:
        """What becomes of an encoded row of a share, with the place behind it; None leaves it out."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[PlacedRow]:
        share = self.share()
        start, empty = self.places.get(share.reader, Place()), 0
        while empty < share.readers:  # A reader may have no row in one epoch, and some in the next.
            empty += 1
            for place, encoded in self.stream.rows_from(start, self.encode, share):
                row = self.finished(encoded, share, place)
                if row is not None:
                    empty = 0
                    yield PlacedRow(row, share, place)
            start = Place(start.epoch + 1)
        raise ValueError(f"The stream of split '{self.stream.split_name}' has no row {self.wanted}.")


class StreamedDataset(StreamedRows):
    """
    Rows of a stream, encoded as they come.

    Args:
        stream: as of `StreamedRows`.
        processor: a `MoTProcessor`.
        limits: `max_audio_seconds`, `max_text_tokens`, `allow_urls` and `config` of `RowEncoder`.
    """

    def __init__(self, stream: RowStream, processor, **limits):
        self.encoder = RowEncoder(processor, stream.features, **limits)
        super().__init__(stream.read_by(self.encoder.reading), self.encoder.encode)

    def finished(self, row: dict, share: Share, place: Place) -> dict[str, torch.Tensor]:
        return row | {"epoch": torch.tensor(place.epoch)}
