# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Exact search

The ten nearest of 10,000 or 100,000 vectors of 512 dimensions, for one query and for 64, by one matrix product and
`topk` in PyTorch; by faiss' `IndexFlatIP` as it comes; by the same with `faiss.cvar.distance_compute_blas_threshold` at
20, from which number of queries on it uses a matrix product (its default never does here); and by a loop that compares
one item at a time. All give the same items. Random vectors of length 1, one thread.
"""

from collections.abc import Callable, Iterator

import faiss
import torch
from torch.nn import functional as F

from .measure import Table, take_turns

WIDTH, NEAREST = 512, 10
DEFAULT = faiss.cvar.distance_compute_blas_threshold
BLAS_FROM = 20  # queries


def by_product(vectors: torch.Tensor, queries: torch.Tensor) -> Callable:
    return lambda: (queries @ vectors.T).topk(NEAREST).indices


def by_loop(vectors: torch.Tensor, queries: torch.Tensor) -> Callable:
    def search() -> torch.Tensor:
        scores = [[F.cosine_similarity(query, vector, dim=0).item() for vector in vectors] for query in queries]
        return torch.tensor(scores).topk(NEAREST).indices

    return search


def by_faiss(vectors: torch.Tensor, queries: torch.Tensor, threshold: int) -> Callable:
    index = faiss.IndexFlatIP(WIDTH)
    index.add(vectors.numpy())
    queries = queries.numpy()

    def search() -> torch.Tensor:
        faiss.cvar.distance_compute_blas_threshold = threshold
        return torch.from_numpy(index.search(queries, NEAREST)[1])

    return search


def candidates(items: int, queries: int) -> dict[str, Callable]:
    generator = torch.Generator().manual_seed(0)
    vectors, asked = (F.normalize(torch.randn(n, WIDTH, generator=generator), dim=1) for n in (items, queries))
    searches = {"matmul + topk": by_product(vectors, asked), "faiss": by_faiss(vectors, asked, DEFAULT)}
    if queries >= BLAS_FROM:  # below, it changes nothing
        searches["faiss, threshold 20"] = by_faiss(vectors, asked, BLAS_FROM)
    if items * queries <= 10_000:  # it takes minutes for more
        searches["loop over items"] = by_loop(vectors, asked)
    expected = searches["matmul + topk"]()
    for name, search in searches.items():
        # Where two items are as near within rounding, their order may differ.
        assert (search() == expected).float().mean() > 0.99, name
    return searches


def tables(seconds: float) -> Iterator[Table]:
    faiss.omp_set_num_threads(1)
    table = Table("Product and topk against others, 1 thread")
    for items in (10_000, 100_000):
        for queries in (1, 64):
            searches = candidates(items, queries)
            times = take_turns(searches, seconds)
            table.rows += [
                times.row(
                    f"{items:,} items, {queries} quer{'y' if queries == 1 else 'ies'}: product / {name}",
                    "matmul + topk",
                    name,
                )
                for name in searches
                if name != "matmul + topk"
            ]
    yield table
