# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The parts of a run of `run_finetune.py`: its options, its limits, its results and its model card."""
