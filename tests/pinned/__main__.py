# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Writes what is pinned. It was run once; what it wrote is compared with from then on."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402
from PIL import Image  # noqa: E402
from remote_steps import PINNED_ROW, answers_to_row  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from pinned import FOLDER, PARAMETERS, classifier, models, parameters  # noqa: E402

if PARAMETERS.exists():
    sys.exit(f"{PARAMETERS} is there: it is what the tests compare with.")
found = {name: parameters(model) for name, model in models().items()}
PARAMETERS.write_text(json.dumps(found, indent=0) + "\n")
model, processor = classifier()
model.save_pretrained(FOLDER)
processor.save_pretrained(FOLDER)
Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(PINNED_ROW["images"])
soundfile.write(PINNED_ROW["audio"], 0.5 * np.sin(np.arange(4000) * 0.17), 16000)
save_file(answers_to_row(model, processor, PINNED_ROW), FOLDER / "answers.safetensors")
