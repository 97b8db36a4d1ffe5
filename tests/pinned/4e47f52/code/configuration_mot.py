# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a Mixture-of-Transformers is made of: one `MoTConfig` with one sub-config for each modality.

A modality's config describes its embeddings and its own encoder; the joint config describes the layers that see every
modality. What a modality leaves at None is filled in with the joint value.
"""

import difflib
from dataclasses import field, fields
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import logging

logger = logging.get_logger(__name__)

# The order of the modalities in the joint sequence and in the keys of results.
MODALITIES = ("text", "image", "audio")

# Named sizes for `MoTConfig.of_size`: the joint widths, and the number of layers of each modality's encoder.
SIZES = {
    "tiny": {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256, "num_encoder_layers": 3},
    "small": {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "num_encoder_layers": 4},
    "base": {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "num_encoder_layers": 4},
}


def _warn_of_near_misses(config: PreTrainedConfig, unknown: dict) -> None:
    """Unknown keys are kept, but one that nearly spells a field is most likely a typing error."""
    names = [f.name for f in fields(config) if not f.name.startswith("_")]
    for key in unknown:
        match = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
        if match and not hasattr(type(config), key):
            logger.warning(
                f"{type(config).__name__} has no field `{key}`; did you mean `{match[0]}`? It is kept unused."
            )


def _check_heads(owner: str, hidden_size: int | None, num_attention_heads: int | None) -> None:
    if hidden_size and num_attention_heads and hidden_size % num_attention_heads:
        raise ValueError(
            f"`{owner}.hidden_size` ({hidden_size}) must be a multiple of `{owner}.num_attention_heads` "
            f"({num_attention_heads})."
        )


# What `sparse_attention` takes: each option's default, what it may be in words, and whether a value is that.
SPARSE_ATTENTION = {
    "block_size": (64, "an int of at least 1", lambda value: type(value) is int and value >= 1),
    "sparsity": (0.8, "a number from 0 to below 1", lambda value: type(value) in (int, float) and 0 <= value < 1),
    "seed": (0, "an int from 0 to below 2**32", lambda value: type(value) is int and 0 <= value < 2**32),
    "min_encoder_tokens": (1024, "an int of at least 0", lambda value: type(value) is int and value >= 0),
}


def _complete_sparse_attention(options: dict) -> dict:
    """The options with defaults for those that are left out, after checking them."""
    for name, value in options.items():
        if name not in SPARSE_ATTENTION:
            raise ValueError(f"`sparse_attention` has no option {name!r}; it takes {', '.join(SPARSE_ATTENTION)}.")
        _, expected, is_valid = SPARSE_ATTENTION[name]
        if not is_valid(value):
            raise ValueError(f"`sparse_attention[{name!r}]` must be {expected}, got {value!r}.")
    return {name: default for name, (default, *_) in SPARSE_ATTENTION.items()} | options


def _as_config(config: PreTrainedConfig | dict) -> PreTrainedConfig:
    """A config of any model; a dict says of which by its `model_type`."""
    if isinstance(config, PreTrainedConfig):
        return config
    if "model_type" not in config:
        raise ValueError("`backbone_config` needs the `model_type` of its model, such as 'bert'.")
    return AutoConfig.for_model(**config)


def _output_width(config: PreTrainedConfig) -> int:
    """Of a model's `last_hidden_state`."""
    if sizes := getattr(config, "hidden_sizes", None):
        return sizes[-1]
    return config.hidden_size


