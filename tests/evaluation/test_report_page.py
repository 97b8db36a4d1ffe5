# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Sections of a report from facts that no run has left: many classes, several of a row, and rows of any form."""

from pathlib import Path

import datasets
import numpy as np
import pytest
from datasets import Features, Image, List, Value
from page_reader import PageReader
from sklearn.metrics import precision_recall_fscore_support
from small_media import png_bytes

from mixture_of_transformers import MoTConfig
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.evaluation.markup import joined
from mixture_of_transformers.evaluation.report import named, wrong_answers
from mixture_of_transformers.evaluation.report_facts import Facts
from mixture_of_transformers.evaluation.report_page import page
from mixture_of_transformers.evaluation.report_rows import cells_of_row
from mixture_of_transformers.evaluation.report_worth import MOST_CLASSES
from mixture_of_transformers.finetune.record import Record, Run
from mixture_of_transformers.training.evaluation import SubsetAnswers


def facts_of(logits: np.ndarray, labels: np.ndarray, problem_type: str, **others) -> Facts:
    """Those of a classifier of texts that gives logits (N, C) to rows with these labels."""
    names = {i: f"class {i}" for i in range(logits.shape[1])}
    config = MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        image_config=None,
        audio_config=None,
        problem_type=problem_type,
        id2label=names,
        label2id={name: i for i, name in names.items()},
    )
    answers = SubsetAnswers(("text",), logits[:, None], labels, np.ones((len(labels), 1), dtype=bool))
    results = {"task": "classification", "split": "test", "subsets": {"text": {"accuracy": 0.5, "rows": len(labels)}}}
    known = {"record": Record({"task": "classification"}, {}, Run("name", "data")), "config": config}
    known |= {"architecture": "MoTForSequenceClassification", "parameters": 5, "evaluated": "data", "results": results}
    known |= {
        "problem": None,
        "folder": Path(),
        "bad": {},
        "log": (),
        "best_step": None,
        "samples": (),
        "command": "mot",
    }
    known |= {"date": "2026-01-01", "machine": "a machine", "versions": {}, "answers": answers}
    return Facts(**known | others)


def test_of_many_classes_those_with_the_most_mistakes_are_shown():
    random, number = np.random.default_rng(0), 50
    labels = np.repeat(np.arange(number), 4)
    logits = np.eye(number)[labels]
    mistaken = sorted(random.choice(number, size=12, replace=False).tolist())
    for i in mistaken:
        logits[4 * i] = np.eye(number)[mistaken[0] if i != mistaken[0] else mistaken[1]]
    read = PageReader(page(facts_of(logits, labels, "single_label_classification")))
    confusion, each = read.tables["classes"]
    shown = confusion[0][1:]
    assert len(shown) == MOST_CLASSES == len(each) - 1 and {f"class {i}" for i in mistaken} <= {*shown}
    assert f"Of 50 classes those {MOST_CLASSES} are shown that have the most mistakes." in read.words


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification"])
def test_the_scores_of_each_class_are_those_of_scikit_learn(problem_type):
    random = np.random.default_rng(0)
    logits = random.normal(size=(60, 4))
    if problem_type == "single_label_classification":
        labels = random.integers(0, 4, size=60)
        expected = precision_recall_fscore_support(labels, logits.argmax(axis=1), labels=range(4), zero_division=0)
    else:
        labels = (random.random((60, 4)) < 0.4).astype(float)
        expected = precision_recall_fscore_support(labels > 0.5, logits > 0, zero_division=0)
    read = PageReader(page(facts_of(logits, labels, problem_type)))
    *others, each = read.tables["classes"]
    assert len(others) == (problem_type == "single_label_classification"), "several classes of a row have no matrix"
    found = [[float(cell) for cell in line[1:]] for line in each[1:]]
    np.testing.assert_allclose(found, np.stack(expected, axis=1), atol=5.1e-5)


def test_an_answer_of_several_classes_is_wrong_where_any_is_and_so_sure_as_it_is_of_that():
    logits, labels = np.array([[3.0, -3.0], [3.0, -1.0], [-2.0, 0.5]]), np.array([[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]])
    facts = facts_of(logits, labels, "multi_label_classification")
    wrong, degrees = wrong_answers(facts.answers, facts.config)
    assert wrong.tolist() == [False, True, True]
    assert degrees[1:] == pytest.approx([1 - 1 / (1 + np.exp(1)), 1 / (1 + np.exp(-0.5))])
    assert named(logits[1], facts.config, is_label=False) == "class 0"
    assert named(labels[1], facts.config, is_label=True) == "class 0, class 1"
    assert named(labels[2], facts.config, is_label=True) == "none"


