# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tokenizers of pictures and sounds: codes and back, whatever the size, the rate and the level of what comes in; ready
ones of transformers in their place."""

import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    ChameleonVQVAE,
    ChameleonVQVAEConfig,
    DacConfig,
    DacModel,
    Emu3VQVAE,
    Emu3VQVAEConfig,
    EncodecConfig,
    EncodecModel,
    JanusVQVAE,
    JanusVQVAEConfig,
    MimiConfig,
    MimiModel,
    SpeechT5FeatureExtractor,
    SpeechT5HifiGan,
    SpeechT5HifiGanConfig,
)

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.media_causal_mot import load_tokenizer
from mixture_of_transformers.spectrogram_mot import MoTSpectrogram
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTFiniteScalarQuantizer,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)
from mixture_of_transformers.tokens_ready_mot import (
    MoTReadyAudioTokenizer,
    MoTReadyImageTokenizer,
    MoTReadyImageTokenizerConfig,
)
from mixture_of_transformers.training.fit_tokens import fit_audio_tokenizer, fit_image_tokenizer

SPEECH_FRAMES = {
    "sampling_rate": 16_000,
    "num_mel_bins": 80,
    "window_length": 1024,
    "hop_length": 256,
    "min_frequency": 80.0,
    "max_frequency": 7600.0,
}


@pytest.fixture(scope="module")
def image_tokenizer():
    torch.manual_seed(0)
    return MoTImageTokenizer(MoTImageTokenizerConfig(hidden_size=16, num_hidden_layers=1)).eval()


@pytest.fixture(scope="module")
def audio_tokenizer():
    torch.manual_seed(0)
    return MoTAudioTokenizer(MoTAudioTokenizerConfig(hidden_size=16, num_hidden_layers=1)).eval()


@pytest.fixture(scope="module")
def digits():
    return load_digits_dataset(missing_rate=0)["train"].select(range(64)).with_format(None)


@pytest.fixture(scope="module")
def pictures(digits):
    return [row["image"] for row in digits.select_columns("image")]


def vowel(seconds: float = 0.4, rate: int = 16_000, pitch: float = 120.0) -> np.ndarray:
    """Harmonics of a pitch that rises a little: a sound with formants, as speech has them."""
    time = np.arange(round(seconds * rate)) / rate
    phase = 2 * np.pi * pitch * (time + 0.3 * time**2)
    harmonics = [np.exp(-(((k * pitch - 700) / 400) ** 2)) * np.sin(k * phase) for k in range(1, 20)]
    return (0.2 * np.hanning(len(time)) * sum(harmonics)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Finite scalar quantization
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [(2,), (3, 2), (8, 6, 5), (4, 4, 4, 2)])
def test_every_code_has_values_of_its_own_that_lead_back_to_it(levels):
    quantizer = MoTFiniteScalarQuantizer(levels)
    # The slow way: digits count up, the first number fastest.
    digits = torch.tensor([row[::-1] for row in itertools.product(*(range(n) for n in levels[::-1]))])
    expected = digits * 2 / (torch.tensor(levels) - 1) - 1
    codes = torch.arange(quantizer.num_codes)
    torch.testing.assert_close(quantizer.from_codes(codes), expected)
    latents = ((digits + 0.5) / torch.tensor(levels)).logit()  # each in the middle of its share
    torch.testing.assert_close(quantizer.to_codes(latents), codes)


def test_rounded_values_are_those_of_the_code_however_far_the_numbers_lie():
    quantizer = MoTFiniteScalarQuantizer((8, 6, 5))
    latents = torch.randn(1000, 3, generator=torch.Generator().manual_seed(0)) * 30
    codes = quantizer.to_codes(latents)
    assert codes.min() == 0 and codes.max() == 239
    torch.testing.assert_close(quantizer(latents), quantizer.from_codes(codes))


def test_gradients_pass_as_if_nothing_was_rounded():
    quantizer = MoTFiniteScalarQuantizer((8, 5))
    latents = torch.randn(7, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    (rounded,) = torch.autograd.grad(quantizer(latents).square().sum() / 2, latents)
    values = quantizer(latents).detach()
    slope = latents.sigmoid() * (1 - latents.sigmoid()) * torch.tensor([8, 5]) * 2 / torch.tensor([7, 4])
    torch.testing.assert_close(rounded, values * slope, rtol=2e-3, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------------
# Frames
# ---------------------------------------------------------------------------------------------------------------------


def test_frames_are_those_of_transformers_speech_synthesis():
    waveform = vowel() + np.random.default_rng(0).normal(0, 1e-3, 6400).astype(np.float32)
    frames = MoTSpectrogram(**SPEECH_FRAMES).to_frames(torch.from_numpy(waveform))
    expected = torch.from_numpy(SpeechT5FeatureExtractor()._extract_mel_features(waveform))
    assert len(frames) == 25 == len(expected) - 1  # one for every 256 samples that have begun
    # Near the ends the library mirrors the sound, where nothing is heard here.
    torch.testing.assert_close(frames[2:-2], expected[2:-3], atol=1e-4, rtol=1e-4)


def test_a_waveform_made_of_frames_has_these_frames_again():
    spectrogram = MoTSpectrogram(**SPEECH_FRAMES)
    frames = spectrogram.to_frames(torch.from_numpy(vowel()))
    waveform = spectrogram.to_waveform(frames)
    assert len(waveform) == len(frames) * 256
    again = spectrogram.to_frames(waveform)
    heard = frames > frames.max() - 2  # within 40 dB of the loudest
    assert (again - frames)[heard].abs().mean() < 0.1  # 2 dB
    torch.testing.assert_close(spectrogram.to_waveform(frames), waveform, atol=0, rtol=0)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def test_pictures_become_codes_of_a_fixed_number_and_come_back(image_tokenizer, pictures):
    codes = image_tokenizer.encode(pictures)
    assert codes.shape == (64, 49) == (64, image_tokenizer.num_tokens) and codes.dtype == torch.long
    assert codes.min() >= 0 and codes.max() < image_tokenizer.num_codes == 240
    decoded = image_tokenizer.decode(codes)
    assert {(picture.size, picture.mode) for picture in decoded} == {((28, 28), "L")}
    values = image_tokenizer(image_tokenizer.to_pixel_values(pictures)).detach()  # the way that training takes
    expected = ((values[:, 0] + 1) * 127.5).clamp(0, 255)
    difference = torch.from_numpy(np.stack([np.asarray(picture) for picture in decoded])) - expected
    assert difference.abs().max() <= 0.51  # nothing but the rounding to whole brightness


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "CMYK", "I;16", "F"])
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_any_mode_and_size_are_taken(mode, channels):
    tokenizer = MoTImageTokenizer(MoTImageTokenizerConfig(num_channels=channels, hidden_size=8, num_hidden_layers=1))
    picture = Image.new(mode, (1, 3)) if mode == "F" else Image.new("L", (50, 20), 255).convert(mode)
    values = tokenizer.to_pixel_values([picture])
    assert values.shape == (1, channels, 28, 28)
    assert mode in ("F", "I;16") or (values == 1).all()
    (back,) = tokenizer.decode(tokenizer.encode([picture]))
    assert back.mode == ("L" if channels == 1 else "RGB")


def test_a_picture_has_the_codes_that_it_has_alone(image_tokenizer, pictures):
    together = image_tokenizer.encode(pictures[:5])
    for row, picture in zip(together, pictures):
        assert torch.equal(image_tokenizer.encode([picture])[0], row)
    assert image_tokenizer.encode([]).shape == (0, 49) and image_tokenizer.decode(together[:0]) == []


def test_a_saved_tokenizer_has_the_same_codes(image_tokenizer, audio_tokenizer, pictures, tmp_path):
    image_tokenizer.save_pretrained(tmp_path / "picture_tokenizer")
    audio_tokenizer.save_pretrained(tmp_path / "sound_tokenizer")
    loaded = load_tokenizer(tmp_path, "picture_tokenizer")
    assert torch.equal(loaded.encode(pictures), image_tokenizer.encode(pictures))
    loaded = load_tokenizer(tmp_path, "sound_tokenizer")
    (codes,), (expected,) = loaded.encode([vowel()], 16_000), audio_tokenizer.encode([vowel()], 16_000)
    assert torch.equal(codes, expected)
    np.testing.assert_array_equal(loaded.decode([codes])[0], audio_tokenizer.decode([codes])[0])


def test_fitted_on_a_few_pictures_it_gives_back_what_they_show(pictures):
    config = MoTImageTokenizerConfig(hidden_size=32, num_hidden_layers=1)
    tokenizer = fit_image_tokenizer(pictures, config, steps=120, batch_size=16)
    before = np.stack([np.asarray(picture, np.float32) for picture in pictures]) / 255
    after = np.stack([np.asarray(p, np.float32) for p in tokenizer.decode(tokenizer.encode(pictures))]) / 255
    assert ((after - before) ** 2).mean() < 0.15 * before.var(axis=0).mean()


# ---------------------------------------------------------------------------------------------------------------------
# Sounds
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [0.001, 0.032, 0.0321, 0.4])
def test_a_sound_has_a_token_for_each_span_that_has_begun(audio_tokenizer, seconds):
    (codes,) = audio_tokenizer.encode([vowel(seconds)], 16_000)
    assert audio_tokenizer.tokens_per_second == 31.25
    assert codes.shape == (np.ceil(round(seconds * 16_000) / 512),) and codes.dtype == torch.long
    (waveform,) = audio_tokenizer.decode([codes])
    assert waveform.shape == (512 * len(codes),) and waveform.dtype == np.float32
    assert np.isfinite(waveform).all() and np.abs(waveform).max() < 1


def test_the_level_of_a_sound_changes_no_code(audio_tokenizer):
    sounds = [vowel() * level for level in (1, 0.01, 3)]
    first, *others = (audio_tokenizer.to_input_features(sound, 16_000) for sound in sounds)
    assert first.max() == 1 and first.min() == -1
    for other in others:
        torch.testing.assert_close(other, first, atol=1e-4, rtol=0)
    first, *others = audio_tokenizer.encode(sounds, 16_000)
    assert all(torch.equal(other, first) for other in others)


def test_a_sound_has_nearly_the_same_frames_at_another_rate(audio_tokenizer):
    frames = audio_tokenizer.to_input_features(vowel(rate=16_000), 16_000)
    others = audio_tokenizer.to_input_features(vowel(rate=44_100), 44_100)
    assert others.shape == frames.shape and (others - frames).abs().mean() < 0.02


def test_silence_is_silence_and_nothing_is_no_token(audio_tokenizer):
    silence, nothing = audio_tokenizer.encode([np.zeros(1000, np.float32), np.zeros(0, np.float32)], 8000)
    assert len(silence) == 4 and len(nothing) == 0
    assert (audio_tokenizer.to_input_features(np.zeros(1000), 8000) == -1).all()
    assert audio_tokenizer.decode([nothing])[0].shape == (0,)
    assert audio_tokenizer.encode([], 8000) == [] == audio_tokenizer.decode([])


def test_fitted_on_a_few_sounds_it_gives_back_what_is_heard_and_as_loud():
    sounds = [vowel(pitch=pitch) for pitch in range(90, 250, 20)] + [np.zeros(0, np.float32)]
    config = MoTAudioTokenizerConfig(hidden_size=32, num_hidden_layers=1)
    tokenizer = fit_audio_tokenizer(sounds, 16_000, config, steps=100, batch_size=16)
    codes = tokenizer.encode(sounds[:-1], 16_000)
    with torch.no_grad():
        decoded = torch.stack([tokenizer.to_frames(each)[:25] for each in codes])
    heard = torch.stack([tokenizer.to_log_mel(sound, 16_000)[0] for sound in sounds[:-1]])
    heard = heard.clamp(min=tokenizer.config.level - 3)  # 60 dB below the loudest
    assert (decoded - heard).square().mean() < 0.4 * heard.var()


def test_a_vocoder_speaks_in_place_of_griffin_lim_and_is_saved(audio_tokenizer, tmp_path):
    torch.manual_seed(0)
    small = {"upsample_initial_channel": 32, "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1]]}
    vocoder = SpeechT5HifiGan(SpeechT5HifiGanConfig(**small))
    tokenizer = MoTAudioTokenizer(MoTAudioTokenizerConfig(hidden_size=16, num_hidden_layers=1)).eval()
    codes = torch.arange(5)
    griffin_lim = tokenizer.decode([codes])[0]
    vocoder.save_pretrained(tmp_path / "vocoder")
    tokenizer.add_vocoder(tmp_path / "vocoder")
    (spoken,) = tokenizer.decode([codes])
    with torch.no_grad():
        expected = vocoder(tokenizer.to_frames(codes)).numpy()
    np.testing.assert_allclose(spoken, expected, atol=1e-6)
    assert spoken.shape == griffin_lim.shape
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    loaded = MoTAudioTokenizer.from_pretrained(tmp_path / "tokenizer")
    np.testing.assert_allclose(loaded.decode([codes])[0], spoken, atol=1e-6)
    with pytest.raises(ValueError, match=r"hop_length\) \(16000, 80, 64\): expected \(16000, 80, 256\)"):
        tokenizer.add_vocoder(SpeechT5HifiGan(SpeechT5HifiGanConfig(upsample_rates=[4, 4, 4], **small)))


# ---------------------------------------------------------------------------------------------------------------------
# Bad input
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        (torch.full((1, 49), 240), "values from 240 to 240: expected 0 to 239"),
        (torch.full((1, 49), -1), "values from -1 to -1: expected 0 to 239"),
        (torch.zeros(1, 48, dtype=torch.long), r"shape \(1, 48\): expected \(pictures, 49\)"),
        (torch.zeros(49, dtype=torch.long), r"shape \(49,\): expected \(pictures, 49\)"),
        (torch.zeros(1, 49), "type torch.float32: expected whole numbers"),
    ],
)
def test_codes_of_no_picture_are_refused(image_tokenizer, codes, message):
    with pytest.raises(ValueError, match=message):
        image_tokenizer.decode(codes)


def test_what_is_no_picture_and_no_sound_is_refused(image_tokenizer, audio_tokenizer):
    with pytest.raises(ValueError, match="`images` holds a ndarray: expected pictures of PIL"):
        image_tokenizer.encode([np.zeros((28, 28))])
    with pytest.raises(ValueError, match=r"`waveforms` holds an array of shape \(2, 5\)"):
        audio_tokenizer.encode([np.zeros((2, 5))], 16_000)
    with pytest.raises(ValueError, match="finite"):
        audio_tokenizer.encode([np.array([0.0, np.nan])], 16_000)
    with pytest.raises(ValueError, match="`sampling_rate` is 0: expected Hz above 0"):
        audio_tokenizer.encode([vowel()], 0)
    with pytest.raises(ValueError, match="expected 0 to 999"):
        audio_tokenizer.decode([torch.tensor([0, 1000])])
    with pytest.raises(ValueError, match=r"shape \(1, 3\): expected \(tokens,\)"):
        audio_tokenizer.decode([torch.zeros(1, 3, dtype=torch.long)])
    with pytest.raises(ValueError, match="`images` is empty"):
        fit_image_tokenizer([])
    with pytest.raises(ValueError, match="`waveforms` holds no sample"):
        fit_audio_tokenizer([np.zeros(0, np.float32)], 16_000)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"image_size": 30}, "`image_size` 30 is no multiple of `patch_size` 4"),
        ({"num_channels": 2}, "`num_channels` is 2: expected one of"),
        ({"levels": [8, 1]}, "`levels` is .* whole numbers of 2 or more"),
        ({"levels": []}, "`levels` is"),
        ({"patch_size": 0}, "`patch_size` is 0: expected a number above 0"),
    ],
)
def test_settings_without_a_meaning_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        MoTImageTokenizerConfig(**fields)


# ---------------------------------------------------------------------------------------------------------------------
# Ready tokenizers
# ---------------------------------------------------------------------------------------------------------------------

SMALL_VQ = {"base_channels": 32, "channel_multiplier": [1, 2], "num_res_blocks": 1}


def small_vq_model(name: str):
    torch.manual_seed(0)
    if name == "emu3":
        fields = {"codebook_size": 32, "latent_channels": 4, "attn_resolutions": [1], "hidden_size": 64}
        return Emu3VQVAE(Emu3VQVAEConfig(**SMALL_VQ, **fields))
    fields = {"num_embeddings": 32, "latent_channels": 32, "embed_dim": 8}
    if name == "janus":
        return JanusVQVAE(JanusVQVAEConfig(num_patches=4, **SMALL_VQ, **fields))
    return ChameleonVQVAE(ChameleonVQVAEConfig(resolution=8, **SMALL_VQ, **fields))


def small_codec(name: str):
    torch.manual_seed(0)
    strides = {"upsampling_ratios": [4, 2], "codebook_size": 32, "hidden_size": 16}
    if name == "dac":
        widths = {"encoder_hidden_size": 8, "decoder_hidden_size": 16, "codebook_dim": 4}
        return DacModel(
            DacConfig(downsampling_ratios=[2, 4], n_codebooks=3, codebook_size=32, hidden_size=16, **widths)
        )
    if name == "encodec":
        model = EncodecModel(EncodecConfig(num_filters=4, codebook_dim=16, target_bandwidths=[60.0], **strides))
    else:
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8, "intermediate_size": 32}
        widths = {"codebook_dim": 8, "vector_quantization_hidden_dimension": 8, "upsample_groups": 16}
        fields = {"num_filters": 4, "num_quantizers": 4, "num_hidden_layers": 1, "frame_rate": 1500}
        model = MimiModel(MimiConfig(**fields, **heads, **widths, **strides))
    for buffer_name, buffer in model.named_buffers():
        if "embed" in buffer_name:  # codebooks start at zero
            torch.nn.init.normal_(buffer)
    return model


@pytest.mark.parametrize("name", ["janus", "emu3", "chameleon"])
def test_a_vq_model_of_transformers_stands_in_by_name(name, tmp_path):
    model = small_vq_model(name).eval()
    model.save_pretrained(tmp_path / "vq")
    tokenizer = MoTReadyImageTokenizer.of(tmp_path / "vq", image_size=8)
    assert (tokenizer.num_codes, tokenizer.num_tokens) == (32, 16)
    pictures = [Image.radial_gradient("L"), Image.new("RGB", (5, 9), "red")]
    codes = tokenizer.encode(pictures)
    assert codes.shape == (2, 16) and len(codes.unique()) > 1
    tokenizer.save_pretrained(tmp_path / "saved" / "picture_tokenizer")
    assert torch.equal(load_tokenizer(tmp_path / "saved", "picture_tokenizer").encode(pictures), codes)
    if name == "chameleon":
        with pytest.raises(ValueError, match="no decoder in transformers"):
            tokenizer.decode(codes)
        return
    decoded = tokenizer.decode(codes)
    with torch.no_grad():
        rows = codes.unflatten(1, (4, 4)) if name == "emu3" else codes
        expected = ((model.decode(rows) + 1) * 127.5).clamp(0, 255).movedim(1, -1).numpy()
    assert np.abs(np.stack([np.asarray(picture, np.float32) for picture in decoded]) - expected).max() <= 0.51


@pytest.mark.parametrize("name", ["encodec", "dac", "mimi"])
def test_a_codec_of_transformers_stands_in_by_name(name, tmp_path):
    model = small_codec(name).eval()
    model.save_pretrained(tmp_path / "codec")
    tokenizer = MoTReadyAudioTokenizer.of(tmp_path / "codec", num_codebooks=2)
    rate, hop = model.config.sampling_rate, 8
    assert tokenizer.num_codes == 64 and tokenizer.sampling_rate == rate
    assert tokenizer.tokens_per_second == rate / hop * 2 or name == "mimi"
    sounds = [vowel(0.1, rate), np.zeros(0, np.float32)]
    codes, nothing = tokenizer.encode(sounds, rate)
    assert len(nothing) == 0 and len(codes) % 2 == 0
    assert (codes[::2] < 32).all() and (codes[1::2] >= 32).all()  # the codebooks take turns
    with torch.no_grad():
        expected = model.encode(torch.from_numpy(sounds[0])[None, None]).audio_codes.flatten(0, -3)[0]
        assert torch.equal(torch.stack([codes[::2], codes[1::2] - 32]), expected[:2])
        given = expected[None, :2]
        waves = model.decode(given[None], [None]) if name == "encodec" else model.decode(audio_codes=given)
    spoken, silent = tokenizer.decode([torch.cat([codes, codes[:1]]), nothing])  # half a frame at the end has no sound
    np.testing.assert_allclose(spoken, waves.audio_values.flatten().numpy(), atol=1e-5)
    assert silent.shape == (0,)
    tokenizer.save_pretrained(tmp_path / "saved" / "sound_tokenizer")
    assert torch.equal(load_tokenizer(tmp_path / "saved", "sound_tokenizer").encode(sounds, rate)[0], codes)
    with pytest.raises(ValueError, match="`codes` mixes codebooks"):
        tokenizer.decode([codes.flip(0)])


def test_other_models_are_refused_as_tokenizers(tmp_path):
    with pytest.raises(ValueError, match="'dac' of 1 channels|expected a VQ model|'dac'"):
        MoTReadyImageTokenizer.of(small_codec("dac"))
    with pytest.raises(ValueError, match="'janus_vqgan'"):
        MoTReadyAudioTokenizer.of(small_vq_model("janus"))
    with pytest.raises(ValueError, match="`num_codebooks` is 4: expected 1 to 3"):
        MoTReadyAudioTokenizer.of(small_codec("dac"), num_codebooks=4)
    with pytest.raises(ValueError, match="`image_size` is 12: this janus_vqgan takes 8 pixels"):
        MoTReadyImageTokenizer.of(small_vq_model("janus"), image_size=12)


@pytest.mark.parametrize(
    "config_class, field, value",
    [
        (MoTImageTokenizerConfig, "num_hidden_layers", 10**7),
        (MoTImageTokenizerConfig, "hidden_size", 10**9),
        (MoTAudioTokenizerConfig, "sampling_rate", 1e30),
        (MoTAudioTokenizerConfig, "hop_length", "256"),
    ],
)
def test_a_config_asks_for_no_more_than_was_ever_built(config_class, field, value):
    with pytest.raises(ValueError, match=f"`{field}` is .* expected a number above 0 and at most"):
        config_class(**{field: value})


def test_a_ready_tokenizer_is_one_of_media():
    with pytest.raises(ValueError, match="A 'llama' makes no tokens of media: expected one of janus_vqgan"):
        MoTReadyImageTokenizer(MoTReadyImageTokenizerConfig(tokenizer={"model_type": "llama"}))
