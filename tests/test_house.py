# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The walls of the house: what travels with a checkpoint stands flat in the root and imports nothing that stays, what
stays has a wing, and imports run one way. (What a saved folder holds is in test_save_load.py.)"""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "mixture_of_transformers"
TRAVELS = sorted(path.stem for path in ROOT.glob("*_mot.py"))
STAYS = ("__init__", "__main__", "run_finetune")
COMMAND = "command"  # the folder of the console script, which is a package of its own
# Each wing, and the wings that it may import; all may import what travels.
WINGS = {
    "data": (),
    "training": ("data",),
    "finetune": ("data", "training"),
    "search": ("data", "training"),
    "explain": (),
    "serving": ("data", "training", "finetune"),
    "evaluation": ("data", "training", "finetune", "explain", "serving"),
    "demo": ("data", "training", "finetune", "search", "explain", "serving"),
}
WING_MODULES = sorted(path.relative_to(ROOT) for wing in WINGS for path in (ROOT / wing).glob("*.py"))


def imports(path: Path, lazy: bool = True) -> list[ast.Import | ast.ImportFrom]:
    """The import statements of a file, without those for type checkers; with `lazy` also those inside functions."""

    def below(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.Import, ast.ImportFrom)):
                yield child
            elif isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                continue
            elif lazy or not isinstance(child, ast.FunctionDef):
                yield from below(child)

    return list(below(ast.parse(path.read_text())))


def own_modules(path: Path) -> set[str]:
    """What a file imports of the package by its full name, as `module` or `wing.module`."""
    found = set()
    for node in imports(path):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        found |= {name.removeprefix(PACKAGE).lstrip(".") for name in names if name.partition(".")[0] == PACKAGE}
    return found


def siblings(module: str, lazy: bool = True) -> set[str]:
    nodes = imports(ROOT / f"{module}.py", lazy)
    return {node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.level}


def test_the_root_holds_what_travels_and_little_else():
    others = {path.stem for path in ROOT.glob("*.py")} - set(TRAVELS)
    assert others == set(STAYS)
    assert {path.parent.name for path in ROOT.glob("*/__init__.py")} == {COMMAND, *WINGS}


def test_all_that_stands_in_the_root_goes_with_a_checkpoint():
    entries = {"modeling_mot", "processing_mot", "modeling_causal_mot", "processing_causal_mot"}
    found, waiting = set(), entries
    while waiting:
        found |= waiting
        waiting = {name for module in waiting for name in siblings(module)} - found
    assert found == set(TRAVELS)


def test_the_console_script_imports_the_standard_library_until_a_verb_is_handed_over():
    (path,) = (ROOT / COMMAND).glob("*.py")
    at_once = {alias.name.partition(".")[0] for node in imports(path, lazy=False) for alias in node.names}
    assert at_once <= sys.stdlib_module_names
    assert own_modules(path) == {"__main__"}


@pytest.mark.parametrize("module", TRAVELS)
def test_what_travels_imports_only_what_travels_and_flat(module):
    path = ROOT / f"{module}.py"
    assert not own_modules(path), "what travels names its siblings relatively, and no wing at all"
    for node in imports(path):
        if isinstance(node, ast.ImportFrom) and node.level:
            assert node.level == 1 and node.module in TRAVELS, ast.unparse(node)


def test_what_travels_imports_no_one_in_a_circle():
    """But for the lazy imports of `save_pretrained`, by which the library finds the code that goes with a folder."""
    order, waiting = [], {module: siblings(module, lazy=False) for module in TRAVELS}
    while free := sorted(module for module, needed in waiting.items() if needed <= set(order)):
        order += free
        waiting = {module: needed for module, needed in waiting.items() if module not in order}
    assert not waiting


@pytest.mark.parametrize("path", WING_MODULES, ids=str)
def test_a_wing_imports_what_travels_and_the_wings_below_it(path):
    allowed = {path.parts[0], *WINGS[path.parts[0]]}
    for name in own_modules(ROOT / path):
        first = name.partition(".")[0]
        assert not name or first in allowed or first in TRAVELS, f"{path} imports {name}"
    assert not [node for node in imports(ROOT / path) if isinstance(node, ast.ImportFrom) and node.level], (
        "a wing names all that it imports in full"
    )


# Kinds of modalities

# What may know the modalities by name: the kinds' rooms, the table, and readers of files whose columns are these.
KNOWS_NAMES = {Path("modalities_mot.py"), Path("data/digits.py"), Path("data/mmsa.py")}
NAMES = {"text", "image", "audio"}
MODULES = sorted({path.relative_to(ROOT) for path in ROOT.glob("*.py")} | set(WING_MODULES))
MODULES = [path for path in MODULES if path not in KNOWS_NAMES and not path.name.startswith("modality_")]


def is_name(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and node.value in NAMES


def decides_by_name(node: ast.AST) -> bool:
    """Whether an expression compares with the name of a modality, looks something up by it, or lists several.

    A dict that packs a function's own arguments under their names, `{"text": text}`, decides nothing.
    """
    if isinstance(node, ast.Compare):
        return any(map(is_name, [node.left, *node.comparators]))
    if isinstance(node, ast.Dict):
        pairs = zip(node.keys, node.values)
        return any(is_name(k) and not (isinstance(v, ast.Name) and v.id == k.value) for k, v in pairs)
    if isinstance(node, ast.Subscript):
        return is_name(node.slice)
    if isinstance(node, (ast.Tuple, ast.List, ast.Set)):
        return sum(map(is_name, node.elts)) > 1
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ("get", "pop"):
        return any(map(is_name, node.args))
    return False


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_nothing_outside_the_kinds_decides_by_the_name_of_a_modality(path):
    nodes = ast.walk(ast.parse((ROOT / path).read_text()))
    assert not [f"{path}:{node.lineno}: {ast.unparse(node)}" for node in nodes if decides_by_name(node)]


@pytest.mark.parametrize(
    "source",
    ['m == "text"', 'm in ("text", "image")', '{"text": 1}', 'parts["audio"]', 'row.get("image")', '"text" in row'],
)
def test_a_decision_by_the_name_of_a_modality_is_found(source):
    assert any(map(decides_by_name, ast.walk(ast.parse(source))))


# The newcomer's table


def table_of_the_house() -> list[tuple[str, str, str]]:
    """The rows of the table in docs/architecture.md: (file or folder, its job, who may import it)."""
    lines = (ROOT / "docs" / "architecture.md").read_text().splitlines()
    cells = [line.strip("| ").split(" | ") for line in lines if line.startswith("| [`")]
    return [(row[0].split("`")[1], row[1], row[2]) for row in cells if len(row) == 3]


def test_the_table_of_the_house_names_every_file_and_folder_once():
    names = [name for name, _, _ in table_of_the_house()]
    assert len(set(names)) == len(names)
    files = {path.name for path in ROOT.glob("*.py")}
    assert set(names) == files | {f"{wing}/" for wing in (*WINGS, COMMAND)}


def test_a_file_imports_only_what_stands_above_it_in_the_table():
    above = set()
    for name, _, _ in table_of_the_house():
        module = name.removesuffix(".py")
        if module in TRAVELS:
            assert siblings(module, lazy=False) <= above, module
            above.add(module)


def test_the_table_says_which_wings_may_import_each_wing():
    for name, _, importers in table_of_the_house():
        if name.rstrip("/") in WINGS:
            allowed = {wing for wing, below in WINGS.items() if name.rstrip("/") in below}
            assert {part.strip("`/") for part in importers.split(", ")} == (allowed or {"nobody"}), name


def test_the_drawing_of_the_house_shows_what_travels_and_every_wing():
    drawing = (ROOT / "docs" / "house.svg").read_text()
    for module in TRAVELS:
        name = module.removesuffix("_mot")
        assert name in drawing or name.rpartition("_")[2] in drawing.partition("decoding (")[2], module
    for wing in WINGS:
        assert f">{wing}/<" in drawing


# ---------------------------------------------------------------------------------------------------------------------
# What the import brings
# ---------------------------------------------------------------------------------------------------------------------


def test_the_import_brings_no_package_and_no_model_that_only_some_programs_need(tmp_path):
    """Beside what any model and processor of transformers bring; what reads a video, or the weights of another model,
    imports what it needs by then."""
    code = """
import sys, torch, transformers
transformers.PreTrainedModel, transformers.AutoModel, transformers.AutoProcessor
before = set(sys.modules)
import mixture_of_transformers
print(*set(sys.modules) - before)
"""
    (tmp_path / PACKAGE).symlink_to(ROOT, target_is_directory=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    found = subprocess.check_output([sys.executable, "-c", code], text=True, env=environment).split()
    assert PACKAGE in found
    assert {name.partition(".")[0] for name in found} <= {PACKAGE, "transformers", "PIL", "soundfile", "_soundfile"}
    models = {name for name in found if name.startswith("transformers.models.") and ".modeling_" in name}
    assert models <= {"transformers.models.llama.modeling_llama"}  # whose layers the causal model has
