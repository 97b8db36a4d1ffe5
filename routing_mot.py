# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How tokens reach the weights of their own: sorted by expert, one contiguous part for each, and back.

The order is found once a call and serves every layer. `Routes.split` gives each expert its tokens, `Routes.join` puts
what the experts made of them where the tokens were.

Shapes: B rows, L tokens of a row, N = B L, N_e tokens of an expert, d width.
"""

import copy
from collections.abc import Hashable, Sequence

import torch


class Movable:
    """Goes to the device of the layer that it is given to, as accelerate's hooks ask of an argument (`device_map`)."""

    def to(self, device: torch.device | str, **kwargs) -> "Movable":
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (torch.Tensor, Movable)):
                setattr(moved, name, value.to(device, **kwargs))
        return moved


class Split(torch.autograd.Function):
    """Tokens (N, d) in another order, cut into parts; backward puts the parts' gradients where the tokens were."""

    @staticmethod
    def forward(ctx, tokens: torch.Tensor, order: torch.Tensor, sizes: tuple[int, ...]) -> tuple[torch.Tensor, ...]:
        ctx.save_for_backward(order)
        return tokens.index_select(0, order).split(sizes)

    @staticmethod
    def backward(ctx, *gradients: torch.Tensor):
        (order,) = ctx.saved_tensors
        return Join.apply(order, *gradients), None, None


class Join(torch.autograd.Function):
    """
    The way back: each part is written once, to where its tokens were, which takes half of the time of joining the
    parts and gathering from them; backward gathers, where autograd's own would scatter and add.
    """

    @staticmethod
    def forward(ctx, order: torch.Tensor, *parts: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(order)
        ctx.sizes = tuple(map(len, parts))
        joined = parts[0].new_empty(len(order), *parts[0].shape[1:])
        for part, places in zip(parts, order.split(ctx.sizes)):
            joined[places] = part
        return joined

    @staticmethod
    def backward(ctx, gradient: torch.Tensor):
        (order,) = ctx.saved_tensors
        return None, *Split.apply(gradient, order, ctx.sizes)


def concatenate(parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(tuple(parts), dim=dim)


class Routes(Movable):
    """
    Tokens (N, d) as one part for each expert.

    Args:
        experts: the names of the experts that have a part.
        sizes: of their parts.
        order: (N,) where in the sequence the tokens of the first expert stand, then those of the second, and so on;
            None if they stand so already.
    """

    def __init__(self, experts: Sequence[Hashable], sizes: Sequence[int], order: torch.Tensor | None = None):
        self.experts, self.sizes, self.order = tuple(experts), tuple(sizes), order

    @classmethod
    def of(cls, expert_ids: torch.Tensor, experts: Sequence[str], keep_all: bool) -> "Routes":
        """
        Args:
            expert_ids: (N,) for each token the number of its expert.
            keep_all: whether experts without tokens get a part of none, so that their weights take part in training.
        """
        # The only time that an accelerator is waited for.
        sizes = torch.bincount(expert_ids, minlength=len(experts)).tolist()
        kept = [(name, size) for name, size in zip(experts, sizes) if size or keep_all]
        is_mixed = sum(size > 0 for size in sizes) > 1
        return cls(*zip(*kept), order=expert_ids.argsort(stable=True) if is_mixed else None)

    @classmethod
    def single(cls, expert: str, experts: Sequence[str], number: int, keep_all: bool) -> "Routes":
        """All of `number` tokens to one expert."""
        kept = experts if keep_all else (expert,)
        return cls(kept, [number * (name == expert) for name in kept])

    def split(self, tokens: torch.Tensor) -> Sequence[torch.Tensor]:
        """(N, d) -> (N_e, d) for each of `experts`."""
        return tokens.split(self.sizes) if self.order is None else Split.apply(tokens, self.order, self.sizes)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """(N_e, d) for each of `experts` -> (N, d)."""
        return concatenate(parts, dim=0) if self.order is None else Join.apply(self.order, *parts)


class StaticRoutes(Movable):
    """
    The same where shapes may not depend on values, as in compiled code: every expert computes every token, and of each
    token one result is kept.

    Args:
        expert_ids: (N,) for each token the number of its expert.
    """

    def __init__(self, expert_ids: torch.Tensor, experts: Sequence[str]):
        self.expert_ids, self.experts = expert_ids, tuple(experts)

    def split(self, tokens: torch.Tensor) -> Sequence[torch.Tensor]:
        return [tokens] * len(self.experts)

    def join(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        joined = parts[0]
        for number, part in enumerate(parts[1:], start=1):
            joined = torch.where((self.expert_ids == number)[:, None], part, joined)
        return joined