@strict
class MoTModalityConfig(PreTrainedConfig):
    r"""
    What the configs of all modalities share. None means "as in the joint config" and is filled in by [`MoTConfig`].

    Args:
        hidden_size (`int`, *optional*):
            Width of this modality's encoder. Where it differs from the joint width, a linear projection joins the two.
        num_hidden_layers (`int`, *optional*, defaults to 4):
            Number of encoder layers of this modality alone; 0 leaves the encoder out.
        num_attention_heads (`int`, *optional*): Heads of the encoder's attention.
        intermediate_size (`int`, *optional*): Width of the encoder's feed-forward layers.
        hidden_act (`str`, *optional*): Activation of the feed-forward layers.
        layer_norm_eps (`float`, *optional*): Epsilon of the layer norms.
        hidden_dropout (`float`, *optional*): Dropout after the embeddings, the attention and the feed-forward layer.
        attention_dropout (`float`, *optional*): Dropout on the attention weights.
        drop_path_rate (`float`, *optional*):
            Stochastic depth (arXiv 1603.09382): the rate of the last layer; it grows linearly from 0 at the first.
        embedding_norm (`bool`, *optional*, defaults to `False`): A layer norm after the embeddings.
        final_norm (`bool`, *optional*, defaults to `False`): A layer norm after the encoder.
        use_cls_token (`bool`, *optional*, defaults to `False`):
            A learned token in front, which then stands for the modality when it is pooled.
        num_register_tokens (`int`, *optional*, defaults to 0):
            Learned tokens in front, behind the cls token, that stand for nothing (arXiv 2309.16588): room to compute in.
        sparse_attention (`dict`, *optional*): As in [`MoTConfig`]; for rows of more than `min_encoder_tokens` tokens.
        key_bias (`bool`, *optional*, defaults to `True`): Whether the key projections have a bias.
        mask_ratio (`float`, *optional*):
            The share of the tokens that pretraining hides: 0.15 of text (arXiv 1810.04805), 0.6 of images (arXiv
            2111.09886) and 0.5 of audio by default.
        feature_size (`int`, *optional*):
            Set, this modality arrives as ready features of that width, (B, L, feature_size); None means raw input.
        backbone_config (`PreTrainedConfig` or `dict`, *optional*):
            Of any model of transformers (with its `model_type`) that reads this modality's raw input: BERT, ResNet,
            wav2vec2, ... Its `last_hidden_state` takes the place of ready features; `feature_size` is its width.
        freeze_backbone (`bool`, *optional*, defaults to `True`): Whether it stays as it is in training.
    """

    hidden_size: int | None = None
    num_hidden_layers: int = 4
    num_attention_heads: int | None = None
    intermediate_size: int | None = None
    hidden_act: str | None = None
    layer_norm_eps: float | int | None = None
    hidden_dropout: float | int | None = None
    attention_dropout: float | int | None = None
    drop_path_rate: float | int | None = None
    initializer_range: float | int | None = None
    sparse_attention: dict | None = None
    embedding_norm: bool = False
    final_norm: bool = False
    use_cls_token: bool = False
    num_register_tokens: int = 0
    key_bias: bool = True
    mask_ratio: float | int = 0.15
    feature_size: int | None = None
    backbone_config: PreTrainedConfig | dict | None = None
    freeze_backbone: bool = True

    # Filled in with the joint value where the modality says None.
    _inherited = (
        "hidden_size",
        "num_attention_heads",
        "intermediate_size",
        "hidden_act",
        "layer_norm_eps",
        "hidden_dropout",
        "attention_dropout",
        "drop_path_rate",
        "initializer_range",
        "sparse_attention",
    )

    def __post_init__(self, **kwargs):
        _warn_of_near_misses(self, kwargs)
        if self.sparse_attention is not None:
            self.sparse_attention = _complete_sparse_attention(self.sparse_attention)
        if self.backbone_config is not None:
            self.backbone_config = _as_config(self.backbone_config)
            self.feature_size = _output_width(self.backbone_config)
        super().__post_init__(**kwargs)

    @property
    def takes_raw_input(self) -> bool:
        """Whether the model is given this modality as it is, not as ready features."""
        return self.feature_size is None or self.backbone_config is not None

    @property
    def num_prefix_tokens(self) -> int:
        """The learned tokens in front of a modality's own: cls and registers."""
        return int(self.use_cls_token) + self.num_register_tokens

    def validate_modality(self):
        _check_heads(type(self).__name__, self.hidden_size, self.num_attention_heads)
        if self.num_hidden_layers < 0:
            raise ValueError(f"`num_hidden_layers` must be 0 or more, got {self.num_hidden_layers}.")
        if self.num_register_tokens < 0:
            raise ValueError(f"`num_register_tokens` must be 0 or more, got {self.num_register_tokens}.")
        if not 0 < self.mask_ratio <= 1:
            raise ValueError(f"`mask_ratio` is a share above 0 and up to 1, got {self.mask_ratio}.")
        if self.feature_size is not None and self.feature_size < 1:
            raise ValueError(
                f"`feature_size` must be a positive width, or None for raw input, got {self.feature_size}."
            )


