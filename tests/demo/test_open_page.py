# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The page of a checkpoint with modalities of a user's, words, a table and a series, of which the page names none."""

import json
import re

import numpy as np
import pytest
from datasets import Dataset
from small_checkpoints import CHANNELS, LABELS, RATE, WARDS, patient, save_patients
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers import MoTForRetrieval
from mixture_of_transformers.decoding_series_mot import SeriesSettings
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.search.building import build_index

playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
from demo_server import Server, open_browser  # noqa: E402

from mixture_of_transformers.demo.examples import EXAMPLES, examples_in  # noqa: E402
from mixture_of_transformers.demo.page import build_page, describe  # noqa: E402
from mixture_of_transformers.demo.panels import panel_of, panels_of, panels_with  # noqa: E402
from mixture_of_transformers.demo.readings import read_readings, written  # noqa: E402

PATIENCE = 120_000  # ms
KNOWN = SeriesSettings(num_channels=CHANNELS, sampling_rate=RATE)
MOST = 5_000  # numbers


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    """A folder with patients, which has not learned and brings examples."""
    root = tmp_path_factory.mktemp("open")
    folder = save_patients(root / "patients")
    rows = [patient(number) for number in range(2)]
    rows[0]["imu"]["array"] = rows[0]["imu"]["array"].tolist()
    del rows[1]["imu"], rows[1]["vitals"]["age"]
    (folder / EXAMPLES).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


@pytest.fixture(scope="module")
def classifier(workplace):
    folder = workplace / "patients"
    parts = AutoModelForSequenceClassification.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    return MultimodalClassificationPipeline(model=parts[0].eval(), processor=parts[1])


@pytest.fixture(scope="module")
def server(workplace):
    server = Server.of_demo(workplace, "--models", "patients", "--max_numbers", str(MOST))
    yield server
    server.stop()


def write_series(path, series: dict):
    """A line for each sample, below names of the channels."""
    lines = [",".join(f"{value:.17g}" for value in sample) for sample in series["array"]]
    path.write_text("\n".join(["x,y,z", *lines]) + "\n")
    return path


def question(text="", vitals=("", "", "", ""), file=None, pasted="", used=("text", "vitals", "imu")) -> list:
    return ["patients", text, *vitals, file, pasted, list(used)]


def file_data(path: str) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}}


# ---------------------------------------------------------------------------------------------------------------------
# In a browser
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.training
@pytest.mark.slow
def test_a_form_is_filled_in_a_series_is_seen_and_both_contribute_to_the_answer(server, classifier, tmp_path):
    row, wrong = patient(3), tmp_path / "wrong.csv"
    wrong.write_text("1,2\n3,4\n")
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        page.get_by_text("Takes text (up to 32 tokens), vitals, imu (up to 4,096 samples at 50 Hz)").wait_for()
        assert page.locator("#picture, #video, #sound").count() == 0
        page.get_by_role("button", name="Classify").click()
        page.get_by_text("Nothing was given: fill in Sentence or vitals or imu.").wait_for()

        page.locator("#input-imu input[type=file]").set_input_files(str(wrong))
        page.get_by_text("imu has shape (2, 2): expected (samples, 3), samples before channels.").wait_for()
        page.locator("#input-imu button[aria-label=Clear]").click()
        page.locator("#input-imu input[type=file]").set_input_files(str(write_series(tmp_path / "a.csv", row["imu"])))
        page.locator("#input-imu-plot img").wait_for()  # before anybody asks for an answer

        page.get_by_label("age").fill(str(row["vitals"]["age"]))
        for column in ("sex", "ward"):
            page.get_by_label(column).click()
            page.get_by_role("option", name=row["vitals"][column], exact=True).click()
        page.get_by_role("button", name="Classify").click()
        page.locator("#rollout img").wait_for()
        assert all(page.locator(f"#{name} img").count() == 1 for name in ("contributions", "modalities", "tokens"))
        given = {"vitals": row["vitals"] | {"pulse": None}, "imu": row["imu"]}
        assert page.locator("#answer h2").inner_text() == classifier(given)[0]["label"]
        lines = page.locator("#answers [data-index]")
        assert [lines.nth(i).get_by_role("gridcell").first.inner_text().strip() for i in range(lines.count())] == [
            "vitals + imu",
            "vitals",
            "imu",
        ]
        assert page.locator("#answer b, #input-vitals b").count() == 0  # a category is text

        before = page.locator("#input-imu-plot img").get_attribute("src")
        page.get_by_role("row").filter(has_text="100 × 3").click()  # an example
        page.wait_for_function(
            "before => (src => src && src != before)(document.querySelector('#input-imu-plot img')?.src)", arg=before
        )
        assert page.get_by_label("age").input_value() == "40" and page.get_by_label("pulse").input_value() == "60.5"
        page.get_by_role("button", name="Classify").click()
        playwright.expect(lines).to_have_count(7, timeout=PATIENCE)
        page.close()


