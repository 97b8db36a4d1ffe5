# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Odd things are given to everything that takes something from outside, and each must end well.

    python -m tests.fuzz --seed 0 --cases 1000
    python -m tests.fuzz --seed 0 --only tables:17

`areas/` says what is odd about a call and what would be right (a generator of cases each), `case.py` judges how a case
ended, `workers.py` runs it in a process that may hang, die or eat memory, `world.py` holds the sound things that are
damaged: files, a checkpoint, an index.
"""
