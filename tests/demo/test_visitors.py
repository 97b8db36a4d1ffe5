# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What visitors of the demo page may do, tried as those would who mean harm: by a script, a web page elsewhere, a name
that is markup. The page is a process of its own, on models that have not learned.
"""

import html
import io
import json
import multiprocessing
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from helpers import save_untrained
from hub_server import Repository
from PIL import Image
from transformers import AutoModel, AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.search.building import build_index

pytest.importorskip("gradio")
from demo_server import Server, environment, open_browser  # noqa: E402

from mixture_of_transformers.demo.offers import by_short_names  # noqa: E402
from mixture_of_transformers.demo.page import main  # noqa: E402
from mixture_of_transformers.demo.visitors import (  # noqa: E402
    LOCK,
    MEGABYTE,
    Uploads,
    VisitorLimits,
    check_inputs,
    own_folder,
    served_hosts,
)

pytestmark = pytest.mark.training
PATIENCE = 120_000  # ms
forks = multiprocessing.get_context("fork")
# Each would change the page, or `window.harmed`, if it were taken for more than text.
MARKUP = [
    '<img src=x onerror="window.harmed=1">',
    "$x^2$ or $\\frac{1}{2}$",
    "$$unfinished_{",
    "[a link](http://evil.example)",
    "**not bold** `code`",
    "${window.harmed=2}",
    "{{window.harmed=3}} @children",
    "<script>window.harmed=4</script>",
    "&lt;b&gt; &amp;",
    "nine",
]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """Below it public/digits and public/index, whose labels and rows are markup, and private/digits."""
    root = tmp_path_factory.mktemp("visitors")
    save_untrained(root / "outputs", "classification", "retrieval")
    (root / "public").mkdir()
    shutil.copytree(root / "outputs" / "digits", root / "private" / "digits")
    model = AutoModelForSequenceClassification.from_pretrained(root / "outputs" / "digits")
    model.config.id2label = dict(enumerate(MARKUP))
    model.config.label2id = {label: number for number, label in enumerate(MARKUP)}
    model.save_pretrained(root / "public" / "digits")
    parts = [part.from_pretrained(root / "outputs" / "digits-retrieval") for part in (AutoModel, AutoProcessor)]
    parts[1].save_pretrained(root / "public" / "digits")
    rows = Dataset.from_dict({"text": MARKUP, "<b>$note$</b>": MARKUP[::-1]})
    build_index(rows, *parts, root / "public" / "index", columns={"text": "text"})
    return root


@pytest.fixture(scope="module")
def page(workplace):
    """With limits that a test can reach."""
    limits = ["--max_upload_megabytes", "2", "--max_uploads", "25", "--max_waiting", "30", "--max_characters", "500"]
    page = Server.of_demo(workplace, "--models", "public/digits", "--indexes", "public/index", *limits)
    yield page
    page.stop()


@pytest.fixture(scope="module")
def elsewhere():
    """A server that notes what it is asked for; a page that asks it has been led astray."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            server.asked.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture())

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


