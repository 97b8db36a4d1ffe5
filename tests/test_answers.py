# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The one way to ask a model for its answer: what it answers with, from which modalities, and what that says."""

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config

from mixture_of_transformers import (
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)


def classifier(**options):
    return build(MoTForSequenceClassification, tiny_config(**options)).eval()


@pytest.mark.parametrize(
    "options, kind, rule",
    [
        ({"num_labels": 3}, "classes", lambda logits: logits.exp() / logits.exp().sum(dim=-1, keepdim=True)),
        (
            {"num_labels": 3, "problem_type": "multi_label_classification"},
            "classes",
            lambda logits: 1 / (1 + (-logits).exp()),
        ),
        ({"num_labels": 1}, "numbers", lambda logits: logits),
        ({"num_labels": 2, "problem_type": "regression"}, "numbers", lambda logits: logits),
    ],
)
def test_a_classifier_answers_with_what_its_problem_type_says(options, kind, rule):
    model = classifier(**options)
    logits = torch.tensor([[2.0, -1.0, 0.5], [0.0, 3.0, -2.0]])[:, : options["num_labels"]]
    assert model.answers_with == kind
    torch.testing.assert_close(model.score(logits), rule(logits))


def test_a_classifier_answers_as_its_forward_does_from_any_of_the_modalities():
    model, inputs = classifier(num_labels=3), make_inputs(MODALITIES)
    with torch.no_grad():
        encoded = model.mot.encode(**inputs)
        torch.testing.assert_close(model.answer(encoded, MODALITIES), model(**inputs).logits)
        alone = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits
        torch.testing.assert_close(model.answer(encoded, ("text",)), alone)
        assert torch.equal(model.answer(encoded, ()), model.classifier.bias.expand(len(alone), -1))


def test_a_retrieval_model_answers_with_embeddings():
    model, inputs = build(MoTForRetrieval, tiny_config()).eval(), make_inputs(MODALITIES)
    with torch.no_grad():
        answers = model.answer(model.mot.encode(**inputs), MODALITIES)
        torch.testing.assert_close(answers, model.get_fused_features(**inputs).pooler_output)
    assert model.answers_with == "embeddings" and model.score(answers) is answers


@pytest.mark.parametrize("head", [MoTModel, MoTForPreTraining, MoTForMaskedLM], ids=lambda head: head.__name__)
def test_a_model_without_an_answer_says_so(head):
    model = build(head, tiny_config())
    assert model.answers_with is None
    with pytest.raises(ValueError, match=f"{head.__name__} gives no answer"):
        model.answer(None, MODALITIES)
