# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Columns beside text, image, audio, video and label: what they are found to be, and what their cells become."""

import datasets
import pytest
from any_table import CATEGORIES, FORMS, NUMBERS, any_table, write_table
from datasets import Audio, Dataset, Features, Image, List, Value
from small_datasets import CLASSES, GOOD_IMAGE, VECTORS

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.extra_columns import as_options, free_name, kinds_of_options
from mixture_of_transformers.data.preparation import drop_bad_examples, find_columns, prepare_split, prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.data.splits import cut_validation
from mixture_of_transformers.validation_mot import check_modality_name


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """form -> (columns, lines, prepared training rows) of the same table."""
    found = {}
    for form in FORMS:
        folder = tmp_path_factory.mktemp(form)
        path = write_table(folder / f"rows.{form}", any_table(folder))
        splits, places = load_splits(path), AllowedPaths.of(path)
        columns = find_columns(splits["train"], places, extra=())
        prepared, _ = prepare_splits(splits, columns, allowed_paths=places)
        found[form] = (columns, columns.lines(splits["train"].features), drop_bad_examples(prepared["train"]))
    return found


def test_a_long_run_of_columns_is_listed_from_its_first_to_its_last():
    names = [*(f"c{i}" for i in range(30)), "c31", "d0", "d1", "e"]
    kinds = Features({name: Value("float32") for name in names})
    (line,) = ModalityColumns.guess(kinds, extra=()).lines(kinds)[5:]
    assert line == (
        "table: columns 'c0' to 'c29' (30 of float32), 'c31' (float32), 'd0' (float32), 'd1' (float32), "
        "'e' (float32), of kind table"
    )


def test_what_may_be_the_label_is_named_with_the_option_that_takes_it():
    split = Dataset.from_dict({"imu": [[1.0, 2.0]] * 20, "activity": ["walk", "stand"] * 10, "rating": [1, 2] * 10})
    columns = find_columns(split, extra=())
    assert columns.label is None
    for name in ("activity", "rating"):
        assert f"--label_column {name} would learn" in columns.left_out[name]


@pytest.mark.parametrize("form", FORMS)
def test_any_table_becomes_modalities_without_a_column_being_named(read, form):
    columns, _, _ = read[form]
    assert (columns.text, columns.image, columns.audio, columns.label) == (
        "Review Text",
        "front",
        "recording",
        "label",
    )
    assert columns.extra == {
        "title": ("text", ("Title",)),
        "back": ("image", ("back",)),
        "side": ("image", ("side",)),
        "accelerometer": ("series", ("accelerometer",)),
        "table": ("table", (*NUMBERS, *CATEGORIES)),
    }


def test_every_column_is_in_the_list_once_with_what_it_is_or_why_it_is_nothing(read, tmp_path):
    _, lines, _ = read["csv"]
    for name in any_table(tmp_path, 1)[0]:
        assert sum(f"'{name}' (" in line for line in lines) == 1, name
    reasons = {line.split("'")[1]: line for line in lines if line.startswith("left out")}
    assert set(reasons) == {"row_id", "visit_date", "serial", "constant", "code"}
    assert "as ids have" in reasons["serial"] and "the same in every row" in reasons["constant"]
    assert "one value for each class of 'label'" in reasons["code"]
    assert all("--extra_columns" in line for line in reasons.values())


def test_the_same_data_mean_the_same_in_every_form(read):
    def rows(form):
        without_paths = [
            {n: "a file" if isinstance(c, dict) and "bytes" in c else c for n, c in row.items()}
            for row in read[form][2]
        ]
        return without_paths

    assert rows("csv") == rows("jsonl") == rows("parquet")
    row = rows("csv")[0]
    assert row["table"].keys() == {*NUMBERS, *CATEGORIES}
    assert isinstance(row["table"]["n1"], int) and isinstance(row["table"]["n0"], float)
    assert all(len(moment) == 3 for moment in row["accelerometer"])


def test_a_stream_finds_and_makes_the_same_cells_as_rows_in_memory(read, tmp_path):
    rows = [
        {n: str(tmp_path / c) if str(c).endswith((".png", ".wav")) else c for n, c in r.items()}
        for r in any_table(tmp_path)
    ]
    split = Dataset.from_list(rows)
    stream = split.to_iterable_dataset()
    columns = find_columns(split, extra=())
    assert find_columns(stream, extra=()) == columns
    whole, streamed = prepare_split(split, columns)[0], prepare_split(stream, columns)[0]
    assert streamed.features == whole.features
    assert list(streamed)[:5] == [whole[i] for i in range(5)]


