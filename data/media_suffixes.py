# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which medium a file is of, told by the suffix of its name."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import PurePath
from urllib.parse import urlsplit

from datasets.packaged_modules.webdataset.webdataset import WebDataset

from mixture_of_transformers.data.column_types import MEDIA_TYPES
from mixture_of_transformers.modalities_mot import CELLS

# PIL and soundfile open these, so that `datasets` lists them, but most files of such a name hold no medium.
NO_MEDIUM = {"h5", "hdf", "raw"}


@cache
def listed_suffixes(medium: str) -> frozenset[str]:
    """The suffixes that `datasets` lists of a medium, in lower case and without a dot."""
    return frozenset(getattr(WebDataset, f"{medium.upper()}_EXTENSIONS"))


def all_suffixes(medium: str) -> frozenset[str]:
    """The listed ones and those that the cells of the medium add."""
    added = {suffix for cell in CELLS.values() if cell.medium == medium for suffix in cell.suffixes}
    return (listed_suffixes(medium) | added) - NO_MEDIUM


# ".png" -> "image". A suffix of two media is of the later one: `datasets` lists some of the videos among the images.
MEDIUM_OF_SUFFIX = {f".{suffix}": medium for medium in MEDIA_TYPES for suffix in all_suffixes(medium)}


def medium_of(names: Iterable[str]) -> str | None:
    """What most of these files are, by their suffixes: "image", "audio", "video", or None."""
    counts = Counter(MEDIUM_OF_SUFFIX.get(PurePath(name).suffix.lower()) for name in names)
    medium = max(MEDIA_TYPES, key=lambda medium: counts[medium])
    return medium if counts[medium] else None


def medium_of_path(path: str) -> str | None:
    """What a cell that may be a path or a URL would lead to, by the suffixes that `datasets` lists alone."""
    suffix = urlsplit(path.strip()).path.rpartition(".")[2].lower()
    return next((medium for medium in MEDIA_TYPES if suffix in listed_suffixes(medium)), None)
