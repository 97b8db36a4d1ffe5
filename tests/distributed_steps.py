# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two processes train one model, on batches of other modalities and other numbers of rows; run by test_invariants.py.

`learn(["ddp", "fully_shard"])` takes steps of SGD with each engine: in the first, rank 0 has one modality only (text)
and rank 1 the others (images and audio), in the second the other way round, and in the third all rows have what
`make_inputs` gives them, which is every way of lacking something. The parameters are compared with those of one
process: it gets the mean of both ranks' losses, but the contrastive ones from the joined batch. An engine that waits
for a missing gradient or a missing collective hangs here until its process group times out.
"""

import copy
import socket
import sys
import tempfile
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed
from helpers import MODALITIES, OPEN_SETS, build, make_inputs, max_difference, tiny_config
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification, contrastive_mot
from mixture_of_transformers.training.gradient_cache import cached_step

WORLD_SIZE = 2
LEARNING_RATE = 0.1
CHUNK_SIZE = 4
# Each head with a fusion that has parameters of its own, and variants of its loss.
CASES = {
    "MoTForSequenceClassification": (MoTForSequenceClassification, {"fusion_type": "early"}),
    "MoTForRetrieval": (MoTForRetrieval, {"fusion_type": "hierarchical", "contrastive_positives": "label"}),
    "MoTForRetrieval, sigmoid": (MoTForRetrieval, {"contrastive_loss": "sigmoid"}),
    "MoTForPreTraining": (MoTForPreTraining, {"fusion_type": "attention"}),
    "MoTForSequenceClassification, declared": (MoTForSequenceClassification, {"fusion_type": "early"}),
}
NUM_STEPS = 3


def modalities_of(case):
    return OPEN_SETS[0] if case.endswith("declared") else MODALITIES


def given(case, step, rank):
    """What a rank's batch has in a step."""
    whole = modalities_of(case)
    return whole if step == 2 else whole[:1] if step == rank else whole[1:]


def batch(case, step, rank):
    inputs = make_inputs(given(case, step, rank), seed=10 * step + rank)
    if CASES[case][0] is MoTForPreTraining:  # with targets, so that nothing is drawn at random
        targets = {"text_labels": "input_ids", "image_labels": "pixel_values", "audio_labels": "input_features"}
        return inputs | {label: inputs[name] for label, name in targets.items() if name in inputs}
    return inputs | {"labels": torch.arange(len(next(iter(inputs.values())))) % (3 + rank)}


def joined(batches):
    """One batch of the rows of several; what a batch lacks is masked."""
    numbers = [len(next(iter(inputs.values()))) for inputs in batches]
    parts = {name: [inputs.get(name) for inputs in batches] for inputs in batches for name in inputs}
    whole = {}
    for name, values in parts.items():
        example = next(value for value in values if value is not None)
        blanks = [example.new_zeros(number, *example.shape[1:]) for number in numbers]
        whole[name] = torch.cat([blank if value is None else value for value, blank in zip(values, blanks)])
    return whole


def loss_of_one_process(model, batches, model_class):
    """The mean of the batches' losses, but the contrastive ones of the joined batch."""
    if model_class is MoTForRetrieval:
        return model(**joined(batches)).loss
    outputs = [model(**inputs) for inputs in batches]
    if model_class is MoTForSequenceClassification:
        return torch.stack([output.loss for output in outputs]).mean()
    terms = [sum(output.losses[m] for m in MODALITIES if m in output.losses) for output in outputs]
    found = model(**joined(batches)).losses
    contrastive = [loss for name, loss in found.items() if name.startswith("contrastive/")]
    # Parameters that a term lacks get no gradient from it, but all do from the losses themselves.
    zero = 0.0 * sum(output.loss for output in outputs)
    return torch.stack(terms).mean() + sum(contrastive) / max(len(contrastive), 1) + zero


def train(model, backward_of):
    optimizer = torch.optim.SGD(model.parameters(), lr=LEARNING_RATE)
    for step in range(NUM_STEPS):
        optimizer.zero_grad()
        backward_of(model, step)
        optimizer.step()
    return model


def backward_in_chunks(model, inputs):
    """Cached gradients: the ranks' batches give one and two chunks, and only the last of each is waited for."""
    cached_step(model, model.module.contrastive, inputs, CHUNK_SIZE, no_sync=model.no_sync)


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
        for case in CASES:
            if engine != "ddp, chunks" or "Retrieval" in case:
                compare(rank, engine, case)
    torch.distributed.destroy_process_group()


def compare(rank, engine, case):
    model_class, fields = CASES[case]
    fields = fields | {"num_labels": 4, "num_joint_layers": 1, "num_global_layers": 1}
    model = build(model_class, tiny_config(modalities=modalities_of(case), **fields)).train()
    if rank == 0:  # alone, as if there were no other
        single = copy.deepcopy(model)
        all_batches = [[batch(case, step, r) for r in range(WORLD_SIZE)] for step in range(NUM_STEPS)]
        with alone():
            train(single, lambda m, step: loss_of_one_process(m, all_batches[step], model_class).backward())
        expected = dict(single.named_parameters())
    if engine.endswith("checkpointing"):
        model.gradient_checkpointing_enable()
    model = shard(model) if engine.startswith("fully_shard") else DistributedDataParallel(model)
    if engine == "ddp, chunks":
        train(model, lambda m, step: backward_in_chunks(m, batch(case, step, rank)))
    else:
        train(model, lambda m, step: m(**batch(case, step, rank)).loss.backward())
    for name, parameter in full_parameters(model).items():
        reference = expected[name].detach().clone() if rank == 0 else torch.empty_like(parameter)
        torch.distributed.broadcast(reference, src=0)
        difference = max_difference(parameter, reference)
        if not difference < 1e-5:
            raise AssertionError(f"{engine}, {case}, rank {rank}: {name} differs from one process by {difference}")
    say(f"{engine}, {case}, rank {rank}: all parameters equal to one process")
    if engine == "fully_shard":
        save_and_load(rank, case, model, single if rank == 0 else None)


def save_and_load(rank, case, model, single):
    """The shards of both ranks, gathered into a checkpoint that one process loads, are what one process learnt."""
    gathered = get_model_state_dict(model, options=StateDictOptions(full_state_dict=True, cpu_offload=True))
    if rank != 0:  # which gets nothing
        return
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, state_dict=dict(gathered))  # which it empties
        loaded = CASES[case][0].from_pretrained(folder)
    if loaded.config.architectures != [type(single).__name__]:
        raise AssertionError(f"{case}: the checkpoint is of {loaded.config.architectures}")
    found, expected = loaded.state_dict(), single.state_dict()
    if found.keys() != expected.keys() or not all(torch.equal(found[name], gathered[name]) for name in found):
        raise AssertionError(f"{case}: what was loaded is not what was gathered")
    if not max(max_difference(found[name], expected[name]) for name in found) < 1e-5:
        raise AssertionError(f"{case}: what was loaded differs from one process")
    say(f"{case}: the gathered checkpoint is what one process learnt")


def say(line):
    """In one write, since both ranks share the pipe."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


@contextmanager
def alone():
    """Nothing is gathered: what a model computes where no process group was ever started."""
    several, contrastive_mot.several_processes = contrastive_mot.several_processes, lambda: False
    try:
        yield
    finally:
        contrastive_mot.several_processes = several


def free_port():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return server.getsockname()[1]


def learn(engines: list[str]) -> None:
    """Forked from this process, since most of a start would be the import of torch in each."""
    arguments = (engines, free_port())
    torch.multiprocessing.start_processes(work, arguments, nprocs=WORLD_SIZE, start_method="fork")
