# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Metrics: tiny examples counted by hand, and slow references: sorting in a loop, scikit-learn and SciPy."""

import itertools
import statistics
import tracemalloc

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import accuracy_score, classification_report, f1_score

from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.metrics import (
    classification_metrics,
    compute_metrics,
    greater_is_better,
    multi_label_metrics,
    pairwise_retrieval_metrics,
    rank_items,
    regression_metrics,
    retrieval_metrics,
    sentiment_metrics,
)

NAN, INF = float("nan"), float("inf")

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning", "error::UserWarning")


def rng():
    return np.random.default_rng(0)


# ---------------------------------------------------------------------------------------------------------------------
# Classes, numbers
# ---------------------------------------------------------------------------------------------------------------------


def test_classification_counted_by_hand():
    # Answers 0, 1, 1, 1 to the labels 0, 0, 1, 2: class 0 is found in 1 of 2, class 1 answered 3 times for 1, class 2
    # never found; class 3 occurs nowhere.
    logits = [[2, 1, 0, 0], [0, 1, 0, 0], [0, 3, 0, 0], [-3, -1, -2, -3]]
    numbers = classification_metrics(logits, [0, 0, 1, 2])
    assert numbers.pop("per_class") == [
        {"precision": 1.0, "recall": 0.5, "f1": pytest.approx(2 / 3), "support": 2},
        {"precision": pytest.approx(1 / 3), "recall": 1.0, "f1": 0.5, "support": 1},
        {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 1},
        {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 0},
    ]
    macro = (2 / 3 + 1 / 2 + 0) / 3  # over the classes that occur
    weighted = (2 * 2 / 3 + 1 * 1 / 2 + 1 * 0) / 4
    assert numbers == pytest.approx({"accuracy": 0.5, "f1_macro": macro, "f1_weighted": weighted})


def test_classification_equals_the_report_of_scikit_learn():
    logits, labels = rng().normal(size=(60, 4)), rng().integers(0, 4, 60)
    report = classification_report(labels, logits.argmax(1), output_dict=True)
    numbers = classification_metrics(logits, labels)
    assert numbers["accuracy"] == pytest.approx(report["accuracy"])
    assert numbers["f1_macro"] == pytest.approx(report["macro avg"]["f1-score"])
    assert numbers["f1_weighted"] == pytest.approx(report["weighted avg"]["f1-score"])
    for i, scores in enumerate(numbers["per_class"]):
        scores["f1-score"] = scores.pop("f1")
        assert scores == pytest.approx(report[str(i)])


def test_multi_label_counted_by_hand():
    # Answers {0, 1}, {1}, {} to the labels {0, 1}, {0}, {}: two rows are exact; 2 found, 1 wrong, 1 missed.
    logits, labels = [[0.1, 1], [-0.1, 0.1], [-1, -2]], [[1, 1], [1, 0], [0, 0]]
    assert multi_label_metrics(logits, labels) == pytest.approx(
        # class 0: 1 found, 1 missed; class 1: 1 found, 1 wrong
        {"accuracy": 2 / 3, "f1_micro": 2 * 2 / (2 * 2 + 1 + 1), "f1_macro": (2 / 3 + 2 / 3) / 2}
    )


def test_several_labels_equal_the_scores_of_scikit_learn():
    random = np.random.default_rng(0)
    logits, labels = random.normal(size=(80, 5)), (random.random((80, 5)) < 0.3).astype(float)
    labels[:, 4], logits[:, 4] = 0, -1  # a class that never occurs
    expected = {
        name: f1_score(labels[:, :4], logits[:, :4] > 0, average=name[3:]) for name in ("f1_micro", "f1_macro")
    }
    expected["accuracy"] = accuracy_score(labels, logits > 0)
    assert multi_label_metrics(logits, labels) == pytest.approx(expected)


def test_regression_counted_by_hand_and_correlation_as_in_scipy():
    predictions, labels = np.array([1.0, 2.0, 4.0, -1.0]), np.array([1.0, 3.0, 2.0, 0.0])
    numbers = regression_metrics(predictions, labels)
    assert numbers == pytest.approx(
        {"mae": (0 + 1 + 2 + 1) / 4, "mse": (0 + 1 + 4 + 1) / 4, "pearson": pearsonr(predictions, labels).statistic}
    )
    assert regression_metrics(predictions[:, None], labels) == numbers


