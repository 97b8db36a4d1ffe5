# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What is damaged in an index, or was made to harm, is named with what to do."""

import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset, Image, load_dataset
from small_indices import contents, paint, texts
from word_retriever import WORDS

from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.columns import EMBEDDING_KINDS, embedding_column
from mixture_of_transformers.search.embedder import describe_embedder
from mixture_of_transformers.search.index import Index


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
    assert set(table.features) == {"text", *map(embedding_column, EMBEDDING_KINDS)}


def test_what_embeds_is_described_by_names_that_say_what_they_are(parts):
    settings = describe_embedder(*parts)["settings"]
    assert settings["config.text_config.num_attention_heads"] == 2
    assert settings["processor.image_processor.size.height"] == 8
    assert json.loads(json.dumps(settings)) == settings
