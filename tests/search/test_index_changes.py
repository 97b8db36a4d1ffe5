# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A change of an index counts as a whole or not at all, whoever changes it and whenever it is killed.

What an index should hold is kept beside it in a list of Python, and a kill is an exception that nothing catches, at
each step that changes the folder.
"""

import itertools
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import torch
from datasets import ClassLabel, Dataset, Features, Image, List, Value
from small_indices import contents, files, paint, texts
from word_retriever import WIDTH, WORDS

from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.embedding import embed_from
from mixture_of_transformers.search.index import Index


def test_object_and_folder_hold_the_same_rows_after_every_change(index, parts):
    choose = random.Random(0)
    rows, gone = WORDS[:6], set()
    for step in range(8):
        if step % 3 == 2:
            index = Index.load(index.folder, *parts)
        if step % 2:
            new = choose.choices(WORDS, k=choose.randint(1, 3))
            rows = rows + new
            index.add(texts(*new), shard_rows=2)
        else:
            chosen = choose.sample(range(len(rows)), 2)  # of which one may be removed already
            gone |= set(chosen)
            index.remove(chosen)
        expected = {i: word for i, word in enumerate(rows) if i not in gone}
        for found in (index, Index.load(index.folder)):
            assert contents(found) == expected and len(found) == len(expected)
            assert found.dataset["text"][:] == rows
            assert found.description["removed"] == sorted(gone) and found.description["rows"] == len(rows)


def test_two_objects_over_one_folder_never_undo_each_other(index, parts):
    one, other = (Index.load(index.folder, *parts) for _ in range(2))
    one.remove([1])
    other.remove([3])
    one.add(texts("seven"))
    other.add(texts("eight", "nine"))
    one.remove([7])  # which it has not seen yet
    expected = {0: "red", 2: "blue", 4: "two", 5: "three", 6: "seven", 8: "nine"}
    assert contents(one) == contents(Index.load(index.folder)) == expected
    assert contents(other.reload()) == expected


def test_changes_at_the_same_time_all_count(index, parts):
    def change(number):
        own = Index.load(index.folder, *parts)
        own.add(texts(WORDS[6 + number]))
        own.remove([number])

    threads = [threading.Thread(target=change, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = Index.load(index.folder)
    assert found.description["removed"] == [0, 1, 2, 3] and found.description["generation"] == 9
    assert sorted(contents(found).values()) == sorted([*WORDS[4:6], *WORDS[6:10]])


class Killed(BaseException):
    """Nothing that is caught."""


@contextmanager
def killed_at(step, monkeypatch):
    """Nothing happens from the given step on of those that change what a folder holds."""
    count = itertools.count()
    with monkeypatch.context() as patch:
        for owner, name in ((os, "replace"), (os, "fsync"), (Path, "unlink"), (Path, "write_bytes")):
            real = getattr(owner, name)

            def dying(*args, real=real, **kwargs):
                if next(count) >= step:
                    raise Killed
                return real(*args, **kwargs)

            patch.setattr(owner, name, dying)
        with suppress(Killed):
            yield


@pytest.mark.parametrize("change", ["add", "remove"])
def test_a_kill_between_any_two_steps_leaves_the_state_before_or_after(change, index, parts, tmp_path, monkeypatch):
    before = contents(index)
    more = texts("nine", "cat", "dog")  # one shard, since each step is one more round
    after = before | {6: "nine", 7: "cat", 8: "dog"} if change == "add" else {i: before[i] for i in (0, 1, 2, 4, 5)}
    states = []
    for step in itertools.count():
        folder = tmp_path / "copy"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(index.folder, folder)
        own = Index.load(folder, *parts)
        finished = False
        with killed_at(step, monkeypatch):
            own.add(more) if change == "add" else own.remove([3])
            finished = True
        states.append(contents(Index.load(folder)))
        assert states[-1] in (before, after)
        again = Index.load(folder, *parts)
        if states[-1] == before:
            again.add(more) if change == "add" else again.remove([3])
        assert contents(again) == after
        if finished:
            break
    assert states[0] == before and states[-1] == after and step > 2


def test_a_merge_is_there_as_a_whole_or_not_at_all_and_begins_anew(index, parts, tmp_path, monkeypatch):
    other = build_index(texts("nine"), *parts, tmp_path / "other")
    folders = [index.folder, other.folder]
    expected = contents(index) | {6: "nine"}
    for step in itertools.count():
        both, finished = tmp_path / str(step), False
        with killed_at(step, monkeypatch):
            Index.merge(folders, both)
            finished = True
        if finished:
            break
        with suppress(ValueError):  # there is none yet
            assert contents(Index.load(both)) == expected
        if not (both / "index.json").exists():
            assert contents(Index.merge(folders, both)) == expected
        assert contents(Index.load(both)) == expected
    assert step > 4 and contents(Index.load(both)) == expected
    with pytest.raises(ValueError, match="is not empty"):
        Index.merge(folders, both)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "shard-00000.parquet").write_bytes(b"precious")
    with pytest.raises(ValueError, match="is not empty"):
        Index.merge(folders, tmp_path / "mine")
    assert (tmp_path / "mine" / "shard-00000.parquet").read_bytes() == b"precious"


def in_another_process(change, seconds=None):
    """Do something in a copy of this process, killed after some seconds; how long it took."""
    start, child = time.perf_counter(), os.fork()
    if child == 0:
        status = 1
        try:
            change()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL)
    return time.perf_counter() - start


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are begun otherwise there")
@pytest.mark.parametrize("change", ["add", "remove", "merge"])
def test_a_kill_at_any_moment_leaves_the_state_before_or_after_and_goes_on(change, index, parts, tmp_path):
    before, more = contents(index), texts(*WORDS[6:14])
    after = {
        "add": before | {6 + i: word for i, word in enumerate(WORDS[6:14])},
        "remove": {i: before[i] for i in (0, 1, 2, 4, 5)},
        "merge": before | {6 + i: word for i, word in before.items()},
    }[change]

    def run(folder):
        if change == "add":
            Index.load(folder, *parts).add(more, shard_rows=2)
        elif change == "remove":
            Index.load(folder).remove([3])
        else:
            Index.merge([folder, index.folder], folder / "both")

    def state(folder):
        folder = folder / "both" if change == "merge" else folder
        return contents(Index.load(folder)) if (folder / "index.json").exists() else before

    whole = in_another_process(lambda: run(shutil.copytree(index.folder, tmp_path / "whole")))
    choose = random.Random(0)
    for number in range(20):
        folder = shutil.copytree(index.folder, tmp_path / str(number))
        in_another_process(partial(run, folder), choose.uniform(0, whole))
        found = state(folder)
        assert found in (before, after)
        if found == before:
            run(folder)
        assert state(folder) == after


def test_an_add_that_was_killed_goes_on_where_it_stopped(index, parts, monkeypatch):
    more, embedded = texts(*WORDS[6:12]), []

    def counted(model, processor, rows, start):
        if len(embedded) == 2:
            raise Killed
        embedded.append(start)
        return real(model, processor, rows, start)

    real = embed_from
    with monkeypatch.context() as patch:
        patch.setattr("mixture_of_transformers.search.embedding.embed_from", counted)
        with pytest.raises(Killed):
            index.add(more, shard_rows=2)
    index.remove([0])  # in between, which leaves what is done alone
    started = []
    monkeypatch.setattr(
        "mixture_of_transformers.search.embedding.embed_from", lambda *args: started.append(args[3]) or real(*args)
    )
    index.add(more, shard_rows=2)
    assert embedded == [0, 2] and started == [4]
    assert index.dataset["text"][:] == WORDS[:12] and 0 not in contents(index)


def test_a_change_leaves_no_copies_behind(parts, tmp_path):
    pytest.importorskip("faiss")
    (tmp_path / "broken.png").write_bytes(b"no picture")

    def rows(*paths):
        return Dataset.from_dict({"image": list(paths)}).cast_column("image", Image())

    good = paint(tmp_path / "a.png", 10)
    index = build_index(rows(good, good), *parts, tmp_path / "index", shard_rows=1)
    for _ in range(3):
        index.build_faiss("image")
        index.add(rows(good))
    with pytest.raises(ValueError, match="Row 1 of the dataset cannot be embedded"):
        index.add(rows(good, str(tmp_path / "broken.png")), shard_rows=1)
    Index.load(index.folder).build_faiss("image")
    index.add(rows(good))
    Index.load(index.folder)
    names = files(index.folder)
    shards = [f"shard-{i:05d}.parquet" for i in range(6)]
    cached = [name for name in names if name.startswith(".cache/")]
    assert sorted({*names} - {*cached}) == [".lock", "index.json", *shards]
    assert [name.split("/")[1][:11] for name in cached] == [name[:11] for name in shards]


def test_an_approximate_index_is_of_one_state_of_the_rows(index, parts):
    pytest.importorskip("faiss")
    stale = Index.load(index.folder)
    stale.build_faiss("text")
    query = {"embedding": index.vectors["text"][1], "modality": "text", "approximate": True}
    assert Index.load(index.folder).search(**query)[0]["id"] == 1
    index.remove([1])
    stale.build_faiss("text")  # of rows that are not all there any more
    with pytest.raises(ValueError, match="There is no FAISS index of text"):
        Index.load(index.folder).search(**query)
    index.build_faiss("text")
    assert 1 not in {hit["id"] for hit in Index.load(index.folder).search(**query)}
    index.faiss_file("text").write_bytes(b"half")
    with pytest.raises(ValueError, match=r"text-2.faiss is damaged .*: build_faiss\('text'\) makes one"):
        Index.load(index.folder).search(**query)


@contextmanager
def without_rights():
    """As a user who is not root, if it is root who runs the tests."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="rights of files are another matter there")
