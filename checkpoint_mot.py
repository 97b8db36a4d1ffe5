# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What loading and saving do for the models that encode: towers may begin as other models, weights that an earlier
version saved load, and a saved folder names every head that can read it.
"""

import os
from typing import Literal

import torch
from transformers.modeling_utils import load_state_dict
from transformers.utils import logging

from .contrastive_mot import name_scales
from .loading_mot import LoadingMixin
from .modalities_mot import MODALITIES
from .warm_start_mot import (
    Checkpoint,
    describe_place,
    fill_tower,
    joined_config,
    kind_of,
    load_backbone,
    sources_of_others,
    why_in_front,
)

logger = logging.get_logger(__name__)


def is_trained(tower: dict | None) -> bool:
    """Whether the fields of a modality's config let the model in front learn."""
    return not (tower or {}).get("freeze_backbone", True)


def has_old_names(file: str) -> bool:
    """Whether a file of weights has scales of pairs that are not stored by the names of the pairs."""
    return any(name.rpartition(".")[2] == "log_scale" for name in load_state_dict(file, map_location="meta"))


class CheckpointMixin(LoadingMixin):
    """The loading and saving of `MoTPreTrainedModel`; what is not said here is the library's."""

    auto_model = "MoTModel"  # what `AutoModel` means in a saved folder

    @classmethod
    def from_unimodal_pretrained(
        cls,
        text: str | os.PathLike | None = None,
        image: str | os.PathLike | None = None,
        audio: str | os.PathLike | None = None,
        *,
        text_backbone: str | os.PathLike | None = None,
        image_backbone: str | os.PathLike | None = None,
        audio_backbone: str | os.PathLike | None = None,
        fallback: Literal["backbone"] | None = None,
        allow_pickle: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        **config,
    ) -> "CheckpointMixin":
        """
        A model whose towers compute exactly what other models compute, from where training goes on.

        Args:
            text, image, audio: Hub ids (`user/model`, `user/model@revision`) or folders of the models that the towers
                begin as: SigLIP or RoBERTa-PreLayerNorm for text; ViT, DeiT, DINOv2, CLIP or SigLIP for images;
                Whisper for audio (see `docs/warm_starts.md`). A modality without one keeps a fresh tower, or has none
                with `text_config=None` (and so on).
            text_backbone, image_backbone, audio_backbone: ids or folders of any models of transformers, to stand in
                front of fresh towers that read what they give; frozen unless `text_config={"freeze_backbone": False}`.
            fallback: `"backbone"` puts what cannot be a tower in front of one, and says so and why; by default it is
                an error, since a frozen model in front of a fresh tower is another thing than a tower that was
                trained.
            allow_pickle: read checkpoints that have no safetensors, too.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            dtype: of the model; by default torch's own.
            attn_implementation: as in `from_pretrained`.
            config: fields of [`MoTConfig`], and sources of modalities that these declare: `depth=` or
                `depth_backbone=` beside `depth_config={"model_type": "mot_image"}`. `hidden_size` is the common width
                of the towers if it is not given; `text_config={...}` (and so on) stands above what a source says.

        A named tower's modality embedding starts at zero, so that nothing is added to what its source computes. With
        `zero_init_new_layers=True` the whole model gives what its towers give before it is trained.

        Raises:
            ValueError: a source cannot be a tower, with the reason and what to use instead; or it does not fit, is
                damaged or has pickled weights alone; or the towers differ in width and no `hidden_size` is given.
            OSError: a source does not exist or cannot be reached.
        """
        hub = {"token": token, "cache_dir": cache_dir, "local_files_only": local_files_only}
        dtype = dtype or torch.get_default_dtype()
        towers = {m: name for m, name in zip(MODALITIES, (text, image, audio)) if name is not None}
        backbones = zip(MODALITIES, (text_backbone, image_backbone, audio_backbone))
        backbones = {m: name for m, name in backbones if name is not None}
        if fallback not in (None, "backbone"):
            raise ValueError(f"`fallback` is {fallback!r}: expected 'backbone' or None.")
        of_others = sources_of_others(config)
        towers, backbones = towers | of_others.towers, backbones | of_others.backbones
        if not towers and not backbones:
            raise ValueError("Name at least one checkpoint, as `text=`, `image=` or `audio=`.")
        if both := towers.keys() & backbones.keys():
            raise ValueError(f"`{min(both)}=` and `{min(both)}_backbone=` exclude each other: give one of them.")
        kinds = {m: kind_of(m, config) for m in (*towers, *backbones)}
        for m, name in list(towers.items()) if fallback else ():
            if reason := why_in_front(name, kinds[m], **hub):
                logger.warning(describe_place(m, name, reason, is_trained(config.get(f"{m}_config"))))
                backbones[m] = towers.pop(m)
        checkpoints = {m: Checkpoint(name, kinds[m], allow_pickle, **hub) for m, name in towers.items()}
        backbones = {m: load_backbone(name, kinds[m], allow_pickle, dtype, **hub) for m, name in backbones.items()}
        joint = joined_config(checkpoints, {m: backbone.config for m, backbone in backbones.items()}, config)
        model = cls._from_config(joint, dtype=dtype, attn_implementation=attn_implementation)
        for m, backbone in backbones.items():
            getattr(model, "mot", model).embeddings[m].set_backbone(backbone)
        for m, checkpoint in checkpoints.items():
            logger.warning(fill_tower(model, m, checkpoint))
        return model.eval()

    @classmethod
    def _load_pretrained_model(cls, model, state_dict, checkpoint_files, *args, **kwargs):
        """
        The library's step that reads the weights. It renames none for models whose code is not its own, and would
        write what it renamed back as it was: so weights that an earlier version saved are renamed before it.
        """
        if state_dict is None and any(map(has_old_names, checkpoint_files or ())):
            state_dict = {name: value for file in checkpoint_files for name, value in load_state_dict(file).items()}
        if state_dict is not None:
            state_dict = name_scales(state_dict)
        return super()._load_pretrained_model(model, state_dict, checkpoint_files, *args, **kwargs)

    def write(self, save_directory, *args, **kwargs) -> None:
        """The library's own saving, with an `auto_map` and pipelines that name all which can read the folder."""
        # The library reads here, by text, that the code of all heads and of the pipeline goes with this file.
        from .heads_mot import auto_map
        from .pipeline_mot import CUSTOM_PIPELINES

        self.config.auto_map = auto_map(self.auto_model)
        self.config.custom_pipelines = CUSTOM_PIPELINES
        try:
            super().write(save_directory, *args, **kwargs)
        finally:
            del self.config.custom_pipelines  # They are about the folder, not the model.
