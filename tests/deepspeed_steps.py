# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two processes of DeepSpeed on CPUs train one model, on batches of other modalities; run by test_deepspeed.py.

    DS_ACCELERATOR=cpu ACCELERATE_USE_CPU=true torchrun --nproc_per_node 2 tests/deepspeed_steps.py 2 FOLDER

By turns one process has text alone and the other images and audio, then single rows lack something. The checkpoint that
the processes gather, loaded by one, is compared with the model of one process that trained on the batches of both.
"""

import json
import sys
from pathlib import Path

import torch
from toy_trainers import model_of, rows_of, trainer_of

from mixture_of_transformers import MoTForSequenceClassification

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
    "use_cpu": False,
    "ddp_backend": "gloo",
}


def zero(stage: int) -> dict:
    """What configs/deepspeed_zero*.yaml ask for, in float32, and with SGD, which shows a wrong gradient as it is."""
    return {
        "zero_optimization": {"stage": stage, "stage3_gather_16bit_weights_on_model_save": True},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "train_micro_batch_size_per_gpu": "auto",
        "train_batch_size": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
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


def main(stage: int, folder: Path) -> None:
    torch.set_num_threads(1)
    trainer = trainer_of(folder, model_of(), ragged_rows(), deepspeed=zero(stage), **OPTIONS)
    trainer.train()
    trainer.save_model()
    print(json.dumps({"engine": type(trainer.model_wrapped).__name__, "processes": trainer.args.world_size}))
    if trainer.is_world_process_zero():
        gathered = MoTForSequenceClassification.from_pretrained(folder).state_dict()
        torch.save(gathered, folder / "gathered.pt")


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
