# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`MoTCausalProcessor`: documents of texts, pictures and sounds become the token ids of a causal model, and ids that a
model has generated become texts, pictures and sounds.

A medium goes one of two ways: a tokenizer makes codes of it, which the model can also generate, or it stays raw for
the model's tower, and placeholders keep its place. Either way it stands between a begin and an end token.
"""

import copy
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase
from transformers.feature_extraction_utils import BatchFeature
from transformers.utils import logging

from .cells_mot import ProcessorCall
from .configuration_causal_mot import TEXT, MoTCausalConfig
from .documents_mot import Found, Part, find_in, read_documents, read_marked
from .feature_extraction_mot import MoTFeatureExtractor
from .grammar_mot import INTERLEAVED
from .media_causal_mot import CODEC_OF, Codec, load_tokenizer, parts_for
from .processing_mot import OPTION_GROUPS, MoTProcessor
from .rows_mot import Segment, naming, unknown_name
from .towers_causal_mot import num_tower_tokens
from .warm_start_mot import read_config

logger = logging.get_logger(__name__)

BEGIN_TOKEN, END_TOKEN = "<|begin_{}|>", "<|end_{}|>"
END_OF_DOCUMENT = "<|end|>"  # of a tokenizer that has none
MARKER = "<{}>"  # of a medium in a text
CODES = "codes"  # the key of a medium that is given as its codes
# The options of texts that a document has, of all that a tokenizer takes.
PADDING_OPTIONS = ("padding", "padding_side", "pad_to_multiple_of")
TEXT_OPTIONS = (*PADDING_OPTIONS, "add_special_tokens", "max_length", "truncation", "return_tensors")
# A conversation is one document: the entries of its messages in their order, and a line for each text where two meet.
DOCUMENT_TEMPLATE = """\
{%- set last = namespace(is_text=false) -%}
{%- for message in messages -%}
{%- set content = message['content'] -%}
{%- set entries = [{'type': 'text', 'text': content}] if content is string else content -%}
{%- for entry in entries -%}
{%- set is_text = entry['type'] == 'text' -%}
{%- if loop.first and is_text and last.is_text %}{{ '\\n' }}{% endif -%}
{{- entry['text'] if is_text else '<' + entry['type'] + (':raw>' if entry['raw'] else '>') -}}
{%- set last.is_text = is_text -%}
{%- endfor -%}
{%- endfor -%}
"""


@dataclass(frozen=True)
class Piece:
    """
    The ids of one part of a document, whole.

    Args:
        place: of a raw medium among those of its modality; None elsewhere.
    """

    modality: str
    ids: list[int]
    place: int | None = None

    def is_raw_of(self, modality: str) -> bool:
        return self.modality == modality and self.place is not None


@dataclass(frozen=True)
class TokenRow:
    """The ids of one document, and the pieces that are in it."""

    ids: list[int]
    pieces: list[Piece]


def generating_tokenizer(tokenizer: PreTrainedTokenizerBase, modalities: Sequence[str]) -> PreTrainedTokenizerBase:
    """
    A tokenizer that has all tokens of documents, pads on the left, and begins a text as documents begin: the same one,
    or a copy with what it lacked.

    BERT's tokens of a whole input, [CLS] and [SEP], begin and end documents where nothing else does.
    """
    wanted = {}
    if tokenizer.bos_token is None and tokenizer.cls_token is not None:
        wanted["bos_token"] = tokenizer.cls_token
    if tokenizer.eos_token is None:
        wanted["eos_token"] = tokenizer.sep_token or END_OF_DOCUMENT
    if tokenizer.pad_token is None:
        wanted["pad_token"] = wanted.get("eos_token", tokenizer.eos_token)
    marks = [mark.format(name) for name in modalities for mark in (BEGIN_TOKEN, END_TOKEN)]
    new = [mark for mark in marks if mark not in tokenizer.get_vocab()]
    if wanted or new or tokenizer.padding_side != "left" or not begins_as_documents(tokenizer):
        tokenizer = copy.deepcopy(tokenizer)
        tokenizer.padding_side = "left"
        tokenizer.add_special_tokens(wanted)
        tokenizer.add_tokens(new, special_tokens=True)
        if not begins_as_documents(tokenizer):  # the text-generation pipeline calls the tokenizer alone
            tokenizer.add_bos_token, tokenizer.add_eos_token = tokenizer.bos_token is not None, False
    return tokenizer


def begins_as_documents(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether the tokenizer by itself puts before and after a text what stands there in a document to go on with."""
    return tokenizer("")["input_ids"] == ([] if tokenizer.bos_token is None else [tokenizer.bos_token_id])


