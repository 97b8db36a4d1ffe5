# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a causal Mixture-of-Transformers is made of: one decoder over interleaved tokens of several modalities.

A token's modality is the range that its id lies in: `token_ranges` names them, and every id outside is text. A
modality uses the weights of an expert; `untied` says which parts of a layer each expert has for itself.
"""

import math
from collections.abc import Iterator
from dataclasses import field
from typing import TYPE_CHECKING, Any

from huggingface_hub.dataclasses import strict
from huggingface_hub.errors import StrictDataclassError
from transformers.configuration_utils import PreTrainedConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from .configuration_mot import MoTConfig
from .modalities_mot import MODALITIES
from .validation_mot import check_fields, check_library_fields, check_modality_name, shown, warn_of_near_misses

if TYPE_CHECKING:  # never imported: the library reads here that all the code goes with a config
    from .modeling_causal_mot import MoTCausalPreTrainedModel  # noqa: F401

TEXT = "text"
PARTS = ("attention", "mlp", "norm")  # of a layer, which each expert may have for itself
MOST_TOKENS = 2**24  # of one picture, as of a sequence
SHARED = "shared"  # where the parts stand that all experts have in common, so that no expert is called so


@strict
class MoTCausalConfig(PreTrainedConfig):
    """
    Configuration of [`MoTCausalModel`] and [`MoTForCausalLM`], a decoder in the form of Llama and Qwen whose weights
    are untied by modality (arXiv 2411.04996).

    Args:
        vocab_size (`int`, *optional*, defaults to 32000): Number of token ids of all modalities together.
        hidden_size (`int`, *optional*, defaults to 512): Width of the tokens.
        intermediate_size (`int`, *optional*, defaults to 1408): Inner width of the gated feed-forward layers.
        num_hidden_layers (`int`, *optional*, defaults to 8): Number of layers.
        num_attention_heads (`int`, *optional*, defaults to 8): Heads of the queries.
        num_key_value_heads (`int`, *optional*):
            Heads of the keys and values, which divide those of the queries (grouped-query attention, arXiv
            2305.13245); by default as many.
        head_dim (`int`, *optional*): Width of a head; by default `hidden_size / num_attention_heads`.
        hidden_act (`str`, *optional*, defaults to `"silu"`): Activation of the feed-forward layers' gates.
        max_position_embeddings (`int`, *optional*, defaults to 4096): The longest sequence that is meant.
        rms_norm_eps (`float`, *optional*, defaults to 1e-6): Epsilon of the norms.
        rope_parameters (`dict`, *optional*):
            Rotary positions (arXiv 2104.09864): `rope_theta`, `rope_type`, and what that type takes, as in the
            library's Llama.
        attention_bias (`bool`, *optional*, defaults to `False`): Whether queries, keys and values have biases.
        attention_output_bias (`bool`, *optional*, defaults to `False`): Whether the attention's output has one.
        mlp_bias (`bool`, *optional*, defaults to `False`): Whether the feed-forward layers have biases.
        qk_norm (`bool`, *optional*, defaults to `True`):
            Whether queries and keys are normed within each head before positions turn them, as in Qwen3.
        attention_dropout (`float`, *optional*, defaults to 0.0): Dropout of the attention weights.
        initializer_range (`float`, *optional*, defaults to 0.02): Standard deviation of the initial weights.
        tie_word_embeddings (`bool`, *optional*, defaults to `False`): Whether the head is the table of embeddings.
        use_cache (`bool`, *optional*, defaults to `True`): Whether generation keeps keys and values.
        bos_token_id, pad_token_id (`int`, *optional*): The ids that begin and that fill a sequence.
        eos_token_id (`int` or `list[int]`, *optional*): The ids that end a document.
        token_ranges (`list`, *optional*):
            `[name, start, stop]` for each modality beside text: ids from `start` to below `stop` are of it. They do
            not overlap, and are kept in the order of `start`. Ids outside all ranges are text.
        experts (`dict[str, str]`, *optional*):
            Which expert a modality uses; by default one of its own name. `{"audio": "text"}` leaves one out; all on
            one expert is the dense twin.
        untied (`list[str]`, *optional*, defaults to `["attention", "mlp", "norm"]`):
            The parts that each expert has for itself; the others are shared by all.
        begin_ids, end_ids (`dict[str, int]`, *optional*):
            For each modality of a range, the text ids between which its tokens stand.
        num_tokens (`dict[str, int]`, *optional*):
            For a modality whose every item has as many tokens, such as pictures, their number. Others go on until
            their end id.
        loss_weights (`dict[str, float]`, *optional*): Weights of the losses by the target's modality, 1 by default.
        encoders (`dict[str, dict]`, *optional*):
            For modalities that also arrive raw, the config of a tower that reads them: a kind of `MoTConfig`'s, as in
            `{"image": {"model_type": "mot_image", "image_size": 28, "patch_size": 4}}`.
        placeholder_ids (`dict[str, int]`, *optional*):
            For each modality of `encoders`, the id at whose places the tower's tokens go: it lies within the
            modality's range, and is never generated. By default the last of the range.
        source_vocab_size (`int`, *optional*):
            The number of ids of the language model that this one began as, which are its first ones.
        freeze_text (`bool`, *optional*, defaults to `False`):
            Whether what text passes takes no part in training, and the rows of the ids of that language model, or else
            of all before the first range, neither, but for those that begin or end a modality.

    Raises:
        ValueError: (through the strict validators) naming the field, what came and what it takes.
    """

    model_type = "mot_causal"
    # What a plain `Trainer` must not gather over a whole evaluation set.
    keys_to_ignore_at_inference = ["past_key_values", "losses", "hidden_states", "attentions"]

    vocab_size: int = 32000
    hidden_size: int = 512
    intermediate_size: int = 1408
    num_hidden_layers: int = 8
    num_attention_heads: int = 8
    num_key_value_heads: int | None = None
    head_dim: int | None = None
    hidden_act: str = "silu"
    max_position_embeddings: int = 4096
    rms_norm_eps: float | int = 1e-6
    rope_parameters: dict | None = None
    attention_bias: bool = False
    attention_output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = True
    attention_dropout: float | int = 0.0
    initializer_range: float | int = 0.02
    tie_word_embeddings: bool = False
    use_cache: bool = True
    bos_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    pad_token_id: int | None = None
    token_ranges: list = field(default_factory=list)
    experts: dict[str, str] = field(default_factory=dict)
    untied: list[str] = field(default_factory=lambda: list(PARTS))
    begin_ids: dict[str, int] = field(default_factory=dict)
    end_ids: dict[str, int] = field(default_factory=dict)
    num_tokens: dict[str, int] = field(default_factory=dict)
    loss_weights: dict[str, float | int] = field(default_factory=dict)
    encoders: dict[str, dict] = field(default_factory=dict)
    placeholder_ids: dict[str, int] = field(default_factory=dict)
    source_vocab_size: int | None = None
    freeze_text: bool = False

    def __post_init__(self, **kwargs):
        check_fields(self)
        check_library_fields(self, kwargs)
        warn_of_near_misses(self, kwargs)
        if self.num_key_value_heads is None:
            self.num_key_value_heads = self.num_attention_heads
        if self.head_dim is None:
            self.head_dim = self.hidden_size // self.num_attention_heads
        check_ranges(self.token_ranges, self.vocab_size)
        self.token_ranges = sorted(
            ([name, start, stop] for name, start, stop in self.token_ranges), key=lambda r: r[1]
        )
        check_names("experts", self.experts, self.modalities)
        self.experts = {m: self.experts.get(m, m) for m in self.modalities}
        stops = {name: stop for name, _, stop in self.token_ranges}
        self.placeholder_ids = {m: stops[m] - 1 for m in self.encoders if m in stops} | self.placeholder_ids
        check_rope_type(self.rope_parameters)
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        """As in the library; but what is wrong with the fields, or names code, is a ValueError that says so."""
        if "/" in str(config_dict.get("attn_implementation")):  # A call's own stands in `kwargs`.
            raise ValueError(
                f"`attn_implementation` names code on the Hub, {shown(config_dict['attn_implementation'])}: "
                "pass it to `from_pretrained`."
            )
        try:
            return super().from_dict(config_dict, **kwargs)
        except StrictDataclassError as error:
            raise ValueError(
                f"The config of this model cannot be: {shown(str(error.__cause__ or error), 300)}"
            ) from error

    @property
    def modalities(self) -> tuple[str, ...]:
        """Text, and the modalities of `token_ranges` in their order."""
        return (TEXT, *(name for name, _, _ in self.token_ranges))

    @property
    def expert_names(self) -> tuple[str, ...]:
        """The experts of the modalities, each once."""
        return tuple(dict.fromkeys(self.experts[m] for m in self.modalities))

    def expert_of(self, modality: str) -> str:
        """
        The expert that a modality uses.

        Raises:
            ValueError: the model has no such modality.
        """
        if modality not in self.experts:
            raise ValueError(f"Unknown modality {shown(modality)!r}: this model has {', '.join(self.modalities)}.")
        return self.experts[modality]

    def codes(self, modality: str) -> range:
        """The ids of a modality that may be generated: code c of its tokenizer is the id `start + c`."""
        for name, start, stop in self.token_ranges:
            if name == modality:
                return range(start, stop - (self.placeholder_ids.get(modality) == stop - 1))
        raise ValueError(
            f"{shown(modality)!r} has no range of ids: `token_ranges` has {', '.join(self.modalities[1:])}."
        )

    def encoder_config(self, modality: str) -> MoTConfig:
        """The config of the tower that reads a modality; see [`tower_config`]."""
        return tower_config(modality, self.encoders[modality], self.hidden_size)

    @property
    def image_token_id(self) -> int:
        """The placeholder of pictures, under the name by which the library's generation looks for it."""
        return self.placeholder_of("image")

    @property
    def audio_token_id(self) -> int:
        """The placeholder of sounds."""
        return self.placeholder_of("audio")

    def placeholder_of(self, modality: str) -> int:
        """The placeholder of a modality; an AttributeError where it has none, as of a field that is not there."""
        if modality not in self.placeholder_ids:
            raise AttributeError(f"This model has no placeholder for raw input of {modality!r}.")
        return self.placeholder_ids[modality]

    def validate_rope(self):
        """As in the library, whose KeyError of what a type of positions lacks would pass for one of this code."""
        try:
            super().validate_rope()
        except KeyError as error:
            raise ValueError(str(error.args[0])) from error

    def validate_attention(self):
        if self.num_attention_heads % self.num_key_value_heads:
            raise ValueError(
                f"`num_attention_heads` ({self.num_attention_heads}) must be a multiple of `num_key_value_heads` "
                f"({self.num_key_value_heads})."
            )
        if self.head_dim % 2:
            raise ValueError(f"`head_dim` ({self.head_dim}) must be even: rotary positions turn pairs.")

    def validate_parts(self):
        if unknown := [part for part in self.untied if part not in PARTS]:
            raise ValueError(f"`untied` names {shown(unknown[0])!r}; the parts of a layer are {', '.join(PARTS)}.")

    def validate_tokens(self):
        check_ranges(self.token_ranges, self.vocab_size)
        names = self.modalities[1:]
        for expert in self.expert_names:
            if expert != TEXT:
                check_modality_name(expert, {SHARED})
        for name in ("begin_ids", "end_ids", "placeholder_ids", "num_tokens", "encoders"):
            check_names(name, getattr(self, name), names)
        for modality in self.encoders:
            self.encoder_config(modality)  # which refuses what no tower can be
        check_names("loss_weights", self.loss_weights, self.modalities)
        check_source(self.source_vocab_size, self.freeze_text, self.vocab_size, self.token_ranges)
        for modality, weight in self.loss_weights.items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"`loss_weights` gives {modality!r} {weight}, expected a finite weight of 0 or more.")
        for modality, number in self.num_tokens.items():
            if not 1 <= number <= MOST_TOKENS:
                raise ValueError(f"`num_tokens` gives {modality!r} {number} tokens, expected 1 to {MOST_TOKENS}.")
        if self.begin_ids.keys() != self.end_ids.keys():
            raise ValueError("`begin_ids` and `end_ids` name different modalities: what begins must end.")
        for modality, token in self.marks():
            if not 0 <= token < self.vocab_size or self.modality_of(token) != TEXT:
                raise ValueError(
                    f"The tokens of {modality!r} stand between text ids, and {token} is not one: expected an id below "
                    f"{self.vocab_size} outside of every range."
                )
        check_begin_ids(self.begin_ids, self.end_ids, self.eos_token_ids)
        for token in self.eos_token_ids:
            if self.modality_of(token) != TEXT:
                raise ValueError(
                    f"`eos_token_id` has {token}, which is of {self.modality_of(token)!r}: a document would end "
                    "within one of its media. Expected ids outside of every range."
                )
        if self.pad_token_id is not None and not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(
                f"`pad_token_id` is {self.pad_token_id}, expected an id of 0 to {self.vocab_size - 1}, or None."
            )
        for modality, token in self.placeholder_ids.items():
            if self.modality_of(token) != modality:
                raise ValueError(f"`placeholder_ids` gives {modality!r} the id {token}, which lies outside its range.")

    @property
    def eos_token_ids(self) -> list[int]:
        """The ids that end a document, none, one or several."""
        ids = self.eos_token_id
        return [] if ids is None else [ids] if isinstance(ids, int) else list(ids)

    def marks(self) -> Iterator[tuple[str, int]]:
        """Modality and id of everything that begins or ends one."""
        yield from self.begin_ids.items()
        yield from self.end_ids.items()

    @property
    def num_first_ids(self) -> int:
        """The ids of the language model that this one began as; without one, those before the first range."""
        if self.source_vocab_size is not None:
            return self.source_vocab_size
        return self.token_ranges[0][1] if self.token_ranges else self.vocab_size

    def modality_of(self, token: int) -> str:
        """The modality of an id: that of the range it lies in, or text."""
        return next((name for name, start, stop in self.token_ranges if start <= token < stop), TEXT)


