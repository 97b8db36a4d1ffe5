# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the demo page was started with: checkpoints and indexes, by the names that visitors choose from.

All of it is loaded when the page starts, with the rights of whoever starts it. A visitor's word loads nothing, but on
a page that was started for any checkpoint, and then with nobody's token.
"""

import textwrap
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from mixture_of_transformers.head_classification_mot import MoTForSequenceClassification
from mixture_of_transformers.head_retrieval_mot import MoTForRetrieval
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.search.description import DESCRIPTION
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.training.continuation import read_config
from mixture_of_transformers.training.loading import load_checkpoint


class Offered:
    """
    Checkpoints or indexes by the names that visitors choose from, loaded once.

    Args:
        places: ids on the Hub or folders, of which visitors see the last part of the path.
        load: from a place and a token to what lies there.
        version: of what lies at a place; another one is loaded anew.
        any_place: visitors may name others, too. They are read without the token of whoever runs the page.
    """

    def __init__(
        self, places: str | Iterable[str], load: Callable, version: Callable = lambda place: 0, any_place=False
    ):
        self.load, self.version, self.any_place = load, version, any_place
        self.places = by_short_names(places)
        self.loaded: dict[str, tuple] = {place: (version(place), load(place)) for place in self.places.values()}
        self.other: tuple = ()  # the last one that a visitor named: place, version, what lies there

    def place_of(self, name: Any) -> str:
        if not isinstance(name, str) or not name:
            raise ValueError("Name what to use: " + self.choices())
        if name in self.places or name in self.loaded:  # as it was given is as good
            return self.places.get(name, name)
        if self.any_place:
            return name
        raise ValueError(f"This page does not have {textwrap.shorten(name, 80)!r}: " + self.choices())

    def choices(self) -> str:
        return f"it offers {', '.join(self.places)}."

    def __call__(self, name: Any) -> Any:
        """
        Raises:
            ValueError: the page does not have it, or it cannot be read; the reason only where visitors name places.
        """
        place = self.place_of(name)
        version = self.version(place)
        if place in self.loaded:
            if self.loaded[place][0] != version:
                self.loaded[place] = (version, self.load_again(name, place))
            return self.loaded[place][1]
        if self.other[:2] != (place, version):
            self.other = (place, version, self.load(place, token=False))
        return self.other[2]

    def load_again(self, name: str, place: str) -> Any:
        try:
            return self.load(place)
        except (ValueError, OSError, ImportError) as error:
            traceback.print_exc()
            raise ValueError(f"{name} has changed and cannot be read; the page's log says why.") from error


def by_short_names(places: str | Iterable[str]) -> dict[str, str]:
    """One or several: folders by their names, ids on the Hub by themselves, with numbers where names are the same."""
    found: dict[str, str] = {}
    for place in filter(None, dict.fromkeys([places] if isinstance(places, str) else places)):
        short = Path(place).resolve().name if Path(place).is_dir() else place
        same = sum(1 for name in found if name == short or name.startswith(f"{short} ("))
        found[f"{short} ({same + 1})" if same else short] = place
    return found


def read_classifier(place: str, token: bool | None = None) -> MultimodalClassificationPipeline:
    """A checkpoint on the Hub or in a folder. `token`: False for nobody's, None for that of whoever runs the page."""
    classes = read_config(place, token=token).architectures or ["no class that it names"]
    if not classes[0].endswith("Classification"):
        raise ValueError(f"{place} holds {classes[0]}; this page classifies with MoTForSequenceClassification.")
    model = load_checkpoint(place, MoTForSequenceClassification, token=token)
    return MultimodalClassificationPipeline(model=model, processor=load_processor(place, token=token))


def read_index(folder: str, token: bool | None = None) -> Index:
    """An index with the model that it names."""
    found = Index.load(folder)
    name = found.description["model"]
    return found.attach(load_checkpoint(name, MoTForRetrieval, token=token), load_processor(name, token=token))


def index_version(folder: str) -> int:
    file = Path(folder) / DESCRIPTION
    return file.stat().st_mtime_ns if file.exists() else 0
