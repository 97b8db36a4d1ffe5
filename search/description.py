# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`index.json`, which says which shards count and what embedded their rows."""

import json
import re
from pathlib import Path
from typing import Any

from mixture_of_transformers.modalities_mot import CELLS
from mixture_of_transformers.search.columns import embedding_kinds
from mixture_of_transformers.search.files import REMEDY, check_inside, write_whole

DESCRIPTION = "index.json"
EXTRA = "extra_modalities"  # the field of those beside text, images and audio, which earlier versions have not
FIELDS = {  # whatever version wrote the file
    "fingerprint": str,
    "weights": str,
    "rows": int,
    "columns": dict,
    "width": int,
    "model": str,
    "removed": list,
}


def read_description(folder: Path) -> dict[str, Any]:
    """
    What `index.json` holds: `generation`, which counts the changes; `shards`, the files in order with their rows and
    checksums; `rows`, all of them; `removed`, the ids that are not found any more; `columns`, `width`, `model`,
    `weights`, `settings` and `extra_modalities` of what embedded them; and, while rows are being embedded, `pending`,
    the shards that are done.

    Raises:
        ValueError: there is none, or it is damaged.
    """
    file = folder / DESCRIPTION
    check_inside(folder)
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no index: there is no {DESCRIPTION}. `build_index` makes one.") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is damaged, it holds no JSON ({error}). {REMEDY}.") from None
    check_description(file, found)
    found = found if "shards" in found else of_earlier_version(folder, found)
    check_shards_listed(file, found)
    return found


def check_description(file: Path, found: Any) -> None:
    """
    Raises:
        ValueError: a field that every version writes is missing, or holds what it cannot.
    """
    if not isinstance(found, dict):
        raise ValueError(f"{file} is damaged, it holds no table of fields. {REMEDY}.")
    for name, kind in FIELDS.items():
        if type(found.get(name)) is not kind:
            raise ValueError(
                f"{file} is damaged: `{name}` is {found.get(name)!r}, expected {kind.__name__}. {REMEDY}."
            )
    if found["width"] < 1 or found["rows"] < 0:
        raise ValueError(
            f"{file} is damaged: `width` is {found['width']} and `rows` is {found['rows']}, expected 1 and 0 or more. "
            f"{REMEDY}."
        )
    extra = found.get(EXTRA, [])
    if type(extra) is not list or not all(isinstance(name, str) and name.isidentifier() for name in extra):
        raise ValueError(f"{file} is damaged: `{EXTRA}` is {extra!r:.100}, expected names of modalities. {REMEDY}.")
    for kind, name in found["columns"].items():
        if kind not in (*CELLS, *extra) or not isinstance(name, str):
            raise ValueError(f"{file} is damaged: `columns` holds {kind!r}: {name!r:.100}. {REMEDY}.")
    if not isinstance(found.get("settings", {}), dict):
        raise ValueError(f"{file} is damaged: `settings` is {found['settings']!r:.100}, expected dict. {REMEDY}.")
    if wrong := [i for i in found["removed"] if type(i) is not int or not 0 <= i < found["rows"]]:
        raise ValueError(f"{file} is damaged: `removed` holds {wrong[0]!r}, no row of {found['rows']}. {REMEDY}.")


def check_shards_listed(file: Path, description: dict) -> None:
    """
    Raises:
        ValueError: what is listed are no shards of this folder, with their numbers of rows and checksums.
    """
    pending = description.get("pending", {"fingerprint": "", "rows": 0, "shards": []})
    is_pending = isinstance(pending, dict) and type(pending.get("fingerprint")) is str
    if not is_pending or type(pending.get("rows")) is not int or type(pending.get("shards")) is not list:
        raise ValueError(f"{file} is damaged: `pending` is {pending!r:.100}. {REMEDY}.")
    if type(description["shards"]) is not list or type(description.get("generation")) is not int:
        raise ValueError(f"{file} is damaged: `shards` is no list, or `generation` no number. {REMEDY}.")
    names = set()
    for shard in listed_shards(description):
        name = shard.get("file") if isinstance(shard, dict) else shard
        # A file of another name could lie anywhere.
        if not isinstance(name, str) or not re.fullmatch(r"shard-\d{5,}\.parquet", name):
            raise ValueError(f"{file} is damaged: {name!r:.100} is the name of no shard. {REMEDY}.")
        if type(shard.get("rows", 0)) is not int or type(shard.get("sha256", "")) is not str or name in names:
            raise ValueError(f"{file} is damaged: what it says of {name} cannot be. {REMEDY}.")
        names.add(name)


def kinds_in(description: dict) -> tuple[str, ...]:
    """The kinds of embeddings of an index."""
    return embedding_kinds(description.get(EXTRA, []))


def listed_shards(description: dict) -> list[dict]:
    """The shards that count, and those of rows that are still being embedded."""
    return description["shards"] + description.get("pending", {}).get("shards", [])


def of_earlier_version(folder: Path, found: dict) -> dict:
    """An `index.json` that does not list the shards: all that are there count."""
    shards = [{"file": file.name} for file in sorted(folder.glob("shard-*.parquet"))]
    return found | {"generation": 0, "shards": shards}


def write_description(folder: Path, description: dict) -> None:
    write_whole(folder / DESCRIPTION, json.dumps(description, indent=1).encode())
