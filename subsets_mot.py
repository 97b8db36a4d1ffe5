# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The subsets of a model's modalities, and what each is called in losses, results, tables and saved files."""

import itertools
from collections.abc import Iterable, Sequence


def all_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """Every non-empty subset, the small ones first, each in the order given."""
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def subset_name(subset: Iterable[str]) -> str:
    """`text+image`: the name of a subset whose modalities come in their fixed order."""
    return "+".join(subset)
