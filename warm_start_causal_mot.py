# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From a language model to a causal Mixture-of-Transformers and back: Llama, Qwen2 and Qwen3.

A source's weights are read one tensor at a time and copied to the experts; its table of embeddings and its head become
the first rows of larger ones, so that no text id moves. What is text computes what the source computes, bit for bit.
The way back takes the text expert alone, as a folder that transformers loads without this package.
"""

import copy
import os
import re
from collections.abc import Collection, Iterable
from typing import Any, Literal

import torch
import transformers
from torch import nn
from transformers import GenerationConfig, PreTrainedConfig, PreTrainedModel
from transformers.initialization import no_init_weights
from transformers.utils import logging

from .configuration_causal_mot import SHARED, TEXT, MoTCausalConfig
from .warm_start_mot import Checkpoint, read_config, split_revision

logger = logging.get_logger(__name__)

# The model types that fit, and transformers' classes of them, which it imports where they are looked up.
FAMILIES = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM"}
# What their configs and ours call by the same name; and what of it may be given anew, since it computes nothing.
SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
SIZES += ("head_dim", "hidden_act", "rms_norm_eps", "rope_parameters", "max_position_embeddings")
SIZES += ("tie_word_embeddings",)
SETTINGS = ("initializer_range", "attention_dropout", "use_cache", "bos_token_id", "eos_token_id", "pad_token_id")
# Why others do not fit, by the beginning of their model types.
REASONS = {
    "gemma": "its norms multiply by 1 + weight, and its embeddings by the root of the width",
    "gpt2": "its positions are learned, and its norms are LayerNorms",
    "gpt_neox": "its queries, keys and values are one matrix, and its norms are LayerNorms",
    "mot_causal": "it is a causal Mixture-of-Transformers already, which `from_pretrained` loads",
    "phi3": "its queries, keys and values are one matrix, and so are both halves of its feed-forward layers",
}
COUNTS_OF_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts")
NOISE = 0.1  # on new rows, as a share of the standard deviation of the source's rows
IN_A_LAYER = re.compile(r"model\.layers\.(?P<layer>\d+)\.(?:experts\.(?P<expert>[^.]+)|shared)\.(?P<rest>.+)")
FINAL_NORM = re.compile(r"model\.norms\.(?P<expert>[^.]+)\.(?P<rest>.+)")
TABLES = ("model.embed_tokens.weight", "lm_head.weight")


# ---------------------------------------------------------------------------------------------------------------------
# Configs
# ---------------------------------------------------------------------------------------------------------------------


def switches(model_type: str, attention_bias: bool, mlp_bias: bool) -> dict[str, bool]:
    """What a model of a family has, by our names, given what its config says of biases."""
    return {
        "llama": {
            "attention_bias": attention_bias,
            "attention_output_bias": attention_bias,
            "mlp_bias": mlp_bias,
            "qk_norm": False,
        },
        "qwen2": {"attention_bias": True, "attention_output_bias": False, "mlp_bias": False, "qk_norm": False},
        "qwen3": {
            "attention_bias": attention_bias,
            "attention_output_bias": attention_bias,
            "mlp_bias": False,
            "qk_norm": True,
        },
    }[model_type]


def why_not(config: PreTrainedConfig) -> str | None:
    """Why a language model cannot become a causal Mixture-of-Transformers; None where it can."""
    reason = next((reason for start, reason in REASONS.items() if config.model_type.startswith(start)), None)
    if reason is not None:
        return reason
    if any(getattr(config, name, None) for name in COUNTS_OF_EXPERTS):
        return "its feed-forward layers are mixtures of experts"
    layers = getattr(config, "layer_types", None)
    has_window = getattr(config, "sliding_window", None) is not None
    if {*layers} != {"full_attention"} if layers else has_window:
        return "some of its layers do not attend to all tokens before (sliding windows, or linear attention)"
    if getattr(config, "quantization_config", None) is not None:
        return "its weights are quantised, and would have to be those of the unquantised model"
    if config.model_type not in FAMILIES:
        return f"its model type is {config.model_type!r}"
    return None


def causal_config(source: PreTrainedConfig, given: dict[str, Any]) -> MoTCausalConfig:
    """
    The config of a causal Mixture-of-Transformers that computes on text what a language model computes.

    Args:
        source: of Llama, Qwen2 or Qwen3.
        given: the other fields of `MoTCausalConfig`. The vocabulary is by default as large as they need.

    Raises:
        ValueError: a field would change what the source computes, or an id of it would be another modality's.
    """
    biases = (getattr(source, name, False) for name in ("attention_bias", "mlp_bias"))
    fixed = {name: getattr(source, name, None) for name in SIZES} | switches(source.model_type, *biases)
    fixed["source_vocab_size"] = source.vocab_size
    for name in fixed.keys() & given.keys():
        if given[name] != fixed[name]:
            raise ValueError(
                f"`{name}` is {given[name]!r}, but {fixed[name]!r} in the source, whose weights fit nothing else: "
                "leave it out."
            )
    fields = fixed | {name: getattr(source, name, None) for name in SETTINGS} | given
    fields.setdefault("vocab_size", max([source.vocab_size, *ends(fields)]))
    for name, start, _ in well_formed(fields.get("token_ranges") or ()):
        if start < source.vocab_size:
            raise ValueError(
                f"`token_ranges` gives {name!r} the id {start}, which is the source's: ranges begin at "
                f"{source.vocab_size} (its `vocab_size`, padding included) or above, so that no text id moves."
            )
    return MoTCausalConfig.from_dict(fields)


def ends(fields: dict[str, Any]) -> list[int]:
    """The ids before which a vocabulary cannot end."""
    marks = [*(fields.get("begin_ids") or {}).values(), *(fields.get("end_ids") or {}).values()]
    return [*(stop for *_, stop in well_formed(fields.get("token_ranges") or ())), *(token + 1 for token in marks)]


def well_formed(ranges: Iterable) -> list[tuple[str, int, int]]:
    """Of entries of `token_ranges` those that can be read; the others are the config's to refuse."""
    entries = [tuple(entry) for entry in ranges if isinstance(entry, (list, tuple))]
    return [entry for entry in entries if [type(value) for value in entry] == [str, int, int]]


