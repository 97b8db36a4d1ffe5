# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run owns its folder, and its checkpoints are whole.

The owner holds a lock (`owned`), which the system frees when the process ends, however it ends. Each run has an id,
which stands in the folder and in the state of every checkpoint, so that nobody goes on with those of an earlier run
that lie there, too (`own_checkpoints`). A checkpoint is written beside its place and then renamed (`put_in_place`).
"""

import functools
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

LOCK, RUN_ID = ".run.lock", ".run_id"  # in the folder
SAVING = ".saving"  # where checkpoints are written
RUN = "run"  # where the state of a checkpoint has the id, among `stateful_callbacks`
STATE = "trainer_state.json"


# ---------------------------------------------------------------------------------------------------------------------
# One run at a time
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def owned(folder: Path) -> Iterator[None]:
    """
    The folder, made if it is not there, belongs to this process, which may ask again.

    Raises:
        OSError: another run is going on in it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_of(str(folder.resolve() / LOCK))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise OSError(
            f"Another run is going on in {folder}: wait until it has ended, or name another folder with --output_dir."
        ) from None
    try:
        yield
    finally:
        lock.release()


@functools.cache
def lock_of(path: str) -> FileLock:
    """
    The lock of a path. There is one for each, since a second one of this process would wait for the first. Where the
    file system has no locks (some network folders), `filelock` makes a file that says which process holds it.
    """
    return FileLock(path)


# ---------------------------------------------------------------------------------------------------------------------
# Which run
# ---------------------------------------------------------------------------------------------------------------------


def begin_run(folder: Path, run: str | None = None) -> str:
    """Have a folder belong to a run, by default a new one; returns its id."""
    run = uuid.uuid4().hex if run is None else run
    if run:
        write_whole(folder / RUN_ID, run + "\n")
    else:  # the run is from before runs had ids
        (folder / RUN_ID).unlink(missing_ok=True)
    return run


def run_of_folder(folder: Path) -> str | None:
    """The id of the run that a folder belongs to; None where it does not say."""
    try:
        return (folder / RUN_ID).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def run_of_state(state: dict) -> str:
    """The id in the content of a `trainer_state.json`; empty for a run from before there were any."""
    run = (state.get("stateful_callbacks") or {}).get(RUN)
    return run if isinstance(run, str) else ""


def run_of_checkpoint(checkpoint: Path) -> str | None:
    """The id of the run that wrote a checkpoint; None where its state cannot be read."""
    try:
        return run_of_state(json.loads((checkpoint / STATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, AttributeError):
        return None


def own_checkpoints(folder: Path) -> list[Path]:
    """
    The checkpoints in a folder by their steps, whatever the clock said: those of the run that it belongs to, and any
    whose run cannot be read.

    Raises:
        ValueError: they are of several runs, and the folder does not say whose it is.
    """
    found = [path for path in folder.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal()]
    found.sort(key=step_of)
    runs, run = {path: run_of_checkpoint(path) for path in found}, run_of_folder(folder)
    if run is None and len(known := {of for of in runs.values() if of is not None}) > 1:
        raise ValueError(
            f"{folder} has checkpoints of {len(known)} runs ({', '.join(path.name for path in found)}) and does not "
            "say which one goes on: name a checkpoint with --resume_from_checkpoint."
        )
    return [path for path in found if run is None or runs[path] in (run, None)]


def step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.rpartition("-")[2])


# ---------------------------------------------------------------------------------------------------------------------
# Whole, or not there
# ---------------------------------------------------------------------------------------------------------------------


def write_whole(path: Path, text: str) -> None:
    """A file with all of its text, or as it was."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    put_in_place(part, path)


def put_in_place(part: Path, place: Path) -> None:
    """Give a complete file or folder its name, once it is safe on the disk; what had that name is replaced."""
    for path in part.rglob("*") if part.is_dir() else [part]:
        if path.is_file():
            with open(path, "rb+") as written:
                os.fsync(written.fileno())
    if part.is_dir() and place.exists():
        replaced = part.with_name(f"{part.name}-replaced")
        place.rename(replaced)
        part.rename(place)
        shutil.rmtree(replaced, ignore_errors=True)
    else:
        os.replace(part, place)


def put_model_in_place(folder: Path) -> None:
    """
    Move the model that was written beside a folder into it, where other files stay, but for weights that it replaces.
    """
    part = folder / SAVING / "model"
    if not part.is_dir():  # where each process keeps its shard in checkpoints alone
        return
    names = {path.name for path in part.iterdir()}
    for name in sorted(names):
        put_in_place(part / name, folder / name)
    if any(name.startswith("model") for name in names):
        for path in folder.glob("model*.safetensors*"):
            if path.name not in names:  # shards of an earlier model
                path.unlink()


def clear_unfinished(folder: Path) -> None:
    """Delete what a killed run had begun to write."""
    shutil.rmtree(folder / SAVING, ignore_errors=True)


def delete_old_checkpoints(folder: Path, limit: int | None, best: Path, busy: set[Path]) -> None:
    """
    Delete the checkpoints of the folder's own run that have the lowest steps.

    Args:
        limit: how many stay; None or 0 keeps all.
        best: the best checkpoint, which stays beside the last.
        busy: checkpoints that are being uploaded, which stay until the next time.
    """
    own = own_checkpoints(folder)
    if not limit or not own:
        return
    free = [path for path in own[:-1] if path.name != best.name]
    for path in free[: max(0, len(own) - max(limit, len(own) - len(free)))]:
        if path not in busy:
            shutil.rmtree(path, ignore_errors=True)


def keep_best_checkpoint(folder: Path, best: Path) -> None:
    """Delete the other checkpoints of the folder's own run."""
    for path in own_checkpoints(folder):
        if path.name != best.name:
            shutil.rmtree(path, ignore_errors=True)
