# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Ready tokenizers in the place of one's own, by the names of their checkpoints: the VQ models of Janus, Emu3 and
Chameleon for pictures, EnCodec, DAC and Mimi for sounds.

Each is wrapped so that it has what `MoTImageTokenizer` and `MoTAudioTokenizer` have. Of a whole Janus, Emu3 or
Chameleon only the VQ model is kept, and it is saved with the processor, so that a folder needs no other.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import transformers
from PIL import Image
from transformers import CONFIG_MAPPING, AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel

from .loading_mot import LoadingMixin
from .tokens_mot import as_codes, to_pictures, to_samples, to_values

# transformers' classes, which it imports where they are looked up.
VQ_MODELS = {"janus_vqgan": "JanusVQVAE", "emu3_vqgan": "Emu3VQVAE", "chameleon_vqgan": "ChameleonVQVAE"}
VQ_PREFIX = r"^(model\.)?vqmodel\."  # of the VQ model's weights within a whole model's
CODECS = ("encodec", "dac", "mimi")
DEFAULT_IMAGE_SIZE = 256  # of Emu3's, which takes pictures of any size


class MoTReadyTokenizerConfig(PreTrainedConfig):
    """
    Args:
        tokenizer: the config of the wrapped model, as a dict with its `model_type`.
    """

    def __init__(self, tokenizer: dict[str, Any] | None = None, **kwargs):
        self.tokenizer = tokenizer or {}
        super().__init__(**kwargs)

    @property
    def wrapped(self) -> PreTrainedConfig:
        """The config of the wrapped model."""
        fields = dict(self.tokenizer)
        kind = fields.pop("model_type", None)
        if kind not in (known := (*VQ_MODELS, *CODECS)):
            raise ValueError(f"A {kind!r:.100} makes no tokens of media: expected one of {', '.join(known)}.")
        return CONFIG_MAPPING[kind](**fields)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


class MoTReadyImageTokenizerConfig(MoTReadyTokenizerConfig):
    """
    Args:
        tokenizer: the config of a VQ model.
        image_size: height and width, in pixels, to which pictures are brought; None: what the model was made for.
    """

    model_type = "mot_ready_image_tokenizer"

    def __init__(self, tokenizer: dict[str, Any] | None = None, image_size: int | None = None, **kwargs):
        super().__init__(tokenizer, **kwargs)
        self.image_size = image_size


