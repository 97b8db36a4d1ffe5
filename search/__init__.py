# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Search: a dataset embedded once, whose rows are then found by any modality."""
