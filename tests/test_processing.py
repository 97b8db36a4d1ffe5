# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""MoTProcessor: whatever people have becomes the same tensors, absent rows stay absent, bad input is named.

Every picture, sound and video here is a real file or real bytes; URLs are served by a local web server.
"""

import base64
import functools
import http.server
import io
import subprocess
import sys
import threading
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from small_media import png_bytes, sound_bytes
from transformers import (
    BatchFeature,
    BertTokenizer,
    CLIPImageProcessorPil,
    ParakeetFeatureExtractor,
    SeamlessM4TFeatureExtractor,
    Siglip2ImageProcessorPil,
    ViTImageProcessorPil,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.image_transforms import convert_to_rgb

from mixture_of_transformers.decoding_video_mot import even_indices
from mixture_of_transformers.feature_extraction_mot import MoTFeatureExtractor
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.resampling_mot import resample

av = pytest.importorskip("av")

RATE = 16000
WORDS = ("a", "small", "red", "cat", "sings", "##ing", "dog")


@pytest.fixture(scope="module")
def processor():
    return make_processor()


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def make_processor(**parts):
    vocab = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS))}
    tokenizer = BertTokenizer(vocab=vocab, model_max_length=6, model_input_names=["input_ids", "attention_mask"])
    return MoTProcessor(**{"tokenizer": tokenizer, **parts})


def tone(frequency=440.0, rate=RATE, seconds=0.5):
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


def picture(rng, mode="RGB", size=(40, 30)):
    array = rng.integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(array).convert(mode)


def write_mp4(path, frames, samples=None, rate=RATE, fps=10, ticks=None, sound_start=0.0):
    """Frame i of the video is uniformly grey at the i-th value of `frames`; `samples` become its AAC sound.

    The frames follow each other at `fps`, or are shown at `ticks` (in frames); the sound starts at `sound_start` (s).
    """
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=fps)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = container.add_stream("aac", rate=rate, layout="mono") if samples is not None else None
        for i, grey in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            frame.pts = None if ticks is None else ticks[i]
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            frame.pts, frame.time_base = round(sound_start * rate), Fraction(1, rate)
            container.mux([*sound.encode(frame), *sound.encode(None)])
    return path


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path on localhost and returns its URL."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


# ---------------------------------------------------------------------------------------------------------------------
# Layout
# ---------------------------------------------------------------------------------------------------------------------
def test_full_batch_has_the_documented_names_shapes_and_types(processor, rng):
    batch = processor(
        text=["a cat", "red"],
        images=[picture(rng), picture(rng)],
        audio=[tone(), tone(seconds=0.25)],
        sampling_rate=RATE,
        return_tensors="pt",
    )
    assert set(batch) == set(processor.model_input_names)
    assert batch["input_ids"].tolist() == [[2, 5, 8, 3], [2, 7, 3, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1], [1, 1, 1, 0]]
    assert batch["pixel_values"].shape == (2, 3, 224, 224)
    assert batch["pixel_mask"].tolist() == [1, 1]
    assert batch["input_features"].shape == (2, 49, 80)
    assert batch["input_features_mask"].sum(1).tolist() == [49, 24]
    for name, values in batch.items():
        is_float = name in ("pixel_values", "input_features")
        assert values.dtype == (torch.float32 if is_float else torch.int64), name


def test_missing_rows_are_zeros_with_mask_zero_and_change_no_other_row(processor, rng):
    images, sounds = [picture(rng), picture(rng)], [tone(), tone(880.0)]
    full = processor(text=["a cat", "red dog"], images=images, audio=sounds, sampling_rate=RATE)
    sparse = processor(
        text=["a cat", None, None, "red dog"],
        images=[None, *images, None],
        audio=[sounds[0], None, None, sounds[1]],
        sampling_rate=RATE,
    )
    where = {"input_ids": [0, 3], "attention_mask": [0, 3], "pixel_values": [1, 2], "pixel_mask": [1, 2]}
    where |= {"input_features": [0, 3], "input_features_mask": [0, 3]}
    for name, present in where.items():
        absent = [i for i in range(4) if i not in present]
        torch.testing.assert_close(sparse[name][present], full[name], rtol=0, atol=0)
        assert not sparse[name][absent].any(), name


def test_modality_that_is_none_in_every_row_is_left_out(processor):
    batch = processor(text=["cat", "dog"], images=[None, None], audio=[None, None], videos=[None, None])
    assert set(batch) == {"input_ids", "attention_mask"}


def test_a_sound_may_be_a_tuple_of_its_rate_and_samples(processor):
    wave = (tone(rate=8000) * 2**14).astype(np.int16)
    expected = processor(audio={"array": wave, "sampling_rate": 8000})["input_features"]
    for audio in ((8000, wave), [(8000, wave)], ((8000, torch.tensor(wave)),)):
        assert torch.equal(processor(audio=audio)["input_features"], expected)


def test_a_blank_string_is_a_row_without_that_modality(processor, rng):
    pictures = [picture(rng), picture(rng)]
    expected = processor(text=["cat", None], images=pictures)
    for blank in ("", " \n\t", "\u3000"):
        found = processor(text=["cat", blank], images=pictures, audio=blank, videos=[blank, blank])
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    assert set(processor(text=["", " "], images=pictures)) == {"pixel_values", "pixel_mask"}
    assert set(processor(text="cat", sentence="", images=" ")) == {"input_ids", "attention_mask"}


def test_single_inputs_are_a_batch_of_one(processor, rng):
    batch = processor(text="a cat", images=picture(rng), audio=tone(), sampling_rate=RATE)
    assert {len(values) for values in batch.values()} == {1}
    clip = processor(audio=tone().tolist(), sampling_rate=RATE)
    torch.testing.assert_close(clip["input_features"], batch["input_features"])


def test_numpy_tensors_on_request(processor, rng):
    batch = processor(text=["a cat"], images=[picture(rng)], return_tensors="np")
    assert all(isinstance(values, np.ndarray) for values in batch.values())


def test_default_parts_need_no_files():
    processor = MoTProcessor()
    batch = processor(text="hello", audio=tone(), sampling_rate=RATE, images=np.zeros((8, 8, 3), np.uint8))
    assert batch["pixel_values"].shape == (1, 3, 224, 224)
    expected = (0 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(batch["pixel_values"][0, :, 0, 0], expected)
    assert processor.feature_extractor.sampling_rate == RATE


# ---------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------
def test_text_is_cut_only_on_request(processor):
    words = "a small red cat sings a small red cat"
    assert processor(text=words)["input_ids"].shape[1] == 11
    assert processor(text=words, truncation=True)["input_ids"].shape[1] == processor.tokenizer.model_max_length
    assert processor(text=words, text_kwargs={"truncation": True, "max_length": 4})["input_ids"].shape[1] == 4


def test_text_length_options_do_not_cut_or_pad_the_sound(processor):
    options = {"padding": "max_length", "truncation": True, "max_length": 5}
    batch = processor(text="a cat", audio=tone(), sampling_rate=RATE, **options)
    assert batch["input_ids"].shape[1] == 5
    torch.testing.assert_close(batch["input_features"], processor(audio=tone(), sampling_rate=RATE)["input_features"])
    cut = processor(audio=tone(), audio_kwargs={"sampling_rate": RATE, "truncation": True, "max_length": RATE // 4})
    assert cut["input_features"].shape[1] == 24


def test_nested_options_equal_flat_ones(processor, rng):
    image = picture(rng)
    flat = processor(text=["a cat"], images=[image], audio=[tone()], do_normalize=False, sampling_rate=RATE)
    nested = processor(
        text=["a cat"],
        images=[image],
        audio=[tone()],
        text_kwargs={"padding": True, "truncation": "longest_first"},
        images_kwargs={"do_normalize": False},
        audio_kwargs={"padding": True, "sampling_rate": RATE},
        videos_kwargs={},
        common_kwargs={"return_tensors": "pt"},
    )
    assert flat["pixel_values"].min() >= 0
    for name in flat:
        torch.testing.assert_close(nested[name], flat[name], rtol=0, atol=0)


def test_token_type_ids_never_reach_the_model():
    tokenizer = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "cat": 4})
    assert set(MoTProcessor(tokenizer=tokenizer)(text=["cat"])) == {"input_ids", "attention_mask"}


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------
def test_every_form_of_a_picture_gives_the_same_pixels(processor, rng, tmp_path, server):
    image = picture(rng)
    array, data, path = np.asarray(image), png_bytes(image), tmp_path / "picture.png"
    path.write_bytes(data)
    forms = {
        "pil": image,
        "channels last": array,
        "channels first": array.transpose(2, 0, 1),
        "torch": torch.from_numpy(array.copy()),
        "float 0..255": array.astype(np.float32),
        "float 0..1": torch.from_numpy(array.copy()).permute(2, 0, 1) / 255,
        "path": path,
        "path string": str(path),
        "bytes": data,
        "bytes dict": {"bytes": data, "path": None},
        "path dict": {"bytes": None, "path": str(path)},
        "url": f"{server}/picture.png",
        "data url": "data:image/png;base64," + base64.b64encode(data).decode(),
        "nested": [image],
    }
    expected = processor(images=[image])["pixel_values"]
    batch = processor(images=list(forms.values()))
    for row, form in zip(batch["pixel_values"], forms):
        torch.testing.assert_close(row, expected[0], rtol=0, atol=0, msg=form)
    for form in ("channels first", "path", "bytes", "bytes dict", "url"):
        torch.testing.assert_close(processor(images=forms[form])["pixel_values"], expected, rtol=0, atol=0, msg=form)
    stacked = processor(images=np.stack([array, array]))
    torch.testing.assert_close(stacked["pixel_values"], expected.repeat(2, 1, 1, 1), rtol=0, atol=0)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1", "LA", "CMYK"])
def test_pictures_of_any_mode_become_rgb(processor, rng, mode):
    image = picture(rng, mode)
    pixels = processor(images=[image])["pixel_values"]
    on_white = convert_to_rgb(image, return_numpy=True)
    torch.testing.assert_close(pixels, processor(images=[on_white])["pixel_values"])


def test_greyscale_arrays_equal_greyscale_pictures(processor, rng):
    image = picture(rng, "L")
    array = np.asarray(image)
    batch = processor(images=[image, array, array[None], array[..., None], (array / 255).astype(np.float32)])
    for row in batch["pixel_values"]:
        torch.testing.assert_close(row, batch["pixel_values"][0], rtol=0, atol=0)


def test_sixteen_bit_greyscale_is_scaled_not_clipped(processor, rng):
    grey = rng.integers(0, 256, (30, 40), dtype=np.uint8)
    deep = Image.fromarray(grey.astype(np.uint16) * 256)
    torch.testing.assert_close(processor(images=[deep])["pixel_values"], processor(images=[grey])["pixel_values"])


def test_picture_is_turned_upright_by_its_exif(processor, rng):
    image, buffer = picture(rng), io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show the picture rotated by 90 degrees clockwise
    image.save(buffer, format="PNG", exif=exif)
    upright = image.transpose(Image.Transpose.ROTATE_270)
    got = processor(images=[buffer.getvalue()])["pixel_values"]
    torch.testing.assert_close(got, processor(images=[upright])["pixel_values"], rtol=0, atol=0)


def test_image_processor_decides_about_channels_and_size(rng):
    grey = ViTImageProcessorPil(
        do_convert_rgb=False, image_mean=[0.5], image_std=[0.5], size={"height": 28, "width": 28}
    )
    batch = make_processor(image_processor=grey)(images=[picture(rng, "L"), None], text=["cat", "dog"])
    assert batch["pixel_values"].shape == (2, 1, 28, 28)
    clip = make_processor(image_processor=CLIPImageProcessorPil())(images=picture(rng))
    assert clip["pixel_values"].shape == (1, 3, 224, 224)


# ---------------------------------------------------------------------------------------------------------------------
# Videos
# ---------------------------------------------------------------------------------------------------------------------
def test_every_form_of_a_video_gives_the_same_frames(processor, rng, tmp_path, server):
    path = write_mp4(tmp_path / "video.mp4", range(0, 250, 10))
    with av.open(str(path)) as container:
        frames = [frame.to_image() for frame in container.decode(video=0)]
    array = np.stack([np.asarray(frame) for frame in frames])
    forms = {
        "path": path,
        "bytes": path.read_bytes(),
        "dict": {"bytes": path.read_bytes(), "path": "video.mp4"},
        "url": f"{server}/video.mp4",
        "frames": frames,
        "frame arrays": list(array),
        "frames last": array,
        "frames first": torch.from_numpy(array).permute(0, 3, 1, 2),
    }
    expected = processor(images=[frames[i] for i in (0, 3, 7, 10, 14, 17, 21, 24)])["pixel_values"]  # 8 of 25
    batch = processor(videos=list(forms.values()))
    assert batch["pixel_values"].shape == (len(forms), 8, 3, 224, 224)
    assert batch["pixel_mask"].tolist() == [[1] * 8] * len(forms)
    for row, form in zip(batch["pixel_values"], forms):
        torch.testing.assert_close(row, expected, rtol=0, atol=0, msg=form)
    for form, video in forms.items():
        torch.testing.assert_close(processor(videos=video)["pixel_values"][0], expected, rtol=0, atol=0, msg=form)


def test_short_videos_pictures_and_missing_rows_share_a_batch(processor, rng):
    image, clip = picture(rng), [picture(rng) for _ in range(3)]
    batch = processor(text=["a"] * 4, images=[image, None, None, None], videos=[None, clip, None, clip[:1]])
    assert batch["pixel_values"].shape == (4, 3, 3, 224, 224)
    assert batch["pixel_mask"].tolist() == [[1, 0, 0], [1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert not batch["pixel_values"][batch["pixel_mask"] == 0].any()
    torch.testing.assert_close(batch["pixel_values"][0, 0], processor(images=image)["pixel_values"][0])


def test_number_of_frames_is_set_once_or_for_one_call(rng):
    processor, clip = make_processor(num_frames=4), [picture(rng) for _ in range(10)]
    assert processor(videos=clip)["pixel_mask"].shape == (1, 4)
    assert processor(videos=clip, videos_kwargs={"num_frames": 6})["pixel_mask"].shape == (1, 6)
    assert processor(videos=clip, videos_kwargs={"do_sample_frames": False})["pixel_mask"].shape == (1, 10)


def test_sampled_frames_are_even_and_never_repeat():
    assert even_indices(5, 8) == [0, 1, 2, 3, 4]
    assert even_indices(9, 3) == [0, 4, 8]
    assert all(len(set(even_indices(total, 8))) == 8 for total in range(8, 200))


def test_video_recorded_on_its_side_is_turned_upright(processor, tmp_path):
    path = write_mp4(tmp_path / "video.mp4", [0, 100, 200])
    data = bytearray(path.read_bytes())
    matrix = data.index(b"tkhd") + 4 + 40  # the 3x3 display matrix of the track header, in 16.16 and 2.30 fixed point
    for offset, value in zip(range(0, 36, 4), (0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30)):
        data[matrix + offset : matrix + offset + 4] = value.to_bytes(4, "big", signed=True)
    keep_size = make_processor(image_processor=ViTImageProcessorPil(do_resize=False))
    assert keep_size(videos=path)["pixel_values"].shape[-2:] == (48, 64)
    assert keep_size(videos=bytes(data))["pixel_values"].shape[-2:] == (64, 48)


# ---------------------------------------------------------------------------------------------------------------------
# Sound
# ---------------------------------------------------------------------------------------------------------------------
def test_every_form_of_a_clip_gives_the_same_features(processor, tmp_path, server):
    samples, data, path = tone(), sound_bytes(tone(), subtype="FLOAT"), tmp_path / "clip.wav"
    path.write_bytes(data)
    forms = {
        "array": samples,
        "torch": torch.from_numpy(samples),
        "double": samples.astype(np.float64),
        "dict": {"array": samples, "sampling_rate": RATE},
        "list dict": {"array": samples.tolist(), "sampling_rate": RATE},
        "dict over kwarg": {"array": samples, "sampling_rate": RATE, "path": "gone.wav"},
        "path": path,
        "path string": str(path),
        "bytes": data,
        "bytes dict": {"bytes": data, "path": None},
        "path dict": {"bytes": None, "path": str(path)},
        "url": f"{server}/clip.wav",
        "stereo channels first": np.stack([samples * 2, samples * 0]),
        "stereo channels last": np.stack([samples * 2, samples * 0], axis=1),
    }
    expected = processor.feature_extractor([samples], return_tensors="pt", pad_to_multiple_of=None)
    batch = processor(audio=list(forms.values()), sampling_rate=RATE)
    assert batch["input_features_mask"].all()
    for row, form in zip(batch["input_features"], forms):
        torch.testing.assert_close(row, expected["input_features"][0], rtol=0, atol=1e-5, msg=form)


def test_integer_samples_equal_the_lossless_file_of_them(processor, tmp_path):
    as_int16 = np.round(tone() * 32768).astype(np.int16)
    soundfile.write(tmp_path / "clip.flac", as_int16, RATE)
    forms = [tmp_path / "clip.flac", as_int16, np.stack([as_int16, as_int16]), as_int16.astype(np.int32) * 65536]
    for row in processor(audio=forms, sampling_rate=RATE)["input_features"]:
        expected = processor(audio=as_int16 / 32768, sampling_rate=RATE)["input_features"]
        torch.testing.assert_close(row, expected[0], rtol=0, atol=0)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "mp4", "m4a"])
def test_files_of_any_format_and_rate_keep_their_pitch(processor, tmp_path, suffix):
    path, rate = tmp_path / f"clip.{suffix}", 44100
    if suffix == "mp4":
        write_mp4(path, [0, 100], tone(1000.0, rate), rate)
    elif suffix == "m4a":
        with av.open(str(path), "w", format="ipod") as container:
            stream = container.add_stream("aac", rate=rate, layout="mono")
            frame = av.AudioFrame.from_ndarray(tone(1000.0, rate)[None], format="fltp", layout="mono")
            frame.sample_rate = rate
            container.mux([*stream.encode(frame), *stream.encode(None)])
    else:
        soundfile.write(path, tone(1000.0, rate), rate)
    got, expected = processor(audio=path), processor(audio=tone(1000.0), sampling_rate=RATE)
    assert abs(got["input_features"].shape[1] - expected["input_features"].shape[1]) <= 8  # codecs add padding
    assert got["input_features"][0, 20].argmax() == expected["input_features"][0, 20].argmax()


def slow_resample(waveform, from_rate, to_rate):
    """The definition: every output is a sum over all inputs, weighted by a Kaiser-windowed sinc of the distance."""
    cutoff = 0.95 * min(1, to_rate / from_rate)
    half_width = np.ceil(32 / cutoff)
    output = []
    for n in range(int(np.ceil(len(waveform) * to_rate / from_rate))):
        distance = np.arange(len(waveform)) - n * from_rate / to_rate
        inside = np.clip(1 - (distance / half_width) ** 2, 0, 1)
        window = np.where(np.abs(distance) <= half_width, np.i0(10 * np.sqrt(inside)) / np.i0(10), 0)
        output.append(np.sum(waveform * cutoff * np.sinc(cutoff * distance) * window))
    return np.array(output)


@pytest.mark.parametrize("from_rate", [8000, 11025, 16001, 22050, 44100, 48000])
def test_resampling_equals_its_slow_definition_and_a_tone_of_the_new_rate(rng, from_rate):
    noise = rng.standard_normal(701).astype(np.float32)
    np.testing.assert_allclose(resample(noise, from_rate, RATE), slow_resample(noise, from_rate, RATE), atol=2e-6)
    got, expected = resample(tone(440.0, from_rate), from_rate, RATE), tone(440.0)
    assert len(got) == np.ceil(from_rate // 2 * RATE / from_rate)
    inner = slice(500, min(len(got), len(expected)) - 500)
    np.testing.assert_allclose(got[inner], expected[inner], atol=1e-4)


def test_resampling_removes_what_the_new_rate_cannot_carry():
    assert np.abs(resample(tone(12000.0, 48000), 48000, RATE)[500:-500]).max() < 1e-4


@pytest.mark.parametrize("length", [RATE // 2, 12800, 400])  # 12800 samples: as many frames as mel bins
@pytest.mark.parametrize("extractor", [WhisperFeatureExtractor, ParakeetFeatureExtractor])
def test_other_mel_extractors_come_out_frames_first_with_a_mask(extractor, length, rng):
    processor = make_processor(feature_extractor=extractor(feature_size=80))
    clips = [rng.standard_normal(length).astype(np.float32), rng.standard_normal(450).astype(np.float32)]
    batch = processor(text=["a", "cat", "dog"], audio=[clips[0], None, clips[1]], sampling_rate=RATE)
    options = {"padding": "longest", "truncation": False, "return_attention_mask": True, "return_tensors": "pt"}
    expected = processor.feature_extractor(clips, sampling_rate=RATE, **options)
    features, mask = expected["input_features"], expected["attention_mask"].long()
    if extractor is WhisperFeatureExtractor:
        features = features.transpose(1, 2)
    assert batch["attention_mask"].tolist() == [[1, 1, 1]] * 3  # the mel extractor's mask has not replaced it
    assert torch.equal(batch["input_features_mask"][[0, 2]], mask)
    assert not batch["input_features_mask"][1].any()
    torch.testing.assert_close(batch["input_features"][[0, 2]], features * mask[..., None], rtol=0, atol=0)


def test_forty_seconds_are_not_cut(rng):
    processor = make_processor(feature_extractor=WhisperFeatureExtractor(feature_size=80))
    assert processor(audio=tone(seconds=40), sampling_rate=RATE)["input_features"].shape == (1, 4000, 80)
    assert make_processor()(audio=tone(seconds=40), sampling_rate=RATE)["input_features"].shape == (1, 3999, 80)


def test_torchcodec_decoders_equal_the_files_they_read(processor, tmp_path):
    try:
        from torchcodec.decoders import AudioDecoder, VideoDecoder
    except (ImportError, OSError, RuntimeError):
        pytest.skip("torchcodec does not load here")
    path = write_mp4(tmp_path / "video.mp4", range(0, 250, 10))
    wav = tmp_path / "clip.wav"
    wav.write_bytes(sound_bytes(tone(rate=44100), 44100, subtype="FLOAT"))
    got, expected = processor(audio=AudioDecoder(str(wav))), processor(audio=wav)
    torch.testing.assert_close(got["input_features"], expected["input_features"], rtol=0, atol=1e-3)
    got, expected = processor(videos=VideoDecoder(str(path))), processor(videos=path)
    torch.testing.assert_close(got["pixel_values"], expected["pixel_values"], rtol=0, atol=0.05)


def test_columns_of_datasets_are_batches(processor, rng):
    datasets = pytest.importorskip("datasets")
    images = [{"bytes": png_bytes(picture(rng)), "path": None}, None]
    audio = [{"bytes": sound_bytes(tone(), subtype="FLOAT"), "path": None}, None]
    table = datasets.Dataset.from_dict({"text": ["a cat", "dog"], "image": images, "audio": audio})
    table = table.cast_column("image", datasets.Image()).cast_column("audio", datasets.Audio(decode=False))
    batch = processor(text=table["text"], images=table["image"], audio=table["audio"])
    assert batch["pixel_mask"].tolist() == [1, 0]
    assert batch["input_features_mask"].any(1).tolist() == [True, False]


# ---------------------------------------------------------------------------------------------------------------------
# Times
# ---------------------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fps", [10, 25])
def test_kept_frames_keep_their_own_times(rng, tmp_path, fps):
    path = write_mp4(tmp_path / "video.mp4", range(0, 240, 8), fps=fps)
    frames = [picture(rng) for _ in range(30)]
    processor = make_processor(num_frames=4, return_times=True)
    batch = processor(videos=[path, path.read_bytes(), frames], videos_kwargs={"fps": fps})
    expected = torch.tensor([[0, 10, 19, 29]] * 3) / fps  # 4 of 30
    assert batch["pixel_times"].dtype == torch.float32
    torch.testing.assert_close(batch["pixel_times"], expected, rtol=0, atol=1e-6)
    every = processor(videos=path, videos_kwargs={"do_sample_frames": False})
    torch.testing.assert_close(every["pixel_times"], torch.arange(30)[None] / fps, rtol=0, atol=1e-6)


def test_times_of_a_file_are_its_timestamps_not_its_frame_rate(tmp_path):
    ticks = [0, 1, 2, 5, 11, 12]
    path = write_mp4(tmp_path / "uneven.mp4", range(0, 240, 40), ticks=ticks)
    batch = make_processor(return_times=True)(videos=path, videos_kwargs={"fps": 3})
    torch.testing.assert_close(batch["pixel_times"], torch.tensor([ticks]) / 10, rtol=0, atol=1e-6)


def test_raw_stream_without_timestamps_is_timed_by_its_frame_rate(tmp_path):
    if "libx264" not in av.codecs_available:
        pytest.skip("this PyAV has no H.264 encoder")
    with av.open(str(tmp_path / "raw.h264"), "w", format="h264") as container:
        video = container.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for grey in range(0, 250, 50):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), grey, np.uint8), format="rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    processor = make_processor(return_times=True, num_frames=3)
    times = processor(videos=tmp_path / "raw.h264")["pixel_times"]
    torch.testing.assert_close(times, torch.tensor([[0, 0.2, 0.4]]), rtol=0, atol=1e-6)
    times = processor(videos=tmp_path / "raw.h264", videos_kwargs={"fps": 20})["pixel_times"]
    torch.testing.assert_close(times, torch.tensor([[0, 0.1, 0.2]]), rtol=0, atol=1e-6)


def test_decoders_tell_the_times_of_their_frames_and_of_their_first_sample():
    """Objects with the interface of torchcodec's decoders, which need libraries that few machines have."""
    pts = torch.tensor([0.5, 0.6, 0.8, 0.9, 1.4], dtype=torch.float64)
    frames = torch.zeros(5, 3, 48, 64, dtype=torch.uint8)
    video = SimpleNamespace(
        metadata=SimpleNamespace(num_frames=5),
        get_frames_at=lambda indices: SimpleNamespace(data=frames[indices], pts_seconds=pts[indices]),
    )
    samples = SimpleNamespace(data=torch.from_numpy(tone())[None], sample_rate=RATE, pts_seconds=0.25)
    sound = SimpleNamespace(get_all_samples=lambda: samples)
    batch = make_processor(return_times=True, num_frames=3)(videos=video, audio=sound)
    torch.testing.assert_close(batch["pixel_times"], torch.tensor([[0.5, 0.8, 1.4]]))
    torch.testing.assert_close(batch["input_features_times"], 0.25 + torch.arange(49)[None] / 100)


