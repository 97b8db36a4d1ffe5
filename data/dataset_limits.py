# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a dataset may do: which files it may name, and how large what is packed in it may become.

A dataset may be anybody's, so each of these limits holds unless a person raises it.
"""

from dataclasses import dataclass, fields

ALWAYS_ALLOWED_BYTES = 256 << 20  # that any compressed file may unpack to


@dataclass(frozen=True)
class DatasetLimits:
    """
    What a dataset may do; the command line has an option of each name.

    Args:
        allow_outside_paths: whether its tables and its README.md may name files that do not lie in its folder.
        allow_urls: whether a dataset of the Hub may name URLs and files of other repositories; tables here may.
        max_member_megabytes: of one file in an archive; a larger medium is a bad row, a larger text an error.
        max_members: files of one archive.
        max_unpacked_ratio: how many times its own size a compressed file may unpack to; 256 MiB are always allowed.
    """

    allow_outside_paths: bool = False
    allow_urls: bool = False
    max_member_megabytes: float = 512
    max_members: int = 1_000_000
    max_unpacked_ratio: float = 200

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.startswith("max_") and not value > 0:
                raise ValueError(f"`{field.name}` is {value!r}: expected a number above 0.")

    @property
    def max_member_bytes(self) -> int:
        return int(min(self.max_member_megabytes * 10**6, 2**62))

    def unpacked_bytes(self, packed: int) -> float:
        """How much a compressed file of so many bytes may hold."""
        return max(ALWAYS_ALLOWED_BYTES, packed * self.max_unpacked_ratio)


DEFAULT_LIMITS = DatasetLimits()
