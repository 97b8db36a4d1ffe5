# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page, as a visitor sees it: in a real Chromium without a window, on a model that has learned the digits.

Its tests are skipped where there is no Chromium (of the system, or by `playwright install chromium`).
"""

import json
import re
import sys
import urllib.request
from pathlib import Path

import psutil
import pytest
import soundfile
from datasets import Dataset, Video
from forked import run_mot
from helpers import save_untrained
from PIL import Image
from transformers import AutoModel, AutoProcessor

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.finetune.usage import save_examples
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.rows import as_stored

av = pytest.importorskip("av")
playwright = pytest.importorskip("playwright.sync_api")
pytest.importorskip("gradio")
from demo_server import Server, open_browser  # noqa: E402
from gradio_client import Client  # noqa: E402  (comes with Gradio)

from mixture_of_transformers.demo.offers import Offered, index_version, read_index  # noqa: E402
from mixture_of_transformers.demo.space import write_space  # noqa: E402

pytestmark = pytest.mark.training
PATIENCE = 60_000  # ms that a page may take
SMALL = '{"hidden_size": 64, "intermediate_size": 64, "num_encoder_layers": 1}'


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with outputs/digits, which has learned them, and outputs/digits-retrieval, which has not."""
    root = tmp_path_factory.mktemp("demo")
    done = run_mot(root, "finetune", "--max_steps", "150", "--learning_rate", "3e-3", "--config_overrides", SMALL)
    assert done.returncode == 0, done.stderr[-3000:]
    save_untrained(root / "outputs", "retrieval")
    return root


@pytest.fixture(scope="module")
def server(workplace):
    """The page as `mot demo` serves it when nothing is named."""
    server = Server.of_demo(workplace)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def browser():
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser, server):
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(server.url)
    yield page
    page.close()
    elsewhere = [url for url in asked if not url.startswith((server.url, "data:", "blob:"))]
    assert not elsewhere  # a page on this machine tells nobody that it is open


@pytest.fixture(scope="module")
def digits():
    return as_stored(load_digits_dataset()["test"])


@pytest.fixture
def files(digits, tmp_path):
    """A row whose sentence names the digit and which no example shows, as files; its number and label."""
    names = digits.features["label"].names
    number = next(i for i in range(20, len(digits)) if names[digits[i]["label"]] in digits[i]["text"])
    row = digits[number]
    return save_examples(tmp_path, row) | {"number": number, "label": names[row["label"]]}


def write_clip(path: Path, files: dict, seconds: int) -> Path:
    """A video of a row's picture, with its sound, as browsers play it."""
    with av.open(str(path), "w") as container:
        video, sound = container.add_stream("libx264", rate=5), container.add_stream("aac", rate=16_000, layout="mono")
        video.width, video.height, video.pix_fmt = 56, 56, "yuv420p"
        frame = av.VideoFrame.from_image(Image.open(files["image"]).convert("RGB").resize((56, 56)))
        for _ in range(5 * seconds):
            container.mux(video.encode(frame))
        container.mux(video.encode())
        samples, _ = soundfile.read(files["audio"], dtype="float32")
        tone = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        tone.sample_rate = 16_000
        container.mux(sound.encode(tone))
        container.mux(sound.encode())
    return path


def upload(page, place: str, file) -> None:
    """Choose a file for the input with that id, and wait until it has it."""
    page.locator(f"#{place} input[type=file]").set_input_files(str(file))
    page.locator(f"#{place} button:is([aria-label='Remove Image'], [aria-label='Clear'])").first.wait_for()


def pictures(page) -> dict[str, str]:
    """Name -> source of each picture that is shown, once they are drawn."""
    page.locator("#rollout img").wait_for()
    names = ("contributions", "modalities", "tokens", "rollout", "over_time")
    return {n: page.locator(f"#{n} img").get_attribute("src") for n in names if page.locator(f"#{n} img").count()}


def answers(page) -> dict[str, str]:
    """What is given -> what would be said, of the table."""
    lines = page.locator("#answers [data-index]")
    cells = [lines.nth(i).get_by_role("gridcell").all_inner_texts() for i in range(lines.count())]
    return {line[0].strip(): line[1].strip() for line in cells}


# ---------------------------------------------------------------------------------------------------------------------
# Classify
# ---------------------------------------------------------------------------------------------------------------------


