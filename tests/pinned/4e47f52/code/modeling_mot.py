# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A Mixture-of-Transformers over text, images or video frames, and audio, from the bottom up.

Each modality is embedded and encoded by modules of its own; the encoded tokens are joined along the sequence (text,
image, audio), pass through joint layers (weights of their own per modality, attention over all tokens) and global
layers (weights shared by all), and are fused into one vector, from which a head answers. A row may have any subset of
the modalities: masks say which tokens are real, and what is not real never reaches what is.

Shapes: B rows, L tokens, d width, H heads, D width of a head, F frames of a video, T frames of audio.
"""

import itertools
import json
import math
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn
from transformers import initialization as init
from transformers.modeling_utils import PreTrainedModel
from transformers.processing_utils import Unpack
from transformers.utils import TransformersKwargs, can_return_tuple, logging
from transformers.utils.hub import cached_file

from .attention_mot import PackedTokens, PaddedTokens, attention_mask_for, can_pack
from .configuration_mot import MODALITIES, MoTConfig, MoTModalityConfig
from .embeddings_mot import EMBEDDINGS, MoTEmbeddings, MoTImageEmbeddings, MoTTextEmbeddings, blank
from .fusion_mot import FUSIONS, MoTAttentionFusion
from .heads_mot import MoTContrastive, draw_hidden, prediction_head
from .layers_mot import Layout, MoTEncoderLayer, MoTGlobalLayer, MoTJointLayer, drop_path_rates, run_layers
from .loss_mot import (
    Embeddings,
    classification_loss,
    normalize_patches,
    reconstruction_loss,
    token_loss,
)
from .outputs_mot import (
    MoTClassifierOutput,
    MoTMaskedLMOutput,
    MoTModelOutput,
    MoTPreTrainingOutput,
    MoTRetrievalOutput,
)
from .sparse_attention_mot import BlockSparsity
from .warm_start_mot import Checkpoint, fill_tower, joined_config, load_backbone

logger = logging.get_logger(__name__)

PIPELINE_CODE = ("pipeline_mot.py", "attribution_mot.py")

# ---------------------------------------------------------------------------------------------------------------------
# The model
# ---------------------------------------------------------------------------------------------------------------------


# What an x86 processor must have for products in half precision to be faster than in float32, not several times slower.
INSTRUCTIONS = {torch.bfloat16: ("avx512_bf16", "amx_bf16"), torch.float16: ("avx512_fp16", "amx_fp16")}


def warn_of_slow_precision(parameter: torch.Tensor) -> None:
    """Warn, once, of half precision on a processor without instructions for it; before torch 2.11 nobody knows."""
    if parameter.device.type != "cpu" or not hasattr(torch.cpu, "get_capabilities"):
        return
    dtype = torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else parameter.dtype
    has = torch.cpu.get_capabilities()
    wanted = INSTRUCTIONS.get(dtype, ())
    if wanted and has.get("architecture") == "x86_64" and not any(has.get(name) for name in wanted):
        logger.warning_once(
            f"This processor has no instructions for {dtype}, in which it is slower than in float32: load the model with "
            "dtype='float32' here, and train without bf16 or fp16."
        )


def split_options(kwargs: dict) -> tuple[dict, dict]:
    """Keyword arguments of a forward for `encode` and for `join`; those of the attention implementation are in both."""
    for_join = ("output_hidden_states", "output_attentions")
    return (
        {name: value for name, value in kwargs.items() if name not in for_join},
        {name: value for name, value in kwargs.items() if not name.startswith("output_encoder_")},
    )


@dataclass
class EncodedModalities:
    """What the encoders hand to the joint part, for each modality in the order of the joint sequence."""

    given: tuple[str, ...]  # the modalities that this batch has
    batch_size: int
    packed: bool  # whether uneven rows are packed
    hidden_states: dict[str, torch.Tensor] = field(default_factory=dict)  # (B, L_m, d) or packed (1, N_m, d)
    layouts: dict[str, Layout] = field(default_factory=dict)
    masks: dict[str, torch.Tensor] = field(default_factory=dict)  # (B, L_m) bool
    # One token (1, 1, d) of each modality that has none in this batch, so that its weights take part in training.
    stand_ins: dict[str, torch.Tensor] = field(default_factory=dict)
    encoder_hidden_states: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)
    encoder_attentions: dict[str, tuple[torch.Tensor, ...]] = field(default_factory=dict)

    def has(self, modalities: Iterable[str]) -> dict[str, torch.Tensor]:
        """modality -> (B,) bool: which rows have it, for those of `modalities` that were encoded."""
        return {m: self.masks[m].any(dim=1) for m in modalities if m in self.hidden_states}

    def one_token(self, modality: str) -> torch.Tensor:
        """Any token of a modality, (1, 1, d); zeros where it is given, but masked out in every row."""
        if modality in self.stand_ins:
            return self.stand_ins[modality]
        token = self.hidden_states[modality][:1, :1]
        return token if token.shape[1] else token.sum(dim=1, keepdim=True)


class MoTPreTrainedModel(PreTrainedModel):
    """Initial weights, and what every model of the family tells the library."""

    config: MoTConfig
    base_model_prefix = "mot"
    main_input_name = "input_ids"
    input_modalities = ("text", "image", "audio")
    supports_gradient_checkpointing = True
    accepts_loss_kwargs = False
    auto_model = "MoTModel"  # what `AutoModel` means in a saved folder
    _no_split_modules = ["MoTEncoderLayer", "MoTJointLayer", "MoTGlobalLayer"]
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_flex_attn = True
    _supports_attention_backend = True
    _can_compile_fullgraph = True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module):
        super()._init_weights(module)
        std = self.config.initializer_range
        if hasattr(module, "initial_std"):
            init.normal_(module.weight, std=module.initial_std)
            if getattr(module, "padding_idx", None) is not None:
                init.zeros_(module.weight[module.padding_idx])
        if isinstance(module, nn.ParameterDict):  # the modality embeddings, and other vectors of each modality
            for parameter in module.values():
                init.normal_(parameter, std=std)
        if isinstance(module, MoTAttentionFusion):
            init.normal_(module.query, std=std)
        if isinstance(module, MoTContrastive):
            is_sigmoid = self.config.contrastive_loss == "sigmoid"
            init.constant_(module.log_scale, math.log(10 if is_sigmoid else 1 / self.config.temperature))
            init.constant_(module.bias, -10.0 if is_sigmoid else 0.0)
        if isinstance(module, MoTEmbeddings):
            for name in ("cls_token", "register_tokens"):
                if hasattr(module, name):
                    init.normal_(getattr(module, name), std=std)
        if isinstance(module, MoTImageEmbeddings) and hasattr(module, "frame_position_embeddings"):
            grid = module.grid_size
            place, time = module.fixed_positions(module.config.num_frames, grid, grid)
            init.copy_(module.position_embeddings, place[None])
            init.copy_(module.frame_position_embeddings, time)

    def enable_input_require_grads(self):
        """
        Make every modality's embedded tokens require gradients: under reentrant gradient checkpointing, an adapter in
        a layer whose input requires none gets none, and the library knows of word embeddings only.
        """

        def require_grads(module, inputs, output):
            output.requires_grad_(True)

        embeddings = [module for module in self.modules() if isinstance(module, MoTEmbeddings)]
        self._require_grads_hooks = [module.register_forward_hook(require_grads) for module in embeddings]

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
        allow_pickle: bool = False,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike | None = None,
        local_files_only: bool = False,
        dtype: torch.dtype | str | None = None,
        attn_implementation: str | None = None,
        **config,
    ) -> "MoTPreTrainedModel":
        """
        A model whose towers compute exactly what other models compute, from where training goes on.

        Args:
            text, image, audio: Hub ids (`user/model`, `user/model@revision`) or folders of the models that the towers
                begin as: SigLIP or RoBERTa-PreLayerNorm for text; ViT, DeiT, DINOv2, CLIP or SigLIP for images; Whisper
                for audio (see `docs/warm_starts.md`). A modality without one keeps a fresh tower, or has none with
                `text_config=None` (and so on).
            text_backbone, image_backbone, audio_backbone: likewise any models of transformers, to stand in front of
                fresh towers that read what they give; frozen unless `text_config={"freeze_backbone": False}`.
            allow_pickle: read checkpoints that have no safetensors, too.
            token, cache_dir, local_files_only: as in `from_pretrained`.
            dtype: of the model; by default torch's own.
            attn_implementation: as in `from_pretrained`.
            config: fields of [`MoTConfig`]. `hidden_size` is the common width of the towers if it is not given;
                `text_config={...}` (and so on) stands above what a source says.

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
        if not towers and not backbones:
            raise ValueError("Name at least one checkpoint, as `text=`, `image=` or `audio=`.")
        if both := towers.keys() & backbones.keys():
            raise ValueError(f"`{min(both)}=` and `{min(both)}_backbone=` exclude each other: give one of them.")
        checkpoints = {m: Checkpoint(name, m, allow_pickle, **hub) for m, name in towers.items()}
        backbones = {m: load_backbone(name, allow_pickle, dtype=dtype, **hub) for m, name in backbones.items()}
        joint = joined_config(checkpoints, {m: backbone.config for m, backbone in backbones.items()}, config)
        model = cls._from_config(joint, dtype=dtype, attn_implementation=attn_implementation)
        for m, backbone in backbones.items():
            getattr(model, "mot", model).embeddings[m].set_backbone(backbone)
        for m, checkpoint in checkpoints.items():
            logger.warning(fill_tower(model, m, checkpoint))
        return model.eval()

    def save_pretrained(self, save_directory, *args, **kwargs):
        """Save the model with its code, and an `auto_map` and pipelines that name all which can read the folder."""
        self.save_pipeline(Path(save_directory))
        classes = AUTO_CLASSES | {"AutoModel": self.auto_model}
        self.config.auto_map = {"AutoConfig": "configuration_mot.MoTConfig"} | {
            auto_class: f"modeling_mot.{name}" for auto_class, name in classes.items()
        }
        super().save_pretrained(save_directory, *args, **kwargs)

    def save_pipeline(self, folder: Path) -> None:
        """The code of the pipeline, which no model imports: from beside this file, or from where the model came from."""
        folder.mkdir(parents=True, exist_ok=True)
        for name in PIPELINE_CODE:
            code, origin = Path(__file__).with_name(name), self.config._name_or_path
            if not code.exists() and origin:
                revision = getattr(self.config, "_commit_hash", None)
                code = cached_file(origin, name, revision=revision, _raise_exceptions_for_missing_entries=False)
            if code is not None and Path(code).exists() and Path(code).resolve() != (folder / name).resolve():
                shutil.copyfile(code, folder / name)
        self.config.custom_pipelines = {
            "multimodal-classification": {
                "impl": "pipeline_mot.MultimodalClassificationPipeline",
                "pt": ["AutoModelForSequenceClassification"],
                "type": "multimodal",
            }
        }


