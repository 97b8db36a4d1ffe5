# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run that another part of the package starts, in a process of its own."""

import pytest

from mixture_of_transformers.finetune.commands import start_run
from mixture_of_transformers.training.command import RunError


@pytest.mark.training
def test_a_run_in_a_process_of_its_own_prints_what_it_prints_and_its_end_is_noticed(capfd):
    print("before")
    with pytest.raises(RunError, match=r"finetune --task nonsense` ended with status 2"):
        start_run(["--task", "nonsense"])
    out, error = capfd.readouterr()
    assert out.startswith("before") and "--task" in error and "nonsense" in error