@pytest.mark.parametrize("cached", [True, False])
def test_an_index_that_may_only_be_read_can_be_searched(cached, index, parts):
    shelf = Path(tempfile.mkdtemp())  # unlike pytest's folders, where others than the owner may look
    shutil.copytree(index.folder, shelf / "index")
    if not cached:
        shutil.rmtree(shelf / "index" / ".cache", ignore_errors=True)
    for path in [shelf, *shelf.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    before, expected = files(shelf), contents(index)
    try:
        with without_rights():
            found = Index.load(shelf / "index", *parts)
            assert contents(found) == expected
            assert found.search(text="red", k=3) == index.search(text="red", k=3)
            with pytest.raises(PermissionError):
                found.remove([1])
        assert files(shelf) == before
    finally:
        for path in [shelf, *shelf.rglob("*")]:
            path.chmod(0o755)
        shutil.rmtree(shelf)


def classes(words, names, **more):
    numbers = [names.index(word) for word in words]
    columns = {"text": words, "label": numbers, "all": [[number, 0] for number in numbers]}
    features = {"text": Value("string"), "label": ClassLabel(names=names), "all": List(ClassLabel(names=names))}
    return Dataset.from_dict(columns, features=Features(features))


@pytest.mark.parametrize("how", ["add", "merge"])
def test_rows_that_join_others_keep_their_classes_by_name(how, parts, tmp_path):
    first, second = classes(["cat", "dog"], ["cat", "dog"]), classes(["dog", "horse", "cat"], ["horse", "dog", "cat"])
    index = build_index(first, *parts, tmp_path / "index")
    if how == "add":
        index.add(second.select_columns(["label", "all", "text"]))
    else:
        build_index(second, *parts, tmp_path / "second")
        index = Index.merge([tmp_path / "index", tmp_path / "second"], tmp_path / "both")
    for found in (index, Index.load(index.folder)):
        names = found.dataset.features["label"].names
        assert names == found.dataset.features["all"].feature.names == ["cat", "dog", "horse"]
        assert [names[label] for label in found.dataset["label"]] == found.dataset["text"][:]
        assert [[names[i] for i in own] for own in found.dataset["all"]] == [
            [word, other] for word, other in zip(found.dataset["text"], ["cat"] * 2 + ["horse"] * 3)
        ]
        hits = found.search(embedding=torch.ones(WIDTH), where={"label": "dog"})
        assert {found.dataset[hit["id"]]["text"] for hit in hits} == {"dog"} and len({h["id"] for h in hits}) == 2


@pytest.mark.parametrize(
    "rows, message",
    [
        ({"text": ["one"]}, "have no column 'label'; the index has text, label, all"),
        ({"text": ["one"], "label": [0], "all": [[0]], "source": ["a"]}, "have a column 'source', .*remove_columns"),
        ({"text": ["one"], "label": ["cat"], "all": [[0]]}, "'label' of the rows to add holds .*cast_column"),
        ({"text": ["one"], "label": [0], "all": [[0]]}, "'label' of the rows to add holds .*cast_column"),
    ],
)
def test_rows_of_other_columns_are_not_added(rows, message, parts, tmp_path):
    index = build_index(classes(["cat", "dog"], ["cat", "dog"]), *parts, tmp_path / "index")
    with pytest.raises(ValueError, match=message):
        index.add(Dataset.from_dict(rows))
    assert contents(Index.load(index.folder)) == {0: "cat", 1: "dog"}


def test_numbers_of_another_width_and_empty_columns_are_added(parts, tmp_path):
    first = Dataset.from_dict({"text": ["one"], "n": [1], "note": ["a"]})
    index = build_index(first, *parts, tmp_path / "index")
    second = Dataset.from_dict({"text": ["two"], "n": [2], "note": [None]}).cast_column("n", Value("int32"))
    index.add(second)
    assert index.rows[:] == {"text": ["one", "two"], "n": [1, 2], "note": ["a", None]}
