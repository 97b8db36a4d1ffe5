# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Real pictures, real speech and real prose as rows of tokens, for `benchmarks/miniature.py`.

Prose is the docstrings of installed packages, cut into 512 byte pairs; a picture is the nearest of 256 patches of
4 x 4 pixels at each of its places; a sound the nearest of 256 log-mel frames every 20 ms. A row is 64 tokens of prose
that end in the row's caption, then its picture, then its sound, between the tokens that begin and end them.
"""

import ast
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.cluster import MiniBatchKMeans
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from mixture_of_transformers import MoTFeatureExtractor
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.resampling_mot import resample

PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy")  # whose docstrings are the prose
MODULES = {"scikit-learn": "sklearn"}  # where the import has another name than the distribution
TEXT_TOKENS, IMAGE_TOKENS, AUDIO_TOKENS = 64, 49, 32  # of a row; sounds end earlier where they are shorter
TEXT_IDS, CODES = 512, 256
SPECIAL = ("<pad>", "<|begin_image|>", "<|end_image|>", "<|begin_audio|>", "<|end_audio|>")
PAD, BEGIN_IMAGE, END_IMAGE, BEGIN_AUDIO, END_AUDIO = range(len(SPECIAL))
IMAGE_START, AUDIO_START, VOCABULARY = TEXT_IDS, TEXT_IDS + CODES, TEXT_IDS + 2 * CODES
ROW_TOKENS = TEXT_TOKENS + IMAGE_TOKENS + AUDIO_TOKENS + 4

PIXELS, PATCH = 28, 4  # the sides of a picture and of a patch
SHIFTS = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)]  # of a training picture, in pixels
RATE = 8000  # Hz, at which the spoken digits were recorded
SPEEDS, OFFSETS = (1.0, 0.94), (0, 40, 80, 120)  # of a training sound; offsets in samples, below one hop
HELD_OUT = 0.12  # of the rows of the training split
HELD_OUT_PROSE = 0.1  # of the docstrings


@dataclass
class Corpus:
    """
    Token ids.

    Args:
        train_prose, held_out_prose: (N,) the docstrings one after another.
        captions: ids of the sentence of each row.
        pictures: (variants, rows, 49); variant 0 is the picture itself.
        sounds: (variants, rows, 32), padded; variant 0 is the sound itself.
        train, held_out: which rows; they share neither a picture nor a recording.
        facts: what the page says of all this.
    """

    train_prose: np.ndarray
    held_out_prose: np.ndarray
    captions: list[np.ndarray]
    pictures: np.ndarray
    sounds: np.ndarray
    train: np.ndarray
    held_out: np.ndarray
    facts: dict

    def batch(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Training rows (B, L), each in a variant and after prose that are drawn."""
        pictures, sounds = (rng.integers(len(variants), size=len(rows)) for variants in (self.pictures, self.sounds))
        starts = rng.integers(len(self.train_prose) - TEXT_TOKENS, size=len(rows))
        return np.stack(
            [
                self.row(row, *variant, self.train_prose[start:])
                for row, *variant, start in zip(rows, pictures, sounds, starts)
            ]
        )

    def validation(self) -> np.ndarray:
        """The rows held out (N, L), each after prose held out."""
        starts = np.linspace(0, len(self.held_out_prose) - TEXT_TOKENS, len(self.held_out)).astype(int)
        return np.stack(
            [self.row(row, 0, 0, self.held_out_prose[start:]) for row, start in zip(self.held_out, starts)]
        )

    def row(self, row: int, picture: int, sound: int, prose: np.ndarray) -> np.ndarray:
        caption = self.captions[row][:TEXT_TOKENS]
        sound = self.sounds[sound, row]
        ids = [prose[: TEXT_TOKENS - len(caption)], caption, [BEGIN_IMAGE], self.pictures[picture, row], [END_IMAGE]]
        ids = np.concatenate([*ids, [BEGIN_AUDIO], sound[sound != PAD], [END_AUDIO]])
        return np.pad(ids, (0, ROW_TOKENS - len(ids)), constant_values=PAD)


def load_corpus(dataset: str | None, seed: int = 0) -> Corpus:
    """
    Args:
        dataset: a folder of digits3m, or of any table with text, pictures of 28 x 28 pixels and sounds; None for the
            embedded digits.
    """
    table = load_rows(dataset)
    rng = np.random.default_rng(seed)
    train, held_out = held_apart(table, rng)
    docstrings = read_docstrings()
    rng.shuffle(docstrings)
    first = round(len(docstrings) * HELD_OUT_PROSE)
    prose = ["\n\n".join(part) for part in (docstrings[first:], docstrings[:first])]
    captions = [row["text"] for row in table]
    tokenizer = train_tokenizer([prose[0], *(captions[row] for row in train)])
    train_prose, held_out_prose = (np.array(tokenizer.encode(text).ids) for text in prose)
    pictures, image_error = picture_codes([row["image"] for row in table], train, seed)
    sounds, audio_error = sound_codes([row["audio"] for row in table], train, seed)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    facts = {
        "dataset": Path(dataset).name if dataset else "the embedded digits",
        "packages": ", ".join(f"{name} {version}" for name, version in versions.items()),
        "characters": len(prose[0]) + len(prose[1]),
        "train_prose": len(train_prose),
        "held_out_prose": len(held_out_prose),
        "train_rows": len(train),
        "held_out_rows": len(held_out),
        "frames": float((sounds[0] != PAD).sum(axis=1).mean()),
        "image_error": image_error,
        "audio_error": audio_error,
    }
    encoded = [np.array(encoding.ids) for encoding in tokenizer.encode_batch(["\n\n" + text for text in captions])]
    return Corpus(train_prose, held_out_prose, encoded, pictures, sounds, train, held_out, facts)


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def load_rows(dataset: str | None) -> list[dict]:
    """Rows {"text": str, "image": {"bytes": ..}, "audio": {"bytes": ..}} of the training split."""
    if dataset is None:
        split = load_digits_dataset(missing_rate=0)["train"]
    else:
        splits = load_splits(dataset)
        split = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))[0]["train"]
    return split.with_format("arrow")[:].to_pylist()


