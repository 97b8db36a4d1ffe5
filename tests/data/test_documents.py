# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Templates make documents of rows: what they name is what stands in them, and what they cannot mean is an error."""

import datasets
import pytest
from datasets import ClassLabel, Dataset, Features, Value
from small_datasets import GOOD_AUDIO, GOOD_IMAGE, tri_modal_dataset

from mixture_of_transformers.data.document_columns import document_kinds, prepare_documents, with_texts
from mixture_of_transformers.data.documents import (
    Field,
    default_templates,
    parse_template,
    read_templates,
    without_prompt,
)

KINDS = {"caption": "text", "picture": "image", "sound": "audio", "digit": "text"}
CELLS = {Field("caption"): "a seven", Field("picture"): "<p>", Field("sound"): "<s>", Field("digit"): "7"}


def segments(written, cells=None):
    return parse_template(written, KINDS).segments(CELLS | (cells or {}), KINDS)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("{caption} {picture}", [{"text": "a seven"}, {"image": "<p>"}]),
        ("{picture}{caption}", [{"image": "<p>"}, {"text": "a seven"}]),
        ("{Picture} says {digit}: {sound}.", [{"image": "<p>"}, {"text": "says 7:"}, {"audio": "<s>"}, {"text": "."}]),
        ("{caption}, {digit}", [{"text": "a seven, 7"}]),
        ("{{{digit}}} {{x}}", [{"text": "{7} {x}"}]),
    ],
)
def test_a_document_has_the_parts_of_its_template_in_their_order(written, expected):
    assert segments(written) == expected


def test_a_raw_medium_is_another_cell_than_its_tokens():
    template = parse_template("{picture:raw} {picture}", KINDS)
    assert template.fields == (Field("picture", is_raw=True), Field("picture"))
    cells = {Field("picture", is_raw=True): "file", Field("picture"): "codes"}
    assert template.segments(cells, KINDS) == [{"image": "file", "raw": True}, {"image": "codes"}]


def test_each_item_of_a_cell_that_is_a_list_is_a_medium_of_its_own():
    assert segments("{picture} {caption}", {Field("picture"): ["a", "b"]}) == [
        {"image": "a"},
        {"image": "b"},
        {"text": "a seven"},
    ]


@pytest.mark.parametrize("cell", [None, "", "  ", []])
def test_a_row_fits_a_template_that_it_has_all_columns_of(cell):
    template = parse_template("{caption} {picture}", KINDS)
    assert template.fits(CELLS) and not template.fits(CELLS | {Field("caption"): cell})


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("a seven", r"names no column.*caption, picture, sound, digit"),
        ("", r"names no column.*caption, picture, sound, digit"),
        ("{{caption}}", r"names no column.*caption, picture, sound, digit"),
        ("{image} {caption}", r"no column 'image'; the columns are caption, picture, sound, digit"),
        ("{picture:pixels}", r"'pixels' of column 'picture'; expected \{picture\}.*\{picture:raw\}"),
        ("{caption:raw} {picture}", r"'caption' is text, which no tower reads"),
        ("{caption {picture}", r"brace at character 0 stands alone"),
        ("{caption} }", r"brace at character 10 stands alone"),
        ("{vector}", r"'vector' holds neither text.*'caption' \(text\), 'picture' \(image\)"),
    ],
)
def test_a_template_that_cannot_be_names_itself_and_what_it_could_name(written, message):
    columns = ["caption", "picture", "sound", "digit"] + (["vector"] if "vector" in written else [])
    with pytest.raises(ValueError, match=message) as error:
        read_templates([written], columns, KINDS)
    assert repr(written) in str(error.value)


def test_by_default_each_kind_is_made_from_each_other():
    assert default_templates({"t": "text", "i": "image"}) == ["{t} {i}", "{i} {t}"]
    assert len(default_templates({"t": "text", "i": "image", "a": "audio"})) == 6
    assert default_templates({"t": "text"}) == ["{t}"]


def test_a_document_without_its_prompt_begins_with_its_last_medium_that_is_tokens():
    text, image, raw = {"text": "a"}, {"image": "<p>"}, {"image": "<p>", "raw": True}
    assert without_prompt([text, image]) == [image]
    assert without_prompt([image, text, image, text]) == [image, text]
    assert without_prompt([raw, text]) == [raw, text]
    assert without_prompt([text]) == [text]


# ---------------------------------------------------------------------------------------------------------------------
# Columns
# ---------------------------------------------------------------------------------------------------------------------


def a_dataset():
    rows = [("a seven", GOOD_IMAGE, GOOD_AUDIO), (None, GOOD_IMAGE, None), ("one", None, GOOD_AUDIO)]
    table = tri_modal_dataset(rows)
    table = table.add_column("label", [1, -1, 0], feature=ClassLabel(names=["one", "seven"]))
    table = table.add_column("age", [7.5, None, 1e6])
    return table.add_column("vector", [[0.5, 0.25]] * 3)


def test_labels_and_numbers_are_text_and_lists_of_numbers_nothing():
    kinds = document_kinds(a_dataset(), {})
    assert kinds == {"text": "text", "image": "image", "audio": "audio", "label": "text", "age": "text"}


@pytest.mark.parametrize("streams", [False, True])
def test_rows_have_the_cells_of_the_columns_that_are_used_and_labels_by_their_names(streams):
    split = a_dataset()
    split = split.to_iterable_dataset() if streams else split
    used = {"label": "text", "image": "image", "age": "text"}
    prepared, names = prepare_documents({"train": split}, used)
    rows = [{column: row[names[column]] for column in used} for row in prepared["train"]]
    assert [row["label"] for row in rows] == ["seven", None, "one"]
    assert [row["age"] for row in rows] == ["7.5", None, "1e+06"]
    assert rows[0]["image"]["bytes"] == GOOD_IMAGE and rows[2]["image"] is None


def test_a_column_that_is_called_as_another_kind_keeps_its_own_cells():
    split = Dataset.from_dict({"audio": ["spoken words", "more"], "x": [1, 2]})
    prepared, names = prepare_documents({"train": split}, {"audio": "text"})
    assert names["audio"] != "audio" and prepared["train"][names["audio"]][:] == ["spoken words", "more"]


def test_lists_of_labels_are_written_with_commas():
    features = Features({"tags": datasets.List(ClassLabel(names=["red", "blue"])), "n": Value("int64")})
    split = with_texts(Dataset.from_dict({"tags": [[0, 1], []], "n": [12, 3]}, features=features), ["tags", "n"])
    assert split["tags"][:] == ["red, blue", None] and split["n"][:] == ["12", "3"]
