# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Ragged batches

Rows that lack tokens or whole modalities, against the same batch with nothing missing. The *share* is what remains of
the floating-point operations by the formula in `benchmarks/flops.py`; a model for which padding is free takes that
share of the full batch's time, so a row's value is time / (share × time of the full batch), and 1 is ideal. *Lengths*
spread a modality's real tokens evenly from 20 to 100 % of the longest; *missing* takes each modality of a row away
with probability 0.5 (a row keeps at least one). Real shape (width 512, 8 heads, feed-forward 2048, 4 layers for each
modality, one global layer; 64 text, 197 image and 300 audio tokens), as ready features and as the default config's raw
input (ids, 224 x 224 pixels, 600 mel frames; a picture is there or not, so *lengths* spread text and audio alone).

*Padded loop* computes every token in plain functions over the same weights and hides the padding from the attention by
a mask; *eager* is the model with `attn_implementation="eager"`. *Sorted* batches hold rows of like length, padded to
the longest of the batch, as length grouping makes them.
"""

from collections.abc import Callable, Iterator

import torch

from mixture_of_transformers import MoTConfig, MoTModel

from .bare import bare_loop, inference, model_forward, training
from .flops import forward_flops
from .measure import Row, Table, take_turns
from .shapes import (
    FEATURES,
    REAL,
    TOKENS,
    Rows,
    build,
    feature_config,
    feature_inputs,
    feature_masks,
    fill,
    full_rows,
    masks_for,
    ragged_rows,
    raw_inputs,
    raw_masks,
)

# name -> which of the two raggednesses
KINDS = {"lengths": (True, False), "missing": (False, True), "lengths and missing": (True, True)}
BARS = {False: 1.10, True: 1.30}  # forward, training
ALL_REAL = 1.02


class Setting:
    """A model at the real shape with a batch of inputs, of ready features or raw."""

    def __init__(self, raw: bool, batch_size: int):
        self.raw, self.batch_size = raw, batch_size
        self.config = MoTConfig() if raw else feature_config(REAL)
        self.model = build(self.config)
        self.inputs = (raw_inputs if raw else feature_inputs)(self.config, batch_size)

    def rows(self, kind: str | None) -> Rows:
        if kind is None:
            return full_rows(self.batch_size)
        rows = ragged_rows(self.batch_size, TOKENS, *KINDS[kind])
        whole = {"image": TOKENS["image"]} if self.raw else {}
        return [row | {m: n for m, n in whole.items() if m in row} for row in rows]

    def share(self, rows: Rows) -> float:
        return forward_flops(self.config, rows) / forward_flops(self.config, full_rows(self.batch_size))

    def masks(self, rows: Rows) -> dict[str, torch.Tensor]:
        return raw_masks(self.config, rows) if self.raw else feature_masks(rows)

    def step(self, train: bool, rows: Rows | None, model: MoTModel | None = None) -> Callable:
        """A forward or training step; `rows` of None passes no masks."""
        model = (self.model if model is None else model).train(train)
        forward = model_forward(model, None if rows is None else self.masks(rows))
        return training(forward, self.inputs, model) if train else inference(forward, self.inputs)

    def padded_loop(self, train: bool, rows: Rows) -> Callable:
        loop = bare_loop(self.model, TOKENS, masks_for(rows))
        return training(loop, self.inputs, self.model) if train else inference(loop, self.inputs)


def against_ideal(setting: Setting, train: bool, seconds: float) -> list[Row]:
    """Each kind of raggedness against its share of a full batch, all in turns with each other."""
    batches = {kind: setting.rows(kind) for kind in KINDS}
    steps = {kind: setting.step(train, rows) for kind, rows in batches.items()}
    every = "masks, nothing missing"
    full = {"full": setting.step(train, None), every: setting.step(train, full_rows(setting.batch_size))}
    times = take_turns(full | steps, seconds)
    rows = [times.row(every, every, "full", ALL_REAL, fill="1.00", share="1.00")]
    for kind, batch in batches.items():
        share = setting.share(batch)
        rows.append(times.row(kind, kind, "full", BARS[train], share, fill=f"{fill(batch):.2f}", share=f"{share:.2f}"))
    return rows


def against_padding(train: bool, seconds: float) -> list[Row]:
    """The same ragged batch by those that compute the padding."""
    setting = Setting(raw=False, batch_size=4 if train else 8)
    batch = setting.rows("lengths and missing")
    times = take_turns(
        {
            "packed": setting.step(train, batch),
            "padded loop": setting.padded_loop(train, batch),
            "eager": setting.step(train, batch, build(setting.config, "eager")),
        },
        seconds,
    )
    name = "training" if train else "forward"
    return [times.row(f"{name}: MoT / {other}", "packed", other) for other in ("padded loop", "eager")]


def prediction(attention: str, is_sorted: bool, number: int = 64, batch_size: int = 8) -> Callable:
    """A forward for each batch of `number` rows, in the order they come in or by their total length."""
    config = feature_config(REAL)
    model, inputs = build(config, attention), feature_inputs(config, number)
    rows = ragged_rows(number, TOKENS, *KINDS["lengths and missing"])
    order = sorted(range(number), key=lambda i: sum(rows[i].values())) if is_sorted else list(range(number))
    steps = []
    for start in range(0, number, batch_size):
        indices = order[start : start + batch_size]
        batch = [rows[i] for i in indices]
        longest = {m: max(row.get(m, 0) for row in batch) for m in TOKENS}
        longest = {m: length for m, length in longest.items() if length}
        values = {FEATURES[m]: inputs[FEATURES[m]][indices, :length] for m, length in longest.items()}
        steps.append(inference(model_forward(model, feature_masks(batch, longest)), values))
    return lambda: [step() for step in steps]


def by_length(seconds: float) -> list[Row]:
    names = {"packed": "sdpa", "padded": "eager"}
    candidates = {
        f"{name}, {'sorted' if is_sorted else 'as they come'}": prediction(attention, is_sorted)
        for name, attention in names.items()
        for is_sorted in (False, True)
    }
    times = take_turns(candidates, seconds)
    return [times.row(f"{name}: sorted / as they come", f"{name}, sorted", f"{name}, as they come") for name in names]


def tables(seconds: float) -> Iterator[Table]:
    for raw in (False, True):
        for train, batch_size in ((False, 8), (True, 4)):
            title = f"{'Raw input' if raw else 'Ready features'}, {'training' if train else 'forward'}"
            yield Table(
                f"{title}, {batch_size} rows, 1 thread",
                against_ideal(Setting(raw, batch_size), train, seconds),
                value="time / (share × full)",
            )
    yield Table(
        "Lengths and missing, against those that compute the padding, 1 thread",
        [row for train in (False, True) for row in against_padding(train, seconds)],
    )
    yield Table("Predicting 64 rows with lengths and missing, 8 at a time, 1 thread", by_length(seconds))
