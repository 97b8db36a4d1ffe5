# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a dataset may do: which files it may name, and how large what is packed in it may become.

A dataset may be anybody's, so each of these limits holds unless a person raises it.
"""

from dataclasses import dataclass, field, fields
from typing import Any

ALWAYS_ALLOWED_BYTES = 256 << 20  # Any compressed file may unpack to so much.


def limit(default: Any, help: str) -> Any:
    """A field with what the command line says of its option."""
    return field(default=default, metadata={"help": help})


@dataclass(frozen=True)
class DatasetLimits:
    """What a dataset may do. The command line has an option of each name, with the help that stands here.

    Raises:
        ValueError: a number is not above 0.
    """

    allow_outside_paths: bool = limit(False, "let the tables and README.md of a dataset name files outside its folder")
    allow_urls: bool = limit(
        False, "let a dataset of the Hub name URLs and files of other repositories, as tables of this machine may"
    )
    max_member_megabytes: float = limit(
        512,
        "the most megabytes of one file in an archive (default: %(default)s); a larger medium is a bad row, a larger "
        "text an error",
    )
    max_members: int = limit(1_000_000, "the most files of one archive (default: %(default)s)")
    max_unpacked_ratio: float = limit(
        200,
        "how many times its own size a compressed file may unpack to (default: %(default)s); 256 MiB are always "
        "allowed",
    )

    def __post_init__(self):
        for option in fields(self):
            value = getattr(self, option.name)
            if option.name.startswith("max_") and not value > 0:
                raise ValueError(f"`{option.name}` is {value!r}: expected a number above 0.")

    @property
    def max_member_bytes(self) -> int:
        return int(min(self.max_member_megabytes * 10**6, 2**62))

    def unpacked_bytes(self, packed: int) -> float:
        """How much a compressed file of so many bytes may hold."""
        return max(ALWAYS_ALLOWED_BYTES, packed * self.max_unpacked_ratio)


DEFAULT_LIMITS = DatasetLimits()