@strict
class MoTTextConfig(MoTModalityConfig):
    r"""
    Text: token ids, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        vocab_size (`int`, *optional*, defaults to 30522): Number of token ids.
        max_position_embeddings (`int`, *optional*, defaults to 512): The longest text in tokens.
        pad_token_id (`int`, *optional*, defaults to 0): The id of padding, whose embedding stays zero.
        position_embedding_type (`str`, *optional*, defaults to `"sinusoidal"`): `"sinusoidal"` or `"learned"`.
    """

    model_type = "mot_text"
    base_config_key = "text_config"

    vocab_size: int = 30522
    max_position_embeddings: int = 512
    pad_token_id: int | None = 0
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"

    def validate_text(self):
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"`pad_token_id` ({self.pad_token_id}) must lie in the vocabulary, 0 to {self.vocab_size - 1}."
            )


@strict
class MoTImageConfig(MoTModalityConfig):
    r"""
    Images and video frames, or ready features (one per frame or region). Beyond [`MoTModalityConfig`]:

    Args:
        image_size (`int`, *optional*, defaults to 224):
            The size that learned positions are made for; the model takes any size that `patch_size` divides.
        patch_size (`int`, *optional*, defaults to 16): Side of a square patch in pixels.
        num_channels (`int`, *optional*, defaults to 3): Colour channels.
        num_frames (`int`, *optional*, defaults to 8):
            Rows of the learned time table, and so the most frames (or ready features) of learned positions.
        stem (`str`, *optional*, defaults to `"conv"`):
            How pixels become patch tokens: `"conv"`, a few small strided convolutions (arXiv 2106.14881), which learn
            better on small data (see `docs/training.md`), or `"linear"` as in ViT.
        position_embedding_type (`str`, *optional*):
            `"sinusoidal_2d"` (the default), `"sinusoidal"` or `"learned"`. Ready features are a sequence without rows
            and columns: theirs is `"sinusoidal"` (the default) or `"learned"`.
        position_interpolation (`str`, *optional*, defaults to `"bicubic"`):
            How learned positions come to another size: `"bicubic"` as in ViT, `"antialiased_bicubic"` as in DINOv2 with
            registers, or `"antialiased_bilinear"` as in SigLIP 2.
    """

    model_type = "mot_image"
    base_config_key = "image_config"

    image_size: int = 224
    patch_size: int = 16
    num_channels: int = 3
    num_frames: int = 8
    mask_ratio: float | int = 0.6
    stem: Literal["conv", "linear"] = "conv"
    position_embedding_type: Literal["sinusoidal_2d", "sinusoidal", "learned"] | None = None
    position_interpolation: Literal["bicubic", "antialiased_bicubic", "antialiased_bilinear"] = "bicubic"

    def __post_init__(self, **kwargs):
        if self.position_embedding_type is None:
            is_sequence = self.feature_size is not None or self.backbone_config is not None
            self.position_embedding_type = "sinusoidal" if is_sequence else "sinusoidal_2d"
        super().__post_init__(**kwargs)

    def validate_image(self):
        if self.image_size % self.patch_size:
            raise ValueError(f"`patch_size` ({self.patch_size}) must divide `image_size` ({self.image_size}).")
        if self.feature_size is not None and self.position_embedding_type == "sinusoidal_2d":
            raise ValueError(
                '`position_embedding_type="sinusoidal_2d"` needs a grid of patches, but `feature_size` '
                f'({self.feature_size}) says that images arrive as a sequence: use "sinusoidal" or "learned".'
            )


