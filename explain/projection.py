# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embeddings of many dimensions in two."""

import torch


def project_embeddings(embeddings: torch.Tensor, method: str = "pca", seed: int = 0):
    """Embeddings (N, D) in two dimensions, an array (N, 2), by scikit-learn's PCA or t-SNE (van der Maaten, 2008)."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("Projections need scikit-learn: `pip install scikit-learn`.") from error
    if method not in ("pca", "tsne"):
        raise ValueError(f'`method` is {method!r}, expected "pca" or "tsne".')
    if embeddings.ndim != 2 or min(embeddings.shape) < 2:
        raise ValueError(f"`embeddings` has shape {tuple(embeddings.shape)}, expected (N, D), both at least 2.")
    vectors = embeddings.detach().float().cpu().numpy()
    if method == "pca":
        return PCA(n_components=2, random_state=seed).fit_transform(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)
