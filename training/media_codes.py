# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The pictures and sounds of a dataset as the codes of their tokenizers, made once and kept on disk.

`CodeMaker` reads the media of rows and encodes them, on request in several versions that differ a little, of which
training draws one each time; `add_codes` does so for a whole split.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import torch
from datasets.fingerprint import Hasher
from PIL import Image

from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.media_causal_mot import CODEC_OF
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.resampling_mot import resample
from mixture_of_transformers.training.document_rows import CODES_TYPE, codes_name

AS_RECORDED = 20  # speeds are in twentieths of it: ratios for which resampling needs few filters
ROWS_AT_ONCE = 64


@dataclass(frozen=True)
class SoundVersions:
    """
    Changes samples: they are played a little faster or slower, which changes their pitch as well, and from a little
    later on.

    Args:
        speeds: those to draw from, in twentieths.
        offset_seconds: the most that is left out at the beginning, of a quarter of the sound at most.
    """

    speeds: tuple[int, ...] = (18, 19, AS_RECORDED, 21, 22)
    offset_seconds: float = 0.04

    def __call__(self, samples: np.ndarray, rate: int, random: torch.Generator) -> np.ndarray:
        """Samples (N,) -> (another N,)."""
        first = min(int(torch.rand((), generator=random) * self.offset_seconds * rate), len(samples) // 4)
        speed = self.speeds[int(torch.randint(len(self.speeds), (), generator=random))]
        return resample(samples[first:], AS_RECORDED, speed)


@dataclass
class CodeMaker:
    """
    The media of rows to codes.

    Args:
        tokenizers: modality -> its tokenizer.
        columns: what media are called in the rows -> their modality.
        versions: how many there are of each; the first is the medium as it is.
        reading: how media are decoded; sounds are cut where it says.
        pictures, sounds: what changes the further versions; None leaves them as they are.
        seed: of these versions.
    """

    tokenizers: Mapping[str, Any]
    columns: Mapping[str, str]
    versions: int = 1
    reading: Reading = field(default_factory=Reading)
    pictures: ImageAugmentation | None = field(default_factory=ImageAugmentation)
    sounds: SoundVersions | None = field(default_factory=SoundVersions)
    seed: int = 0

    def plain(self) -> "CodeMaker":
        """The same for evaluation: media as they are."""
        return replace(self, versions=1)

    def add_to_row(self, row: Mapping) -> dict:
        """A row with the codes of its media."""
        batch = self.of_batch({name: [row.get(name)] for name in self.columns})
        return dict(row) | {name: codes[0] for name, codes in batch.items()}

    def of_batch(self, batch: Mapping[str, Sequence]) -> dict[str, list]:
        """The columns of codes of a batch: for each row a list of its media, of each its versions; None without."""
        return {codes_name(name): self.of_column(batch[name], name, kind) for name, kind in self.columns.items()}

    def of_column(self, cells: Sequence, name: str, modality: str) -> list[list[list[list[int]]] | None]:
        codec, access = CODEC_OF[modality](self.tokenizers[modality]), self.reading.access
        media: list[Any] = []
        counts: list[int] = []
        for cell in cells:
            found = [] if is_absent_cell(cell) else cell if isinstance(cell, list) else [cell]
            counts.append(len(found))
            media += [codec.read(medium, name, None, self.reading.max_audio_seconds, access) for medium in found]
        versions = [codec.encode(media)] if media else []
        for version in range(1, self.versions if media else 0):
            versions.append(codec.encode([self.changed(medium, modality, version) for medium in media]))
        of_media = iter([[codes.tolist() for codes in each] for each in zip(*versions)])
        return [[next(of_media) for _ in range(count)] or None for count in counts]

    def changed(self, medium: Any, modality: str, version: int) -> Any:
        """A version of a medium; the same medium has the same versions wherever it stands."""
        content = medium.tobytes()
        digest = hashlib.sha256(f"{self.seed} {version} ".encode() + content).digest()
        random = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
        if isinstance(medium, Image.Image):
            return medium if self.pictures is None else changed_picture(medium, self.pictures, random)
        if self.sounds is None:
            return medium
        return self.sounds(medium, self.tokenizers[modality].sampling_rate, random)

    def fingerprint(self, split: datasets.Dataset) -> str:
        """A hash of all that decides the codes of a split."""
        hasher = Hasher()
        media = (self.versions, self.reading, self.pictures, self.sounds)
        for part in (fingerprint_of_files(split), dict(self.columns), *media):
            hasher.update(part)
        hasher.update(self.seed)
        for modality in sorted(set(self.columns.values())):
            tokenizer = self.tokenizers[modality]
            hasher.update(tokenizer.config.to_dict())
            hasher.update({name: tensor.cpu().numpy() for name, tensor in tokenizer.state_dict().items()})
        return hasher.hexdigest()


def changed_picture(picture: Image.Image, augmentation: ImageAugmentation, random: torch.Generator) -> Image.Image:
    """A picture, turned, scaled and shifted a little."""
    mode = picture.mode if picture.mode in ("L", "RGB", "RGBA") else "RGB"
    pixels = np.asarray(picture.convert(mode), dtype=np.float32)
    pixels = torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)  # (C, H, W)
    pixels = augmentation(pixels, random).round().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return Image.fromarray(pixels.squeeze(-1) if mode == "L" else pixels, mode)


def add_codes(
    split: datasets.Dataset, maker: CodeMaker, kept: Sequence[str], num_proc: int | None = None
) -> datasets.Dataset:
    """
    A split with the codes of its media, which later calls find again, also those of other processes.

    Args:
        kept: the other columns that are needed.
        num_proc: how many processes share the work.

    Raises:
        OSError: the cache of `datasets` cannot be written.
    """
    if not maker.columns:
        return split.select_columns([*kept])
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "features"
    folder.mkdir(parents=True, exist_ok=True)
    media = split.with_format(None).select_columns([*maker.columns])
    name = maker.fingerprint(media)
    codes = media.map(
        maker.of_batch,
        batched=True,
        batch_size=ROWS_AT_ONCE,
        remove_columns=media.column_names,
        features=datasets.Features({codes_name(column): CODES_TYPE for column in maker.columns}),
        num_proc=num_proc,
        new_fingerprint=name,
        cache_file_name=str(folder / f"{name}.arrow"),
        desc="Encoding pictures and sounds",
    )
    others = split.with_format(None).select_columns([*kept])
    return datasets.concatenate_datasets([others, codes], axis=1) if kept else codes
