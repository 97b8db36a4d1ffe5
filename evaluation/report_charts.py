# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Charts of a report as SVG that stands in the page: no library draws them, and nothing is loaded.

All are as wide as a narrow telephone, so that their words are readable there; a wider page puts several side by side.
What a point means stands in its `<title>`, which browsers show beside the pointer. Colours of words and axes are those
of the page's style, light or dark.

Shapes: N rows, T samples, C channels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixture_of_transformers.evaluation.calibration import Reliability
from mixture_of_transformers.evaluation.markup import Markup, element
from mixture_of_transformers.explain.pictures import COLORS

WIDTH, HEIGHT = 340, 220  # of a chart; a unit is a pixel where the page is narrow
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 10, 36  # around the plane of a chart with axes
LINE, NAMED_LINE = 18, 40  # of bars, and of what has its name above it
DOT = 2.5
MOST_NAMED = 26  # characters of a name
MOST_POINTS, MOST_DOTS, MOST_SCATTERED = 300, 40, 1500
DASHES = (None, "6 3", "2 2", "8 3 2 3")  # by which more curves than colours differ
CURVE_COLORS = COLORS[:-1]  # the last is black, which a dark page does not show

Curve = Sequence[tuple[float, float]]  # (step, value), in the order of the steps


def drawing(title: str, height: float, *parts) -> Markup:
    return element("svg", *parts, viewBox=f"0 0 {WIDTH} {height:g}", role="img", aria_label=title, class_="chart")


def figure(title: str, chart: Markup, *below) -> Markup:
    """A chart under its title."""
    return element("figure", element("figcaption", title), chart, *below)


def words(content: str, x: float, y: float, anchor: str = "start", class_: str | None = None) -> Markup:
    return element("text", content, x=f"{x:.1f}", y=f"{y:.1f}", text_anchor=anchor, class_=class_)


def cut(name: str, most: int) -> str:
    """A name that has room for so many characters."""
    return name if len(name) <= most else f"{name[: most - 1]}…"


