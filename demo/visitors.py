# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What those who reach the demo page may do: whom it answers, how much they may send, and what becomes of their files.

A request passes `Guard` before Gradio sees it: its host, its origin, its address and its size. What it says passes
`check_inputs` before a component sees it. Files lie in a folder of this page alone (`own_folder`), where `Uploads`
keeps a bounded number of them for a bounded time. All numbers stand in `VisitorLimits`.
"""

import asyncio
import ipaddress
import json
import math
import os
import re
import shutil
import socket
import stat
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

try:
    from gradio.route_utils import API_PREFIX
    from gradio.utils import get_space, get_upload_folder
    from starlette.datastructures import Headers
    from starlette.formparsers import MultiPartException
    from starlette.responses import PlainTextResponse
except ImportError as error:
    raise ImportError("The page needs Gradio: pip install 'mixture-of-transformers[demo]'.") from error


@dataclass(frozen=True)
class VisitorLimits:
    """How much visitors may send, and how much of it is kept; each is an option of `mot demo`."""

    max_upload_megabytes: int = 50  # of one file
    max_uploads: int = 30  # of one visitor, kept at a time; the oldest go first
    max_kept_megabytes: int = 2000  # uploads and answers of all visitors; the oldest go first
    max_kept_minutes: int = 60
    max_characters: int = 10_000  # of a sentence, or of numbers that are pasted
    max_numbers: int = 500_000  # of a series, at the model's rate
    max_waiting: int = 64  # questions in the queue; one more is told to come again
    max_sessions: int = 500  # open pages that are remembered

    def __post_init__(self):
        for name, value in vars(self).items():
            if value < 1:
                raise ValueError(f"--{name} is {value}: expected at least 1.")


DEFAULTS = VisitorLimits()

MEGABYTE, SWEEP_SECONDS, UPLOAD_SECONDS = 2**20, 60, 600
MOST_OF_A_QUESTION, MOST_OF_AN_ADDRESS = MEGABYTE, 4096  # bytes
FOLDER, LOCK = "mot-demo-", "page.lock"
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
EVERYWHERE = frozenset({"0.0.0.0", "::"})  # noqa: S104  (compared with, not bound to)
HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]+)?", re.IGNORECASE)
# Of all that Gradio answers, what this page asks of it: no proxy, no fetching of addresses, nothing beside the queue.
READ = re.compile(
    r"/|/(config|theme\.css|favicon\.ico|manifest\.json|robots\.txt)/?|/(assets|static|svelte)/.+|"
    rf"{API_PREFIX}(/(info|app_id|startup-events|queue/data|queue/status|upload_progress|theme\.css)/?|"
    r"/(heartbeat|call|file=).+)"
)
WRITE = re.compile(rf"{API_PREFIX}/(queue/join|upload|cancel|reset|call/.+)/?")
UPLOAD, FILE = f"{API_PREFIX}/upload", f"{API_PREFIX}/file="


# ---------------------------------------------------------------------------------------------------------------------
# Requests
# ---------------------------------------------------------------------------------------------------------------------


def served_hosts(bound_to: str | None, named: Iterable[str] = ()) -> Callable[[str], bool]:
    """
    Which host names a page answers to: those of this machine, of the address that it is bound to, and those named.

    A web page elsewhere may let its own name point to this machine ("DNS rebinding"), so that a visitor's browser
    takes the two for one; but it cannot change the name. A number is no name, and is right wherever it is reached. A
    Space is reached by the names that the Hub gives it, and has no visitor's machine to protect.
    """
    known = LOCAL | {name.lower() for name in named}
    is_open = bound_to in EVERYWHERE
    if is_open:
        known |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    elif bound_to:
        known |= {bound_to.strip("[]").lower()}
    return lambda host: get_space() is not None or host in known or (is_open and is_address(host))


def is_address(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def host_name(netloc: str) -> str:
    """Of `name:port`, in small letters; "" for what is no such thing."""
    found = HOST.fullmatch(netloc)
    return found[1].strip("[]").lower() if found else ""


class TooMuch(MultiPartException):
    """A body that is too long or takes too long. It is an error of the parser, which then removes what was written."""


class Guard:
    """
    ASGI middleware in front of Gradio.

    Args:
        serves: whether a host name is one of the page's, as `served_hosts` gives it.
        limits, uploads: what may be sent, and where it is kept.
    """

    def __init__(self, app, serves: Callable[[str], bool], limits: VisitorLimits, uploads: "Uploads"):
        self.app, self.serves, self.limits, self.uploads = app, serves, limits, uploads

    async def __call__(self, scope, receive, send) -> None:
        if scope["type"] == "websocket":  # which Gradio has no use for
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self.app(scope, receive, send)
        elif refusal := self.refusal(scope):
            await PlainTextResponse(refusal[1], refusal[0])(scope, receive, send)
        else:
            await self.answer(scope, receive, send)

    def refusal(self, scope) -> tuple[int, str] | None:
        """Status and reason, or None for what is answered."""
        headers, path = Headers(scope=scope), route_of(scope)
        if "host" not in headers or not all(self.serves(host_name(host)) for host in asked_hosts(headers)):
            return 403, "The page is not served under this name; whoever runs it gives its names with --allow_hosts."
        if not self.is_own(headers, scope["method"]):
            return 403, "The page answers to no other web page."
        asked = {"GET": READ, "HEAD": READ, "POST": WRITE}.get(scope["method"])
        length = len(path) + len(scope.get("query_string", b""))
        if asked is None or not asked.fullmatch(path) or length > MOST_OF_AN_ADDRESS:
            return 404, "The page has nothing there."
        if path.startswith(FILE) and not is_upload(path.removeprefix(FILE)):
            return 404, "The page has no such file; uploads are kept for a while only."
        return None

    def is_own(self, headers: Headers, method: str) -> bool:
        """Whether a page of this server asks, or no browser. Links from elsewhere may lead here; posts may not."""
        origin, site = headers.get("origin"), headers.get("sec-fetch-site", "none")
        if method not in ("GET", "HEAD") and site not in ("none", "same-origin"):
            return False
        if origin is None:
            return True
        netloc = origin.partition("://")[2]
        return netloc in asked_hosts(headers) or (site == "same-origin" and self.serves(host_name(netloc)))

    async def answer(self, scope, receive, send) -> None:
        is_upload_of_files = route_of(scope).rstrip("/") == UPLOAD
        most = self.limits.max_upload_megabytes * MEGABYTE if is_upload_of_files else 0
        began = False

        async def noting(message) -> None:
            nonlocal began
            began = began or message["type"] == "http.response.start"
            await send(message)

        outgoing = self.noting_files(scope, noting) if is_upload_of_files else noting
        try:
            if scope["method"] == "POST":  # nobody reads the body of another
                most += MOST_OF_A_QUESTION
                check_length(int(Headers(scope=scope).get("content-length") or 0), most)
                receive = bounded(receive, most)
            await self.app(scope, receive, outgoing)
        except TooMuch as error:
            if began:
                raise
            await PlainTextResponse(error.message, 413)(scope, receive, send)

    def noting_files(self, scope, send) -> Callable[[dict], Awaitable[None]]:
        """`send` of the answer to an upload, which lists the paths of the files."""
        status, body = 0, bytearray()

        async def noted(message) -> None:
            nonlocal status
            status = message.get("status", status)
            body.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body") and status == 200:
                self.uploads.received(visitor(scope), json.loads(bytes(body)))
            await send(message)

        return noted


def asked_hosts(headers: Headers) -> list[str]:
    """`name:port` of all hosts that a request says it is for; a proxy in front passes on the one that it was asked."""
    forwarded = ",".join(headers.getlist("x-forwarded-host"))
    return headers.getlist("host") + [host.strip() for host in forwarded.split(",") if host.strip()]


def route_of(scope) -> str:
    """The path below the place where the page is mounted."""
    return scope["path"].removeprefix(scope.get("root_path", "").rstrip("/")) or "/"


def visitor(scope) -> str:
    """By the address; on a Space all come from its proxy, which says for whom it asks."""
    forwarded = Headers(scope=scope).get("x-forwarded-for") if get_space() is not None else None
    return forwarded.split(",")[0].strip() if forwarded else (scope.get("client") or ("",))[0]


def check_length(length: int, most: int) -> None:
    if length > most:
        raise TooMuch(f"What was sent exceeds the maximum allowed size of {most // MEGABYTE} MB.")


def bounded(receive, most: int):
    """`receive` for a body of so many bytes at most, which has to arrive in UPLOAD_SECONDS."""
    received, is_whole, deadline = 0, False, time.monotonic() + UPLOAD_SECONDS

    async def receive_bounded() -> dict:
        nonlocal received, is_whole
        if is_whole:  # from now on it only tells that the visitor is gone
            return await receive()
        try:
            message = await asyncio.wait_for(receive(), max(deadline - time.monotonic(), 0.001))
        except TimeoutError:
            raise TooMuch("What was sent took too long.") from None
        received += len(message.get("body", b""))
        is_whole = not message.get("more_body")
        check_length(received, most)
        return message

    return receive_bounded


# ---------------------------------------------------------------------------------------------------------------------
# What a question says
# ---------------------------------------------------------------------------------------------------------------------


def check_inputs(value: Any, limits: VisitorLimits) -> None:
    """
    Raises:
        ValueError: what a visitor's script or browser sent as the inputs of a function holds a text that is too long,
            a number that is none, or names a file that is not an upload, at any depth.
    """
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if isinstance(path := part.get("path"), str) and not is_upload(path):
                raise ValueError(
                    "This page reads files that were uploaded to it, and keeps them for a while only: upload it again."
                )
            waiting += part.values()
        elif isinstance(part, (list, tuple)):
            waiting += part
        elif isinstance(part, str) and len(part) > limits.max_characters:
            raise ValueError(f"This page takes {limits.max_characters:,} characters at most, and got {len(part):,}.")
        elif isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{part} is not a number that this page can use.")


def is_upload(path: str) -> bool:
    """Whether a path leads to a file that lies in the folder of uploads, links followed."""
    try:
        real, folder = Path(path).resolve(strict=True), Path(get_upload_folder()).resolve()
        return real.is_file() and folder in real.parents and real.name != LOCK
    except (OSError, ValueError, RuntimeError):  # a name that no file can have, a circle of links
        return False


# ---------------------------------------------------------------------------------------------------------------------
# Files
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def own_folder() -> Iterator[Path]:
    """
    A folder for the files of this page's visitors, which Gradio takes as its own, and which goes with the page. Those
    of pages that were killed go first: nobody holds their lock any more.
    """
    before = os.environ.get("GRADIO_TEMP_DIR")
    parent = Path(before or tempfile.gettempdir()).absolute()
    parent.mkdir(parents=True, exist_ok=True)
    remove_abandoned(parent)
    folder = Path(tempfile.mkdtemp(prefix=FOLDER, dir=parent))
    lock = FileLock(folder / LOCK)
    lock.acquire()
    os.environ["GRADIO_TEMP_DIR"] = str(folder)
    try:
        yield folder
    finally:
        os.environ.pop("GRADIO_TEMP_DIR")
        if before is not None:
            os.environ["GRADIO_TEMP_DIR"] = before
        lock.release()
        shutil.rmtree(folder, ignore_errors=True)


def remove_abandoned(parent: Path) -> None:
    for folder in parent.glob(f"{FOLDER}*"):
        with suppress(OSError, Timeout):
            about = folder.lstat()
            is_mine = not hasattr(os, "getuid") or about.st_uid == os.getuid()
            if not (stat.S_ISDIR(about.st_mode) and is_mine and (folder / LOCK).exists()):
                continue
            with FileLock(folder / LOCK, timeout=0):
                shutil.rmtree(folder, ignore_errors=True)


class Uploads:
    """
    The files in the folder of a page, of which it keeps as many as the limits say, for as long as they say. Those that
    are there at the beginning, such as the pictures of examples, stay.
    """

    def __init__(self, folder: Path, limits: VisitorLimits):
        self.folder, self.limits = folder, limits
        self.kept = set(self.files())
        self.of: dict[str, OrderedDict[str, None]] = {}  # visitor -> paths, the oldest first
        self.changing = threading.Lock()

    def files(self) -> Iterator[Path]:
        return (Path(place) / name for place, _, names in os.walk(self.folder) for name in names)

    def received(self, visitor: str, paths: Iterable[str]) -> None:
        """Note that a visitor has sent these files; the oldest beyond the limit are removed."""
        with self.changing:
            own = self.of.setdefault(visitor, OrderedDict())
            for path in paths:
                own[path] = None
                own.move_to_end(path)
            while len(own) > self.limits.max_uploads:
                oldest, _ = own.popitem(last=False)
                if not any(oldest in others for others in self.of.values()):  # the same content is the same file
                    remove(Path(oldest))
        self.sweep()

    def sweep(self) -> None:
        """Remove what is too old, and the oldest of what is too much."""
        with self.changing:
            found = []
            for path in set(self.files()) - self.kept:
                with suppress(FileNotFoundError):
                    found.append((path.stat().st_ctime, path.stat().st_size, path))
            room, oldest = self.limits.max_kept_megabytes * MEGABYTE, time.time() - 60 * self.limits.max_kept_minutes
            for changed, size, path in sorted(found, reverse=True):
                room -= size
                if changed < oldest or room < 0:
                    remove(path)
            for visitor, own in [*self.of.items()]:
                if not any(Path(path).exists() for path in own):
                    del self.of[visitor]

    def keep_sweeping(self) -> None:
        """Sweep once a minute, as long as the process lives."""

        def sweep_forever() -> None:
            while True:
                time.sleep(SWEEP_SECONDS)
                with suppress(OSError):
                    self.sweep()

        threading.Thread(target=sweep_forever, daemon=True, name="sweep uploads").start()


def remove(path: Path) -> None:
    """A file, and the folder that Gradio made for it alone."""
    path.unlink(missing_ok=True)
    with suppress(OSError):  # it holds another one
        path.parent.rmdir()
