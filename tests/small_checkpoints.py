# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Small checkpoints that have not learned, as folders with their processors: one of notes, vital signs and movements,
which classifies or finds, and one that generates."""

from pathlib import Path

import numpy as np
from transformers import BertTokenizer

from mixture_of_transformers import (
    MoTCausalProcessor,
    MoTConfig,
    MoTForCausalLM,
    MoTForSequenceClassification,
    MoTProcessor,
)
from mixture_of_transformers.modality_series_mot import SeriesModality
from mixture_of_transformers.modality_table_mot import TableModality
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)

WARDS = ["<b>north</b>", "south", "west"]
LABELS = ["resting", "walking", "running"]
CHANNELS, RATE = 3, 50.0


def patient(number: int) -> dict:
    """A row: a note, vital signs and two seconds of an accelerometer."""
    random, times = np.random.default_rng(number), np.arange(100) / RATE
    vitals = {"age": 40 + number, "pulse": 60.5 + 5 * number, "sex": "fm"[number % 2], "ward": WARDS[number % 3]}
    waves = np.sin(2 * np.pi * times[:, None] * [1, 2, 3]) + 0.1 * random.standard_normal((100, CHANNELS))
    return {"text": "a note of the day", "vitals": vitals, "imu": {"array": waves, "sampling_rate": RATE}}


def save_patients(folder: Path, model_class=MoTForSequenceClassification) -> Path:
    """A checkpoint that classifies or finds patients, and its processor."""
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "note", "of", "the", "day"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(vocabulary)}, model_max_length=32)
    rows = [patient(number) for number in range(20)]
    kinds = {"vitals": TableModality.called("vitals"), "imu": SeriesModality.called("imu")}
    settings = {m: kind.learn(row[m] for row in rows) for m, kind in kinds.items()}
    declared = {m: {"kind": kind.kind} | settings[m] for m, kind in kinds.items()}
    processor = MoTProcessor(tokenizer=tokenizer, modalities=declared)
    fields = {m: processor.kinds[m].config_fields(settings[m]) | {"num_hidden_layers": 1} for m in settings}
    config = MoTConfig(
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=48,
        text_config={"vocab_size": len(vocabulary), "max_position_embeddings": 32, "num_hidden_layers": 1},
        image_config=None,
        audio_config=None,
        vitals_config={"model_type": "mot_table"} | fields["vitals"],
        imu_config={"model_type": "mot_series"} | fields["imu"],
        id2label=dict(enumerate(LABELS)),
        label2id={label: number for number, label in enumerate(LABELS)},
    )
    model_class(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_generator(folder: Path) -> Path:
    """A causal checkpoint that writes, draws and speaks, sees and hears through towers, and has not learned."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "draw", "say", "a", "one", "three", "seven", "##s"]
    tokenizer = BertTokenizer(vocab={word: number for number, word in enumerate(words)})
    pictures = MoTImageTokenizerConfig(image_size=8, patch_size=4, levels=(3, 3), hidden_size=8, num_hidden_layers=1)
    sounds = MoTAudioTokenizerConfig(levels=(3, 3), hidden_size=8, num_hidden_layers=1)
    processor = MoTCausalProcessor(
        tokenizer,
        image_tokenizer=MoTImageTokenizer(pictures),
        audio_tokenizer=MoTAudioTokenizer(sounds),
        encoders={
            "image": {"model_type": "mot_image", "image_size": 8, "patch_size": 4, "num_hidden_layers": 1},
            "audio": {"model_type": "mot_audio", "num_hidden_layers": 1},
        },
    )
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_hidden_layers": 1}
    MoTForCausalLM(processor.config_for(**sizes, max_position_embeddings=256)).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
