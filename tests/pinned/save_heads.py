# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Saves a folder of each head by the code of commit 4e47f52, when the package was called `mot`; it was run once.

    git worktree add /tmp/4e47f52 4e47f52
    mkdir /tmp/path && ln -s /tmp/4e47f52 /tmp/path/mot
    PYTHONPATH=/tmp/path OMP_NUM_THREADS=1 python tests/pinned/save_heads.py

has written `4e47f52/`, which no change of the code may change: `code/` and `processor/`, which are the same for every
head, are there once, and each head's config, weights and answers to the row lie in a folder that is named as its
class.
"""

import shutil
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import mot  # noqa: E402
import torch  # noqa: E402
from remote_steps import PINNED_CLASSES, PINNED_ROW, WORDS, answers_to_row  # noqa: E402
from safetensors.torch import save_file  # noqa: E402
from transformers import BertTokenizer  # noqa: E402

FOLDER = Path(__file__).with_name("4e47f52")
VOCABULARY = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS)
TOWER = {"num_hidden_layers": 1}
CONFIG = {
    **{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 20, "projection_dim": 12},
    **{"num_joint_layers": 1, "num_global_layers": 1, "id2label": {0: "cat", 1: "dog", 2: "bird"}},
    "text_config": TOWER | {"vocab_size": len(VOCABULARY), "max_position_embeddings": 16, "hidden_size": 12},
    "image_config": TOWER | {"image_size": 8, "patch_size": 4},
    "audio_config": TOWER | {"num_mel_bins": 8, "max_frames": 40},
}


def random_model(model_class: type) -> torch.nn.Module:
    """Every parameter random, gains around one: zeros and ones of a fresh model would hide mistakes."""
    torch.manual_seed(0)
    model = model_class(mot.MoTConfig(**CONFIG)).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.normal_(mean=1.0 if "norm" in name and name.endswith("weight") else 0.0, std=0.2)
    return model


if __name__ == "__main__":
    if FOLDER.exists():
        sys.exit(f"{FOLDER} is there: it is what the tests compare with.")
    processor = mot.MoTProcessor(
        mot.MoTImageProcessor(size={"height": 8, "width": 8}, do_convert_rgb=True),
        mot.MoTFeatureExtractor(feature_size=8),
        BertTokenizer(vocab={word: i for i, word in enumerate(VOCABULARY)}, model_max_length=16),
    )
    for name in PINNED_CLASSES:
        model = random_model(getattr(mot, name))
        model.save_pretrained(FOLDER / name)
        save_file(answers_to_row(model, processor, PINNED_ROW), FOLDER / name / "answers.safetensors")
        (FOLDER / "code").mkdir(exist_ok=True)
        for file in (FOLDER / name).glob("*.py"):
            shutil.move(file, FOLDER / "code" / file.name)
    processor.save_pretrained(FOLDER / "processor")
    for file in (FOLDER / "processor").glob("*.py"):
        shutil.move(file, FOLDER / "code" / file.name)
