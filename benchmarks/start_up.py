# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Start-up

What a command costs before it works: the processor time, user and system, of a process of its own.
`import torch, transformers` loads nothing of transformers, which imports a class where it is looked up. A program that
has a model and a processor looks up at least `PreTrainedModel`, `AutoModel` and `AutoProcessor`, so the package is
compared with that. `mot predict` answers one row of text by a checkpoint of two small layers.
"""

import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification, MoTProcessor

from .measure import NotMeasured, Row, Table, take_turns

NOTHING = "import torch, transformers"
LIBRARY = "a model and a processor of transformers"
PACKAGE = "import mixture_of_transformers"
HELP, PREDICT = "mot --help", "mot predict"
PROGRAMS = {
    NOTHING: NOTHING,
    LIBRARY: f"{NOTHING}; transformers.PreTrainedModel, transformers.AutoModel, transformers.AutoProcessor",
    PACKAGE: PACKAGE,
}
IMPORT_BAR, HELP_BAR, PREDICT_BAR = 1.3, 0.3, 1.5  # ratio, seconds, ratio


def time_of_children() -> float:
    """Seconds of processor time that the processes took which this one started and saw end."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def process(*command: str | Path) -> Callable[[], object]:
    """Runs a command to its end, on one thread."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return lambda: subprocess.run(command, env=environment, check=True, capture_output=True)


def save_checkpoint(folder: str) -> None:
    """A model of two small layers that has not learned, with its processor."""
    processor = MoTProcessor()
    text = {"vocab_size": len(processor.tokenizer), "num_hidden_layers": 1}
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_global_layers": 1}
    config = MoTConfig(text_config=text, image_config=None, audio_config=None, num_labels=2, **sizes)
    MoTForSequenceClassification(config).save_pretrained(folder)
    processor.save_pretrained(folder)


def tables(seconds: float) -> Iterator[Table]:
    mot = Path(sys.executable).with_name("mot")
    if not mot.exists():
        raise NotMeasured(f"the console script is not installed beside {Path(sys.executable).name}")
    candidates = {name: process(sys.executable, "-c", program) for name, program in PROGRAMS.items()}
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(folder)
        candidates[HELP] = process(mot, "--help")
        candidates[PREDICT] = process(mot, "predict", "--model", folder, "--text", "a good day")
        times = take_turns(candidates, 10 * seconds, clock=time_of_children)
    yield Table(
        "Processor time of a process, 1 thread",
        [
            times.row(f"{PACKAGE} / {LIBRARY}", PACKAGE, LIBRARY, IMPORT_BAR),
            times.row(f"{PACKAGE} / {NOTHING}", PACKAGE, NOTHING),
            times.row(f"{LIBRARY} / {NOTHING}", LIBRARY, NOTHING),
            times.row(f"{PREDICT} / {PACKAGE}", PREDICT, PACKAGE, PREDICT_BAR),
            Row.of(f"{HELP}, seconds", times[HELP], bar=HELP_BAR),
        ],
        value="ratio or s",
    )