@strict
class MoTAudioConfig(MoTModalityConfig):
    r"""
    Audio: log-mel frames, or ready features. Beyond [`MoTModalityConfig`]:

    Args:
        num_mel_bins (`int`, *optional*, defaults to 80): Mel bins of a frame.
        max_frames (`int`, *optional*, defaults to 3000): The longest clip in frames (30 s at 100 frames a second).
        stem (`str`, *optional*, defaults to `"conv"`):
            How frames become tokens: `"conv"`, two convolutions as in Whisper (arXiv 2212.04356), or `"linear"`, one
            projection of `stem_stride` frames.
        stem_stride (`int`, *optional*, defaults to 2): Frames for one token.
        mask_span (`int`, *optional*, defaults to 20): Frames that pretraining hides in a row.
        mean_normalization (`bool`, *optional*, defaults to `False`):
            Subtract each bin's mean over the clip's real frames (cepstral mean normalisation), which takes away the
            colour of a microphone and much of a speaker's.
        position_embedding_type (`str`, *optional*, defaults to `"sinusoidal"`): `"sinusoidal"` or `"learned"`.
    """

    model_type = "mot_audio"
    base_config_key = "audio_config"

    num_mel_bins: int = 80
    max_frames: int = 3000
    mask_ratio: float | int = 0.5
    mask_span: int = 20
    stem: Literal["conv", "linear"] = "conv"
    stem_stride: int = 2
    mean_normalization: bool = False
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"

    def validate_audio(self):
        for name in ("stem_stride", "mask_span"):
            if getattr(self, name) < 1:
                raise ValueError(f"`{name}` must be 1 or more frames, got {getattr(self, name)}.")


