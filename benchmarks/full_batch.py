# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Full batches

The whole model on ready features against (1) a bare loop, plain functions over the same weights that compute the same
result (checked before timing), (2) the floor, nothing but the matrix products, executed into buffers that exist before,
and for training three times that, and (3) other layers of the same dimensions in the same arrangement: a projection
with positions and a stack of layers for each modality, then one attention over all tokens. ViT, BERT and FLAVA are
transformers' layers; FLAVA's attention exists only written out, the others call scaled_dot_product_attention.

*Real* is width 512, 8 heads, feed-forward 2048, 4 layers for each modality; *small* is width 128, 4 heads, feed-forward
512, 2 layers; rows have 64 text, 197 image and 300 audio tokens; float32. Training is a forward and a backward pass
without an optimizer's step.
"""

from collections.abc import Iterator

import torch

from mot import MoTModel

from .bare import bare_loop, floor, inference, model_forward, training
from .measure import Table, take_turns
from .peers import PEERS
from .shapes import REAL, SMALL, TOKENS, Shape, build, feature_config, feature_inputs

BARS = {"bare loop": 1.05, "ViT": 1.0, "FLAVA": 0.8}
# (shape, its name, rows forward, rows in training, bar of the floor)
SIZES = ((REAL, "real", 8, 2, 1.25), (SMALL, "small", 8, 4, 2.0))


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
    peers = {"mot": own["mot"]} | {name: step(module, module) for name, module in modules.items()}
    return own | {"floor": floor(model, batch_size, TOKENS)}, peers


def compare(shape: Shape, batch_size: int, train: bool, floor_bar: float, seconds: float, threads: int) -> list:
    own, peers = candidates(shape, batch_size, train)
    times = take_turns(own, seconds, threads)
    ideal = {"floor": 3.0} if train else {}
    bars = BARS | {"floor": floor_bar} if shape is REAL else {"floor": floor_bar}
    rows = [
        times.row(f"MoT / {name}", "mot", name, bars.get(name), ideal.get(name, 1.0)) for name in own if name != "mot"
    ]
    times = take_turns(peers, seconds, threads)
    return rows + [times.row(f"MoT / {name}", "mot", name, bars.get(name)) for name in peers if name != "mot"]


def tables(seconds: float) -> Iterator[Table]:
    for shape, name, forward_rows, training_rows, bar in SIZES:
        for train, batch_size in ((False, forward_rows), (True, training_rows)):
            for threads in (1, 2):
                kind = "training" if train else "forward"
                yield Table(
                    f"{name.capitalize()} shape, {kind}, {batch_size} rows, {threads} thread{'s' * (threads > 1)}",
                    compare(shape, batch_size, train, bar, seconds, threads),
                )
