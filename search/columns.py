# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The columns of an index: what of a row is embedded, and where its embeddings stand."""

from collections.abc import Collection, Iterable, Sequence

from datasets import Dataset, Features, List, Value
from transformers.utils import logging

from mixture_of_transformers.data.column_types import MEDIA_ROLES, MEDIA_TYPES, STRING_ROLES, is_medium, media_type
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.processing_mot import kind_in

logger = logging.get_logger(__name__)

FUSED = "fused"
STRINGS = (Value("string"), Value("large_string"))


def embedding_kinds(extra: Iterable[str] = ()) -> tuple[str, ...]:
    """
    The embeddings of a row: of each modality by itself, where a video counts as images, and of all of them together.
    Those of text, images and audio are in every index, empty where the model has no such modality.

    Args:
        extra: the modalities of the model beside these.
    """
    return (*MODALITIES, *extra, FUSED)


EMBEDDING_KINDS = embedding_kinds()


def embedding_column(kind: str) -> str:
    """The column of the shards that holds the embeddings of a kind."""
    return f"{kind}_embedding"


def extra_modalities(model) -> tuple[str, ...]:
    """The modalities of a model beside text, images and audio."""
    return tuple(name for name in model.config.modalities if name not in MODALITIES)


def stored_features(features: Features, kinds: Iterable[str]) -> Features:
    """
    The columns of a shard: those of the rows, and their embeddings.

    Args:
        kinds: of the embeddings.
    """
    return Features({**features, **{embedding_column(kind): List(Value("float32")) for kind in kinds}})


def columns_by_type(features: Features, extra: Collection[str] = ()) -> dict[str, str]:
    """
    Which columns hold what, kind -> column: the columns that are called as one of the modalities of `extra`, the first
    other column typed as each medium, and the other column of strings that is called as its kind, "text", or is the
    only one.
    """
    found = {name: name for name in extra if name in features}
    features = Features({name: feature for name, feature in features.items() if name not in found})
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


def check_columns(columns: dict[str, str], dataset: Dataset, model, processor) -> None:
    """
    Raises:
        ValueError: there is no column to embed, one is not in the dataset, or the model does not take its kind.
    """
    of_modality: list[Sequence] = [kind_in(processor, name).cells for name in model.config.modalities]
    known = {cell.name for cells in of_modality for cell in cells}
    for kind, name in columns.items():
        if kind not in known:
            raise ValueError(f"`columns` names {kind!r}, but this model takes {', '.join(sorted(known))}.")
        if name not in dataset.column_names:
            raise ValueError(f"`columns` names {name!r}, but the dataset has {', '.join(dataset.column_names)}.")
    if not columns:
        raise ValueError(
            f"No column to embed was found among {', '.join(dataset.column_names)}: name them in `columns`."
        )
    for cells in of_modality:
        if len(named := [cell.argument for cell in cells if cell.name in columns]) > 1:
            raise ValueError(f"`columns` names {' and '.join(named)}; a row has one of them: leave one out.")


def media_of_paths(columns: dict[str, str], features: Features, processor) -> dict[str, type]:
    """The columns to embed that hold paths of media, with the type of `datasets` that takes these up."""
    media = {name: processor.rows.cells[kind].medium for kind, name in columns.items()}
    return {name: MEDIA_TYPES[medium] for name, medium in media.items() if medium and features[name] in STRINGS}
