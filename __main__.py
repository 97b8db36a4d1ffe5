# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The `mot` command: `mot finetune ...` is `run_finetune.py`."""

import sys

COMMANDS = ("finetune",)


def main() -> None:
    """Hand the arguments over to the command that the first one names."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: mot {{{','.join(COMMANDS)}}} [--help]")
    from .run_finetune import main as finetune

    finetune(sys.argv[2:])


if __name__ == "__main__":
    main()
