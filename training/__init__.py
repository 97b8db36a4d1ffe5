# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Training: the trainer with its arguments and batches, its metrics, checkpoints and processes."""
