# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The embedded dataset: handwritten digits with a keypad tone and a sentence, made from what scikit-learn brings."""

import io
import wave

import datasets
import numpy as np
import pyarrow as pa
from datasets import Audio, ClassLabel, Dataset, DatasetDict, Features, Image, Value
from PIL import Image as PILImage

from mixture_of_transformers.subsets_mot import all_subsets

DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
DIGITS_FEATURES = Features(
    {
        "text": Value("string"),
        "image": Image(),
        "audio": Audio(sampling_rate=16000),
        "label": ClassLabel(names=list(DIGIT_NAMES)),
    }
)

SAMPLING_RATE = 16000  # Hz
# A telephone key sounds the tone of its row and the tone of its column at once (ITU-T Q.23), in Hz.
KEY_TONES = (
    (941, 1336),  # 0
    (697, 1209),
    (697, 1336),
    (697, 1477),
    (770, 1209),
    (770, 1336),
    (770, 1477),
    (852, 1209),
    (852, 1336),
    (852, 1477),
)
CLIP_SECONDS = (0.3, 0.8)
TONE_SECONDS = (0.08, 0.25)
SIGNAL_TO_NOISE_DB = (-20.0, 6.0)
CLEAR_DB = (15.0, 25.0)  # where a model learns to make the tones, not only to hear them
COLUMN_OVER_ROW_DB = (-4.0, 4.0)
PEAK_LEVEL = (0.05, 0.8)

NAMING_SHARE = 0.6
NAMING_SENTENCES = (
    "{digit}, please.",
    "Press {digit} to go on.",
    "The number written here is {digit}.",
    "This is a {digit}.",
    "I would read it as {digit}.",
    "Somebody wrote {digit} on the form.",
    "The caller pressed {digit}.",
    "It looks like {digit} to me.",
    "Her house number ends in {digit}.",
    "Dial {digit} after the beep.",
    "We counted {digit} of them.",
    "The key was {digit}, I am sure of it.",
    "The score stayed at {digit} all evening.",
    "Please send {digit} copies.",
    "A child drew the figure {digit}.",
    "My answer is {digit}.",
    "You heard it right: {digit}.",
    "Platform {digit} is around the corner.",
    "They took bus {digit} home.",
    "The last figure of the code is {digit}.",
)
SILENT_SENTENCES = (
    "Please write this down for me.",
    "The line was very noisy.",
    "I could not read the handwriting.",
    "Thank you for calling.",
    "Somebody left this on my desk.",
    "The ink is a little pale.",
    "Could you repeat that more slowly?",
    "Stay on the line, please.",
    "The postman was late again today.",
    "We will call you back this afternoon.",
    "This form has been scanned twice over.",
    "Nothing else was written on the page.",
    "Listen to the tone and look at the picture.",
    "The figure was drawn with a pencil.",
    "He pressed a key and waited.",
    "Her writing leans to the left.",
)

# Every choice of modalities that leaves a row with at least one other.
MISSING_MODALITIES = all_subsets(("text", "image", "audio"))[:-1]


