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
from collections.abc import Callable, Iterable, Mapping
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
from .modality_mot import InputNames
from .segments_mot import Segments, check_one_axis, find_segments, split_mask


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
        input_segments, pixel_segments, input_features_segments: whole numbers from 0 on of the shape (B, L) of the
            mask (of pixels: (B, F)), to which of a row's segments each token id, picture or frame belongs. An encoder
            reads each segment by itself, and positions begin anew in each; see `segments_mot.py`.
        input_times: with `input_segments`, (B, L_text), the place of each segment on the clock of the row.
        inputs_embeds: (B, L_text, d of the text) in place of `input_ids`, what the word embeddings would make of
            them, by keyword; prompt tuning puts learned vectors in front.
        {name}_values, {name}_features, {name}_mask, {name}_times, {name}_segments: of a modality that
            `MoTConfig({name}_config=...)` declares, by keyword; their shapes are those of its kind.

    In a model that counts tokens, times go with segments, and a segment's first one is its place on the clock that all
    modalities of the row share; without times the segments of a modality are a set.

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
    input_segments: torch.LongTensor | None
    pixel_segments: torch.LongTensor | None
    input_features_segments: torch.LongTensor | None
    input_times: torch.FloatTensor | None
    inputs_embeds: torch.FloatTensor | None


class ModalityInput(NamedTuple):
    """What a batch has of one modality."""

    values: torch.Tensor  # token ids, pixels, mel frames or features
    mask: torch.Tensor | None  # non-zero where they are real; None means that all are
    times: torch.Tensor | None  # the seconds of frames or features, in a model with `time_positions`
    segments: Segments | None = None  # where they come from, if rows are segments of the batch's rows
    places: torch.Tensor | None = None  # (rows,) of segments on the clock of their row

    @property
    def num_segments(self) -> int:
        """How many of these rows one row of the batch has."""
        return 1 if self.segments is None else self.segments.number

    @property
    def batch_size(self) -> int:
        return self.values.shape[0] // self.num_segments

    def of_rows(self, rows: torch.Tensor) -> "ModalityInput":
        """What some rows have."""
        names = ("values", "mask", "times", "places")
        return self._replace(**{n: value[rows] for n in names if (value := getattr(self, n)) is not None})


BY_KEYWORD = ("input_segments", "pixel_segments", "input_features_segments", "input_times", "inputs_embeds")
# What every model takes beside the arguments of its `forward`: options of the library, those of attention among them,
# and the marks of segments that tokenizers of BERT's kind always give, of which a MoT has none.
OPTIONS = {*TransformersKwargs.__annotations__, "use_cache", "token_type_ids"} - {"position_ids"}
OPTIONS |= {"return_dict", "output_encoder_hidden_states", "output_encoder_attentions"}

# ---------------------------------------------------------------------------------------------------------------------
# The signature
# ---------------------------------------------------------------------------------------------------------------------


def names_of(names: InputNames) -> set[str]:
    """All inputs of a modality: each form of its values, their mask, times and segments."""
    return {*names.inputs, names.mask, names.times, names.segments}


def declared_names(config: MoTConfig) -> dict[str, str]:
    """The inputs of the modalities that the user has declared -> the modality of each."""
    return {name: m for m in config.extra_modalities for name in sorted(names_of(InputNames.called(m)))}


def takes_inputs(
    method: Callable | None = None, *, modality: str | None = None, ignores: tuple[str, ...] = ()
) -> Callable:
    """
    Give a method `(self, inputs, <own arguments>, **kwargs)` the signature `(self, input_ids=None, ..., <own
    arguments>, inputs_embeds=None, **kwargs)`, by position and by name. The method gets a dict of the inputs that are
    not None, and of the other keyword arguments those that `check_options` lets pass.

    The inputs of modalities that the user's config declares are taken by name, and so are the `{name}_labels` of these
    by a method with a parameter `modality_labels`, which gets them by modality.

    Args:
        modality: the signature has the inputs of this one alone.
        ignores: keyword arguments that are dropped unread.

    The method raises a TypeError for an argument that is given twice, and a ValueError for one that nothing reads.
    """
    if method is None:
        return functools.partial(takes_inputs, modality=modality, ignores=ignores)
    own_self, _, *own, others = inspect.signature(method).parameters.values()
    takes_labels = any(parameter.name == "modality_labels" for parameter in own)
    own = [parameter for parameter in own if parameter.name != "modality_labels"]
    of_modality = set() if modality is None else names_of(MODALITIES[modality].names)
    names = [name for name in MoTInputs.__annotations__ if modality is None or name in of_modality]
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
        declared = declared_names(self.config)
        given = {name: kwargs.pop(name, None) for name in (*MoTInputs.__annotations__, *declared)}
        if takes_labels and declared:
            labels = {m: kwargs.pop(f"{m}_labels", None) for m in self.config.extra_modalities}
            kwargs["modality_labels"] = {m: value for m, value in labels.items() if value is not None}
        own_given = {name: kwargs.pop(name) for name in (*own_names, "modality_labels") if name in kwargs}
        options = {name: value for name, value in kwargs.items() if name not in ignores}
        check_options(options, type(self).__name__, [*known, *declared])
        return method(
            self, {name: value for name, value in given.items() if value is not None}, **own_given, **options
        )

    with_inputs.__signature__ = inspect.Signature([own_self, *parameters, others])
    with_inputs.__doc__ = f"{inspect.cleandoc(method.__doc__ or '')}\n\n{inspect.cleandoc(MoTInputs.__doc__)}\n"
    return with_inputs