@pytest.mark.training
@pytest.mark.slow
def test_rows_are_found_by_a_form_and_shown_with_their_series(tmp_path):
    save_patients(tmp_path / "retriever", MoTForRetrieval)
    parts = [part.from_pretrained(tmp_path / "retriever") for part in (MoTForRetrieval, AutoProcessor)]
    rows = [patient(number) for number in range(4)]
    rows = [row | {"imu": row["imu"]["array"].tolist()} for row in rows]
    columns = {name: name for name in rows[0]}
    build_index(Dataset.from_list(rows), *parts, tmp_path / "index", columns=columns)
    server = Server.of_demo(tmp_path, "--indexes", "index")
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(PATIENCE)
        page.goto(server.url)
        page.get_by_text("4 rows with text, vitals, imu; asked with retriever.").wait_for()
        for column in ("age", "pulse"):
            page.get_by_label(column).fill(str(rows[2]["vitals"][column]))
        for column in ("sex", "ward"):
            page.get_by_label(column).click()
            page.get_by_role("option", name=rows[2]["vitals"][column], exact=True).click()
        page.get_by_label("vitals", exact=True).last.check()
        page.get_by_role("button", name="Search").click()
        page.locator(".hit img").nth(3).wait_for()  # the series of each
        found = page.locator(".hit").first.inner_text()
        assert "1.000 by vitals, row 2" in found and f"age: {rows[2]['vitals']['age']}, pulse: 70.5" in found
        page.close()
    server.stop()


# ---------------------------------------------------------------------------------------------------------------------
# By a script
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.training
def test_a_script_gets_the_answer_of_the_pipeline_by_the_names_of_the_row(server, classifier, tmp_path):
    row = patient(4)
    _, path = server.upload("imu.csv", write_series(tmp_path / "imu.csv", row["imu"]).read_bytes())
    vitals = [str(row["vitals"][column]) for column in ("age", "pulse", "sex", "ward")]
    event, answer = server.call("classify", question(row["text"], vitals, file_data(path)))
    assert event == "complete", answer
    found = {part["label"]: part["confidence"] for part in answer[0]["confidences"]}
    expected = {part["label"]: part["score"] for part in classifier(row)}
    assert found == {label: pytest.approx(expected[label], abs=1e-5) for label in LABELS}
    about = json.loads(server.ask("GET", "/gradio_api/info")[1])["named_endpoints"]["/classify"]["parameters"]
    names = [parameter["parameter_name"] for parameter in about]
    assert names == ["name", "text", "vitals_0", "vitals_1", "vitals_2", "vitals_3", "imu_0", "imu_1", "used"]


@pytest.mark.training
def test_what_is_pasted_is_as_good_as_a_file_and_an_empty_cell_is_absent(server, classifier):
    series = {"array": [[0.1, None, 0.3]] * 20, "sampling_rate": 25}
    event, answer = server.call("classify", question(vitals=("", "70", "", ""), pasted=json.dumps(series)))
    assert event == "complete", answer
    expected = classifier({"vitals": {"pulse": 70}, "imu": series})
    assert answer[0]["label"] == expected[0]["label"]
    assert answer[0]["confidences"][0]["confidence"] == pytest.approx(expected[0]["score"], abs=1e-5)


@pytest.mark.training
@pytest.mark.parametrize(
    "asked, message",
    [
        ({"vitals": ("old", "", "", "")}, "vitals[0]['age'] is 'old', and the column holds numbers"),
        ({"vitals": ("1e999", "", "", "")}, "beyond all numbers"),
        ({"vitals": (["1"], "", "", "")}, "and the column holds numbers"),
        ({"vitals": ("", "", "x", "")}, "vitals: 'sex' is 'x', expected one of its 2 values."),
        ({"vitals": ("", "", ["f"], "")}, "expected one of its 2 values."),
        ({"pasted": "1,2,3\n4,5"}, "imu: line 2 has 2 values, and line 1 has 3"),
        ({"pasted": "1,2,3\n4,five,6"}, "imu: line 2 holds 'five', which is no number"),
        ({"pasted": "1,2,inf"}, "imu holds infinite values"),
        ({"pasted": "/etc/passwd"}, "imu: line 1 holds '/etc/passwd', which is no number"),
        ({"pasted": '{"path": "/etc/passwd"}'}, "imu is a dict of path: expected `array`"),
        ({"pasted": "[" * 5000}, "imu begins as JSON and is none"),
        ({"pasted": "[[1, 2, " + "9" * 400 + "]]"}, "imu holds infinite values"),
        ({"pasted": '{"array": [[1, 2, 3], [4, 5, 6]], "sampling_rate": 0.05}'}, "this page takes 5,000 at most"),
        ({"text": "a", "used": ["imu"]}, "Everything that was given is left out: use text."),
    ],
)
def test_what_cannot_be_is_said_of_what_it_is(asked, message, server):
    event, answer = server.call("classify", question(**asked))
    said = answer["error"].replace("&#x27;", "'")
    assert event == "error" and message in said and len(said) < 1500
    assert "Traceback" not in server.log.read_text()


