# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What pictures suffer, each against its definition, on noise, edges and colours."""

import io

import numpy as np
import pytest
from PIL import Image

from mixture_of_transformers.evaluation.corruptions_image import CORRUPTIONS, border_color

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
EVERY = pytest.mark.parametrize("name", BY_NAME)
SEVERITIES = [(c.name, s) for c in CORRUPTIONS for s in range(1, len(c.values) + 1)]


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), mode)


def blot(size: int = 64) -> Image.Image:
    """A white square, above the middle and left of it, on a ground of 40."""
    values = np.full((size, size), 40, dtype=np.uint8)
    values[size // 8 : size // 4, size // 4 : size // 2] = 255
    return Image.fromarray(values)


def changed(name: str, picture: Image.Image, severity: int, seed: int = 0, row: int = 0) -> np.ndarray:
    return np.asarray(BY_NAME[name].apply(picture, severity, seed, row), dtype=float)


@EVERY
def test_a_severity_of_0_is_the_picture_itself(name):
    picture = noise()
    assert BY_NAME[name].apply(picture, 0) is picture


@pytest.mark.parametrize("mode", ["L", "RGB"])
@pytest.mark.parametrize("name, severity", SEVERITIES)
def test_the_same_seed_gives_the_same_picture_of_the_same_mode_and_size(name, severity, mode):
    picture = noise(mode)
    before = picture.copy()
    first, again = (BY_NAME[name].apply(picture, severity, seed=2, row=5) for _ in range(2))
    assert first.mode == mode and first.size == picture.size and first.tobytes() == again.tobytes()
    assert picture.tobytes() == before.tobytes()
    assert first.tobytes() != picture.tobytes() or (name, mode) == ("grey", "L")


@pytest.mark.parametrize("name", ["crop", "sensor_noise", "occlusion"])
def test_other_rows_are_hit_otherwise(name):
    picture = noise()
    assert not np.array_equal(changed(name, picture, 3), changed(name, picture, 3, row=1))


def test_a_jpeg_is_what_a_file_of_that_quality_holds():
    picture = noise()
    for severity, quality in enumerate(BY_NAME["jpeg"].values, start=1):
        file = io.BytesIO()
        picture.save(file, format="JPEG", quality=quality)
        assert np.array_equal(changed("jpeg", picture, severity), np.asarray(Image.open(file), dtype=float))


def test_every_worse_severity_of_compression_blur_and_noise_is_further_from_the_picture():
    picture = noise()
    for name in ("jpeg", "blur", "sensor_noise", "low_resolution", "darkness"):
        errors = [np.abs(changed(name, picture, s) - np.asarray(picture)).mean() for s in range(1, 4)]
        assert errors == sorted(errors) and errors[0] > 0, name


def test_a_blur_spreads_a_point_by_its_share_of_the_side():
    picture = Image.new("L", (200, 200))
    picture.paste(255, (98, 98, 102, 102))
    for severity, share in enumerate(BY_NAME["blur"].values, start=1):
        values = changed("blur", picture, severity)
        weights, places = values.sum(axis=0), np.arange(200)
        mean = (weights * places).sum() / weights.sum()
        spread = ((weights * (places - mean) ** 2).sum() / weights.sum()) ** 0.5
        assert spread == pytest.approx(share * 200, rel=0.15)


def test_a_turn_is_of_its_degrees_to_either_side():
    picture, sides = Image.new("L", (101, 101)), set()
    picture.paste(255, (45, 5, 56, 16))  # straight above the middle
    for severity, degrees in enumerate(BY_NAME["rotation"].values, start=1):
        for row in range(6):
            values = changed("rotation", picture, severity, row=row)
            rows, columns = np.mgrid[:101, :101]
            x, y = ((values * at).sum() / values.sum() - 50 for at in (columns, rows))
            angle = np.degrees(np.arctan2(x, -y))
            assert abs(angle) == pytest.approx(degrees, abs=1)
            sides.add(angle > 0)
    assert sides == {True, False}


def test_the_ground_goes_on_behind_a_turned_or_covered_picture():
    assert border_color(blot()) == 40 and border_color(Image.new("RGB", (5, 5), (1, 2, 3))) == (1, 2, 3)
    assert changed("rotation", blot(), 3).min() == 40
    assert changed("occlusion", blot(), 5).min() == 40


def test_a_cropped_picture_shows_a_part_of_its_share():
    ramp = Image.fromarray(np.tile(np.arange(0, 200, dtype=np.uint8), (200, 1)))
    for severity, share in enumerate(BY_NAME["crop"].values, start=1):
        values = changed("crop", ramp, severity)
        assert values[:, -1].mean() - values[:, 0].mean() == pytest.approx(share * 200, abs=3)


def test_light_colour_and_pixels_are_lost_as_is_said():
    picture = noise()
    for severity, share in enumerate(BY_NAME["darkness"].values, start=1):
        assert changed("darkness", picture, severity) == pytest.approx(np.asarray(picture) * share, abs=0.51)
    values = changed("grey", picture, 1)
    assert np.array_equal(values[..., 0], np.asarray(picture.convert("L"))) and not values.std(axis=-1).any()
    stripes = Image.fromarray(np.tile(np.array([0, 255] * 16, dtype=np.uint8), (32, 1)))
    assert changed("low_resolution", stripes, 1)[:, 2:-2] == pytest.approx(127.5, abs=2)


def test_noise_has_its_share_of_the_range_before_it_is_clipped():
    picture = Image.new("L", (200, 200), 128)
    for severity, share in list(enumerate(BY_NAME["sensor_noise"].values, start=1))[:3]:
        assert changed("sensor_noise", picture, severity).std() == pytest.approx(share * 255, rel=0.03)


def test_a_covered_part_is_one_rectangle_of_its_share():
    values = np.full((60, 80), 200, dtype=np.uint8)
    values[0], values[-1], values[:, 0], values[:, -1] = 10, 10, 10, 10
    for severity, share in enumerate(BY_NAME["occlusion"].values, start=1):
        after = changed("occlusion", Image.fromarray(values), severity)
        rows, columns = np.nonzero(after != values)
        area = (rows.max() - rows.min() + 1) * (columns.max() - columns.min() + 1)
        assert len(rows) == area and area <= round(share * 60 * 80) + 80  # the border had the colour before
        assert area >= (round(60 * share**0.5) - 2) * (round(80 * share**0.5) - 2)


@EVERY
def test_a_picture_of_one_pixel_comes_through(name):
    for severity in range(1, len(BY_NAME[name].values) + 1):
        assert BY_NAME[name].apply(Image.new("RGB", (1, 1), (9, 9, 9)), severity).size == (1, 1)