class MoTEncoder(MoTPreTrainedModel):
    """The transformer encoder of one modality, whose output has the joint width."""

    config: MoTModalityConfig
    main_input_name = "hidden_states"

    def __init__(self, config: MoTModalityConfig, joint_size: int):
        super().__init__(config)
        rates = drop_path_rates(config.drop_path_rate, config.num_hidden_layers)
        self.layers = nn.ModuleList([MoTEncoderLayer(config, i, rate) for i, rate in enumerate(rates)])
        if config.final_norm:
            self.final_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        if config.hidden_size != joint_size:
            self.projection = nn.Linear(config.hidden_size, joint_size)
        self.post_init()

    def is_sparse(self, length: int) -> bool:
        """Whether a row of so many tokens may be attended to block by block."""
        sparsity = BlockSparsity.of(self.config.sparse_attention, 0, is_encoder=True)
        return sparsity is not None and sparsity.applies_to([length])

    def forward(
        self,
        hidden_states: torch.Tensor,
        layout: Layout | None = None,
        keep_states: bool = False,
        keep_weights: bool = False,
        **kwargs,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """
        Args:
            hidden_states: the embedded tokens, (B, L, d of this modality).
            layout: how they are to be laid out; by default padded, all of them real.

        Returns:
            The tokens in that layout, as wide as the joint sequence; and, on request, the states and attention weights
            of the layers, padded.
        """
        layout = layout or PaddedTokens()
        hidden_states, states, weights = run_layers(
            self.layers,
            layout.pack(hidden_states),
            layout,
            keep_states=keep_states,
            keep_weights=keep_weights,
            **kwargs,
        )
        states = [layout.unpack(state) for state in states]
        if self.config.final_norm:
            hidden_states = self.final_norm(hidden_states)
        if hasattr(self, "projection"):
            hidden_states = self.projection(hidden_states)
        return hidden_states, states, weights


class MoTModel(MoTPreTrainedModel):
    """
    The bare Mixture-of-Transformers: any subset of the modalities in, the joint sequence and a fused vector out. See
    `docs/architecture.md` for the mathematics.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        configs = {m: config.modality_config(m) for m in config.modalities}
        self.embeddings = nn.ModuleDict({m: EMBEDDINGS[m](c) for m, c in configs.items()})
        self.modality_embeddings = nn.ParameterDict(
            {m: nn.Parameter(torch.zeros(1, c.hidden_size)) for m, c in configs.items()}
        )
        self.encoders = nn.ModuleDict({m: MoTEncoder(c, config.hidden_size) for m, c in configs.items()})
        rates = drop_path_rates(config.drop_path_rate, config.num_joint_layers)
        self.joint_layers = nn.ModuleList([MoTJointLayer(config, i, rate) for i, rate in enumerate(rates)])
        self.global_layers = nn.ModuleList(
            [MoTGlobalLayer(config, config.num_joint_layers + i) for i in range(config.num_global_layers)]
        )
        self.fusion = FUSIONS[config.fusion_type](config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self._text_embeddings().word_embeddings

    def set_input_embeddings(self, value: nn.Module):
        self._text_embeddings().word_embeddings = value

    def _text_embeddings(self) -> MoTTextEmbeddings:
        if "text" not in self.embeddings or self.config.text_config.feature_size is not None:
            raise NotImplementedError("This model takes no token ids, so it has no word embeddings.")
        return self.embeddings["text"]

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        r"""
        Args:
            input_ids: (B, L_text) token ids.
            attention_mask: (B, L_text) the text's mask; a row of zeros has no text.
            pixel_values: (B, C, H, W) images, or (B, F, C, H, W) video frames; `patch_size` divides H and W.
            pixel_mask: (B,) for images, (B, F) for frames, (B, L_image) for image features.
            input_features: (B, T, num_mel_bins) log-mel frames, or (B, T, feature_size) ready audio features.
            input_features_mask: (B, T).
            text_features: (B, L_text, feature_size) in place of `input_ids`, if the config has a `feature_size`.
            image_features: (B, L_image, feature_size) in place of `pixel_values`, likewise.
            pixel_times: with `config.time_positions`, the seconds of video frames (B, F) or features (B, L_image).
            input_features_times: likewise of audio, (B, T); mel frames without are taken to be 10 ms apart.
            output_hidden_states, output_attentions: also return those of the joint and global layers.
            output_encoder_hidden_states, output_encoder_attentions: also return those of each modality's encoder.
            kwargs: handed to the attention implementation.

        In every mask non-zero means real, holes and left padding are welcome, no mask means that all is real, and a
        mask whose modality is not given is ignored.

        Raises:
            ValueError: if no modality is given, or an argument does not fit the config or the other arguments.
        """
        for_encoders, for_join = split_options(kwargs)
        encoded = self.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
            text_features=text_features,
            image_features=image_features,
            pixel_times=pixel_times,
            input_features_times=input_features_times,
            **for_encoders,
        )
        return self.join(encoded, **for_join)

    def encode(
        self,
        output_encoder_hidden_states: bool = False,
        output_encoder_attentions: bool = False,
        stand_ins: bool = False,
        equal_rows: bool = True,
        hidden: dict[str, tuple[torch.Tensor, torch.Tensor]] | None = None,
        **arguments,
    ) -> EncodedModalities:
        """
        Embed and encode each modality by itself; the arguments are those of `forward`, and

        Args:
            stand_ins: see below.
            equal_rows: whether all modalities need the same number of rows; without, join them only one by one.
            hidden: modality -> its tokens that may not be seen, (B, N) bool, and the token that stands there, (d_m,).

        In training (or with `stand_ins`), a modality that the batch lacks runs one stand-in token through its
        embedding and encoder, and `join` takes it along unseen: whatever a batch lacks, every parameter gets a
        gradient (zero where unused), and every process of a distributed run makes the same calls, so that none waits
        for another for ever.
        """
        if output_encoder_attentions:
            for modality in self.config.modalities:
                self.check_attention_weights(self.config.modality_config(modality))
        if not torch.compiler.is_compiling():
            warn_of_slow_precision(self.modality_embeddings[self.config.modalities[0]])
        inputs, arguments = self.collect_inputs(arguments, equal_rows)
        for m, (values, mask, times) in inputs.items():
            if self.config.modality_config(m).backbone_config is not None:
                inputs[m] = (*self.embeddings[m].through_backbone(values, mask), times)
        masks = {m: self.embeddings[m].token_mask(values, mask) for m, (values, mask, _) in inputs.items()}
        lengths = self.count_tokens(inputs, masks)
        encoded = EncodedModalities(tuple(inputs), next(iter(inputs.values()))[0].shape[0], lengths is not None)
        for m in self.config.modalities if self.training or stand_ins else inputs:
            hidden_tokens, mask_token = (hidden or {}).get(m, (None, None))
            if m not in inputs:
                self.encode_stand_in(encoded, m, hidden_tokens, mask_token, **arguments)
                continue
            layout, rows = PaddedTokens(), None
            if lengths and m in lengths:
                layout, rows = PackedTokens.of(masks[m], lengths[m])
            values, mask, times, hidden_tokens = (
                value if value is None or rows is None else value[rows] for value in (*inputs[m], hidden_tokens)
            )
            tokens = self.embeddings[m](values, mask, self.modality_embeddings[m], times, hidden_tokens, mask_token)
            if lengths is not None and masks[m] is None and self.encoders[m].is_sparse(tokens.shape[1]):
                layout = PackedTokens.full(layout, tokens.shape[:2])
            if lengths is None and masks[m] is not None:
                layout = PaddedTokens(masks[m], attention_mask_for(self.encoders[m].config, tokens, masks[m]))
            encoded.masks[m] = tokens.new_ones(tokens.shape[:2], dtype=torch.bool) if masks[m] is None else masks[m]
            encoded.layouts[m] = layout
            encoded.hidden_states[m], states, weights = self.encoders[m](
                tokens, layout, output_encoder_hidden_states, output_encoder_attentions, **arguments
            )
            if output_encoder_hidden_states:
                encoded.encoder_hidden_states[m] = tuple(states)
            if output_encoder_attentions:
                encoded.encoder_attentions[m] = tuple(weights)
        return encoded

    def count_tokens(
        self, inputs: dict[str, tuple], masks: dict[str, torch.Tensor | None]
    ) -> dict[str, list[int]] | None:
        """
        How many real tokens each row has of each modality of which something is masked, by which rows are packed; None
        if they are not. Masks that mask nothing are taken out of `inputs` and `masks`.
        """
        values = next(iter(inputs.values()))[0]
        configs = [self.config, *(self.config.modality_config(m) for m in self.config.modalities)]
        if not all(can_pack(config, values) for config in configs):
            return None
        masked = [m for m, mask in masks.items() if mask is not None]
        if not masked:
            return {}
        counted = [inputs[m][1].reshape(len(masks[m]), -1) != 0 for m in masked] + [masks[m] for m in masked]
        # The only time that an accelerator is waited for.
        numbers = iter(torch.cat([mask.sum(dim=1) for mask in counted]).tolist())
        of_inputs, of_tokens = ({m: [next(numbers) for _ in range(len(masks[m]))] for m in masked} for _ in range(2))
        for m in masked:
            values, mask, times = inputs[m]
            if sum(of_inputs[m]) == mask.numel():
                inputs[m], masks[m] = (values, None, times), None
                del of_tokens[m]
        return of_tokens

    def encode_stand_in(
        self,
        encoded: EncodedModalities,
        modality: str,
        hidden: torch.Tensor | None,
        mask_token: torch.Tensor | None,
        **arguments,
    ) -> None:
        """One token of a modality that the batch lacks goes through its embedding and encoder, and is absent."""
        embeddings, encoder = self.embeddings[modality], self.encoders[modality]
        hidden = None if hidden is None else torch.ones_like(hidden[:1, :1])
        tokens = embeddings(embeddings.stand_in(), None, self.modality_embeddings[modality], None, hidden, mask_token)
        tokens, _, _ = encoder(tokens, **arguments)
        encoded.stand_ins[modality] = tokens[:, :1]
        mask = torch.zeros(encoded.batch_size, 1, dtype=torch.bool, device=tokens.device)
        encoded.masks[modality] = mask
        if encoded.packed:
            encoded.layouts[modality], _ = PackedTokens.of(mask, [0] * encoded.batch_size)
            encoded.hidden_states[modality] = tokens[:, :0]
        else:
            encoded.layouts[modality] = PaddedTokens(mask)
            encoded.hidden_states[modality] = tokens.new_zeros(*mask.shape, tokens.shape[-1])

    def collect_inputs(self, arguments: dict, equal_rows: bool = True) -> tuple[dict[str, tuple], dict]:
        """Each given modality's input, mask and times, checked against the config; and the arguments left over."""
        arguments, inputs = dict(arguments), {}
        for modality, embeddings in EMBEDDINGS.items():
            names = dict.fromkeys([embeddings.raw_name, embeddings.features_name])
            given = {name: value for name in names if (value := arguments.pop(name, None)) is not None}
            mask = arguments.pop(embeddings.mask_name, None)
            times = arguments.pop(embeddings.times_name, None)
            if not given:
                continue
            if modality not in self.config.modalities:
                raise ValueError(
                    f"`{next(iter(given))}` was given, but this model has no {modality}: its modalities are "
                    f"{', '.join(self.config.modalities)}."
                )
            expected = self.embeddings[modality].input_name
            if list(given) != [expected]:
                size = self.config.modality_config(modality).feature_size
                raise ValueError(
                    f"This model takes {modality} as `{expected}` (`{modality}_config.feature_size` is {size}), got "
                    f"{' and '.join(f'`{name}`' for name in given)}."
                )
            inputs[modality] = (given[expected], mask, self.times_of(modality, given[expected], mask, times))
        self.check_arguments(arguments)
        self.check_batch(inputs, equal_rows)
        return inputs, arguments

    def times_of(
        self, modality: str, values: torch.Tensor, mask: torch.Tensor | None, times: torch.Tensor | None
    ) -> torch.Tensor | None:
        if self.config.time_positions:
            return self.embeddings[modality].fill_times(values, mask, times)
        if times is not None:
            raise ValueError(
                f"`{self.embeddings[modality].times_name}` was given, but this model counts tokens: build it with "
                "`time_positions=True`, or leave them out."
            )
        return None

    def check_arguments(self, arguments: dict) -> None:
        """Other arguments go to the attention implementation, but one that is named like an input is a mistake."""
        inputs = [name for e in EMBEDDINGS.values() for name in (e.raw_name, e.features_name, e.mask_name)]
        for name in arguments:
            if name.endswith(("_features", "_mask", "_values", "_subset", "_subsets", "_times")):
                raise ValueError(f"Unknown argument `{name}`; the inputs are {', '.join(dict.fromkeys(inputs))}.")

    def check_batch(self, inputs: dict[str, tuple], equal_rows: bool) -> None:
        names = {modality: self.embeddings[modality].input_name for modality in self.config.modalities}
        if not inputs:
            raise ValueError(f"Give at least one modality: {', '.join(f'`{name}`' for name in names.values())}.")
        sizes = {names[modality]: values.shape[0] for modality, (values, *_) in inputs.items()}
        if equal_rows and any(size != next(iter(sizes.values())) for size in sizes.values()):
            found = ", ".join(f"`{name}` has {size} rows" for name, size in sizes.items())
            raise ValueError(
                f"All modalities of a batch need the same number of rows, but {found}. Where a row lacks a modality, "
                "leave its place empty and mask it out."
            )

    def join(
        self,
        encoded: EncodedModalities,
        modalities: Iterable[str] | None = None,
        output_hidden_states: bool | None = None,
        output_attentions: bool | None = None,
        **kwargs,
    ) -> MoTModelOutput:
        """
        The joint part: join the encoded modalities, run the joint and the global layers, fuse.

        Args:
            encoded: what `encode` returned; it may be joined several times, so that encoders run once for many subsets.
            modalities: use only these; all that were given by default.
        """
        keep_states = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        keep_weights = self.config.output_attentions if output_attentions is None else output_attentions
        if keep_weights:
            self.check_attention_weights(self.config)
        present = [m for m in encoded.hidden_states if m in (encoded.given if modalities is None else modalities)]
        unseen = [m for m in encoded.hidden_states if m not in present or m in encoded.stand_ins]
        unseen = unseen if self.training else []
        stand_ins = torch.cat([encoded.one_token(m) for m in unseen], dim=1) if unseen else None
        tokens, layout, parts = self.lay_out(encoded, present)

        keep = {"keep_states": keep_states, "keep_weights": keep_weights, **kwargs}
        hidden_states = layout.by_row(tokens)
        if unseen:
            hidden_states = hidden_states + 0.0 * stand_ins.mean()
        joint = (layout, parts, stand_ins, unseen)
        hidden_states, states, weights = run_layers(self.joint_layers, hidden_states, *joint, **keep)
        hidden_states, more_states, more_weights = run_layers(self.global_layers, hidden_states, layout, **keep)
        states, weights = states + more_states[1:], weights + more_weights
        hidden_states = blank(layout.unpack(hidden_states), layout.mask)  # (B, L, d)
        if keep_states:
            states = [*map(layout.unpack, states[:-1]), hidden_states]

        masks = {m: encoded.masks[m] for m in present}
        slices = dict(zip(present, hidden_states.split([mask.shape[1] for mask in masks.values()], dim=1)))
        return MoTModelOutput(
            last_hidden_state=hidden_states,
            pooler_output=self.fusion(slices, masks),
            attention_mask=torch.cat(list(masks.values()), dim=1).long(),
            **{f"{m}_hidden_state": part for m, part in slices.items()},
            hidden_states=tuple(states) if keep_states else None,
            attentions=tuple(weights) if keep_weights else None,
            encoder_hidden_states=encoded.encoder_hidden_states or None,
            encoder_attentions=encoded.encoder_attentions or None,
        )

    def lay_out(
        self, encoded: EncodedModalities, modalities: list[str]
    ) -> tuple[list[torch.Tensor], Layout, dict[str, Layout]]:
        """The tokens of each of `modalities`, the layout of their joint sequence, and each one's own."""
        tokens = [encoded.hidden_states[m] for m in modalities]
        layouts = [encoded.layouts[m] for m in modalities]
        masks = [encoded.masks[m] for m in modalities]
        is_sparse = self.config.sparse_attention is not None  # which only packed tokens make use of
        if any(isinstance(layout, PackedTokens) for layout in layouts) or (encoded.packed and is_sparse):
            packed = [PackedTokens.full(layout, mask.shape) for layout, mask in zip(layouts, masks)]
            tokens = [part.flatten(0, 1)[None] for part in tokens]  # (1, N_m, d)
            return tokens, PackedTokens.joint(packed, tokens[0].device), dict(zip(modalities, packed))
        mask = attention_mask = None
        if any(layout.mask is not None for layout in layouts):
            mask = torch.cat(masks, dim=1)  # (B, L)
            attention_mask = attention_mask_for(self.config, tokens[0].new_empty(*mask.shape, 1), mask)
        lengths = tuple(part.shape[1] for part in tokens)
        return tokens, PaddedTokens(mask, attention_mask, lengths), dict(zip(modalities, layouts))

    @staticmethod
    def check_attention_weights(config: MoTConfig | MoTModalityConfig) -> None:
        if config._attn_implementation != "eager":
            raise ValueError(
                f'`attn_implementation="{config._attn_implementation}"` never forms attention weights: load the '
                'model with `attn_implementation="eager"`, or call `model.set_attn_implementation("eager")` first.'
            )


# ---------------------------------------------------------------------------------------------------------------------
# Heads
# ---------------------------------------------------------------------------------------------------------------------


class MoTForSequenceClassification(MoTPreTrainedModel):
    """
    Single-label or multi-label classification, or regression (`config.problem_type`), from any subset of modalities:
    a linear layer on the fused vector.
    """

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        self.num_labels = config.num_labels
        self.mot = MoTModel(config)
        self.dropout = nn.Dropout(config.classifier_dropout)
        self.classifier = nn.Linear(config.hidden_size, config.num_labels)
        self.post_init()

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        labels: torch.Tensor | None = None,
        modality_subsets: list[tuple[str, ...]] | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTClassifierOutput:
        r"""
        Inputs are those of [`MoTModel`]. Beyond them:

        Args:
            labels: (B,) class ids; (B, num_labels) zeros and ones for multi-label classification; (B,) or
                (B, num_labels) numbers for regression. What is -100 or NaN has no label and does not count.
            modality_subsets: answer from each of these subsets, for example `[("text",), ("text", "audio")]`: the
                encoders run once and the joint part once for each. The loss is the mean of the subsets' losses, each
                over the rows that have any of the subset's modalities.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "pixel_mask": pixel_mask,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "text_features": text_features,
            "image_features": image_features,
            "pixel_times": pixel_times,
            "input_features_times": input_features_times,
        }
        if modality_subsets is not None:
            return self.forward_subsets(inputs, labels, modality_subsets, **kwargs)
        outputs = self.mot(**inputs, **kwargs)
        logits = self.classifier(self.dropout(outputs.pooler_output))
        return MoTClassifierOutput(
            loss=None if labels is None else classification_loss(logits, labels, self.config),
            logits=logits,
            hidden_states=outputs.hidden_states,
            attentions=outputs.attentions,
            encoder_hidden_states=outputs.encoder_hidden_states,
            encoder_attentions=outputs.encoder_attentions,
        )

    def forward_subsets(
        self, inputs: dict[str, torch.Tensor], labels: torch.Tensor | None, subsets: list[tuple[str, ...]], **kwargs
    ) -> MoTClassifierOutput:
        subsets = self.check_subsets(subsets)
        if asked := [name for name, value in kwargs.items() if name.startswith("output_") and value]:
            raise ValueError(f"`{asked[0]}` goes with one subset at a time, without `modality_subsets`.")
        encoded = self.mot.encode(**inputs, stand_ins=True)
        logits, losses = [], {}
        for subset in subsets:
            outputs = self.mot.join(encoded, subset)
            logits.append(self.classifier(self.dropout(outputs.pooler_output)))
            if labels is not None:
                has_any = outputs.attention_mask.any(dim=1)
                losses["+".join(subset)] = classification_loss(logits[-1], labels, self.config, rows=has_any)
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
            if (
                not isinstance(subset, (list, tuple, set, frozenset))
                or not subset
                or not set(subset) <= set(modalities)
            ):
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


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval
# ---------------------------------------------------------------------------------------------------------------------


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

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTRetrievalOutput:
        r"""
        Inputs are those of [`MoTModel`], but the modalities may differ in their number of rows (many texts against one
        image) unless a loss is asked for. Beyond them:

        Args:
            labels: (B,) what a row shows, a class or the id of a caption, -100 for unknown: rows with the same label
                are not pushed apart (see `config.contrastive_positives`).
            return_loss: whether to compute the loss; by default in training and wherever labels are given.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "pixel_mask": pixel_mask,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "text_features": text_features,
            "image_features": image_features,
            "pixel_times": pixel_times,
            "input_features_times": input_features_times,
        }
        wants_loss = (self.training or labels is not None) if return_loss is None else return_loss
        for_encoders, for_join = split_options(kwargs)
        encoded = self.mot.encode(**inputs, **for_encoders, equal_rows=wants_loss)
        # In training also what the batch lacks, by its stand-ins: every process runs the same layers as often.
        outputs = {m: self.mot.join(encoded, (m,), **for_join) for m in encoded.hidden_states}
        embeddings = {(m,): self.contrastive.embed(outputs[m].pooler_output, encoded.has((m,))) for m in outputs}
        loss = losses = None
        if wants_loss:
            everything = embeddings | self.embed_others(encoded)
            losses = self.contrastive.losses(everything, encoded.given, check_ids(labels, encoded))
            loss = self.contrastive.mean(losses, everything)
        given = {(m,): embeddings[(m,)] for m in encoded.given}
        return MoTRetrievalOutput(
            loss=loss,
            losses=losses,
            **self.logits_per_modality(given),
            **{f"{m}_embeds": side.vectors for (m,), side in given.items()},
            model_outputs={m: outputs[m] for m in encoded.given},
        )

    def embed(self, encoded: EncodedModalities, modalities: Iterable[str]) -> Embeddings:
        """One embedding for each row, from those of `modalities` that it has; zero for a row that has none."""
        has = encoded.has(modalities)
        if not has:
            token = next(iter(encoded.hidden_states.values()))
            vectors = token.new_zeros(encoded.batch_size, self.config.projection_dim, dtype=torch.float32)
            return Embeddings(vectors, vectors.any(dim=1))
        return self.contrastive.embed(self.mot.join(encoded, has).pooler_output, has)

    def embed_others(self, encoded: EncodedModalities) -> dict[tuple[str, ...], Embeddings]:
        """For each modality all others, fused."""
        several = [others for others, _ in self.contrastive.pairs if len(others) > 1]
        return {others: self.embed(encoded, others) for others in several}

    def logits_per_modality(self, embeddings: dict[tuple[str, ...], Embeddings]) -> dict[str, torch.Tensor]:
        """Each modality's similarities with the first of the others that are given."""
        logits = {}
        for i, (first, second) in enumerate(self.contrastive.pairs):
            if first != second and first in embeddings and second in embeddings:
                pair = self.contrastive.logits(embeddings[first].vectors, embeddings[second].vectors, i)
                logits.setdefault(f"logits_per_{first[0]}", pair)
                logits.setdefault(f"logits_per_{second[0]}", pair.T)
        return logits

    def get_text_features(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of texts, with their embeddings (B, projection_dim) as `pooler_output`."""
        self.check_alone("text", kwargs)
        return self.get_fused_features(
            input_ids=input_ids, attention_mask=attention_mask, text_features=text_features, **kwargs
        )

    def get_image_features(
        self,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of images or videos, with their embeddings (B, projection_dim) as `pooler_output`."""
        self.check_alone("image", kwargs)
        return self.get_fused_features(
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            image_features=image_features,
            pixel_times=pixel_times,
            **kwargs,
        )

    def get_audio_features(
        self,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        """What [`MoTModel`] says of sounds, with their embeddings (B, projection_dim) as `pooler_output`."""
        self.check_alone("audio", kwargs)
        return self.get_fused_features(
            input_features=input_features,
            input_features_mask=input_features_mask,
            input_features_times=input_features_times,
            **kwargs,
        )

    @staticmethod
    def check_alone(modality: str, kwargs: dict) -> None:
        """Raise a ValueError if there is an input of another modality."""
        names = [name for e in EMBEDDINGS.values() for name in (e.raw_name, e.features_name)]
        if others := [name for name in names if kwargs.get(name) is not None]:
            raise ValueError(
                f"`get_{modality}_features` encodes {modality} alone, got `{others[0]}` too: leave it out, or mix them "
                "with `get_fused_features`."
            )

    @can_return_tuple
    def get_fused_features(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTModelOutput:
        """
        What [`MoTModel`] says of rows with any combination of modalities, with one embedding for each row, of length 1,
        (B, projection_dim), as `pooler_output`: a sentence and a sound together may look for an image. A row of one
        modality gets that modality's embedding.
        """
        for_encoders, for_join = split_options(kwargs)
        encoded = self.mot.encode(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
            text_features=text_features,
            image_features=image_features,
            pixel_times=pixel_times,
            input_features_times=input_features_times,
            **for_encoders,
        )
        output = self.mot.join(encoded, **for_join)
        output.pooler_output = self.contrastive.embed(output.pooler_output, encoded.has(encoded.given)).vectors
        return output

    def save_pretrained(self, save_directory, *args, **kwargs):
        """As every model of the family, and with what `SentenceTransformer(folder, trust_remote_code=True)` reads."""
        is_pushed, name = kwargs.pop("push_to_hub", False), kwargs.pop("repo_id", Path(save_directory).name)
        super().save_pretrained(save_directory, *args, **kwargs)
        for file, content in sentence_transformers_files(self.config).items():
            Path(save_directory, file).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
        if is_pushed:  # not before these files are there
            options = ("commit_message", "private", "revision", "token", "create_pr", "max_shard_size")
            self.push_to_hub(name, **{option: kwargs[option] for option in options if option in kwargs})


def sentence_transformers_files(config: MoTConfig) -> dict[str, list | dict]:
    """
    The files by which sentence-transformers (6.2) finds the embeddings of each modality and of each combination. Ready
    features are none of its inputs. (It writes `config_sentence_transformers.json` itself, before it saves a model.)
    """
    modalities = sorted(m for m in config.modalities if config.modality_config(m).takes_raw_input)
    subsets = [subset for size in range(len(modalities)) for subset in itertools.combinations(modalities, size + 1)]
    if not subsets:
        return {}
    methods = {
        "+".join(subset): {
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


def check_ids(labels: torch.Tensor | None, encoded: EncodedModalities) -> torch.Tensor | None:
    """Labels of a contrastive loss, one whole number for each row."""
    if labels is None:
        return None
    batch_size = encoded.batch_size
    if labels.numel() != batch_size or labels.is_floating_point():
        raise ValueError(
            f"`labels` has shape {tuple(labels.shape)} and type {labels.dtype}; retrieval expects the whole numbers "
            f"({batch_size},): rows with the same number match."
        )
    return labels.reshape(-1)


# ---------------------------------------------------------------------------------------------------------------------
# Pretraining
# ---------------------------------------------------------------------------------------------------------------------


def own_tokens(config: MoTConfig, output: MoTModelOutput, modality: str) -> torch.Tensor:
    """The hidden states of a modality's own tokens, (B, N, d)."""
    hidden_states = output[f"{modality}_hidden_state"]
    return hidden_states[:, config.modality_config(modality).num_prefix_tokens :]


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
                    f"Pretraining cannot hide parts of {m} from the backbone in front of its tower, which sees all: give "
                    f'it `modality_weights={{"{m}": 0}}`.'
                )
        self.mot = MoTModel(config)
        self.prediction_heads = nn.ModuleDict({m: prediction_head(config, m) for m in predicted})
        # Words are hidden in `input_ids`, by the id of [MASK]; all else by a learned token.
        widths = {m: config.modality_config(m).hidden_size for m in predicted if not self.takes_ids(m)}
        self.mask_tokens = nn.ParameterDict({m: nn.Parameter(torch.zeros(width)) for m, width in widths.items()})
        if self.weights["contrastive"] and len(config.modalities) > 1:
            self.contrastive = MoTContrastive(config)
        self.post_init()

    def takes_ids(self, modality: str) -> bool:
        return modality == "text" and self.config.text_config.feature_size is None

    def get_output_embeddings(self) -> nn.Module | None:
        is_predicted = "text" in self.prediction_heads and self.takes_ids("text")
        return self.prediction_heads["text"].decoder if is_predicted else None

    def set_output_embeddings(self, value: nn.Module):
        self.prediction_heads["text"].decoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        text_features: torch.FloatTensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        text_labels: torch.Tensor | None = None,
        image_labels: torch.FloatTensor | None = None,
        audio_labels: torch.FloatTensor | None = None,
        return_loss: bool | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTPreTrainingOutput:
        r"""
        Inputs are those of [`MoTModel`]. Patches and audio are hidden here, at random, `mask_ratio` of them, unless
        targets are given. Beyond them:

        Args:
            text_labels: (B, L_text) the words to predict, -100 for none; the caller has hidden them in `input_ids`, as
                transformers' `DataCollatorForLanguageModeling` does (`MoTCollator` calls it). Without, no word counts.
            image_labels: pixels of the shape of `pixel_values`, to be predicted from the image as it is; a patch with a
                NaN does not count.
            audio_labels: mel frames of the shape of `input_features`; what is NaN does not count. For a modality of ready features its
                labels are features of the same shape.
            return_loss: whether to hide anything and to compute the loss; by default in training and wherever labels
                are given.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "pixel_values": pixel_values,
            "pixel_mask": pixel_mask,
            "input_features": input_features,
            "input_features_mask": input_features_mask,
            "text_features": text_features,
            "image_features": image_features,
            "pixel_times": pixel_times,
            "input_features_times": input_features_times,
        }
        labels = {"text": text_labels, "image": image_labels, "audio": audio_labels}
        labels = {m: value for m, value in labels.items() if value is not None}
        wants_loss = (self.training or bool(labels)) if return_loss is None else return_loss
        targets, hidden = self.choose_targets(inputs, labels, hide=wants_loss)
        for_encoders, for_join = split_options(kwargs)
        encoded = self.mot.encode(**inputs, **for_encoders, hidden=hidden)
        output = self.mot.join(encoded, **for_join)
        predictions = {
            m: head(own_tokens(self.config, output, m))
            for m, head in self.prediction_heads.items()
            if m in encoded.given
        }
        loss = losses = None
        if wants_loss:
            losses = self.reconstruction_losses(predictions, targets, labels, hidden)
            pairs, loss = self.contrastive_losses(encoded)
            loss = loss + sum(self.weights[m] * term for m, term in losses.items()) + self.unused(losses, output)
            losses |= {f"contrastive/{pair}": term for pair, term in pairs.items()}
        return MoTPreTrainingOutput(
            loss=loss,
            losses=losses,
            **{f"{m}_predictions": value for m, value in predictions.items()},
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            encoder_hidden_states=output.encoder_hidden_states,
            encoder_attentions=output.encoder_attentions,
        )

    def choose_targets(self, inputs: dict, labels: dict[str, torch.Tensor], hide: bool) -> tuple[dict, dict]:
        """
        modality -> what to predict, and modality -> which tokens to hide (B, N) and what stands there; for a modality
        with labels nothing is hidden.
        """
        given, _ = self.mot.collect_inputs(inputs)
        targets, hidden = {}, {}
        for m in self.prediction_heads if hide else ():
            if m in labels and m not in given:
                raise ValueError(f"`{m}_labels` was given without `{self.mot.embeddings[m].input_name}`.")
            if m not in self.mask_tokens:
                targets |= {m: labels[m]} if m in labels else {}
                continue
            tokens = torch.zeros(1, 1, dtype=torch.bool, device=self.mask_tokens[m].device)
            if m in given:
                values, mask, _ = given[m]
                targets[m] = self.targets_of(m, labels.get(m, values), values, mask)
                real = targets[m].isfinite().any(dim=-1)  # (B, N)
                tokens = torch.zeros_like(real) if m in labels else self.draw(m, real)
            hidden[m] = (tokens, self.mask_tokens[m])
        return targets, hidden

    def targets_of(
        self, m: str, labels: torch.Tensor, values: torch.Tensor, mask: torch.Tensor | None
    ) -> torch.Tensor:
        if labels.shape != values.shape:
            raise ValueError(
                f"`{m}_labels` has shape {tuple(labels.shape)}, expected that of `{self.mot.embeddings[m].input_name}`, "
                f"{tuple(values.shape)}."
            )
        targets = self.mot.embeddings[m].targets(labels, mask)
        is_pixels = m == "image" and self.config.image_config.feature_size is None
        return normalize_patches(targets) if is_pixels else targets

    def draw(self, m: str, real: torch.Tensor) -> torch.Tensor:
        config = self.config.modality_config(m)
        if m != "audio":
            return draw_hidden(real, config.mask_ratio, span=1)
        stride = config.stem_stride if config.feature_size is None else 1
        return draw_hidden(real, config.mask_ratio, span=max(1, config.mask_span // stride))

    def reconstruction_losses(self, predictions: dict, targets: dict, labels: dict, hidden: dict) -> dict:
        losses = {}
        for m, target in targets.items():
            if m not in self.mask_tokens:
                losses[m] = token_loss(predictions[m], target)
            else:
                counted = None if m in labels else hidden[m][0]
                losses[m] = reconstruction_loss(predictions[m], target, "l1" if m == "audio" else "mse", counted)
        return losses

    def contrastive_losses(self, encoded: EncodedModalities) -> tuple[dict[str, torch.Tensor], torch.Tensor | float]:
        """The loss of each two modalities, and their mean."""
        if not hasattr(self, "contrastive"):
            return {}, 0.0
        embeddings = {  # in training also of what the batch lacks, by its stand-ins
            (m,): self.contrastive.embed(self.mot.join(encoded, (m,)).pooler_output, encoded.has((m,)))
            for m in encoded.hidden_states
        }
        losses = self.contrastive.losses(embeddings, encoded.given)
        return losses, self.weights["contrastive"] * self.contrastive.mean(losses, embeddings)

    def unused(self, losses: dict[str, torch.Tensor], output: MoTModelOutput) -> torch.Tensor:
        """0, with gradients of 0 for what the batch has no use for: every parameter takes part."""
        token = output.last_hidden_state[:, :1]
        heads = [head(token).mean() for m, head in self.prediction_heads.items() if m not in losses]
        return 0.0 * (output.pooler_output.sum() + sum(heads))


class MoTForMaskedLM(MoTPreTrainedModel):
    """Fills in masked words, in the light of the row's image and sound where it has them."""

    def __init__(self, config: MoTConfig):
        super().__init__(config)
        if config.text_config is None or config.text_config.feature_size is not None:
            raise ValueError("`MoTForMaskedLM` needs token ids: a `text_config` without `feature_size`.")
        self.mot = MoTModel(config)
        self.prediction_heads = nn.ModuleDict({"text": prediction_head(config, "text")})
        self.post_init()

    def get_output_embeddings(self) -> nn.Module:
        return self.prediction_heads["text"].decoder

    def set_output_embeddings(self, value: nn.Module):
        self.prediction_heads["text"].decoder = value

    @can_return_tuple
    def forward(
        self,
        input_ids: torch.LongTensor | None = None,
        attention_mask: torch.Tensor | None = None,
        pixel_values: torch.FloatTensor | None = None,
        pixel_mask: torch.Tensor | None = None,
        input_features: torch.FloatTensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        image_features: torch.FloatTensor | None = None,
        pixel_times: torch.FloatTensor | None = None,
        input_features_times: torch.FloatTensor | None = None,
        labels: torch.LongTensor | None = None,
        **kwargs: Unpack[TransformersKwargs],
    ) -> MoTMaskedLMOutput:
        r"""
        Inputs are those of [`MoTModel`], of which `input_ids` are needed. Beyond them:

        Args:
            labels: (B, L_text) the words to predict, -100 for none.
        """
        if input_ids is None:
            raise ValueError("`MoTForMaskedLM` predicts words, so it needs `input_ids`.")
        output = self.mot(
            input_ids=input_ids,
            attention_mask=attention_mask,
            pixel_values=pixel_values,
            pixel_mask=pixel_mask,
            input_features=input_features,
            input_features_mask=input_features_mask,
            image_features=image_features,
            pixel_times=pixel_times,
            input_features_times=input_features_times,
            **kwargs,
        )
        logits = self.prediction_heads["text"](own_tokens(self.config, output, "text"))
        # The fused vector takes part times zero: every parameter has a gradient.
        return MoTMaskedLMOutput(
            loss=None if labels is None else token_loss(logits, labels, "labels") + 0.0 * output.pooler_output.sum(),
            logits=logits,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            encoder_hidden_states=output.encoder_hidden_states,
            encoder_attentions=output.encoder_attentions,
        )


# Which class each Auto class means in a saved folder (`AutoModel` is MoTForRetrieval where that was saved).
AUTO_CLASSES = {
    "AutoModel": "MoTModel",
    "AutoModelForSequenceClassification": "MoTForSequenceClassification",
    "AutoModelForImageClassification": "MoTForImageClassification",
    "AutoModelForAudioClassification": "MoTForAudioClassification",
    "AutoModelForZeroShotImageClassification": "MoTForRetrieval",
    "AutoModelForPreTraining": "MoTForPreTraining",
    "AutoModelForMaskedLM": "MoTForMaskedLM",
}

__all__ = [
    "MoTForAudioClassification",
    "MoTForImageClassification",
    "MoTForMaskedLM",
    "MoTForPreTraining",
    "MoTForRetrieval",
    "MoTForSequenceClassification",
    "MoTModel",
    "MoTPreTrainedModel",
]
