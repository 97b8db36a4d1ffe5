# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Turns the repository into the pages of a site, for `mkdocs.yml`.

The pages of docs/ stand in the site by their names. The pages of the root join them, and so do the notebooks and every
file or folder of code that a page links to: each becomes a page, and links between them are rewritten.
"""

import json
import os
import re
import tempfile
from pathlib import Path

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

REPOSITORY = Path(__file__).resolve().parents[1]
DOCS = REPOSITORY / "docs"
ROOT_PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
LINK = re.compile(r"(?<=\]\()(?!https?://|#)([^)\s#]+)")
FENCE = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
PACKAGE = tempfile.TemporaryDirectory(prefix="mot-docs-")


@event_priority(100)  # before mkdocstrings reads its options
def on_config(config):
    """Show mkdocstrings the package under its name, without the folders of the root that are no part of it."""
    package = Path(PACKAGE.name) / "mixture_of_transformers"
    package.mkdir(exist_ok=True)
    for path in (*REPOSITORY.glob("*.py"), *(init.parent for init in REPOSITORY.glob("*/__init__.py"))):
        if not (package / path.name).exists():
            (package / path.name).symlink_to(path)
    config.plugins["mkdocstrings"].config.handlers["python"]["paths"] = [PACKAGE.name]
    return config


def on_files(files: Files, config) -> Files:
    """Add what lies outside of docs/ and is linked from a page, or is a page itself."""
    pages = [*(REPOSITORY / name for name in ROOT_PAGES), *DOCS.glob("*.md")]
    linked = {target for page in pages for target in targets(page)}
    linked |= {child for target in linked if target.is_dir() for child in contents(target)}
    waiting = {*pages, *linked, *DOCS.glob("notebooks/*.ipynb")}
    for path in sorted(path for path in waiting if files.get_file_from_path(site_name(path)) is None):
        files.append(File.generated(config, site_name(path), content=as_markdown(path)))
    return files


def on_page_markdown(markdown: str, page, **_) -> str:
    """Links of a page, as they lead from its place in the repository, to those from its place in the site."""
    if page.file.src_uri.startswith("code/"):
        return markdown  # made here, with links of the site
    source = source_of(page.file.src_uri)
    parts = FENCE.split(markdown)
    return "".join(part if part.startswith("```") else relink(part, source, page.file.src_uri) for part in parts)


def relink(text: str, source: Path, name: str) -> str:
    def replace(match: re.Match) -> str:
        return os.path.relpath(site_name((source.parent / match[1]).resolve()), os.path.dirname(name) or ".")

    return LINK.sub(replace, text)


def targets(page: Path) -> set[Path]:
    """The files and folders that a page links to."""
    text = "".join(part for part in FENCE.split(page.read_text(encoding="utf-8")) if not part.startswith("```"))
    return {(page.parent / link).resolve() for link in LINK.findall(text)}


def contents(folder: Path) -> list[Path]:
    """The files of a folder of code."""
    return sorted(path for path in folder.iterdir() if path.suffix in (".py", ".yaml"))


def site_name(path: Path) -> str:
    """Where a file of the repository stands in the site."""
    name = path.relative_to(REPOSITORY).as_posix()
    if path.suffix == ".ipynb":
        return path.relative_to(DOCS).with_suffix(".md").as_posix()
    if name in ROOT_PAGES or DOCS in path.parents:
        return name.removeprefix("docs/")
    return f"code/{name}/index.md" if path.is_dir() else f"code/{name}.md"


def source_of(name: str) -> Path:
    """Where in the repository a page of the site that has links stands."""
    return (REPOSITORY if name in ROOT_PAGES else DOCS) / name


def as_markdown(path: Path) -> str:
    """A page of a file: itself, a notebook's cells and outputs, a list of a folder's files, or its code."""
    name = path.relative_to(REPOSITORY).as_posix()
    if path.is_dir():
        return f"# {name}\n\n" + "".join(f"- [{child.name}]({child.name}.md)\n" for child in contents(path))
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        return text
    if path.suffix == ".ipynb":
        return "\n\n".join(map(cell_as_markdown, json.loads(text)["cells"]))
    return f"# {name}\n\n````{path.suffix[1:] or 'text'}\n{text}\n````\n"


def cell_as_markdown(cell: dict) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    return "\n\n".join([f"```python\n{source}\n```", *map(output_as_markdown, cell["outputs"])])


def output_as_markdown(output: dict) -> str:
    """A picture where there is one, and else the text."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    if "image/png" in data:
        return f"![Output](data:image/png;base64,{''.join(data['image/png']).strip()})"
    return f"```text\n{''.join(data['text/plain'])}\n```"
