# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run sends to the Hub: while it trains (`push_checkpoint`, by `hub_strategy`) and at its end (`push`).

No upload takes what `NOT_SHARED` names: pickles, the state of the training, reports with rows of the data and places
of this machine.
"""

import json
import shlex
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from huggingface_hub import create_repo, upload_file, upload_folder
from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError
from transformers.trainer_utils import HubStrategy, SaveStrategy
from transformers.utils import PushInProgress, logging

from mixture_of_transformers.data.secrets import NOT_SHARED, without_secrets
from mixture_of_transformers.training.command import RunError
from mixture_of_transformers.training.run_folder import STATE

logger = logging.get_logger(__name__)

# What stays here where a checkpoint is pushed with the state of its training. STATE is among it, since a copy without
# paths of this machine is pushed in its place.
NOT_IN_PUSHED_CHECKPOINT = ["training_args.bin", "run.json", STATE, "bad_rows*.jsonl", ".*"]


def check_push(name: str, args) -> None:
    """Make the repository that a run will be pushed to, or say why it cannot be, before anything is trained."""
    try:
        create_repo(name, token=args.hub_token, private=args.hub_private_repo, exist_ok=True)
    except (HfHubHTTPError, LocalTokenNotFoundError) as error:
        raise RunError(
            f"This run could not be pushed to {name} ({without_secrets(str(error))}): log in with `hf auth login`, "
            "name a repository of yours with --hub_model_id, or leave out --push_to_hub."
        ) from None
    keeps_all = args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS)
    if keeps_all and not args.push_training_state:
        logger.warning(
            f"--hub_strategy {args.hub_strategy.value} pushes the weights of checkpoints without the state of their "
            "training, from which alone it could go on: that is asked for with --push_training_state."
        )


def push_checkpoint(trainer, checkpoint: Path) -> None:
    """
    Begin to upload the weights of a checkpoint, with its processor and config, as `hub_strategy` says: into the
    repository itself, and for `checkpoint` and `all_checkpoints` into a folder of it, too.
    """
    args, state, last = trainer.args, trainer.state, trainer.push_in_progress
    if not trainer.is_world_process_zero() or args.hub_strategy == HubStrategy.END:
        return
    is_busy = last is not None and not last.is_done()
    if is_busy and not args.hub_always_push:
        return
    trainer.callback_handler.on_push_begin(args, state, trainer.control)
    by_steps = args.save_strategy == SaveStrategy.STEPS
    done = f"step {state.global_step}" if by_steps else f"epoch {int(state.epoch)}"
    target = {"repo_id": trainer.hub_model_id, "token": args.hub_token, "revision": args.hub_revision}
    target |= {"commit_message": f"Training in progress, {done}", "run_as_future": True}
    send = partial(upload_folder, folder_path=checkpoint, **target)
    jobs = [send(ignore_patterns=NOT_SHARED)]
    if args.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
        place = "last-checkpoint" if args.hub_strategy == HubStrategy.CHECKPOINT else checkpoint.name
        left_out = NOT_IN_PUSHED_CHECKPOINT if args.push_training_state else NOT_SHARED
        jobs.append(send(path_in_repo=place, ignore_patterns=left_out))
        if args.push_training_state:
            jobs.append(upload_file(path_or_fileobj=shared_state(state), path_in_repo=f"{place}/{STATE}", **target))
    trainer.push_in_progress = PushInProgress([*(last.jobs if is_busy else []), *jobs])
    trainer.checkpoints_pushed = {*(trainer.checkpoints_pushed if is_busy else ()), checkpoint}


def being_pushed(trainer) -> set[Path]:
    """The checkpoints that are on their way to the Hub, and must stay until they are there."""
    last = getattr(trainer, "push_in_progress", None)
    return trainer.checkpoints_pushed if last is not None and not last.is_done() else set()


def shared_state(state) -> bytes:
    """A `TrainerState` as JSON, without the place of the best checkpoint on this machine."""
    best = state.best_model_checkpoint
    shared = replace(state, best_model_checkpoint=best and Path(best).name)
    return (json.dumps(asdict(shared), indent=2, sort_keys=True) + "\n").encode()


def push_folder(trainer, commit_message: str | None, blocking: bool, token=None, revision=None, private=None, **card):
    """What `Trainer.push_to_hub` does, with the files alone that are for others."""
    args = trainer.args
    trainer.callback_handler.on_push_begin(args, trainer.state, trainer.control)
    if trainer.hub_model_id is None:
        trainer.init_hf_repo(token=token, private=private)
    trainer.save_model(_internal_call=True)
    if not trainer.is_world_process_zero():
        return None
    name = card.pop("model_name", None) or (args.hub_model_id or Path(args.output_dir).resolve().name).split("/")[-1]
    trainer.create_model_card(model_name=name, **card)
    trainer._finish_current_push()
    return upload_folder(
        repo_id=trainer.hub_model_id,
        folder_path=args.output_dir,
        commit_message=commit_message,
        token=token or args.hub_token,
        revision=revision or args.hub_revision,
        run_as_future=not blocking,
        ignore_patterns=NOT_SHARED,
    )


def push(folder: Path, trainer) -> None:
    """Upload the finished folder of a run. Where that fails, the error says how to push it again."""
    name = trainer.hub_model_id
    try:
        upload_folder(repo_id=name, folder_path=folder, token=trainer.args.hub_token, ignore_patterns=NOT_SHARED)
    except Exception as error:  # whatever it was, the run must not look lost
        raise RunError(
            f"The push to {name} failed ({without_secrets(str(error))}). The finished run is in {folder}; push it "
            f"again with\n\n    {push_command(folder, name)}\n"
        ) from None


def push_command(folder: Path, name: str) -> str:
    excluded = [part for pattern in NOT_SHARED for part in ("--exclude", pattern)]
    return shlex.join(["hf", "upload", name, str(folder), ".", *excluded])
