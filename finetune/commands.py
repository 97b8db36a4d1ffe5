# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A run as a line for the shell: as it was given, to go on with it, and to start it in a process of its own."""

import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from mixture_of_transformers.data.secrets import without_secrets
from mixture_of_transformers.finetune.options import RunArguments
from mixture_of_transformers.training.command import RunError

SCRIPT = "run_finetune.py"
HELD_BY_OPTIMIZER = ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2")


def python_command() -> list[str]:
    """The Python that runs this, by its name if a shell finds it by that."""
    return ["python"] if shutil.which("python") == sys.executable else [sys.executable]


def mot_command() -> list[str]:
    """The package's command, as a shell finds it."""
    found = shutil.which("mot")
    is_ours = found is not None and Path(found).parent == Path(sys.executable).parent
    return ["mot"] if is_ours else [*python_command(), "-m", __name__.partition(".")[0]]


def command_line(start: list[str], arguments: list[str]) -> str:
    """A run as a line for the shell, without the secrets that it was given."""
    is_token = [argument.replace("-", "_").startswith("__hub_t") for argument in arguments]
    follows = [i > 0 and is_token[i - 1] and "=" not in arguments[i - 1] for i in range(len(arguments))]
    kept = (a for a, *secret in zip(arguments, is_token, follows) if not any(secret))
    return without_secrets(shlex.join([*start, *kept]))


def line_to_go_on(arguments: list[str]) -> str:
    """The line that goes on with this run, started as this one was."""
    is_script = Path(sys.argv[0]).name == SCRIPT
    start = [*python_command(), sys.argv[0]] if is_script else [*mot_command(), "finetune"]
    return command_line(start, [*arguments, "--resume_from_checkpoint", "auto"])


def line_to_repeat(arguments: list[str], args: RunArguments) -> str:
    """The line that does this run again from its beginning, for whoever has the repository."""
    return command_line(["python", SCRIPT], arguments_that_held(arguments, args))


def arguments_that_held(arguments: list[str], args: RunArguments) -> list[str]:
    """The arguments, with what a checkpoint's optimizer has kept in place of what was asked for."""
    held = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        field_name = name.removeprefix("--").replace("-", "_")
        if field_name not in HELD_BY_OPTIMIZER:
            continue
        kept = getattr(args, field_name)
        if float(value if equals else arguments[i + 1]) != kept:
            held[i if equals else i + 1] = f"{name}={kept:g}" if equals else f"{kept:g}"
    return held


def start_run(arguments: list[str]) -> None:
    """Does a run in a process of its own, which frees all memory at its end; a RunError where it does not succeed."""
    sys.stdout.flush()  # what was printed before the run stands above what the run prints
    command = [*mot_command(), "finetune", *arguments]
    status = subprocess.run(command).returncode  # noqa: S603 (this package's own command)
    if status != 0:
        raise RunError(f"`{command_line([], command)}` ended with status {status}.")
