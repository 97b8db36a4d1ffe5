# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From raw clips, pictures, sounds and sentences to labels: a pipeline for any mix of them.

`pipeline("multimodal-classification", model=...)` takes rows as dicts; they are decoded one by one and answered in
batches, however their modalities differ.
"""

import numbers
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset, IterableDataset
from transformers import Pipeline
from transformers.utils import logging

from .arguments_mot import is_one_of
from .attribution_mot import Contributions, modality_contributions
from .cells_mot import RowReading
from .decoding_mot import read_once
from .processing_mot import encode_rows, kind_in
from .rows_mot import HISTORIC, RowTable, Segment, resolve_synonyms, unknown_name

logger = logging.get_logger(__name__)

TASK = "multimodal-classification"
DOCUMENT = "document"  # the key of a row that is one
OPTIONS = ("top_k", "num_frames", "sampling_rate", "truncation", "return_attribution", "batch_size", "num_workers")
OPTIONS += ("on_error", "allow_urls")
ROW_ERRORS = (ValueError, OSError, ImportError)  # what a row may be at fault for, and nothing else
READ_ERRORS = (*ROW_ERRORS, RuntimeError)  # torchcodec's
# What the config of a checkpoint says of the pipeline whose code lies beside it.
CUSTOM_PIPELINES = {
    TASK: {
        "impl": "pipeline_mot.MultimodalClassificationPipeline",
        "pt": ["AutoModelForSequenceClassification"],
        "type": "multimodal",
    }
}


DecodedRow = tuple[int, dict | Exception]  # its number in the whole input, and what it holds or what is wrong with it


class NumberedRows(Dataset):
    """Rows that have numbers and an end, decoded; of several workers, each takes its own."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, number: int) -> DecodedRow:
        try:
            row = self.rows[number]
        except READ_ERRORS as error:  # `datasets` decodes as it reads
            return number, named(error, number)
        return decode_row(row, number, self.decode)


class StreamedRows(IterableDataset):
    """Rows that come one after another, decoded."""

    def __init__(self, rows: Iterable):
        self.rows = rows

    def __iter__(self) -> Iterator[DecodedRow]:
        return (decode_row(row, number, self.decode) for number, row in enumerate(self.rows))


def decode_row(row: Any, number: int, decode: Callable) -> DecodedRow:
    """The error is returned, not raised: the other rows go on, and from another process it would be a traceback."""
    try:
        return number, decode(row, name=f"rows[{number}]: ")
    except READ_ERRORS as error:
        return number, error


def named(error: Exception, number: int) -> Exception:
    """What went wrong with a row that was alone in its batch, with its number in the whole input."""
    kind = next((kind for kind in ROW_ERRORS if isinstance(error, kind)), ValueError)
    named_error = kind(f"rows[{number}]: " + re.sub(r"^(\w+)\[0\]", r"\1", str(error)))
    named_error.__cause__ = error
    return named_error


def check_sizes(options: dict) -> None:
    """What transformers takes out of the options before `_sanitize_parameters` sees them."""
    for name, least in {"batch_size": 1, "num_workers": 0}.items():
        value = options.get(name)
        is_whole = isinstance(value, numbers.Integral) and not isinstance(value, bool)
        if value is not None and not (is_whole and value >= least):
            raise ValueError(f"`{name}` is {value!r}: expected a whole number of at least {least}.")


def failure(error: Exception, number: int) -> dict:
    """What stands for the answer to a row that cannot be read."""
    return {"row": number, "error": f"{type(error).__name__}: {error}"}


def has_numbers(rows: Any) -> bool:
    """Whether rows can be asked for by number up to a known length, as those of lists and of `datasets.Dataset`."""
    return isinstance(rows, Sized) and hasattr(rows, "__getitem__") and not isinstance(rows, IterableDataset)