def picture(shade: int = 0) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((8, 8), shade, dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def question(name="digits", text="", image=None, video=None, audio=None, used=("text", "image", "audio")) -> list:
    return [name, text, image, video, audio, used and list(used)]


def file_data(path: str, **more) -> dict:
    return {"path": path, "meta": {"_type": "gradio.FileData"}} | more


def folder_of(page: Server, root: Path) -> Path:
    (found,) = [path.parent for path in root.glob(f"mot-demo-*/{LOCK}")]
    return found


# ---------------------------------------------------------------------------------------------------------------------
# What is offered
# ---------------------------------------------------------------------------------------------------------------------


def test_visitors_choose_only_from_what_the_page_was_started_with(page, workplace):
    assert page.call("show_checkpoint", ["digits"])[0] == "complete"
    said = set()
    for name in (
        str(workplace / "private" / "digits"),
        "private/digits",
        "/nowhere",
        "",
        "user/model",
        None,
        ["digits"],
    ):
        event, answer = page.call("show_checkpoint", [name])
        assert event == "error"
        said.add(answer["error"].partition("it offers")[0].replace(html.escape(str(name or "?")), "NAME")[:40])
        assert page.call("show_index", [name])[0] == "error"
    assert len(said) <= 2  # what is there is told apart from what is not by nobody


def test_folders_are_shown_by_their_names_alone(tmp_path):
    for name in ("a/digits", "b/digits", "c"):
        (tmp_path / name).mkdir(parents=True)
    places = [str(tmp_path / name) for name in ("a/digits", "b/digits", "c")]
    assert by_short_names([*places, "user/model"]) == {
        "digits": places[0],
        "digits (2)": places[1],
        "c": places[2],
        "user/model": "user/model",
    }


def test_any_checkpoint_goes_with_a_page_of_this_machine_alone(tmp_path, capsys):
    for more in (["--host", "0.0.0.0"], ["--space_dir", str(tmp_path / "space")]):
        with pytest.raises(SystemExit) as stopped:
            main(["--models", "anything", "--allow_any_checkpoint", *more])
        assert stopped.value.code == 2 and "of this machine alone" in capsys.readouterr().err


def test_what_a_visitor_names_is_read_without_the_owners_token(hub, hub_server, workplace, tmp_path):
    secret = hub_server.repositories["model", "user/secret"] = Repository(private=True)
    files = [path for path in (workplace / "private" / "digits").iterdir() if path.suffix in (".json", ".safetensors")]
    secret.commit("main", {path.name: (path.read_bytes(), path.suffix == ".safetensors") for path in files})
    script = (
        "from mixture_of_transformers.demo.offers import Offered, read_classifier\n"
        "try: Offered([], read_classifier, any_place=True)('user/secret'); print('read by a visitor')\n"
        "except OSError as error: print('refused')\n"
        "print(type(Offered(['user/secret'], read_classifier)('user/secret')).__name__)"
    )
    variables = environment(tmp_path) | hub | {"HF_HUB_OFFLINE": "0"}
    done = subprocess.run([sys.executable, "-c", script], env=variables, capture_output=True, text=True, cwd=tmp_path)
    assert done.stdout.split() == ["refused", "MultimodalClassificationPipeline"], done.stderr[-2000:]


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


def test_uploads_are_the_only_files_that_are_read(page, workplace, elsewhere):
    secret = workplace / "private" / "secret.png"
    secret.write_bytes(picture())
    _, uploaded = page.upload("mine.png", picture())
    link = Path(uploaded).with_name("link.png")
    link.symlink_to(secret)
    places = [
        str(secret),
        "/etc/passwd",
        "/nowhere",
        str(link),
        f"{uploaded}/../../../private/secret.png",
        "~/.bashrc",
    ]
    places += [elsewhere.url, f"file://{secret}", "data:image/png;base64,AAAA", str(Path(uploaded).parent), "\0", ""]
    places += [str(folder_of(page, workplace) / LOCK), "private/secret.png"]
    said = set()
    for place in places:
        forged = [{"path": place}, file_data(place), file_data(place, url=place)]
        forged += [file_data(uploaded, more=[{"path": place}])]
        asked = [question(image=file) for file in forged] + [question(audio=forged[0]), question(text=[forged[1]])]
        for data in asked:
            event, answer = page.call("classify", data)
            assert event == "error", (place, answer)
            said.add(answer["error"])
        assert page.call("search", ["index", "", {"path": place}, None, "anything", 3])[0] == "error"
    assert len(said) == 1 and not elsewhere.asked  # the same of what is there and of what is not
    link.unlink()


@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/gradio_api/file=SECRET"),
        ("GET", "/gradio_api/file/SECRET"),
        ("GET", "/gradio_api/file=URL"),
        ("HEAD", "/gradio_api/file=URL"),
        ("GET", "/gradio_api/file=%2e%2e/%2e%2e/private/digits/config.json"),
        ("GET", "/file=SECRET"),
        ("GET", "/gradio_api/proxy=URL"),
        ("POST", "/gradio_api/run/classify"),
        ("POST", "/gradio_api/api/classify"),
        ("POST", "/gradio_api/component_server"),
        ("POST", "/gradio_api/process_recording"),
        ("POST", "/gradio_api/vibe-edit"),
        ("GET", "/gradio_api/vibe-code"),
        ("GET", "/monitoring"),
        ("GET", "/gradio_api/custom_component/a/client/b/c"),
        ("PUT", "/gradio_api/upload"),
        ("OPTIONS", "/config"),
        ("GET", "/config?deep_link=" + "a" * 5000),
    ],
)
def test_gradios_other_ways_to_files_and_addresses_are_closed(method, path, page, workplace, elsewhere):
    path = path.replace("SECRET", str(workplace / "private" / "digits" / "config.json")).replace("URL", elsewhere.url)
    status, said = page.ask(method, path, b"{}" if method == "POST" else b"", Content_Type="application/json")
    assert status == 404 and "id2label" not in said and not elsewhere.asked


