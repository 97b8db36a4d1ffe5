# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The common space of all modalities, and the losses that draw together there what belongs together.

`MoTContrastive` puts fused vectors into the space and compares its sides pair by pair: with other rows of the batch,
and in training on several processes with the rows of all of them. What does not count (a row that lacks a modality) is
left out of the mean, and a loss of which nothing is left is 0 with zero gradients.

Shapes: B or N rows, d width.
"""

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import torch
import torch.distributed as dist
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from .configuration_mot import MoTConfig
from .layers_mot import with_zero_gradients
from .loss_mot import IGNORED_LABEL
from .modalities_mot import MODALITIES
from .subsets_mot import subset_name

MAX_LOG_SCALE = math.log(100)
CHUNK_SIZE = 2**21  # the logits of a contrastive loss that are held at a time: 8 MiB
UNCOUNTED = torch.finfo(torch.float32).min  # the logit of a pair that does not count

# ---------------------------------------------------------------------------------------------------------------------
# The losses: what belongs together is drawn together, the rest of the batch is pushed apart
#
# The N x N logits of a batch are never held at once. One sweep over chunks of their rows gives the loss; the backward
# sweep forms each chunk again, turns it into its gradient and multiplies that with both sides. These are four products
# of N x N x d, the fewest that do without the whole matrix.
#
# Of several processes each sweeps over the rows of logits that are its own, n of N. What it finds of each column
# becomes what all have found by a sum of a few numbers a column. Backward sweeps over its own rows, which gives the
# gradients of its rows of the first side, and over its own columns, for those of the second: five products of
# n x N x d, and nothing to communicate.
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Side:
    """One side of a contrastive loss."""

    vectors: torch.Tensor  # (N, d), of length 1
    present: torch.Tensor  # (N,) bool: which rows have it


def clamped(log_scale: torch.Tensor) -> torch.Tensor:
    """`log_scale` between 0 and ln 100, as in CLIP; the gradient passes, so that a value beyond comes back."""
    return log_scale + (log_scale.clamp(0, MAX_LOG_SCALE) - log_scale).detach()


@dataclass
class Pairs:
    """
    Which pairs of rows, one of each side, count and which of them are positive.

    The parts of one row match. Rows with the same label (a class, or the id of a caption; -100 for none) match too if
    `positives` is "label", and count neither as positive nor as negative if it is "row". With `same`, both sides are
    the same vectors, and none is compared with itself. `own` are the rows that this process has brought to a batch of
    several; None of one process.
    """

    first_present: torch.Tensor  # (N,) bool
    second_present: torch.Tensor  # (N,) bool
    labels: torch.Tensor | None  # (N,)
    positives: str
    same: bool
    own: slice | None = None

    def swapped(self) -> "Pairs":
        """The same pairs, the second side before the first."""
        return replace(self, first_present=self.second_present, second_present=self.first_present)

    def fill(
        self, logits: torch.Tensor, positive: torch.Tensor, rows: slice, first: torch.Tensor, second: torch.Tensor
    ) -> None:
        """
        Write a chunk: the logits of n rows of `first` (N, d) with all of `second` (N, d), and 1 where a pair is
        positive, else 0; both (n, N). A pair that does not count has the logit UNCOUNTED.
        """
        torch.mm(first[rows], second.T, out=logits)  # autocast leaves `out=` alone, and so the logits precise
        positive.zero_().diagonal(rows.start).fill_(1)
        if self.labels is not None:
            alike = (self.labels[rows, None] == self.labels) & (self.labels != IGNORED_LABEL)
            if self.positives == "label":
                positive.masked_fill_(alike, 1)
            else:
                alike.diagonal(rows.start).fill_(False)
                logits.masked_fill_(alike, UNCOUNTED)
        if self.same:
            positive.diagonal(rows.start).fill_(0)
            logits.diagonal(rows.start).fill_(UNCOUNTED)
        for present in (self.first_present[rows, None], self.second_present):
            positive.mul_(present)
            logits.clamp_(max=torch.where(present, -UNCOUNTED, UNCOUNTED))  # many times faster than `masked_fill_`


def chunks(first: torch.Tensor, own: slice | None) -> list[tuple[slice, torch.Tensor, torch.Tensor, torch.Tensor]]:
    """
    The own rows of all N, or all, as many at a time as have CHUNK_SIZE logits, but at least one: slices of n rows, and
    with each three matrices (n, N) to write to. All chunks share their memory, for new memory takes longer than
    arithmetic.
    """
    number = len(first)
    if own is None and number * number <= CHUNK_SIZE:  # so that torch.compile compiles once for all small numbers
        return [(slice(0, number), *first.new_empty(3, number, number))]
    start, stop = (0, number) if own is None else (own.start, own.stop)
    size = max(min(CHUNK_SIZE // number, stop - start), 1)
    matrices = first.new_empty(3, size, number)
    slices = [slice(place, min(place + size, stop)) for place in range(start, stop, size)]
    return [(rows, *matrices[:, : rows.stop - rows.start]) for rows in slices]


def empty_summary(first: torch.Tensor) -> torch.Tensor:
    """
    What InfoNCE keeps of each row of logits, or of each column, (4, N): the maximum, the sum of exp(logit - maximum),
    the number of positives and the sum of their logits.
    """
    summary = first.new_zeros(4, len(first))
    summary[0] = UNCOUNTED
    return summary


def add_to_summary(
    summary: torch.Tensor, logits: torch.Tensor, positive: torch.Tensor, work: torch.Tensor, dim: int
) -> None:
    """Take a chunk (n, N), summed over `dim`, into a summary: the online softmax of arXiv 1805.02867."""
    maximum, total, number, positive_sum = summary
    before = maximum.clone()
    torch.maximum(before, logits.amax(dim), out=maximum)
    exponentials = torch.sub(logits, maximum.unsqueeze(dim), out=work).exp_()
    total.mul_((before - maximum).exp()).add_(exponentials.sum(dim))
    number.add_(positive.sum(dim))
    positive_sum.add_(torch.mul(logits, positive, out=work).sum(dim))


def joined_summaries(by_row: torch.Tensor, by_column: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The summaries of all rows and columns of logits, by those that each process has of its own rows."""
    summary = torch.cat([by_row, by_column], dim=1)  # (4, 2 N)
    maximum = summary[0].clone()
    dist.all_reduce(summary[0], dist.ReduceOp.MAX)
    summary[1] *= (maximum - summary[0]).exp()
    dist.all_reduce(summary[1:])
    return tuple(summary.chunk(2, dim=1))


