# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What is trained, evaluated, compared and attributed stays bounded however many modalities there are."""

import itertools

import pytest
import torch
from helpers import MODALITIES, build, make_inputs, tiny_config

from mixture_of_transformers import MoTForRetrieval, MoTForSequenceClassification, attribution_mot
from mixture_of_transformers.attribution_mot import exact_shapley, modality_contributions, sampled_shapley
from mixture_of_transformers.contrastive_mot import contrastive_pairs, name_scales
from mixture_of_transformers.finetune.table import subsets_line
from mixture_of_transformers.subsets_mot import all_subsets, bounded_subsets, subset_name

PLAYERS = 7
EVERYBODY = torch.ones(2, PLAYERS, dtype=torch.bool)
NOTHING = torch.zeros(2, dtype=torch.float64)


@pytest.mark.parametrize("number", range(1, 10))
def test_subsets_are_all_up_to_four_modalities_and_beyond_singles_all_but_one_and_all(number):
    names = [f"m{i}" for i in range(number)]
    subsets = bounded_subsets(names)
    assert subsets == [s for s in all_subsets(names) if number <= 4 or len(s) in (1, number - 1, number)]
    results = {"subsets": {subset_name(subset): {} for subset in subsets}}
    assert (subsets_line(results) is None) == (number <= 4)
    assert len(contrastive_pairs(tuple(names))) == number * (number - 1) // 2 + number * (2 if number > 2 else 1)


def share_of_runway(costs):
    """The game of the airport: a set costs what its largest member does; whose Shapley values are known in closed form
    (Littlechild and Owen, 1973)."""
    order, values = costs.argsort(), torch.zeros_like(costs)
    paid, before = 0.0, 0.0
    for place, player in enumerate(order.tolist()):
        paid += (costs[player].item() - before) / (len(costs) - place)
        values[player], before = paid, costs[player].item()
    return values


COSTS = torch.tensor([3.0, 1.0, 4.0, 1.5, 9.0, 2.6, 5.3], dtype=torch.float64)


def runway(subset):
    return torch.stack([COSTS[list(subset)].max(), 2 * COSTS[list(subset)].max()])


def test_exact_contributions_are_those_of_a_game_of_seven_that_is_solved():
    found = exact_shapley(runway, NOTHING, EVERYBODY)
    torch.testing.assert_close(found, torch.stack([share_of_runway(COSTS), 2 * share_of_runway(COSTS)]))


def test_sampled_contributions_come_near_by_their_error_and_sum_to_the_answer():
    runs = [sampled_shapley(runway, NOTHING, EVERYBODY, permutations=32, seed=seed) for seed in range(40)]
    values, errors = (torch.stack(parts)[:, 0] for parts in zip(*runs))  # (seeds, players)
    exact = share_of_runway(COSTS)
    torch.testing.assert_close(values.sum(dim=1), COSTS.max().expand(40))
    assert ((values.mean(dim=0) - exact).abs() < 4 * errors.mean(dim=0) / 40**0.5).all()
    assert (values.std(dim=0) / errors.mean(dim=0) > 0.6).all() and (
        values.std(dim=0) / errors.mean(dim=0) < 1.6
    ).all()
    again = sampled_shapley(runway, NOTHING, EVERYBODY, permutations=32, seed=3)
    assert torch.equal(again[0], runs[3][0]) and torch.equal(again[1], runs[3][1])


def test_both_directions_of_an_order_are_exact_where_players_act_in_pairs():
    values, error = sampled_shapley(lambda s: COSTS[list(s)].sum().square().expand(2), NOTHING, EVERYBODY, 4)
    torch.testing.assert_close(values, (COSTS * COSTS.sum()).expand(2, -1))
    assert error.abs().max() < 1e-12


