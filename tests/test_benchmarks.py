# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the benchmarks compare gives the same result, and their tables say what was measured."""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import (  # noqa: E402
    causal,
    epoch,
    epoch_worker,
    gpu,
    gpu_causal,
    miniature,
    miniature_data,
    miniature_page,
)
from benchmarks.bare import bare_loop, floor, inference, model_forward, training  # noqa: E402
from benchmarks.measure import Row, Table, Times, peak_memory, take_turns  # noqa: E402
from benchmarks.page import NOT_MEASURED, docstring, markdown, sections_of, write_page  # noqa: E402
from benchmarks.peers import PEERS, routed_decoder, routed_loop  # noqa: E402
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
from mixture_of_transformers.data.digits import load_digits_dataset  # noqa: E402
from mixture_of_transformers.data.sources import load_splits  # noqa: E402

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


def test_routing_by_masks_gives_what_the_causal_model_gives():
    model, input_ids = causal.build(gpu_causal.WIDTH_32), causal.documents(2, TOKENS)
    loss = model(input_ids=input_ids, labels=input_ids).loss
    torch.testing.assert_close(routed_decoder(model)(input_ids, input_ids), loss, atol=1e-6, rtol=1e-5)


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


def test_a_clock_counts_a_part_without_those_that_it_calls(monkeypatch):
    now = 0.0
    monkeypatch.setattr(epoch_worker.time, "process_time", lambda: now)

    class Loader:
        def augment(self):
            nonlocal now
            now += 5

        def collate(self):
            nonlocal now
            now += 1
            self.augment()
            now += 2

    clock, loader = epoch_worker.Clock(), Loader()
    clock.watch(loader, "augment", "augmentation")
    clock.watch(loader, "collate", "collation")
    loader.collate()  # before anything is timed
    with clock.part("the rest"):
        now += 7
        loader.collate()
    assert clock.seconds == {"the rest": 7, "collation": 3, "augmentation": 5}


def test_the_tables_of_an_epoch_give_shares_and_ratios():
    part, others = "loader: collation", ("loader: augmentation of pictures", "encoding: mel", "forward", "backward")
    now, then = ([dict.fromkeys(others, 1.0) | {part: seconds}] * 4 for seconds in (1.0, 5.0))
    shares = {row.name: row.value for row in epoch.parts_table("tiny", now, {"attention": 0.3}).rows}
    assert shares == dict.fromkeys(now[0], 0.2) | {"forward and backward: attention": pytest.approx(0.12)}
    ratios = {row.name: row.value for row in epoch.ratios_table("tiny", now, then).rows}
    assert ratios["first epoch"] == pytest.approx(5 / 9) and ratios["later epochs"] == 0.5
    assert ratios["loader"] == pytest.approx(1 / 3) and ratios["encoding"] == ratios["forward"] == 1


def test_the_digits_of_an_epoch_are_files_that_a_run_reads(tmp_path, monkeypatch):
    monkeypatch.setattr(epoch, "ROWS", dict.fromkeys(epoch.ROWS, 12))
    epoch.write_digits(tmp_path)
    train = load_splits(str(tmp_path))["train"]
    assert {name: type(train.features[name]).__name__ for name in ("image", "audio")} == {
        "image": "Image",
        "audio": "Audio",
    }
    assert len(train) == 12 and train["text"][:] == load_digits_dataset()["train"]["text"][:12]


def test_memory_sees_what_is_held_at_the_peak():
    used = peak_memory(lambda: torch.ones(64 * 2**18).sum())
    assert used != used or used == pytest.approx(64, rel=0.2)  # NaN where the system does not tell


# ---------------------------------------------------------------------------------------------------------------------
# The causal model
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def once(monkeypatch):
    """Candidates run once, and are not timed."""

    def run(candidates, *arguments, **options):
        for candidate in candidates.values():
            candidate()
        return Times(dict.fromkeys(candidates, np.ones(2)))

    for module in (causal, gpu, gpu_causal):
        monkeypatch.setattr(module, "take_turns", run)


