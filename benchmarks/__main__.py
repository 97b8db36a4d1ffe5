# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Measure and write `docs/benchmarks.md`:

    make bench                              every part, about 25 minutes on two cores
    python -m benchmarks untied ragged      these parts alone; the page keeps its sections of the others
    python -m benchmarks --seconds 0.5      a quick look: two rounds of each comparison
    python -m benchmarks --page             write the page anew from what was measured before

A part is a module of this folder with

    \"\"\"Title of its section                 (the docstring: what a reader must know of all its tables, in Markdown)

    ...
    \"\"\"

    def tables(seconds: float) -> Iterator[Table]:
        ...                                  yields each `measure.Table` once it is measured; a comparison takes about
                                             `seconds`. Raises `measure.NotMeasured` with a reason where it cannot run.

A part that imports a package which is not there is reported as not measured. Every part runs in a process of its own,
from the repository's root, so that none meets the memory or the threads of another. Results are kept as JSON under
`outputs/benchmarks/`.
"""

import argparse
import dataclasses
import importlib
import json
import os
import subprocess
import sys
import time
from datetime import date

from .measure import NotMeasured
from .page import PAGE, RESULTS, SECONDS, conditions, write_page

PARTS = (
    "full_batch",
    "untied",
    "ragged",
    "block_sparse",
    "contrastive",
    "int8",
    "preprocessing",
    "data_wait",
    "epoch",
    "start_up",
    "retrieval_search",
    "growth",
    "open_set",
    "causal",
    "gpu",
    "gpu_causal",
)

# What a new process gets from its allocator depends on its history: freed memory goes back to the system, and its next
# use faults page by page. These parts measure arithmetic, so they keep what they have freed.
STEADY_MEMORY = {"GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=1073741824:glibc.malloc.trim_threshold=4294967296"}
STEADY_PARTS = ("full_batch", "untied", "ragged", "causal")


def measure(name: str, seconds: float) -> None:
    """Measure a part in this process, print its tables and keep them."""
    start, tables, reason = time.perf_counter(), [], None
    try:
        module = importlib.import_module(f"benchmarks.{name}")
        for table in module.tables(seconds):
            print(f"\n{table.title}\n\n{table.markdown()}", flush=True)
            tables.append(dataclasses.asdict(table))
    except NotMeasured as error:
        reason = str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("mixture_of_transformers", "benchmarks", ""):
            raise
        reason = f"the package `{package}` is not installed (`pip install '.[bench]'`)"
    if reason is not None:
        print(f"\n{name}: not measured, {reason}", flush=True)
    result = conditions() | {
        "date": date.today().isoformat(),
        "minutes": (time.perf_counter() - start) / 60,
        "seconds": seconds,
        "tables": tables,
        "reason": reason,
    }
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("parts", nargs="*", metavar="part", help=f"of {', '.join(PARTS)}; all by default")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of a comparison (default: %(default)g)")
    parser.add_argument("--page", action="store_true", help="only write the page anew")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)  # one part, in this process
    arguments = parser.parse_args()
    if unknown := set(arguments.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    if arguments.here:
        return measure(*arguments.parts, arguments.seconds)
    failed = []
    for name in () if arguments.page else arguments.parts or PARTS:
        print(f"\n=== {name}", flush=True)
        command = [sys.executable, "-m", "benchmarks", name, "--here", "--seconds", str(arguments.seconds)]
        environment = os.environ | (STEADY_MEMORY if name in STEADY_PARTS else {})
        if subprocess.run(command, env=environment).returncode:
            failed.append(name)
    write_page(PARTS)
    print(f"\nWrote {PAGE}")
    if failed:
        sys.exit(f"Failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