def test_who_does_not_play_has_nothing_and_asks_for_nothing_twice():
    present, asked = EVERYBODY.clone(), []
    present[1, [0, 4]] = False

    def value(subset):
        asked.append(subset)
        rows = [[i for i in subset if present[row, i]] for row in range(2)]
        return torch.stack([COSTS[row].max() if row else COSTS.new_zeros(()) for row in rows])

    values, error = sampled_shapley(value, NOTHING, present)
    assert not values[1, [0, 4]].any() and not error[1, [0, 4]].any()
    torch.testing.assert_close(values.sum(dim=1), torch.stack([COSTS[present[row]].max() for row in range(2)]))
    assert len(asked) == len(set(asked))


@pytest.mark.parametrize("permutations", [2, 5])
def test_an_error_needs_two_pairs_of_orders(permutations):
    with pytest.raises(ValueError, match="expected an even number of 4 or more"):
        sampled_shapley(runway, NOTHING, EVERYBODY, permutations)


def test_a_model_of_more_modalities_than_are_asked_exactly_tells_its_error(monkeypatch):
    model, inputs = build(MoTForSequenceClassification, tiny_config(num_labels=3)), make_inputs(MODALITIES)
    exact = modality_contributions(model, inputs, target=1)
    monkeypatch.setattr(attribution_mot, "MOST_EXACT", 2)
    found = modality_contributions(model, inputs, target=1, permutations=400)
    assert exact.error is None and found.error.shape == found.values.shape
    assert ((found.values - exact.values).abs() <= 5 * found.error + 1e-6).all()
    torch.testing.assert_close(found.values.sum(dim=1), found.answer - found.prior)
    assert not found.values[~found.present].any()


# Scales by the names of their pairs


def as_it_was_saved(model):
    """The weights with scales and biases as vectors, in the order of the pairs."""
    weights = model.state_dict()
    for vector in ("log_scale", "bias"):
        names = [name for name in weights if name.startswith(f"contrastive.{vector}.")]
        weights[f"contrastive.{vector}"] = torch.cat([weights.pop(name) for name in names])
    return weights


@pytest.fixture
def retriever():
    model = build(MoTForRetrieval, tiny_config())
    with torch.no_grad():
        for number, value in zip(
            itertools.chain(*(part.parameters() for part in model.contrastive.children())), range(99)
        ):
            number.add_(value / 10)
    return model


def test_vectors_of_scales_load_by_the_names_of_their_pairs(retriever):
    old, fresh = as_it_was_saved(retriever), build(MoTForRetrieval, tiny_config())
    fresh.load_state_dict(old)
    read = MoTForRetrieval.from_pretrained(None, config=retriever.config, state_dict=old)
    for name, value in retriever.state_dict().items():
        assert torch.equal(fresh.state_dict()[name], value) and torch.equal(read.state_dict()[name], value), name


def test_an_old_folder_is_saved_by_names_and_answers_as_before(retriever, tmp_path):
    from safetensors.torch import load_file, save_file

    retriever.save_pretrained(tmp_path)
    save_file(as_it_was_saved(retriever), tmp_path / "model.safetensors", metadata={"format": "pt"})
    read, found = MoTForRetrieval.from_pretrained(tmp_path, output_loading_info=True)
    assert not found["missing_keys"] and not found["unexpected_keys"]
    read.save_pretrained(tmp_path / "new")
    assert load_file(tmp_path / "new" / "model.safetensors").keys() == retriever.state_dict().keys()
    inputs = make_inputs(("text", "image"))
    assert torch.equal(read(**inputs).logits_per_text, retriever(**inputs).logits_per_text)


def test_another_modality_shifts_no_scale(retriever):
    small = build(MoTForRetrieval, tiny_config(audio_config=None))
    with torch.no_grad():
        small.contrastive.log_scale()["text-image"].fill_(1.25)
    grown = build(MoTForRetrieval, tiny_config())
    grown.load_state_dict(as_it_was_saved(small), strict=False)
    assert grown.contrastive.log_scale()["text-image"].item() == 1.25


def test_a_vector_of_another_length_is_an_error(retriever):
    old = as_it_was_saved(retriever)
    old["contrastive.bias"] = torch.zeros(4)
    with pytest.raises(ValueError, match=r"`contrastive.bias` has shape \(4,\), .* make 9 pairs"):
        name_scales(old)
