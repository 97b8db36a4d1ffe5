# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Odd values, and sound bytes and JSON made odd."""

import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

NUMBERS = (0, -1, 1, 2**31, -(2**63), 10**12, 10**30, 0.5, -0.0, 1e-300, 1e308, math.nan, math.inf, -math.inf)
TEXTS = (
    "",
    " ",
    "\x00",
    "\ud800",
    "a" * 100_000,
    "é\u0301",
    "🙂" * 50,
    "../../etc/passwd",
    "true",
    "none",
    "1e9",
    "\n",
)
SHAPES = (
    (),
    (0,),
    (1,),
    (5,),
    (0, 3),
    (3, 0),
    (1, 1),
    (4, 4),
    (4, 4, 3),
    (3, 4, 4),
    (4, 4, 7),
    (0, 4, 3),
    (2, 3, 4, 4),
)
SHAPES += ((1, 1, 1), (2, 2, 2, 2, 2), (20_000, 2), (9, 9), (1, 4, 4), (16000,), (2, 8000), (3, 300, 1))
NUMPY_TYPES = ("u1", "i1", "i2", "u2", "i4", "i8", "u8", "f2", "f4", "f8", "?", "c8", "U3", "O", "M8[s]", "S2")
TORCH_TYPES = (torch.float16, torch.bfloat16, torch.float64, torch.complex64, torch.bool, torch.uint8, torch.int8)
MODES = (
    "1",
    "L",
    "P",
    "RGB",
    "RGBA",
    "CMYK",
    "YCbCr",
    "LAB",
    "HSV",
    "I",
    "F",
    "LA",
    "PA",
    "RGBX",
    "I;16",
    "La",
    "RGBa",
)


class Sly:
    """Is nothing that anybody could read, and says so when it is looked at."""

    def __repr__(self) -> str:
        return "Sly()"

    def __len__(self) -> int:
        raise TypeError("there is no length")


def one(rng: np.random.Generator, values) -> Any:
    return values[int(rng.integers(len(values)))]


def show(value: Any) -> str:
    """A value in a few words."""
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return f"{type(value).__name__}{tuple(value.shape)} of {value.dtype}"
    text = re.sub(r" at 0x\w+", "", repr(value))
    return text if len(text) < 100 else f"{text[:60]}... ({type(value).__name__}, {len(text)} characters)"


def odd_number(rng: np.random.Generator) -> Any:
    return one(rng, NUMBERS)


def odd_object(rng: np.random.Generator, folder: Path) -> Any:
    """Of no particular kind."""
    made = (
        lambda: None,
        lambda: odd_number(rng),
        lambda: one(rng, TEXTS),
        lambda: bool(rng.integers(2)),
        lambda: one(rng, (b"", b"\x00" * 10, bytearray(b"abc"), memoryview(b"abc"))),
        lambda: one(rng, ([], [[]], [[[]]], {}, (), set(), [None], [[None]], {"a": None})),
        lambda: one(rng, ({"bytes": None, "path": None}, {"bytes": 5}, {"path": 5}, {"bytes": b"x", "path": ""})),
        lambda: {"array": odd_array(rng), "sampling_rate": odd_number(rng)},
        lambda: (odd_number(rng), odd_array(rng)),
        Sly,
        lambda: Sly,
        lambda: iter([1, 2]),
        lambda: folder,
        lambda: folder / "nothing.bin",
        lambda: one(
            rng, ("http://127.0.0.1:9/a", "file:///etc/passwd", "data:,x", "data:image/png;base64,@@", "ftp://a/b")
        ),
        lambda: odd_array(rng),
        lambda: odd_tensor(rng),
        lambda: [odd_array(rng) for _ in range(int(rng.integers(1, 4)))],
        lambda: odd_picture(rng),
        lambda: io.StringIO("opened as text"),
        lambda: io.BytesIO(b"of no kind"),
        lambda: np.float32(0.5),
    )
    return one(rng, made)()


def odd_array(rng: np.random.Generator) -> np.ndarray:
    kind, shape = one(rng, NUMPY_TYPES), one(rng, SHAPES)
    values = rng.normal(0, one(rng, (0.3, 1, 200, 1e5)), shape)
    if rng.random() < 0.2 and values.size:
        values.flat[0] = one(rng, (math.nan, math.inf, -math.inf, 1e300))
    with np.errstate(all="ignore"):
        if kind == "O":
            array = np.empty(shape, dtype=object)
            array.fill(one(rng, (None, "x", 1)))
            return array
        if kind[0] == "M":
            return np.zeros(shape, dtype=kind)
        return np.asarray(values).astype(kind)


def odd_tensor(rng: np.random.Generator) -> torch.Tensor:
    array = rng.normal(0, 1, one(rng, SHAPES)).astype(np.float32)
    tensor = torch.from_numpy(np.array(array)).to(one(rng, TORCH_TYPES))
    kind = int(rng.integers(6))
    if kind == 0:
        return tensor.to("meta")
    if kind == 1 and tensor.dtype in (torch.float16, torch.float64) and tensor.dim():
        return tensor.to_sparse()
    if kind == 2 and tensor.is_floating_point():
        return tensor.requires_grad_()
    return tensor


def odd_picture(rng: np.random.Generator) -> Image.Image:
    size = one(rng, ((1, 1), (0, 0), (1, 900), (900, 1), (17, 5), (0, 4)))
    return Image.new(one(rng, MODES), size)


def mutated(rng: np.random.Generator, content: bytes) -> bytes:
    """Bytes with some flipped, cut off, doubled, taken out or put in."""
    content = bytearray(content)
    kind = int(rng.integers(7))
    if kind == 0 or not content:
        return bytes(content[: int(rng.integers(len(content) + 1))])
    if kind == 1:
        return rng.bytes(int(rng.integers(1, 400)))
    if kind == 2:
        return bytes(content) + rng.bytes(int(rng.integers(1, 200)))
    place = int(rng.integers(len(content)))
    length = int(rng.integers(1, 40))
    if kind == 3:
        del content[place : place + length]
    elif kind == 4:
        content[place:place] = rng.bytes(length)
    else:
        for at in rng.integers(min(len(content), one(rng, (100, 10**9))), size=length if kind == 5 else 1):
            content[int(at)] = int(rng.integers(256))
    return bytes(content)


def odd_json(rng: np.random.Generator) -> Any:
    """A value as JSON knows them."""
    return one(
        rng,
        (
            None,
            True,
            False,
            0,
            -1,
            1,
            10**12,
            0.5,
            1e308,
            math.nan,
            math.inf,
            "",
            "x",
            "../x",
            [],
            [1],
            {},
            {"a": 1},
            "1",
            [[]],
        ),
    )


def mutated_json(rng: np.random.Generator, content: bytes) -> tuple[bytes, str]:
    """A file of JSON with one value changed, gone or put in, and its name, in a list that of the list."""
    whole = json.loads(content)
    places = list(walk(whole))
    holder, key, name = places[int(rng.integers(len(places)))]
    kind = int(rng.integers(4))
    if kind == 0 and isinstance(holder, dict):
        del holder[key]
        what = "gone"
    elif kind == 1 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
        holder[key] = one(rng, NUMBERS)
        what = show(holder[key])
    else:
        holder[key] = odd_json(rng)
        what = show(holder[key])
    return json.dumps(whole).encode(), f"{name}: {what}"


def walk(value: Any, name: str = ""):
    """Every place of a value that holds another, and its name; those near the top as often as the many below."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:60]:
        inner_name = name if str(key).isdecimal() else key
        yield value, key, inner_name
        yield from walk(inner, inner_name)
