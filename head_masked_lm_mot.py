# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The head that fills in masked words.

Shapes: B rows, L tokens of a text.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .configuration_mot import MoTConfig
from .inputs_mot import takes_inputs
from .layers_mot import with_zero_gradients
from .loss_mot import IGNORED_LABEL, token_loss
from .modalities_mot import words_of
from .modeling_mot import MoTModel, MoTPreTrainedModel, states_of
from .prediction_mot import own_tokens, prediction_head


@dataclass
class MoTMaskedLMOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The loss, if labels are given.
        logits (`torch.FloatTensor` of shape `(B, L_text, vocab_size)`): Scores of every word for each text token.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        attentions (`tuple[torch.FloatTensor]`, *optional*): As in [`MoTModelOutput`].
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*): As in [`MoTModelOutput`].
    """

    loss: torch.FloatTensor | None = None
    logits: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


class MoTForMaskedLM(MoTPreTrainedModel):
    """Fills in masked words, in the light of the row's image and sound where it has them."""

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        words = words_of(config)
        if words is None:
            raise ValueError("`MoTForMaskedLM` needs token ids: a `text_config` without `feature_size`.")
        self.words = words
        self.mot = MoTModel(config)
        self.prediction_heads = nn.ModuleDict({self.words: prediction_head(config, self.words)})
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.prediction_heads[self.words].decoder

    def set_output_embeddings(self, value: nn.Module):
        self.prediction_heads[self.words].decoder = value

    @takes_inputs
    @can_return_tuple
    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        labels: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTMaskedLMOutput:
        """
        Score every word for each text token; `input_ids` are needed.

        Args:
            labels: (B, L_text) the words to predict, -100 for none.

        Of texts in segments the scores come segment after segment, as hidden states do.
        """
        if not inputs.keys() & {"input_ids", "inputs_embeds"}:
            raise ValueError("`MoTForMaskedLM` predicts words, so it needs `input_ids`.")
        given = self.mot.collect(inputs)
        encoded = self.mot.encode_collected(given, **kwargs)
        output = self.mot.join(encoded)
        logits = self.prediction_heads[self.words](own_tokens(self.config, output, self.words, encoded.segments))
        loss = None
        if labels is not None:
            if (segments := given[self.words].segments) is not None:
                labels = segments.split(labels, IGNORED_LABEL, "labels").reshape(logits.shape[:2])
            loss = with_zero_gradients(token_loss(logits, labels, "labels"), output.pooler_output)
        return MoTMaskedLMOutput(loss=loss, logits=logits, **states_of(output))
