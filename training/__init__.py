# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Trains any head on any subset of the modalities, with transformers' `Trainer` underneath.

- `encoded`: rows of a dataset as the processor's tensors; `feature_cache`: what frozen backbones make of them, on
  disk.
- `collator`: rows become batches, changed at random; `samplers`: which rows come together.
- `arguments`: what a training can be told; `trainer`: `MoTTrainer`.
- `objective`: what a step trains; `gradient_cache`: contrastive batches that do not fit; `divergence`: when to stop.
- `optimization`: which parameters learn and how fast, freezing, LoRA; `callbacks`: what is kept between steps.
- `evaluation`: every subset, every pair; `metrics`: the numbers; `metric_modules`: the same for `evaluate`.
- `stream_places`: where a training is in a stream.
- `run_folder`: a run owns its folder; `interruption`: where a run goes on; `continuation`: other classes, other data.
- `loading`: a checkpoint that answers; `pushing`: what goes to the Hub.
- `launch`: processes and engines; `workers`: rows that are answered by many machines; `command`: how every command
  ends.
"""
