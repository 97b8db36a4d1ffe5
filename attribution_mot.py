# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What each modality contributed to an answer: Shapley values over the subsets of the modalities that a row has.

A model that answers from any subset can be asked all of them: the encoders run once, and the joint part once for each.
Of more than six modalities these are too many: orders in which they may come are drawn then, and the error is told.

Shapes: B rows, M modalities, D width of an embedding.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from .subsets_mot import all_subsets

MOST_EXACT = 6  # modalities of a batch whose subsets, 63, are all asked


@contextmanager
def inference(model: nn.Module) -> Iterator[None]:
    """Evaluation mode without gradients; afterwards every module is in the mode that it was in."""
    was_training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in was_training.items():
            module.training = training


def model_inputs(inputs: dict) -> dict[str, torch.Tensor]:
    """A batch as a collator or a processor gives it, without its labels."""
    return {name: value for name, value in inputs.items() if name != "labels" and value is not None}


@dataclass
class Contributions:
    """
    What each modality added to an answer; see `modality_contributions`.

    Args:
        modalities: the model's, in their order.
        values: (B, M) Shapley values; 0 for a modality that the row lacks. They sum to `answer` - `prior`.
        present: (B, M) bool, which modalities each row has.
        prior: (B,) the answer to nothing.
        answer: (B,) the answer to all that the row has.
        target: what was asked for: (B,) classes or output numbers, or (B, D) embeddings.
        unit: what the numbers are: "probability", "logit", "value" or "cosine similarity".
        error: (B, M) the standard error of `values` where orders were drawn; None where they are exact.
    """

    modalities: tuple[str, ...]
    values: torch.Tensor
    present: torch.Tensor
    prior: torch.Tensor
    answer: torch.Tensor
    target: torch.Tensor
    unit: str
    error: torch.Tensor | None = None

    def of(self, modality: str) -> torch.Tensor:
        """(B,) the contribution of one modality."""
        if modality not in self.modalities:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(self.modalities)}.")
        return self.values[:, self.modalities.index(modality)]

    def of_row(self, row: int) -> dict[str, float]:
        """modality -> its contribution to the answer of one row, of those that the row has."""
        return self.named(self.values, row)

    def errors_of_row(self, row: int) -> dict[str, float]:
        """The same of the standard errors; {} where the values are exact."""
        return {} if self.error is None else self.named(self.error, row)

    def named(self, numbers: torch.Tensor, row: int) -> dict[str, float]:
        return {m: numbers[row, i].item() for i, m in enumerate(self.modalities) if self.present[row, i]}


def modality_contributions(
    model: nn.Module,
    inputs: dict,
    target: int | torch.Tensor | None = None,
    output: str = "probability",
    reference: dict | None = None,
    permutations: int = 32,
    seed: int = 0,
) -> Contributions:
    """
    The Shapley value of each modality of each row: what it adds to the answer, averaged over all orders in which the
    row's modalities may come. The encoders run once. Up to six modalities of a batch it is exact, from the answers to
    all their subsets; of more it is estimated from some orders, the same in every call, with its standard error.

    The answer to nothing is the prior, what the model says of a row without any token: its head applied to the zero
    fused vector (for a retrieval model, a similarity of 0). With `reference` it is the mean answer over those rows.

    Args:
        model: one that classifies, regresses or retrieves.
        inputs: as of `attention_maps`; rows may have any modalities.
        target: the class to explain, or the number of a regression's output, for all rows or (B,) one for each; by
            default the class that the model chooses from all that the row has, or the first output. For retrieval, the
            embeddings of the items whose cosine similarity with the row is explained, (D,) or (B, D).
        output: "probability" or "logit" of a class; regression and retrieval have but one answer.
        reference: inputs of other rows, for the prior.
        permutations: the number of orders that are drawn of more than six modalities, see `sampled_shapley`; the
            error falls with its square root.
        seed: of what is drawn.

    Raises:
        ValueError: if the model gives no such answer, or `target` does not fit it.

    Source: Shapley, "A value for n-person games" (1953), with modalities for persons.
    """
    if output not in ("probability", "logit"):
        raise ValueError(f'`output` is {output!r}, expected "probability" or "logit".')
    modalities = model.config.modalities
    with inference(model):
        encoded = model_of(model).encode(**model_inputs(inputs))
        has = encoded.has(modalities)
        players = tuple(m for m in modalities if m in has)
        present = torch.stack([has[m] for m in players], dim=1)  # (B, players)
        prior = read_answers(model, encoded, (), output)
        if reference is not None:
            others = model_of(model).encode(**model_inputs(reference))
            prior = read_answers(model, others, others.given, output).mean(dim=0).expand_as(prior)
        whole = read_answers(model, encoded, players, output)
        target, pick = choose_target(model, whole, target)
        prior, whole = pick(prior).double(), pick(whole).double()

        def value(subset: tuple[int, ...]) -> torch.Tensor:
            """(B,) the answers from the players with these numbers; a row that has none of them answers the prior."""
            if len(subset) == len(players):
                return whole
            found = pick(read_answers(model, encoded, tuple(players[i] for i in subset), output)).double()
            return torch.where(present[:, list(subset)].any(dim=1), found, prior)

        if len(players) <= MOST_EXACT:
            values, error = exact_shapley(value, prior, present), None
        else:
            values, error = sampled_shapley(value, prior, present, permutations, seed)

    def of_all(part: torch.Tensor) -> torch.Tensor:
        """(B, players) to (B, M): 0 of the modalities that no row has."""
        columns = [part[:, players.index(m)] if m in has else torch.zeros_like(part[:, 0]) for m in modalities]
        return torch.stack(columns, dim=1)

    return Contributions(
        modalities,
        of_all(values).float(),
        of_all(present),
        prior.float(),
        whole.float(),
        target,
        unit_of(model, output),
        None if error is None else of_all(error).float(),
    )


