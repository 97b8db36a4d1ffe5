# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Full batches

The whole model on ready features against (1) a bare loop, plain functions over the same weights that compute the same
result (checked before timing), (2) the floor, nothing but the matrix products, executed into buffers that exist
before, and for training three times that, and (3) other layers of the same dimensions in the same arrangement: a
projection with positions and a stack of layers for each modality, then one attention over all tokens. ViT, BERT and
FLAVA are transformers' layers; FLAVA's attention exists only written out, the others call
scaled_dot_product_attention. Its own distance to the floor says what no model of these sizes can undercut.

*Real* is width 512, 8 heads, feed-forward 2048, 4 layers for each modality; *small* is width 128, 4 heads,
feed-forward 512, 2 layers; rows have 64 text, 197 image and 300 audio tokens; float32. Training is a forward and a
backward pass without an optimizer's step.
"""

from collections.abc import Iterator

import torch

from mixture_of_transformers import MoTModel

from .bare import bare_loop, floor, inference, model_forward, training
from .measure import Row, Table, take_turns
from .peers import PEERS
from .shapes import REAL, SMALL, TOKENS, Shape, build, feature_config, feature_inputs

BARS = {"bare loop": 1.05, "ViT": 1.0, "FLAVA": 0.8}
FLOOR_BARS = {REAL: 1.25, SMALL: 2.0}
# (shape, threads, rows of a forward pass, rows of a training step)
SIZES = ((REAL, 1, 4, 2), (REAL, 2, 8, 4), (SMALL, 1, 4, 4), (SMALL, 2, 8, 8))


def checked_loop(model: MoTModel, tokens: dict[str, int]):
    """The bare loop, after it was found to give what the model gives."""
    loop, inputs = bare_loop(model, tokens), feature_inputs(model.config, 2, tokens)
    torch.testing.assert_close(
        inference(loop, inputs)(), inference(model_forward(model), inputs)(), atol=1e-4, rtol=1e-4
    )
    return loop


def candidates(shape: Shape, batch_size: int, train: bool) -> tuple[dict, dict]:
    """What is timed together: the model, its loop and its floor; and the model with its peers."""
    model = build(feature_config(shape))
    inputs = feature_inputs(model.config, batch_size)

    def step(forward, module):
        module.train(train)
        return training(forward, inputs, module) if train else inference(forward, inputs)

    own = {"mot": step(model_forward(model), model), "bare loop": step(checked_loop(model, TOKENS), model)}
    modules = {name: make(shape, TOKENS).eval() for name, make in PEERS.items() if not train or name != "FLAVA"}
    products = {"floor": floor(model, batch_size, TOKENS)}
    peers = {name: step(module, module) for name, module in modules.items()}
    return own | products, {"mot": own["mot"]} | peers | products


def compare(shape: Shape, batch_size: int, train: bool, seconds: float, threads: int) -> list[Row]:
    own, peers = candidates(shape, batch_size, train)
    products = 3.0 if train else 1.0  # forward, and for the gradients of inputs and weights
    bars = BARS if shape is REAL else {}
    times = take_turns(own, seconds, threads)
    rows = [
        times.row("MoT / bare loop", "mot", "bare loop", bars.get("bare loop")),
        times.row("MoT / floor", "mot", "floor", FLOOR_BARS[shape], products),
    ]
    times = take_turns(peers, seconds, threads)
    rows += [times.row(f"MoT / {name}", "mot", name, bars.get(name)) for name in PEERS if name in peers]
    if "FLAVA" in peers:
        rows.append(times.row("floor / FLAVA", "floor", "FLAVA"))
    return rows


def tables(seconds: float) -> Iterator[Table]:
    for shape, threads, *batch_sizes in SIZES:
        for train, batch_size in zip((False, True), batch_sizes):
            name = f"{'Real' if shape is REAL else 'Small'} shape, {'training' if train else 'forward'}"
            title = f"{name}, {batch_size} rows, {threads} thread{'s' * (threads > 1)}"
            yield Table(title, compare(shape, batch_size, train, seconds, threads))
