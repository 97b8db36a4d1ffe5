# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two processes of DeepSpeed on CPUs train one model, on batches of other modalities; run by test_deepspeed.py.

    DS_ACCELERATOR=cpu accelerate launch --config_file configs/deepspeed_zero2.yaml --mixed_precision no \
        tests/deepspeed_steps.py FOLDER

By turns one process has text alone and the other images and audio, then single rows lack something.
"""

import json
import sys
from pathlib import Path

import torch
from toy_trainers import model_of, rows_of, trainer_of

ROWS, STEPS = 4, 3  # of a batch; of the optimizer
OPTIONS = {
    "per_device_train_batch_size": ROWS,
    "max_steps": STEPS,
    "learning_rate": 0.1,
    "lr_scheduler_type": "constant",
    "optim": "sgd",
    "max_grad_norm": 0.5,
    "objective": "given",
    "train_sampling_strategy": "sequential",
}


def ragged_rows() -> list[dict]:
    """The batches of both processes by turns: text alone, or all but text; then rows that lack this or that."""
    rows = rows_of(2 * ROWS * STEPS)
    for start, without_text in ((0, False), (ROWS, True), (2 * ROWS, True), (3 * ROWS, False)):
        for i in range(start, start + ROWS):
            whole = rows_of(2)[0]
            whole["input_features"] = rows[i].get("input_features", whole["input_features"])
            kept = ("pixel_values", "input_features") if without_text else ("input_ids",)
            rows[i] = {name: whole[name] for name in kept} | {"labels": rows[i]["labels"]}
    return rows


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    # accelerate has DeepSpeed on CPUs where nothing says that they are wanted and a backend is named.
    trainer = trainer_of(folder, model_of(), ragged_rows(), **OPTIONS, use_cpu=False, ddp_backend="gloo")
    trainer.train()
    trainer.save_model()
    plugin = trainer.accelerator.state.deepspeed_plugin
    report = {"engine": type(trainer.model_wrapped).__name__, "stage": plugin.zero_stage}
    print(json.dumps(report | {"processes": trainer.args.world_size}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
