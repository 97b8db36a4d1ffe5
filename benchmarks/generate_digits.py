# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Does a model draw, speak, see and hear the digits that it is asked for?

    python run_finetune.py --task generation --dataset_name path/to/digits3m ...
    python -m benchmarks.generate_digits path/to/digits3m outputs/digits3m-generation

Of the test split: each prompt that names a digit is drawn once and spoken once, and classifiers of real training
digits (`judges.py`) judge what was made; their own accuracy on the real test split stands beside. Of every picture and
sound the model writes a caption, which has to name the digit and no other. Prompts and captions are to be such as the
model was trained on: `--prompt "{text}"`, the rows' own sentences as far as they name the digit, or `--prompt
"{label}"`; a caption follows the medium as the tower reads it or, with `--as_tokens`, as its tokens.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import datasets
import numpy as np
import torch
from matplotlib import pyplot
from PIL import Image

from mixture_of_transformers import MoTCausalProcessor, MoTForCausalLM
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import DIGIT_NAMES, load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image

from .judges import PictureJudge, SoundJudge, share_right
from .retrieve_digits import names_the_digit

ROWS_AT_ONCE = 64
SAMPLING_RATE = 16_000  # Hz, of the judge
CAPTION_TOKENS = 12
SHOWN_OF_A_DIGIT = 2  # pictures, and sounds, that --output_dir shows


def splits_of(dataset: str) -> datasets.DatasetDict:
    """Its splits, of rows that have all, with media as they are stored; `digits` are those that are embedded."""
    splits = load_digits_dataset() if dataset == "digits" else load_splits(dataset)
    splits = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))[0]
    return datasets.DatasetDict({name: complete(split) for name, split in splits.items()})


def complete(split: datasets.Dataset) -> datasets.Dataset:
    rows = enumerate(zip(split["text"], split["image"], split["audio"]))
    return split.select([i for i, cells in rows if None not in cells])


def media(split: datasets.Dataset, column: str) -> list[Image.Image | np.ndarray]:
    """All pictures, or sounds at SAMPLING_RATE, of a split."""
    cells = split.with_format(None)[column]
    if column == "image":
        return [load_image(cell, column, convert_rgb=False) for cell in cells]
    return [load_audio(cell, column, SAMPLING_RATE, None)[0] for cell in cells]


def generated(
    model: MoTForCausalLM, processor: MoTCausalProcessor, documents: Sequence[list[dict]], **options
) -> Iterator[torch.Tensor]:
    """The ids (L,) of each document with what the model adds to it."""
    for first in range(0, len(documents), ROWS_AT_ONCE):
        inputs = processor(documents[first : first + ROWS_AT_ONCE], return_tensors="pt")
        yield from model.generate(**inputs, **options)


def made(
    model: MoTForCausalLM, processor: MoTCausalProcessor, prompts: Sequence[str], modality: str, **options
) -> list[Image.Image | np.ndarray]:
    """A picture or a sound for each prompt."""
    documents = [[{"text": prompt}] for prompt in prompts]
    rows = list(generated(model, processor, documents, generation_mode=modality, **options))
    return [processor.post_process_multimodal_output(row, generation_mode=modality)[0] for row in rows]


def captions(
    model: MoTForCausalLM, processor: MoTCausalProcessor, column: str, found: Sequence, as_tokens: bool
) -> list[str]:
    """The most probable caption of each picture or sound."""
    rate = {"sampling_rate": SAMPLING_RATE}
    parts = [{column: value if column == "image" else {"array": value, **rate}} for value in found]
    documents = [[part | {"raw": not as_tokens}] for part in parts]
    rows = generated(
        model, processor, documents, generation_mode="text", do_sample=False, max_new_tokens=CAPTION_TOKENS
    )
    return [processor.decode(row, skip_special_tokens=True) for row in rows]


def plot(shown: dict[str, torch.Tensor], asked: Sequence[int], file: Path) -> None:
    """
    A column for each digit: its prompt, what was drawn of it, and the frames of what was spoken, low bands below.

    Args:
        shown: column -> (N, 1, H, W), what the judge of that column looks at.
        asked: the digit of each.
    """
    places = [(column, number) for column in shown for number in range(SHOWN_OF_A_DIGIT)]
    figure, axes = pyplot.subplots(len(places), len(DIGIT_NAMES), figsize=(11, 1.15 * len(places)), squeeze=False)
    for digit, name in enumerate(DIGIT_NAMES):
        own = [i for i, label in enumerate(asked) if label == digit]
        axes[0, digit].set_title(f"“{name}”", fontsize=11)
        for axis, (column, number) in zip(axes[:, digit], places):
            axis.set_axis_off()
            if number < len(own):
                axis.imshow(
                    shown[column][own[number], 0], cmap="gray" if column == "image" else "magma", aspect="auto"
                )
    figure.tight_layout(pad=0.3)
    figure.savefig(file, dpi=110)
    pyplot.close(figure)


def share_naming(texts: Sequence[str], labels: Sequence[int]) -> float:
    """How many of the texts name the digit, and no other."""
    named = [[digit for digit in range(len(DIGIT_NAMES)) if names_the_digit(text, digit)] for text in texts]
    return float(np.mean([digits == [label] for digits, label in zip(named, labels)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="a folder, or `digits` for those that are embedded")
    parser.add_argument("checkpoint")
    parser.add_argument("--split", default="test")
    parser.add_argument("--prompt", default="{text}", help="of drawing and speaking, with {text} or {label} in it")
    parser.add_argument("--temperature", type=float, default=0.8, help="of drawing and speaking")
    parser.add_argument("--guidance_scale", type=float, default=2.0, help="of drawing and speaking")
    parser.add_argument("--as_tokens", action="store_true", help="captions of tokens, not of what the towers read")
    parser.add_argument("--rows", type=int, help="the first rows of the split alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output_dir", type=Path, help="where results.json goes, and what was made as pictures")
    arguments = parser.parse_args()
    splits = splits_of(arguments.dataset)
    train, split = splits["train"], splits[arguments.split]
    split = split.select(range(min(arguments.rows or len(split), len(split))))
    model = MoTForCausalLM.from_pretrained(arguments.checkpoint).eval()
    processor = MoTCausalProcessor.from_pretrained(arguments.checkpoint)
    labels = split["label"]
    prompts = [arguments.prompt.format(text=text, label=DIGIT_NAMES[i]) for text, i in zip(split["text"], labels)]
    naming = [i for i, prompt in enumerate(prompts) if names_the_digit(prompt, labels[i])]
    prompts, asked = [prompts[i] for i in naming], [labels[i] for i in naming]
    options = {"do_sample": True, "temperature": arguments.temperature, "guidance_scale": arguments.guidance_scale}
    results = {"rows": len(split), "prompts": len(prompts), "seed": arguments.seed, **options}
    shown = {}
    for column, judge_class in (("image", PictureJudge), ("audio", SoundJudge)):
        found, rate = media(split, column), [SAMPLING_RATE] if column == "audio" else []
        judge = judge_class(media(train, column), *rate, train["label"])
        torch.manual_seed(arguments.seed)
        drawn = made(model, processor, prompts, column, **options)
        written = captions(model, processor, column, found, arguments.as_tokens)
        results[column] = {
            "judge of real": share_right(judge(found), labels),
            "judge of generated": share_right(judge(drawn), asked),
            "caption names the digit": share_naming(written, labels),
        }
        print(column, results[column], flush=True)
        shown[column] = judge.look(drawn)
    if arguments.output_dir:
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        plot(shown, asked, arguments.output_dir / "digits.png")
        (arguments.output_dir / "results.json").write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
