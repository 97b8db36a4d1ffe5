# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures and sounds as the bytes of small files, for the tests of all that reads them."""

import io

import numpy as np
import soundfile
from PIL import Image


def png_bytes(picture: Image.Image | np.ndarray) -> bytes:
    """A picture of PIL, or an array of 8 bits, as a PNG file."""
    buffer = io.BytesIO()
    picture = Image.fromarray(picture) if isinstance(picture, np.ndarray) else picture
    picture.save(buffer, format="PNG")
    return buffer.getvalue()


def sound_bytes(samples, rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    """Samples (time,) or (time, channels) as a file of any format that soundfile writes."""
    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate, format=kind, subtype=subtype)
    return buffer.getvalue()
