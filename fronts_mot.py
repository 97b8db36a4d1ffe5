# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How a model of transformers in front of a tower is called: what it takes of a batch, and what it gives for each row.

Most models take what the processor gives. Some have a form of their own: patches in a row with the size of their grid
(Qwen-VL, Gemma 4), clips one after another (Qwen-Omni), a clip of fixed length (Whisper). Sound of several lengths is
given to a model in groups of one length, so that its answer is that for the clip alone, whatever the model makes of
padding.

Shapes: B rows, L or N tokens, T frames or samples, w width of the output.
"""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional as F
from transformers import PreTrainedConfig

from .arguments_mot import can_look_at
from .backbones_mot import TAKES_PATCHES
from .positions_mot import real_first, take

CHANNELS_FIRST = {  # audio models that take mel bins before frames
    "whisper",
    "qwen2_audio_encoder",
    "qwen2_5_omni_audio_encoder",
    "qwen3_omni_moe_audio_encoder",
    "qwen3_asr_encoder",
}
FIXED_LENGTH = {"whisper", "qwen2_audio_encoder"}  # those that always hear 30 seconds
IN_A_ROW = {"qwen2_5_omni_audio_encoder", "qwen3_omni_moe_audio_encoder"}  # those that take clips one after another
MEL_BINS = ("num_mel_bins", "input_feat_size", "feature_projection_input_dim")  # how audio configs call them
MEL_BINS_OF = {"gemma4_audio": 128}  # those that do not say
RANGE_OF_WHISPER = 2.0  # how far silence lies below the loudest bin in the features of Whisper

# Models of text whose first position is that behind the id of padding, so that their table has some to spare.
COUNTS_FROM_PADDING = {
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    "camembert",
    "mpnet",
    "longformer",
    "roberta-prelayernorm",
    "data2vec-text",
    "xmod",
}

Hear = Callable[[torch.Tensor], torch.Tensor]


# ---------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------


def real_tokens_first(input_ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Each row's real tokens (B, L) at its front, since models with a table of positions count from the first place.
    """
    order = real_first(mask)
    return take(input_ids, order), take(mask, order)