def fitting(row: Sequence[Piece], room: int) -> list[Piece]:
    """The first pieces of a row that have room, in tokens: of a text what fits, of a medium all or nothing."""
    kept = []
    for piece in row:
        if len(piece.ids) > room:
            return kept + ([Piece(TEXT, piece.ids[:room])] if piece.modality == TEXT and room > 0 else [])
        kept.append(piece)
        room -= len(piece.ids)
    return kept


def is_codes(value: Any) -> bool:
    """Whether a medium is given as its codes."""
    return isinstance(value, Mapping) and CODES in value


def is_empty(value: Any) -> bool:
    return isinstance(value, str) and not value


def is_one_row(ids: Any) -> bool:
    """Whether ids are those of one row (L,), not of a batch."""
    if isinstance(ids, (torch.Tensor, np.ndarray)):
        return ids.ndim < 2
    return not any(isinstance(row, (list, tuple, torch.Tensor, np.ndarray)) for row in ids)


def entries_of(message: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a message's content, none where it is a plain text."""
    content = message.get("content") or []
    return [] if isinstance(content, str) else list(content)


def sources_of(entry: Mapping[str, Any]) -> list[Any]:
    """The medium that an entry of a conversation names, in a list; an empty one where another argument has it."""
    keys = [key for key in (entry["type"], "url", "path") if key in entry]
    if "base64" in entry:
        return [f"data:;base64,{entry['base64']}"]
    return [entry[keys[0]]] if keys else []


def decode_each(codec: Codec, codes: list[torch.LongTensor]) -> list[Any]:
    """Media of their codes; None, and a warning, for one whose codes are of no medium, as a model may write them."""
    try:
        return codec.decode(codes)
    except ValueError as error:
        if len(codes) > 1:
            return [medium for each in codes for medium in decode_each(codec, [each])]
        logger.warning(f"Codes that {type(codec.tokenizer).__name__} cannot decode: {error}")
        return [None]


class MoTCausalProcessor(MoTProcessor):
    """
    Tokenizers of texts, pictures and sounds as one, with readers of raw media: documents in, token ids out, and back.

    `processor.limits` says what one file may cost, as in [`MoTProcessor`].

    Args:
        tokenizer: any of texts. Tokens that it lacks are added to a copy of it: those that begin and end the media,
            one that ends a document, one that pads.
        image_tokenizer, audio_tokenizer: what makes codes of pictures and sounds, as `MoTImageTokenizer` and
            `MoTAudioTokenizer` do; None: such media are not generated.
        image_processor, feature_extractor: what makes `pixel_values` and `input_features` of raw media; by default
            such as `encoders` take.
        token_ranges: `[name, first id, id after the last]` of each modality; by default those that are needed, behind
            the ids of text.
        begin_ids, end_ids (`dict[str, int]`): the ids between which a modality's tokens stand; by default those of
            `<|begin_image|>`, `<|end_image|>` and so on.
        placeholder_ids (`dict[str, int]`): where the tokens of a tower go; by default the last id of the range.
        encoders (`dict[str, dict]`): the towers of the model, as in [`MoTCausalConfig`], which says how many tokens a
            raw medium has; {} for none.
        text_vocab_size (`int`): the least number of ids that are text, such as the rows of a table of embeddings that
            a model begins with; those of the tokenizer, and those that begin and end media, are in any case.
        modalities (`dict`): kinds of raw input beyond pictures and sounds, as in [`MoTProcessor`].
        chat_template (`str`): by default a conversation is one document, without names of roles.

    Raises:
        ValueError: parts that do not fit each other, such as a tokenizer of more codes than its range has ids.
    """

    def __init__(
        self,
        tokenizer=None,
        image_tokenizer=None,
        audio_tokenizer=None,
        image_processor=None,
        feature_extractor=None,
        token_ranges=None,
        begin_ids=None,
        end_ids=None,
        placeholder_ids=None,
        encoders=None,
        text_vocab_size=None,
        modalities=None,
        chat_template=None,
    ):
        if not isinstance(tokenizer, PreTrainedTokenizerBase):
            raise ValueError(
                f"`tokenizer` has type {type(tokenizer).__name__}: expected one of texts, such as "
                "`AutoTokenizer.from_pretrained` gives."
            )
        tokenizers = zip(CODEC_OF.items(), (image_tokenizer, audio_tokenizer), strict=True)
        self.codecs = {name: codec(given) for (name, codec), given in tokenizers if given is not None}
        self.encoders = {name: dict(encoder) for name, encoder in (encoders or {}).items()}
        parts = parts_for(self.encoders)
        names = [name for name, _, _ in token_ranges or ()] or self._needed_names(modalities)
        self.begin_ids, self.end_ids = dict(begin_ids or {}), dict(end_ids or {})
        unmarked = [name for name in names if name not in self.begin_ids]
        tokenizer = generating_tokenizer(tokenizer, unmarked)
        super().__init__(
            image_processor or parts.get("image_processor"),
            feature_extractor or parts.get("feature_extractor"),
            tokenizer,
            modalities=modalities,
        )
        if isinstance(self.feature_extractor, MoTFeatureExtractor) and self.feature_extractor.padding_side == "right":
            self.feature_extractor = copy.copy(self.feature_extractor)
            self.feature_extractor.padding_side = None  # batches of a pipeline are padded on the tokenizer's side
        for name in unmarked:
            ids = tokenizer.convert_tokens_to_ids([BEGIN_TOKEN.format(name), END_TOKEN.format(name)])
            self.begin_ids[name], self.end_ids[name] = ids
        self.text_vocab_size = max(len(tokenizer), text_vocab_size or 0)
        self.token_ranges = self._new_ranges(names) if token_ranges is None else [list(r) for r in token_ranges]
        self.placeholder_ids = dict(placeholder_ids or {})
        self.chat_template = DOCUMENT_TEMPLATE if chat_template is None else chat_template
        self.layout = MoTCausalConfig.from_dict(self.config_fields)
        self.placeholder_ids, self.token_ranges = self.layout.placeholder_ids, self.layout.token_ranges
        for name in self.layout.modalities[1:]:  # `image_token`, `audio_token`: what the library calls the markers
            setattr(self, f"{name}_token", MARKER.format(name))
        self._check_parts()

    @classmethod
    def from_causal_lm(
        cls,
        name: str | os.PathLike,
        *,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **parts,
    ) -> "MoTCausalProcessor":
        """
        A processor for a model that begins as a language model, with the tokenizer of that: no id of text moves, since
        those of media begin behind all rows of its table of embeddings, of which a tokenizer may not use the last.

        Args:
            name: as in [`MoTForCausalLM.from_causal_lm`], which takes the `config_fields` of the processor.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            parts: the other arguments of the class.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        rows = read_config(name, **hub).vocab_size
        return cls.from_unimodal_pretrained(text=name, **hub, **{"text_vocab_size": rows} | parts)

    def _needed_names(self, modalities: Mapping | None) -> list[str]:
        """The modalities that a tokenizer or a tower makes tokens of: pictures, sounds, others as they are named."""
        known = [*CODEC_OF, *(modalities or {})]
        for name in self.encoders:
            if name not in known:
                raise unknown_name(name, known, "modality in `encoders`:")
        return [name for name in known if name in self.codecs or name in self.encoders]

    def _new_ranges(self, names: Iterable[str]) -> list[list]:
        """A range behind the texts for each modality: the codes of its tokenizer, and a placeholder for its tower."""
        ranges, start = [], self.text_vocab_size
        for name in names:
            stop = start + (self.codecs[name].num_codes if name in self.codecs else 0) + (name in self.encoders)
            ranges.append([name, start, stop])
            start = stop
        return ranges

    def _check_parts(self) -> None:
        """Raise a ValueError unless the tokenizers, the towers and the ranges of ids fit each other."""
        for name, codec in self.codecs.items():
            if name not in self.layout.modalities:
                raise ValueError(f"There is an `{name}_tokenizer`, but `token_ranges` has no ids for {name!r}.")
            if (number := len(self.layout.codes(name))) != codec.num_codes:
                raise ValueError(
                    f"`{name}_tokenizer` has {codec.num_codes} codes, but `token_ranges` gives {name!r} {number} ids "
                    "for them: expected as many. Take the tokenizer with which the model was trained."
                )

    # What a model's config takes

    @property
    def config_fields(self) -> dict[str, Any]:
        """The fields of a [`MoTCausalConfig`] that follow from the processor."""
        tokenizer = self.tokenizer
        fixed = {name: codec.num_tokens for name, codec in self.codecs.items() if codec.num_tokens is not None}
        return {
            "vocab_size": max([self.text_vocab_size, *(stop for _, _, stop in self.token_ranges)]),
            "token_ranges": [list(entry) for entry in self.token_ranges],
            "begin_ids": dict(self.begin_ids),
            "end_ids": dict(self.end_ids),
            "num_tokens": fixed,
            "encoders": copy.deepcopy(self.encoders),
            "placeholder_ids": dict(self.placeholder_ids),
            "bos_token_id": tokenizer.bos_token_id,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        }

    def config_for(self, **fields) -> MoTCausalConfig:
        """A config for models that this processor feeds; `fields` are the others of [`MoTCausalConfig`]."""
        return MoTCausalConfig(**{**self.config_fields, **fields})

    @property
    def model_input_names(self) -> list[str]:
        raw = [self.kinds[name].names for name in self.encoders]
        return ["input_ids", "attention_mask", *(name for names in raw for name in (names.raw, names.mask))]

    # Documents to ids

    def __call__(  # type: ignore[override]  # a batch of documents is no batch of columns
        self,
        documents: Sequence | str | None = None,
        text: str | Sequence[str] | None = None,
        images: Any = None,
        audio: Any = None,
        add_eos: bool | None = None,
        allow_urls: bool | str | None = None,
        max_audio_seconds: float | None = None,
        **kwargs,
    ) -> BatchFeature:
        """
        Args:
            documents: a list with a document for each row of the batch, which is a list of parts: `{"text": str}`,
                `{"image": picture}`, `{"audio": sound}`. A medium is anything that [`MoTProcessor`] reads, or
                `{"codes": (n,)}`. `"raw": True` beside it sends it through the model's tower; it goes there by itself
                where there is no tokenizer for it. A string or a list of them is taken as `text`.
            text: instead, texts with a marker for each medium: `<image>`, `<audio>`, or `<image:raw>`. Spaces beside
                a marker do not count.
            images, audio: the media of the markers: a list for each text, or one of all in their order.
            add_eos: whether documents are complete, as those are that a model learns from; by default they are not.
            allow_urls, max_audio_seconds: as in [`MoTProcessor`].
            kwargs: `padding` (True), `padding_side` ("left"), `max_length`, `truncation`, `pad_to_multiple_of`,
                `return_tensors`, `add_special_tokens`, also in `text_kwargs`; `sampling_rate`, in Hz, of samples that
                come without one; `images_kwargs` and `audio_kwargs` of raw media; and media of further modalities by
                their names. `truncation=True` cuts documents at `max_length` tokens: texts anywhere, but a medium that
                does not fit whole is left out with all that follows. A document that was cut has no end token.

        Returns:
            `input_ids` and `attention_mask` (B, L); and of raw media, N of all rows in reading order, `pixel_values`
            (N, C, H, W) with `pixel_mask` (N,), `input_features` (N, T, mel) with `input_features_mask` (N, T).

        Raises:
            ValueError: naming the part that cannot be read, or of which there is no tokenizer and no tower; a marker
                without a medium, or the reverse; a text that holds tokens which begin or end media; a row longer than
                `max_length` without truncation.
        """
        given = {"images": images, "audio": audio}
        given |= {name: kwargs.pop(name) for name in (*self._arguments(), "videos") if name in kwargs}
        rows = self._read(documents, text, given)
        self._check_options(kwargs, ["documents", "text", *self._arguments()])
        options = self._text_options(kwargs)
        merged = self._merge_kwargs(tokenizer_init_kwargs=self.tokenizer.init_kwargs, **kwargs)
        access = True if allow_urls is None else allow_urls
        pieces, raw = self._encode(rows, ProcessorCall(self, merged, kwargs, access, max_audio_seconds))
        sequences = [self._sequence(i, row, add_eos, options) for i, row in enumerate(pieces)]
        batch = self._pad([sequence.ids for sequence in sequences], options)
        for name, tensors in raw.items():
            kept = [piece.place for sequence in sequences for piece in sequence.pieces if piece.is_raw_of(name)]
            batch |= {key: values[kept] for key, values in tensors.items()} if kept else {}
        return BatchFeature(batch, tensor_type=options.get("return_tensors"))

    def _arguments(self) -> dict[str, str]:
        """The arguments of media in a call, and the modality of each."""
        names = self.layout.modalities[1:]
        return {self.kinds[name].cells[0].argument if name in self.kinds else name: name for name in names}

    def _read(self, documents: Any, text: Any, given: dict[str, Any]) -> list[list[Part]]:
        """The parts of each row, from either way to give them."""
        is_text = isinstance(documents, str) or (
            isinstance(documents, (list, tuple)) and len(documents) > 0 and all(isinstance(d, str) for d in documents)
        )
        if is_text and text is None:
            documents, text = None, documents
        given = {argument: value for argument, value in given.items() if value is not None}
        arguments = self._arguments()
        for argument in given:
            if argument not in arguments:
                raise ValueError(
                    f"`{argument}` was given, but this processor has no ids for it: its `token_ranges` have "
                    f"{', '.join(self.layout.modalities[1:]) or 'nothing'}."
                )
        if documents is not None and (text is not None or given):
            raise ValueError("Got `documents` beside `text` or media: documents hold all inputs of a batch.")
        if documents is not None:
            return read_documents(documents, self.layout.modalities)
        if text is None:
            raise ValueError(
                f"{type(self).__name__} got no `documents` and no `text`: media are given with a text that has a "
                "marker for each, such as <image>."
            )
        texts = [text] if isinstance(text, str) else list(text)
        return read_marked(texts, {name: given.get(argument) for argument, name in arguments.items()}, self.rows)

    def _text_options(self, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The options of texts as they were given, flat or in a group, of which each is one that documents have."""
        named = {**kwargs.get("common_kwargs", {}), **kwargs.get("text_kwargs", {}), **kwargs}
        elsewhere = set().union(*(self._routed_options(group) for group in OPTION_GROUPS if group != "text_kwargs"))
        for name in sorted(named.keys() & (self._routed_options("text_kwargs") - elsewhere - {*TEXT_OPTIONS})):
            raise ValueError(f"`{name}` is an option of tokenizers that documents do not have: leave it out.")
        return {**self.text_kwargs, **{name: named[name] for name in TEXT_OPTIONS if name in named}}

    def _encode(self, rows: list[list[Part]], call: ProcessorCall) -> tuple[list[list[Piece]], dict[str, dict]]:
        """The ids of each part of each row, and the tensors of the raw media by modality, N of all rows."""
        parts = [part for row in rows for part in row]
        pieces: dict[int, Piece] = {}  # by the part's number
        raw = {}
        for name in self.layout.modalities:
            own = [i for i, part in enumerate(parts) if part.modality == name]
            raw_own = [i for i in own if self._is_raw(parts[i])]
            coded = [i for i in own if i not in set(raw_own)]
            if coded:
                encode = self._encode_texts if name == TEXT else self._encode_media
                pieces |= zip(coded, encode([parts[i] for i in coded], call))
            if raw_own:
                encoded, raw[name] = self._encode_raw([parts[i] for i in raw_own], call)
                pieces |= zip(raw_own, encoded)
        numbers = iter(range(len(parts)))
        return [[pieces[next(numbers)] for _ in row] for row in rows], raw

    def _is_raw(self, part: Part) -> bool:
        """Whether a part goes through the model's tower: where it says so, or where nothing else can take it."""
        name = part.modality
        is_code = is_codes(part.value)
        if name == TEXT:
            return False
        if is_code and part.is_raw:
            raise ValueError(f"{part.name} is given as its codes, which no tower reads: leave out `raw`.")
        can_be_coded = is_code or name in self.codecs
        is_raw = not can_be_coded if part.is_raw is None else part.is_raw
        if is_raw and name not in self.encoders:
            lacks = "no tower" if can_be_coded else "neither a tokenizer nor a tower"
            raise ValueError(
                f"{part.name} cannot be read: this processor has {lacks} for {name!r}. Build it with "
                f"`encoders={{{name!r}: ...}}`" + ("." if can_be_coded else f" or `{name}_tokenizer=...`.")
            )
        if not is_raw and not can_be_coded:
            raise ValueError(f"{part.name} has `raw` False, but this processor has no `{name}_tokenizer`.")
        return is_raw

    def _encode_texts(self, parts: list[Part], call: ProcessorCall) -> list[Piece]:
        rows = self.tokenizer([part.value for part in parts], add_special_tokens=False)["input_ids"]
        marks = {token for _, token in self.layout.marks()}
        for part, ids in zip(parts, rows):
            if found := [token for token in ids if token in marks or self.layout.modality_of(token) != TEXT]:
                raise ValueError(
                    f"{part.name} holds {self.tokenizer.convert_ids_to_tokens(found[0])}, a token of media and no "
                    "text: give a medium as a part of its own, or by a marker. What a model is to make next is the "
                    "`generation_mode` of `generate`."
                )
        return [Piece(TEXT, ids) for ids in rows]

    def _encode_media(self, parts: list[Part], call: ProcessorCall) -> list[Piece]:
        """The codes of media that were given as those, or that the tokenizer makes, between begin and end."""
        name = parts[0].modality
        ready = {i: part.value[CODES] for i, part in enumerate(parts) if is_codes(part.value)}
        others = [i for i in range(len(parts)) if i not in ready]
        if others:
            codec, rate = self.codecs[name], call.options["audio_kwargs"].get("sampling_rate")
            access = {"allow_urls": call.allow_urls, "limits": self.limits}
            media = [codec.read(parts[i].value, parts[i].name, rate, call.max_audio_seconds, access) for i in others]
            ready |= zip(others, codec.encode(media))
        codes = self.layout.codes(name)
        return [
            self._between(name, [codes[code] for code in self._checked_codes(part, ready[i])])
            for i, part in enumerate(parts)
        ]

    def _checked_codes(self, part: Part, given: Any) -> list[int]:
        """Codes (n,) as plain numbers, each of which has an id, and as many as a medium of the modality has."""
        codes, name = torch.as_tensor(given), part.modality
        most, number = len(self.layout.codes(name)), self.layout.num_tokens.get(name)
        if codes.ndim != 1 or codes.is_floating_point() or codes.dtype == torch.bool:
            raise ValueError(
                f"{part.name} has codes of shape {tuple(codes.shape)} and type {codes.dtype}: expected whole numbers "
                "(n,)."
            )
        if len(codes) and not 0 <= int(codes.min()) <= int(codes.max()) < most:
            raise ValueError(
                f"{part.name} has codes from {int(codes.min())} to {int(codes.max())}, expected 0 to {most - 1}: "
                f"{name!r} has {most} ids for codes."
            )
        if number is not None and len(codes) != number:
            raise ValueError(f"{part.name} has {len(codes)} codes, expected {number} as every medium of {name!r} has.")
        return codes.tolist()

    def _encode_raw(self, parts: list[Part], call: ProcessorCall) -> tuple[list[Piece], dict[str, torch.Tensor]]:
        """Placeholders for each of several raw media of a modality, as many as its tower gives tokens, and tensors."""
        name = parts[0].modality
        modality, encoder = self.kinds[name], self.encoders[name]
        argument = modality.cells[0].argument
        with naming([Segment(argument, part.value, part.name) for part in parts]):
            tensors = modality.collect({argument: [part.value for part in parts]}, self._call_of(modality, call, {}))
        pieces = []
        for place, (values, mask) in enumerate(zip(tensors[modality.names.raw], tensors[modality.names.mask])):
            real = values[mask.bool()] if mask.ndim else values
            number = num_tower_tokens(name, encoder, real.shape)
            pieces.append(self._between(name, [self.layout.placeholder_ids[name]] * number, place))
        return pieces, tensors

    def _between(self, name: str, ids: list[int], place: int | None = None) -> Piece:
        """The ids of a medium between those that begin and end it."""
        begin, end = ([ids_of[name]] if name in ids_of else [] for ids_of in (self.begin_ids, self.end_ids))
        return Piece(name, [*begin, *ids, *end], place)

    def _sequence(self, i: int, row: list[Piece], add_eos: bool, options: Mapping[str, Any]) -> TokenRow:
        """The ids of one document, cut where it is too long and may be."""
        tokenizer, limit = self.tokenizer, options.get("max_length")
        may_cut = options.get("truncation") not in (None, False, "do_not_truncate")
        if (may_cut or limit is not None) and not (isinstance(limit, int) and limit >= 1):
            raise ValueError(f"`max_length` is {limit!r}: expected a number of tokens, which `truncation` needs.")
        bos = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        has_bos = bool(row) and row[0].ids[:1] == bos  # a template may write it
        before = bos if options.get("add_special_tokens", True) and not has_bos else []
        after = [tokenizer.eos_token_id] if add_eos else []
        length = len(before) + sum(len(piece.ids) for piece in row) + len(after)
        if limit is not None and length > limit:
            if not may_cut:
                raise ValueError(
                    f"Row {i} has {length} tokens, more than `max_length` ({limit}): raise it, or pass "
                    "`truncation=True`, which cuts texts and leaves out media that do not fit whole."
                )
            row, after = fitting(row, limit - len(before)), []
        ids = [*before, *(token for piece in row for token in piece.ids), *after]
        if not ids:
            raise ValueError(f"Row {i} is empty, and the tokenizer has no `bos_token` that begins a document.")
        return TokenRow(ids, row)

    def _pad(self, rows: list[list[int]], options: Mapping[str, Any]) -> dict[str, Any]:
        """Rows of ids and their masks, of one length where that is asked for."""
        named = {name: options[name] for name in PADDING_OPTIONS if name in options}
        if named.get("padding") == "max_length":
            named["max_length"] = options.get("max_length")
        return dict(self.tokenizer.pad({"input_ids": rows}, **named))

    # Ids to texts and media

    def post_process_multimodal_output(
        self,
        generated_outputs: Any,
        skip_special_tokens: bool = True,
        generation_mode: str | None = INTERLEAVED,
        **kwargs,
    ) -> list:
        """
        What `generate` has made.

        Args:
            generated_outputs: ids (B, L), or (L,) of one row.
            generation_mode: "interleaved"; "text" or None: the text of each row alone; or the name of another
                modality: the last medium of each row, None where there is none.
            kwargs: of the tokenizer's `decode`.

        Returns:
            For each row a list of ("text", str), ("image", picture of PIL), ("audio", samples (n,)) in their order,
            the prompt's with them. A medium is None that is not complete, that went through a tower, that this
            processor has no tokenizer for, or whose tokenizer refuses the codes.

        Raises:
            ValueError: an id that is in no vocabulary; an unknown mode.
        """
        if generation_mode in (None, TEXT):
            return self.post_process_image_text_to_text(generated_outputs, skip_special_tokens, **kwargs)
        if generation_mode not in (INTERLEAVED, *self.layout.modalities):
            raise unknown_name(str(generation_mode), [INTERLEAVED, *self.layout.modalities], "`generation_mode`")
        rows = [list(find_in(ids, self.layout)) for ids in self._rows_of_ids(generated_outputs)]
        self._fill_in_media(rows)
        for found in (found for row in rows for found in row if found.modality == TEXT):
            found.value = self.tokenizer.decode(found.ids, skip_special_tokens=skip_special_tokens, **kwargs)
        if generation_mode == INTERLEAVED:
            return [[(found.modality, found.value) for found in row if not is_empty(found.value)] for row in rows]
        own = [[found.value for found in row if found.modality == generation_mode] for row in rows]
        return [values[-1] if values else None for values in own]

    def post_process_image_text_to_text(
        self, generated_outputs: Any, skip_special_tokens: bool = True, **kwargs
    ) -> list[str]:
        """The text of each row of ids (B, L), without its media."""
        return self._decoded(generated_outputs, "", skip_special_tokens, kwargs)

    def batch_decode(self, sequences: Any, skip_special_tokens: bool = False, **kwargs) -> list[str]:
        """Each row of ids (B, L) as a text with a marker such as `<image>` for each medium."""
        return self._decoded(sequences, MARKER, skip_special_tokens, kwargs)

    def decode(self, token_ids: Any, skip_special_tokens: bool = False, **kwargs) -> str | list[str]:
        """The same of one row (L,), or of several."""
        texts = self.batch_decode(token_ids, skip_special_tokens, **kwargs)
        return texts[0] if is_one_row(token_ids) else texts

    def _decoded(self, sequences: Any, marker: str, skip_special_tokens: bool, options: dict[str, Any]) -> list[str]:
        texts = []
        for ids in self._rows_of_ids(sequences):
            words = [
                self.tokenizer.decode(found.ids, skip_special_tokens=skip_special_tokens, **options)
                if found.modality == TEXT
                else marker.format(found.modality)
                for found in find_in(ids, self.layout)
            ]
            texts.append(" ".join(word for word in words if word))
        return texts

    def _rows_of_ids(self, sequences: Any) -> list[list[int]]:
        """Ids (B, L) or (L,) as lists, each of them in the vocabulary."""
        sequences = [sequences] if is_one_row(sequences) else sequences
        rows = [torch.as_tensor(row).tolist() for row in sequences]
        most = self.layout.vocab_size
        for i, row in enumerate(rows):
            if wrong := [token for token in row if type(token) is not int or not 0 <= token < most]:
                raise ValueError(f"Row {i} has the id {wrong[0]!r}, expected whole numbers from 0 to {most - 1}.")
        return rows

    def _fill_in_media(self, rows: list[list[Found]]) -> None:
        """Decode what is whole and has codes alone, all media of a modality at once."""
        for name, codec in self.codecs.items():
            codes, number = self.layout.codes(name), self.layout.num_tokens.get(name)
            whole = [
                found
                for row in rows
                for found in row
                if found.modality == name
                and (len(found.ids) == number if number is not None else found.ids)
                and all(token in codes for token in found.ids)
            ]
            if whole:
                media = decode_each(codec, [torch.tensor(found.ids) - codes.start for found in whole])
                for found, medium in zip(whole, media, strict=True):
                    found.value = medium

    # Conversations

    def _multimodal_inputs_from_conversations(self, conversations, audio_loading_params, load_audio_from_video=False):
        """As in the library, but this processor's own readers open what is named, and sounds stay with their row."""
        given: dict[str, list[list]] = {argument: [] for argument in self._arguments()}
        for conversation in conversations:
            entries = [entry for message in conversation for entry in entries_of(message)]
            for entry in entries:
                if entry.get("type") not in self.layout.modalities:
                    raise unknown_name(str(entry.get("type")), self.layout.modalities, "type of an entry:")
            for argument, name in self._arguments().items():
                own = [sources_of(entry) for entry in entries if entry["type"] == name]
                given[argument].append([source for sources in own for source in sources])
        given = {argument: rows for argument, rows in given.items() if any(rows)}
        images, audio = (given.pop(self.kinds[name].cells[0].argument, []) for name in CODEC_OF)
        return images, [], audio, given

    # A processor as files

    def to_dict(self) -> dict[str, Any]:
        """As in the library, without the tokenizers of media, which have folders, and what follows from the rest."""
        shell = copy.copy(self)
        del shell.codecs, shell.layout
        return super(MoTCausalProcessor, shell).to_dict()

    def save_pretrained(self, save_directory, push_to_hub: bool = False, **kwargs):
        """As in the library, with a folder for each tokenizer of media: `image_tokenizer`, `audio_tokenizer`."""
        for name, codec in self.codecs.items():
            codec.tokenizer.save_pretrained(Path(save_directory, f"{name}_tokenizer"))
        return super().save_pretrained(save_directory, push_to_hub=push_to_hub, **kwargs)

    @classmethod
    def get_attributes(cls) -> list[str]:
        """The parts that the library saves and loads."""
        return MoTProcessor.get_attributes()

    @classmethod
    def _get_arguments_from_pretrained(cls, pretrained_model_name_or_path, processor_dict=None, **kwargs):
        """All parts in the order in which the class takes them."""
        parts = super()._get_arguments_from_pretrained(pretrained_model_name_or_path, processor_dict, **kwargs)
        image_processor, feature_extractor, tokenizer = parts
        codecs = [load_tokenizer(pretrained_model_name_or_path, f"{name}_tokenizer", **kwargs) for name in CODEC_OF]
        return [tokenizer, *codecs, image_processor, feature_extractor]


__all__ = ["MoTCausalProcessor"]
