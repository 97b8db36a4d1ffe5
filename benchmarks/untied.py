# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Untied weights

What joint layers (weights of their own per modality, attention over all tokens) cost beyond layers with one set of
weights. Each model has joint layers alone, 4 of width 512 (*real*) or 2 of width 128 (*small*), on ready features.
*One set* is a model of a single modality whose sequence is as long as the three together. *Boolean masks* are the same
joint layers with the same weights, where masks say which token belongs to which modality, so that attention and feed-
forward layer each gather and scatter (Algorithm 1 of arXiv 2411.04996 as its code arranges it; the result is checked
against the model's). The *bare loop* keeps the modalities in tensors of their own from layer to layer. The *floor* is
nothing but the matrix products (for training three times that), which all of them share: what none can undercut.
"""

from collections.abc import Iterator

import torch

from .bare import bare_loop, floor, inference, model_forward, training
from .measure import Table, take_turns
from .peers import routed_loop
from .shapes import REAL, SMALL, TOKENS, Shape, build, feature_config, feature_inputs


def candidates(shape: Shape, batch_size: int, train: bool) -> dict:
    together = {"text": sum(TOKENS.values())}
    three, one = (build(feature_config(shape, tokens, joint_layers=True)) for tokens in (TOKENS, together))
    inputs, joined = feature_inputs(three.config, batch_size), feature_inputs(one.config, batch_size, together)
    loop, masks = bare_loop(three, TOKENS), routed_loop(three, TOKENS)
    expected = inference(model_forward(three), inputs)()
    for forward in (loop, masks):
        torch.testing.assert_close(inference(forward, inputs)(), expected, atol=1e-4, rtol=1e-4)

    def step(forward, inputs, module):
        module.train(train)
        return training(forward, inputs, module) if train else inference(forward, inputs)

    return {
        "three sets": step(model_forward(three), inputs, three),
        "one set": step(model_forward(one), joined, one),
        "bare loop": step(loop, inputs, three),
        "boolean masks": step(masks, inputs, three),
        "floor": floor(three, batch_size, TOKENS),
    }


def tables(seconds: float) -> Iterator[Table]:
    for shape, name, batch_size in ((REAL, "real", 2), (SMALL, "small", 4)):
        table = Table(f"Joint layers, {name} shape, {batch_size} rows, 1 thread")
        bars = {"one set": 1.05, "boolean masks": 0.85 if shape is SMALL else None}
        for train in (False, True):
            times = take_turns(candidates(shape, batch_size, train), seconds)
            kind = "training" if train else "forward"
            table.rows += [
                times.row(f"{kind}: three sets / {other}", "three sets", other, bars.get(other))
                for other in ("one set", "boolean masks", "bare loop")
            ]
            products = 3 if train else 1  # forward, and for the gradients of inputs and weights
            table.rows.append(
                times.row(f"{kind}: floor / boolean masks", "floor", "boolean masks", ideal=1 / products)
            )
        yield table