def test_without_further_modalities_the_columns_are_those_of_before(tmp_path):
    rows = Dataset.from_list(any_table(tmp_path)).remove_columns(["Title", "back", "side"])
    assert not find_columns(rows, extra=("none",)).extra
    several = Features({"title": Value("string"), "body": Value("string")})
    with pytest.raises(ValueError, match="Several columns could be the text"):
        ModalityColumns.guess(several)
    assert ModalityColumns.guess(several, extra=()).extra == {"body": ("text", ("body",))}


@pytest.mark.parametrize(
    ("option", "kind", "cell"),
    [
        ("pair=Title,Review Text", "text", list),
        ("views=front,back,side", "image", list),
        ("ear=recording", "audio", dict),
        ("imu=accelerometer", "series", list),
        ("imu:series=n0,n2", None, None),
        ("vitals=n0,city", "table", dict),
        ("vitals=code", "table", dict),
        ("vitals:table=n0,numbers", "table", dict),
    ],
)
def test_a_named_modality_has_the_kind_of_its_columns(option, kind, cell, tmp_path):
    split = Dataset.from_list([row | {"numbers": [1, row["serial"]]} for row in any_table(tmp_path)])
    if kind is None:
        with pytest.raises(
            ValueError, match=r"column 'n0' \(double|column 'n0' \(float64\) cannot be of the kind series"
        ):
            find_columns(split, extra=(option, "none"), label="label")
        return
    columns = find_columns(
        split, extra=(option, "none"), label="label", **dict.fromkeys(("text", "image", "audio"), "none")
    )
    name = option.partition("=")[0].partition(":")[0]
    assert columns.modalities == (name,) and columns.extra[name][0] == kind
    prepared, _ = prepare_split(split, columns)
    assert isinstance(prepared[0][name], cell)


def test_segments_have_the_order_of_the_columns_and_none_for_an_empty_cell():
    split = Dataset.from_dict({"b": ["2", None, None], "a": ["1", "3", " "], "label": ["x", "y", "x"]})
    prepared, _ = prepare_split(split, ModalityColumns(label="label", extra={"words": ("text", ("a", "b"))}))
    assert [row["words"] for row in prepared] == [["1", "2"], ["3"], None]


@pytest.mark.parametrize("kind", [List(Image(decode=False)), List(Value("string"))])
def test_a_column_of_lists_of_files_is_segments_in_their_order(kind, tmp_path):
    for name in ("a.png", "b.png", "c.png"):
        (tmp_path / name).write_bytes(GOOD_IMAGE)
    rows = [["b.png", "a.png"], ["c.png"], [], None]
    paths = [None if row is None else [str(tmp_path / name) for name in row] for row in rows]
    is_typed = isinstance(kind.feature, Image)
    cells = [row and [{"bytes": None, "path": path} for path in row] for row in paths] if is_typed else paths
    features = Features({"photos": kind, "text": Value("string"), "label": CLASSES})
    split = Dataset.from_dict({"photos": cells, "text": ["a", "b", "c", "d"], "label": [0, 1, 0, 1]}, features)
    columns = find_columns(split, extra=() if is_typed else ("photos:image=photos",))
    assert columns.extra == {"photos": ("image", ("photos",))}
    allowed = AllowedPaths.of(str(tmp_path))
    for form in (split, split.to_iterable_dataset()):
        prepared, _ = prepare_split(form, columns, allowed_paths=allowed)
        found = [row["photos"] and [file["path"].rpartition("/")[2] for file in row["photos"]] for row in prepared]
        assert found == [["b.png", "a.png"], ["c.png"], None, None]
    outside = AllowedPaths.of(str(tmp_path / "elsewhere"))
    for form in (split, split.to_iterable_dataset()):
        with pytest.raises(ValueError, match=r"Row 0 of split 'train', column 'photos', names .*b\.png"):
            list(prepare_split(form, columns, allowed_paths=outside)[0])


def test_a_pattern_names_the_columns_that_it_fits_in_the_order_of_the_dataset():
    split = Dataset.from_dict({name: [0.5, 1.5] for name in ("f_2", "age", "f_1", "*", "label")})
    columns = find_columns(split, extra=("fourier=F_*,age", "none"), label="label")
    assert columns.extra == {"fourier": ("table", ("f_2", "f_1", "age"))}
    assert find_columns(split, extra=("x=*", "none"), label="label").extra == {"x": ("table", ("*",))}
    with pytest.raises(ValueError, match="there is no column 'g_"):
        find_columns(split, extra=("x=g_*",), label="label")


def test_columns_of_numbers_are_the_channels_of_a_series_and_an_empty_one_is_a_gap():
    split = Dataset.from_dict({"x": [[1.0, 2.0], None, [1.0]], "y": [[3.0, 4.0], [5.0, 6.0], [1.0, 2.0]]})
    prepared, _ = prepare_split(split, ModalityColumns(extra={"imu": ("series", ("x", "y"))}))
    assert [row["imu"] for row in prepared][:2] == [[[1.0, 3.0], [2.0, 4.0]], [[None, 5.0], [None, 6.0]]]
    with pytest.raises(ValueError, match="unreadable imu series"):
        drop_bad_examples(prepared, "raise")


