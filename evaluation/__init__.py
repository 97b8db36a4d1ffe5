# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a checkpoint is worth, beyond one number.

`evaluate.py`: the command that evaluates a checkpoint again, and calibrates it on request.
`calibration.py`: whether it is right as often as it is sure, and the temperature that makes it so.
`intervals.py`: how far a figure of so many rows can be trusted.
`missing.py`: which modalities rows lose, at equal and unequal rates.
"""
