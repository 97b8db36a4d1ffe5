# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What `--help` says: each option can be understood without the one before it."""

import re
from dataclasses import fields

import pytest
from transformers import HfArgumentParser

from mixture_of_transformers import run_finetune
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.evaluation.evaluate import EvaluateArguments
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments, OptionHelp, RunArguments, parse
from mixture_of_transformers.serving.predict_dataset import PredictArguments
from mixture_of_transformers.training.arguments import MoTTrainingArguments

OPTIONS = [DataArguments, ModelArguments, RunArguments, EvaluateArguments, PredictArguments]


@pytest.mark.parametrize("arguments", OPTIONS)
def test_every_option_has_a_help_that_stands_alone(arguments):
    helps = {option.name: option.metadata.get("help", "") for option in fields(arguments) if option.init}
    for name, text in helps.items():
        assert len(text.split()) > 2, name
        assert not re.search(r"\b(likewise|ditto|the same of|as above|see above)\b", text, re.IGNORECASE), name
    if arguments is not RunArguments:  # most of whose options are those of the library
        assert len(set(helps.values())) == len(helps)
        assert all(re.match("[A-Z]", text) and text.endswith((".", ")")) for text in helps.values())


def test_options_of_the_trainer_have_their_own_defaults_and_its_help():
    ours, theirs = ({f.name: f for f in fields(kind)} for kind in (RunArguments, MoTTrainingArguments))
    assert ours["learning_rate"].default == 1e-3 != theirs["learning_rate"].default
    assert all(ours[name].metadata == theirs[name].metadata for name in ours if name != "output_dir")


def test_what_a_dataset_may_do_has_options_with_the_defaults_and_the_help_of_its_limits():
    options = {option.name: option for option in fields(DataArguments)}
    for limit in fields(DatasetLimits):
        assert options[limit.name].default == limit.default and options[limit.name].type == limit.type
        assert options[limit.name].metadata["help"].rstrip(".").lower() == limit.metadata["help"].lower()


def test_the_help_shows_the_description_as_written_and_the_options_in_groups(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"], run_finetune.__doc__)
    printed = capsys.readouterr().out
    assert ended.value.code == 0 and run_finetune.__doc__.strip() in printed
    groups = [re.search(rf"^{re.escape(kind._argument_group_name)}:$", printed, re.MULTILINE) for kind in OPTIONS[:3]]
    places = [group.start() for group in groups]
    first = [printed.index(f"  --{name}") for name in ("task", "model_name_or_path", "output_dir")]
    assert places[0] < first[0] < places[1] < first[1] < places[2] < first[2]


@pytest.mark.parametrize("options", [EvaluateArguments, PredictArguments])
def test_what_a_command_has_of_its_own_stands_before_the_data(options):
    text = HfArgumentParser((options, DataArguments), formatter_class=OptionHelp).format_help()
    assert text.index(f"{options._argument_group_name}:") < text.index(f"{DataArguments._argument_group_name}:")
