# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A row of the data in small, as HTML: its words, pictures, sounds, series and tables.

Media are made anew, small and without what their files say of cameras, places and people, and stand in the page
itself. What becomes of a cell is decided by the type of its column.
"""

import base64
import io
import math
from collections.abc import Mapping
from typing import Any

import datasets
import numpy as np
import soundfile
from PIL import Image

from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.column_types import is_list, is_medium, is_string
from mixture_of_transformers.data.extra_cells import is_absent_cell
from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.decoding_series_mot import read_series
from mixture_of_transformers.decoding_video_mot import load_frames
from mixture_of_transformers.evaluation.markup import Markup, element
from mixture_of_transformers.evaluation.report_charts import series_chart
from mixture_of_transformers.modalities_mot import raw_modality_of

MOST_CHARACTERS, MOST_SEGMENTS, MOST_FRAMES, MOST_COLUMNS = 400, 3, 4, 24
SIDE, SMALL_SIDE, SHOWN_SIDE = 192, 64, 84  # pixels: of a picture at most, of one that is kept as it is, and enlarged
SOUND_RATE, SOUND_SECONDS = 16000, 6.0
NOT_SHOWN = "It cannot be shown here."


def cells_of_row(
    row: Mapping[str, Any], features: Mapping[str, Any], config: MoTConfig, reading: Reading
) -> list[tuple[str, Markup]]:
    """
    What a row has but for its label: the name of each cell, and the cell as HTML.

    Args:
        row: of a prepared split.
        features: the types of its columns.
        reading: how its media may be decoded.
    """
    found = []
    for name, cell in row.items():
        if name == "label" or is_absent_cell(cell):
            continue
        try:
            found.append((name, cell_as_html(name, cell, features[name], config, reading)))
        except (ValueError, OSError, ImportError):
            # The model reads some files in another way, such as pictures of measured values.
            found.append((name, element("p", NOT_SHOWN, class_="note")))
    return found


def cell_as_html(name: str, cell: Any, kind: Any, config: MoTConfig, reading: Reading) -> Markup:
    if is_list(kind) and (is_medium(kind.feature) or is_string(kind.feature)):
        parts = [part for part in cell if part is not None][:MOST_SEGMENTS]
        return element("div", [cell_as_html(name, part, kind.feature, config, reading) for part in parts])
    if isinstance(kind, datasets.Image):
        return picture(load_image(cell, name, convert_rgb=True, **reading.access), name)
    if isinstance(kind, datasets.Audio):
        seconds = min(SOUND_SECONDS, reading.max_audio_seconds or math.inf)
        return sound(load_audio(cell, name, SOUND_RATE, None, seconds, **reading.access)[0])
    if isinstance(kind, datasets.Video):
        frames, _ = load_frames(cell, name, MOST_FRAMES, None, **reading.access)
        return element("div", [picture(load_image(frame, name, convert_rgb=True), name) for frame in frames])
    if isinstance(cell, dict) and "array" not in cell:
        shown = [(key, value) for key, value in cell.items() if value is not None][:MOST_COLUMNS]
        return element("dl", [[element("dt", key), element("dd", written(value))] for key, value in shown])
    if name in config.extra_modalities and draws_series(config, name):
        return series_chart(name, read_series(cell, name).values)
    if isinstance(cell, str):
        return element("p", shortened(cell), class_="words")
    return element("p", " × ".join(map(str, np.shape(cell))) + " numbers", class_="note")


def written(value: Any) -> str:
    """A value of a table, numbers to six digits."""
    return f"{value:.6g}" if isinstance(value, float) else shortened(str(value))


def draws_series(config: MoTConfig, name: str) -> bool:
    tower = config.modality_config(name)
    return tower.takes_raw_input and raw_modality_of(tower, name).drawing == "series"


def shortened(words: str) -> str:
    words = " ".join(words.split())
    return words if len(words) <= MOST_CHARACTERS else words[:MOST_CHARACTERS].rstrip() + " …"


# ---------------------------------------------------------------------------------------------------------------------
# Media that stand in the page
# ---------------------------------------------------------------------------------------------------------------------


def picture(image: Image.Image, name: str) -> Markup:
    """A picture of at most 192 pixels a side; a tiny one is enlarged as it is shown."""
    image, file = image.convert("RGB"), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    is_small = max(image.size) <= SMALL_SIDE
    kind = "png" if is_small else "jpeg"
    image.save(file, format=kind, optimize=True)
    width = round(image.width * SHOWN_SIDE / max(image.size)) if is_small else image.width
    address = data_address(f"image/{kind}", file.getvalue())
    return element("img", src=address, alt=name, width=width, class_="small" if is_small else None)


def sound(samples: np.ndarray) -> Markup:
    """
    A player of a sound.

    Args:
        samples: (N,), from -1 to 1, at 16 kHz.
    """
    file = io.BytesIO()
    soundfile.write(file, samples.clip(-1, 1), SOUND_RATE, format="MP3", subtype="MPEG_LAYER_III")
    return element("audio", controls=True, src=data_address("audio/mpeg", file.getvalue()))


def data_address(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