def test_nothing_that_was_asked_is_kept_on_the_hub(page):
    assert json.loads(page.ask("GET", "/config")[1])["run_history"] is False
    assert page.ask("GET", "/gradio_api/runs")[0] == 404


def test_messages_tell_nothing_of_the_servers_disk(page, workplace):
    _, broken = page.upload("broken.png", b"no picture")
    _, empty = page.upload("empty.png", b"")
    asked = [question(image=file_data(broken)), question(audio=file_data(broken)), question(video=file_data(broken))]
    asked += [question(image=file_data(empty)), question("nothing"), question(image="text"), question(used=["smell"])]
    asked += [question(text=None), question(text="one", used=None), [], question(text="one", image=[1])]
    for data in asked:
        event, answer = page.call("classify", data)
        text = json.dumps(answer)
        assert event == "error" and "Traceback" not in text
        assert not any(
            part in text for part in (str(workplace), str(Path.home()), "mot-demo-", ".py", "site-packages")
        )
    for path in ("/config", "/gradio_api/info"):
        assert str(workplace) not in page.ask("GET", path)[1]


def test_an_upload_is_judged_by_its_content_whatever_its_name(page):
    _, path = page.upload("clip.mp4", picture(200))
    assert page.call("classify", question(image=file_data(path)))[0] == "complete"


# ---------------------------------------------------------------------------------------------------------------------
# Hosts and other web pages
# ---------------------------------------------------------------------------------------------------------------------

ROUTES = [
    ("GET", "/"),
    ("GET", "/config"),
    ("GET", "/gradio_api/queue/data?session_hash=a"),
    ("POST", "/gradio_api/upload"),
]


@pytest.mark.parametrize("method, path", [*ROUTES, ("POST", "/gradio_api/call/show_checkpoint")])
@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:80", "evil@", "10.0.0.1", "", None])
def test_hosts_that_the_page_was_not_started_for_are_refused(host, method, path, page):
    status, said = page.ask(method, path, Host=host)
    assert status == 403 and "not served under this name" in said or (host is None and status == 400)


