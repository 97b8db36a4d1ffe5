# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tables mean the same in every form: words and empty cells, types, and how a file is written."""

import gzip
import json
import pickle
from pathlib import Path

import datasets
import pandas as pd
import pytest
from datasets import Dataset, DatasetDict
from small_files import as_csv, as_lines, prepared, rows_of, write, write_png, write_tar

from mixture_of_transformers.data.sources import load_split, load_splits

WORDS = ["None", "NA", "null", "nan", "N/A", "NULL", "NaN", "n/a", "<NA>", "happy"]
TEXTS = [*WORDS[:-2], None, "hello"]
LABELS = [*WORDS[1:], None]


def write_words(form: str, folder: Path, blank: str | None) -> str:
    """A table of words, in which None is written as a blank, in every form."""
    rows = [{"text": text or blank, "label": label or blank} for text, label in zip(TEXTS, LABELS)]
    if form in ("csv", "tsv"):
        return write(folder / f"train.{form}", as_csv(rows, "," if form == "csv" else "\t"))
    if form == "jsonl":
        return write(folder / "train.jsonl", as_lines(rows))
    if form == "json":
        return write(folder / "train.json", json.dumps(rows))
    if form == "parquet":
        folder.mkdir(exist_ok=True)
        pd.DataFrame(rows).to_parquet(folder / "train.parquet")
        return str(folder / "train.parquet")
    if form == "saved":
        Dataset.from_list(rows).save_to_disk(folder / "saved")
        return str(folder / "saved")
    if form == "tar":
        write_tar(folder / "train.tar", [{"txt": row["text"], "cls": row["label"]} for row in rows])
        return str(folder / "train.tar")
    rows = [{"file_name": write_png(folder / f"{i}.png").name} | row for i, row in enumerate(rows)]
    write(folder / form, as_csv(rows) if form.endswith("csv") else as_lines(rows))
    return str(folder)


FORMS = ["csv", "tsv", "jsonl", "json", "parquet", "saved", "tar", "metadata.csv", "metadata.jsonl"]


@pytest.mark.parametrize("blank", [None, " \t "], ids=["empty", "blank"])
@pytest.mark.parametrize("form", FORMS)
def test_a_word_such_as_none_is_itself_and_only_an_empty_cell_is_missing(form, blank, tmp_path):
    if form == "tsv" and blank:
        blank = "  "
    path = write_words(form, tmp_path, blank)
    rows = [
        {"text": row.get("text", row.get("txt")), "label": row.get("label", row.get("cls"))}
        for row in rows_of(load_split(path).remove_columns([c for c in ("image",) if form.startswith("metadata")]))
    ]
    assert rows == [{"text": text, "label": label} for text, label in zip(TEXTS, LABELS)]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "tar"])
def test_words_and_blanks_mean_the_same_in_a_stream(form, tmp_path):
    path = write_words(form, tmp_path, "  ")
    splits, labels = prepared(path, streaming=True, split_names={"validation": "train"})
    assert set(labels.names) == {label for label in LABELS if label}
    for split in (splits["train"], splits["validation"]):
        rows = [row for row in split if row["text"] is not None]  # a stream passes over a row of nothing
        shown = [(row["text"], None if row["label"] is None else labels.names[row["label"]]) for row in rows]
        assert shown == [(text, label) for text, label in zip(TEXTS, LABELS) if text]


def test_a_word_among_numbers_is_a_missing_number_and_whole_numbers_stay_whole(tmp_path):
    content = "score,rating,votes,answer\n1.5,3,NA,true\nnan,,2,NA\n-2e3,5,None,false\n"
    rows = load_split(write(tmp_path / "rows.csv", content))
    assert {name: kind.dtype for name, kind in rows.features.items()} == {
        "score": "float64", "rating": "int64", "votes": "int64", "answer": "string",
    }  # fmt: skip
    assert rows["score"][:] == [1.5, None, -2000.0] and rows["rating"][:] == [3, None, 5]
    assert rows["votes"][:] == [None, 2, None] and rows["answer"][:] == ["true", "NA", "false"]


def test_what_is_no_number_stays_as_it_is_written(tmp_path):
    content = "zip,id,day,yes\n01234,12345678901234567890,2020-01-02,True\n56789,2,2021-01-02,FALSE\n"
    rows = load_split(write(tmp_path / "rows.csv", content))
    assert rows[0] == {"zip": "01234", "id": "12345678901234567890", "day": "2020-01-02", "yes": True}
    assert rows[1] == {"zip": "56789", "id": "2", "day": "2021-01-02", "yes": False}