class MoTReadyImageTokenizer(LoadingMixin, PreTrainedModel):
    """RGB pictures to the codes of a VQ model of transformers, row by row, and back."""

    config_class = MoTReadyImageTokenizerConfig
    main_input_name = "pixel_values"

    def __init__(self, config: MoTReadyImageTokenizerConfig):
        super().__init__(config)
        wrapped = config.wrapped
        self.vqmodel = vq_model_class(wrapped)(wrapped)
        self.patch_size = 2 ** (len(wrapped.channel_multiplier) - 1)
        native = getattr(wrapped, "resolution", None) or getattr(wrapped, "num_patches", 0) * self.patch_size
        self.image_size = config.image_size or native or DEFAULT_IMAGE_SIZE
        if self.image_size % self.patch_size or (hasattr(wrapped, "num_patches") and self.image_size != native):
            expected = native if hasattr(wrapped, "num_patches") else f"a multiple of {self.patch_size}"
            raise ValueError(f"`image_size` is {self.image_size}: this {wrapped.model_type} takes {expected} pixels.")
        self.post_init()

    @classmethod
    def of(cls, source: str | os.PathLike | PreTrainedModel, image_size: int | None = None, **kwargs):
        """
        Args:
            source: name or folder of a Janus, Emu3 or Chameleon of transformers, such as
                "deepseek-community/Janus-Pro-1B", or a VQ model of one.
            image_size: see the config.
            kwargs: of `from_pretrained`.

        Raises:
            ValueError: if it is another model.
        """
        model = source if isinstance(source, PreTrainedModel) else load_vq_model(source, **kwargs)
        if model.config.model_type not in VQ_MODELS:
            raise ValueError(
                f"`source` is a {model.config.model_type!r}: expected a VQ model of one of {', '.join(VQ_MODELS)}."
            )
        return wrap(cls, model, "vqmodel", image_size=image_size)

    @property
    def num_codes(self) -> int:
        quantize = self.vqmodel.quantize
        return quantize.embedding.num_embeddings

    @property
    def grid_size(self) -> int:
        return self.image_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Of one picture."""
        return self.grid_size**2

    @torch.no_grad()
    def encode(self, images: Sequence[Image.Image]) -> torch.LongTensor:
        """Pictures of any size and mode to codes (N, num_tokens)."""
        rows, takes_sizes = [], isinstance(self.vqmodel, transformers.Emu3VQVAE)
        for image in images:  # one by one: these models are large, and so are their pictures
            values = to_values([image], self.image_size, 3).to(self.device, self.dtype)
            sizes = {"image_sizes": torch.tensor([values.shape[-2:]])} if takes_sizes else {}
            tokens = self.vqmodel.encode(values, **sizes).image_tokens
            rows.append(torch.as_tensor(tokens[0] if isinstance(tokens, list) else tokens).flatten().cpu())
        return torch.stack(rows) if rows else torch.zeros(0, self.num_tokens, dtype=torch.long)

    @torch.no_grad()
    def decode(self, codes: torch.LongTensor) -> list[Image.Image]:
        """
        Codes (N, num_tokens) to pictures.

        Raises:
            ValueError: of Chameleon's, whose decoder transformers does not have; of codes as in `MoTImageTokenizer`.
        """
        if not hasattr(self.vqmodel, "decode"):
            raise ValueError("Chameleon's VQ model has no decoder in transformers: its codes can be read, not shown.")
        codes = as_codes(codes, self.num_codes, self.num_tokens).to(self.device)
        is_grid = isinstance(self.vqmodel, transformers.Emu3VQVAE)
        pictures = []
        for row in codes.split(1):
            grid = row.unflatten(1, (self.grid_size, self.grid_size)) if is_grid else row
            pictures += to_pictures(self.vqmodel.decode(grid))
        return pictures


def load_vq_model(source: str | os.PathLike, **kwargs) -> PreTrainedModel:
    """The VQ model within a checkpoint of Janus, Emu3 or Chameleon, or one that was saved alone."""
    config = AutoConfig.from_pretrained(source, **kwargs)
    config = getattr(config, "vq_config", config)
    if config.model_type not in VQ_MODELS:
        raise ValueError(f"{source} is a {config.model_type!r}: expected a Janus, an Emu3 or a Chameleon.")
    return vq_model_class(config).from_pretrained(source, config=config, key_mapping={VQ_PREFIX: ""}, **kwargs)


def vq_model_class(config: PreTrainedConfig) -> type[PreTrainedModel]:
    """transformers' class of the VQ model that a config is of."""
    return getattr(transformers, VQ_MODELS[config.model_type])


# ---------------------------------------------------------------------------------------------------------------------
# Sounds
# ---------------------------------------------------------------------------------------------------------------------


class MoTReadyAudioTokenizerConfig(MoTReadyTokenizerConfig):
    """
    Args:
        tokenizer: the config of a codec.
        num_codebooks: how many of its codebooks, from the coarsest on, a frame has.
    """

    model_type = "mot_ready_audio_tokenizer"

    def __init__(self, tokenizer: dict[str, Any] | None = None, num_codebooks: int = 1, **kwargs):
        super().__init__(tokenizer, **kwargs)
        self.num_codebooks = num_codebooks


