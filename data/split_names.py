# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which split a word, a file's name or a path says."""

import re
from pathlib import PurePath

SPLIT_WORDS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev", "devel", "development", "eval", "publictest", "public_test"),
    "test": ("test", "testing", "holdout", "held_out", "privatetest", "private_test"),
}
SPLIT_OF_WORD = {word: split for split, words in SPLIT_WORDS.items() for word in words}


def split_of_word(word: str) -> str | None:
    """The split that a word means: "validation" for "Dev"."""
    return SPLIT_OF_WORD.get(word.strip().lower())


def split_of_name(name: str) -> str | None:
    """The split that a file's or folder's name says, such as "test" for `clips_test.csv`."""
    words = (PurePath(name).stem, *re.split(r"[-._ 0-9]+", name))
    return next(filter(None, map(split_of_word, words)), None)


def split_of_path(path: str) -> str | None:
    """The split that a folder of a relative path says, or else the file's own name."""
    *folders, name = PurePath(path).parts
    return next(filter(None, map(split_of_name, folders)), None) or split_of_name(name)


def order_of_split(split: str) -> tuple:
    """A key to sort splits by: train, validation, test, then others by name."""
    order = list(SPLIT_WORDS)
    return (order.index(split) if split in order else len(order), split)
