# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The page: what was measured, on what, by which command, and what was not measured.

A section stays as it is until its part is measured again, here or elsewhere: one page holds figures of a processor and
of a GPU that never were in one machine.
"""

import ast
import json
import os
import platform
import re
import subprocess
from pathlib import Path

import torch
import transformers

from .measure import Row, Table

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 12.0  # that a comparison may take unless the command says otherwise
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "outputs" / "benchmarks"
NOT_MEASURED = "What was not measured"

INTRODUCTION = """\
# Benchmarks

Written by `make bench`; one part of it is measured by the command under its heading. A row compares two candidates
that took turns in one process, so that neighbours on the machine disturb both alike: the value is the median over the
rounds of the ratio of their times, and the middle half (first to third quartile) shows the noise. Where a row has a
bar, it passes or fails by its median. One thread is timed in the process' own processor time, several on the wall; the
column `time` is that of the first candidate. Ratios carry over to other machines, milliseconds do not. Each section
names its command, date, commit and machine.
"""


# ---------------------------------------------------------------------------------------------------------------------
# Conditions
# ---------------------------------------------------------------------------------------------------------------------


def conditions() -> dict[str, str]:
    """Machine, software and commit."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    tunables = os.environ.get("GLIBC_TUNABLES")  # whether freed memory is kept changes how often pages are asked for
    device = f", {torch.cuda.get_device_name()}" if torch.cuda.is_available() else ""
    return {
        "machine": f"{processor()}, {os.cpu_count()} cores, {memory:.0f} GiB memory{device}",
        "software": f"{platform.system()}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}" + (f", `GLIBC_TUNABLES={tunables}`" if tunables else ""),
        "commit": commit(),
    }


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def commit() -> str:
    """The commit, and whether code was changed since."""
    try:
        name = git("rev-parse", "--short", "HEAD")
        return name + (" with changes" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip()


# ---------------------------------------------------------------------------------------------------------------------
# Markdown
# ---------------------------------------------------------------------------------------------------------------------


def docstring(name: str) -> tuple[str, str]:
    """The title and the text of a part's section, read without importing what the part may lack."""
    text = ast.get_docstring(ast.parse((ROOT / "benchmarks" / f"{name}.py").read_text(encoding="utf-8")))
    title, _, body = text.partition("\n")
    return title.strip().rstrip("."), body.strip()


def markdown(table: Table) -> str:
    parts = [f"### {table.title}"]
    if table.note:
        parts.append(table.note)
    if table.plot:
        parts.append(f"![{table.plot_text}]({table.plot})")
    if table.rows:
        parts.append(table.markdown())
    return "\n\n".join(parts)


def section(name: str, result: dict) -> str:
    title, body = docstring(name)
    longer = f" --seconds {result['seconds']:g}" if result["seconds"] != SECONDS else ""
    measured = (
        f"`python -m benchmarks {name}{longer}`: {result['minutes']:.1f} minutes, {result['date']}, "
        f"commit {result['commit']}, on {result['machine']}; {result['software']}."
    )
    tables = [Table(**table | {"rows": [Row(**row) for row in table["rows"]]}) for table in result["tables"]]
    return "\n\n".join([f"## {title}", body, measured, *map(markdown, tables)])


def sections_of(page: str) -> dict[str, str]:
    """A page's sections by their titles."""
    _, *sections = re.split(r"^(?=## )", page, flags=re.MULTILINE)
    return {section.partition("\n")[0].removeprefix("## "): section.strip() for section in sections}


def write_page(parts: tuple[str, ...], page: Path = PAGE, results: Path = RESULTS) -> None:
    """The page with what parts have left under `results`, and of the others what it had."""
    sections, missing = [], []
    before = sections_of(page.read_text(encoding="utf-8")) if page.exists() else {}
    for name in parts:
        title, _ = docstring(name)
        file = results / f"{name}.json"
        result = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {"reason": "not run yet"}
        if result["reason"] is None:
            sections.append(section(name, result))
        elif title in before:
            sections.append(before[title])
        else:
            missing.append(f"- {title}: {result['reason']}. `python -m benchmarks {name}` measures it.")
    if missing:
        sections.append("\n\n".join([f"## {NOT_MEASURED}", "\n".join(missing)]))
    page.write_text("\n\n".join([INTRODUCTION.strip(), *sections]) + "\n", encoding="utf-8")
