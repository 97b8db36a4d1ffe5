# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The `mot` command: `mot finetune ...` is `run_finetune.py`, `mot predict ...` answers for one row."""

import importlib
import sys

COMMANDS = {"finetune": "mot.run_finetune", "predict": "mot.pipeline_mot"}


def main() -> None:
    """Hand the arguments over to the command that the first one names."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: mot {{{','.join(COMMANDS)}}} [--help]")
    importlib.import_module(COMMANDS[sys.argv[1]]).main(sys.argv[2:])


if __name__ == "__main__":
    main()
