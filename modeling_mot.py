# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A Mixture-of-Transformers over text, images or video frames, and audio, from the bottom up.

Each modality is embedded and encoded by modules of its own; the encoded tokens are joined along the sequence (text,
image, audio), pass through joint layers (weights of their own per modality, attention over all tokens) and global
layers (weights shared by all), and are fused into one vector, from which a head answers. A row may have any subset of
the modalities: masks say which tokens are real, and what is not real never reaches what is.

Shapes: B rows, L tokens, d width, H heads, D width of a head, F frames of a video, T frames of audio.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.activations import ACT2FN
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_mot import MoTAudioConfig, MoTConfig, MoTImageConfig, MoTModalityConfig, MoTTextConfig
from .fusion_mot import FUSIONS
from .loss_mot import classification_loss

# ---------------------------------------------------------------------------------------------------------------------
# Positions and masks
# ---------------------------------------------------------------------------------------------------------------------


def sinusoids(length: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """E_pos(pos, 2i) = sin(pos / 10000^(2i / width)), E_pos(pos, 2i + 1) = cos(same), as (length, width) in float32."""
    frequencies = torch.exp(torch.arange(0, width, 2, device=device) * (-math.log(10000.0) / width))
    angles = torch.arange(length, device=device)[:, None] * frequencies  # (length, width / 2)
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)


