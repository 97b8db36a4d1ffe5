# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why: attention and contributions, as numbers and as pictures."""
