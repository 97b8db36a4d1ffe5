# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A causal Mixture-of-Transformers (arXiv 2411.04996): one decoder over interleaved tokens of several modalities.

Every layer has weights of its own for each expert (what `untied` names) and one attention over all tokens before. A
token's modality is read from its id in every call, so that generation, with caches, beams and batches whose rows are
in different modalities, needs no further argument. Tokens are sorted by expert once a call (`routing_mot.py`).

Names of the weights, e being an expert or, for parts that are not untied, standing under `layers.{i}.shared`:
    model.embed_tokens, lm_head, model.norms.{e}
    model.layers.{i}.experts.{e}.{input_layernorm, post_attention_layernorm}
    model.layers.{i}.experts.{e}.self_attn.{q_proj, k_proj, v_proj, o_proj, q_norm, k_norm}
    model.layers.{i}.experts.{e}.mlp.{gate_proj, up_proj, down_proj}
    model.towers.encoders.{m}, model.towers.projectors.{m} of each modality m that arrives raw (`towers_causal_mot.py`)

Shapes: B rows, L tokens of a row, N = B L, N_e tokens of an expert, d width, H heads, D width of a head, V ids.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.cache_utils import Cache, DynamicCache
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import (
    BaseModelOutputWithPast,
    BaseModelOutputWithPooling,
    CausalLMOutputWithPast,
)
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel
from transformers.models.llama.modeling_llama import (
    LlamaMLP,
    LlamaRMSNorm,
    LlamaRotaryEmbedding,
    apply_rotary_pos_emb,
    eager_attention_forward,
)
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple
from transformers.utils.generic import merge_with_config_defaults
from transformers.utils.import_utils import is_tracing
from transformers.utils.output_capturing import capture_outputs

from .configuration_causal_mot import PARTS, SHARED, MoTCausalConfig
from .freezing_causal_mot import FreezingMixin, build_embedding, build_head
from .generation_mot import MoTGenerationMixin
from .inputs_mot import check_options
from .layouts_mot import PackedTokens, can_pack
from .loading_mot import LoadingMixin
from .routing_mot import Routes, StaticRoutes
from .towers_causal_mot import MoTCausalTowers, MoTTowersMixin
from .warm_start_causal_mot import WarmStartMixin

# What goes through the model to its layers: the library's options, and what continuous batching adds to them.
HANDED_ON = {*TransformersKwargs.__annotations__, "cache", "block_table", "read_index", "write_index"}
HANDED_ON |= {"logits_indices", "logits_processor_args"}


