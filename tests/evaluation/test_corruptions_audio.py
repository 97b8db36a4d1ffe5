# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What sounds suffer, each against its definition: levels, spectra, files and lengths, measured in what comes out."""

import numpy as np
import pytest
import soundfile

from mixture_of_transformers.evaluation import corruptions_audio
from mixture_of_transformers.evaluation.corruptions_audio import CORRUPTIONS, encoded, gated, looped, telephone

RATE = 16_000
BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
EVERY = pytest.mark.parametrize("name", BY_NAME)


def noise(seconds: float = 1.0, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


def tone(hertz: float, seconds: float = 1.0, peak: float = 0.1) -> np.ndarray:
    return (peak * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def changed(name: str, samples: np.ndarray, severity: int, seed: int = 0, row: int = 0) -> np.ndarray:
    if BY_NAME[name].needs_codec:
        pytest.importorskip("av")
    sound = {"array": samples, "sampling_rate": RATE}
    others = [{"array": noise(seed=10 + i), "sampling_rate": RATE} for i in range(8)]
    found = BY_NAME[name].apply(sound, severity, seed, row, others)
    assert found["sampling_rate"] == RATE
    return found["array"]


def decibels(ratio: float) -> float:
    return 20 * np.log10(ratio)


def strongest_hertz(samples: np.ndarray) -> float:
    return np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 18)).argmax() * RATE / (1 << 18)


