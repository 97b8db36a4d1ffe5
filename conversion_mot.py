# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the encoders of other models are called, have and need, in the words of a MoT tower.

`describe` turns the config of a transformers model into the fields of a modality's config, or refuses it with the
reason; `convert` turns its weights, one after another, into those of that tower. Both are mere mappings: they load
nothing, and know no model class. What a source computes, the tower computes: its `last_hidden_state` is the output of
the encoder, before the projection to the joint width.
"""

import functools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
from transformers import PreTrainedConfig

from .backbones_mot import TAKES_PATCHES, part_of
from .modality_mot import Modality

Read = Callable[[str], torch.Tensor]  # from a name in the source to its tensor

# What a tower's parts are called elsewhere; the first name is ours. Checkpoints on the Hub keep the names of the time
# when they were saved, so that a model may come with older ones and with newer ones.
IN_A_LAYER = {
    "layernorm_before": ("layer_norm1", "norm1", "self_attn_layer_norm", "attention.LayerNorm"),
    "attention.q_proj": ("self_attn.q_proj", "attention.attention.query", "attention.self.query"),
    "attention.k_proj": ("self_attn.k_proj", "attention.attention.key", "attention.self.key"),
    "attention.v_proj": ("self_attn.v_proj", "attention.attention.value", "attention.self.value"),
    "attention.o_proj": ("self_attn.out_proj", "attention.output.dense"),
    "layernorm_after": ("layer_norm2", "norm2", "final_layer_norm", "intermediate.LayerNorm"),
    "mlp.fc1": ("fc1", "intermediate.dense"),
    "mlp.fc2": ("fc2", "output.dense"),
    "layer_scale1": ("layer_scale1.lambda1",),
    "layer_scale2": ("layer_scale2.lambda1",),
}
ELSEWHERE = {
    "word_embeddings": ("embeddings.word_embeddings", "embeddings.token_embedding"),
    "projection": ("embeddings.patch_embeddings.projection", "embeddings.patch_embedding"),
    "conv1": ("conv1",),
    "conv2": ("conv2",),
    "cls_token": ("embeddings.cls_token", "embeddings.class_embedding"),
    "register_tokens": ("embeddings.register_tokens", "embeddings.distillation_token"),
    "position_embeddings": ("embeddings.position_embeddings", "embeddings.position_embedding", "embed_positions"),
    "token_type_embeddings": ("embeddings.token_type_embeddings",),
    "norm": ("embeddings.LayerNorm", "pre_layrnorm"),
    "final_norm": ("layernorm", "post_layernorm", "final_layer_norm", "layer_norm", "LayerNorm"),
}
LAYER_NAMES = {other: ours for ours, others in IN_A_LAYER.items() for other in (ours, *others)}
OTHER_NAMES = {other: ours for ours, others in ELSEWHERE.items() for other in others}
LAYER = re.compile(r"(?:encoder\.)?layers?\.(\d+)\.(.+)")
IN_ENCODER = ("layers.", "final_norm")  # what stands under `encoders.{m}`; the rest under `embeddings.{m}`


@dataclass(frozen=True)
class Source:
    """
    A kind of encoder that a tower can be.

    Args:
        kind: of the modality whose tower it can be.
        prefixes: what may stand before its names in a checkpoint, of a model with a head or of the encoder alone.
        fields: from its config to the fields of the modality's config.
        first_position: of the first token in a text's or sound's table of positions; before it stands what is for
            none.
        has_grid: whether its tokens are patches of a picture, whose positions are a grid.
        num_positioned: the tokens in front of a picture's patches that have positions: cls, or cls and distillation.
        unused: of our names, what it has but does not use for its `last_hidden_state`.
    """

    kind: str
    prefixes: tuple[str, ...]
    fields: Callable[[PreTrainedConfig], dict]
    first_position: Callable[[PreTrainedConfig], int] = lambda config: 0
    has_grid: bool = False
    num_positioned: int = 0
    unused: tuple[str, ...] = ()


# ---------------------------------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------------------------------


def tower_fields(config: PreTrainedConfig) -> dict:
    """What most configs call by the same name."""
    return {
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.intermediate_size,
        "hidden_act": config.hidden_act,
        "layer_norm_eps": config.layer_norm_eps,
        "position_embedding_type": "learned",
        "final_norm": True,
    }


def picture_fields(config: PreTrainedConfig) -> dict:
    fields = tower_fields(config) | {"stem": "linear", "num_channels": config.num_channels}
    for name in ("image_size", "patch_size"):
        sides = getattr(config, name)
        sides = tuple(sides) if isinstance(sides, (list, tuple)) else (sides, sides)
        if sides[0] != sides[1]:
            raise ValueError(f"its {name} is {sides[0]} x {sides[1]}, but a tower takes squares.")
        fields[name] = sides[0]
    return fields


def vit_fields(config: PreTrainedConfig) -> dict:
    return picture_fields(config) | {"use_cls_token": True}


def deit_fields(config: PreTrainedConfig) -> dict:
    return vit_fields(config) | {"num_register_tokens": 1}  # its distillation token


def dinov2_fields(config: PreTrainedConfig) -> dict:
    if config.use_swiglu_ffn:
        raise ValueError(
            "its feed-forward layers are gated (SwiGLU), those of a tower are not: take a smaller DINOv2."
        )
    size = int(config.hidden_size * config.mlp_ratio)
    fields = vit_fields(copy_with(config, intermediate_size=size))
    if registers := getattr(config, "num_register_tokens", 0):
        fields |= {"num_register_tokens": registers, "position_interpolation": "antialiased_bicubic"}
    return fields


def siglip2_picture_fields(config: PreTrainedConfig) -> dict:
    side = round(config.num_patches**0.5)
    config = copy_with(config, image_size=side * config.patch_size)
    return picture_fields(config) | {"position_interpolation": "antialiased_bilinear"}


def clip_picture_fields(config: PreTrainedConfig) -> dict:
    # CLIP's norm after the last layer is for its cls token alone, and not in its `last_hidden_state`.
    return vit_fields(config) | {"embedding_norm": True, "final_norm": False}


def siglip_text_fields(config: PreTrainedConfig) -> dict:
    return tower_fields(config) | {
        "vocab_size": config.vocab_size,
        "max_position_embeddings": config.max_position_embeddings,
        "pad_token_id": config.pad_token_id if (config.pad_token_id or 0) < config.vocab_size else None,
    }


def roberta_fields(config: PreTrainedConfig) -> dict:
    positions = config.max_position_embeddings - config.pad_token_id - 1
    return siglip_text_fields(config) | {"max_position_embeddings": positions, "embedding_norm": True}


def whisper_fields(config: PreTrainedConfig) -> dict:
    return {
        "hidden_size": config.d_model,
        "num_hidden_layers": config.encoder_layers,
        "num_attention_heads": config.encoder_attention_heads,
        "intermediate_size": config.encoder_ffn_dim,
        "hidden_act": config.activation_function,
        "layer_norm_eps": 1e-5,
        "position_embedding_type": "learned",
        "final_norm": True,
        "key_bias": False,
        "stem": "conv",
        "stem_stride": 2,
        "num_mel_bins": config.num_mel_bins,
        "max_frames": 2 * config.max_source_positions,
    }


def copy_with(config: PreTrainedConfig, **fields) -> PreTrainedConfig:
    config = type(config).from_dict(config.to_dict())
    for name, value in fields.items():
        setattr(config, name, value)
    return config


# Where Gemma 3, PaliGemma and their kin have the SigLIP that they see with.
IN_A_LARGER = (
    "vision_tower.vision_model.",
    "model.vision_tower.vision_model.",
    "vision_tower.",
    "model.vision_tower.",
    "model.encoder.vision_tower.",
    "encoder.vision_tower.",
)
PictureSource = functools.partial(Source, "image", has_grid=True)

# model type -> what a tower needs to know of it.
SOURCES = {
    "vit": PictureSource(("vit.", ""), vit_fields, num_positioned=1),
    "deit": PictureSource(("deit.", ""), deit_fields, num_positioned=2),
    "dinov2": PictureSource(("dinov2.", ""), dinov2_fields, num_positioned=1),
    "dinov2_with_registers": PictureSource(("dinov2_with_registers.", ""), dinov2_fields, num_positioned=1),
    "siglip_vision_model": PictureSource(("vision_model.", *IN_A_LARGER, ""), picture_fields),
    "siglip2_vision_model": PictureSource(("vision_model.", ""), siglip2_picture_fields),
    "clip_vision_model": PictureSource(
        ("vision_model.", ""), clip_picture_fields, num_positioned=1, unused=("final_norm",)
    ),
    "siglip_text_model": Source("text", ("text_model.", ""), siglip_text_fields),
    "siglip2_text_model": Source("text", ("text_model.", ""), siglip_text_fields),
    "roberta-prelayernorm": Source(
        "text", ("roberta_prelayernorm.", ""), roberta_fields, first_position=lambda config: config.pad_token_id + 1
    ),
    "whisper": Source("audio", ("model.encoder.", "encoder.", ""), whisper_fields),
}
# model type -> what is in its way.
WAVEFORMS = "it reads waveforms, and a tower reads mel frames"
WINDOWS = "its attention is that of a conformer, within windows"
ROTARY_PATCHES = "its positions are rotary, and neighbouring patches are merged behind its layers"
POST_NORM = "its layers norm after they add, those of a tower before, so that it would load and compute something else"
REFUSED = {
    **dict.fromkeys(("bert", "roberta", "xlm-roberta", "distilbert", "electra", "camembert", "mpnet"), POST_NORM),
    "clip_text_model": "its attention is causal, and a tower looks both ways",
    "modernbert": "its positions are rotary and its feed-forward layers gated",
    "dinov3_vit": "its positions are rotary, and a tower adds positions to its tokens",
    "audio-spectrogram-transformer": "its patches overlap, and lie in rows of frequencies rather than one after "
    "another",
    **dict.fromkeys(("wav2vec2", "hubert", "wavlm", "moonshine"), WAVEFORMS),
    **dict.fromkeys(("gemma3n_audio", "gemma4_audio", "wav2vec2-bert", "parakeet_encoder"), WINDOWS),
    **dict.fromkeys((*TAKES_PATCHES, "gemma4_vision"), ROTARY_PATCHES),
    "qwen2_audio_encoder": "it averages neighbouring tokens before its last norm",
    **dict.fromkeys(
        ("qwen2_5_omni_audio_encoder", "qwen3_omni_moe_audio_encoder", "qwen3_asr_encoder"),
        "it hears short pieces, each with positions of its own",
    ),
    **dict.fromkeys(
        ("patchtst", "patchtsmixer", "time_series_transformer", "informer", "autoformer", "timesfm", "timesfm2_5"),
        "it is a model of time series, which no tower can be",
    ),
    **dict.fromkeys(
        ("gpt2", "llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "gpt_neox", "opt"),
        "it is a decoder: its attention is causal",
    ),
}


class NotATower(ValueError):
    """A model cannot be the tower of a modality; `reason` says why."""

    def __init__(self, config: PreTrainedConfig, modality: Modality, reason: str):
        self.reason = reason
        super().__init__(
            f"A model of type {config.model_type!r} cannot become the {modality.name} tower: {reason}. "
            + (f"Use {modality.sources}, or put it" if modality.sources else "Put it")
            + f' in front of a fresh tower as it is, with `{modality.name}_backbone=` or `fallback="backbone"`.'
        )


def find_source(config: PreTrainedConfig, modality: Modality) -> tuple[Source, PreTrainedConfig]:
    """
    What kind of encoder a config describes, and the config of that encoder alone.

    Raises:
        NotATower: there is none for this modality that a tower could be, with the reason and what to use instead.
    """
    config = part_of(config, modality.part_of_pair)
    source = SOURCES.get(config.model_type)
    if source is not None and source.kind == modality.kind:
        return source, config
    if source is not None:
        reason = f"it encodes {source.kind}: name it as `{source.kind}=`"
    else:
        reason = REFUSED.get(config.model_type, "its layers are not known to be those of a tower")
    raise NotATower(config, modality, reason)


def describe(config: PreTrainedConfig, modality: Modality) -> dict:
    """
    The fields of a modality's config that make its tower compute what the source computes.

    Args:
        config: of a transformers model, or of one that holds such an encoder (CLIP, SigLIP, Whisper).

    Raises:
        NotATower: the source cannot be a tower of this modality, with the reason.
    """
    source, config = find_source(config, modality)
    if getattr(config, "is_decoder", False):
        raise NotATower(config, modality, "it is a decoder (`is_decoder`), a tower an encoder")
    try:
        return source.fields(config)
    except ValueError as error:
        raise NotATower(config, modality, str(error).removesuffix(".")) from None


# ---------------------------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------------------------


def rename(name: str) -> str | None:
    """
    A source's name, without its prefix, as ours: `layers.3.mlp.fc1.weight`, `cls_token`; None where there is none.
    """
    if match := LAYER.fullmatch(name):
        number, name = match.groups()
        part, _, kind = name.rpartition(".")
        ours = LAYER_NAMES.get(name) or LAYER_NAMES.get(part)
        if ours is None:
            raise ValueError(f"a layer has `{name}`, which no layer of a tower has.")
        return f"layers.{number}.{ours}" + ("" if name in LAYER_NAMES else f".{kind}")
    part, _, kind = name.rpartition(".")
    if name in OTHER_NAMES:
        return OTHER_NAMES[name]
    ours = OTHER_NAMES.get(part)
    return ours if ours is None or ours.endswith("position_embeddings") else f"{ours}.{kind}"


def convert(names: Iterable[str], read: Read, config: PreTrainedConfig, modality: Modality) -> Iterator[tuple]:
    """
    A source's weights as those of the tower that `describe` describes, one at a time.

    Args:
        names: of all tensors in the source.
        read: gives one of them.
        config: as in `describe`.

    Yields:
        The name in a MoT model (`encoders.image.layers.0.mlp.fc1.weight`), the names in the source that it is made of,
        and a function that makes it.
    """
    source, config = find_source(config, modality)
    fields, first = source.fields(config), source.first_position(config)
    prefix = next((p for p in source.prefixes if p and any(name.startswith(p) for name in names)), "")
    found = {}  # ours -> the source's
    for name in names:
        ours = rename(name.removeprefix(prefix)) if name.startswith(prefix) else None
        if ours is not None and ours.partition(".")[0] not in source.unused:
            found[ours] = name

    def made_of(*parts: str, make: Callable[..., torch.Tensor] = lambda tensor: tensor):
        theirs = [found[part] for part in parts if part in found]
        return theirs, lambda: make(*map(read, theirs))

    for ours in found:
        if "layer_scale" in ours or ours == "token_type_embeddings.weight":
            continue  # they go into others
        made = made_of(ours)
        if ours == "cls_token":
            made = made_of(ours, "position_embeddings", make=functools.partial(at_position, number=0))
        elif ours == "register_tokens" and source.num_positioned == 2:
            made = made_of(ours, "position_embeddings", make=functools.partial(at_position, number=1))
        elif ours == "position_embeddings" and source.has_grid:
            made = made_of(ours, make=functools.partial(as_grid, start=source.num_positioned))
        elif ours == "position_embeddings":
            made = made_of(ours, "token_type_embeddings.weight", make=functools.partial(as_table, start=first))
        elif ours == "projection.weight" and source.has_grid:
            made = made_of(ours, make=functools.partial(as_convolution, fields=fields))
        elif scale := scale_of(ours, found):
            made = made_of(ours, scale, make=scaled)
        yield (name_in_model(ours, modality.name, source.has_grid), *made)


def at_position(token: torch.Tensor, positions: torch.Tensor, number: int) -> torch.Tensor:
    """A token in front of the others with the position that its source adds to it, (1, 1, d)."""
    return token.reshape(1, 1, -1) + positions.reshape(-1, positions.shape[-1])[number]


def as_grid(table: torch.Tensor, start: int) -> torch.Tensor:
    """Positions of patches alone, (1, N, d)."""
    return table.reshape(1, -1, table.shape[-1])[:, start:]


def as_table(positions: torch.Tensor, types: torch.Tensor | None = None, start: int = 0) -> torch.Tensor:
    """Positions from that of the first token on, (L, d), and what its source adds to every token, the first type."""
    positions = positions[start:]
    return positions if types is None else positions + types[0]


def scaled(projection: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The weight (n, m) or bias (n,) of a layer whose output is multiplied by a scale (n,)."""
    return projection * scale.reshape(-1, *[1] * (projection.ndim - 1))


def scale_of(ours: str, found: dict) -> str | None:
    """LayerScale (arXiv 2103.17239) multiplies what a projection gives: it goes into its weights."""
    for projection, number in (("attention.o_proj", 1), ("mlp.fc2", 2)):
        layer, is_last, _ = ours.partition(f".{projection}.")
        if is_last and f"{layer}.layer_scale{number}" in found:
            return f"{layer}.layer_scale{number}"
    return None


def as_convolution(weight: torch.Tensor, fields: dict) -> torch.Tensor:
    """
    A convolution over patches; SigLIP 2 has a linear layer over their pixels in the order rows, columns, channels.
    """
    if weight.ndim == 4:
        return weight
    side = fields["patch_size"]
    return weight.reshape(len(weight), side, side, fields["num_channels"]).permute(0, 3, 1, 2)


def name_in_model(ours: str, modality: str, has_grid: bool) -> str:
    part = "encoders" if ours.startswith(IN_ENCODER) else "embeddings"
    if ours == "position_embeddings" and not has_grid:
        ours = "position_embeddings.weight"
    return f"{part}.{modality}.{ours}"


__all__ = ["NotATower", "convert", "describe"]
