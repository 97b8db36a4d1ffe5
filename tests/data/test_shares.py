# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Several readers of a stream read each row once in an epoch, and go on where they were."""

import json
from collections import Counter
from itertools import chain, islice

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset
from forked import forked
from small_datasets import stream_of, texts
from stream_processes import BATCH, in_processes, rows_read, stream_trainer, train_and_resume, uneven_stream

from mixture_of_transformers.data.shares import Place, Share, places_to_go_on

UNEVEN = [40, 10, 30, 20, 50]  # rows of five files
SIZES = {"uneven": UNEVEN, "many": [3] * 33, "fewer rows than readers": [3], "empty ones": [0, 5, 0, 2]}


def numbers(rows) -> list[int]:
    return [int(text) for text in texts(rows)]


def epoch_of_readers(stream, readers: int, epoch: int) -> list[list[int]]:
    return [numbers(stream.rows(epoch, share=Share(reader, readers))) for reader in range(readers)]


@pytest.mark.parametrize("buffer_size", [0, 7])
@pytest.mark.parametrize("readers", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_each_row_of_an_epoch_is_that_of_one_reader(sizes, readers, buffer_size):
    stream = uneven_stream(sizes).shuffle(0, buffer_size)
    for epoch in range(3):
        found = epoch_of_readers(stream, readers, epoch)
        assert sorted(chain(*found)) == list(range(sum(sizes)))


def test_readers_of_few_shards_have_equally_many_rows():
    for readers in (2, 4, 5):
        for epoch in range(3):
            numbers_of_rows = [len(rows) for rows in epoch_of_readers(uneven_stream(UNEVEN), readers, epoch)]
            assert max(numbers_of_rows) - min(numbers_of_rows) <= len(UNEVEN)  # one row of each shard


def test_readers_of_many_shards_read_none_but_their_own(tmp_path):
    """Four of 33: each shard is read by one, and who has one more than the others changes from epoch to epoch."""
    mores = []
    for epoch in range(4):
        for reader in range(4):
            log = tmp_path / f"reads {epoch} {reader}"
            list(uneven_stream([3] * 33, log).rows(epoch, share=Share(reader, 4)))
            assert set(rows_read(log).values()) == {3} and len(rows_read(log)) in (8, 9)
            mores += [reader] * (len(rows_read(log)) == 9)
        logs = [rows_read(tmp_path / f"reads {epoch} {reader}") for reader in range(4)]
        assert len(set(chain(*logs))) == sum(map(len, logs)) == 33
    assert sorted(mores) == [0, 1, 2, 3]


def test_as_few_readers_share_a_shard_as_leave_each_team_several():
    assert [Share(0, 8).team_size(shards) for shards in (1, 4, 7, 8, 15, 16, 31, 32, 1000)] == [
        *(8, 8, 8, 4, 4, 2, 2, 1, 1)
    ]
    assert Share(0, 7).team_size(5) == 7 and Share(0, 1).team_size(1) == 1


def parquet_stream(folder, group_rows: int):
    table = Dataset.from_list([{"text": str(i), "label": i % 2} for i in range(96)]).data.table
    pq.write_table(table, folder / "train.parquet", row_group_size=group_rows)
    return stream_of(load_dataset("parquet", data_files=str(folder / "train.parquet"), split="train", streaming=True))


@pytest.mark.parametrize(("group_rows", "is_by_groups"), [(4, True), (48, False)])
def test_readers_share_a_parquet_file_by_its_row_groups_where_there_are_enough(group_rows, is_by_groups, tmp_path):
    found = epoch_of_readers(parquet_stream(tmp_path, group_rows), 3, 0)
    assert sorted(chain(*found)) == list(range(96)) and {len(rows) for rows in found} == {32}
    steps = {b - a for rows in found for a, b in zip(rows, rows[1:])}
    assert steps == ({1} if is_by_groups else {3})


def test_readers_share_the_first_rows_of_a_stream(tmp_path):
    for stream in (parquet_stream(tmp_path, 4), uneven_stream(UNEVEN)):
        found = epoch_of_readers(stream.take(45), 4, 0)
        assert sorted(chain(*found)) == list(range(45))


@pytest.mark.parametrize("buffer_size", [0, 7])
@pytest.mark.parametrize("readers", [1, 2])
def test_from_each_place_a_reader_goes_on_with_the_very_next_row(readers, buffer_size):
    stream, share = uneven_stream([7, 3, 8, 2, 5, 1, 6, 4]).shuffle(3, buffer_size), Share(0, readers)
    for epoch in (0, 2):
        placed = list(stream.rows_from(Place(epoch), share=share))
        for i, (place, _) in enumerate(placed):
            assert list(stream.rows_from(place, share=share)) == placed[i + 1 :]


def test_going_on_reads_a_shard_and_nothing_before_it(tmp_path):
    """Of 33 shards of 30 rows: in the 20th, its beginning is read once more, and no other shard before."""
    stream = uneven_stream([30] * 33)
    place, _ = next(islice(stream.rows_from(Place()), 20 * 30 + 10, None))
    going_on = uneven_stream([30] * 33, tmp_path / "reads").rows_from(place)
    assert [int(row["text"]) for _, row in islice(going_on, 3)] == [611, 612, 613]
    assert rows_read(tmp_path / "reads") == {"file 20": 14}


@pytest.mark.parametrize("sizes", [[3] * 33, UNEVEN], ids=["many shards", "few shards"])
@pytest.mark.parametrize(("earlier", "now"), [(4, 2), (2, 8), (3, 1)])
def test_other_readers_go_on_behind_what_was_begun(sizes, earlier, now):
    """No row comes twice in an epoch, and of many shards no more are passed over than there were readers."""
    stream, shards = uneven_stream(sizes).shuffle(1, 4), len(sizes)
    seen, places = [], {}
    for reader in range(earlier):
        for place, row in islice(stream.rows_from(Place(), share=Share(reader, earlier)), 7):
            places[reader] = place
            seen.append((place.epoch, row["text"]))
    found = places_to_go_on(places, (shards, earlier), (shards, now))
    for reader in range(now):
        start = found[reader]
        for epoch in range(start.epoch, 2):
            place = start if epoch == start.epoch else Place(epoch)
            seen += [
                (epoch, text) for text in texts(row for _, row in stream.rows_from(place, None, Share(reader, now)))
            ]
    assert len(set(seen)) == len(seen)
    counted = Counter(epoch for epoch, _ in seen)
    assert counted[1] == sum(sizes)
    if shards == 33 and now < 8:  # else teams are others, and an epoch begins
        assert counted[0] >= sum(sizes) - 3 * 3 * earlier


def test_a_reader_without_rows_in_an_epoch_has_some_in_the_next():
    """Three rows for four readers: none of them waits for ever."""
    rows = uneven_stream([3])
    assert [len([*rows.rows(epoch, share=Share(3, 4))]) for epoch in range(8)].count(0) in (1, 2, 3)


@pytest.mark.training
def test_four_processes_train_on_each_row_once_and_go_on_as_if_they_had_not_stopped(tmp_path):
    """Five files of unequal size, with real processes: ends are met at other steps, and none waits for another."""
    processes, steps = 4, 38  # two epochs and some rows, in which it stops twice
    call = train_and_resume(tmp_path, UNEVEN, steps, saved_every=12, buffer_size=8)
    done = forked(lambda: in_processes(processes, call), ["four processes"], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    whole = [json.loads((tmp_path / f"whole-{rank}.json").read_text()) for rank in range(processes)]
    assert [len(rows) for rows in whole] == [steps * BATCH] * processes
    counted = Counter(map(tuple, chain(*whole)))
    assert set(counted.values()) == {1} and {(0, n) for n in range(sum(UNEVEN))} <= counted.keys()
    weights = torch.load(tmp_path / "whole.pt")
    for name, step in (("resumed", 12), ("resumed again", 24)):
        resumed = [json.loads((tmp_path / f"{name}-{rank}.json").read_text()) for rank in range(processes)]
        assert resumed == [rows[step * BATCH :] for rows in whole]
        found = torch.load(tmp_path / f"{name}.pt")
        assert all(torch.equal(found[key], weights[key]) for key in weights)


@pytest.mark.training
@pytest.mark.parametrize("workers", [0, 2])
def test_a_resumed_run_reads_none_of_the_shards_that_it_had_read(workers, tmp_path):
    """Stopped after an odd number of batches, when it is the second worker's turn."""
    sizes = [8] * 20
    options = {"save_strategy": "steps", "save_steps": 31, "max_steps": 40, "dataloader_num_workers": workers}
    whole = stream_trainer(tmp_path / "whole", uneven_stream(sizes), **options)
    whole.train()
    resumed = stream_trainer(tmp_path / "resumed", uneven_stream(sizes, tmp_path / "reads"), **options)
    resumed.train(str(tmp_path / "whole" / "checkpoint-31"))
    assert resumed.seen == whole.seen[31 * BATCH :] and resumed.state.epoch == whole.state.epoch == 1
    begun = {f"file {i}" for i in range(62 // 8 - (workers > 0))}
    assert not begun & set(rows_read(tmp_path / "reads"))


@pytest.mark.training
def test_a_run_that_goes_on_with_other_workers_says_what_it_passes_over(tmp_path, caplog):
    options = {"save_strategy": "steps", "save_steps": 10, "max_steps": 20}
    whole = stream_trainer(tmp_path, uneven_stream([8] * 20), **options)
    whole.train()
    resumed = stream_trainer(tmp_path, uneven_stream([8] * 20), dataloader_num_workers=2, **options)
    resumed.train(str(tmp_path / "checkpoint-10"))
    assert "was read by 1 readers from 20 shards, and is read by 2 from 20 now" in caplog.text
    both = whole.seen[: 10 * BATCH] + resumed.seen
    assert len(set(both)) == len(both) and min(number for _, number in resumed.seen) == 24
