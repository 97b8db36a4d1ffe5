# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Block-sparse attention: the pattern is the specified one and every backend computes the dense product under it.

The references are loops in plain Python over blocks and tokens, and attention written out with a mask.
"""

import copy
import itertools

import pytest
import torch
from helpers import ARCHITECTURES, MODALITIES, build, make_inputs, max_difference, run, select_rows, tiny_config
from torch.utils._python_dispatch import TorchDispatchMode

from mixture_of_transformers import MoTConfig, MoTModel
from mixture_of_transformers.sparse_attention_mot import (
    BlockSparsity,
    block_pattern,
    block_sparse_attention,
    block_sparse_flex_attention,
    block_sparse_mask,
)

TOLERANCE = 1e-5
# Lengths of each modality of a row: partial blocks, single tokens, missing modalities.
ROWS = ((7, 5, 11), (0, 9, 1), (1, 0, 0), (13, 0, 4), (4, 4, 4))
OPTIONS = BlockSparsity(block_size=3, sparsity=0.6, seed=5, layer=2)
every_sparsity = pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.6, 0.9])


# The pattern


def draw(total, options, query, key):
    """The hash in Python's own integers."""
    word = total * 0x3C6EF373 + query * 0x510E527F + key * 0x6A09E667
    word = (word + options.seed * 0x5BE0CD19 % 2**32 + options.layer * 0x1F83D9AB) % 2**32
    word = (word ^ (word >> 15)) * 0x2C1B3C6D % 2**32
    word = (word ^ (word >> 12)) * 0x297A2D39 % 2**32
    return word ^ (word >> 15)


def kept_blocks(counts, options):
    """Query block -> the set of key blocks it keeps, as the specification says it."""
    total = sum(counts)
    firsts = {sum(counts[:m]) for m, count in enumerate(counts) if count}
    kept = []
    for query in range(total):
        required = firsts | {query}
        others = sorted(set(range(total)) - required, key=lambda key: draw(total, options, query, key))
        number = max(len(required), round((1 - options.sparsity) * total))
        number = total if total <= options.min_blocks else number
        kept.append(required | set(others[: number - len(required)]))
    return kept


@every_sparsity
@pytest.mark.parametrize("spare", [0, 3])
def test_pattern_is_the_specified_one(sparsity, spare):
    options = OPTIONS._replace(sparsity=sparsity)
    counts = [(3, 2, 4), (0, 3, 1), (1, 0, 0), (8, 0, 5), (0, 0, 0)]
    num_blocks = max(map(sum, counts)) + spare
    pattern = block_pattern(torch.tensor(counts), num_blocks, options)
    for row, kept in zip(counts, pattern):
        found = [set(queries.nonzero().flatten().tolist()) for queries in kept]
        assert found == kept_blocks(row, options) + [set()] * (num_blocks - sum(row))


def test_a_saved_pattern_stays_what_it_was():
    """Checkpoints were trained with it: a change here would silently change what they compute."""
    pattern = block_pattern(torch.tensor([[3, 2, 3]]), 8, BlockSparsity(64, 0.5, seed=7, layer=1))[0]
    assert ["".join(".x"[kept] for kept in row) for row in pattern.tolist()] == PINNED


PINNED = [
    "xx.x.x..",
    "xx.x.x..",
    "x.xx.x..",
    "x..x.xx.",
    "x..xxx..",
    "x..xxx..",
    "x..x.xx.",
    "x..x.x.x",
]


def test_patterns_differ_by_layer_and_seed():
    counts = torch.tensor([[10, 10, 10]])
    patterns = [
        block_pattern(counts, 30, BlockSparsity(64, 0.8, seed, layer)) for seed in (0, 1) for layer in (0, 1, 2)
    ]
    for first, second in itertools.combinations(patterns, 2):
        assert not torch.equal(first, second)


