# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What every kind of modality is: a config, embeddings, and a `Modality` that says all else that is particular to it.

A modality has a *name* ("text") and a *kind*, a subclass of `Modality` in a room of its own (`modality_text_mot.py`).
`modalities_mot.py` is the table of both; everything else loops over `config.modalities` and asks.

Shapes: B rows, L or N tokens, d width, T frames of audio.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from huggingface_hub.dataclasses import strict
from torch import nn
from torch.nn import functional as F
from transformers.configuration_utils import PreTrainedConfig

from .backbones_mot import backbone_config, output_width
from .cells_mot import Cell, ProcessorCall, RowReading, join_rows
from .positions_mot import POSITIONS_PER_SECOND, blank, count_before, sinusoids, sinusoids_at
from .validation_mot import (
    check_fields,
    check_heads,
    check_labels,
    check_library_fields,
    complete_sparse_attention,
    warn_of_near_misses,
)

# ---------------------------------------------------------------------------------------------------------------------
# The config
# ---------------------------------------------------------------------------------------------------------------------


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
            Learned tokens in front, behind the cls token, that stand for nothing (arXiv 2309.16588): room to compute
            in.
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
        check_fields(self)
        check_library_fields(self, kwargs)
        warn_of_near_misses(self, kwargs)
        if self.sparse_attention is not None:
            self.sparse_attention = complete_sparse_attention(self.sparse_attention)
        if self.backbone_config is not None:
            self.backbone_config = backbone_config(self.backbone_config)
            self.feature_size = output_width(self.backbone_config)
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
        check_fields(self)
        check_labels(self)
        check_heads(type(self).__name__, self.hidden_size, self.num_attention_heads)
        if not 0 < self.mask_ratio <= 1:
            raise ValueError(f"`mask_ratio` is a share above 0 and up to 1, got {self.mask_ratio}.")


# ---------------------------------------------------------------------------------------------------------------------
# The kind
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InputNames:
    """
    What the arguments of a modality are called.

    Args:
        raw: raw input.
        features: ready features in its place.
        mask: which of either are real.
        times: when they are, in seconds.
        segments: the number of the segment that each belongs to.
        embeds: what takes the place of raw input once it is embedded.
    """

    raw: str
    features: str
    mask: str
    times: str
    segments: str
    embeds: str | None = None

    @classmethod
    def called(cls, name: str) -> "InputNames":
        """The arguments of a modality to which a user gave its name."""
        return cls(f"{name}_values", f"{name}_features", f"{name}_mask", f"{name}_times", f"{name}_segments")

    @property
    def inputs(self) -> tuple[str, ...]:
        """The arguments through which models take the modality, each of them another form of it."""
        return tuple(dict.fromkeys(name for name in (self.raw, self.features, self.embeds) if name))

    @property
    def of_row(self) -> tuple[str, ...]:
        """What a row alone may have, which needs no mask: its values in any of these forms, and their seconds."""
        return (*self.inputs, self.times, self.segments)

    def taken_by(self, config: MoTModalityConfig) -> tuple[str, ...]:
        """The arguments of a model with this config, of which a batch may have one; the usual one first."""
        if not config.takes_raw_input:
            return (self.features,)
        has_embeds = self.embeds is not None and config.backbone_config is None
        return (self.raw, self.embeds) if has_embeds else (self.raw,)


@dataclass(frozen=True)
class LengthOption:
    """
    The option by which people say where longer raw input of a kind is cut, in training and where rows are encoded.

    Args:
        name: of the option, such as "max_text_tokens".
        default: that of a new model.
        in_seconds: whether it counts seconds, of each of which a feature extractor makes some frames; what it counts
            is otherwise what the kind's `length_field` counts.
    """

    name: str
    default: float
    in_seconds: bool = False


