# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How every command ends: with what was asked for, or with one line and a code.

The codes: 0 it is done, 1 something that was given cannot be used (or the unforeseen happened), 2 the command line
itself is wrong, 130 Ctrl-C, 141 nobody reads the output any more. `--debug`, anywhere in the command, shows the
traceback. That of the unforeseen is kept in a file as well, since a run of hours is not repeated to see it.
"""

import os
import re
import select
import sys
import tempfile
import traceback
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from torch import OutOfMemoryError
from transformers import HfArgumentParser
from transformers.debug_utils import DebugOption

from mixture_of_transformers.data.secrets import printable, without_secrets

DEBUG = "--debug"
INTERRUPTED, OUTPUT_CLOSED = 130, 141  # as a shell reports a program that SIGINT or SIGPIPE has ended
OF_TRANSFORMERS = tuple(option.value for option in DebugOption)  # the words that `--debug` of a trainer takes


class RunError(RuntimeError):
    """What stopped a run and is no fault of the program. Its message says what to do, and may bring the command for it
    on a line of its own, to be copied."""


# Nobody has thought of the others beforehand, such as a KeyError.
FORESEEN = (ValueError, OSError, ImportError, StrictDataclassError, MemoryError, OutOfMemoryError, RunError)


def run(command: Callable[[list[str]], Any], arguments: list[str]) -> None:
    """Run a command with its arguments, `--debug` among them or not; ends the process unless all went well."""
    arguments, debug = without_debug(arguments)
    try:
        command(arguments)
        sys.stdout.flush()
    except KeyboardInterrupt:
        if debug:
            raise
        sys.exit(INTERRUPTED)
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_output_closed():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what Python still wants to write
            sys.exit(OUTPUT_CLOSED)
        if debug:
            raise
        sys.exit(line_of(error))


def without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """The arguments of the command, and whether a traceback is wanted. `--debug underflow_overflow` is an option of
    transformers' trainers, and stays one."""
    is_ours = [
        argument == DEBUG and not set(following[:1]) & set(OF_TRANSFORMERS)
        for argument, following in ((argument, arguments[i + 1 :]) for i, argument in enumerate(arguments))
    ]
    return [argument for argument, ours in zip(arguments, is_ours) if not ours], any(is_ours)


def is_output_closed() -> bool:
    """Whether it was the pipe behind the output that broke: nobody reads it any more."""
    waiting = select.poll()
    waiting.register(sys.stdout.fileno(), 0)
    return any(event & (select.POLLERR | select.POLLHUP) for _, event in waiting.poll(0))


def line_of(error: Exception) -> str:
    """
    What went wrong, in one line, without secrets and without what would command a terminal; of the unforeseen also
    where its traceback is.
    """
    kind, text = type(error).__name__, without_secrets(str(error))
    # The message of an error in a process that loads data is, from torch, its whole traceback.
    of_worker = re.search(rf"Original Traceback.*^[\w.]*{kind}: (.*)", text, re.DOTALL | re.MULTILINE)
    text = of_worker[1] if of_worker else text
    if isinstance(error, RunError):
        return "\n".join(map(printable, text.split("\n")))
    line = printable(f"{kind}: " + " ".join(part.strip() for part in text.splitlines() if part.strip()))
    if isinstance(error, FORESEEN) and text.strip():
        return line
    kept = keep_traceback(error)
    where = f"its traceback is in {kept}" if kept else f"{DEBUG} shows its traceback"
    return f"{line} (This was not foreseen: {where}. Run it again with {DEBUG}; SECURITY.md says how to report it.)"


def keep_traceback(error: Exception) -> str | None:
    """A file of one's own with the traceback, unless none can be written."""
    with suppress(OSError):
        lines = without_secrets("".join(traceback.format_exception(error)))
        with tempfile.NamedTemporaryFile("w", prefix="mot-", suffix=".log", delete=False, encoding="utf-8") as file:
            file.write(lines.encode("utf-8", "backslashreplace").decode())
        return file.name
    return None


def peek(parser: HfArgumentParser, arguments: list[str]) -> Namespace:
    """
    What a command line says, before what its defaults depend on is known; what is no option of it ends the process.
    """
    found, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    return found