# ---------------------------------------------------------------------------------------------------------------------
# Weights
# ---------------------------------------------------------------------------------------------------------------------


def source_of(name: str, experts: Collection[str]) -> str | None:
    """
    What a parameter of a `MoTForCausalLM` is called in a language model.

    Args:
        name: of the parameter.
        experts: those that are the language model's.

    Returns:
        Its name there; None for what there is not, or belongs to another expert.
    """
    if found := IN_A_LAYER.fullmatch(name):
        is_own = found["expert"] is None or found["expert"] in experts
        return f"model.layers.{found['layer']}.{found['rest']}" if is_own else None
    if found := FINAL_NORM.fullmatch(name):
        return f"model.norm.{found['rest']}" if found["expert"] in (*experts, SHARED) else None
    return name if name in TABLES else None


def copy_rows(table: torch.Tensor, rows: torch.Tensor) -> None:
    """Fill a table (V, d) with the rows (n, d) of a source, and the rest with their mean and a little noise."""
    table[: len(rows)].copy_(rows)
    new = table[len(rows) :]
    deviation, mean = torch.std_mean(rows.float(), dim=0)
    new.copy_(mean + NOISE * deviation * torch.randn(new.shape))


def fill(model: nn.Module, checkpoint: Checkpoint, experts: Collection[str]) -> None:
    """
    Give experts, the table of embeddings and the head the weights of a language model.

    Raises:
        ValueError: the checkpoint lacks some, or has some of other shapes than its config says.
    """
    unused = {name for name in checkpoint.files if not name.endswith("rotary_emb.inv_freq")}
    targets: dict[str, list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        source = source_of(name, experts)
        if source == TABLES[1] and model.config.tie_word_embeddings:
            unused.discard(source)  # the table of embeddings once more
        elif source is not None:
            targets.setdefault(source, []).append(parameter)
    if lacking := sorted(targets.keys() - checkpoint.files.keys()):
        raise ValueError(
            f"{checkpoint.name} lacks {len(lacking)} of the weights of its language model, such as {lacking[0]}: it "
            "is not all there, or was saved without its head."
        )
    if left_out := sorted(unused - targets.keys()):
        logger.warning(f"{len(left_out)} weights of {checkpoint.name} are left out, such as {left_out[0]}.")
    for source, parameters in targets.items():
        tensor = checkpoint.read(source)
        expected = list(parameters[0].shape)
        if source in TABLES:
            expected[0] = checkpoint.config.vocab_size
        if list(tensor.shape) != expected:
            raise ValueError(
                f"{source} of {checkpoint.name} has shape {tuple(tensor.shape)}, but its config says "
                f"{tuple(expected)}: it is damaged."
            )
        for parameter in parameters:
            with torch.no_grad():
                copy_rows(parameter, tensor) if source in TABLES else parameter.copy_(tensor)
            parameter._is_hf_initialized = True  # as the library marks what comes of a checkpoint


class WarmStartMixin:
    """How a `MoTForCausalLM` begins as a language model, and becomes one again."""

    @classmethod
    def from_causal_lm(
        cls,
        name: str | os.PathLike,
        *,
        init: Literal["copy", "text_only"] = "copy",
        freeze_text: bool = False,
        zero_init_new_layers: bool = False,
        allow_pickle: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        **config,
    ) -> "WarmStartMixin":
        """
        A causal Mixture-of-Transformers that computes on text what a language model computes, bit for bit.

        Args:
            name: a Hub id (`user/model`, `user/model@revision`) or a folder of a Llama, Qwen2 or Qwen3 with
                safetensors, whole or in shards. None of its code is run.
            init: `"copy"` begins every expert as the source, so that tokens of every modality pass what text passes
                (as in Bagel, arXiv 2505.14683, and LMFusion, arXiv 2412.15188); `"text_only"` begins the others
                anew.
            freeze_text: keep what text passes as it is for good, whatever trains the model, and the rows of the
                source's vocabulary with it (LMFusion); ids that begin or end a modality, and all others beyond that
                vocabulary, learn. It is a field of the config, so that it holds after loading, too.
            zero_init_new_layers: of experts that begin anew, start the projections that add to the tokens at zero, so
                that these pass them unchanged.
            allow_pickle: read a checkpoint that has no safetensors, too.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            dtype: of the model; by default the source's, as in the library's `from_pretrained`.
            attn_implementation: as in `from_pretrained`.
            config: fields of [`MoTCausalConfig`]: `token_ranges`, `begin_ids`, ... Ranges begin at the source's
                `vocab_size` or above. `vocab_size` is by default as large as they need.

        The rows of new ids, in the table of embeddings and the head, begin at the mean of the source's rows, with
        normal noise of a tenth of their deviation. The source's settings of generation are taken over.

        Returns:
            The model, in evaluation mode.

        Raises:
            ValueError: the source is none of these, with the reason; it is damaged, not all there, or has pickled
                weights alone; or a field does not fit.
            OSError: the source does not exist or cannot be reached.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        if init not in ("copy", "text_only"):
            raise ValueError(f"`init` is {init!r}, expected 'copy' or 'text_only'.")
        if zero_init_new_layers and init == "copy":
            raise ValueError(
                "`zero_init_new_layers` is about experts that begin anew, and none does with init='copy': use "
                "init='text_only' with it."
            )
        source = read_config(name, **hub)
        if reason := why_not(source):
            raise ValueError(
                f"{name} cannot become a causal Mixture-of-Transformers, since {reason}. Llama, Qwen2 and Qwen3 can."
            )
        ours = causal_config(source, config | {"freeze_text": freeze_text})
        checkpoint = Checkpoint(name, allow_pickle=allow_pickle, **hub)
        if dtype in (None, "auto"):
            dtype = source.dtype or checkpoint.read(TABLES[0]).dtype
        with no_init_weights():
            model = cls._from_config(ours, dtype=dtype, attn_implementation=attn_implementation)
        filled = ours.expert_names if init == "copy" else (ours.expert_of(TEXT),)
        fill(model, checkpoint, filled)
        model.init_weights()  # what the source does not have
        if zero_init_new_layers:
            zero_what_adds(model, filled)
        model.generation_config = generation_config_of(model, name, hub, config)
        return model.eval()

    def export_text_expert(self, folder: str | os.PathLike, vocab_size: int | None = None, **kwargs) -> None:
        """
        Write what text passes as a plain Llama, Qwen2 or Qwen3, which transformers loads without this package.

        Its logits are ours of the same ids. Modalities that use the expert of text stay in its weights, without a
        meaning.

        Args:
            folder: where to write it.
            vocab_size: how many of the first ids it has, all of them text; by default as many as the language model
                that this one began as, or else all before the first range.
            kwargs: of the library's `save_pretrained`, such as `max_shard_size`.

        Raises:
            ValueError: the config is that of none of these models, or `vocab_size` is no number of text ids.
        """
        config = self.config
        own = {
            name: getattr(config, name) for name in ("attention_bias", "attention_output_bias", "mlp_bias", "qk_norm")
        }
        fitting = [f for f in FAMILIES if switches(f, config.attention_bias, config.mlp_bias) == own]
        if not fitting:
            raise ValueError(
                f"There is no plain model with {', '.join(f'{name}={value}' for name, value in own.items())}: Llama "
                "has biases in all four projections of attention or in none, Qwen2 in three, and Qwen3 alone has "
                "`qk_norm`."
            )
        model_class = getattr(transformers, FAMILIES[fitting[0]])
        most = config.token_ranges[0][1] if config.token_ranges else config.vocab_size
        size = config.num_first_ids if vocab_size is None else vocab_size
        if not 0 < size <= most:
            raise ValueError(f"`vocab_size` is {size}, expected a number of ids before the first range: 1 to {most}.")
        fields = {name: getattr(config, name) for name in (*SIZES, *SETTINGS)}
        fields |= {
            name: own[name] for name in ("attention_bias", "mlp_bias") if hasattr(model_class.config_class, name)
        }
        state = {}
        for name, tensor in self.whole_state_dict().items():
            if source := source_of(name, (config.expert_of(TEXT),)):
                state[source] = tensor[:size] if source in TABLES else tensor
        plain = model_class.from_pretrained(
            None, config=model_class.config_class(**fields, vocab_size=size), state_dict=state, dtype=self.dtype
        )
        plain.generation_config = copy.deepcopy(self.generation_config)
        plain.save_pretrained(folder, **kwargs)


def zero_what_adds(model: nn.Module, filled: Collection[str]) -> None:
    """Have the layers of all experts but those named give the tokens as they are."""
    for name, parameter in model.named_parameters():
        found = IN_A_LAYER.fullmatch(name)
        is_new = found is not None and found["expert"] not in (None, *filled)
        if is_new and found["rest"].startswith(("self_attn.o_proj", "mlp.down_proj")):
            nn.init.zeros_(parameter)


def generation_config_of(
    model: PreTrainedModel, name: str | os.PathLike, hub: dict, given: dict[str, Any]
) -> GenerationConfig:
    """The source's settings of generation, but for the ids that are given anew and are not among its own."""
    name, revision = split_revision(name)
    try:
        found = GenerationConfig.from_pretrained(name, **hub, **revision)
    except OSError:  # there are none
        return model.generation_config
    for key in ("bos_token_id", "eos_token_id", "pad_token_id"):
        own = getattr(found, key)
        if given.get(key) is not None and given[key] not in (own if isinstance(own, list) else [own]):
            setattr(found, key, given[key])
    return found


__all__ = ["WarmStartMixin"]
