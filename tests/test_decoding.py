# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One picture in many depths, modes and files, one sound in many sample formats: the same pixels, the same samples."""

import io

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers.image_transforms import convert_to_rgb

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.decoding_video_mot import load_frames

RATE = 16_000


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------
def drawing(size=(64, 48)):
    """A smooth picture (H, W, 3), grey, so that every mode can hold it."""
    rows, columns = np.mgrid[0 : size[1], 0 : size[0]]
    grey = np.round(127.5 + 127.5 * np.sin(rows / 7) * np.cos(columns / 9)).astype(np.uint8)
    grey[0, 0], grey[0, 1] = 0, 255  # all of its range
    return np.dstack([grey] * 3)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def deep_pictures():
    grey = drawing()[..., 0]
    sixteen, twelve = grey.astype(np.uint16) * 257, np.round(grey / 255 * 4095).astype(np.uint16)
    size = (grey.shape[1], grey.shape[0])
    return {
        "16-bit PNG": encoded(Image.fromarray(sixteen), "PNG"),
        "16-bit TIFF": encoded(Image.fromarray(sixteen), "TIFF"),
        "16-bit big-endian": Image.frombytes("I;16B", size, sixteen.astype(">u2").tobytes()),
        "16-bit PGM": b"P5 %d %d 65535\n" % size + sixteen.astype(">u2").tobytes(),
        "12-bit PGM, which says so": b"P5 %d %d 4095\n" % size + twelve.astype(">u2").tobytes(),
        "12 bits in a 16-bit PNG": encoded(Image.fromarray(twelve), "PNG"),
        "8 bits in a 16-bit PNG": encoded(Image.fromarray(grey.astype(np.uint16)), "PNG"),
        "16 bits in 32": Image.fromarray(sixteen.astype(np.int32)),
        "32-bit TIFF": encoded(Image.fromarray(grey.astype(np.int32) * 2**22), "TIFF"),
        "densities": Image.fromarray(grey.astype(np.int32) * 12 - 1024),
        "elevations in a float TIFF": encoded(Image.fromarray(grey.astype(np.float32) * 8.5 - 400), "TIFF"),
        "float TIFF, 0 to 1": encoded(Image.fromarray(grey.astype(np.float32) / 255), "TIFF"),
        "float TIFF, 0 to 255": encoded(Image.fromarray(grey.astype(np.float32)), "TIFF"),
    }


@pytest.mark.parametrize("name", deep_pictures())
def test_a_deep_picture_is_scaled_by_its_declared_range_or_its_own(name):
    image = load_image(deep_pictures()[name], name, convert_rgb=True)
    assert image.mode == "RGB"
    assert np.abs(np.asarray(image).astype(int) - drawing()).max() <= 1
    assert load_image(deep_pictures()[name], name, convert_rgb=False).mode == "L"


def test_a_deep_picture_of_one_value_is_no_division_by_zero():
    for value in (0, -5, 10**6):
        flat = Image.fromarray(np.full((4, 4), value, np.int32))
        assert len(np.unique(np.asarray(load_image(flat, "flat", convert_rgb=True)))) == 1


def transparent_pictures():
    """A black square on a transparent ground (whose hidden colour is black too), and the same on white."""
    rgba = np.zeros((64, 64, 4), np.uint8)
    rgba[20:44, 20:44, 3] = 255
    image = Image.fromarray(rgba)
    sixteen = Image.fromarray(np.where(rgba[..., 3] > 0, 0, 7).astype(np.uint16) * 257)
    grey, colour = Image.fromarray(255 - rgba[..., 3]), Image.fromarray(np.dstack([255 - rgba[..., 3]] * 3))
    return {
        "RGBA": encoded(image, "PNG"),
        "LA": encoded(image.convert("LA"), "PNG"),
        "palette": encoded(image.quantize(4), "PNG"),
        "GIF": encoded(image, "GIF"),
        "WebP": encoded(image, "WEBP", lossless=True),
        "grey with a transparent value": encoded(grey, "PNG", transparency=255),
        "colour with a transparent value": encoded(colour, "PNG", transparency=(255, 255, 255)),
        "16-bit grey with a transparent value": encoded(sixteen, "PNG", transparency=7 * 257),
        "multiplied": image.convert("RGBa"),
        "array": rgba,
        "tensor": torch.from_numpy(rgba).permute(2, 0, 1) / 255,
    }


@pytest.mark.parametrize("name", transparent_pictures())
def test_what_is_transparent_lies_on_white(name):
    expected = np.full((64, 64, 3), 255, np.uint8)
    expected[20:44, 20:44] = 0
    got = load_image(transparent_pictures()[name], name, convert_rgb=True)
    assert got.mode == "RGB" and np.array_equal(np.asarray(got), expected)


