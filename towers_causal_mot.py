# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Raw pictures and sounds for a causal model: towers read them, projectors bring them to its width, and their tokens
take the places of placeholder ids.

A tower is a `MoTModel` of one modality: the embeddings and the encoder that this project has for a kind, or those that
begin as another model. The placeholders lie within the modality's range of ids, so that its expert sees the tokens of
a tower as it sees those of a tokenizer.

Shapes: B rows, T tokens of a row, N pictures or sounds of all rows, L tokens of one, w the tower's width, d the
decoder's.
"""

import functools
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import can_return_tuple
from transformers.utils.import_utils import is_tracing

from .configuration_causal_mot import MoTCausalConfig, check_names, tower_config
from .conversion_mot import describe
from .inputs_mot import names_of
from .layers_mot import with_zero_gradients
from .layouts_mot import Layout, PackedTokens
from .modalities_mot import MODALITIES, modality_of, raw_modality_of
from .modality_mot import InputNames, MoTEmbeddings
from .modeling_mot import EncodedModalities, MoTModel
from .positions_mot import blank
from .warm_start_mot import kind_of, read_config

# ---------------------------------------------------------------------------------------------------------------------
# How many placeholders raw input needs
# ---------------------------------------------------------------------------------------------------------------------


def num_tower_tokens(modality: str, encoder: Mapping, shape: Sequence[int]) -> int:
    """
    How many tokens a tower makes of one raw input, which is how many placeholders it needs.

    Args:
        modality: its name.
        encoder: its entry of `MoTCausalConfig.encoders`.
        shape: of the input without padding: a picture (C, H, W), a video (F, C, H, W), a sound (frames, mel bins).

    Raises:
        ValueError: the tower takes no input of this shape.
    """
    return tokens_of_shape(modality, json.dumps(encoder, sort_keys=True), tuple(shape))


@functools.lru_cache(maxsize=8192)  # What has no data yet takes milliseconds, and data have few shapes.
def tokens_of_shape(modality: str, encoder: str, shape: tuple[int, ...]) -> int:
    """`num_tower_tokens`, with the encoder as JSON."""
    embeddings = shapes_of(modality, encoder)
    config = embeddings.config
    with torch.device("meta"):  # where there are shapes, and nothing is computed
        inputs, vector = torch.zeros(1, *shape), torch.zeros(1, config.hidden_size)
        if config.backbone_config is not None:
            inputs, _ = embeddings.through_backbone(inputs, None, inputs.dtype)
        return embeddings(inputs, None, vector).shape[1]


@functools.lru_cache(maxsize=16)
def shapes_of(modality: str, encoder: str) -> MoTEmbeddings:
    """The embeddings of a tower without weights; `encoder` is an entry of `MoTCausalConfig.encoders` as JSON."""
    config = tower_config(modality, json.loads(encoder), width=64).modality_config(modality)
    with torch.device("meta"):
        return modality_of(config, modality).embeddings(config).eval()


# ---------------------------------------------------------------------------------------------------------------------
# The towers
# ---------------------------------------------------------------------------------------------------------------------


class MoTProjector(nn.Module):
    """A tower's tokens (..., w) at the decoder's width, (..., d): a norm and two layers (arXiv 2310.03744)."""

    def __init__(self, tower_size: int, hidden_size: int):
        super().__init__()
        self.norm = nn.LayerNorm(tower_size)
        self.fc1 = nn.Linear(tower_size, hidden_size)
        self.activation = ACT2FN["gelu"]
        self.fc2 = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden_states: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.activation(self.fc1(self.norm(hidden_states))))


class MoTCausalTowers(nn.Module):
    """
    The towers of a causal model, `encoders`, and what joins them to it, `projectors`, by the names of modalities.

    Raw inputs are the arguments of `MoTModel`: `pixel_values`, `pixel_mask`, `input_features`, `input_features_mask`,
    `{name}_values` and `{name}_mask`, without rows that have none: the first picture of a batch belongs to its first
    placeholders, row after row, whatever the number that a row has.
    """

    def __init__(self, config: MoTCausalConfig):
        super().__init__()
        self.config = config
        self.encoders, self.projectors = nn.ModuleDict(), nn.ModuleDict()
        for modality in config.encoders:
            own = config.encoder_config(modality)
            own._attn_implementation = config._attn_implementation
            self.add(modality, MoTModel(own))

    def add(self, modality: str, tower: MoTModel) -> None:
        """Have a tower read a modality, with a fresh projector behind it."""
        projector = MoTProjector(tower.config.hidden_size, self.config.hidden_size)
        for modules, new in ((self.encoders, tower), (self.projectors, projector)):
            modules[modality] = new
            # In the order of the config, whatever that of the calls: saved optimizers rely on it.
            modules._modules = {m: modules[m] for m in self.config.modalities if m in modules}

    def names(self, modality: str) -> InputNames:
        """What the raw inputs of a tower are called."""
        return raw_modality_of(self.encoders[modality].config.modality_config(modality), modality).names

    @property
    def input_names(self) -> dict[str, str]:
        """The arguments that the towers take -> the modality of each."""
        return {name: m for m in self.encoders for name in sorted(names_of(self.names(m)))}

    def forward(
        self,
        modality: str,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **inputs: torch.Tensor | None,
    ) -> BaseModelOutputWithPooling:
        """
        Read the raw inputs of one modality.

        Args:
            inputs: those of [`MoTModel`] that are of this modality: (N, ...).

        Returns:
            `BaseModelOutputWithPooling`: `last_hidden_state` (N, L, w) is what the tower gives, zero where a shorter
            input has no token; `pooler_output` a tuple of N tensors (L_i, d), the tokens of each input at the
            decoder's width; `hidden_states` and `attentions`, on request of the call or the config, those of the
            tower's layers.
        """
        if modality not in self.encoders:
            raise ValueError(
                f"This model has no tower that reads {modality!r}: `MoTCausalConfig.encoders` has "
                f"{', '.join(self.encoders) or 'none'}."
            )
        states_too = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        weights_too = self.config.output_attentions if output_attentions is None else output_attentions
        encoded = self.encoders[modality].encode(
            **inputs, output_encoder_hidden_states=states_too, output_encoder_attentions=weights_too
        )
        layout, states = encoded.layouts[modality], encoded.hidden_states[modality]
        tokens, lengths = real_tokens(states, layout)
        return BaseModelOutputWithPooling(
            last_hidden_state=blank(layout.unpack(states), layout.mask),
            pooler_output=self.projectors[modality](tokens).split(lengths),
            hidden_states=encoded.encoder_hidden_states.get(modality),
            attentions=encoded.encoder_attentions.get(modality),
        )

    def read(
        self,
        inputs: Mapping[str, torch.Tensor | None],
        earlier: Mapping[str, BaseModelOutputWithPooling] | None = None,
    ) -> dict[str, BaseModelOutputWithPooling]:
        """
        What the towers make of all raw inputs of a batch, by their modality.

        Args:
            earlier: the same of inputs that were read before.

        Raises:
            ValueError: no tower takes one of them, or a modality was read before.
        """
        known, given = self.input_names, {}
        for name, value in inputs.items():
            if value is None:
                continue
            if name not in known:
                raise ValueError(
                    f"`{name}` was given, but no tower of this model takes it: `MoTCausalConfig.encoders` has "
                    f"{', '.join(self.encoders) or 'none'}."
                )
            given.setdefault(known[name], {})[name] = value
        # A mask without its modality says nothing, as in `MoTModel`.
        given = {m: own for m, own in given.items() if any(name in own for name in self.names(m).inputs)}
        if both := [m for m in given if m in (earlier or {})]:
            raise ValueError(
                f"`{self.names(both[0]).raw}` and `mm_encoder_outputs[{both[0]!r}]` were both given: leave one of "
                "them out."
            )
        return {**(earlier or {}), **{m: self(m, **own) for m, own in given.items()}}

    def fill(
        self,
        inputs_embeds: torch.Tensor,
        input_ids: torch.Tensor | None,
        mm_encoder_outputs: Mapping[str, BaseModelOutputWithPooling] | None = None,
        has_past: bool = False,
        **raw: torch.Tensor | None,
    ) -> torch.Tensor:
        """
        The embeddings of a batch (B, T, d) with the tokens of the towers at the placeholders of `input_ids` (B, T).

        Args:
            mm_encoder_outputs: modality -> what its tower made of raw inputs before.
            has_past: whether keys and values of earlier ids are there. A draft of later ones may repeat placeholders,
                which nothing fills.
            raw: raw inputs; see the class.

        In training, a tower without input runs one stand-in token whose gradient is zero: whatever a batch lacks,
        every parameter takes part in every step (see `with_zero_gradients`).

        Raises:
            ValueError: raw inputs that no tower takes, that come without `input_ids` or twice, that lack, or of which
                the towers make another number of tokens than there are placeholders.
        """
        outputs = self.read(raw, mm_encoder_outputs)
        for modality, output in outputs.items():
            if input_ids is None:
                raise ValueError(
                    f"Raw input of {modality!r} was given without `input_ids`, whose placeholders say where its "
                    "tokens go: pass ids, or embeddings alone."
                )
            inputs_embeds = self.put(inputs_embeds, input_ids, modality, output.pooler_output)
        if input_ids is not None and not has_past:
            self.check_placeholders(input_ids, outputs)
        if self.training and (unseen := [m for m in self.encoders if m not in outputs]):
            inputs_embeds = with_zero_gradients(inputs_embeds, *map(self.stand_in, unseen))
        return inputs_embeds

    def check_placeholders(self, input_ids: torch.Tensor, given: Iterable[str] = ()) -> None:
        """
        Raise a ValueError for placeholders of modalities that are not among those given, where looking costs no
        waiting for an accelerator.
        """
        if input_ids.device.type != "cpu" or is_tracing(input_ids):
            return
        for modality in [m for m in self.encoders if m not in given]:
            token_id = self.config.placeholder_ids[modality]
            if number := int((input_ids == token_id).sum()):
                raise ValueError(
                    f"`input_ids` have {number} placeholders of {modality!r} (id {token_id}), but no "
                    f"`{self.names(modality).raw}` was given, whose tokens go there."
                )

    def put(
        self, inputs_embeds: torch.Tensor, input_ids: torch.Tensor, modality: str, features: Sequence[torch.Tensor]
    ) -> torch.Tensor:
        """The embeddings (B, T, d) with the tokens `features` (N of (L_i, d)) of a modality at its placeholders."""
        tokens = torch.cat([part.flatten(0, -2) for part in features])  # (n, d)
        token_id = self.config.placeholder_ids[modality]
        places = input_ids == token_id  # (B, T)
        if not is_tracing(places) and (number := int(places.sum())) != len(tokens):
            raise ValueError(
                f"`input_ids` have {number} placeholders of {modality!r} (id {token_id}), but its tower makes "
                f"{len(tokens)} tokens of the {len(features)} inputs that were given: each needs as many as "
                "`num_tower_tokens` says."
            )
        return inputs_embeds.masked_scatter(places[..., None], tokens.to(inputs_embeds.dtype))

    def stand_in(self, modality: str) -> torch.Tensor:
        """One token (1, 1, d) of a modality that a batch lacks, which depends on all parameters of its tower."""
        tower = self.encoders[modality]
        encoded = EncodedModalities((), batch_size=1, packed=False)
        tower.encode_stand_in(encoded, modality, tower.modality_embeddings(modality), None, None)
        return self.projectors[modality](encoded.stand_ins[modality])


def real_tokens(hidden_states: torch.Tensor, layout: Layout) -> tuple[torch.Tensor, list[int]]:
    """The tokens in a layout that are real, one input after another (n, w), and how many each input has."""
    if layout.mask is not None:
        return hidden_states[layout.mask], layout.mask.sum(dim=1).tolist()
    lengths = PackedTokens.full(layout, hidden_states.shape[:2]).lengths
    return hidden_states.flatten(0, 1), lengths


# ---------------------------------------------------------------------------------------------------------------------
# What a model does with its towers
# ---------------------------------------------------------------------------------------------------------------------


class MoTTowersMixin:
    """
    What models with `MoTCausalTowers` do beyond their `forward`: they give the tokens of raw inputs, read these once
    before they generate, and have towers begin as other models.
    """

    @can_return_tuple
    def get_image_features(
        self, pixel_values: torch.Tensor, pixel_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """
        The tokens that stand for pictures: see [`MoTCausalTowers.forward`].

        Args:
            pixel_values: (N, C, H, W), or frames of videos (N, F, C, H, W).
            pixel_mask: (N, F), which frames are real.
        """
        return self.base_model.towers("image", pixel_values=pixel_values, pixel_mask=pixel_mask, **kwargs)

    @can_return_tuple
    def get_audio_features(
        self, input_features: torch.Tensor, input_features_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutputWithPooling:
        """
        The tokens that stand for sounds: see [`MoTCausalTowers.forward`].

        Args:
            input_features: (N, T, num_mel_bins) log-mel frames.
            input_features_mask: (N, T), which frames are real.
        """
        inputs = {"input_features": input_features, "input_features_mask": input_features_mask}
        return self.base_model.towers("audio", **inputs, **kwargs)

    def load_towers(
        self,
        *,
        allow_pickle: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        **sources: Any,
    ) -> None:
        """
        Have towers begin as other models, in place, each with a fresh projector behind it.

        Args:
            allow_pickle: read checkpoints that have no safetensors, too.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            sources: for each modality `m`, one of `m=`, a Hub id or a folder of a model that its tower begins as (ViT,
                DeiT, DINOv2, CLIP or SigLIP for images, Whisper for audio), and `m_backbone=`, one of any model of
                transformers, to stand frozen in front of a fresh tower. `m_config={...}` stands above what a source
                says, as in `image_config={"num_hidden_layers": 0}`, with which the model in front is all there is; by
                default that is what `config.encoders` says. See [`MoTModel.from_unimodal_pretrained`].

        The model's config is told, so that a saved model loads with its towers. `m` must have a range of ids, of which
        the last is the placeholder and no code, unless the config says otherwise.

        Raises:
            ValueError: a modality has no range of ids; a source cannot be a tower, does not fit or is damaged.
            OSError: a source does not exist or cannot be reached.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        modalities = dict.fromkeys(name.removesuffix("_config").removesuffix("_backbone") for name in sources)
        check_names("load_towers", modalities, self.config.modalities[1:])
        for modality in modalities:
            known = {f"{modality}_config": self.config.encoders.get(modality, {})} | sources
            own = {name: known[name] for name in source_names(modality) if name in known}
            tower = read_tower(modality, own, self.config.hidden_size, allow_pickle, dtype=self.dtype, **hub)
            self.config.encoders[modality] = tower.config.modality_config(modality).to_dict()
            self.config.placeholder_ids.setdefault(modality, self.config.codes(modality).stop - 1)
            towers = self.base_model.towers
            towers.add(modality, tower.to(self.device).train(self.training))
            towers.projectors[modality].apply(self._init_weights).to(self.device, self.dtype)

    # Generation: the towers read raw inputs once, before rows are repeated for beams and samples.

    def _validate_model_kwargs(self, model_kwargs):
        """The library's check of names, which knows those in the signature of `forward` alone."""
        known = self.base_model.towers.input_names
        super()._validate_model_kwargs({name: value for name, value in model_kwargs.items() if name not in known})

    def _maybe_prepare_encoder_kwargs_for_generation(
        self, inputs_tensor, model_kwargs, model_input_name, generation_config
    ):
        """The library's step that reads pictures, for all modalities."""
        towers = self.base_model.towers
        raw = {name: model_kwargs.pop(name) for name in towers.input_names if name in model_kwargs}
        outputs = towers.read(raw, model_kwargs.get("mm_encoder_outputs"))
        is_first_turn = model_kwargs.get("past_key_values") is None  # Later ones repeat what was read and cached.
        if model_input_name == "input_ids" and is_first_turn:
            towers.check_placeholders(inputs_tensor, outputs)
        return model_kwargs | ({"mm_encoder_outputs": outputs} if outputs else {})

    def _expand_multimodal_outputs(self, input_ids, mm_encoder_output, expand_size=1, inputs_embeds=None):
        """The library's step that repeats what was read, row by row, for all modalities."""
        expanded = {}
        for modality, output in mm_encoder_output.items():
            places = (input_ids == self.config.placeholder_ids[modality]).sum(dim=1).tolist()
            rows = inputs_of_rows(output.pooler_output, places)
            repeated = tuple(part for row in rows for _ in range(expand_size) for part in row)
            expanded[modality] = BaseModelOutputWithPooling(pooler_output=repeated)
        return expanded


