# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A finished checkpoint at work: evaluated again, asked for the rows of a dataset, exported to ONNX."""