def test_what_is_half_transparent_is_mixed_with_white_as_in_transformers():
    rng = np.random.default_rng(0)
    image = Image.fromarray(rng.integers(0, 256, (20, 20, 4), dtype=np.uint8))
    expected = convert_to_rgb(image, return_numpy=True)
    assert np.array_equal(np.asarray(load_image(image, "image", convert_rgb=True)), expected)


def test_of_many_pictures_in_a_file_the_first_is_taken():
    first, *rest = (Image.fromarray(np.full((8, 8, 3), value, np.uint8)) for value in (0, 128, 255))
    for kind in ("GIF", "PNG", "WEBP", "TIFF"):
        data = encoded(first, kind, save_all=True, append_images=rest)
        assert np.asarray(load_image(data, kind, convert_rgb=True)).max() == 0, kind


@pytest.mark.parametrize(
    "array",
    [
        drawing(),
        drawing() / 255,
        (drawing() / 255).astype(np.float16),
        drawing().astype(np.float32),
        drawing().astype(np.uint16) * 257,
        drawing().astype(np.int32) * 257,
        drawing().astype(np.int64),
        torch.from_numpy(drawing()),
        torch.from_numpy(drawing()).permute(2, 0, 1) / 255,
        torch.from_numpy(drawing().astype(np.uint16) * 257),
    ],
    ids=lambda array: f"{type(array).__name__} {array.dtype}",
)
def test_an_array_of_any_type_is_the_picture_it_holds(array):
    assert np.abs(np.asarray(load_image(array, "array", convert_rgb=True)).astype(int) - drawing()).max() <= 1


def test_a_mask_of_booleans_is_black_and_white():
    mask = drawing()[..., 0] > 127
    for array in (mask, torch.from_numpy(mask)):
        assert np.array_equal(np.asarray(load_image(array, "mask", convert_rgb=True))[..., 0], mask * 255)


@pytest.mark.parametrize(
    "array", [drawing() / 127.5 - 1, np.full((4, 4), np.nan), drawing() * 1e6, np.zeros((0, 4, 3))]
)
def test_an_array_that_is_no_picture_is_an_error_that_names_it(array):
    with pytest.raises(ValueError, match=r"images\[2\] has (values|shape)"):
        load_image(array, "images[2]", convert_rgb=True)


@pytest.mark.parametrize("kind", [np.float32, np.uint16, torch.tensor])
def test_a_dark_frame_of_a_video_stays_dark(kind):
    """All frames have one scale, where a frame alone might be of values from 0 to 1, or of fewer bits."""
    dark, bright = np.full((8, 8, 3), 1.0), drawing((8, 8)).astype(float)
    frames = np.stack([dark, bright])
    video = kind(frames) if kind is torch.tensor else frames.astype(kind) * (257 if kind is np.uint16 else 1)
    decoded, _ = load_frames(video, "video", None, None)
    pictures = [np.asarray(load_image(frame, "frame", convert_rgb=True)) for frame in decoded]
    assert pictures[0].max() == 1 and np.array_equal(pictures[1], bright)


def same_pictures():
    """One picture in every form that shows the same, within what the form loses."""
    picture = Image.fromarray(drawing((64, 64)))
    turned, exif = picture.transpose(Image.Transpose.ROTATE_90), Image.Exif()
    exif[0x0112] = 6  # to be shown rotated by 90 degrees clockwise
    deep = Image.fromarray(np.asarray(picture)[..., 0].astype(np.uint16) * 257)
    return {
        "PNG": encoded(picture, "PNG"),
        "JPEG": encoded(picture, "JPEG", quality=95),
        "grey": encoded(picture.convert("L"), "PNG"),
        "RGBA": encoded(picture.convert("RGBA"), "PNG"),
        "palette": encoded(picture.quantize(256), "PNG"),
        "CMYK": encoded(picture.convert("CMYK"), "JPEG", quality=95),
        "16-bit": encoded(deep, "PNG"),
        "BMP": encoded(picture, "BMP"),
        "WebP": encoded(picture, "WEBP", quality=95),
        "turned": encoded(turned, "PNG", exif=exif),
        "turned JPEG": encoded(turned, "JPEG", quality=95, exif=exif),
        "twice the size": encoded(picture.resize((128, 128), Image.Resampling.BICUBIC), "PNG"),
        "array": np.asarray(picture),
    }


def test_the_same_picture_gives_the_same_answer_in_every_form():
    torch.manual_seed(0)
    model = MoTForSequenceClassification(
        MoTConfig.of_size("tiny", num_labels=4, text_config=None, audio_config=None, image_config={"image_size": 64})
    ).eval()
    half = [0.5] * 3
    image_processor = MoTImageProcessor(
        size={"height": 64, "width": 64}, image_mean=half, image_std=half, do_convert_rgb=True
    )
    processor = MoTProcessor(image_processor=image_processor)
    pixels = processor(images=list(same_pictures().values()))["pixel_values"]
    with torch.no_grad():
        logits = model(pixel_values=pixels).logits
        others = model(pixel_values=-pixels).logits
    for i, name in enumerate(same_pictures()):
        assert (pixels[i] - pixels[0]).abs().mean() < 0.02, name  # of values from -1 to 1
        # Not a tenth of what the negative changes.
        assert (logits[i] - logits[0]).norm() < 0.1 * (others[0] - logits[0]).norm(), name


