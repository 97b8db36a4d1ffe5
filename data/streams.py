# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows that are read as they come and never kept."""

from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset
from datasets.exceptions import DatasetsError
from transformers.utils import logging

from mixture_of_transformers.data.allowed_paths import AllowedPaths, path_of_cell
from mixture_of_transformers.data.checks import BadRows, ExampleCheck, Reading, is_absent
from mixture_of_transformers.data.column_types import (
    MEDIA_ROLES,
    SOUND,
    STRING_ROLES,
    VIDEO,
    cell_has_sound,
    is_string,
    stored_cell,
    stored_type,
    undecoded_stream,
)
from mixture_of_transformers.data.extra_cells import ExtraCells
from mixture_of_transformers.data.labels import LabelColumn, LabelSpec
from mixture_of_transformers.data.shares import ALONE, Place, Share, rows_of

logger = logging.get_logger(__name__)

SAMPLE_TEXTS, SAMPLE_MEDIA = 10_000, 200  # of the rows that a tokenizer and sizes are chosen by


class RowStream:
    """A split that is read as it comes and never kept: an iterable of rows as `prepare_split` makes them.

    Bad rows are met on the way (see `drop_bad_examples`). Several readers share its rows (`Share`), and each goes on
    from where it was (`Place`).

    Args:
        source: the split with its own columns.
        columns: the name of the column for each role ("text", "image", ..., "label").
        labels: what the labels mean; None without a label column.
        split_name: what messages call the split.
        allowed_paths: where the files may lie that the rows name; None: anywhere. Another place is an error when it is
            met.
        extras: how the cells of further modalities are made, by their names.
    """

    def __init__(
        self,
        source: IterableDataset,
        columns: dict[str, str],
        labels: LabelSpec | None,
        split_name: str = "train",
        allowed_paths: AllowedPaths | None = None,
        extras: Mapping[str, ExtraCells] | None = None,
    ):
        self.extras = dict(extras or {})
        used = {*columns.values(), *(column for cells in self.extras.values() for column in cells.columns)}
        self.source = undecoded_stream(source.select_columns(sorted(used)))
        self.columns, self.labels, self.split_name, self.allowed_paths = columns, labels, split_name, allowed_paths
        self.kinds = {role: source.features[name] for role, name in columns.items()}
        self.features = Features(
            {role: labels.feature if role == "label" else stored_type(role, kind) for role, kind in self.kinds.items()}
            | {name: cells.feature for name, cells in self.extras.items()}
        )
        self.on_bad_example, self.report = "skip", None
        self.reading = Reading(allow_urls=allowed_paths is None or allowed_paths.follow_urls)
        self.feature_sizes, self.max_lengths = {}, {}
        self.seed, self.buffer_size = 0, 0
        self.is_cut = False

    @property
    def shards(self) -> int:
        """How many shards readers share out; of the first rows of a source one, for a part of each shard is others."""
        return 1 if self.is_cut else self.source.num_shards

    @property
    def column_names(self) -> list[str]:
        return list(self.features)

    def shuffle(self, seed: int, buffer_size: int) -> "RowStream":
        """
        Shards in random order, and so many rows at a time of what a reader reads; another order in each epoch. 0 keeps
        the order.
        """
        return self._with(seed=seed, buffer_size=buffer_size)

    def take(self, number: int) -> "RowStream":
        return self._with(source=self.source.take(number), is_cut=True)

    def checked(self, on_bad_example: str, report: Path | None) -> "RowStream":
        return self._with(on_bad_example=on_bad_example, report=report)

    def read_by(self, reading: Reading) -> "RowStream":
        """The same, whose media are looked into as they are decoded later."""
        return self._with(reading=reading)

    def fitting(self, feature_sizes: dict[str, int], max_lengths: dict[str, float]) -> "RowStream":
        """The same, where ready features (column: width, column: most of them) that a model cannot take are bad."""
        return self._with(feature_sizes=feature_sizes, max_lengths=max_lengths)

    def _with(self, **changes) -> "RowStream":
        stream = object.__new__(RowStream)
        stream.__dict__.update(self.__dict__, **changes)
        return stream

    def __iter__(self) -> Iterator[dict]:
        return self.rows(epoch=0)

    def rows(self, epoch: int, encode: Callable[[dict], dict] | None = None, share: Share = ALONE) -> Iterator[dict]:
        """The good rows of an epoch, as of `rows_from`."""
        return (row for _, row in self.rows_from(Place(epoch), encode, share))

    def rows_from(
        self, place: Place, encode: Callable[[dict], dict] | None = None, share: Share = ALONE
    ) -> Iterator[tuple[Place, dict]]:
        """
        The good rows of the rest of an epoch, or what `encode` makes of them, each with the place behind it. Bad ones
        are reported in the first epoch. What was decoded to check a row is what `encode` gets.

        Args:
            place: where to begin.
            share: which rows are this reader's.
        """
        epoch = place.epoch
        bad = BadRows(self.split_name, self.on_bad_example, self.report, quiet=epoch > 0)
        check = ExampleCheck(self.features, self.feature_sizes, self.max_lengths, self.reading)
        is_labelled = True
        for behind, row in self._shuffled(place, share):
            index = behind.before + behind.taken - 1
            row = self._prepared(index, row)
            encoded, problem = (row, check(row)) if encode is None else check.encoded(row, encode)
            if is_labelled and epoch == 0 and row.get("label", 0) is None:
                is_labelled = False
                logger.warning(
                    f"row {index} of '{self.split_name}' has no label in column '{self.columns['label']}' and does "
                    "not count, and so no further one without a label does"
                )
            if problem is None:
                yield behind, encoded
                continue
            if not bad.rows and epoch == 0:
                report = f"; {self.report} names it and every further one" if self.report else ""
                logger.warning(f"skipped row {index} of '{self.split_name}', {problem.kind}: {problem}{report}")
            bad.add(index, problem)

    def _shuffled(self, place: Place, share: Share) -> Iterator[tuple[Place, dict]]:
        """
        The rows of a share from a place on, each with the place behind it: a window of rows is read, then gone through
        in random order. So a place is enough to go on with the very next row, reading no more than that window anew.
        """
        rows = self._read(place, share)
        start = place._replace(taken=0)
        while window := list(islice(rows, max(self.buffer_size, 1))):
            order = range(len(window))
            if self.buffer_size:
                random = np.random.default_rng([self.seed, start.epoch, share.reader, start.before])
                order = random.permutation(len(window))
            for taken in range(place.taken, len(window)):
                yield start._replace(taken=taken + 1, begun=window[-1][0].begun), window[order[taken]][1]
            place, behind = place._replace(taken=0), window[-1][0]
            start = behind._replace(before=start.before + len(window))

    def _read(self, place: Place, share: Share) -> Iterator[tuple[Place, dict]]:
        """
        The rows of a share as the source has them, each with where reading goes on; an error of the libraries that
        read them says after which row it came.
        """
        order = np.arange(self.shards)
        if self.buffer_size:
            order = np.random.default_rng([self.seed, place.epoch]).permutation(self.shards)
        pieces, index = share.pieces(self.shards, place.epoch), place.before - 1
        first = place.rows  # rows of the first shard that were read before
        try:
            for shards, piece in enumerate(pieces[place.shards :], start=place.shards):
                shard = self.source if self.shards == 1 else self.source.shard(self.shards, int(order[piece.shard]))
                rows = rows_of(shard, piece.part, piece.parts, has_groups=not self.is_cut)
                for number, row in enumerate(islice(rows, first, None), start=first):
                    index += 1
                    yield place._replace(shards=shards, rows=number + 1, begun=shards + 1), row
                first = 0
        except (pa.ArrowException, DatasetsError, OSError) as error:  # Arrow raises OSError for a broken page.
            raise ValueError(
                f"Split '{self.split_name}' cannot be read beyond its first {index + 1} rows: {error}. Repair the "
                "file that comes next, or leave it out."
            ) from error

    def _prepared(self, index: int, row: dict) -> dict:
        cells = {role: None if is_absent(row[name]) else row[name] for role, name in self.columns.items()}
        media = [(self.columns[role], cells[role]) for role in MEDIA_ROLES if role in cells]
        media += [(name, row[name]) for extra in self.extras.values() if extra.is_media for name in extra.columns]
        files = [(name, file) for name, cell in media for file in (cell if isinstance(cell, list) else [cell])]
        for name, file in files if self.allowed_paths else ():
            if path := path_of_cell(file):
                self.allowed_paths.check_cell(path, index, name, self.split_name)
        prepared = {role: stored_cell(role, self.kinds[role], cell) for role, cell in cells.items() if role != "label"}
        if self.columns.get(SOUND) == self.columns.get(VIDEO, "") and not self._has_sound(prepared[VIDEO]):
            prepared[SOUND] = None
        prepared |= {n: extra.cell([row[c] for c in extra.columns]) for n, extra in self.extras.items()}
        if "label" in cells:
            column = LabelColumn(self.columns["label"], self.kinds["label"], self.split_name)
            prepared["label"] = column.encode(index, column.read(index, cells["label"]), self.labels)
        return prepared

    def _has_sound(self, cell: dict | None) -> bool:
        return cell_has_sound(cell, self.allowed_paths is None or self.allowed_paths.follow_urls)

    def sample(self) -> Dataset:
        """What of the first rows opens no file, and all of the very first ones: enough to choose a vocabulary, sizes
        and scales by."""
        check, rows = ExampleCheck(self.features, reading=self.reading), []
        texts = {role: self.columns[role] for role in STRING_ROLES if is_string(self.features.get(role))}
        extras = {name: cells for name, cells in self.extras.items() if not cells.is_media}
        for index, row in enumerate(islice(self.source, SAMPLE_TEXTS if texts or extras else SAMPLE_MEDIA)):
            if index >= SAMPLE_MEDIA:
                found = {role: row[name] for role, name in texts.items()}
                found |= {name: cells.cell([row[c] for c in cells.columns]) for name, cells in extras.items()}
                rows.append(dict.fromkeys(self.features) | found)
            elif check(prepared := self._prepared(index, row)) is None:
                rows.append(prepared)
        return Dataset(pa.Table.from_pylist(rows, schema=self.features.arrow_schema))
