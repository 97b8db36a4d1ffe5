# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Sound things, as small as can be: media files, a processor, a checkpoint that classifies, another that retrieves, an
index."""

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
import transformers
from datasets import Dataset, disable_progress_bars
from PIL import Image

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
    pipeline_mot,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.search.building import build_index

try:
    import av
except ImportError:
    av = None

WORDS = ["red", "green", "blue", "cat", "dog", "horse"]
LABELS = ["good", "bad", "neither"]
RATE, MEL_BINS, SIDE = 8000, 16, 16
TOWER = {"num_hidden_layers": 1}


@dataclass
class World:
    """Where everything lies; `media` leads from a kind to the names and bytes of files."""

    folder: Path
    media: dict[str, dict[str, bytes]]
    processor: MoTProcessor
    classifier: MoTForSequenceClassification
    retriever: MoTForRetrieval
    pipeline: Any
    checkpoint: Path
    index: Path


def build_world(folder: Path) -> World:
    transformers.utils.logging.disable_progress_bar()
    disable_progress_bars()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    processor = MoTProcessor(
        MoTImageProcessor(size={"height": SIDE, "width": SIDE}, do_convert_rgb=True),
        MoTFeatureExtractor(feature_size=MEL_BINS, sampling_rate=RATE),
        train_tokenizer([" ".join(WORDS)] * 5, model_max_length=32),
        num_frames=4,
    )
    classifier = MoTForSequenceClassification(config_for(processor)).eval()
    retriever = MoTForRetrieval(config_for(processor)).eval()
    for name, model in (("classifier", classifier), ("retriever", retriever)):
        model.save_pretrained(folder / name)
        processor.save_pretrained(folder / name)
    rows = Dataset.from_dict({"text": WORDS, "label": [LABELS[i % 3] for i in range(6)]})
    index = build_index(rows, *loaded(folder / "retriever"), folder / "index", shard_rows=4)
    pipeline = pipeline_mot.MultimodalClassificationPipeline(model=classifier, processor=processor)
    return World(
        folder, media(), processor, classifier, retriever, pipeline, folder / "classifier", Path(index.folder)
    )


def loaded(folder: Path):
    return MoTForRetrieval.from_pretrained(folder), MoTProcessor.from_pretrained(folder)


def config_for(processor: MoTProcessor, **fields) -> MoTConfig:
    return MoTConfig(
        **{
            "hidden_size": 16,
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "projection_dim": 8,
            "text_config": TOWER | {"vocab_size": len(processor.tokenizer), "max_position_embeddings": 32},
            "image_config": TOWER | {"image_size": SIDE, "patch_size": 8, "num_frames": 4},
            "audio_config": TOWER | {"num_mel_bins": MEL_BINS, "max_frames": 300},
            "id2label": dict(enumerate(LABELS)),
            "label2id": {name: i for i, name in enumerate(LABELS)},
        }
        | fields
    )


def media() -> dict[str, dict[str, bytes]]:
    rng = np.random.default_rng(0)
    picture = Image.fromarray(rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    tone = (0.3 * np.sin(np.arange(RATE // 2) * 0.3) + 0.01 * rng.normal(size=RATE // 2)).astype(np.float32)
    pictures = {f"p.{kind}": saved_picture(picture, kind) for kind in ("png", "jpeg", "gif", "webp", "bmp", "tiff")}
    sounds = {f"s.{kind}": saved_sound(tone, kind) for kind in ("wav", "flac", "ogg", "mp3")}
    videos = {f"v.{kind}": saved_video(kind) for kind in ("mp4", "mkv", "avi", "webm")} if av else {}
    return {"images": pictures, "audio": sounds, "videos": videos}


def saved_picture(picture: Image.Image, kind: str) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def saved_sound(samples: np.ndarray, kind: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format=kind)
    return file.getvalue()


def saved_video(kind: str) -> bytes:
    """Six small frames and their sound."""
    file = io.BytesIO()
    codecs = {"webm": ("libvpx", "libopus")}.get(kind, ("mpeg4", "aac" if kind == "mp4" else "mp2"))
    with av.open(file, "w", format="matroska" if kind == "mkv" else kind) as container:
        pictures = container.add_stream(codecs[0], rate=6)
        pictures.width, pictures.height, pictures.pix_fmt = 32, 32, "yuv420p"
        sound = container.add_stream(codecs[1], rate=48000, layout="mono")
        for i in range(6):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * i, dtype=np.uint8), format="rgb24")
            container.mux(pictures.encode(frame))
        samples = (0.2 * np.sin(np.arange(48000) * 0.05)).astype(np.float32)[None]
        kind_of_samples = sound.codec_context.format.name
        resampler = av.AudioResampler(format=kind_of_samples, layout="mono", rate=48000, frame_size=960)
        whole = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono")
        whole.sample_rate = 48000
        for part in resampler.resample(whole):
            container.mux(sound.encode(part))
        container.mux(sound.encode())
        container.mux(pictures.encode())
    return file.getvalue()
