# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A finished checkpoint at work.

`predict.py`: the command that answers for one row, or for a video window by window.
`evaluate.py`: the commands that evaluate a checkpoint again, and that answer for all rows of a dataset.
`video.py`: the sentiment of a video over time.
`onnx.py`: an export to ONNX.
"""
