# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests, which its wheel lacks and its source distribution has.

The source distribution of the installed version is downloaded once into `.hf_common/`; the modules that the tests
need are taken out of it, together with stand-ins for what it leaves out, and imported as the package
`transformers_tests`. (Under its own name, `tests`, it would collide with this folder.)

The tests of `generate` are in no distribution. They come from the library's repository, at the version's tag; or from
a copy of it, `TRANSFORMERS_REPOSITORY`, where GitHub cannot be reached.
"""

import functools
import importlib
import importlib.util
import os
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import warnings
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import transformers

CACHE = Path(__file__).resolve().parents[1] / ".hf_common"
PACKAGE = "transformers_tests"
GENERATION_TESTS = "tests/generation/test_utils.py"
MODULES = ("test_configuration_common", "test_modeling_common", "test_processing_common", "test_training_mixin")

# What these modules import and the source distribution leaves out. The first two hold
# tests of exporting and generating; the third gives every common keyword a value that is not its default.
STAND_INS = {
    "__init__.py": "",
    "exporters/test_export.py": "class ExportTesterMixin:\n    pass\n",
    "generation/test_utils.py": "class GenerationTesterMixin:\n    pass\n",
    "utils/test_configuration_utils.py": """\
config_common_kwargs = {
    "return_dict": False,
    "output_hidden_states": True,
    "dtype": "float16",
    "chunk_size_feed_forward": 5,
    "architectures": ["BertModel"],
    "id2label": {0: "label"},
    "label2id": {"label": "0"},
    "problem_type": "regression",
}
""",
    "../utils/fetch_hub_objects_for_ci.py": "def url_to_local_path(url, *args, **kwargs):\n    return url\n",
}


def download(version: str) -> Path:
    """The source distribution of transformers `version`; skips the calling module where pip cannot get it."""
    archive = CACHE / f"transformers-{version}.tar.gz"
    if not archive.exists():
        options = (
            "--no-deps --no-binary :all: --no-build-isolation --disable-pip-version-check --retries 1 --timeout 20"
        )
        command = [sys.executable, "-m", "pip", "download", *options.split(), "--dest", CACHE]
        result = subprocess.run([*command, f"transformers=={version}"], capture_output=True, text=True)
        if not archive.exists():
            last_line = (result.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            pytest.skip(
                f"no source distribution of transformers {version}, which holds its common tests: {last_line}",
                allow_module_level=True,
            )
    return archive


def extract(archive: Path, folder: Path) -> None:
    """`folder` appears only when it is complete, so that test processes running side by side do not meet halves."""
    root = archive.name.removesuffix(".tar.gz")
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch, tarfile.open(archive) as sdist:
        package = Path(scratch, root, PACKAGE)
        texts = {f"{name}.py": sdist.extractfile(f"{root}/tests/{name}.py").read().decode() for name in MODULES}
        for name, text in (texts | STAND_INS).items():
            path = package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        try:
            package.parent.rename(folder)
        except OSError:  # another process was faster
            if not folder.exists():
                raise


@functools.cache
def common_tests(name: str) -> ModuleType:
    """The module `tests/{name}.py` of transformers' sources."""
    folder = CACHE / f"transformers-{transformers.__version__}"
    if not folder.exists():
        extract(download(transformers.__version__), folder)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    with known_marks():
        return importlib.import_module(f"{PACKAGE}.{name}")


@contextmanager
def known_marks():
    """The library's marks, such as `generate`, belong to its own test runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        yield


def generation_source() -> Path:
    """The file with the tests of `generate`; an OSError where it cannot be had."""
    if repository := os.environ.get("TRANSFORMERS_REPOSITORY"):
        return Path(repository, GENERATION_TESTS).resolve(strict=True)
    version = transformers.__version__
    copy = CACHE / f"transformers-{version}-generation.py"
    if not copy.exists():
        address = f"https://raw.githubusercontent.com/huggingface/transformers/v{version}/{GENERATION_TESTS}"
        with urllib.request.urlopen(address, timeout=20) as response:  # noqa: S310
            text = response.read()
        CACHE.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=CACHE, delete=False) as scratch:
            scratch.write(text)
        os.replace(scratch.name, copy)
    return copy


@functools.cache
def generation_tests() -> ModuleType | str:
    """The module `tests/generation/test_utils.py` of transformers' repository, or why it cannot be had."""
    try:
        source = generation_source()
    except OSError as error:
        return f"no {GENERATION_TESTS} of transformers {transformers.__version__}: {error}"
    spec = importlib.util.spec_from_file_location("transformers_generation_tests", source)
    module = importlib.util.module_from_spec(spec)
    with known_marks():
        spec.loader.exec_module(module)
    return module


class ListedSkips:
    """
    Skips the tests that `cannot_apply` of a class or of its bases names, each with its reason; a name that no test has
    is an error.
    """

    cannot_apply = {}

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        listed = [vars(base).get("cannot_apply", {}) for base in reversed(cls.__mro__)]
        cls.cannot_apply = {name: reason for skips in listed for name, reason in skips.items()}
        if unknown := [name for name in cls.cannot_apply if not hasattr(cls, name)]:
            raise AttributeError(f"`{cls.__name__}.cannot_apply` lists tests that do not exist: {', '.join(unknown)}.")

    def setUp(self):
        if reason := self.cannot_apply.get(self._testMethodName):
            self.skipTest(reason)
        super().setUp()
