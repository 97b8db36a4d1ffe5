# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot generate`: what a causal checkpoint writes, draws and speaks.

A prompt is a text with the media that it names or that stand before it. What comes is printed at once, and media are
written to files.
"""

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import soundfile
from PIL import Image
from transformers import set_seed

from mixture_of_transformers.configuration_causal_mot import TEXT
from mixture_of_transformers.grammar_mot import INTERLEAVED
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM
from mixture_of_transformers.processing_causal_mot import MoTCausalProcessor
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.training.loading import load_checkpoint


def load_generator(place: str | Path, token: str | bool | None = None) -> tuple[MoTForCausalLM, MoTCausalProcessor]:
    """
    A causal checkpoint on the Hub or in a folder, and its processor; no code that comes with it is run.

    Args:
        token: of the Hub; False for none, None for that of whoever is logged in.

    Raises:
        ValueError: it is of another kind, or damaged. OSError: it is not there.
    """
    return load_checkpoint(place, MoTForCausalLM, token=token).eval(), load_processor(place, token=token)


def generation_modes(model: MoTForCausalLM) -> list[str]:
    """What may be asked of a model: text, each modality that it makes, and all of them interleaved."""
    made = list(model.output_modalities)
    return [*made, INTERLEAVED] if len(made) > 1 else made


def prompt_of(processor: MoTCausalProcessor, text: str, media: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
    """
    What a processor is called with: a text, in which `<image>` and `<audio>` stand for the media in their order, and
    the media, those first that the text does not name. They go through the model's tower where it has one; else they
    are read as tokens.

    Args:
        media: modality -> what the processor reads.

    Raises:
        ValueError: the model has no such modality.
    """
    arguments = {}
    for name, values in media.items():
        if not values:
            continue
        if name not in processor.layout.modalities:
            known = ", ".join(processor.layout.modalities)
            raise ValueError(f"The model takes no {name!r}: its modalities are {known}.")
        plain, raw = f"<{name}>", f"<{name}:raw>"
        unnamed = len(values) - text.count(plain) - text.count(raw)
        text = plain * max(unnamed, 0) + text
        if name in processor.encoders:
            text = text.replace(plain, raw)
        arguments[processor.kinds[name].cells[0].argument] = list(values)
    return {"text": text} | arguments


class Writer:
    """Prints segments as they come, and writes media to files `{row}-{number}.png` and `.wav` of a folder."""

    def __init__(self, folder: Path, processor: MoTCausalProcessor):
        self.folder, self.processor, self.numbers = folder, processor, {}

    def __call__(self, row: int, modality: str, content: Any) -> None:
        if modality == TEXT:
            print(content, end="", flush=True)
            return
        if content is None:
            print(f"[{modality} that cannot be shown]", flush=True)
            return
        number = self.numbers[row] = self.numbers.get(row, 0) + 1
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{row}-{number}"
        if isinstance(content, Image.Image):
            file = file.with_suffix(".png")
            content.save(file)
        else:
            file = file.with_suffix(".wav")
            soundfile.write(file, content, self.processor.codecs[modality].tokenizer.sampling_rate)
        print(f"[{modality}: {file}]", flush=True)


def main(arguments: list[str] | None = None) -> None:
    """`mot generate`: prints what a causal checkpoint writes, and writes what it draws and speaks to files."""
    parser = argparse.ArgumentParser(prog="mot generate", description=main.__doc__)
    parser.add_argument("--model", required=True, help="a checkpoint on the Hub or in a folder")
    parser.add_argument("--text", default="", help="the prompt; <image> and <audio> in it stand for the files")
    media = [name for name in MODALITIES if name != TEXT]
    for name in media:
        parser.add_argument(
            f"--{name}", nargs="+", default=[], metavar="FILE", help=f"{name} in the prompt: files, URLs"
        )
    parser.add_argument("--mode", default=TEXT, help="what comes out: text, image, audio, ... or interleaved")
    parser.add_argument("--rows", type=int, default=1, help="how many different answers")
    parser.add_argument("--max_new_tokens", type=int, help="of an answer; by default what its mode takes")
    parser.add_argument("--temperature", type=float, help="0 for the likeliest tokens; by default the checkpoint's")
    parser.add_argument("--guidance_scale", type=float, help="how closely pictures and sounds follow the prompt")
    parser.add_argument("--seed", type=int, help="of what is drawn at random")
    parser.add_argument("--output_dir", type=Path, default=Path("generated"), help="where pictures and sounds go")
    options = parser.parse_args(arguments)
    model, processor = load_generator(options.model)
    if options.seed is not None:
        set_seed(options.seed)
    prompt = prompt_of(processor, options.text, {name: getattr(options, name) for name in media})
    batch = {name: [value] * options.rows for name, value in prompt.items()}
    inputs = processor(**batch, return_tensors="pt") | sampling(options)
    show = Writer(options.output_dir, processor)
    row_before = 0
    for row, modality, content in model.stream(processor, generation_mode=options.mode, **inputs):
        if row != row_before:
            print(f"\n[row {row}]", flush=True)
        row_before = row
        show(row, modality, content)
    print()


def sampling(options: argparse.Namespace) -> dict[str, Any]:
    """What `generate` is told of how to choose; the checkpoint's own where nothing is said."""
    chosen = {name: getattr(options, name) for name in ("max_new_tokens", "guidance_scale")}
    if options.temperature is not None:
        is_random = options.temperature > 0
        chosen |= {"do_sample": is_random, "temperature": options.temperature if is_random else None}
    return {name: value for name, value in chosen.items() if value is not None}
