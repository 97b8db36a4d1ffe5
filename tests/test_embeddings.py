# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embeddings: positions of every kind against their formulas, what tokens stand for, and what is hidden of them."""

import pytest
import torch
from helpers import (
    FEATURE_INPUTS,
    MASKS,
    MODALITIES,
    NUM_MEL_BINS,
    PATCH_SIZE,
    SUBSETS,
    TIMES,
    batch_size_of,
    build,
    compact_inputs,
    input_items,
    make_inputs,
    max_difference,
    outputs_and_gradients,
    real_row,
    real_tokens,
    run,
    subset_name,
    tiny_config,
)
from reference import reference_forward, sinusoid, sinusoid_2d

from mixture_of_transformers import MoTModel

TOLERANCE = 1e-5
EXACT = 1e-6


def image_embeddings(**config):
    return MoTModel(tiny_config(image_config=config)).eval().embeddings["image"]


def embeddings_model(features=False, **overrides):
    """A model whose last hidden state is what its embeddings give."""
    config = tiny_config("encoders_only", features=features, every_tower={"num_hidden_layers": 0}, **overrides)
    return build(MoTModel, config)


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


def cubic(distance):
    """The kernel of bicubic interpolation (Keys 1981) with a = -0.75."""
    x, a = abs(distance), -0.75
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


