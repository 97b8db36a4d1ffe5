# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page, where visitors classify and search.

`page.py`: the page itself and `mot demo`.
`offers.py`: the checkpoints and indexes that it offers.
`visitors.py`: what visitors may do, and what becomes of their files.
`space.py`: the folder of a Space of the Hub that runs the page.
"""
