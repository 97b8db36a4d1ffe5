# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One odd tensor among sound ones. What says the same must give the same; what is odd in one row stays there."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)

from ..case import Case
from ..odd import NUMPY_TYPES, odd_number, odd_object, odd_tensor, one, show
from ..world import LABELS, MEL_BINS, SIDE, World, config_for

CLASSES = (MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining, MoTForMaskedLM)
ROWS = 3
MASK_OF = {"input_ids": "attention_mask", "pixel_values": "pixel_mask", "input_features": "input_features_mask"}
OPTIONS = ("output_attentions", "output_hidden_states", "return_loss", "nonsense", "return_los")
OPTIONS += (
    "pixel_times",
    "input_features_times",
    "text_features",
    "image_features",
    "inputs_embeds",
    "token_type_ids",
)


def sound_inputs(rng: np.random.Generator, model_class: type) -> dict[str, torch.Tensor]:
    inputs = {
        "input_ids": torch.from_numpy(rng.integers(5, 40, (ROWS, 6))),
        "attention_mask": torch.ones(ROWS, 6, dtype=torch.long),
        "pixel_values": torch.from_numpy(rng.normal(size=(ROWS, 3, SIDE, SIDE)).astype(np.float32)),
        "pixel_mask": torch.ones(ROWS, dtype=torch.long),
        "input_features": torch.from_numpy(rng.normal(size=(ROWS, 20, MEL_BINS)).astype(np.float32)),
        "input_features_mask": torch.ones(ROWS, 20, dtype=torch.long),
    }
    inputs["attention_mask"][1, 3:] = 0
    inputs["input_features_mask"][2, 11:] = 0
    if model_class is not MoTForMaskedLM and rng.random() < 0.5:
        gone = one(rng, list(MASK_OF))
        del inputs[gone], inputs[MASK_OF[gone]]
    if model_class is MoTForSequenceClassification and rng.random() < 0.5:
        inputs["labels"] = torch.from_numpy(rng.integers(0, len(LABELS), ROWS))
    if model_class is MoTForMaskedLM and rng.random() < 0.5:
        inputs["labels"] = inputs["input_ids"].clone()
    return inputs


def sound_models(world: World) -> dict[type, Any]:
    """Made once in a process."""
    if not hasattr(world, "models"):
        torch.manual_seed(1)
        world.models = {kind: kind(config_for(world.processor)).eval() for kind in CLASSES}
    return world.models


def changed(rng: np.random.Generator, name: str, tensor: torch.Tensor, folder: Path) -> tuple[str, Any, str]:
    """How a tensor is odd, the odd one, and what becomes of the output: "same", "row" (that row alone changes), "any",
    or "never" where none is right."""
    is_mask = name.endswith("mask")
    odd_value = float(one(rng, (math.nan, math.inf, -1, -1e30, 1e30, 0.5, 7)))
    where = (1, *(0 for _ in tensor.shape[1:]))

    def with_value():
        other = tensor.clone()
        value = odd_value if tensor.is_floating_point() else int(one(rng, (-1, -100, 10**9, 2**62, 1_000_000)))
        other[where] = value
        return f"{value} at {where}", other, "row" if tensor.is_floating_point() else "any"

    ways = (
        with_value,
        with_value,
        lambda: ("an axis more", tensor[None], "never"),
        lambda: ("an axis less", tensor[0], "never"),
        lambda: ("no rows", tensor[:0], "never"),
        lambda: ("a row less", tensor[:-1], "never"),
        lambda: ("rows twice", torch.cat([tensor, tensor]), "never"),
        lambda: ("a shorter last axis", tensor[..., :-1], "any"),
        lambda: ("no last axis", tensor[..., :0], "never"),
        lambda: ("not contiguous", tensor.repeat_interleave(2, -1)[..., ::2], "same"),
        lambda: ("int32 or float64", tensor.double() if tensor.is_floating_point() else tensor.int(), "any"),
        lambda: ("bool", tensor.bool(), "same" if is_mask else "any"),
        lambda: ("floats", tensor.float(), "same" if is_mask or tensor.is_floating_point() else "any"),
        lambda: ("complex", tensor.to(torch.complex64), "never"),
        lambda: ("on meta", tensor.to("meta"), "never"),
        lambda: ("sparse", tensor.to_sparse(), "never"),
        lambda: ("an array of numpy", tensor.numpy(), "any"),
        lambda: ("lists", tensor.tolist(), "any"),
        lambda: ("half", tensor.half() if tensor.is_floating_point() else tensor.short(), "any"),
        lambda: (one(rng, NUMPY_TYPES), np.zeros(tensor.shape, dtype=one(rng, NUMPY_TYPES)), "any"),
        lambda: (lambda value: (show(value), value, "any"))(odd_tensor(rng)),
        lambda: (lambda value: (show(value), value, "any"))(odd_object(rng, folder)),
    )
    return one(rng, ways)()