@pytest.mark.parametrize("predictions,labels", [([0.1] * 7, range(7)), (range(7), [0.1] * 7), ([1.0], [2.0])])
def test_no_correlation_with_a_constant(predictions, labels):
    assert set(regression_metrics(list(predictions), list(labels))) == {"mae", "mse"}
    assert "pearson" not in sentiment_metrics(list(predictions), list(labels))


def test_sentiment_counted_by_hand():
    predictions = [-2.6, -0.4, 0.2, 1.5, 5.0, -0.1]
    labels = [-3.0, 0.0, 0.0, 2.4, 3.0, 1.0]
    expected = {
        "mae": (0.4 + 0.4 + 0.2 + 0.9 + 2.0 + 1.1) / 6,
        "pearson": pearsonr(predictions, labels).statistic,
        # -3, 0, 0, 2, 3, 0 for -3, 0, 0, 2, 3, 1
        "accuracy_7": 5 / 6,
        # - - + + + - for - + + + + +: of 1 negative 1 is found, 3 answered; of 5 others 3 are found, 3 answered
        "accuracy_2": 4 / 6,
        "f1_2": (1 * 2 * 1 / (1 + 3) + 5 * 2 * 3 / (5 + 3)) / 6,
        # - + + - for - + + +: of 1 negative 1 is found, 2 answered; of 3 positive 2 are found, 2 answered
        "accuracy_2_nonzero": 3 / 4,
        "f1_2_nonzero": (1 * 2 * 1 / (1 + 2) + 3 * 2 * 2 / (3 + 2)) / 4,
    }
    assert sentiment_metrics(predictions, labels) == pytest.approx(expected)


def test_a_prediction_of_zero_is_non_negative_but_not_positive():
    assert sentiment_metrics([0.0], [1.0])["accuracy_2"] == 1
    assert sentiment_metrics([0.0], [1.0])["accuracy_2_nonzero"] == 0
    assert sentiment_metrics([0.0], [-1.0])["accuracy_2"] == 0
    assert sentiment_metrics([0.0], [-1.0])["accuracy_2_nonzero"] == 1


def test_seven_classes_end_at_three_and_halves_go_to_the_even_number():
    assert sentiment_metrics([9.0, -9.0, 0.5, 1.5, 2.5], [2.6, -2.6, 0.0, 2.0, 2.0])["accuracy_7"] == 1


def test_sentiment_f1_is_weighted_by_the_labels_not_by_the_answers():
    predictions, labels = rng().normal(size=50) + 0.5, rng().normal(size=50)[::-1].copy()
    f1 = f1_score(labels >= 0, predictions >= 0, average="weighted")
    assert f1 != pytest.approx(f1_score(predictions >= 0, labels >= 0, average="weighted"))
    assert sentiment_metrics(predictions, labels)["f1_2"] == pytest.approx(f1)


def test_without_polar_labels_the_numbers_of_polarity_are_left_out():
    assert set(sentiment_metrics([1.0, -1.0], [0.0, 0.0])) == {"mae", "accuracy_7", "accuracy_2", "f1_2"}


@pytest.mark.parametrize("missing", [-100, NAN])
def test_rows_without_a_label_are_left_out(missing):
    logits, holes = rng().normal(size=(12, 3)), [0, 5, 11]
    rest = np.delete(np.arange(12), holes)

    def check(metrics, answers, labels, missing_labels):
        broken = np.array(answers)
        broken[holes] = NAN  # what a row without a label answers does not matter
        assert metrics(broken, missing_labels) == metrics(answers[rest], labels[rest])
        assert metrics(answers[rest], labels[rest]) != metrics(answers, labels)

    ids, scores = rng().integers(0, 3, 12).astype(float), rng().normal(size=12)[::-1] * 2
    targets = rng().integers(0, 2, (12, 3)).astype(float)
    for metrics, answers, labels in (
        (classification_metrics, logits, ids),
        (regression_metrics, logits[:, 0], scores),
        (sentiment_metrics, logits[:, 0], scores),
        (multi_label_metrics, logits, targets),
    ):
        missing_labels = np.array(labels)
        missing_labels[(holes, 0) if labels.ndim == 2 else holes] = missing  # one missing label drops the whole row
        check(metrics, answers, labels, missing_labels)


