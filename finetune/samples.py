# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a trained generator makes of the beginnings of held-out documents, as files to look at and to listen to.

Of each template the last column is left out and generated: a text is printed, a picture or a sound is a file in the
folder `samples` of the run, whose samples.jsonl names them all.
"""

import json
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from PIL import Image
from transformers import PreTrainedModel

from mixture_of_transformers.data.documents import RAW, TEXT
from mixture_of_transformers.processing_causal_mot import CODES, MoTCausalProcessor
from mixture_of_transformers.training.document_rows import EveryDocumentDataset

SAMPLES, INDEX = "samples", "samples.jsonl"
MEDIA_OF_SAMPLES = {".png": "image", ".wav": "audio"}
MOST_TEXT_TOKENS = 32


def write_samples(
    model: PreTrainedModel,
    processor: MoTCausalProcessor,
    documents: EveryDocumentDataset,
    folder: Path,
    number: int,
    seed: int,
) -> list[dict[str, str]]:
    """
    Generate the last parts of some documents into the folder of a run.

    Args:
        documents: of which each template's first ones are taken.
        number: of samples of each template.

    Returns:
        For each sample its `template`, its `prompt`, and what was `made` of it: a text, or the name of a file.
    """
    (folder / SAMPLES).mkdir(exist_ok=True)
    for file in (folder / SAMPLES).iterdir():  # of an earlier run
        if file.suffix in (*MEDIA_OF_SAMPLES, ".jsonl"):
            file.unlink()
    samples = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for template in documents.encoder.templates:
            for segments in islice(documents.segments_of(template), number):
                if len(segments) < 2 or segments[-1].get(RAW):
                    continue  # There is no prompt, or nothing that can be generated.
                modality, made = generated(model, processor, segments)
                rate = getattr(processor.codecs[modality].tokenizer, "sampling_rate", 0) if modality != TEXT else 0
                name = kept(made, folder / SAMPLES, len(samples), rate)
                samples.append({"template": template.written, "prompt": written(segments[:-1]), "made": name})
    lines = "".join(json.dumps(sample) + "\n" for sample in samples)
    (folder / SAMPLES / INDEX).write_text(lines, encoding="utf-8")
    return samples


def read_samples(folder: Path) -> list[dict[str, str]]:
    """What `write_samples` has left in the folder of a run."""
    index = folder / SAMPLES / INDEX
    return [json.loads(line) for line in index.read_text(encoding="utf-8").splitlines()] if index.exists() else []


def generated(model: PreTrainedModel, processor: MoTCausalProcessor, segments: Sequence[dict]) -> tuple[str, Any]:
    """What a model makes in place of the last part of a document, a text, a picture or samples (n,), and its name."""
    *prompt, last = [part_of(segment) for segment in segments]
    mode = next(iter(last))
    length = MOST_TEXT_TOKENS if mode == TEXT else len(last[mode][CODES]) * 2 + 3  # with what begins and ends it
    inputs = processor([prompt], return_tensors="pt").to(model.device)
    ids = model.generate(**inputs, generation_mode=mode, do_sample=mode != TEXT, max_new_tokens=length)
    new = ids[:, inputs["input_ids"].shape[1] :]
    return mode, processor.post_process_multimodal_output(new, generation_mode=mode)[0]


def part_of(segment: dict) -> dict:
    """A part of a document as the processor takes it, with the codes of the first version of a medium."""
    (modality, value), *_ = segment.items()
    return segment if modality == TEXT or segment.get(RAW) else {modality: {CODES: value[0]}}


def kept(made: str | Image.Image | np.ndarray, folder: Path, number: int, sampling_rate: int) -> str:
    """What was made, if it is a text, or the name of its file."""
    if isinstance(made, str):
        return made
    file = folder / f"{number}.{'png' if isinstance(made, Image.Image) else 'wav'}"
    if isinstance(made, Image.Image):
        made.save(file)
    else:
        soundfile.write(file, made, sampling_rate)
    return f"{folder.name}/{file.name}"


def written(segments: Sequence[dict]) -> str:
    """A document as text, with a marker for each medium."""
    return " ".join(segment[TEXT] if TEXT in segment else f"<{next(iter(segment))}>" for segment in segments)


def sample_lines(samples: Sequence[dict[str, str]]) -> list[str]:
    """One line for each sample."""
    return [f"{sample['prompt']} -> {sample['made']}" for sample in samples]
