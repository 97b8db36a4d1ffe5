# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What is fuzzed: from an area's name to what makes a case of it, of a source of randomness, the world and a
folder."""

from .checkpoints import checkpoint_case
from .command_line import command_case
from .configs import config_case
from .indexes import index_case
from .models import model_case
from .pipelines import pipeline_case
from .processors import processor_case
from .tables import table_case

AREAS = {
    "processor": processor_case,
    "models": model_case,
    "configs": config_case,
    "tables": table_case,
    "pipeline": pipeline_case,
    "checkpoints": checkpoint_case,
    "indexes": index_case,
    "commands": command_case,
}
