# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The console script `mot`: its help, its version and its usage errors, at once.

This is a package of its own, `mixture_of_transformers_command`, and imports the standard library alone, because the
first import of `mixture_of_transformers` takes seconds. A verb is handed over to `mixture_of_transformers.__main__`.
"""

import argparse
import importlib.metadata
import sys

# What each verb does, in the order in which the help lists them.
COMMANDS = {
    "finetune": "train on a dataset, for every subset of its modalities; the same as run_finetune.py",
    "evaluate": "measure a checkpoint again, on its own or other data",
    "report": "write one page with what a run is worth, to be sent on",
    "robustness": "measure a classifier with modalities missing and with media that have suffered",
    "predict": "answer for one row, or for all rows of a dataset",
    "generate": "write, draw and speak with a causal checkpoint",
    "index": "embed the rows of a dataset, once, to search them",
    "search": "find rows of an index by text, image, audio or any of them together",
    "demo": "open a page to classify, search and generate with, and to see why",
}
DEBUG = "--debug"


def main() -> None:
    """Run the verb that the arguments of this process name; `training/command.py` of the package says how it ends."""
    verb_of([argument for argument in sys.argv[1:] if argument != DEBUG])
    from mixture_of_transformers.__main__ import main as start

    start()


def verb_of(arguments: list[str]) -> str:
    """The verb that comes first; help, the version and an unknown verb end the process with a code (0, 0 and 2)."""
    parser = make_parser()
    if not arguments:
        parser.print_help()
        parser.exit()
    return parser.parse_args(arguments[:1]).command


def make_parser() -> argparse.ArgumentParser:
    """The parser of the first argument."""
    parser = argparse.ArgumentParser(
        prog="mot",
        usage="mot [-h] [-V] command ...",
        description="One model for text, images, audio and any other modalities: train, measure, ask, search, show.",
        epilog="Each command has a --help of its own; --debug, anywhere in it, shows the traceback of an error.",
    )
    parser.add_argument("-V", "--version", action=Version, nargs=0, help="show the version of the package and exit")
    commands = parser.add_subparsers(dest="command", metavar="command", required=True, title="commands")
    for name, purpose in COMMANDS.items():
        commands.add_parser(name, help=purpose, add_help=False)
    return parser


class Version(argparse.Action):
    """Looks the installed version up when it is asked for, and no sooner."""

    def __call__(self, parser, namespace, values, option_string=None):
        print(f"mot {importlib.metadata.version('mixture-of-transformers')}")
        parser.exit()
