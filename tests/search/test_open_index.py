# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An index of any set of modalities: each is embedded, kept, asked for and shown by its name."""

import json
import shutil

import numpy as np
import pytest
import torch
from datasets import Image
from forked import run_mot
from open_rows import MODALITIES, ROWS, as_dataset, cells, make_model, make_processor

from mixture_of_transformers import MoTForRetrieval
from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.commands import load_with_model
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.search.rows import rows_to_index

NAMES = ["text", *MODALITIES]
EXTRA = ["depth:image=depth", "imu=acc", "vitals=age,bmi,sex", "none"]


@pytest.fixture(scope="module")
def parts():
    return make_model(MoTForRetrieval), make_processor()


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return as_dataset(cells(), tmp_path_factory.mktemp("pictures") / "pictures")


def columns_of(split):
    return ModalityColumns.guess(split.features, rows=split, extra=EXTRA, label="none")


@pytest.fixture(scope="module")
def built(parts, split, tmp_path_factory):
    rows, columns = rows_to_index(split, columns_of(split))
    return build_index(rows, *parts, tmp_path_factory.mktemp("open"), columns, batch_size=3, shard_rows=5).folder


@pytest.fixture
def index(built, parts, tmp_path):
    return Index.load(shutil.copytree(built, tmp_path / "index"), *parts)


def embedded(parts, row):
    """The embedding of one row by itself."""
    model, processor = parts
    names = {name: [np.array(cell) if name == "imu" else cell] for name, cell in row.items()}
    with torch.no_grad():
        return model.get_fused_features(**processor(**names)).pooler_output[0]


def by_loop(parts, query, kind):
    """id -> score, one row and one cosine similarity at a time."""
    scores = {}
    for i, row in enumerate(cells()):
        given = row if kind == "fused" else {kind: row[kind]} if kind in row else {}
        if len(given) > (kind == "fused"):
            scores[i] = torch.nn.functional.cosine_similarity(query, embedded(parts, given), dim=0).item()
    return scores


@pytest.mark.parametrize("given", [["imu"], ["vitals"], ["depth"], ["text", "imu"], NAMES])
@pytest.mark.parametrize("modality", [*NAMES, "fused"])
def test_search_by_any_modalities_equals_a_loop_over_cosine_similarities(given, modality, index, parts):
    query = {name: cells()[0][name] for name in given}
    found = index.search(**query, k=ROWS, modality=modality)
    scores = by_loop(parts, embedded(parts, query), modality)
    assert {hit["id"] for hit in found} == scores.keys() and {hit["modality"] for hit in found} == {modality}
    assert np.allclose([hit["score"] for hit in found], [scores[hit["id"]] for hit in found], atol=1e-5)


@pytest.mark.parametrize("name", MODALITIES)
def test_a_list_of_cells_is_as_many_queries_and_one_cell_is_one(name, index):
    queries = [row[name] for row in cells() if name in row][:3]
    together = index.search(**{name: queries}, k=3)
    assert len(together) == 3
    for query, found in zip(queries, together):
        alone = index.search(**{name: query}, k=3)
        assert [hit["id"] for hit in alone] == [hit["id"] for hit in found]
        assert np.allclose([hit["score"] for hit in alone], [hit["score"] for hit in found], atol=1e-5)


def test_an_index_knows_its_modalities_without_a_model_and_keeps_the_rows_as_they_were(built, split):
    found = Index.load(built)
    assert found.kinds == ("text", "image", "audio", "depth", "imu", "vitals", "fused")
    assert found.description["columns"] == {"text": "text", "depth": "depth", "imu": "acc", "vitals": "vitals"}
    assert {"depth": 6, "imu": 6, "vitals": 6}.items() <= {k: int(v.sum()) for k, v in found.present.items()}.items()
    assert found.rows["acc"][:] == split["acc"][:] and found.rows["age"][:] == split["age"][:]
    shown = found.rows.cast_column("depth", Image())[0]["depth"]
    assert np.array_equal(np.array(shown), np.array(cells()[0]["depth"]))


