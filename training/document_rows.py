# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Rows of a dataset as documents in token ids, for a causal model that learns to go on with them.

A `DocumentEncoder` draws a template for a row, writes its document, and has it as ids, with what towers read beside
them. `DocumentDataset` gives the document of each row, drawn anew in each epoch; `EveryDocumentDataset` gives, for
evaluation, each row as each template that it has all columns of; `StreamedDocuments` reads rows as they come.
"""

import hashlib
import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import datasets
import torch

from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.documents import RAW, TEXT, DocumentTemplate, Field, without_prompt
from mixture_of_transformers.data.shares import Place, Share
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.towers_causal_mot import num_tower_tokens
from mixture_of_transformers.training.encoded import EpochDataset, StreamedRows

CODES_TYPE = datasets.List(datasets.List(datasets.List(datasets.Value("int32"))))


def codes_name(cell: str) -> str:
    """The column of the codes of a medium, beside which that of its files may stand."""
    return f"{cell} as tokens"


@dataclass
class DocumentEncoder:
    """
    Rows to documents, and these to ids.

    What is random depends on the seed, the epoch and the number of the row, on nothing else.

    Args:
        processor: a `MoTCausalProcessor`.
        templates: of which a row has one in each epoch.
        kinds: column -> "text", "image" or "audio".
        names: column -> what it is called in the rows.
        seed: of the draws.
        prompt_dropout: the share of the documents that lose what stands before their last picture or sound, by which a
            model learns what `guidance_scale` needs.
        max_text_tokens: longer texts are cut.
        reading: how media are decoded that towers read.
        augmentations: modality -> what changes the tensors of such media a little, given random numbers.
        free_bytes: the memory that such tensors may take, so that later epochs cost no decoding.
        kept: these tensors.
    """

    processor: Any
    templates: Sequence[DocumentTemplate]
    kinds: Mapping[str, str]
    names: Mapping[str, str]
    seed: int = 0
    prompt_dropout: float = 0.0
    max_text_tokens: int | None = None
    reading: Reading = field(default_factory=Reading)
    augmentations: Mapping[str, Callable] = field(default_factory=dict)
    free_bytes: int = 2**30
    kept: dict[Any, torch.Tensor] = field(default_factory=dict, repr=False)

    def plain(self) -> "DocumentEncoder":
        """The same for evaluation, where nothing is left out or changed."""
        return replace(self, prompt_dropout=0.0, augmentations={})

    def cells(self, row: Mapping) -> dict[Field, Any]:
        """What a row has of the columns of all templates."""
        fields = dict.fromkeys(field for template in self.templates for field in template.fields)
        return {field: row.get(self.name_of(field)) for field in fields}

    def name_of(self, field: Field) -> str:
        name = self.names[field.column]
        return name if field.is_raw or self.kinds[field.column] == TEXT else codes_name(name)

    def fitting(self, row: Mapping) -> list[DocumentTemplate]:
        """The templates that a row has all columns of."""
        cells = self.cells(row)
        return [template for template in self.templates if template.fits(cells)]

    def draw(self, row: Mapping, epoch: int, index: int) -> dict[str, Any] | None:
        """The document of a row in an epoch, None where it has all columns of no template."""
        templates = self.fitting(row)
        if not templates:
            return None
        draw = random.Random(f"{self.seed} {epoch} {index}")  # noqa: S311 (no secret)
        return self.encode(row, draw.choice(templates), draw)

    def encode(self, row: Mapping, template: DocumentTemplate, draw: random.Random | None = None) -> dict[str, Any]:
        """
        The document that a template makes of a row: `input_ids` (L,), and where towers read of it `pixel_values`
        (N, C, H, W) and `input_features`, a list of (T, mel).

        Args:
            draw: random numbers; None takes the first version of each medium and changes nothing.
        """
        segments = template.segments(self.cells(row), self.kinds)
        if draw is not None and draw.random() < self.prompt_dropout:
            segments = without_prompt(segments)
        parts = [self.segment(segment, draw) for segment in segments]
        ends = (self.processor.tokenizer.bos_token_id,), (self.processor.tokenizer.eos_token_id,)
        ids = [*ends[0], *itertools.chain.from_iterable(ids for ids, _ in parts), *ends[1]]
        ids = [token for token in ids if token is not None]  # Some tokenizers begin with nothing.
        document: dict[str, Any] = {"input_ids": torch.tensor(ids)}
        for name, tensor in (tensors for _, tensors in parts for tensors in tensors.items()):
            document.setdefault(name, []).append(tensor)
        if "pixel_values" in document:
            document["pixel_values"] = torch.stack(document["pixel_values"])
        return document

    def segment(self, segment: Mapping, draw: random.Random | None) -> tuple[list[int], dict[str, torch.Tensor]]:
        """The ids of a part of a document, and what towers read of it."""
        modality = next(iter(segment))
        value = segment[modality]
        if modality == TEXT:
            return self.processor.tokenizer(value, add_special_tokens=False).input_ids[: self.max_text_tokens], {}
        if segment.get(RAW):
            return self.raw_segment(modality, value, draw)
        start = self.processor.layout.codes(modality).start
        codes = value[0] if draw is None else draw.choice(value)
        return self.within(modality, [start + code for code in codes]), {}

    def raw_segment(
        self, modality: str, value: Any, draw: random.Random | None
    ) -> tuple[list[int], dict[str, torch.Tensor]]:
        """The placeholders of a medium that a tower reads, and its tensor."""
        name, tensor = MODALITIES[modality].names.raw, self.raw_tensor(modality, value)
        if draw is not None and modality in self.augmentations:
            tensor = self.augmentations[modality](tensor, torch.Generator().manual_seed(draw.getrandbits(63)))
        number = num_tower_tokens(modality, self.processor.encoders[modality], tensor.shape)
        return self.within(modality, [self.processor.placeholder_ids[modality]] * number), {name: tensor}

    def raw_tensor(self, modality: str, value: Any) -> torch.Tensor:
        """What a tower reads of a medium, without padding; kept as long as it fits, if it comes from a file."""
        key = medium_key(modality, value)
        if key in self.kept:
            return self.kept[key]
        part = {modality: value, RAW: True}
        options = {"allow_urls": self.reading.allow_urls, "max_audio_seconds": self.reading.max_audio_seconds}
        tensor = self.processor([[part]], return_tensors="pt", **options)[MODALITIES[modality].names.raw][0]
        if key is not None and tensor.nbytes <= self.free_bytes:
            self.free_bytes -= tensor.nbytes
            self.kept[key] = tensor
        return tensor

    def within(self, modality: str, ids: list[int]) -> list[int]:
        return [self.processor.begin_ids[modality], *ids, self.processor.end_ids[modality]]


def medium_key(modality: str, value: Any) -> tuple | None:
    """What says which medium a cell is; None for one that was decoded already."""
    if not isinstance(value, Mapping) or not {"bytes", "path"} <= value.keys():
        return None
    content = value["bytes"]
    return modality, value["path"], content and hashlib.blake2b(content).digest()


class DocumentDataset(EpochDataset):
    """
    The documents of rows, drawn anew in each epoch.

    Args:
        rows: with the columns that the encoder reads; each has all columns of a template.
    """

    def __init__(self, rows, encoder: DocumentEncoder):
        super().__init__()
        self.rows, self.encoder = rows, encoder

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.encoder.draw(self.rows[index], int(self.epoch), index)


class EveryDocumentDataset(torch.utils.data.Dataset):
    """
    Rows as each template that they have all columns of.

    Args:
        rows: as of `DocumentDataset`.
    """

    def __init__(self, rows, encoder: DocumentEncoder):
        self.rows, self.encoder = rows, encoder.plain()
        self.documents = [
            (index, template) for index, row in enumerate(rows) for template in self.encoder.fitting(row)
        ]

    def __len__(self) -> int:
        return len(self.documents)

    def segments_of(self, template: DocumentTemplate) -> Iterator[list[dict]]:
        """The documents of one template, as parts."""
        for index, own in self.documents:
            if own == template:
                yield template.segments(self.encoder.cells(self.rows[index]), self.encoder.kinds)

    def __getitem__(self, number: int) -> dict[str, Any]:
        index, template = self.documents[number]
        return self.encoder.encode(self.rows[index], template)


class StreamedDocuments(StreamedRows):
    """
    The documents of a stream.

    Args:
        stream: as of `StreamedRows`.
        to_codes: gives a row the codes of its media.
    """

    wanted = "with all columns of a --document"

    def __init__(self, stream: RowStream, encoder: DocumentEncoder, to_codes: Callable[[dict], dict]):
        super().__init__(stream, to_codes)
        self.encoder = encoder

    def finished(self, row: dict, share: Share, place: Place) -> dict[str, Any] | None:
        index = (place.before + place.taken - 1) * share.readers + share.reader  # no other reader's
        return self.encoder.draw(row, place.epoch, index)
