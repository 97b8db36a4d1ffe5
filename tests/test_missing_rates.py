# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Missing rates crossed: the page's figures are those of the runs' files, and what is missing is answered as such."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.evaluation.missing import present_modalities, take_away
from mixture_of_transformers.finetune.batches import encode_split
from mixture_of_transformers.finetune.predictions import predict
from mixture_of_transformers.serving.evaluate import RowsArguments, open_checkpoint, parser_of
from mixture_of_transformers.subsets_mot import all_subsets, subset_name

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks import missing_rates, missing_rates_page  # noqa: E402

MODALITIES = missing_rates.MODALITIES


def run_of(arm: str, seed: int = 0, rows: int = 40, **better: float) -> dict:
    """The file of a run, whose subsets are right in 60 % of the rows, or as often as `better` says of them."""
    random = np.random.default_rng(seed)
    names = [subset_name(subset) for subset in all_subsets(MODALITIES)]
    test = {name: (random.random(rows) < better.get(name.replace("+", "_"), 0.6)).tolist() for name in names}
    rates = dict(missing_rates.arms()[arm].rates)
    facts = {"machine": "a machine", "software": "some", "commit": "abc", "date": "2026-01-02"}
    facts |= {"rows": {"train": 1297}, "seconds": 1.0}
    return facts | {"arm": arm, "rates": rates, "alone": None, "seed": seed, "test": test}


def test_arms_are_complete_alike_or_have_one_rare_modality():
    found = missing_rates.arms()
    assert found["alike-0.6"].rates == dict.fromkeys(MODALITIES, 0.6) and found["alike-0.6"].alone is None
    assert found["rare-image"].rates == {"text": 0.1, "image": 0.9, "audio": 0.1} == found["alone-image"].rates
    assert found["alone-image"].alone == "image" and found["balanced-image"].options
    assert found["alone-short-image"].share == pytest.approx(0.1)
    assert found["balanced-long-image"].share == 2 and found["balanced-long-image"].options


def test_an_arm_takes_cells_of_the_training_rows_alone_and_one_modality_alone_keeps_the_rows_that_have_it():
    complete = load_digits_dataset(missing_rate=0.0)
    splits = missing_rates.splits_of(missing_rates.arms()["rare-image"], seed=0)
    share = present_modalities(splits["train"]).mean(axis=0)
    assert share == pytest.approx([0.9, 0.1, 0.9], abs=0.03)
    for name in ("validation", "test"):
        assert splits[name].data.equals(complete[name].data)
    alone = missing_rates.splits_of(missing_rates.arms()["alone-image"], seed=0)
    assert alone["train"].column_names == ["image", "label"] and len(alone["test"]) == 300
    has = np.flatnonzero(present_modalities(splits["train"])[:, 1])
    expected = [row["image"]["bytes"] for row in complete["train"].with_format("arrow").select(has).to_list()]
    assert [row["image"]["bytes"] for row in alone["train"].with_format("arrow").to_list()] == expected


def test_contributions_sum_to_what_all_modalities_add_to_a_guess_and_are_alike_where_subsets_are():
    runs = [run_of("alike-0", text=0.2, image_audio=0.9), run_of("alike-0", 1)]
    parts = missing_rates_page.contributions(runs)
    everything = missing_rates_page.accuracy(runs, "text+image+audio")
    assert sum(parts.values()) == pytest.approx(everything - missing_rates_page.CHANCE)
    # Written out for the text: alone, second behind either of the others, and last.
    a = {name: missing_rates_page.accuracy(runs, name) for name in runs[0]["test"]}
    first, last = a["text"] - 0.1, a["text+image+audio"] - a["image+audio"]
    second = a["text+image"] - a["image"] + a["text+audio"] - a["audio"]
    assert parts["text"] == pytest.approx((2 * first + second + 2 * last) / 6)
    assert missing_rates_page.equity(dict.fromkeys(MODALITIES, 0.3)) == pytest.approx(1)
    assert missing_rates_page.equity({"text": 0.9, "image": 0.0, "audio": 0.0}) == 0
    assert 0 < missing_rates_page.equity({"text": 0.5, "image": 0.2, "audio": 0.2}) < 1