def test_a_missing_output_of_several_is_left_out_alone():
    numbers = regression_metrics([[1.0, 2.0], [3.0, 4.0]], [[2.0, NAN], [5.0, 8.0]])
    assert (numbers["mae"], numbers["mse"]) == pytest.approx(((1 + 2 + 4) / 3, (1 + 4 + 16) / 3))


def test_without_any_label_there_are_no_numbers():
    logits = np.zeros((2, 3))
    assert classification_metrics(logits, [-100, -100]) == {}
    assert multi_label_metrics(logits, np.full((2, 3), NAN)) == {}
    assert regression_metrics(logits[:, 0], [NAN, -100]) == {}
    assert sentiment_metrics(logits[:, 0], [NAN, -100]) == {}


def test_what_trainer_logs_is_flat_and_follows_the_problem_type():
    logits = rng().normal(size=(20, 3)).astype(np.float32)
    ids, targets, numbers = rng().integers(0, 3, 20), rng().integers(0, 2, (20, 3)), logits[:, :1] * 2 + 1
    cases = {
        "single_label_classification": (classification_metrics, logits, ids, {"accuracy", "f1_macro", "f1_weighted"}),
        "multi_label_classification": (multi_label_metrics, logits, targets, {"accuracy", "f1_micro", "f1_macro"}),
        "regression": (regression_metrics, logits[:, :1], numbers[:, 0], {"mae", "mse", "pearson"}),
    }
    for problem_type, (metrics, answers, labels, names) in cases.items():
        results = compute_metrics(answers, labels, problem_type)
        assert set(results) == names
        assert all(type(number) is float for number in results.values())
        assert results == {name: metrics(answers, labels)[name] for name in names}
    assert compute_metrics(logits, ids, None) == compute_metrics(logits, ids, "single_label_classification")


