# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot` and scripts in a process of their own that is forked from this one, with everything imported: a start takes no
seconds.

What is printed goes through real files, and the process ends by the command's code. The constants that libraries make
of the environment when they are imported stay those of this process; tests that set such variables (`HF_ENDPOINT`),
and those in which the package must not be there, start a real process.
"""

import logging
import os
import runpy
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import datasets

from mixture_of_transformers.__main__ import hand_over
from mixture_of_transformers.training.command import run


def run_mot(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`mot ...`, run in a folder."""
    line = ["mot", *map(str, arguments)]
    return forked(lambda: run(hand_over, line[1:]), line, folder)


def run_script(script: Path, folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """`python script ...`, run in a folder."""

    def start():
        sys.path.insert(0, str(script.parent))
        runpy.run_path(script, run_name="__main__")

    return forked(start, [str(script), *map(str, arguments)], folder)


def forked(call: Callable[[], object], line: list[str], folder: Path) -> subprocess.CompletedProcess:
    """What a call prints and ends with in a process of this command line."""
    outputs = [folder / ".stdout", folder / ".stderr"]
    process = os.fork()
    if process == 0:
        os._exit(code_of(call, line, folder, outputs))
    _, status = os.waitpid(process, 0)
    printed = [output.read_text(encoding="utf-8") for output in outputs]
    for output in outputs:
        output.unlink()
    return subprocess.CompletedProcess(line, os.waitstatus_to_exitcode(status), *printed)


def code_of(call: Callable[[], object], line: list[str], folder: Path, outputs: list[Path]) -> int:
    """The code that a process ends with. Nothing gets out of here into the tests above."""
    try:
        os.chdir(folder)
        for stream, output in zip((1, 2), outputs):
            os.dup2(os.open(output, os.O_CREAT | os.O_TRUNC | os.O_WRONLY), stream)
        sys.stdout, sys.stderr = (os.fdopen(stream, "w", encoding="utf-8", closefd=False) for stream in (1, 2))
        for name in (None, "transformers", "datasets"):  # which hold on to the streams that they have found
            for handler in logging.getLogger(name).handlers:
                if isinstance(handler, logging.StreamHandler):
                    handler.setStream(sys.stderr)
        datasets.config.HF_DATASETS_CACHE = folder.parent / "datasets"  # rows are encoded once for several tests
        sys.argv = line
        call()
        code = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return code
