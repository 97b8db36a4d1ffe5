# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A dataset is data: it starts nothing, reads no file but its own, and takes bounded memory, whatever it holds."""

import bz2
import gzip
import http.server
import io
import json
import pickle
import pickletools
import struct
import tarfile
import threading
import tracemalloc
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Audio, Dataset, Image
from PIL import Image as PILImage
from small_media import png_bytes, sound_bytes
from transformers import HfArgumentParser

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.folders import list_files
from mixture_of_transformers.data.labels import shortened
from mixture_of_transformers.data.pickles import read_pickle
from mixture_of_transformers.data.preparation import drop_bad_examples, find_columns, prepare_split, prepare_splits
from mixture_of_transformers.data.sources import load_split, load_splits
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.data.unpacking import check_zip, read_tar
from mixture_of_transformers.decoding_mot import DecodingLimits
from mixture_of_transformers.evaluation.evaluate import EvaluateArguments
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.record import SETTINGS, Record, Run
from mixture_of_transformers.finetune.rows import limits_of, load_data, reading_of
from mixture_of_transformers.processing_mot import MoTProcessor
from mixture_of_transformers.search.rows import rows_to_index
from mixture_of_transformers.serving.evaluate import parse
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset


def png(value: int = 100) -> bytes:
    return png_bytes(PILImage.new("RGB", (8, 8), (value,) * 3))


# ---------------------------------------------------------------------------------------------------------------------
# Pickles
# ---------------------------------------------------------------------------------------------------------------------

CONTENT = {
    "train": {
        "id": ["a", "é"],
        "text": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
        "vision": [np.ones((2, 2), ">f8"), np.ones((3, 2), np.float16)],
        "names": np.array(["x", "ü"]),
        "objects": np.array(["x", "long one"], dtype=object),
        "scalars": [np.float32(1.5), np.float64(2.5)],
        "flags": (True, False),
        "numbers": [1, 2**40],
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "nothing": [None, -0.5],
        "bytes": [b"\x00\xff", b""],
    }
}


def same(left, right) -> bool:
    if isinstance(left, dict):
        return isinstance(right, dict) and list(left) == list(right) and all(same(left[k], right[k]) for k in left)
    if isinstance(left, list | tuple):
        return type(left) is type(right) and len(left) == len(right) and all(map(same, left, right))
    if isinstance(left, np.ndarray):
        return (
            left.dtype.newbyteorder("=") == right.dtype.newbyteorder("=")
            and left.shape == right.shape
            and left.tolist() == right.tolist()
        )
    return left == right and type(left) is type(right)


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_without_code_holds_what_python_reads_from_it(protocol, tmp_path):
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(CONTENT, protocol))
    assert same(pickle.loads(pickle.dumps(CONTENT, protocol)), read_pickle(str(tmp_path / "rows.pkl")))  # noqa: S301 (which the test has written)


def test_a_pickle_of_python_2_is_read_as_latin1(tmp_path):
    dtype = b"cnumpy\ndtype\n(U\x02f4K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    array = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00tU\x01btR(K\x01(K\x02t" + dtype
    numbers = np.float32([1.5, -2]).tobytes()
    content = b"\x80\x02}(U\x01t" + array + b"\x89U\x08" + numbers + b"tbU\x02id](U\x02\xe9aS'\\xfcb'\neu."
    (tmp_path / "rows.pkl").write_bytes(content)
    found, expected = read_pickle(str(tmp_path / "rows.pkl")), pickle.loads(content, encoding="latin1")  # noqa: S301 (which stands in the test)
    assert found["t"].tolist() == expected["t"].tolist() == [1.5, -2] and found["id"] == expected["id"] == ["éa", "üb"]


