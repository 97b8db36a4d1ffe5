# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page as a process of its own, and those who ask it: a browser, and a visitor's script."""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
FLAGS = [  # whoever runs tests may be root, and the page needs nothing from elsewhere
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def environment(root: Path) -> dict[str, str]:
    """Of a process in a folder that has the package below `packages`."""
    packages = root / "packages"
    if not packages.exists():
        packages.mkdir()
        (packages / "mixture_of_transformers").symlink_to(REPOSITORY, target_is_directory=True)
    own = {"PYTHONPATH": str(packages), "HF_HOME": str(root / "hf"), "OMP_NUM_THREADS": "1", "TMPDIR": str(root)}
    return os.environ | own | {"HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "no_proxy": "127.0.0.1"}


class Server:
    """A process that serves a page, until it is stopped."""

    def __init__(self, root: Path, command: list[str], **variables: str):
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        variables = environment(root) | {"GRADIO_SERVER_PORT": str(self.port)} | variables
        self.log = root / f"server-{self.port}.log"
        with open(self.log, "w") as file:
            self.process = subprocess.Popen(command, cwd=root, env=variables, stdout=file, stderr=file)
        deadline = time.monotonic() + 300  # on a machine that does much else
        while not self.answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                raise RuntimeError(f"The page does not answer:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.2)

    @classmethod
    def of_demo(cls, root: Path, *arguments: str) -> "Server":
        return cls(root, [sys.executable, "-m", "mixture_of_transformers", "demo", *arguments])

    def answers(self) -> bool:
        try:
            return urllib.request.urlopen(self.url, timeout=5).status == 200  # noqa: S310 (the page of the test)
        except OSError:
            return False

    def stop(self) -> None:
        self.process.terminate()
        self.process.wait(60)

    # What a visitor's script can do, whatever a browser would forbid it.

    def ask(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, str]:
        """Status and text. A header of None is left out."""
        own = {"Host": f"127.0.0.1:{self.port}", "Content-Length": str(len(body)), "Connection": "close"}
        own |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in own.items():
            if value is not None:
                connection.putheader(name, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # it was refused before all of it was sent
            connection.endheaders(body)
        answer = connection.getresponse()
        content = answer.read().decode("utf-8", "replace")
        connection.close()
        return answer.status, content

    def upload(self, name: str, content: bytes) -> tuple[int, str]:
        """Status and the path of the file on the server, or what was said."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\n\r\n'
        body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
        kind = f"multipart/form-data; boundary={mark}"
        status, said = self.ask("POST", "/gradio_api/upload", body, Content_Type=kind)
        return status, json.loads(said)[0] if status == 200 else said

    def begin(self, function: str, data: list, **headers: str) -> tuple[int, str]:
        """Put a question into the queue: the status, and the number of the question or what was said."""
        headers = {"Content_Type": "application/json"} | headers
        status, said = self.ask("POST", f"/gradio_api/call/{function}", json.dumps({"data": data}).encode(), **headers)
        return status, json.loads(said)["event_id"] if status == 200 else said

    def events(self, function: str, number: str):
        """(event, data) of what is answered, as it comes."""
        with urllib.request.urlopen(f"{self.url}/gradio_api/call/{function}/{number}", timeout=120) as stream:  # noqa: S310 (the page of the test)
            for line in stream:
                name, _, value = line.decode().strip().partition(": ")
                if name == "event":
                    event = value
                elif name == "data" and event != "heartbeat":
                    yield event, json.loads(value)

    def call(self, function: str, data: list) -> tuple[str, object]:
        """The last event and its data."""
        status, number = self.begin(function, data)
        assert status == 200, number
        return [*self.events(function, number)][-1]


@contextmanager
def open_browser():
    """Chromium without a window; the test is skipped where there is none."""
    playwright = pytest.importorskip("playwright.sync_api")
    found = [shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome")]
    path = next((path for path in found if path), None)
    with playwright.sync_playwright() as driver:
        if path is None and not Path(driver.chromium.executable_path).exists():
            pytest.skip("there is no Chromium: install that of the system, or run `playwright install chromium`")
        browser = driver.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()
