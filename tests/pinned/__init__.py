# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What saved checkpoints rely on, written down once: names and shapes of parameters, and a folder that was saved then.

`python tests/pinned` has written `parameters.json` and `classifier/`, which no change of the code may change. The
folder has its weights, its processor and its own code, a row, and what processor and model made of it. `save_heads.py`
has written the folders of earlier code, one for each head, in the same way.
"""

import shutil
from pathlib import Path

import torch
from helpers import build, tiny_config
from transformers import BertTokenizer

from mixture_of_transformers import (
    MoTFeatureExtractor,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTModel,
    MoTProcessor,
)
from mixture_of_transformers.fusion_mot import FUSIONS

PINNED = Path(__file__).parent
FOLDER, PARAMETERS, HEADS = PINNED / "classifier", PINNED / "parameters.json", PINNED / "4e47f52"
WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "small", "red", "cat", "sings")


def models() -> dict[str, torch.nn.Module]:
    """A model for each set of names."""
    classify = MoTForSequenceClassification
    return {
        "default": build(MoTModel, tiny_config()),
        "classification": build(classify, tiny_config(num_labels=3)),
        "joint only": build(classify, tiny_config("joint_only", num_labels=3)),
        "one modality": build(classify, tiny_config(num_labels=3, image_config=None, audio_config=None)),
        "towers of other width and depth": build(classify, tiny_config("uneven_towers", num_labels=3)),
        "ready features": build(classify, tiny_config(num_labels=3, features=True)),
        **{f"{name} fusion": build(classify, tiny_config(num_labels=3, fusion_type=name)) for name in FUSIONS},
        "retrieval": build(MoTForRetrieval, tiny_config()),
        "pretraining": build(MoTForPreTraining, tiny_config()),
        "masked words": build(MoTForMaskedLM, tiny_config()),
    }


def parameters(model: torch.nn.Module) -> dict[str, str]:
    """Name and shape of everything that a checkpoint of the model holds."""
    return {name: "x".join(map(str, value.shape)) for name, value in model.state_dict().items()}


def classifier() -> tuple[MoTForSequenceClassification, MoTProcessor]:
    """The model and the processor that were saved."""
    config = tiny_config("uneven_towers", num_labels=3, text_config={"vocab_size": len(WORDS)})
    config.id2label = {0: "cat", 1: "dog", 2: "bird"}
    side = config.image_config.image_size
    processor = MoTProcessor(
        MoTImageProcessor(size={"height": side, "width": side}, do_convert_rgb=True),
        MoTFeatureExtractor(feature_size=config.audio_config.num_mel_bins),
        BertTokenizer(vocab={word: i for i, word in enumerate(WORDS)}, model_max_length=16),
    )
    return build(MoTForSequenceClassification, config), processor


def put_together(name: str, folder: Path) -> Path:
    """The folder of a head as earlier code has saved it: what every head has, and its own."""
    for part in ("code", "processor", name):
        shutil.copytree(HEADS / part, folder / name, dirs_exist_ok=True)
    return folder / name
