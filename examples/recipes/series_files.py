# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Reading `.ts`, the text format in which the UEA archive of time series is kept.

Lines that begin with `#` are comments and those with `@` describe the file. After `@data` each line is a row: its
channels, separated by colons, each a list of numbers, and at the end the name of its class.
"""

import numpy as np


def read_ts(content: bytes) -> tuple[list[np.ndarray], list[str], list[str]]:
    """
    Args:
        content: of a file without time stamps, whose channels have one length within a row; a missing number is `?`.

    Returns:
        The series of all rows, each float32 (T, C) with NaN for what is missing; the class of each row; and the names
        of the classes in the file's own order.

    Raises:
        ValueError: the file has time stamps or no classes, or a row does not have the form that the file describes.
    """
    header, found, body = content.decode("utf-8").partition("@data\n")
    fields = dict(line[1:].partition(" ")[::2] for line in header.splitlines() if line.startswith("@"))
    has_classes, *classes = fields.get("classLabel", "").split()
    if not found or has_classes != "true" or fields.get("timeStamps") != "false":
        raise ValueError(f"Expected a .ts file with classes and without time stamps, got one that says {fields}.")
    series, labels = [], []
    for number, line in enumerate(body.splitlines()):
        *channels, label = line.split(":")
        lengths = {channel.count(",") for channel in channels}
        if len(channels) != int(fields["dimensions"]) or len(lengths) != 1 or label not in classes:
            raise ValueError(
                f"Row {number} of the .ts file has {len(channels)} channels of {len(lengths)} lengths and the class "
                f"{label!r}; expected {fields['dimensions']} channels of one length and one of {classes}."
            )
        values = [[np.nan if cell == "?" else float(cell) for cell in channel.split(",")] for channel in channels]
        series.append(np.array(values, dtype=np.float32).T)  # (C, T) -> (T, C)
        labels.append(label)
    return series, labels, classes
