# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two processes train one model, rank 0 on text only and rank 1 on images and audio; run by test_invariants.py.

`python distributed_steps.py ddp fully_shard` takes two steps of SGD with each engine and compares the parameters with those that one
process gets from the mean of both ranks' losses. An engine that waits for a missing gradient or a missing collective
hangs here until its process group times out.
"""

import copy
import socket
import sys
from datetime import timedelta

import conftest  # noqa: F401  (makes `mot` importable in a clone that was never installed)
import torch
import torch.distributed
from helpers import build, make_inputs, max_difference, tiny_config
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from mot import MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification

WORLD_SIZE = 2
STEPS = 2
LEARNING_RATE = 0.1
RANK_SUBSETS = (("text",), ("image", "audio"))


# Each head with a fusion that has parameters of its own.
MODELS = {
    MoTForSequenceClassification: "early",
    MoTForRetrieval: "hierarchical",
    MoTForPreTraining: "attention",
}


def batch(rank, model_class):
    inputs = make_inputs(RANK_SUBSETS[rank], seed=rank)
    if model_class is MoTForPreTraining:  # with targets, so that nothing is drawn at random
        targets = {"text_labels": "input_ids", "image_labels": "pixel_values", "audio_labels": "input_features"}
        return inputs | {label: inputs[name] for label, name in targets.items() if name in inputs}
    return inputs | {"labels": torch.arange(len(next(iter(inputs.values())))) % 4}


def train(model, losses_of):
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        losses_of(model).backward()
        optimizer.step()
    return model


def shard(model):
    mesh = init_device_mesh("cpu", (WORLD_SIZE,))
    layers = [module for module in model.modules() if type(module).__name__ in model._no_split_modules]
    if not layers:
        raise ValueError(f"No module of the model is named in _no_split_modules, {model._no_split_modules}")
    for layer in layers:
        fully_shard(layer, mesh=mesh)
    return fully_shard(model, mesh=mesh)


def full_parameters(model):
    model = model.module if isinstance(model, DistributedDataParallel) else model
    return {n: p.full_tensor() if hasattr(p, "full_tensor") else p for n, p in model.named_parameters()}


def work(rank, engines, port):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo",
        init_method=f"tcp://127.0.0.1:{port}",
        rank=rank,
        world_size=WORLD_SIZE,
        timeout=timedelta(seconds=60),
    )
    for engine in engines:
        for model_class, fusion_type in MODELS.items():
            compare(rank, engine, model_class, fusion_type)
    torch.distributed.destroy_process_group()


def compare(rank, engine, model_class, fusion_type):
    config = tiny_config(num_labels=4, num_joint_layers=1, num_global_layers=1, fusion_type=fusion_type)
    model = build(model_class, config).train()
    single = copy.deepcopy(model)
    train(single, lambda m: torch.stack([m(**batch(r, model_class)).loss for r in range(WORLD_SIZE)]).mean())
    model = DistributedDataParallel(model) if engine == "ddp" else shard(model)
    train(model, lambda m: m(**batch(rank, model_class)).loss)
    expected = dict(single.named_parameters())
    for name, parameter in full_parameters(model).items():
        difference = max_difference(parameter, expected[name])
        if not difference < 1e-5:
            raise AssertionError(f"{engine}, rank {rank}: {name} differs from one process by {difference}")
    # One write for the whole line: both ranks share the pipe.
    sys.stdout.write(f"{engine}, {model_class.__name__}, rank {rank}: all parameters equal to one process\n")
    sys.stdout.flush()


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


if __name__ == "__main__":
    torch.multiprocessing.spawn(work, args=(sys.argv[1:], free_port()), nprocs=WORLD_SIZE)