def test_a_list_of_nothing_in_a_written_series_is_a_row_without_it():
    cells = ["[[1, 2], [3, 4]]", "[]", "[[5, null]]", None, " [] "] * 4
    split = Dataset.from_dict(
        {"imu": cells, "text": [f"it was row {i} then" for i in range(20)], "label": [0, 1] * 10}
    )
    columns = find_columns(split, extra=())
    assert columns.extra == {"imu": ("series", ("imu",))} and columns.text == "text"
    prepared, _ = prepare_split(split, columns)
    kept = drop_bad_examples(prepared, "raise")
    assert [row["imu"] for row in kept] == [[[1.0, 2.0], [3.0, 4.0]], None, [[5.0, None]], None, None] * 4


def test_written_lists_of_anything_else_are_no_text_unless_named():
    cells = [f'["a{i}.png", null, "the side of it.png"]' for i in range(20)]
    split = Dataset.from_dict({"views": cells, "n": [i % 7 + 0.5 for i in range(20)], "label": [0, 1] * 10})
    columns = find_columns(split, extra=())
    assert columns.text is None and "JSON" in columns.left_out["views"]
    assert find_columns(split, extra=(), text="views").text == "views"


@pytest.mark.filterwarnings("error")
def test_numbers_beyond_whole_ones_are_no_ids_and_may_say_the_score_in_another_unit():
    scores = [i % 9 + i / 7 for i in range(20)]
    huge = [1e300 * (i * i % 13 + i / 11) for i in range(20)]
    split = Dataset.from_dict({"huge": huge, "unit": [1e299 * score for score in scores], "label": scores})
    columns = find_columns(split, extra=())
    assert columns.extra == {"table": ("table", ("huge",))}
    assert "in another unit" in columns.left_out["unit"]


def test_a_column_of_lists_of_strings_is_left_out_with_the_option_that_takes_it():
    split = Dataset.from_dict(
        {"views": [["a.png", "b.png"]] * 20, "n": [i % 7 + 0.5 for i in range(20)], "label": [0, 1] * 10}
    )
    assert "--extra_columns views:KIND=views" in find_columns(split, extra=()).left_out["views"]
    assert find_columns(split, extra=("views:image=views",)).extra["views"] == ("image", ("views",))