def test_what_the_causal_model_is_compared_with_gives_the_same(monkeypatch, once):
    """Each table checks that before it is timed."""
    monkeypatch.setattr(causal, "GENERATED", 56)
    monkeypatch.setattr(causal, "CONTINUED", 52)
    found = list(causal.tables(0.0, gpu_causal.WIDTH_32, gpu_causal.WIDTH_32))
    bars = [row.bar for table in found for row in table.rows if row.bar]
    assert bars == [1.1, 1.0, 1.1, 1.05, 1.05, 1.05, 1.05, 10, 4, 4]


def test_unequal_tokens_are_an_error(once):
    candidates = {"cached": lambda: torch.tensor([1, 2]), "uncached": lambda: torch.tensor([1, 3])}
    with pytest.raises(AssertionError, match="cached and uncached do not give equal tokens"):
        causal.take_turns_equally(candidates, 0.0)
    causal.take_turns_equally({"cached": candidates["cached"], "again": candidates["cached"]}, 0.0)


def test_the_benchmark_of_a_gpu_runs_on_a_processor(once):
    utilisation, decoding = gpu_causal.tables(0.0, gpu_causal.TINY)
    assert len(utilisation.rows) == 3 and len(decoding.rows) == 10
    assert all(row.value > 0 for row in utilisation.rows + decoding.rows)


def test_packed_documents_have_each_modality_and_begin_at_zero():
    lengths, inputs = causal.packed(5)
    assert inputs["input_ids"].shape == inputs["position_ids"].shape == (1, sum(lengths))
    assert (inputs["position_ids"] == 0).sum() == 5
    for row in inputs["input_ids"][0].split(lengths):
        assert all(((row >= start) & (row < stop)).any() for start, stop in causal.RANGES.values())


# ---------------------------------------------------------------------------------------------------------------------
# The paper in miniature
# ---------------------------------------------------------------------------------------------------------------------


def made_up_run(arm: str, seed: int, delay: float) -> dict:
    """A loss that falls in a straight line, `delay` times as slowly as the dense one's."""
    steps = list(range(50, 1050, 50))
    losses = {modality: [10 - step / (200 * delay) for step in steps] for modality in TOKENS}
    facts = {
        "weights": 100,
        "operations": 200.0,
        "date": "2026-01-02",
        "commit": "abc",
        "machine": "M",
        "software": "S",
    }
    run = {"arm": arm, "seed": seed, "learning_rate": 4e-3, "steps": steps, "seconds": [2.0 * step for step in steps]}
    return run | facts | {"losses": losses}


def test_a_share_is_where_the_dense_loss_is_first_reached():
    dense = made_up_run("dense", 0, 1.0)
    assert miniature_page.share(dense, dense, "text") == pytest.approx(1)
    assert miniature_page.share(made_up_run("all", 0, 0.5), dense, "text") == pytest.approx(0.5)
    assert miniature_page.share(made_up_run("all", 0, 0.73), dense, "text", "seconds") == pytest.approx(0.73)
    assert miniature_page.share(made_up_run("all", 0, 1.2), dense, "text") == np.inf
    assert miniature_page.behind_until(made_up_run("all", 0, 1.2), dense, "text") == 1000
    assert miniature_page.behind_until(made_up_run("all", 0, 0.5), dense, "text") == 0


def test_the_rate_is_that_of_both_arms_together():
    delays = {1e-3: (1.0, 1.0), 2e-3: (0.9, 0.9), 4e-3: (0.5, 2.0)}
    runs = [made_up_run(arm, 0, delay) for pair in delays.values() for arm, delay in zip(("dense", "all"), pair)]
    for run, rate in zip(runs, np.repeat(list(delays), 2)):
        run["learning_rate"] = rate
    runs[-1]["losses"] = dict.fromkeys(TOKENS, [11.0] * 20)  # the untied run of the highest rate went astray
    assert miniature_page.choose_rate(runs) == 2e-3
    assert all(miniature_page.is_paired(run, runs) for run in runs)
    assert not miniature_page.is_paired(runs[0], runs[:1])
    assert not miniature_page.is_paired(made_up_run("norm", 0, 1.0), runs)


