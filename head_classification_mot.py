# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The head that classifies or gives numbers, from any subset of the modalities.

Shapes: B rows, S subsets of the modalities.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_mot import MoTConfig
from .inputs_mot import takes_inputs
from .loss_mot import classification_loss
from .modeling_mot import EncodedModalities, MoTModel, MoTPreTrainedModel, states_of
from .subsets_mot import subset_name


def is_regression(config: MoTConfig) -> bool:
    """Whether a classifier's outputs are numbers; one output is, where the config does not say."""
    return config.problem_type == "regression" or (config.problem_type is None and config.num_labels == 1)


def scores_of(logits: torch.Tensor, config: MoTConfig) -> torch.Tensor:
    """
    What logits (..., num_labels) say: numbers as they are, or the probabilities of classes, of each by itself if a row
    may have several, else of one among all.
    """
    if is_regression(config):
        return logits
    return logits.sigmoid() if config.problem_type == "multi_label_classification" else logits.softmax(dim=-1)


@dataclass
class MoTClassifierOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The loss, if labels are given.
        logits (`torch.FloatTensor` of shape `(B, num_labels)`, or `(B, S, num_labels)` with S `modality_subsets`):
            Scores before softmax or sigmoid, calibrated if the config has a `logit_temperature`, or predicted numbers.
        losses (`dict[str, torch.FloatTensor]`, *optional*): With `modality_subsets`, the loss of each subset.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        attentions (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


class MoTForSequenceClassification(MoTPreTrainedModel):
    """
    Single-label or multi-label classification, or regression (`config.problem_type`), from any subset of modalities:
    a linear layer on the fused vector.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        if config.num_labels == 1 and config.problem_type is None:
            config.problem_type = "regression"  # pipelines answer by it: one output is a number, not a probability
        self.num_labels = config.num_labels
        self.mot = MoTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @takes_inputs
    @can_return_tuple
    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        labels: torch.Tensor | None = None,
        modality_subsets: list[tuple[str, ...]] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTClassifierOutput:
        """
        Answer from the modalities that each row has.

        Args:
            labels: (B,) whole numbers, class ids; (B, num_labels) zeros and ones for multi-label classification; (B,)
                or (B, num_labels) numbers for regression. What is -100, or NaN among numbers, has no label and does
                not count. (B, 1) is as good as (B,).
            modality_subsets: answer from each of these subsets, for example `[("text",), ("text", "audio")]`: the
                encoders run once and the joint part once for each. The loss is the mean of the subsets' losses, each
                over the rows that have any of the subset's modalities.
        """
        if modality_subsets is not None:
            return self.forward_subsets(inputs, labels, modality_subsets, **kwargs)
        outputs = self.mot(**inputs, **kwargs)
        logits = self.classify(outputs.pooler_output)
        return MoTClassifierOutput(
            loss=None if labels is None else classification_loss(logits, labels, self.config),
            logits=logits,
            **states_of(outputs),
        )

    @property
    def answers_with(self) -> str:
        return "numbers" if is_regression(self.config) else "classes"

    def answer(self, encoded: EncodedModalities, modalities: Iterable[str]) -> torch.Tensor:
        """The logits (B, num_labels) from what each row has of `modalities`; the head's of zeros, if nothing."""
        return self.classify(self.mot.pool(encoded, modalities))

    def score(self, logits: torch.Tensor) -> torch.Tensor:
        return scores_of(logits, self.config)

    def classify(self, pooled: torch.Tensor) -> torch.Tensor:
        """
        Fused vectors (B, d) to logits (B, num_labels): those of a regression in the unit of its labels, those of
        classes at `config.logit_temperature`.
        """
        logits, config = self.classifier(self.dropout(pooled)), self.config
        mean, std = config.regression_mean, config.regression_std
        if config.problem_type in (None, "regression") and (mean, std) != (0, 1):
            return logits.float() * std + mean  # half precision ends at 65504, and counts in steps of 32 before that
        # Here, not in `scores_of`, since others than this package make probabilities of logits, too.
        return logits if config.logit_temperature == 1 else logits.float() / config.logit_temperature

    @torch.no_grad()
    def set_scale(self, mean: float, std: float) -> None:
        """
        Have a regression learn on another scale and answer as before.

        Args:
            mean, std: of the numbers to learn.
        """
        if not (math.isfinite(mean) and 0 < std < math.inf):
            raise ValueError(f"`mean` and `std` are {mean} and {std}, expected numbers, of which `std` is above 0.")
        config, weight, bias = self.config, self.classifier.weight, self.classifier.bias
        weight.mul_(config.regression_std / std)
        bias.mul_(config.regression_std / std).add_((config.regression_mean - mean) / std)
        config.regression_mean, config.regression_std = mean, std

    def forward_subsets(
        self, inputs: Mapping[str, torch.Tensor], labels: torch.Tensor | None, subsets: list[tuple[str, ...]], **kwargs
    ) -> MoTClassifierOutput:
        """
        `forward` with `modality_subsets`.

        Returns:
            `logits` (B, S, num_labels) of the S subsets in their order, and the loss of each and their mean.
        """
        subsets = self.check_subsets(subsets)
        if asked := [name for name, value in kwargs.items() if name.startswith("output_") and value]:
            raise ValueError(f"`{asked[0]}` goes with one subset at a time, without `modality_subsets`.")
        encoded = self.mot.encode(**inputs, stand_ins=True, **kwargs)
        logits, losses = [], {}
        for subset in subsets:
            outputs = self.mot.join(encoded, subset)
            logits.append(self.classify(outputs.pooler_output))
            if labels is not None:
                has_any = outputs.attention_mask.any(dim=1)
                losses[subset_name(subset)] = classification_loss(logits[-1], labels, self.config, rows=has_any)
        return MoTClassifierOutput(
            loss=torch.stack(list(losses.values())).mean() if losses else None,
            logits=torch.stack(logits, dim=1),
            losses=losses or None,
        )

    def check_subsets(self, subsets: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
        """The subsets with their modalities in the fixed order."""
        modalities = self.config.modalities
        if not isinstance(subsets, (list, tuple)) or not subsets:
            raise ValueError(f"`modality_subsets` is {subsets!r}, expected a list such as [({modalities[0]!r},)].")
        ordered = []
        for subset in subsets:
            is_subset = isinstance(subset, (list, tuple, set, frozenset)) and all(m in modalities for m in subset)
            if not is_subset or not subset:
                raise ValueError(
                    f"`modality_subsets` holds {subset!r}, expected non-empty tuples of {', '.join(modalities)}, "
                    f"for example {(modalities[0],)!r}."
                )
            ordered.append(tuple(m for m in modalities if m in subset))
        if len(set(ordered)) < len(ordered):
            raise ValueError(f"`modality_subsets` names a subset twice: {ordered}.")
        return ordered


class MoTForImageClassification(MoTForSequenceClassification):
    """The same model under the name that the image-classification pipeline looks for."""


class MoTForAudioClassification(MoTForSequenceClassification):
    """The same model under the name that the audio-classification pipeline looks for."""