@strict
class MoTConfig(PreTrainedConfig):
    r"""
    A Mixture-of-Transformers. Three stages, each optional: encoders of one modality each, `num_joint_layers` layers
    with weights of their own per modality and attention over all tokens (arXiv 2411.04996), and `num_global_layers`
    layers whose weights all modalities share.

    Args:
        hidden_size (`int`, *optional*, defaults to 512): Width of the joint sequence.
        num_attention_heads (`int`, *optional*, defaults to 8): Heads of every joint and global attention.
        intermediate_size (`int`, *optional*, defaults to 2048): Width of the feed-forward layers.
        hidden_act (`str`, *optional*, defaults to `"gelu"`): Activation of the feed-forward layers (exact GELU).
        layer_norm_eps (`float`, *optional*, defaults to 1e-5): Epsilon of the layer norms.
        num_joint_layers (`int`, *optional*, defaults to 0): Layers untied per modality with joint attention.
        num_global_layers (`int`, *optional*, defaults to 1): Layers shared by all modalities.
        global_mlp (`bool`, *optional*, defaults to `False`): Whether a global layer has a feed-forward layer.
        projection_dim (`int`, *optional*, defaults to 512): Width of the embeddings used for retrieval.
        fusion_type (`str`, *optional*, defaults to `"late"`):
            How the modalities become one vector (see `fusion_mot.py`): `"late"`, the mean of the present modalities'
            pooled vectors; `"early"`, a layer on the pooled vectors side by side; `"hierarchical"`, text attends to
            image, the result to audio; `"attention"`, a learned query looks at the whole joint sequence.
        time_positions (`bool`, *optional*, defaults to `False`):
            Whether video frames and audio take their positions from one clock, `pixel_times` and
            `input_features_times` in seconds, rather than each counting its own tokens.
        hidden_dropout (`float`, *optional*, defaults to 0.0): Dropout after embeddings, attention, feed-forward.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout on the attention weights.
        sparse_attention (`dict`, *optional*):
            Block-sparse attention, for example `{"block_size": 64, "sparsity": 0.8, "seed": 0}` (the defaults; {} means
            all of them): a block of `block_size` tokens looks at its own block, at the first of every modality, and at
            others drawn with `seed`, in all at a share of 1 - `sparsity` of the row's blocks (see
            `sparse_attention_mot.py`). For joint and global layers, and in the encoders for rows of more than
            `min_encoder_tokens` (1024) tokens. None: every token looks at every other.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth at the last layer of each encoder.
        classifier_dropout (`float`, *optional*, defaults to 0.0): Dropout before the classifier.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial weights.
        zero_init_new_layers (`bool`, *optional*, defaults to `False`):
            Whether the last projections of every joint and global layer begin at zero, so that a fresh model gives what
            its encoders give: the start of a model whose encoders were trained before.
        regression_loss (`str`, *optional*, defaults to `"mse"`): `"mse"` or `"l1"`, for `problem_type="regression"`.
        contrastive_loss (`str`, *optional*, defaults to `"infonce"`):
            What draws the modalities of a row together: `"infonce"` as in CLIP (arXiv 2103.00020), or `"sigmoid"` as in
            SigLIP (arXiv 2303.15343).
        contrastive_positives (`str`, *optional*, defaults to `"row"`):
            What matches: `"row"`, the parts of one row, where other rows with the same label are neither drawn
            together nor pushed apart; or `"label"`, all rows with the same label, also within a modality (supervised
            contrastive learning, arXiv 2004.11362).
        temperature (`float`, *optional*, defaults to 0.07): Where the learned temperatures of `"infonce"` start.
        modality_weights (`dict[str, float]`, *optional*):
            Weights of the loss terms of pretraining, for `"text"`, `"image"`, `"audio"` and `"contrastive"`; 1 for
            those that are not named. A term of weight 0 is not computed.
        text_config (`MoTTextConfig` or `dict`, *optional*): Text. An explicit None leaves text out.
        image_config (`MoTImageConfig` or `dict`, *optional*): Images and frames. An explicit None leaves them out.
        audio_config (`MoTAudioConfig` or `dict`, *optional*): Audio. An explicit None leaves it out.

    Raises:
        ValueError: (through the strict validators) naming the field and what it takes.
    """

    model_type = "mot"
    # What a plain `Trainer` must not gather over a whole evaluation set.
    keys_to_ignore_at_inference = [
        "losses",
        "logits_per_text",
        "logits_per_image",
        "logits_per_audio",
        "text_predictions",
        "image_predictions",
        "audio_predictions",
        "model_outputs",
        "last_hidden_state",
        "attention_mask",
        "text_hidden_state",
        "image_hidden_state",
        "audio_hidden_state",
        "hidden_states",
        "attentions",
        "encoder_hidden_states",
        "encoder_attentions",
    ]
    sub_configs_defaults = {
        "text_config": SubConfigSpec(config_class=MoTTextConfig, optional=True),
        "image_config": SubConfigSpec(config_class=MoTImageConfig, optional=True),
        "audio_config": SubConfigSpec(config_class=MoTAudioConfig, optional=True),
    }

    hidden_size: int = 512
    num_attention_heads: int = 8
    intermediate_size: int = 2048
    hidden_act: str = "gelu"
    layer_norm_eps: float | int = 1e-5
    num_joint_layers: int = 0
    num_global_layers: int = 1
    global_mlp: bool = False
    projection_dim: int = 512
    fusion_type: Literal["early", "late", "hierarchical", "attention"] = "late"
    time_positions: bool = False
    hidden_dropout: float | int = 0.0
    attention_dropout: float | int = 0.0
    drop_path_rate: float | int = 0.0
    classifier_dropout: float | int = 0.0
    initializer_range: float | int = 0.02
    zero_init_new_layers: bool = False
    regression_loss: Literal["mse", "l1"] = "mse"
    contrastive_loss: Literal["infonce", "sigmoid"] = "infonce"
    contrastive_positives: Literal["row", "label"] = "row"
    temperature: float | int = 0.07
    sparse_attention: dict | None = None
    modality_weights: dict[str, float | int] = field(default_factory=dict)
    text_config: MoTTextConfig | dict | None = field(default_factory=dict)
    image_config: MoTImageConfig | dict | None = field(default_factory=dict)
    audio_config: MoTAudioConfig | dict | None = field(default_factory=dict)

    def __post_init__(self, **kwargs):
        _warn_of_near_misses(self, kwargs)
        if self.sparse_attention is not None:
            self.sparse_attention = _complete_sparse_attention(self.sparse_attention)
        super().__post_init__(**kwargs)
        for modality in self.modalities:
            config = self.modality_config(modality)
            for name in config._inherited:
                if getattr(config, name) is None:
                    setattr(config, name, getattr(self, name))

    @classmethod
    def of_size(cls, size: str, **kwargs) -> "MoTConfig":
        """
        A config of a named size (see `docs/architecture.md`); `num_encoder_layers` is the depth of each modality's
        encoder, further arguments are those of `MoTConfig(...)`.
        """
        if size not in SIZES:
            raise ValueError(f"Unknown size {size!r}, expected one of {', '.join(SIZES)}.")
        kwargs = SIZES[size] | kwargs
        num_hidden_layers = kwargs.pop("num_encoder_layers")
        for modality in MODALITIES:
            name = f"{modality}_config"
            if (given := kwargs.get(name, {})) is not None:
                kwargs[name] = {"num_hidden_layers": num_hidden_layers} | given
        return cls(**kwargs)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of this model's modalities, in the order of the joint sequence."""
        return tuple(m for m in MODALITIES if self.modality_config(m) is not None)

    def modality_config(self, modality: str) -> MoTModalityConfig | None:
        """The sub-config of `"text"`, `"image"` or `"audio"`; None where the model lacks it."""
        return getattr(self, f"{modality}_config")

    @property
    def num_hidden_layers(self) -> int:
        """Layers of the joint sequence: `num_joint_layers + num_global_layers`."""
        return self.num_joint_layers + self.num_global_layers

    def validate_modalities(self):
        if not self.modalities:
            raise ValueError(
                "A model needs at least one of `text_config`, `image_config` and `audio_config`; all are None."
            )
        _check_heads("MoTConfig", self.hidden_size, self.num_attention_heads)
        for modality in self.modalities:
            config = self.modality_config(modality)
            _check_heads(f"{modality}_config", config.hidden_size, config.num_attention_heads)
            multiple = 4 if config.position_embedding_type == "sinusoidal_2d" else 2
            if config.hidden_size % multiple:
                raise ValueError(
                    f"`{modality}_config.hidden_size` ({config.hidden_size}) must be a multiple of {multiple} for "
                    f'`position_embedding_type="{config.position_embedding_type}"`.'
                )

    def validate_time_positions(self):
        for modality in self.modalities if self.time_positions else ():
            config = self.modality_config(modality)
            if modality != "text" and config.backbone_config is not None:
                raise ValueError(
                    f"`time_positions` are of frames, and what the backbone of `{modality}_config` gives has no times."
                )
            is_grid = modality == "image" and config.feature_size is None
            needed = "sinusoidal_2d" if is_grid else "sinusoidal"
            if modality != "text" and config.position_embedding_type != needed:
                raise ValueError(
                    f"With `time_positions` a token may stand between two whole positions, which takes "
                    f'`{modality}_config.position_embedding_type="{needed}"`, got "{config.position_embedding_type}".'
                )

    def validate_losses(self):
        if not 0.01 <= self.temperature <= 1:
            raise ValueError(f"`temperature` starts between 0.01 and 1, got {self.temperature}.")
        terms = (*MODALITIES, "contrastive")
        for name, weight in self.modality_weights.items():
            if name not in terms or weight < 0:
                raise ValueError(
                    f"`modality_weights` gives a weight of 0 or more to {', '.join(terms)}; got {name!r}: {weight}."
                )

    def validate_sparse_attention(self):
        owners = {"": self} | {f"{m}_config.": self.modality_config(m) for m in self.modalities}
        for owner, config in owners.items():
            if config.sparse_attention is not None and config.attention_dropout:
                raise ValueError(
                    f"Block-sparse attention has no dropout: `{owner}attention_dropout` must be 0, got "
                    f"{config.attention_dropout}."
                )

    def validate_layers(self):
        for name in ("num_joint_layers", "num_global_layers"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must be 0 or more, got {getattr(self, name)}.")


__all__ = [
    "MODALITIES",
    "SIZES",
    "MoTAudioConfig",
    "MoTConfig",
    "MoTImageConfig",
    "MoTModalityConfig",
    "MoTTextConfig",
]