def tower_config(modality: str, encoder: dict, width: int) -> MoTConfig:
    """
    The config of a tower: a `MoTModel` of one modality, without layers of several.

    Args:
        encoder: an entry of `MoTCausalConfig.encoders`. What it leaves out of its `hidden_size` is `width`, of its
            heads and its feed-forward layers as usual: heads of 64, and four times the width.
    """
    absent = {f"{name}_config": None for name in MODALITIES if name != modality}
    width = encoder.get("hidden_size") or width
    return MoTConfig(
        hidden_size=width,
        num_attention_heads=encoder.get("num_attention_heads") or max(1, width // 64),
        intermediate_size=4 * width,
        num_global_layers=0,
        **{**absent, f"{modality}_config": encoder},
    )


def check_names(field_name: str, given: dict, modalities: tuple[str, ...]) -> None:
    """Raise a ValueError for a field that names a modality which the model lacks."""
    if unknown := [m for m in given if m not in modalities]:
        known = ", ".join(modalities) or "none: `token_ranges` is empty"
        raise ValueError(f"`{field_name}` names {shown(unknown[0])!r}, expected modalities of {known}.")


def check_ranges(ranges: Any, vocab_size: int) -> None:
    """Raise a ValueError for ranges of ids that are none, that overlap, or that reach beyond the vocabulary."""
    end, names = 0, {TEXT}
    for entry in ranges:
        if not isinstance(entry, (list, tuple)) or [type(value) for value in entry] != [str, int, int]:
            raise ValueError(
                f'`token_ranges` has {shown(entry)}, expected the likes of ["image", 1024, 1280]: a name, the first '
                "id, and the id after the last."
            )
    for name, start, stop in sorted(ranges, key=lambda entry: entry[1]):
        check_modality_name(name)
        if name in names:
            raise ValueError(f"`token_ranges` names {name!r} twice, or gives text a range: the ids outside are text.")
        names.add(name)
        if not 0 <= start < stop <= vocab_size:
            raise ValueError(
                f"`token_ranges` gives {name!r} the ids from {start} to below {stop}, expected at least one id within "
                f"0 to {vocab_size} (`vocab_size`)."
            )
        if start < end:
            raise ValueError(f"`token_ranges` gives {name!r} the id {start}, which is another modality's already.")
        end = stop


def check_rope_type(parameters: dict | None) -> None:
    """Raise a ValueError for rotary positions that the library does not have."""
    kind = (parameters or {}).get("rope_type", "default")
    if kind not in (known := ("default", *ROPE_INIT_FUNCTIONS)):
        raise ValueError(f"`rope_parameters` has the `rope_type` {shown(kind)!r}, expected one of {', '.join(known)}.")


def check_begin_ids(begin_ids: dict[str, int], end_ids: dict[str, int], eos_token_ids: list[int]) -> None:
    """Raise a ValueError for an id that begins a modality and means something else, too."""
    taken = {token: f"ends {modality!r}" for modality, token in end_ids.items()}
    taken |= dict.fromkeys(eos_token_ids, "ends a document (`eos_token_id`)")
    for modality, token in begin_ids.items():
        if token in taken:
            raise ValueError(
                f"`begin_ids` gives {modality!r} the id {token}, which {taken[token]} already: expected one of "
                "its own."
            )
        taken[token] = f"begins {modality!r}"


def check_source(source_vocab_size: int | None, freeze_text: bool, vocab_size: int, ranges: list) -> None:
    """Raise a ValueError if the ids of a source are not all text, or if text is to be frozen and nothing can learn."""
    most = min([vocab_size, *(start for _, start, _ in ranges)])
    if source_vocab_size is not None and not 0 <= source_vocab_size <= most:
        raise ValueError(
            f"`source_vocab_size` is {source_vocab_size}, expected a number of ids that are text: 0 to {most}."
        )
    if freeze_text and not ranges:
        raise ValueError("`freeze_text` is True, but `token_ranges` is empty: nothing is left to learn.")


__all__ = ["MoTCausalConfig"]
