# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The builder that gives CSV, TSV, JSON lines and JSON files to `datasets`, whole or as a stream.

The training files decide the type of each column, for all splits; what the files hold means the same in each of these
forms.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import datasets
import pyarrow as pa
from datasets import Features
from datasets.builder import Key
from datasets.download.streaming_download_manager import StreamingDownloadManager

from mixture_of_transformers.data.dataset_limits import DEFAULT_LIMITS, DatasetLimits
from mixture_of_transformers.data.fingerprints import fingerprint_of_code
from mixture_of_transformers.data.table_types import cast_cells, cast_csv, learn_types
from mixture_of_transformers.data.tables import CSV_SUFFIXES, read_tables
from mixture_of_transformers.data.text_files import table_suffix

FIRST_FILES = 10  # The first parts of so many files say what the columns of a stream are.


@dataclass
class TableConfig(datasets.BuilderConfig):
    """
    Args:
        features: the types of the columns, by default what the files themselves say.
        limits: what the files may unpack to.
    """

    features: Features | None = None
    limits: DatasetLimits = DEFAULT_LIMITS


class TableBuilder(datasets.ArrowBasedBuilder):
    """One split of CSV, TSV, JSON lines and JSON files, for `datasets` to keep in its cache or to stream."""

    BUILDER_CONFIG_CLASS = TableConfig
    CODE = fingerprint_of_code("table_builder", "table_types", "tables", "text_files", "unpacking")

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=self.config.features)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        generators = []
        for split, names in self.config.data_files.items():
            files = list(zip(dl_manager.download(list(names)), names))
            generators.append(datasets.SplitGenerator(name=split, gen_kwargs={"files": files}))
            if self.info.features is None:
                is_stream = isinstance(dl_manager, StreamingDownloadManager)
                files, parts = (files[:FIRST_FILES], 1) if is_stream else (files, None)
                self.info.features = learn_types(files, parts, self.config.limits)
        return generators

    def _generate_shards(self, files: list[tuple[str, str]]) -> Iterator[str]:
        yield from (name for _, name in files)

    def _generate_tables(self, files: list[tuple[str, str]]) -> Iterator[tuple[Key, pa.Table]]:
        for number, (file, name) in enumerate(files):
            for part, table in enumerate(read_tables(file, name, self.config.limits)):
                yield Key(number, part), self._typed(table, name)

    def _typed(self, table: pa.Table, name: str) -> pa.Table:
        schema = self.info.features.arrow_schema
        columns = {}
        for field in schema:
            is_empty_in_training = pa.types.is_null(field.type) and self.config.features is not None
            if is_empty_in_training or field.name not in table.column_names:
                columns[field.name] = pa.nulls(len(table), field.type)
                continue
            cells = table[field.name]
            try:
                cast = cast_csv if table_suffix(name) in CSV_SUFFIXES else cast_cells
                columns[field.name] = cast(cells, field.type)
            except pa.ArrowException as error:
                raise ValueError(
                    f"Column '{field.name}' of split '{next(iter(self.config.data_files))}' ('{name}') holds "
                    f"{cells.type} that cannot become {field.type}, its type in the training rows: {error}. Write it "
                    "alike in every file."
                ) from error
        return pa.table(columns, schema=schema)