def mean_loss(summary: torch.Tensor) -> torch.Tensor:
    """The mean, over the rows that have a positive, of -log softmax averaged over a row's positives."""
    maximum, total, number, positive_sum = summary
    losses = total.log() + (maximum - positive_sum / number.clamp(min=1))
    return losses.masked_fill(number == 0, 0).sum() / (number > 0).sum().clamp(min=1)


def mean_loss_weights(summary: torch.Tensor, loss_gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """
    Two weights of each row, (N,) each, that lead from the gradient of `mean_loss` to that of the logits:
    exp(logit - maximum) times the first, plus the second where a pair is positive.
    """
    _, total, number, _ = summary
    weight = loss_gradient * (number > 0) / (number > 0).sum().clamp(min=1)
    return weight / total, -weight / number.clamp(min=1)


class InfoNCE(torch.autograd.Function):
    """
    Symmetric InfoNCE (arXiv 1807.03748; with several positives, arXiv 2004.11362), the mean of `mean_loss` by rows and
    by columns, of two sides (N, d) whose products are the logits.
    """

    @staticmethod
    def forward(ctx, first: torch.Tensor, second: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        by_row, by_column = empty_summary(first), empty_summary(first)
        for rows, logits, positive, work in chunks(first, pairs.own):
            pairs.fill(logits, positive, rows, first, second)
            add_to_summary(by_row[:, rows], logits, positive, work, dim=1)
            add_to_summary(by_column, logits, positive, work, dim=0)
        if pairs.own is not None:
            by_row, by_column = joined_summaries(by_row, by_column)
        ctx.save_for_backward(first, second, by_row, by_column)
        ctx.pairs = pairs
        return (mean_loss(by_row) + mean_loss(by_column)) / 2

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        first, second, by_row, by_column = ctx.saved_tensors
        scaled = for_the_mean_of_processes(loss_gradient, ctx.pairs)
        gradients = InfoNCE.sweep(first, second, by_row, by_column, scaled, ctx.pairs)
        if ctx.pairs.own is not None:
            swapped = InfoNCE.sweep(second, first, by_column, by_row, scaled, ctx.pairs.swapped())
            gradients = gradients[0], swapped[0]
        return *gradients, None

    @staticmethod
    def sweep(
        first: torch.Tensor,
        second: torch.Tensor,
        by_row: torch.Tensor,
        by_column: torch.Tensor,
        loss_gradient: torch.Tensor,
        pairs: Pairs,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The gradients (N, d) of the first side's own rows, and of the second side if no other process has rows."""
        row_maximum, column_maximum = by_row[0, :, None], by_column[0]
        row_softmax, row_positive = (weight[:, None] for weight in mean_loss_weights(by_row, loss_gradient / 2))
        column_softmax, column_positive = mean_loss_weights(by_column, loss_gradient / 2)
        first_gradient = torch.zeros_like(first)
        second_gradient = torch.zeros_like(second) if pairs.own is None else None
        for rows, logits, positive, work in chunks(first, pairs.own):
            pairs.fill(logits, positive, rows, first, second)
            gradient = positive.mul_(torch.add(row_positive[rows], column_positive, out=work))
            gradient += torch.sub(logits, row_maximum[rows], out=work).exp_().mul_(row_softmax[rows])
            gradient += logits.sub_(column_maximum).exp_().mul_(column_softmax)
            torch.mm(gradient, second, out=first_gradient[rows])
            if second_gradient is not None:
                second_gradient.addmm_(gradient.T, first[rows])
        return first_gradient, second_gradient


class PairwiseSigmoid(torch.autograd.Function):
    """
    The sum of -log sigmoid over all pairs, for each row of the first side that has any, of two sides (N, d) whose
    products are the logits.
    """

    @staticmethod
    def forward(ctx, first: torch.Tensor, second: torch.Tensor, pairs: Pairs) -> torch.Tensor:
        found = first.new_zeros(2)
        total, number = found
        for rows, logits, positive, _ in chunks(first, pairs.own):
            pairs.fill(logits, positive, rows, first, second)
            number += (logits.amax(dim=1) > UNCOUNTED).sum()
            signs = positive.mul_(2).sub_(1)
            total -= F.logsigmoid(logits.mul_(signs)).sum()
        if pairs.own is not None:
            dist.all_reduce(found)
        number.clamp_(min=1)
        ctx.save_for_backward(first, second, number)
        ctx.pairs = pairs
        return total / number

    @staticmethod
    @once_differentiable
    def backward(ctx, loss_gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        first, second, number = ctx.saved_tensors
        weight = for_the_mean_of_processes(loss_gradient, ctx.pairs) / number
        gradients = PairwiseSigmoid.sweep(first, second, weight, ctx.pairs)
        if ctx.pairs.own is not None:
            gradients = gradients[0], PairwiseSigmoid.sweep(second, first, weight, ctx.pairs.swapped())[0]
        return *gradients, None

    @staticmethod
    def sweep(
        first: torch.Tensor, second: torch.Tensor, weight: torch.Tensor, pairs: Pairs
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """As `InfoNCE.sweep`."""
        first_gradient = torch.zeros_like(first)
        second_gradient = torch.zeros_like(second) if pairs.own is None else None
        for rows, logits, positive, _ in chunks(first, pairs.own):
            pairs.fill(logits, positive, rows, first, second)
            gradient = logits.sigmoid_().sub_(positive).mul_(weight)
            torch.mm(gradient, second, out=first_gradient[rows])
            if second_gradient is not None:
                second_gradient.addmm_(gradient.T, first[rows])
        return first_gradient, second_gradient


def for_the_mean_of_processes(loss_gradient: torch.Tensor, pairs: Pairs) -> torch.Tensor:
    """
    The gradient of a loss of several processes' rows, times their number.

    The loss L depends on a parameter t by the vectors v_i of all rows: dL/dt = sum of dL/dv_i dv_i/dt over all i. Each
    process knows, and carries on, the terms of its own rows alone, and DDP and FSDP take the mean over the processes
    of what they find, which is that sum divided by their number. The scale and the bias stand in the first side's
    vectors, s v_i and (s v_i, b): their gradients are sums over the rows in the same way.
    """
    return loss_gradient if pairs.own is None else loss_gradient * dist.get_world_size()


def contrastive_loss(
    first: Side,
    second: Side,
    log_scale: torch.Tensor,
    labels: torch.Tensor | None = None,
    positives: str = "row",
    same: bool = False,
    own: slice | None = None,
) -> torch.Tensor:
    """
    Symmetric InfoNCE between two modalities of the same N rows (CLIP, arXiv 2103.00020), a scalar in float32. A row
    that lacks one of them is no positive; what it has is still a negative for the others. 0 with zero gradients if no
    row has both.

    Args:
        log_scale: one number, the logarithm of 1 / temperature (see `clamped`).
        labels, positives, same, own: see `Pairs`. With `own` each process gets the gradients of these rows alone, and
            the mean of the processes' gradients is that of the loss.
    """
    scaled = clamped(log_scale).exp() * first.vectors.float()
    pairs = Pairs(first.present, second.present, labels, positives, same, own)
    return InfoNCE.apply(scaled, second.vectors.float(), pairs)


def sigmoid_loss(
    first: Side,
    second: Side,
    log_scale: torch.Tensor,
    bias: torch.Tensor,
    labels: torch.Tensor | None = None,
    positives: str = "row",
    same: bool = False,
    own: slice | None = None,
) -> torch.Tensor:
    """
    The sigmoid loss of SigLIP (arXiv 2303.15343): each pair of rows by itself is a match or not. Arguments as in
    `contrastive_loss`, and `bias`, one number added to the logits.
    """
    scaled = clamped(log_scale).exp() * first.vectors.float()
    # The bias is one more column of the first side, and the second side's is 1.
    scaled = torch.cat([scaled, bias.float().expand(len(scaled), 1)], dim=1)
    extended = F.pad(second.vectors.float(), (0, 1), value=1.0)
    pairs = Pairs(first.present, second.present, labels, positives, same, own)
    return PairwiseSigmoid.apply(scaled, extended, pairs)


# ---------------------------------------------------------------------------------------------------------------------
# The batch of all processes
# ---------------------------------------------------------------------------------------------------------------------


class GatherRows(torch.autograd.Function):
    """
    The rows (n, d) of every process, each padded to (longest, d), as (processes, longest, d).

    The losses give each process the gradient of its own rows as it is of the whole batch, so that backward needs no
    communication.
    """

    @staticmethod
    def forward(ctx, rows: torch.Tensor, longest: int) -> torch.Tensor:
        ctx.rank, ctx.number = dist.get_rank(), len(rows)
        gathered = rows.new_empty(dist.get_world_size(), longest, *rows.shape[1:])
        padded = F.pad(rows, (0, 0) * (rows.ndim - 1) + (0, longest - len(rows)))
        dist.all_gather(list(gathered.unbind()), padded.contiguous())
        return gathered

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradient[ctx.rank, : ctx.number], None


def several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def gather_batch(
    embeddings: dict, given: list[bool], labels: torch.Tensor | None
) -> tuple[dict, list[bool], torch.Tensor | None, slice]:
    """
    The batches of all processes as one, in the order of the processes, with gradients, and which of its rows are those
    of this process. Every process makes the same calls whatever its batch lacks.

    Args:
        embeddings: name -> `Side` of the same names on every process; the numbers of rows may differ.
        given: what the batch of this process has; joined, what any has.
        labels: (N,) or None; where only some processes have them, -100 stands for those of the others.
    """
    sides = list(embeddings.values())
    facts = torch.tensor([len(sides[0].vectors), labels is not None, *given], device=sides[0].vectors.device)
    all_facts = facts.new_empty(dist.get_world_size(), len(facts))
    dist.all_gather(list(all_facts.unbind()), facts)
    numbers, labelled, *given = all_facts.T.tolist()

    vectors = gather_rows(torch.stack([side.vectors for side in sides], dim=1), numbers)  # (N, names, d)
    present = gather_rows(torch.stack([side.present for side in sides], dim=1).float(), numbers)  # (N, names)
    joined = {name: Side(vectors[:, i], present[:, i] > 0) for i, name in enumerate(embeddings)}
    if any(labelled):
        unknown = torch.full_like(sides[0].present, IGNORED_LABEL, dtype=torch.long)
        labels = gather_rows(unknown if labels is None else labels.long(), numbers)
    start = sum(numbers[: dist.get_rank()])
    own = slice(start, start + numbers[dist.get_rank()])
    return joined, [any(flags) for flags in given], labels, own


def gather_rows(rows: torch.Tensor, numbers: list[int]) -> torch.Tensor:
    """The rows of all processes one after another; `numbers` has how many each of them has."""
    padded = GatherRows.apply(rows, max(numbers))
    return torch.cat([process[:number] for process, number in zip(padded, numbers)])


# ---------------------------------------------------------------------------------------------------------------------
# The space
# ---------------------------------------------------------------------------------------------------------------------


def contrastive_pairs(modalities: tuple[str, ...]) -> list[tuple[tuple[str, ...], tuple[str, ...]]]:
    """
    What a contrastive loss compares: every two modalities, then each modality with all others fused (where these are
    two or more), then each with itself in other rows: n (n - 1) / 2 + 2 n of n modalities.
    """
    pairs = [((first,), (second,)) for first, second in itertools.combinations(modalities, 2)]
    if len(modalities) > 2:
        pairs += [(tuple(other for other in modalities if other != m), (m,)) for m in modalities]
    return pairs + [((m,), (m,)) for m in modalities]


def pair_name(first: tuple[str, ...], second: tuple[str, ...]) -> str:
    """`text+audio-image`: what the loss of a pair is called."""
    return f"{subset_name(first)}-{subset_name(second)}"


def scale_name(first: tuple[str, ...], second: tuple[str, ...]) -> str:
    """`text-image`, `fused-image`: what a pair's scale and bias are stored by, whatever other modalities there are."""
    return f"{first[0] if len(first) == 1 else 'fused'}-{second[0]}"


def name_scales(state_dict: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    The weights of a checkpoint with the scales and biases of each `MoTContrastive` by the names of their pairs. An
    earlier version saved them as vectors in the order of `contrastive_pairs`; all else is returned as it is.
    """
    named = dict(state_dict)
    for key in [key for key in state_dict if key.rpartition(".")[2] == "log_scale"]:
        prefix = key.removesuffix("log_scale")
        start = f"{prefix}projections."
        heads = dict.fromkeys(k.removeprefix(start).partition(".")[0] for k in state_dict if k.startswith(start))
        pairs = contrastive_pairs(tuple(m for m in MODALITIES if m in heads))
        for vector in [name for name in ("log_scale", "bias") if prefix + name in named]:
            numbers = named.pop(prefix + vector)
            if numbers.shape != (len(pairs),):
                raise ValueError(
                    f"`{prefix}{vector}` has shape {tuple(numbers.shape)}, but the checkpoint has projections of "
                    f"{', '.join(heads) or 'nothing'}, which make {len(pairs)} pairs: it is damaged."
                )
            named |= {f"{prefix}{vector}.{scale_name(*pair)}": numbers[i : i + 1] for i, pair in enumerate(pairs)}
    return named


class PairNumbers(nn.Module):
    """
    A learned number for each pair, by `scale_name`, as a vector (1,): what has no dimension cannot be sharded. They
    are read in `forward`, as those of `MoTVectors`.

    Args:
        initial: what the numbers start as.
    """

    def __init__(self, names: Iterable[str], initial: float):
        super().__init__()
        self.names, self.initial = tuple(names), initial
        for name in self.names:
            self.register_parameter(name, nn.Parameter(torch.full((1,), initial)))

    def forward(self) -> dict[str, torch.Tensor]:
        return {name: getattr(self, name) for name in self.names}  # which replicas have as attributes alone


class MoTContrastive(nn.Module):
    """
    The common space of all modalities: a projection head (norm and linear layer) for each modality and one for rows
    that mix several, and the learned scale, ln(1 / temperature), and bias of each pair that a contrastive loss
    compares.
    """

    def __init__(self, config: MoTConfig):
        super().__init__()
        self.config = config
        self.projections = nn.ModuleDict(
            {
                name: nn.Sequential(
                    nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps),
                    nn.Linear(config.hidden_size, config.projection_dim, bias=False),
                )
                for name in (*config.modalities, "fused")
            }
        )
        self.pairs = contrastive_pairs(config.modalities)
        names = [scale_name(*pair) for pair in self.pairs]
        is_sigmoid = config.contrastive_loss == "sigmoid"
        self.log_scale = PairNumbers(names, math.log(10 if is_sigmoid else 1 / config.temperature))
        self.bias = PairNumbers(names, -10.0 if is_sigmoid else 0.0)  # The sigmoid loss adds it to the logits.
        # What cached gradients (`training/gradient_cache.py`) have computed in place of the losses.
        self.losses_override: Callable[[dict, tuple[str, ...], torch.Tensor | None], dict] | None = None

    def _load_from_state_dict(self, state_dict: dict, prefix: str, *args) -> None:
        if f"{prefix}log_scale" in state_dict:
            named = name_scales(state_dict)
            state_dict.clear()
            state_dict.update(named)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def forward(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """The log scale and the bias of each pair, by `scale_name`; the methods below read them through here."""
        return self.log_scale(), self.bias()

    def embed(self, pooled: torch.Tensor, has: dict[str, torch.Tensor]) -> Side:
        """
        Fused vectors (B, d) to embeddings (B, projection_dim) of length 1: by the head of the only modality that a row
        has, or by the head for several; zero for a row that has none.
        """
        number = torch.stack(list(has.values())).sum(dim=0)  # (B,)
        chosen = {m: has[m] & (number == 1) for m in has} | {"fused": number > 1}
        vectors = pooled.new_zeros(pooled.shape[0], self.config.projection_dim)
        for name, projection in self.projections.items():
            # Heads that no row chooses run too, so that every parameter takes part in every step.
            rows = chosen.get(name, torch.zeros_like(number, dtype=torch.bool))
            vectors = vectors + projection(pooled).masked_fill(~rows[:, None], 0)
        return Side(F.normalize(vectors.float(), dim=-1), number > 0)

    def logits(
        self, first: torch.Tensor, second: torch.Tensor, pair: tuple[tuple[str, ...], tuple[str, ...]]
    ) -> torch.Tensor:
        """Scaled similarities (N, M) of embeddings (N, d) and (M, d), the sides of one of `pairs`."""
        name, (log_scale, bias) = scale_name(*pair), self()
        logits = clamped(log_scale[name]).exp() * (first @ second.T)
        return logits + bias[name] if self.config.contrastive_loss == "sigmoid" else logits

    def losses(
        self,
        embeddings: dict[tuple[str, ...], Side],
        given: tuple[str, ...],
        labels: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """
        The loss of each pair of which the batch has both sides, and of a fused side at least two modalities. In
        training on several processes the batch is that of all of them.

        Args:
            embeddings: one or several modalities -> their side.
            given: the modalities that the batch has.
            labels: (B,) as in `Pairs`.

        Returns:
            `pair_name` -> a scalar.
        """
        if self.losses_override is not None:
            return self.losses_override(embeddings, given, labels)
        own = None
        if self.training and several_processes():
            flags = [m in given for m in self.config.modalities]
            embeddings, flags, labels, own = gather_batch(embeddings, flags, labels)
            given = tuple(m for m, flag in zip(self.config.modalities, flags) if flag)
        losses, (log_scale, bias) = {}, self()
        for first, second in self.pairs:
            same = first == second
            if same and self.config.contrastive_positives != "label":
                continue
            if first not in embeddings or second[0] not in given or len(set(first) & set(given)) < min(2, len(first)):
                continue
            arguments = (labels, self.config.contrastive_positives, same, own)
            sides, name = (embeddings[first], embeddings[second]), scale_name(first, second)
            if self.config.contrastive_loss == "sigmoid":
                loss = sigmoid_loss(*sides, log_scale[name], bias[name], *arguments)
            else:
                loss = contrastive_loss(*sides, log_scale[name], *arguments)
            losses[pair_name(first, second)] = loss
        return losses

    def mean(self, losses: dict[str, torch.Tensor], embeddings: dict[tuple[str, ...], Side]) -> torch.Tensor:
        """The mean loss, a scalar, 0 if there is none; all embeddings, scales and biases get gradients."""
        mean = sum(losses.values()) / max(len(losses), 1)
        numbers = [number for named in self() for number in named.values()]
        return with_zero_gradients(mean, *numbers, *(side.vectors for side in embeddings.values()))
