# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The table of modalities: which there are, in the order of the joint sequence, of what kind, and what their arguments
are called."""

from .cells_mot import Cell
from .modality_audio_mot import AudioModality
from .modality_image_mot import ImageModality
from .modality_mot import InputNames, Modality, MoTModalityConfig
from .modality_series_mot import SeriesModality
from .modality_table_mot import TableModality
from .modality_text_mot import TextModality
from .modality_vectors_mot import VectorsModality

# The kinds by the `model_type` of their configs.
KINDS: dict[str, type[Modality]] = {
    kind.config_class.model_type: kind
    for kind in (TextModality, ImageModality, AudioModality, SeriesModality, TableModality)
}


def register(kind: type[Modality]) -> None:
    """
    Make a kind of a user's known, before a config names it. It goes with the checkpoints that are saved afterwards, so
    it has to stand in a file of its own; see `docs/own_kind.md`.

    Args:
        kind: a subclass of [`Modality`] whose `config_class` has a `model_type` of its own.

    Raises:
        ValueError: it is no such class, or its `model_type` is that of another kind.
    """
    is_kind = isinstance(kind, type) and issubclass(kind, Modality)
    if not is_kind or not issubclass(getattr(kind, "config_class", object), MoTModalityConfig):
        raise ValueError(f"`register` takes a subclass of Modality with a `config_class`, got {kind!r}.")
    model_type = kind.config_class.model_type
    known = KINDS.get(model_type)
    if not model_type or (known is not None and known.__qualname__ != kind.__qualname__):
        raise ValueError(
            f"{kind.__name__} has the `model_type` {model_type!r}, expected one of its own: there are "
            f"{', '.join(KINDS)}."
        )
    KINDS[model_type] = kind


TEXT_NAMES = InputNames(
    "input_ids", "text_features", "attention_mask", "input_times", "input_segments", embeds="inputs_embeds"
)
IMAGE_NAMES = InputNames("pixel_values", "image_features", "pixel_mask", "pixel_times", "pixel_segments")
AUDIO_NAMES = InputNames(
    "input_features", "input_features", "input_features_mask", "input_features_times", "input_features_segments"
)

# Those whose arguments have names of their own, the first in the joint sequence and in the keys of results.
MODALITIES: dict[str, Modality] = {
    modality.name: modality
    for modality in (
        TextModality("text", TEXT_NAMES),
        ImageModality("image", IMAGE_NAMES),
        AudioModality("audio", AUDIO_NAMES),
    )
}

# The forms in which people have them, by their names in a row: text, image, audio, video.
FIRST_CELLS = [modality.cells[0] for modality in MODALITIES.values()]
OTHER_CELLS = [cell for modality in MODALITIES.values() for cell in modality.cells[1:]]
CELLS: dict[str, Cell] = {cell.name: cell for cell in FIRST_CELLS + OTHER_CELLS}
MODALITY_OF_CELL = {cell.name: modality.name for modality in MODALITIES.values() for cell in modality.cells}


def forms() -> dict[str, tuple[type[Modality], str | None]]:
    """
    What people call a kind -> it, and the cell of it that is meant: the `model_type` of its config without "mot_",
    or the name of a form in which people have it, as "video" is one of images.
    """
    cells = {cell.name: (kind, cell.name) for kind in KINDS.values() for cell in kind.cells}
    return cells | {model_type.removeprefix("mot_"): (kind, None) for model_type, kind in KINDS.items()}


def words_of(config) -> str | None:
    """The modality of a `MoTConfig` that arrives as words of a vocabulary; None without one."""
    names = [name for name in config.modalities if modality_of(config.modality_config(name), name).predicts_ids]
    return names[0] if names else None


def raw_modality_of(config: MoTModalityConfig, name: str) -> Modality:
    """What a modality with this config is, raw: one of `MODALITIES`, or of the kind of its config under its name."""
    return MODALITIES[name] if name in MODALITIES else KINDS[config.model_type].called(name)


def modality_of(config: MoTModalityConfig, name: str) -> Modality:
    """What a modality with this config is: its own kind, or vectors where it arrives as ready features."""
    modality = raw_modality_of(config, name)
    return modality if config.feature_size is None else VectorsModality(modality)