@pytest.mark.parametrize("rows, columns", [(2, 2), (3, 5), (8, 7)])
def test_the_learned_grid_is_interpolated_bicubically(rows, columns):
    embeddings = image_embeddings(position_embedding_type="learned", image_size=16)
    grid = embeddings.grid_size
    torch.nn.init.normal_(embeddings.position_embeddings)
    table = embeddings.position_embeddings.detach().double()[0]
    actual = embeddings.interpolated_grid(rows, columns)
    for index in range(rows * columns):
        y = (index // columns + 0.5) * grid / rows - 0.5  # the centre of a cell, on the grid's own scale
        x = (index % columns + 0.5) * grid / columns - 0.5
        expected = torch.zeros(embeddings.config.hidden_size, dtype=torch.float64)
        for i in range(-2, grid + 2):
            for j in range(-2, grid + 2):
                cell = min(max(i, 0), grid - 1) * grid + min(max(j, 0), grid - 1)
                expected += cubic(y - i) * cubic(x - j) * table[cell]
        assert max_difference(actual[index], expected) < TOLERANCE


@pytest.mark.parametrize("modality", MODALITIES)
def test_learned_positions_of_sequences_are_a_table_of_the_real_tokens(modality):
    """Text, audio and ready features: what the same embeddings give with a table of zeros, plus the table's rows."""
    every_tower = {"num_hidden_layers": 0, "position_embedding_type": "learned"}
    model = build(MoTModel, tiny_config("encoders_only", features=modality == "image", every_tower=every_tower))
    inputs = make_inputs((modality,), features=modality == "image")
    output = run(model, inputs)
    weight = model.embeddings[modality].position_embeddings.weight
    table = weight.detach().clone()
    torch.nn.init.zeros_(weight)
    without_positions = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        added = real_tokens(output, index) - real_tokens(without_positions, index)
        assert max_difference(added, table[: len(added)]) < TOLERANCE


def test_learned_positions_of_frames_add_a_grid_and_a_table():
    model = embeddings_model(image_config={"position_embedding_type": "learned"})
    inputs = make_inputs(("image",), frames=True)
    inputs["pixel_values"] = inputs["pixel_values"][..., :8]  # as large as the grid
    output = run(model, inputs)
    embeddings = model.embeddings["image"]
    place, time = (
        p.detach().clone() for p in (embeddings.position_embeddings[0], embeddings.frame_position_embeddings)
    )
    torch.nn.init.zeros_(embeddings.position_embeddings)
    torch.nn.init.zeros_(embeddings.frame_position_embeddings)
    without_positions = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        added = real_tokens(output, index) - real_tokens(without_positions, index)
        expected = [place + time[frame] for frame in range(len(added) // len(place))]
        assert max_difference(added, torch.cat(expected)) < TOLERANCE


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
        tokens = embeddings(pixels, None, torch.zeros(1, embeddings.config.hidden_size))
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


# Positions on one clock


CLOCK_KINDS = {"frames": {"frames": True}, "features": {"features": True}}
every_clock_kind = pytest.mark.parametrize("kind", CLOCK_KINDS)


def with_times(inputs):
    """Frames and features at random moments of about a third of a second, one after the other."""
    times = {}
    for modality, _, value, _ in input_items(inputs):
        if modality in TIMES:
            times[TIMES[modality]] = (torch.rand(value.shape[:2]) * 0.06).cumsum(dim=1)
    return inputs | times


def real_times(inputs, index):
    """modality -> the seconds of a row's real frames or features."""
    return {m: inputs[t][index][inputs[MASKS[m]][index] != 0] for m, t in TIMES.items() if t in inputs}


@pytest.mark.parametrize(
    "audio", [{}, {"stem_stride": 3}, {"stem": "conv"}, {"stem": "conv", "stem_stride": 4}], ids=str
)
@every_clock_kind
def test_tokens_at_given_seconds_equal_the_reference(kind, audio):
    """Left padding and holes too: times travel with their frames, and audio tokens have that of their first one."""
    model = embeddings_model(kind == "features", time_positions=True, audio_config=audio)
    inputs = with_times(make_inputs(MODALITIES, **CLOCK_KINDS[kind]))
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        row, times = real_row(inputs, index), real_times(inputs, index)
        expected = reference_forward(model.state_dict(), model.config, row, times)
        assert max_difference(real_tokens(output, index), expected.last_hidden_state) < TOLERANCE


@every_clock_kind
def test_a_row_with_times_equals_itself_alone(kind):
    config = tiny_config("uneven_towers", features=kind == "features", time_positions=True)
    model = build(MoTModel, config)
    inputs = with_times(make_inputs(MODALITIES, **CLOCK_KINDS[kind]))
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        alone = compact_inputs(inputs, index)
        times = {TIMES[m]: seconds[None] for m, seconds in real_times(inputs, index).items() if len(seconds)}
        alone = run(model, alone | times)
        assert max_difference(real_tokens(output, index), alone.last_hidden_state[0]) < TOLERANCE
        assert max_difference(output.pooler_output[index], alone.pooler_output[0]) < TOLERANCE


@pytest.mark.parametrize("rubbish", [float("nan"), float("inf"), -1e30])
@every_clock_kind
def test_poison_in_masked_times_changes_nothing(kind, rubbish):
    model = build(MoTModel, tiny_config(features=kind == "features", time_positions=True)).train()
    inputs = with_times(make_inputs(MODALITIES, **CLOCK_KINDS[kind]))
    poisoned = dict(inputs)
    for modality, name in TIMES.items():
        poisoned[name] = inputs[name].masked_fill(inputs[MASKS[modality]] == 0, rubbish)
        assert not torch.equal(poisoned[name], inputs[name])
    outputs, gradients = outputs_and_gradients(model, inputs)
    poisoned_outputs, poisoned_gradients = outputs_and_gradients(model, poisoned)
    for actual, expected in zip(poisoned_outputs, outputs):
        assert max_difference(actual, expected) < EXACT
    for name, expected in gradients.items():
        scale = max(1.0, expected.abs().max().item())
        assert max_difference(poisoned_gradients[name], expected) < EXACT * scale, name


def test_a_frame_and_a_sound_of_the_same_second_get_the_same_temporal_part():
    """Frames of a video at any rate, and audio frames at another, say "a second later" by the same vector."""
    model = embeddings_model(time_positions=True)
    seconds = {"slow video": [0.0, 0.5, 1.0], "fast video": [0.0, 0.25, 0.5, 0.75, 1.0], "sound": [0.0, 0.25, 0.5]}
    picture, frame = torch.randn(3, 8, 8), torch.randn(NUM_MEL_BINS)
    later = {}
    for source, times in seconds.items():
        if source == "sound":
            stride = model.config.audio_config.stem_stride
            times_of_frames = torch.tensor(times).repeat_interleave(stride)[None]
            inputs = {"input_features": frame.expand(1, stride * len(times), -1)}
            inputs["input_features_times"] = times_of_frames
        else:
            inputs = {"pixel_values": picture.expand(1, len(times), -1, -1, -1), "pixel_times": torch.tensor([times])}
        tokens = run(model, inputs).last_hidden_state[0].unflatten(0, (len(times), -1))  # (times, patches or 1, d)
        later[source] = tokens[times.index(0.5)] - tokens[0]
    expected = sinusoid(25, model.config.hidden_size) - sinusoid(0, model.config.hidden_size)
    for difference in later.values():
        assert max_difference(difference, expected.expand_as(difference)) < TOLERANCE


def test_a_picture_is_at_second_zero_unless_told_otherwise():
    model, counting = embeddings_model(time_positions=True), embeddings_model()
    inputs = make_inputs(("text", "image"))
    seconds = torch.rand(batch_size_of(inputs), 1) / 4
    assert torch.equal(run(model, inputs).last_hidden_state, run(counting, inputs).last_hidden_state)
    later = run(model, inputs | {"pixel_times": seconds})
    at_zero = run(model, inputs)
    width = model.config.hidden_size
    for index, present in enumerate(inputs["pixel_mask"]):
        added = later.image_hidden_state[index] - at_zero.image_hidden_state[index]
        step = sinusoid(50 * seconds[index].item(), width) - sinusoid(0, width)
        assert max_difference(added, (present * step).expand_as(added)) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", None])
def test_mel_frames_without_times_are_ten_milliseconds_apart(masks):
    """The first real frame of a row is at 0, so that padding changes nothing."""
    model = embeddings_model(time_positions=True)
    inputs = make_inputs(("audio",), masks=masks)
    output = run(model, inputs)
    for index in range(batch_size_of(inputs)):
        row = real_row(inputs, index)
        times = {"audio": torch.arange(len(row["audio"])) / 100} if row else {}
        expected = reference_forward(model.state_dict(), model.config, row, times)
        assert max_difference(real_tokens(output, index), expected.last_hidden_state) < TOLERANCE


def test_times_of_a_modality_that_is_not_given_are_ignored():
    model = embeddings_model(time_positions=True)
    inputs = make_inputs(("text",))
    times = {name: torch.zeros(17, 23) for name in TIMES.values()}
    assert torch.equal(run(model, inputs | times).last_hidden_state, run(model, inputs).last_hidden_state)


@pytest.mark.parametrize("subset", SUBSETS, ids=subset_name)
def test_training_on_the_clock_changes_no_value_and_reaches_every_parameter(subset):
    model = build(MoTModel, tiny_config(time_positions=True))
    inputs = with_times(make_inputs(subset, frames=True))
    expected = run(model, inputs).pooler_output
    output = model.train()(**inputs)
    assert max_difference(output.pooler_output, expected) < EXACT
    output.pooler_output.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name


# What tokens stand for


def assert_equal_with_nan(actual, expected):
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


def patches_of(picture):
    """(C, H, W) -> the corners (row, column) of its patches, row by row."""
    height, width = picture.shape[1:]
    return [(row, column) for row in range(0, height, PATCH_SIZE) for column in range(0, width, PATCH_SIZE)]


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_targets_of_images_are_their_pixels(stem, frames, masks):
    """Rows, columns, channels of each patch of each frame; NaN for frames that are not real."""
    inputs = make_inputs(("image",), frames=frames, masks=masks)
    pixels, mask = inputs["pixel_values"], inputs.get("pixel_mask")
    actual = image_embeddings(stem=stem).targets(pixels, mask)
    videos = pixels if frames else pixels[:, None]
    mask = torch.ones(videos.shape[:2]) if mask is None else mask.reshape(videos.shape[:2])
    expected = []
    for video, real in zip(videos, mask):
        for picture, is_real in zip(video, real):
            for top, left in patches_of(picture):
                for row in range(top, top + PATCH_SIZE):
                    for column in range(left, left + PATCH_SIZE):
                        for channel in picture[:, row, column].tolist():
                            expected.append(channel if is_real else float("nan"))
    assert_equal_with_nan(actual, torch.tensor(expected).reshape(len(videos), -1, PATCH_SIZE**2 * pixels.shape[-3]))


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_targets_of_audio_are_its_real_frames(stem, stride, masks):
    """`stem_stride` real frames for each token, one after the other; NaN beyond the last."""
    inputs = make_inputs(("audio",), masks=masks)
    config = tiny_config(audio_config={"stem": stem, "stem_stride": stride})
    actual = MoTModel(config).embeddings["audio"].targets(inputs["input_features"], inputs.get(MASKS["audio"]))
    batch_size, num_frames = inputs["input_features"].shape[:2]
    num_tokens = -(-num_frames // stride)
    expected = torch.full((batch_size, num_tokens * stride, NUM_MEL_BINS), float("nan"))
    for index in range(batch_size):
        for place, frame in enumerate(real_row(inputs, index).get("audio", ())):
            expected[index, place] = frame
    assert_equal_with_nan(actual, expected.reshape(batch_size, num_tokens, stride * NUM_MEL_BINS))


def test_targets_of_normalised_audio_are_its_normalised_frames():
    inputs = make_inputs(("audio",))
    config = tiny_config(audio_config={"mean_normalization": True, "stem_stride": 1})
    actual = MoTModel(config).embeddings["audio"].targets(*inputs.values())
    for index in range(batch_size_of(inputs)):
        frames = real_row(inputs, index)["audio"]
        assert max_difference(actual[index, : len(frames)], frames - frames.mean(dim=0)) < EXACT
        assert actual[index, len(frames) :].isnan().all()


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("modality", MODALITIES)
def test_targets_of_features_are_the_features(modality, masks):
    inputs = make_inputs((modality,), features=True, masks=masks)
    features, mask = inputs[FEATURE_INPUTS[modality]], inputs.get(MASKS[modality])
    expected = features.clone()
    for index, position in [] if mask is None else (mask == 0).nonzero().tolist():
        expected[index, position] = float("nan")
    assert_equal_with_nan(MoTModel(tiny_config(features=True)).embeddings[modality].targets(features, mask), expected)


# What is hidden of them


def embed(embeddings, inputs, hidden, mask_token):
    """Tokens without the cls token, with a modality embedding of zeros."""
    value, *mask = inputs.values()
    width = embeddings.config.hidden_size
    with torch.no_grad():
        return embeddings(value, *(mask or [None]), torch.zeros(1, width), None, hidden, mask_token)


def disturb(inputs, hidden, stride):
    """The inputs with other values under the hidden tokens (B, N); `stride` mel frames make one, None: not audio."""
    value, *mask = inputs.values()
    changed = value.clone()
    for index, token in hidden.nonzero().tolist():
        if stride is not None:  # the real frames, one after the other
            real = mask[0][index].nonzero().flatten() if mask else torch.arange(value.shape[1])
            for place in real[token * stride : (token + 1) * stride]:
                changed[index, place] += 100 * torch.randn(value.shape[2])
        elif value.ndim == 3:
            changed[index, token] += 100 * torch.randn(value.shape[2])
        else:
            video = changed[index] if value.ndim == 5 else changed[index][None]
            corners = patches_of(video[0])
            top, left = corners[token % len(corners)]
            patch = video[token // len(corners), :, top : top + PATCH_SIZE, left : left + PATCH_SIZE]
            patch += 100 * torch.randn(patch.shape)
    return {**inputs, next(iter(inputs)): changed}


def assert_nothing_leaks(modality, config, inputs):
    embeddings = build(MoTModel, config).embeddings[modality]
    is_mel = modality == "audio" and embeddings.config.feature_size is None
    stride = embeddings.config.stem_stride if is_mel else None
    mask_token = torch.randn(embeddings.config.hidden_size)
    seen = embed(embeddings, inputs, None, None)
    hidden = torch.rand(seen.shape[:2]) < 0.5
    changed = disturb(inputs, hidden, stride)
    tokens = embed(embeddings, inputs, hidden, mask_token)
    assert torch.equal(embed(embeddings, changed, hidden, mask_token), tokens)
    # What is not hidden does show: the test would see a leak.
    assert not torch.equal(embed(embeddings, changed, None, None), seen)
    visible = disturb(inputs, ~hidden, stride)
    assert not torch.equal(embed(embeddings, visible, hidden, mask_token)[~hidden], tokens[~hidden])
    assert torch.equal(embed(embeddings, visible, hidden, mask_token)[hidden], tokens[hidden])
    return hidden, tokens, mask_token


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("frames", [False, True])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_a_hidden_patch_leaks_nothing(stem, frames, masks):
    inputs = make_inputs(("image",), frames=frames, masks=masks)
    hidden, tokens, mask_token = assert_nothing_leaks("image", tiny_config(image_config={"stem": stem}), inputs)
    if not frames:
        corners = patches_of(inputs["pixel_values"][0])
        for index, token in hidden.nonzero().tolist():
            row, column = corners[token]
            place = sinusoid_2d(row // PATCH_SIZE, column // PATCH_SIZE, len(mask_token))
            assert max_difference(tokens[index, token], mask_token + place) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("stem", ["linear", "conv"])
def test_hidden_audio_leaks_nothing(stem, stride, normalized, masks):
    inputs = make_inputs(("audio",), masks=masks)
    audio = {"stem": stem, "stem_stride": stride, "mean_normalization": normalized}
    hidden, tokens, mask_token = assert_nothing_leaks("audio", tiny_config(audio_config=audio), inputs)
    for index in range(batch_size_of(inputs)):
        num_real = -(-len(real_row(inputs, index)["audio"]) // stride)
        for token in hidden[index, :num_real].nonzero().flatten().tolist():
            assert max_difference(tokens[index, token], mask_token + sinusoid(token, len(mask_token))) < TOLERANCE


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("modality", MODALITIES)
def test_a_hidden_feature_leaks_nothing(modality, masks):
    assert_nothing_leaks(modality, tiny_config(features=True), make_inputs((modality,), features=True, masks=masks))
