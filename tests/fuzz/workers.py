# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Runs cases in processes that are forked from this one with everything loaded, and are replaced when they hang or
die."""

import multiprocessing
import os
import resource
import shutil
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from .areas import AREAS
from .case import FAULTS, HANG, MEMORY, OBSCURE, Case, judge
from .world import World

MOST_SECONDS = 20  # of a processor, or without one: by the clock alone a busy machine would look like a hang
MOST_BYTES = 2**30  # above what the process had before the case
MOST_ADDRESSES = 2**33  # likewise reserved, which ends what allocates without an end
FORK = multiprocessing.get_context("fork")


@dataclass
class Ended:
    """How a case ended."""

    area: str
    number: int
    outcome: str
    given: str
    shown: str
    seconds: float

    @property
    def is_fault(self) -> bool:
        return self.outcome in FAULTS


def make(world: World, seed: int, area: str, number: int, folder: Path) -> Case:
    """A case, the same one for the same seed and number."""
    rng = np.random.default_rng([seed, zlib.crc32(area.encode()), number])
    return AREAS[area](rng, world, folder)


def run(world: World, seed: int, cases: Iterable[tuple[str, int]]) -> Iterator[Ended]:
    """Run cases one after the other."""
    worker = None
    for area, number in cases:
        if worker is None or not worker.process.is_alive():
            worker = Worker(world, seed)
        yield worker.run(area, number)
    if worker is not None:
        worker.stop()


class Worker:
    """A process for one case after the other."""

    def __init__(self, world: World, seed: int):
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=serve, args=(theirs, world, seed), daemon=True)
        self.process.start()
        theirs.close()

    def run(self, area: str, number: int) -> Ended:
        start, used, own = time.monotonic(), self.seconds_used(), 0.0
        last = start  # when it was seen to do something
        self.pipe.send((area, number))
        given = ""
        while True:
            try:
                if self.pipe.poll(0.2):
                    kind, answer = self.pipe.recv()
                    if kind == "given":
                        given = answer
                        continue
                    return Ended(area, number, answer[0], given, answer[1], time.monotonic() - start)
            except EOFError:
                self.process.join()
                shown = f"the process died with code {self.process.exitcode}"
                return Ended(area, number, OBSCURE, given, shown, time.monotonic() - start)
            now, before, own = time.monotonic(), own, self.seconds_used() - used
            last = now if own > before else last
            if own > MOST_SECONDS or now - last > MOST_SECONDS:
                self.stop()
                shown = f"{own:.0f} s of a processor, {now - last:.0f} s without one"
                return Ended(area, number, HANG, given, shown, now - start)

    def seconds_used(self) -> float:
        try:
            times = psutil.Process(self.process.pid).cpu_times()
            return times.user + times.system
        except psutil.NoSuchProcess:
            return 0.0

    def stop(self) -> None:
        self.process.kill()
        self.process.join()


def serve(pipe, world: World, seed: int) -> None:
    """What a worker does: cases as they come, in a folder of their own, without a word on the terminal."""
    silence()
    addresses = psutil.Process().memory_info().vms + MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (addresses, addresses))
    while True:
        try:
            area, number = pipe.recv()
        except EOFError:
            return
        folder = Path(tempfile.mkdtemp(prefix="case-", dir=world.folder))
        os.chdir(folder)
        try:
            case = make(world, seed, area, number, folder)
            pipe.send(("given", case.given))
            before = start_of_peak()
            outcome, shown = judge(case)
            grown = peak() - before
            if grown > MOST_BYTES:
                outcome, shown = MEMORY, f"{grown / 2**20:,.0f} MiB; {shown}"
            pipe.send(("ended", (outcome, shown)))
        finally:
            os.chdir(world.folder)
            shutil.rmtree(folder, ignore_errors=True)


def silence() -> None:
    for descriptor in (1, 2):
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def start_of_peak() -> int:
    """Bytes in use now, from which on Linux counts the peak anew."""
    Path("/proc/self/clear_refs").write_text("5")
    return in_use("VmRSS")


def peak() -> int:
    return in_use("VmHWM")


def in_use(name: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024