def encoder_from(
    modality: str, source: str | os.PathLike, config: Mapping[str, Any] | None = None, **hub: Any
) -> dict[str, Any]:
    """
    The entry of `MoTCausalConfig.encoders` for a tower that begins as another model, of which the config alone is
    read: what a processor needs to know before there is a model.

    Args:
        source: a Hub id or a folder, as `load_towers` takes it.
        config: what stands above the source's; of a modality of another name also its kind, `model_type`.
        hub: `token`, `cache_dir`, `local_files_only`, as in `from_pretrained`.

    Raises:
        ValueError: the source cannot be a tower of this modality, with the reason.
    """
    own = dict(config or {})
    kind = kind_of(modality, {f"{modality}_config": own})
    return {"model_type": kind.config_class.model_type, **describe(read_config(source, **hub), kind), **own}


def source_names(modality: str) -> tuple[str, str, str]:
    """How `load_towers` calls what it is told of a modality."""
    return modality, f"{modality}_backbone", f"{modality}_config"


def read_tower(modality: str, sources: dict[str, Any], width: int, allow_pickle: bool, **options: Any) -> MoTModel:
    """
    A tower that begins as another model.

    Args:
        sources: what `load_towers` is told of the modality.
        width: of a tower that stands behind another model, if nothing else says it.
    """
    name, backbone, config = source_names(modality)
    if backbone in sources:
        options["hidden_size"] = sources[config].get("hidden_size") or width  # A tower that begins as one has its own.
    absent = {f"{other}_config": None for other in MODALITIES if other != modality}
    return MoTModel.from_unimodal_pretrained(
        **sources, **absent, num_global_layers=0, allow_pickle=allow_pickle, **options
    )


def inputs_of_rows(features: Sequence[torch.Tensor], places: Sequence[int]) -> list[list[torch.Tensor]]:
    """
    The tokens of each input (N of (L_i, d)) by the rows that they belong to.

    Args:
        places: (B,) how many placeholders each row has.

    Raises:
        ValueError: the placeholders of a row are not those of whole inputs.
    """
    rest, rows = list(features), []
    for row, number in enumerate(places):
        own, missing = [], number
        while missing > 0 and rest:
            own.append(rest.pop(0))
            missing -= len(own[-1])
        if missing:
            raise ValueError(
                f"Row {row} has {number} placeholders, which the tokens of the next inputs, "
                f"{', '.join(str(len(part)) for part in own) or 'none'}, do not fill exactly."
            )
        rows.append(own)
    if rest:
        raise ValueError(f"{len(rest)} of {len(features)} raw inputs have no placeholders in any row.")
    return rows


__all__ = ["MoTCausalTowers", "MoTTowersMixin", "encoder_from", "num_tower_tokens"]
