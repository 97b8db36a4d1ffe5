# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests, which its wheel lacks and its source distribution has.

The source distribution of the installed version is downloaded once into `.hf_common/`; the modules that the tests
need are taken out of it, together with stand-ins for what it leaves out, and imported as the package
`transformers_tests`. (Under its own name, `tests`, it would collide with this folder.)
"""

import functools
import importlib
import subprocess
import sys
import tarfile
import tempfile
import warnings
from pathlib import Path
from types import ModuleType

import pytest
import transformers

CACHE = Path(__file__).resolve().parents[1] / ".hf_common"
PACKAGE = "transformers_tests"
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
    with warnings.catch_warnings():
        # Its marks, such as `generate`, belong to the library's own test runs.
        warnings.simplefilter("ignore", pytest.PytestUnknownMarkWarning)
        return importlib.import_module(f"{PACKAGE}.{name}")
