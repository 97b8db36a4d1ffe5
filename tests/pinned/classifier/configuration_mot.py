# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a Mixture-of-Transformers is made of: one `MoTConfig` with one sub-config for each modality.

A modality's config describes its embeddings and its own encoder; the joint config describes the layers that see every
modality. What a modality leaves at None is filled in with the joint value.
"""

import difflib
import math
from dataclasses import field, fields
from typing import TYPE_CHECKING, Any, Literal

import torch
from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig
from transformers.activations import ACT2FN
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec
from transformers.utils import logging

if TYPE_CHECKING:  # never imported: the library reads here that all the code goes with a config, and tells folders of
    from .modeling_mot import MoTPreTrainedModel  # noqa: F401  (one name apart by all of it, not by this file alone)

logger = logging.get_logger(__name__)

# The order of the modalities in the joint sequence and in the keys of results.
MODALITIES = ("text", "image", "audio")

# Named sizes for `MoTConfig.of_size`: the joint widths, and the number of layers of each modality's encoder.
SIZES = {
    "tiny": {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256, "num_encoder_layers": 3},
    "small": {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "num_encoder_layers": 4},
    "base": {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "num_encoder_layers": 4},
}


# What a config may ask for: the least and the most of each number. The most are far above any model that was built; a file
# that says more is damaged, or was made to fill the memory of whoever loads it.
BOUNDS = {
    "hidden_size": (1, 2**17),
    "intermediate_size": (1, 2**20),
    "projection_dim": (1, 2**17),
    "num_attention_heads": (1, 2**12),
    "num_hidden_layers": (0, 1000),
    "num_joint_layers": (0, 1000),
    "num_global_layers": (0, 1000),
    "num_register_tokens": (0, 2**12),
    "feature_size": (1, 2**20),
    "vocab_size": (1, 2**24),
    "max_position_embeddings": (1, 2**24),
    "image_size": (1, 2**16),
    "patch_size": (1, 2**12),
    "num_channels": (1, 2**12),
    "num_frames": (1, 2**20),
    "num_mel_bins": (1, 2**12),
    "max_frames": (1, 2**27),
    "stem_stride": (1, 2**12),
    "mask_span": (1, 2**20),
    "hidden_dropout": (0, 1),
    "attention_dropout": (0, 1),
    "classifier_dropout": (0, 1),
    "drop_path_rate": (0, 0.99),  # of what is kept, the inverse is taken
    "initializer_range": (0, 1000),
    "layer_norm_eps": (0, 1),
}
MOST_UNNAMED_LABELS = 2**16  # labels that `num_labels` asks for; those that `id2label` names may be more
PROBLEM_TYPES = ("regression", "single_label_classification", "multi_label_classification")


def _check_fields(config: PreTrainedConfig) -> None:
    """
    Raises:
        ValueError: a field is a number out of its bounds or an unknown name, naming it and what it takes.
    """
    for name, (least, most) in BOUNDS.items():
        value = getattr(config, name, None) if name in config.__dataclass_fields__ else None
        if value is not None and not least <= value <= most:  # NaN is neither
            raise ValueError(f"`{type(config).__name__}.{name}` is {_shown(value)}, expected {least} to {most}.")
    if config.hidden_act is not None and config.hidden_act not in ACT2FN:
        match = difflib.get_close_matches(config.hidden_act, ACT2FN, n=1)
        hint = f"did you mean {match[0]!r}?" if match else f"there are {', '.join(ACT2FN)}."
        raise ValueError(f"`{type(config).__name__}.hidden_act` is {_shown(config.hidden_act)}: {hint}")


def _check_library_fields(config: PreTrainedConfig, unknown: dict) -> None:
    """
    What the library takes from a config unchecked.

    Raises:
        ValueError: naming the field, what came and what is expected.
    """
    owner = type(config).__name__
    for name in unknown:
        own = getattr(type(config), name, None)
        if callable(own) or (isinstance(own, property) and own.fset is None):
            raise ValueError(f"{owner} has no field `{_shown(name)}`, which is something it computes.")
    for name in ("_attn_implementation", "_experts_implementation"):  # code of the Hub, if the name is one of there
        if name in unknown:
            raise ValueError(
                f"A config does not say how to compute, and it has a `{name}`: pass it to `from_pretrained`."
            )
    for name in ("return_dict", "output_hidden_states"):
        if not isinstance(getattr(config, name), (bool, type(None))):
            raise ValueError(f"`{owner}.{name}` is {_shown(getattr(config, name))}, expected true or false.")
    classes = config.architectures or []
    if not isinstance(classes, list) or not all(isinstance(name, str) for name in classes):
        raise ValueError(f"`{owner}.architectures` is {_shown(classes)}, expected a list of the names of classes.")
    for dtype in (config.dtype, unknown.get("torch_dtype")):
        known = getattr(torch, dtype, None) if isinstance(dtype, str) else dtype
        if known is not None and not isinstance(known, torch.dtype) or (known is None and dtype is not None):
            raise ValueError(
                f"`{owner}.dtype` is {_shown(dtype)}, expected the name of a type of torch, such as 'float32'."
            )
    count = unknown.get("num_labels")
    if count is not None and (type(count) is not int or not 1 <= count <= MOST_UNNAMED_LABELS):
        raise ValueError(
            f"`{owner}.num_labels` is {_shown(count)}, expected a whole number from 1 to {MOST_UNNAMED_LABELS}; of more, "
            "`id2label` gives the names."
        )
    _check_labels(config)


def _check_labels(config: PreTrainedConfig) -> None:
    owner = type(config).__name__
    if config.problem_type is not None and config.problem_type not in PROBLEM_TYPES:
        raise ValueError(
            f"`{owner}.problem_type` is {_shown(config.problem_type)}, expected one of {', '.join(PROBLEM_TYPES)}, or None."
        )
    names, ids = config.id2label, config.label2id
    if names is not None:
        if not isinstance(names, dict) or not names or sorted(map(str, range(len(names)))) != sorted(map(str, names)):
            raise ValueError(
                f"`{owner}.id2label` is {_shown(names)}, expected a name for each number from 0 on, such as {{0: 'no', 1: 'yes'}}."
            )
        if wrong := [name for name in names.values() if not isinstance(name, (str, int, float))]:
            raise ValueError(f"`{owner}.id2label` names a label {_shown(wrong[0])}, expected a string.")
    if ids is not None and not isinstance(ids, dict):
        raise ValueError(
            f"`{owner}.label2id` is {_shown(ids)}, expected a number for each name, such as {{'no': 0, 'yes': 1}}."
        )
    for name, number in (ids or {}).items():
        if not str(number).isdecimal():
            raise ValueError(
                f"`{owner}.label2id` gives the number {_shown(number)} to the label {_shown(name)}, expected a whole number."
            )


def _shown(value: Any, most: int = 100) -> str:
    """A value in an error, which it may not fill."""
    try:
        text = str(value) if isinstance(value, str) else repr(value)
    except ValueError:  # a whole number of more digits than Python writes
        text = "a number of thousands of digits"
    return text if len(text) <= most else f"{text[:most]}..."


def _warn_of_near_misses(config: PreTrainedConfig, unknown: dict) -> None:
    """Unknown keys are kept, but one that nearly spells a field is most likely a typing error."""
    names = [f.name for f in fields(config) if not f.name.startswith("_")]
    for key in unknown:
        match = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
        if match and not hasattr(type(config), key):
            logger.warning(
                f"{type(config).__name__} has no field `{key}`; did you mean `{match[0]}`? It is kept unused."
            )


# What the library keeps in a config under names of this kind; any other `..._config` would be that of a modality.
LIBRARY_CONFIGS = ("quantization_config", "compression_config", "generation_config")


def _check_modality_names(unknown: dict) -> None:
    """A config of a modality that the model does not have would be lost, and with it the modality."""
    known = [f"{m}_config" for m in MODALITIES]
    for key in unknown:
        if key.endswith("_config") and key not in LIBRARY_CONFIGS:
            match = difflib.get_close_matches(key, known, n=1, cutoff=0.7)
            hint = f"; did you mean `{match[0]}`?" if match else ""
            raise ValueError(f"MoTConfig has no `{key}`{hint} Its modalities are those of {', '.join(known)}.")


def _check_heads(owner: str, hidden_size: int | None, num_attention_heads: int | None) -> None:
    if hidden_size and num_attention_heads and hidden_size % num_attention_heads:
        raise ValueError(
            f"`{owner}.hidden_size` ({hidden_size}) must be a multiple of `{owner}.num_attention_heads` "
            f"({num_attention_heads})."
        )


# What `sparse_attention` takes: each option's default, what it may be in words, and whether a value is that.
SPARSE_ATTENTION = {
    "block_size": (
        64,
        "an int of at least 1 and at most 2**16",
        lambda value: type(value) is int and 1 <= value <= 2**16,
    ),
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
    if not isinstance(config.get("model_type"), str):
        raise ValueError("`backbone_config` needs the `model_type` of its model, such as 'bert'.")
    for name, value in config.items():
        if name.endswith(("attn_implementation", "experts_implementation")) and "/" in str(value):
            raise ValueError(f"`backbone_config.{name}` names code on the Hub, {_shown(value)}: leave it out.")
        if "layer" in name and isinstance(value, int) and value > BOUNDS["num_hidden_layers"][1]:
            raise ValueError(f"`backbone_config.{name}` is {_shown(value)}, expected at most 1000 layers.")
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
        _check_fields(self)
        _check_library_fields(self, kwargs)
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
        _check_fields(self)
        _check_labels(self)
        _check_heads(type(self).__name__, self.hidden_size, self.num_attention_heads)
        if not 0 < self.mask_ratio <= 1:
            raise ValueError(f"`mask_ratio` is a share above 0 and up to 1, got {self.mask_ratio}.")


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
        silence_value (`float`, *optional*):
            What every bin of a frame of digital silence is (`MoTFeatureExtractor.silence_value`). Such frames do not
            count in the mean, which else would depend on how much silence there is. None: all frames count.
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
    silence_value: float | None = None
    position_embedding_type: Literal["sinusoidal", "learned"] = "sinusoidal"

    def validate_audio(self):
        if self.silence_value is not None and not math.isfinite(self.silence_value):
            raise ValueError(f"`silence_value` is a finite number or None, got {self.silence_value}.")


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
        regression_mean (`float`, *optional*, defaults to 0.0):
            The mean of the training labels of a regression. A head learns and its loss is measured on the scale where
            they have mean 0 and standard deviation 1; its answers are in the labels' own unit.
        regression_std (`float`, *optional*, defaults to 1.0): Their standard deviation.
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
    regression_mean: float | int = 0.0
    regression_std: float | int = 1.0
    contrastive_loss: Literal["infonce", "sigmoid"] = "infonce"
    contrastive_positives: Literal["row", "label"] = "row"
    temperature: float | int = 0.07
    sparse_attention: dict | None = None
    modality_weights: dict[str, float | int] = field(default_factory=dict)
    text_config: MoTTextConfig | dict | None = field(default_factory=dict)
    image_config: MoTImageConfig | dict | None = field(default_factory=dict)
    audio_config: MoTAudioConfig | dict | None = field(default_factory=dict)

    def __post_init__(self, **kwargs):
        _check_fields(self)
        _check_library_fields(self, kwargs)
        _check_modality_names(kwargs)
        if not __name__.startswith("transformers_modules."):
            # The package has the pipeline, so that `pipeline(...)` need not ask to run the code of the folder.
            kwargs.pop("custom_pipelines", None)
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
    def from_dict(cls, config_dict, **kwargs):
        """As in the library; what is wrong with the fields, as of a config.json, is a ValueError that names them."""
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:
            raise ValueError(
                f"The config of this model cannot be: {_shown(str(error.__cause__ or error), 300)}"
            ) from error

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
    def vocab_size(self) -> int:
        """That of the text, under the name by which peft sees that words were added."""
        if self.text_config is None:
            raise AttributeError("A model without text has no `vocab_size`.")
        return self.text_config.vocab_size

    @vocab_size.setter
    def vocab_size(self, value: int):
        if self.text_config is None:
            raise AttributeError("A model without text has no `vocab_size`.")
        self.text_config.vocab_size = value

    # The library allows `output_attentions` with eager attention alone; here any implementation gives weights.

    @property
    def output_attentions(self) -> bool:
        """Whether every call returns the attention weights of the joint and global layers."""
        return self._output_attentions

    @output_attentions.setter
    def output_attentions(self, value: bool):
        self._output_attentions = value

    def validate_output_attentions(self):
        pass

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
        if not (math.isfinite(self.regression_mean) and 0 < self.regression_std < math.inf):
            raise ValueError(
                "`regression_mean` and `regression_std` are the mean and standard deviation of finite numbers that differ, "
                f"got {self.regression_mean} and {self.regression_std}."
            )
        if not 0.01 <= self.temperature <= 1:
            raise ValueError(f"`temperature` starts between 0.01 and 1, got {self.temperature}.")
        terms = (*MODALITIES, "contrastive")
        for name, weight in self.modality_weights.items():
            if name not in terms or not 0 <= weight < math.inf:
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

    def validate_fields(self):
        _check_fields(self)
        _check_labels(self)


__all__ = [
    "MODALITIES",
    "SIZES",
    "MoTAudioConfig",
    "MoTConfig",
    "MoTImageConfig",
    "MoTModalityConfig",
    "MoTTextConfig",
]
