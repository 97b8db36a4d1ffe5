# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What surrounds the code holds: the command answers at once, versions agree, pages are reachable, notebooks run."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from forked import run_script

import mixture_of_transformers
from mixture_of_transformers_command import COMMANDS

REPOSITORY = Path(__file__).resolve().parents[1]
PROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
VERSION = re.search(r'^version = "(.+)"$', PROJECT, re.MULTILINE)[1]

# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------

# As the installed console script begins; a package that is imported in vain is named at the end.
SCRIPT = """
import sys
from mixture_of_transformers_command import main
sys.argv[0] = "mot"
try:
    main()
finally:
    print("imported:", *{"torch", "transformers", "mixture_of_transformers"} & set(sys.modules), file=sys.stderr)
"""


@pytest.fixture(scope="module")
def mot(tmp_path_factory):
    """Runs `mot` in a process of its own, also where nothing is installed."""
    packages = tmp_path_factory.mktemp("packages")
    (packages / "mixture_of_transformers_command").symlink_to(REPOSITORY / "command", target_is_directory=True)

    def call(*arguments):
        environment = os.environ | {"PYTHONPATH": str(packages), "COLUMNS": "119"}
        command = [sys.executable, "-c", SCRIPT, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)

    return call


@pytest.mark.parametrize("arguments", [(), ("--help",), ("-h",)], ids=["bare", "long", "short"])
def test_help_lists_every_verb_on_a_line_ends_with_0_and_imports_no_torch(mot, arguments):
    done = mot(*arguments)
    assert done.returncode == 0
    assert done.stderr == "imported:\n"
    lines = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith("    ")]
    assert lines == [[name, purpose] for name, purpose in COMMANDS.items()]


def test_the_version_is_that_of_the_package_and_imports_no_torch(mot):
    done = mot("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"mot {VERSION}\n", "imported:\n")


def test_an_unknown_verb_ends_with_2_and_imports_no_torch(mot):
    done = mot("serach")
    assert done.returncode == 2
    assert "'serach'" in done.stderr and done.stderr.endswith("imported:\n")


def test_the_version_is_the_same_wherever_it_is_written():
    assert mixture_of_transformers.__version__ == VERSION
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == VERSION
    assert f"## [{VERSION}]" in (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_citation_names_this_software_and_the_paper_that_it_builds_on():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)  # what the format requires
    (paper,) = citation["references"]
    assert paper["identifiers"] == [{"type": "other", "value": "arXiv:2411.04996"}]
    assert paper["url"].endswith("2411.04996")


def test_the_typed_program_uses_every_public_name():
    program = (REPOSITORY / "tests" / "typed_use.py").read_text(encoding="utf-8").partition("\ndef ")[2]
    assert [name for name in mixture_of_transformers.__all__ if not re.search(rf"\b{name}\b", program)] == []


# ---------------------------------------------------------------------------------------------------------------------
# The site
# ---------------------------------------------------------------------------------------------------------------------


def leaves(nav) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [leaf for entry in (nav.values() if isinstance(nav, dict) else nav) for leaf in leaves(entry)]


def test_every_page_and_notebook_is_in_the_navigation_of_the_site_once():
    docs = REPOSITORY / "docs"
    pages = [path.name for folder in (REPOSITORY, docs) for path in folder.glob("*.md")]
    pages += [f"notebooks/{path.stem}.md" for path in docs.glob("notebooks/*.ipynb")]
    site = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    assert sorted(leaves(site["nav"])) == sorted(pages)


def test_the_page_of_names_has_every_public_name_and_none_that_is_not():
    page = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")
    names = [name.rpartition(".") for name in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
    assert {name for _, _, name in names} >= set(mixture_of_transformers.__all__)
    for module, _, name in names:
        assert getattr(importlib.import_module(module), name).__module__ == module, "named where it is defined"


# ---------------------------------------------------------------------------------------------------------------------
# The notebooks
# ---------------------------------------------------------------------------------------------------------------------

every_notebook = pytest.mark.parametrize(
    "notebook", sorted((REPOSITORY / "docs" / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)


def code_cells(notebook: Path) -> list[dict]:
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


@pytest.mark.training
@every_notebook
def test_a_notebook_runs_and_prints_as_many_lines_as_it_shows(notebook, tmp_path):
    script, shown = tmp_path / f"{notebook.stem}.py", ""
    for cell in code_cells(notebook):
        shown += "".join("".join(output["text"]) for output in cell["outputs"])
    script.write_text("\n".join("".join(cell["source"]) for cell in code_cells(notebook)), encoding="utf-8")
    done = run_script(script, tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == len(shown.splitlines()), done.stdout


@every_notebook
def test_a_notebook_is_saved_as_it_ran_in_order_small_and_names_no_place_of_a_machine(notebook):
    cells = code_cells(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    assert all(output["output_type"] == "stream" for cell in cells for output in cell["outputs"])
    text = notebook.read_text(encoding="utf-8")
    assert len(text) < 20_000
    places = r"(?:^|[^.\w])/(?:home|root|work|tmp|usr|opt|var|mnt|Users)/|[A-Z]:\\\\"
    assert not re.findall(places, text), "where it ran is nobody's business"
