# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tables: columns become what a loop over cells makes of them, what is empty is absent, and what training teaches."""

import datetime
import json
import math
import statistics

import numpy as np
import pytest
import torch
from helpers import build, max_difference, randomize

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForSequenceClassification,
    MoTModel,
    MoTProcessor,
    MoTTableConfig,
)
from mixture_of_transformers.cells_mot import ProcessorCall
from mixture_of_transformers.loss_mot import reconstruction_loss
from mixture_of_transformers.modalities_mot import KINDS, modality_of, raw_modality_of
from mixture_of_transformers.modality_table_mot import TableModality
from mixture_of_transformers.processing_mot import to_model
from mixture_of_transformers.table_columns_mot import check_settings, is_empty, learn_columns, table_of

TOLERANCE = 1e-5
SIZES = (2, 3)
NAMES = ["age", "bmi", "dose", "sex", "ward"]
NUM_NUMBERS = 3
VITALS = TableModality.called("vitals")


def table_config(**fields):
    fields = {"num_numbers": NUM_NUMBERS, "category_sizes": list(SIZES), "column_names": NAMES} | fields
    return MoTTableConfig(
        **{"hidden_size": 32, "num_attention_heads": 4, "hidden_dropout": 0.0, "layer_norm_eps": 1e-5} | fields
    )


def table_embeddings(**fields):
    config = table_config(**fields)
    torch.manual_seed(0)
    return randomize(modality_of(config, "vitals").embeddings(config), std=0.5).eval()


def table_inputs(batch_size=4, seed=0):
    """Values (B, 5) and a mask with gaps; an unknown category among them."""
    generator = torch.Generator().manual_seed(seed)
    numbers = torch.randn(batch_size, NUM_NUMBERS, generator=generator) * 3
    categories = [torch.randint(0, size + 1, (batch_size, 1), generator=generator) for size in SIZES]
    mask = torch.rand(batch_size, len(NAMES), generator=generator) < 0.7
    mask[:, 0] = True
    return torch.cat([numbers, *categories], dim=1), mask.long()


def embed(embeddings, values, mask=None, **options):
    return embeddings(values, mask, torch.full((1, 32), 0.25), **options)


def collect(settings, cells):
    call = ProcessorCall(None, {}, {}, allow_urls=False, max_audio_seconds=None, settings=settings)
    return VITALS.collect({"vitals": cells}, call)


# Tokens


@pytest.mark.parametrize("position_embedding_type", ["learned", "sinusoidal"])
def test_tokens_are_those_of_a_loop_over_cells(position_embedding_type):
    embeddings = table_embeddings(position_embedding_type=position_embedding_type)
    values, mask = table_inputs()
    tokens = embed(embeddings, values, mask)
    edges = [statistics.NormalDist().inv_cdf((2 * i + 0.5) / 33) for i in range(17)]
    for row in range(len(values)):
        for column in range(len(NAMES)):
            if not mask[row, column]:
                continue
            value = values[row, column].item()
            if column < NUM_NUMBERS:
                shares = [min(1.0, max(0.0, (value - a) / (b - a))) for a, b in zip(edges, edges[1:])]
                weight = embeddings.number_embeddings.weight[column]
                expected = sum(f * w for f, w in zip([*shares, math.asinh(value)], weight))
            else:
                category = column - NUM_NUMBERS
                first = sum(SIZES[:category])
                table = embeddings.category_embeddings.weight
                expected = table[first + int(value) - 1] if value else torch.zeros(32)
            if position_embedding_type == "learned":
                position = embeddings.position_embeddings.weight[column]
            else:
                angles = [column / 10000 ** (i / 32) for i in range(0, 32, 2)]
                position = torch.tensor([f(angle) for angle in angles for f in (math.sin, math.cos)])
            assert max_difference(tokens[row, column], expected + position + 0.25) < TOLERANCE


