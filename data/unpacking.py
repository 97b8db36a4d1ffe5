# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Unpacks compressed files and archives within the limits of a dataset.

`unpacked` reads a compressed file and stops where it grows out of all proportion, `read_tar` gives the files of an
archive, which is never written to the disk, and `check_zip` looks at an archive before `datasets` unpacks it.
"""

import io
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

from fsspec.compression import compr
from transformers.utils import logging

from mixture_of_transformers.data.dataset_limits import DatasetLimits

logger = logging.get_logger(__name__)

COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}  # the suffix of a file -> its kind
MAGIC_BYTES = {"gzip": b"\x1f\x8b", "bz2": b"BZh", "xz": b"\xfd7zXZ\0", "zstd": b"\x28\xb5\x2f\xfd"}


class UnpackedStream(io.RawIOBase):
    """What a compressed stream unpacks to, as long as that is in proportion to what was read of it."""

    def __init__(self, stream: BinaryIO, packed: BinaryIO, name: str, limits: DatasetLimits):
        self.stream, self.packed, self.name, self.limits, self.size = stream, packed, name, limits, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        content = self.stream.read(len(buffer))
        buffer[: len(content)] = content
        self.size += len(content)
        if self.size > self.limits.unpacked_bytes(self.packed.tell()):
            raise ValueError(
                f"'{self.name}' unpacks to more than {self.limits.max_unpacked_ratio:g} times its size "
                f"({self.size >> 20} MiB so far): where you trust it, raise --max_unpacked_ratio."
            )
        return len(content)


def unpacked(packed: BinaryIO, kind: str, name: str, limits: DatasetLimits) -> BinaryIO:
    """The content of a file that is compressed as `kind` ("gzip", "bz2", "xz", "zstd"), read as it is asked for."""
    return io.BufferedReader(UnpackedStream(compr[kind](packed, mode="rb"), packed, name, limits), 1 << 16)


def read_tar(file: BinaryIO, name: str, limits: DatasetLimits) -> Iterator[tuple[str, BinaryIO | None]]:
    """
    The plain files of an archive in their order: what each is called, and its content, None of one that is too large.

    Links, devices and pipes are left out, with a warning: a file of an archive is its own content and no other's.

    Raises:
        ValueError: it unpacks to too much, or holds too many files or one with holes.
    """
    with tarfile.open(fileobj=decompressed(file, name, limits), mode="r|") as archive:
        for count, member in enumerate(archive, 1):
            archive.members = []  # `tarfile` would keep all of them until the end.
            if count > limits.max_members:
                raise ValueError(f"'{name}' holds more than {limits.max_members} files: raise --max_members.")
            if not member.isfile():
                if not member.isdir():
                    logger.warning_once(f"'{name}': {member.name[:200]!r} is left out, since it is no plain file.")
                continue
            if member.issparse():
                raise ValueError(f"'{name}': {member.name[:200]!r} has holes: pack it without --sparse.")
            content = archive.extractfile(member)
            yield member.name, unless_too_large(content, member.size, f"{name}: {member.name}", limits)


def unless_too_large(file: BinaryIO, size: int, name: str, limits: DatasetLimits) -> BinaryIO | None:
    if size <= limits.max_member_bytes:
        return file
    logger.warning(
        f"{name[:300]!r} is not read: it has {size:,} bytes, more than --max_member_megabytes "
        f"{limits.max_member_megabytes:g}."
    )
    return None


def decompressed(file: BinaryIO, name: str, limits: DatasetLimits) -> BinaryIO:
    first = file.read(6)
    file.seek(0)
    kind = next((kind for kind, magic in MAGIC_BYTES.items() if first.startswith(magic)), None)
    return file if kind is None else unpacked(file, kind, name, limits)


def read_member(file: BinaryIO, suffix: str, name: str, limits: DatasetLimits) -> bytes | None:
    """The content of a file of an archive, which may be compressed (`0.txt.gz`); None if it is too large."""
    kind = COMPRESSIONS.get(f".{suffix}")
    if kind is None:
        return file.read()
    packed = io.BytesIO(file.read())
    with unpacked(packed, kind, name, limits) as content:
        found = b"".join(pieces(content, limits.max_member_bytes))
    return None if unless_too_large(packed, len(found), name, limits) is None else found


def pieces(file: BinaryIO, limit: int) -> Iterator[bytes]:
    """What a file holds, and no more than a little beyond the limit."""
    size = 0
    while size <= limit and (piece := file.read(1 << 20)):
        size += len(piece)
        yield piece


@contextmanager
def opened_zip(path: str):
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (zipfile.BadZipFile, NotImplementedError, EOFError) as error:
        raise ValueError(f"Cannot read '{path}': {error}. Repair the file, or leave it out.") from error


def check_zip(path: str, limits: DatasetLimits) -> None:
    """
    Whether an archive can be unpacked: what it says of its files, which `zipfile` keeps to as it unpacks them.

    Raises:
        ValueError: it is none; it holds a link, a path that leads out of it, too many files, or too much.
    """
    with opened_zip(path) as archive, open(path, "rb") as file:
        members, packed = archive.infolist(), file.seek(0, io.SEEK_END)
    if len(members) > limits.max_members:
        raise ValueError(f"'{path}' holds {len(members)} files, more than --max_members {limits.max_members}.")
    for member in members:
        if member.file_size > limits.max_member_bytes:
            raise ValueError(
                f"'{path}': {member.filename[:200]!r} has {member.file_size:,} bytes, more than "
                f"--max_member_megabytes {limits.max_member_megabytes:g}."
            )
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        mode = member.external_attr >> 16
        if parts.is_absolute() or ".." in parts.parts or (stat.S_IFMT(mode) and not is_plain_mode(mode)):
            raise ValueError(f"'{path}': {member.filename[:200]!r} leads out of the archive: leave it out.")
    if sum(member.file_size for member in members) > limits.unpacked_bytes(packed):
        raise ValueError(
            f"'{path}' unpacks to more than {limits.max_unpacked_ratio:g} times its size: where you trust it, raise "
            "--max_unpacked_ratio."
        )


def is_plain_mode(mode: int) -> bool:
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
