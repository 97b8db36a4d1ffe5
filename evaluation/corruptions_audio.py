# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What happens to sound on its way: levels, silence, noise, codecs, lines, microphones, rooms and speed.

A change takes mono samples (N,) from -1 to 1, their rate in Hz, a value and random numbers, and gives samples at the
same rate.
"""

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import soundfile

from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_container_mot import load_av
from mixture_of_transformers.evaluation.corruption import Corruption
from mixture_of_transformers.resampling_mot import resample

TELEPHONE_RATE, TELEPHONE_BAND = 8_000, (300, 3_400)  # Hz
CODED_RATES = (8_000, 12_000, 16_000, 24_000, 48_000)  # Hz, those of Opus, which MP3 has as well
FILTER_ORDER = 4  # 24 dB per octave
RESONANCE_HERTZ, RESONANCE_OCTAVES = (300, 3_000), 0.25
VOICES = 6  # of babble

# ---------------------------------------------------------------------------------------------------------------------
# Levels and silence
# ---------------------------------------------------------------------------------------------------------------------


def quieter(samples: np.ndarray, rate: int, decibels: float, random: np.random.Generator) -> np.ndarray:
    """So many dB lower, in the 16 bits of a file, which then has fewer steps left."""
    return (np.round(samples * gain(-decibels) * 32767) / 32767).astype(np.float32)


def overdriven(samples: np.ndarray, rate: int, decibels: float, random: np.random.Generator) -> np.ndarray:
    """So many dB over full scale at its peak, and clipped there."""
    peak = float(np.abs(samples).max())
    return np.clip(samples * (gain(decibels) / peak), -1, 1) if peak else samples


def silence_before(samples: np.ndarray, rate: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """Digital zeros before the sound."""
    return np.pad(samples, (int(seconds * rate), 0))


def silence_after(samples: np.ndarray, rate: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """Digital zeros after the sound."""
    return np.pad(samples, (0, int(seconds * rate)))


def silence_between(samples: np.ndarray, rate: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """Digital zeros put in at a random moment of the sound."""
    moment = int(random.integers(0, len(samples) + 1))
    return np.concatenate([samples[:moment], np.zeros(int(seconds * rate), samples.dtype), samples[moment:]])


def dropout(samples: np.ndarray, rate: int, share: float, random: np.random.Generator) -> np.ndarray:
    """One stretch of this share of the sound, at a random moment, becomes zeros."""
    length = round(share * len(samples))
    start = int(random.random() * (len(samples) - length + 1))
    samples = samples.copy()
    samples[start : start + length] = 0
    return samples


def gated(samples: np.ndarray, rate: int) -> np.ndarray:
    """Fiftieths of a second whose level is 20 dB below the loudest become zeros, as at a noise gate."""
    blocks = np.array_split(samples, max(1, len(samples) // (rate // 50)))
    levels = [np.sqrt(np.mean(block**2)) for block in blocks]
    return np.concatenate([block * (level > 0.1 * max(levels)) for block, level in zip(blocks, levels)])


# ---------------------------------------------------------------------------------------------------------------------
# Noise
# ---------------------------------------------------------------------------------------------------------------------


def white_noise(samples: np.ndarray, rate: int, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Noise of all frequencies alike, the sound's mean power being so many dB above its own."""
    return with_noise(samples, random.standard_normal(len(samples)), ratio)


def pink_noise(samples: np.ndarray, rate: int, ratio: float, random: np.random.Generator) -> np.ndarray:
    """Noise whose power falls by 3 dB per octave, as that of voices and machines about does."""
    spectrum = np.fft.rfft(random.standard_normal(len(samples)))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    spectrum[0] = 0
    return with_noise(samples, np.fft.irfft(spectrum, len(samples)), ratio)


def babble_noise(sound: dict, ratio: float, random: np.random.Generator, others: Sequence[dict]) -> dict:
    """
    The sounds of up to six other rows at once, alike in mean power, each from a random moment on and looped: what is
    said beside one who speaks. Here `others`, too, are as the processor takes sounds, at the same rate.

    Raises:
        ValueError: there is no other.
    """
    if not len(others):
        raise ValueError("babble_noise is made of the sounds of other rows, and no other row has one.")
    samples, rate = np.asarray(sound["array"]), sound["sampling_rate"]
    chosen = random.choice(len(others), min(VOICES, len(others)), replace=False)
    babble = sum(looped(np.asarray(others[i]["array"]), len(samples), random) for i in chosen.tolist())
    return {"array": with_noise(samples, np.asarray(babble), ratio), "sampling_rate": rate}