def test_a_token_does_not_depend_on_which_other_cells_are_empty():
    embeddings = table_embeddings()
    values, mask = table_inputs()
    whole, holed = embed(embeddings, values), embed(embeddings, values, mask)
    assert whole[mask.bool()].equal(holed[mask.bool()])
    assert embeddings.token_mask(values, mask).equal(mask.bool())


@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e30, -3.0, 0.5])
def test_what_stands_in_an_empty_cell_changes_nothing(poison):
    embeddings = table_embeddings()
    values, mask = table_inputs()
    results = []
    for inputs in (values, values.masked_fill(mask == 0, poison)):
        embeddings.zero_grad()
        tokens = embed(embeddings, inputs, mask)
        tokens.masked_fill(mask[..., None] == 0, 0).square().sum().backward()
        results.append((tokens, *(p.grad.clone() for p in embeddings.parameters())))
    assert all(a.equal(b) for a, b in zip(*results))


@pytest.mark.parametrize("value", [1e30, -1e30, 3.4e38, 1e-30])
def test_outliers_have_finite_tokens_and_gradients(value):
    embeddings = table_embeddings()
    values, _ = table_inputs()
    values[0, 0] = value
    embed(embeddings, values).square().sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in embeddings.parameters())


def test_outliers_beyond_float32_are_finite_too_and_differ_from_smaller_ones():
    embeddings = table_embeddings()
    values = torch.tensor([[10.0, 0, 0, 1, 1], [1000.0, 0, 0, 1, 1], [1e300, 0, 0, 1, 1]], dtype=torch.float64)
    tokens = embed(embeddings, values)[:, 0]
    assert tokens.isfinite().all()
    assert (tokens[0] - tokens[1]).norm() > 0.1 and (tokens[1] - tokens[2]).norm() > 0.1


def test_rows_are_permuted_with_their_tokens():
    embeddings = table_embeddings()
    values, mask = table_inputs()
    order = torch.tensor([2, 0, 3, 1])
    assert embed(embeddings, values, mask)[order].equal(embed(embeddings, values[order], mask[order]))


def test_any_number_of_columns_takes_one_call_of_each_embedding():
    config = {"num_numbers": 9, "category_sizes": [2] * 7, "column_names": None}
    embeddings, calls = table_embeddings(**config), []
    for name, module in embeddings.named_modules():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    embed(embeddings, torch.ones(3, 16))
    assert sorted(calls) == ["", "category_embeddings", "dropout", "number_embeddings", "position_embeddings"]


def test_a_hidden_cell_keeps_its_column_and_loses_its_value():
    embeddings = table_embeddings()
    values, mask = table_inputs()
    hidden, token = torch.zeros(4, 5, dtype=torch.bool), torch.full((32,), 7.0)
    hidden[:, [1, 4]] = True
    tokens = embed(embeddings, values, hidden=hidden, mask_token=token)
    for column in (1, 4):
        expected = token + embeddings.position_embeddings.weight[column] + 0.25
        assert max_difference(tokens[:, column], expected.expand(4, -1)) < TOLERANCE
    others = [0, 2, 3]
    assert tokens[:, others].equal(embed(embeddings, values)[:, others])


@pytest.mark.parametrize("fields", [{"category_sizes": []}, {"num_numbers": 0}], ids=["numbers", "categories"])
def test_a_table_may_hold_numbers_alone_or_categories_alone(fields):
    embeddings = table_embeddings(column_names=None, **fields)
    tokens = embed(embeddings, torch.ones(2, embeddings.config.num_columns))
    assert tokens.shape == (2, embeddings.config.num_columns, 32) and tokens.isfinite().all()
    assert embeddings.targets(torch.ones(2, embeddings.config.num_columns), None).isfinite().any()


def test_every_parameter_has_a_gradient_by_the_stand_in():
    embeddings = table_embeddings()
    embed(embeddings, embeddings.stand_in(torch.device("cpu"), torch.float32))[:, :1].sum().backward()
    assert all(parameter.grad is not None for parameter in embeddings.parameters())


