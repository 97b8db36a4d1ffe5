# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Where visitors of the page give what a checkpoint takes: a panel for each modality, whatever there are of them.

A `Panel` says what is asked, and is the same for all checkpoints that ask the same. `build` makes its components, and
`read` makes of what they hold the cells of a row, as the pipeline and an index take them.
"""

import html
import tempfile
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from mixture_of_transformers.decoding_audio_mot import read_audio, to_mono
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.decoding_series_mot import Series, SeriesSettings, read_series
from mixture_of_transformers.demo.readings import read_readings, written
from mixture_of_transformers.demo.visitors import VisitorLimits
from mixture_of_transformers.explain.pictures import plot_series
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_mot import Modality
from mixture_of_transformers.processing_mot import kind_in
from mixture_of_transformers.table_columns_mot import category_name, plain

import gradio as gr  # isort: skip  (after `mixture_of_transformers.demo.visitors`, which says so if it is missing)
from gradio.components import Component
from gradio.utils import get_upload_folder

MOST_CHARACTERS, MOST_LABEL = 300, 60  # that are shown, and of a column's name
MOST_OF_A_MESSAGE = 1000  # characters
NOTHING = ("–", "")  # of a category: how it is shown, and what is sent
NUMBER_WIDTH = 150  # pixels

# ---------------------------------------------------------------------------------------------------------------------
# Components
# ---------------------------------------------------------------------------------------------------------------------


@contextmanager
def messages() -> Iterator[None]:
    """What is wrong with what the visitor gave is shown as text, which Gradio would take for HTML, and not logged."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        message = html.escape(shortened(error, MOST_OF_A_MESSAGE))
        raise gr.Error(message, duration=None, print_exception=False) from error


def shortened(value: Any, most: int = MOST_CHARACTERS) -> str:
    return textwrap.shorten(str(value), most, placeholder=" …")


def read_upload(self, payload: Any) -> bytes | None:
    """A component's upload as its content: what reads it knows no path and can complain of none."""
    if payload is None or payload.path is None:
        return None
    content = Path(payload.path).read_bytes()
    with messages():
        if not content:
            raise ValueError(f"{self.label}: the file is empty.")
    return content


def as_sent(self, payload: Any) -> Any:
    """What a visitor sent as it is: what reads it knows what may be, and says so in words."""
    return payload


class Picture(gr.Image):
    is_template = True  # on the page it is a gr.Image
    preprocess = read_upload


class Clip(gr.Video):
    """A gr.Video of a file as it is, for which Gradio starts no program that looks at it or makes another of it."""

    is_template = True
    preprocess = read_upload

    def postprocess(self, value):
        return None if value is None else gr.FileData(path=str(value))


class Sound(gr.Audio):
    is_template = True
    preprocess = read_upload


class Document(gr.File):
    is_template = True

    def preprocess(self, payload):
        return read_upload(self, getattr(payload, "root", [payload])[0] if payload else None)


class Choice(gr.Dropdown):
    is_template = True
    preprocess = as_sent


def playable(sound: Any, name: str) -> tuple[int, np.ndarray]:
    """Hz, and samples (N,) as the page plays them."""
    samples, rate = read_audio(sound, name, allow_urls=False)
    return rate, (to_mono(samples, name).clip(-1, 1) * np.iinfo(np.int16).max).astype(np.int16)


# ---------------------------------------------------------------------------------------------------------------------
# Panels
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Inputs:
    """
    The components of a panel.

    Args:
        shown: what holds them, which is hidden where a checkpoint does not ask for them.
        components: what a visitor fills in, in the order of `Panel.read`.
        drawn: where a plot of that stands, if any.
        events: upon which it is drawn.
    """

    shown: Component | gr.blocks.BlockContext
    components: list[Component]
    drawn: gr.Plot | None = None
    events: tuple = ()


