# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What is compared learns from the same rows, answers in the same form, and the page says what the runs left."""

import dataclasses
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", minversion="1.7", reason="its boosted trees take validation rows since 1.7")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.beside import __main__ as command  # noqa: E402
from benchmarks.beside import page  # noqa: E402
from benchmarks.beside.features import ReadyFeatures, learn_text  # noqa: E402
from benchmarks.beside.mixture import ZeroFilling  # noqa: E402
from benchmarks.beside.peers import MEDIA, OWN, PEERS  # noqa: E402
from benchmarks.beside.problems import Problem, load, of_search, of_subset  # noqa: E402
from mixture_of_transformers.data.digits import DIGIT_NAMES  # noqa: E402
from mixture_of_transformers.training.collator import MoTCollator  # noqa: E402

DIGITS_PEERS = [name for name, peer in PEERS.items() if peer.tells and set(MEDIA) <= set(peer.kinds)]
TABLE_PEERS = [name for name, peer in PEERS.items() if peer.tells and "table" in peer.kinds]
SEARCH_PEERS = [name for name, peer in PEERS.items() if peer.finds]


@pytest.fixture(scope="module")
def digits() -> Problem:
    """
    Thirty rows to train on, some of which lack something, a hundred to validate, so that each class is in each fold of
    them, and ten to test; one epoch.
    """
    problem = load("digits", seed=0, is_quick=True)
    shown = [next(row for row in problem.train if row["label"] == label) for label in range(10)]
    some = {"train": shown + problem.train[:20], "validation": problem.validation[:100], "test": problem.test[:10]}
    return dataclasses.replace(problem, **some, epochs=1)


@pytest.fixture(scope="module")
def search(digits) -> Problem:
    return of_search(digits)


def table_problem(is_classes: bool) -> Problem:
    """One column says nearly all, one nothing; the names of the classes are not in the order of the alphabet."""
    random = np.random.default_rng(0)
    size, noise = random.uniform(-1, 1, 200), random.normal(size=200)
    labels = (size > 0).astype(int) if is_classes else 100 + 30 * size + random.normal(size=200)
    rows = [{"table": {"size": s, "noise": n}, "label": y} for s, n, y in zip(size, noise, labels.tolist())]
    classes = ("pear", "apple") if is_classes else ()
    return Problem("fruit", {"table": "table"}, classes, rows[:140], rows[140:170], rows[170:], epochs=30)


def skip_without(name: str) -> None:
    if PEERS[name].package is not None:
        pytest.importorskip(PEERS[name].package)


# ---------------------------------------------------------------------------------------------------------------------
# Learners
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.training
@pytest.mark.parametrize("name", DIGITS_PEERS)
def test_a_learner_answers_every_subset_with_a_probability_of_each_class(name, digits):
    skip_without(name)
    answer = PEERS[name].fit(digits, 0)
    for subset in digits.subsets:
        found = answer(of_subset(digits.test, subset))
        assert found.shape == (10, len(digits.classes))
        assert found.min() >= 0 and found.sum(axis=1) == pytest.approx(np.ones(10))


@pytest.mark.training
@pytest.mark.parametrize("name", TABLE_PEERS)
def test_a_learner_gives_each_probability_to_the_class_of_its_number(name):
    skip_without(name)
    problem = table_problem(is_classes=True)
    answers = PEERS[name].fit(problem, 0)(problem.train)
    assert (answers.argmax(axis=1) == [row["label"] for row in problem.train]).mean() >= 0.9


@pytest.mark.training
@pytest.mark.parametrize("name", [name for name in TABLE_PEERS if PEERS[name].takes_numbers])
def test_a_learner_tells_numbers_in_their_own_unit(name):
    skip_without(name)
    problem = table_problem(is_classes=False)
    labels = np.array([row["label"] for row in problem.train])
    answers = PEERS[name].fit(problem, 0)(problem.train)
    assert answers.shape == labels.shape
    assert np.abs(answers - labels).mean() < np.abs(labels - labels.mean()).mean() * 0.7


