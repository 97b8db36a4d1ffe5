# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How a run ends that does not reach its end: it says which weights are safe, and the command that does the rest."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixture_of_transformers.data.secrets import without_secrets
from mixture_of_transformers.finetune.commands import line_to_go_on, mot_command
from mixture_of_transformers.training.command import RunError
from mixture_of_transformers.training.continuation import is_adapter
from mixture_of_transformers.training.pushing import push_command
from mixture_of_transformers.training.trainer import MoTTrainer


def stop_well(trainer: MoTTrainer, arguments: list[str]) -> None:
    """Say how to go on after a signal, and end as it asked."""
    if trainer.is_world_process_zero():
        step, folder, processes = trainer.state.global_step, trainer.args.output_dir, trainer.args.world_size
        how = f", by what started these {processes} processes" if processes > 1 else ""
        print(
            f"\nStopped after step {step}, which is saved in {folder}/checkpoint-{step}. To go on{how}:\n\n"
            f"{line_to_go_on(arguments)}"
        )
    sys.exit(128 + trainer.stop.received)


@contextmanager
def rest_of_the_run(trainer: MoTTrainer, merges: bool = False) -> Iterator[None]:
    """Whatever fails from here on, the error says that the checkpoint is safe, and how to do the rest again."""
    try:
        yield
    except (Exception, KeyboardInterrupt) as error:
        if not trainer.is_world_process_zero():
            raise
        folder = Path(trainer.args.output_dir).resolve()
        command = [*mot_command(), "evaluate", str(folder)]
        if merges and is_adapter(folder):
            command.append("--merge_lora")
        lines = [shlex.join(command)]
        if trainer.args.push_to_hub:
            lines.append(push_command(folder, trainer.hub_model_id))
        what = "Interrupted" if isinstance(error, KeyboardInterrupt) else f"{type(error).__name__}: {error}"
        message = (
            f"The training is done and its checkpoint is safe in {folder}, but what comes after it failed "
            f"({without_secrets(what)}). To do that again:\n\n" + "".join(f"    {line}\n" for line in lines)
        )
        if isinstance(error, KeyboardInterrupt):
            print(f"\n{message}", file=sys.stderr)
            sys.exit(130)
        raise RunError(message) from error