def test_embeddings_compile_export_and_run_under_autocast():
    embeddings = table_embeddings()
    values, mask = table_inputs()
    expected = embed(embeddings, values, mask)
    compiled = torch.compile(embeddings, backend="eager", fullgraph=True)
    assert max_difference(embed(compiled, values, mask), expected) < TOLERANCE
    arguments = (values, mask, torch.full((1, 32), 0.25))
    exported = torch.export.export(embeddings, arguments).module()
    assert max_difference(exported(*arguments), expected) < TOLERANCE
    with torch.autocast("cpu", torch.bfloat16):
        assert max_difference(embed(embeddings, values, mask).float(), expected) < 0.2


# Bad input


@pytest.mark.parametrize(
    "place, value, message",
    [
        ((1, 2), torch.inf, r"`vitals_values` holds inf in row 1, column 'dose': expected a finite number"),
        ((2, 0), torch.nan, r"holds nan in row 2, column 'age'.*masked out by `vitals_mask`"),
        ((0, 3), 3.0, r"holds 3 in row 0, column 'sex', a category of 2 values: expected a whole number, 1 to 2"),
        ((3, 4), -1.0, r"holds -1 in row 3, column 'ward'"),
        ((3, 4), 0.5, r"holds 0.5 in row 3, column 'ward'"),
    ],
)
def test_what_is_no_number_and_no_category_is_named_with_its_row_and_column(place, value, message):
    values, _ = table_inputs()
    values[place] = value
    with pytest.raises(ValueError, match=message):
        embed(table_embeddings(), values)


def test_a_category_that_is_out_of_range_never_becomes_one_of_another_column():
    """Where values are not looked at, torch's own assertion finds it."""
    embeddings = table_embeddings()
    with pytest.raises(IndexError):
        embeddings.embed_categories(torch.tensor([[3.0, 1.0]]))


@pytest.mark.parametrize("shape", [(2, 4), (2, 6), (2, 5, 1), (10,)])
def test_a_table_of_another_width_is_refused(shape):
    with pytest.raises(ValueError, match=r"`vitals_values` has shape .* expected \(batch, 5\): 3 numbers, then 2"):
        embed(table_embeddings(), torch.zeros(shape))


def test_half_precision_that_cannot_tell_categories_apart_is_refused():
    embeddings = table_embeddings(category_sizes=[2, 257])
    with pytest.raises(ValueError, match="bfloat16, which tells 256 categories apart, and a column has 257"):
        embed(embeddings, torch.ones(1, 5, dtype=torch.bfloat16))


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"category_sizes": [2, 0]}, "at least 1"),
        ({"column_names": ["age"]}, "has 1 names, expected one for each of 5 columns"),
        ({"num_numbers": -1}, "num_numbers` is -1"),
        ({"backbone_config": {"model_type": "bert"}}, "No model of transformers reads the columns of a table"),
        ({"feature_size": 4, "num_numbers": 0, "category_sizes": [], "column_names": None}, "sinusoidal"),
    ],
)
def test_a_config_that_cannot_be_is_refused(fields, message):
    with pytest.raises(Exception, match=message):
        table_config(**fields)


def test_a_table_without_columns_has_no_embeddings():
    with pytest.raises(ValueError, match="`vitals_config` is that of a table without columns"):
        modality_of(MoTTableConfig(), "vitals").embeddings(MoTTableConfig())


# Pretraining


def test_targets_are_those_of_a_loop_over_cells():
    embeddings = table_embeddings()
    values, mask = table_inputs(batch_size=6)
    targets = embeddings.targets(values, mask)
    assert targets.shape == (6, 5, VITALS.target_size(embeddings.config)) == (6, 5, 1 + sum(SIZES))
    for row in range(6):
        for column in range(5):
            expected = torch.full((1 + sum(SIZES),), torch.nan)
            value = values[row, column].item()
            if mask[row, column] and column < NUM_NUMBERS:
                expected[0] = math.asinh(value)
            elif mask[row, column] and value > 0:
                first = 1 + sum(SIZES[: column - NUM_NUMBERS])
                expected[first : first + SIZES[column - NUM_NUMBERS]] = 0
                expected[first + int(value) - 1] = 1
            assert torch.allclose(targets[row, column], expected, equal_nan=True)


