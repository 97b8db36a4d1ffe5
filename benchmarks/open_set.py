# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Segments and declared modalities

What a set of modalities that is the user's own costs. *Segments*: the encoders on rows of S segments, against the same
encoders on a batch in which each segment is a row (their tokens are found equal before anything is timed). Joint and
global layers see all segments of a row, and cost what a row of that length costs. *A table*: the embeddings of ten
columns against those of one, which take as many calls. *Names*: a model whose modalities are `title` and `depth`
against one of the same kinds and weights called text and image.

*Real* is width 512, 8 heads, feed-forward 2048, 4 layers; *small* is width 128, 4 heads, feed-forward 512, 2 layers.
"""

from collections.abc import Callable, Iterator

import torch

from mixture_of_transformers import MoTConfig, MoTModel

from .measure import Row, Table, take_turns
from .shapes import REAL, SMALL, Shape, build

# Of a segment: token ids, a picture's side in pixels, mel frames.
WORDS, SIDE, FRAMES = 64, 112, 200
ROWS, SEGMENTS = 4, 4
BAR = 1.10


def raw_config(shape: Shape, **fields) -> MoTConfig:
    tower = {"num_hidden_layers": shape.layers}
    fields = {
        "text_config": tower | {"vocab_size": 1000},
        "image_config": tower | {"image_size": SIDE},
        "audio_config": tower,
    } | fields
    return MoTConfig(**shape.joint, **fields)


def inputs_of(modality: str, rows: int) -> tuple[torch.Tensor, tuple[str, str]]:
    """Each row's `SEGMENTS` segments, (rows, SEGMENTS, ...), and the arguments that take them and their numbers."""
    generator = torch.Generator().manual_seed(0)
    if modality == "text":
        return torch.randint(1, 1000, (rows, SEGMENTS, WORDS), generator=generator), ("input_ids", "input_segments")
    if modality == "image":
        pictures = torch.randn(rows, SEGMENTS, 1, 3, SIDE, SIDE, generator=generator)
        return pictures, ("pixel_values", "pixel_segments")
    sounds = torch.randn(rows, SEGMENTS, FRAMES, 80, generator=generator)
    return sounds, ("input_features", "input_features_segments")


def encoding(model: MoTModel, inputs: dict, train: bool) -> Callable[[], torch.Tensor]:
    """A forward pass of the encoders, and in training the backward pass as well."""

    def call() -> torch.Tensor:
        with torch.set_grad_enabled(train):
            (tokens,) = model.encode(**inputs).hidden_states.values()
            if train:
                model.zero_grad()
                tokens.square().mean().backward()
            return tokens

    return call


def segments(shape: Shape, modality: str, train: bool, seconds: float, threads: int) -> Row:
    model = build(raw_config(shape, **{f"{m}_config": None for m in ("text", "image", "audio") if m != modality}))
    parts, (name, numbers) = inputs_of(modality, ROWS)
    length = parts.shape[2]
    together = {
        name: parts.flatten(1, 2),
        numbers: torch.arange(SEGMENTS).repeat_interleave(length).expand(ROWS, -1),
    }
    apart = {name: parts.flatten(0, 1)}
    candidates = {"segments": encoding(model, together, train), "rows": encoding(model, apart, train)}
    found, expected = (candidate().detach() for candidate in candidates.values())
    torch.testing.assert_close(found.reshape(expected.shape), expected, atol=1e-4, rtol=1e-4)
    times = take_turns(candidates, seconds, threads)
    return times.row(f"{modality}, {'training' if train else 'forward'}", "segments", "rows", BAR)


def columns(shape: Shape, seconds: float, threads: int) -> Row:
    """The embeddings of a table of ten columns, of which half are categories, against one of a single number."""
    candidates = {}
    for name, (numbers, categories) in {"ten": (5, [6] * 5), "one": (1, [])}.items():
        table = {"model_type": "mot_table", "num_numbers": numbers, "category_sizes": categories}
        none = {f"{m}_config": None for m in ("text", "image", "audio")}
        model = build(MoTConfig(**shape.joint, **none, table_config=table | {"num_hidden_layers": 0}))
        values = torch.ones(64, numbers + len(categories))
        vector = model.modality_embeddings("table")
        embed = model.embeddings["table"]
        candidates[name] = lambda embed=embed, values=values, vector=vector: embed(values, None, vector)
    with torch.no_grad():
        return take_turns(candidates, seconds, threads).row("ten columns / one, 64 rows", "ten", "one")


def names(shape: Shape, seconds: float, threads: int) -> Row:
    """Modalities of names of a user's against the same kinds under their historic names, with the same weights."""
    historic = build(raw_config(shape, audio_config=None))
    text, image = (historic.config.modality_config(m).to_dict() for m in ("text", "image"))
    none = {f"{m}_config": None for m in ("text", "image", "audio")}
    declared = build(MoTConfig(**shape.joint, **none, title_config=text, depth_config=image))
    weights = {
        ".".join({"text": "title", "image": "depth"}.get(part, part) for part in name.split(".")): value
        for name, value in historic.state_dict().items()
    }
    declared.load_state_dict(weights)
    ids, pictures = inputs_of("text", ROWS)[0][:, 0], inputs_of("image", ROWS)[0][:, 0, 0]

    def forward(model: MoTModel, inputs: dict) -> Callable[[], torch.Tensor]:
        def call() -> torch.Tensor:
            with torch.no_grad():
                return model(**inputs).pooler_output

        return call

    candidates = {
        "declared": forward(declared, {"title_values": ids, "depth_values": pictures}),
        "historic": forward(historic, {"input_ids": ids, "pixel_values": pictures}),
    }
    assert torch.equal(*(candidate() for candidate in candidates.values()))
    return take_turns(candidates, seconds, threads).row(
        "title and depth / text and image", "declared", "historic", 1.05
    )


def tables(seconds: float) -> Iterator[Table]:
    for shape, threads in ((REAL, 1), (SMALL, 1)):
        name = f"{'Real' if shape is REAL else 'Small'} shape, {threads} thread{'s' * (threads > 1)}"
        rows = [
            segments(shape, modality, train, seconds, threads)
            for modality in ("text", "image", "audio")
            for train in (False, True)
        ]
        yield Table(f"{name}: {ROWS} rows of {SEGMENTS} segments / {ROWS * SEGMENTS} rows", rows)
    yield Table("Small shape, 1 thread: declared", [columns(SMALL, seconds, 1), names(SMALL, seconds, 1)])
