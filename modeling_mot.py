# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A Mixture-of-Transformers over any set of modalities: the base class, the encoder and the model.

Each modality is embedded and encoded by modules of its own; the encoded tokens are joined along the sequence in the
order of `config.modalities`, pass through joint layers (weights of their own per modality, attention over all tokens)
and global layers (weights shared by all), and are fused into one vector, from which a head answers. A row may have any
subset of the modalities: masks say which tokens are real, and what is not real never reaches what is.

Shapes: B rows, L tokens, d width, H heads, D width of a head, F frames of a video, T frames of audio.
"""

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_outputs import ModelOutput
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple, logging

from .attention_mot import attention_mask_for, warn_of_weights
from .checkpoint_mot import CheckpointMixin
from .configuration_mot import MoTConfig
from .contrastive_mot import PairNumbers
from .fusion_mot import FUSIONS, MoTAttentionFusion
from .growing_mot import GrowingMixin
from .inputs_mot import ModalityInput, check_devices, collect_inputs, declare_inputs, declared_names, takes_inputs
from .layers_mot import (
    MoTEncoderLayer,
    MoTGlobalLayer,
    MoTJointLayer,
    MoTVectors,
    drop_path_rates,
    run_layers,
    with_zero_gradients,
)
from .layouts_mot import Layout, PackedTokens, PaddedTokens, WrittenOut, can_pack, rows_with_tokens
from .modalities_mot import MODALITIES, modality_of, words_of
from .modality_mot import MoTEmbeddings, MoTModalityConfig
from .positions_mot import blank
from .sparse_attention_mot import BlockSparsity

logger = logging.get_logger(__name__)

# What an x86 processor must have for products in half precision to be faster than in float32 instead of several times
# slower.
INSTRUCTIONS = {torch.bfloat16: ("avx512_bf16", "amx_bf16"), torch.float16: ("avx512_fp16", "amx_fp16")}


def warn_of_slow_precision(parameter: torch.Tensor) -> None:
    """Warn, once, of half precision on a processor that has no instructions for it; torch tells since 2.11."""
    is_mixed = parameter.device.type == "cpu" and torch.is_autocast_enabled("cpu")
    dtype = torch.get_autocast_dtype("cpu") if is_mixed else parameter.dtype
    if parameter.device.type != "cpu" or dtype not in INSTRUCTIONS or not hasattr(torch.cpu, "get_capabilities"):
        return
    has = torch.cpu.get_capabilities()
    if has.get("architecture") == "x86_64" and not any(has.get(name) for name in INSTRUCTIONS[dtype]):
        logger.warning_once(
            f"This processor has no instructions for {dtype}, in which it is slower than in float32: load the model "
            "with dtype='float32' here, and train without bf16 or fp16."
        )


@dataclass
class MoTModelOutput(ModelOutput):
    r"""
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(B, L, hidden_size)`):
            The joint sequence in the order of `config.modalities`; zero at absent tokens. Of a modality with segments,
            one segment after another, each padded to the longest.
        pooler_output (`torch.FloatTensor` of shape `(B, hidden_size)`):
            The fused vector; zero for a row without any token.
        attention_mask (`torch.LongTensor` of shape `(B, L)`): 1 where a joint token is real.
        text_hidden_state (`torch.FloatTensor` of shape `(B, L_text, hidden_size)`, *optional*): The text's slice.
        image_hidden_state (`torch.FloatTensor` of shape `(B, L_image, hidden_size)`, *optional*): The images' slice.
        audio_hidden_state (`torch.FloatTensor` of shape `(B, L_audio, hidden_size)`, *optional*): The audio's slice.
        modality_hidden_states (`dict[str, torch.FloatTensor]`):
            The slice of each modality that is given, `(B, L_m, hidden_size)`, by its name.
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
    modality_hidden_states: dict[str, torch.FloatTensor] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


def states_of(output: MoTModelOutput) -> dict:
    """What a head hands on of the model's output as it is, where it was asked for."""
    names = ("hidden_states", "attentions", "encoder_hidden_states", "encoder_attentions")
    return {name: getattr(output, name) for name in names}


@dataclass
class EncodedModalities:
    """What the encoders hand to the joint part, for each modality in the order of the joint sequence."""

    given: tuple[str, ...]  # the modalities that this batch has
    batch_size: int
    packed: bool  # whether uneven rows are packed
    output_hidden_states: bool | None = None  # what the joint part is asked for, if `join` is not told otherwise
    output_attentions: bool | None = None
    attention_options: dict = field(default_factory=dict)  # handed to the attention implementation
    hidden_states: dict[str, torch.Tensor] = field(default_factory=dict)  # (B, L_m, d) or packed (1, N_m, d)
    layouts: dict[str, Layout] = field(default_factory=dict)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)  # (B, L_m) bool
    segments: dict[str, int] = field(default_factory=dict)  # of how many segments L_m is, if they are several
    # One token (1, 1, d) of each modality that has none in this batch, so that its weights take part in training.
    stand_ins: dict[str, torch.Tensor] = field(default_factory=dict)
    encoder_hidden_states: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)
    encoder_attentions: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def has(self, modalities: Iterable[str]) -> dict[str, torch.Tensor]:
        """modality -> (B,) bool: which rows have it, for those of `modalities` that were encoded."""
        return {m: self.masks[m].any(dim=1) for m in modalities if m in self.hidden_states}

    def one_token(self, modality: str) -> torch.Tensor:
        """Any token of a modality, (1, 1, d); zeros where it is given, but masked out in every row."""
        if modality in self.stand_ins:
            return self.stand_ins[modality]
        token = self.hidden_states[modality][:1, :1]
        return token if token.shape[1] else token.sum(dim=1, keepdim=True)


def first_given(*flags: bool | None) -> bool:
    """The first flag that is not None, False if all are."""
    for flag in flags:
        if flag is not None:
            return flag
    return False


class RealTokens(NamedTuple):
    """Which tokens of a modality are real."""

    mask: torch.Tensor | None  # (B, L) bool; None means that all are
    lengths: list[int] | None = None  # how many each row has, where that was counted
    rows: torch.Tensor | None = None  # (B',) the rows that have any, where some have none


def count_tokens(given: Mapping[str, ModalityInput], real: Mapping[str, RealTokens]) -> dict[str, RealTokens]:
    """
    The real tokens with their number in each row, by which rows are packed; where nothing is masked, without mask and
    number.
    """
    masked = [m for m, tokens in real.items() if tokens.mask is not None]
    if not masked:
        return dict(real)
    of_inputs = [given[m].mask.reshape(len(real[m].mask), -1) != 0 for m in masked]
    of_tokens = [real[m].mask for m in masked]
    # The only time that an accelerator is waited for.
    numbers = iter(torch.cat([mask.sum(dim=1) for mask in (*of_inputs, *of_tokens)]).tolist())
    real_inputs = {m: sum(itertools.islice(numbers, len(mask))) for m, mask in zip(masked, of_inputs)}
    lengths = {m: list(itertools.islice(numbers, len(mask))) for m, mask in zip(masked, of_tokens)}
    counted = dict.fromkeys(real, RealTokens(None))
    for m, mask in zip(masked, of_tokens):
        if real_inputs[m] < given[m].mask.numel():
            counted[m] = RealTokens(mask, lengths[m], rows_with_tokens(lengths[m], mask.device))
    return counted


def side_by_side(rows: torch.Tensor, number: int) -> torch.Tensor:
    """Segments (B * S, L, ...) as (B, S * L, ...), S being `number`."""
    return rows.reshape(len(rows) // number, number * rows.shape[1], *rows.shape[2:])


def block_diagonal(weights: torch.Tensor, number: int) -> torch.Tensor:
    """Attention weights within segments (B * S, H, L, L) as (B, H, S * L, S * L), 0 between them; S is `number`."""
    heads, length = weights.shape[1:3]
    blocks = weights.new_zeros(len(weights) // number, number, length, number, length, heads)
    segments = torch.arange(number, device=weights.device)
    blocks[:, segments, :, segments] = weights.unflatten(0, (-1, number)).permute(1, 0, 3, 4, 2)
    return blocks.permute(0, 5, 1, 2, 3, 4).flatten(4, 5).flatten(2, 3)


class MoTPreTrainedModel(GrowingMixin, CheckpointMixin, PreTrainedModel):
    """Initial weights, and what every model of the family tells the library."""

    config: MoTConfig
    base_model_prefix = "mot"
    main_input_name = "input_ids"
    input_modalities = tuple(MODALITIES)
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
        if isinstance(module, MoTVectors):
            for parameter in module.parameters():
                init.normal_(parameter, std=std)
        if isinstance(module, MoTAttentionFusion):
            init.normal_(module.query, std=std)
        if isinstance(module, PairNumbers):
            for number in module.parameters():
                init.constant_(number, module.initial)
        if isinstance(module, MoTEmbeddings):
            module.init_positions()
            for name in ("cls_token", "register_tokens"):
                if hasattr(module, name):
                    init.normal_(getattr(module, name), std=std)

    def __init__(self, config: MoTConfig | MoTModalityConfig):
        super().__init__(config)
        if hasattr(config, "modalities"):  # The config is that of a whole model, not of an encoder.
            first = config.modalities[0]
            name = config.kinds[first].names.taken_by(config.modality_config(first))[0]
            if name != "input_ids":
                self.main_input_name = name
            declare_inputs(type(self).forward, declared_names(config))

    @property
    def answers_with(self) -> str | None:
        """What `answer` gives: "classes" (logits), "numbers" or "embeddings"; None if there is no answer."""
        return None

    def answer(self, encoded: EncodedModalities, modalities: Iterable[str]) -> torch.Tensor:
        """What the model answers to rows of which it sees `modalities` alone, (B, n); see `answers_with`."""
        raise ValueError(
            f"{type(self).__name__} gives no answer that modalities could contribute to: expected a model that "
            "classifies, regresses or retrieves."
        )

    def score(self, answers: torch.Tensor) -> torch.Tensor:
        """Answers (..., n) as a person reads them: probabilities of classes; numbers and embeddings as they are."""
        return answers

    def activation_checkpointing_enable(self, *args, **kwargs):
        super().activation_checkpointing_enable(*args, **kwargs)
        if self.main_input_name != "input_ids":  # where the library itself does not
            self.enable_input_require_grads()

    def enable_input_require_grads(self):
        """
        Make every modality's embedded tokens require gradients: under reentrant gradient checkpointing, an adapter in
        a layer whose input requires none gets none, and the library knows of word embeddings only.
        """

        def require_grads(module, inputs, output):
            output.requires_grad_(True)

        embeddings = [module for module in self.modules() if isinstance(module, MoTEmbeddings)]
        self._require_grads_hooks = [module.register_forward_hook(require_grads) for module in embeddings]


class MoTEncoder(MoTPreTrainedModel):
    """The transformer encoder of one modality, whose output has the joint width."""

    config: MoTModalityConfig
    main_input_name = "hidden_states"

    def __init__(self, config: MoTModalityConfig, joint_size: int):
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.num_hidden_layers)
        self.layers = nn.ModuleList([MoTEncoderLayer(config, i, rate) for i, rate in enumerate(rates)])
        if config.final_norm:
            self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.hidden_size != joint_size:
            self.projection = nn.Linear(config.hidden_size, joint_size)
        self.post_init()

    def is_sparse(self, length: int) -> bool:
        """Whether a row of so many tokens may be attended to block by block."""
        sparsity = BlockSparsity.of(self.config.sparse_attention, 0, is_encoder=True)
        return sparsity is not None and sparsity.applies_to([length])

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout | None = None,
        keep_states: bool = False,
        keep_weights: bool = False,
        **kwargs,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """
        Args:
            hidden_states: the embedded tokens, (B, L, d of this modality).
            layout: how they are to be laid out; by default padded, all of them real.

        Returns:
            The tokens in that layout, as wide as the joint sequence; and, on request, the states and attention weights
            of the layers, padded.
        """
        layout = layout or PaddedTokens()
        hidden_states, states, weights = run_layers(
            self.layers,
            layout.pack(hidden_states),
            layout,
            keep_states=keep_states,
            keep_weights=keep_weights,
            **kwargs,
        )
        states = [layout.unpack(state) for state in states]
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
        self.embeddings = nn.ModuleDict({m: modality_of(c, m).embeddings(c) for m, c in configs.items()})
        self.modality_embeddings = MoTVectors({m: (1, c.hidden_size) for m, c in configs.items()})
        self.encoders = nn.ModuleDict({m: MoTEncoder(c, config.hidden_size) for m, c in configs.items()})
        rates = drop_path_rates(config.drop_path_rate, config.num_joint_layers)
        self.joint_layers = nn.ModuleList([MoTJointLayer(config, i, rate) for i, rate in enumerate(rates)])
        self.global_layers = nn.ModuleList(
            [MoTGlobalLayer(config, config.num_joint_layers + i) for i in range(config.num_global_layers)]
        )
        self.fusion = FUSIONS[config.fusion_type](config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.bare_embeddings(self.words()).word_embeddings

    def set_input_embeddings(self, value: nn.Module):
        words = self.words()
        self.bare_embeddings(words).word_embeddings = value
        config = self.config.modality_config(words)
        config.vocab_size = getattr(value, "num_embeddings", config.vocab_size)

    def words(self) -> str:
        """The modality that arrives as token ids, which has the word embeddings."""
        words = words_of(self.config)
        if words is None:
            raise NotImplementedError("This model takes no token ids, so it has no word embeddings.")
        return words

    def bare_embeddings(self, modality: str) -> MoTEmbeddings:
        """A modality's embeddings without an adapter around them, for all that reads none of their own parameters."""
        embeddings = self.embeddings[modality]
        return embeddings.get_base_layer() if hasattr(embeddings, "get_base_layer") else embeddings

    @takes_inputs
    @can_return_tuple
    def forward(self, inputs: Mapping[str, torch.Tensor], **kwargs: Unpack[TransformersKwargs]) -> MoTModelOutput:
        """Encode each modality that is given, join them and fuse each row into one vector."""
        return self.join(self.encode(**inputs, **kwargs))

    @takes_inputs
    def encode(
        self,
        inputs: Mapping[str, torch.Tensor],
        equal_rows: bool = True,
        stand_ins: bool = False,
        covered: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
        **options,
    ) -> EncodedModalities:
        """
        Embed and encode each modality by itself, for `join`.

        Args:
            equal_rows: whether all modalities need the same number of rows; without, join them only one by one.
            stand_ins, covered: see `encode_collected`.
            options: those of `forward`; `join` heeds what they ask of the joint part.
        """
        return self.encode_collected(self.collect(inputs, equal_rows), stand_ins, covered, **options)

    def collect(self, inputs: Mapping[str, torch.Tensor], equal_rows: bool = True) -> dict[str, ModalityInput]:
        """The given inputs by their modality, checked; see `collect_inputs`."""
        embeddings = {m: self.bare_embeddings(m) for m in self.config.modalities}
        return collect_inputs(inputs, self.config, embeddings, equal_rows)

    def encode_collected(
        self,
        given: Mapping[str, ModalityInput],
        stand_ins: bool = False,
        covered: Mapping[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        output_encoder_hidden_states: bool = False,
        output_encoder_attentions: bool = False,
        **attention_options,
    ) -> EncodedModalities:
        """
        `encode` of inputs that `collect` has checked.

        Args:
            given: modality -> its input.
            stand_ins: whether to run stand-ins outside of training, too.
            covered: modality -> its tokens that may not be seen, (B, N) bool, and the token that stands there, (d_m,).

        In training (or with `stand_ins`), a modality that the batch lacks runs one stand-in token through its
        embedding and encoder, and `join` takes it along unseen: whatever a batch lacks, every parameter gets a
        gradient (zero where unused), and every process of a distributed run makes the same calls. A process that left
        one out would keep the others waiting.
        """
        vectors = {m: self.modality_embeddings(m) for m in self.config.modalities}
        if not torch.compiler.is_compiling():
            warn_of_slow_precision(next(iter(vectors.values())))
        for m, part in given.items():
            check_devices(part, self.bare_embeddings(m), vectors[m].device)
        given = {m: self.through_backbone(m, part, vectors[m].dtype) for m, part in given.items()}
        first = next(iter(given.values()))
        values = first.values
        real = {m: RealTokens(self.bare_embeddings(m).token_mask(part.values, part.mask)) for m, part in given.items()}
        packed = not output_encoder_attentions and self.can_pack(values)
        if packed:
            real = count_tokens(given, real)
            given = {m: part if real[m].mask is not None else part._replace(mask=None) for m, part in given.items()}
        encoded = EncodedModalities(
            tuple(given), first.batch_size, packed, output_hidden_states, output_attentions, attention_options
        )
        keep = (output_encoder_hidden_states, output_encoder_attentions)
        for m in self.config.modalities if self.training or stand_ins else given:
            covering = (covered or {}).get(m, (None, None))
            if m in given:
                self.encode_modality(encoded, m, given[m], real[m], vectors[m], *covering, *keep)
            else:
                self.encode_stand_in(encoded, m, vectors[m], *covering)
        return encoded

    def through_backbone(self, modality: str, given: ModalityInput, dtype: torch.dtype) -> ModalityInput:
        """What the model in front of a modality's tower makes of its input, if there is one."""
        if self.config.modality_config(modality).backbone_config is None:
            return given
        values, mask = self.bare_embeddings(modality).through_backbone(given.values, given.mask, dtype)
        return given._replace(values=values, mask=mask)

    def can_pack(self, values: torch.Tensor) -> bool:
        """Whether the attention of every encoder and of the joint part takes packed rows."""
        configs = [self.config, *(self.config.modality_config(m) for m in self.config.modalities)]
        return all(can_pack(config, values) for config in configs)

    def encode_modality(
        self,
        encoded: EncodedModalities,
        modality: str,
        given: ModalityInput,
        real: RealTokens,
        vector: torch.Tensor,
        covered: torch.Tensor | None,
        mask_token: torch.Tensor | None,
        keep_states: bool,
        keep_weights: bool,
    ) -> None:
        """A modality that the batch has goes through its embedding and encoder, into `encoded`."""
        if real.rows is not None:
            given = given.of_rows(real.rows)
            covered = covered if covered is None else covered[real.rows]
        tokens = self.embeddings[modality](
            given.values, given.mask, vector, given.times, covered, mask_token, given.places
        )
        layout = self.layout_of(modality, tokens, real, encoded.packed, keep_weights)
        mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool) if real.mask is None else real.mask
        hidden_states, states, weights = self.encoders[modality](
            tokens, layout, keep_states, keep_weights, **encoded.attention_options
        )
        if (number := given.num_segments) > 1:
            # What follows sees the segments of a row side by side; packed tokens stand so already.
            layout, mask = layout.joining(number), side_by_side(mask, number)
            states = [side_by_side(state, number) for state in states]
            weights = [block_diagonal(weight, number) for weight in weights]
            if not isinstance(layout, PackedTokens):
                hidden_states = side_by_side(hidden_states, number)
            encoded.segments[modality] = number
        encoded.masks[modality], encoded.layouts[modality] = mask, layout
        encoded.hidden_states[modality] = hidden_states
        if keep_states:
            encoded.encoder_hidden_states[modality] = tuple(states)
        if keep_weights:
            encoded.encoder_attentions[modality] = tuple(weights)

    def layout_of(
        self, modality: str, tokens: torch.Tensor, real: RealTokens, packed: bool, write_out: bool
    ) -> Layout:
        """How a modality's embedded tokens, of the rows that have any, are to lie in its encoder."""
        encoder = self.encoders[modality]
        if write_out:
            warn_of_weights(encoder.config)
            return WrittenOut.of(real.mask, tokens)
        if real.lengths is not None:
            return PackedTokens.of(real.mask, real.lengths, real.rows)
        if packed and encoder.is_sparse(tokens.shape[1]):
            return PackedTokens.full(PaddedTokens(), tokens.shape[:2])
        return PaddedTokens(real.mask, attention_mask_for(encoder.config, tokens, real.mask))

    def encode_stand_in(
        self,
        encoded: EncodedModalities,
        modality: str,
        vector: torch.Tensor,
        covered: torch.Tensor | None,
        mask_token: torch.Tensor | None,
    ) -> None:
        """One token of a modality that the batch lacks goes through its embedding and encoder, and is absent."""
        covered = None if covered is None else torch.ones_like(covered[:1, :1])
        stand_in = self.bare_embeddings(modality).stand_in(vector.device, vector.dtype)
        tokens = self.embeddings[modality](stand_in, None, vector, None, covered, mask_token)
        tokens, _, _ = self.encoders[modality](tokens, **encoded.attention_options)
        encoded.stand_ins[modality] = tokens[:, :1]
        mask = torch.zeros(encoded.batch_size, 1, dtype=torch.bool, device=tokens.device)
        encoded.masks[modality] = mask
        if encoded.packed:
            lengths = [0] * encoded.batch_size
            encoded.layouts[modality] = PackedTokens.of(mask, lengths, rows_with_tokens(lengths, mask.device))
            encoded.hidden_states[modality] = tokens[:, :0]
        else:
            encoded.layouts[modality] = PaddedTokens(mask)
            encoded.hidden_states[modality] = tokens.new_zeros(*mask.shape, tokens.shape[-1])

    def join(
        self,
        encoded: EncodedModalities,
        modalities: Iterable[str] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
    ) -> MoTModelOutput:
        """
        The joint part: join the encoded modalities, run the joint and the global layers, fuse.

        Args:
            encoded: what `encode` returned; it may be joined several times, so that encoders run once for many
                subsets.
            modalities: use only these; all that were given by default.
            output_hidden_states, output_attentions: as in `forward`; by default what `encode` was told.
        """
        keep_states = first_given(output_hidden_states, encoded.output_hidden_states, self.config.output_hidden_states)
        keep_weights = first_given(output_attentions, encoded.output_attentions, self.config.output_attentions)
        present = [m for m in encoded.hidden_states if m in (encoded.given if modalities is None else modalities)]
        unseen = [m for m in encoded.hidden_states if m not in present or m in encoded.stand_ins]
        unseen = unseen if self.training else []
        stand_ins = torch.cat([encoded.one_token(m) for m in unseen], dim=1) if unseen else None
        tokens, layout, parts = (self.write_out if keep_weights else self.lay_out)(encoded, present)

        keep = {"keep_states": keep_states, "keep_weights": keep_weights, **encoded.attention_options}
        hidden_states = layout.by_row(tokens)
        if unseen:
            hidden_states = with_zero_gradients(hidden_states, stand_ins)
        joint = (layout, parts, stand_ins, unseen)
        hidden_states, states, weights = run_layers(self.joint_layers, hidden_states, *joint, **keep)
        hidden_states, more_states, more_weights = run_layers(self.global_layers, hidden_states, layout, **keep)
        states, weights = states + more_states[1:], weights + more_weights
        hidden_states = blank(layout.unpack(hidden_states), layout.mask)  # (B, L, d)
        if keep_states:
            states = [*map(layout.unpack, states[:-1]), hidden_states]

        masks = {m: encoded.masks[m] for m in present}
        slices = dict(zip(present, hidden_states.split([mask.shape[1] for mask in masks.values()], dim=1)))
        return MoTModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=self.fusion(slices, masks, {m: n for m, n in encoded.segments.items() if m in slices}),
            attention_mask=torch.cat(list(masks.values()), dim=1).long(),
            **{f"{m}_hidden_state": part for m, part in slices.items() if m in MODALITIES},
            modality_hidden_states=slices,
            hidden_states=tuple(states) if keep_states else None,
            attentions=tuple(weights) if keep_weights else None,
            encoder_hidden_states=encoded.encoder_hidden_states or None,
            encoder_attentions=encoded.encoder_attentions or None,
        )

    def pool(self, encoded: EncodedModalities, modalities: Iterable[str]) -> torch.Tensor:
        """The fused vectors alone, (B, d), from what rows have of `modalities`; zero for a row that has nothing."""
        modalities = [m for m in modalities if m in encoded.hidden_states]
        if not modalities:
            some = next(iter(encoded.hidden_states.values()))
            return some.new_zeros(encoded.batch_size, self.config.hidden_size)
        return self.join(encoded, modalities, output_hidden_states=False, output_attentions=False).pooler_output

    def lay_out(
        self, encoded: EncodedModalities, modalities: list[str]
    ) -> tuple[list[torch.Tensor], Layout, dict[str, Layout]]:
        """The tokens of each of `modalities`, the layout of their joint sequence, and each one's own."""
        tokens = [encoded.hidden_states[m] for m in modalities]
        layouts = [encoded.layouts[m] for m in modalities]
        masks = [encoded.masks[m] for m in modalities]
        is_sparse = self.config.sparse_attention is not None  # Only packed tokens make use of it.
        if any(isinstance(layout, PackedTokens) for layout in layouts) or (encoded.packed and is_sparse):
            packed = [PackedTokens.full(layout, mask.shape) for layout, mask in zip(layouts, masks)]
            tokens = [part.flatten(0, 1)[None] for part in tokens]  # (1, N_m, d)
            return tokens, PackedTokens.joint(packed, tokens[0].device), dict(zip(modalities, packed))
        mask = attention_mask = None
        if any(layout.mask is not None for layout in layouts):
            mask = torch.cat(masks, dim=1)  # (B, L)
            attention_mask = attention_mask_for(self.config, tokens[0].new_empty(*mask.shape, 1), mask)
        lengths = tuple(part.shape[1] for part in tokens)
        return tokens, PaddedTokens(mask, attention_mask, lengths), dict(zip(modalities, layouts))

    def write_out(
        self, encoded: EncodedModalities, modalities: list[str]
    ) -> tuple[list[torch.Tensor], Layout, dict[str, Layout]]:
        """As `lay_out`, but padded, with attention that forms its weights."""
        warn_of_weights(self.config)
        masks = {m: encoded.masks[m] for m in modalities}
        tokens = [encoded.layouts[m].unpack(encoded.hidden_states[m]) for m in modalities]
        lengths = tuple(part.shape[1] for part in tokens)
        layout = WrittenOut.of(torch.cat(list(masks.values()), dim=1), tokens[0], lengths)
        return tokens, layout, {m: PaddedTokens(mask) for m, mask in masks.items()}


__all__ = ["MoTModel", "MoTPreTrainedModel"]
