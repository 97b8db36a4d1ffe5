# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Text, pictures and sounds shown while they are generated: ids become typed segments, row by row.

`generate` hands the new ids of all rows to a streamer at every step. Text goes on word by word, as in the library's
streamer; a picture or sound is gathered until its end id has come, and decoded by the processor.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import Queue
from threading import Event
from typing import Any

import torch
from transformers.generation import StoppingCriteria, StoppingCriteriaList
from transformers.generation.streamers import BaseStreamer, TextStreamer

from .configuration_causal_mot import TEXT
from .grammar_mot import INTERLEAVED


class TextPieces(TextStreamer):
    """The library's streamer of text, which gives words as soon as they are whole; it calls `give` with each piece."""

    def __init__(self, tokenizer, give: Callable[[str], None]):
        super().__init__(tokenizer, skip_special_tokens=True)
        self.give = give

    def on_finalized_text(self, text: str, stream_end: bool = False):
        if text:
            self.give(text)


class RowSegments:
    """
    One row of a stream: text goes on to [`TextPieces`], a medium is gathered until its end id.

    Args:
        processor ([`MoTCausalProcessor`]): Decodes text and media.
        give: Called with modality and content of each segment.
    """

    def __init__(self, processor, give: Callable[[str, Any], None]):
        self.processor, self.give = processor, give
        self.text = TextPieces(processor.tokenizer, lambda piece: give(TEXT, piece))
        self.begins = {token: m for m, token in processor.begin_ids.items()}
        self.medium: list[int] = []  # ids of the one that has begun, the begin id first
        self.is_done = False

    def read_prompt(self, tokens: list[int], is_shown: bool) -> None:
        """A prompt may end within a medium; what ends in it does not end the row."""
        for token in tokens:
            if is_shown:
                self.put(token)
                self.is_done = False
            elif token in self.begins:
                self.medium = [token]
            elif self.medium:
                self.medium = [] if self.ends(token) else [*self.medium, token]

    def ends(self, token: int) -> bool:
        return token == self.processor.end_ids[self.begins[self.medium[0]]]

    def put(self, token: int) -> None:
        if self.is_done:
            return  # what fills up a row that has ended
        if self.medium:
            self.medium.append(token)
            if self.ends(token):
                self.give_medium()
        elif token in self.begins:
            self.text.end()
            self.medium = [token]
        else:
            self.text.put(torch.tensor([token]))
            self.is_done = token == self.processor.tokenizer.eos_token_id

    def give_medium(self) -> None:
        ids = torch.tensor([self.medium])
        for modality, content in self.processor.post_process_multimodal_output(ids, generation_mode=INTERLEAVED)[0]:
            self.give(modality, content)
        self.medium = []

    def end(self) -> None:
        self.text.end()


class MoTStreamer(BaseStreamer):
    """
    Gives what `generate` makes in typed segments, of many rows: `(row, "text", str)` word by word, and media such as
    `(row, "image", PIL.Image)` or `(row, "audio", numpy.ndarray)` when their end id has come. A medium that is broken
    off is not given.

    Args:
        processor ([`MoTCausalProcessor`]): Decodes text and media.
        on_segment (`Callable`): Called with row, modality and content of each segment.
        skip_prompt (`bool`, *optional*, defaults to `True`):
            Whether to leave out the prompt; a medium that it ends within is given whole.
    """

    def __init__(self, processor, on_segment: Callable[[int, str, Any], None], skip_prompt: bool = True):
        self.processor, self.on_segment, self.skip_prompt = processor, on_segment, skip_prompt
        self.rows: list[RowSegments] = []

    def put(self, value: torch.LongTensor) -> None:
        """The prompt (B, L), then the next id of each row (B,), or the next ids of one row (1, k)."""
        tokens = value.tolist() if value.ndim == 2 else value[:, None].tolist()
        if is_prompt := not self.rows:
            self.rows = [RowSegments(self.processor, self.give_of(row)) for row in range(len(tokens))]
        for row, new in zip(self.rows, tokens):
            if is_prompt:
                row.read_prompt(new, is_shown=not self.skip_prompt)
            else:
                for token in new:
                    row.put(token)

    def give_of(self, row: int) -> Callable[[str, Any], None]:
        return lambda modality, content: self.on_segment(row, modality, content)

    def end(self) -> None:
        for row in self.rows:
            row.end()
        self.rows = []


class MoTIteratorStreamer(MoTStreamer):
    """
    The segments of [`MoTStreamer`] as an iterator of `(row, modality, content)`, for a page that shows them while
    `generate` runs in another thread; `model.stream` does both.

    Args:
        processor, skip_prompt: as in [`MoTStreamer`].
        timeout (`float`, *optional*): Seconds to wait for a segment, after which `queue.Empty` is raised.
    """

    def __init__(self, processor, skip_prompt: bool = True, timeout: float | None = None):
        self.queue: Queue[tuple[int, str, Any] | None] = Queue()
        self.timeout = timeout
        super().__init__(processor, lambda *segment: self.queue.put(segment), skip_prompt)

    def end(self) -> None:
        super().end()
        self.close()

    def close(self) -> None:
        """Let the iteration end after what has been given."""
        self.queue.put(None)

    def __iter__(self) -> Iterator[tuple[int, str, Any]]:
        while (segment := self.queue.get(timeout=self.timeout)) is not None:
            yield segment


class Abandoned(StoppingCriteria):
    """Ends all rows once nobody listens."""

    def __init__(self):
        self.event = Event()

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor, **kwargs) -> torch.BoolTensor:
        return torch.full(input_ids.shape[:1], self.event.is_set(), device=input_ids.device)


def stream(generate: Callable, processor, **inputs) -> Iterator[tuple[int, str, Any]]:
    """See `MoTGenerationMixin.stream`, of whose model `generate` is."""
    streamer, abandoned = MoTIteratorStreamer(processor), Abandoned()
    inputs["stopping_criteria"] = StoppingCriteriaList([*(inputs.get("stopping_criteria") or []), abandoned])
    with ThreadPoolExecutor(max_workers=1) as pool:
        result = pool.submit(generate, streamer=streamer, **inputs)
        result.add_done_callback(lambda _: streamer.close())
        try:
            yield from streamer
            result.result()
        finally:
            abandoned.event.set()


__all__ = ["MoTIteratorStreamer", "MoTStreamer"]
