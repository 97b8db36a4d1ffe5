# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The learners that are compared, each by one function: `fit(problem, seed)` gives what answers rows of any subset.

An answer is (N, classes) probabilities, (N,) numbers where those are to be told, or (N, d) embeddings of rows of one
modality where rows are to be found: by the cosine the nearest is. Whatever a learner imports, it imports when it is
called, so that the others run without it.
"""

import importlib
from dataclasses import dataclass

from .classical import Answer
from .problems import Problem

OWN = "mot"


@dataclass(frozen=True)
class Peer:
    """
    Args:
        title: what the page calls it.
        place: the module of this folder and its function.
        kinds: the kinds of modalities that it takes.
        takes_numbers: whether it also tells numbers.
        tells, finds: whether it tells labels, and whether it embeds rows for a search.
        package: what has to be installed for it, beyond what the package itself needs.
    """

    title: str
    place: str
    kinds: tuple[str, ...]
    takes_numbers: bool = True
    tells: bool = True
    finds: bool = False
    package: str | None = None

    def takes(self, problem: Problem) -> bool:
        takes_answers = bool(problem.classes) or self.takes_numbers
        return set(problem.kinds.values()) <= set(self.kinds) and self.does(bool(problem.searches)) and takes_answers

    def does(self, is_search: bool) -> bool:
        return self.finds if is_search else self.tells

    def fit(self, problem: Problem, seed: int) -> Answer:
        module, _, function = self.place.partition(":")
        return getattr(importlib.import_module(f".{module}", __package__), function)(problem, seed)


MEDIA, ALL = ("text", "image", "audio"), ("text", "image", "audio", "table")
PEERS = {
    OWN: Peer("MoT", "mixture:mot", ALL, finds=True),
    "chosen": Peer("MoT, settings chosen on validation", "mixture:chosen", ("table",)),
    "no_augmentation": Peer("MoT, no augmentation", "mixture:no_augmentation", MEDIA, finds=True),
    "modality_dropout": Peer("MoT, modality dropout alone", "mixture:modality_dropout", MEDIA),
    "zero_filling": Peer("MoT, zeros for what lacks", "mixture:zero_filling", MEDIA),
    "late_fusion": Peer("BERT, ViT, AST, late fusion", "towers:late_fusion", MEDIA, takes_numbers=False),
    "linear": Peer("linear model, imputed gaps", "classical:linear", ALL),
    "support_vectors": Peer("support vectors, imputed gaps", "classical:support_vectors", ALL),
    "boosting": Peer("scikit-learn's boosted trees", "classical:boosting", ALL),
    "lightgbm": Peer("LightGBM", "classical:lightgbm", ALL, package="lightgbm"),
    "tensor_fusion": Peer("MMSA's tensor fusion", "mmsa:tensor_fusion", MEDIA, takes_numbers=False, package="MMSA"),
    "mult": Peer("MMSA's MulT", "mmsa:mult", MEDIA, takes_numbers=False, package="MMSA"),
    "sentence_transformers": Peer(
        "sentence-transformers, new CLIP",
        "sentences:clip",
        ("text", "image"),
        tells=False,
        finds=True,
        package="sentence_transformers",
    ),
    "canonical": Peer("canonical correlation, imputed gaps", "classical:canonical", ALL, tells=False, finds=True),
    "autogluon": Peer("AutoGluon", "automl:autogluon", ("table",), package="autogluon"),
}