def test_json_keeps_the_strings_that_look_like_numbers_and_says_what_is_mixed(tmp_path, caplog):
    rows = [{"text": "007", "label": 1, "day": "2020-01-02"}, {"text": "8", "label": "1", "day": None}]
    split = load_split(write(tmp_path / "rows.jsonl", as_lines(rows)))
    assert split["text"][:] == ["007", "8"] and split["label"][:] == ["1", "1"] and split["day"][0] == "2020-01-02"
    assert "Column 'label'" in caplog.text and 'mixes "1" and 1' in caplog.text


TRAIN = [{"text": "a", "score": 1.5, "label": "1"}, {"text": "b", "score": 2.5, "label": "x"}]
OTHER = [{"text": None, "score": 1, "label": 1}, {"text": None, "score": 2, "label": 2}]
CAST = [{"text": None, "score": 1.0, "label": "1"}, {"text": None, "score": 2.0, "label": "2"}]


def write_split(form: str, folder: Path, split: str, rows: list[dict]) -> None:
    if form == "parquet":
        pd.DataFrame(rows).to_parquet(folder / f"{split}.parquet")
    else:
        write(folder / f"{split}.{form}", as_csv(rows) if form == "csv" else as_lines(rows))


def write_typed(form: str, folder: Path, splits: dict[str, list[dict]]) -> str:
    folder.mkdir(exist_ok=True)
    if form == "saved":
        DatasetDict({name: Dataset.from_list(rows) for name, rows in splits.items()}).save_to_disk(folder / "saved")
        return str(folder / "saved")
    for name, rows in splits.items():
        write_split(form, folder, name, rows)
    return str(folder)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "saved"])
def test_the_training_split_decides_the_types(form, tmp_path):
    path = write_typed(form, tmp_path, {"train": TRAIN, "dev": OTHER, "test": OTHER})
    splits = load_splits(path)
    assert rows_of(splits["train"]) == TRAIN
    assert rows_of(splits["validation"]) == rows_of(splits["test"]) == CAST
    if form != "saved":
        write_png(tmp_path / "m" / "0.png")  # beside media
        assert rows_of(load_splits(path)["test"]) == CAST
        assert rows_of(load_splits(path, streaming=True)["test"]) == CAST


def test_whole_numbers_with_a_gap_are_the_whole_numbers_of_train(tmp_path):
    gap = [{"label": 1}, {"label": None}]
    path = write_typed("parquet", tmp_path, {"train": [{"label": 0}, {"label": 1}], "test": gap})
    assert load_splits(path)["test"]["label"][:] == [1, None]


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet", "saved"])
def test_an_impossible_type_is_an_error_that_names_split_column_and_types(form, tmp_path):
    wrong = [{"score": "high"}, {"score": "low"}]
    path = write_typed(form, tmp_path, {"train": [{"score": 1.5}, {"score": 2.5}], "test": wrong})
    with pytest.raises(ValueError, match=r"Column 'score' of split 'test'.*string.* cannot become (float64|double)"):
        load_splits(path)


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_shards_that_disagree_have_the_type_that_holds_all(form, tmp_path):
    empty = [{"text": None, "score": 1, "label": 1}] * 2
    for number, rows in enumerate((empty, TRAIN)):
        write_split(form, tmp_path, f"train-{number}", rows)
    if form == "parquet":  # where a number and a string are two things
        with pytest.raises(ValueError, match="train-1.parquet.*label has incompatible types"):
            load_split(str(tmp_path))
        write_split(form, tmp_path, "train-0", [row | {"label": None} for row in empty])
    split = load_split(str(tmp_path))
    assert rows_of(split)[2:] == TRAIN and split["score"][:2] == [1.0, 1.0] and split["text"][:2] == [None, None]
    assert split["label"][0] == (None if form == "parquet" else "1")


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("names", [["b", "a"], ["c", "d"], ["a", "b", "c"]])
def test_parquet_files_whose_class_ids_mean_other_names_are_an_error(names, streaming, tmp_path):
    paths = [str(tmp_path / f"train-{i}.parquet") for i in range(2)]
    for path, classes in zip(paths, (["a", "b"], names)):
        kinds = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=classes)})
        Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=kinds).to_parquet(path)
    with pytest.raises(ValueError) as error:
        load_splits(str(tmp_path), streaming=streaming)
    for word in (*paths, "'label'", "['a', 'b']", str(names)):
        assert word in str(error.value)


