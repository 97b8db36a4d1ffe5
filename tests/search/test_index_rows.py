# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What an index holds of a row, and what queries it answers."""

import shutil
from pathlib import Path

import pytest
import torch
from datasets import Dataset, Image, load_dataset
from PIL import Image as Picture
from small_indices import contents, paint, texts
from word_retriever import WIDTH, make_model

from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.index import Index


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
        else "there are text, image, audio, video, embedding, k, modality, where, approx"
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
