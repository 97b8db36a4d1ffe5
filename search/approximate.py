# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Approximate search: the embeddings of one modality in an index of FAISS, through `datasets`."""

from pathlib import Path

import numpy as np
from datasets import Dataset

from mixture_of_transformers.search.files import put_in_place


def import_faiss():
    """
    Raises:
        ImportError: FAISS is not installed.
    """
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "Approximate search needs FAISS: pip install 'mixture-of-transformers[search]', or faiss-cpu."
        ) from None
    return faiss


def save_faiss(ids: Dataset, vectors: np.ndarray, modality: str, file: Path, kind: str, effort: int) -> None:
    """
    Index vectors (len(ids), d) of length 1 by their inner product, and write the index whole.

    Args:
        modality: whose embeddings they are, which names the index.
        kind, effort: as in `Index.build_faiss`.

    Raises:
        ValueError: an unknown kind.
    """
    faiss, width = import_faiss(), vectors.shape[1]
    if kind == "hnsw":
        index = faiss.IndexHNSWFlat(width, 32, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, effort
    elif kind == "ivf":
        lists = max(1, round(len(vectors) ** 0.5))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        index.nprobe = min(effort, lists)
    else:
        raise ValueError(f"`kind` is {kind!r}, expected 'hnsw' or 'ivf'.")
    size = len(vectors) if kind == "ivf" else None
    ids.add_faiss_index_from_external_arrays(vectors, modality, custom_index=index, train_size=size)
    partial = file.with_suffix(".partial")
    ids.save_faiss_index(modality, partial)
    put_in_place(partial, file)


def load_faiss(ids: Dataset, modality: str, file: Path, width: int) -> Dataset:
    """
    The ids of a modality with its FAISS index.

    Raises:
        ImportError: FAISS is not installed.
        ValueError: there is no such file, it is damaged, or it is of other vectors.
    """
    remedy = f"build_faiss({modality!r}) makes one"
    if not file.exists():
        raise ValueError(f"There is no FAISS index of {modality}: {remedy}.")
    import_faiss()
    try:
        ids.load_faiss_index(modality, file)
    except RuntimeError as error:
        raise ValueError(f"{file} is damaged ({error}): {remedy}.") from None
    read = ids.get_index(modality).faiss_index
    if (read.ntotal, read.d) != (len(ids), width):
        raise ValueError(f"{file} has {read.ntotal} vectors of {read.d} numbers, not those of this index: {remedy}.")
    return ids
