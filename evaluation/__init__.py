# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint is worth, beyond one number.

`calibration.py`: whether it is right as often as it is sure, and the temperature that makes it so.
`intervals.py`: how far a figure of so many rows can be trusted.
`report.py`: one page with all that a run is worth, to be sent on; `report_page.py` and those beside it write it.
`missing.py`: which modalities rows lose, at equal and unequal rates.
`corruptions_audio.py`, `corruptions_image.py`, `corruptions_text.py`: what media suffer on their way (`corruption.py`:
what these have in common).
`robustness.py`: a classifier with all that, by `mot robustness` (`robustness_page.py`: as a page).
"""