def response(name: str, severity: int) -> tuple[np.ndarray, np.ndarray]:
    """Hz, and by how many dB an impulse has changed there."""
    impulse = np.zeros(RATE, np.float32)
    impulse[RATE // 2] = 1
    spectrum = np.abs(np.fft.rfft(changed(name, impulse, severity)))
    return np.fft.rfftfreq(RATE, 1 / RATE), decibels(np.maximum(spectrum, 1e-9))


@EVERY
def test_a_severity_of_0_is_the_sound_itself_and_no_other_is(name):
    samples = noise()
    assert changed(name, samples, 0) is samples
    for severity in range(1, len(BY_NAME[name].values) + 1):
        after = changed(name, samples, severity)
        assert len(after) != len(samples) or not np.array_equal(after, samples)


@EVERY
def test_the_same_seed_and_row_give_the_same_sound_and_leave_the_given_one(name):
    samples = noise(0.3)
    kept = samples.copy()
    for severity in range(1, len(BY_NAME[name].values) + 1):
        first, again = (changed(name, samples, severity, seed=3, row=4) for _ in range(2))
        assert np.array_equal(first, again) and np.isfinite(first).all() and np.array_equal(samples, kept)


@pytest.mark.parametrize(
    "name", ["white_noise", "babble_noise", "dropout", "silence_between", "resonance", "reverberation"]
)
def test_other_rows_and_other_seeds_are_hit_otherwise(name):
    samples = noise(0.3)
    first = changed(name, samples, 1)
    assert not np.array_equal(first, changed(name, samples, 1, row=1))
    assert not np.array_equal(first, changed(name, samples, 1, seed=1))


@pytest.mark.parametrize("name", ["white_noise", "pink_noise", "babble_noise"])
def test_noise_is_as_many_decibels_below_the_sound_as_is_said(name):
    samples = tone(440, peak=0.3)
    for severity, ratio in enumerate(BY_NAME[name].values, start=1):
        added = changed(name, samples, severity) - samples
        assert decibels(np.std(samples) / np.std(added)) == pytest.approx(ratio, abs=0.02)


def test_white_noise_is_alike_everywhere_and_pink_noise_falls_by_3_decibels_an_octave():
    samples = tone(440, seconds=8, peak=1e-3)
    slopes = {}
    for name in ("white_noise", "pink_noise"):
        power = np.abs(np.fft.rfft(changed(name, samples, 5) - samples)) ** 2
        hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
        octaves = [10 * np.log10(power[(hertz >= low) & (hertz < 2 * low)].mean()) for low in (100, 200, 400, 800)]
        slopes[name] = np.diff(octaves)
    assert slopes["white_noise"] == pytest.approx([0, 0, 0], abs=0.6)
    assert slopes["pink_noise"] == pytest.approx([-3, -3, -3], abs=0.6)


@pytest.mark.parametrize("number, heard", [(1, 1), (6, 6), (9, 6)])
def test_babble_is_six_other_sounds_alike_in_power_from_random_moments_on(number, heard):
    """Each other sound is a tone of its own, of whole periods, so that looping it changes nothing but its phase."""
    tones = [200 + 100 * i for i in range(number)]
    others = [{"array": tone(hertz, 0.3, peak=0.02 * (i + 1)), "sampling_rate": RATE} for i, hertz in enumerate(tones)]
    silence_but_for_a_click = np.zeros(RATE, np.float32)
    silence_but_for_a_click[0] = 1e-6
    sound = {"array": silence_but_for_a_click, "sampling_rate": RATE}
    phases = []
    for row in range(3):
        babble = BY_NAME["babble_noise"].apply(sound, 1, row=row, others=others)["array"] - silence_but_for_a_click
        spectrum = np.fft.rfft(babble)[tones]
        strengths = np.abs(spectrum) / np.abs(spectrum).max()
        assert len(babble) == RATE and (strengths > 0.01).sum() == heard
        assert strengths[strengths > 0.01] == pytest.approx(np.ones(heard), abs=0.01)
        phases.append(np.angle(spectrum[strengths > 0.01]))
    differ = np.abs(phases - np.roll(phases, 1, axis=0)) > 0.01  # of each voice, from the row before
    assert differ.mean() > 0.8  # tones have few phases, and two may be alike


def test_what_others_say_is_looped_or_cut_to_the_length_of_the_sound():
    short, random = np.arange(1, 4, dtype=np.float32), np.random.default_rng(0)
    level = (14 / 3) ** 0.5
    for length in (2, 3, 8):
        after = looped(short, length, random) * level
        assert len(after) == length and set(np.diff(after).round(4)) <= {1.0, -2.0}
    assert np.array_equal(looped(np.zeros(3, np.float32), 5, random), np.zeros(5))


def test_a_quieter_sound_has_lost_level_and_steps_and_an_overdriven_one_is_cut_at_full_scale():
    samples = tone(440, peak=0.5)
    for severity, lower in enumerate(BY_NAME["quieter"].values, start=1):
        after = changed("quieter", samples, severity)
        assert decibels(np.std(samples) / np.std(after)) == pytest.approx(lower, abs=0.05)
        assert np.abs(after * 32767 - np.round(after * 32767)).max() < 1e-2
    for severity, over in enumerate(BY_NAME["overdriven"].values, start=1):
        after = changed("overdriven", samples, severity)
        expected = 1 - 2 / np.pi * np.arcsin(10 ** (-over / 20))  # the share of a sine that is above that
        assert np.abs(after).max() == 1
        assert np.mean(np.abs(after) == 1) == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("place", ["before", "after", "between"])
def test_silence_is_zeros_and_the_sound_is_whole(place):
    samples = noise(0.5)
    for severity, seconds in enumerate(BY_NAME[f"silence_{place}"].values, start=1):
        after, added = changed(f"silence_{place}", samples, severity), int(seconds * RATE)
        assert len(after) == len(samples) + added
        (silent,) = [start for start in np.flatnonzero(after == 0) if not after[start : start + added].any()][:1]
        assert {"before": silent == 0, "after": silent == len(samples), "between": True}[place]
        assert np.array_equal(np.delete(after, slice(silent, silent + added)), samples)


def test_a_dropout_is_one_stretch_of_zeros_of_its_share():
    samples = noise()
    for severity, share in enumerate(BY_NAME["dropout"].values, start=1):
        silent = np.flatnonzero(changed("dropout", samples, severity) == 0)
        assert len(silent) == round(share * len(samples)) and np.all(np.diff(silent) == 1)


def test_a_gate_shuts_where_it_is_20_decibels_quieter():
    steps = np.repeat([1.0, 0.01, 0.5], RATE // 2) * np.random.default_rng(0).standard_normal(3 * RATE // 2)
    assert np.array_equal(gated(steps, RATE) == 0, np.repeat([False, True, False], RATE // 2))


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_telephone_line_has_300_to_3400_hertz_in_256_steps(rate):
    samples = (0.1 * np.random.default_rng(0).standard_normal(rate)).astype(np.float32)
    after = telephone(samples, rate)
    assert len(after) == pytest.approx(len(samples), abs=rate / 4000)
    power, hertz = np.abs(np.fft.rfft(after)) ** 2, np.fft.rfftfreq(len(after), 1 / rate)
    inside = power[(hertz > 400) & (hertz < 3000)].mean()
    assert power[(hertz < 250) | (hertz > 3600)].mean() < 0.01 * inside
    if rate == 8_000:
        assert len(np.unique(after)) <= 256


@pytest.mark.parametrize("name, kind", [("mp3", "MP3"), ("opus", "OGG")])
def test_a_codec_writes_a_real_file_that_gets_smaller_and_worse(name, kind, tmp_path):
    pytest.importorskip("av")
    samples, corruption = noise(2.0), BY_NAME[name]
    codec, container = {"mp3": ("libmp3lame", "mp3"), "opus": ("libopus", "ogg")}[name]
    files = [encoded(samples, RATE, codec, container, kilobits) for kilobits in corruption.values]
    for kilobits, file in zip(corruption.values, files):
        (tmp_path / "sound").write_bytes(file)
        assert soundfile.info(tmp_path / "sound").format == kind
        assert len(file) == pytest.approx(2.0 * kilobits * 1000 / 8, rel=0.35)
    clear = tone(1000, seconds=1.0)
    for severity in range(1, len(corruption.values) + 1):
        assert strongest_hertz(changed(name, clear, severity)) == pytest.approx(1000, abs=3)


def test_a_codec_takes_a_rate_that_it_does_not_have():
    pytest.importorskip("av")
    sound = {"array": tone(1000), "sampling_rate": 22_050}
    after = BY_NAME["opus"].apply(sound, 1)
    assert after["sampling_rate"] == 22_050 and len(after["array"]) == pytest.approx(RATE, rel=0.1)


@pytest.mark.parametrize("name, sign", [("low_pass", 1), ("high_pass", -1)])
def test_a_filter_has_lost_3_decibels_at_its_edge_and_24_an_octave_on(name, sign):
    for severity, edge in enumerate(BY_NAME[name].values, start=1):
        hertz, loss = response(name, severity)
        at = {octaves: loss[np.abs(hertz - edge * 2.0 ** (sign * octaves)).argmin()] for octaves in (-1, 0, 1)}
        assert at[0] == pytest.approx(-3.01, abs=0.1) and at[-1] == pytest.approx(0, abs=0.1)
        assert at[1] == pytest.approx(-24.1, abs=0.3)


def test_a_resonance_is_one_peak_of_its_decibels_where_voices_are():
    for severity, peak in enumerate(BY_NAME["resonance"].values, start=1):
        hertz, gain = response("resonance", severity)
        assert gain.max() == pytest.approx(peak, abs=0.1) and 300 <= hertz[gain.argmax()] <= 3000
        middle = hertz[gain.argmax()]
        assert np.abs(gain[(hertz < middle / 2) | (hertz > middle * 2)]).max() < 0.1


def test_a_room_goes_on_after_the_sound_and_falls_by_60_decibels_in_its_seconds():
    impulse = np.zeros(2 * RATE, np.float32)
    impulse[0] = 1
    for severity, seconds in enumerate(BY_NAME["reverberation"].values, start=1):
        room = changed("reverberation", impulse, severity) - impulse
        assert np.sum(room**2) == pytest.approx(1, rel=0.05)
        tenths = [np.sqrt(np.mean(part**2)) for part in np.array_split(room[: int(seconds * RATE)], 10)]
        assert decibels(tenths[0] / tenths[-1]) == pytest.approx(54, abs=3)
        assert not np.any(np.abs(room[int(seconds * RATE) + 1 :]) > 1e-6)


@pytest.mark.parametrize("name", ["slower", "faster"])
def test_another_speed_changes_length_and_pitch_alike(name):
    for severity, factor in enumerate(BY_NAME[name].values, start=1):
        after = changed(name, tone(1000), severity)
        assert len(after) == pytest.approx(RATE / factor, rel=1e-3)
        assert strongest_hertz(after) == pytest.approx(1000 * factor, rel=1e-3)


@EVERY
def test_silence_and_the_shortest_sound_come_through(name):
    for samples in (np.zeros(4000, np.float32), noise(0.05)):
        for severity in range(1, len(BY_NAME[name].values) + 1):
            after = changed(name, samples, severity)
            assert np.isfinite(after).all() and len(after)


def test_bad_input_a_severity_that_is_not_there_is_named():
    with pytest.raises(ValueError, match="severity of mp3 is 4; expected 0 to 3"):
        BY_NAME["mp3"].apply({"array": noise(), "sampling_rate": RATE}, 4)


def test_bad_input_babble_of_nobody_is_an_error():
    with pytest.raises(ValueError, match="no other row has one"):
        BY_NAME["babble_noise"].apply({"array": noise(), "sampling_rate": RATE}, 1)


def test_without_the_package_that_encodes_the_error_names_the_extra(monkeypatch):
    monkeypatch.setattr(corruptions_audio, "load_av", lambda: None)
    with pytest.raises(ImportError, match=r"PyAV encodes libopus: .*\[video\]"):
        encoded(noise(), RATE, "libopus", "ogg", 16)