def looped(samples: np.ndarray, length: int, random: np.random.Generator) -> np.ndarray:
    """A sound of mean power 1, or silent where it is, from a random moment on, again and again to a length."""
    level = np.sqrt(np.mean(samples.astype(np.float64) ** 2))
    start = int(random.random() * len(samples))
    return np.resize(np.roll(samples, -start), length) / (level or 1)


def with_noise(samples: np.ndarray, noise: np.ndarray, ratio: float) -> np.ndarray:
    """The sound and noise, scaled to a ratio of their powers in dB."""
    power, of_noise = np.mean(samples.astype(np.float64) ** 2), np.mean(noise**2)
    if not of_noise:
        return samples
    return (samples + noise * np.sqrt(power / of_noise) * gain(-ratio)).astype(np.float32)


# ---------------------------------------------------------------------------------------------------------------------
# Codecs and lines
# ---------------------------------------------------------------------------------------------------------------------


def telephone(samples: np.ndarray, rate: int) -> np.ndarray:
    """300 to 3400 Hz at 8 kHz in the 8 bits of mu-law (ITU-T G.711)."""
    narrow = resample(samples.astype(np.float32), rate, TELEPHONE_RATE)
    spectrum, hertz = np.fft.rfft(narrow), np.fft.rfftfreq(len(narrow), 1 / TELEPHONE_RATE)
    low, high = TELEPHONE_BAND
    narrow = np.fft.irfft(spectrum * ((hertz >= low) & (hertz <= high)), len(narrow))
    file = io.BytesIO()
    soundfile.write(file, narrow, TELEPHONE_RATE, format="WAV", subtype="ULAW")
    return decoded(file.getvalue(), rate)


def through_codec(samples: np.ndarray, rate: int, codec: str, container: str, kilobits: float) -> np.ndarray:
    """The sound after a codec of PyAV wrote it at so many kbit/s, and it was read again, delays included."""
    coded_rate = next((coded for coded in CODED_RATES if coded >= rate), CODED_RATES[-1])
    samples = resample(samples.astype(np.float32), rate, coded_rate)
    return decoded(encoded(samples, coded_rate, codec, container, kilobits), rate)


def encoded(samples: np.ndarray, rate: int, codec: str, container: str, kilobits: float) -> bytes:
    """Mono samples as a file."""
    av = load_av()
    if av is None:
        raise ImportError(f"PyAV encodes {codec}: `pip install 'mixture-of-transformers[video]'`.")
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=container) as file:
        stream: Any = file.add_stream(codec, rate=rate, layout="mono")
        stream.bit_rate = int(kilobits * 1000)
        frame = av.AudioFrame.from_ndarray(samples[None].astype(np.float32), format="fltp", layout="mono")
        frame.sample_rate = rate
        for part in (frame, None):
            file.mux(stream.encode(part))
    return buffer.getvalue()


def decoded(file: bytes, rate: int) -> np.ndarray:
    return load_audio(file, "the encoded sound", rate, None)[0]


# ---------------------------------------------------------------------------------------------------------------------
# Microphones, rooms and speed
# ---------------------------------------------------------------------------------------------------------------------


def low_pass(samples: np.ndarray, rate: int, hertz: float, random: np.random.Generator) -> np.ndarray:
    """A Butterworth response with its 3 dB at so many Hz, above which it falls; without delay."""
    return filtered(samples, rate, lambda f: 1 / np.sqrt(1 + (f / hertz) ** (2 * FILTER_ORDER)))


def high_pass(samples: np.ndarray, rate: int, hertz: float, random: np.random.Generator) -> np.ndarray:
    """A Butterworth response with its 3 dB at so many Hz, below which it falls; without delay."""
    return filtered(samples, rate, lambda f: 1 / np.sqrt(1 + (hertz / np.maximum(f, 1e-9)) ** (2 * FILTER_ORDER)))