def model_of(model: nn.Module) -> nn.Module:
    if getattr(model, "answers_with", None) is None:
        raise ValueError(
            f"{type(model).__name__} gives no answer that modalities could contribute to: expected a model that "
            "classifies, regresses or retrieves."
        )
    return model.mot


def unit_of(model: nn.Module, output: str) -> str:
    return {"embeddings": "cosine similarity", "numbers": "value", "classes": output}[model.answers_with]


def read_answers(model: nn.Module, encoded, subset: tuple[str, ...], output: str) -> torch.Tensor:
    """The answers of a model from a subset of the modalities: (B, classes) or embeddings (B, D)."""
    answers = model.answer(encoded, subset).float()
    return answers if output == "logit" else model.score(answers)


def choose_target(model: nn.Module, answers: torch.Tensor, target):
    """The target of each row, and the function that takes its value (B,) from the answers (B, n) to a subset."""
    batch_size, number = answers.shape
    if model.answers_with == "embeddings":
        if not isinstance(target, torch.Tensor) or target.shape not in ((number,), (batch_size, number)):
            found = tuple(target.shape) if isinstance(target, torch.Tensor) else repr(target)
            raise ValueError(
                f"`target` is {found}; a model that retrieves needs the embeddings of the items whose similarity is "
                f"to be explained, of shape ({number},) or ({batch_size}, {number})."
            )
        target = F.normalize(target.to(answers), dim=-1).expand(batch_size, -1)
        return target, lambda found: (found * target).sum(dim=-1)
    if target is None:
        target = 0 if model.answers_with == "numbers" else answers.argmax(dim=-1)
    target = torch.as_tensor(target, device=answers.device)
    if target.is_floating_point() or target.shape not in ((), (batch_size,)):
        raise ValueError(
            f"`target` has shape {tuple(target.shape)} and type {target.dtype}, expected one class for all rows or "
            f"integers of shape ({batch_size},)."
        )
    if ((target < 0) | (target >= number)).any():
        raise ValueError(
            f"`target` is {target.tolist()}, but the model has {number} outputs: expected 0 to {number - 1}."
        )
    target = target.expand(batch_size)
    return target, lambda found: found.gather(1, target[:, None])[:, 0]


def exact_shapley(
    value: Callable[[tuple[int, ...]], torch.Tensor], prior: torch.Tensor, present: torch.Tensor
) -> torch.Tensor:
    """
    Shapley values (B, M) from the values of all subsets of M players.

    Args:
        value: gives the values (B,) of a set of players, whose numbers are given in order.
        prior: (B,) the value of nobody.
        present: (B, M) bool, who plays in each row; others change nothing.
    """
    players = range(present.shape[1])
    # The number of a set has a bit for each of its players, so that 0 is nobody and the highest number all.
    values = {sum(1 << i for i in subset): value(subset) for subset in all_subsets(players)}
    table = torch.stack([prior, *(values[bits] for bits in range(1, 1 << len(players)))], dim=1)  # (B, 2^M)
    bits = torch.arange(1 << len(players), device=present.device)
    weight = 2 ** torch.arange(len(players), device=present.device)
    owned = (present * weight).sum(dim=1)[:, None] & bits  # a row's value of a set is that of who plays in it
    table = table.gather(1, owned)
    return torch.stack([shapley_value(table, i, len(players)) for i in players], dim=1)