@dataclass
class MoTCausalOutputWithPast(CausalLMOutputWithPast):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
            The cross-entropy of the next tokens in nats, each weighted by its modality; with `labels` alone.
        losses (`dict[str, torch.FloatTensor]`, *optional*):
            The mean cross-entropy of the targets of each modality, unweighted and detached; NaN where there are none.
        logits (`torch.FloatTensor` of shape `(B, L, vocab_size)`): Scores of the next token.
        past_key_values (`Cache`, *optional*): Keys and values of what was read, of all modalities together.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*):
            On request, the tokens before the first and after every layer, `(B, L, hidden_size)`.
        attentions (`tuple[torch.FloatTensor]`, *optional*): On request, the weights of each layer, `(B, H, L, L)`.
    """

    losses: dict[str, torch.FloatTensor] | None = None


class MoTCausalProjections(nn.Module):
    """The projections of an attention, and the norms of its queries and keys: those of `parts` alone."""

    def __init__(self, config: MoTCausalConfig, parts: Sequence[str]):
        super().__init__()
        if "attention" in parts:
            width, size = config.hidden_size, config.head_dim
            queries, keys = config.num_attention_heads * size, config.num_key_value_heads * size
            self.q_proj = nn.Linear(width, queries, bias=config.attention_bias)
            self.k_proj = nn.Linear(width, keys, bias=config.attention_bias)
            self.v_proj = nn.Linear(width, keys, bias=config.attention_bias)
            self.o_proj = nn.Linear(queries, width, bias=config.attention_output_bias)
        if "norm" in parts and config.qk_norm:
            self.q_norm = LlamaRMSNorm(config.head_dim, eps=config.rms_norm_eps)
            self.k_norm = LlamaRMSNorm(config.head_dim, eps=config.rms_norm_eps)


class MoTCausalBlock(nn.Module):
    """The parts of a layer that one expert has for itself, or that all share; the layer decides who passes them."""

    def __init__(self, config: MoTCausalConfig, parts: Sequence[str]):
        super().__init__()
        if "norm" in parts:
            self.input_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if "attention" in parts or "norm" in parts:
            self.self_attn = MoTCausalProjections(config, parts)
        if "norm" in parts:
            self.post_attention_layernorm = LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps)
        if "mlp" in parts:
            self.mlp = LlamaMLP(config)


class MoTCausalAttention(nn.Module):
    """Attention of every token to those before it, of whatever modality; it has no weights of its own."""

    is_causal = True
    block_sparsity = None

    def __init__(self, config: MoTCausalConfig, layer: int):
        super().__init__()
        self.config, self.layer_idx = config, layer
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = config.head_dim**-0.5

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None,
        past_key_values: Cache | None,
        documents: PackedTokens | None,
        **kwargs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """
        Args:
            query, key, value: (B, L, H D), and of fewer heads for keys and values.
            documents: where several documents of a row do not see each other, how they lie.

        Returns:
            (B, L, H D), and the weights (B, H, L, L) if the attention implementation forms them.
        """
        shape = query.shape[:2]
        query, key, value = (
            states.unflatten(-1, (-1, self.config.head_dim)).transpose(1, 2) for states in (query, key, value)
        )  # (B, H, L, D)
        query, key = apply_rotary_pos_emb(query, key, *position_embeddings)
        if documents is not None:
            query, key, value = (
                states.transpose(1, 2).reshape(1, shape.numel(), -1) for states in (query, key, value)
            )
            attended, weights = documents.attend(self, query, key, value, **kwargs)
            return attended.reshape(*shape, -1), weights
        if past_key_values is not None:
            key, value = past_key_values.update(key, value, self.layer_idx)
        implementation = self.config._attn_implementation
        attend = ALL_ATTENTION_FUNCTIONS.get_interface(implementation, eager_attention_forward)
        dropout = self.config.attention_dropout if self.training else 0.0
        attended, weights = attend(
            self, query, key, value, attention_mask, scaling=self.scaling, dropout=dropout, **kwargs
        )
        return attended.reshape(*shape, -1), weights


class MoTCausalLayer(GradientCheckpointingLayer):
    """A decoder layer of arXiv 2411.04996, Algorithm 1: what `untied` names is each expert's own."""

    def __init__(self, config: MoTCausalConfig, layer: int):
        super().__init__()
        self.untied, self.has_qk_norm = tuple(config.untied), config.qk_norm
        tied = [part for part in PARTS if part not in self.untied]
        self.attention = MoTCausalAttention(config, layer)
        if self.untied:
            self.experts = nn.ModuleDict({e: MoTCausalBlock(config, self.untied) for e in config.expert_names})
        if tied:
            self.shared = MoTCausalBlock(config, tied)

    def block(self, part: str, expert: str) -> MoTCausalBlock:
        """Where a part of the layer stands that an expert's tokens pass."""
        return self.experts[expert] if part in self.untied else self.shared

    def forward(
        self,
        hidden_states: torch.Tensor,
        routes: Routes | StaticRoutes,
        position_embeddings: tuple[torch.Tensor, torch.Tensor],
        attention_mask: torch.Tensor | None = None,
        past_key_values: Cache | None = None,
        documents: PackedTokens | None = None,
        **kwargs,
    ) -> torch.Tensor:
        """Tokens (B, L, d) -> (B, L, d)."""
        shape = hidden_states.shape[:2]
        own = routes.split(hidden_states.flatten(0, 1))  # (N_e, d) of each expert
        projected = [self.project(expert, tokens) for expert, tokens in zip(routes.experts, own)]
        query, key, value = (routes.join(parts).unflatten(0, shape) for parts in zip(*projected))
        attended, _ = self.attention(
            query, key, value, position_embeddings, attention_mask, past_key_values, documents, **kwargs
        )
        attended = routes.split(attended.flatten(0, 1))
        updated = [self.update(expert, *states) for expert, *states in zip(routes.experts, own, attended)]
        return routes.join(updated).unflatten(0, shape)

    def project(self, expert: str, tokens: torch.Tensor) -> list[torch.Tensor]:
        """Queries, keys and values of an expert's tokens (N_e, d), each (N_e, heads * D)."""
        norms, attention = self.block("norm", expert), self.block("attention", expert).self_attn
        tokens = norms.input_layernorm(tokens)
        query, key, value = attention.q_proj(tokens), attention.k_proj(tokens), attention.v_proj(tokens)
        if self.has_qk_norm:
            size = self.attention.config.head_dim
            query = norms.self_attn.q_norm(query.unflatten(-1, (-1, size))).flatten(-2)
            key = norms.self_attn.k_norm(key.unflatten(-1, (-1, size))).flatten(-2)
        return [query, key, value]

    def update(self, expert: str, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Tokens (N_e, d) and what they attended to (N_e, H D) -> (N_e, d)."""
        tokens = tokens + self.block("attention", expert).self_attn.o_proj(attended)
        normed = self.block("norm", expert).post_attention_layernorm(tokens)
        return tokens + self.block("mlp", expert).mlp(normed)


class MoTCausalPreTrainedModel(MoTTowersMixin, FreezingMixin, LoadingMixin, PreTrainedModel):
    """What every causal model of the family tells the library."""

    config: MoTCausalConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["MoTCausalLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True
    _can_record_outputs = {"hidden_states": MoTCausalLayer, "attentions": MoTCausalAttention}

    def resize_token_embeddings(self, new_num_tokens: int | None = None, *args, **kwargs) -> nn.Module:
        """
        As in the library: new ids are text, and so are those that go. A range of another modality stays whole, and so
        do the ids that begin and end one.
        """
        for modality, start, stop in self.config.token_ranges:
            if new_num_tokens is not None and new_num_tokens < min(stop, self.config.vocab_size):
                raise ValueError(
                    f"A vocabulary of {new_num_tokens} ids would cut off {modality!r}, whose ids are from {start} to "
                    f"below {stop}: keep at least {stop}."
                )
        for modality, token in self.config.marks():
            if new_num_tokens is not None and new_num_tokens <= token:
                raise ValueError(
                    f"A vocabulary of {new_num_tokens} ids would cut off {token}, which begins or ends {modality!r}: "
                    f"keep at least {token + 1}."
                )
        return super().resize_token_embeddings(new_num_tokens, *args, **kwargs)

    def write(self, save_directory, *args, **kwargs) -> None:
        """The library's own saving, with an `auto_map` that names all which can read the folder."""
        self.config.auto_map = {"AutoConfig": "configuration_causal_mot.MoTCausalConfig"} | {
            auto_class: f"modeling_causal_mot.{model_class.__name__}"
            for auto_class, model_class in CAUSAL_AUTO_CLASSES.items()
        }
        super().write(save_directory, *args, **kwargs)


class MoTCausalModel(MoTCausalPreTrainedModel):
    """The decoder without a head: tokens in, their last hidden states out."""

    def __init__(self, config: MoTCausalConfig):
        super().__init__(config)
        self.embed_tokens = build_embedding(config)
        self.layers = nn.ModuleList([MoTCausalLayer(config, i) for i in range(config.num_hidden_layers)])
        owners = config.expert_names if "norm" in config.untied else (SHARED,)
        self.norms = nn.ModuleDict({e: LlamaRMSNorm(config.hidden_size, eps=config.rms_norm_eps) for e in owners})
        self.rotary_emb = LlamaRotaryEmbedding(config)
        self.towers = MoTCausalTowers(config)
        self.post_init()

    @merge_with_config_defaults
    @capture_outputs
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        modality_ids: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        modality: str | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> BaseModelOutputWithPast:
        """
        Args:
            input_ids: (B, L); their modalities are those of the ranges that they lie in.
            attention_mask: (B, L), 1 where a token is real, with what `past_key_values` hold before.
            position_ids: (B, L) rotary positions; by default they count on. Where they begin anew at 0, without a mask
                and a cache, another document begins, which sees nothing of the one before.
            past_key_values: keys and values of what was read before.
            inputs_embeds: (B, L, d) in place of `input_ids`.
            modality_ids: (B, L) numbers in `config.modalities` of `inputs_embeds`, which are text by default.
            use_cache: whether to return keys and values.
            modality: what every token of this call is, where that is known: nothing is sorted then.
            pixel_values: (N, C, H, W) raw pictures of all rows, or (N, F, C, H, W) frames of videos, for the tower of
                `config.encoders["image"]`: the first one's tokens go to the first placeholders of `input_ids`, row
                after row.
            pixel_mask: (N, F), which frames are real.
            input_features: (N, T, num_mel_bins) log-mel frames of the raw sounds of all rows, likewise.
            input_features_mask: (N, T), which frames are real.
            mm_encoder_outputs: modality -> what its tower made of raw input before, in place of that.
            kwargs: raw input of other modalities, as `MoTModel` takes it; options of the attention implementation.

        Raises:
            ValueError: an id is outside the vocabulary, a modality is unknown, arguments exclude each other, or raw
                input does not fit its placeholders.
        """
        routes = self.routes(input_ids, inputs_embeds, modality_ids, modality)
        if inputs_embeds is None:
            inputs_embeds = self.embed_tokens(input_ids)
        raw = {name: kwargs.pop(name) for name in self.towers.input_names if name in kwargs}
        check_options({n: v for n, v in kwargs.items() if n not in HANDED_ON}, type(self).__name__, ARGUMENTS)
        raw |= {"pixel_values": pixel_values, "pixel_mask": pixel_mask}
        raw |= {"input_features": input_features, "input_features_mask": input_features_mask}
        has_past = past_key_values is not None
        inputs_embeds = self.towers.fill(inputs_embeds, input_ids, mm_encoder_outputs, has_past, **raw)
        check_mask(attention_mask, inputs_embeds.shape, past_key_values)
        lengths = None  # of the documents, where a row holds several
        if past_key_values is None and attention_mask is None and position_ids is not None:
            lengths = document_lengths(position_ids, inputs_embeds.shape[:2])
        if use_cache and past_key_values is None and lengths is None:
            past_key_values = DynamicCache(config=self.config)
        if position_ids is None:
            past = past_key_values.get_seq_length() if past_key_values is not None else 0
            position_ids = torch.arange(inputs_embeds.shape[1], device=inputs_embeds.device)[None] + past
        documents = mask = None
        has_rows = can_pack(self.config, inputs_embeds) and self.config._attn_implementation != "flex_attention"
        if lengths is not None and has_rows:
            documents = PackedTokens((len(lengths), max(lengths)), lengths)
        else:  # The library's mask keeps documents apart, too.
            mask = create_causal_mask(self.config, inputs_embeds, attention_mask, past_key_values, position_ids)
        hidden_states = inputs_embeds
        position_embeddings = self.rotary_emb(hidden_states, position_ids)
        for layer in self.layers:
            hidden_states = layer(
                hidden_states, routes, position_embeddings, mask, past_key_values, documents=documents, **kwargs
            )
        tokens = routes.split(hidden_states.flatten(0, 1))
        normed = [self.norms[e if e in self.norms else SHARED](part) for e, part in zip(routes.experts, tokens)]
        hidden_states = routes.join(normed).unflatten(0, hidden_states.shape[:2])
        return BaseModelOutputWithPast(last_hidden_state=hidden_states, past_key_values=past_key_values)

    def routes(
        self,
        input_ids: torch.LongTensor | None,
        inputs_embeds: torch.FloatTensor | None,
        modality_ids: torch.LongTensor | None,
        modality: str | None,
    ) -> Routes | StaticRoutes:
        """The way of the tokens of one call to their experts; see `forward`."""
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("Give exactly one of `input_ids` and `inputs_embeds`.")
        if modality_ids is not None and (input_ids is not None or modality is not None):
            raise ValueError(
                "`modality_ids` say what `inputs_embeds` are: ids are of the modality whose range they lie in, and "
                "`modality` says it of all tokens at once."
            )
        tokens = inputs_embeds if input_ids is None else input_ids
        if tokens.dim() != (2 if inputs_embeds is None else 3) or not tokens.numel():
            name, axes = ("input_ids", "B, L") if inputs_embeds is None else ("inputs_embeds", "B, L, d")
            raise ValueError(
                f"`{name}` is of shape {tuple(tokens.shape)}, expected ({axes}): rows of tokens, none empty."
            )
        names, keep_all = self.config.expert_names, self.training
        if input_ids is not None:
            check_ids(input_ids, self.config.vocab_size)
        if modality_ids is not None and modality_ids.shape != tokens.shape[:2]:
            raise ValueError(
                f"`modality_ids` is of shape {tuple(modality_ids.shape)}, expected that of the tokens, "
                f"{tuple(tokens.shape[:2])}."
            )
        modalities = self.config.modalities
        if modality_ids is not None and (wrong := beyond(modality_ids, len(modalities))) is not None:
            raise ValueError(
                f"`modality_ids` has the number {wrong}, expected 0 to {len(modalities) - 1}, for "
                f"{', '.join(modalities)}."
            )
        if modality is None and input_ids is None and modality_ids is None:
            modality = modalities[0]
        if modality is not None or len(names) == 1 or not self.config.untied:
            expert = self.config.expert_of(modalities[0] if modality is None else modality)
            return Routes.single(expert, names, tokens.shape[:2].numel(), keep_all)
        numbers = [names.index(self.config.experts[m]) for m in modalities]
        if modality_ids is not None:
            expert_ids = torch.tensor(numbers, device=tokens.device)[modality_ids.flatten()]
        else:
            expert_ids = look_up(input_ids.flatten(), self.config.token_ranges, numbers)
        return StaticRoutes(expert_ids, names) if is_tracing(tokens) else Routes.of(expert_ids, names, keep_all)


ARGUMENTS = [*inspect.signature(MoTCausalModel.forward).parameters][1:-1]  # without `self` and `kwargs`


class MoTForCausalLM(WarmStartMixin, MoTCausalPreTrainedModel, MoTGenerationMixin):
    """The decoder with a head: it reads tokens of any modality, and says which comes next."""

    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config: MoTCausalConfig):
        super().__init__(config)
        self.model = MoTCausalModel(config)
        self.lm_head = build_head(config)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        position_ids: torch.LongTensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: torch.FloatTensor | None = None,
        modality_ids: torch.LongTensor | None = None,
        labels: torch.LongTensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | torch.Tensor = 0,
        modality: str | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        mm_encoder_outputs: dict[str, BaseModelOutputWithPooling] | None = None,
        num_items_in_batch: int | torch.Tensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTCausalOutputWithPast:
        """
        Args:
            input_ids, attention_mask, position_ids, past_key_values, inputs_embeds, modality_ids, use_cache, modality,
            pixel_values, pixel_mask, input_features, input_features_mask, mm_encoder_outputs: as in
                [`MoTCausalModel`].
            labels: (B, L) ids to be predicted, each from those before it; -100 where nothing is. The first token of a
                document is never a target, nor is a placeholder of raw input.
            logits_to_keep: of how many of the last tokens, or of which, logits are wanted; 0 means of all.
            num_items_in_batch: by how many targets the loss is divided, where several calls make one step.
            shift_labels: (B, L) in place of `labels`, for each token what follows it, or -100; trainers that share a
                row among processes make it before they cut.

        Raises:
            ValueError: as in [`MoTCausalModel`].
        """
        # Trainers take every argument that is called so for a label that each batch has.
        shift_labels = kwargs.pop("shift_labels", None)
        if labels is not None and use_cache is None:
            use_cache = False
        outputs = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            modality_ids=modality_ids,
            use_cache=use_cache,
            modality=modality,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
            mm_encoder_outputs=mm_encoder_outputs,
            **kwargs,
        )
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(outputs.last_hidden_state[:, kept])
        loss, losses = None, None
        if shift_labels is None and labels is not None:
            shift_labels = next_labels(labels, attention_mask, position_ids)
        if shift_labels is not None:
            loss, losses = self.loss_of(logits, shift_labels, num_items_in_batch)
        return MoTCausalOutputWithPast(
            loss=loss,
            losses=losses,
            logits=logits,
            past_key_values=outputs.past_key_values,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
        )

    def loss_of(
        self, logits: torch.Tensor, targets: torch.LongTensor, num_items_in_batch: int | torch.Tensor | None
    ) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """The weighted cross-entropy in nats of what follows each token, (B, L), and its mean for each modality."""
        if targets.shape != logits.shape[:2]:
            raise ValueError(
                f"`labels` is of shape {tuple(targets.shape)}, and there are logits of {tuple(logits.shape[:2])} "
                "tokens: give an id or -100 for each token, and leave `logits_to_keep` at 0."
            )
        targets = targets.to(logits.device).flatten()
        for token in self.config.placeholder_ids.values():
            targets = targets.masked_fill(targets == token, -100)
        is_target = targets != -100
        check_ids(targets.where(is_target, 0), self.config.vocab_size, "labels")
        nats = F.cross_entropy(logits.flatten(0, 1).float(), targets, reduction="none")
        modalities, weights = self.config.modalities, self.config.loss_weights
        numbers = look_up(targets, self.config.token_ranges, range(len(modalities)))
        chosen = {m: (numbers == i) & is_target for i, m in enumerate(modalities)}
        sums = {m: (nats * chosen[m]).sum() for m in modalities}
        total = is_target.sum().clamp(min=1) if num_items_in_batch is None else num_items_in_batch
        loss = sum(weights.get(m, 1.0) * sums[m] for m in modalities) / total
        return loss, {m: sums[m].detach() / chosen[m].sum() for m in modalities}