class MoTReadyAudioTokenizer(LoadingMixin, PreTrainedModel):
    """
    Sounds to the codes of a codec of transformers and back, frame by frame.

    A frame has a code of each codebook. They stand one after another, and each codebook has numbers of its own: code c
    of codebook k is k * codebook_size + c.
    """

    config_class = MoTReadyAudioTokenizerConfig
    main_input_name = "input_values"

    def __init__(self, config: MoTReadyAudioTokenizerConfig):
        super().__init__(config)
        self.codec = AutoModel.from_config(config.wrapped)
        most = num_quantizers(self.codec.config)
        if not 1 <= config.num_codebooks <= most:
            raise ValueError(
                f"`num_codebooks` is {config.num_codebooks}: expected 1 to {most}, as many as the codec has."
            )
        self.post_init()

    @classmethod
    def of(cls, source: str | os.PathLike | PreTrainedModel, num_codebooks: int = 1, **kwargs):
        """
        Args:
            source: name or folder of an EnCodec, DAC or Mimi of one channel, such as "kyutai/mimi", or such a model.
            num_codebooks: see the config.
            kwargs: of `from_pretrained`.

        Raises:
            ValueError: if it is another model.
        """
        config = source.config if isinstance(source, PreTrainedModel) else AutoConfig.from_pretrained(source, **kwargs)
        if config.model_type not in CODECS or getattr(config, "audio_channels", 1) != 1:
            raise ValueError(
                f"`source` is a {config.model_type!r} of {getattr(config, 'audio_channels', 1)} channels: expected "
                f"one of {', '.join(CODECS)} of one channel."
            )
        model = source if isinstance(source, PreTrainedModel) else AutoModel.from_pretrained(source, **kwargs)
        return wrap(cls, model, "codec", num_codebooks=num_codebooks)

    @property
    def codebook_size(self) -> int:
        return self.codec.config.codebook_size

    @property
    def num_codes(self) -> int:
        return self.codebook_size * self.config.num_codebooks

    @property
    def sampling_rate(self) -> int:
        """Of decoded sounds, in Hz."""
        return self.codec.config.sampling_rate

    @property
    def tokens_per_second(self) -> float:
        return self.codec.config.frame_rate * self.config.num_codebooks

    @torch.no_grad()
    def encode(self, waveforms: Sequence[np.ndarray], sampling_rate: int) -> list[torch.LongTensor]:
        """Mono waveforms (samples,) at `sampling_rate` Hz to codes (tokens,) each; an empty one has none."""
        rows = []
        for waveform in waveforms:
            samples = to_samples(waveform, sampling_rate, self.sampling_rate)
            codes = self._encode(samples) if len(samples) else torch.zeros(self.config.num_codebooks, 0)
            first = torch.arange(self.config.num_codebooks)[:, None] * self.codebook_size
            rows.append((codes.long() + first).T.flatten())
        return rows

    @torch.no_grad()
    def decode(self, codes: Sequence[torch.LongTensor]) -> list[np.ndarray]:
        """
        Codes (tokens,) of each sound to waveforms (samples,) at `sampling_rate`. Tokens at the end that make no whole
        frame have no sound.

        Raises:
            ValueError: a code is outside the codebooks, or of another codebook than its place is for.
        """
        waveforms = []
        for row in codes:
            row, number = as_codes(row, self.num_codes), self.config.num_codebooks
            frames = row[: len(row) // number * number].unflatten(0, (-1, number)).T  # (codebooks, frames)
            frames = frames - torch.arange(number)[:, None] * self.codebook_size
            if frames.numel() and not 0 <= frames.min() <= frames.max() < self.codebook_size:
                raise ValueError(
                    f"`codes` mixes codebooks: expected tokens of codebooks 0 to {number - 1} in turn, "
                    f"{self.codebook_size} codes each."
                )
            waveforms.append(self._decode(frames) if frames.numel() else np.zeros(0, np.float32))
        return waveforms

    def _encode(self, samples: np.ndarray) -> torch.LongTensor:
        """(samples,) to (codebooks, frames)."""
        values = torch.from_numpy(samples).to(self.device, self.dtype)[None, None]
        if self.codec.config.model_type == "encodec":
            bandwidth = self.codec.config.target_bandwidths[-1]
            codes = self.codec.encode(values, bandwidth=bandwidth).audio_codes[0, 0]
        else:
            codes = self.codec.encode(values).audio_codes[0]
        return codes[: self.config.num_codebooks].cpu()

    def _decode(self, codes: torch.LongTensor) -> np.ndarray:
        """(codebooks, frames) to (samples,)."""
        codes = codes.to(self.device)[None]
        if self.codec.config.model_type == "encodec":
            values = self.codec.decode(codes[None], [None]).audio_values
        else:
            values = self.codec.decode(audio_codes=codes).audio_values
        return values.flatten().float().cpu().numpy()


def num_quantizers(config: PreTrainedConfig) -> int:
    return getattr(config, "num_quantizers", None) or config.n_codebooks


def wrap(tokenizer_class: type[PreTrainedModel], model: PreTrainedModel, name: str, **fields) -> PreTrainedModel:
    """A tokenizer around a ready model, whose weights it takes as they are."""
    with torch.device("meta"):
        tokenizer = tokenizer_class(tokenizer_class.config_class(model.config.to_dict(), **fields))
    setattr(tokenizer, name, model)
    return tokenizer.eval()


__all__ = [
    "MoTReadyAudioTokenizer",
    "MoTReadyAudioTokenizerConfig",
    "MoTReadyImageTokenizer",
    "MoTReadyImageTokenizerConfig",
]