def declare_inputs(method: Callable, names: Iterable[str]) -> None:
    """
    Add optional inputs to the signature of a method that `takes_inputs` made. The library's `Trainer` reads there
    which columns of a dataset a model takes, and drops the others. Of a name that a model lacks its call is an error.
    """
    signature = inspect.signature(method)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=torch.Tensor | None)
        for name in names
        if name not in signature.parameters
    ]
    *known, others = signature.parameters.values()
    method.__signature__ = signature.replace(parameters=[*known, *added, others])


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
                f"{owner} has no argument `{name}`{hint} It takes {', '.join(known)}; its processor makes them "
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
    for modality, kind in MODALITIES.items():
        if modality not in embeddings and (given := [name for name in kind.names.inputs if name in inputs]):
            raise ValueError(
                f"`{given[0]}` was given, but this model has no {modality}: its modalities are "
                f"{', '.join(config.modalities)}."
            )
    collected = {}
    for modality, part in embeddings.items():
        if given := [name for name in part.names.inputs if name in inputs]:
            check_names(given, modality, part)
            collected[modality] = collect_modality(inputs, given[0], part, config)
    check_batch(collected, {m: embeddings[m].input_name for m in config.modalities}, equal_rows)
    return collected


def check_names(given: list[str], modality: str, embeddings: nn.Module) -> None:
    """Raise a ValueError unless a modality is given as the model takes it, and once."""
    expected = embeddings.names.taken_by(embeddings.config)
    if len(given) > 1 or given[0] not in expected:
        raise ValueError(
            f"This model takes {modality} as {' or '.join(f'`{name}`' for name in expected)} "
            f"(`{modality}_config.feature_size` is {embeddings.config.feature_size}), got "
            f"{' and '.join(f'`{name}`' for name in given)}."
        )


def collect_modality(inputs: Mapping, name: str, embeddings: nn.Module, config: MoTConfig) -> ModalityInput:
    """The modality that is given as `name`, with its mask and its times; its segments as rows of their own."""
    names = embeddings.names
    values, mask, times = inputs[name], inputs.get(names.mask), inputs.get(names.times)
    (check_floats if embeddings.takes_floats(name) else check_whole_numbers)(values, name)
    check_not_empty(values, name)
    if mask is not None:
        check_mask(mask, names.mask)
    if times is not None:
        check_tensor(times, names.times)
    if name == names.embeds:
        embeddings.check_embeds(values)
    segments, is_timed = inputs.get(names.segments), config.time_positions and embeddings.modality.has_times
    if is_timed:
        times = embeddings.fill_times(values, mask, times)
    elif times is not None and segments is None:
        raise ValueError(
            f"`{names.times}` was given, but this model counts tokens: build it with "
            "`time_positions=True`, or leave them out."
        )
    given = ModalityInput(values, mask, times)
    return given if segments is None else split_segments(given, segments, name, embeddings, is_timed)


def split_segments(
    given: ModalityInput, segments: torch.Tensor, name: str, embeddings: nn.Module, is_timed: bool
) -> ModalityInput:
    """
    A modality whose rows are the segments of the batch's rows.

    Args:
        is_timed: whether tokens stand at their times; a segment's first one is otherwise its place.
    """
    values, mask, times, *_ = given
    names, shape = embeddings.names, check_one_axis(values, name, embeddings.names.segments)
    check_tensor(segments, names.segments)
    if mask is not None and tuple(mask.shape[:2]) != shape:
        raise ValueError(f"`{names.mask}` has shape {tuple(mask.shape)}, expected {shape}.")
    found = find_segments(segments, mask, shape, names.segments, embeddings.modality.segment_length(embeddings.config))
    if found.number == 1 and (is_timed or times is None):
        return given
    times = None if times is None else found.split(times.float(), name=names.times)
    places = None if is_timed or times is None else times[:, 0]
    return ModalityInput(found.split(values), split_mask(found, mask), times if is_timed else None, found, places)


def check_batch(collected: Mapping[str, ModalityInput], names: Mapping[str, str], equal_rows: bool) -> None:
    """Raise a ValueError for a batch without any modality, and for one whose modalities differ in their rows."""
    if not collected:
        raise ValueError(f"Give at least one modality: {', '.join(f'`{name}`' for name in names.values())}.")
    sizes = {names[modality]: given.batch_size for modality, given in collected.items()}
    if equal_rows and any(size != next(iter(sizes.values())) for size in sizes.values()):
        found = ", ".join(f"`{name}` has {size} rows" for name, size in sizes.items())
        raise ValueError(
            f"All modalities of a batch need the same number of rows, but {found}. Where a row lacks a modality, "
            "leave its place empty and mask it out."
        )


def check_devices(given: ModalityInput, embeddings: nn.Module, device: torch.device) -> None:
    """Raise a ValueError unless a modality's input, mask and times are where the model is."""
    for name, value in zip((embeddings.input_name, embeddings.names.mask, embeddings.names.times), given[:3]):
        if value is not None:
            check_device(value, name, device)