def test_metrics_equal_their_definitions():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    numbers = compute_metrics(logits, labels, "single_label_classification")
    assert numbers["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert numbers["f1_macro"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    numbers = compute_metrics(logits[:, :1], logits[:, 0] * 2 + 1, "regression")
    assert numbers["pearson"] == pytest.approx(1.0)
    assert numbers["mae"] == pytest.approx(np.abs(logits[:, 0] + 1).mean())
    targets = rng.integers(0, 2, (50, 4))
    numbers = compute_metrics(logits, targets.astype(float), "multi_label_classification")
    assert numbers["accuracy"] == pytest.approx(((logits > 0) == targets).all(1).mean())


def test_tensors_of_any_precision_lists_and_arrays_give_the_same_numbers():
    logits, labels = torch.randint(-8, 8, (20, 3)), torch.randint(0, 3, (20,))
    expected = classification_metrics(logits.tolist(), labels.tolist())
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        assert classification_metrics(logits.to(dtype).requires_grad_(), labels.float()[:, None]) == expected
    embeddings = torch.randint(-8, 8, (2, 20, 16))
    expected = retrieval_metrics(*embeddings.double().numpy())
    assert retrieval_metrics(*embeddings.bfloat16().requires_grad_()) == expected


@pytest.mark.parametrize(
    "metrics,answers,labels,message",
    [
        (classification_metrics, [1.0, 2.0], [0, 1], r"`logits` has shape \(2,\); expected \(N, C\)"),
        (classification_metrics, [[1, 2]], [0, 1], r"`labels` has shape \(2,\); expected \(1,\)"),
        (
            classification_metrics,
            [[1, 2]] * 3,
            [0, -100, 2],
            r"`labels` holds 2 in row 2; expected class ids from 0 to 1",
        ),
        (classification_metrics, [[1, 2]], [-1], r"`labels` holds -1 in row 0"),
        (classification_metrics, [[1, 2]], [0.5], r"`labels` holds 0.5 in row 0"),
        (classification_metrics, [[1, 2], [NAN, 0]], [0, 1], r"`logits` holds nan in row 1"),
        (multi_label_metrics, [1.0, 2.0], [0, 1], r"`logits` has shape \(2,\); expected \(N, C\)"),
        (multi_label_metrics, [[1, 2]], [[0, 1, 1]], r"`labels` has shape \(1, 3\); expected \(1, 2\)"),
        (multi_label_metrics, [[1, NAN]], [[0, 1]], r"`logits` holds nan in row 0"),
        (regression_metrics, [1.0, 2.0], [1.0], r"`labels` has shape \(1,\); expected \(2,\)"),
        (regression_metrics, [[1.0], [2.0]], [[1.0, 2.0]], r"`labels` has shape \(1, 2\); expected \(2, 1\)"),
        (regression_metrics, [1.0, INF], [1.0, 2.0], r"`predictions` holds inf in row 1"),
        (sentiment_metrics, [1.0, NAN], [1.0, 2.0], r"`predictions` holds nan in row 1"),
        (sentiment_metrics, [1.0, 2.0], [1.0, -INF], r"`labels` holds -inf in row 1"),
    ],
)
def test_answers_and_labels_that_do_not_fit_are_named(metrics, answers, labels, message):
    with pytest.raises(ValueError, match=message):
        metrics(answers, labels)


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval
# ---------------------------------------------------------------------------------------------------------------------


def sorted_similarities(query, items) -> list[tuple[float, int]]:
    """The items of one query as (similarity, index), the best first; rounded, so that equal means equal."""

    def cosine(a, b):
        return sum(x * y for x, y in zip(a, b)) / (sum(x * x for x in a) * sum(y * y for y in b)) ** 0.5

    return sorted(((round(cosine(query, item), 9), j) for j, item in enumerate(items)), reverse=True)


def slow_retrieval_metrics(queries, items, matches, ks=(1, 5, 10)):
    """One query at a time: sort, and average over the places that the items as similar as its own could stand at."""
    places = []
    for query, match in zip(np.asarray(queries).tolist(), matches):
        ordered = sorted_similarities(query, np.asarray(items).tolist())
        own = next(similarity for similarity, j in ordered if j == match)
        places.append([place for place, (similarity, _) in enumerate(ordered, 1) if similarity == own])
    return {
        **{f"recall_at_{k}": statistics.mean(sum(p <= k for p in ps) / len(ps) for ps in places) for k in ks},
        "median_rank": statistics.median(statistics.mean(ps) for ps in places),
        "rows": len(places),
    }


def test_retrieval_counted_by_hand():
    queries = [[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]
    items = [[5.0, 0.5], [4.0, 3.0], [0.1, 0.2]]
    # Cosines: 0.995, 0.8, 0.447, its own is first; 0.1, 0.6, 0.894, second; 0.774, 0.990, 0.949, second.
    assert retrieval_metrics(queries, items, ks=(1, 2)) == {
        "recall_at_1": pytest.approx(1 / 3),
        "recall_at_2": 1.0,
        "median_rank": 2.0,
        "rows": 3,
    }
    # The first items have the labels 7, 9 and 8, the queries 7, 8 and 8.
    numbers = retrieval_metrics(queries, items, query_labels=[7, 8, 8], item_labels=[7, 8, 9])
    assert numbers["precision_at_1"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("chunk_size", [1, 4, 7, 23, 24, 25, 1024])  # of 24 rows: dividing them, not dividing, beyond
def test_retrieval_equals_sorting_in_a_loop_for_every_chunk_size(chunk_size):
    generator = rng()
    items = generator.normal(size=(24, 5))
    queries = items + generator.normal(size=items.shape)
    numbers = retrieval_metrics(queries, items, chunk_size=chunk_size)
    assert numbers == pytest.approx(slow_retrieval_metrics(queries, items, range(24)))
    assert 0 < numbers["recall_at_1"] < numbers["recall_at_5"] < numbers["recall_at_10"]


@pytest.mark.parametrize("chunk_size", [3, 5, 64])
def test_matches_name_the_item_of_each_query(chunk_size):
    generator = rng()
    items = generator.normal(size=(9, 4))
    matches = generator.integers(0, 9, 20)
    queries = items[matches] + generator.normal(size=(20, 4))
    numbers = retrieval_metrics(queries, items, matches=torch.as_tensor(matches), chunk_size=chunk_size)
    assert numbers == pytest.approx(slow_retrieval_metrics(queries, items, matches))


@pytest.mark.parametrize("chunk_size", [4, 9, 64])
def test_many_duplicates_equal_sorting_in_a_loop(chunk_size):
    generator = rng()
    items = generator.normal(size=(6, 3))[generator.integers(0, 6, 30)]
    queries = generator.normal(size=(6, 3))[generator.integers(0, 6, 30)]
    numbers = retrieval_metrics(queries, items, ks=(1, 3, 8), chunk_size=chunk_size)
    assert numbers == pytest.approx(slow_retrieval_metrics(queries, items, range(30), ks=(1, 3, 8)))


def test_equal_similarity_counts_as_the_mean_over_every_order():
    queries, items = np.array([[1.0, 0.0]]), np.array([[2.0, 1.0], [1.0, 0.1], [2.0, -1.0], [2.0, 1.0]])
    places = []  # of item 0, among the 24 orders of four items; a stable sort keeps the order of equal ones
    for order in itertools.permutations(range(4)):
        cosines = items[list(order)] @ queries[0] / np.linalg.norm(items[list(order)], axis=1)
        places.append([order[j] for j in np.argsort(-cosines.round(9), kind="stable")].index(0) + 1)
    expected = {f"recall_at_{k}": np.mean(np.array(places) <= k) for k in (1, 2, 3, 4)}
    assert expected == pytest.approx({"recall_at_1": 0, "recall_at_2": 1 / 3, "recall_at_3": 2 / 3, "recall_at_4": 1})
    numbers = retrieval_metrics(queries, items, matches=[0], ks=(1, 2, 3, 4))
    assert numbers == pytest.approx(expected | {"median_rank": np.mean(places), "rows": 1})


@pytest.mark.parametrize("width", [1, 3, 64, 513])
@pytest.mark.parametrize("chunk_size", [7, 1024])
def test_embeddings_that_are_all_alike_are_worth_no_more_than_chance(width, chunk_size):
    embeddings = np.tile(rng().normal(size=width), (50, 1))
    embeddings[1::2] *= 3  # of another length, but alike
    numbers = retrieval_metrics(
        embeddings, embeddings, query_labels=range(50), item_labels=range(50), chunk_size=chunk_size
    )
    expected = {"recall_at_1": 0.02, "recall_at_5": 0.1, "recall_at_10": 0.2, "median_rank": 25.5, "rows": 50}
    assert numbers == pytest.approx(expected | {"precision_at_1": 0.02})


def test_zeros_are_as_far_from_everything():
    embeddings = np.zeros((10, 4))
    assert retrieval_metrics(embeddings, embeddings)["recall_at_1"] == pytest.approx(0.1)


def test_a_difference_that_float32_can_hold_is_no_tie():
    items = np.array([[1.0, 1.0], [1.0, 1.0 + 1e-6]], dtype=np.float32)
    assert retrieval_metrics(np.array([[1.0, 0.0]]), items, matches=[0], ks=(1,))["recall_at_1"] == 1
    assert retrieval_metrics(np.array([[1.0, 0.0]]), items, matches=[1], ks=(1,))["recall_at_1"] == 0


def test_precision_is_the_share_of_the_best_items_with_the_label_of_the_query():
    queries = [[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    items = [[1.0, 0.0], [2.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]
    labels = {"query_labels": [4, 5, -100], "item_labels": [4, 6, 5, 4]}
    numbers = retrieval_metrics(queries, items, matches=[0, 2, 3], **labels)
    assert numbers["precision_at_1"] == (1 / 2 + 1) / 2  # one of two equal items; the one item; no label, not counted
    labels = {"query_labels": [-100] * 3, "item_labels": [-100] * 4}
    assert "precision_at_1" not in retrieval_metrics(queries, items, matches=[0, 2, 3], **labels)


def test_an_item_without_a_label_never_has_the_label_of_the_query():
    numbers = retrieval_metrics([[1.0]], [[1.0]], query_labels=[0], item_labels=[-100])
    assert numbers["precision_at_1"] == 0


def test_the_whole_matrix_of_similarities_is_never_in_memory():
    embeddings = rng().normal(size=(2000, 4))
    tracemalloc.start()
    retrieval_metrics(embeddings, embeddings, chunk_size=20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2000 * 2000  # bytes; even one byte per pair would not fit


EMBEDDINGS = np.eye(3)


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"queries": np.zeros((0, 3))}, r"`queries` has shape \(0, 3\)"),
        ({"items": np.zeros((0, 3))}, r"`items` has shape \(0, 3\)"),
        ({"items": np.zeros((3, 0))}, r"`items` has shape \(3, 0\)"),
        ({"queries": np.ones(3)}, r"`queries` has shape \(3,\); expected \(rows, width\)"),
        ({"items": np.ones((3, 2))}, r"`items` has shape \(3, 2\); expected \(3, 3\), as wide as `queries`"),
        ({"items": np.ones((4, 3))}, r"`items` has 4 rows for 3 `queries`; expected as many, or `matches`"),
        ({"queries": np.diag([1.0, NAN, 1.0])}, r"`queries` holds nan in row 1; expected finite numbers"),
        ({"items": torch.diag(torch.tensor([1.0, 1.0, INF]))}, r"`items` holds inf in row 2; expected finite numbers"),
        ({"matches": [0, 1]}, r"`matches` has shape \(2,\); expected \(3,\)"),
        ({"matches": [0, 1, 3]}, r"`matches` holds 3 in row 2; expected indices from 0 to 2"),
        ({"matches": [0, -1, 2]}, r"`matches` holds -1 in row 1; expected indices from 0 to 2"),
        ({"query_labels": [0, 1, 2]}, r"`item_labels` is None"),
        ({"item_labels": [0, 1, 2]}, r"`query_labels` is None"),
        ({"query_labels": [0, 1], "item_labels": [0, 1, 2]}, r"`query_labels` has shape \(2,\); expected \(3,\)"),
        ({"query_labels": [0, 1, 2], "item_labels": [0]}, r"`item_labels` has shape \(1,\); expected \(3,\)"),
        ({"ks": (0, 1)}, r"`ks` is \(0, 1\)"),
        ({"chunk_size": 0}, r"`chunk_size` is 0; expected a number from 1 on"),
    ],
)
def test_retrieval_arguments_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        retrieval_metrics(**{"queries": EMBEDDINGS, "items": EMBEDDINGS, **arguments})


# ---------------------------------------------------------------------------------------------------------------------
# Retrieval in pairs
# ---------------------------------------------------------------------------------------------------------------------


def modalities_with_missing_rows():
    generator = rng()
    rows = generator.normal(size=(20, 6))
    embeddings = {name: rows + generator.normal(size=rows.shape) for name in ("text", "image", "audio")}
    present = {name: generator.random(20) < 0.7 for name in embeddings}
    for name in embeddings:
        embeddings[name][~present[name]] = NAN
    return embeddings, present, generator.integers(0, 4, 20)


def test_every_pair_is_measured_in_both_directions_over_the_rows_that_have_both():
    embeddings, present, labels = modalities_with_missing_rows()
    tensors = {name: torch.as_tensor(values) for name, values in embeddings.items()}
    masks = {name: torch.as_tensor(rows) for name, rows in present.items()}
    results = pairwise_retrieval_metrics(tensors, masks, labels=labels, ks=(1, 3), chunk_size=4)
    directions = "text->image image->text text->audio audio->text image->audio audio->image"
    assert list(results) == directions.split()
    assert results["text->image"] != results["image->text"]
    for name, numbers in results.items():
        query, item = name.split("->")
        both = [i for i in range(20) if present[query][i] and present[item][i]]
        assert 0 < len(both) < min(present[query].sum(), present[item].sum())
        queries, items = embeddings[query][both].tolist(), embeddings[item][both].tolist()
        first = [sorted_similarities(one, items)[0][1] for one in queries]
        precision = np.mean([labels[both[i]] == labels[both[j]] for i, j in enumerate(first)])
        slow = slow_retrieval_metrics(queries, items, range(len(both)), ks=(1, 3))
        assert numbers == pytest.approx(slow | {"precision_at_1": precision})


def test_the_figures_of_some_queries_are_those_of_asking_them_alone_among_all_items():
    embeddings, present, labels = modalities_with_missing_rows()
    rows = np.flatnonzero(present["text"] & present["image"])
    labels = np.where(np.arange(len(rows)) % 3 == 0, -100, labels[rows])  # some queries have no label
    queries, items = embeddings["text"][rows], embeddings["image"][rows]
    ranking = rank_items(queries, items, None, labels, labels)
    for drawn in ([0], [2, 2, 1, 0], np.flatnonzero(labels == -100), np.arange(len(rows))):
        given = {"query_labels": labels[drawn], "item_labels": labels}
        expected = retrieval_metrics(queries[drawn], items, matches=np.arange(len(rows))[drawn], **given)
        assert ranking.of(np.array(drawn)).metrics() == expected


def test_given_pairs_alone_are_measured_in_both_directions():
    embeddings, present, _ = modalities_with_missing_rows()
    results = pairwise_retrieval_metrics(embeddings, present, pairs=[("audio", "text")])
    every = pairwise_retrieval_metrics(embeddings, present)
    assert list(results) == ["audio->text", "text->audio"]
    assert results == {name: every[name] for name in results}


def test_a_pair_that_no_row_has_says_so():
    results = pairwise_retrieval_metrics({"a": EMBEDDINGS, "b": EMBEDDINGS}, {"a": [1, 1, 0], "b": [0, 0, 1]})
    assert results == {"a->b": {"rows": 0}, "b->a": {"rows": 0}}


@pytest.mark.parametrize(
    "arguments,message",
    [
        ({"present": {"a": [True] * 3}}, r"`present` has \['a'\]; expected the names of `embeddings`, \['a', 'b'\]"),
        ({"present": {"a": [True] * 3, "b": [True]}}, r"`present\['b'\]` has shape \(1,\); expected \(3,\)"),
        (
            {"embeddings": {"a": EMBEDDINGS, "b": np.ones((2, 3))}},
            r"`embeddings\['b'\]` has shape \(2, 3\); expected \(3, 3\)",
        ),
        ({"pairs": [("a", "c")]}, r"`pairs` holds \['c'\]; expected names of `embeddings`, \['a', 'b'\]"),
        ({"labels": [1, 2]}, r"`labels` has shape \(2,\); expected \(3,\)"),
        ({"embeddings": {"a": EMBEDDINGS, "b": EMBEDDINGS * NAN}}, r"`items` holds nan in row 0"),
    ],
)
def test_modalities_that_do_not_fit_are_named(arguments, message):
    both = {"embeddings": {"a": EMBEDDINGS, "b": EMBEDDINGS}, "present": {"a": [True] * 3, "b": [True] * 3}}
    with pytest.raises(ValueError, match=message):
        pairwise_retrieval_metrics(**both | arguments)


# ---------------------------------------------------------------------------------------------------------------------
# Which way is better, and small sets
# ---------------------------------------------------------------------------------------------------------------------


def reported() -> dict[str, dict]:
    """What each function reports, of answers that are right, and of some that are wrong."""
    eye, wrong = np.eye(4), np.roll(np.eye(4), 1, axis=1)
    numbers = np.array([-2.0, -1.0, 1.0, 2.5])
    return {
        "right": classification_metrics(eye, range(4))
        | multi_label_metrics(eye - 0.5, eye)
        | regression_metrics(numbers, numbers)
        | sentiment_metrics(numbers, numbers)
        | retrieval_metrics(eye, eye, query_labels=range(4), item_labels=range(4)),
        "wrong": classification_metrics(wrong, range(4))
        | multi_label_metrics(wrong - 0.5, eye)
        | regression_metrics(-numbers, numbers)
        | sentiment_metrics(-numbers, numbers)
        | retrieval_metrics(eye, wrong, query_labels=range(4), item_labels=[3, 0, 1, 2]),
    }


def test_it_is_known_of_every_metric_whether_more_is_better():
    found = reported()
    names = set(found["right"]) - {"per_class", "rows", "recall_at_5", "recall_at_10"}  # 4 items are always among 5
    assert len(names) == 15
    for name in names:
        more = found["right"][name] > found["wrong"][name]
        assert greater_is_better(name) is greater_is_better(f"eval_{name}") is more, name
    for name in ("loss", "eval_loss", "loss/text", "eval_loss/contrastive/text-image", "eval_mine_loss"):
        assert greater_is_better(name) is False
    assert greater_is_better("recall_at_5") and greater_is_better("eval_recall_at_100")


@pytest.mark.parametrize("name", ["rmse", "eval_f1", "recall_at_0", "recall_at_k", "neg_mae", "runtime", "rows"])
def test_a_metric_of_which_it_is_not_known_needs_the_direction(name, tmp_path):
    options = {"metric_for_best_model": name, "report_to": "none"}
    with pytest.raises(ValueError, match=f"metric_for_best_model is '{name}'.*greater_is_better.*mae.*median_rank"):
        MoTTrainingArguments(str(tmp_path), **options)
    for direction in (True, False):
        arguments = MoTTrainingArguments(str(tmp_path), greater_is_better=direction, **options)
        assert arguments.greater_is_better is direction


def test_the_best_checkpoint_and_the_learning_rate_go_the_same_way(tmp_path):
    for metric, mode in (("eval_mae", "min"), ("accuracy", "max"), (None, "min")):
        options = {"metric_for_best_model": metric, "eval_strategy": "epoch", "save_strategy": "epoch"}
        options |= {"early_stopping_patience": 3, "lr_scheduler_type": "reduce_lr_on_plateau", "report_to": "none"}
        arguments = MoTTrainingArguments(str(tmp_path), **options)
        assert arguments.greater_is_better is (mode == "max")
        assert arguments.lr_scheduler_kwargs == {"mode": mode}
    kept = MoTTrainingArguments(str(tmp_path), lr_scheduler_kwargs={"mode": "max", "patience": 2}, **options)
    assert kept.lr_scheduler_kwargs == {"mode": "max", "patience": 2}


def test_of_one_class_alone_every_number_is_that_of_its_rows():
    numbers = classification_metrics([[3, 1, 0]] * 5, [0] * 5)
    assert (numbers["accuracy"], numbers["f1_macro"], numbers["f1_weighted"]) == (1, 1, 1)
    half = classification_metrics([[3, 1, 0], [0, 1, 0]], [0, 0])  # class 1 is answered and never true
    assert (half["accuracy"], half["f1_macro"]) == (0.5, pytest.approx((2 / 3 + 0) / 2))


def test_labels_that_nobody_has_or_answers_do_not_lower_the_mean():
    """Of four labels one is never true, one never true and never answered right."""
    labels, answers = np.array([[1, 0, 0, 0], [1, 1, 0, 0]]), np.array([[1, 0, 0, 1], [1, 1, 0, 0]])
    numbers = multi_label_metrics(answers - 0.5, labels)
    assert numbers == pytest.approx({"accuracy": 0.5, "f1_micro": 6 / 7, "f1_macro": (1 + 1 + 0) / 3})
    assert multi_label_metrics(labels - 0.5, labels)["f1_macro"] == 1
    assert multi_label_metrics(-np.ones((2, 4)), np.zeros((2, 4))) == {"accuracy": 1.0}


def test_a_single_label_of_several_is_counted_as_that_label():
    labels, answers = np.array([[1], [0], [1]]), np.array([[1], [1], [0]])
    numbers = multi_label_metrics(answers - 0.5, labels)
    assert numbers == pytest.approx({"accuracy": 1 / 3, "f1_micro": 0.5, "f1_macro": 0.5})


@pytest.mark.parametrize("scale", [1.0, 250_000.0])
def test_answers_that_differ_by_rounding_alone_have_no_correlation(scale):
    steps = np.arange(8) % 3
    constant = np.float32(scale) * (1 + steps * np.finfo(np.float32).eps).astype(np.float32)
    assert set(regression_metrics(constant, range(8))) == {"mae", "mse"}
    varied = np.float32(scale) * (1 + steps * np.float32(1e-4)).astype(np.float32)
    assert regression_metrics(varied, varied)["pearson"] == pytest.approx(1)


def test_no_rows_give_no_numbers():
    assert classification_metrics(np.zeros((0, 3)), []) == {}
    assert multi_label_metrics(np.zeros((0, 3)), np.zeros((0, 3))) == {}
    assert regression_metrics([], []) == sentiment_metrics([], []) == {}
    nobody = {"text": np.zeros((0, 4)), "image": np.zeros((0, 4))}
    found = pairwise_retrieval_metrics(nobody, {name: np.zeros(0, bool) for name in nobody})
    assert found == {"text->image": {"rows": 0}, "image->text": {"rows": 0}}