@dataclass(frozen=True)
class Panel:
    """
    What is asked of one modality.

    Args:
        name: of the modality.
        cells: the cells of a row that it is given in.
    """

    name: str
    cells: tuple[str, ...]
    titles = ()  # what visitors see of those with historic names, for each cell; of others it is the cell's name

    @classmethod
    def of(cls, modality: Modality, settings: Mapping[str, Any]) -> "Panel":
        """
        Args:
            settings: what the processor was told of the modality.
        """
        return cls(modality.name, tuple(cell.name for cell in modality.cells))

    @property
    def labels(self) -> tuple[str, ...]:
        """What visitors see, for each cell."""
        return self.titles[: len(self.cells)] if self.name in MODALITIES else self.cells

    @property
    def ids(self) -> tuple[str, ...]:
        """What the elements of the page are called."""
        return tuple(label.lower() if self.name in MODALITIES else f"input-{label}" for label in self.labels)

    @property
    def size(self) -> int:
        """How many components it has."""
        return len(self.cells)

    @property
    def usual(self) -> "Panel":
        """This panel with the usual cell alone."""
        return replace(self, cells=self.cells[:1])

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        """
        Components, in the part of the page that is being made.

        Args:
            prefix: of the names of elements.
            hint: what stands with a field for a sentence.
            height: of pictures and videos, in pixels.
        """
        raise NotImplementedError

    def read(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> dict[str, Any]:
        """
        The cells of a row, of what the components hold; None where that is nothing.

        Raises:
            ValueError: it cannot be.
        """
        return dict(zip(self.cells, values, strict=True))

    def fill(self, row: Mapping[str, Any]) -> list:
        """What the components hold of an example."""
        raise NotImplementedError

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        """For each cell a component by which examples show it, and what that shows; files are put in `folder`."""
        raise NotImplementedError


@dataclass(frozen=True)
class WordsPanel(Panel):
    """A field for a sentence."""

    titles = ("Sentence",)

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        options = {"max_length": limits.max_characters, "elem_id": prefix + self.ids[0]}
        box = gr.Textbox(label=self.labels[0], info=hint, **options)
        return Inputs(box, [box])

    def read(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> dict[str, Any]:
        return {self.cells[0]: (values[0] or "").strip()}

    def fill(self, row: Mapping[str, Any]) -> list:
        return [row.get(self.cells[0])]

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        return [("textbox", row.get(self.cells[0]) or "")]


@dataclass(frozen=True)
class FramesPanel(Panel):
    """A picture, a video, or either."""

    are_videos: tuple[bool, ...] = ()
    titles = ("Picture", "Video")

    @classmethod
    def of(cls, modality: Modality, settings: Mapping[str, Any]) -> "FramesPanel":
        cells = modality.cells
        return cls(modality.name, tuple(cell.name for cell in cells), tuple(cell.medium == "video" for cell in cells))

    @property
    def usual(self) -> "Panel":
        return replace(self, cells=self.cells[:1], are_videos=self.are_videos[:1])

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        fields = []
        with gr.Row() as shown:
            for label, name, is_video in zip(self.labels, self.ids, self.are_videos, strict=True):
                options = {"label": label, "height": height, "elem_id": prefix + name}
                fields.append(Clip(**options) if is_video else Picture(**options, elem_classes="picture"))
        return Inputs(shown, fields)

    def fill(self, row: Mapping[str, Any]) -> list:
        return [
            None if row.get(cell) is None else uploaded(f"{cell}.mp4", row[cell]) if is_video else decoded(row, cell)
            for cell, is_video in zip(self.cells, self.are_videos, strict=True)
        ]

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        found = []
        for cell, label, is_video in zip(self.cells, self.labels, self.are_videos, strict=True):
            if is_video:
                found.append(("textbox", "" if row.get(cell) is None else label))
                continue
            file = None if row.get(cell) is None else folder / f"{cell}.png"
            if file is not None:
                decoded(row, cell).save(file)
            found.append(("image", file and str(file)))
        return found


@dataclass(frozen=True)
class SoundPanel(Panel):
    """A sound, of a file or of the microphone."""

    titles = ("Sound",)

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        sound = Sound(label=self.labels[0], type="filepath", elem_id=prefix + self.ids[0])
        return Inputs(sound, [sound])

    def fill(self, row: Mapping[str, Any]) -> list:
        return [None if row.get(self.cells[0]) is None else playable(row[self.cells[0]], self.cells[0])]

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        return [("textbox", "" if row.get(self.cells[0]) is None else self.labels[0])]


@dataclass(frozen=True)
class SeriesPanel(Panel):
    """A file of samples, or numbers that are pasted, and a plot of them."""

    size = 2

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        place = prefix + self.ids[0]
        with gr.Column() as shown:
            kinds = [".csv", ".tsv", ".txt", ".json"]
            label = f"{self.labels[0]}: CSV or JSON, a line for each sample"
            file = Document(label=label, file_types=kinds, height=120, elem_id=place)
            options = {"placeholder": "0.1, 9.8, 0.2\n0.3, 9.7, 0.1", "lines": 2, "max_lines": 6}
            label = f"{self.labels[0]}: or its numbers, pasted"
            pasted = gr.Textbox(label=label, max_length=limits.max_characters, elem_id=f"{place}-numbers", **options)
            drawn = gr.Plot(show_label=False, visible=False, elem_id=f"{place}-plot")
        return Inputs(shown, [file, pasted], drawn, (file.change, pasted.blur, pasted.submit))

    def read(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> dict[str, Any]:
        series = self.read_series(values, settings, limits)
        if series is None:
            return {}
        found = {"array": series.values, "times": series.times, "sampling_rate": series.sampling_rate}
        return {self.cells[0]: {name: value for name, value in found.items() if value is not None}}

    def read_series(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> Series | None:
        file, pasted = values
        pasted = (pasted or "").strip()
        if file and pasted:
            raise ValueError(f"{self.name} has a file and numbers that are pasted: leave one of them out.")
        if not file and not pasted:
            return None
        known = SeriesSettings.of(settings, self.name)
        return read_readings(file or pasted.encode(), self.name, known, limits.max_numbers)

    def draw(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> Any:
        series = self.read_series(values, settings, limits)
        if series is None:
            return None
        rate = series.sampling_rate or SeriesSettings.of(settings, self.name).sampling_rate
        return plot_series(series.values, series.times, rate, self.name)

    def fill(self, row: Mapping[str, Any]) -> list:
        if row.get(self.cells[0]) is None:
            return [None, ""]
        return [uploaded(f"{self.name}.json", written(row[self.cells[0]]).encode()), ""]

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        if row.get(self.cells[0]) is None:
            return [("textbox", "")]
        samples, channels = read_series(row[self.cells[0]], self.name).values.shape
        return [("textbox", f"{samples} × {channels}")]


@dataclass(frozen=True)
class TablePanel(Panel):
    """
    A field for each column, of which those that are empty count as missing.

    Args:
        numbers: the columns that hold numbers, and the range in which most of them lie, in words.
        categories: the others, and the values that each may have.
    """

    numbers: tuple[tuple[str, str], ...] = ()
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @classmethod
    def of(cls, modality: Modality, settings: Mapping[str, Any]) -> "TablePanel":
        numbers = tuple((column, usual_range(scale)) for column, scale in sorted(settings.get("numbers", {}).items()))
        categories = ((column, tuple(values)) for column, values in sorted(settings.get("categories", {}).items()))
        return cls(modality.name, (modality.cells[0].name,), numbers, tuple(categories))

    @property
    def columns(self) -> list[str]:
        return [column for column, _ in (*self.numbers, *self.categories)]

    @property
    def size(self) -> int:
        return len(self.columns)

    def build(self, limits: VisitorLimits, prefix: str = "", hint: str | None = None, height: int = 280) -> Inputs:
        fields = []
        label = f"{self.labels[0]}: leave empty what is not known"
        with gr.Accordion(label, elem_id=prefix + self.ids[0]) as shown, gr.Row(elem_classes="columns"):
            options = {"min_width": NUMBER_WIDTH, "scale": 1}
            for column, usual in self.numbers:
                label = shortened(column, MOST_LABEL)  # of a gr.Number nobody sees whether it is empty or 0
                fields.append(gr.Textbox(label=label, placeholder=usual, max_length=MOST_LABEL, **options))
            for column, values in self.categories:
                choices = [NOTHING, *((shortened(value, MOST_LABEL), value) for value in values)]
                fields.append(Choice(choices, value="", label=shortened(column, MOST_LABEL), **options))
        return Inputs(shown, fields)

    def read(self, values: list, settings: Mapping[str, Any], limits: VisitorLimits) -> dict[str, Any]:
        row = dict(zip(self.columns, values, strict=True))
        for column, known in self.categories:
            if row[column] not in (None, "", *known):
                raise ValueError(
                    f"{self.name}: {column!r} is {shortened(row[column])!r}, expected one of its {len(known)} values."
                )
        row = {column: value for column, value in row.items() if plain(value, f"{self.name}: {column!r}") is not None}
        return {self.cells[0]: row or None}

    def fill(self, row: Mapping[str, Any]) -> list:
        given = row.get(self.cells[0]) or {}
        found = [plain(given.get(column), column) for column in self.columns]
        return ["" if value is None else category_name(value) for value in found]

    def previews(self, row: Mapping[str, Any], folder: Path) -> list[tuple[str, Any]]:
        given = (row.get(self.cells[0]) or {}).items()
        said = ", ".join(f"{column}: {value}" for column, value in given if value is not None)
        return [("textbox", shortened(said))]


def usual_range(scale: Mapping[str, Any]) -> str:
    """Between which numbers most of a column lie, by what a processor knows of it."""
    if "quantiles" in scale:
        low, high = np.quantile(scale["quantiles"], [0.05, 0.95])
    else:
        low, high = scale["mean"] - 2 * scale["std"], scale["mean"] + 2 * scale["std"]
    return f"{low:.4g} to {high:.4g}"


def decoded(row: Mapping[str, Any], cell: str) -> Any:
    """The picture in a cell."""
    return load_image(row[cell], cell, convert_rgb=True, allow_urls=False)


def uploaded(name: str, content: bytes) -> str:
    """A file in the folder of uploads, from which alone the page reads, and in which it is kept for a while."""
    folder = Path(get_upload_folder())
    folder.mkdir(parents=True, exist_ok=True)
    file = Path(tempfile.mkdtemp(dir=folder)) / name
    file.write_bytes(content)
    return str(file)


# ---------------------------------------------------------------------------------------------------------------------
# Those of a checkpoint, and of all that a page offers
# ---------------------------------------------------------------------------------------------------------------------

# How the tokens of a modality are drawn -> how it is asked for.
PANELS: dict[str, type[Panel]] = {
    "words": WordsPanel,
    "frames": FramesPanel,
    "spectrogram": SoundPanel,
    "series": SeriesPanel,
    "columns": TablePanel,
}


def panel_of(modality: Modality, settings: Mapping[str, Any]) -> Panel:
    return PANELS[modality.drawing].of(modality, settings)


def panels_of(model: Any, processor: Any) -> dict[str, Panel]:
    """Modality -> what is asked of it, without those that arrive as ready vectors, which nobody types."""
    kinds = {
        m: kind_in(processor, m) for m in model.config.modalities if model.config.modality_config(m).takes_raw_input
    }
    return {m: panel_of(kind, kind.settings_in(processor)) for m, kind in kinds.items()}


def panels_with(asked: Iterable[Mapping[str, Panel]], historic: bool) -> list[Panel]:
    """
    Each panel that any of several checkpoints asks for, once.

    Args:
        historic: whether those of the modalities that need no declaration are there in any case.
    """
    always = [panel_of(modality, {}) for modality in MODALITIES.values()] if historic else []
    found = dict.fromkeys([*always, *(panel for panels in asked for panel in panels.values())])
    order = [*MODALITIES]
    return sorted(found, key=lambda panel: order.index(panel.name) if panel.name in order else len(order))
