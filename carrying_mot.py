# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A user's own kind of modality, in a file of his own, travels with a checkpoint.

A saved folder is a package of the same files as this one. `carry` puts the user's file beside them, with imports of
its new siblings, and has the folder's table of modalities register the kind.
"""

import ast
import inspect
import re
import sys
from pathlib import Path

from .modalities_mot import KINDS, register
from .modality_mot import Modality

PACKAGE = __name__.rpartition(".")[0]
KINDS_MODULE = register.__module__.rpartition(".")[2]
# What remote code may import: the library refuses to load a folder that names a package which is not there.
ALLOWED_PACKAGES = {"torch", "transformers", "numpy", "PIL", "huggingface_hub", *sys.stdlib_module_names}
IMPORT_OF_PACKAGE = re.compile(r"^(\s*from\s+)mixture_of_transformers\.(?=\w+_mot\s+import\b)", flags=re.MULTILINE)


def carry(folder: str | Path) -> None:
    """
    Put the files of the kinds that a user has registered into a folder that was saved with its code.

    Raises:
        ValueError: a kind stands in no file of its own, or that file imports what a checkpoint cannot bring along.
    """
    table = Path(folder, f"{KINDS_MODULE}.py")
    own = {kind for kind in KINDS.values() if kind.__module__.rpartition(".")[0] != PACKAGE}
    if not own or not table.is_file():
        return
    text = table.read_text(encoding="utf-8")
    for kind in sorted(own, key=lambda kind: kind.__name__):
        source = file_of(kind)
        Path(folder, source.name).write_text(as_sibling(source), encoding="utf-8")
        line = f"from .{source.stem} import {kind.__name__}  # noqa: E402\n"
        if line not in text:
            text += f"\n{line}\nregister({kind.__name__})\n"
    table.write_text(text, encoding="utf-8")


def file_of(kind: type[Modality]) -> Path:
    """The file in which a user's kind stands, alone."""
    found = None if kind.__module__ == "__main__" else inspect.getsourcefile(sys.modules[kind.__module__])
    name = "" if found is None else Path(found).stem
    if not name.isidentifier() or name == "__init__" or (name.endswith("_mot") and name in own_modules()):
        raise ValueError(
            f"The kind {kind.__name__} stands in {kind.__module__!r}, which cannot go with a checkpoint: put it into "
            "a file of its own with a name of its own, such as modality_depth.py, and import it from there."
        )
    return Path(found)


def own_modules() -> set[str]:
    return {path.stem for path in Path(__file__).parent.glob("*_mot.py")}


def as_sibling(source: Path) -> str:
    """The text of a user's file once it stands beside the files of this package."""
    text = IMPORT_OF_PACKAGE.sub(r"\1.", source.read_text(encoding="utf-8"))
    siblings = own_modules()
    for node in ast.walk(ast.parse(text)):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            siblings = {f"{name}" for name in own_modules()}
            names = (
                [node.module] if node.level == 0 else [] if node.module in siblings else ["." + (node.module or "")]
            )
        for name in names:
            if name.partition(".")[0] not in ALLOWED_PACKAGES:
                raise ValueError(
                    f"{source.name} imports {name}, which a checkpoint cannot bring along: a kind may import torch, "
                    "transformers, numpy, PIL, the standard library and modules of this package as in `from "
                    "mixture_of_transformers.modality_mot import Modality`."
                )
    return text


__all__ = ["carry"]
