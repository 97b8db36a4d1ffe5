# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What every test shares: the package under its name, the test helpers on the path, a fixed seed.

A clone that was never installed is tested just the same, since the repository's root is loaded as the package
(and `command/` as that of the console script).
"""

import importlib
import importlib.util
import sys
from collections import Counter
from pathlib import Path

import datasets
import pytest
import torch

TESTS = Path(__file__).resolve().parent
if str(TESTS) not in sys.path:
    sys.path.insert(0, str(TESTS))  # `from helpers import ...`, also under --import-mode=importlib

from hub_server import HubServer  # noqa: E402

for package, root in (
    ("mixture_of_transformers_command", TESTS.parent / "command"),
    ("mixture_of_transformers", TESTS.parent),
):
    try:
        importlib.import_module(package)
    except ModuleNotFoundError:
        spec = importlib.util.spec_from_file_location(
            package, root / "__init__.py", submodule_search_locations=[str(root)]
        )
        sys.modules[package] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[package])

# pytest imports the repository's root too, under the folder's name, or as `__init__` where that name has a dash or a
# dot, as that of a usual clone has; it must be the same package.
sys.modules.setdefault(TESTS.parent.name, sys.modules["mixture_of_transformers"])
sys.modules.setdefault("__init__", sys.modules["mixture_of_transformers"])


def pytest_collection_modifyitems(items):
    """Files that train come first, those with most such tests before: a long file at the end leaves a process idle."""
    trainings = Counter(item.path for item in items if item.get_closest_marker("training"))
    items.sort(key=lambda item: -trainings[item.path])


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def own_cache(tmp_path_factory):
    """Datasets are cached in a folder of the test module's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def hub_server():
    """A Hub on localhost, where the token `hf_test` is `user`'s and `hf_old` has expired."""
    server = HubServer({"hf_test": "user", "hf_old": None}).start()
    yield server
    server.shutdown()


@pytest.fixture(scope="module")
def hub(hub_server):
    """The environment variables that lead to it."""
    return {
        "HF_ENDPOINT": hub_server.endpoint,
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
        "NO_PROXY": "127.0.0.1",
    }