def test_a_visitor_reads_the_digit_and_sees_what_changes_without_a_modality(page, files):
    page.get_by_text("Takes text (up to").wait_for()
    page.get_by_label("Sentence").first.fill(files["text"])
    upload(page, "picture", files["image"])
    upload(page, "sound", files["audio"])
    page.get_by_role("button", name="Classify").click()
    all_given = pictures(page)
    assert set(all_given) == {"contributions", "modalities", "tokens", "rollout"}
    assert page.locator("#answer h2").inner_text() == files["label"]
    table = answers(page)
    assert table["text + image + audio"] == files["label"] and len(table) == 7

    page.get_by_label("audio", exact=True).first.uncheck()  # which asks again
    playwright.expect(page.locator("#answers [data-index]")).to_have_count(3, timeout=PATIENCE)
    page.wait_for_function(
        "before => (src => src && src != before)(document.querySelector('#rollout img')?.src)",
        arg=all_given["rollout"],
    )
    without = pictures(page)
    assert set(without) == set(all_given) and all(without[name] != all_given[name] for name in without)
    assert set(answers(page)) == {"text + image", "text", "image"}


def test_an_example_is_a_click_away(page):
    page.locator("table tbody tr").filter(has=page.locator("img")).first.click()
    page.locator("#picture img").wait_for()
    page.get_by_role("button", name="Classify").click()
    assert "contributions" in pictures(page)