def next_labels(
    labels: torch.LongTensor, attention_mask: torch.Tensor | None, position_ids: torch.LongTensor | None
) -> torch.LongTensor:
    """For each token the label of the next, (B, L); -100 where it is another document's or padding, or follows it."""
    following = F.pad(labels[:, 1:], (0, 1), value=-100)
    if position_ids is not None:
        begins = F.pad(position_ids[:, 1:] == 0, (0, 1))
        following = following.masked_fill(begins.to(labels.device), -100)
    if isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2:
        padding = attention_mask[:, -labels.shape[1] :] == 0
        padding = padding | F.pad(padding[:, 1:], (0, 1))
        following = following.masked_fill(padding.to(labels.device), -100)
    return following


def document_lengths(position_ids: torch.LongTensor, shape: tuple[int, int]) -> list[int] | None:
    """The lengths of the documents in rows of `shape` (B, L), row after row; None where each row is one."""
    if is_tracing(position_ids):
        return None
    begins = (position_ids == 0).expand(shape).clone()
    begins[:, 0] = True
    starts = begins.flatten().nonzero()[:, 0].tolist()
    if len(starts) == shape[0]:
        return None
    return [stop - start for start, stop in zip(starts, [*starts[1:], shape[0] * shape[1]])]


def look_up(ids: torch.LongTensor, ranges: Sequence, numbers: Sequence[int]) -> torch.LongTensor:
    """
    Args:
        ids: of any shape.
        ranges: `[name, start, stop]`.
        numbers: one for ids outside of every range, then one for each range.

    Returns:
        For each id its number, of the same shape.
    """
    found = torch.full_like(ids, numbers[0])
    for (_, start, stop), number in zip(ranges, numbers[1:]):
        found = torch.where((ids >= start) & (ids < stop), number, found)
    return found


