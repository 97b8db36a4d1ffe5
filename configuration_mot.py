# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a Mixture-of-Transformers is made of: one `MoTConfig` with one sub-config for each modality.

A modality's config describes its embeddings and its own encoder (`modality_mot.py` and the rooms of its kinds); the
joint config describes the layers that see every modality. What a modality leaves at None is filled in with the joint
value.
"""

import difflib
import math
from dataclasses import field
from typing import TYPE_CHECKING, Literal

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers.configuration_utils import PreTrainedConfig, SubConfigSpec

from .modalities_mot import CELLS, KINDS, MODALITIES, modality_of
from .modality_audio_mot import MoTAudioConfig
from .modality_image_mot import MoTImageConfig
from .modality_mot import Modality, MoTModalityConfig
from .modality_text_mot import MoTTextConfig
from .validation_mot import (
    check_fields,
    check_heads,
    check_labels,
    check_library_fields,
    check_modality_name,
    complete_sparse_attention,
    shown,
    warn_of_near_misses,
)

if TYPE_CHECKING:  # never imported: the library reads here that all the code goes with a config, and tells folders of
    from .modeling_mot import MoTPreTrainedModel  # noqa: F401  (one name apart by all of it, not by this file alone)


# Named sizes for `MoTConfig.of_size`: the joint widths, and the number of layers of each modality's encoder.
SIZES = {
    "tiny": {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256, "num_encoder_layers": 3},
    "small": {"hidden_size": 256, "num_attention_heads": 4, "intermediate_size": 1024, "num_encoder_layers": 4},
    "base": {"hidden_size": 512, "num_attention_heads": 8, "intermediate_size": 2048, "num_encoder_layers": 4},
}

# What the library keeps in a config under names of this kind; any other `..._config` is that of a modality.
LIBRARY_CONFIGS = ("quantization_config", "compression_config", "generation_config")
# What a user's modality cannot be called, since rows and the processor have something of that name.
TAKEN_NAMES = {*MODALITIES, *CELLS, *(synonym for cell in CELLS.values() for synonym in cell.synonyms)}


def is_modality_config(key: str) -> bool:
    """Whether a key that is no field of `MoTConfig` is the config of a modality."""
    return key.endswith("_config") and key not in LIBRARY_CONFIGS


def build_modality_config(name: str, given: PreTrainedConfig | dict) -> MoTModalityConfig:
    """
    The config of a modality that a user declares, of the kind that its `model_type` names.

    Raises:
        ValueError: there is no such kind.
    """
    content = given.to_dict() if isinstance(given, PreTrainedConfig) else given
    kind = content.get("model_type") if isinstance(content, dict) else None
    if kind not in KINDS:
        match = difflib.get_close_matches(f"{name}_config", [f"{m}_config" for m in MODALITIES], n=1, cutoff=0.7)
        hint = f" Did you mean `{match[0]}`?" if match and kind is None else ""
        raise ValueError(
            f"`{name}_config` declares the modality {shown(name)!r} and needs a `model_type`, one of "
            f"{', '.join(KINDS)}; got {shown(given)}.{hint}"
        )
    config_class = KINDS[kind].config_class
    # Code that was loaded from a folder has a copy of every class; what counts is the content.
    return given if isinstance(given, config_class) else config_class.from_dict(content)


class SubConfigs:
    """
    The sub-configs as the library asks for them: of the class the three that it has by name, of a config those of all
    its modalities.
    """

    def __get__(self, config: "MoTConfig | None", owner: type["MoTConfig"]) -> dict[str, type[PreTrainedConfig]]:
        fixed = {key: spec.config_class for key, spec in owner.sub_configs_defaults.items()}
        extra = () if config is None else config.extra_modalities
        return fixed | {f"{m}_config": type(config.modality_config(m)) for m in extra if config.modality_config(m)}


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
            Block-sparse attention, for example `{"block_size": 64, "sparsity": 0.8, "seed": 0}` (the defaults; {}
            means all of them): a block of `block_size` tokens looks at its own block, at the first of every modality,
            and at others drawn with `seed`, in all at a share of 1 - `sparsity` of the row's blocks (see
            `sparse_attention_mot.py`). For joint and global layers, and in the encoders for rows of more than
            `min_encoder_tokens` (1024) tokens. None: every token looks at every other.
        drop_path_rate (`float`, *optional*, defaults to 0.0): Stochastic depth at the last layer of each encoder.
        classifier_dropout (`float`, *optional*, defaults to 0.0): Dropout before the classifier.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial weights.
        zero_init_new_layers (`bool`, *optional*, defaults to `False`):
            Whether the last projections of every joint and global layer begin at zero, so that a fresh model gives
            what its encoders give: the start of a model whose encoders were trained before.
        regression_loss (`str`, *optional*, defaults to `"mse"`): `"mse"` or `"l1"`, for `problem_type="regression"`.
        regression_mean (`float`, *optional*, defaults to 0.0):
            The mean of the training labels of a regression. A head learns and its loss is measured on the scale where
            they have mean 0 and standard deviation 1; its answers are in the labels' own unit.
        regression_std (`float`, *optional*, defaults to 1.0): Their standard deviation.
        logit_temperature (`float`, *optional*, defaults to 1.0):
            By what a classifier divides its logits (Guo et al., arXiv 1706.04599), so that it is as often right as it
            is sure; `mot evaluate --calibrate` fits it. It changes no order of the classes.
        contrastive_loss (`str`, *optional*, defaults to `"infonce"`):
            What draws the modalities of a row together: `"infonce"` as in CLIP (arXiv 2103.00020), or `"sigmoid"` as
            in SigLIP (arXiv 2303.15343).
        contrastive_positives (`str`, *optional*, defaults to `"row"`):
            What matches: `"row"`, the parts of one row, where other rows with the same label are neither drawn
            together nor pushed apart; or `"label"`, all rows with the same label, also within a modality (supervised
            contrastive learning, arXiv 2004.11362).
        temperature (`float`, *optional*, defaults to 0.07): Where the learned temperatures of `"infonce"` start.
        modality_weights (`dict[str, float]`, *optional*):
            Weights of the loss terms of pretraining, for the modalities by name and for `"contrastive"`; 1 for those
            that are not named. A term of weight 0 is not computed.
        text_config (`MoTTextConfig` or `dict`, *optional*): Text. An explicit None leaves text out.
        image_config (`MoTImageConfig` or `dict`, *optional*): Images and frames. An explicit None leaves them out.
        audio_config (`MoTAudioConfig` or `dict`, *optional*): Audio. An explicit None leaves it out.
        extra_modalities (`list[str]`, *optional*):
            The order in the joint sequence, behind text, image and audio, of the modalities that the user declares:
            by default that in which they are given.
        kwargs:
            `{name}_config` declares a modality of any name: a `dict` (or config) whose `model_type` is its kind, as in
            `imu_config={"model_type": "mot_series", "num_channels": 6}`.

    Raises:
        ValueError: (through the strict validators) naming the field and what it takes.
    """

    model_type = "mot"
    # What a plain `Trainer` must not gather over a whole evaluation set.
    keys_to_ignore_at_inference = [
        "losses",
        "modality_hidden_states",
        "modality_embeds",
        "modality_predictions",
        "logits_per_modality",
        *(f"logits_per_{m}" for m in MODALITIES),
        *(f"{m}_predictions" for m in MODALITIES),
        "model_outputs",
        "last_hidden_state",
        "attention_mask",
        *(f"{m}_hidden_state" for m in MODALITIES),
        "hidden_states",
        "attentions",
        "encoder_hidden_states",
        "encoder_attentions",
    ]
    sub_configs_defaults = {
        f"{name}_config": SubConfigSpec(config_class=modality.config_class, optional=True)
        for name, modality in MODALITIES.items()
    }
    sub_configs = SubConfigs()

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
    logit_temperature: float | int = 1.0
    contrastive_loss: Literal["infonce", "sigmoid"] = "infonce"
    contrastive_positives: Literal["row", "label"] = "row"
    temperature: float | int = 0.07
    sparse_attention: dict | None = None
    modality_weights: dict[str, float | int] = field(default_factory=dict)
    text_config: MoTTextConfig | dict | None = field(default_factory=dict)
    image_config: MoTImageConfig | dict | None = field(default_factory=dict)
    audio_config: MoTAudioConfig | dict | None = field(default_factory=dict)
    extra_modalities: list[str] = field(default_factory=list)

    def __post_init__(self, **kwargs):
        check_fields(self)
        check_library_fields(self, kwargs)
        self.take_modalities(kwargs)
        if not __name__.startswith("transformers_modules."):
            # The package has the pipeline, so that `pipeline(...)` need not ask to run the code of the folder.
            kwargs.pop("custom_pipelines", None)
        warn_of_near_misses(self, kwargs)
        self.check_kinds()
        if self.sparse_attention is not None:
            self.sparse_attention = complete_sparse_attention(self.sparse_attention)
        super().__post_init__(**kwargs)
        for modality in self.modalities:
            config = self.modality_config(modality)
            for name in config._inherited:
                if getattr(config, name) is None:
                    setattr(config, name, getattr(self, name))

    def check_kinds(self) -> None:
        """Raise a ValueError for a sub-config of text, image or audio that is of another kind."""
        for name, modality in MODALITIES.items():
            given, own = self.modality_config(name), modality.config_class.model_type
            if isinstance(given, dict) and given.get("model_type", own) != own:
                raise ValueError(
                    f"`{name}_config` is of the kind {own}, got `model_type` {shown(given['model_type'])}: declare "
                    "the modality under another name."
                )

    def __setattr__(self, name: str, value) -> None:
        is_declared = name.removesuffix("_config") in self.__dict__.get("extra_modalities", ())
        if is_modality_config(name) and not is_declared and name not in self.__dataclass_fields__:
            raise ValueError(
                f"`{name}` would be that of a modality, and the modalities of a config are declared as it is made: "
                f"`MoTConfig({name}=...)`, or `add_modality` of a model."
            )
        super().__setattr__(name, value)

    def take_modalities(self, unknown: dict) -> None:
        """Take the configs of the modalities that the user declares out of the unknown keys."""
        given = {key.removesuffix("_config"): unknown.pop(key) for key in [*filter(is_modality_config, unknown)]}
        for name in [*self.extra_modalities, *given]:
            check_modality_name(name, TAKEN_NAMES)
            if hasattr(type(self), f"{name}_config"):
                raise ValueError(f"A modality cannot be called {name!r}: `{name}_config` means something else.")
        if lacking := [name for name in self.extra_modalities if name not in given]:
            raise ValueError(
                f"`extra_modalities` names {lacking[0]!r}, of which there is no `{lacking[0]}_config`: give one, or "
                "leave the name out."
            )
        order = dict.fromkeys([*self.extra_modalities, *given])
        self.extra_modalities = [name for name in order if given[name] is not None]
        for name in self.extra_modalities:
            setattr(self, f"{name}_config", build_modality_config(name, given[name]))

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """
        As in the library; but `{name}_config` may also declare a modality that the dict lacks, and what is wrong with
        the fields, as of a config.json, is a ValueError that names them.
        """
        added = [key for key in kwargs if is_modality_config(key) and not hasattr(cls, key)]
        config_dict = config_dict | {
            key: known | given if isinstance(known, dict) and isinstance(given, dict) else given
            for key in added
            for known, given in [(config_dict.get(key), kwargs[key])]
        }
        kwargs = {key: value for key, value in kwargs.items() if key not in added}
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:
            raise ValueError(
                f"The config of this model cannot be: {shown(str(error.__cause__ or error), 300)}"
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
        for name in [*cls.sub_configs, *filter(is_modality_config, kwargs)]:
            if isinstance(given := kwargs.get(name, {}), dict):
                kwargs[name] = {"num_hidden_layers": num_hidden_layers} | given
        return cls(**kwargs)

    @property
    def modalities(self) -> tuple[str, ...]:
        """The names of this model's modalities, in the order of the joint sequence."""
        return tuple(m for m in (*MODALITIES, *self.extra_modalities) if self.modality_config(m) is not None)

    @property
    def kinds(self) -> dict[str, Modality]:
        """What each of this model's modalities is, by their names."""
        return {m: modality_of(self.modality_config(m), m) for m in self.modalities}

    def modality_config(self, modality: str) -> MoTModalityConfig | None:
        """The sub-config of a modality, such as `"text"`; None where the model lacks it."""
        return getattr(self, f"{modality}_config")

    @property
    def vocab_size(self) -> int:
        """The text's number of token ids, under the name by which peft sees that words were added."""
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
                "A model needs at least one modality: `text_config`, `image_config` and `audio_config` are None, and "
                'no other is declared, as by `imu_config={"model_type": ...}`.'
            )
        check_heads("MoTConfig", self.hidden_size, self.num_attention_heads)
        for modality in self.modalities:
            config = self.modality_config(modality)
            check_heads(f"{modality}_config", config.hidden_size, config.num_attention_heads)
            multiple = 4 if config.position_embedding_type == "sinusoidal_2d" else 2
            if config.hidden_size % multiple:
                raise ValueError(
                    f"`{modality}_config.hidden_size` ({config.hidden_size}) must be a multiple of {multiple} for "
                    f'`position_embedding_type="{config.position_embedding_type}"`.'
                )

    def validate_time_positions(self):
        for modality, kind in self.kinds.items() if self.time_positions else ():
            config = self.modality_config(modality)
            if not kind.has_times or config.position_embedding_type is None:  # a set, whose members are at no time
                continue
            if config.backbone_config is not None:
                raise ValueError(
                    f"`time_positions` are of frames, and what the backbone of `{modality}_config` gives has no times."
                )
            needed = kind.timed_positions
            if config.position_embedding_type != needed:
                raise ValueError(
                    f"With `time_positions` a token may stand between two whole positions, which takes "
                    f'`{modality}_config.position_embedding_type="{needed}"`, got "{config.position_embedding_type}".'
                )

    def validate_losses(self):
        if not (math.isfinite(self.regression_mean) and 0 < self.regression_std < math.inf):
            raise ValueError(
                "`regression_mean` and `regression_std` are the mean and standard deviation of finite numbers that "
                f"differ, got {self.regression_mean} and {self.regression_std}."
            )
        if not 0 < self.logit_temperature < math.inf:
            raise ValueError(f"`logit_temperature` is a finite number above 0, got {self.logit_temperature}.")
        if self.logit_temperature != 1 and self.problem_type == "regression":
            raise ValueError(
                f"`logit_temperature` is for classes, and this `problem_type` is regression: leave it at 1, got "
                f"{self.logit_temperature}."
            )
        if not 0.01 <= self.temperature <= 1:
            raise ValueError(f"`temperature` starts between 0.01 and 1, got {self.temperature}.")
        terms = (*MODALITIES, *self.extra_modalities, "contrastive")
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
        check_fields(self)
        check_labels(self)


__all__ = ["SIZES", "MoTConfig"]
