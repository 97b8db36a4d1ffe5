# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the plan for many GPUs counts is what models keep and have."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.scaling import (  # noqa: E402
    comparing,
    computing,
    decoder,
    encoder,
    kept_by_layer,
    memory,
    moving,
    plans,
)

PAGE = Path(__file__).resolve().parents[1] / "docs" / "scaling.md"


@pytest.mark.parametrize(
    ("make", "counted"),
    [
        # Inputs of both norms and what they give, queries, keys, values, the attention, before and after GELU: the 32
        # bytes of arXiv 2205.05198, whose other two are masks of dropout.
        (encoder, 2 + 2 + 3 + 1 + 4 + 4),
        # As above with RMSNorm, rotary positions, and three products of the feed-forward layer (172 / 64 widths each).
        (decoder, 2 + 2 + 3 + 1 + 3 * 172 / 64),
    ],
)
def test_what_autograd_keeps_of_a_layer_is_what_can_be_counted_by_hand(make, counted):
    found = kept_by_layer(make, 64)
    assert counted <= found < 1.03 * counted if make is encoder else counted <= found < 2 * counted


def test_parameters_of_the_plan_are_those_of_the_models_by_hand():
    found = {plan.name: plan for plan in plans()}
    assert (found["tiny"].parameters, found["base"].parameters) == (5_278_800, 55_939_392)
    width = 768  # of a layer: four products and two of the feed-forward layer, their biases, two norms
    assert found["ViT-B towers"].layer_parameters == 12 * width**2 + 13 * width
    assert found["ViT-L towers"].operations > 3 * found["ViT-B towers"].operations


def test_the_page_shows_what_the_command_prints():
    """All but what is timed, which differs from machine to machine."""
    text, found = PAGE.read_text(encoding="utf-8"), list(plans())
    for printed in (computing(found, 1000, 1e9), memory(found, 1000), moving(found, 1000), comparing(found, 1000)):
        assert printed.strip() in text, printed
