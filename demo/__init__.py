# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page, whom it answers, and the Space of the Hub that it can become."""