def test_a_forwarded_host_is_held_to_the_same_names(page):
    assert page.ask("GET", "/config", X_Forwarded_Host="evil.example")[0] == 403
    assert page.ask("GET", "/config", Host="localhost:1234")[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:1"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_posts_from_other_web_pages_are_refused(headers, page):
    assert page.begin("show_checkpoint", ["digits"], **headers)[0] == 403
    status, _ = page.begin("show_checkpoint", ["digits"], Origin=page.url, Sec_Fetch_Site="same-origin")
    assert status == 200


def test_links_from_elsewhere_lead_to_the_page(page):
    assert page.ask("GET", "/", Sec_Fetch_Site="cross-site")[0] == 200
    assert page.ask("GET", "/config", Origin="http://evil.example")[0] == 403


def test_no_websocket_is_opened(page):
    with socket.create_connection(("127.0.0.1", page.port), timeout=30) as connection:
        wanted = (
            f"GET /queue/join HTTP/1.1\r\nHost: 127.0.0.1:{page.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        )
        key = "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        connection.sendall((wanted + key).encode())
        assert connection.recv(100).split()[1] in (b"403", b"404")


def test_an_open_page_answers_to_addresses_and_to_the_names_that_were_given(monkeypatch):
    monkeypatch.delenv("SYSTEM", raising=False)
    local, everywhere = served_hosts("127.0.0.1"), served_hosts("0.0.0.0", ["Demo.Example.org"])
    assert [*map(local, ("localhost", "127.0.0.1", "192.168.0.7", "demo.example.org"))] == [True, True, False, False]
    assert [*map(everywhere, ("192.168.0.7", "::1", "demo.example.org", socket.gethostname().lower()))] == [True] * 4
    assert not everywhere("evil.example") and served_hosts("192.168.0.7")("192.168.0.7")
    monkeypatch.setenv("SYSTEM", "spaces")
    monkeypatch.setenv("SPACE_ID", "user/demo")  # whose names the Hub chooses
    assert served_hosts("0.0.0.0")("user-demo.hf.space")


# ---------------------------------------------------------------------------------------------------------------------
# How much
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [float("nan"), float("inf"), -1, 0, 1e30, 25, "many", None])
def test_how_many_rows_is_a_number_within_bounds(k, page):
    event, answer = page.call("search", ["index", "nine", None, None, "anything", k])
    assert event == "error", answer


def test_texts_and_bodies_are_bounded(page):
    event, answer = page.call("classify", question(text="a" * 501))
    assert event == "error" and answer["error"] == "This page takes 500 characters at most, and got 501."
    assert page.call("classify", question(text="a" * 500))[0] == "complete"
    status, said = page.upload("large.png", bytes(3 * MEGABYTE + 1))
    assert status == 413 and "maximum allowed size" in said
    status, said = page.begin("classify", question(text="a" * MEGABYTE))
    assert (status, said) == (413, "What was sent exceeds the maximum allowed size of 1 MB.")
    many = b"".join(
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n1\r\n' for _ in range(40_000)
    )
    status, _ = page.ask(
        "POST", "/gradio_api/upload", many + b"--x--\r\n", Content_Type="multipart/form-data; boundary=x"
    )
    assert status in (400, 413)


@pytest.mark.parametrize("value", [float("nan"), [{"a": float("-inf")}], "a" * 11, [["b", ("a" * 11,)]]])
def test_inputs_are_checked_at_any_depth(value):
    with pytest.raises(ValueError, match="characters at most|not a number"):
        check_inputs(value, VisitorLimits(max_characters=10))
    nested = "deep"
    for _ in range(10_000):
        nested = [nested]
    check_inputs([nested, 1.5, None, {"a": "b"}], VisitorLimits(max_characters=10))


def test_a_limit_is_at_least_one():
    with pytest.raises(ValueError, match="--max_waiting is 0: expected at least 1"):
        VisitorLimits(max_waiting=0)


def test_one_visitor_keeps_so_many_uploads_and_the_oldest_go_first(page):
    paths = [page.upload("shade.png", picture(shade))[1] for shade in range(100, 128)]
    assert [Path(path).exists() for path in paths] == [False] * 3 + [True] * 25
    assert page.call("classify", question(image=file_data(paths[0])))[0] == "error"
    assert page.ask("GET", f"/gradio_api/file={paths[0]}")[0] == 404
    assert page.ask("GET", f"/gradio_api/file={paths[-1]}")[0] == 200


def test_what_is_too_old_or_too_much_is_removed(tmp_path):
    example = tmp_path / "example.png"
    example.write_bytes(bytes(MEGABYTE))
    uploads = Uploads(tmp_path, VisitorLimits(max_kept_megabytes=3))
    paths = [tmp_path / str(number) / "file" for number in range(5)]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(bytes(MEGABYTE))
        time.sleep(0.02)
    uploads.sweep()
    assert [path.exists() for path in paths] == [False, False, True, True, True] and example.exists()
    assert not paths[0].parent.exists()
    uploads.limits = VisitorLimits(max_kept_minutes=1)
    now = time.time()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "time", lambda: now + 61)
        uploads.sweep()
    assert not any(path.exists() for path in paths) and example.exists()


def test_what_two_have_sent_stays_until_both_have_sent_more(tmp_path):
    uploads = Uploads(tmp_path, VisitorLimits(max_uploads=1))
    same, other = tmp_path / "same", tmp_path / "other"
    for path in (same, other):
        path.write_bytes(b"x")
    uploads.received("a", [str(same)])
    uploads.received("b", [str(same)])
    uploads.received("a", [str(other)])
    assert same.exists()
    uploads.received("b", [str(other)])
    assert not same.exists() and other.exists()


def stay_in_own_folder(pipe) -> None:
    with own_folder() as folder:
        pipe.send(folder)
        time.sleep(99)