@every_sparsity
@pytest.mark.parametrize("min_blocks", [0, 4])
def test_a_row_that_keeps_all_its_blocks_is_known(sparsity, min_blocks):
    """So that it can be left to dense attention."""
    options = OPTIONS._replace(sparsity=sparsity, min_blocks=min_blocks)
    for counts in itertools.product(range(4), repeat=3):
        kept = kept_blocks(counts, options)
        leaves_out = any(len(blocks) < sum(counts) for blocks in kept)
        assert options.applies_to([count * options.block_size for count in counts]) == leaves_out


def test_short_rows_of_an_encoder_keep_everything():
    options = OPTIONS._replace(min_blocks=6)
    counts = torch.tensor([[6], [7]])
    pattern = block_pattern(counts, 7, options)
    assert pattern[0, :6, :6].all() and not pattern[1].all()


def test_mask_counts_real_tokens_only():
    """Holes and padding on any side move no block: the mask of the real tokens is that of the row alone."""
    torch.manual_seed(0)
    masks = [torch.rand(6, length) < 0.7 for length in (9, 4, 12)]
    masks[1][2] = False
    allowed = block_sparse_mask(masks, OPTIONS)
    real = torch.cat(masks, dim=1)
    assert allowed.any(dim=-1).all() and not (allowed & ~real[:, None]).any()
    for row in range(6):
        alone = [torch.ones(1, int(mask[row].sum()), dtype=torch.bool) for mask in masks]
        places = real[row].nonzero().flatten()
        assert torch.equal(allowed[row][places][:, places], block_sparse_mask(alone, OPTIONS)[0])


def test_a_row_without_tokens_may_look_at_anything():
    allowed = block_sparse_mask([torch.zeros(1, 4, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)], OPTIONS)
    assert allowed.all()


# The kernels