def sinusoids_2d(rows: int, columns: int, width: int, device: torch.device | None = None) -> torch.Tensor:
    """Half of the width for the row, half for the column of each cell of a grid: (rows * columns, width)."""
    by_row = sinusoids(rows, width // 2, device)[:, None].expand(-1, columns, -1)
    by_column = sinusoids(columns, width // 2, device)[None].expand(rows, -1, -1)
    return torch.cat([by_row, by_column], dim=-1).flatten(0, 1)


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


def close_holes(inputs: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Move each row's real frames to its front, in order: a strided stem must not see where the padding was."""
    order = (~mask).int().argsort(dim=1, stable=True)  # (B, T)
    return inputs.gather(1, order[..., None].expand_as(inputs)), mask.gather(1, order)


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


class MoTEmbeddings(nn.Module):
    """
    What all modalities share: ready features, 1-D positions, the cls token, norm and dropout. A modality adds how its
    raw input becomes tokens (`embed_raw`) and what its arguments are called.
    """

    raw_name: str
    features_name: str
    mask_name: str
    length_field: str  # the config field that limits a sequence

    def __init__(self, config: MoTModalityConfig, max_length: int):
        super().__init__()
        self.config = config
        if config.feature_size is not None:
            self.projection = unit_scale(nn.Linear(config.feature_size, config.hidden_size))
        if config.position_embedding_type == "learned" and not self.has_grid:
            self.position_embeddings = nn.Embedding(max_length, config.hidden_size)
        if config.use_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        if config.embedding_norm:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    @property
    def has_grid(self) -> bool:
        return False

    @property
    def input_name(self) -> str:
        """The argument through which this model takes the modality."""
        return self.raw_name if self.config.feature_size is None else self.features_name

    def forward(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, modality_embedding: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The tokens (B, L, d) of one modality and their mask (B, L), None if all are real."""
        if self.config.feature_size is None:
            tokens, positions, mask = self.embed_raw(inputs, mask)
        else:
            tokens, positions, mask = self.embed_features(inputs, mask)
        hidden_states = tokens + (positions.to(tokens.dtype) + modality_embedding)
        if self.config.use_cls_token:
            cls_token = (self.cls_token + modality_embedding).expand(tokens.shape[0], -1, -1)
            hidden_states = torch.cat([cls_token, hidden_states], dim=1)
            if mask is not None:
                mask = torch.cat([mask.any(dim=1, keepdim=True), mask], dim=1)
        if self.config.embedding_norm:
            hidden_states = self.norm(hidden_states)
        return self.dropout(hidden_states), mask

    def embed_features(self, features: torch.Tensor, mask: torch.Tensor | None):
        size = self.config.feature_size
        if features.ndim != 3 or features.shape[-1] != size:
            raise ValueError(
                f"`{self.features_name}` has shape {tuple(features.shape)}, expected (batch, length, {size}) "
                f"since `feature_size` is {size}."
            )
        mask = as_mask(mask, tuple(features.shape[:2]), self.mask_name)
        tokens = self.projection(blank(features, mask).to(self.projection.weight.dtype))
        return tokens, self.positions(features.shape[1], mask, features.device), mask

    def positions(self, length: int, mask: torch.Tensor | None, device: torch.device) -> torch.Tensor:
        """E_pos of a sequence, (1 or B, L, d): a token's position counts the real tokens before it."""
        self.check_length(length)
        if self.config.position_embedding_type == "learned":
            table = self.position_embeddings.weight[:length]
        else:
            table = sinusoids(length, self.config.hidden_size, device)
        return table[None] if mask is None else F.embedding(count_before(mask), table)

    def check_length(self, length: int) -> None:
        limit = getattr(self.config, self.length_field)
        if length > limit:
            raise ValueError(
                f"`{self.input_name}` has a length of {length}, but the model takes at most {limit} "
                f"(`{self.length_field}`): truncate the input, or build the model with a larger limit."
            )

    def stand_in(self) -> torch.Tensor:
        """An input of one row that becomes one token: what a batch without this modality trains on (see `encode`)."""
        reference = next(self.parameters())
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

    def embed_raw(self, input_ids: torch.Tensor, mask: torch.Tensor | None):
        if input_ids.ndim != 2 or input_ids.is_floating_point():
            raise ValueError(
                f"`input_ids` has shape {tuple(input_ids.shape)} and type {input_ids.dtype}, "
                "expected integers of shape (batch, length)."
            )
        mask = as_mask(mask, tuple(input_ids.shape), self.mask_name)
        if mask is not None:
            input_ids = input_ids.masked_fill(~mask, self.config.pad_token_id or 0)
        self.check_ids(input_ids)
        return self.word_embeddings(input_ids), self.positions(input_ids.shape[1], mask, input_ids.device), mask

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
    length_field = "num_frames"

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

    def embed_raw(self, pixel_values: torch.Tensor, mask: torch.Tensor | None):
        self.check_pixels(pixel_values)
        is_video = pixel_values.ndim == 5
        mask = as_mask(mask, tuple(pixel_values.shape[: 2 if is_video else 1]), self.mask_name)
        pixels = blank(pixel_values, mask).to(self.projection.weight.dtype)
        if not is_video:
            pixels, mask = pixels[:, None], None if mask is None else mask[:, None]
        batch_size, num_frames = pixels.shape[:2]
        patches = self.projection(self.stem(pixels.flatten(0, 1)))  # (B * F, d, rows, columns)
        rows, columns = patches.shape[-2:]
        tokens = patches.flatten(2).transpose(1, 2)  # (B * F, rows * columns, d)
        tokens = tokens.reshape(batch_size, num_frames * rows * columns, -1)
        if mask is None:
            return tokens, self.frame_positions(num_frames, rows, columns, None, tokens.device), None
        positions = self.frame_positions(num_frames, rows, columns, mask, tokens.device)
        return tokens, positions, mask.repeat_interleave(rows * columns, dim=1)

    def check_pixels(self, pixel_values: torch.Tensor) -> None:
        shape, channels, patch_size = tuple(pixel_values.shape), self.config.num_channels, self.config.patch_size
        if len(shape) not in (4, 5) or shape[-3] != channels:
            raise ValueError(
                f"`pixel_values` has shape {shape}, expected (batch, {channels}, height, width) or "
                f"(batch, frames, {channels}, height, width)."
            )
        if shape[-2] % patch_size or shape[-1] % patch_size:
            raise ValueError(
                f"`pixel_values` are {shape[-2]} x {shape[-1]} pixels, but `patch_size` ({patch_size}) must divide both."
            )

    def frame_positions(
        self, num_frames: int, rows: int, columns: int, mask: torch.Tensor | None, device: torch.device
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
        grid = self.position_embeddings.transpose(1, 2).unflatten(2, (self.grid_size, self.grid_size))  # (1, d, g, g)
        grid = F.interpolate(grid.float(), size=(rows, columns), mode="bicubic", align_corners=False)
        return grid.flatten(2)[0].T.to(self.position_embeddings.dtype)

    def raw_stand_in(self, reference: torch.Tensor) -> torch.Tensor:
        side = self.config.patch_size
        return reference.new_zeros(1, self.config.num_channels, side, side)


class MoTAudioEmbeddings(MoTEmbeddings):
    """Log-mel frames (B, T, num_mel_bins) or audio features (B, T, feature_size)."""

    raw_name = features_name = "input_features"
    mask_name, length_field = "input_features_mask", "max_frames"

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

    def embed_raw(self, frames: torch.Tensor, mask: torch.Tensor | None):
        num_mel_bins = self.config.num_mel_bins
        if frames.ndim != 3 or frames.shape[-1] != num_mel_bins or frames.shape[1] == 0:
            raise ValueError(
                f"`input_features` has shape {tuple(frames.shape)}, expected (batch, frames, {num_mel_bins}) "
                "with at least one frame, frames before mel bins."
            )
        self.check_length(frames.shape[1])
        mask = as_mask(mask, tuple(frames.shape[:2]), self.mask_name)
        frames = blank(frames, mask).to(next(self.parameters()).dtype)
        if mask is not None:
            frames, mask = close_holes(frames, mask)
        if self.config.mean_normalization:
            frames = self.subtract_mean(frames, mask)
        tokens = self.embed_linear(frames) if self.config.stem == "linear" else self.embed_conv(frames, mask)
        if mask is not None:  # a token is real where its first frame is
            first_frames = torch.arange(tokens.shape[1], device=mask.device) * self.config.stem_stride
            mask = first_frames < mask.sum(dim=1, keepdim=True)
        return tokens, self.positions(tokens.shape[1], mask, tokens.device), mask

    @staticmethod
    def subtract_mean(frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Cepstral mean normalisation over the real frames; padding stays zero."""
        if mask is None:
            return frames - frames.mean(dim=1, keepdim=True)
        mean = frames.sum(dim=1, keepdim=True) / mask.sum(dim=1)[:, None, None].clamp(min=1)
        return blank(frames - mean, mask)

    def embed_linear(self, frames: torch.Tensor) -> torch.Tensor:
        stride = self.config.stem_stride
        num_tokens = (frames.shape[1] + stride - 1) // stride
        indices = torch.arange(num_tokens * stride, device=frames.device)
        frames = F.pad(frames, (0, 0, 0, stride - 1)).index_select(1, indices)  # zeros fill the last token
        return self.projection(frames.reshape(frames.shape[0], num_tokens, stride * frames.shape[2]))

    def embed_conv(self, frames: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        hidden_states = F.gelu(self.conv1(frames.transpose(1, 2))).transpose(1, 2)  # (B, T, d)
        # Padding is zero again, just as what a convolution sees beyond the end of a clip.
        hidden_states = blank(hidden_states, mask)
        tokens = F.gelu(self.conv2(hidden_states.transpose(1, 2))).transpose(1, 2)  # (B, ceil(T / stride), d)
        return tokens.contiguous()

    def raw_stand_in(self, reference: torch.Tensor) -> torch.Tensor:
        return reference.new_zeros(1, 1, self.config.num_mel_bins)


EMBEDDINGS = {"text": MoTTextEmbeddings, "image": MoTImageEmbeddings, "audio": MoTAudioEmbeddings}


# ---------------------------------------------------------------------------------------------------------------------
# Attention and layers
# ---------------------------------------------------------------------------------------------------------------------


def eager_attention_forward(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float,
    dropout: float = 0.0,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor]:
    """softmax(Q K^T / sqrt(D)) V, written out: q, k, v (B, H, L, D) -> ((B, L, H, D), weights (B, H, L, L))."""
    scores = (query @ key.transpose(-1, -2)) * scaling
    if attention_mask is not None:
        scores = scores + attention_mask
    weights = scores.softmax(dim=-1, dtype=torch.float32).to(query.dtype)
    output = F.dropout(weights, p=dropout, training=module.training) @ value
    return output.transpose(1, 2).contiguous(), weights


def attend(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **kwargs,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Attention by the implementation that the config names: q, k, v (B, H, L, D) -> (B, L, H * D), weights."""
    interface: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(
        module.config._attn_implementation, eager_attention_forward
    )
    dropout = module.config.attention_dropout if module.training else 0.0
    scaling = query.shape[-1] ** -0.5
    output, weights = interface(module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs)
    return output.flatten(2).contiguous(), weights


class MoTAttention(nn.Module):
    """The four projections of a multi-head attention; who attends to whom is the layer's business."""

    def __init__(self, config, key_bias: bool = True):
        super().__init__()
        width = config.hidden_size
        self.heads = (config.num_attention_heads, width // config.num_attention_heads)
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=key_bias)
        self.v_proj = nn.Linear(width, width)
        self.o_proj = nn.Linear(width, width)

    def forward(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values of tokens (B, L, d), each (B, H, L, D)."""
        return [
            projection(hidden_states).unflatten(-1, self.heads).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        ]


class MoTMLP(nn.Module):
    """act(X W1 + b1) W2 + b2."""

    def __init__(self, config):
        super().__init__()
        self.activation = ACT2FN[config.hidden_act]
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(hidden_states)))


class MoTResidual(nn.Module):
    """X + what a sublayer made of X, with dropout and stochastic depth (arXiv 1603.09382) in training."""

    def __init__(self, config, drop_path: float):
        super().__init__()
        self.dropout = nn.Dropout(config.hidden_dropout)
        self.drop_path = drop_path

    def forward(self, hidden_states: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        update = self.dropout(update)
        if self.training and self.drop_path > 0:
            keep = 1 - self.drop_path
            kept = torch.rand(update.shape[0], 1, 1, device=update.device) < keep  # whole rows are dropped
            update = update * kept.to(update.dtype) / keep
        return hidden_states + update


class MoTBlock(nn.Module):
    """
    The parts of a pre-norm transformer layer, with the attention itself left to whoever owns the block: first
    `project`, then attention over any set of tokens, then `update`.
    """

    def __init__(self, config, key_bias: bool, drop_path: float):
        super().__init__()
        self.config = config
        self.layernorm_before = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = MoTAttention(config, key_bias)
        self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MoTMLP(config)
        self.residual = MoTResidual(config, drop_path)

    def project(self, hidden_states: torch.Tensor) -> list[torch.Tensor]:
        return self.attention(self.layernorm_before(hidden_states))

    def update(self, hidden_states: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        hidden_states = self.residual(hidden_states, self.attention.o_proj(attended))
        return self.residual(hidden_states, self.mlp(self.layernorm_after(hidden_states)))


class MoTEncoderLayer(MoTBlock, GradientCheckpointingLayer):
    """A layer of one modality's encoder: X' = X + MultiHead(LN(X)); X'' = X' + FFN(LN(X'))."""

    is_causal = False

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs):
        attended, weights = attend(self, *self.project(hidden_states), attention_mask, **kwargs)
        return self.update(hidden_states, attended), weights


class MoTJointLayer(GradientCheckpointingLayer):
    """
    A layer of arXiv 2411.04996: each modality has norms, projections and a feed-forward layer of its own (its expert),
    and one attention goes over the tokens of all modalities.
    """

    is_causal = False

    def __init__(self, config: MoTConfig, drop_path: float):
        super().__init__()
        self.config = config
        self.experts = nn.ModuleDict(
            {m: MoTBlock(config, config.modality_config(m).key_bias, drop_path) for m in config.modalities}
        )

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None,
        lengths: dict[str, int],
        stand_ins: torch.Tensor | None = None,
        unseen: Iterable[str] = (),
        **kwargs,
    ):
        """
        Args:
            lengths: how many tokens of each modality stand, in this order, in the joint sequence.
            stand_ins: (1, len(unseen), d) one token of each modality of `unseen`, which the batch lacks.

        The stand-ins pass their experts, but nothing attends to them; they reach the sequence times zero.
        """
        parts = hidden_states.split(list(lengths.values()), dim=1)
        experts = [self.experts[m] for m in lengths]
        projected = [expert.project(part) for expert, part in zip(experts, parts)]
        query, key, value = (torch.cat(tensors, dim=2) for tensors in zip(*projected))  # (B, H, L, D)
        attended, weights = attend(self, query, key, value, attention_mask, **kwargs)
        attended = attended.split(list(lengths.values()), dim=1)
        updated = [expert.update(*states) for expert, *states in zip(experts, parts, attended)]
        for i, modality in enumerate(unseen):
            updated[0] = updated[0] + 0.0 * self.run_alone(self.experts[modality], stand_ins[:, i : i + 1])
        return torch.cat(updated, dim=1), weights

    @staticmethod
    def run_alone(expert: MoTBlock, token: torch.Tensor) -> torch.Tensor:
        """A scalar that depends on all of an expert's parameters, from one token (1, 1, d)."""
        query, key, value = expert.project(token)
        # Attention over one token is its value; query and key take part for their gradients.
        attended = (value + 0.0 * (query + key)).transpose(1, 2).flatten(2)
        return expert.update(token, attended).mean()


class MoTGlobalLayer(GradientCheckpointingLayer):
    """A layer that all modalities share: X + GlobalMultiHead(LN(X)), and a feed-forward layer if the config asks."""

    is_causal = False

    def __init__(self, config: MoTConfig):
        super().__init__()
        self.config = config
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = MoTAttention(config)
        if config.global_mlp:
            self.layernorm_after = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.mlp = MoTMLP(config)
        self.residual = MoTResidual(config, drop_path=0.0)

    def forward(self, hidden_states: torch.Tensor, attention_mask: torch.Tensor | None, **kwargs):
        projected = self.attention(self.layernorm(hidden_states))
        attended, weights = attend(self, *projected, attention_mask, **kwargs)
        hidden_states = self.residual(hidden_states, self.attention.o_proj(attended))
        if self.config.global_mlp:
            hidden_states = self.residual(hidden_states, self.mlp(self.layernorm_after(hidden_states)))
        return hidden_states, weights


def run_layers(
    layers: Iterable[nn.Module], hidden_states: torch.Tensor, *args, keep_states: bool, keep_weights: bool, **kwargs
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Run layers one after another; the states before the first and after each, and the attention weights, on request."""
    states, weights = [hidden_states] if keep_states else [], []
    for layer in layers:
        # Tensors go by position: reentrant gradient checkpointing tracks no others.
        hidden_states, layer_weights = layer(hidden_states, *args, **kwargs)
        if keep_states:
            states.append(hidden_states)
        if keep_weights:
            weights.append(layer_weights)
    return hidden_states, states, weights


def drop_path_rates(rate: float, num_layers: int) -> list[float]:
    """Stochastic depth grows linearly from 0 at the first layer to `rate` at the last."""
    return [rate * i / max(num_layers - 1, 1) for i in range(num_layers)]


def attention_mask_for(config, hidden_states: torch.Tensor, mask: torch.Tensor | None):
    """The mask that the config's attention implementation takes: every token may attend to every real token."""
    if mask is None:
        return None
    # A softmax over nothing is NaN: in a row without any token, whose output nobody reads, all may attend to all.
    mask = mask | ~mask.any(dim=1, keepdim=True)
    return create_bidirectional_mask(config=config, inputs_embeds=hidden_states, attention_mask=mask)


# ---------------------------------------------------------------------------------------------------------------------
# The model
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class MoTModelOutput(ModelOutput):
    r"""
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(B, L, hidden_size)`):
            The joint sequence in the order text, image, audio; zero at absent tokens.
        pooler_output (`torch.FloatTensor` of shape `(B, hidden_size)`):
            The fused vector; zero for a row without any token.
        attention_mask (`torch.LongTensor` of shape `(B, L)`): 1 where a joint token is real.
        text_hidden_state (`torch.FloatTensor` of shape `(B, L_text, hidden_size)`, *optional*): The text's slice.
        image_hidden_state (`torch.FloatTensor` of shape `(B, L_image, hidden_size)`, *optional*): The images' slice.
        audio_hidden_state (`torch.FloatTensor` of shape `(B, L_audio, hidden_size)`, *optional*): The audio's slice.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*):
            On request, the joint sequence before the first and after every joint and global layer, each
            `(B, L, hidden_size)`.
        attentions (`tuple[torch.FloatTensor]`, *optional*):
            On request, the weights of each of those layers, `(B, heads, L, L)`.
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*):
            On request, for each modality its encoder's states, `(B, L_m, width_m)`.
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*):
            On request, for each modality its encoder's attention weights, `(B, heads_m, L_m, L_m)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    attention_mask: torch.LongTensor | None = None
    text_hidden_state: torch.FloatTensor | None = None
    image_hidden_state: torch.FloatTensor | None = None
    audio_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


@dataclass
class EncodedModalities:
    """What the encoders hand to the joint part, for each modality in the order of the joint sequence."""

    given: tuple[str, ...]  # the modalities that this batch has; the others are stand-ins
    hidden_states: dict[str, torch.Tensor] = field(default_factory=dict)  # (B, L_m, d)
    masks: dict[str, torch.Tensor | None] = field(default_factory=dict)  # (B, L_m) bool, None = all is real
    encoder_hidden_states: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)
    encoder_attentions: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def full_mask(self, modality: str) -> torch.Tensor:
        """The modality's mask, written out where all is real."""
        hidden_states, mask = self.hidden_states[modality], self.masks[modality]
        return hidden_states.new_ones(hidden_states.shape[:2], dtype=torch.bool) if mask is None else mask


class MoTPreTrainedModel(PreTrainedModel):
    """Initial weights, and what every model of the family tells the library."""

    config: MoTConfig
    base_model_prefix = "mot"
    main_input_name = "input_ids"
    input_modalities = ("text", "image", "audio")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    _no_split_modules = ["MoTEncoderLayer", "MoTJointLayer", "MoTGlobalLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if hasattr(module, "initial_std"):
            init.normal_(module.weight, std=module.initial_std)
            if getattr(module, "padding_idx", None) is not None:
                init.zeros_(module.weight[module.padding_idx])
        if isinstance(module, nn.ParameterDict):  # the modality embeddings
            for parameter in module.values():
                init.normal_(parameter, std=std)
        if isinstance(module, MoTEmbeddings) and module.config.use_cls_token:
            init.normal_(module.cls_token, std=std)
        if isinstance(module, MoTImageEmbeddings) and hasattr(module, "frame_position_embeddings"):
            grid = module.grid_size
            place, time = module.fixed_positions(module.config.num_frames, grid, grid)
            init.copy_(module.position_embeddings, place[None])
            init.copy_(module.frame_position_embeddings, time)

    def enable_input_require_grads(self):
        """
        Make every modality's embedded tokens require gradients: under reentrant gradient checkpointing, an adapter in
        a layer whose input requires none gets none, and the library knows of word embeddings only.
        """

        def require_grads(module, inputs, output):
            output[0].requires_grad_(True)

        embeddings = [module for module in self.modules() if isinstance(module, MoTEmbeddings)]
        self._require_grads_hooks = [module.register_forward_hook(require_grads) for module in embeddings]

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save the model with its code and an `auto_map` that names every class which can read the folder."""
        self.config.auto_map = {"AutoConfig": "configuration_mot.MoTConfig"} | {
            auto_class: f"modeling_mot.{name}" for auto_class, name in AUTO_CLASSES.items()
        }
        super().save_pretrained(save_directory, *args, **kwargs)


class MoTEncoder(MoTPreTrainedModel):
    """The transformer encoder of one modality, whose output has the joint width."""

    config: MoTModalityConfig
    main_input_name = "hidden_states"

    def __init__(self, config: MoTModalityConfig, joint_size: int):
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.num_hidden_layers)
        self.layers = nn.ModuleList([MoTEncoderLayer(config, config.key_bias, rate) for rate in rates])
        if config.final_norm:
            self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.hidden_size != joint_size:
            self.projection = nn.Linear(config.hidden_size, joint_size)
        self.post_init()

    def forward(
        self,
        hidden_states: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        keep_states: bool = False,
        keep_weights: bool = False,
        **kwargs,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """
        Args:
            hidden_states: the embedded tokens, (B, L, d of this modality).
            attention_mask: what `attention_mask_for` made.

        Returns:
            The tokens (B, L, d of the joint sequence), and, on request, the states and attention weights of its layers.
        """
        hidden_states, states, weights = run_layers(
            self.layers, hidden_states, attention_mask, keep_states=keep_states, keep_weights=keep_weights, **kwargs
        )
        if self.config.final_norm:
            hidden_states = self.final_norm(hidden_states)
        if hasattr(self, "projection"):
            hidden_states = self.projection(hidden_states)
        return hidden_states, states, weights


class MoTModel(MoTPreTrainedModel):
    """
    The bare Mixture-of-Transformers: any subset of the modalities in, the joint sequence and a fused vector out. See
    `docs/architecture.md` for the mathematics.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        configs = {m: config.modality_config(m) for m in config.modalities}
        self.embeddings = nn.ModuleDict({m: EMBEDDINGS[m](c) for m, c in configs.items()})
        self.modality_embeddings = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(1, c.hidden_size)) for m, c in configs.items()}
        )
        self.encoders = nn.ModuleDict({m: MoTEncoder(c, config.hidden_size) for m, c in configs.items()})
        rates = drop_path_rates(config.drop_path_rate, config.num_joint_layers)
        self.joint_layers = nn.ModuleList([MoTJointLayer(config, rate) for rate in rates])
        self.global_layers = nn.ModuleList([MoTGlobalLayer(config) for _ in range(config.num_global_layers)])
        self.fusion = FUSIONS[config.fusion_type](config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self._text_embeddings().word_embeddings

    def set_input_embeddings(self, value: nn.Module):
        self._text_embeddings().word_embeddings = value

    def _text_embeddings(self) -> MoTTextEmbeddings:
        if "text" not in self.embeddings or self.config.text_config.feature_size is not None:
            raise NotImplementedError("This model takes no token ids, so it has no word embeddings.")
        return self.embeddings["text"]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        r"""
        Args:
            input_ids: (B, L_text) token ids.
            attention_mask: (B, L_text) the text's mask; a row of zeros has no text.
            pixel_values: (B, C, H, W) images, or (B, F, C, H, W) video frames; `patch_size` divides H and W.
            pixel_mask: (B,) for images, (B, F) for frames, (B, L_image) for image features.
            input_features: (B, T, num_mel_bins) log-mel frames, or (B, T, feature_size) ready audio features.
            input_features_mask: (B, T).
            text_features: (B, L_text, feature_size) in place of `input_ids`, if the config has a `feature_size`.
            image_features: (B, L_image, feature_size) in place of `pixel_values`, likewise.
            output_hidden_states, output_attentions: also return those of the joint and global layers.
            output_encoder_hidden_states, output_encoder_attentions: also return those of each modality's encoder.
            kwargs: handed to the attention implementation.

        In every mask non-zero means real, holes and left padding are welcome, no mask means that all is real, and a
        mask whose modality is not given is ignored.

        Raises:
            ValueError: if no modality is given, or an argument does not fit the config or the other arguments.
        """
        output_hidden_states = kwargs.pop("output_hidden_states", None)
        output_attentions = kwargs.pop("output_attentions", None)
        encoded = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
            text_features=text_features,
            image_features=image_features,
            **kwargs,
        )
        kwargs = {k: v for k, v in kwargs.items() if not k.startswith("output_encoder_")}
        return self.join(
            encoded, output_hidden_states=output_hidden_states, output_attentions=output_attentions, **kwargs
        )

    def encode(
        self,
        output_encoder_hidden_states: bool = False,
        output_encoder_attentions: bool = False,
        stand_ins: bool = False,
        **arguments,
    ) -> EncodedModalities:
        """
        Embed and encode each modality by itself; the arguments are those of `forward`.

        In training (or with `stand_ins`), a modality that the batch lacks runs one stand-in token through its
        embedding and encoder, and `join` takes it along unseen: whatever a batch lacks, every parameter gets a
        gradient (zero where unused), and every process of a distributed run makes the same calls, so that none waits
        for another for ever.
        """
        if output_encoder_attentions:
            for modality in self.config.modalities:
                self.check_attention_weights(self.config.modality_config(modality))
        inputs, arguments = self.collect_inputs(arguments)
        batch_size = next(iter(inputs.values()))[0].shape[0]
        encoded = EncodedModalities(given=tuple(inputs))
        for modality in self.config.modalities if self.training or stand_ins else inputs:
            embeddings, encoder = self.embeddings[modality], self.encoders[modality]
            values, mask = inputs.get(modality) or (embeddings.stand_in(), None)
            tokens, mask = embeddings(values, mask, self.modality_embeddings[modality])
            attention_mask = attention_mask_for(encoder.config, tokens, mask)
            tokens, states, weights = encoder(
                tokens, attention_mask, output_encoder_hidden_states, output_encoder_attentions, **arguments
            )
            if output_encoder_hidden_states and modality in inputs:
                encoded.encoder_hidden_states[modality] = tuple(states)
            if output_encoder_attentions and modality in inputs:
                encoded.encoder_attentions[modality] = tuple(weights)
            if modality not in inputs:
                tokens = tokens[:, :1].expand(batch_size, -1, -1)
                mask = tokens.new_zeros(batch_size, 1, dtype=torch.bool)
            encoded.hidden_states[modality], encoded.masks[modality] = tokens, mask
        return encoded

    def collect_inputs(self, arguments: dict) -> tuple[dict[str, tuple], dict]:
        """Each given modality's input and mask, checked against the config; and the arguments that are left over."""
        arguments, inputs = dict(arguments), {}
        for modality, embeddings in EMBEDDINGS.items():
            names = dict.fromkeys([embeddings.raw_name, embeddings.features_name])
            given = {name: value for name in names if (value := arguments.pop(name, None)) is not None}
            mask = arguments.pop(embeddings.mask_name, None)
            if not given:
                continue
            if modality not in self.config.modalities:
                raise ValueError(
                    f"`{next(iter(given))}` was given, but this model has no {modality}: its modalities are "
                    f"{', '.join(self.config.modalities)}."
                )
            expected = self.embeddings[modality].input_name
            if list(given) != [expected]:
                size = self.config.modality_config(modality).feature_size
                raise ValueError(
                    f"This model takes {modality} as `{expected}` (`{modality}_config.feature_size` is {size}), got "
                    f"{' and '.join(f'`{name}`' for name in given)}."
                )
            inputs[modality] = (given[expected], mask)
        self.check_arguments(arguments)
        self.check_batch(inputs)
        return inputs, arguments

    def check_arguments(self, arguments: dict) -> None:
        """Other arguments go to the attention implementation, but one that is named like an input is a mistake."""
        inputs = [name for e in EMBEDDINGS.values() for name in (e.raw_name, e.features_name, e.mask_name)]
        for name in arguments:
            if name.endswith(("_features", "_mask", "_values", "_subset", "_subsets")):
                raise ValueError(f"Unknown argument `{name}`; the inputs are {', '.join(dict.fromkeys(inputs))}.")

    def check_batch(self, inputs: dict[str, tuple]) -> None:
        names = {modality: self.embeddings[modality].input_name for modality in self.config.modalities}
        if not inputs:
            raise ValueError(f"Give at least one modality: {', '.join(f'`{name}`' for name in names.values())}.")
        sizes = {names[modality]: values.shape[0] for modality, (values, _) in inputs.items()}
        if any(size != next(iter(sizes.values())) for size in sizes.values()):
            found = ", ".join(f"`{name}` has {size} rows" for name, size in sizes.items())
            raise ValueError(
                f"All modalities of a batch need the same number of rows, but {found}. Where a row lacks a modality, "
                "leave its place empty and mask it out."
            )

    def join(
        self,
        encoded: EncodedModalities,
        modalities: Iterable[str] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs,
    ) -> MoTModelOutput:
        """
        The joint part: join the encoded modalities, run the joint and the global layers, fuse.

        Args:
            encoded: what `encode` returned; it may be joined several times, so that encoders run once for many subsets.
            modalities: use only these; all that were given by default.
        """
        keep_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        keep_weights = self.config.output_attentions if output_attentions is None else output_attentions
        if keep_weights:
            self.check_attention_weights(self.config)
        present = [m for m in encoded.hidden_states if m in (encoded.given if modalities is None else modalities)]
        unseen = [m for m in encoded.hidden_states if m not in present] if self.training else []
        lengths = {m: encoded.hidden_states[m].shape[1] for m in present}
        hidden_states = torch.cat([encoded.hidden_states[m] for m in present], dim=1)  # (B, L, d)
        stand_ins = torch.cat([encoded.hidden_states[m][:1, :1] for m in unseen], dim=1) if unseen else None
        if unseen:
            hidden_states = hidden_states + 0.0 * stand_ins.mean()
        masks = {m: encoded.full_mask(m) for m in present}
        mask = torch.cat(list(masks.values()), dim=1)  # (B, L)
        all_real = all(encoded.masks[m] is None for m in present)
        attention_mask = attention_mask_for(self.config, hidden_states, None if all_real else mask)

        keep = {"keep_states": keep_states, "keep_weights": keep_weights, **kwargs}
        joint = (attention_mask, lengths, stand_ins, unseen)
        hidden_states, states, weights = run_layers(self.joint_layers, hidden_states, *joint, **keep)
        hidden_states, more_states, more_weights = run_layers(
            self.global_layers, hidden_states, attention_mask, **keep
        )
        states, weights = states + more_states[1:], weights + more_weights
        hidden_states = hidden_states if all_real else blank(hidden_states, mask)
        if keep_states:
            states[-1] = hidden_states

        slices = dict(zip(present, hidden_states.split([lengths[m] for m in present], dim=1)))
        return MoTModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=self.fusion(slices, masks),
            attention_mask=mask.long(),
            **{f"{m}_hidden_state": part for m, part in slices.items()},
            hidden_states=tuple(states) if keep_states else None,
            attentions=tuple(weights) if keep_weights else None,
            encoder_hidden_states=encoded.encoder_hidden_states or None,
            encoder_attentions=encoded.encoder_attentions or None,
        )

    @staticmethod
    def check_attention_weights(config: MoTConfig | MoTModalityConfig) -> None:
        if config._attn_implementation != "eager":
            raise ValueError(
                f'`attn_implementation="{config._attn_implementation}"` never forms attention weights: load the '
                'model with `attn_implementation="eager"`, or call `model.set_attn_implementation("eager")` first.'
            )


# ---------------------------------------------------------------------------------------------------------------------
# Heads
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class MoTClassifierOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The loss, if labels are given.
        logits (`torch.FloatTensor` of shape `(B, num_labels)`, or `(B, S, num_labels)` with S `modality_subsets`):
            Scores before softmax or sigmoid, or predicted numbers.
        losses (`dict[str, torch.FloatTensor]`, *optional*): With `modality_subsets`, the loss of each subset.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        attentions (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


class MoTForSequenceClassification(MoTPreTrainedModel):
    """
    Single-label or multi-label classification, or regression (`config.problem_type`), from any subset of modalities:
    a linear layer on the fused vector.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mot = MoTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        modality_subsets: list[tuple[str, ...]] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTClassifierOutput:
        r"""
        Inputs are those of [`MoTModel`]. Beyond them:

        Args:
            labels: (B,) class ids with -100 for none; (B, num_labels) zeros and ones for multi-label
                classification; (B,) or (B, num_labels) numbers for regression.
            modality_subsets: answer from each of these subsets, for example `[("text",), ("text", "audio")]`: the
                encoders run once and the joint part once for each. The loss is the mean of the subsets' losses, each
                over the rows that have any of the subset's modalities.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "pixel_mask": pixel_mask,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "text_features": text_features,
            "image_features": image_features,
        }
        if modality_subsets is not None:
            return self.forward_subsets(inputs, labels, modality_subsets, **kwargs)
        outputs = self.mot(**inputs, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        return MoTClassifierOutput(
            loss=None if labels is None else classification_loss(logits, labels, self.config),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

    def forward_subsets(
        self, inputs: dict[str, torch.Tensor], labels: torch.Tensor | None, subsets: list[tuple[str, ...]], **kwargs
    ) -> MoTClassifierOutput:
        subsets = self.check_subsets(subsets)
        if asked := [name for name, value in kwargs.items() if name.startswith("output_") and value]:
            raise ValueError(f"`{asked[0]}` goes with one subset at a time, without `modality_subsets`.")
        encoded = self.mot.encode(**inputs, stand_ins=True)
        logits, losses = [], {}
        for subset in subsets:
            outputs = self.mot.join(encoded, subset)
            logits.append(self.classifier(self.dropout(outputs.pooler_output)))
            if labels is not None:
                has_any = outputs.attention_mask.any(dim=1)
                losses["+".join(subset)] = classification_loss(logits[-1], labels, self.config, rows=has_any)
        return MoTClassifierOutput(
            loss=torch.stack(list(losses.values())).mean() if losses else None,
            logits=torch.stack(logits, dim=1),
            losses=losses or None,
        )

    def check_subsets(self, subsets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The subsets with their modalities in the fixed order."""
        modalities = self.config.modalities
        if not isinstance(subsets, (list, tuple)) or not subsets:
            raise ValueError(f"`modality_subsets` is {subsets!r}, expected a list such as [({modalities[0]!r},)].")
        ordered = []
        for subset in subsets:
            if (
                not isinstance(subset, (list, tuple, set, frozenset))
                or not subset
                or not set(subset) <= set(modalities)
            ):
                raise ValueError(
                    f"`modality_subsets` holds {subset!r}, expected non-empty tuples of {', '.join(modalities)}, "
                    f"for example {(modalities[0],)!r}."
                )
            ordered.append(tuple(m for m in modalities if m in subset))
        if len(set(ordered)) < len(ordered):
            raise ValueError(f"`modality_subsets` names a subset twice: {ordered}.")
        return ordered


class MoTForImageClassification(MoTForSequenceClassification):
    """The same model under the name that the image-classification pipeline looks for."""


class MoTForAudioClassification(MoTForSequenceClassification):
    """The same model under the name that the audio-classification pipeline looks for."""


# Which class each Auto class means in a saved folder.
AUTO_CLASSES = {
    "AutoModel": "MoTModel",
    "AutoModelForSequenceClassification": "MoTForSequenceClassification",
    "AutoModelForImageClassification": "MoTForImageClassification",
    "AutoModelForAudioClassification": "MoTForAudioClassification",
}

__all__ = [
    "MoTForAudioClassification",
    "MoTForImageClassification",
    "MoTForSequenceClassification",
    "MoTModel",
    "MoTPreTrainedModel",
]
