# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which ids may come next: the grammar of documents in which text, pictures and sounds follow each other.

A *medium* is a picture, a sound, or whatever else stands between a begin id and an end id. `MoTGrammar` is one of the
library's processors of scores: `generate` gives it the ids of all rows at every step, and it rules out what cannot
follow them.

Shapes: B rows, L tokens of a row, V ids, M modalities with a begin and an end id.
"""

import torch
from torch.nn import functional as F
from transformers.generation import LogitsProcessor

from .configuration_causal_mot import TEXT, MoTCausalConfig
from .validation_mot import shown

INTERLEAVED = "interleaved"  # the mode in which text, pictures and sounds may follow each other


def media_of(config: MoTCausalConfig) -> tuple[str, ...]:
    """The modalities beside text that a model can generate: those that have a begin, an end, and codes between."""
    return tuple(m for m in config.modalities[1:] if m in config.begin_ids and len(config.codes(m)))


def check_mode(config: MoTCausalConfig, generation_mode: str) -> None:
    """Raise a ValueError for a generation mode that there is not, or whose modality the model cannot generate."""
    modes = (TEXT, *media_of(config), INTERLEAVED)
    if generation_mode in modes:
        return
    if generation_mode in config.modalities:
        raise ValueError(
            f"`generation_mode={generation_mode!r}` asks for a modality that this model only reads: `begin_ids`, "
            f"`end_ids` and ids for codes in `token_ranges` are needed to generate it. The modes are "
            f"{', '.join(modes)}."
        )
    raise ValueError(f"Unknown `generation_mode` {shown(generation_mode)!r}, expected one of {', '.join(modes)}.")


class MoTGrammar(LogitsProcessor):
    """
    Which ids may follow, as a processor of scores that keeps nothing between calls: it reads the state of each row
    from the row's ids, so that greedy decoding, sampling, beams, drafts of an assistant, and batches whose rows are
    within different media obey it alike.

    After a begin id come as many codes as the modality has (`num_tokens`), then its end id; or, for a modality without
    a fixed number, at least one code, and the end id at the latest where the budget ends. Outside come text ids, and
    begin ids where the mode allows them and the budget holds the whole medium. A placeholder is never generated.

    Args:
        config ([`MoTCausalConfig`]): Of the model whose scores are processed.
        generation_mode (`str`, *optional*, defaults to `"text"`):
            `"text"` alone; `"interleaved"`, everything; or a modality: one medium of it, at once, and then the end.
        eos_token_id (`int` or `list[int]`, *optional*): What follows the one medium of a modality's mode.
        prompt_length (`int`, *optional*, defaults to 0): The number of ids that rows begin with.
        max_length (`int`, *optional*): The number of ids at which rows end; by default they never do.
        device (`torch.device`, *optional*): Where the ids and scores will be.

    Raises:
        ValueError: the model has no such mode, or its end is unknown.
    """

    supports_continuous_batching = True  # of text, whose rule asks nothing of the ids before

    def __init__(
        self,
        config: MoTCausalConfig,
        generation_mode: str = TEXT,
        eos_token_id: int | list[int] | None = None,
        prompt_length: int = 0,
        max_length: int | None = None,
        device: torch.device | str | None = None,
    ):
        check_mode(config, generation_mode)
        self.generation_mode, self.prompt_length, self.max_length = generation_mode, prompt_length, max_length
        self.vocab_size, self.begin_ids, self.number_of = config.vocab_size, config.begin_ids, config.num_tokens
        self.media = tuple(
            m for m in config.modalities if m in config.begin_ids
        )  # in prompts; the mode may allow fewer
        self.allowed_media = media_of(config) if generation_mode == INTERLEAVED else self.media_of_mode()
        # What the prompt has of the mode's medium, counted with its begin id; None where rows differ.
        self.steps_done: int | None = 0
        if self.single and eos_token_id is None:
            raise ValueError(
                f"`generation_mode={generation_mode!r}` ends with an `eos_token_id`, and neither the model's "
                "generation config nor the call names one."
            )
        self.rules = self.build_rules(config, [eos_token_id] if isinstance(eos_token_id, int) else eos_token_id or [])
        self.rules = self.rules.to(device)  # (rules, V)
        self.is_forced = self.rules.sum(dim=1) == 1  # (rules,)
        unlimited = torch.iinfo(torch.long).max
        numbers = [unlimited, *(self.number_of.get(m, unlimited) for m in self.media)]
        self.numbers = torch.tensor(numbers, device=device)  # (1 + M,)
        self.marks = torch.zeros(self.vocab_size, dtype=torch.long, device=device)
        for number, m in enumerate(self.media, start=1):
            self.marks[config.begin_ids[m]], self.marks[config.end_ids[m]] = number, -number

    @property
    def single(self) -> str | None:
        """The modality of which one medium is generated, in a modality's mode."""
        return None if self.generation_mode in (TEXT, INTERLEAVED) else self.generation_mode

    def media_of_mode(self) -> tuple[str, ...]:
        return () if self.generation_mode == TEXT else (self.generation_mode,)

    def build_rules(self, config: MoTCausalConfig, eos_token_ids: list[int]) -> torch.Tensor:
        """
        Which ids each rule lets through, (3 M + 3, V): outside; for each medium its codes, its codes or its end, its
        end; the begin of the mode's one medium, and what follows its end.
        """
        rules = torch.zeros(3 * len(self.media) + 3, config.vocab_size, dtype=torch.bool)
        rules[0] = True
        for _, start, stop in config.token_ranges:
            rules[0, start:stop] = False
        for m, token in config.marks():
            rules[0, token] = m in self.allowed_media and token == config.begin_ids[m]
        for first, m in enumerate(self.media):
            codes, codes_or_end, end = rules[3 * first + 1 : 3 * first + 4]
            for rule in (codes, codes_or_end):
                rule[list(config.codes(m))] = True
                if m in config.placeholder_ids:
                    rule[config.placeholder_ids[m]] = False
            codes_or_end[config.end_ids[m]] = end[config.end_ids[m]] = True
        if self.single:
            rules[-2, config.begin_ids[self.single]] = True
            rules[-1, eos_token_ids] = True
        return rules

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        """
        Args:
            input_ids: (B, L) what rows hold so far.
            scores: (B, V) of the next ids.

        Returns:
            (B, V): minus infinity where an id cannot follow, and 0 where it is the only one that can. Where other
            processors have ruled out all that can, as `suppress_tokens` or `no_repeat_ngram_size` may, these have 0.
        """
        if self.generation_mode == TEXT:
            return scores.masked_fill(~self.rules[0], -torch.inf)
        left = self.left(input_ids.shape[1])
        rule = self.rule(input_ids, left)
        allowed = self.rules[rule]  # (B, V)
        if not self.single:
            for m in self.allowed_media:
                if left < self.needed(m):
                    allowed[:, self.begin_ids[m]] = False
        scores = scores.masked_fill(~allowed, -torch.inf)
        is_free = self.is_forced[rule] | scores.isneginf().all(dim=1)
        return scores.masked_fill(allowed & is_free[:, None], 0.0)

    def left(self, length: int) -> float:
        """How many ids rows of this length may still get."""
        return torch.inf if self.max_length is None else self.max_length - length

    def needed(self, modality: str, tokens: int = -1) -> int:
        """How many ids a medium still needs at least; `tokens` of it are there, and -1 says that it has not begun."""
        return self.number_of.get(modality, max(tokens, 1)) - tokens + 1

    def place(self, input_ids: torch.LongTensor) -> tuple[torch.LongTensor, torch.LongTensor]:
        """
        Where rows (B, L) stand: (B,) the number of the medium that they are within, counted from 1, and 0 outside; and
        (B,) how many ids stand after the last begin or end.
        """
        # (B, 1 + L): a row without a mark has its last one before its first id.
        marks = F.pad(self.marks[input_ids], (1, 0))
        last = ((marks != 0) * torch.arange(marks.shape[1], device=marks.device)).amax(dim=1)
        return marks.gather(1, last[:, None])[:, 0].clamp(min=0), input_ids.shape[1] - last

    def rule(self, input_ids: torch.LongTensor, left: float) -> torch.LongTensor:
        """The number of the rule (B,) that the next id of each row obeys; see `build_rules`."""
        medium, tokens = self.place(input_ids)
        numbers = self.numbers[medium]
        is_open = numbers == self.numbers[0]
        step = torch.where(is_open, (tokens > 0) * (2 if left <= 1 else 1), (tokens >= numbers) * 2)
        outside = torch.zeros_like(medium)
        if self.single:
            is_done = tokens < input_ids.shape[1] - self.prompt_length  # the last mark stands after the prompt
            outside = torch.where(is_done, len(self.rules) - 1, len(self.rules) - 2)
        return torch.where(medium > 0, 3 * medium - 2 + step, outside)

    def check_prompt(self, input_ids: torch.LongTensor) -> None:
        """
        Raises:
            ValueError: a row (B, L) has an id outside the vocabulary, ends within a medium that cannot be completed,
                or needs more ids than it may get.
        """
        if not input_ids.numel():
            return
        least, most = (int(bound) for bound in input_ids.aminmax())
        if least < 0 or most >= self.vocab_size:
            raise ValueError(
                f"The prompt has the id {least if least < 0 else most}, outside the model's vocabulary of 0 to "
                f"{self.vocab_size - 1}: the ids come of another tokenizer, or `resize_token_embeddings` is due."
            )
        places = [places.tolist() for places in self.place(input_ids)]
        for row, (number, tokens) in enumerate(zip(*places)):
            if number:
                self.check_unfinished(self.media[number - 1], input_ids[row, input_ids.shape[1] - tokens :], row)
            elif self.single:
                self.check_budget(self.single, -1, row)
        steps = {tokens + 1 if number else 0 for number, tokens in zip(*places)}
        self.steps_done = steps.pop() if len(steps) == 1 else None

    def check_unfinished(self, modality: str, tokens: torch.LongTensor, row: int) -> None:
        """Raise a ValueError for a prompt that ends within a medium, after `tokens`, and cannot be completed."""
        where = f"Row {row} of the prompt ends within a medium of {modality!r}"
        if modality not in self.allowed_media:
            raise ValueError(
                f"{where}, which `generation_mode={self.generation_mode!r}` does not complete: end the prompt after "
                "the medium's end id, or choose a mode that generates it."
            )
        if not self.rules[3 * self.media.index(modality) + 1, tokens].all():
            raise ValueError(
                f"{where} whose ids are not all codes of {modality!r}: only codes are continued, not placeholders of "
                "raw input, and not text. End the prompt with the medium's end id."
            )
        number = self.number_of.get(modality, len(tokens))
        if len(tokens) > number:
            raise ValueError(f"{where} of {len(tokens)} tokens, and one has {number}: its end id is missing.")
        self.check_budget(modality, len(tokens), row)

    def check_budget(self, modality: str, tokens: int, row: int) -> None:
        needed, left = self.needed(modality, tokens), self.left(self.prompt_length)
        if needed > left:
            raise ValueError(
                f"Row {row} needs {needed} new tokens for a medium of {modality!r}, and `max_new_tokens` (or "
                f"`max_length`) leaves {left}: allow at least {needed}."
            )

    def modality(self, start: int, stop: int) -> str | None:
        """
        What the generated ids in the columns from `start` to below `stop` are in every row, where the rules alone say
        so, without a look at the ids: then none is sorted, and no accelerator is waited for.
        """
        if start < self.prompt_length:
            return None
        if self.generation_mode == TEXT:
            return TEXT
        number = self.number_of.get(self.single)
        if number is None or self.steps_done is None:
            return None
        steps = range(start - self.prompt_length + self.steps_done, stop - self.prompt_length + self.steps_done)
        found = {self.single if 1 <= step <= number else TEXT for step in steps}
        return found.pop() if len(found) == 1 else None


__all__ = ["MoTGrammar"]