def token_mask(rows, options):
    """(N, N) by loops over rows and tokens: who may look at whom."""
    blocks, kept_by_block = [], []
    for row, lengths in enumerate(rows):
        counts = [-(-length // options.block_size) for length in lengths]
        for m, length in enumerate(lengths):
            blocks += [(row, sum(counts[:m]) + i // options.block_size) for i in range(length)]
        kept_by_block.append(kept_blocks(counts, options))
    return torch.tensor(
        [[q_row == k_row and k in kept_by_block[q_row][q] for k_row, k in blocks] for q_row, q in blocks]
    )


def packed_tokens(rows, dtype=torch.float32):
    torch.manual_seed(0)
    tokens = sum(map(sum, rows))
    return [torch.randn(1, 2, tokens, 8, dtype=dtype, requires_grad=True) for _ in range(3)]


def dense(query, key, value, mask, scaling):
    scores = (query @ key.transpose(-1, -2) * scaling).masked_fill(~mask, -torch.inf)
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


@every_sparsity
@pytest.mark.parametrize("block_size", [1, 3, 64])
def test_packed_equals_dense_attention_under_the_mask(block_size, sparsity):
    options = OPTIONS._replace(block_size=block_size, sparsity=sparsity)
    tokens = packed_tokens(ROWS)
    mask = token_mask(ROWS, options)
    output, expected = block_sparse_attention(*tokens, ROWS, options, 0.3), dense(*tokens, mask, 0.3)
    torch.testing.assert_close(output, expected, atol=TOLERANCE, rtol=0)
    weights = torch.randn_like(output)
    for ours, reference in zip(*(torch.autograd.grad((o * weights).sum(), tokens) for o in (output, expected))):
        torch.testing.assert_close(ours, reference, atol=TOLERANCE, rtol=0)


def test_packed_gradients_in_float64():
    rows = ((4, 3, 5), (0, 2, 0))
    tokens = packed_tokens(rows, torch.float64)
    assert torch.autograd.gradcheck(lambda *tokens: block_sparse_attention(*tokens, rows, OPTIONS, 0.3), tokens)


@every_sparsity
def test_flex_equals_dense_attention_under_the_mask(sparsity):
    """Run as plain operations, as everywhere on a CPU."""
    options = OPTIONS._replace(sparsity=sparsity)
    tokens = [states.detach() for states in packed_tokens(ROWS)]
    with torch.compiler.set_stance("force_eager"):
        output = block_sparse_flex_attention(*tokens, ROWS, options, 0.3)
    torch.testing.assert_close(output, dense(*tokens, token_mask(ROWS, options), 0.3), atol=TOLERANCE, rtol=0)


class LargestTensor(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.numel = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        output = operation(*args, **(kwargs or {}))
        for tensor in output if isinstance(output, (tuple, list)) else [output]:
            if isinstance(tensor, torch.Tensor):
                self.numel = max(self.numel, tensor.numel())
        return output


def test_nothing_of_the_size_of_all_pairs_is_ever_held():
    rows, heads, width = ((1024, 1024, 2048),), 2, 8
    tokens = [torch.randn(1, heads, sum(rows[0]), width, requires_grad=True) for _ in range(3)]
    options = BlockSparsity(64, 0.9, seed=0, layer=0)
    with LargestTensor() as largest:
        block_sparse_attention(*tokens, rows, options, 0.3).sum().backward()
    assert largest.numel < heads * sum(rows[0]) ** 2 / 50


# The model


def sparse_config(architecture, **options):
    options = {"block_size": 2, "sparsity": 0.5, "min_encoder_tokens": 3} | options
    return tiny_config(architecture, sparse_attention=options)


@pytest.mark.parametrize("masks", ["padding", None])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_every_backend_computes_the_same_pattern(architecture, masks):
    eager = build(MoTModel, sparse_config(architecture))
    inputs = make_inputs(MODALITIES, masks=masks)
    eager.set_attn_implementation("eager")
    expected = run(eager, inputs).last_hidden_state
    dense_model = MoTModel(tiny_config(architecture)).eval()
    dense_model.load_state_dict(eager.state_dict())
    assert max_difference(run(dense_model, inputs).last_hidden_state, expected) > 1e-3
    for attention in ("sdpa", "flex_attention"):
        model = copy.deepcopy(eager)
        model.set_attn_implementation(attention)
        with torch.compiler.set_stance("force_eager"):
            assert max_difference(run(model, inputs).last_hidden_state, expected) < TOLERANCE


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_gradients_equal_those_of_the_masked_model(architecture):
    packed = build(MoTModel, sparse_config(architecture)).train()
    masked = copy.deepcopy(packed)
    masked.set_attn_implementation("eager")
    inputs = make_inputs(MODALITIES)
    for model in (packed, masked):
        model(**inputs).last_hidden_state.square().mean().backward()
    for (name, ours), reference in zip(packed.named_parameters(), masked.parameters()):
        scale = max(1.0, reference.grad.abs().max().item())
        torch.testing.assert_close(ours.grad, reference.grad, atol=TOLERANCE * scale, rtol=0, msg=name)


def test_a_row_answers_as_if_alone():
    model = build(MoTModel, sparse_config("joint_only"))
    inputs = make_inputs(MODALITIES)
    together = run(model, inputs).pooler_output
    for row in range(len(together)):
        alone = run(model, select_rows(inputs, [row])).pooler_output
        assert max_difference(alone[0], together[row]) < TOLERANCE


def test_the_pattern_is_saved_with_the_checkpoint(tmp_path):
    model = build(MoTModel, sparse_config("default", seed=11))
    model.save_pretrained(tmp_path)
    loaded = MoTModel.from_pretrained(tmp_path).eval()
    inputs = make_inputs(MODALITIES)
    assert loaded.config.sparse_attention == model.config.sparse_attention
    assert torch.equal(run(loaded, inputs).last_hidden_state, run(model, inputs).last_hidden_state)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"sparsty": 0.5}, "no option 'sparsty'; it takes block_size, sparsity, seed"),
        ({"sparsity": 1.0}, r"'sparsity'\]` must be a number from 0 to below 1, got 1.0"),
        ({"block_size": 0}, r"'block_size'\]` must be an int of at least 1 and at most 2\*\*16, got 0"),
        ({"seed": -1}, r"'seed'\]` must be an int from 0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MoTConfig(sparse_attention=options)


def test_attention_dropout_is_refused():
    with pytest.raises(Exception, match="`attention_dropout` must be 0, got 0.1"):
        MoTConfig(sparse_attention={}, attention_dropout=0.1)