def test_rows_join_and_indices_merge(index, built, parts, tmp_path):
    first = index.rows.select([0, 3])
    index.add(first)
    found = index.search(vitals=cells()[0]["vitals"], modality="vitals", k=2)
    assert {hit["id"] for hit in found} == {0, ROWS} and found[0]["score"] == pytest.approx(1, abs=1e-5)
    both = Index.merge([built, index.folder], tmp_path / "both", *parts)
    assert len(both) == 2 * ROWS + 2 and both.kinds == index.kinds
    found = both.search(imu=cells()[0]["imu"], modality="imu", k=3)
    assert {hit["id"] for hit in found} == {0, ROWS, 2 * ROWS}


def test_an_unknown_name_is_an_error_with_the_nearest_of_this_index(index):
    with pytest.raises(ValueError, match="Unknown argument `vital`: did you mean `vitals`"):
        index.search(vital={"age": 3})
    with pytest.raises(ValueError, match="expected one of text, image, audio, depth, imu, vitals, fused"):
        index.search(text="red", modality="thermal")
    with pytest.raises(ValueError, match="Give a query: `text=`, `image=`, `audio=`, `depth=`, `imu=`, `vitals=`"):
        index.search(text=" ")


def test_a_description_that_names_no_modalities_is_damaged(index):
    for wrong in ("imu", [3], ["../imu"]):
        (index.folder / "index.json").write_text(json.dumps(index.description | {"extra_modalities": wrong}))
        with pytest.raises(ValueError, match="is damaged: `extra_modalities` is"):
            Index.load(index.folder)


def test_a_processor_with_another_scale_is_another(index, parts):
    other = make_processor()
    other.modalities["imu"]["std"] = [1.0, 3.0]
    with pytest.raises(ValueError, match="differ in processor.modalities.imu"):
        Index.load(index.folder, parts[0], other)


def test_several_pictures_of_a_row_lie_in_the_index_and_are_one_embedding(parts, tmp_path):
    rows = [{"text": "red", "depth": row["depth"]} for row in cells() if "depth" in row][:3]
    split = as_dataset(rows, tmp_path / "pictures")
    split = split.select_columns(["text", "depth"]).add_column("back", split["depth"][::-1])
    columns = ModalityColumns.guess(split.features, rows=split, extra=["depth=depth,back", "none"], label="none")
    found, of_kind = rows_to_index(split, columns, allowed_paths=AllowedPaths((str(tmp_path),)))
    index = build_index(found, *parts, tmp_path / "index", of_kind)
    shutil.rmtree(tmp_path / "pictures")
    index = Index.load(index.folder, *parts)
    query = [rows[0]["depth"], rows[2]["depth"]]
    hits = index.search(depth=[query], modality="depth", k=3)[0]
    assert {hit["id"] for hit in hits[:2]} == {0, 2}  # the same set of pictures, in whatever order
    assert [hit["score"] for hit in hits[:2]] == pytest.approx([1, 1], abs=1e-5) and hits[2]["score"] < 0.9999


def test_the_commands_take_any_modality(parts, split, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    split.to_parquet(tmp_path / "rows.parquet")
    asked = ["--model", "model", "--output_dir", "index", "--allow_outside_paths"]
    done = run_mot(tmp_path, "index", "rows.parquet", *asked, "--extra_columns", "imu=acc")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "imu: column 'acc'" in done.stdout and "vitals: columns 'age'" in done.stdout  # found by the model's names
    np.save(tmp_path / "walk.npy", np.array(cells()[0]["imu"]))
    (tmp_path / "row.json").write_text(json.dumps({"vitals": cells()[0]["vitals"]}))
    done = run_mot(tmp_path, "search", "index", "--row", "row.json", "imu=walk.npy", "-k", "2", "--modality", "imu")
    expected = load_with_model(str(tmp_path / "index"), str(tmp_path / "model"))
    expected = expected.search(imu=cells()[0]["imu"], vitals=cells()[0]["vitals"], k=2, modality="imu")
    assert [line.split()[:4] for line in done.stdout.splitlines()] == [
        [f"{hit['score']:.3f}", "imu", "row", str(hit["id"])] for hit in expected
    ], done.stderr[-2000:]
    done = run_mot(tmp_path, "search", "index", "--row", "imus=walk.npy")
    assert done.returncode == 1 and "did you mean `imu`" in done.stderr
    done = run_mot(tmp_path, "index", "rows.parquet", *asked, "--extra_columns", "walk=acc")
    assert done.returncode == 1 and "the model takes depth, imu, vitals" in done.stderr
