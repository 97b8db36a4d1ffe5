# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The subsets of a model's modalities, and what each is called in losses, results, tables and saved files."""

import itertools
from collections.abc import Iterable, Sequence
from typing import TypeVar

Member = TypeVar("Member", str, int)

MOST_WITH_ALL_SUBSETS = 4  # modalities; their non-empty subsets are 15, and double with each modality more


def all_subsets(modalities: Sequence[Member]) -> list[tuple[Member, ...]]:
    """Every non-empty subset, the small ones first, each in the order given: 2^n - 1 of n modalities."""
    sizes = range(1, len(modalities) + 1)
    return [subset for size in sizes for subset in itertools.combinations(modalities, size)]


def bounded_subsets(modalities: Sequence[str]) -> list[tuple[str, ...]]:
    """
    The subsets that are trained, evaluated and reported, the small ones first: all of them up to four modalities;
    beyond that each modality alone, all but one, and all together, 2 n + 1 of n modalities.
    """
    number = len(modalities)
    if number <= MOST_WITH_ALL_SUBSETS:
        return all_subsets(modalities)
    return [subset for size in (1, number - 1, number) for subset in itertools.combinations(modalities, size)]


def subset_name(subset: Iterable[str]) -> str:
    """`text+image`: the name of a subset whose modalities come in their fixed order."""
    return "+".join(subset)
