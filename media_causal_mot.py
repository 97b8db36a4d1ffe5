# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The media of documents: how a picture or a sound is read, how a tokenizer makes codes of it, and what comes back.

A `Codec` joins a tokenizer of one modality to the readers of files; the processor asks for one by the modality's name
and does not know pictures from sounds.
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.utils import CONFIG_NAME, cached_file

from .configuration_causal_mot import tower_config
from .decoding_audio_mot import load_audio
from .decoding_image_mot import load_image
from .feature_extraction_mot import MoTFeatureExtractor
from .image_processing_mot import MoTImageProcessor
from .modalities_mot import MODALITIES
from .modality_audio_mot import AudioModality, MoTAudioConfig
from .modality_image_mot import ImageModality, MoTImageConfig
from .modality_mot import Modality
from .tokens_mot import MoTAudioTokenizer, MoTImageTokenizer
from .tokens_ready_mot import MoTReadyAudioTokenizer, MoTReadyImageTokenizer

TOKENIZERS = (MoTImageTokenizer, MoTAudioTokenizer, MoTReadyImageTokenizer, MoTReadyAudioTokenizer)
HUB_OPTIONS = ("cache_dir", "force_download", "local_files_only", "token", "revision")


class Codec:
    """
    A tokenizer of one modality, and how the media are read that it encodes.

    Args:
        tokenizer: with `num_codes`, `encode` and `decode`, and `num_tokens` where all media have as many tokens.
    """

    def __init__(self, tokenizer: Any):
        self.tokenizer = tokenizer

    @property
    def num_codes(self) -> int:
        return self.tokenizer.num_codes

    @property
    def num_tokens(self) -> int | None:
        """Tokens of each medium; None where they differ."""
        return getattr(self.tokenizer, "num_tokens", None)

    def read(
        self, source: Any, name: str, sampling_rate: int | None, max_seconds: float | None, access: Mapping[str, Any]
    ) -> Any:
        """
        What the tokenizer encodes, of anything that people have.

        Args:
            name: what errors call it.
            sampling_rate: Hz of samples that come without one.
            max_seconds: where longer sound is cut.
            access: what may be opened, and how large it may be.
        """
        raise NotImplementedError

    def encode(self, media: Sequence[Any]) -> list[torch.LongTensor]:
        """Media as they were read to their codes (n_i,), from 0."""
        raise NotImplementedError

    def decode(self, codes: Sequence[torch.LongTensor]) -> list[Any]:
        """Codes (n_i,) of each medium, on the CPU, back to media."""
        raise NotImplementedError


class PictureCodec(Codec):
    """Pictures, each with the same number of codes; they come back as pictures of PIL."""

    def read(self, source, name, sampling_rate, max_seconds, access):
        return load_image(source, name, convert_rgb=False, **access)

    def encode(self, media):
        return list(self.tokenizer.encode(list(media)).cpu())

    def decode(self, codes):
        return self.tokenizer.decode(torch.stack(list(codes)))


class SoundCodec(Codec):
    """Sounds of any length; they come back as samples (n,) at the tokenizer's `sampling_rate`."""

    def read(self, source, name, sampling_rate, max_seconds, access):
        return load_audio(source, name, self.tokenizer.sampling_rate, sampling_rate, max_seconds, **access)[0]

    def encode(self, media):
        return [codes.cpu() for codes in self.tokenizer.encode(list(media), self.tokenizer.sampling_rate)]

    def decode(self, codes):
        return self.tokenizer.decode(list(codes))


CODECS: dict[type[Modality], type[Codec]] = {ImageModality: PictureCodec, AudioModality: SoundCodec}
# The modalities that have tokenizers, by their names.
CODEC_OF: dict[str, type[Codec]] = {name: CODECS[type(m)] for name, m in MODALITIES.items() if type(m) in CODECS}


def parts_for(encoders: Mapping[str, Mapping]) -> dict[str, Any]:
    """
    The parts of a processor that make raw input for towers, by their arguments: pictures of their size, frames of
    their mel bins.

    Args:
        encoders: modality -> the config of its tower, as in `MoTCausalConfig`.
    """
    parts = {}
    for name, encoder in encoders.items():
        config = tower_config(name, dict(encoder), width=64).modality_config(name)
        if config.model_type == MoTImageConfig.model_type and "image_processor" not in parts:
            size = {"height": config.image_size, "width": config.image_size}
            parts["image_processor"] = MoTImageProcessor(
                size=size, image_mean=IMAGENET_DEFAULT_MEAN, image_std=IMAGENET_DEFAULT_STD, do_convert_rgb=True
            )
        if config.model_type == MoTAudioConfig.model_type and "feature_extractor" not in parts:
            parts["feature_extractor"] = MoTFeatureExtractor(feature_size=config.num_mel_bins)
    return parts


def check_computes_as_told(fields: Mapping[str, Any], owner: str) -> None:
    """Raise a ValueError for a config, or one within, that says how to compute: it may name code of the Hub."""
    for name, value in fields.items():
        if name.lstrip("_").startswith(("attn_implementation", "experts_implementation")):
            raise ValueError(
                f"{owner} says how to compute, in `{name}` of its config: expected weights and sizes alone."
            )
        if isinstance(value, Mapping):
            check_computes_as_told(value, owner)


def load_tokenizer(name_or_path: str | os.PathLike, folder: str, **hub: Any) -> PreTrainedModel | None:
    """
    The tokenizer of media in a folder of a checkpoint; None where it has no such folder.

    Args:
        hub: options of `from_pretrained` that say how files are found on the Hub.

    Raises:
        ValueError: it is none that is known, or its config names code.
        OSError: its weights are not safetensors.
    """
    found = {name: hub[name] for name in HUB_OPTIONS if name in hub}
    found["subfolder"] = os.path.join(hub.get("subfolder") or "", folder)
    file = cached_file(name_or_path, CONFIG_NAME, **found, _raise_exceptions_for_missing_entries=False)
    if file is None:
        return None
    fields = json.loads(Path(file).read_text(encoding="utf-8"))
    check_computes_as_told(fields, f"{folder} of {name_or_path}")
    model_type = fields.get("model_type")
    tokenizers = {tokenizer.config_class.model_type: tokenizer for tokenizer in TOKENIZERS}
    if model_type not in tokenizers:
        raise ValueError(f"{folder} of {name_or_path} is a {model_type!r}, expected one of {', '.join(tokenizers)}.")
    return tokenizers[model_type].from_pretrained(name_or_path, use_safetensors=True, **found)


__all__ = ["CODEC_OF", "Codec", "load_tokenizer", "parts_for"]