def longest_text(config: PreTrainedConfig) -> dict[str, int]:
    """The field `max_position_embeddings` for a model of text that says how many tokens it takes."""
    longest = getattr(config, "max_position_embeddings", None)
    if not isinstance(longest, int) or longest < 1:
        return {}
    if config.model_type in COUNTS_FROM_PADDING:
        longest -= (config.pad_token_id or 0) + 1
    return {"max_position_embeddings": longest}


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def see(backbone: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Pictures (N, C, H, W) to the tokens (N, L, w) that a model makes of them."""
    kind = backbone.config.model_type
    if kind in TAKES_PATCHES:
        return see_in_a_row(backbone, pixels)
    if kind == "gemma4_vision":
        return see_with_places(backbone, pixels)
    features = backbone(pixel_values=pixels).last_hidden_state
    if features.ndim == 4:  # (N, w, rows, columns), as convolutional models give
        features = features.flatten(2).transpose(1, 2)
    return features


def see_in_a_row(backbone: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Of Qwen-VL and its kin: what they merge of their patches and give to their language model."""
    patches, grid = patches_in_a_row(pixels, backbone.config)
    return backbone(patches, grid_thw=grid).pooler_output.unflatten(0, (len(pixels), -1))


def patches_in_a_row(pixels: torch.Tensor, config: PreTrainedConfig) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Pictures (N, C, H, W) as Qwen2-VL's image processor writes them: patches of all pictures in a row, those that will
    be merged side by side, a still picture repeated in time; and the grid of each, (N, 3): frames, rows, columns.
    """
    side, merged, repeats = config.patch_size, config.spatial_merge_size, config.temporal_patch_size
    check_sides(pixels, side * merged, config)
    number, channels = pixels.shape[:2]
    rows, columns = (length // side for length in pixels.shape[-2:])
    patches = pixels.reshape(number, channels, rows // merged, merged, side, columns // merged, merged, side)
    patches = patches.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (N, rows, columns, merged, merged, C, side, side)
    patches = patches.unsqueeze(6).expand(*[-1] * 6, repeats, -1, -1).reshape(number * rows * columns, -1)
    return patches, torch.tensor([[1, rows, columns]], device=pixels.device).expand(number, -1)


def see_with_places(backbone: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """Of Gemma 4: patches (N, L, side * side * C) with their places (N, L, 2), column and row, pooled by the model."""
    config = backbone.config
    side = config.patch_size
    check_sides(pixels, side * config.pooling_kernel_size, config)
    number, channels = pixels.shape[:2]
    rows, columns = (length // side for length in pixels.shape[-2:])
    patches = pixels.reshape(number, channels, rows, side, columns, side).permute(0, 2, 4, 3, 5, 1)
    row, column = torch.meshgrid(
        torch.arange(rows, device=pixels.device), torch.arange(columns, device=pixels.device), indexing="ij"
    )
    places = torch.stack([column, row], dim=-1).flatten(0, 1).expand(number, -1, -1)
    output = backbone(patches.reshape(number, rows * columns, -1), pixel_position_ids=places)
    return output.last_hidden_state.unflatten(0, (number, -1))


def check_sides(pixels: torch.Tensor, unit: int, config: PreTrainedConfig) -> None:
    height, width = pixels.shape[-2:]
    if height % unit or width % unit:
        raise ValueError(
            f"Pictures are {height} x {width} pixels, but the model in front ({config.model_type}) takes sides that "
            f"{unit} divides."
        )


def picture_unit(config: PreTrainedConfig) -> int | None:
    """What has to divide the sides of pictures for a model that takes any grid of patches; None for other models."""
    if config.model_type in TAKES_PATCHES:
        return config.patch_size * config.spatial_merge_size
    return config.patch_size * config.pooling_kernel_size if config.model_type == "gemma4_vision" else None


def picture_side(config: PreTrainedConfig) -> int:
    """The side of a small square picture that a model takes."""
    side = getattr(config, "image_size", None) or picture_unit(config) or 64
    return side if isinstance(side, int) else max(side)


# ---------------------------------------------------------------------------------------------------------------------
# Sound
# ---------------------------------------------------------------------------------------------------------------------


def hear(
    backbone: nn.Module, values: torch.Tensor, mask: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """
    Sound to what a model makes of it.

    Args:
        values: mel frames (B, T, bins), or samples (B, T, 1), zero where not real.
        mask: (B, T) bool, of which frames or samples are real; None: all.

    Returns:
        The tokens (B, L, w) and which of them are real, (B, L).
    """
    if mask is None:
        return hear_whole(backbone, values), None
    if masks_exactly(backbone):
        return hear_masked(backbone, values, mask)
    return by_length(lambda clips: hear_whole(backbone, clips), backbone, values, mask)


def masks_exactly(backbone: nn.Module) -> bool:
    """
    Whether a model of waveforms gives a padded clip what it gives the clip alone. Those that norm over time before
    they look at the mask (wav2vec2's base) do not.
    """
    has_mask = hasattr(backbone, "_get_feature_vector_attention_mask")
    return has_mask and getattr(backbone.config, "feat_extract_norm", None) == "layer"


def hear_masked(backbone: nn.Module, values: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Clips of several lengths in one call; those that have no sound are heard whole, and their tokens not used."""
    order = real_first(mask)
    values, mask = take(values, order), take(mask, order)
    check_audible(backbone, mask.sum(dim=1))
    is_there = mask.any(dim=1, keepdim=True)
    features = backbone(values.squeeze(-1), attention_mask=(mask | ~is_there).long()).last_hidden_state
    real = backbone._get_feature_vector_attention_mask(features.shape[1], mask.long()).bool()
    return features, real & is_there


def by_length(
    hear_clips: Hear, backbone: nn.Module, values: torch.Tensor, mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    The clips of each length go through the model together, without padding, so that a row is what it is alone.

    Args:
        hear_clips: clips (n, T', bins) to tokens (n, L', w).
        values: (B, T, bins).
        mask: (B, T).

    Returns:
        Tokens (B, L, w) and which of them are real, (B, L); without any sound one token for each row, none real.
    """
    lengths = mask.sum(dim=1)
    check_audible(backbone, lengths)
    values = take(values, real_first(mask))
    heard: dict[int, torch.Tensor] = {}
    for length in lengths.unique().tolist():
        rows = (lengths == length).nonzero()[:, 0]
        if length:
            heard |= zip(rows.tolist(), hear_clips(values[rows, :length]))
    if not heard:  # one short clip says how wide the output is
        nothing = hear_clips(silence_for(backbone.config, values))[:, :1] * 0
        return nothing.expand(len(values), -1, -1), mask.new_zeros(len(values), 1)
    longest = max(map(len, heard.values()))
    width = next(iter(heard.values())).shape[-1]
    tokens = next(iter(heard.values())).new_zeros(len(values), longest, width)
    real = mask.new_zeros(len(values), longest)
    for row, features in heard.items():
        tokens[row, : len(features)] = features
        real[row, : len(features)] = True
    return tokens, real


def check_audible(backbone: nn.Module, lengths: torch.Tensor) -> None:
    """Raise a ValueError for clips with a number of samples (B,) of which a model of waveforms makes no token."""
    if not hasattr(backbone, "_get_feature_vector_attention_mask") or not can_look_at(lengths):
        return
    tokens = backbone._get_feat_extract_output_lengths(lengths)
    if (silent := lengths[(lengths > 0) & (tokens < 1)]).numel():
        raise ValueError(
            f"A clip has {silent[0].item()} samples, of which the model in front ({backbone.config.model_type}) makes "
            "no token: leave it out, or give a longer one."
        )


def hear_whole(backbone: nn.Module, values: torch.Tensor) -> torch.Tensor:
    """Clips (n, T, bins) of which all is real to tokens (n, L, w)."""
    config, kind = backbone.config, backbone.config.model_type
    number, length = values.shape[:2]
    if values.shape[-1] == 1:
        values = values.squeeze(-1)
    if kind in FIXED_LENGTH:
        values = filled_up(values, 2 * config.max_source_positions)
    if kind == "qwen3_asr_encoder":
        values = F.pad(values, (0, 0, 0, -length % (2 * config.n_window)))
    clips = values.mT if kind in CHANNELS_FIRST else values
    everything = torch.ones(values.shape[:2], dtype=torch.long, device=values.device)
    everything[:, length:] = 0
    if kind in IN_A_ROW:
        lengths = torch.full((number,), length, device=values.device)
        output = backbone(clips.transpose(0, 1).flatten(1), feature_lens=lengths)
    elif kind == "gemma3n_audio":
        output = backbone(clips, audio_mel_mask=everything == 0)  # which are padding
    elif kind == "qwen3_asr_encoder":
        output = backbone(clips, input_features_mask=everything)
    else:
        output = backbone(clips)
    features = output.last_hidden_state
    return features if features.ndim == 3 else features.unflatten(0, (number, -1))


def filled_up(frames: torch.Tensor, length: int) -> torch.Tensor:
    """Frames (n, T, bins) of Whisper's extractor followed by those of silence, up to the length of its window."""
    if frames.shape[1] > length:
        raise ValueError(f"Sound has {frames.shape[1]} frames, but the model in front takes {length}: cut it.")
    silence = frames.amax(dim=(1, 2), keepdim=True) - RANGE_OF_WHISPER
    return torch.cat([frames, silence.expand(-1, length - frames.shape[1], frames.shape[2])], dim=1)


def mel_bins(config: PreTrainedConfig) -> int:
    """How many mel bins an audio model reads; 1 for one that reads samples."""
    if config.model_type in MEL_BINS_OF:
        return MEL_BINS_OF[config.model_type]
    return next((getattr(config, name) for name in MEL_BINS if getattr(config, name, None)), 1)


def stand_in_length(config: PreTrainedConfig) -> int:
    """How long a clip is that any audio model takes: its window where it has one, else a second."""
    if config.model_type in FIXED_LENGTH:
        return 2 * config.max_source_positions
    return 16_000 if mel_bins(config) == 1 else getattr(config, "max_length", None) or 100


def silence_for(config: PreTrainedConfig, values: torch.Tensor) -> torch.Tensor:
    """One clip of zeros, as short as the model takes, with the bins of `values`."""
    return values.new_zeros(1, stand_in_length(config), values.shape[-1])


__all__ = [
    "hear",
    "longest_text",
    "mel_bins",
    "picture_side",
    "picture_unit",
    "real_tokens_first",
    "see",
    "stand_in_length",
]
