# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Contrastive training on batches that do not fit: cached gradients (GradCache, arXiv 2101.06983).

A contrastive loss needs all embeddings of a batch at once, but not what the model kept to compute them. So the batch
is embedded chunk by chunk without gradients, the loss of all embeddings gives the gradient of each, and each chunk is
embedded again, from the same random state, to carry its gradients on to the parameters. That costs one more forward,
and the memory of one chunk.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field

import torch
from torch.utils.checkpoint import get_device_states, set_device_states

from mixture_of_transformers.contrastive_mot import MoTContrastive, Side


class RandomState:
    """The state of the random numbers of the processor and of the devices that some tensors are on."""

    def __init__(self, *tensors: torch.Tensor):
        self.cpu = torch.get_rng_state()
        self.devices, self.states = get_device_states(*tensors)

    def restore(self) -> None:
        torch.set_rng_state(self.cpu)
        set_device_states(self.devices, self.states)


@dataclass
class Collected:
    """The embeddings of chunks, in place of their losses."""

    chunks: list[dict] = field(default_factory=list)
    given: tuple[str, ...] = ()
    labels: list[torch.Tensor] = field(default_factory=list)

    def __call__(self, embeddings: dict, given: tuple[str, ...], labels: torch.Tensor | None) -> dict:
        self.chunks.append(embeddings)
        self.given = given
        if labels is not None:
            self.labels.append(labels)
        return {}

    def joined(self) -> dict:
        """The embeddings of all chunks as those of one batch, of which a loss can be differentiated."""
        return {
            name: Side(
                torch.cat([chunk[name].vectors for chunk in self.chunks]).requires_grad_(),
                torch.cat([chunk[name].present for chunk in self.chunks]),
            )
            for name in self.chunks[0]
        }


@dataclass
class Replayed:
    """What stands for the loss of a chunk: a number whose gradients are those of the whole batch's loss."""

    contrastive: MoTContrastive
    gradients: dict[tuple[str, ...], torch.Tensor]  # name -> (n, d), of this chunk's embeddings
    own: list[torch.Tensor]  # this chunk's share of the gradients of `scales_and_biases`

    def __call__(self, embeddings: dict, *_) -> dict:
        products = [(side.vectors * self.gradients[name]).sum() for name, side in embeddings.items()]
        numbers = zip(scales_and_biases(self.contrastive), self.own, strict=True)
        products += [(number * gradient).sum() for number, gradient in numbers]
        return {"replayed": sum(products)}


def scales_and_biases(contrastive: MoTContrastive) -> list[torch.Tensor]:
    """The learned numbers of the pairs, (1,) each."""
    return [number for named in contrastive() for number in named.values()]


@contextmanager
def in_place_of_losses(contrastive: MoTContrastive, function: Callable) -> Iterator[None]:
    """Have a forward call `function` where the contrastive loss would be computed."""
    contrastive.losses_override = function
    try:
        yield
    finally:
        contrastive.losses_override = None


def loss_and_gradients(
    contrastive: MoTContrastive, collected: Collected
) -> tuple[torch.Tensor, dict[str, torch.Tensor], list[Replayed]]:
    """The loss of all collected embeddings, its terms, and what replays the gradients of each chunk."""
    with torch.enable_grad():
        embeddings = collected.joined()
        labels = torch.cat(collected.labels) if collected.labels else None
        terms = contrastive.losses(embeddings, collected.given, labels)
        loss = contrastive.mean(terms, embeddings)
    leaves = [*(side.vectors for side in embeddings.values()), *scales_and_biases(contrastive)]
    found = torch.autograd.grad(loss, leaves)
    gradients, numbers = found[: len(embeddings)], found[len(embeddings) :]
    sizes = [len(next(iter(chunk.values())).vectors) for chunk in collected.chunks]
    by_chunk = zip(*(gradient.split(sizes) for gradient in gradients))
    own = [gradient / len(sizes) for gradient in numbers]
    return loss.detach(), terms, [Replayed(contrastive, dict(zip(embeddings, parts)), own) for parts in by_chunk]


def cached_step(
    model: torch.nn.Module,
    contrastive: MoTContrastive,
    inputs: dict[str, torch.Tensor],
    chunk_size: int,
    backward: Callable[[torch.Tensor], None] = torch.Tensor.backward,
    no_sync: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """
    The gradients of a whole batch's contrastive loss, a chunk at a time.

    Args:
        model: a `MoTForRetrieval`, or what wraps it.
        contrastive: the model's own.
        inputs: of `model`, each with B rows.
        chunk_size: rows that are embedded at once.
        backward: is called with what stands for each chunk's loss.
        no_sync: where several processes train the model, the context in which they do not wait for each other's
            gradients: that of all chunks but the last.

    Returns:
        The loss, and its terms.
    """
    rows = len(next(iter(inputs.values())))
    chunks = [{name: value[i : i + chunk_size] for name, value in inputs.items()} for i in range(0, rows, chunk_size)]
    collected, states = Collected(), []
    with torch.no_grad(), in_place_of_losses(contrastive, collected):
        for chunk in chunks:
            states.append(RandomState(*chunk.values()))
            model(**chunk, return_loss=True)
    loss, terms, replays = loss_and_gradients(contrastive, collected)
    for i, (chunk, state, replay) in enumerate(zip(chunks, states, replays)):
        state.restore()
        is_last = i == len(chunks) - 1
        with in_place_of_losses(contrastive, replay), nullcontext() if is_last else no_sync():
            backward(model(**chunk, return_loss=True).loss)
    return loss, terms
