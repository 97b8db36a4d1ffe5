# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What each modality contributed to an answer: exact Shapley values (L. Shapley, 1953) over the subsets of modalities.

A model that answers from any subset can be asked all of them: the encoders run once, and the joint part once for each.
"""

import itertools
import math

import torch


def answers(logits: torch.Tensor, problem_type: str | None) -> torch.Tensor:
    """What logits (..., C) say: probabilities of classes, of each by itself if several may hold, or numbers."""
    if problem_type == "regression":
        return logits.float()
    if problem_type == "multi_label_classification":
        return logits.float().sigmoid()
    return logits.float().softmax(dim=-1)


@torch.no_grad()
def modality_contributions(model, inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """
    How much each modality moved the answer of a `MoTForSequenceClassification`, averaged over all orders in which the
    modalities of a row can come.

    Args:
        model: in eval mode.
        inputs: of its forward, for B rows that may lack modalities.

    Returns:
        modality -> (B, num_labels), in units of the answer (probability, or the number of a regression); zero where a
        row lacks it. With `"prior"` (B, num_labels), the answer to nothing (the head on a zero vector), they sum to the
        answer to all that the row has.
    """
    given = [m for m in model.config.modalities if model.mot.embeddings[m].input_name in inputs]
    subsets = [subset for size in range(1, len(given) + 1) for subset in itertools.combinations(given, size)]
    problem_type = model.config.problem_type
    logits = model(**inputs, modality_subsets=subsets).logits  # (B, subsets, C)
    # A row that has nothing of a subset is answered from a zero vector, which is what the prior is, too.
    values = dict(zip(map(frozenset, subsets), answers(logits, problem_type).unbind(dim=1)))
    zero = model.classifier.weight.new_zeros(len(logits), model.classifier.in_features)
    values[frozenset()] = answers(model.classifier(zero), problem_type)
    contributions = {"prior": values[frozenset()]}
    for m in given:
        others = [other for other in given if other != m]
        total = torch.zeros_like(values[frozenset()])
        for size in range(len(others) + 1):
            weight = math.factorial(size) * math.factorial(len(others) - size) / math.factorial(len(given))
            for before in map(frozenset, itertools.combinations(others, size)):
                total += weight * (values[before | {m}] - values[before])
        contributions[m] = total
    return contributions


__all__ = ["answers", "modality_contributions"]