def test_the_page_says_whether_the_bars_are_met_and_leaves_out_what_was_not_run(tmp_path):
    (tmp_path / "settings.json").write_text(json.dumps({"steps": 410, "options": "--learning_rate 2e-3"}))
    runs = [run_of("alike-0", text_image_audio=1), run_of("alike-0.6", text_image_audio=0.5)]
    with pytest.raises(ValueError, match="no run of alike-0"):
        missing_rates_page.write_page(tmp_path, missing_rates.arms(), tmp_path)
    runs += [run_of("rare-image", image=0.9), run_of("alone-image", image=0.9), run_of("rare-text")]
    for run in runs:
        (tmp_path / f"{run['arm']}-0.json").write_text(json.dumps(run))
    missing_rates_page.write_page(tmp_path, missing_rates.arms(), tmp_path)
    page = (tmp_path / "missing.md").read_text()
    said = " ".join(page.split())
    lost = np.mean(runs[1]["test"]["text+image+audio"]) - 1
    assert f"lose at most 0.02: missed.** The accuracy from all modalities changes by {lost:+.3f}, " in said
    assert "from the same rows**: in as many steps **met** (image +0.000, +0.000 to +0.000)." in said
    assert "| image | 1297 |" in page and "| text | 1297 |" not in page
    assert (
        "**Not run yet**: alike-0.3, alike-0.9, balanced-text, balanced-long-text, alone-text, alone-short-text"
        in said
    )
    line = next(line for line in page.splitlines() if line.startswith("| 60 % of each"))
    shown = [f"{np.mean(runs[1]['test'][subset_name(subset)]):.3f}" for subset in all_subsets(MODALITIES)]
    assert line.split(" | ")[1:] == [*shown[:-1], f"{shown[-1]} |"]
    assert "<desc>Accuracy over the missing rate" in (tmp_path / "missing.svg").read_text()
    assert max(map(len, (line for line in page.splitlines() if line[:1] not in "|!`p"))) <= 119


@pytest.mark.training
def test_rows_that_lack_modalities_are_answered_as_those_subsets_and_a_run_that_is_done_is_not_run_again(
    tmp_path, monkeypatch
):
    options = '{"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}'
    options = f"--max_train_samples 40 --per_device_train_batch_size 20 --config_overrides '{options}'"
    command = ["--arms", "rare-image", "--steps", "2", "--options", f" {options}", "--output_dir", str(tmp_path)]
    missing_rates.main(command)
    file = tmp_path / "rare-image-0.json"
    run, written = json.loads(file.read_text()), file.stat().st_mtime_ns
    missing_rates.main(command)
    assert file.stat().st_mtime_ns == written
    with pytest.raises(ValueError, match="holds runs of other data or steps"):
        missing_rates.main([*command, "--steps", "3"])

    parser = parser_of(RowsArguments, "test", "CHECKPOINT", None)
    opened = open_checkpoint(parser, [str(tmp_path / "rare-image-0"), "--split", "test"])
    splits, _ = opened.rows()
    right = []
    for seed in range(2):
        rows = take_away(splits["test"], 0.6, seed)
        config = opened.trainer.model.config
        encoded = encode_split("test", rows, opened.trainer.processing_class, config, opened.data, 0)
        right.append(predict(opened.trainer, encoded).argmax(axis=-1) == np.array(rows["label"]))
    monkeypatch.setattr(missing_rates_page, "DRAWS", 2)
    assert missing_rates_page.accuracy_at([run], 0.6) == pytest.approx(
        np.mean(right), abs=0.002
    )  # a tie of two classes may fall either way
