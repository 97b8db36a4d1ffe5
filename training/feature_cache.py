# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Encoded rows on disk, made once and read in every epoch and by later runs (`cache_features`)."""

import errno
import json
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow
import safetensors.torch
import torch
from datasets.fingerprint import Hasher
from transformers.utils import logging

from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.training.encoded import ROWS_AT_ONCE, EncodedDataset, EpochDataset

logger = logging.get_logger(__name__)

# The disk is full, a quota or a limit of size is reached, or the place is read-only or somebody else's.
CANNOT_BE_WRITTEN = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


class CachedDataset(EpochDataset):
    """
    The rows of an `EncodedDataset`, read from disk.

    Args:
        rows: a `datasets.Dataset` with one column `tensors`, each row's tensors as the bytes of a safetensors file. So
            stored they are read some twenty times as fast as from columns of arrays.
    """

    def __init__(self, rows: datasets.Dataset):
        super().__init__()
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        return self.in_epoch(safetensors.torch.load(self.rows[index]["tensors"]))

    def __getitems__(self, indices: list[int]) -> list[dict[str, torch.Tensor]]:
        """A batch at once, which is what a `DataLoader` asks for."""
        return [self.in_epoch(safetensors.torch.load(tensors)) for tensors in self.rows[indices]["tensors"]]


def cache_features(dataset: EncodedDataset, num_proc: int | None = None, folder: str | None = None) -> CachedDataset:
    """
    Every row of a dataset decoded and encoded once, into an Arrow file that later calls find again, also those of
    other processes. Another processor, other options or other data give another file. What is random comes after, in
    the collator.

    Args:
        dataset: over a `datasets.Dataset`.
        num_proc: how many processes share the work.
        folder: where the file goes, by default `features` in the cache of `datasets`.

    Raises:
        OSError: the file cannot be written there.
    """
    folder = Path(folder or Path(datasets.config.HF_DATASETS_CACHE) / "features")
    folder.mkdir(parents=True, exist_ok=True)
    fingerprint = features_fingerprint(dataset)
    found = list(folder.glob(f"{fingerprint}*.arrow"))
    try:
        rows = encode_into(dataset, folder / f"{fingerprint}.arrow", num_proc)
        if len(rows) == len(dataset):
            return CachedDataset(rows)
    except (pyarrow.ArrowException, OSError) as error:
        if not found or getattr(error, "errno", None) in CANNOT_BE_WRITTEN:
            raise
    logger.warning(f"{found[0]} is cut short or damaged: its rows are encoded again.")
    for path in found:
        path.unlink()
    return CachedDataset(encode_into(dataset, folder / f"{fingerprint}.arrow", num_proc))


def encode_into(dataset: EncodedDataset, file: Path, num_proc: int | None) -> datasets.Dataset:
    """The encoded rows in an Arrow file, as they are there if it is."""

    def encode(columns: dict[str, list]) -> dict[str, list[bytes]]:
        rows = [dict(zip(columns, cells)) for cells in zip(*columns.values())]
        return {"tensors": [safetensors.torch.save(row) for row in dataset.encode_rows(rows)]}

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a forked process would wait for ever for the threads that it lacks
    try:
        return dataset.split.with_format(None).map(
            encode,
            batched=True,
            batch_size=ROWS_AT_ONCE,
            remove_columns=dataset.split.column_names,
            features=datasets.Features(tensors=datasets.Value("large_binary")),
            writer_batch_size=100,
            num_proc=num_proc,
            new_fingerprint=file.stem,
            cache_file_name=str(file),
            desc="Encoding",
        )
    finally:
        torch.set_num_threads(threads)


def features_fingerprint(dataset: EncodedDataset) -> str:
    """
    A hash of all that decides what a row is encoded to: the data, the state of the files that they name, the options,
    and what the processor would save.
    """
    hasher, encoder = Hasher(), dataset.encoder
    data = fingerprint_of_files(dataset.split)
    lengths = {name: encoder.extras[name].length_limit(tower) for name, tower in encoder.towers.items()}
    for part in (data, encoder.max_frames, encoder.text_options, encoder.argument_names, lengths):
        hasher.update(part)
    with tempfile.TemporaryDirectory() as folder:
        encoder.processor.save_pretrained(folder)
        for path in sorted(path for path in Path(folder).rglob("*") if path.is_file()):
            content = path.read_bytes()
            if path.name == "tokenizer.json":  # It remembers how the last texts were cut and padded.
                content = json.loads(content) | {"truncation": None, "padding": None}
            hasher.update((str(path.relative_to(folder)), content))
    return hasher.hexdigest()


def encoded_bytes(dataset: EncodedDataset, samples: int = 32) -> int:
    """About how much memory all rows take, from some that are spread evenly."""
    indices = np.linspace(0, len(dataset) - 1, min(samples, len(dataset))).astype(int).tolist()
    sizes = [sum(value.nbytes for value in dataset[index].values()) for index in indices]
    return int(np.mean(sizes) * len(dataset)) if sizes else 0