def shapley_value(values: torch.Tensor, player: int, players: int) -> torch.Tensor:
    """(B,) of one player, from the value (B, 2^M) of each set of players, whose bits say who is in."""
    total = torch.zeros_like(values[:, 0])
    for bits in range(2**players):
        if not bits >> player & 1:
            others = bits.bit_count()
            orders = math.factorial(others) * math.factorial(players - others - 1) / math.factorial(players)
            total += orders * (values[:, bits | 1 << player] - values[:, bits])
    return total


def sampled_shapley(
    value: Callable[[tuple[int, ...]], torch.Tensor],
    prior: torch.Tensor,
    present: torch.Tensor,
    permutations: int = 32,
    seed: int = 0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Shapley values (B, M) estimated from orders in which M players come, and their standard errors (B, M). Each order
    is walked in both directions; the mean of the two is one sample, which is exact where players act at most in pairs.
    The values sum to the value of all minus that of nobody, whatever is drawn.

    Args:
        value, prior, present: as of `exact_shapley`.
        permutations: orders walked, both directions counted: an even number of 4 or more.
        seed: of the orders.

    Sources: Castro, Gomez and Tejada, "Polynomial calculation of the Shapley value based on sampling" (2009); for both
    directions, Mitchell et al., "Sampling permutations for Shapley value estimation" (arXiv 2104.12199).
    """
    if permutations < 4 or permutations % 2:
        raise ValueError(f"`permutations` is {permutations}: expected an even number of 4 or more.")
    known: dict[tuple[int, ...], torch.Tensor] = {}
    number = present.shape[1]

    def value_of(subset: tuple[int, ...]) -> torch.Tensor:
        if subset not in known:
            known[subset] = value(subset)
        return known[subset]

    def walk(order: list[int]) -> torch.Tensor:
        """(B, M) what each player adds where they come in this order."""
        added, before = torch.zeros(present.shape, dtype=prior.dtype, device=prior.device), prior
        for place, player in enumerate(order, start=1):
            plays, come = present[:, player], tuple(sorted(order[:place]))
            # Once all that play have come, the value is that of all, to the last bit.
            is_last = ~present[:, order[place:]].any(dim=1)
            after = torch.where(is_last, value_of(tuple(range(number))), value_of(come))
            after = torch.where(plays, after, before)
            added[:, player] = after - before
            before = after
        return added

    generator = torch.Generator().manual_seed(seed)
    samples = []
    for _ in range(permutations // 2):
        order = torch.randperm(number, generator=generator).tolist()
        samples.append((walk(order) + walk(order[::-1])) / 2)
    stacked = torch.stack(samples)  # (permutations / 2, B, M)
    return stacked.mean(dim=0), stacked.std(dim=0) / len(stacked) ** 0.5


def dataset_contributions(model: nn.Module, batches: Iterable[dict], **options) -> Contributions:
    """
    The contributions in all rows of a dataset, given in batches; `plot_contributions` shows their mean.

    Args:
        batches: inputs, as a DataLoader gives them; moved to the model's device.
        options: those of `modality_contributions`, the same for every batch.
    """
    device = next(model.parameters()).device
    parts = [
        modality_contributions(
            model, {name: value.to(device) for name, value in model_inputs(batch).items()}, **options
        )
        for batch in batches
    ]
    if not parts:
        raise ValueError("`batches` holds nothing: expected at least one batch.")
    fields = ("values", "present", "prior", "answer", "target")
    error = None
    if any(part.error is not None for part in parts):  # batches of fewer modalities are exact
        error = torch.cat([torch.zeros_like(part.values) if part.error is None else part.error for part in parts])
    return Contributions(
        parts[0].modalities,
        **{name: torch.cat([getattr(part, name) for part in parts]) for name in fields},
        unit=parts[0].unit,
        error=error,
    )


__all__ = ["Contributions", "dataset_contributions", "modality_contributions"]