def held_apart(table: list[dict], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows held out, which share neither a picture nor a recording."""
    order = rng.permutation(len(table))
    held_out = order[: round(len(table) * HELD_OUT)]
    seen = {table[row][column]["bytes"] for row in held_out for column in ("image", "audio")}
    train = [row for row in order[len(held_out) :] if not {table[row][c]["bytes"] for c in ("image", "audio")} & seen]
    return np.array(train), held_out


# ---------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------


def read_docstrings() -> list[str]:
    """The paragraphs of prose in the docstrings of `PACKAGES`, each docstring once, without code and tables."""
    found = {}
    for package in PACKAGES:
        folder = Path(importlib.util.find_spec(MODULES.get(package, package)).origin).parent
        for path in sorted(path for path in folder.rglob("*.py") if "tests" not in path.parts):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                    found[prose_of(ast.get_docstring(node) or "")] = None
    return sorted(text for text in found if text)


def prose_of(docstring: str) -> str:
    paragraphs = re.split(r"\n\s*\n", docstring)
    return "\n\n".join(text for text in paragraphs if not re.search(r">>>|---|===|\.\. |\|", text))


def train_tokenizer(texts: list[str]) -> Tokenizer:
    """Byte pairs; no text is written with the special tokens, which have the first ids."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=TEXT_IDS, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


# ---------------------------------------------------------------------------------------------------------------------
# Pictures and sounds
# ---------------------------------------------------------------------------------------------------------------------


def picture_codes(images: list, train: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Ids (variants, rows, 49), and the share of the pixels' variance that the patches' codes leave out."""
    pixels = [
        np.asarray(
            load_image(image, f"image {i}", convert_rgb=False)
            .convert("L")
            .resize((PIXELS, PIXELS), Image.Resampling.BOX)
        )
        for i, image in enumerate(images)
    ]
    pixels = np.stack(pixels).astype(np.float32) / 255  # (rows, 28, 28)
    patches = np.stack([patches_of(np.roll(pixels, shift, axis=(1, 2))) for shift in SHIFTS])  # edges are empty
    codes, error = quantize(patches, train, seed)
    return codes + IMAGE_START, error


def patches_of(pixels: np.ndarray) -> np.ndarray:
    """(rows, 28, 28) to (rows, 49, 16)."""
    rows, side = len(pixels), PIXELS // PATCH
    return pixels.reshape(rows, side, PATCH, side, PATCH).swapaxes(2, 3).reshape(rows, side * side, PATCH * PATCH)


def sound_codes(sounds: list, train: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """Ids (variants, rows, 32), padded with `PAD`, and the share of the frames' variance that the codes leave out."""
    extract = MoTFeatureExtractor(
        feature_size=40, sampling_rate=RATE, frame_length_ms=25.0, hop_length_ms=20.0, max_frequency=RATE / 2
    )
    waveforms = [load_audio(sound, f"audio {i}", RATE, None)[0] for i, sound in enumerate(sounds)]
    variants = []
    for speed in SPEEDS:
        spoken = [resample(waveform, RATE, round(RATE * speed)) for waveform in waveforms]
        variants += [[waveform[offset:] for waveform in spoken] for offset in OFFSETS]
    frames = np.full((len(variants), len(sounds), AUDIO_TOKENS, extract.feature_size), np.nan, np.float32)
    for variant, clips in enumerate(variants):
        features = extract(clips, return_tensors="pt")
        for row, (clip, mask) in enumerate(zip(features["input_features"], features["input_features_mask"])):
            clip = clip[mask][:AUDIO_TOKENS].numpy()
            frames[variant, row, : len(clip)] = clip - clip.mean()
    codes, error = quantize(frames, train, seed)
    return np.where(codes < 0, PAD, codes + AUDIO_START), error


def quantize(vectors: np.ndarray, train: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """
    The nearest of 256 centres, which the training rows give.

    Args:
        vectors: (variants, rows, places, d), NaN where there is none.

    Returns:
        Codes (variants, rows, places), -1 where there is no vector, and the share of the variance of variant 0 that
        the centres leave out.
    """
    is_real = ~np.isnan(vectors[..., 0])
    learnt = vectors[0, train][is_real[0, train]]
    clusters = MiniBatchKMeans(CODES, batch_size=4096, n_init=1, random_state=seed).fit(learnt)
    codes = np.full(is_real.shape, -1)
    codes[is_real] = clusters.predict(vectors[is_real])
    own = vectors[0][is_real[0]]
    rest = own - clusters.cluster_centers_[codes[0][is_real[0]]]
    return codes, float(rest.var(axis=0).sum() / own.var(axis=0).sum())
