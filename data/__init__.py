# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reading datasets of any form, one row at a time or whole, into columns whose meaning is known."""
