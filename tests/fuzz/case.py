# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A case, and how it ended.

Right: a result that holds against its check. Named: an error of a kind that people can catch (`NAMED`) whose message
names the argument, field, row or file that was odd. All else is a fault: an error that nobody can read, nonsense that
is taken, a hang, memory beyond measure.
"""

import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from huggingface_hub.errors import StrictDataclassError

RIGHT, NAMED_ERROR, OBSCURE, ACCEPTED, HANG, MEMORY = (
    "right",
    "named error",
    "obscure",
    "accepted wrongly",
    "hang",
    "memory",
)
OUTCOMES = (RIGHT, NAMED_ERROR, OBSCURE, ACCEPTED, HANG, MEMORY)
FAULTS = OUTCOMES[2:]
NAMED = (ValueError, TypeError, OSError, ImportError, StrictDataclassError)
NO_MEMORY = ("can't allocate memory", "not enough memory", "Unable to allocate", "bad allocation", "bad_alloc")


@dataclass
class Case:
    """
    Args:
        given: what is odd, for the list of faults.
        call: does it.
        names: one of these must stand in an error's message.
        check: what is wrong with a result, or None.
        must_fail: it is nonsense by any reading, so that no result is right.
        must_work: it is sound, so that no error is right.
    """

    given: str
    call: Callable[[], Any]
    names: tuple[str, ...]
    check: Callable[[Any], str | None] = lambda result: None
    must_fail: bool = False
    must_work: bool = False


def judge(case: Case) -> tuple[str, str]:
    """The outcome, and what shows it."""
    try:
        result = case.call()
        complaint = "nonsense was taken without a word" if case.must_fail else case.check(result)
    except Exception as error:
        return judge_error(case, error)
    return (ACCEPTED, complaint) if complaint else (RIGHT, "")


def judge_error(case: Case, error: Exception) -> tuple[str, str]:
    message = str(error)
    shown = f"{type(error).__name__}: {message[:300]!r} at {origin(error)}"
    if isinstance(error, MemoryError) or any(words in message for words in NO_MEMORY):
        return MEMORY, shown
    if case.must_work:
        return OBSCURE, f"refused though sound: {shown}"
    return (NAMED_ERROR if is_named(error, case.names) else OBSCURE), shown


def is_named(error: Exception, names: tuple[str, ...]) -> bool:
    """Whether people can catch it, and are told what to look at and, in some words more, why."""
    message = str(error).lower()
    return isinstance(error, NAMED) and any(name.lower() in message and len(message) > len(name) + 8 for name in names)


def origin(error: Exception) -> str:
    """The innermost line of this package that the error came through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "_mot.py" in f.filename or "run_" in f.filename]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}:{frames[-1].lineno}" if frames else "no file of the package"
