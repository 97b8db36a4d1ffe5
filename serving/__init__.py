# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A finished checkpoint at work.

`predict.py`: the command that answers for one row, or for a video window by window.
`predict_dataset.py`: the same command for all rows of a dataset.
`row_answers.py`: what a checkpoint says of such rows, batch by batch.
`prediction_file.py`: the file of it, with which a killed run goes on.
`evaluate.py`: a checkpoint opened with the rows to evaluate it on.
`video.py`: the sentiment of a video over time.
`onnx.py`: an export to ONNX.
"""