def stroke(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    places = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    return element("line", **{name: f"{place:.1f}" for name, place in places.items()}, class_=class_)


def dot(x: float, y: float, title: str, color: str, radius: float = DOT, class_: str | None = None) -> Markup:
    place = {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": radius}
    return element("circle", element("title", title), **place, fill=color, class_=class_)


def bar(x: float, y: float, width: float, height: float, title: str, color: str, class_: str | None = None) -> Markup:
    """A rectangle; its width may be negative, to the left of `x`."""
    place = {"x": min(x, x + width), "y": y, "width": abs(width), "height": max(height, 0)}
    place = {name: f"{value:.1f}" for name, value in place.items()}
    return element("rect", element("title", title), **place, fill=color, class_=class_)


# ---------------------------------------------------------------------------------------------------------------------
# Axes
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plane:
    """
    Where numbers lie in a chart with two axes.

    Args:
        across, up: the lowest and the highest number of each axis.
    """

    across: tuple[float, float]
    up: tuple[float, float]
    height: float = HEIGHT

    def x(self, value: float) -> float:
        return LEFT + share(value, self.across) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        return self.height - BOTTOM - share(value, self.up) * (self.height - TOP - BOTTOM)

    def axes(self, name_across: str, name_up: str | None = None) -> list[Markup]:
        """Lines at round numbers, with these, and what the numbers are, where the title does not say it."""
        parts = []
        for value in ticks(*self.up):
            parts.append(stroke(LEFT, self.y(value), WIDTH - RIGHT, self.y(value), "grid"))
            parts.append(words(f"{value:g}", LEFT - 5, self.y(value) + 4, "end"))
        for value in ticks(*self.across):
            parts.append(words(f"{value:g}", self.x(value), self.height - BOTTOM + 15, "middle"))
        parts.append(words(name_across, (LEFT + WIDTH - RIGHT) / 2, self.height - 4, "middle"))
        if name_up is None:
            return parts
        middle = (TOP + self.height - BOTTOM) / 2
        turned = f"translate(11 {middle:.1f}) rotate(-90)"
        return [*parts, element("text", name_up, transform=turned, text_anchor="middle")]


def share(value: float, limits: tuple[float, float]) -> float:
    low, high = limits
    return (value - low) / (high - low)


def limits_of(values: Sequence[float], *held: float) -> tuple[float, float]:
    """The lowest and the highest of the values, and of what the axis shows in any case."""
    low, high = min(*values, *held), max(*values, *held)
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers between two, in equal steps, about as many as wanted."""
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-6), math.floor(high / step + 1e-6)
    return [round(number * step, 12) for number in range(first, last + 1)]


def thinned(values: Sequence, most: int) -> list:
    """The first, the last and what lies evenly between them, at most so many."""
    if len(values) <= most:
        return list(values)
    return [values[i] for i in np.linspace(0, len(values) - 1, most).round().astype(int)]


# ---------------------------------------------------------------------------------------------------------------------
# Charts
# ---------------------------------------------------------------------------------------------------------------------


def line_chart(title: str, curves: Mapping[str, Curve], best_step: int | None = None) -> Markup:
    """
    Curves over the steps of a training, the first of them strong.

    Args:
        best_step: where a line marks the weights that were kept.
    """
    curves = {name: thinned(curve, MOST_POINTS) for name, curve in curves.items()}
    points = [point for curve in curves.values() for point in curve]
    plane = Plane(limits_of([x for x, _ in points], 0), limits_of([y for _, y in points], 0))
    parts, legend = plane.axes("step"), []
    if best_step is not None:
        x = plane.x(best_step)
        parts.append(element("g", stroke(x, TOP, x, HEIGHT - BOTTOM, "mark"), element("title", f"step {best_step}")))
    for number, (name, curve) in reversed([*enumerate(curves.items())]):
        dash = DASHES[(number - 1) // len(CURVE_COLORS) % len(DASHES)] if number else None
        color = CURVE_COLORS[(number - 1) % len(CURVE_COLORS)] if number else "currentColor"
        look = {"stroke": color, "stroke_dasharray": dash, "class_": "curve" if number else "curve strong"}
        path = " ".join(f"{plane.x(x):.1f},{plane.y(y):.1f}" for x, y in curve)
        parts.append(element("polyline", element("title", name), points=path, **look))
        if len(curve) <= MOST_DOTS:
            parts += [dot(plane.x(x), plane.y(y), f"{name}, step {x:g}: {y:.4g}", color) for x, y in curve]
        sample = element("svg", stroke_sample(look), viewBox="0 0 24 8", class_="sample", aria_hidden="true")
        legend.append(element("li", sample, name))
    shown = element("ul", legend[::-1], class_="legend") if len(curves) > 1 else None
    return figure(title, drawing(title, HEIGHT, parts), shown)


def stroke_sample(look: dict) -> Markup:
    return element("line", x1=0, y1=4, x2=24, y2=4, **look)


def interval_chart(title: str, rows: Sequence[tuple[str, float, tuple[float, float]]]) -> Markup:
    """A line for each name: its figure as a dot, and the interval around it."""
    rows = [row for row in rows if all(map(math.isfinite, (row[1], *row[2])))]
    numbers = [number for _, value, ends in rows for number in (value, *ends)]
    least, most = min(numbers, default=0), max(numbers, default=1)
    limits = (min(0.0, least), 1.0 if most <= 1 else most)

    def x(value: float) -> float:
        return 4 + share(value, limits) * (WIDTH - 8)

    height = NAMED_LINE * len(rows) + 20
    parts = []
    for value in ticks(*limits):
        anchor = "start" if x(value) < 12 else "end" if x(value) > WIDTH - 12 else "middle"
        parts += [
            stroke(x(value), 0, x(value), height - 16, "grid"),
            words(f"{value:g}", x(value), height - 3, anchor),
        ]
    for number, (name, value, (low, high)) in enumerate(rows):
        top = number * NAMED_LINE
        said = f"{value:.3f} ({low:.3f} to {high:.3f})"
        parts.append(words(cut(name, MOST_NAMED), 4, top + 15, class_="name"))
        parts.append(words(said, WIDTH - 4, top + 15, "end", "name"))
        parts.append(stroke(x(low), top + 27, x(high), top + 27, "interval"))
        parts.append(dot(x(value), top + 27, f"{name}: {said}", COLORS[0], 4.5, "point"))
    return figure(title, drawing(title, height, parts))


def bar_chart(title: str, bars: Sequence[tuple[str, float]], written: str = "{:.4g}") -> Markup:
    """Bars of one colour under a title; see `draw_bars`."""
    return figure(title, draw_bars(title, bars, written, COLORS[:1]))


def draw_bars(title: str, bars: Sequence[tuple[str, float]], written: str, colors: Sequence[str]) -> Markup:
    """
    A bar for each name, to the right of nothing or, below 0, to the left. Names stand at the left, numbers at the
    right.

    Args:
        written: how the numbers are, as a format.
        colors: of the bars, one after the other.
    """
    longest = max((len(cut(name, MOST_NAMED)) for name, _ in bars), default=0)
    left, right = 10 + 6.5 * longest, WIDTH - 54
    limits, height, parts = limits_of([value for _, value in bars], 0), LINE * len(bars) + 4, []

    def x(value: float) -> float:
        return left + share(value, limits) * (right - left)

    for number, (name, value) in enumerate(bars):
        y, color = 2 + number * LINE, colors[number % len(colors)]
        parts.append(words(cut(name, MOST_NAMED), left - 6, y + 13, "end"))
        parts.append(bar(x(0), y + 3, x(value) - x(0), LINE - 6, f"{name}: {value:+.4f}", color))
        parts.append(words(written.format(value), WIDTH - 4, y + 13, "end"))
    return drawing(title, height, parts, stroke(x(0), 0, x(0), height, "axis"))


def reliability_chart(title: str, found: Reliability) -> Markup:
    """How often the answers of each confidence are right, beside the line where both are equal, over how many."""
    height, plane = 260, Plane((0, 1), (0, 1), 260)
    parts, width = plane.axes("confidence", "share that is right"), (WIDTH - LEFT - RIGHT) / len(found.rows)
    for number, rows in enumerate(found.rows):
        if not rows:
            continue
        right, sure = found.accuracy[number], found.confidence[number]
        x, floor = LEFT + number * width, plane.y(0)
        said = f"{rows} rows with confidence {sure:.3f} on average: {right:.3f} are right"
        parts.append(bar(x + 1, plane.y(right), width - 2, floor - plane.y(right), said, COLORS[0], "soft"))
        parts.append(dot(plane.x(sure), plane.y(right), said, COLORS[5], 2 + 4 * math.sqrt(rows / found.rows.sum())))
    parts.append(stroke(plane.x(0), plane.y(0), plane.x(1), plane.y(1), "mark"))
    return figure(title, drawing(title, height, parts))


def scatter_chart(title: str, labels: np.ndarray, answers: np.ndarray) -> Markup:
    """
    Args:
        labels, answers: (N,) numbers, of which some are drawn where there are many.
    """
    pairs = thinned([*zip(labels.tolist(), answers.tolist())], MOST_SCATTERED)
    limits, height = limits_of([number for pair in pairs for number in pair]), 300
    plane = Plane(limits, limits, height)
    parts = plane.axes("label", "answer")
    low, high = limits
    parts.append(stroke(plane.x(low), plane.y(low), plane.x(high), plane.y(high), "mark"))
    parts += [
        dot(plane.x(label), plane.y(answer), f"label {label:.4g}, answer {answer:.4g}", COLORS[0], DOT, "cloud")
        for label, answer in pairs
    ]
    return figure(title, drawing(title, height, parts))


def series_chart(title: str, values: np.ndarray) -> Markup:
    """
    A series in small.

    Args:
        values: (T, C), NaN where a channel has no reading; the first channels are drawn.
    """
    height, some = 60, values[:, : len(CURVE_COLORS)]
    known = some[np.isfinite(some)]
    limits = limits_of(known.tolist() or [0.0])
    parts = []
    for channel, color in zip(some.T, CURVE_COLORS):
        points = [(i, value) for i, value in enumerate(channel) if math.isfinite(value)]
        last = max(len(channel) - 1, 1)
        path = " ".join(
            f"{WIDTH * i / last:.1f},{2 + (1 - share(value, limits)) * (height - 4):.1f}"
            for i, value in thinned(points, MOST_POINTS)
        )
        parts.append(element("polyline", points=path, stroke=color, class_="curve"))
    return drawing(title, height, parts)
