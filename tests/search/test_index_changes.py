# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An index over time: it knows what embedded it, changes take turns and are never undone, what is damaged is said.

What an index should hold is kept beside it in a list of Python, and a kill is an exception that nothing catches, at each
step in turn that writes to the folder.
"""

import hashlib
import itertools
import json
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

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import disk_offload
from datasets import ClassLabel, Dataset, Features, Image, List, Value, load_dataset
from PIL import Image as Picture
from word_retriever import WIDTH, WORDS, make_model, make_processor

from mixture_of_transformers import (
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTProcessor,
)
from mixture_of_transformers.search.folder import EMBEDDINGS
from mixture_of_transformers.search.index import (
    Index,
    build_index,
    check_embedder,
    describe_embedder,
    embed_part,
    fingerprint_of_weights,
)


@pytest.fixture(scope="module")
def parts():
    return make_model(), make_processor()


def texts(*words):
    return Dataset.from_dict({"text": list(words)})


@pytest.fixture(scope="module")
def built(parts, tmp_path_factory):
    return build_index(texts(*WORDS[:6]), *parts, tmp_path_factory.mktemp("built"), shard_rows=4).folder


@pytest.fixture
def index(built, parts, tmp_path):
    """One of two shards, to be changed."""
    return Index.load(shutil.copytree(built, tmp_path / "index"), *parts)


def contents(index):
    """id -> text of the rows that are found."""
    hits = index.search(embedding=torch.ones(WIDTH), modality="text", k=1000)
    return {hit["id"]: index.dataset[hit["id"]]["text"] for hit in hits}


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# --------------------------------------------- what embedded the rows ----------------------------------------------


def other_parts():
    narrow, more_heads = make_model(projection_dim=4), make_model()
    more_heads.config.text_config.num_attention_heads = 4
    return {
        "weights": (make_model(seed=1), make_processor(), r"weights \(\w{12} and \w{12}\)"),
        "width": (narrow, make_processor(), r"width \(8 and 4\)"),
        "heads": (more_heads, make_processor(), r"config.text_config.num_attention_heads \(2 and 4\)"),
        "pictures": (make_model(), make_processor(image_mean=[0, 0, 0]), "processor.image_processor.image_mean"),
        "words": (make_model(), make_processor(WORDS[::2]), "processor.tokenizer"),
    }


@pytest.mark.parametrize("what", ["weights", "width", "heads", "pictures", "words"])
def test_another_model_or_processor_is_an_error_that_names_both(what, index):
    model, processor, difference = other_parts()[what]
    model.config._name_or_path = "user/other"
    message = f"embeddings of 'a model without a name', with which those of 'user/other' .*differ in {difference}"
    with pytest.raises(ValueError, match=message):
        Index.load(index.folder, model, processor)
    before = files(index.folder)
    index.model, index.processor = model, processor
    for use in (lambda: index.search(text="red"), lambda: index.add(texts("seven"))):
        with pytest.raises(ValueError, match=message):
            use()
    with pytest.raises(ValueError, match=message):
        build_index(texts(*WORDS[:6]), model, processor, index.folder, shard_rows=4)
    assert files(index.folder) == before


def test_a_model_without_a_retrieval_head_is_an_error(index, parts, tmp_path):
    model = MoTForSequenceClassification(parts[0].config)
    message = "MoTForSequenceClassification has no retrieval head: an index takes a MoTForRetrieval"
    with pytest.raises(ValueError, match=message):
        Index.load(index.folder, model, parts[1])
    with pytest.raises(ValueError, match=message):
        build_index(texts("red"), model, parts[1], tmp_path / "other")
    with pytest.raises(ValueError, match="has no processor"):
        Index.load(index.folder, parts[0])
    with pytest.raises(ValueError, match="has no model"):
        Index.load(index.folder).search(text="red")


def test_a_checkpoint_is_the_same_model_wherever_and_in_whatever_type_it_is_loaded(index, parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    saved = MoTProcessor.from_pretrained(tmp_path / "model")
    for dtype in (torch.float32, torch.bfloat16):
        loaded = MoTForRetrieval.from_pretrained(tmp_path / "model", dtype=dtype, attn_implementation="eager")
        found = Index.load(index.folder, loaded, saved).search(text=WORDS[2], k=6, modality="text")
        assert next(hit["score"] for hit in found if hit["id"] == 2) == pytest.approx(1, abs=0.02)


def test_weights_on_a_disk_are_the_same_weights(parts, tmp_path):
    offloaded = make_model()
    disk_offload(offloaded, tmp_path / "offloaded")
    assert any(parameter.is_meta for parameter in offloaded.parameters())
    assert fingerprint_of_weights(offloaded) == fingerprint_of_weights(parts[0])


def test_a_model_that_was_trained_since_is_another(parts, tmp_path):
    model, processor = make_model(), parts[1]
    index = build_index(texts("red", "blue"), model, processor, tmp_path / "index")
    assert index.search(text="red", k=1)
    with torch.no_grad():
        next(model.parameters()).add_(0.5)  # what an optimizer does
    with pytest.raises(ValueError, match="differ in weights"):
        index.search(text="red", k=1)


def test_a_setting_that_only_one_version_knows_is_no_difference(index, parts):
    description = index.description | {"settings": index.description["settings"] | {"config.of_tomorrow": 1}}
    check_embedder(index.folder, description, *parts)


def as_earlier_version(index, model):
    """The folder as versions left it that listed no shards."""
    description = {name: index.description[name] for name in ("fingerprint", "rows", "columns", "width", "model")}
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().float().numpy().tobytes())
    description |= {"weights": digest.hexdigest(), "removed": [1]}
    (index.folder / "index.json").write_text(json.dumps(description))


def test_an_index_of_an_earlier_version_is_read_and_changed(index, parts):
    as_earlier_version(index, parts[0])
    with pytest.raises(ValueError, match="differ in weights"):
        Index.load(index.folder, make_model(seed=1), parts[1])
    found = Index.load(index.folder, *parts)
    expected = dict(enumerate(WORDS[:6]))
    del expected[1]
    assert contents(found) == expected
    found.add(texts("nine")).remove([0])
    del expected[0]
    assert contents(Index.load(index.folder, *parts)) == expected | {6: "nine"}


def test_the_model_stays_in_the_mode_that_it_was_in(parts, tmp_path):
    model = make_model().train()
    model.mot.eval()
    modes = {name: module.training for name, module in model.named_modules()}
    index = build_index(texts("red", "blue"), model, parts[1], tmp_path / "index")
    index.search(text="red")
    assert {name: module.training for name, module in model.named_modules()} == modes


# ------------------------------------------------------ changes -----------------------------------------------------


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

    real = embed_part
    with monkeypatch.context() as patch:
        patch.setattr("mixture_of_transformers.search.index.embed_part", counted)
        with pytest.raises(Killed):
            index.add(more, shard_rows=2)
    index.remove([0])  # in between, which leaves what is done alone
    started = []
    monkeypatch.setattr(
        "mixture_of_transformers.search.index.embed_part", lambda *args: started.append(args[3]) or real(*args)
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


# ------------------------------------------------- rows that join others --------------------------------------------


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


# ------------------------------------------------------- rows -------------------------------------------------------


def paint(file, shade):
    Picture.new("RGB", (8, 8), (shade, 0, 0)).save(file)
    return str(file)


def test_an_index_holds_its_media(parts, tmp_path):
    (tmp_path / "photos").mkdir()
    paths = [paint(tmp_path / "photos" / f"{shade}.png", shade) for shade in (10, 200)]
    rows = Dataset.from_dict({"image": [*paths, None]}).cast_column("image", Image())
    build_index(rows, *parts, tmp_path / "index")
    shutil.rmtree(tmp_path / "photos")
    shutil.move(tmp_path / "index", tmp_path / "moved")
    found = Index.load(tmp_path / "moved", *parts)
    shown = found.dataset.cast_column("image", Image())
    assert [shown[i]["image"].getpixel((0, 0)) for i in range(2)] == [(10, 0, 0), (200, 0, 0)]
    assert found.search(image=shown[1]["image"], k=1)[0]["id"] == 1
    assert str(tmp_path) not in str(found.dataset[0])  # nor where they lay


@pytest.mark.parametrize("how", ["build", "add"])
def test_pictures_that_are_named_by_their_paths_lie_in_the_index(how, parts, tmp_path):
    paths = [paint(tmp_path / f"{shade}.png", shade) for shade in (10, 200)]
    rows = Dataset.from_dict({"photo": paths})
    first = rows if how == "build" else rows.select([0])
    index = build_index(first, *parts, tmp_path / "index", columns={"image": "photo"})
    if how == "add":
        index.add(rows.select([1]))
    for path in paths:
        Path(path).unlink()
    shown = Index.load(index.folder).dataset.cast_column("photo", Image())
    assert [shown[i]["photo"].getpixel((0, 0)) for i in range(2)] == [(10, 0, 0), (200, 0, 0)]
    assert str(tmp_path) not in str(index.dataset[0])


def test_a_picture_that_changed_under_its_name_is_not_taken_for_the_old_one(parts, tmp_path):
    rows = Dataset.from_dict({"image": [paint(tmp_path / "a.png", 10)]}).cast_column("image", Image())
    build_index(rows, *parts, tmp_path / "index")
    build_index(rows, *parts, tmp_path / "index")  # there is nothing to do
    paint(tmp_path / "a.png", 200)
    with pytest.raises(ValueError, match="holds an index of other rows"):
        build_index(rows, *parts, tmp_path / "index")


def test_a_row_that_cannot_be_read_is_named(parts, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [paint(tmp_path / "a.png", 10)] * 5 + [str(tmp_path / "broken.png")]
    rows = Dataset.from_dict({"image": paths}).cast_column("image", Image())
    with pytest.raises(ValueError, match="Row 5 of the dataset cannot be embedded: .*broken"):
        build_index(rows, *parts, tmp_path / "index", batch_size=4, shard_rows=5)
    with pytest.raises(ValueError, match="has 5 of 6 rows"):
        Index.load(tmp_path / "index")


def test_an_embedding_that_is_not_finite_is_an_error_not_an_absent_one(parts, tmp_path):
    model = make_model()
    with torch.no_grad():
        next(model.parameters()).fill_(torch.nan)
    with pytest.raises(ValueError, match="Row 0 of the dataset .*the model's text embedding is not finite"):
        build_index(texts("red"), model, parts[1], tmp_path / "index")


def test_rows_that_lack_some_or_all_modalities_keep_their_ids(parts, tmp_path):
    picture = paint(tmp_path / "a.png", 10)
    columns = {"text": ["red", None, "  ", None, "blue"], "image": [None, picture, None, None, picture]}
    rows = Dataset.from_dict(columns).cast_column("image", Image())
    index = build_index(rows, *parts, tmp_path / "index", batch_size=2, shard_rows=3)
    given = {kind: where.nonzero().flatten().tolist() for kind, where in index.present.items()}
    assert given == {"text": [0, 4], "image": [1, 4], "audio": [], "fused": [4]}
    assert {hit["id"] for hit in index.search(text="red", k=10)} == {0, 1, 4}


def test_a_modality_that_no_row_has_is_an_error(index):
    for modality, approximate in (("audio", False), ("image", False), ("fused", True)):
        with pytest.raises(ValueError, match=f"No row of the index has {modality}: there is text"):
            index.search(text="red", modality=modality, approximate=approximate)
    assert index.search(text="red", modality="text", k=1)
    index.remove(range(6))
    assert index.search(text="red", modality="text") == []


def test_columns_that_are_left_out_are_named(parts, tmp_path, caplog):
    columns = {"text": ["red"], "photo": [paint(tmp_path / "a.png", 10)], "label": [1]}
    for number, columns_given in enumerate((None, {"text": "text"}, {"image": "photo"})):
        caplog.clear()
        found = build_index(Dataset.from_dict(columns), *parts, tmp_path / str(number), columns=columns_given)
        assert ("embeds 'text' as text; it leaves out 'photo'." in caplog.text) == (columns_given is None)
        assert "label" not in caplog.text
        assert found.present["image" if number == 2 else "text"].all()


def test_rows_of_which_nothing_is_embedded_are_counted(parts, tmp_path, caplog):
    index = build_index(texts("red", "", None, "blue"), *parts, tmp_path / "index")
    assert "Nothing is embedded of 2 of 4 rows, such as row 1: their cells of 'text' are empty" in caplog.text
    caplog.clear()
    index.add(texts("cat"))
    assert "Nothing is embedded" not in caplog.text
    index.add(texts("dog", " "))
    assert "Nothing is embedded of 1 of 2 rows, such as row 6" in caplog.text


def test_there_may_be_fewer_rows_than_asked_for_or_none(index):
    assert len(index.search(text="red", k=10**9)) == 6
    assert index.search(text="red", where={"text": "purple"}) == []
    assert index.search(text=["red", "blue"], where=lambda row: False) == [[], []]
    assert index.search(text=[]) == [] and index.search(embedding=torch.zeros(0, WIDTH)) == []
    index.remove(range(6))
    assert len(index) == 0 and index.search(text="red") == [] and index.search(text=["red"]) == [[]]
    index.add(texts("nine"))
    assert contents(index) == {6: "nine"}


def test_queries_that_cannot_be_are_errors(index, parts, tmp_path):
    for k in (0, True, 2.0, None):
        with pytest.raises(ValueError, match="`k` is how many rows to find"):
            index.search(text="red", k=k)
    for embedding in (torch.zeros(WIDTH), torch.full((2, WIDTH), torch.nan)):
        with pytest.raises(ValueError, match="`embedding` points nowhere: row 0"):
            index.search(embedding=embedding)
    with pytest.raises(ValueError, match="an `embedding` or text, not both"):
        index.search("red", embedding=torch.ones(WIDTH))
    picture = Picture.new("RGB", (8, 8))
    for image in (picture, [picture]):
        with pytest.raises(ValueError, match="Several queries are lists of the same length"):
            index.search(text=["red", "blue"], image=image)
    assert len(index.search(embedding=torch.ones(WIDTH, requires_grad=True))) == 6
    with pytest.raises(ValueError, match="expected a list of rows"):
        index.remove(3)
    with pytest.raises(ValueError, match="The dataset has no rows"):
        index.add(texts())
    with pytest.raises(ValueError, match="`dataset` is a DatasetDict"):
        build_index(load_dict(tmp_path), *parts, tmp_path / "other")


@pytest.mark.parametrize("name, nearest", [("images", "image"), ("txt", "text"), ("top_k", None), ("filter", None)])
def test_an_unknown_part_of_a_query_is_an_error_with_the_nearest(name, nearest, index):
    hint = (
        f"did you mean `{nearest}`"
        if nearest
        else "there are text, image, audio, embedding, k, modality, where, approx"
    )
    with pytest.raises(ValueError, match=f"Unknown argument `{name}`: {hint}"):
        index.search(text="red", **{name: "blue"})


def test_an_index_is_shown_in_one_line(index):
    index.remove([0])
    assert repr(index) == f"Index({str(index.folder)!r}: 5 rows, embedded: 5 text)"


def test_a_blank_part_of_a_query_is_no_part(parts, tmp_path):
    columns = {"text": ["red", "blue"], "image": [paint(tmp_path / f"{n}.png", n) for n in (10, 200)]}
    index = build_index(Dataset.from_dict(columns).cast_column("image", Image()), *parts, tmp_path / "index")
    picture = columns["image"][0]
    assert index.search(text=" \n", image=picture, audio="") == index.search(image=picture)
    blank, absent = {"text": ["", "red"], "image": [picture, " "]}, {"text": [None, "red"], "image": [picture, None]}
    assert index.search(**blank) == index.search(**absent)
    with pytest.raises(ValueError, match="Give a query: .*a blank string is none"):
        index.search(text="  ")
    with pytest.raises(ValueError, match="Row 1 is empty: text is None or blank"):
        index.search(text=["red", ""])


def load_dict(folder):
    texts("red").to_json(folder / "train.jsonl")
    return load_dataset("json", data_files={"train": str(folder / "train.jsonl")}, cache_dir=str(folder / "cache"))


# ----------------------------------------------------- filters ------------------------------------------------------


@pytest.fixture(scope="module")
def shelf(parts, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shelf")
    picture = paint(folder / "a.png", 10)
    columns = {
        "text": ["red", "blue", None],
        "image": [picture, None, picture],
        "size": [1, 2, None],
        "price": [0.1, 2.0, 0.1],
        "sold": [True, False, None],
        "kind": [0, 1, -1],
        "tags": [["a", "b"], [], None],
    }
    types = {"text": "string", "size": "int64", "price": "float32", "sold": "bool"}
    features = {name: Value(kind) for name, kind in types.items()}
    features |= {"image": Image(), "kind": ClassLabel(names=["cat", "dog"]), "tags": List(Value("string"))}
    return build_index(Dataset.from_dict(columns, features=Features(features)), *parts, folder / "index")


@pytest.mark.parametrize(
    "where, ids",
    [
        ({"text": "red"}, {0}),
        ({"text": None}, {2}),
        ({"image": None}, {1}),
        ({"size": 1}, {0}),
        ({"size": 1.0}, {0}),
        ({"size": np.int64(2)}, {1}),
        ({"size": None}, {2}),
        ({"price": 0.1}, {0, 2}),
        ({"price": 2}, {1}),
        ({"sold": False}, {1}),
        ({"kind": "dog"}, {1}),
        ({"kind": 0}, {0}),
        ({"kind": -1}, {2}),
        ({"tags": ["a", "b"]}, {0}),
        ({"tags": []}, {1}),
        ({"tags": None}, {2}),
        ({"price": 0.1, "kind": "cat"}, {0}),
        ({}, {0, 1, 2}),
    ],
)
def test_a_filter_lets_through_the_rows_with_these_values(where, ids, shelf):
    assert {hit["id"] for hit in shelf.search(embedding=torch.ones(WIDTH), where=where)} == ids


@pytest.mark.parametrize(
    "where, message",
    [
        ({"image": "a.png"}, "cannot compare 'image', a column of images, with 'a.png'.*a function of the row"),
        ({"pries": 1}, "names 'pries', but the rows have .*Did you mean 'price'"),
        ({"text_embedding": [1.0]}, "names 'text_embedding', but the rows have text, image, "),
        ({"kind": "dogs"}, "the class 'dogs' of 'kind', which is none of its classes: did you mean 'dog'"),
        ({"kind": 2}, "class 2 of 'kind', which has 0 to 1"),
        ({"size": "1"}, r"'1' \(str\) in 'size', whose cells are int64, so that nothing matches"),
        ({"size": 1.5}, r"1.5 \(float\) in 'size'"),
        ({"size": True}, r"True \(bool\) in 'size'"),
        ({"price": True}, r"True \(bool\) in 'price'"),
        ({"sold": 1}, r"1 \(int\) in 'sold'"),
        ({"text": 3}, r"3 \(int\) in 'text'"),
        ({"text": ["red", "blue"]}, r"\(list\) in 'text'"),
        ({"tags": "a"}, r"'a' \(str\) in 'tags'"),
        ("size == 1", "expected a dict from columns to values, or a function"),
    ],
)
def test_a_filter_that_can_match_nothing_is_an_error(where, message, shelf):
    with pytest.raises(ValueError, match=message):
        shelf.search(embedding=torch.ones(WIDTH), where=where)


# ------------------------------------------------------ damage ------------------------------------------------------


def rewritten(make):
    def damage(folder):
        file = folder / "shard-00001.parquet"
        table = pq.read_table(file)
        pq.write_table(make(table), file)

    return damage


def described(**fields):
    def damage(folder):
        file = folder / "index.json"
        file.write_text(json.dumps(json.loads(file.read_text()) | fields))

    return damage


def with_embeddings(cells):
    def make(table):
        place = table.schema.get_field_index("text_embedding")
        return table.set_column(place, "text_embedding", pa.array(cells, pa.list_(pa.float32())))

    return rewritten(make)


def cut(name, keep):
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:keep])


def swap(folder):
    one, other = folder / "shard-00000.parquet", folder / "shard-00001.parquet"
    one.rename(folder / "aside")
    other.rename(one)
    (folder / "aside").rename(other)


DAMAGES = {
    "index.json is empty": (cut("index.json", 0), "index.json is damaged, it holds no JSON"),
    "index.json is cut": (cut("index.json", 100), "index.json is damaged, it holds no JSON"),
    "index.json is a list": (lambda folder: (folder / "index.json").write_text("[]"), "holds no table of fields"),
    "no rows": (described(rows=None), "index.json is damaged: `rows` is None, expected int"),
    "other rows": (described(rows=7), "has 6 rows, but `rows` of index.json is 7"),
    "half the width": (described(width=4), "`width` of index.json is 4"),
    "width in words": (described(width="8"), "index.json is damaged: `width` is '8', expected int"),
    "removed what is not there": (described(removed=[99]), "index.json is damaged: `removed` holds 99, no row of 6"),
    "removed from the end": (described(removed=[-1]), "index.json is damaged: `removed` holds -1"),
    "removed nothing": (described(removed=None), "index.json is damaged: `removed` is None, expected list"),
    "a shard of elsewhere": (described(shards=[{"file": "../x.parquet"}]), "'../x.parquet' is the name of no shard"),
    "a shard is missing": (lambda folder: (folder / "shard-00001.parquet").unlink(), "00001.parquet is missing"),
    "a shard is empty": (cut("shard-00001.parquet", 0), "shard-00001.parquet is damaged"),
    "a shard is cut": (cut("shard-00001.parquet", -40), "shard-00001.parquet is damaged"),
    "shards are swapped": (swap, "shard-00000.parquet is not the shard that was written"),
    "embeddings of NaN": (with_embeddings([[np.nan] * 8] * 2), "shard-00001.parquet is not the shard"),
    "long embeddings": (with_embeddings([[100.0] * 8] * 2), "shard-00001.parquet is not the shard"),
    "a column is gone": (rewritten(lambda t: t.drop_columns(["text_embedding"])), "00001.*no column text_embedding"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_damaged_is_named_with_what_to_do(damage, index, parts):
    shutil.rmtree(index.folder / ".cache")
    make, message = DAMAGES[damage]
    make(index.folder)
    with pytest.raises(ValueError, match=message) as error:
        Index.load(index.folder, *parts)
    assert "Restore it from a copy, or delete the folder and build the index again" in str(error.value)


def as_json(**fields):
    """Shards without checksums, so that what they hold is all that can be looked at; and other fields."""

    def damage(folder):
        described(shards=[{"file": f"shard-{i:05d}.parquet"} for i in range(2)], **fields)(folder)

    return damage


def unsigned(damage):
    def both(folder):
        damage(folder)
        as_json()(folder)

    return both


HOSTILE = {
    "a list in a list": (lambda folder: (folder / "index.json").write_text("[" * 100_000), "index.json is damaged"),
    "shards are a number": (described(shards=3), "`shards` is no list"),
    "a shard is a number": (described(shards=[3]), "3 is the name of no shard"),
    "a shard twice": (described(shards=[{"file": "shard-00000.parquet"}] * 2), "shard-00000.parquet cannot be"),
    "rows of a shard in words": (described(shards=[{"file": "shard-00000.parquet", "rows": "4"}]), "00000.*cannot be"),
    "pending is a list": (described(pending=[]), "`pending` is"),
    "width of nothing": (described(width=0), "`width` is 0"),
    "width of any size": (described(width=10**15), "`width` of index.json is 1000000000000000"),
    "rows of any number": (described(rows=10**15), "has 6 rows, but `rows` of index.json is 1000000000000000"),
    "columns of another kind": (described(columns={"smell": "text"}), "`columns` holds 'smell'"),
    "columns that are not there": (described(columns={"text": "gone"}), "names the column 'gone'"),
    "settings are a list": (described(settings=[1]), "`settings` is"),
    "NaN without a checksum": (unsigned(with_embeddings([[np.nan] * 8] * 2)), "00001.*has not the length 1"),
    "null without a checksum": (unsigned(with_embeddings([[None] * 8] * 2)), "00001.*has not the length 1"),
    "long without a checksum": (unsigned(with_embeddings([[9.0] * 8] * 2)), "00001.*has not the length 1"),
    "words for numbers": (
        unsigned(rewritten(lambda t: t.set_column(1, t.column_names[1], pa.array([["a"]] * 2)))),
        "00001.*expected lists of float32",
    ),
    "other columns": (unsigned(rewritten(lambda t: t.append_column("x", pa.array([1, 2])))), "has other columns"),
}


@pytest.mark.parametrize("damage", HOSTILE)
@pytest.mark.parametrize("cached", [True, False])
def test_what_was_made_to_harm_is_named_with_what_to_do(damage, cached, index, parts):
    if not cached:
        shutil.rmtree(index.folder / ".cache")
    make, message = HOSTILE[damage]
    make(index.folder)
    with pytest.raises(ValueError, match=message) as error:
        Index.load(index.folder, *parts)
    assert "Restore it from a copy, or delete the folder and build the index again" in str(error.value)


def test_a_row_that_is_but_a_path_is_not_read(parts, tmp_path):
    picture = Dataset.from_dict({"text": ["red"], "image": [paint(tmp_path / "a.png", 10)]})
    index = build_index(picture.cast_column("image", Image()), *parts, tmp_path / "index")
    file = index.folder / "shard-00000.parquet"
    table = pq.read_table(file)
    place = table.schema.get_field_index("image")
    cells = pa.array([{"bytes": None, "path": "/etc/passwd"}], table.schema.field(place).type)
    pq.write_table(table.set_column(place, table.schema.field(place), cells), file)
    description = json.loads((index.folder / "index.json").read_text())
    description["shards"][0].pop("sha256")
    (index.folder / "index.json").write_text(json.dumps(description))
    with pytest.raises(
        ValueError, match="00000.parquet holds only the path of 'image' of row 0.*outside of its folder"
    ):
        Index.load(index.folder)


@pytest.mark.parametrize("name", [".lock", ".cache", "index.partial", "shard-00002.partial", "shard-00001.parquet"])
def test_links_out_of_an_index_are_not_followed(name, index, parts, tmp_path):
    target = tmp_path / "target"
    if name == ".cache":
        (target / "parquet").mkdir(parents=True)
    else:
        target.write_text("precious")
    path = index.folder / name
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    path.symlink_to(target)
    for use in (lambda: Index.load(index.folder), lambda: index.remove([0]), lambda: index.add(texts("nine"))):
        with pytest.raises(ValueError, match=f"{name} is a link to .*target, outside of the index"):
            use()
    assert (target / "parquet").is_dir() if name == ".cache" else target.read_text() == "precious"


def test_the_links_of_the_hubs_cache_are_followed(index, tmp_path):
    repository = tmp_path / "datasets--user--index"
    snapshot = shutil.copytree(index.folder, repository / "snapshots" / "0")
    (repository / "blobs").mkdir()
    for number, file in enumerate([*snapshot.glob("shard-*"), snapshot / "index.json"]):
        file.rename(repository / "blobs" / str(number))
        file.symlink_to(f"../../blobs/{number}")
    assert contents(Index.load(snapshot)) == contents(index)


def test_what_can_be_made_again_is_made_again(index):
    expected = contents(index)
    for file in (index.folder / ".cache").iterdir():
        file.write_bytes(file.read_bytes()[:50])
    assert contents(Index.load(index.folder)) == expected
    (index.folder / "index.partial").write_bytes(b"half")
    assert contents(Index.load(index.folder)) == expected


def test_the_shards_are_tables_that_others_read(index):
    table = load_dataset("parquet", data_files=f"{index.folder}/shard-*.parquet", split="train", streaming=True)
    assert [row["text"] for row in table] == WORDS[:6]
    assert set(table.features) == {"text", *EMBEDDINGS}


def test_what_embeds_is_described_by_names_that_say_what_they_are(parts):
    settings = describe_embedder(*parts)["settings"]
    assert settings["config.text_config.num_attention_heads"] == 2
    assert settings["processor.image_processor.size.height"] == 8
    assert json.loads(json.dumps(settings)) == settings
