# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why: attention weights are the model's own, what is summed up adds up, and every picture can be drawn.

Weights and Shapley values are held to slow loops and to eager attention; pictures are drawn from real digits.
"""

import itertools
import math

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, max_difference, run, select_rows, tiny_config, without

from mot import MoTForPreTraining, MoTForRetrieval, MoTForSequenceClassification, MoTModel
from mot.fusion_mot import FUSIONS
from mot.visualization_mot import (
    attention_maps,
    attention_rollout,
    dataset_contributions,
    modality_attention,
    modality_contributions,
    token_relevance,
)

TOLERANCE = 1e-5
NUM_LABELS = 4
SPARSE = {"block_size": 2, "sparsity": 0.6, "min_encoder_tokens": 4}

every_fusion = pytest.mark.parametrize("fusion_type", list(FUSIONS))


def classifier(fusion_type="late", architecture="uneven_towers", **overrides):
    config = tiny_config(architecture, fusion_type=fusion_type, num_labels=NUM_LABELS, **overrides)
    return build(MoTForSequenceClassification, config)


def retriever():
    return build(MoTForRetrieval, tiny_config("uneven_towers"))


def real_pairs(maps):
    """(B, 1, L, L) where query and key are real."""
    return maps.mask[:, None, :, None] & maps.mask[:, None, None, :]


# ------------------------------------------------- attention weights ------------------------------------------------


@pytest.mark.parametrize("sparse", [None, SPARSE], ids=["dense", "block-sparse"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("architecture", ["default", "joint_only", "uneven_towers"])
@pytest.mark.parametrize("subset", [MODALITIES, ("text", "audio")], ids="+".join)
def test_weights_are_those_of_eager_attention(subset, architecture, attention, sparse):
    # Rows with padding, holes and missing modalities.
    config = tiny_config(architecture, sparse_attention=sparse)
    inputs = make_inputs(subset)
    maps = attention_maps(build(MoTModel, config, attention), inputs, encoders=True)
    eager = build(MoTModel, tiny_config(architecture, sparse_attention=sparse), "eager")
    expected = run(eager, inputs, output_attentions=True, output_encoder_attentions=True)

    assert torch.equal(maps.mask, expected.attention_mask.bool())
    assert list(maps.places) == list(subset)
    assert list(maps.weights) == list(range(config.num_hidden_layers))
    for weights, of_eager in zip(maps.weights.values(), expected.attentions, strict=True):
        assert max_difference(weights, of_eager * real_pairs(maps)) < TOLERANCE
        assert max_difference(weights.sum(dim=-1), maps.mask[:, None].expand(weights.shape[:3]).float()) < TOLERANCE
    for m, part in maps.places.items():
        for weights, of_eager in zip(maps.encoder_weights[m], expected.encoder_attentions[m], strict=True):
            assert max_difference(weights, of_eager * real_pairs(maps)[:, :, part, part]) < TOLERANCE


def test_block_sparse_layers_show_their_pattern():
    model = build(MoTModel, tiny_config("joint_only", sparse_attention=SPARSE))
    maps = attention_maps(model, make_inputs(MODALITIES))
    first, second = ((weights[:, 0] > 0) for weights in maps.weights.values())
    real = real_pairs(maps)[:, 0]
    assert (first[0] < real[0]).any() and not torch.equal(first, second)  # blocks are left out, others in each layer


@pytest.mark.parametrize("fusion_type", list(FUSIONS))
@pytest.mark.parametrize("model_class", [MoTModel, MoTForSequenceClassification, MoTForRetrieval, MoTForPreTraining])
def test_every_model_and_fusion_has_maps_and_stays_as_it_was(model_class, fusion_type):
    model = build(model_class, tiny_config("uneven_towers", fusion_type=fusion_type)).train()
    model.get_submodule("encoders" if model_class is MoTModel else "mot.encoders").eval()
    modes = [module.training for module in model.modules()]
    inputs = make_inputs(MODALITIES)
    maps = attention_maps(model, {**inputs, "labels": torch.zeros(len(inputs["input_ids"]))}, layers=[-1, 0])
    assert list(maps.weights) == [0, 2] and not maps.encoder_weights
    assert [module.training for module in model.modules()] == modes
    assert model.config._attn_implementation == "sdpa"
    assert not maps.weights[0].requires_grad


def test_errors_name_what_came_and_what_was_expected():
    inputs = make_inputs(MODALITIES)
    with pytest.raises(ValueError, match="`layers` holds 3, but the model has 3 .* 0 to 2"):
        attention_maps(classifier(), inputs, layers=[3])
    with pytest.raises(ValueError, match="no joint or global layers"):
        attention_maps(build(MoTModel, tiny_config("encoders_only")), inputs)
    maps = attention_maps(classifier(), inputs, layers=[1])
    with pytest.raises(ValueError, match="`layer` is 0, but these maps hold layers 1 of 3"):
        maps.layer(0)
    with pytest.raises(ValueError, match="`head` is 4, .* 0 to 3"):
        maps.layer(1, head=4)
    with pytest.raises(ValueError, match="Row 4 has no image: it has text"):
        maps.real("image", 4)
    with pytest.raises(ValueError, match="`row` is 99"):
        maps.real("text", 99)


# ------------------------------------------------- known attention --------------------------------------------------


def looking_model(looks: dict[str, str]):
    """
    A model of one joint layer in which all tokens of a modality look at one modality alone: each expert's keys are a
    constant of its own, and its queries are those of the modality that it looks at.
    """
    config = tiny_config("joint_only", num_joint_layers=1)
    model = build(MoTModel, config)
    width = config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for i, (m, expert) in enumerate(model.joint_layers[0].experts.items()):
            for projection, place in (
                (expert.attention.k_proj, i),
                (expert.attention.q_proj, MODALITIES.index(looks[m])),
            ):
                projection.weight.zero_()
                projection.bias.zero_()
                projection.bias.view(config.num_attention_heads, width)[:, place] = 20.0
    return model


def test_the_heat_map_shows_attention_that_is_known():
    looks = {"text": "image", "image": "image", "audio": "text"}
    maps = attention_maps(looking_model(looks), make_inputs(MODALITIES))
    mass = modality_attention(maps)[0]  # (B, H, M, M)
    expected = torch.zeros(3, 3)
    for m, other in looks.items():
        expected[MODALITIES.index(m), MODALITIES.index(other)] = 1
    full = slice(0, 4)  # rows that have all modalities
    assert max_difference(mass[full], expected.expand_as(mass[full])) < TOLERANCE
    # Token by token: a word looks at all real patches alike.
    text, image = maps.real("text", 0), maps.real("image", 0)
    assert max_difference(maps.layer(0)[0][text][:, image], torch.full((len(text), len(image)), 1 / len(image))) < 1e-5


def test_mass_between_modalities_sums_to_one_where_they_are_present():
    maps = attention_maps(classifier(), make_inputs(MODALITIES))
    for mass in modality_attention(maps).values():
        assert mass.shape == (len(maps.mask), 4, 3, 3)
        for row in range(len(maps.mask)):
            for i, m in enumerate(MODALITIES):
                if m not in maps.present(row):
                    assert mass[row, :, i].isnan().all()
                    continue
                assert max_difference(mass[row, :, i].sum(dim=-1), torch.ones(4)) < TOLERANCE
                for j, other in enumerate(MODALITIES):
                    assert (mass[row, :, i, j] > 0).all() == (other in maps.present(row))


# ----------------------------------------------------- rollout ------------------------------------------------------


@pytest.mark.parametrize("architecture", ["default", "joint_only", "uneven_towers"])
def test_rollout_is_that_of_a_slow_loop(architecture):
    model = build(MoTModel, tiny_config(architecture))
    inputs = make_inputs(MODALITIES)
    maps = attention_maps(model, inputs, encoders=True)
    rollout, relevance = attention_rollout(maps), token_relevance(maps)
    for row in range(len(maps.mask)):
        real = maps.mask[row].nonzero()[:, 0].tolist()
        flow = {(i, j): float(i == j) for i in real for j in real}
        steps = []
        for m, part in maps.places.items():  # modality after modality, as encoders do not mix
            for weights in maps.encoder_weights[m]:
                steps.append((weights[row].mean(dim=0), part.start, range(part.start, part.stop)))
        steps += [(weights[row].mean(dim=0), 0, range(len(maps.mask[row]))) for weights in maps.weights.values()]
        for weights, start, places in steps:
            inside = [i for i in real if i in places]
            flow |= {
                (i, j): 0.5 * flow[i, j] + 0.5 * sum(weights[i - start, k - start].item() * flow[k, j] for k in inside)
                for i in inside
                for j in real
            }
        expected = torch.tensor([[flow[i, j] for j in real] for i in real])
        assert max_difference(rollout[row][real][:, real], expected) < TOLERANCE
        assert abs(relevance[row].sum().item() - 1) < TOLERANCE and not relevance[row][~maps.mask[row]].any()
    assert max_difference(rollout.sum(dim=-1), maps.mask.float()) < TOLERANCE


# -------------------------------------------------- contributions ---------------------------------------------------


def brute_force(value, players):
    """Shapley values as their definition has them: over every order in which the players may come."""
    shares = dict.fromkeys(players, 0.0)
    for order in itertools.permutations(players):
        for i, player in enumerate(order):
            shares[player] += (value(order[: i + 1]) - value(order[:i])) / math.factorial(len(players))
    return shares


def answer_from(model, inputs, row, subset):
    """(classes,) logits of one row called with a subset of its modalities alone."""
    inputs = select_rows(inputs, [row])
    for m in set(MODALITIES) - set(subset):
        inputs = without(inputs, m)
    return run(model, inputs).logits[0] if subset else model.classifier.bias.detach()


@every_fusion
@pytest.mark.parametrize("output", ["probability", "logit"])
def test_contributions_are_shapley_values(fusion_type, output):
    model, inputs = classifier(fusion_type), make_inputs(MODALITIES)
    found = modality_contributions(model, inputs, output=output)
    assert found.unit == output and found.modalities == MODALITIES
    for row in range(len(found.answer)):
        has = [m for i, m in enumerate(MODALITIES) if found.present[row, i]]

        def value(subset, row=row):
            logits = answer_from(model, inputs, row, subset)
            return (logits.softmax(dim=-1) if output == "probability" else logits)[found.target[row]].item()

        expected = brute_force(value, has)
        assert abs(found.prior[row].item() - value(())) < TOLERANCE
        assert abs(found.answer[row].item() - value(has)) < TOLERANCE
        assert found.target[row] == answer_from(model, inputs, row, has).argmax()
        for i, m in enumerate(MODALITIES):
            assert abs(found.values[row, i].item() - expected.get(m, 0.0)) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE
    assert not found.values[~found.present].any()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("problem_type", ["regression", "multi_label_classification"])
def test_contributions_to_numbers_and_to_several_labels(problem_type, attention):
    config = tiny_config(num_labels=NUM_LABELS, problem_type=problem_type)
    model, inputs = build(MoTForSequenceClassification, config, attention), make_inputs(MODALITIES)
    target = torch.arange(len(inputs["input_ids"])) % NUM_LABELS
    found = modality_contributions(model, inputs, target=target)
    logits = run(model, inputs).logits
    answers = logits if problem_type == "regression" else logits.sigmoid()
    assert found.unit == ("value" if problem_type == "regression" else "probability")
    assert max_difference(found.answer, answers.gather(1, target[:, None])[:, 0]) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE


def test_the_prior_may_be_the_mean_of_other_rows():
    model, inputs = classifier(), make_inputs(MODALITIES)
    reference = make_inputs(("text", "audio"), seed=5)
    found = modality_contributions(model, inputs, target=2, reference=reference)
    expected = run(model, reference).logits.softmax(dim=-1)[:, 2].mean()
    assert max_difference(found.prior, expected.expand_as(found.prior)) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer - found.prior) < TOLERANCE


def test_contributions_to_a_similarity():
    model, inputs = retriever(), make_inputs(("text", "audio"))
    with torch.no_grad():
        items = model.get_fused_features(**make_inputs(("image",), masks=None, seed=3)).pooler_output[:1]
        rows = model.get_fused_features(**inputs).pooler_output
    found = modality_contributions(model, inputs, target=items[0])
    assert found.unit == "cosine similarity" and not found.prior.any()
    assert max_difference(found.answer, rows @ items[0]) < TOLERANCE
    assert max_difference(found.values.sum(dim=1), found.answer) < TOLERANCE
    assert not found.of("image").any()
    alone = found.present.sum(dim=1) == 1
    assert max_difference(found.values[alone].sum(dim=1), (rows @ items[0])[alone]) < TOLERANCE


def test_contributions_in_a_dataset_are_those_of_its_batches():
    model, inputs = classifier(), make_inputs(MODALITIES)
    batches = [select_rows(inputs, slice(0, 4)), {**select_rows(inputs, slice(4, None)), "labels": torch.zeros(6)}]
    batches.append(make_inputs(("image", "audio")))
    model.train()
    found = dataset_contributions(model, batches, target=1)
    assert all(module.training for module in model.modules())
    expected = [modality_contributions(model, batch, target=1) for batch in batches]
    assert torch.equal(found.values, torch.cat([part.values for part in expected]))
    assert max_difference(found.values.mean(dim=0).sum(), (found.answer - found.prior).mean()) < TOLERANCE


def test_errors_of_contributions():
    inputs = make_inputs(MODALITIES)
    with pytest.raises(ValueError, match="MoTModel gives no answer"):
        modality_contributions(build(MoTModel, tiny_config()), inputs)
    with pytest.raises(ValueError, match="MoTForPreTraining gives no answer"):
        modality_contributions(build(MoTForPreTraining, tiny_config()), inputs)
    with pytest.raises(ValueError, match="`target` is .*, but the model has 4 outputs: expected 0 to 3"):
        modality_contributions(classifier(), inputs, target=4)
    with pytest.raises(ValueError, match=r"`target` has shape \(2,\)"):
        modality_contributions(classifier(), inputs, target=torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="`output` is 'score'"):
        modality_contributions(classifier(), inputs, output="score")
    with pytest.raises(ValueError, match="`target` is None; a model that retrieves needs the embeddings"):
        modality_contributions(retriever(), inputs)
    with pytest.raises(ValueError, match="`batches` holds nothing"):
        dataset_contributions(classifier(), [])
