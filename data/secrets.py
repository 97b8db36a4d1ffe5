# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What stays on this machine: tokens are written nowhere, and nothing that is shared says where its files lie.

`without_secrets` is for every text that is written or shown, `printable` for what others wrote, `without_places` for
the words of a command that go into a model card, and `NOT_SHARED` names the files of a run's folder that no upload
takes.
"""

import os
import re
import tempfile
from pathlib import Path
from urllib.parse import unquote, urlsplit

from huggingface_hub import get_token

# Files of a run's folder: pickles, the state of its training, and what names paths of this machine or holds rows of
# data.
NOT_SHARED = [
    "checkpoint-*",
    "*.bin",
    "*.pt",
    "*.pth",
    "trainer_state.json",
    "run.json",
    "bad_rows*.jsonl",
    "predictions.jsonl",
    "report*.html",
    ".*",
]
HIDDEN = "..."
SECRET_PATTERNS = (
    (re.compile(r"\bhf_(?:[a-z]+_)?[A-Za-z0-9]{16,}"), HIDDEN),  # a token of the Hub
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), ""),  # https://user:password@host
    (  # https://host/file?token=..., as signed addresses have it
        re.compile(r"([?&;][\w.-]*(?:token|key|secret|sig|signature|password|credential|auth)=)[^&#\s'\"]+", re.I),
        rf"\g<1>{HIDDEN}",
    ),
)
CONTROL_CHARACTERS = re.compile(r"[^\t\x20-\x7e\xa0-\u200d\u2010-\u2027\u202f-\u2065\u206a-\ud7ff\ue000-\U0010ffff]")
given_secrets: set[str] = set()


def hide(secret: str | None) -> None:
    """Have `without_secrets` know a token that was given to this process."""
    if secret:
        given_secrets.add(secret)


def without_secrets(text: str) -> str:
    """A text without the tokens that this process knows, and without what looks like one or stands in a URL."""
    known = {os.environ.get("HF_TOKEN"), os.environ.get("HUGGING_FACE_HUB_TOKEN"), get_token(), *given_secrets}
    for secret in sorted((s for s in known if s), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    for pattern, replacement in SECRET_PATTERNS:
        text = pattern.sub(replacement, text)
    return text


def printable(text: str) -> str:
    """
    A text in one line that commands no terminal: control characters, and those that turn the direction, as escapes.
    """
    return CONTROL_CHARACTERS.sub(lambda found: repr(found[0])[1:-1], text)


def place_name(place: str) -> str:
    """The last part of a path, an id or a URL, without what a URL asks for."""
    if "://" in place:
        address = urlsplit(place)
        place = unquote(address.path.rstrip("/")) or address.hostname or "data"
    return Path(place).name or Path(place).resolve().name


def without_places(arguments: list[str]) -> list[str]:
    """The words of a command, with the names alone of files and folders that are named by where they lie here."""
    return [without_place(argument) for argument in arguments]


def without_place(argument: str) -> str:
    option, equals, value = argument.partition("=") if argument.startswith("-") else ("", "", argument)
    is_place = os.path.isabs(value) or value.startswith(("~", "file:")) or ".." in Path(value).parts
    if is_place:
        return option + equals + place_name(value)
    # The path may stand within JSON and the like.
    for place in {str(Path.home()), os.getcwd(), tempfile.gettempdir()} - {os.sep}:
        argument = argument.replace(place + os.sep, "").replace(place, HIDDEN)
    return argument