@pytest.mark.training
@pytest.mark.parametrize("name", SEARCH_PEERS)
def test_a_learner_embeds_both_sides_of_a_search_alike_whatever_the_labels_are(name, search):
    skip_without(name)
    unlabelled = {split: [row | {"label": 0} for row in getattr(search, split)] for split in ("train", "validation")}
    answers = [PEERS[name].fit(problem, 0) for problem in (search, dataclasses.replace(search, **unlabelled))]
    widths = set()
    for modality in search.modalities:
        rows = of_subset(search.test, (modality,))
        found, again = (answer(rows) for answer in answers)
        np.testing.assert_allclose(found, again, rtol=0, atol=1e-6)
        assert len(found) == 10 and np.ptp(found, axis=0).max() > 1e-4  # rows are told apart
        widths.add(found.shape[1])
    assert len(widths) == 1


@pytest.mark.training
def test_canonical_correlation_finds_digits_that_it_was_never_told():
    problem = load("digits_search", seed=0)
    answer = PEERS["canonical"].fit(problem, 0)
    for search in problem.searches:
        assert command.score_search(problem, answer, search)["value"] > 0.8


def test_zeros_that_count_as_real_stand_for_what_a_row_lacks(digits):
    texts, masks = {"input_ids": torch.tensor([3, 4, 5])}, {"input_ids": torch.tensor([6])}
    picture = {"pixel_values": torch.ones(3, 4, 4)}
    plain, filling = MoTCollator(), ZeroFilling(MoTCollator(), texts | picture)
    filled = filling([texts | picture, masks])
    whole = plain([texts | picture, {"input_ids": torch.tensor([6])} | {"pixel_values": torch.zeros(3, 4, 4)}])
    assert filled.keys() == whole.keys()
    assert all(torch.equal(filled[name], whole[name]) for name in whole)
    nowhere = filling([masks, masks])  # no row of the batch has a picture
    assert torch.equal(nowhere["pixel_values"], torch.zeros(2, 3, 4, 4))
    assert plain([texts | picture])["pixel_mask"].shape[1:] == nowhere["pixel_mask"].shape[1:]
    assert nowhere["pixel_mask"].all()


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------


def test_a_seed_gives_the_same_rows_every_time_and_another_seed_others():
    first, again, other = (load("wine", seed).digest() for seed in (0, 0, 1))
    assert first == again != other


def test_the_digest_tells_rows_apart_that_differ_in_one_cell(digits):
    changed = [digits.test[0] | {"text": "Another."}, *digits.test[1:]]
    assert dataclasses.replace(digits, test=changed).digest() != digits.digest()


def test_without_a_folder_the_command_has_what_needs_none():
    assert set(command.all_problems("folder")) - set(command.all_problems(None)) == {"digits3m", "digits3m_search"}


def test_no_row_is_in_two_splits():
    problem = load("breast_cancer", 0)
    rows = [json.dumps(row) for split in (problem.train, problem.validation, problem.test) for row in split]
    assert len(set(rows)) == len(rows) == 569


def test_rows_of_a_subset_have_nothing_else(digits):
    rows = of_subset(digits.train, ("text", "audio"))
    assert rows == [
        {"text": row["text"], "image": None, "audio": row["audio"], "label": row["label"]}
        for row in digits.train
        if row["text"] is not None and row["audio"] is not None
    ]
    assert 0 < len(rows) < len(digits.train)


def test_rows_of_a_search_have_a_sentence_or_a_picture_and_nothing_else(digits, search):
    assert search.train == [
        {"text": row["text"], "image": row["image"], "label": row["label"]}
        for row in digits.train
        if row["text"] is not None or row["image"] is not None
    ]
    assert len(of_subset(search.train, ("text", "image"))) < len(search.train) < len(digits.train)


def test_every_problem_has_a_mot_and_no_learner_that_only_tells_takes_a_search(digits, search):
    assert {name for name, peer in PEERS.items() if peer.takes(search)} == set(SEARCH_PEERS)
    assert {name for name, peer in PEERS.items() if peer.takes(digits)} == set(DIGITS_PEERS)
    assert OWN in SEARCH_PEERS and OWN in DIGITS_PEERS and OWN in TABLE_PEERS


def test_ready_features_are_gaps_where_a_row_lacks_a_modality(digits):
    features = ReadyFeatures(digits)
    (row,) = features([digits.test[0] | {"image": None}])
    sizes = np.cumsum([features.sizes[name] for name in digits.modalities])
    text, image, audio = np.split(row, sizes[:-1])
    assert np.isnan(image).all() and not np.isnan(text).any() and not np.isnan(audio).any()
    assert len(image) == 28 * 28


