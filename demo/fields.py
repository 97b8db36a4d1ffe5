# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the tabs of the page have in common: where visitors choose, how text is shown, what scripts call the inputs."""

import html
import inspect
from collections.abc import Callable, Iterable

from mixture_of_transformers.demo.offers import Offered
from mixture_of_transformers.demo.panels import Choice, Panel

import gradio as gr  # isort: skip  (after `mixture_of_transformers.demo.visitors`, which says so if it is missing)


def choose(offered: Offered, label: str, info: str) -> tuple[gr.Textbox | gr.Dropdown, Callable]:
    """Where a visitor chooses among what is offered, or names anything, and what is called when that is done."""
    names = list(offered.places)
    if offered.any_place:
        field = gr.Textbox(names[0] if names else "", label=label, info=info, max_length=1000)
        return field, field.submit
    field = Choice(names, value=names[0], label=label, interactive=len(names) > 1)
    return field, field.input


def as_text(*parts: str) -> str:
    """HTML that shows each part as it is, whatever it holds; the first is bold if there are several."""
    first, *others = [html.escape(part) for part in parts]
    return f"<b>{first}</b>{''.join(others)}" if others else first


def parameters_of(panels: Iterable[Panel]) -> list[str]:
    """What scripts call the inputs: as the cells of a row, with numbers where a cell has several."""
    names = []
    for panel in panels:
        cells = panel.cells if panel.size == len(panel.cells) else [f"{panel.name}_{i}" for i in range(panel.size)]
        names += [f"{cell}_{len(names)}" if cell in names else cell for cell in cells]
    return names


def with_parameters(function: Callable, names: Iterable[str]) -> Callable:
    """The function, whose parameters have these names for who asks the page by a script."""
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    function.__signature__ = inspect.Signature([inspect.Parameter(name, kind) for name in names])
    return function
