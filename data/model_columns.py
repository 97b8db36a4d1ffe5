# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which columns of a dataset hold the modalities that a trained model has beside text, images and audio.

A person names them as in training (`--extra_columns imu=accelerometer`); else they are those of the run that trained
it, as far as the dataset has them, or those that are called like what the processor knows of the modality.
"""

from collections.abc import Iterable

from datasets import Features
from transformers.utils import logging

from mixture_of_transformers.data.extra_columns import (
    LEFT_OUT,
    as_options,
    column_called,
    columns_of,
    free_name,
    read_option,
    suits,
)
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.processing_mot import MoTProcessor, kind_in

logger = logging.get_logger(__name__)


def options_of_model(
    modalities: Iterable[str],
    processor: MoTProcessor,
    features: Features,
    named: Iterable[str] = (),
    trained_on: Iterable[str] = (),
) -> list[str]:
    """
    The options of `--extra_columns` that name the columns of a model's modalities, and no others.

    Args:
        modalities: of the model.
        processor: its `MoTProcessor`, which knows their kinds.
        features: of the dataset.
        named: the options of a person, which hold whatever the dataset has; "none" looks for no others.
        trained_on: the options of the run that trained the model.

    Raises:
        ValueError: a person names a modality that the model does not have, or has of another kind.
    """
    own = [name for name in modalities if name not in MODALITIES]
    kinds: dict[str, str] = {kind_in(processor, name).name: processor.modalities[name]["kind"] for name in own}
    named = list(named)
    options = {}
    for option in named:
        if option != LEFT_OUT:
            name, kind, written = read_option(option)
            check_is_of_model(option, name, kind, kinds)
            options[name] = f"{name}:{kinds[name]}={written}"
    if LEFT_OUT not in named:
        remembered = {read_option(option)[0]: option for option in trained_on if option != LEFT_OUT}
        for name in own:
            columns = () if name in options else columns_there(name, processor, features, remembered.get(name))
            if columns:
                (options[name], _) = as_options({name: (kinds[name], columns)})
            elif name not in options:
                logger.warning(
                    f"The model takes the modality `{name}` ({kinds[name]}), of which no column was found: it answers "
                    f"without. Name its columns with --extra_columns {name}=..."
                )
    return [*options.values(), LEFT_OUT]


def check_is_of_model(option: str, name: str, kind: str | None, kinds: dict[str, str]) -> None:
    if name not in kinds:
        known = f"beside the usual ones the model takes {', '.join(kinds)}" if kinds else "the model takes none"
        raise ValueError(f"--extra_columns {option} names the modality '{name}', but {known}: leave it out.")
    if kind not in (None, kinds[name]):
        raise ValueError(f"--extra_columns {option}: the model takes '{name}' as {kinds[name]}, not as {kind}.")


def columns_there(name: str, processor: MoTProcessor, features: Features, trained_on: str | None) -> tuple[str, ...]:
    """The columns of a modality that a dataset has; () where it has none, or not all that cannot do without others."""
    kind, settings = processor.kinds[name], processor.kinds[name].settings_in(processor)
    known = kind.columns_in(settings)
    if trained_on is not None and not known:
        try:
            return columns_of(read_option(trained_on)[2], features, trained_on)
        except ValueError:  # one of them is not there
            return ()
    if not known:
        alike = [column for column in features if free_name(column, ()) == name]
        return tuple(column for column in alike if suits(processor.modalities[name]["kind"], features[column]))[:1]
    found = (column_called(column, features) for column in known)
    return tuple(column for column in found if column is not None)
