# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The files of an index: each is whole under its name, and none leads out of the folder."""

import hashlib
import os
from pathlib import Path

CACHE = ".cache"  # the shards as they lie in memory
REMEDY = "Restore it from a copy, or delete the folder and build the index again"


def check_inside(folder: Path) -> None:
    """
    Raises:
        ValueError: something in the folder is a link to elsewhere, through which other files would be read, or written
            over. Those of the Hub's cache lead to its own copies.
    """
    place = folder.resolve()
    for path in [*folder.glob("*"), *folder.glob(f"{CACHE}/*")]:
        if not path.is_symlink():
            continue
        target = path.resolve()
        is_of_the_hub = target.parent.name == "blobs" and target.parent.parent in place.parents
        if not is_of_the_hub and place not in target.parents:
            raise ValueError(f"{path} is a link to {target}, outside of the index. Delete it, or copy the file there.")


def write_whole(file: Path, content: bytes) -> None:
    """Write a file so that it holds either what it held before or all of the new content."""
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    put_in_place(partial, file)


def put_in_place(partial: Path, file: Path) -> None:
    """
    Give a written file its name once it is safe on the disk, so that no power cut leaves a name with half a file.
    """
    with open(partial, "rb+") as written:
        os.fsync(written.fileno())
    os.replace(partial, file)


def checksum(file: Path) -> str:
    """The SHA-256 of a file's content, in hexadecimal digits."""
    digest = hashlib.sha256()
    with open(file, "rb") as content:
        for block in iter(lambda: content.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()
