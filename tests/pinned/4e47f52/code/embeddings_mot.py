# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From raw input or ready features to the tokens of one modality: X = Input + E_mod + E_pos.

`MoTEmbeddings` holds what all modalities share, each modality adds how its raw input becomes tokens. A mask says which
inputs are real, and what is not real never reaches a token that is.

Shapes: B rows, L or N tokens, d width, F frames of a video, T frames of audio.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from .configuration_mot import MoTAudioConfig, MoTImageConfig, MoTModalityConfig, MoTTextConfig

POSITIONS_PER_SECOND = 50  # the clock of `time_positions`: that of Whisper's tokens (arXiv 2212.04356)
CHANNELS_FIRST = ("whisper",)  # backbones that take mel bins before frames
# What leaves parameters of a backbone out of some steps, so that processes would wait for each other.
WITHOUT_GAPS = {"layerdrop": 0.0, "encoder_layerdrop": 0.0, "apply_spec_augment": False}
UNUSED = {"pooler", "mask_token", "masked_spec_embed"}  # parameters that no `last_hidden_state` depends on
SECONDS_PER_FRAME = 0.01  # the step of mel frames that come without times

# ---------------------------------------------------------------------------------------------------------------------
# Positions and masks
# ---------------------------------------------------------------------------------------------------------------------


def sinusoids_at(positions: torch.Tensor, width: int) -> torch.Tensor:
    """E_pos(pos, 2i) = sin(pos / 10000^(2i / width)), E_pos(pos, 2i + 1) = cos(same): (...) -> (..., width), float32."""
    frequencies = torch.exp(torch.arange(0, width, 2, device=positions.device) * (-math.log(10000.0) / width))
    angles = positions[..., None] * frequencies  # (..., width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(-2)


