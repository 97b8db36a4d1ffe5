# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the models return: dataclasses of transformers' kind, which also read as tuples and as dicts.

Shapes: B rows, L tokens of the joint sequence, N tokens of one modality.
"""

from dataclasses import dataclass

import torch
from transformers.modeling_outputs import ModelOutput


@dataclass
class MoTModelOutput(ModelOutput):
    r"""
    Args:
        last_hidden_state (`torch.FloatTensor` of shape `(B, L, hidden_size)`):
            The joint sequence in the order text, image, audio; zero at absent tokens.
        pooler_output (`torch.FloatTensor` of shape `(B, hidden_size)`):
            The fused vector; zero for a row without any token.
        attention_mask (`torch.LongTensor` of shape `(B, L)`): 1 where a joint token is real.
        text_hidden_state (`torch.FloatTensor` of shape `(B, L_text, hidden_size)`, *optional*): The text's slice.
        image_hidden_state (`torch.FloatTensor` of shape `(B, L_image, hidden_size)`, *optional*): The images' slice.
        audio_hidden_state (`torch.FloatTensor` of shape `(B, L_audio, hidden_size)`, *optional*): The audio's slice.
        hidden_states (`tuple[torch.FloatTensor]`, *optional*):
            On request, the joint sequence before the first and after every joint and global layer, each
            `(B, L, hidden_size)`.
        attentions (`tuple[torch.FloatTensor]`, *optional*):
            On request, the weights of each of those layers, `(B, heads, L, L)`.
        encoder_hidden_states (`dict[str, tuple[torch.FloatTensor]]`, *optional*):
            On request, for each modality its encoder's states, `(B, L_m, width_m)`.
        encoder_attentions (`dict[str, tuple[torch.FloatTensor]]`, *optional*):
            On request, for each modality its encoder's attention weights, `(B, heads_m, L_m, L_m)`.
    """

    last_hidden_state: torch.FloatTensor | None = None
    pooler_output: torch.FloatTensor | None = None
    attention_mask: torch.LongTensor | None = None
    text_hidden_state: torch.FloatTensor | None = None
    image_hidden_state: torch.FloatTensor | None = None
    audio_hidden_state: torch.FloatTensor | None = None
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


@dataclass
class MoTClassifierOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The loss, if labels are given.
        logits (`torch.FloatTensor` of shape `(B, num_labels)`, or `(B, S, num_labels)` with S `modality_subsets`):
            Scores before softmax or sigmoid, or predicted numbers.
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


@dataclass
class MoTRetrievalOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The mean of `losses`.
        losses (`dict[str, torch.FloatTensor]`, *optional*):
            The loss of each pair, such as `"text-image"` or `"text+audio-image"`.
        logits_per_text (`torch.FloatTensor` of shape `(B_text, B_image or B_audio)`, *optional*):
            Scaled similarities of each text with each image, or with each audio clip where no image is given.
        logits_per_image (`torch.FloatTensor` of shape `(B_image, B_text or B_audio)`, *optional*): Likewise.
        logits_per_audio (`torch.FloatTensor` of shape `(B_audio, B_text or B_image)`, *optional*): Likewise.
        text_embeds (`torch.FloatTensor` of shape `(B_text, projection_dim)`, *optional*): Of length 1; zero where absent.
        image_embeds (`torch.FloatTensor` of shape `(B_image, projection_dim)`, *optional*): Likewise.
        audio_embeds (`torch.FloatTensor` of shape `(B_audio, projection_dim)`, *optional*): Likewise.
        model_outputs (`dict[str, MoTModelOutput]`, *optional*): What [`MoTModel`] says of each modality alone.
    """

    loss: torch.FloatTensor | None = None
    losses: dict[str, torch.FloatTensor] | None = None
    logits_per_text: torch.FloatTensor | None = None
    logits_per_image: torch.FloatTensor | None = None
    logits_per_audio: torch.FloatTensor | None = None
    text_embeds: torch.FloatTensor | None = None
    image_embeds: torch.FloatTensor | None = None
    audio_embeds: torch.FloatTensor | None = None
    model_outputs: dict[str, MoTModelOutput] | None = None


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
    hidden_states: tuple[torch.FloatTensor, ...] | None = None
    attentions: tuple[torch.FloatTensor, ...] | None = None
    encoder_hidden_states: dict[str, tuple[torch.FloatTensor, ...]] | None = None
    encoder_attentions: dict[str, tuple[torch.FloatTensor, ...]] | None = None


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