@pytest.mark.parametrize(
    "place, name, message",
    [
        ("picture", "broken.png", "image is not a picture that can be decoded"),
        ("sound", "broken.wav", "audio is not audio that can be decoded"),
        ("video", "broken.mp4", "video is not a video that can be decoded"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(place, name, message, page, tmp_path):
    page.get_by_text("Takes text (up to").wait_for()
    (tmp_path / name).write_bytes(b"this is nothing of the kind" * 99)
    upload(page, place, tmp_path / name)
    page.get_by_role("button", name="Classify").click()
    page.get_by_text(message).wait_for()
    assert str(tmp_path) not in page.content()


def test_nothing_given_and_too_much_given_are_said(page, tmp_path):
    page.get_by_text("Takes text (up to").wait_for()
    page.get_by_role("button", name="Classify").click()
    page.get_by_text("Nothing was given: fill in Sentence or Picture or Video or Sound.").wait_for()
    with open(tmp_path / "huge.wav", "wb") as file:
        file.truncate(51 * 2**20)
    page.locator("#sound input[type=file]").set_input_files(str(tmp_path / "huge.wav"))
    page.get_by_text(re.compile("maximum allowed size|exceed", re.IGNORECASE)).first.wait_for()


def test_a_long_video_has_a_timeline(page, files, tmp_path):
    page.get_by_text("Takes text (up to").wait_for()
    upload(page, "video", write_clip(tmp_path / "clip.mp4", files, seconds=9))
    page.get_by_role("button", name="Classify").click()
    assert "over_time" in pictures(page)
    page.get_by_text("Over time, in windows of 5 s").wait_for()
    assert set(answers(page)) == {"image + audio", "image", "audio"}


@pytest.mark.slow
def test_on_ones_own_machine_other_checkpoints_and_indexes_may_be_named(browser, files, workplace):
    clip = write_clip(workplace / "clip.mp4", files, seconds=2)
    clips = Dataset.from_dict({"video": [str(clip)], "text": ["a digit"]}).cast_column("video", Video(decode=False))
    parts = [part.from_pretrained(workplace / "outputs" / "digits-retrieval") for part in (AutoModel, AutoProcessor)]
    build_index(clips, *parts, workplace / "clips")
    server = Server.of_demo(workplace, "--models", "outputs/digits", "--allow_any_checkpoint")
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.set_default_timeout(PATIENCE)
    page.goto(server.url)
    page.get_by_text("Takes text (up to").wait_for()
    page.get_by_label("Checkpoint").fill("outputs/digits-retrieval")
    page.get_by_label("Checkpoint").press("Enter")
    page.get_by_text("outputs/digits-retrieval holds MoTForRetrieval").wait_for()
    page.get_by_label("Checkpoint").fill("<b>$x$</b>")
    page.get_by_label("Checkpoint").press("Enter")
    page.get_by_text("<b>$x$</b>").first.wait_for()  # a message is text, too
    page.get_by_label("Checkpoint").fill("outputs/digits")
    page.get_by_label("Sentence").first.fill(files["text"])
    page.get_by_label("Sentence").first.press("Enter")
    assert "contributions" in pictures(page)
    page.get_by_role("tab", name="Search").click()
    page.get_by_label("Index").fill("nowhere")
    page.get_by_label("Index").press("Enter")
    page.get_by_text("nowhere holds no index").wait_for()
    page.get_by_label("Index").fill("clips")
    page.get_by_label("Index").press("Enter")
    page.get_by_text("1 rows with video, text").wait_for()
    page.get_by_label("Sentence").last.fill("a digit")
    page.get_by_role("button", name="Search").click()
    player = page.locator(".hit video")
    player.wait_for()
    page.wait_for_function("document.querySelector('.hit video').videoWidth == 56")  # once its beginning is loaded
    page.close()
    server.stop()


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def test_a_visitor_finds_a_row_by_its_picture_and_sees_thumbnails_and_players(page, files, digits):
    page.get_by_role("tab", name="Search").click()
    page.get_by_text("300 rows with").wait_for()
    upload(page, "query-picture", files["image"])
    page.get_by_label("image", exact=True).last.check()
    page.get_by_role("button", name="Search").click()
    hits = page.locator(".hit")
    hits.nth(7).wait_for()
    for text in (f"1.000 by image, row {files['number']}", files["text"], files["label"]):  # whose picture it is
        hits.first.get_by_text(text).first.wait_for()
    assert hits.locator("img").count() == 8
    width = hits.locator("img").first.evaluate("async image => { await image.decode(); return image.naturalWidth; }")
    assert width == 28
    players = page.locator(".hit").filter(has=page.get_by_label("Play"))
    assert players.count() == 8


def test_an_empty_query_is_said(page):
    page.get_by_role("tab", name="Search").click()
    page.get_by_text("300 rows with").wait_for()
    page.get_by_role("button", name="Search").click()
    page.get_by_text("Nothing was given: fill in Sentence or Picture or Sound.").wait_for()


# ---------------------------------------------------------------------------------------------------------------------
# Without a browser
# ---------------------------------------------------------------------------------------------------------------------


def test_the_page_is_bound_to_this_machine_alone(server):
    connections = psutil.Process(server.process.pid).net_connections()
    assert {found.laddr.ip for found in connections if found.status == "LISTEN"} == {"127.0.0.1"}


@pytest.mark.slow
def test_a_space_runs_from_its_folder_alone(workplace, server, tmp_path):
    space = tmp_path / "space"
    named = ["--models", "outputs/digits", "--indexes", "outputs/digits-index"]
    done = run_mot(workplace, "demo", *named, "--space_dir", str(space))
    assert done.returncode == 0, done.stderr[-3000:]
    head = (space / "README.md").read_text().split("---")[1]
    assert {"sdk: gradio", "app_file: app.py"} <= set(head.splitlines())
    needed = {re.match(r"[\w.-]+", line)[0] for line in (space / "requirements.txt").read_text().splitlines()}
    assert {"torch", "transformers", "gradio", "av", "matplotlib"} <= needed and "pytest" not in needed
    assert (
        json.loads((space / "indexes/digits-index/index.json").read_text())["model"] == "retrievers/digits-retrieval"
    )
    code = space / "mixture_of_transformers" / "demo" / "page.py"
    code.write_text(code.read_text().replace("# Mixture-of-Transformers", "# The code of the space"))
    page = Server(space, [sys.executable, "app.py"], PYTHONPATH="")
    try:
        assert b"# The code of the space" in urllib.request.urlopen(page.url + "/config").read()  # noqa: S310 (the page of the test)
        client = Client(page.url, verbose=False)
        answer, *_ = client.predict("digits", "seven", None, None, None, ["text"], api_name="/classify")
        assert answer["label"] == "seven"
        about, *_ = client.predict("digits-index", api_name="/show_index")
        assert about == "300 rows with image, audio, text; asked with digits-retrieval."
        for forged in ({"path": "/etc/passwd"}, {"path": "models/digits/example.png"}):  # by the same rules
            assert page.call("classify", ["digits", "", forged, None, None, ["image"]])[0] == "error"
        assert page.begin("show_index", ["digits-index"], Origin="http://evil.example")[0] == 403
    finally:
        page.stop()


def test_the_page_searches_an_index_as_it_is_now(tmp_path):
    save_untrained(tmp_path, "retrieval")
    parts = [part.from_pretrained(tmp_path / "digits-retrieval") for part in (AutoModel, AutoProcessor)]
    index = build_index(Dataset.from_dict({"text": ["one"]}), *parts, tmp_path / "grown")
    offered = Offered([str(index.folder)], read_index, index_version)
    assert offered("grown") is offered("grown")
    index.add(Dataset.from_dict({"text": ["two"]}))
    assert offered("grown").rows["text"][:] == ["one", "two"]
    write_space(tmp_path / "space", [], [str(index.folder)])
    shared = {path.name for path in (tmp_path / "space" / "indexes" / "grown").iterdir()}
    assert shared == {"index.json", "shard-00000.parquet", "shard-00001.parquet"}


def test_a_space_is_not_written_over_something(workplace, tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ValueError, match="is not empty: choose another --space_dir"):
        write_space(tmp_path, ["user/model"], [])
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
