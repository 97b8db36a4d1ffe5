# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The inputs of every model, written once: their names and shapes, how a `forward` takes them, how they are checked.

`MoTInputs` names them. `takes_inputs` gives a method that is written as `forward(self, inputs, ...)` the signature in
which every input stands by its name. `collect_inputs` turns what was given into one `ModalityInput` for each modality,
checked against the config.

Shapes: B rows, L tokens, d width, F frames of a video, T frames of audio.
"""

import difflib
import functools
import inspect
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypedDict

import torch
from torch import nn
from transformers.utils import TransformersKwargs

from .arguments_mot import (
    check_device,
    check_flag,
    check_floats,
    check_mask,
    check_not_empty,
    check_tensor,
    check_whole_numbers,
)
from .configuration_mot import MoTConfig
from .modalities_mot import MODALITIES


class MoTInputs(TypedDict, total=False):
    """
    Inputs:
        input_ids: (B, L_text) token ids.
        attention_mask: (B, L_text) the text's mask; a row of zeros has no text.
        pixel_values: (B, C, H, W) images, or (B, F, C, H, W) video frames; `patch_size` divides H and W.
        pixel_mask: (B,) for images, (B, F) for frames, (B, L_image) for image features.
        input_features: (B, T, num_mel_bins) log-mel frames, or (B, T, feature_size) ready audio features.
        input_features_mask: (B, T).
        text_features: (B, L_text, feature_size) in place of `input_ids`, if the text's config has a `feature_size`.
        image_features: (B, L_image, feature_size) in place of `pixel_values`, if the image's config has one.
        pixel_times: with `config.time_positions`, the seconds of video frames (B, F) or features (B, L_image).
        input_features_times: with `config.time_positions`, the seconds of audio frames or features (B, T); mel frames
            without are taken to be 10 ms apart.
        inputs_embeds: (B, L_text, d of the text) in place of `input_ids`, what the word embeddings would make of
            them, by keyword; prompt tuning puts learned vectors in front.

    In every mask non-zero means real, holes and left padding are welcome, no mask means that all is real, and a mask
    whose modality is not given is ignored.

    Options, by keyword:
        output_hidden_states, output_attentions: also return those of the joint and global layers.
        output_encoder_hidden_states, output_encoder_attentions: also return those of each modality's encoder.
        kwargs: handed to the attention implementation.

    Raises:
        ValueError: if no modality is given, or an argument does not fit the config or the other arguments.
    """

    input_ids: torch.LongTensor | None
    attention_mask: torch.Tensor | None
    pixel_values: torch.FloatTensor | None
    pixel_mask: torch.Tensor | None
    input_features: torch.FloatTensor | None
    input_features_mask: torch.Tensor | None
    text_features: torch.FloatTensor | None
    image_features: torch.FloatTensor | None
    pixel_times: torch.FloatTensor | None
    input_features_times: torch.FloatTensor | None
    inputs_embeds: torch.FloatTensor | None


class ModalityInput(NamedTuple):
    """What a batch has of one modality."""

    values: torch.Tensor  # token ids, pixels, mel frames or features
    mask: torch.Tensor | None  # non-zero where they are real; None means that all are
    times: torch.Tensor | None  # the seconds of frames or features, in a model with `time_positions`


BY_KEYWORD = ("inputs_embeds",)
# What every model takes beside the arguments of its `forward`: options of the library, those of attention among them,
# and the marks of segments that tokenizers of BERT's kind always give, of which a MoT has none.
OPTIONS = {*TransformersKwargs.__annotations__, "use_cache", "token_type_ids"} - {"position_ids"}
OPTIONS |= {"return_dict", "output_encoder_hidden_states", "output_encoder_attentions"}

# ---------------------------------------------------------------------------------------------------------------------
# The signature
# ---------------------------------------------------------------------------------------------------------------------


def names_of(modality: str) -> set[str]:
    """All inputs of a modality: each form of its values, their mask and their times."""
    names = MODALITIES[modality].names
    return {*names.inputs, names.mask, names.times}


def takes_inputs(
    method: Callable | None = None, *, modality: str | None = None, ignores: tuple[str, ...] = ()
) -> Callable:
    """
    Give a method `(self, inputs, <own arguments>, **kwargs)` the signature `(self, input_ids=None, ..., <own
    arguments>, inputs_embeds=None, **kwargs)`, by position and by name. The method gets a dict of the inputs that are
    not None, and of the other keyword arguments those that `check_options` lets pass.

    Args:
        modality: the signature has the inputs of this one alone.
        ignores: keyword arguments that are dropped unread.

    The method raises a TypeError for an argument that is given twice, and a ValueError for one that nothing reads.
    """
    if method is None:
        return functools.partial(takes_inputs, modality=modality, ignores=ignores)
    own_self, _, *own, others = inspect.signature(method).parameters.values()
    names = [name for name in MoTInputs.__annotations__ if modality is None or name in names_of(modality)]
    inputs = [as_parameter(name) for name in names]
    by_position = [*(p for p in inputs if p.name not in BY_KEYWORD), *own]
    parameters = [*by_position, *(p for p in inputs if p.name in BY_KEYWORD)]
    known, own_names = [p.name for p in parameters], [p.name for p in own]

    @functools.wraps(method)
    def with_inputs(self, *args, **kwargs):
        if len(args) > len(by_position):
            raise TypeError(f"{method.__name__}() takes {len(by_position)} arguments by position, got {len(args)}")
        for parameter, value in zip(by_position, args):
            if parameter.name in kwargs:
                raise TypeError(f"{method.__name__}() got multiple values for argument {parameter.name!r}")
            kwargs[parameter.name] = value
        given = {name: kwargs.pop(name, None) for name in MoTInputs.__annotations__}
        own_given = {name: kwargs.pop(name) for name in own_names if name in kwargs}
        options = {name: value for name, value in kwargs.items() if name not in ignores}
        check_options(options, type(self).__name__, known)
        return method(
            self, {name: value for name, value in given.items() if value is not None}, **own_given, **options
        )

    with_inputs.__signature__ = inspect.Signature([own_self, *parameters, others])
    with_inputs.__doc__ = f"{inspect.cleandoc(method.__doc__ or '')}\n\n{inspect.cleandoc(MoTInputs.__doc__)}\n"
    return with_inputs


def as_parameter(name: str) -> inspect.Parameter:
    """An optional parameter of a signature that takes the input of this name."""
    kind = inspect.Parameter.KEYWORD_ONLY if name in BY_KEYWORD else inspect.Parameter.POSITIONAL_OR_KEYWORD
    return inspect.Parameter(name, kind, default=None, annotation=MoTInputs.__annotations__[name])


def check_options(options: Mapping, owner: str, known: list[str]) -> None:
    """Raise a ValueError for a keyword that nothing reads, and for one of `output_...` that is no True or False."""
    for name, value in options.items():
        if name.startswith("output_"):
            check_flag(value, name)
        if value is not None and name not in OPTIONS:
            match = difflib.get_close_matches(name, known, n=1)
            hint = f"; did you mean `{match[0]}`?" if match else "."
            raise ValueError(
                f"{owner} has no argument `{name}`{hint} It takes {', '.join(known)}; `MoTProcessor` makes its inputs "
                "of text, pictures, videos and sound."
            )


# ---------------------------------------------------------------------------------------------------------------------
# The checks
# ---------------------------------------------------------------------------------------------------------------------


def collect_inputs(
    inputs: Mapping[str, torch.Tensor], config: MoTConfig, embeddings: Mapping[str, nn.Module], equal_rows: bool = True
) -> dict[str, ModalityInput]:
    """
    Each given modality's input, mask and times, checked against the config, in the order of the joint sequence.

    Args:
        inputs: those of [`MoTInputs`] that are not None.
        embeddings: modality -> the `MoTEmbeddings` of the model.
        equal_rows: whether all modalities need the same number of rows.
    """
    collected = {}
    for modality, kind in MODALITIES.items():
        given = [name for name in kind.names.inputs if name in inputs]
        if given:
            check_names(given, modality, config)
            collected[modality] = collect_modality(inputs, given[0], embeddings[modality], config)
    check_batch(collected, {m: embeddings[m].input_name for m in config.modalities}, equal_rows)
    return collected


def check_names(given: list[str], modality: str, config: MoTConfig) -> None:
    """Raise a ValueError unless the model takes the modality, as what is given and once."""
    if modality not in config.modalities:
        raise ValueError(
            f"`{given[0]}` was given, but this model has no {modality}: its modalities are "
            f"{', '.join(config.modalities)}."
        )
    own = config.modality_config(modality)
    expected = MODALITIES[modality].names.taken_by(own)
    if len(given) > 1 or given[0] not in expected:
        raise ValueError(
            f"This model takes {modality} as {' or '.join(f'`{name}`' for name in expected)} "
            f"(`{modality}_config.feature_size` is {own.feature_size}), got "
            f"{' and '.join(f'`{name}`' for name in given)}."
        )


def collect_modality(inputs: Mapping, name: str, embeddings: nn.Module, config: MoTConfig) -> ModalityInput:
    """The modality that is given as `name`, with its mask and its times."""
    names = embeddings.names
    values, mask, times = inputs[name], inputs.get(names.mask), inputs.get(names.times)
    (check_whole_numbers if name == "input_ids" else check_floats)(values, name)
    check_not_empty(values, name)
    if mask is not None:
        check_mask(mask, names.mask)
    if times is not None:
        check_tensor(times, names.times)
    if name == names.embeds:
        embeddings.check_embeds(values)
    if config.time_positions:
        times = embeddings.fill_times(values, mask, times)
    elif times is not None:
        raise ValueError(
            f"`{names.times}` was given, but this model counts tokens: build it with "
            "`time_positions=True`, or leave them out."
        )
    return ModalityInput(values, mask, times)


def check_batch(collected: Mapping[str, ModalityInput], names: Mapping[str, str], equal_rows: bool) -> None:
    """Raise a ValueError for a batch without any modality, and for one whose modalities differ in their rows."""
    if not collected:
        raise ValueError(f"Give at least one modality: {', '.join(f'`{name}`' for name in names.values())}.")
    sizes = {names[modality]: given.values.shape[0] for modality, given in collected.items()}
    if equal_rows and any(size != next(iter(sizes.values())) for size in sizes.values()):
        found = ", ".join(f"`{name}` has {size} rows" for name, size in sizes.items())
        raise ValueError(
            f"All modalities of a batch need the same number of rows, but {found}. Where a row lacks a modality, "
            "leave its place empty and mask it out."
        )


def check_devices(given: ModalityInput, embeddings: nn.Module, device: torch.device) -> None:
    """Raise a ValueError unless a modality's input, mask and times are where the model is."""
    for name, value in zip((embeddings.input_name, embeddings.names.mask, embeddings.names.times), given):
        if value is not None:
            check_device(value, name, device)
