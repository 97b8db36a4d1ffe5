# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The head that retrieves: texts, images, sounds and combinations of them as vectors in one space.

Shapes: B rows.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers.modeling_outputs import ModelOutput
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple

from .arguments_mot import check_device, check_flag, check_tensor, check_whole_numbers
from .configuration_mot import MoTConfig
from .contrastive_mot import MoTContrastive, Side
from .inputs_mot import takes_inputs
from .modalities_mot import MODALITIES
from .modeling_mot import EncodedModalities, MoTModel, MoTModelOutput, MoTPreTrainedModel
from .subsets_mot import bounded_subsets, subset_name


@dataclass
class MoTRetrievalOutput(ModelOutput):
    r"""
    Args:
        loss (`torch.FloatTensor` of shape `(1,)`, *optional*): The mean of `losses`.
        losses (`dict[str, torch.FloatTensor]`, *optional*):
            The loss of each pair, such as `"text-image"` or `"text+audio-image"`.
        logits_per_text (`torch.FloatTensor` of shape `(B_text, B_image or B_audio)`, *optional*):
            Scaled similarities of each text with each image, or with each audio clip where no image is given.
        logits_per_image (`torch.FloatTensor` of shape `(B_image, B_text or B_audio)`, *optional*): Those of images.
        logits_per_audio (`torch.FloatTensor` of shape `(B_audio, B_text or B_image)`, *optional*): Those of clips.
        text_embeds (`torch.FloatTensor` of shape `(B_text, projection_dim)`, *optional*):
            Embeddings of length 1, zero for a row that has no text.
        image_embeds (`torch.FloatTensor` of shape `(B_image, projection_dim)`, *optional*): Those of images.
        audio_embeds (`torch.FloatTensor` of shape `(B_audio, projection_dim)`, *optional*): Those of audio.
        logits_per_modality (`dict[str, torch.FloatTensor]`, *optional*):
            The same for each modality that is given, by its name: similarities with the first of the others.
        modality_embeds (`dict[str, torch.FloatTensor]`, *optional*): The embeddings of each modality that is given.
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
    logits_per_modality: dict[str, torch.FloatTensor] | None = None
    modality_embeds: dict[str, torch.FloatTensor] | None = None
    model_outputs: dict[str, MoTModelOutput] | None = None


class MoTForRetrieval(MoTPreTrainedModel):
    """
    Texts, images, sounds and combinations of them in one space, where what belongs together is near. Each modality is
    encoded by itself; only `get_fused_features` mixes.
    """

    auto_model = "MoTForRetrieval"

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        self.mot = MoTModel(config)
        self.contrastive = MoTContrastive(config)
        self.post_init()

    @property
    def answers_with(self) -> str:
        return "embeddings"

    @takes_inputs
    @can_return_tuple
    def forward(
        self,
        inputs: Mapping[str, torch.Tensor],
        labels: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTRetrievalOutput:
        """
        Embed each modality by itself. They may differ in their number of rows (many texts against one image) unless a
        loss is asked for.

        Args:
            labels: (B,) what a row shows, a class or the id of a caption, -100 for unknown: rows with the same label
                are not pushed apart (see `config.contrastive_positives`).
            return_loss: whether to compute the loss; by default in training and wherever labels are given.
        """
        check_flag(return_loss, "return_loss")
        wants_loss = (self.training or labels is not None) if return_loss is None else return_loss
        encoded = self.mot.encode(**inputs, **kwargs, equal_rows=wants_loss)
        # In training also what the batch lacks, by its stand-ins: every process runs the same layers as often.
        outputs = {m: self.mot.join(encoded, (m,)) for m in encoded.hidden_states}
        embeddings = {(m,): self.contrastive.embed(outputs[m].pooler_output, encoded.has((m,))) for m in outputs}
        loss = losses = None
        if wants_loss:
            everything = embeddings | self.embed_others(encoded)
            losses = self.contrastive.losses(everything, encoded.given, check_ids(labels, encoded))
            loss = self.contrastive.mean(losses, everything)
        given = {(m,): embeddings[(m,)] for m in encoded.given}
        logits, embeds = self.logits_per_modality(given), {m: side.vectors for (m,), side in given.items()}
        return MoTRetrievalOutput(
            loss=loss,
            losses=losses,
            **{f"logits_per_{m}": value for m, value in logits.items() if m in MODALITIES},
            **{f"{m}_embeds": value for m, value in embeds.items() if m in MODALITIES},
            logits_per_modality=logits or None,
            modality_embeds=embeds,
            model_outputs={m: outputs[m] for m in encoded.given},
        )

    def answer(self, encoded: EncodedModalities, modalities: Iterable[str]) -> torch.Tensor:
        """The embeddings (B, projection_dim) of `embed`."""
        return self.embed(encoded, modalities).vectors

    def embed(self, encoded: EncodedModalities, modalities: Iterable[str]) -> Side:
        """One embedding for each row, from those of `modalities` that it has; zero for a row that has none."""
        has = encoded.has(modalities)
        if not has:
            token = next(iter(encoded.hidden_states.values()))
            vectors = token.new_zeros(encoded.batch_size, self.config.projection_dim, dtype=torch.float32)
            return Side(vectors, vectors.any(dim=1))
        return self.contrastive.embed(self.mot.pool(encoded, has), has)

    def embed_others(self, encoded: EncodedModalities) -> dict[tuple[str, ...], Side]:
        """The embedding of all others fused, for each modality that has several others."""
        several = [others for others, _ in self.contrastive.pairs if len(others) > 1]
        return {others: self.embed(encoded, others) for others in several}

    def logits_per_modality(self, embeddings: dict[tuple[str, ...], Side]) -> dict[str, torch.Tensor]:
        """Each modality's similarities with the first of the others that are given."""
        logits = {}
        for first, second in self.contrastive.pairs:
            if first != second and first in embeddings and second in embeddings:
                pair = self.contrastive.logits(embeddings[first].vectors, embeddings[second].vectors, (first, second))
                logits.setdefault(first[0], pair)
                logits.setdefault(second[0], pair.T)
        return logits

    @takes_inputs(modality="text")
    def get_text_features(
        self, inputs: Mapping[str, torch.Tensor], **kwargs: Unpack[TransformersKwargs]
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of texts, with their embeddings (B, projection_dim) as `pooler_output`."""
        return self.get_features_alone("text", inputs, kwargs)

    @takes_inputs(modality="image")
    def get_image_features(
        self, inputs: Mapping[str, torch.Tensor], **kwargs: Unpack[TransformersKwargs]
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of images or videos, with their embeddings (B, projection_dim) as `pooler_output`."""
        return self.get_features_alone("image", inputs, kwargs)

    @takes_inputs(modality="audio")
    def get_audio_features(
        self, inputs: Mapping[str, torch.Tensor], **kwargs: Unpack[TransformersKwargs]
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of sounds, with their embeddings (B, projection_dim) as `pooler_output`."""
        return self.get_features_alone("audio", inputs, kwargs)

    def get_modality_features(self, modality: str, **kwargs) -> MoTModelOutput:
        """
        What [`MoTModel`] says of one modality, with its embeddings (B, projection_dim) as `pooler_output`.

        Args:
            modality: its name, one of `config.modalities`.
            kwargs: its inputs by name, and the options of `forward`.
        """
        if modality not in self.config.modalities:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(self.config.modalities)}.")
        return self.get_features_alone(modality, kwargs, {})

    def get_features_alone(self, modality: str, inputs: Mapping[str, torch.Tensor], kwargs: dict) -> MoTModelOutput:
        """`get_fused_features` of one modality; a ValueError if there is an input of another."""
        others = [kind.names for m, kind in (MODALITIES | self.config.kinds).items() if m != modality]
        if given := [name for names in others for name in names.inputs if name in inputs]:
            raise ValueError(
                f"`get_{modality}_features` encodes {modality} alone, got `{given[0]}` too: leave it out, or mix them "
                "with `get_fused_features`."
            )
        return self.get_fused_features(**inputs, **kwargs)

    @takes_inputs
    @can_return_tuple
    def get_fused_features(
        self, inputs: Mapping[str, torch.Tensor], **kwargs: Unpack[TransformersKwargs]
    ) -> MoTModelOutput:
        """
        What [`MoTModel`] says of rows with any combination of modalities, with one embedding for each row, of length
        1, (B, projection_dim), as `pooler_output`: a sentence and a sound together may look for an image. A row of one
        modality gets that modality's embedding.
        """
        encoded = self.mot.encode(**inputs, **kwargs)
        output = self.mot.join(encoded)
        output.pooler_output = self.contrastive.embed(output.pooler_output, encoded.has(encoded.given)).vectors
        return output

    def save_other_files(self, folder: Path) -> None:
        """As every model of the family, and what `SentenceTransformer(folder, trust_remote_code=True)` reads."""
        super().save_other_files(folder)
        for file, content in sentence_transformers_files(self.config).items():
            (folder / file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def check_ids(labels: torch.Tensor | None, encoded: EncodedModalities) -> torch.Tensor | None:
    """Labels of a contrastive loss, one whole number for each row."""
    if labels is None:
        return None
    check_tensor(labels)
    batch_size = encoded.batch_size
    if labels.numel() != batch_size or labels.is_floating_point():
        raise ValueError(
            f"`labels` has shape {tuple(labels.shape)} and type {labels.dtype}; retrieval expects the whole numbers "
            f"({batch_size},): rows with the same number match."
        )
    check_whole_numbers(labels, "labels")
    check_device(labels, "labels", next(iter(encoded.hidden_states.values())).device)
    return labels.reshape(-1)


def sentence_transformers_files(config: MoTConfig) -> dict[str, list | dict]:
    """
    The files by which sentence-transformers (6.2) finds the embeddings of each modality and of each combination. Ready
    features are none of its inputs, nor are modalities that users name themselves: the names that it knows are closed.
    (It writes `config_sentence_transformers.json` itself, before it saves a model.)
    """
    known = [m for m in config.modalities if m in MODALITIES]
    modalities = sorted(m for m in known if config.modality_config(m).takes_raw_input)
    subsets = bounded_subsets(modalities)
    if not subsets:
        return {}
    methods = {
        subset_name(subset): {
            "method": f"get_{subset[0] if len(subset) == 1 else 'fused'}_features",
            "method_output_name": "pooler_output",
        }
        for subset in subsets
    }
    module = {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.base.modules.transformer.Transformer"}
    return {
        "modules.json": [module],
        "sentence_bert_config.json": {
            "transformer_task": "feature-extraction",
            "modality_config": methods,
            "module_output_name": "sentence_embedding",
        },
    }