def test_a_numeral_is_a_word_of_the_ready_features():
    read = learn_text(["Press 7 to go on.", "Press 3 to go on."])
    assert (read("Press 7 to go on.") != read("Press 3 to go on.")).any()


def test_bad_input_digits3m_needs_its_folder(tmp_path):
    with pytest.raises(ValueError, match="--dataset_name"):
        load("digits3m", 0, str(tmp_path / "missing"))


# ---------------------------------------------------------------------------------------------------------------------
# Runs and their page
# ---------------------------------------------------------------------------------------------------------------------


def test_a_run_leaves_its_file_and_is_not_run_again(tmp_path, monkeypatch):
    options = ["--problems", "wine", "--peers", "linear", "--seeds", "0", "--output_dir", str(tmp_path)]
    command.main(options)
    run = json.loads((tmp_path / "wine-linear-0.json").read_text())
    assert run["rows"] == load("wine", 0).digest()
    assert run["scores"]["table"]["rows"] == 36 and run["scores"]["table"]["value"] > 0.9
    monkeypatch.setattr(command, "run_apart", lambda *arguments: pytest.fail("a run that is done is run again"))
    command.main(options)


def test_bad_input_a_folder_with_runs_of_another_recipe_takes_no_others(tmp_path):
    keep(tmp_path, made_up_run("linear", 0, 0.9))
    with pytest.raises(ValueError, match="--output_dir"):
        command.main(["--problems", "wine", "--peers", "linear", "--seeds", "0", "--output_dir", str(tmp_path)])


def test_a_learner_that_fails_ends_the_command_with_its_name_and_leaves_no_file(tmp_path, monkeypatch):
    broken = dataclasses.replace(PEERS["linear"], place="classical:no_such_function")
    monkeypatch.setitem(PEERS, "linear", broken)
    options = ["--problems", "wine", "--peers", "linear", "--seeds", "0", "--output_dir", str(tmp_path)]
    with pytest.raises(SystemExit, match="wine-linear-0"):
        command.main(options)
    assert not list(tmp_path.iterdir())


def test_scores_are_shares_and_absolute_errors_with_their_standard_errors():
    answers = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.7, 0.3]])
    found = command.score(answers, np.array([0, 1, 1, 0]), is_classes=True)
    assert found == {"value": 0.75, "error": pytest.approx(math.sqrt(0.75 * 0.25 / 4)), "rows": 4}
    found = command.score(np.array([1.0, 5.0]), np.array([2.0, 2.0]), is_classes=False)
    assert found == {"value": 2.0, "error": pytest.approx(1 / math.sqrt(2)), "rows": 2}


def test_precision_of_a_search_goes_by_the_digits_of_pictures_and_of_sentences_that_name_theirs():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 40).tolist()
    words = [DIGIT_NAMES[label] if rng.random() < 0.6 else "something" for label in labels]
    texts = [f"It is {word}{place * '!'}" for place, word in enumerate(words)]  # no two of them are the same
    rows = [{"text": t, "image": b"%d" % i, "label": y} for i, (t, y) in enumerate(zip(texts, labels))]
    vectors = {cell: rng.normal(size=4) for cell in [*texts, *(row["image"] for row in rows)]}
    problem = Problem("drawn", {"text": "text", "image": "image"}, DIGIT_NAMES, [], [], rows)

    def answer(rows: list[dict]) -> np.ndarray:
        return np.stack([vectors[row["image"] if row["text"] is None else row["text"]] for row in rows])

    named = [row for row in rows if "something" not in row["text"]]
    for search, queries, items in ((("text", "image"), named, rows), (("image", "text"), rows, named)):
        right = []
        for query in queries:
            asked = vectors[query[search[0]]]
            scores = [asked @ vectors[item[search[1]]] / np.linalg.norm(vectors[item[search[1]]]) for item in items]
            right.append(items[int(np.argmax(scores))]["label"] == query["label"])
        found = command.score_search(problem, answer, search)
        error = np.std(right) / math.sqrt(len(right))
        assert found == {"value": pytest.approx(np.mean(right)), "error": pytest.approx(error), "rows": len(queries)}
        assert 0 < found["value"] < 1


