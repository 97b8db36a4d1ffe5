# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tables of any form as the splits of a dataset, whose types the training split decides."""

import pyarrow as pa
import pyarrow.parquet as pq
from datasets import ClassLabel, Dataset, Features, IterableDataset
from datasets.packaged_modules.parquet.parquet import Parquet

from mixture_of_transformers.data.builders import builder_of, built_split
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.folders import Files
from mixture_of_transformers.data.relative_paths import folders_of_paths, with_whole_paths
from mixture_of_transformers.data.table_builder import TableBuilder
from mixture_of_transformers.data.text_files import named, table_suffix


def read_table_splits(
    files: Files, root: str | None, streaming: bool, train: str, limits: DatasetLimits
) -> dict[str, Dataset | IterableDataset]:
    """Tables of any form, each split of one; the training split is read first and decides the types of the others.

    Paths in them are relative to `root` or to the table; where `root` is None, they are taken as they are.
    """
    splits, features = {}, None
    for split in sorted(files, key=lambda name: name != train):
        is_parquet = table_suffix(files[split][0]) == ".parquet"
        if is_parquet:
            builder = builder_of(Parquet, split, files[split], features=parquet_features(files[split]))
        else:
            builder = builder_of(TableBuilder, split, files[split], features=features, limits=limits)
        found = built_split(builder, split, streaming)
        if features is None and not is_parquet:
            features = found.features
        splits[split] = found if root is None else with_whole_paths(found, folders_of_paths(files[split], root), root)
    return splits


def parquet_features(files: list[str]) -> Features | None:
    """The types that the cells of all files fit, where they differ; None leaves it to the first file.

    Raises:
        ValueError: the class ids of two files mean different names.
    """
    if any("://" in name for name in files):
        return None
    schemas = []
    for name in files:
        with named(name):
            schemas.append(pq.read_schema(name))
    check_class_names(files, list(map(Features.from_arrow_schema, schemas)))
    first = schemas[0]
    if all(schema.equals(first) for schema in schemas):
        return None
    with named(f"{files[0]}' and '{files[-1]}"):
        unified = pa.unify_schemas([schema.remove_metadata() for schema in schemas], promote_options="permissive")
    # A type such as Image is known to the metadata alone, so types stay those of the first file where it stores alike.
    kept = {
        name: kind
        for name, kind in Features.from_arrow_schema(first).items()
        if first.field(name).type == unified.field(name).type
    }
    return Features({**Features.from_arrow_schema(unified), **kept})


def check_class_names(files: list[str], features: list[Features]) -> None:
    """
    Whether a class id means one name in all files, which the types that Arrow compares do not say.

    Args:
        features: of each file, its types.

    Raises:
        ValueError: it means two.
    """
    first: dict[str, tuple[str, list]] = {}  # column -> the first file that names its classes, and their names
    for file, kinds in zip(files, features):
        for column, kind in kinds.items():
            if not (names := class_names(kind)):
                continue
            other, expected = first.setdefault(column, (file, names))
            if names != expected:
                raise ValueError(
                    f"Column '{column}' has the classes {shown_names(expected)} in '{other}', and "
                    f"{shown_names(names)} in '{file}': one id would mean two classes. Write the files with one list "
                    "of names, or the labels as names."
                )


def class_names(kind) -> list[list[str]]:
    """The names of a ClassLabel, and of those within lists and dictionaries."""
    if isinstance(kind, ClassLabel):
        return [kind.names]
    if isinstance(kind, dict):
        return [names for part in kind.values() for names in class_names(part)]
    return class_names(kind.feature) if hasattr(kind, "feature") else []


def shown_names(several: list[list[str]]) -> str:
    return " and ".join(f"{names[:20]}{', ...' if len(names) > 20 else ''}" for names in several)
