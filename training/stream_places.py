# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where a training is in a stream: batches say how far their readers are, and checkpoints keep it.

A stream cannot be asked for its n-th batch, and the library passes over the batches of a resumed run by reading,
decoding and encoding them all once more. So each batch brings the place behind its last row, which its worker knows,
and a resumed run begins there.
"""

from collections.abc import Callable
from typing import Any

from accelerate.utils import gather_object
from transformers import Trainer, TrainerState
from transformers.utils import logging

from mixture_of_transformers.data.shares import Place, places_to_go_on
from mixture_of_transformers.training.encoded import PlacedRow, StreamedRows

logger = logging.get_logger(__name__)

PLACE = "place_in_stream"  # of a batch: the reader's number, and its place
STREAM = "stream"  # where the state of a checkpoint keeps the places of all readers


class PlacedCollator:
    """
    The batches of another collator, each with the place behind its last row.

    Args:
        collator: makes the batches.
    """

    def __init__(self, collator: Callable[[list], dict]):
        self.collator = collator

    def __call__(self, rows: list[PlacedRow]) -> dict[str, Any]:
        return {**self.collator(rows), PLACE: [rows[-1].share.reader, *rows[-1].place]}


def read_by_processes(trainer: Trainer, dataset: StreamedRows, dataloader) -> None:
    """Have this process read its own share, where accelerate has each read all rows and keep some."""
    dataset.in_process(trainer.args.process_index, trainer.args.world_size)
    if dataloader.dataset is not dataset:
        dataloader.dataset.process_index, dataloader.dataset.num_processes = 0, 1


def take_place(places: dict[int, Place], inputs: dict[str, Any]) -> None:
    """Note how far the reader of a batch is, and leave the model what is its own."""
    if PLACE in inputs:
        reader, *numbers = inputs.pop(PLACE)
        places.pop(reader, None)  # so that the latest stands last
        places[reader] = Place(*numbers)


def places_of_all(trainer: Trainer, places: dict[int, Place]) -> dict[str, Any]:
    """What a checkpoint keeps of the places of the readers in all processes, as JSON."""
    found = gather_object([(reader, *place) for reader, place in places.items()])
    shards, readers = numbers_of(trainer)
    workers = readers // trainer.args.world_size
    turn = (next(reversed(places)) // trainer.args.world_size + 1) % workers  # Batches come from workers by turns.
    return {"shards": shards, "readers": readers, "turn": turn, "places": sorted(map(list, found))}


def go_on_in_stream(trainer: Trainer, dataset: StreamedRows, state: TrainerState | None) -> dict[int, Place] | None:
    """Have a stream begin where a checkpoint was, or anew; returns this process' places, None where none are known."""
    saved = state and state.stateful_callbacks.get(STREAM)
    if not saved:
        dataset.places, dataset.turn = {}, 0
        return None
    places = {reader: Place(*numbers) for reader, *numbers in saved["places"]}
    earlier, now = (saved["shards"], saved["readers"]), numbers_of(trainer)
    dataset.places, dataset.turn = places_to_go_on(places, earlier, now), saved["turn"] if earlier == now else 0
    if earlier != now:
        logger.warning(
            f"The stream was read by {earlier[1]} readers from {earlier[0]} shards, and is read by {now[1]} from "
            f"{now[0]} now: it goes on behind what they had begun, of which some rows are passed over. For every row, "
            "go on with as many processes and --dataloader_num_workers as before."
        )
    process, processes = trainer.args.process_index, trainer.args.world_size
    return {reader: place for reader, place in dataset.places.items() if reader % processes == process}


def numbers_of(trainer: Trainer) -> tuple[int, int]:
    """How many shards the training rows have, and how many readers."""
    readers = trainer.args.world_size * max(trainer.args.dataloader_num_workers, 1)
    return trainer.train_dataset.stream.shards, readers