def test_the_loss_is_squared_error_of_numbers_and_cross_entropy_within_each_category():
    embeddings = table_embeddings()
    values, mask = table_inputs(batch_size=6)
    targets = embeddings.targets(values, mask)
    predictions = torch.randn(targets.shape, requires_grad=True)
    covered = torch.rand(6, 5) < 0.6
    loss = reconstruction_loss(predictions, targets, VITALS.reconstruction_loss, covered)
    terms = []
    for row, column in (covered & (mask == 1)).nonzero().tolist():
        value = values[row, column]
        if column < NUM_NUMBERS:
            terms.append((predictions[row, column, 0] - value.asinh()) ** 2)
        elif value > 0:
            first = 1 + sum(SIZES[: column - NUM_NUMBERS])
            scores = predictions[row, column, first : first + SIZES[column - NUM_NUMBERS]]
            terms.append(torch.nn.functional.cross_entropy(scores, value.long() - 1))
    assert max_difference(loss, torch.stack(terms).mean()) < TOLERANCE
    loss.backward()
    assert predictions.grad.isfinite().all()


def test_the_loss_of_nothing_is_zero_with_zero_gradients():
    targets = torch.full((2, 5, 6), torch.nan)
    predictions = torch.randn(2, 5, 6, requires_grad=True)
    loss = reconstruction_loss(predictions, targets, "mixed")
    loss.backward()
    assert loss == 0 and predictions.grad.eq(0).all()


# What the processor makes of rows

SETTINGS = {
    "numbers": {"bmi": {"mean": 25.0, "std": 5.0}, "age": {"quantiles": [20.0, 40.0, 40.0, 80.0]}},
    "categories": {"ward": ["A", "B", "1"], "sex": ["f", "m"]},
}


def test_rows_become_values_in_the_order_of_names_whatever_the_order_of_keys():
    rows = [{"sex": "m", "ward": 1, "age": 40, "bmi": "30"}, None, {"bmi": 20.5, "age": None, "sex": "  "}]
    batch = collect(SETTINGS, rows)
    expected = torch.tensor([[0.0, 1.0, 2, 3], [torch.nan] * 4, [torch.nan, -0.9, torch.nan, torch.nan]])
    assert torch.allclose(batch["vitals_values"], expected, equal_nan=True, atol=1e-6)
    assert batch["vitals_mask"].tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 0, 0]]
    shuffled = json.loads(json.dumps(SETTINGS, sort_keys=True))  # as a processor is saved
    assert list(shuffled["numbers"]) != list(SETTINGS["numbers"])
    assert collect(shuffled, rows)["vitals_values"].nan_to_num(9).equal(batch["vitals_values"].nan_to_num(9))
    assert VITALS.config_fields(shuffled) == VITALS.config_fields(SETTINGS)
    assert VITALS.config_fields(SETTINGS) == {
        "num_numbers": 2,
        "category_sizes": [2, 3],
        "column_names": ["age", "bmi", "sex", "ward"],
    }


@pytest.mark.parametrize(
    "empty", [None, math.nan, "", "  ", "nan", np.nan, np.float32("nan"), torch.tensor(math.nan), np.datetime64("NaT")]
)
def test_none_nan_and_blank_strings_are_empty_cells(empty):
    batch = collect(SETTINGS, [{"age": empty, "sex": empty, "bmi": 20}])
    assert batch["vitals_mask"].tolist() == [[0, 1, 0, 0]]


@pytest.mark.parametrize("one", [1, 1.0, "1", " 1 ", np.int64(1), np.float64(1), torch.tensor(1)])
def test_a_value_is_the_same_in_whatever_type_it_comes(one):
    batch = collect(SETTINGS, [{"ward": one, "bmi": one}])
    assert batch["vitals_values"][0, 3] == 3 and batch["vitals_values"][0, 1] == pytest.approx(-4.8)