def sinusoids(length: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """E_pos of 0, 1, ..., length - 1: (length, width)."""
    return sinusoids_at(torch.arange(length, device=device), width)


def sinusoids_2d(rows: int, columns: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """Half of the width for the row, half for the column of each cell of a grid: (rows * columns, width)."""
    by_row = sinusoids(rows, width // 2, device)[:, None].expand(-1, columns, -1)
    by_column = sinusoids(columns, width // 2, device)[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=-1).flatten(0, 1)


def resize_grid(grid: torch.Tensor, rows: int, columns: int, interpolation: str = "bicubic") -> torch.Tensor:
    """A square grid of positions (1, g * g, d) at another size, (rows * columns, d)."""
    side, antialias = round(grid.shape[1] ** 0.5), interpolation.startswith("antialiased_")
    resized = grid.transpose(1, 2).unflatten(2, (side, side)).float()  # (1, d, g, g)
    mode = interpolation.removeprefix("antialiased_")
    resized = F.interpolate(resized, (rows, columns), mode=mode, align_corners=False, antialias=antialias)
    return resized.flatten(2)[0].T.to(grid.dtype)


def as_mask(mask: torch.Tensor | None, shape: tuple[int, ...], name: str) -> torch.Tensor | None:
    """`mask` as booleans, True = real, after checking its shape; None stays None and means that all is real."""
    if mask is None:
        return None
    if tuple(mask.shape) != shape:
        raise ValueError(f"`{name}` has shape {tuple(mask.shape)}, expected {shape}.")
    return mask != 0


def blank(inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Zeros wherever `mask` (over the leading dimensions) is not real, so that even NaN there does no harm."""
    if mask is None:
        return inputs
    return inputs.masked_fill(~mask.reshape(mask.shape + (1,) * (inputs.ndim - mask.ndim)), 0)


def count_before(mask: torch.Tensor) -> torch.Tensor:
    """(B, L): how many real tokens stand before each token."""
    return (mask.long().cumsum(dim=1) - 1).clamp(min=0)


def real_first(mask: torch.Tensor) -> torch.Tensor:
    """(B, T) indices that put each row's real frames to its front, in order."""
    places = torch.arange(mask.shape[1], device=mask.device)
    return torch.where(mask, places, places + mask.shape[1]).argsort(dim=1)  # ONNX has no stable sort


def take(inputs: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
    """`inputs` (B, T) or (B, T, n), each row in the order of its `indices` (B, T)."""
    return inputs.gather(1, indices if inputs.ndim == 2 else indices[..., None].expand_as(inputs))


# ---------------------------------------------------------------------------------------------------------------------
# Embeddings: X = Input + E_mod + E_pos
# ---------------------------------------------------------------------------------------------------------------------


def unit_scale(layer: nn.Module) -> nn.Module:
    """
    Mark a layer that makes "Input" out of raw input: its initial weights give it the scale of E_pos, about 1 (arXiv
    1502.01852). With the usual 0.02 the positions would be many times larger than the content.
    """
    fan_in = 2.0 if isinstance(layer, nn.Embedding) else layer.weight[0].numel()
    layer.initial_std = (2.0 / fan_in) ** 0.5
    return layer


def build_backbone(config: PreTrainedConfig) -> nn.Module:
    """A model of transformers with fresh weights; of an encoder and a decoder the encoder."""
    try:
        model = AutoModel.from_config(config, add_pooling_layer=False)  # which nothing would ever use
    except TypeError:
        model = AutoModel.from_config(config)
    return encoder_of(model)


def encoder_of(model: PreTrainedModel) -> nn.Module:
    return model.get_encoder() if model.config.is_encoder_decoder else model


class MoTEmbeddings(nn.Module):
    """
    What all modalities share: ready features, 1-D positions, cls and register tokens, norm and dropout. A modality adds how its
    raw input becomes tokens (`embed_raw`), what of it a token stands for (`raw_targets`), and what its arguments are
    called.
    """

    raw_name: str
    features_name: str
    mask_name: str
    times_name: str | None = None
    length_field: str  # the config field that limits a sequence

    def __init__(self, config: MoTModalityConfig, max_length: int):
        super().__init__()
        self.config = config
        if config.backbone_config is not None:
            self.set_backbone(build_backbone(config.backbone_config))
        if config.feature_size is not None:
            self.projection = unit_scale(nn.Linear(config.feature_size, config.hidden_size))
        if config.position_embedding_type == "learned" and not self.has_grid:
            self.position_embeddings = nn.Embedding(max_length, config.hidden_size)
        if config.use_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        if config.num_register_tokens:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, config.hidden_size))
        if config.embedding_norm:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    @property
    def has_grid(self) -> bool:
        return False

    @property
    def input_name(self) -> str:
        """The argument through which this model takes the modality."""
        return self.raw_name if self.config.takes_raw_input else self.features_name

    def set_backbone(self, backbone: nn.Module) -> None:
        """Put a model in front, frozen if the config says so."""
        for name in WITHOUT_GAPS.keys() & set(vars(backbone.config)):
            setattr(backbone.config, name, WITHOUT_GAPS[name])
        self.backbone = backbone
        self.train(self.training)

    def train(self, mode: bool = True):
        super().train(mode)
        if hasattr(self, "backbone"):
            is_frozen = self.config.freeze_backbone
            if is_frozen:
                self.backbone.eval()  # without dropout, too
            for name, parameter in self.backbone.named_parameters():  # also after loading, which makes them anew
                if is_frozen or not UNUSED.isdisjoint(name.split(".")):
                    parameter.requires_grad_(False)
        return self

    def through_backbone(
        self, inputs: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Raw input as ready features: the last hidden state of the backbone, (B, N, feature_size), and its mask (B, N).
        """
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.freeze_backbone):
            return self.run_backbone(inputs, mask)

    def forward(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor | None,
        modality_embedding: torch.Tensor,
        times: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            inputs: raw input, or ready features (B, N, feature_size).
            mask: which inputs are real; None means all.
            modality_embedding: E_mod, (1, d).
            times: what `fill_times` returned; positions are then seconds, not counts.
            hidden: (B, N) bool, tokens of which nothing may be seen, and
            mask_token: (d,) what takes their place.

        Returns:
            The tokens (B, L, d), of which `token_mask` says which are real; L is N and the cls and register tokens.
        """
        embed = self.embed_raw if self.config.feature_size is None else self.embed_features
        tokens, positions = embed(inputs, mask, times, hidden)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], mask_token.to(tokens.dtype), tokens)
        hidden_states = tokens + (positions.to(tokens.dtype) + modality_embedding)
        prefix = [getattr(self, name) for name in ("cls_token", "register_tokens") if hasattr(self, name)]
        if prefix:
            prefix = [(part + modality_embedding).expand(tokens.shape[0], -1, -1) for part in prefix]
            hidden_states = torch.cat([*prefix, hidden_states], dim=1)
        if self.config.embedding_norm:
            hidden_states = self.norm(hidden_states)
        return self.dropout(hidden_states)

    def token_mask(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which of the tokens that `inputs` with `mask` become are real, (B, L) bool; None if all are."""
        as_tokens = self.raw_mask if self.config.feature_size is None else self.check_features
        mask = as_tokens(inputs, mask)
        number = self.config.num_prefix_tokens
        if mask is None or not number:
            return mask
        return torch.cat([mask.any(dim=1, keepdim=True).expand(-1, number), mask], dim=1)

    def embed_features(self, features: torch.Tensor, mask: torch.Tensor | None, times=None, hidden=None):
        mask = self.check_features(features, mask)
        tokens = self.projection(blank(features, mask).to(self.projection.weight.dtype))
        return tokens, self.positions(features.shape[1], mask, features.device, times)

    def check_features(self, features: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        size = self.config.feature_size
        if features.ndim != 3 or features.shape[-1] != size:
            raise ValueError(
                f"`{self.features_name}` has shape {tuple(features.shape)}, expected (batch, length, {size}) "
                f"since `feature_size` is {size}."
            )
        return as_mask(mask, tuple(features.shape[:2]), self.mask_name)

    def positions(
        self, length: int, mask: torch.Tensor | None, device: torch.device, times: torch.Tensor | None = None
    ) -> torch.Tensor:
        """E_pos of a sequence, (1 or B, L, d): a token's position counts the real tokens before it, or is its time."""
        self.check_length(length)
        if times is not None:
            return sinusoids_at(blank(times, mask) * POSITIONS_PER_SECOND, self.config.hidden_size)
        if self.config.position_embedding_type == "learned":
            table = self.position_embeddings.weight[:length]
        else:
            table = sinusoids(length, self.config.hidden_size, device).to(next(self.parameters()).dtype)
        return table[None] if mask is None else F.embedding(count_before(mask), table)

    def check_length(self, length: int) -> None:
        limit = getattr(self.config, self.length_field)
        if length > limit:
            raise ValueError(
                f"`{self.input_name}` has a length of {length}, but the model takes at most {limit} "
                f"(`{self.length_field}`): truncate the input, or build the model with a larger limit."
            )

    def fill_times(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, times: torch.Tensor | None
    ) -> torch.Tensor | None:
        """The seconds of frames (B, F or T) or ready features (B, N); where raw input comes without, the usual ones."""
        if self.times_name is None or inputs.ndim < 3:  # the embedding refuses such input itself
            return None
        if times is None:
            times = self.usual_times(inputs, mask) if self.config.feature_size is None else None
        if times is None:
            raise ValueError(
                f"`time_positions` needs the seconds of `{self.input_name}` as `{self.times_name}`: build the processor "
                "with `return_times=True`, or pass them."
            )
        is_picture = self.config.feature_size is None and inputs.ndim == 4
        expected = (inputs.shape[0], 1 if is_picture else inputs.shape[1])
        if tuple(times.shape) != expected:
            raise ValueError(f"`{self.times_name}` has shape {tuple(times.shape)}, expected {expected}.")
        return times.float()

    def targets(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """
        What each token stands for, (B, N, n): pixels of a patch (rows, columns, channels), mel frames, or the feature
        itself. NaN where nothing is real.
        """
        if self.config.feature_size is None:
            return self.raw_targets(inputs, mask)
        mask = self.check_features(inputs, mask)
        return inputs.float() if mask is None else inputs.float().masked_fill(~mask[..., None], torch.nan)

    def stand_in(self) -> torch.Tensor:
        """An input of one row that becomes one token: what a batch without this modality trains on (see `encode`)."""
        reference = next(self.parameters())
        if hasattr(self, "backbone") and not self.config.freeze_backbone:
            return self.through_backbone(self.raw_stand_in(reference), None)[0][:, :1]
        if self.config.feature_size is not None:
            return reference.new_zeros(1, 1, self.config.feature_size)
        return self.raw_stand_in(reference)


class MoTTextEmbeddings(MoTEmbeddings):
    """Token ids (B, L) or text features (B, L, feature_size)."""

    raw_name, features_name, mask_name = "input_ids", "text_features", "attention_mask"
    length_field = "max_position_embeddings"

    def __init__(self, config: MoTTextConfig):
        super().__init__(config, config.max_position_embeddings)
        if config.feature_size is None:
            self.word_embeddings = unit_scale(nn.Embedding(config.vocab_size, config.hidden_size, config.pad_token_id))

    def raw_mask(self, input_ids: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        if input_ids.ndim != 2 or input_ids.is_floating_point():
            raise ValueError(
                f"`input_ids` has shape {tuple(input_ids.shape)} and type {input_ids.dtype}, "
                "expected integers of shape (batch, length)."
            )
        return as_mask(mask, tuple(input_ids.shape), self.mask_name)

    def embed_raw(self, input_ids: torch.Tensor, mask: torch.Tensor | None, times=None, hidden=None):
        mask = self.raw_mask(input_ids, mask)
        if mask is not None:
            input_ids = input_ids.masked_fill(~mask, self.config.pad_token_id or 0)
        self.check_ids(input_ids)
        return self.word_embeddings(input_ids), self.positions(input_ids.shape[1], mask, input_ids.device)

    def run_backbone(self, input_ids: torch.Tensor, mask: torch.Tensor | None):
        mask = self.raw_mask(input_ids, mask)
        if mask is None:
            return self.backbone(input_ids=input_ids).last_hidden_state, None
        input_ids = input_ids.masked_fill(~mask, self.config.pad_token_id or 0)
        seen = mask | ~mask.any(dim=1, keepdim=True)  # a softmax over nothing is NaN
        return self.backbone(input_ids=input_ids, attention_mask=seen.long()).last_hidden_state, mask

    def check_ids(self, input_ids: torch.Tensor) -> None:
        # Looking at values waits for an accelerator, so there the embedding's own assertion must do.
        if input_ids.device.type != "cpu" or torch.compiler.is_compiling():
            return
        vocab_size = self.word_embeddings.num_embeddings
        outside = input_ids[(input_ids < 0) | (input_ids >= vocab_size)]
        if len(outside):
            raise ValueError(
                f"`input_ids` holds {outside[0].item()}, outside the vocabulary of {vocab_size} (0 to {vocab_size - 1}): "
                "is this the model's own tokenizer?"
            )

    def raw_stand_in(self, reference: torch.Tensor) -> torch.Tensor:
        return torch.zeros(1, 1, dtype=torch.long, device=reference.device)


class MoTImageEmbeddings(MoTEmbeddings):
    """Images (B, C, H, W), video frames (B, F, C, H, W) or image features (B, L, feature_size)."""

    raw_name, features_name, mask_name = "pixel_values", "image_features", "pixel_mask"
    times_name, length_field = "pixel_times", "num_frames"

    def __init__(self, config: MoTImageConfig):
        super().__init__(config, config.num_frames)
        if config.feature_size is not None:
            return
        self.stem, channels, patch_size = self.build_stem(config)
        self.projection = unit_scale(nn.Conv2d(channels, config.hidden_size, patch_size, patch_size))
        if config.position_embedding_type == "learned":
            self.grid_size = config.image_size // config.patch_size
            self.position_embeddings = nn.Parameter(torch.zeros(1, self.grid_size**2, config.hidden_size))
            self.frame_position_embeddings = nn.Parameter(torch.zeros(config.num_frames, config.hidden_size))

    @staticmethod
    def build_stem(config: MoTImageConfig) -> tuple[nn.Sequential, int, int]:
        """The stem, the channels it gives and the patch size it leaves: each convolution halves a patch's side."""
        layers, channels, patch_size = [], config.num_channels, config.patch_size
        halvings = (patch_size & -patch_size).bit_length() - 1 if config.stem == "conv" else 0
        for i in range(halvings):
            width = config.hidden_size >> (halvings - i)
            layers += [unit_scale(nn.Conv2d(channels, width, kernel_size=3, stride=2, padding=1)), nn.GELU()]
            channels, patch_size = width, patch_size // 2
        return nn.Sequential(*layers), channels, patch_size

    @property
    def has_grid(self) -> bool:
        return self.config.feature_size is None

    def check_length(self, length: int) -> None:
        # Sinusoids reach any length; only a learned table ends.
        if self.config.position_embedding_type == "learned":
            super().check_length(length)

    def embed_raw(self, pixel_values: torch.Tensor, mask: torch.Tensor | None, times=None, hidden=None):
        pixels, mask = self.as_frames(pixel_values, mask)
        pixels = pixels.to(self.projection.weight.dtype)
        if hidden is not None:
            pixels = self.hide_patches(pixels, hidden)
        batch_size, num_frames = pixels.shape[:2]
        patches = self.projection(self.stem(pixels.flatten(0, 1)))  # (B * F, d, rows, columns)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B * F, rows * columns, d)
        tokens = tokens.unflatten(0, (batch_size, num_frames)).flatten(1, 2)  # (B, F * rows * columns, d)
        return tokens, self.frame_positions(num_frames, rows, columns, mask, tokens.device, times)

    def raw_mask(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        mask = self.frame_mask(pixel_values, mask)
        if mask is None:
            return None
        rows, columns = (side // self.config.patch_size for side in pixel_values.shape[-2:])
        return mask.repeat_interleave(rows * columns, dim=1)

    def frame_mask(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which frames are real, (B, F); a picture is one frame."""
        self.check_pixels(pixel_values)
        is_video = pixel_values.ndim == 5
        mask = as_mask(mask, tuple(pixel_values.shape[: 2 if is_video else 1]), self.mask_name)
        return mask if is_video or mask is None else mask[:, None]

    def as_frames(self, pixel_values: torch.Tensor, mask: torch.Tensor | None):
        """Frames (B, F, C, H, W), blank where not real, and their mask (B, F)."""
        mask = self.frame_mask(pixel_values, mask)
        return blank(pixel_values if pixel_values.ndim == 5 else pixel_values[:, None], mask), mask

    def run_backbone(self, pixel_values: torch.Tensor, mask: torch.Tensor | None):
        pixels, mask = self.as_frames(pixel_values, mask)
        features = self.backbone(pixel_values=pixels.flatten(0, 1)).last_hidden_state  # of each frame
        if features.ndim == 4:  # (B * F, w, rows, columns), as convolutional models give
            features = features.flatten(2).transpose(1, 2)
        per_frame = features.shape[1]
        features = features.unflatten(0, pixels.shape[:2]).flatten(1, 2)  # (B, F * tokens of a frame, w)
        return features, None if mask is None else mask.repeat_interleave(per_frame, dim=1)

    def hide_patches(self, pixels: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
        """Blank the pixels of hidden patches, since a convolutional stem looks over a patch's edge."""
        side = self.config.patch_size
        rows, columns = pixels.shape[-2] // side, pixels.shape[-1] // side
        hidden = hidden.reshape(*pixels.shape[:2], 1, rows, columns)
        return pixels.masked_fill(hidden.repeat_interleave(side, dim=3).repeat_interleave(side, dim=4), 0)

    def raw_targets(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        pixels, mask = self.as_frames(pixel_values, mask)
        side = self.config.patch_size
        patches = pixels.unfold(3, side, side).unfold(4, side, side)  # (B, F, C, rows, columns, side, side)
        patches = patches.permute(0, 1, 3, 4, 5, 6, 2).flatten(4).float()  # (B, F, rows, columns, side * side * C)
        if mask is not None:
            patches = patches.masked_fill(~mask[:, :, None, None, None], torch.nan)
        return patches.flatten(1, 3)

    def usual_times(self, pixel_values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        return pixel_values.new_zeros(pixel_values.shape[0], 1) if pixel_values.ndim == 4 else None

    def check_pixels(self, pixel_values: torch.Tensor) -> None:
        shape, channels, patch_size = tuple(pixel_values.shape), self.config.num_channels, self.config.patch_size
        if len(shape) not in (4, 5) or shape[-3] != channels:
            raise ValueError(
                f"`pixel_values` has shape {shape}, expected (batch, {channels}, height, width) or "
                f"(batch, frames, {channels}, height, width)."
            )
        if self.config.backbone_config is None and (shape[-2] % patch_size or shape[-1] % patch_size):
            raise ValueError(
                f"`pixel_values` are {shape[-2]} x {shape[-1]} pixels, but `patch_size` ({patch_size}) must divide both."
            )

    def frame_positions(
        self,
        num_frames: int,
        rows: int,
        columns: int,
        mask: torch.Tensor | None,
        device: torch.device,
        times: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """E_pos of the patches of all frames, (1 or B, F * rows * columns, d): that of the place plus that of the time."""
        if self.config.position_embedding_type == "sinusoidal":
            token_mask = None if mask is None else mask.repeat_interleave(rows * columns, dim=1)
            return self.positions(num_frames * rows * columns, token_mask, device)
        if self.config.position_embedding_type == "learned":
            self.check_length(num_frames)
            place, time = self.interpolated_grid(rows, columns), self.frame_position_embeddings[:num_frames]
        else:
            place, time = self.fixed_positions(num_frames, rows, columns, device)
        if times is not None:
            width = self.config.hidden_size
            time = sinusoids_at(blank(times, mask) * POSITIONS_PER_SECOND, width) - sinusoids(1, width, device)
        else:
            time = time[None] if mask is None else F.embedding(count_before(mask), time)  # (1 or B, F, d)
        return (time[:, :, None] + place).flatten(1, 2)

    def fixed_positions(self, num_frames: int, rows: int, columns: int, device: torch.device | None = None):
        """Sinusoids of the place (rows * columns, d) and of the time (F, d); a first frame equals a still picture."""
        width = self.config.hidden_size
        time = sinusoids(num_frames, width, device)
        return sinusoids_2d(rows, columns, width, device), time - time[:1]

    def interpolated_grid(self, rows: int, columns: int) -> torch.Tensor:
        """The learned grid at another size, (rows * columns, d)."""
        if rows == columns == self.grid_size:
            return self.position_embeddings[0]
        return resize_grid(self.position_embeddings, rows, columns, self.config.position_interpolation)

    def raw_stand_in(self, reference: torch.Tensor) -> torch.Tensor:
        side = self.config.patch_size
        if self.config.backbone_config is not None:
            side = getattr(self.config.backbone_config, "image_size", 64)
        return reference.new_zeros(1, self.config.num_channels, side, side)


class MoTAudioEmbeddings(MoTEmbeddings):
    """Log-mel frames (B, T, num_mel_bins) or audio features (B, T, feature_size)."""

    raw_name = features_name = "input_features"
    mask_name, times_name, length_field = "input_features_mask", "input_features_times", "max_frames"

    def __init__(self, config: MoTAudioConfig):
        stride = config.stem_stride if config.feature_size is None else 1
        super().__init__(config, -(-config.max_frames // stride))
        if config.feature_size is not None:
            return
        if config.stem == "linear":
            self.projection = unit_scale(nn.Linear(stride * config.num_mel_bins, config.hidden_size))
        else:
            kernel_size = max(3, 2 * stride - 1)
            self.conv1 = unit_scale(nn.Conv1d(config.num_mel_bins, config.hidden_size, kernel_size=3, padding=1))
            width, padding = config.hidden_size, (kernel_size - 1) // 2
            self.conv2 = unit_scale(nn.Conv1d(width, width, kernel_size, stride, padding))

    def embed_raw(self, frames: torch.Tensor, mask: torch.Tensor | None, times=None, hidden=None):
        stride = self.config.stem_stride
        if hidden is not None:
            hidden = hidden.repeat_interleave(stride, dim=1)[:, : frames.shape[1]]  # (B, T)
        frames, mask, times = self.as_clip(frames, mask, times, hidden)
        frames = frames.to(next(self.parameters()).dtype)
        tokens = self.embed_linear(frames) if self.config.stem == "linear" else self.embed_conv(frames, mask)
        times = None if times is None else times[:, ::stride]  # a token has the time of its first frame
        return tokens, self.positions(tokens.shape[1], self.first_frames(mask), tokens.device, times)

    def run_backbone(self, frames: torch.Tensor, mask: torch.Tensor | None):
        """
        Of frames (B, T, num_mel_bins) as they are, or of waveforms (B, S, 1) for a model that reads `input_values` of two
        dimensions.
        """
        if frames.ndim != 3:
            raise ValueError(
                f"`input_features` has shape {tuple(frames.shape)}, expected (batch, frames, mel bins), or (batch, samples, "
                "1) for a backbone that reads waveforms."
            )
        mask = as_mask(mask, tuple(frames.shape[:2]), self.mask_name)
        values, kind = blank(frames, mask), self.config.backbone_config.model_type
        values = values.squeeze(-1) if values.shape[-1] == 1 else values.mT if kind in CHANNELS_FIRST else values
        takes_mask = mask is not None and hasattr(self.backbone, "_get_feature_vector_attention_mask")
        seen = {"attention_mask": (mask | ~mask.any(dim=1, keepdim=True)).long()} if takes_mask else {}
        features = self.backbone(**{self.backbone.main_input_name: values}, **seen).last_hidden_state
        length = features.shape[1]
        if takes_mask:
            mask = self.backbone._get_feature_vector_attention_mask(length, mask.long()).bool() & mask.any(
                1, keepdim=True
            )
        elif mask is not None and frames.shape[1] % length == 0:
            mask = mask[:, :: frames.shape[1] // length]
        elif mask is not None:  # what its tokens stand for is not known
            mask = mask.any(dim=1, keepdim=True).expand(-1, length)
        return features, mask

    def raw_mask(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        return self.first_frames(self.check_frames(frames, mask))

    def num_tokens(self, num_frames: int) -> int:
        """num_frames / stem_stride, rounded up, in the words of each stem: an exporter must see that the sizes agree."""
        stride = self.config.stem_stride
        return (num_frames + stride - 1) // stride if self.config.stem == "linear" else (num_frames - 1) // stride + 1

    def first_frames(self, mask: torch.Tensor | None) -> torch.Tensor | None:
        """From frames (B, T) to tokens (B, L): a token is real where its first frame is, once the real ones stand first."""
        if mask is None:
            return None
        first_frames = torch.arange(self.num_tokens(mask.shape[1]), device=mask.device) * self.config.stem_stride
        return first_frames < mask.sum(dim=1, keepdim=True)

    def check_frames(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        num_mel_bins = self.config.num_mel_bins
        if frames.ndim != 3 or frames.shape[-1] != num_mel_bins or frames.shape[1] == 0:
            raise ValueError(
                f"`input_features` has shape {tuple(frames.shape)}, expected (batch, frames, {num_mel_bins}) "
                "with at least one frame, frames before mel bins."
            )
        self.check_length(frames.shape[1])
        return as_mask(mask, tuple(frames.shape[:2]), self.mask_name)

    def as_clip(
        self,
        frames: torch.Tensor,
        mask: torch.Tensor | None,
        times: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ):
        """
        The real frames of each row first, in order, since a strided stem must not see where the padding was; blank
        behind them and where `hidden` (B, T); mean-normalised if the config asks. And their mask and times (B, T),
        None if they were.
        """
        mask = self.check_frames(frames, mask)
        frames = blank(frames, mask)
        if mask is not None:
            order = real_first(mask)
            frames, mask = take(frames, order), take(mask, order)
            times = None if times is None else take(times, order)
        seen = mask
        if hidden is not None:
            seen = ~hidden if mask is None else mask & ~hidden
        if self.config.mean_normalization:
            frames = self.subtract_mean(frames, seen)
        return blank(frames, seen), mask, times

    @staticmethod
    def subtract_mean(frames: torch.Tensor, seen: torch.Tensor | None) -> torch.Tensor:
        """Cepstral mean normalisation: the mean is that of the frames that may be seen, without NaN."""
        known = frames.isfinite() if seen is None else frames.isfinite() & seen[..., None]
        total = frames.masked_fill(~known, 0).sum(dim=1, keepdim=True)
        return frames - total / known.sum(dim=1, keepdim=True).clamp(min=1)

    def embed_linear(self, frames: torch.Tensor) -> torch.Tensor:
        stride = self.config.stem_stride
        num_tokens = self.num_tokens(frames.shape[1])
        indices = torch.arange(num_tokens * stride, device=frames.device)
        frames = F.pad(frames, (0, 0, 0, stride - 1)).index_select(1, indices)  # zeros fill the last token
        return self.projection(frames.reshape(frames.shape[0], num_tokens, stride * frames.shape[2]))

    def embed_conv(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden_states = F.gelu(self.conv1(frames.transpose(1, 2))).transpose(1, 2)  # (B, T, d)
        # Padding is zero again, just as what a convolution sees beyond the end of a clip.
        hidden_states = blank(hidden_states, mask)
        tokens = F.gelu(self.conv2(hidden_states.transpose(1, 2))).transpose(1, 2)  # (B, ceil(T / stride), d)
        return tokens.contiguous()

    def raw_targets(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        frames, mask, _ = self.as_clip(frames.float(), mask)
        if mask is not None:
            frames = frames.masked_fill(~mask[..., None], torch.nan)
        stride = self.config.stem_stride
        frames = F.pad(frames, (0, 0, 0, -frames.shape[1] % stride), value=torch.nan)
        return frames.unflatten(1, (-1, stride)).flatten(2)  # (B, N, stride * num_mel_bins)

    def usual_times(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        mask = as_mask(mask, tuple(frames.shape[:2]), self.mask_name)
        if mask is not None:
            return count_before(mask) * SECONDS_PER_FRAME
        return (torch.arange(frames.shape[1], device=frames.device) * SECONDS_PER_FRAME).expand(frames.shape[0], -1)

    def raw_stand_in(self, reference: torch.Tensor) -> torch.Tensor:
        if self.config.backbone_config is None:
            return reference.new_zeros(1, 1, self.config.num_mel_bins)
        backbone = self.config.backbone_config
        bins = getattr(backbone, "num_mel_bins", 1)  # none: it reads waveforms
        frames = getattr(backbone, "max_length", None) if bins > 1 else 16_000
        if backbone.model_type in CHANNELS_FIRST:
            frames = 2 * backbone.max_source_positions
        return reference.new_zeros(1, frames, bins)


EMBEDDINGS = {"text": MoTTextEmbeddings, "image": MoTImageEmbeddings, "audio": MoTAudioEmbeddings}