@pytest.mark.training
def test_a_series_of_a_visitor_is_an_upload_of_bounded_size(server, workplace):
    secret = workplace / "patients" / "config.json"
    event, answer = server.call("classify", question(file=file_data(str(secret))))
    assert event == "error" and "reads files that were uploaded" in answer["error"]
    _, large = server.upload("large.csv", b"1,2,3\n" * 15_000)
    event, answer = server.call("classify", question(file=file_data(large)))
    assert event == "error" and "imu has 90,000 bytes: this page takes 80,000 at most" in answer["error"]
    _, picture = server.upload("imu.csv", b"\x89PNG\xff\xfe")
    event, answer = server.call("classify", question(file=file_data(picture)))
    assert event == "error" and "imu is no text in UTF-8" in answer["error"]
    event, answer = server.call("classify", question(file=file_data(picture), pasted="1,2,3"))
    assert event == "error" and "leave one of them out" in answer["error"]


# ---------------------------------------------------------------------------------------------------------------------
# Without a server
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [
        "1,2,3\n4,,6\n",
        "x,y,z\n1,2,3\n4,nan,6",
        "\ufeffx;y;z\r\n1;2;3\r\n4;NA;6\r\n",
        '"x"\t"y"\t"z"\n1\t2\t3\n\n4\t\t6\n',
        "1 2  3\n4 null 6",
        "[[1, 2, 3], [4, null, 6]]",
        '{"array": [[1, 2, 3], [4, NaN, 6]]}',
    ],
)
def test_one_series_is_the_same_however_it_is_written(content):
    found = read_readings(content.encode(), "imu", KNOWN, MOST)
    assert np.array_equal(found.values, [[1, 2, 3], [4, np.nan, 6]], equal_nan=True)


def test_a_series_comes_back_as_it_was_written():
    series = {"array": np.array([[0.1, np.nan, 3.0]] * 4), "sampling_rate": 12.5}
    found = read_readings(written(series).encode(), "imu", KNOWN, MOST)
    assert found.sampling_rate == 12.5 and np.array_equal(found.values, series["array"], equal_nan=True)


def test_a_line_of_numbers_is_no_line_of_names():
    assert len(read_readings(b"1,2,3\n4,5,6", "imu", KNOWN, MOST).values) == 2
    with pytest.raises(ValueError, match="line 1 holds 'y', which is no number"):
        read_readings(b"1,y,3\n4,5,6", "imu", KNOWN, MOST)


def test_checkpoints_that_ask_the_same_share_the_inputs_of_the_page(classifier):
    asked = panels_of(classifier.model, classifier.processor)
    assert [*asked] == ["text", "vitals", "imu"] and panels_with([asked, asked], historic=False) == [*asked.values()]
    historic = panels_with([asked], historic=True)
    assert [panel.name for panel in historic] == ["text", "image", "audio", "vitals", "imu"]
    kind = classifier.processor.kinds["vitals"]
    other = panel_of(kind, {"numbers": {"age": {"mean": 0, "std": 1}}, "categories": {}})
    assert len(panels_with([asked, {"vitals": other}], historic=False)) == 4  # other columns are another form


def test_a_table_asks_for_each_column_and_says_what_is_usual(classifier):
    panel = panels_of(classifier.model, classifier.processor)["vitals"]
    assert panel.columns == ["age", "pulse", "sex", "ward"] and panel.categories[1][1] == tuple(sorted(WARDS))
    assert re.fullmatch(r"[\d.]+ to [\d.]+", panel.numbers[0][1])
    row = {"vitals": {"age": 41, "pulse": None, "ward": "south"}}
    held = panel.fill(row)
    assert held == ["41", "", "", "south"]
    assert panel.read(held, {}, None) == {"vitals": {"age": "41", "ward": "south"}}
    assert panel.read(["", None, "", ""], {}, None) == {"vitals": None}


def test_a_page_of_ready_vectors_says_that_it_has_no_inputs_for_them(workplace, classifier):
    assert describe(classifier, ["text", "vitals"]).count("imu") == 1
    assert "start it with this checkpoint" in describe(classifier, ["text", "vitals"])
    assert build_page([str(workplace / "patients")]).title == "Mixture-of-Transformers"


def test_examples_are_rows_of_the_folder_and_their_files_lie_in_it(workplace, classifier, tmp_path):
    table = classifier.processor.rows
    rows = examples_in(workplace / "patients", table)
    assert [[*row] for row in rows] == [["text", "vitals", "imu"], ["text", "vitals"]]
    assert classifier(rows)[1][0]["label"] in LABELS and examples_in(tmp_path, table) == []
    (tmp_path / "inside.png").write_bytes(b"a picture")
    (tmp_path / EXAMPLES).write_text('{"image": "inside.png"}\n\n' * 9)
    assert examples_in(tmp_path, table) == [{"image": b"a picture"}] * 5
    for line, message in {
        '{"image": "../outside.png"}': "line 1 names '../outside.png', which is no file in its folder",
        '{"image": "/etc/passwd"}': "which is no file in its folder",
        '{"imx": [1]}': "imu",
        "[1]": "expected a row",
        "{": "line 1 holds no JSON",
    }.items():
        (tmp_path / EXAMPLES).write_text(line)
        with pytest.raises(ValueError, match=re.escape(message)):
            examples_in(tmp_path, table)
