# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two processes train one causal model, on batches of other modalities; run by test_causal_model.py.

In the first step rank 0 has text alone and rank 1 pictures and sounds, in the second the other way round, and in the
third both have everything. The parameters are compared with those of one process that takes the mean of both ranks'
losses. An engine that waits for a missing gradient or a missing collective hangs here until its process group times
out.
"""

import copy
import sys
from datetime import timedelta

import torch
import torch.distributed
from causal_helpers import causal_config, tokens_of
from distributed_steps import WORLD_SIZE, free_port, full_parameters, shard, train
from helpers import build, max_difference
from torch.nn.parallel import DistributedDataParallel

from mixture_of_transformers import MoTForCausalLM

ENGINES = ("ddp", "ddp, checkpointing", "fully_shard", "fully_shard, checkpointing")
SETTINGS = ("all untied", "feed-forward untied", "audio left out")


def batch(step, rank):
    names = ["text", "image", "audio"] if step == 2 else ["text"] if step == rank else ["image", "audio"]
    ids = torch.tensor([tokens_of(names * 6, seed=10 * step + 3 * rank + row) for row in range(2 + rank)])
    return {"input_ids": ids, "labels": ids}


def work(rank, port):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=60),
    )
    for setting in SETTINGS:
        for engine in ENGINES:
            compare(rank, engine, setting)
    torch.distributed.destroy_process_group()


def compare(rank, engine, setting):
    model = build(MoTForCausalLM, causal_config(setting)).train()
    single = train(copy.deepcopy(model), lambda m, step: mean_loss(m, step).backward())
    expected = dict(single.named_parameters())
    if engine.endswith("checkpointing"):
        model.activation_checkpointing_enable()
    model = shard(model) if engine.startswith("fully_shard") else DistributedDataParallel(model)
    train(model, lambda m, step: m(**batch(step, rank)).loss.backward())
    for name, parameter in full_parameters(model).items():
        difference = max_difference(parameter, expected[name])
        if not difference < 1e-5:
            raise AssertionError(f"{engine}, {setting}, rank {rank}: {name} differs from one process by {difference}")
    # One write for the whole line: both ranks share the pipe.
    sys.stdout.write(f"{engine}, {setting}, rank {rank}: all parameters equal to one process\n")
    sys.stdout.flush()


def mean_loss(model, step):
    return torch.stack([model(**batch(step, rank)).loss for rank in range(WORLD_SIZE)]).mean()


def learn():
    """Forked from this process, since most of a start would be the import of torch in each."""
    torch.multiprocessing.start_processes(work, (free_port(),), nprocs=WORLD_SIZE, start_method="fork")