@pytest.mark.parametrize("cells", [[[1.0, float("inf")]], [[[1.0, 2.0], [3.0]]], ["[1, 2]", "oops"]])
def test_a_series_that_cannot_be_read_is_a_bad_row_and_a_gap_is_none(cells):
    good = (
        "[1, null]" if isinstance(cells[0], str) else [[1.0, None]] if isinstance(cells[0][0], list) else [1.0, None]
    )
    split = Dataset.from_dict({"imu": [good, *cells]})
    prepared, _ = prepare_split(split, ModalityColumns(extra={"imu": ("series", ("imu",))}))
    assert 0 < len(drop_bad_examples(prepared)) < len(prepared)


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("imu", "expected name=column"),
        ("imu:seriess=n0", "did you mean `series`"),
        ("text=n0", "cannot be called"),
        ("my label=n0", "cannot be called"),
        ("imu=nowhere", "there is no column 'nowhere'"),
        ("x=label", "is the label already"),
        ("x=n0,n0", "names a column twice"),
        ("x=front,n0", "of no one kind"),
    ],
)
def test_a_wrong_option_is_an_error_that_says_what_is_wrong(option, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        find_columns(Dataset.from_list(any_table(tmp_path)), extra=(option,), label="label")


def test_a_label_is_an_input_only_where_a_person_says_so():
    split = Dataset.from_dict({"text": [f"some words {i}" for i in range(30)], "rating": [i % 5 for i in range(30)]})
    split = split.add_column("score", [(i % 5) / 2 + 0.25 * (i % 2) for i in range(30)])
    assert not find_columns(split, extra=(), label="none").extra
    assert find_columns(split, extra=("x=rating",), label="none").extra == {"x": ("table", ("rating",))}
    scaled = Dataset.from_dict({"y": [i / 7 for i in range(30)], "fahrenheit": [i / 7 * 1.8 + 32 for i in range(30)]})
    columns = find_columns(scaled.add_column("n", [i % 4 for i in range(30)]), extra=(), label="y")
    assert columns.extra == {"table": ("table", ("n",))} and "in another unit" in columns.left_out["fahrenheit"]


def test_records_of_a_sound_are_no_table_but_those_of_a_table_are():
    kinds = {"age": Value("int64"), "gender": Value("string"), "duration": Value("float32"), "dose": Value("float32")}
    table = ModalityColumns.guess(Features(kinds), extra=())
    assert table.extra["table"] == ("table", ("age", "duration", "dose"))
    heard = ModalityColumns.guess(Features({"audio": Audio(), **kinds}), extra=())
    assert heard.extra["table"] == ("table", ("dose",))


def test_paths_beside_the_files_that_they_name_are_no_second_picture(tmp_path):
    split = Dataset.from_dict({"picture": ["a.png", "b.png"]}).cast_column("picture", Image(decode=False))
    split = split.add_column("name", ["a.png", "b.png"])
    columns = find_columns(split, extra=())
    assert columns.image == "picture" and not columns.extra


def test_ready_features_and_typed_classes_keep_their_meaning():
    kinds = {"photo": Image(), "kind": CLASSES, "group": CLASSES, "label": CLASSES, "my_features": VECTORS}
    columns = ModalityColumns.guess(Features(kinds | {"ecg": List(Value("float32"))}), extra=())
    assert columns.extra == {"ecg": ("series", ("ecg",))}
    assert "ready features" in columns.left_out["my_features"] and "typed as classes" in columns.left_out["group"]


@pytest.mark.parametrize(
    "column", ["Review Text", "text", "größe", "2nd", "a-b", "input", "x_values", "", "class", "猫"]
)
def test_a_column_of_any_name_gives_a_name_that_a_model_takes(column):
    name = free_name(column, {"review_text"})
    check_modality_name(name)
    assert name != "review_text"


def test_what_was_found_can_be_named_again(read):
    columns, _, _ = read["csv"]
    options = as_options(columns.extra)
    assert kinds_of_options(options) == {name: kind for name, (kind, _) in columns.extra.items()}
    features = Features(
        {c: Value("string") for _, cs in columns.extra.values() for c in cs} | {"a,b": Value("string")}
    )
    assert ModalityColumns.guess(features, text="none", extra=("x:text=a,b,Title", "none")).extra == {
        "x": ("text", ("a,b", "Title"))
    }


def test_media_of_further_columns_stay_in_the_folder_of_the_dataset(tmp_path):
    (tmp_path / "secret.png").write_bytes(GOOD_IMAGE)
    folder = tmp_path / "data"
    folder.mkdir()
    split = Dataset.from_dict({"front": ["a.png"], "back": [str(tmp_path / "secret.png")]})
    columns = ModalityColumns(extra={"views": ("image", ("front", "back"))})
    for rows in (split, split.to_iterable_dataset()):
        with pytest.raises(ValueError, match=r"column 'back', names .*secret.png"):
            list(prepare_split(rows, columns, allowed_paths=AllowedPaths.of(str(folder)))[0])


# Groups and times


def split_of_visits():
    return Dataset.from_dict(
        {
            "patient": [i // 4 for i in range(100)],
            "label": ["a" if i % 3 else "b" for i in range(100)],
            "day": [f"2024-{1 + i % 12:02}-01" for i in range(100)],
        }
    )


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_in_both_parts_of_a_cut(seed):
    train, held_out = cut_validation(split_of_visits(), seed, "label", group_column="Patient")
    assert not set(train["patient"]) & set(held_out["patient"]) and 8 <= len(held_out) <= 15
    assert set(train["label"]) == {"a", "b"}


def test_what_is_cut_off_by_time_is_later_than_all_else():
    train, held_out = cut_validation(split_of_visits(), 0, "label", time_column="day")
    assert max(train["day"]) < min(held_out["day"]) and 0 < len(held_out) <= 10


def test_splits_that_share_groups_or_times_are_an_error_with_the_first(tmp_path):
    splits = datasets.DatasetDict(train=split_of_visits(), test=split_of_visits().select(range(90, 100)))
    splits.save_to_disk(tmp_path / "saved")
    with pytest.raises(ValueError, match=r"of the 3 groups of split 'test' by column 'patient' are in 'train' too"):
        load_splits(str(tmp_path / "saved"), group_column="patient")
    with pytest.raises(ValueError, match=r"rows of split 'test' are earlier by column 'day'"):
        load_splits(str(tmp_path / "saved"), time_column="day")
    with pytest.raises(ValueError, match="holds 'soon' in row 1"):
        cut_validation(Dataset.from_dict({"t": ["2024-01-01", "soon"]}), 0, None, time_column="t")


def test_columns_that_are_set_aside_are_neither_input_nor_label():
    kinds = Features({"text": Value("string"), "dose": Value("float32"), "label": CLASSES})
    columns = ModalityColumns.guess(kinds, extra=(), set_aside={"Dose": "named by --exclude_columns"})
    assert not columns.extra and columns.left_out == {"dose": "named by --exclude_columns"}
    with pytest.raises(ValueError, match="There is no column 'dos'"):
        ModalityColumns.guess(kinds, set_aside={"dos": "named by --exclude_columns"})