def test_a_value_that_training_did_not_have_is_unknown_and_real():
    batch = collect(SETTINGS, [{"sex": "x"}])
    assert batch["vitals_values"][0, 2] == 0 and batch["vitals_mask"][0, 2] == 1


@pytest.mark.parametrize(
    "row, message",
    [
        ({"aeg": 3}, r"vitals\[1\] has a column 'aeg'; did you mean 'age'\?"),
        ({"age": "old"}, r"vitals\[1\]\['age'\] is 'old', and the column holds numbers"),
        ({"age": "1_0"}, r"is '1_0', and the column holds numbers"),
        ({"age": math.inf}, r"vitals\[1\]\['age'\] is inf, beyond all numbers"),
        ({"age": 10**400}, r"beyond all numbers"),
        ({"age": [3]}, r"vitals\[1\] has a column 'age_0'; did you mean 'age'\?"),
        ({"age": datetime.date(2024, 1, 5)}, r"is a date or a time, 2024-01-05: give what matters of it as numbers"),
        ({"age": np.datetime64("2024-01-05", "ns")}, r"is a date or a time, 2024-01-05"),
        ([3, 4], r"vitals\[1\] has type list: expected a dict of its columns"),
    ],
)
def test_a_cell_that_cannot_be_read_is_named(row, message):
    with pytest.raises(ValueError, match=message):
        collect(SETTINGS, [{"age": 3}, row])


def test_scores_are_those_of_a_normal_distribution_and_grow_beyond_the_quantiles():
    numbers = np.random.default_rng(0).lognormal(3, 2, 4000)
    settings = learn_columns(({"x": x} for x in numbers), "vitals")
    scores = table_of([{"x": x} for x in numbers], settings, "vitals")[:, 0]
    assert abs(scores.mean()) < 0.05 and abs(scores.std() - 1) < 0.1
    order = np.argsort(numbers)
    assert (np.diff(scores[order]) >= 0).all()
    outside = table_of([{"x": x} for x in (-1e30, -10, 1e6, 1e12, 1e30)], settings, "vitals")[:, 0]
    assert np.isfinite(outside).all() and (np.diff(outside) > 0.5).all()


# What the training split teaches


def test_columns_are_learned_with_their_kinds():
    rows = [
        {"age": 71, "sex": "f", "smoker": True, "code": "10", "visits": 0},
        None,
        {"age": 30.5, "sex": "m", "smoker": False, "code": " 12", "visits": 3},
        {"age": None, "sex": "f", "smoker": None, "code": "", "visits": 0, "late": "x"},
    ]
    settings = VITALS.learn(iter(rows))
    assert list(settings["numbers"]) == ["age", "code", "visits"]
    assert settings["categories"] == {"sex": ["f", "m"], "smoker": ["False", "True"], "late": ["x"]}
    assert set(settings["numbers"]["code"]["quantiles"]) == {10.0, 12.0}
    check_settings(json.loads(json.dumps(settings)), "vitals")
    assert learn_columns(rows, "vitals") == settings


def test_quantiles_are_those_of_numpy():
    numbers = np.random.default_rng(0).standard_normal(500)
    learned = learn_columns([{"x": x} for x in numbers], "vitals")["numbers"]["x"]["quantiles"]
    shares = (np.arange(33) + 0.5) / 33
    assert np.allclose(learned, np.sort(numbers)[np.ceil(shares * 500).astype(int) - 1])


def test_memory_does_not_grow_with_the_rows(monkeypatch):
    monkeypatch.setattr("mixture_of_transformers.table_columns_mot.MOST_SAMPLES", 500)
    monkeypatch.setattr("mixture_of_transformers.table_columns_mot.MOST_COUNTED", 100)
    rows = [{"x": i, "name": f"{i if i % 3 else 'usual'}x"} for i in range(3000)]
    settings = learn_columns(rows, "vitals")
    middle = settings["numbers"]["x"]["quantiles"][15:18]
    assert all(abs(x - 1500) < 300 for x in middle)
    assert "usualx" in settings["categories"]["name"] and len(settings["categories"]["name"]) <= 100
    assert learn_columns(rows, "vitals") == settings


