# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embeddings: positions that are learned, audio that is normalised, and adapters behind them that get gradients."""

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, max_difference, tiny_config
from reference import sinusoid, sinusoid_2d

from mot import MoTModel

TOLERANCE = 1e-5


def image_embeddings(**config):
    return MoTModel(tiny_config(image_config=config)).eval().embeddings["image"]


def test_learned_positions_of_images_start_as_the_two_dimensional_sinusoid():
    embeddings = image_embeddings(position_embedding_type="learned", image_size=16)
    width, grid = embeddings.config.hidden_size, 16 // embeddings.config.patch_size
    expected = torch.stack([sinusoid_2d(row, column, width) for row in range(grid) for column in range(grid)])
    assert max_difference(embeddings.position_embeddings[0], expected) < TOLERANCE


def test_learned_positions_of_images_reach_other_sizes_by_interpolation():
    embeddings = image_embeddings(position_embedding_type="learned", image_size=16)
    grid = embeddings.grid_size
    with torch.no_grad():  # a plane over the grid, which every interpolation keeps inside its borders
        rows = torch.arange(grid)[:, None].expand(grid, grid)
        embeddings.position_embeddings.copy_(rows.reshape(1, -1, 1).expand_as(embeddings.position_embeddings))
    finer = embeddings.interpolated_grid(2 * grid, grid).unflatten(0, (2 * grid, grid))[:, 0, 0]
    inner = slice(4, 2 * grid - 4)
    assert max_difference(finer[inner], (torch.arange(2 * grid)[inner] - 0.5) / 2) < 1e-4


@pytest.mark.parametrize("position_embedding_type", ["sinusoidal_2d", "sinusoidal", "learned"])
def test_one_frame_is_embedded_as_a_still_picture(position_embedding_type):
    config = tiny_config(image_config={"position_embedding_type": position_embedding_type})
    model = MoTModel(config).eval()
    pixel_values = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        still = model(pixel_values=pixel_values).last_hidden_state
        clip = model(pixel_values=pixel_values[:, None]).last_hidden_state
    assert max_difference(still, clip) < TOLERANCE


def test_later_frames_add_the_sinusoid_of_their_time():
    embeddings = image_embeddings(stem="linear")
    pixels = torch.randn(1, 1, 3, 8, 8).expand(1, 3, 3, 8, 8)
    with torch.no_grad():
        tokens, _ = embeddings(pixels, None, torch.zeros(1, embeddings.config.hidden_size))
    first, *later = tokens.chunk(3, dim=1)
    for time, frame in enumerate(later, start=1):
        width = embeddings.config.hidden_size
        step = sinusoid(time, width) - sinusoid(0, width)
        assert max_difference(frame - first, step.expand_as(frame)) < TOLERANCE


@pytest.mark.parametrize("stem", ["conv", "linear"])
def test_mean_normalization_takes_away_what_is_constant_in_a_clip(stem):
    """A microphone's colour adds to every real frame of a clip: the output stays, whatever the padding."""
    model = build(MoTModel, tiny_config(audio_config={"mean_normalization": True, "stem": stem})).eval()
    inputs = make_inputs(("audio",))
    colour = torch.randn(inputs["input_features"].shape[0], 1, inputs["input_features"].shape[2])
    coloured = {**inputs, "input_features": inputs["input_features"] + 3 * colour}
    plain = build(MoTModel, tiny_config(audio_config={"stem": stem})).eval()
    with torch.no_grad():
        assert max_difference(model(**inputs).pooler_output, model(**coloured).pooler_output) < TOLERANCE
        assert max_difference(plain(**inputs).pooler_output, plain(**coloured).pooler_output) > 0.1


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_frozen_models_pass_gradients_to_adapters_under_checkpointing(use_reentrant):
    """As adapters need: all is frozen but one matrix in each encoder, and checkpointing recomputes the layers."""
    model = build(MoTModel, tiny_config()).train().requires_grad_(False)
    for modality in MODALITIES:
        model.encoders[modality].layers[0].attention.q_proj.weight.requires_grad_(True)
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    model.enable_input_require_grads()
    model(**make_inputs(MODALITIES)).pooler_output.sum().backward()
    for modality in MODALITIES:
        assert model.encoders[modality].layers[0].attention.q_proj.weight.grad.abs().max() > 0
