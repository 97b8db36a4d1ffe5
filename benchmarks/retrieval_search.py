# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Search

The ten nearest of 10,000 or 100,000 vectors of 512 dimensions, for one query and for 64, by one matrix product and
`topk` in PyTorch; by faiss' `IndexFlatIP` as it comes; by the same with `faiss.cvar.distance_compute_blas_threshold`
at 20, from which number of queries on it uses a matrix product (its default never does here); and by a loop that
compares one item at a time. All give the same items. Random vectors of length 1, one thread.

A second table asks an `Index` (`search/index.py`) of 100,000 items 64 questions at once: exactly, against the loop,
which is timed on 1,000 of the items and takes 100 times as long for all; and by its HNSW graph. Its vectors lie as
embeddings do: 1,000 clusters in 32 dimensions, turned into 512, with a little noise in all of them.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import faiss
import torch
from datasets import Dataset
from torch.nn import functional as F

from mixture_of_transformers.search.folder import KINDS
from mixture_of_transformers.search.index import Index

from .measure import Row, Table, take_turns

WIDTH, NEAREST = 512, 10
FASTER, RECALL = 500, 0.95  # the bars
EFFORT = 128  # neighbours that a search of the graph considers
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
    yield large_index(seconds)


def clustered(number: int, generator: torch.Generator) -> torch.Tensor:
    """Vectors (N, d) of length 1 as embeddings lie: in clusters, and in few dimensions but for noise."""
    centres = torch.randn(1000, 32, generator=generator)
    places = centres[torch.randint(0, 1000, (number,), generator=generator)]
    places = places + 0.5 * torch.randn(number, 32, generator=generator)
    turn = torch.randn(32, WIDTH, generator=torch.Generator().manual_seed(1))
    return F.normalize(places @ turn + 0.3 * torch.randn(number, WIDTH, generator=generator), dim=1)


def large_index(seconds: float, items: int = 100_000, queries: int = 64, looped: int = 1000) -> Table:
    generator = torch.Generator().manual_seed(0)
    vectors, asked = clustered(items, generator), clustered(queries, generator)
    present = {kind: torch.full((items,), kind == "image") for kind in KINDS}
    with tempfile.TemporaryDirectory() as folder:
        description = {"width": WIDTH, "removed": [], "generation": 0}
        index = Index(
            Path(folder), Dataset.from_dict({"n": range(items)}), dict.fromkeys(KINDS, vectors), present, description
        )
        start = time.perf_counter()
        index.build_faiss("image", "hnsw", effort=EFFORT)
        built = time.perf_counter() - start
        options = {"embedding": asked, "modality": "image", "k": NEAREST}
        searches = {
            "exact": lambda: index.search(**options),
            "HNSW": lambda: index.search(**options, approximate=True),
            "loop": by_loop(vectors[:looped], asked),
        }
        pairs = zip(searches["exact"](), searches["HNSW"]())
        recall = [len({h["id"] for h in a} & {h["id"] for h in b}) / NEAREST for a, b in pairs]
        times = take_turns(searches, seconds)
    recall = sum(recall) / len(recall)
    rows = [
        times.row("loop over items / exact", "loop", "exact", FASTER, looped / items, at_least=True),
        times.row("HNSW / exact", "HNSW", "exact", 1.0, built=f"{built:.0f} s"),
        Row(f"recall at {NEAREST} of HNSW", recall, recall, recall, RECALL, at_least=True),
    ]
    return Table(f"An index of {items:,} items, {queries} queries, 1 thread", rows)