def resonance(samples: np.ndarray, rate: int, decibels: float, random: np.random.Generator) -> np.ndarray:
    """A peak of so many dB, a quarter of an octave wide, somewhere from 300 to 3000 Hz."""
    low, high = np.log2(RESONANCE_HERTZ)
    middle = low + random.random() * (high - low)

    def response(f: np.ndarray) -> np.ndarray:
        octaves = np.log2(np.maximum(f, 1e-9)) - middle
        return 10 ** (decibels / 20 * np.exp(-((octaves / RESONANCE_OCTAVES) ** 2)))

    return filtered(samples, rate, response)


def filtered(samples: np.ndarray, rate: int, response: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Samples whose spectrum is multiplied by a response to Hz."""
    size = 2 * len(samples)  # so that the end does not run into the beginning
    spectrum = np.fft.rfft(samples, size) * response(np.fft.rfftfreq(size, 1 / rate))
    return np.fft.irfft(spectrum, size)[: len(samples)].astype(np.float32)


def reverberation(samples: np.ndarray, rate: int, seconds: float, random: np.random.Generator) -> np.ndarray:
    """A room that a sound takes so long to fall by 60 dB in, and that sends back as much of it as comes straight: an
    impulse and noise that decays (Polack's model), cut where the sound ends."""
    times = np.arange(max(1, int(seconds * rate))) / rate
    echo = random.standard_normal(len(times)) * 10 ** (-3 * times / seconds)
    echo /= np.sqrt(np.sum(echo**2))
    size = len(samples) + len(echo)
    tail = np.fft.irfft(np.fft.rfft(samples, size) * np.fft.rfft(echo, size), size)[: len(samples)]
    return (samples + tail).astype(np.float32)


def speed(samples: np.ndarray, rate: int, factor: float, random: np.random.Generator) -> np.ndarray:
    """Played so many times as fast, as a tape is, so that the pitch changes, too."""
    return resample(samples.astype(np.float32), round(rate * factor), rate)


def gain(decibels: float) -> float:
    return 10 ** (decibels / 20)


# ---------------------------------------------------------------------------------------------------------------------
# The list
# ---------------------------------------------------------------------------------------------------------------------


def corruption(name: str, change: Callable, values: tuple, unit: str = "", needs_codec: bool = False) -> Corruption:
    """A `Corruption` of sounds as the processor takes them, {"array": samples, "sampling_rate": Hz}."""

    def of_sound(sound: dict, value: float, random: np.random.Generator) -> dict:
        samples = change(np.asarray(sound["array"]), sound["sampling_rate"], value, random)
        return {"array": samples, "sampling_rate": sound["sampling_rate"]}

    return Corruption(name, of_sound, values, unit, needs_codec)


def codec(name: str, *, encoder: str, container: str, kilobits: tuple) -> Corruption:
    def change(samples: np.ndarray, rate: int, value: float, random: np.random.Generator) -> np.ndarray:
        return through_codec(samples, rate, encoder, container, value)

    return corruption(name, change, kilobits, "kbit/s", needs_codec=True)


RATIOS, SECONDS, SHARES = (20, 10, 5, 0, -5), (0.5, 1, 2), (0.1, 0.3, 0.5, 0.7, 0.9)
CORRUPTIONS = (
    corruption("quieter", quieter, (10, 20, 40), "dB"),
    corruption("overdriven", overdriven, (6, 12, 20), "dB"),
    corruption("silence_before", silence_before, SECONDS, "s"),
    corruption("silence_after", silence_after, SECONDS, "s"),
    corruption("silence_between", silence_between, SECONDS, "s"),
    corruption("dropout", dropout, SHARES, "share"),
    corruption("white_noise", white_noise, RATIOS, "dB"),
    corruption("pink_noise", pink_noise, RATIOS, "dB"),
    Corruption("babble_noise", babble_noise, RATIOS, "dB", needs_others=True),
    codec("mp3", encoder="libmp3lame", container="mp3", kilobits=(64, 32, 16)),
    codec("opus", encoder="libopus", container="ogg", kilobits=(32, 16, 8)),
    corruption("telephone", lambda samples, rate, value, random: telephone(samples, rate), (1,)),
    corruption("low_pass", low_pass, (4000, 2000, 1000), "Hz"),
    corruption("high_pass", high_pass, (250, 500, 1000), "Hz"),
    corruption("resonance", resonance, (6, 12, 24), "dB"),
    corruption("reverberation", reverberation, (0.2, 0.5, 1), "s"),
    corruption("slower", speed, (0.95, 0.9, 0.8), "times"),
    corruption("faster", speed, (1.05, 1.1, 1.25), "times"),
)