def test_the_most_frequent_values_of_a_category_are_kept():
    rows = [{"name": f"n{i}"} for i in range(1500)] + [{"name": f"n{i}"} for i in range(1000, 1500)]
    values = learn_columns(rows, "vitals")["categories"]["name"]
    assert len(values) == 1000 and {f"n{i}" for i in range(1000, 1500)} <= set(values)


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"day": "2024-01-05"}], "column 'day' holds dates, such as '2024-01-05'"),
        ([{"x": 1}, {"x": math.inf}], r"vitals\[1\]\['x'\] is inf"),
        ([None], "No row has a column of vitals"),
        ([{"x": {}}], r"vitals\[0\]\['x'\] has type dict"),
    ],
)
def test_what_cannot_be_learned_is_named(rows, message):
    with pytest.raises(ValueError, match=message):
        learn_columns(rows, "vitals")


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, "have no columns"),
        ({"nubmers": {}}, "did you mean 'numbers'"),
        ({"numbers": ["age"]}, "have type list: expected a dict of columns"),
        ({"numbers": {"age": {"mean": 1.0, "std": 0.0}}}, "the scale .*: expected quantiles"),
        ({"numbers": {"age": {"quantiles": [2.0, 1.0]}}}, "the scale"),
        ({"numbers": {"age": {"quantiles": [math.nan]}}}, "the scale"),
        ({"categories": {"sex": ["f", "f"]}}, "strings that differ"),
        ({"categories": {"sex": "fm"}}, "strings that differ"),
        ({"numbers": {"a": {"quantiles": [1.0]}}, "categories": {"a": ["x"]}}, "among its numbers and its categories"),
    ],
)
def test_settings_that_cannot_be_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        VITALS.check_settings(settings)


# Encoded rows, and the kind


def test_encoded_rows_keep_their_empty_cells_in_a_batch():
    batch = collect(SETTINGS, [{"age": 40, "sex": "f"}, {"bmi": 30}, None])
    rows = [batch["vitals_values"][0], batch["vitals_values"][1], None]
    values, mask = VITALS.pad(rows, multiple=64)
    assert mask.equal(batch["vitals_mask"]) and values.equal(batch["vitals_values"].nan_to_num(0))


def test_a_list_of_records_is_segments_and_one_that_is_empty_is_none():
    (cell,) = VITALS.cells
    assert VITALS.segments_of(cell, [{"age": 3}, {"age": None, "sex": ""}]) == [{"age": 3}]
    assert VITALS.segments_of(cell, {"age": 3}) == [{"age": 3}]
    assert VITALS.segments_of(cell, {"age": None}) == []


def test_tokens_are_called_by_their_columns():
    config = table_config()
    _, mask = table_inputs()
    mask = torch.tensor([[1, 0, 1, 0, 1]])
    inputs = {"vitals_values": torch.zeros(1, 5), "vitals_mask": mask}
    assert VITALS.token_labels(config, inputs, 0, 3) == ["age", "dose", "ward"]
    assert VITALS.token_labels(table_config(column_names=None), inputs, 0, 3) == ["column 0", "column 2", "column 4"]
    assert VITALS.describe(config) == "3 numbers and 2 categories of a table (age, bmi, dose, sex, ward)"


def test_ready_features_in_place_of_a_table_are_vectors():
    config = table_config(feature_size=6)
    kind = modality_of(config, "vitals")
    assert kind.kind == "vectors" and kind.reconstruction_loss == "mse" and kind.length_limit(config) == 5
    tokens = kind.embeddings(config)(torch.randn(2, 5, 6), None, torch.zeros(1, 32))
    assert tokens.shape == (2, 5, 32)


def test_the_kind_stands_in_the_table():
    assert KINDS["mot_table"] is TableModality
    assert raw_modality_of(table_config(), "vitals").names.raw == "vitals_values"


