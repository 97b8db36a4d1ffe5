# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks compare gives the same result, and their tables say what was measured."""

import dataclasses
import json
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.bare import bare_loop, floor, inference, model_forward, training  # noqa: E402
from benchmarks.measure import Row, Table, Times, peak_memory, take_turns  # noqa: E402
from benchmarks.page import NOT_MEASURED, docstring, markdown, sections_of, write_page  # noqa: E402
from benchmarks.peers import PEERS, routed_loop  # noqa: E402
from benchmarks.shapes import (  # noqa: E402
    Shape,
    build,
    feature_config,
    feature_inputs,
    feature_masks,
    full_rows,
    masks_for,
    ragged_rows,
)

TINY = Shape(hidden_size=32, heads=4, intermediate_size=48, layers=2)
TOKENS = {"text": 5, "image": 4, "audio": 7}


@pytest.mark.parametrize("joint_layers", [False, True])
@pytest.mark.parametrize("rows", [full_rows(4, TOKENS), ragged_rows(4, TOKENS)], ids=["full", "ragged"])
def test_the_bare_loop_gives_what_the_model_gives(rows, joint_layers):
    model = build(feature_config(TINY, TOKENS, joint_layers))
    inputs, masks = feature_inputs(model.config, 4, TOKENS), masks_for(rows, TOKENS)
    expected = inference(model_forward(model, feature_masks(rows, TOKENS)), inputs)()
    found = inference(bare_loop(model, TOKENS, masks), inputs)()
    real = torch.cat(list(masks.values()), dim=1)
    torch.testing.assert_close(found[real], expected[real], atol=1e-5, rtol=1e-5)


def test_routing_by_masks_gives_what_joint_layers_give():
    model = build(feature_config(TINY, TOKENS, joint_layers=True))
    inputs = feature_inputs(model.config, 3, TOKENS)
    found, expected = (inference(forward, inputs)() for forward in (routed_loop(model, TOKENS), model_forward(model)))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", PEERS)
def test_peers_run_and_train(name):
    module = PEERS[name](TINY, TOKENS)
    inputs = feature_inputs(feature_config(TINY, TOKENS), 2, TOKENS)
    assert inference(module, inputs)().shape == (2, sum(TOKENS.values()), TINY.hidden_size)
    training(module, inputs, module)()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_the_floor_runs():
    floor(build(feature_config(TINY, TOKENS)), 2, TOKENS)()
    floor(build(feature_config(TINY, TOKENS, joint_layers=True)), 2, TOKENS)()


def test_ragged_rows_keep_something():
    rows = ragged_rows(64, TOKENS)
    assert all(row and all(0.2 * TOKENS[m] - 0.5 <= n <= TOKENS[m] for m, n in row.items()) for row in rows)
    assert all(max(row.get(m, 0) for row in rows) == longest for m, longest in TOKENS.items())
    assert 0.3 < sum(map(len, rows)) / (64 * len(TOKENS)) < 0.8


def test_candidates_take_turns():
    calls = []
    times = take_turns({name: lambda name=name: calls.append(name) for name in "ab"}, seconds=0.0)
    assert set(times) == {"a", "b"} and len(times["a"]) == len(times["b"]) == 2
    assert calls[-1] == "a"  # the second round goes the other way round


def test_rows_pass_or_fail():
    times = Times(a=torch.tensor([1.0, 1.1, 1.2]).numpy(), b=torch.tensor([1.0, 1.0, 1.0]).numpy())
    assert times.row("a / b", "a", "b", bar=1.15).passes
    assert not times.row("a / b", "a", "b", bar=1.05).passes
    assert times.row("a / b", "a", "b", bar=1.05, at_least=True).passes
    assert times.row("a / b", "a", "b", ideal=2.0).value == pytest.approx(0.55)
    assert times.row("a / b", "a", "b").passes is None


def test_tables_are_markdown():
    table = Table("A title", [Row("x", 1.0, 0.9, 1.1, bar=0.5), Row("y", 2.0, 1.9, 2.1, details={"time": "1 s"})])
    lines = markdown(table).splitlines()
    assert lines[0] == "### A title"
    assert "**fail**" in lines[4] and "1 s" in lines[5]
    assert len({line.count("|") for line in lines[2:]}) == 1


def test_a_section_stays_until_its_part_is_measured_again(tmp_path):
    """So figures of a machine that is not at hand stay on the page."""
    page, (kept, again, never) = tmp_path / "page.md", ("gpu", "untied", "ragged")
    page.write_text(f"# Benchmarks\n\n## {docstring(kept)[0]}\n\nOf a GPU.\n\n## {docstring(again)[0]}\n\nOld.\n")
    table = dataclasses.asdict(Table("A table", [Row("x / y", 1.0, 0.9, 1.1)]))
    facts = {"machine": "A machine", "software": "Some", "commit": "abc", "date": "2026-01-02"}
    facts |= {"minutes": 1.0, "seconds": 18.0}
    (tmp_path / f"{again}.json").write_text(json.dumps(facts | {"tables": [table], "reason": None}))
    (tmp_path / f"{kept}.json").write_text(json.dumps(facts | {"tables": [], "reason": "no GPU was at hand"}))
    write_page((again, kept, never), page, tmp_path)
    sections = sections_of(page.read_text())
    assert list(sections) == [docstring(again)[0], docstring(kept)[0], NOT_MEASURED]
    assert sections[docstring(kept)[0]].endswith("Of a GPU.")
    assert "`python -m benchmarks untied --seconds 18`" in sections[docstring(again)[0]]
    assert (
        "x / y" in sections[docstring(again)[0]] and "commit abc, on A machine; Some." in sections[docstring(again)[0]]
    )
    assert f"`python -m benchmarks {never}`" in sections[NOT_MEASURED]


def test_memory_sees_what_is_held_at_the_peak():
    used = peak_memory(lambda: torch.ones(64 * 2**18).sum())
    assert used != used or used == pytest.approx(64, rel=0.2)  # NaN where the system does not tell
