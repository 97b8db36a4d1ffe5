# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why a model answers as it does, in numbers and in pictures.

`attention.py`: who attends to whom in a batch, and what that sums up to.
`tokens.py`: what tokens are called and when they are.
`projection.py`: embeddings in two dimensions.
`pictures.py`: all of these drawn, and the contributions of `attribution_mot.py` and the losses of a training.
"""