class MultimodalClassificationPipeline(Pipeline):
    """
    Labels, or numbers, for rows of any mix of text, image, audio and video.

        classify = pipeline("multimodal-classification", model="user/model", trust_remote_code=True)
        classify({"text": "What a day!", "video": "clip.mp4"})
        classify([{"image": "face.png"}, {"audio": "voice.wav", "text": "Hm."}], batch_size=2)
        classify((row for row in dataset), batch_size=8)  # an iterator

    A row holds `text` (a string), `image`, `audio` and `video` (paths, bytes, open files, arrays, PIL, with
    `allow_urls` URLs; see `MoTProcessor`); what it lacks is left out, None or blank. The sound track of a video is
    heard unless the row has `audio`. What one file may cost is in `pipeline.processor.limits`, the `DecodingLimits` of
    `decoding_mot.py`. Modalities of the model's own stand in a row under their names, as the processor takes them
    (`MoTProcessor(modalities=...)`). What a row has several of is a list, `{"image": [front, back]}`. A row may be a
    document in the place of all this, its parts in their order: `{"document": [{"text": "Before"}, {"image": face},
    {"text": "after"}]}`; of a video in a document only the frames are seen.

    One row gives one answer, a list or tuple a list. Anything else that has rows (generators, `datasets`, datasets of
    torch) gives an iterator, which answers each of them once and in their order.

    Args of a call, or of the constructor for all calls:
        top_k: how many labels; all by default.
        batch_size, num_workers: rows answered at once, and processes that decode. Rows without numbers and an end, as
            those of a generator, are decoded by one process at most.
        num_frames: of a video; by default those of the processor.
        sampling_rate: Hz of bare arrays of sound.
        truncation: whether to cut text and sound that are longer than the model takes, which are an error otherwise.
        return_attribution: also what each modality contributed to the first label, or to the first number.
        on_error: "raise", or "skip": a row that cannot be read or answered gives an error in the place of its answer,
            {"row": its number in the whole input, "error": "ValueError: ..."}, and the others are answered.
        allow_urls: whether `image`, `audio` and `video` may be http(s) URLs, which they may not by default: the rows
            of a pipeline that is served come from somebody else, who would have this machine open connections.
            "public" follows URLs to public addresses alone.

    Returns, for each row:
        A list of {"label", "score"}, the likeliest first; or {"value"}, a number or a list of them, in regression.
        With `return_attribution`, {"labels" or "value", "attribution": {"prior": ..., modality: ...}}, whose numbers
        `attribution_mot.py` explains; with "attribution_error" {modality: its standard error} where a batch has more
        than six modalities, so that they are estimates.

    Raises:
        ValueError, OSError, ImportError: as `MoTProcessor`, naming what of which row cannot be read
            (`rows[5]: image ...`, counted over the whole input); or an unknown option or part of a row, with the
            nearest.
    """

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def __init__(self, model, *args, **kwargs):
        kwargs.pop("local_files_only", None)  # `pipeline(...)` has heeded it, and hands it on.
        check_sizes(kwargs)
        super().__init__(model, *args, **kwargs)
        if self.processor is None:
            raise ValueError("The pipeline needs a `processor`, the `MoTProcessor` that belongs to the model.")
        if getattr(model, "answers_with", None) not in ("classes", "numbers"):
            raise ValueError(
                f"{type(model).__name__} has no classifier: expected a model that classifies or gives numbers, such "
                "as MoTForSequenceClassification."
            )
        for modality in model.config.modalities:
            kind_in(self.processor, modality)

    def save_pretrained(self, save_directory, **kwargs):
        """The model, which brings the code of the pipeline, and the processor."""
        self.model.save_pretrained(save_directory, **kwargs)
        kwargs.pop("max_shard_size", None)
        self.processor.save_pretrained(save_directory, **kwargs)

    def _sanitize_parameters(
        self,
        top_k=None,
        num_frames=None,
        sampling_rate=None,
        truncation=None,
        return_attribution=None,
        on_error=None,
        allow_urls=None,
        **unknown,
    ) -> tuple[dict, dict, dict]:
        for name in unknown:
            raise unknown_name(name, OPTIONS, "argument")
        for name, value in {"top_k": top_k, "num_frames": num_frames, "sampling_rate": sampling_rate}.items():
            kind = numbers.Real if name == "sampling_rate" else numbers.Integral
            if value is not None and not (isinstance(value, kind) and value >= 1 and value is not True):
                raise ValueError(f"`{name}` is {value!r}: expected a whole number of at least 1.")
        flags = {"truncation": truncation, "return_attribution": return_attribution}
        for name, value in flags.items():
            if not is_one_of(value, None, True, False):
                raise ValueError(f"`{name}` is {value!r}: expected True or False.")
        if not is_one_of(allow_urls, None, True, False, "public"):
            raise ValueError(f"`allow_urls` is {allow_urls!r}: expected True, False or 'public'.")
        if not is_one_of(on_error, None, "raise", "skip"):
            raise ValueError(f"`on_error` is {on_error!r}: expected 'raise' or 'skip'.")
        preprocess = {"num_frames": num_frames, "sampling_rate": sampling_rate, "truncation": truncation}
        preprocess |= {"on_error": on_error, "allow_urls": allow_urls}
        forward = {"return_attribution": return_attribution, "truncation": truncation}
        return tuple(
            {name: value for name, value in options.items() if value is not None}
            for options in (preprocess, forward, {"top_k": top_k})
        )

    def __call__(self, inputs, *args, **kwargs):
        if args:
            raise ValueError(f"Options are given by name ({', '.join(OPTIONS)}); got {args!r} behind the rows.")
        if hasattr(inputs, "iterrows"):
            raise ValueError('Got a table of pandas: pass its rows, `table.to_dict("records")`.')
        check_sizes(kwargs)
        if isinstance(inputs, (Mapping, str, bytes)) or not (has_numbers(inputs) or isinstance(inputs, Iterable)):
            return super().__call__(inputs, **kwargs)
        answers = super().__call__(NumberedRows(inputs) if has_numbers(inputs) else StreamedRows(inputs), **kwargs)
        return list(answers) if isinstance(inputs, (list, tuple)) else answers

    def get_iterator(self, rows, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        options = dict(preprocess_params)
        on_error = options.pop("on_error", "raise")
        rows.decode = partial(self.preprocess, **options)
        if isinstance(rows, StreamedRows) and num_workers > 1:  # each would read all of them
            logger.warning_once("Rows without numbers and an end are decoded by one process, not by num_workers.")
            num_workers = 1
        for batch in DataLoader(rows, batch_size=batch_size, num_workers=num_workers, collate_fn=list):
            for number, answer in self.answer_batch(batch, on_error, forward_params):
                if isinstance(answer, Exception):
                    yield failure(answer, number)
                else:
                    yield self.postprocess(answer, **postprocess_params)

    def answer_batch(self, batch: list[DecodedRow], on_error: str, forward_params: dict) -> list[tuple[int, Any]]:
        """Number and answer of each row, or number and error of those that have none."""
        if on_error == "raise":
            for _, row in batch:
                if isinstance(row, Exception):
                    raise row
        decoded = [(number, row) for number, row in batch if not isinstance(row, Exception)]
        answers = dict(batch) | dict(self.answer_rows(decoded, on_error, forward_params) if decoded else ())
        return list(answers.items())

    def answer_rows(self, rows: list[tuple[int, dict]], on_error: str, forward_params: dict) -> list[tuple[int, Any]]:
        try:
            answers = self.forward([row for _, row in rows], **forward_params)
            return [(number, answer) for (number, _), answer in zip(rows, answers)]
        except ROW_ERRORS as error:
            if len(rows) > 1:  # whose error it is shows when each is alone
                return [found for row in rows for found in self.answer_rows([row], on_error, forward_params)]
            ((number, _),) = rows
            if on_error == "raise":
                raise named(error, number) from error
            return [(number, named(error, number))]

    def run_single(self, inputs, preprocess_params, forward_params, postprocess_params):
        options = dict(preprocess_params)
        on_error = options.pop("on_error", "raise")
        try:
            (answer,) = self.forward([self.preprocess(inputs, **options)], **forward_params)
        except ROW_ERRORS as error:
            if on_error == "raise":
                raise
            return failure(error, 0)
        return self.postprocess(answer, **postprocess_params)

    def preprocess(
        self,
        row: Mapping,
        num_frames: int | None = None,
        sampling_rate: int | None = None,
        truncation: bool = False,
        allow_urls: bool | str = False,
        name: str = "",
    ) -> dict:
        """A row with everything decoded; errors begin with `name`."""
        modalities, heard = self.model.config.modalities, self.heard(truncation)
        reading = RowReading(self.processor, modalities, allow_urls, name, num_frames, sampling_rate, heard)
        if isinstance(row, Mapping) and DOCUMENT in row:
            return {DOCUMENT: read_document(row, reading, self.processor.rows)}
        row = read_row(row, name, self.processor.rows)
        decoded = {}
        for modality in self.processor.kinds.values():
            decoded |= modality.decode(row, reading)
        if not decoded:
            raise ValueError(f"{name}The model takes {', '.join(modalities)}, and nothing of the row is that.")
        return decoded

    def heard(self, truncation: bool) -> float | None:
        """Seconds of a sound that are decoded: with `truncation`, what the model takes, and one more for the edge."""
        config, seconds = self.model.config, []
        for m in config.modalities if truncation else ():
            options = kind_in(self.processor, m).cut_options(config.modality_config(m), self.processor)
            seconds += [options["max_audio_seconds"]] if "max_audio_seconds" in options else []
        return max(seconds) + 1 if seconds else None

    def encode(self, rows: list[dict], truncation: bool = False) -> dict[str, torch.Tensor]:
        """The batch that the model takes, of rows as `preprocess` gives them, all of them documents or none."""
        if rows[0].keys() == {DOCUMENT}:
            return encode_rows(self.processor, self.model, {"documents": [row[DOCUMENT] for row in rows]}, truncation)
        # Pictures are videos of one frame where the batch has videos; else there is no axis of frames.
        cells = self.processor.rows.cells.values()
        names = [cell.argument for cell in cells if any(cell.argument in row for row in rows)]
        return encode_rows(self.processor, self.model, {n: [row.get(n) for row in rows] for n in names}, truncation)

    def _forward(self, rows: list[dict], return_attribution: bool = False, truncation: bool = False) -> list[dict]:
        are_documents = [DOCUMENT in row for row in rows]
        if len(set(are_documents)) > 1:  # which no one batch holds
            places = sorted(range(len(rows)), key=are_documents.__getitem__)
            parts = ([row for row, is_one in zip(rows, are_documents) if is_one == wanted] for wanted in (False, True))
            answers = [answer for part in parts for answer in self._forward(part, return_attribution, truncation)]
            return [answer for _, answer in sorted(zip(places, answers), key=lambda pair: pair[0])]
        batch = self.encode(rows, truncation)
        logits = self.model(**batch).logits
        if not logits.isfinite().all():
            raise ValueError(
                f"The model answers with numbers that are not finite: the weights of the checkpoint "
                f"{self.model.config._name_or_path} are damaged, or too large for {logits.dtype}."
            )
        scores = self.answers(logits)
        if not return_attribution:
            return [{"scores": row} for row in scores]
        found = modality_contributions(self.model, batch)
        return [{"scores": scores[i]} | self.attribution(found, i) for i in range(len(rows))]

    def answers(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of classes, of each by itself if several may hold; or numbers."""
        return self.model.score(logits.float())

    @staticmethod
    def attribution(found: Contributions, row: int) -> dict[str, dict[str, float]]:
        """What each modality of a row contributed, and where that is an estimate the standard error of each."""
        parts = {"attribution": {"prior": found.prior[row].item()} | found.of_row(row)}
        return parts if found.error is None else parts | {"attribution_error": found.errors_of_row(row)}

    def postprocess(self, answer: dict, top_k: int | None = None) -> Any:
        scores, config = answer["scores"].cpu(), self.model.config
        if self.model.answers_with == "numbers":
            result = {"value": scores.item() if scores.numel() == 1 else scores.tolist()}
        else:
            order = scores.argsort(descending=True)[:top_k].tolist()
            result = [{"label": config.id2label[i], "score": scores[i].item()} for i in order]
        if "attribution" not in answer:
            return result
        shares = {name: value for name, value in answer.items() if name != "scores"}
        return (result if isinstance(result, dict) else {"labels": result}) | shares


def read_row(row: Mapping, name: str = "", table: RowTable = HISTORIC) -> dict:
    """What a row has, by the names of cells; open files are read, since a video is wanted more than once."""
    if not isinstance(row, Mapping):
        raise ValueError(f'{name}A row is a dict, such as {{"text": ..., "image": ...}}; got {type(row).__name__}.')
    for key in map(str, row):
        if key not in (*table.cells, *table.synonyms):
            error = unknown_name(key, table.cells, f"part of {name.rstrip(': ') or 'a row'}")
            raise ValueError(f"{error} Leave out what is no input: `dataset.remove_columns({key!r})`.")
    row = resolve_synonyms(row, table.synonyms, name)
    row = {key: cell for key, value in row.items() if (cell := read_cell(table, key, value, name)) is not None}
    if not row:
        raise ValueError(f"{name}A row needs at least one of {', '.join(table.cells)}, and more than white space.")
    for modality in table.kinds.values():
        forms = [
            f"{'an' if cell.name[0] in 'aeiou' else 'a'} {cell.name}" for cell in modality.cells if cell.name in row
        ]
        if len(forms) > 1:
            raise ValueError(f"{name}A row has either {' or '.join(forms)}, got both.")
    return row


def read_document(row: Mapping, reading: RowReading, table: RowTable) -> list[dict]:
    """The parts of a row that is a document, decoded, by the arguments of the processor."""
    parts = row[DOCUMENT]
    if len(row) > 1 or not isinstance(parts, (list, tuple)):
        raise ValueError(
            f"{reading.name}A row with a `{DOCUMENT}` has nothing else, and that is a list of parts such as "
            f'{{"text": ...}}; got {", ".join(map(str, row))}, and {type(parts).__name__}.'
        )
    decoded = []
    for number, part in enumerate(parts):
        segments = table.read_part(part, f"{reading.name}{DOCUMENT}[{number}]", number)
        if segments:
            decoded.append({segments[0].argument: [decode_segment(segment, reading, table) for segment in segments]})
    if not decoded:
        raise ValueError(f"{reading.name}The document has no part that is more than None or blank.")
    return decoded


def decode_segment(segment: Segment, reading: RowReading, table: RowTable) -> Any:
    """A segment of a document, decoded; ready features are what they are."""
    if segment.argument in table.ready:
        return segment.value
    cell, modality = table.raw[segment.argument]
    value = modality.check_cell(cell, read_once(segment.value, segment.name), segment.name)
    return modality.decode_cell(replace(cell, name=segment.name.removeprefix(reading.name)), value, reading)


def read_cell(table: RowTable, key: str, value: Any, name: str) -> Any:
    """A cell, or a list of its segments if it has several; without what is None or blank, None if that is all."""
    cell, modality = table.cells[key], table.modality_of_cell[key]
    if isinstance(value, (list, tuple)):
        value = type(value)(read_once(part, f"{name}{key}[{i}]") for i, part in enumerate(value))
    segments = table.segments_of(cell.argument, read_once(value, f"{name}{key}"), f"{name}{key}")
    checked = [modality.check_cell(cell, segment.value, segment.name) for segment in segments]
    return checked if len(checked) > 1 else checked[0] if checked else None


__all__ = ["MultimodalClassificationPipeline"]
