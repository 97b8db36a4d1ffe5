# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small indices, and what they hold."""

import torch
from datasets import Dataset
from PIL import Image as Picture
from word_retriever import WIDTH


def texts(*words):
    return Dataset.from_dict({"text": list(words)})


def contents(index):
    """id -> text of the rows that are found."""
    hits = index.search(embedding=torch.ones(WIDTH), modality="text", k=1000)
    return {hit["id"]: index.dataset[hit["id"]]["text"] for hit in hits}


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def paint(file, shade):
    Picture.new("RGB", (8, 8), (shade, 0, 0)).save(file)
    return str(file)