def test_times_are_zero_where_nothing_is(rng):
    processor, clip = make_processor(return_times=True), [picture(rng) for _ in range(3)]
    batch = processor(
        text=["a"] * 4,
        images=[picture(rng), None, None, None],
        videos=[None, clip, None, clip[:2]],
        audio=[tone(), None, tone(seconds=0.25), None],
        sampling_rate=RATE,
        videos_kwargs={"fps": 4},
    )
    assert batch["pixel_times"].tolist() == [[0, 0, 0], [0, 0.25, 0.5], [0, 0, 0], [0, 0.25, 0]]
    expected = torch.arange(49) / 100 * batch["input_features_mask"]
    torch.testing.assert_close(batch["input_features_times"], expected, rtol=0, atol=1e-6)
    assert batch["input_features_times"].count_nonzero(1).tolist() == [48, 0, 23, 0]


@pytest.mark.parametrize("extractor", [MoTFeatureExtractor, WhisperFeatureExtractor, ParakeetFeatureExtractor])
def test_mel_times_are_where_the_extractor_centres_its_frames(extractor):
    samples = np.zeros(RATE, np.float32)
    samples[RATE // 2] = 1.0  # a click after half a second
    processor = make_processor(feature_extractor=extractor(feature_size=80), return_times=True)
    batch = processor(audio=samples, sampling_rate=RATE)
    loudest = batch["input_features"][0].exp().sum(-1).argmax()
    assert batch["input_features_times"][0, loudest].item() == pytest.approx(0.5)
    assert batch["input_features_times"][0, 1].item() == pytest.approx(processor.feature_extractor.hop_length / RATE)


def test_mel_times_do_not_count_padding_on_the_left():
    extractor = WhisperFeatureExtractor(feature_size=80, padding_side="left")
    batch = make_processor(feature_extractor=extractor, return_times=True)(
        audio=[tone(), tone(seconds=0.25)], sampling_rate=RATE
    )
    assert batch["input_features_mask"][1].tolist() == [0] * 25 + [1] * 25
    expected = torch.cat([torch.zeros(25), torch.arange(25) / 100])
    torch.testing.assert_close(batch["input_features_times"][1], expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("fps", [10, 25])
@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts"])
@pytest.mark.parametrize("clock_start, sound_delay", [(0, 0.0), (0, 0.3), (5, 0.0), (5, 0.3)])
def test_flash_and_beep_of_one_file_are_at_the_same_time(tmp_path, fps, suffix, clock_start, sound_delay):
    """Also where the sound starts after the pictures, or the file's clock does not start at zero."""
    lit = range(fps, fps + fps // 5)  # 1.0 to 1.2 s after the first picture
    greys = [255 if i in lit else 0 for i in range(2 * fps)]
    ticks = [clock_start * fps + i for i in range(2 * fps)]
    beep = np.concatenate([np.zeros(RATE), tone(1000.0, seconds=0.2), np.zeros(RATE // 2)]).astype(np.float32)
    beep = beep[round(sound_delay * RATE) :]
    path = tmp_path / f"flash.{suffix}"
    write_mp4(path, greys, beep, fps=fps, ticks=ticks, sound_start=clock_start + sound_delay)

    small = ViTImageProcessorPil(size={"height": 16, "width": 16})
    processor = make_processor(return_times=True, image_processor=small)
    batch = processor(videos=path, audio=path, videos_kwargs={"do_sample_frames": False})
    brightness, loudness = batch["pixel_values"].mean((0, 2, 3, 4)), batch["input_features"][0].max(-1).values
    white = batch["pixel_times"][0][brightness > 0.5]
    loud = batch["input_features_times"][0][loudness > loudness.max() - 2]
    assert len(white) == len(lit)
    assert white[0].item() == pytest.approx(loud[0].item(), abs=1 / fps)
    assert white[-1].item() + 1 / fps == pytest.approx(loud[-1].item(), abs=1 / fps)
    assert white[0].item() == pytest.approx(1.0, abs=0.1)  # the encoder of the sound may start the file a bit earlier


def test_without_return_times_nothing_changes(rng, tmp_path):
    path = write_mp4(tmp_path / "video.mp4", range(0, 240, 40), tone())
    inputs = {"text": ["a cat"], "videos": [path], "audio": [path]}
    plain, timed = make_processor(), make_processor(return_times=True)
    expected, got = plain(**inputs), timed(**inputs)
    assert set(expected) == set(plain.model_input_names)
    assert set(got) == set(timed.model_input_names) == {*expected, "pixel_times", "input_features_times"}
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=0)


def test_pictures_alone_and_ready_features_have_no_times(rng):
    processor = make_processor(return_times=True)
    assert set(processor(images=[picture(rng)])) == {"pixel_values", "pixel_mask"}
    ready = processor(image_features=rng.standard_normal((1, 4, 7)), audio_features=rng.standard_normal((1, 4, 7)))
    assert not {"pixel_times", "input_features_times"} & set(ready)


def test_missing_and_wrong_times_are_named(rng):
    processor, clip = make_processor(return_times=True), [picture(rng)] * 3
    with pytest.raises(ValueError, match=r'videos\[1\] does not say when .*videos_kwargs=\{"fps"'):
        processor(text=["a", "a"], videos=[None, clip])
    for fps in (0, -1.0, float("nan"), "25"):
        with pytest.raises(ValueError, match="fps is .*: expected a positive number"):
            processor(videos=clip, videos_kwargs={"fps": fps})
    with pytest.raises(ValueError, match="SeamlessM4TFeatureExtractor has no `hop_length`"):
        processor_without = make_processor(return_times=True, feature_extractor=SeamlessM4TFeatureExtractor())
        processor_without(audio=tone(), sampling_rate=RATE)
    with pytest.raises(ValueError, match="return_times is 1: expected True or False"):
        make_processor(return_times=1)


# ---------------------------------------------------------------------------------------------------------------------
# Ready features
# ---------------------------------------------------------------------------------------------------------------------
def test_ready_features_are_padded_and_masked(processor, rng):
    rows = [rng.standard_normal((3, 7)), None, torch.randn(5, 7, dtype=torch.bfloat16)]
    names = {"text_features": ("text_features", "attention_mask"), "image_features": ("image_features", "pixel_mask")}
    names |= {"audio_features": ("input_features", "input_features_mask")}
    for argument, (name, mask) in names.items():
        other = "audio_features" if argument != "audio_features" else "text_features"
        batch = processor(**{argument: rows, other: rng.standard_normal((3, 1, 4))}, return_tensors="pt")
        assert set(batch) == {*names[argument], *names[other]}
        assert batch[name].shape == (3, 5, 7) and batch[name].dtype == torch.float32
        assert batch[mask].tolist() == [[1, 1, 1, 0, 0], [0] * 5, [1] * 5] and batch[mask].dtype == torch.int64
        torch.testing.assert_close(batch[name][0, :3], torch.from_numpy(rows[0]).float())
        assert not batch[name][1].any() and not batch[name][0, 3:].any()


def test_ready_features_as_one_array_mix_with_raw_input(processor, rng):
    batch = processor(text=["a", None], image_features=rng.standard_normal((2, 4, 7)))
    assert batch["image_features"].shape == (2, 4, 7) and batch["pixel_mask"].all()
    assert set(batch) == {"input_ids", "attention_mask", "image_features", "pixel_mask"}


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------
SHORT = np.zeros(100, np.float32)
PNG = png_bytes(Image.new("RGB", (40, 30), "red"))
BAD_INPUT = {
    "nothing": ({}, "got nothing"),
    "empty list": ({"text": []}, "got nothing"),
    "batch sizes": ({"text": ["a"] * 3, "images": [PNG] * 2}, r"text has 3, images has 2"),
    "empty row": ({"text": ["a", None], "images": [PNG, None]}, "Row 1 is empty"),
    "nothing but white space": ({"text": "  "}, "got nothing, or blank strings"),
    "blank row": ({"text": ["a", " \n"], "images": [PNG, ""]}, "Row 1 is empty: text, images are all None or blank"),
    "all rows blank": ({"text": ["", " "]}, "Row 0 is empty: text is None or blank there"),
    "all rows empty": ({"text": [None], "audio": [None]}, "Row 0 is empty"),
    "picture and video": ({"images": [PNG], "videos": [[PNG, PNG]]}, "Row 0 has both images and videos"),
    "raw and ready": ({"text": ["a", None], "text_features": [None, np.ones((2, 3))]}, "both text and text_features"),
    "text type": ({"text": ["a", 3]}, r"text\[1\] has type int"),
    "one int as text": ({"text": 3}, r"text\[0\] has type int"),
    "image type": ({"images": [PNG, 3]}, r"images\[1\] has type int"),
    "audio type": ({"audio": [{"rate": 3}]}, r"audio\[0\] has type dict"),
    "video type": ({"videos": [3.5]}, r"videos\[0\] has type float"),
    "missing rate": ({"audio": [tone()]}, r"sampling rate of audio\[0\] is missing"),
    "missing rate in dict": ({"audio": {"array": tone()}}, r"sampling rate of audio\[0\] is missing"),
    "rate of text": ({"audio": {"raw": tone(), "sampling_rate": "8000"}}, r"rate of audio\[0\] is '8000' of type str"),
    "rate of infinity": ({"audio": [tone()], "sampling_rate": np.inf}, r"rate of audio\[0\] is inf of type float"),
    "rate and samples as a list": ({"audio": [RATE, tone()]}, r"audio\[0\] has type int"),
    "rate of None": ({"audio": {"array": tone(), "sampling_rate": None}}, r"sampling rate of audio\[0\] is missing"),
    "nan": ({"audio": [tone(), tone() * np.nan], "sampling_rate": RATE}, r"audio\[1\] holds NaN"),
    "inf": ({"audio": [tone() + np.inf], "sampling_rate": RATE}, r"audio\[0\] holds NaN or infinite"),
    "zero length": ({"audio": [tone(), SHORT[:0]], "sampling_rate": RATE}, r"audio\[1\] has zero length"),
    "short": ({"audio": [tone(), SHORT], "sampling_rate": RATE}, r"audio\[1\] has 100 samples .* \(320\)"),
    "batch as array": ({"audio": np.zeros((16, 8000)), "sampling_rate": RATE}, r"\(16, 8000\).*list of clips"),
    "audio dtype": ({"audio": [np.array(["a"])], "sampling_rate": RATE}, r"audio\[0\] has samples of type <U1"),
    "corrupt image": ({"images": [PNG, b"not a picture"]}, r"images\[1\] is not a picture"),
    "cut image": ({"images": [PNG, PNG[:60]]}, r"images\[1\] is not a picture"),
    "corrupt audio": ({"audio": [b"not a sound"]}, r"audio\[0\] is not audio"),
    "corrupt video": ({"videos": [b"not a video"]}, r"videos\[0\] is not a video"),
    "sound as video": ({"videos": [sound_bytes(tone(), subtype="FLOAT")]}, r"videos\[0\] has no video frames"),
    "video without frames": ({"videos": [[]]}, r"videos\[0\] has no frames"),
    "video shape": ({"videos": np.zeros((4, 4, 8, 8, 3, 1))}, r"videos\[0\] has shape \(4, 4, 8, 8, 3, 1\)"),
    "image shape": ({"images": [np.zeros((8, 9, 5))]}, r"images\[0\] has shape \(8, 9, 5\)"),
    "image dimensions": ({"images": [np.zeros(8)]}, r"images\[0\] has shape \(8,\)"),
    "image range": ({"images": [np.full((8, 9, 3), -1.0)]}, r"images\[0\] has values from -1.0"),
    "image nan": ({"images": [np.full((8, 9, 3), np.nan)]}, r"images\[0\] has values from nan"),
    "a picture in a list in a list": ({"images": [[PNG, [PNG]]]}, r"images\[0\]\[1\] has type list"),
    "feature dimensions": ({"audio_features": [np.ones((2, 3)), np.ones(3)]}, r"audio_features\[1\] has shape \(3,\)"),
    "feature without batch": ({"text_features": np.ones((2, 3, 4, 5))}, r"text_features\[0\] has shape"),
    "feature width": ({"image_features": [np.ones((2, 3)), np.ones((2, 4))]}, r"feature_size: {0: 3, 1: 4}"),
    "empty features": ({"image_features": [np.ones((0, 3))]}, r"image_features\[0\] has shape \(0, 3\)"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_named(processor, case):
    inputs, message = BAD_INPUT[case]
    with pytest.raises(ValueError, match=message):
        processor(**inputs)


@pytest.mark.parametrize("modality", ["images", "audio", "videos"])
def test_missing_file_and_unreachable_url_are_named(processor, tmp_path, server, modality):
    with pytest.raises(FileNotFoundError, match=rf"{modality}\[1\]: there is no file at .*gone"):
        processor(**{modality: [None, tmp_path / "gone"]}, text=["a", "a"])
    with pytest.raises(OSError, match=rf"{modality}\[0\]: cannot read the URL .*gone.*404"):
        processor(**{modality: f"{server}/gone"})


def test_video_without_sound_is_named(processor, tmp_path):
    with pytest.raises(ValueError, match=r"audio\[0\] has no audio track"):
        processor(audio=write_mp4(tmp_path / "silent.mp4", [0, 100]))


def test_text_without_tokens_is_named():
    tokenizer = BertTokenizer(vocab={"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "cat": 4})
    with pytest.raises(ValueError, match=r"text\[1\] is '\\x00', which gives no tokens"):
        MoTProcessor(tokenizer=tokenizer)(text=["cat", "\0"], add_special_tokens=False)


def test_parts_that_do_not_fit_the_model_are_named(rng):
    class CodesAlone(Wav2Vec2FeatureExtractor):
        def __call__(self, *args, **kwargs):
            return BatchFeature({"codes": torch.zeros(1, 3)})

    with pytest.raises(ValueError, match=r"CodesAlone returned features of shape None: expected mel frames"):
        make_processor(feature_extractor=CodesAlone())(audio=tone(), sampling_rate=RATE)
    with pytest.raises(ValueError, match=r"expected \(N, C, H, W\)"):
        make_processor(image_processor=Siglip2ImageProcessorPil())(images=picture(rng))
    with pytest.raises(ValueError, match=r"sizes .*\(20, 20\), \(40, 30\)"):
        keep_size = make_processor(image_processor=ViTImageProcessorPil(do_resize=False))
        keep_size(images=[picture(rng), picture(rng, size=(20, 20))])
    with pytest.raises(ValueError, match="num_frames is 0"):
        MoTProcessor(num_frames=0)


def run_python(code, cwd):
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, timeout=100)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.mark.training
def test_absent_decoders_are_named(tmp_path):
    (tmp_path / "clip.wav").write_bytes(sound_bytes(tone(), subtype="FLOAT"))
    write_mp4(tmp_path / "video.mp4", [0, 100], tone())
    code = """
import sys
sys.modules["av"] = None  # what the import system writes for a package that must not be found
{hide_soundfile}
from mixture_of_transformers.processing_mot import MoTProcessor
for inputs in ({{"audio": "clip.wav"}}, {{"audio": "video.mp4"}}, {{"videos": "video.mp4"}}):
    try:
        print(*MoTProcessor()(**inputs))
    except ImportError as error:
        print(error)
"""
    wav, sound, video = run_python(code.format(hide_soundfile=""), tmp_path).splitlines()
    assert wav == "input_features input_features_mask"
    assert "audio[0]" in sound and "pip install av" in sound
    assert "videos[0]" in video and "pip install av" in video
    wav, *_ = run_python(code.format(hide_soundfile='sys.modules["soundfile"] = None'), tmp_path).splitlines()
    assert "audio[0]" in wav and "pip install soundfile av" in wav


# ---------------------------------------------------------------------------------------------------------------------
# Round trip
# ---------------------------------------------------------------------------------------------------------------------
def test_save_and_load_keep_every_part(tmp_path, rng):
    extractor = WhisperFeatureExtractor(feature_size=64)
    processor = make_processor(num_frames=3, return_times=True, feature_extractor=extractor)
    processor.save_pretrained(tmp_path)
    loaded = MoTProcessor.from_pretrained(tmp_path)
    assert loaded.num_frames == 3 and loaded.return_times is True
    for part in ("image_processor", "feature_extractor"):
        assert getattr(loaded, part).to_dict() == getattr(processor, part).to_dict()
    inputs = {"text": "a cat", "videos": [picture(rng) for _ in range(5)], "audio": tone(), "sampling_rate": RATE}
    inputs |= {"videos_kwargs": {"fps": 10}}
    expected, got = processor(**inputs), loaded(**inputs)
    for name in expected:
        torch.testing.assert_close(got[name], expected[name], rtol=0, atol=0)
    assert loaded.decode(got["input_ids"][0], skip_special_tokens=True) == "a cat"
    assert MoTProcessor.from_pretrained(tmp_path, num_frames=5).num_frames == 5
    assert MoTProcessor.from_pretrained(tmp_path, return_times=False).return_times is False


@pytest.mark.training
def test_auto_classes_read_the_folder_where_mot_cannot_be_imported(tmp_path):
    MoTProcessor.register_for_auto_class()
    make_processor(num_frames=3).save_pretrained(tmp_path / "saved")
    code = """
import sys
sys.modules["mixture_of_transformers"] = None
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoProcessor, AutoTokenizer
processor = AutoProcessor.from_pretrained("saved", trust_remote_code=True)
print(type(processor).__name__, type(processor).__module__.split(".")[0], processor.num_frames)
print(processor(text="a cat")["input_ids"].tolist())
for auto in (AutoTokenizer, AutoImageProcessor, AutoFeatureExtractor):
    print(type(auto.from_pretrained("saved", trust_remote_code=True)).__name__)
"""
    lines = run_python(code, tmp_path).splitlines()
    assert lines == [
        "MoTProcessor transformers_modules 3",
        "[[2, 5, 8, 3]]",
        "BertTokenizer",
        "MoTImageProcessor",
        "MoTFeatureExtractor",
    ]


@pytest.mark.parametrize(
    "row, reason",
    [
        (np.full((2, 4), np.nan), "NaN"),
        (np.full((2, 4), 1e300), "float32"),
        (np.full((2, 4), "a"), "numbers"),
        ([[1.0, 2.0], [3.0]], "no array"),
        (torch.ones(2, 4).to_sparse(), "expected a dense one"),
        (torch.ones(2, 4, device="meta"), "expected a dense one"),
    ],
)
def test_ready_features_that_are_no_finite_numbers_are_refused_by_row(processor, row, reason):
    with pytest.raises(ValueError, match=rf"audio_features\[1\].*{reason}"):
        processor(audio_features=[np.ones((2, 4)), row])


@pytest.mark.parametrize("option", [{"padding": memoryview(b"x")}, {"text_kwargs": {"padding": memoryview(b"x")}}])
def test_an_option_that_cannot_be_copied_is_refused_by_name(processor, option):
    with pytest.raises(ValueError, match=f"`{next(iter(option))}` is .*expected a plain value"):
        processor(text="one", **option)


@pytest.mark.parametrize("group", ["text_kwargs", "images_kwargs", "audio_kwargs", "videos_kwargs", "common_kwargs"])
def test_options_of_a_group_are_a_dict(processor, group):
    with pytest.raises(ValueError, match=f"`{group}` has type float: expected a dict"):
        processor(text="a cat", **{group: 1.5})


@pytest.mark.parametrize("number", [0, -1, 1.5, "4", np.ones(2)])
def test_frames_of_a_call_are_a_whole_number_of_at_least_one(processor, number):
    with pytest.raises(ValueError, match="num_frames is .*: expected a whole number of at least 1"):
        processor(videos=[np.zeros((5, 8, 8, 3), np.uint8)], videos_kwargs={"num_frames": number})
