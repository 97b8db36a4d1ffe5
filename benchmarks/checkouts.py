# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Two checkouts of this project against each other, in one process: is what changed as fast as before, and the same?

    git worktree add ../before REVISION
    python -m benchmarks.checkouts ../before [--seconds 30]

The model of each checkout gets the same weights and inputs; their answers and gradients have to be equal before
anything is timed. The ratio is the time of this checkout by that of the other; the ratio of this checkout to itself,
built twice, says how far a ratio can be trusted.
"""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType

import torch

from mixture_of_transformers import MoTModel

from .__main__ import STEADY_MEMORY
from .bare import inference, model_forward, training
from .measure import NotMeasured, Table, take_turns
from .shapes import REAL, SMALL, Shape, build, feature_config, feature_inputs

MOST = 1.01  # of the other's time


def package_of(checkout: Path) -> ModuleType:
    """The package that a checkout is, under a name of its own; what travels imports its siblings relatively."""
    name = "other_checkout"
    if name not in sys.modules:
        root = str(checkout)
        spec = importlib.util.spec_from_file_location(
            name, checkout / "__init__.py", submodule_search_locations=[root]
        )
        if spec is None or not (checkout / "__init__.py").exists():
            raise NotMeasured(f"{checkout} is no checkout of this project")
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


def counterpart(model: MoTModel, package: ModuleType) -> torch.nn.Module:
    """The model of the other checkout with the same config and weights."""
    config = package.MoTConfig.from_dict(model.config.to_dict())
    config._attn_implementation = model.config._attn_implementation
    other = package.MoTModel(config)
    other.load_state_dict(model.state_dict())
    return other.eval()


def check_equal(model: torch.nn.Module, other: torch.nn.Module, inputs: dict) -> None:
    """Answers and gradients have to be the same to the last bit."""
    results = []
    for one in (model, other):
        one.zero_grad()
        pooled = one.train()(**inputs).pooler_output
        pooled.square().sum().backward()
        results.append([pooled.detach(), *(p.grad for p in one.parameters() if p.grad is not None)])
    if len(results[0]) != len(results[1]) or not all(map(torch.equal, *results)):
        raise SystemExit("The two checkouts give different answers or gradients: nothing was timed.")


def compare(package: ModuleType, shape: Shape, joint_layers: bool, seconds: float) -> Table:
    model, again = (build(feature_config(shape, joint_layers=joint_layers)) for _ in range(2))
    other = counterpart(model, package)
    inputs = feature_inputs(model.config, 2)
    check_equal(model, other, inputs)
    kind = "untied weights" if joint_layers else "full batches"
    table = Table(f"{kind}, width {shape.hidden_size}, 1 thread")
    models = {"this": model, "other": other, "again": again}
    for train in (False, True):
        steps = {}
        for name, one in models.items():
            forward = model_forward(one.train(train))
            steps[name] = training(forward, inputs, one) if train else inference(forward, inputs)
        times = take_turns(steps, seconds)
        step = "training" if train else "forward"
        table.rows.append(times.row(f"{step}: this / other", "this", "other", MOST))
        table.rows.append(times.row(f"{step}: this / this again", "this", "again"))
    return table


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.checkouts",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("checkout", type=Path, help="the folder of the other checkout")
    parser.add_argument("--seconds", type=float, default=30.0, help="the time of each comparison (default: 30)")
    arguments = parser.parse_args()
    package = package_of(arguments.checkout.resolve())
    tables = [
        compare(package, shape, joint_layers, arguments.seconds)
        for shape in (REAL, SMALL)
        for joint_layers in (False, True)
    ]
    for table in tables:
        print(f"\n{table.title}\n\n{table.markdown()}")
    sys.exit(any(row.passes is False for table in tables for row in table.rows))


if __name__ == "__main__":
    if "GLIBC_TUNABLES" not in os.environ:  # which the allocator reads as a process starts
        command = [sys.executable, "-m", "benchmarks.checkouts", *sys.argv[1:]]
        os.execve(sys.executable, command, os.environ | STEADY_MEMORY | {"OMP_NUM_THREADS": "1"})  # noqa: S606
    main()
