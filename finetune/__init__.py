# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The rooms of a run of `run_finetune.py`, in the order in which it goes through them.

- `options`: what a command line may ask for; `checks`: which of it goes together.
- `rows`: the data, read into splits whose rows have one form; `limits`: how long and how wide these may be.
- `recipe`: the processor and the model, built for the data or gone on with from a checkpoint.
- `batches`: rows as tensors, and these as batches.
- `record`: run.json, what a run says of itself; `saving`: the checkpoint, before anything else can fail.
- `unfinished`: what is said where a run stops early; `commands`: a run as a line for the shell.
- `results`: the evaluation and what it leaves: `table`, `predictions`, `usage` (lines of Python) and `card`.
"""
