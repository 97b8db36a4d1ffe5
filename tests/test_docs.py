# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The documents tell the truth: their Python runs, their links lead somewhere, their commands have the options named.

The Python blocks of each page run in order in one process of their own, in a folder that has what the runs on the
embedded digits leave: a checkpoint of each task (of a tiny, untrained model) with a picture and a sound beside it.
"""

import re
import shlex
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from forked import run_script
from helpers import save_untrained
from small_checkpoints import save_generator
from transformers import HfArgumentParser

from mixture_of_transformers.evaluation.report import ReportArguments
from mixture_of_transformers.evaluation.robustness import RobustnessArguments
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, RunArguments
from mixture_of_transformers.serving.evaluate import EvaluateArguments
from mixture_of_transformers.serving.predict_dataset import PredictArguments

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = [*sorted(REPOSITORY.glob("*.md")), *sorted((REPOSITORY / "docs").glob("*.md"))]
PICTURES = sorted((REPOSITORY / "docs").glob("*.svg"))

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def blocks(page: Path, language: str) -> list[tuple[int, str]]:
    """(line number of its first line, text) of each fenced block of a language."""
    text = page.read_text(encoding="utf-8")
    fence = re.compile(rf"^```{language}\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [(text.count("\n", 0, match.start(1)) + 1, match[1]) for match in fence.finditer(text)]


def prose(page: Path) -> str:
    """The page without its fenced blocks, in which a bracket is no link and a # no heading."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


# ---------------------------------------------------------------------------------------------------------------------
# The Python blocks
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder with outputs/digits, outputs/digits-retrieval, ..., written by the code that the command line runs."""
    root = tmp_path_factory.mktemp("docs")
    save_untrained(root / "outputs", "classification", "retrieval", "pretraining")
    save_generator(root / "outputs" / "digits-generation")
    return root


@pytest.mark.training
@every_page
def test_python_blocks_run_in_order(page, workplace, tmp_path):
    # Blank lines keep each block at its place in the page, so that a traceback names the page's own line.
    script = ""
    for line, code in blocks(page, "python"):
        script += "\n" * (line - 1 - script.count("\n")) + code
    if not script:
        pytest.skip("the page has no Python")
    (tmp_path / f"{page.stem}.py").write_text(script, encoding="utf-8")
    for file in (REPOSITORY / "examples").glob("modality_*.py"):  # which a user would have beside the script
        shutil.copy(file, tmp_path)
    done = run_script(tmp_path / f"{page.stem}.py", workplace)
    assert done.returncode == 0, done.stderr[-3000:]


# ---------------------------------------------------------------------------------------------------------------------
# The commands
# ---------------------------------------------------------------------------------------------------------------------


def command_lines(page: Path, start: str = "python run_finetune.py") -> list[str]:
    lines = [line for _, code in blocks(page, "bash") for line in code.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith(start)]


def test_the_readme_shows_the_commands():
    assert command_lines(REPOSITORY / "README.md")


@every_page
def test_commands_have_the_options_that_are_named(page):
    parser = HfArgumentParser((DataArguments, ModelArguments, RunArguments))
    for line in command_lines(page):
        arguments = shlex.split(line, comments=True)[2:]
        *_, unknown = parser.parse_args_into_dataclasses(arguments, return_remaining_strings=True)
        assert not unknown, line


@every_page
def test_commands_that_evaluate_have_the_options_that_are_named(page):
    commands = {
        "evaluate": EvaluateArguments,
        "report": ReportArguments,
        "robustness": RobustnessArguments,
        "predict": PredictArguments,
    }
    for start, options in ((f"mot {verb}", options) for verb, options in commands.items()):
        parser = HfArgumentParser((options, DataArguments))
        if options is not PredictArguments:
            parser.add_argument("checkpoint")
        for line in command_lines(page, start):
            if start == "mot predict" and "--dataset" not in line:
                continue  # of one row, which docs/clips.md has
            *_, unknown = parser.parse_args_into_dataclasses(
                shlex.split(line, comments=True)[2:], return_remaining_strings=True
            )
            assert not unknown, line


@every_page
def test_make_targets_exist(page):
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    # At the start of a line, as in a bash block, or quoted.
    for target in re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)`", page.read_text(encoding="utf-8"), re.MULTILINE):
        target = "".join(target)
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


# ---------------------------------------------------------------------------------------------------------------------
# Links and pictures
# ---------------------------------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to headings: lower case, spaces to hyphens, other punctuation left out."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_links_lead_to_files_and_headings(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if target.startswith(("https://", "http://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pytest.mark.parametrize("picture", PICTURES, ids=lambda picture: picture.name)
def test_pictures_are_well_formed_and_describe_themselves(picture):
    root = ElementTree.parse(picture).getroot()  # noqa: S314 (a picture of this repository)
    namespace = "{http://www.w3.org/2000/svg}"
    assert root.tag == f"{namespace}svg"
    names = {element.tag.removeprefix(namespace) for element in root.iter()}
    assert {"title", "desc"} <= names  # for those who cannot see it
    assert not names & {"script", "foreignObject", "image"}  # which GitHub would not show