OBJECT = b"cnumpy\ndtype\n(X\x02\0\0\0O8K\0K\x01tR"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\x01btR(K\x01(K\x01t%bK\0%btb"
EVIL = {
    "an array of pointers, called": (
        b"\x80\x03cnumpy\nndarray\n((K\x01t" + OBJECT + b"C\x08AAAAAAAAtR.",
        "calls what is no part",
    ),
    "an array of pointers, built": (
        b"\x80\x03" + ARRAY % (OBJECT, b"C\x08AAAAAAAA") + b".",
        "given as bytes, expected a list",
    ),
    "a function": (b"cos\nsystem\n(S'true'\ntR.", "asks for 'os.system'"),
    "a function by its attribute": (
        b"\x80\x04\x8c\x08builtins\x94\x8c\x04eval\x94\x93\x8c\x011\x85R.",
        "asks for 'builtins.eval'",
    ),
    "a class": (b"\x80\x02c_codecs\nencode\n.", "holds a function or a type"),
    "an instance": (b"(S'true'\nios\nsystem\n.", "asks for INST"),
    "a persistent id": (b"Pabc\n.", "asks for PERSID"),
    "a state of a list": (b"]}b.", "gives a state to what is no numpy array"),
    "a shape that no file holds": (
        b"\x80\x03" + (ARRAY % (b"cnumpy\ndtype\n(X\x02\0\0\0f8K\0K\x01tR", b"C\0")) + b".",
        "cannot reshape",
    ),
    "text of four gigabytes": (b"\x80\x04\x8d" + struct.pack("<Q", 2**32) + b"abc.", "only 4 remain"),
    "a number that memory is set aside for": (b"\x80\x04Nr\xff\xff\xff\x7f.", "does not have the layout"),
}


@pytest.mark.parametrize("name", EVIL)
def test_a_pickle_that_is_more_than_data_is_an_error_that_calls_nothing_and_takes_no_memory(name, tmp_path):
    content, message = EVIL[name]
    (tmp_path / "evil.pkl").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(ValueError, match=rf"evil\.pkl'.*{message}"):
        load_splits(str(tmp_path / "evil.pkl"))
    assert tracemalloc.get_traced_memory()[1] < 2**24
    tracemalloc.stop()


def test_lists_that_hold_each_other_again_and_again_are_an_error(tmp_path):
    laughs = b"]q\0" + b"".join(
        b"](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"eq" + bytes([i + 1]) for i in range(60)
    )
    for content in (b"\x80\x02" + laughs + b".", b"\x80\x02]q\0h\0a."):
        assert pickletools.optimize(content)
        (tmp_path / "laughs.pkl").write_bytes(content)
        with pytest.raises(pickle.UnpicklingError, match="again and again"):
            read_pickle(str(tmp_path / "laughs.pkl"))


@pytest.mark.parametrize("values", [[], 3, ["a"], np.float32(1), {"a": 1}])
def test_a_column_of_a_pickle_that_is_none_is_named_with_its_split(values, tmp_path):
    content = {"train": {"text": np.ones((2, 3, 2), np.float32), "odd": values}}
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(content))
    with pytest.raises(ValueError, match=r"rows.pkl', split 'train': column 'odd'"):
        load_splits(str(tmp_path / "rows.pkl"))


# ---------------------------------------------------------------------------------------------------------------------
# Archives
# ---------------------------------------------------------------------------------------------------------------------


def tar(path: Path, *members: tuple, mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, content, *fields in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            for field in fields:
                for key, value in field.items():
                    setattr(member, key, value)
            archive.addfile(member, io.BytesIO(content))
    return path


def packed(path: Path, size: int, compress=gzip.compress) -> Path:
    """A compressed archive of one picture of zeros."""
    buffer = io.BytesIO()
    tar(path, ("0.png", bytes(size)), mode="w")
    buffer.write(compress(path.read_bytes()))
    path.write_bytes(buffer.getvalue())
    return path


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress], ids=["gzip", "bz2"])
def test_a_compressed_archive_that_grows_out_of_proportion_is_an_error_with_the_option(
    compress, tmp_path, monkeypatch
):
    monkeypatch.setattr("mixture_of_transformers.data.dataset_limits.ALWAYS_ALLOWED_BYTES", 1 << 20)
    bomb = packed(tmp_path / "bomb.tar", 1 << 23, compress)
    with pytest.raises(ValueError, match=r"bomb.tar' unpacks to more than 200 times .* raise --max_unpacked_ratio"):
        load_split(str(bomb))
    assert len(load_split(str(bomb), limits=DatasetLimits(max_unpacked_ratio=1e6))) == 1


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "json"])
def test_a_compressed_table_that_grows_out_of_proportion_is_an_error_with_the_option(suffix, tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.dataset_limits.ALWAYS_ALLOWED_BYTES", 1 << 20)
    (tmp_path / f"bomb.{suffix}.gz").write_bytes(gzip.compress(b"text,label\n" + b" " * (1 << 23)))
    with pytest.raises(ValueError, match=r"bomb.*' unpacks to more than 200 times .* raise --max_unpacked_ratio"):
        load_split(str(tmp_path / f"bomb.{suffix}.gz"))


def test_a_large_medium_of_an_archive_is_a_bad_row_with_the_option_and_a_large_text_an_error(tmp_path, caplog):
    few, limits = (
        [(f"{i}.{kind}", png() if kind == "png" else b"ab") for i in range(3) for kind in ("png", "txt")],
        DatasetLimits(),
    )
    rows = tar(tmp_path / "rows.tar", *few, ("3.png", bytes(3000)), ("3.txt", b"large"))
    limits = DatasetLimits(max_member_megabytes=0.002)
    split = load_split(str(rows), limits=limits)
    splits, _ = prepare_splits({"train": split}, find_columns(split))
    assert len(drop_bad_examples(splits["train"])) == 3
    assert "rows.tar: 3.png' is not read: it has 3,000 bytes, more than --max_member_megabytes 0.002" in caplog.text
    texts = tar(tmp_path / "texts.tar", *few, ("3.txt", b"a" * 3000))
    with pytest.raises(ValueError, match=r"texts.tar: 3.txt' has more than"):
        load_split(str(texts), limits=limits)


def test_links_and_devices_of_an_archive_are_left_out_and_said_and_names_lead_nowhere(tmp_path, caplog):
    secret = tmp_path / "secret.png"
    secret.write_bytes(png(7))
    link = {"type": tarfile.SYMTYPE, "linkname": str(secret)}
    rows = tar(
        tmp_path / "rows.tar",
        ("../../0.png", png(100)),
        ("1.png", b"", link),
        ("2.png", b"", {"type": tarfile.LNKTYPE, "linkname": str(secret)}),
        ("3.png", b"", {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5}),
        ("4.png", png(101)),
    )
    split = load_split(str(rows)).cast_column("png", Image(decode=False))
    assert [cell["bytes"] for cell in split["png"]] == [png(100), png(101)]
    assert all(f"'{i}.png' is left out, since it is no plain file" in caplog.text for i in (1, 2, 3))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rows.tar", "secret.png"]


def test_an_archive_of_too_many_files_is_an_error_with_the_option(tmp_path):
    rows = tar(tmp_path / "rows.tar", *((f"{i}.txt", b"a") for i in range(4)))
    with (
        open(rows, "rb") as file,
        pytest.raises(ValueError, match=r"rows.tar' holds more than 3 files: raise --max_members"),
    ):
        list(read_tar(file, "rows.tar", DatasetLimits(max_members=3)))


def write_zip(path: Path, *members: tuple) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content, *mode in members:
            member = zipfile.ZipInfo(name)
            member.compress_type, member.external_attr = zipfile.ZIP_DEFLATED, (mode or [0o100644])[0] << 16
            archive.writestr(member, content)
    return str(path)


ZIPS = {
    "leads out": (("../0.png", b""), r"'../0.png' leads out"),
    "absolute": (("/etc/0.png", b""), r"'/etc/0.png' leads out"),
    "link": (("0.png", "/etc/passwd", 0o120777), r"'0.png' leads out"),
    "large": (("0.png", bytes(3000)), r"'0.png' has 3,000 bytes, more than --max_member_megabytes"),
}


@pytest.mark.parametrize("name", ZIPS)
def test_a_zip_that_harms_is_an_error_before_it_is_unpacked(name, tmp_path):
    member, message = ZIPS[name]
    write_zip(
        tmp_path / "data" / "rows.zip" if (tmp_path / "data").mkdir() else tmp_path / "data" / "rows.zip", member
    )
    with pytest.raises(ValueError, match=rf"rows.zip': {message}"):
        load_splits(str(tmp_path / "data"), limits=DatasetLimits(max_member_megabytes=0.002))


def test_a_zip_that_grows_out_of_proportion_is_an_error_with_the_option(tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.dataset_limits.ALWAYS_ALLOWED_BYTES", 1 << 20)
    bomb = write_zip(tmp_path / "bomb.zip", *((f"{i}.png", bytes(1 << 20)) for i in range(3)))
    with pytest.raises(ValueError, match=r"bomb.zip' unpacks to more than 200 times .* --max_unpacked_ratio"):
        check_zip(bomb, DatasetLimits())
    check_zip(bomb, DatasetLimits(max_unpacked_ratio=1e5))


# ---------------------------------------------------------------------------------------------------------------------
# Tables
# ---------------------------------------------------------------------------------------------------------------------

TABLES = {
    "deep.jsonl": (b'{"text": ' + b"[" * 100_000 + b"\n", r"deep.jsonl', line 1, is JSON that cannot be read"),
    "deep.json": (b"[" * 100_000, r"deep.json'.* is JSON that cannot be read"),
    "digits.jsonl": (b'{"n": ' + b"9" * 5000 + b"}\n", r"digits.jsonl', line 1, is JSON that cannot be read"),
    "wide.jsonl": (
        b"".join(b'{"k%d": 1}\n' % i for i in range(10_001)),
        r"wide.jsonl' has more than 2000 columns",
    ),
    "wide.csv": (b",".join(b"k%d" % i for i in range(10_001)) + b"\n", r"wide.csv' has more than 2000 columns"),
    "escape.csv": (
        b"text,\x1b]0;owned\x07\na,b\n",
        r"called '\\x1b\]0;owned\\x07', with control characters: rename it",
    ),
    "gzip.csv.gz": (gzip.compress(b"text\na\n")[:-9], r"Cannot read '.*gzip.csv.gz'"),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_harms_is_an_error_that_names_it(name, tmp_path):
    content, message = TABLES[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_split(str(tmp_path / name))


def test_a_row_of_json_lines_has_a_longest_length(tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.tables.MAX_LINE_CHARACTERS", 1000)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"text": "a"}) + "\n" + json.dumps({"text": "a" * 1000}) + "\n")
    with pytest.raises(ValueError, match=r"rows.jsonl', line 2: a row may have"):
        load_split(str(tmp_path / "rows.jsonl"))


def test_a_json_document_has_a_largest_size(tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.tables.MAX_DOCUMENT_CHARACTERS", 1000)
    (tmp_path / "rows.json").write_text(json.dumps([{"text": "a" * 1000}]))
    with pytest.raises(ValueError, match=r"rows.json' has more than .* one object a line"):
        load_split(str(tmp_path / "rows.json"))


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("kind", ["a broken page", "cut short"])
def test_a_damaged_parquet_file_is_one_error_that_says_where(kind, streaming, tmp_path):
    words = np.random.default_rng(0).integers(0, 10**9, (4000, 3)).astype(str)
    for name in ("train", "validation"):
        rows = {"text": list(map(" ".join, words)), "label": ["a", "b"] * 2000}
        Dataset.from_dict(rows).to_parquet(tmp_path / f"{name}.parquet")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    middle = len(content) // 2
    content = content[:-100] if kind == "cut short" else content[:middle] + bytes(40) + content[middle + 40 :]
    (tmp_path / "train.parquet").write_bytes(content)
    with pytest.raises(
        ValueError, match=rf"Cannot read '.*{tmp_path.name}|Split 'train' cannot be read beyond its first"
    ):
        splits = load_splits(str(tmp_path), split_names={"test": "none"}, streaming=streaming)
        list(prepare_splits(splits, find_columns(splits["validation"], label="label"))[0]["train"])


# ---------------------------------------------------------------------------------------------------------------------
# Paths
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def outside(tmp_path) -> Path:
    (tmp_path / "outside.png").write_bytes(png(7))
    return tmp_path / "outside.png"


def dataset_of(form: str, folder: Path, path: str) -> str:
    """A dataset of 20 rows, the last of which names a path."""
    folder.mkdir()
    for i in range(19):
        (folder / f"{i}.png").write_bytes(png(i))
    paths, labels = [*(f"{i}.png" for i in range(19)), path], ["ab"[i % 2] for i in range(20)]
    rows = [{"image": file, "label": label} for file, label in zip(paths, labels)]
    if form == "csv":
        (folder / "train.csv").write_text("image,label\n" + "".join(f"{p},{c}\n" for p, c in zip(paths, labels)))
    elif form == "jsonl":
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif form == "metadata":
        lines = (json.dumps({"file_name": row["image"], "label": row["label"]}) for row in rows)
        (folder / "metadata.jsonl").write_text("\n".join(lines))
    elif form == "parquet of strings":
        Dataset.from_list(rows).to_parquet(folder / "train.parquet")
    else:
        split = Dataset.from_list([row | {"image": str(folder / row["image"])} for row in rows])
        if form == "parquet of pictures":
            split.cast_column("image", Image(decode=False)).to_parquet(folder / "train.parquet")
        else:
            split.save_to_disk(folder)
    return str(folder)


FORMS = ("csv", "jsonl", "metadata", "parquet of strings", "parquet of pictures", "saved")


@pytest.mark.parametrize("form", FORMS)
def test_a_path_that_leads_out_of_the_dataset_is_an_error_with_row_column_and_option(form, outside, tmp_path):
    data = DataArguments(dataset_name=dataset_of(form, tmp_path / "data", "../outside.png"), max_text_tokens=9)
    data.validation_split, data.test_split = None, "none"
    with pytest.raises(
        ValueError,
        match=r"Row \d+ of split '\w+', column 'image', names '.*outside.png', which does not lie "
        r"in .*data: move the file there, or pass --allow_outside_paths",
    ):
        load_data(data, 0)
    data.allow_outside_paths = True
    assert sum(map(len, load_data(data, 0)[0].values())) == 20


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
def test_a_whole_path_is_read_where_it_lies_in_the_dataset_alone(streaming, outside, tmp_path):
    name = dataset_of("csv", tmp_path / "data", str(tmp_path / "data" / "0.png"))
    split = load_splits(name, split_names={"validation": "train"}, streaming=streaming)["train"]
    splits, _ = prepare_splits({"train": split}, find_columns(split), allowed_paths=AllowedPaths.of(name))
    assert len(list(splits["train"])) >= 18
    text = (Path(name) / "train.csv").read_text().replace(str(tmp_path / "data" / "0.png"), str(outside))
    (Path(name) / "train.csv").write_text(text)
    split = load_splits(name, split_names={"validation": "train"}, streaming=streaming)["train"]
    with pytest.raises(ValueError, match=r"Row 19 .*outside.png', which does not lie in"):
        list(prepare_splits({"train": split}, find_columns(split), allowed_paths=AllowedPaths.of(name))[0]["train"])


def test_links_that_a_folder_is_made_of_are_followed(outside, tmp_path):
    name = dataset_of("csv", tmp_path / "data", "link.png")
    (tmp_path / "data" / "link.png").symlink_to(outside)
    (tmp_path / "linked").symlink_to(tmp_path / "data")
    for folder in (name, str(tmp_path / "linked")):
        split = load_split(folder)
        splits, _ = prepare_splits({"train": split}, find_columns(split), allowed_paths=AllowedPaths.of(folder))
        assert len(drop_bad_examples(splits["train"])) == 20


def test_a_way_back_out_of_a_link_is_no_way_into_the_dataset(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "far" / "media").mkdir(parents=True)
    (tmp_path / "far" / "secret.png").write_bytes(png())
    (tmp_path / "data" / "media").symlink_to(tmp_path / "far" / "media")
    places = AllowedPaths.of(str(tmp_path / "data"))
    assert places.objection(str(tmp_path / "data" / "media" / "0.png")) is None
    assert "does not lie in" in places.objection(str(tmp_path / "data" / "media" / ".." / "secret.png"))


def test_videos_are_not_listened_to_outside_of_the_dataset(tmp_path):
    (tmp_path / "outside.mp4").write_bytes(b"no video")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "train.csv").write_text("video,label\n" + "../outside.mp4,a\n../outside.mp4,b\n" * 5)
    split = load_split(str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"Row 0 .*column 'video', names '.*outside.mp4'"):
        find_columns(split, AllowedPaths.of(str(tmp_path / "data")))


@pytest.mark.parametrize(
    "path", ["https://example.org/a.png", "HTTP://169.254.169.254/a.png", "hf://datasets/a/b/c.png"]
)
def test_addresses_are_followed_in_tables_here_and_not_in_those_of_the_hub(path, tmp_path):
    assert AllowedPaths.of(str(tmp_path)).objection(path) is None
    assert "pass --allow_urls" in AllowedPaths.of("user/clips").objection(path)
    assert AllowedPaths.of("user/clips", DatasetLimits(allow_urls=True)).objection(path) is None
    assert AllowedPaths.of("user/clips").objection("hf://datasets/user/clips@main/a.png") is None
    assert AllowedPaths.of("user/clips").objection("hf://datasets/user/clips/../../other/x/a.png") is not None
    assert AllowedPaths.of("user/clips").objection("hf://datasets/user/clips-of-others/a.png") is not None
    assert AllowedPaths.of("user/clips").objection(f"{path}::hf://datasets/user/clips/a.png") is not None


@pytest.mark.parametrize(
    "path", ["file:///etc/passwd", "zip://a::ftp://example.org/a.zip", "local:///etc/passwd", "s3://a/b"]
)
def test_addresses_of_other_kinds_are_never_followed(path, tmp_path):
    for places in (
        AllowedPaths.of(str(tmp_path)),
        AllowedPaths.of("user/clips", DatasetLimits(allow_urls=True, allow_outside_paths=True)),
    ):
        assert "an address of a kind that is not read" in places.objection(path)


@pytest.mark.parametrize("listed", ["../outside.jsonl", "/etc/*.conf", "https://example.org/a.csv", "*/../../*.jsonl"])
def test_a_card_that_lists_files_of_others_is_an_error(listed, tmp_path):
    (tmp_path / "outside.jsonl").write_text('{"text": "secret"}\n')
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "data" / "rows.jsonl").write_text('{"text": "a"}\n')
    card = f'---\nconfigs:\n- config_name: default\n  data_files: "{listed}"\n---\n'
    (tmp_path / "data" / "README.md").write_text(card)
    with pytest.raises(ValueError, match=r"README.md of '.*data' lists '.*' among its data"):
        load_split(str(tmp_path / "data"))


def test_a_hidden_card_that_lists_files_of_others_is_an_error(tmp_path):
    (tmp_path / "outside.txt").write_text("secret\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.txt").write_text("a\n")
    listed = f'configs:\n- config_name: default\n  data_files: "{tmp_path}/outside.txt"\n'
    (tmp_path / "data" / ".huggingface.yaml").write_text(listed)
    with pytest.raises(ValueError, match=r"lists '.*outside.txt' among its data, which does not lie in .*data"):
        load_split(str(tmp_path / "data"))


def test_what_a_run_was_allowed_is_not_taken_from_the_checkpoint_of_somebody_else(tmp_path):
    allowed = DataArguments(dataset_name="clips", max_text_tokens=7, allow_outside_paths=True, max_members=10**9)
    training = SimpleNamespace(**dict.fromkeys(SETTINGS, False) | {"seed": 3, "per_device_eval_batch_size": 5})
    Record.of(allowed, training, Run("theirs", "clips")).write(tmp_path)
    parser = HfArgumentParser((EvaluateArguments, DataArguments))
    _, data, _ = parse(parser, [], tmp_path)
    assert data.max_text_tokens == 7 and limits_of(data) == DatasetLimits()
    assert limits_of(parse(parser, ["--allow_outside_paths"], tmp_path)[1]).allow_outside_paths


def test_links_that_lead_back_are_followed_no_further(tmp_path):
    (tmp_path / "data" / "sub").mkdir(parents=True)
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "0.txt").write_text("a")
    for i in range(3):
        (tmp_path / "data" / f"here{i}").symlink_to(".")
        (tmp_path / "data" / "sub" / f"back{i}").symlink_to("..")
        (tmp_path / "data" / f"twice{i}").symlink_to(tmp_path / "far")
    found = [Path(name).relative_to(tmp_path / "data").as_posix() for name in list_files(str(tmp_path / "data"))]
    assert found == ["twice0/0.txt", "twice1/0.txt", "twice2/0.txt"]


def test_links_that_multiply_without_end_are_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.data.folders.MAX_FOLDERS", 200)
    for level in range(12):
        (tmp_path / f"level{level}").mkdir()
        for i in range(4):
            (tmp_path / f"level{level}" / str(i)).symlink_to(tmp_path / f"level{level + 1}")
    with pytest.raises(ValueError, match=r"holds more than 200 folders, counting those that links lead to"):
        list_files(str(tmp_path / "level0"))


# ---------------------------------------------------------------------------------------------------------------------
# Media, as they are decoded later
# ---------------------------------------------------------------------------------------------------------------------


def wav(seconds: float, spoilt_from: float) -> bytes:
    """A sound of 8 kHz that is NaN from a second on, so that whatever decodes it notices."""
    samples = np.random.default_rng(0).normal(0, 0.1, int(8000 * seconds)).astype(np.float32)
    samples[int(8000 * spoilt_from) :] = np.nan
    return sound_bytes(samples, 8000, subtype="FLOAT")


def media(kind: str, *cells: dict) -> Dataset:
    return Dataset.from_dict({kind: cells}).cast_column(kind, {"image": Image, "audio": Audio}[kind](decode=False))


def as_stream(split: Dataset, kind: str) -> RowStream:
    return prepare_split(split.to_iterable_dataset(), ModalityColumns(**{kind: kind}))[0]


def test_a_clip_beyond_the_limit_is_no_bad_row_where_it_is_cut_and_is_not_decoded_further():
    split = media("audio", {"bytes": wav(6, spoilt_from=3), "path": None})
    processor = MoTProcessor()
    processor.limits = DecodingLimits(max_audio_seconds=4)
    whole, cut = EncodedDataset(split, processor), EncodedDataset(split, processor, max_audio_seconds=1)
    assert len(drop_bad_examples(split, reading=cut.reading)) == 1
    with pytest.raises(ValueError, match="No row is left: skipped 1 of 1 .* 1 corrupt audio clip .* limit of 4"):
        drop_bad_examples(split, reading=whole.reading)
    streamed = next(iter(StreamedDataset(as_stream(split, "audio"), processor, max_audio_seconds=1)))
    assert torch.equal(streamed["input_features"], cut[0]["input_features"]) and len(cut[0]["input_features"]) == 100


@pytest.mark.parametrize("seconds, kept", [(1.0, 20), (5.0, 18)])
def test_a_run_decodes_no_more_of_a_sound_than_it_keeps(seconds, kept, tmp_path):
    for i in range(20):
        (tmp_path / f"{i}.wav").write_bytes(wav(4, spoilt_from=3 if i in (3, 4) else 4))
    lines = [{"audio": f"{i}.wav", "label": "ab"[i % 2]} for i in range(20)]
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = DataArguments(dataset_name=str(tmp_path), max_audio_seconds=seconds, test_split="none")
    assert sum(map(len, load_data(data, 0)[0].values())) == kept


def test_the_limits_of_a_processor_decide_also_which_rows_are_bad():
    split = media("image", {"bytes": png(), "path": None})
    processor = MoTProcessor()
    assert len(drop_bad_examples(split, reading=EncodedDataset(split, processor).reading)) == 1
    processor.limits = DecodingLimits(max_image_pixels=9)
    with pytest.raises(ValueError, match="No row is left.*8 x 8 pixels, more than the limit of 9"):
        drop_bad_examples(split, reading=EncodedDataset(split, processor).reading)
    with pytest.raises(ValueError, match="has no row that can be read"):
        next(iter(StreamedDataset(as_stream(split, "image"), processor)))


@pytest.fixture
def server():
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.hits.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(png())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.hits = []
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def test_urls_of_a_dataset_of_the_hub_lead_to_no_private_address_and_those_of_a_table_here_do(server, tmp_path):
    split = media("image", {"bytes": None, "path": f"http://127.0.0.1:{server.server_port}/a.png"})
    columns, hub = ModalityColumns(image="image"), AllowedPaths.of("user/pictures", DatasetLimits(allow_urls=True))
    reading = reading_of(DataArguments(dataset_name="user/pictures", allow_urls=True))
    assert reading.allow_urls == hub.follow_urls == "public" and AllowedPaths.of("user/pictures").follow_urls is False
    for look in (
        lambda: drop_bad_examples(split, "raise", reading=reading),
        lambda: list(prepare_split(split.to_iterable_dataset(), columns, allowed_paths=hub)[0].checked("raise", None)),
        lambda: EncodedDataset(split, MoTProcessor(), allow_urls=reading.allow_urls)[0],
        lambda: rows_to_index(split, columns, "raise", allowed_paths=hub, reading=reading),
    ):
        with pytest.raises((ValueError, OSError), match="its host is on this machine"):
            look()
    assert not server.hits
    assert reading_of(DataArguments(dataset_name=str(tmp_path))).allow_urls is True
    rows, _ = rows_to_index(split, columns, "raise", allowed_paths=AllowedPaths.of(str(tmp_path)))
    assert rows[0]["image"] == {"bytes": png(), "path": None} and server.hits  # an index holds what was fetched


def test_no_token_of_a_url_stands_in_the_report_of_bad_rows_or_in_the_log(tmp_path, caplog):
    split = media("image", {"bytes": png(), "path": None}, {"bytes": None, "path": "a.png?token=s3cr3t&size=3"})
    drop_bad_examples(split, report=tmp_path / "bad_rows.jsonl")
    list(as_stream(split, "image"))
    report = (tmp_path / "bad_rows.jsonl").read_text()
    assert "a.png?token=...&size=3" in report and "skipped row 1" in caplog.text
    assert "s3cr3t" not in report + caplog.text


def test_no_name_of_a_column_or_a_class_commands_the_terminal():
    split = Dataset.from_dict({"text": ["red cat"], "a\x1b[2J\nb": [1]})
    lines = ModalityColumns.guess(split.features, rows=split).lines(split.features)
    assert r"left out: column 'a\x1b[2J\nb' (int64), " in lines[-1]
    assert shortened(["glad", "sad\x1b[2J", "\u202e猫"]) == r"glad, sad\x1b[2J, \u202e猫"
