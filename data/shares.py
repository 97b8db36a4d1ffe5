# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which rows of a stream are those of one of several readers, and where a reader is.

The workers of all processes are the readers of a stream. `datasets.distributed.split_dataset_by_node` gives each its
own shards only where their number is a multiple of that of the readers; elsewhere each reads all shards and passes
over the rows of others. Here readers form teams: the shards of an epoch are dealt to the teams, and a team divides
each of its shards among its members. Teams are as small as leaves each of them several shards, so that readers of many
shards read none but their own, and those of few shards have equally many rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from datasets import IterableDataset

# The fewest shards of a team in an epoch, and row groups of a reader in a shard: then one more or less matters little.
LEAST_EACH = 4


class Place(NamedTuple):
    """Where a reader is in a stream, of which it shuffles a window of rows at a time."""

    epoch: int = 0
    shards: int = 0  # of the epoch that it has read to their end before the window
    rows: int = 0  # of the next shard that it has read before the window
    before: int = 0  # rows of the epoch that it has read before the window
    taken: int = 0  # rows of the window that it has gone through
    begun: int = 0  # shards of the epoch that it has read something of, those of the window among them


class Piece(NamedTuple):
    """What a reader reads of a shard: one of `parts`."""

    shard: int
    part: int
    parts: int


@dataclass(frozen=True)
class Share:
    """
    What one of several readers reads: in each epoch every row is that of one reader.

    Args:
        reader: its number, from 0.
        readers: how many there are.
    """

    reader: int = 0
    readers: int = 1

    def team_size(self, shards: int) -> int:
        """The readers that share each of so many shards: the fewest that leave a team `LEAST_EACH`, or all."""
        sizes = (size for size in range(1, self.readers) if self.readers % size == 0)
        return next((size for size in sizes if shards * size >= LEAST_EACH * self.readers), self.readers)

    def pieces(self, shards: int, epoch: int) -> list[Piece]:
        """
        The reader's pieces of an epoch, in the epoch's order of the shards.

        Dealing goes on from epoch to epoch where it was, and members change parts, so that what is left over where
        numbers do not divide is another one's each time.
        """
        size = self.team_size(shards)
        teams = self.readers // size
        member, team = divmod(self.reader, teams)
        return [
            Piece(shard, (member + shard + epoch) % size, size)
            for shard in range((team - epoch * shards) % teams, shards, teams)
        ]


ALONE = Share()


def places_to_go_on(places: Mapping[int, Place], earlier: tuple[int, int], now: tuple[int, int]) -> dict[int, Place]:
    """
    Where readers go on, by their numbers: where they were, if they are as many as they were, else behind all that any
    of them has begun to read, so that no row comes twice. Of whole shards that is the next shard, else the next epoch.

    Args:
        places: of the readers that there were; those that it lacks had not begun.
        earlier: the numbers of shards and readers when the places were theirs.
        now: the same now.
    """
    if earlier == now:
        return dict(places)
    (shards, readers), (_, others) = now, earlier
    epoch, begun = 1 + max(place.epoch for place in places.values()), 0
    if earlier[0] == shards and Share(0, readers).team_size(shards) == Share(0, others).team_size(shards) == 1:
        numbers = [shards_until(Share(reader, others), shards, place) for reader, place in places.items()]
        epoch, begun = divmod(max(numbers), shards)
    found = {}
    for reader in range(readers):
        number = sum(piece.shard < begun for piece in Share(reader, readers).pieces(shards, epoch))
        found[reader] = Place(epoch, number, begun=number)
    return found


def shards_until(share: Share, shards: int, place: Place) -> int:
    """The number of the shards, counted through all epochs, up to the last that a reader has begun."""
    own = share.pieces(shards, place.epoch)[: place.begun]
    return place.epoch * shards + (own[-1].shard + 1 if own else 0)


def rows_of(shard: IterableDataset, part: int, parts: int, has_groups: bool = True) -> Iterator[dict]:
    """
    The rows of one of the parts of a shard: row groups, where it is a parquet file that has several for each part;
    else each `parts`-th row, and the others are read and passed over.

    Args:
        has_groups: whether the row groups of its files may be told apart.
    """
    if has_groups and parts > 1:
        groups = shard.reshard()
        if groups.num_shards >= LEAST_EACH * parts:
            shard, part, parts = groups.shard(parts, part), 0, 1
    # Not as `iter(shard)`, which shares out shards among the workers of a DataLoader once more.
    rows = ({name: values[0] for name, values in batch.items()} for batch in shard.iter(batch_size=1))
    return islice(rows, part, None, parts)
