# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What stands in a page is escaped and well formed, and charts put numbers where they belong."""

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from mixture_of_transformers.evaluation.calibration import reliability
from mixture_of_transformers.evaluation.markup import Markup, element, joined
from mixture_of_transformers.evaluation.report_charts import (
    Plane,
    bar_chart,
    interval_chart,
    line_chart,
    reliability_chart,
    scatter_chart,
    series_chart,
    thinned,
    ticks,
)

HOSTILE = "<script>alert(1)</script> \"quoted\" & 'more'\n\u202etxet"
LOGITS = np.random.default_rng(0).normal(size=(40, 3))


def well_formed(chart: Markup) -> ElementTree.Element:
    return ElementTree.fromstring(chart)  # noqa: S314 (a chart of this test)


def places(chart: Markup, tag: str, *names: str) -> list[tuple[float, ...]]:
    """Of each element of a kind, some of its numbers."""
    return [tuple(float(found.get(name)) for name in names) for found in well_formed(chart).iter(tag)]


def test_texts_and_attributes_are_escaped_and_markup_is_kept():
    found = element("p", HOSTILE, Markup("<b>bold</b>"), title=HOSTILE)
    root = well_formed(found)
    assert [child.tag for child in root] == ["b"]
    assert root.text == root.get("title") == "<script>alert(1)</script> \"quoted\" & 'more' \\u202etxet"


def test_attributes_that_are_not_given_are_left_out_and_children_may_be_lists():
    assert (
        element("img", alt=None, hidden=True, class_="a", data_subset="b") == '<img hidden class="a" data-subset="b">'
    )
    assert joined("<", [Markup("<"), (1, None)]) == "&lt;<1"


@pytest.mark.parametrize(
    "chart",
    [
        line_chart(HOSTILE, {HOSTILE: [(1, 2.0), (2, 1.0)], "b": [(1, 0.5)]}, 2),
        interval_chart(HOSTILE, [(HOSTILE, 0.5, (0.4, 0.6))]),
        bar_chart(HOSTILE, [(HOSTILE, 0.5), ("b", -0.5)]),
        reliability_chart(HOSTILE, reliability(LOGITS, np.zeros(40, dtype=int))),
        scatter_chart(HOSTILE, LOGITS[:, 0], LOGITS[:, 1]),
        series_chart(HOSTILE, LOGITS),
    ],
    ids=["lines", "intervals", "bars", "reliability", "scatter", "series"],
)
def test_a_chart_is_well_formed_says_what_it_shows_and_holds_no_foreign_markup(chart):
    root = well_formed(chart)
    (drawing,) = [found for found in root.iter("svg") if found.get("role") == "img"]
    assert drawing.get("aria-label").startswith("<script>")
    assert not {found.tag for found in root.iter()} & {"script", "image", "foreignObject", "use", "a"}
    numbers = re.findall(r'="([^"]*)"', chart)
    assert not [number for number in numbers if re.search(r"\b(nan|inf)\b", number)]


@pytest.mark.parametrize("limits", [(0, 1), (0, 0.0037), (-3, 250), (0.2, 0.9), (-1e6, -2e5)])
def test_ticks_are_round_numbers_in_equal_steps_within_the_axis(limits):
    found = ticks(*limits)
    steps = np.diff(found)
    assert 2 <= len(found) <= 6 and np.allclose(steps, steps[0])
    assert limits[0] - 1e-9 <= found[0] and found[-1] <= limits[1] + 1e-9
    assert float(f"{steps[0]:.1g}") == pytest.approx(steps[0]), "a step has one digit"


def test_points_lie_where_their_numbers_say():
    plane = Plane((0, 20), (0, 2))
    chart = line_chart("loss", {"loss": [(10, 2.0), (20, 1.0)]})
    expected = [(plane.x(10), plane.y(2)), (plane.x(20), plane.y(1))]
    np.testing.assert_allclose(places(chart, "circle", "cx", "cy"), expected, atol=0.06)


def test_an_interval_lies_around_its_figure_and_one_that_is_not_defined_is_left_out():
    chart = interval_chart("accuracy", [("a", 0.5, (0.25, 0.75)), ("b", 0.5, (np.nan, np.nan))])
    ((x,),) = places(chart, "circle", "cx")
    (line,) = [found for found in well_formed(chart).iter("line") if found.get("class") == "interval"]
    assert x - float(line.get("x1")) == pytest.approx(float(line.get("x2")) - x, abs=0.11)


def test_bars_begin_at_nothing_and_go_to_either_side():
    (right, wide), (left, narrow) = places(bar_chart("b", [("a", 0.4), ("b", -0.2)]), "rect", "x", "width")
    assert left + narrow == pytest.approx(right, abs=0.11) and wide == pytest.approx(2 * narrow, abs=0.2)


def test_of_a_long_curve_the_first_and_the_last_point_stay():
    found = thinned(range(10_000), 300)
    assert (found[0], found[-1], len(found)) == (0, 9_999, 300) and thinned([1, 2], 300) == [1, 2]


def test_numbers_that_are_all_equal_and_series_with_gaps_are_drawn():
    places(scatter_chart("equal", np.ones(3), np.ones(3)), "circle", "cx", "cy")
    chart = series_chart("gaps", np.array([[1.0, np.nan], [np.nan, np.nan], [2.0, np.nan]]))
    assert "nan" not in chart