# A whole model


def table_model(model_class=MoTModel, **fields):
    towers = {
        "text_config": {"vocab_size": 20, "num_hidden_layers": 1},
        "image_config": None,
        "audio_config": None,
        "vitals_config": {
            "model_type": "mot_table",
            "num_hidden_layers": 1,
            "num_numbers": NUM_NUMBERS,
            "category_sizes": list(SIZES),
            "column_names": NAMES,
        },
    }
    joint = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "num_joint_layers": 1}
    return build(model_class, MoTConfig(**joint, **towers, **fields))


def model_inputs():
    values, mask = table_inputs()
    mask[3] = 0  # a row whose cells are all empty
    text = torch.arange(12).reshape(4, 3)
    return {"input_ids": text, "vitals_values": values, "vitals_mask": mask}


def test_a_row_is_answered_as_if_its_empty_cells_were_not_there():
    model, inputs = table_model(), model_inputs()
    output = model(**inputs)
    poisoned = inputs | {"vitals_values": inputs["vitals_values"].masked_fill(inputs["vitals_mask"] == 0, torch.nan)}
    assert model(**poisoned).pooler_output.equal(output.pooler_output)
    for row in range(3):
        alone = model(**{name: value[row : row + 1] for name, value in inputs.items()})
        assert max_difference(alone.pooler_output[0], output.pooler_output[row]) < TOLERANCE
    without = model(input_ids=inputs["input_ids"][3:])
    assert max_difference(without.pooler_output[0], output.pooler_output[3]) < TOLERANCE


def test_a_model_with_a_table_is_saved_and_loaded(tmp_path):
    model, inputs = table_model(), model_inputs()
    model.save_pretrained(tmp_path)
    loaded, report = MoTModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    assert loaded.config.vitals_config.to_diff_dict() | {
        "dtype": None
    } == model.config.vitals_config.to_diff_dict() | {"dtype": None}
    assert loaded.eval()(**inputs).pooler_output.equal(model(**inputs).pooler_output)


def test_fresh_weights_of_a_table_have_the_scale_of_positions(tmp_path):
    torch.manual_seed(0)
    model = MoTModel(table_model().config)
    embeddings = model.embeddings["vitals"]
    values = torch.cat([torch.randn(500, NUM_NUMBERS), torch.ones(500, 2)], dim=1)
    tokens, positions = embeddings.embed(values, None, torch.float32)
    assert 0.3 < tokens[:, :NUM_NUMBERS].std() < 2 and 0.7 < positions.std() < 1.3
    assert 0.5 < embeddings.category_embeddings.weight.std() < 1.5


def test_records_of_a_row_are_segments_whose_cells_keep_their_columns():
    model, inputs = table_model(), model_inputs()
    values, mask = inputs["vitals_values"][:3], inputs["vitals_mask"][:3]
    segments = torch.arange(3).repeat_interleave(5)[None]
    together = model(vitals_values=values.reshape(1, -1), vitals_mask=mask.reshape(1, -1), vitals_segments=segments)
    encoded = [model.encode(vitals_values=v[None], vitals_mask=m[None]) for v, m in zip(values, mask)]
    own = model.encode(vitals_values=values.reshape(1, -1), vitals_mask=mask.reshape(1, -1), vitals_segments=segments)
    states = own.layouts["vitals"].unpack(own.hidden_states["vitals"]).reshape(3, 5, 32)
    for i, part in enumerate(encoded):
        alone = part.layouts["vitals"].unpack(part.hidden_states["vitals"])[0]
        assert max_difference(states[i][mask[i].bool()], alone[mask[i].bool()]) < TOLERANCE
    assert together.pooler_output.isfinite().all()
    with pytest.raises(ValueError, match="has 15 columns, expected 5. Several records .* `vitals_segments`"):
        model(vitals_values=values.reshape(1, -1), vitals_mask=mask.reshape(1, -1))