def check_ids(ids: torch.LongTensor, vocab_size: int, name: str = "input_ids") -> None:
    """Raise a ValueError for ids outside the vocabulary, where looking costs no waiting for an accelerator."""
    if (wrong := beyond(ids, vocab_size)) is not None:
        raise ValueError(
            f"`{name}` has the id {wrong}, outside the model's vocabulary of 0 to {vocab_size - 1}: the ids come of "
            "another tokenizer, or `resize_token_embeddings` is due."
        )


def beyond(ids: torch.LongTensor, number: int) -> int | None:
    """One of the ids that is not of 0 to below `number`, where looking costs no waiting for an accelerator."""
    if ids.device.type != "cpu" or not ids.numel() or is_tracing(ids):
        return None
    least, most = map(int, ids.aminmax())
    return least if least < 0 else most if most >= number else None


def check_mask(attention_mask: torch.Tensor | None, shape: Sequence[int], past_key_values: Cache | None) -> None:
    """Raise a ValueError for a mask (B, L) of other rows or another length than the tokens, with those before them."""
    if isinstance(attention_mask, torch.Tensor) and attention_mask.dim() == 2:
        rows, length = attention_mask.shape
        if rows != shape[0] or length < shape[1] or (past_key_values is None and length > shape[1]):
            raise ValueError(
                f"`attention_mask` is of shape {tuple(attention_mask.shape)}, expected {tuple(shape[:2])}, and with "
                "`past_key_values` a column more for each token that they hold."
            )


CAUSAL_AUTO_CLASSES = {
    "AutoModel": MoTCausalModel,
    "AutoModelForCausalLM": MoTForCausalLM,
    "AutoModelForImageTextToText": MoTForCausalLM,
    "AutoModelForMultimodalLM": MoTForCausalLM,
}

__all__ = ["CAUSAL_AUTO_CLASSES", "MoTCausalModel", "MoTForCausalLM"]