def test_lists_of_classes_of_parquet_files_are_compared_too(tmp_path):
    for i, classes in enumerate((["a", "b"], ["b", "a"])):
        kinds = datasets.Features({"label": datasets.List(datasets.ClassLabel(names=classes))})
        Dataset.from_dict({"label": [[0], [0, 1]]}, features=kinds).to_parquet(tmp_path / f"train-{i}.parquet")
    with pytest.raises(ValueError, match="one id would mean two classes"):
        load_split(str(tmp_path))


def test_parquet_files_of_one_list_of_classes_are_read(tmp_path):
    for i in range(2):
        kinds = datasets.Features({"label": datasets.ClassLabel(names=["a", "b"])})
        Dataset.from_dict({"label": [i]}, features=kinds).to_parquet(tmp_path / f"train-{i}.parquet")
    split = load_split(str(tmp_path))
    assert split.features["label"].names == ["a", "b"] and split["label"][:] == [0, 1]


def test_a_column_that_a_split_lacks_is_empty_there(tmp_path, caplog):
    write_typed("parquet", tmp_path, {"train": TRAIN, "test": [{"text": "c"}]})
    assert load_split(str(tmp_path), "test")[0] == {"text": "c", "score": None, "label": None}
    assert "Split 'test' has no column 'label'" in caplog.text


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
def test_files_of_other_encodings_are_read_and_a_guess_is_said(encoding, tmp_path, caplog):
    rows = [{"text": "café", "label": "ä"}, {"text": "plain", "label": "b"}]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    for name, content in (("rows.csv", as_csv(rows)), ("rows.jsonl", lines)):
        assert rows_of(load_split(write(tmp_path / encoding / name, content, encoding))) == rows
    assert ("read as cp1252 (Western European), by which line 2 is 'café,ä'" in caplog.text) == (encoding == "cp1252")


def test_a_file_of_no_known_encoding_is_an_error_that_says_what_to_do(tmp_path):
    (tmp_path / "rows.csv").write_bytes(b"text,label\na,b\n\x81\x8d,c\n")
    with pytest.raises(ValueError, match=r"rows.csv', line 3, is not UTF-8: save the file as UTF-8"):
        load_split(str(tmp_path / "rows.csv"))


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["plain", "café", "日本"])
def test_text_with_nul_bytes_is_an_error_that_says_to_save_it_as_utf8(text, encoding, tmp_path):
    rows = [{"text": text, "label": "a"}]
    for name, content in (("rows.csv", as_csv(rows)), ("rows.jsonl", as_lines(rows)), ("rows.json", as_lines(rows))):
        with pytest.raises(ValueError, match=f"{name}' holds NUL bytes.* save the file as UTF-8"):
            load_split(write(tmp_path / name, content, encoding))
    write_tar(tmp_path / "rows.tar", [{"txt": text.encode(encoding) + b"\n\0"}])
    with pytest.raises(ValueError, match=r"rows.tar: 0000.txt' holds NUL bytes"):
        load_split(str(tmp_path / "rows.tar"))


def test_a_text_of_an_archive_may_be_utf16_with_a_mark(tmp_path):
    write_tar(tmp_path / "rows.tar", [{"txt": "日本".encode("utf-16")}])
    assert load_split(str(tmp_path / "rows.tar"))["txt"][:] == ["日本"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize(("line", "delimiter"), [("sep=;\r\n", ";"), ('"sep=,"\n', ","), ("sep=\t\n", "\t")])
def test_a_first_line_that_says_the_separator_is_no_row(line, delimiter, encoding, tmp_path):
    content = line + as_csv([{"text": "Käse", "score": 1.5}, {"text": "b", "score": 2}], delimiter)
    split = load_split(write(tmp_path / "rows.csv", content, encoding))
    assert rows_of(split) == [{"text": "Käse", "score": 1.5}, {"text": "b", "score": 2.0}]


def test_a_column_that_is_called_sep_is_a_column(tmp_path):
    assert load_split(write(tmp_path / "rows.csv", "sep,text\n1,a\n")).column_names == ["sep", "text"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_cells_are_separated_by_what_makes_even_rows(delimiter, tmp_path):
    rows = [{"text": '"one, two; three"', "score": 1.5}, {"text": '"new\nline"', "score": 2.5}]
    split = load_split(write(tmp_path / "rows.csv", as_csv(rows, delimiter)))
    assert split["text"][:] == ["one, two; three", "new\nline"] and split["score"][:] == [1.5, 2.5]


def test_a_decimal_comma_is_a_point_where_semicolons_separate(tmp_path):
    split = load_split(write(tmp_path / "rows.csv", "text;score\nyes, well;1,5\n2,5 litres;2\n"))
    assert split["score"][:] == [1.5, 2.0] and split["text"][:] == ["yes, well", "2,5 litres"]
    assert load_split(write(tmp_path / "other.csv", 'a,b\n"1,000",x\n'))["a"][:] == ["1,000"]


def test_a_compressed_table_is_unpacked(tmp_path):
    (tmp_path / "train.csv.gz").write_bytes(gzip.compress(b"text,label\nNA,1\n"))
    assert rows_of(load_split(str(tmp_path))) == [{"text": "NA", "label": 1}]


ROWS = [{"text": "a", "label": 1}, {"text": "b", "label": None}]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps(ROWS),
        json.dumps(ROWS, indent=2),
        json.dumps({"version": "1", "data": ROWS}),
        json.dumps({"version": {"major": 1}, "rows": ROWS}, indent=2),
        pd.DataFrame(ROWS, dtype=object).to_json(),
        json.dumps({"text": ["a", "b"], "label": [1, None]}),
        as_lines(ROWS),
    ],
    ids=["list", "indented list", "nested", "indented nested", "pandas", "columns", "lines"],
)
def test_rows_are_found_in_any_usual_json(content, tmp_path):
    assert rows_of(load_split(write(tmp_path / "rows.json", content))) == ROWS


