# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The `mot` command: `finetune` is `run_finetune.py`, `evaluate` measures its checkpoint again, `predict` answers for one
row or for all of a dataset, `index` and `search` find rows, `demo` is a page for both."""

import sys

COMMANDS = ("finetune", "evaluate", "predict", "index", "search", "demo")


def main() -> None:
    """Hand the arguments over to the command that the first one names."""
    if len(sys.argv) < 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: mot {{{','.join(COMMANDS)}}} [--help]")
    _, command, *arguments = sys.argv
    if command == "finetune":
        from .run_finetune import main as finetune

        finetune(arguments)
    elif command == "evaluate":
        from .run_evaluate import main as evaluate

        evaluate(arguments)
    elif command == "predict" and any(a.split("=")[0].replace("-", "_") == "__dataset_name" for a in arguments):
        from .run_evaluate import predict_dataset

        predict_dataset(arguments)
    elif command == "predict":
        from .pipeline_mot import main as predict

        if {"-h", "--help"} & set(arguments):
            print("Of one row; for all rows of a dataset: mot predict --dataset_name NAME --help\n")
        predict(arguments)
    elif command == "demo":
        from .app import main as demo

        demo(arguments)
    else:
        from .run_search import main as search

        search(command, arguments)


if __name__ == "__main__":
    main()