def made_up_run(peer: str, seed: int, value: float, error: float = 0.01, rows: str | None = None) -> dict:
    return {
        "problem": "wine",
        "peer": peer,
        "seed": seed,
        "rows": rows or f"rows of seed {seed}",
        "train_rows": 106,
        "is_classes": True,
        "recipe": {"epochs": 40, "learning_rate": 1e-3, "network": {"hidden_size": 8, "num_encoder_layers": 1}},
        "scores": {"table": {"value": value, "error": error, "rows": 36}},
        "seconds": {"fit": 12.0, "answers": 1.0},
        "mebibytes": 34.0,
        "date": "2026-01-02",
        "commit": "abc",
        "machine": "M",
        "software": "S",
    }


def keep(folder: Path, *runs: dict) -> None:
    for run in runs:
        (folder / f"{run['problem']}-{run['peer']}-{run['seed']}.json").write_text(json.dumps(run))


def test_the_page_has_the_figures_of_the_runs(tmp_path):
    keep(tmp_path, *(made_up_run(OWN, seed, value) for seed, value in enumerate((0.90, 0.92, 0.94))))
    keep(tmp_path, made_up_run("linear", 0, 0.98), made_up_run("boosting", 0, 0.92))
    page.write_page(tmp_path, tmp_path)
    written = (tmp_path / "beside.md").read_text()
    # The spread of the seeds, 0.02 / sqrt(3), says more than the rows, 0.01 / sqrt(3).
    assert "| MoT | 0.920 ± 0.012 | 12 | 34 | 0, 1, 2 |" in written
    assert "| linear model, imputed gaps | **0.980** ± 0.010 | 12 | 34 | 0 |" in written
    # Compared on the seeds that both have: of the MoT, 0.900.
    assert "| Wine | table | linear model, imputed gaps | 0.900 | 0.980 | yes |" in written
    assert "| Wine | table | scikit-learn's boosted trees | 0.900 | 0.920 | no |" in written


def test_the_page_has_searches_beside_what_is_told(tmp_path):
    def searched(peer: str, value: float) -> dict:
        score = {"value": value, "error": 0.01, "rows": 180}
        return made_up_run(peer, 0, value) | {"problem": "digits_search", "scores": {"text to image": score}}

    keep(tmp_path, made_up_run(OWN, 0, 0.9), searched(OWN, 0.80), searched("canonical", 0.95))
    page.write_page(tmp_path, tmp_path)
    written = (tmp_path / "beside.md").read_text()
    assert "| precision at 1 | text to image |" in written and "| accuracy | table |" in written
    assert "| text to image | canonical correlation, imputed gaps | 0.800 | 0.950 | yes |" in written
    lacking = " ".join(written.split())
    assert "searched: no runs for this page of MoT, no augmentation; sentence-transformers, new CLIP." in lacking
    told = lacking.partition("- digits3m: no runs")[2].partition(" - ")[0]
    assert "linear model" in told and "canonical" not in told


def test_the_page_says_which_settings_the_validation_rows_chose(tmp_path):
    # A seed that has no run of the other settings is not compared.
    keep(tmp_path, made_up_run(OWN, 0, 0.90), made_up_run(OWN, 1, 0.99), made_up_run("linear", 0, 0.98))
    keep(tmp_path, made_up_run("chosen", 0, 0.95) | {"chosen": "narrow"})
    page.write_page(tmp_path, tmp_path)
    assert "Wine: table 0.900 became 0.950 (narrow)." in " ".join((tmp_path / "beside.md").read_text().split())


def test_a_smaller_error_is_the_better_number():
    own, other = ({"wine": dict(made_up_run(name, 0, v, 1.0), is_classes=False)} for name, v in ((OWN, 9), ("x", 5)))
    peers = {OWN: [own["wine"]], "linear": [other["wine"]]}
    assert page.leaders(peers, "table") == {"linear"}


def test_bad_input_runs_on_other_rows_are_not_compared(tmp_path):
    keep(tmp_path, made_up_run(OWN, 0, 0.9), made_up_run("linear", 0, 0.9, rows="others"))
    with pytest.raises(ValueError, match="delete it"):
        page.write_page(tmp_path, tmp_path)


def test_bad_input_a_folder_without_runs_has_no_page(tmp_path):
    with pytest.raises(ValueError, match="holds no runs"):
        page.write_page(tmp_path, tmp_path)
