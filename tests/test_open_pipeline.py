# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The pipeline answers rows of any set of modalities, of segments and documents as the model does, and says what each
part contributed."""

import json

import numpy as np
import pytest
import torch
from forked import run_mot
from open_rows import MODALITIES, cells, make_model, make_processor

from mixture_of_transformers import MoTConfig, MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers.attribution_mot import MOST_EXACT, modality_contributions
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline


@pytest.fixture(scope="module")
def classify():
    model = make_model(MoTForSequenceClassification, num_labels=3)
    return MultimodalClassificationPipeline(model=model, processor=make_processor())


def scores_of(answer):
    return {pair["label"]: pair["score"] for pair in answer}


def expected(classify, **inputs):
    """What the model says of what the processor makes of one row."""
    with torch.no_grad():
        scores = classify.model(**classify.processor(**inputs)).logits.softmax(-1)[0].tolist()
    return pytest.approx(dict(zip(classify.model.config.id2label.values(), scores)), abs=1e-5)


def test_a_row_of_any_modalities_is_answered_as_the_model_answers_it(classify):
    rows = cells()
    for row, answer in zip(rows, classify(rows, batch_size=3), strict=True):
        inputs = {name: [np.array(cell) if name == "imu" else cell] for name, cell in row.items()}
        assert scores_of(answer) == expected(classify, **inputs)
        assert scores_of(classify(row)) == expected(classify, **inputs)


def test_a_list_of_cells_is_as_many_segments(classify):
    first, second = cells()[0], cells()[4]
    row = {"depth": [first["depth"], second["depth"]], "imu": [np.array(first["imu"]), np.array(second["imu"])]}
    inputs = {name: [several] for name, several in row.items()}
    assert scores_of(classify(row)) == expected(classify, **inputs)


def test_a_document_is_answered_in_its_order_beside_rows_that_are_none(classify):
    row = cells()[0]
    parts = [{"text": "red"}, {"imu": np.array(row["imu"])}, {"text": "two"}, {"vitals": row["vitals"]}]
    documents = [parts, [{"depth": row["depth"]}, {"text": " "}, {"text": "red"}]]
    alone = [classify({"document": document}) for document in documents]
    for document, answer in zip(documents, alone):
        assert scores_of(answer) == expected(classify, documents=[document])
    mixed = classify([row, {"document": documents[0]}, cells()[1], {"document": documents[1]}], batch_size=4)
    for found, one in zip(mixed, [classify(row), alone[0], classify(cells()[1]), alone[1]], strict=True):
        assert scores_of(found) == pytest.approx(scores_of(one), abs=1e-5)


@pytest.mark.parametrize(
    "row, message",
    [
        ({"vital": {"age": 3}}, "Unknown part of a row `vital`: did you mean `vitals`"),
        ({"vitals": {"aeg": 3}}, "has a column 'aeg'; did you mean 'age'"),
        ({"document": [{"imus": [1.0]}]}, r"Unknown part document\[0\]: `imus`: did you mean `imu`"),
        ({"document": [{"text": "a"}], "text": "b"}, "A row with a `document` has nothing else"),
        ({"document": [{"text": " "}]}, "The document has no part"),
        ({"document": [{"text": "a"}, {"depth": "nowhere.png"}]}, r"document\[1\]: there is no file at"),
    ],
)
def test_what_is_wrong_with_a_row_is_said_with_the_nearest_of_this_processor(row, message, classify):
    with pytest.raises((ValueError, OSError), match=message):
        classify(row)
    found, answered = classify([row, cells()[0]], on_error="skip")
    assert found["row"] == 0 and "rows[0]" in found["error"] and scores_of(answered)


def test_contributions_of_any_modalities_sum_to_the_answer(classify):
    row = cells()[0]
    found = classify(row, return_attribution=True)
    assert found["attribution"].keys() == {"prior", "text", *MODALITIES} and "attribution_error" not in found
    assert sum(found["attribution"].values()) == pytest.approx(found["labels"][0]["score"], abs=1e-5)


def test_contributions_that_are_estimates_come_with_their_error():
    names = [f"part{i}" for i in range(MOST_EXACT + 1)]
    table = {"kind": "table", "numbers": {"x": {"mean": 0.0, "std": 1.0}}}
    processor = MoTProcessor(tokenizer=make_processor().tokenizer, modalities=dict.fromkeys(names, table))
    closed = dict.fromkeys(("text_config", "image_config", "audio_config"))
    towers = {f"{name}_config": {"model_type": "mot_table", "num_numbers": 1} for name in names}
    torch.manual_seed(0)
    config = MoTConfig.of_size("tiny", hidden_size=16, num_encoder_layers=1, num_labels=3, **closed, **towers)
    model = MoTForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    row = {name: {"x": float(i) - 3} for i, name in enumerate(names)}
    classify = MultimodalClassificationPipeline(model=model, processor=processor)
    found = classify(row, return_attribution=True)
    shares = modality_contributions(model, processor(**{name: [cell] for name, cell in row.items()}))
    assert found["attribution_error"] == pytest.approx(shares.errors_of_row(0)) and shares.error.max() > 0
    assert found["attribution_error"].keys() == set(names)
    assert sum(found["attribution"].values()) == pytest.approx(found["labels"][0]["score"], abs=1e-5)


def test_mot_predict_takes_a_row_of_any_modalities(classify, tmp_path):
    row = cells()[0]
    classify.save_pretrained(tmp_path / "model")
    row["depth"].save(tmp_path / "depth.png")
    np.save(tmp_path / "walk.npy", np.array(row["imu"]))
    (tmp_path / "row.json").write_text(json.dumps({"imu": "walk.npy", "depth": "depth.png"}))
    given = ["--row", "row.json", f"vitals={json.dumps(row['vitals'])}", "--text", row["text"], "--attribution"]
    done = run_mot(tmp_path, "predict", "--model", "model", *given)
    expected = classify(row, return_attribution=True)
    found = json.loads(done.stdout)
    assert scores_of(found["labels"]) == pytest.approx(scores_of(expected["labels"]), abs=1e-5), done.stderr[-2000:]
    assert found["attribution"] == pytest.approx(expected["attribution"], abs=1e-5)
    for wrong, message in (
        (["--row", "imus=walk.npy"], "did you mean `imu`"),
        (["--row", "row.json", "imu=walk.npy"], "`imu` is given twice"),
        (["--row", "nowhere.json"], "--row nowhere.json is neither NAME=VALUE nor a JSON file"),
        (["--row", "imu=nowhere.npy"], "imu: 'nowhere.npy' cannot be read"),
    ):
        done = run_mot(tmp_path, "predict", "--model", "model", *wrong)
        assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr, done.stderr[-2000:]