class Modality:
    """
    One modality of a model: its name, what its arguments are called, and what is particular to its kind.

    Whoever needs to know asks `modality_of(config, name)`, which answers for raw input by the kind itself and for
    ready features by `VectorsModality`.
    """

    cells: tuple[Cell, ...]  # the forms in which people have it, the usual one first
    noun: str  # what one of it is called
    kind: str  # the `model_type` of its config, without "mot_"
    config_class: type[MoTModalityConfig]
    length_field: str  # the config field that limits a sequence
    has_times = True  # whether its tokens are at some time, in seconds
    predicts_ids = False  # whether pretraining predicts words of a vocabulary, hidden before the model sees them
    timed_positions = "sinusoidal"  # the `position_embedding_type` that can stand between two whole positions
    sources = ""  # the models of the Hub that its tower can begin as
    part_of_pair = ""  # where the config of a model of several modalities has that of its own
    reconstruction_loss = "mse"  # how far a prediction is from what was hidden
    features_loss: str | None = None  # the same of ready features, where that is another
    is_exact = False  # whether raw input is spoilt by half precision
    length_option: LengthOption | None = None  # None where nothing is cut
    drawing = "words"  # how pictures show its tokens: "words", "frames", "spectrogram", "series", "columns"
    moments = ""  # what of it has times, where that is not all of it
    settings: tuple[str, ...] = ()  # what a processor may be told of one under a user's name
    option_groups: tuple[str, ...] = ()  # of the processor's call, whose options it takes
    call_options: tuple[str, ...] = ()  # what else it takes of a call

    def __init__(self, name: str, names: InputNames):
        self.name, self.names = name, names

    @classmethod
    def called(cls, name: str, form: str | None = None) -> "Modality":
        """
        One of this kind under a name of a user's, which is also that of its cells.

        Args:
            form: which of the forms that people have it in, by the name of the kind's cell; None: the usual one.
        """
        modality = cls(name, InputNames.called(name))
        cell = next(cell for cell in cls.cells if form in (None, cell.name))
        modality.cells = (replace(cell, name=name, argument=name, columns=(), synonyms=(), track_of=None),)
        return modality

    def embeddings(self, config: MoTModalityConfig) -> "MoTEmbeddings":
        """The module that makes tokens of raw input."""
        raise NotImplementedError

    def length_limit(self, config: MoTModalityConfig) -> int | None:
        """How many tokens, frames or ready features a model takes; None where nothing limits them."""
        return getattr(config, self.length_field)

    def segment_length(self, config: MoTModalityConfig) -> int | None:
        """How many inputs each segment of a row has, where the place of each says what it is; None: any number."""
        return None

    def describe(self, config: MoTModalityConfig) -> str:
        """What a model with this config takes, in words."""
        raise NotImplementedError

    def describe_limit(self, config: MoTModalityConfig) -> str | None:
        """Where longer input is cut, in words; None where nothing is."""
        return None

    def example(self, cell: Cell, config: MoTModalityConfig) -> Any:
        """A cell that a model with this config takes, as a person would write it."""
        return cell.example

    @property
    def features_argument(self) -> str:
        """The argument of `MoTProcessor` that takes ready features."""
        return f"{self.name}_features"

    @property
    def takes_samples(self) -> bool:
        """Whether people have it as the samples of a sound, of which an extractor makes frames."""
        return any(cell.takes_samples for cell in self.cells)

    @property
    def labels_name(self) -> str:
        """The argument of pretraining that says what to predict."""
        return f"{self.name}_labels"

    # What the processor makes of cells

    def learn(self, cells: Iterable[Any]) -> dict[str, Any]:
        """
        What the cells of the training split teach a processor of this kind: its settings, as JSON, such as means.

        Args:
            cells: as people have them, None where a row has none; read once.
        """
        return {}

    def config_fields(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The fields of a config that follow from the processor's settings of the modality."""
        return {}

    def columns_in(self, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """The columns of a dataset of which a cell is made, where the processor's settings name them; () elsewhere."""
        return ()

    def is_one(self, cell: Cell, value: Any) -> bool:
        """Whether a list or tuple is one cell, not a batch of them."""
        return False

    def split(self, cell: Cell, values: list) -> list:
        """What a person wrote as a batch, as a cell for each row."""
        return values

    def segments_of(self, cell: Cell, value: Any) -> list:
        """The segments of a row's cell, each of them a cell; what is no list of cells is one segment."""
        return list(value) if isinstance(value, (list, tuple)) and not self.is_one(cell, value) else [value]

    def check_settings(self, settings: Mapping[str, Any]) -> None:
        """Raise a ValueError for a value that cannot be; their names are known to be among `settings`."""

    def settings_in(self, processor: Any) -> Mapping[str, Any]:
        """What a `MoTProcessor` was told of this modality, beside its kind."""
        return {key: value for key, value in processor.modalities.get(self.name, {}).items() if key != "kind"}

    def collect(self, rows: dict[str, list], call: ProcessorCall) -> dict[str, torch.Tensor]:
        """
        Raw cells of a batch as the model takes them, by the names of its arguments.

        Args:
            rows: argument of the processor -> a cell for each row, None where it has none.
        """
        raise NotImplementedError

    def kept_places(self, mask: torch.Tensor) -> torch.Tensor:
        """What of segments encoded as rows is more than padding, (N, L) bool, by their masks (N, L, ...)."""
        return (mask != 0).reshape(*mask.shape[:2], -1).any(dim=-1)

    def join_segments(
        self,
        outputs: Mapping[str, torch.Tensor],
        counts: Sequence[int],
        call: ProcessorCall,
        places: Sequence[float] | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        What `collect` made of segments that stood as rows of their own (N, L, ...), as the rows (B, L', ...) that they
        belong to, with the number of each one's segment, `names.segments` (B, L').

        Args:
            counts: (B,) how many segments each row has.
            places: (N,) the place of each segment in its document, which becomes its time, `names.times` (B, L').
        """
        kept = self.kept_places(outputs[self.names.mask])
        numbers = torch.cat([torch.arange(count) for count in counts])  # (N,)
        outputs = {**outputs, self.names.segments: numbers[:, None].expand(kept.shape)}
        if places is not None:
            outputs[self.names.times] = torch.tensor(places, dtype=torch.float32)[:, None].expand(kept.shape)
        for name, values in outputs.items():
            if values.shape[:2] != kept.shape:
                raise ValueError(
                    f"`{name}` of shape {tuple(values.shape)} says something of each segment, not of its tokens: "
                    "leave out the option that asks for it, or give each segment as a row of its own."
                )
        return join_rows(outputs, kept, counts)

    def check_cell(self, cell: Cell, value: Any, name: str) -> Any:
        """One cell of a row, or one of its segments, as a person wrote it, `name` in errors."""
        return value

    def decode(self, row: Mapping[str, Any], reading: RowReading) -> dict[str, Any]:
        """The cells of a row that are of this modality, decoded, by the arguments of the processor."""
        decoded = {}
        for cell in self.cells:
            if cell.name in row:
                segments = self.segments_of(cell, row[cell.name])
                cells = [replace(cell, name=f"{cell.name}[{i}]") for i in range(len(segments))]
                if len(segments) == 1:
                    decoded[cell.argument] = self.decode_cell(cell, segments[0], reading)
                else:
                    decoded[cell.argument] = [self.decode_cell(*pair, reading) for pair in zip(cells, segments)]
        return decoded

    def decode_cell(self, cell: Cell, value: Any, reading: RowReading) -> Any:
        """One cell, or one segment of it, decoded; the cell's name says in errors which."""
        raise NotImplementedError

    def cut_options(self, config: MoTModalityConfig, processor: Any) -> dict[str, Any]:
        """Options by which the processor cuts raw input where a model takes no more."""
        return {}

    def cut(self, config: MoTModalityConfig, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What of a batch is longer than a model takes, cut."""
        return {}

    # What becomes of rows in a batch

    def pad(
        self, values: Sequence[torch.Tensor | None], multiple: int = 1, fill: float = 0
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """
        Encoded rows (L_i, ...), None where a row has none, as one tensor (B, L, ...) and its mask (B, L).

        Args:
            multiple: L is a multiple of this.
            fill: what stands where nothing is.
        """
        example = next(value for value in values if value is not None)
        lengths = [0 if value is None else len(value) for value in values]
        longest = -(-max(lengths) // multiple) * multiple
        padded = example.new_full((len(values), longest, *example.shape[1:]), fill)
        for row, value, length in zip(padded, values, lengths):
            if value is not None:
                row[:length] = value
        mask = torch.arange(longest)[None] < torch.tensor(lengths)[:, None]
        return padded, mask.long()

    def length_of(self, value: torch.Tensor) -> int:
        """How long an encoded row is; 0 where all rows are of one length."""
        return len(value)

    def augment(
        self, row: dict[str, torch.Tensor], change: Callable[..., torch.Tensor], random: torch.Generator
    ) -> dict[str, torch.Tensor]:
        """An encoded row of raw input, changed by an augmentation with the random numbers of the row."""
        return row | {self.names.raw: change(row[self.names.raw], random)}

    # What pretraining hides and predicts

    def target_size(self, config: MoTModalityConfig) -> int:
        """How many numbers a token of raw input stands for, or of how many words it is one."""
        raise NotImplementedError

    def mask_span(self, config: MoTModalityConfig) -> int:
        """How many tokens in a row are hidden together."""
        return 1

    def mask_span_of_features(self, config: MoTModalityConfig) -> int:
        """How many ready features in a row are hidden together."""
        return 1

    def scale_targets(self, targets: torch.Tensor) -> torch.Tensor:
        """What `MoTEmbeddings.targets` gives (B, N, n), on the scale on which it is predicted."""
        return targets

    # A model of transformers in front of the tower

    def run_backbone(
        self, backbone: nn.Module, config: MoTModalityConfig, inputs: torch.Tensor, mask: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Raw input through the model in front: its last hidden state (B, N, feature_size) and the mask of that (B, N).
        """
        raise NotImplementedError

    def fields_of_front(self, front: PreTrainedConfig) -> dict[str, Any]:
        """The fields of a config that follow from the model in front."""
        return {}

    def raw_stand_in(self, config: MoTModalityConfig, device: torch.device) -> torch.Tensor:
        """Raw input of one row, as little as there can be."""
        raise NotImplementedError

    # What training asks

    def fit_processor(self, config: MoTModalityConfig, processor) -> None:
        """Have a `MoTProcessor` give no more of raw input than a model with this config takes."""

    def augmentation(self, config: MoTModalityConfig, processor) -> Callable[..., torch.Tensor] | None:
        """What changes raw input a little in training, at random; None where nothing does."""
        return None

    # What pictures say of the tokens of a row, without cls and register tokens

    def token_times(
        self, config: MoTModalityConfig, inputs: dict[str, torch.Tensor], row: int, number: int
    ) -> tuple[torch.Tensor, str]:
        """
        When each of a row's real tokens is, (number,), for a modality whose names have `times`.

        Args:
            inputs: the batch.
            number: how many real tokens the row has.

        Returns:
            The times, and their unit: "s", or "frame" or "token", which are counted where nothing says when they are.
        """
        raise NotImplementedError

    def token_labels(
        self, config: MoTModalityConfig, inputs: dict[str, torch.Tensor], row: int, number: int, tokenizer=None
    ) -> list[str]:
        """What each of a row's real tokens is called; the arguments are those of `token_times`."""
        times, unit = self.token_times(config, inputs, row, number)
        return [f"{time:.2f} s" if unit == "s" else f"{unit} {time:.0f}" for time in times.tolist()]

    def is_moving(self, inputs: dict[str, torch.Tensor]) -> bool:
        """Whether raw input of a batch has more than one moment, in time."""
        return False

    def real_places(self, inputs: dict[str, torch.Tensor], row: int, length: int) -> torch.Tensor:
        """The places (n,) of what is real among the `length` inputs of a row."""
        mask = inputs.get(self.names.mask)
        return torch.arange(length) if mask is None else mask[row].reshape(-1).cpu().nonzero()[:, 0]

    def times_of_places(
        self, inputs: dict[str, torch.Tensor], row: int, places: torch.Tensor, unit: str
    ) -> tuple[torch.Tensor, str]:
        """The seconds of places of a row, and "s"; in a batch without times the places, and the unit they count."""
        times = inputs.get(self.names.times)
        return (places.float(), unit) if times is None else (times[row].cpu().float()[places], "s")


# ---------------------------------------------------------------------------------------------------------------------
# The embeddings: X = Input + E_mod + E_pos
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
    What the embeddings of all kinds share: 1-D positions, cls and register tokens, norm and dropout. A mask says which
    inputs are real, and what is not real never reaches a token that is. A kind adds how its input becomes tokens
    (`embed`), which inputs are real (`input_mask`), what a token stands for (`targets`), and the least that there can
    be (`stand_in`).

    Args:
        max_length: how many positions a learned table has; None makes none.
    """

    def __init__(self, config: MoTModalityConfig, modality: Modality, max_length: int | None):
        super().__init__()
        self.config, self.modality, self.names = config, modality, modality.names
        if config.position_embedding_type == "learned" and max_length is not None:
            self.position_embeddings = nn.Embedding(max_length, config.hidden_size)
        if config.use_cls_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        if config.num_register_tokens:
            self.register_tokens = nn.Parameter(torch.zeros(1, config.num_register_tokens, config.hidden_size))
        if config.embedding_norm:
            self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = nn.Dropout(config.hidden_dropout)

    @property
    def input_name(self) -> str:
        """The argument through which this model takes the modality."""
        return self.names.taken_by(self.config)[0]

    def forward(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor | None,
        modality_embedding: torch.Tensor,
        times: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
        mask_token: torch.Tensor | None = None,
        places: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """
        Args:
            inputs: raw input, or ready features (B, N, feature_size).
            mask: which inputs are real; None means all.
            modality_embedding: E_mod, (1, d). Its type is what the model computes in, and what inputs are cast to:
                that of a layer's own weights may be the bytes into which a quantisation packs them.
            times: what `fill_times` returned; positions are then seconds, not counts.
            hidden: (B, N) bool, the tokens of which nothing may be seen.
            mask_token: (d,) what takes the place of hidden tokens.
            places: (B,) seconds, where rows that are segments stand on the clock of theirs; 0 adds nothing.

        Returns:
            The tokens (B, L, d), of which `token_mask` says which are real; L is N and the cls and register tokens.
        """
        tokens, positions = self.embed(inputs, mask, modality_embedding.dtype, times, hidden)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], mask_token.to(tokens.dtype), tokens)
        hidden_states = tokens + (positions.to(tokens.dtype) + modality_embedding)
        prefix = [getattr(self, name) for name in ("cls_token", "register_tokens") if hasattr(self, name)]
        if prefix:
            prefix = [(part + modality_embedding).expand(tokens.shape[0], -1, -1) for part in prefix]
            hidden_states = torch.cat([*prefix, hidden_states], dim=1)
        if places is not None:
            width = self.config.hidden_size
            place = sinusoids_at(places * POSITIONS_PER_SECOND, width) - sinusoids(1, width, places.device)
            hidden_states = hidden_states + place[:, None].to(hidden_states.dtype)
        if self.config.embedding_norm:
            hidden_states = self.norm(hidden_states)
        return self.dropout(hidden_states)

    def takes_floats(self, name: str) -> bool:
        """Whether the argument of this name holds floats, not whole numbers."""
        return True

    def embed(
        self,
        inputs: torch.Tensor,
        mask: torch.Tensor | None,
        dtype: torch.dtype,
        times: torch.Tensor | None = None,
        hidden: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The tokens (B, N, d) and their positions (1 or B, N, d); the other arguments are those of `forward`."""
        raise NotImplementedError

    def input_mask(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which of the N tokens that `inputs` become are real, (B, N) bool, after checking shapes; None if all are."""
        raise NotImplementedError

    def targets(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """
        What each token stands for, (B, N, n): pixels of a patch (rows, columns, channels), mel frames, or the feature
        itself. NaN where nothing is real.
        """
        raise NotImplementedError

    def stand_in(self, device: torch.device, dtype: torch.dtype) -> torch.Tensor:
        """An input of one row that becomes one token: what a batch without this modality trains on (see `encode`)."""
        return self.modality.raw_stand_in(self.config, device)

    def token_mask(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """Which of the tokens that `inputs` with `mask` become are real, (B, L) bool; None if all are."""
        mask = self.input_mask(inputs, mask)
        number = self.config.num_prefix_tokens
        if mask is None or not number:
            return mask
        return torch.cat([mask.any(dim=1, keepdim=True).expand(-1, number), mask], dim=1)

    def positions(
        self, length: int, mask: torch.Tensor | None, device: torch.device, times: torch.Tensor | None = None
    ) -> torch.Tensor:
        """
        E_pos of a sequence, (1 or B, L, d): a token's position counts the real tokens before it, or is its time. The
        tokens of a set, whose `position_embedding_type` is None, have none.
        """
        self.check_length(length)
        if self.config.position_embedding_type is None:
            return torch.zeros(1, 1, self.config.hidden_size, device=device)
        if times is not None:
            return sinusoids_at(blank(times, mask) * POSITIONS_PER_SECOND, self.config.hidden_size)
        counts = torch.arange(length, device=device)[None] if mask is None else count_before(mask)
        if self.config.position_embedding_type == "learned":
            return self.position_embeddings(counts)
        table = sinusoids(length, self.config.hidden_size, device)
        return table[None] if mask is None else F.embedding(counts, table)

    def init_positions(self) -> None:
        """Have learned positions begin as something other than random numbers."""

    def check_length(self, length: int) -> None:
        limit = self.modality.length_limit(self.config)
        if limit is not None and length > limit:
            raise ValueError(
                f"`{self.input_name}` has a length of {length}, but the model takes at most {limit} "
                f"(`{self.modality.length_field}`): truncate the input, or build the model with a larger limit."
            )

    def fill_times(
        self, inputs: torch.Tensor, mask: torch.Tensor | None, times: torch.Tensor | None
    ) -> torch.Tensor | None:
        """
        The seconds of frames (B, F or T) or ready features (B, N); where raw input comes without, the usual ones.
        """
        if not self.modality.has_times or inputs.ndim < 3:  # the embedding refuses such input itself
            return None
        if times is None:
            times = self.usual_times(inputs, mask)
        if times is None:
            raise ValueError(
                f"`time_positions` needs the seconds of `{self.input_name}` as `{self.names.times}`: build the "
                "processor with `return_times=True`, or pass them."
            )
        expected = (inputs.shape[0], self.number_of_times(inputs))
        if tuple(times.shape) != expected:
            raise ValueError(f"`{self.names.times}` has shape {tuple(times.shape)}, expected {expected}.")
        return times.float()

    def usual_times(self, inputs: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor | None:
        """The seconds of input that comes without; None where nothing says them."""
        return None

    def number_of_times(self, inputs: torch.Tensor) -> int:
        """How many seconds a row of `inputs` has."""
        return inputs.shape[1]
