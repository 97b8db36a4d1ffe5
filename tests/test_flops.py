# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The formula of the benchmarks counts what torch counts while a model runs."""

import sys
from pathlib import Path

import pytest
import torch
from helpers import NUM_MEL_BINS, tiny_config
from torch.utils.flop_counter import FlopCounterMode

from mixture_of_transformers import MoTConfig, MoTModel
from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.flops import attention, causal_forward_flops, forward_flops, training_flops  # noqa: E402
from benchmarks.shapes import REAL, SMALL, feature_config, feature_inputs, full_rows, raw_inputs  # noqa: E402

TOKENS = {"text": 5, "image": 4, "audio": 7}
PIXELS = {"image_size": 32, "patch_size": 16}


def counted(config: MoTConfig, inputs: dict[str, torch.Tensor], backward: bool = False) -> int:
    """Torch sees the products of the attention where it is written out, and none of their values."""
    config._attn_implementation = "eager"
    with torch.device("meta"):
        model = MoTModel(config).train(backward)
    inputs = {name: values.to("meta") for name, values in inputs.items()}
    with FlopCounterMode(display=False) as counter, torch.set_grad_enabled(backward):
        output = model(**inputs).last_hidden_state
        if backward:
            output.sum().backward()
    return counter.get_total_flops()


@pytest.mark.parametrize("joint_layers", [False, True])
@pytest.mark.parametrize("shape", [REAL, SMALL])
def test_ready_features(shape, joint_layers):
    config = feature_config(shape, TOKENS, joint_layers)
    assert counted(config, feature_inputs(config, 3, TOKENS)) == forward_flops(config, full_rows(3, TOKENS))


@pytest.mark.parametrize("fields", [{}, {"num_joint_layers": 2, "num_global_layers": 2, "global_mlp": True}])
def test_raw_input(fields):
    config = MoTConfig(image_config=PIXELS, **fields)
    assert counted(config, raw_inputs(config, 2, TOKENS)) == forward_flops(config, full_rows(2, TOKENS))


@pytest.mark.parametrize("stem", ["conv", "linear"])
def test_uneven_towers(stem):
    config = tiny_config(
        "uneven_towers",
        image_config={"stem": stem, "image_size": 8},
        audio_config={"stem": stem, "num_mel_bins": NUM_MEL_BINS},
    )
    assert counted(config, raw_inputs(config, 2, TOKENS)) == forward_flops(config, full_rows(2, TOKENS))


def test_a_row_pays_for_what_it_has():
    config = feature_config(SMALL, TOKENS)
    rows = [{"text": 5}, {"image": 4, "audio": 2}]
    apart = sum(counted(config, feature_inputs(config, 1, row)) for row in rows)
    assert apart == forward_flops(config, rows)


def test_training_is_three_forwards():
    config = feature_config(SMALL, TOKENS)
    count = counted(config, feature_inputs(config, 3, TOKENS), backward=True)
    # The input itself takes no gradient, so its projection takes two thirds.
    without = sum(3 * tokens * 2 * SMALL.hidden_size**2 for tokens in TOKENS.values())
    assert count == training_flops(config, full_rows(3, TOKENS)) - without


def test_the_causal_model_attends_to_what_lies_before():
    config = MoTCausalConfig(
        vocab_size=24,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        token_ranges=[["image", 8, 24]],
        attn_implementation="eager",
    )
    length = 12
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        MoTForCausalLM(config)(torch.arange(2 * length).reshape(2, length))
    # Written out, it also multiplies what lies after a token, and masks it.
    after = 2 * config.num_hidden_layers * attention(config.hidden_size, 1) * (length * (length - 1) // 2)
    assert counter.get_total_flops() - after == causal_forward_flops(config, [length] * 2)