def test_rows_without_a_label_are_no_mistakes_and_numbers_are_off_by_their_distance():
    logits, labels = np.array([[1.0], [2.0], [5.0]]), np.array([1.5, np.nan, 2.0])
    facts = facts_of(logits, labels, "regression")
    wrong, degrees = wrong_answers(facts.answers, facts.config)
    assert wrong.tolist() == [True, False, True] and degrees.tolist() == [0.5, 0.0, 3.0]


def test_a_page_without_any_labelled_row_says_so():
    read = PageReader(page(facts_of(np.zeros((3, 2)), np.full(3, -100), "single_label_classification")))
    assert "No row that was evaluated has a label." in read.words
    assert "No row with a label was answered wrongly." in read.words


def test_a_history_without_numbers_and_with_gaps_is_drawn_as_far_as_it_goes():
    log = [
        {"loss": 2.0, "loss/text": float("nan"), "step": 1},
        {"loss": float("inf"), "eval_accuracy": 0.5, "step": 2},
    ]
    html = page(facts_of(np.eye(2), np.arange(2), "single_label_classification", log=log, best_step=2))
    PageReader(html)
    section = html.partition('id="training"')[2].partition("</section>")[0]
    assert section.count("<figure>") == 2 and "accuracy, step 2: 0.5" in section


# ---------------------------------------------------------------------------------------------------------------------
# Rows
# ---------------------------------------------------------------------------------------------------------------------

CONFIG = MoTConfig(
    hidden_size=16,
    num_attention_heads=2,
    imu_config={"model_type": "mot_series", "num_channels": 2},
    vitals_config={"model_type": "mot_table", "num_numbers": 1},
)
PICTURE = {"bytes": png_bytes(np.full((300, 400, 3), 90, dtype=np.uint8)), "path": None}
FORMS = {
    "text": (Value("string"), "a <b>word</b>", "a &lt;b&gt;word&lt;/b&gt;"),
    "several": (List(Image(decode=False)), [PICTURE, None, PICTURE], "data:image/jpeg"),
    "imu": (List(List(Value("float64"))), [[0.0, 1.0], [1.0, None], [2.0, 0.5]], "<polyline"),
    "vitals": (
        {"<age>": Value("float64"), "none": Value("float64")},
        {"<age>": 71.0, "none": None},
        "<dt>&lt;age&gt;</dt><dd>71</dd>",
    ),
    "audio": (List(List(Value("float32"))), [[0.0] * 5] * 3, "3 × 5 numbers"),
    "image": (
        Image(decode=False),
        {"bytes": b"no picture", "path": "/home/me/private.png"},
        "It cannot be shown here.",
    ),
}


@pytest.mark.parametrize("name", FORMS)
def test_a_cell_of_any_form_is_shown_without_what_its_file_is_called(name):
    kind, cell, expected = FORMS[name]
    found = cells_of_row({name: cell, "label": 1}, Features({name: kind}), CONFIG, Reading())
    assert [called for called, _ in found] == [name]
    html = joined(*(content for _, content in found))
    PageReader(html)
    assert expected in html and "private" not in html and "none" not in html


def test_what_a_row_lacks_and_its_label_are_not_shown_and_long_words_are_cut():
    features = Features({"text": Value("string"), "image": Image(decode=False), "label": Value("int64")})
    ((_, words),) = cells_of_row({"text": "word " * 500, "image": None, "label": 1}, features, CONFIG, Reading())
    assert len(words) < 450 and words.endswith(" …</p>")


def test_a_video_is_a_few_of_its_frames(tmp_path):
    av = pytest.importorskip("av")
    with av.open(tmp_path / "clip.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for value in range(0, 250, 25):
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), value, dtype=np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    cell = {"bytes": (tmp_path / "clip.mp4").read_bytes(), "path": None}
    kinds = {"video": datasets.Video(decode=False)}
    ((_, html),) = cells_of_row({"video": cell}, kinds, CONFIG, Reading())
    assert html.count("<img") == 4


def test_of_many_modalities_long_subsets_have_short_names():
    names = ("text", "image", "audio", "imu", "vitals")
    facts = facts_of(np.eye(2), np.arange(2), "single_label_classification", config=CONFIG)
    assert CONFIG.modalities == names
    expected = {"imu": "imu", "+".join(names): "all modalities", "text+image+audio+imu": "all but vitals"}
    expected |= {"text+image+audio+imu->vitals": "all but vitals -> vitals"}
    assert {name: facts.called(name) for name in expected} == expected
    few = facts_of(np.eye(2), np.arange(2), "single_label_classification")
    assert few.called("text+image->audio") == "text+image->audio"