def model_case(rng: np.random.Generator, world: World, folder: Path) -> Case:
    model_class = one(rng, CLASSES)
    model, inputs = sound_models(world)[model_class], sound_inputs(rng, model_class)
    sound = dict(inputs)
    if rng.random() < 0.2:
        name, effect = one(rng, OPTIONS), "any"
        inputs[name] = odd_number(rng) if rng.random() < 0.5 else odd_object(rng, folder)
        what = show(inputs[name])
    else:
        name = one(rng, sorted(inputs))
        what, inputs[name], effect = changed(rng, name, inputs[name], folder)
    reseed = int(rng.integers(2**31))

    def call(given: dict):
        torch.manual_seed(reseed)
        with torch.no_grad():
            return tensors_of(model(**given))

    is_number_of_labels = name == "labels" and effect == "never" and model_class is not MoTForSequenceClassification
    must_fail = effect == "never" and not is_number_of_labels and not is_alone(inputs, name, what)

    def check(result: dict) -> str | None:
        if effect == "any" and inputs.get(name) is not None and not is_finite(inputs[name]):
            return None
        expected = call(sound) if effect in ("same", "row") else None
        return compare(result, expected, effect)

    names = (name, *(n for pair in MASK_OF.items() if name in pair for n in pair))  # whose shapes hang together
    return Case(f"{model_class.__name__}: {name} {what}", lambda: call(inputs), names, check, must_fail=must_fail)


def is_alone(inputs: dict, name: str, what: str) -> bool:
    """Whether fewer or more rows are sound after all: nothing else says how many there are."""
    others = [n for n in inputs if n not in (name, MASK_OF.get(name), "labels")]
    return what in ("rows twice", "a row less", "an axis less", "an axis more") and not others


def is_finite(value: Any) -> bool:
    if isinstance(value, torch.Tensor) and value.is_floating_point() and not value.is_meta and not value.is_sparse:
        return bool((value.abs() < 1e4).all())
    return isinstance(value, torch.Tensor)


def tensors_of(output: Any) -> dict[str, torch.Tensor]:
    items = output.items() if hasattr(output, "items") else enumerate(output)
    return {str(name): value for name, value in items if isinstance(value, torch.Tensor)}


def compare(result: dict, expected: dict | None, effect: str) -> str | None:
    for name, value in result.items():
        if expected is None:
            if not torch.isfinite(value.float()).all() and "loss" not in name:
                return f"{name} is not finite"
            continue
        if effect == "row" and value.dim() and len(value) == ROWS and "logits_per" not in name:
            kept = [row for row in range(ROWS) if row != 1]
            if not torch.allclose(value[kept].float(), expected[name][kept].float(), atol=1e-4, equal_nan=True):
                return f"{name} of the other rows changed"
        elif effect == "same" and not torch.allclose(value.float(), expected[name].float(), atol=1e-4):
            return f"{name} is not what it was"
    return None
