# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A folder that runs the demo page as a Space of the Hub: the package, and the checkpoints and indexes in folders."""

import json
import shutil
import sys
from collections.abc import Iterable
from importlib.metadata import requires, version
from pathlib import Path

from packaging.requirements import Requirement

from mixture_of_transformers.data.secrets import NOT_SHARED
from mixture_of_transformers.demo.offers import by_short_names
from mixture_of_transformers.search.description import DESCRIPTION

# Beside what stays on this machine, what a page has no use for.
LEFT_OUT = [*NOT_SHARED, "runs", "*.pkl", "results*.json", "*.log", "*.faiss*", "cache", "README.md"]


def write_space(folder: Path, models: str | Iterable[str], indexes: str | Iterable[str]) -> None:
    """A folder that runs this page as a Space: the package, and the checkpoints and indexes that are folders here."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose another --space_dir.")
    needed = [Requirement(line) for line in requires("mixture-of-transformers")]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": "demo"})]
    package = folder / "mixture_of_transformers"
    package.mkdir(parents=True)
    root = Path(__file__).parents[1]
    wings = [path.parent for path in root.glob("*/__init__.py")]
    for file in [*root.glob("*.py"), *(file for wing in wings for file in wing.glob("*.py"))]:
        copy = package / file.relative_to(root)
        copy.parent.mkdir(exist_ok=True)
        shutil.copy(file, copy)
    models = [copy_to_space(folder, "models", name, place) for name, place in by_short_names(models).items()]
    indexes = copy_indexes(folder, indexes)
    arguments = [*(["--models", *models] if models else []), *(["--indexes", *indexes] if indexes else [])]
    (folder / "requirements.txt").write_text("".join(f"{r.name}{r.specifier}\n" for r in needed), encoding="utf-8")
    (folder / "app.py").write_text(
        f"from mixture_of_transformers.demo.page import main\n\nmain({arguments!r})\n", encoding="utf-8"
    )
    (folder / "README.md").write_text(
        "---\ntitle: Mixture-of-Transformers\nsdk: gradio\n"
        f"sdk_version: {version('gradio')}\npython_version: '{sys.version_info[0]}.{sys.version_info[1]}'\n"
        "app_file: app.py\nlicense: apache-2.0\n---\n\n"
        "Classify whatever the models take, any of it or all together, and see why; search across it.\n",
        encoding="utf-8",
    )


def copy_to_space(space: Path, kind: str, name: str, place: str) -> str:
    """Where it lies below the Space; what is on the Hub stays there."""
    if not Path(place).is_dir():
        return place
    shutil.copytree(place, space / kind / name, ignore=shutil.ignore_patterns(*LEFT_OUT))
    return f"{kind}/{name}"


def copy_indexes(space: Path, indexes: str | Iterable[str]) -> list[str]:
    """Indexes, which then name their models as they lie below the Space, each of them once."""
    indexes = by_short_names(indexes).values()
    models = {place: json.loads((Path(place) / DESCRIPTION).read_text(encoding="utf-8"))["model"] for place in indexes}
    copied = {
        place: copy_to_space(space, "retrievers", name, place)
        for name, place in by_short_names(models.values()).items()
    }
    found = [copy_to_space(space, "indexes", name, place) for name, place in by_short_names(models).items()]
    for folder, model in zip(found, models.values()):
        file = space / folder / DESCRIPTION
        description = json.loads(file.read_text(encoding="utf-8"))
        file.write_text(json.dumps(description | {"model": copied[model]}, indent=1), encoding="utf-8")
    return found