def test_the_image_processor_alone_sees_the_same_picture_as_the_processor():
    images = [Image.open(io.BytesIO(data)) for data in (deep_pictures()["16-bit PNG"], transparent_pictures()["LA"])]
    image_processor = MoTImageProcessor(size={"height": 32, "width": 32}, do_convert_rgb=True)
    expected = MoTProcessor(image_processor=image_processor)(images=images)["pixel_values"]
    assert torch.equal(image_processor(images, return_tensors="pt")["pixel_values"], expected)


# ---------------------------------------------------------------------------------------------------------------------
# Sound
# ---------------------------------------------------------------------------------------------------------------------
def tone(peak=0.5):
    return peak * np.sin(2 * np.pi * 440 * np.arange(RATE // 4) / RATE)


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_any_depth_and_channels_holds_the_same_samples(subtype, channels):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone()] * channels, axis=1), RATE, subtype=subtype, format="WAV")
    samples, _ = load_audio(buffer.getvalue(), "clip", RATE, None)
    steps = {"PCM_U8": 1 / 128, "ULAW": 1 / 32, "ALAW": 1 / 32}.get(subtype, 1e-4)  # the coarsest of each
    assert samples.shape == tone().shape and np.abs(samples - tone()).max() <= steps


def integers(bits, dtype):
    return np.round(tone() * 2 ** (bits - 1)).astype(dtype)


@pytest.mark.parametrize(
    "array",
    [
        integers(8, np.int8),
        (integers(8, np.int16) + 128).astype(np.uint8),  # as 8-bit WAV has it
        integers(16, np.int16),
        integers(16, np.int32),
        integers(16, np.int64).tolist(),
        integers(16, np.float32),
        integers(32, np.int32),
        integers(32, np.int64),
        np.stack([integers(16, np.int16)] * 2),
        torch.from_numpy(integers(16, np.int16)),
        tone(),
        tone().astype(np.float16),
        torch.from_numpy(tone()).bfloat16(),
    ],
    ids=lambda array: f"{type(array).__name__} {getattr(array, 'dtype', '')}",
)
def test_samples_of_any_type_are_scaled_to_one(array):
    samples, _ = load_audio({"array": array, "sampling_rate": RATE}, "clip", RATE, None)
    assert samples.dtype == np.float32 and np.abs(samples - tone()).max() < 1 / 127


def test_floats_a_little_over_full_scale_are_left_as_they_are():
    samples, _ = load_audio({"array": tone(peak=5.0), "sampling_rate": RATE}, "clip", RATE, None)
    assert samples.max() == pytest.approx(5.0, abs=0.1)


@pytest.mark.parametrize("array", [np.full(4000, 2.0**40), np.full(4000, True), np.full(4000, 1j)])
def test_samples_without_a_scale_are_an_error_that_names_the_row(array):
    with pytest.raises(ValueError, match=r"audio\[1\] has samples"):
        MoTProcessor()(audio=[tone(), {"array": array, "sampling_rate": RATE}], sampling_rate=RATE)


def test_samples_that_are_not_numbers_are_an_error_that_names_the_row(tmp_path):
    broken = np.where(np.arange(4000) == 2000, np.nan, 0.1)
    soundfile.write(tmp_path / "clip.wav", broken, RATE, subtype="FLOAT")
    for clip in (broken, tmp_path / "clip.wav", broken * 1e4):
        with pytest.raises(ValueError, match=r"audio\[1\] holds NaN"):
            MoTProcessor()(audio=[tone(), clip], sampling_rate=RATE)


@pytest.mark.parametrize("rate", [7_350, 11_127, 22_255, 44_101, 96_000, 192_000])
def test_sound_of_an_odd_rate_keeps_its_pitch_and_length(rate):
    heard = np.sin(2 * np.pi * 440 * np.arange(rate // 4) / rate)
    samples, _ = load_audio({"array": heard, "sampling_rate": rate}, "clip", RATE, None)
    assert abs(len(samples) - len(tone())) <= 3
    inner = slice(200, 3800)  # beyond the ends, where the filter sees silence
    assert np.abs(samples[inner] - tone(peak=1.0)[inner]).max() < 1e-3


@pytest.mark.parametrize("rate", [0, -1, float("nan"), "16 kHz"])
def test_a_rate_that_is_none_is_an_error(rate):
    with pytest.raises(ValueError, match="sampling rate of clip"):
        load_audio({"array": tone(), "sampling_rate": rate}, "clip", RATE, None)
