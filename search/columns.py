# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The columns of an index: what of a row is embedded, and where its embeddings stand."""

from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from mixture_of_transformers.data.column_types import MEDIA_ROLES, STRING_ROLES, is_medium, media_type
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES

logger = logging.get_logger(__name__)

# The embeddings of a row: of each modality by itself, where a video counts as images, and of all of them together.
EMBEDDING_KINDS = (*MODALITIES, "fused")
EMBEDDING_COLUMNS = tuple(f"{kind}_embedding" for kind in EMBEDDING_KINDS)  # their columns in the shards
STRINGS = (Value("string"), Value("large_string"))


def stored_features(features: Features) -> Features:
    """The columns of a shard: those of the rows, and their embeddings."""
    return Features({**features, **{name: List(Value("float32")) for name in EMBEDDING_COLUMNS}})


def columns_by_type(features: Features) -> dict[str, str]:
    """
    Which columns hold what, kind -> column: the first column typed as each medium, and the column of strings that is
    called as its kind, "text", or is the only one.
    """
    found = {}
    for kind in MEDIA_ROLES:
        if names := [name for name, feature in features.items() if isinstance(feature, media_type(kind))]:
            found[kind] = names[0]
    strings = [name for name, feature in features.items() if feature == Value("string")]
    for kind in STRING_ROLES:
        if kind in strings or len(strings) == 1:
            found[kind] = kind if kind in strings else strings[0]
    return found


def tell_left_out(features: Features, columns: dict[str, str]) -> None:
    """Warn of columns that were not chosen but could hold something to embed, such as the paths of pictures."""
    others = {name: feature for name, feature in features.items() if name not in columns.values()}
    if left := [name for name, feature in others.items() if feature in STRINGS or is_medium(feature)]:
        taken = ", ".join(f"{name!r} as {kind}" for kind, name in columns.items())
        logger.warning(
            f"The index embeds {taken}; it leaves out {', '.join(map(repr, left))}. Name what to embed in `columns`, "
            'also a column of paths: columns={"image": "photo"}.'
        )


def check_columns(columns: dict[str, str], dataset: Dataset, model) -> None:
    """
    Raises:
        ValueError: there is no column to embed, one is not in the dataset, or the model does not take its kind.
    """
    of_modality = [[cell.name for cell in MODALITIES[name].cells] for name in model.config.modalities]
    known = {kind for kinds in of_modality for kind in kinds}
    for kind, name in columns.items():
        if kind not in known:
            raise ValueError(f"`columns` names {kind!r}, but this model takes {', '.join(sorted(known))}.")
        if name not in dataset.column_names:
            raise ValueError(f"`columns` names {name!r}, but the dataset has {', '.join(dataset.column_names)}.")
    if not columns:
        raise ValueError(
            f"No column to embed was found among {', '.join(dataset.column_names)}: name them in `columns`."
        )
    for kinds in of_modality:
        if len(named := [CELLS[kind].argument for kind in kinds if kind in columns]) > 1:
            raise ValueError(f"`columns` names {' and '.join(named)}; a row has one of them: leave one out.")
