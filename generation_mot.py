# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Text, pictures and sounds of one `generate`: the library's own, with modes, a grammar and guidance.

The library does the work, with its caches, beams and sampling. `MoTGenerationMixin` gives it the grammar of the mode
(`grammar_mot.py`) and, where the prompt is to guide pictures and sounds more strongly, `MoTGuidance`; in turn it tells
`forward` what the next tokens are wherever the grammar says so.

Shapes: B rows, L tokens of a row, V ids, P ids of a prefix.
"""

import copy
from collections.abc import Iterator
from typing import Any

import torch
from transformers.cache_utils import Cache
from transformers.generation import GenerationConfig, GenerationMixin, LogitsProcessor, LogitsProcessorList
from transformers.generation.configuration_utils import GenerationMode

from .configuration_causal_mot import TEXT
from .grammar_mot import INTERLEAVED, MoTGrammar, check_mode, media_of
from .streaming_mot import stream

DEFAULT_NEW_TOKENS = 512  # where neither the caller nor the number of a picture's tokens says how many


class MoTGuidance(LogitsProcessor):
    """
    Classifier-free guidance (arXiv 2207.12598, arXiv 2306.17806) of the tokens within media alone: their scores are
    moved away from those without the prompt: `free + guidance_scale * (own - free)`, in log-probabilities.

    The second branch sees of each row what it would be without its prompt: the prefix (the id that begins a sequence,
    or a negative prompt), and the medium from its begin id on. Unlike the library's
    `UnbatchedClassifierFreeGuidanceLogitsProcessor`, which guides every token from the last one of the prompt on, it
    leaves text as it is, and begins anew with each medium, in each row at a step of its own. Its keys and values are
    kept, so that it must be called step by step.

    Args:
        guidance_scale (`float`): 1 changes nothing, more follows the prompt more closely.
        model: [`MoTForCausalLM`].
        grammar ([`MoTGrammar`]): Of the same call.
        prefix (`torch.LongTensor` of shape `(B, P)`): What each row of the second branch begins with.
        prefix_mask (`torch.Tensor` of shape `(B, P)`, *optional*): 1 where it is real.
    """

    supports_continuous_batching = False

    def __init__(
        self,
        guidance_scale: float,
        model: GenerationMixin,
        grammar: MoTGrammar,
        prefix: torch.LongTensor,
        prefix_mask: torch.Tensor | None = None,
    ):
        self.guidance_scale, self.model, self.grammar, self.prefix = guidance_scale, model, grammar, prefix
        self.prefix_mask = torch.ones_like(prefix) if prefix_mask is None else prefix_mask
        self.cache: Cache | None = None
        self.columns = prefix.new_empty(0)  # (C,) those of the rows that the cache holds, after the prefix

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """(B, L) ids and (B, V) scores -> (B, V), where rows within a medium are guided."""
        medium, tokens = self.grammar.place(input_ids)
        is_within = medium > 0
        if not is_within.any():
            return scores
        begins = input_ids.shape[1] - 1 - tokens  # (B,) where the begin id of a row within a medium stands
        free = self.unconditional_logits(input_ids, is_within, begins).log_softmax(dim=-1)
        guided = free + self.guidance_scale * (scores.log_softmax(dim=-1) - free)
        return torch.where(is_within[:, None], guided, scores)

    def unconditional_logits(
        self, input_ids: torch.LongTensor, is_within: torch.Tensor, begins: torch.LongTensor
    ) -> torch.FloatTensor:
        """Scores (B, V) of rows that see the prefix and their unfinished medium."""
        start, stop = int(begins[is_within].min()), input_ids.shape[1]
        if len(self.columns):  # what was skipped stands before every medium that is unfinished now
            start = max(start, int(self.columns[-1]) + 1)
        tokens = input_ids[:, start:]
        self.columns = torch.cat([self.columns, torch.arange(start, stop, device=tokens.device)])
        is_seen = is_within[:, None] & (self.columns >= begins[:, None])  # (B, C)
        mask = torch.cat([self.prefix_mask, is_seen.to(self.prefix_mask)], dim=1)  # (B, P + C)
        modality = None if self.cache is None else self.grammar.modality(start, stop)
        if self.cache is None:
            tokens = torch.cat([self.prefix, tokens], dim=1)
        outputs = self.model(
            input_ids=tokens,
            attention_mask=mask,
            position_ids=(mask.cumsum(dim=1) - 1).clamp(min=0)[:, -tokens.shape[1] :],
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
            modality=modality,
        )
        self.cache = outputs.past_key_values
        return outputs.logits[:, -1].float()


class MoTGenerationMixin(GenerationMixin):
    """The library's `generate` with modes: text, a modality, or everything interleaved."""

    @property
    def output_modalities(self) -> tuple[str, ...]:
        """What can be generated, as the library's any-to-any pipeline asks."""
        return (TEXT, *media_of(self.config))

    def generate(self, *args, generation_mode: str | None = None, **kwargs):
        """
        As the library's `generate`, whose arguments it takes, and these:

        Args:
            generation_mode (`str`, *optional*):
                `"text"` writes text alone, and is the default where the generation config names no mode;
                `"interleaved"` lets text, pictures and sounds follow each other; the name of a modality (`"image"`,
                `"audio"`, ...) gives one medium of it at once, or completes the one that the prompt ends within, and
                then ends. The prompt may hold media of any modality.
            guidance_scale (`float`, *optional*):
                Classifier-free guidance of the tokens within pictures and sounds; text is left as it is. Not with
                beams or drafts, whose steps do not follow each other.
            negative_prompt_ids (`torch.LongTensor` of shape `(B, P)`, *optional*):
                What guidance leads away from, padded on the left, in place of the id that begins a sequence; with
                `negative_prompt_attention_mask` of the same shape.
            max_new_tokens (`int`, *optional*):
                Where no length is given, a mode whose medium has a fixed number of tokens takes what it needs, and
                other modes but text end after 512 tokens or where the model's positions do.

        Raises:
            ValueError: the model has no such mode, the prompt has an id outside the vocabulary or ends within a medium
                that the mode does not complete, the budget does not hold the medium, or guidance is asked for where
                there is nothing that it could guide.
        """
        return super().generate(*args, generation_mode=generation_mode, **kwargs)

    def stream(self, processor, **inputs) -> Iterator[tuple[int, str, Any]]:
        """
        Generate in a thread of its own, and yield the segments as they come.

        Args:
            processor: [`MoTCausalProcessor`], which decodes them.
            inputs: what `generate` takes.

        Yields:
            `(row, modality, content)`: `(0, "text", str)` word by word, and media such as `(0, "image", PIL.Image)` or
            `(0, "audio", numpy.ndarray)` when they are complete. Who stops iterating stops the generation.

        Raises:
            Whatever `generate` raises.
        """
        return stream(self.generate, processor, **inputs)

    def _prepare_generation_config(
        self, generation_config: GenerationConfig | None = None, generation_mode: str | None = None, **kwargs
    ) -> tuple[GenerationConfig, dict]:
        """As in the library; the mode becomes an entry of the config, as one that was saved with the model is."""
        asked_for_guidance = kwargs.get("guidance_scale") not in (None, 1)
        generation_config, model_kwargs = super()._prepare_generation_config(generation_config, **kwargs)
        generation_config.generation_mode = generation_mode or mode_of(generation_config)
        check_mode(self.config, generation_config.generation_mode)
        if asked_for_guidance and generation_config.generation_mode == TEXT:
            raise ValueError(
                f"`guidance_scale={kwargs['guidance_scale']}` guides pictures and sounds, and text mode makes none: "
                "choose another `generation_mode`, or leave it out."
            )
        if "modality" in model_kwargs:
            raise ValueError("`modality` is an argument of `forward`: `generate` knows it from the mode and the ids.")
        return generation_config, model_kwargs

    def _validate_generation_mode(self, generation_mode, generation_config, generation_mode_kwargs):
        super()._validate_generation_mode(generation_mode, generation_config, generation_mode_kwargs)
        steps_follow = generation_mode in (GenerationMode.GREEDY_SEARCH, GenerationMode.SAMPLE)
        if is_guided(generation_config) and not steps_follow:
            raise ValueError(
                f"`guidance_scale={generation_config.guidance_scale}` does not go with {generation_mode.value}: the "
                "second branch follows rows step by step, and beams and drafts change them. Use greedy decoding or "
                "sampling, or leave guidance out."
            )

    def _prepare_generated_length(self, generation_config, has_default_max_length, input_ids_length, **kwargs):
        """As in the library, which allows 20 tokens by default: fewer than a picture takes."""
        mode = mode_of(generation_config)
        if has_default_max_length and generation_config.max_new_tokens is None and mode != TEXT:
            number = self.config.num_tokens.get(mode)
            room = max(self.config.max_position_embeddings - input_ids_length, 1)
            generation_config.max_new_tokens = number + 3 if number else min(DEFAULT_NEW_TOKENS, room)
        return super()._prepare_generated_length(
            generation_config=generation_config,
            has_default_max_length=has_default_max_length,
            input_ids_length=input_ids_length,
            **kwargs,
        )

    def _get_logits_processor(
        self,
        generation_config: GenerationConfig,
        input_ids_seq_length: int | None = None,
        encoder_input_ids: torch.Tensor | None = None,
        logits_processor: LogitsProcessorList | None = None,
        device: torch.device | None = None,
        negative_prompt_ids: torch.LongTensor | None = None,
        negative_prompt_attention_mask: torch.Tensor | None = None,
        **kwargs,
    ) -> LogitsProcessorList:
        """
        The library's processors with guidance before and the grammar after them, and before what belongs to sampling.
        An assistant obeys the grammar of the model that it drafts for, which comes among `logits_processor`.
        """
        own, guidance = list(logits_processor or []), None
        if self.config.token_ranges and not generation_config.is_assistant:
            grammar = self._grammar(generation_config, input_ids_seq_length, device or self.device)
            if encoder_input_ids is not None and encoder_input_ids.ndim == 2:  # not embeddings, which have no ids
                grammar.check_prompt(encoder_input_ids)
            own.append(grammar)
            if is_guided(generation_config):
                prefix = self._guidance_prefix(
                    generation_config, encoder_input_ids, negative_prompt_ids, negative_prompt_attention_mask
                )
                guidance = MoTGuidance(generation_config.guidance_scale, self, grammar, *prefix)
        if guidance is None and negative_prompt_ids is not None:
            raise ValueError("`negative_prompt_ids` is what guidance leads away from: give `guidance_scale` too.")
        unguided = copy.copy(generation_config)
        unguided.guidance_scale = None
        processors = super()._get_logits_processor(
            unguided,
            input_ids_seq_length=input_ids_seq_length,
            encoder_input_ids=encoder_input_ids,
            logits_processor=own,
            device=device,
            **kwargs,
        )
        return processors if guidance is None else LogitsProcessorList([guidance, *processors])

    def _grammar(self, generation_config: GenerationConfig, prompt_length: int | None, device) -> MoTGrammar:
        mode = mode_of(generation_config)
        if prompt_length is None and mode != TEXT:
            raise ValueError(
                f"Continuous batching cannot do `generation_mode={mode!r}`: it shows a processor the last id of each "
                "request alone, which does not say how much of a medium is there. Use `generate` for it."
            )
        return MoTGrammar(
            self.config,
            generation_mode=mode,
            eos_token_id=generation_config.eos_token_id,
            prompt_length=prompt_length or 0,
            max_length=generation_config.max_length,
            device=device,
        )

    def _guidance_prefix(
        self,
        generation_config: GenerationConfig,
        inputs: torch.Tensor,
        negative_prompt_ids: torch.LongTensor | None,
        negative_prompt_attention_mask: torch.Tensor | None,
    ) -> tuple[torch.LongTensor, torch.Tensor]:
        """What the rows of the second branch begin with, and its mask: (B, P) both, B with all that are returned."""
        if negative_prompt_ids is None:
            begin = [] if generation_config.bos_token_id is None else [generation_config.bos_token_id]
            negative_prompt_ids = torch.tensor([begin], dtype=torch.long, device=inputs.device).expand(len(inputs), -1)
        if negative_prompt_ids.shape[0] != len(inputs):
            raise ValueError(
                f"`negative_prompt_ids` has {negative_prompt_ids.shape[0]} rows, expected one for each of the "
                f"{len(inputs)} rows of the prompt."
            )
        if negative_prompt_attention_mask is None:
            negative_prompt_attention_mask = torch.ones_like(negative_prompt_ids)
        copies = generation_config.num_return_sequences or 1
        return tuple(
            prompt.repeat_interleave(copies, dim=0) for prompt in (negative_prompt_ids, negative_prompt_attention_mask)
        )

    def _sample(self, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs):
        grammar = grammar_among(logits_processor, generation_config)
        return super()._sample(
            input_ids, logits_processor, stopping_criteria, generation_config, grammar=grammar, **kwargs
        )

    def _beam_search(self, input_ids, logits_processor, stopping_criteria, generation_config, **kwargs):
        grammar = grammar_among(logits_processor, generation_config)
        return super()._beam_search(
            input_ids, logits_processor, stopping_criteria, generation_config, grammar=grammar, **kwargs
        )

    def prepare_inputs_for_generation(
        self,
        input_ids: torch.LongTensor,
        next_sequence_length: int | None = None,
        inputs_embeds: torch.Tensor | None = None,  # named, since the library asks whether it is taken
        is_first_iteration: bool | None = False,
        grammar: MoTGrammar | None = None,
        **kwargs,
    ) -> dict[str, Any]:
        """As in the library; where the grammar says what the ids of this call are, `forward` need not sort them."""
        model_inputs = super().prepare_inputs_for_generation(
            input_ids,
            next_sequence_length=next_sequence_length,
            inputs_embeds=inputs_embeds,
            is_first_iteration=is_first_iteration,
            **kwargs,
        )
        if model_inputs.get("inputs_embeds") is None:
            model_inputs.pop("modality_ids", None)  # of the prompt's embeddings
        if grammar is not None and not is_first_iteration:
            stop = input_ids.shape[1]
            model_inputs["modality"] = grammar.modality(stop - (next_sequence_length or stop), stop)
        return model_inputs


def mode_of(generation_config: GenerationConfig) -> str:
    return getattr(generation_config, "generation_mode", None) or TEXT


def is_guided(generation_config: GenerationConfig) -> bool:
    """Whether media are guided. A saved scale says nothing in text mode, where there are none."""
    return generation_config.guidance_scale not in (None, 1) and mode_of(generation_config) != TEXT


def grammar_among(processors: LogitsProcessorList, generation_config: GenerationConfig) -> MoTGrammar | None:
    """The grammar of this call; none of a draft's, whose ids the model that it drafts for may replace."""
    grammars = (processor for processor in processors if isinstance(processor, MoTGrammar))
    return None if generation_config.is_assistant else next(grammars, None)


__all__ = ["INTERLEAVED", "MoTGenerationMixin", "MoTGrammar", "MoTGuidance"]