BROKEN = {
    "row.csv": ("text,label\na,1\nb,2,3\n", r"row.csv': .*Row #3: Expected 2 columns, got 3"),
    "twice.csv": ("text,text\na,1\n", r"twice.csv' has several columns called 'text'"),
    "empty.csv": ("", r"empty.csv' is empty"),
    "header.csv": ("text,label\n", r"has no rows: '.*header.csv'"),
    "line.jsonl": ('{"text": "a"}\n{"text"\n', r"line.jsonl', line 2, is not JSON"),
    "empty.jsonl": ("", r"empty.jsonl"),
    "list.jsonl": ('{"text": "a"}\n["b"]\n', r"list.jsonl', line 2: expected an object"),
    "whole.json": ('[{"text": "a"},\n', r"whole.json', line 2, is not JSON"),
    "several.json": ('{"images": [{"id": 1}], "boxes": [{"id": 1}]}', r"'images', 'boxes' hold rows each\. Write"),
    "settings.json": ('{"size": 3}', r"settings.json' has no single list of rows: it holds the keys 'size'\. Write"),
    "file.parquet": ("no table", r"Cannot read '.*file.parquet'.*Repair the file"),
    "file.tar": ("no archive", r"Cannot read '.*file.tar'.*Repair the file"),
    "file.xlsx": ("", r"file.xlsx': a file must end in one of"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_an_error_of_a_file_names_it_and_says_what_is_wrong(name, tmp_path):
    content, message = BROKEN[name]
    with pytest.raises(ValueError, match=message):
        load_split(write(tmp_path / name, content))


@pytest.mark.parametrize("content", [b"", b"abc", pickle.dumps({"train": {}})[:-3]])
def test_an_error_of_a_pickle_names_it(content, tmp_path):
    (tmp_path / "rows.pkl").write_bytes(content)
    with pytest.raises(ValueError, match=r"Cannot read '.*rows.pkl': .*Give a file as MMSA writes it"):
        load_split(str(tmp_path / "rows.pkl"))


def test_a_broken_file_of_an_archive_is_named(tmp_path):
    write_tar(tmp_path / "rows.tar", [{"json": '{"caption": "a"}'}] * 500 + [{"json": '{"caption"'}])
    with pytest.raises(ValueError, match=r"rows.tar: 0500.json', line 1, is not JSON"):
        load_split(str(tmp_path / "rows.tar"))


def test_a_path_that_is_not_there_is_said_to_be_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no file or folder"):
        load_split(str(tmp_path / "none"))


@pytest.mark.parametrize("streaming", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("names", "found"),
    [(["a.xlsx", "b.xlsx", "c.pkl"], r"2 \.xlsx, 1 \.pkl"), (["train.feather"], r"1 \.feather"), ([], "no files")],
)
def test_a_folder_without_data_is_an_error_that_names_what_is_there_and_what_is_read(
    names, found, streaming, tmp_path
):
    for name in names:
        write(tmp_path / name, "content")
    with pytest.raises(
        ValueError, match=rf"'{tmp_path}' has no data .* it holds {found}\. Expected .*\.parquet, .*\.csv"
    ):
        load_splits(str(tmp_path), streaming=streaming)