def load_digits_dataset(
    seed: int = 0, missing_rate: float = 0.3, signal_to_noise_db: tuple[float, float] = SIGNAL_TO_NOISE_DB
) -> DatasetDict:
    """Handwritten digits with a keypad tone and a sentence: a tri-modal dataset that needs no download.

    The images are the 1797 real ones of scikit-learn (UCI Optical Recognition of Handwritten Digits; Alpaydin and
    Kaynak, 1998), scaled from 8x8 to 28x28 greyscale. The audio is the digit's dual tone on a telephone keypad, short
    and often deep in noise. The sentence names the digit in 60 % of the rows of each split, as a word or a numeral.

    Args:
        seed: the same seed gives the same rows, bit for bit.
        missing_rate: share of the *training* rows that lack one or two modalities (None cells), from 0 to 1. The
            rate changes no other cell. Validation and test rows are complete.
        signal_to_noise_db: of the tones, from the least to the most; it changes nothing but the noise.

    Returns:
        Splits `train` (1297 rows), `validation` (200) and `test` (300), stratified by digit, with the columns of
        `DIGITS_FEATURES`. An image stands in one split only.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    if not 0 <= missing_rate <= 1:
        raise ValueError(f"`missing_rate` is a share from 0 to 1, got {missing_rate}.")
    images, digits = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)
    train, held_out = train_test_split(np.arange(len(digits)), test_size=500, stratify=digits, random_state=seed)
    validation, test = train_test_split(held_out, test_size=300, stratify=digits[held_out], random_state=seed)

    splits = DatasetDict()
    for stream, (name, rows) in enumerate({"train": train, "validation": validation, "test": test}.items()):
        rng = np.random.default_rng([seed, stream])
        columns = digit_columns(images[rows], digits[rows], rng, signal_to_noise_db)
        if name == "train":
            remove_modalities(columns, missing_rate, np.random.default_rng([seed, 3]))
        # `Dataset.from_dict` with an Audio feature imports torchcodec even for ready bytes; an Arrow table does not.
        table = pa.Table.from_pydict(columns, schema=DIGITS_FEATURES.arrow_schema)
        splits[name] = Dataset(table, split=datasets.NamedSplit(name))
    return splits


def digit_columns(
    images: np.ndarray, digits: np.ndarray, rng: np.random.Generator, signal_to_noise_db: tuple[float, float]
) -> dict[str, list]:
    return {
        "text": digit_sentences(digits, rng),
        "image": [{"bytes": png_bytes(image), "path": None} for image in images],
        "audio": [{"bytes": wav_bytes(key_press(digit, rng, signal_to_noise_db)), "path": None} for digit in digits],
        "label": digits.tolist(),
    }


def digit_sentences(digits: np.ndarray, rng: np.random.Generator) -> list[str]:
    naming = rng.permutation(len(digits)) < round(NAMING_SHARE * len(digits))
    sentences = []
    for digit, names_it in zip(digits, naming):
        spelled = DIGIT_NAMES[digit] if rng.random() < 0.5 else str(digit)
        sentence = str(rng.choice(NAMING_SENTENCES if names_it else SILENT_SENTENCES)).format(digit=spelled)
        sentences.append(sentence[0].upper() + sentence[1:])
    return sentences


def png_bytes(image: np.ndarray) -> bytes:
    """An 8x8 picture with values from 0 to 16 as a 28x28 greyscale PNG."""
    pixels = np.round(image * (255 / 16)).astype(np.uint8)
    buffer = io.BytesIO()
    PILImage.fromarray(pixels).resize((28, 28), PILImage.Resampling.BICUBIC).save(buffer, format="PNG")
    return buffer.getvalue()


def key_press(
    digit: int, rng: np.random.Generator, signal_to_noise_db: tuple[float, float] = SIGNAL_TO_NOISE_DB
) -> np.ndarray:
    """The dual tone of a digit's key somewhere in a clip of white noise: samples (time,) from -1 to 1."""
    clip_length, tone_length = (int(rng.uniform(*seconds) * SAMPLING_RATE) for seconds in (CLIP_SECONDS, TONE_SECONDS))
    onset = rng.integers(0, clip_length - tone_length + 1)
    radians = 2 * np.pi * np.arange(tone_length) / SAMPLING_RATE
    row_phase, column_phase = rng.uniform(0, 2 * np.pi, size=2)
    row_hertz, column_hertz = KEY_TONES[digit]
    column_gain = gain(rng.uniform(*COLUMN_OVER_ROW_DB))
    tone = np.sin(row_hertz * radians + row_phase) + column_gain * np.sin(column_hertz * radians + column_phase)

    clip = rng.standard_normal(clip_length)
    clip[onset : onset + tone_length] += gain(rng.uniform(*signal_to_noise_db)) * tone / tone.std()
    return clip * rng.uniform(*PEAK_LEVEL) / np.abs(clip).max()


def gain(decibels: float) -> float:
    return 10 ** (decibels / 20)


def wav_bytes(samples: np.ndarray) -> bytes:
    """Samples (time,) from -1 to 1 as a 16-bit mono WAV file."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLING_RATE)
        file.writeframes(np.round(samples * 32767).astype("<i2").tobytes())
    return buffer.getvalue()


def remove_modalities(columns: dict[str, list], missing_rate: float, rng: np.random.Generator) -> None:
    n_rows = len(columns["label"])
    for row in rng.permutation(n_rows)[: round(missing_rate * n_rows)]:
        for modality in MISSING_MODALITIES[rng.integers(len(MISSING_MODALITIES))]:
            columns[modality][row] = None