def test_pretraining_hides_and_predicts_cells():
    model, inputs = table_model(MoTForPreTraining), model_inputs()
    torch.manual_seed(0)
    output = model.train()(**inputs)
    assert output.losses["vitals"] > 0 and output.loss.isfinite()
    output.loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    model.zero_grad()
    model(input_ids=inputs["input_ids"]).loss.backward()  # a batch without the table
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_half_precision_leaves_the_indices_of_categories_as_they_are():
    model, inputs = table_model().to(torch.bfloat16), model_inputs()
    values = to_model("vitals_values", inputs["vitals_values"], model)
    assert values.dtype == torch.float32 and to_model("other", values, model).dtype == torch.bfloat16
    assert model(**inputs).pooler_output.isfinite().all()


def test_a_table_is_learned():
    """Numbers with outliers, categories and gaps: a few hundred steps tell two classes apart by either."""
    generator = np.random.default_rng(0)
    rows = [
        {"x": generator.standard_cauchy() * 1e3, "kind": "abcd"[generator.integers(4)], "noise": generator.normal()}
        for _ in range(256)
    ]
    labels = torch.tensor([int((abs(row["x"]) < 1e3) ^ (row["kind"] in "ab")) for row in rows])
    settings = VITALS.learn(rows)
    config = MoTConfig(
        hidden_size=32,
        num_attention_heads=4,
        intermediate_size=64,
        text_config=None,
        image_config=None,
        audio_config=None,
        num_labels=2,
        vitals_config={"model_type": "mot_table", "num_hidden_layers": 1, **VITALS.config_fields(settings)},
    )
    torch.manual_seed(0)
    model = MoTForSequenceClassification(config).train()
    batch = collect(settings, rows)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        model(**batch, labels=labels).loss.backward()
        optimizer.step()
    accuracy = (model.eval()(**batch).logits.argmax(dim=-1) == labels).float().mean()
    assert accuracy > 0.95


def test_the_processor_reads_tables_and_is_saved_with_their_settings(tmp_path):
    rows = [{"age": 71, "sex": "f"}, [{"bmi": 30, "sex": "m"}, {"age": None}, {"ward": "B"}], {"sex": None}]
    processor = MoTProcessor(modalities={"vitals": {"kind": "table", **SETTINGS}})
    batch = processor(text=["a", "b", "c"], vitals=rows)
    assert batch["vitals_mask"].tolist() == [[1, 0, 1, 0] + [0] * 4, [0, 1, 1, 0, 0, 0, 0, 1], [0] * 8]
    assert batch["vitals_segments"][1].tolist() == [0] * 4 + [1] * 4
    processor.save_pretrained(tmp_path)
    again = MoTProcessor.from_pretrained(tmp_path)(text=["a", "b", "c"], vitals=rows)
    assert all(torch.equal(again[name].nan_to_num(9), value.nan_to_num(9)) for name, value in batch.items())
    with pytest.raises(ValueError, match="Row 1 is empty"):
        processor(vitals=[{"age": 3}, {"age": None, "sex": " "}])


@pytest.mark.parametrize("form", [list, tuple, np.array, torch.tensor])
def test_the_places_of_a_vector_are_columns_each_on_its_own_scale(form):
    rows = [{"age": i, "moments": form([i / 8, 1000.0 * i, -float(i)])} for i in range(20)]
    apart = [{"age": i, "moments_0": i / 8, "moments_1": 1000.0 * i, "moments_2": -float(i)} for i in range(20)]
    settings = learn_columns(rows, "vitals")
    assert sorted(settings["numbers"]) == ["age", "moments_0", "moments_1", "moments_2"]
    assert settings == learn_columns(apart, "vitals")
    np.testing.assert_array_equal(table_of(rows, settings, "vitals"), table_of(apart, settings, "vitals"))
    with pytest.raises(ValueError, match=r"vitals\[0\]\['moments_0'\] has type list: expected a number"):
        learn_columns([{"moments": [[1]]}], "vitals")
    assert is_empty({"moments": form([math.nan, math.nan])}) and not is_empty(rows[0])
