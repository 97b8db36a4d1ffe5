# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`python -m mixture_of_transformers`: hands the verbs of `mot` over to the modules that do them."""

import sys

from mixture_of_transformers.training.command import run
from mixture_of_transformers_command import verb_of

OF_A_DATASET = ("__dataset", "__dataset_name")  # with one of these options `mot predict` answers more than one row


def main() -> None:
    """Run the verb that the arguments of this process name; `training/command.py` says how it ends."""
    run(hand_over, sys.argv[1:])


def hand_over(arguments: list[str]) -> None:
    """Hand the arguments over to the verb that the first one names."""
    command, arguments = verb_of(arguments), arguments[1:]
    if command == "finetune":
        from .run_finetune import main as finetune

        finetune(arguments)
    elif command == "evaluate":
        from mixture_of_transformers.serving.evaluate import evaluate

        evaluate(arguments)
    elif command == "report":
        from mixture_of_transformers.evaluation.report import report

        report(arguments)
    elif command == "robustness":
        from mixture_of_transformers.evaluation.robustness import robustness

        robustness(arguments)
    elif command == "predict" and any(a.split("=")[0].replace("-", "_") in OF_A_DATASET for a in arguments):
        from mixture_of_transformers.serving.predict_dataset import main as predict

        predict(arguments)
    elif command == "predict":
        from mixture_of_transformers.serving.predict import main as predict

        if {"-h", "--help"} & set(arguments):
            print("Of one row; for all rows of a dataset: mot predict --dataset NAME --help\n")
        predict(arguments)
    elif command == "generate":
        from mixture_of_transformers.serving.generate import main as generate

        generate(arguments)
    elif command == "demo":
        from mixture_of_transformers.demo.page import main as demo

        demo(arguments)
    else:
        from mixture_of_transformers.search import commands

        getattr(commands, command)(arguments)


if __name__ == "__main__":
    main()
