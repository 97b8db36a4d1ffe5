# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An index of which one file is odd or gone, and searches with odd arguments. It finds real rows, or names the file or
the argument."""

import math
import shutil
from pathlib import Path

import numpy as np
import torch

from mixture_of_transformers.search.index import Index

from ..case import Case
from ..odd import mutated, mutated_json, odd_number, odd_object, odd_tensor, one, show
from ..world import World
from .processors import odd_cell

ARGUMENTS = ("text", "image", "audio", "embedding", "k", "modality", "where", "approximate", "nonsense")
KIND = {"image": "images", "audio": "audio", "text": "text"}


def index_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    target, query = folder / "index", {"embedding": torch.ones(8)}
    shutil.copytree(world.index, target, ignore=shutil.ignore_patterns(".cache", "*.lock"))
    parts = ()
    if rng.random() < 0.5:
        given, names = odd_file(rng, target)
    else:
        parts = (world.retriever, world.processor)
        name = one(rng, ARGUMENTS)
        value = odd_value(rng, world, name, folder)
        query = {"text": "red cat"} | {name: value} if name not in KIND else {name: value}
        if name == "embedding":
            query.pop("text")
        given, names = f"search({name}={show(value)})", (name, "query", *(value if isinstance(value, dict) else ()))

    def find():
        index = Index.load(target)
        if parts:
            index.model, index.processor, index.checked = *parts, ()
            index.check_embedder = lambda: None  # what embeds is sound, and a copy of what did
        return index, index.search(**query)

    return Case(given, find, tuple(map(str, names)), wrong_hits)


def odd_file(rng: np.random.Generator, target: Path) -> tuple[str, tuple[str, ...]]:
    """Damages an index; says how, and the names that an error may use."""
    files = sorted(file for file in target.iterdir() if file.suffix in (".json", ".parquet"))
    file = one(rng, files)
    kind = one(rng, ("bytes", "values", "gone", "swapped"))
    if kind == "values" and file.suffix == ".json":
        content, what = mutated_json(rng, file.read_bytes())
        file.write_bytes(content)
        return f"{file.name}, {what}", (file.name, str(target))
    if kind == "gone":
        file.unlink()
    elif kind == "swapped" and file.suffix == ".parquet":
        others = [other for other in files if other.suffix == ".parquet"]
        contents = [other.read_bytes() for other in others]
        for other, content in zip(others, contents[::-1]):
            other.write_bytes(content)
        return "shards swapped", tuple(other.name for other in others)
    else:
        file.write_bytes(mutated(rng, file.read_bytes()))
    return f"{file.name}, {kind}", (file.name, str(target))


def odd_value(rng: np.random.Generator, world: World, name: str, folder: Path):
    if name in KIND:
        return odd_cell(rng, world, KIND[name], folder)[1]
    if name == "where":
        return one(
            rng, ({"text": odd_number(rng)}, {"nothing": 1}, {"label": odd_object(rng, folder)}, 5, {}, [], "text")
        )
    if name == "embedding":
        return one(rng, (odd_tensor(rng), torch.full((8,), math.nan), torch.zeros(8), torch.ones(2, 8), [1.0] * 8))
    return odd_number(rng) if rng.random() < 0.5 else odd_object(rng, folder)


def wrong_hits(found) -> str | None:
    index, hits = found
    hits = [hit for query in hits for hit in (query if isinstance(query, list) else [query])]
    for hit in hits:
        if not math.isfinite(hit["score"]) or not -1.001 <= hit["score"] <= 1.001:
            return f"a score of {hit['score']}"
        if not 0 <= hit["id"] < 6:
            return f"a row {hit['id']} that there is not"
        index.dataset[hit["id"]]
    return None
