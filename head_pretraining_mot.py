# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The head that pretrains without labels: it predicts what is hidden, and draws the modalities of a row together.

Shapes: B rows, L tokens of a text, N tokens of one modality, n numbers that a token stands for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.nn import functional as F
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .arguments_mot import check_device, check_flag, check_floats, check_whole_numbers
from .configuration_mot import MoTConfig
from .contrastive_mot import MoTContrastive
from .inputs_mot import ModalityInput, check_devices, takes_inputs
from .layers_mot import MoTVectors, with_zero_gradients
from .loss_mot import IGNORED_LABEL, reconstruction_loss, token_loss
from .modalities_mot import MODALITIES, modality_of, words_of
from .modality_mot import Modality
from .modeling_mot import EncodedModalities, MoTModel, MoTModelOutput, MoTPreTrainedModel, side_by_side, states_of
from .prediction_mot import own_tokens, prediction_head


@dataclass
class MoTPreTrainingOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*):
            The sum of `losses`, weighted by `modality_weights`; of the contrastive ones their mean.
        losses (`dict[str, torch.FloatTensor]`, *optional*):
            `"text"` (cross-entropy), `"image"` (mean squared error), `"audio"` (mean absolute error), and
            `"contrastive/text-image"` and the like; each before its weight.
        text_predictions (`torch.FloatTensor` of shape `(B, L_text, vocab_size)`, *optional*): Scores of every word.
        image_predictions (`torch.FloatTensor` of shape `(B, N, patch_size * patch_size * num_channels)`, *optional*):
            The pixels of each patch, normalised to mean 0 and variance 1.
        audio_predictions (`torch.FloatTensor` of shape `(B, N, stem_stride * num_mel_bins)`, *optional*):
            The mel frames of each token. Ready features of any modality are predicted as (B, N, feature_size).
        modality_predictions (`dict[str, torch.FloatTensor]`, *optional*):
            The predictions for each modality that is given, by its name. Of a modality with segments they come segment
            after segment, as its hidden states do.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        attentions (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None
    text_predictions: torch.FloatTensor | None = None
    image_predictions: torch.FloatTensor | None = None
    audio_predictions: torch.FloatTensor | None = None
    modality_predictions: dict[str, torch.FloatTensor] | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


class MoTForPreTraining(MoTPreTrainedModel):
    """
    Learns without labels: predict the tokens, patches and mel frames that are hidden, in the light of all that the row
    has, and draw the modalities of a row together. A part whose weight in `config.modality_weights` is 0 is not built.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        self.weights = {term: config.modality_weights.get(term, 1.0) for term in (*config.modalities, "contrastive")}
        predicted = [m for m in config.modalities if self.weights[m]]
        for m in predicted:
            if config.modality_config(m).backbone_config is not None:
                raise ValueError(
                    f"Pretraining cannot hide parts of {m} from the backbone in front of its tower, which sees all: "
                    f'give it `modality_weights={{"{m}": 0}}`.'
                )
        self.mot = MoTModel(config)
        self.prediction_heads = nn.ModuleDict({m: prediction_head(config, m) for m in predicted})
        # Words are hidden in `input_ids`, by the id of [MASK]; all else by a learned token.
        widths = {m: config.modality_config(m).hidden_size for m in predicted if not self.takes_ids(m)}
        self.mask_tokens = MoTVectors({m: (width,) for m, width in widths.items()})
        if self.weights["contrastive"] and len(config.modalities) > 1:
            self.contrastive = MoTContrastive(config)
        self.post_init()

    def kind_of(self, modality: str) -> Modality:
        return modality_of(self.config.modality_config(modality), modality)

    def takes_ids(self, modality: str) -> bool:
        return self.kind_of(modality).predicts_ids

    def get_output_embeddings(self) -> nn.Module | None:
        words = words_of(self.config)
        return self.prediction_heads[words].decoder if words in self.prediction_heads else None

    def set_output_embeddings(self, value: nn.Module):
        self.prediction_heads[words_of(self.config)].decoder = value

    @takes_inputs(ignores=("labels",))
    @can_return_tuple
    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        text_labels: torch.Tensor | None = None,
        image_labels: torch.FloatTensor | None = None,
        audio_labels: torch.FloatTensor | None = None,
        modality_labels: Mapping[str, torch.Tensor] = MappingProxyType({}),
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTPreTrainingOutput:
        """
        Predict what is hidden. Patches and audio are hidden here, at random, `mask_ratio` of them, unless targets are
        given.

        Args:
            text_labels: (B, L_text) the words to predict, -100 for none; the caller has hidden them in `input_ids`, as
                transformers' `DataCollatorForLanguageModeling` does (`MoTCollator` calls it). Without, no word counts.
            image_labels: pixels of the shape of `pixel_values`, to be predicted from the image as it is; a patch with
                a NaN does not count.
            audio_labels: mel frames of the shape of `input_features`; what is NaN does not count. The labels of a
                modality of ready features are features of the same shape.
            modality_labels: as `{name}_labels`, those of a modality that the user has declared, of the shape of its
                input.
            return_loss: whether to hide anything and to compute the loss; by default in training and wherever labels
                are given.

        Pretraining learns without the classes of rows: `labels`, which a dataset may bring along, are not read.
        """
        every = zip(MODALITIES, (text_labels, image_labels, audio_labels))
        labels = {m: value for m, value in every if value is not None} | dict(modality_labels)
        check_flag(return_loss, "return_loss")
        wants_loss = (self.training or bool(labels)) if return_loss is None else return_loss
        self.check_kinds(labels)
        given = self.mot.collect(inputs)
        labels = {m: self.split(given, m, value) for m, value in labels.items()}
        targets, covered = self.choose_targets(given, labels) if wants_loss else ({}, {})
        encoded = self.mot.encode_collected(given, covered=covered, **kwargs)
        output = self.mot.join(encoded)
        predictions = {
            m: head(own_tokens(self.config, output, m, encoded.segments))
            for m, head in self.prediction_heads.items()
            if m in encoded.given
        }
        loss = losses = None
        if wants_loss:
            for m, number in encoded.segments.items():  # which stand side by side now
                targets |= {m: side_by_side(targets[m], number)} if m in targets else {}
                covered |= {m: (side_by_side(covered[m][0], number), covered[m][1])} if m in covered else {}
            losses = self.reconstruction_losses(predictions, targets, labels, covered)
            pairs, loss = self.contrastive_losses(encoded)
            loss = loss + sum(self.weights[m] * term for m, term in losses.items())
            loss = with_zero_gradients(loss, *self.unused(losses, output))
            losses |= {f"contrastive/{pair}": term for pair, term in pairs.items()}
        return MoTPreTrainingOutput(
            loss=loss,
            losses=losses,
            **{f"{m}_predictions": value for m, value in predictions.items() if m in MODALITIES},
            modality_predictions=predictions,
            **states_of(output),
        )

    def check_kinds(self, labels: Mapping[str, torch.Tensor]) -> None:
        """Raise a ValueError for labels of the wrong kind: words are whole numbers, all else is floats."""
        for m, own in labels.items():
            kinds = MODALITIES | self.config.kinds
            is_ids = kinds[m].predicts_ids and (m not in self.prediction_heads or self.takes_ids(m))
            (check_whole_numbers if is_ids else check_floats)(own, f"{m}_labels")

    @staticmethod
    def split(given: Mapping[str, ModalityInput], modality: str, labels: torch.Tensor) -> torch.Tensor:
        """Labels of the shape of a modality's input, by its segments where they are rows of their own."""
        if modality not in given or (segments := given[modality].segments) is None:
            return labels
        fill = torch.nan if labels.is_floating_point() else IGNORED_LABEL
        return segments.split(labels, fill, f"{modality}_labels")

    def choose_targets(
        self, given: Mapping[str, ModalityInput], labels: Mapping[str, torch.Tensor]
    ) -> tuple[dict[str, torch.Tensor], dict[str, tuple[torch.Tensor, torch.Tensor]]]:
        """
        modality -> what to predict, and modality -> which tokens to cover (B, N) and what stands there; of a modality
        with labels nothing is covered.
        """
        targets, covered = {}, {}
        for m in self.prediction_heads:
            if m in labels and m not in given:
                raise ValueError(f"`{m}_labels` was given without `{self.mot.bare_embeddings(m).input_name}`.")
            if self.takes_ids(m):
                targets |= {m: labels[m]} if m in labels else {}
                continue
            mask_token = self.mask_tokens(m)
            tokens = torch.zeros(1, 1, dtype=torch.bool, device=mask_token.device)
            if m in given:
                targets[m] = self.targets_of(m, labels.get(m, given[m].values), given[m], mask_token.device)
                real = targets[m].isfinite().any(dim=-1)  # (B, N)
                tokens = torch.zeros_like(real) if m in labels else self.draw(m, real)
            covered[m] = (tokens, mask_token)
        return targets, covered

    def targets_of(self, m: str, labels: torch.Tensor, given: ModalityInput, device: torch.device) -> torch.Tensor:
        """What the tokens of a modality stand for, (B, N, n), by labels of the shape of its input."""
        embeddings = self.mot.bare_embeddings(m)
        check_devices(given, embeddings, device)
        check_device(labels, f"{m}_labels", device)
        if labels.shape != given.values.shape:
            raise ValueError(
                f"`{m}_labels` has shape {tuple(labels.shape)}, expected that of `{embeddings.input_name}`, "
                f"{tuple(given.values.shape)}."
            )
        return self.kind_of(m).scale_targets(embeddings.targets(labels, given.mask))

    def draw(self, m: str, real: torch.Tensor) -> torch.Tensor:
        """Which of a modality's real tokens (B, N) to cover."""
        config = self.config.modality_config(m)
        return draw_hidden(real, config.mask_ratio, self.kind_of(m).mask_span(config))

    def reconstruction_losses(self, predictions: dict, targets: dict, labels: dict, covered: dict) -> dict:
        """The loss of each modality that has targets: over the tokens that were covered, or over all with labels."""
        losses = {}
        for m, target in targets.items():
            if self.takes_ids(m):
                losses[m] = token_loss(predictions[m], target)
            else:
                counted = None if m in labels else covered[m][0]
                losses[m] = reconstruction_loss(predictions[m], target, self.kind_of(m).reconstruction_loss, counted)
        return losses

    def contrastive_losses(self, encoded: EncodedModalities) -> tuple[dict[str, torch.Tensor], torch.Tensor | float]:
        """The loss of each two modalities, and their mean."""
        if not hasattr(self, "contrastive"):
            return {}, 0.0
        embeddings = {  # in training also of what the batch lacks, by its stand-ins
            (m,): self.contrastive.embed(self.mot.pool(encoded, (m,)), encoded.has((m,)))
            for m in encoded.hidden_states
        }
        losses = self.contrastive.losses(embeddings, encoded.given)
        return losses, self.weights["contrastive"] * self.contrastive.mean(losses, embeddings)

    def unused(self, losses: Mapping[str, torch.Tensor], output: MoTModelOutput) -> list[torch.Tensor]:
        """What the losses have no use for: the fused vectors, and the heads of modalities that have no loss."""
        token = output.last_hidden_state[:, :1]
        return [output.pooler_output, *(head(token) for m, head in self.prediction_heads.items() if m not in losses)]


def draw_hidden(real: torch.Tensor, ratio: float, span: int) -> torch.Tensor:
    """
    Which of the real tokens (B, N) bool to hide: `ratio` of each row's single tokens, or spans that start anywhere
    (arXiv 2006.11477) and cover that share on average.
    """
    if span == 1:
        order = torch.rand(real.shape, device=real.device).masked_fill(~real, 2.0).argsort(dim=1)
        return order.argsort(dim=1) < (ratio * real.sum(dim=1, keepdim=True)).round()
    rows, length = real.shape
    starts = torch.rand(rows, length + span - 1, device=real.device)  # also before the first token
    starts = starts < 1 - (1 - ratio) ** (1 / span)
    covered = F.max_pool1d(starts.float()[:, None], span, stride=1)[:, 0] > 0
    return covered & real