def test_the_folder_goes_with_the_page_and_what_a_killed_one_left_goes_at_the_next_start(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    ours, theirs = forks.Pipe()
    killed = forks.Process(target=stay_in_own_folder, args=(theirs,), daemon=True)
    killed.start()
    left = ours.recv()
    (left / "upload.png").write_bytes(picture())
    foreign = tmp_path / "mot-demo-not-ours"
    foreign.mkdir()
    with own_folder() as mine:
        assert left.exists() and mine.parent == tmp_path and os.environ["GRADIO_TEMP_DIR"] == str(mine)
    assert not mine.exists() and os.environ["GRADIO_TEMP_DIR"] == str(tmp_path)
    killed.kill()
    killed.join()
    with own_folder():
        assert not left.exists() and foreign.exists()


# ---------------------------------------------------------------------------------------------------------------------
# Many at once
# ---------------------------------------------------------------------------------------------------------------------


def test_twenty_at_once_get_their_own_answers(page, workplace):
    folder = workplace / "public" / "digits"
    parts = AutoModelForSequenceClassification.from_pretrained(folder), AutoProcessor.from_pretrained(folder)
    classify = MultimodalClassificationPipeline(model=parts[0], processor=parts[1])
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
    rows = [{"text": f"{words[i % 10]} {i}", "image": picture(12 * i)} for i in range(20)]

    def ask(row: dict) -> dict:
        _, path = page.upload("digit.png", row["image"])
        status, number = page.begin("classify", question(text=row["text"], image=file_data(path)))
        assert status == 200
        event, answer = next(page.events("classify", number))  # the pictures are not waited for
        assert event == "generating", answer
        return {part["label"]: part["confidence"] for part in answer[0]["confidences"]}

    with ThreadPoolExecutor(20) as visitors:
        answers = [*visitors.map(ask, rows)]
    for row, answer in zip(rows, answers):
        expected = {part["label"]: part["score"] for part in classify(row)}
        assert answer == {label: pytest.approx(expected[label], abs=1e-5) for label in answer}
    assert len({json.dumps(answer) for answer in answers}) == 20


# ---------------------------------------------------------------------------------------------------------------------
# Text
# ---------------------------------------------------------------------------------------------------------------------


def test_what_comes_from_others_is_shown_as_text(page, workplace, tmp_path):
    sound = tmp_path / f"{MARKUP[0].replace('/', '')}.wav"
    soundfile.write(sound, np.sin(np.arange(8000) * 0.2), 16_000)
    with open_browser() as browser:
        seen = browser.new_page(viewport={"width": 1280, "height": 1000})
        seen.set_default_timeout(PATIENCE)
        asked = []
        seen.on("request", lambda request: asked.append(request.url))
        seen.goto(page.url)
        seen.get_by_text("Takes text (up to").wait_for()
        about = seen.get_by_text("Takes text (up to").inner_text()
        assert all(" ".join(label.split()) in about for label in MARKUP)
        seen.locator("#sound input[type=file]").set_input_files(str(sound))
        seen.locator("#sound button[aria-label=Clear]").first.wait_for()
        seen.get_by_label("Sentence").first.fill("$x$ <b>${1}</b> and $")
        seen.get_by_role("button", name="Classify").click()
        seen.locator("#rollout img").wait_for()
        answer = seen.locator("#answer").inner_text()
        assert sum(label in answer for label in MARKUP) == 5  # the likeliest
        assert any(label in seen.locator("#answers").inner_text() for label in MARKUP)
        seen.get_by_role("tab", name="Search").click()
        seen.get_by_label("Sentence").last.fill("nine")
        seen.get_by_role("button", name="Search").click()
        hits = seen.locator(".hit")
        hits.nth(7).wait_for()
        shown = hits.first.inner_text()
        assert "<b>$note$</b>: " in shown and sum(f"text: {text}" in shown for text in MARKUP) == 1
        # A message, too, is text: this one names what was asked for.
        seen.evaluate("window.harmed = window.harmed || 0")
        assert seen.evaluate("window.harmed") == 0
        assert not seen.locator("a[href*='evil.example'], .katex, img[src='x'], .hit script, #answer b").count()
        assert not [url for url in asked if not url.startswith((page.url, "data:", "blob:"))]
        seen.close()


# ---------------------------------------------------------------------------------------------------------------------
# The end, to which the page that all share comes now
# ---------------------------------------------------------------------------------------------------------------------


def test_the_queue_has_an_end_and_says_so(page):
    began = [page.begin("classify", question(text=f"one {number}")) for number in range(60)]
    refused = [said for status, said in began if status == 503]
    assert refused and all("Queue is full" in said for said in refused)
    accepted = [number for status, number in began if status == 200]
    assert len(accepted) >= 30 and [*page.events("classify", accepted[0])][-1][0] == "complete"


def test_a_page_that_is_stopped_leaves_nothing_of_its_visitors(page, workplace):
    _, path = page.upload("mine.png", picture())
    assert Path(path).exists() and [*workplace.glob("mot-demo-*")]
    page.stop()
    assert not [*workplace.glob("mot-demo-*")] and page.process.returncode == 128 + 15
