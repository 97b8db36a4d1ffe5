# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Precision at 1 of a retrieval checkpoint on spoken and written digits: does the first item show the query's digit?

    python run_finetune.py --task retrieval --dataset_name path/to/digits3m
    python benchmarks/retrieve_digits.py path/to/digits3m outputs/digits3m-retrieval

The third search is asked of the rows whose sentence names the digit, among all pictures.
"""

import argparse
import re

import numpy as np
import torch

from mixture_of_transformers import MoTForRetrieval, MoTProcessor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import DIGIT_NAMES
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.subsets_mot import subset_name
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.metrics import retrieval_metrics

SEARCHES = ((("audio",), ("image",), False), (("image",), ("audio",), False), (("text", "audio"), ("image",), True))


@torch.no_grad()
def embed(model: MoTForRetrieval, dataset: EncodedDataset, subset: tuple[str, ...]) -> np.ndarray:
    """(N, projection_dim)."""
    collate, vectors = MoTCollator(), []
    for start in range(0, len(dataset), 64):
        batch = collate([dataset[i] for i in range(start, min(start + 64, len(dataset)))])
        batch.pop("labels")
        vectors.append(model.embed(model.mot.encode(**batch), subset).vectors.numpy())
    return np.concatenate(vectors)


def names_the_digit(text: str, digit: int) -> bool:
    return re.search(rf"\b({DIGIT_NAMES[digit]}|{digit})\b", text.lower()) is not None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset")
    parser.add_argument("checkpoint")
    parser.add_argument("--split", default="test")
    arguments = parser.parse_args()
    splits = load_splits(arguments.dataset)
    splits, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    split = splits[arguments.split]
    dataset = EncodedDataset(split, MoTProcessor.from_pretrained(arguments.checkpoint))
    model = MoTForRetrieval.from_pretrained(arguments.checkpoint).eval()
    labels = np.array(split["label"])
    naming = np.array([names_the_digit(text, label) for text, label in zip(split["text"], labels)])
    for query, item, only_naming in SEARCHES:
        rows = naming if only_naming else np.ones_like(naming)
        found = retrieval_metrics(
            embed(model, dataset, query)[rows],
            embed(model, dataset, item),
            matches=np.flatnonzero(rows),
            query_labels=labels[rows],
            item_labels=labels,
        )
        print(
            f"{subset_name(query)} -> {subset_name(item)}: {found['precision_at_1']:.3f} of {int(rows.sum())} queries"
        )


if __name__ == "__main__":
    main()