def test_the_page_of_the_miniature_says_what_the_runs_left(tmp_path):
    facts = dict.fromkeys(("characters", "train_prose", "held_out_prose", "train_rows", "held_out_rows"), 5)
    facts |= {"frames": 22.0, "image_error": 0.1, "audio_error": 0.1, "dataset": "D", "packages": "P 1.0"}
    (tmp_path / "settings.json").write_text(json.dumps({"steps": 1000, "corpus": facts}))
    runs = [made_up_run("dense", 0, 1.0), made_up_run("all", 0, 0.5), made_up_run("norm", 0, 1.2)]
    with pytest.raises(ValueError, match="no pair of a dense and an untied run"):
        miniature_page.write_page(tmp_path, tmp_path)
    for run in runs:
        (tmp_path / f"{run['arm']}-0.004-0.json").write_text(json.dumps(run))
    miniature_page.write_page(tmp_path, tmp_path)
    page = " ".join((tmp_path / "miniature.md").read_text().split())
    assert "has its last loss: 50 % for text, 50 % for image, 50 % for audio" in page
    assert "| norms | 100 | never (-0.7" in page
    assert "<desc>" in (tmp_path / "miniature.svg").read_text()


def test_rows_of_the_miniature_hold_their_parts_in_order():
    data = miniature_data
    pictures = np.full((9, 2, data.IMAGE_TOKENS), data.IMAGE_START)
    sounds = np.full((8, 2, data.AUDIO_TOKENS), data.PAD)
    sounds[:, :, :7] = data.AUDIO_START
    prose, captions = np.full(200, 90), [np.array([80, 81, 82])] * 2
    corpus = data.Corpus(prose, prose, captions, pictures, sounds, np.array([0]), np.array([1]), {})
    for row in (corpus.batch(np.array([0]), np.random.default_rng(0))[0], corpus.validation()[0]):
        text = [90] * (data.TEXT_TOKENS - 3) + [80, 81, 82]
        picture = [data.BEGIN_IMAGE, *[data.IMAGE_START] * data.IMAGE_TOKENS, data.END_IMAGE]
        sound = [data.BEGIN_AUDIO, *[data.AUDIO_START] * 7, data.END_AUDIO]
        assert row.tolist() == text + picture + sound + [data.PAD] * (data.AUDIO_TOKENS - 7)


def test_what_is_held_out_shares_neither_picture_nor_recording():
    rng = np.random.default_rng(0)
    table = [
        {c: {"bytes": bytes([n])} for c, n in zip(("image", "audio"), rng.integers(90, size=2))} for _ in range(120)
    ]
    train, held_out = miniature_data.held_apart(table, rng)
    seen = {column: {table[row][column]["bytes"] for row in held_out} for column in ("image", "audio")}
    assert len(train) and len(held_out)
    assert not any(table[row][column]["bytes"] in seen[column] for row in train for column in seen)


def test_prose_is_without_code_and_tables():
    docstring = "What it does.\n\nParameters\n----------\nx : int\n\n>>> f(1)\n2\n\nIt ends."
    assert miniature_data.prose_of(docstring) == "What it does.\n\nIt ends."


@pytest.mark.slow
@pytest.mark.training
def test_the_miniature_runs_and_goes_on_where_it_stopped(tmp_path, monkeypatch):
    options = ["--steps", "60", "--seeds", "0", "--arms", "dense", "all", "--learning_rate", "0.004"]
    options += ["--output_dir", str(tmp_path / "runs")]
    miniature.main(options)
    runs = {arm: json.loads((tmp_path / "runs" / f"{arm}-0.004-0.json").read_text()) for arm in ("dense", "all")}
    assert runs["dense"]["operations"] == runs["all"]["operations"]
    assert runs["all"]["weights"] == pytest.approx(3 * runs["dense"]["weights"])
    for run in runs.values():
        assert run["steps"] == [50, 60]
        assert all(0 < losses[1] < losses[0] < np.log(miniature_data.VOCABULARY) for losses in run["losses"].values())
    monkeypatch.setattr(miniature, "train", lambda *arguments: pytest.fail("a run that is done is run again"))
    miniature.main(options)
    miniature_page.write_page(tmp_path / "runs", tmp_path)
    assert "embedded digits" in (tmp_path / "miniature.md").read_text()
    with pytest.raises(ValueError, match="holds runs of other data or steps"):
        miniature.main(["--steps", "61", *options[2:]])
