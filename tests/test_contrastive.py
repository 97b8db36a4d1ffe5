# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The contrastive, token and reconstruction losses, held to references in float64 that go from pair to pair.

`first` and `second` are the two sides of a contrastive loss; a pair (i, j) is row i of the first with row j of the
second. Where a test gives similarities themselves, the second side is the identity matrix.
"""

import itertools
import math
from datetime import timedelta

import pytest
import torch
import torch._dynamo.testing
from distributed_steps import free_port
from forked import forked
from helpers import MODALITIES, max_difference, tiny_config
from torch.nn import functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from mixture_of_transformers import MoTForPreTraining, MoTForRetrieval, MoTModel, contrastive_mot
from mixture_of_transformers.contrastive_mot import (
    CHUNK_SIZE,
    MAX_LOG_SCALE,
    InfoNCE,
    Pairs,
    PairwiseSigmoid,
    Side,
    clamped,
    contrastive_loss,
    gather_batch,
    sigmoid_loss,
)
from mixture_of_transformers.loss_mot import IGNORED_LABEL, reconstruction_loss, token_loss
from mixture_of_transformers.modality_image_mot import normalize_patches

EXACT = 1e-12  # in float64
SINGLE = 1e-5  # in float32
NUM_ROWS, WIDTH = 7, 5
LOG_SCALE, BIAS = math.log(1 / 0.07), -2.5

# Rows 0 and 2 alike, rows 1, 5 and 6 alike, row 3 alone, row 4 unknown.
LABELS = torch.tensor([3, 0, 3, 7, IGNORED_LABEL, 0, 0])
EVERY_ROW = [True] * NUM_ROWS
# What each side has: all; rows without the second side, without the first, without any; nearly nothing in common.
MISSING = {
    "nothing": (EVERY_ROW, EVERY_ROW),
    "one side": (EVERY_ROW, [True, False, True, True, False, True, True]),
    "the other side": ([False, True, True, False, True, True, True], EVERY_ROW),
    "both": ([False, True, True, True, True, False, True], [True, True, False, True, True, False, True]),
    "much": ([True, True, True, False, False, False, False], [False, False, True, True, True, True, False]),
}
LABELLINGS = {"unlabelled": None, "labelled": LABELS, "unknown": torch.full((NUM_ROWS,), IGNORED_LABEL)}

every_missing = pytest.mark.parametrize("missing", MISSING)
every_labelling = pytest.mark.parametrize("labelling", LABELLINGS)
every_kind_of_positives = pytest.mark.parametrize("positives", ["row", "label"])
every_loss = pytest.mark.parametrize("name", ["infonce", "sigmoid"])
same_or_not = pytest.mark.parametrize("same", [False, True], ids=["two modalities", "same"])


@pytest.fixture(autouse=True)
def three_rows_at_a_time(monkeypatch):
    """Every test of a contrastive loss sees it go through chunks, the last of which is smaller."""
    monkeypatch.setattr(contrastive_mot, "CHUNK_SIZE", 3 * NUM_ROWS)


def side(vectors, present=None):
    present = torch.ones(len(vectors), dtype=torch.bool) if present is None else torch.tensor(present)
    return Side(vectors, present)


def random_sides(missing="nothing", same=False, dtype=torch.float64):
    """Random unit vectors that take gradients, zero in rows that lack them, as a model gives them."""
    sides = []
    for present in MISSING[missing]:
        vectors = F.normalize(torch.randn(NUM_ROWS, WIDTH, dtype=dtype), dim=1)
        vectors = vectors * torch.tensor(present)[:, None]
        sides.append(side(vectors.requires_grad_(), present))
    return (sides[1], sides[1]) if same else tuple(sides)


def number(value, dtype=torch.float64):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


def loss_of(name, first, second, log_scale=None, bias=None, **options):
    log_scale = number(LOG_SCALE) if log_scale is None else log_scale
    if name == "infonce":
        return contrastive_loss(first, second, log_scale, **options)
    return sigmoid_loss(first, second, log_scale, number(BIAS) if bias is None else bias, **options)


# The references, from pair to pair


def alike(labels, i, j):
    return labels is not None and labels[i] == labels[j] and labels[i] != IGNORED_LABEL


def counts(first, second, labels, positives, same, i, j):
    """Whether the pair is a positive or a negative at all."""
    if not (first.present[i] and second.present[j]):
        return False
    if same and i == j:
        return False
    return i == j or positives == "label" or not alike(labels, i, j)


def is_positive(first, second, labels, positives, same, i, j):
    matches = i == j or (positives == "label" and alike(labels, i, j))
    return matches and counts(first, second, labels, positives, same, i, j)


def similarity(first, second, i, j):
    return sum(a * b for a, b in zip(first.vectors[i].tolist(), second.vectors[j].tolist()))


def mean_of(values):
    return sum(values) / len(values) if values else 0.0


def reference_infonce(first, second, labels, positives, same):
    """The mean of both directions, each a mean over the rows with a positive, each a mean over these."""
    rules, scale, rows = (labels, positives, same), math.exp(LOG_SCALE), range(len(first.vectors))
    directions = []
    for pair in (lambda i, j: (i, j)), (lambda i, j: (j, i)):
        losses = []
        for i in rows:
            pairs = [pair(i, j) for j in rows if counts(first, second, *rules, *pair(i, j))]
            drawn = [p for p in pairs if is_positive(first, second, *rules, *p)]
            total = sum(math.exp(scale * similarity(first, second, *p)) for p in pairs)
            if drawn:
                losses.append(mean_of([math.log(total) - scale * similarity(first, second, *p) for p in drawn]))
        directions.append(mean_of(losses))
    return mean_of(directions)


def reference_sigmoid(first, second, labels, positives, same):
    """The sum over all pairs that count, for each row of the first side that has any."""
    rules, scale, rows = (labels, positives, same), math.exp(LOG_SCALE), range(len(first.vectors))
    total, counted_rows = 0.0, 0
    for i in rows:
        pairs = [(i, j) for j in rows if counts(first, second, *rules, i, j)]
        counted_rows += bool(pairs)
        for p in pairs:
            logit = scale * similarity(first, second, *p) + BIAS
            sign = 1 if is_positive(first, second, *rules, *p) else -1
            total += math.log(1 + math.exp(-sign * logit))
    return total / counted_rows if counted_rows else 0.0


REFERENCES = {"infonce": reference_infonce, "sigmoid": reference_sigmoid}


@same_or_not
@every_kind_of_positives
@every_labelling
@every_missing
@every_loss
def test_contrastive_losses_equal_the_reference(name, missing, labelling, positives, same):
    first, second = random_sides(missing, same)
    rules = {"labels": LABELLINGS[labelling], "positives": positives, "same": same}
    loss = loss_of(name, first, second, **rules)
    assert loss.shape == () and loss.dtype == torch.float32
    expected = REFERENCES[name](first, second, **rules)
    assert loss.item() == pytest.approx(expected, rel=SINGLE, abs=1e-6)


@every_loss
def test_every_rule_changes_the_loss(name):
    """Missing rows, labels, what they mean and `same` are all seen by the references."""
    sides = {missing: random_sides(missing) for missing in MISSING}
    losses = [REFERENCES[name](*pair, None, "row", False) for pair in sides.values()]
    whole = sides["nothing"]
    losses += [REFERENCES[name](*whole, LABELS, positives, False) for positives in ("row", "label")]
    losses += [REFERENCES[name](whole[1], whole[1], LABELS, "label", same) for same in (False, True)]
    assert len({round(loss, 6) for loss in losses}) == len(losses)


def test_infonce_is_the_loss_of_clip_where_nothing_is_missing():
    first, second = random_sides()
    logits = math.exp(LOG_SCALE) * first.vectors @ second.vectors.T
    rows = torch.arange(NUM_ROWS)
    expected = (F.cross_entropy(logits, rows) + F.cross_entropy(logits.T, rows)) / 2
    assert max_difference(loss_of("infonce", first, second), expected) < SINGLE


def test_infonce_is_symmetric():
    first, second = random_sides("both")
    for positives in ("row", "label"):
        rules = {"labels": LABELS, "positives": positives}
        forth, back = loss_of("infonce", first, second, **rules), loss_of("infonce", second, first, **rules)
        assert max_difference(forth, back) < 1e-6


@same_or_not
@every_kind_of_positives
@every_loss
def test_rows_in_another_order_give_the_same_loss(name, positives, same):
    first, second = random_sides("both", same)
    order = torch.randperm(NUM_ROWS)
    shuffled = [Side(part.vectors[order], part.present[order]) for part in (first, second)]
    rules = {"positives": positives, "same": same}
    loss = loss_of(name, first, second, labels=LABELS, **rules)
    assert max_difference(loss_of(name, *shuffled, labels=LABELS[order], **rules), loss) < SINGLE


@same_or_not
@every_kind_of_positives
@every_loss
def test_what_stands_in_a_row_that_lacks_a_side_changes_nothing(name, positives, same):
    first, second = random_sides("both", same)
    rules = {"labels": LABELS, "positives": positives, "same": same}
    other = [
        side((part.vectors + 9.0 * ~part.present[:, None]).detach().requires_grad_(), part.present.tolist())
        for part in (first, second)
    ]
    other = [other[1], other[1]] if same else other
    loss, expected = loss_of(name, *other, **rules), loss_of(name, first, second, **rules)
    assert loss == expected
    sources = [second.vectors] if same else [first.vectors, second.vectors]
    others = [other[1].vectors] if same else [part.vectors for part in other]
    for gradient, wanted, part in zip(
        torch.autograd.grad(loss, others), torch.autograd.grad(expected, sources), [second] if same else other
    ):
        assert max_difference(gradient[part.present], wanted[part.present]) < EXACT
        assert gradient[~part.present].eq(0).all()


# Chunks


def whole_matrix_loss(name, first, second, log_scale, bias=None, labels=None, positives="row", same=False):
    """The losses as they are written down, with all N x N logits at once, in float64 if the vectors are."""
    itself = torch.eye(len(first.vectors), dtype=torch.bool)
    counted, positive = first.present[:, None] & second.present, itself
    if labels is not None:
        alike = (labels[:, None] == labels) & (labels != IGNORED_LABEL)
        positive, counted = (
            (itself | alike, counted) if positives == "label" else (itself, counted & (itself | ~alike))
        )
    counted = counted & ~itself if same else counted
    positive = positive & counted
    logits = clamped(log_scale).exp() * first.vectors @ second.vectors.T
    if name == "sigmoid":
        losses = -F.logsigmoid(torch.where(positive, 1.0, -1.0) * (logits + bias))
        return losses.masked_fill(~counted, 0).sum() / counted.any(dim=1).sum().clamp(min=1)
    directions = []
    for dim in (1, 0):
        losses = -logits.masked_fill(~counted, -1e300).log_softmax(dim).masked_fill(~positive, 0)
        number_positive = positive.sum(dim)
        losses = losses.sum(dim) / number_positive.clamp(min=1)
        directions.append(losses.sum() / number_positive.count_nonzero().clamp(min=1))
    return sum(directions) / 2


def loss_and_gradients(loss, *sources):
    return [loss.detach(), *torch.autograd.grad(loss, sources)]


def assert_equal(actual, expected, tolerance=1e-6):
    for left, right in zip(actual, expected, strict=True):
        assert max_difference(left, right) <= tolerance * max(1, right.abs().max())


@pytest.mark.parametrize("chunk_size", [1, 3 * NUM_ROWS, CHUNK_SIZE], ids=["one row", "three rows", "all rows"])
@same_or_not
@every_kind_of_positives
@every_labelling
@every_missing
@every_loss
def test_chunks_equal_the_whole_matrix(name, missing, labelling, positives, same, chunk_size, monkeypatch):
    """The loss and the gradients of both sides, the scale and the bias."""
    monkeypatch.setattr(contrastive_mot, "CHUNK_SIZE", chunk_size)
    first, second = random_sides(missing, same)
    log_scale, bias = number(LOG_SCALE), number(BIAS)
    rules = {"labels": LABELLINGS[labelling], "positives": positives, "same": same}
    sources = [*([second.vectors] if same else [first.vectors, second.vectors]), log_scale]
    sources += [bias] if name == "sigmoid" else []
    loss = loss_of(name, first, second, log_scale, bias, **rules)
    expected = whole_matrix_loss(name, first, second, log_scale, bias, **rules)
    assert_equal(loss_and_gradients(loss, *sources), loss_and_gradients(expected, *sources))


@same_or_not
@every_kind_of_positives
@pytest.mark.parametrize("function", [InfoNCE, PairwiseSigmoid])
def test_gradients_are_those_of_the_loss(function, positives, same):
    """In float64, against differences of the loss."""
    first, second = random_sides("both", same)
    pairs = Pairs(first.present, second.present, LABELS, positives, same)
    assert torch.autograd.gradcheck(lambda a, b: function.apply(3 * a, b, pairs), (first.vectors, second.vectors))


@every_loss
def test_each_gradient_can_be_had_alone(name):
    first, second = random_sides("both")
    values = [first.vectors, second.vectors, number(LOG_SCALE), number(BIAS)]
    values = values if name == "sigmoid" else values[:3]

    def gradients_by(chosen):
        sources = [value.detach().requires_grad_(index in chosen) for index, value in enumerate(values)]
        sides = [Side(vectors, part.present) for vectors, part in zip(sources, (first, second))]
        loss = loss_of(name, *sides, *sources[2:], labels=LABELS)
        return torch.autograd.grad(loss, [sources[index] for index in chosen])

    for index, expected in enumerate(gradients_by(range(len(values)))):
        assert_equal(gradients_by([index]), [expected], tolerance=0)


class LargestTensor(TorchDispatchMode):
    """Remembers the number of elements of the largest tensor that any operation gives."""

    size = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        self.size = max(self.size, *(tensor.numel() for tensor in tree_leaves(result)))
        return result


@pytest.mark.parametrize("labelled", [False, True], ids=["unlabelled", "labelled"])
@every_kind_of_positives
@every_loss
def test_no_tensor_is_as_large_as_the_matrix(name, positives, labelled, monkeypatch):
    num_rows, width = 257, 8  # the last chunk is a single row
    monkeypatch.setattr(contrastive_mot, "CHUNK_SIZE", 16 * num_rows)
    first, second = (side(F.normalize(torch.randn(num_rows, width), dim=1).requires_grad_()) for _ in range(2))
    labels = torch.arange(num_rows) // 2 if labelled else None
    with LargestTensor() as largest:
        loss_of(name, first, second, labels=labels, positives=positives).backward()
    assert 0 < largest.size <= 3 * 16 * num_rows  # three matrices of a chunk, of 48 rows in all


@every_loss
def test_autocast_changes_nothing(name):
    first, second = random_sides("both")
    log_scale = number(LOG_SCALE)
    sources = (first.vectors, second.vectors, log_scale)
    expected = loss_and_gradients(loss_of(name, first, second, log_scale), *sources)
    with torch.autocast("cpu", torch.bfloat16):
        actual = loss_and_gradients(loss_of(name, first, second, log_scale), *sources)
    assert_equal(actual, expected, tolerance=0)


@every_loss
def test_compiled_losses_equal_eager(name, monkeypatch):
    """In one graph, with two chunks."""
    monkeypatch.setattr(contrastive_mot, "CHUNK_SIZE", 4 * NUM_ROWS)
    torch.compiler.reset()
    first, second = random_sides("both")
    log_scale, bias = number(LOG_SCALE), number(BIAS)

    def loss(*vectors):
        sides = [Side(v, part.present) for v, part in zip(vectors, (first, second))]
        return loss_of(name, *sides, log_scale, bias, labels=LABELS, positives="label")

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    vectors = (first.vectors, second.vectors)
    sources = (*vectors, log_scale)
    assert_equal(loss_and_gradients(compiled(*vectors), *sources), loss_and_gradients(loss(*vectors), *sources))


def test_one_compilation_serves_every_batch_of_one_chunk(monkeypatch):
    monkeypatch.setattr(contrastive_mot, "CHUNK_SIZE", CHUNK_SIZE)
    torch.compiler.reset()
    counter = torch._dynamo.testing.CompileCounter()

    def loss(vectors, present, log_scale):
        return contrastive_loss(Side(vectors, present), Side(vectors, present), log_scale)

    compiled = torch.compile(loss, fullgraph=True, backend=counter, dynamic=True)
    for num_rows in (4, 5, 9):
        assert compiled(torch.randn(num_rows, WIDTH), torch.ones(num_rows, dtype=torch.bool), number(2.0)).isfinite()
    assert counter.frame_count == 1


# Several processes, each with some of the rows

NUMBERS_OF_ROWS = (4, 0, 1, 2)  # of each process; the first goes through two chunks
RULES = list(itertools.product(MISSING, LABELLINGS, ("row", "label"), (False, True)))


def shared_out(rank, port):
    """Of every loss, what a process finds with its own rows, against one process with all of them; in float64."""
    torch.set_num_threads(1)
    place = {"init_method": f"tcp://127.0.0.1:{port}", "timeout": timedelta(seconds=60)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=len(NUMBERS_OF_ROWS), **place)
    start = sum(NUMBERS_OF_ROWS[:rank])
    rows = slice(start, start + NUMBERS_OF_ROWS[rank])
    for function, rules in itertools.product((InfoNCE, PairwiseSigmoid), RULES):
        missing, labelling, positives, same = rules
        labels = LABELLINGS[labelling]
        torch.manual_seed(0)
        whole, scale = random_sides(missing, same), number(3.0)

        def loss_of_all(first, second, labels, own, by=scale, function=function, positives=positives, same=same):
            pairs = Pairs(first.present, second.present, labels, positives, same, own)
            return function.apply(by * first.vectors, second.vectors, pairs)

        sources = [scale, *(part.vectors for part in whole[: 1 if same else 2])]
        expected_loss = loss_of_all(*whole, labels, None)
        expected = torch.autograd.grad(expected_loss, sources)
        mine = [Side(part.vectors.detach()[rows].requires_grad_(), part.present[rows]) for part in whole]
        mine = [mine[0], mine[0]] if same else mine
        # One process alone has no labels where all have; what it lacks is -100.
        has_labels = labels is not None and not (labelling == "unknown" and rank == 0)
        joined, _, joined_labels, own = gather_batch(
            dict(enumerate(mine)), [True], labels[rows] if has_labels else None
        )
        loss = loss_of_all(*joined.values(), joined_labels, own)
        sources = [scale, *(part.vectors for part in mine[: 1 if same else 2])]
        found = list(torch.autograd.grad(loss, sources))
        torch.distributed.all_reduce(found[0])
        wanted = [expected[0], *(gradient[rows] for gradient in expected[1:])]
        means = [gradient / len(NUMBERS_OF_ROWS) for gradient in found]
        differences = [(a - b).abs().max().item() if a.numel() else 0.0 for a, b in zip(means, wanted)]
        differences.append((loss - expected_loss).abs().item())
        if own != rows or not max(differences) < EXACT:
            raise AssertionError(f"{function.__name__}, {rules}, rank {rank}: {own}, differences {differences}")
    torch.distributed.destroy_process_group()


def test_processes_that_share_the_rows_find_the_loss_and_gradients_of_one_with_all_of_them(tmp_path):
    """With batches of unequal length, one of them empty, and whatever rows lack or match."""
    arguments = {"nprocs": len(NUMBERS_OF_ROWS), "start_method": "fork"}
    ended = forked(
        lambda: torch.multiprocessing.start_processes(shared_out, (free_port(),), **arguments), ["share"], tmp_path
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_a_process_multiplies_its_own_rows_and_columns_alone(monkeypatch):
    """Of eight processes' 64 rows five products of 8 x 64 x the width."""
    monkeypatch.setattr(contrastive_mot.dist, "all_reduce", lambda *_: None)
    monkeypatch.setattr(contrastive_mot.dist, "get_world_size", lambda: 8)
    first, second = (side(F.normalize(torch.randn(64, WIDTH), dim=1).requires_grad_()) for _ in range(2))
    for name in ("infonce", "sigmoid"):
        with FlopCounterMode(display=False) as counter:
            loss_of(name, first, second, own=slice(16, 24)).backward()
        assert counter.get_total_flops() == 2 * 5 * 8 * 64 * (WIDTH + (name == "sigmoid"))


# What is drawn together and what is pushed apart


def derivatives(name, similarities, missing="nothing", **rules):
    """The derivative of the loss by the similarity of each pair, (N, N)."""
    similarities = similarities.clone().requires_grad_()
    presents = MISSING[missing]
    second = side(torch.eye(NUM_ROWS, dtype=similarities.dtype), presents[1])
    first = side(similarities, presents[1 if rules["same"] else 0])
    return torch.autograd.grad(loss_of(name, first, second, **rules), similarities)[0], first, second


@same_or_not
@every_kind_of_positives
@every_labelling
@every_missing
@every_loss
def test_positives_are_drawn_together_and_negatives_pushed_apart(name, missing, labelling, positives, same):
    """InfoNCE compares within rows and columns, so there a pair teaches where its row or column has a positive."""
    rules = {"labels": LABELLINGS[labelling], "positives": positives, "same": same}
    # Nearly equal: of several positives the nearest one may be pushed away in favour of the others.
    similarities = 1e-4 * torch.randn(NUM_ROWS, NUM_ROWS, dtype=torch.float64)
    gradient, first, second = derivatives(name, similarities, missing, **rules)
    counted, positive = torch.zeros(2, NUM_ROWS, NUM_ROWS, dtype=torch.bool)
    for i, j in itertools.product(range(NUM_ROWS), repeat=2):
        counted[i, j] = counts(first, second, **rules, i=i, j=j)
        positive[i, j] = is_positive(first, second, **rules, i=i, j=j)
    negative = counted & ~positive
    assert negative.any()
    teaches = counted
    if name == "infonce":
        by_row = positive.any(dim=1, keepdim=True) & negative.any(dim=1, keepdim=True)
        by_column = positive.any(dim=0, keepdim=True) & negative.any(dim=0, keepdim=True)
        teaches = counted & (by_row | by_column)
    assert (gradient[positive & teaches] < 0).all()
    assert (gradient[negative & teaches] > 0).all()
    assert (gradient[~counted] == 0).all()


@every_kind_of_positives
@every_loss
def test_far_positives_are_drawn_harder_than_near_ones(name, positives):
    """Every row has its own part as a positive; one of them lies far away."""
    similarities = torch.full((NUM_ROWS, NUM_ROWS), 0.2, dtype=torch.float64)
    similarities[3, 3] = -0.2
    gradient, *_ = derivatives(name, similarities, labels=LABELS, positives=positives, same=False)
    assert gradient[3, 3] < gradient[4, 4] < 0  # both alone with their label


@every_loss
def test_a_row_without_one_side_is_still_a_negative_for_the_others(name):
    """The text of row 1 has no image to be drawn to, but it is not the text of another row's image."""
    similarities = torch.zeros(NUM_ROWS, NUM_ROWS, dtype=torch.float64)
    gradient, *_ = derivatives(name, similarities, "one side", labels=None, positives="row", same=False)
    assert (gradient[1, [0, 2, 3, 5, 6]] > 0).all()
    assert (gradient[:, 1] == 0).all()


# Where nothing is left


NOTHING = {
    "no first side": ([False] * 4, [True] * 4),
    "no second side": ([True] * 4, [False] * 4),
    "neither side": ([False] * 4, [False] * 4),
    "rows apart": ([True, True, False, False], [False, False, True, True]),  # pairs, but no positive
}


def assert_zero(loss, *sources):
    assert loss.item() == 0
    for gradient in torch.autograd.grad(loss, sources):
        assert (gradient == 0).all()  # and so not NaN


@every_kind_of_positives
@pytest.mark.parametrize(
    "name, nothing",
    [(name, nothing) for name in ("infonce", "sigmoid") for nothing in NOTHING]
    + [(name, "one row, same") for name in ("infonce", "sigmoid")],
)
def test_a_contrastive_loss_of_nothing_is_zero_with_zero_gradients(name, nothing, positives):
    same = nothing == "one row, same"
    presents = ([False, True, False, False],) * 2 if same else NOTHING[nothing]
    vectors = [(torch.randn(4, WIDTH) * torch.tensor(present)[:, None]).requires_grad_() for present in presents]
    sides = [side(v, present) for v, present in zip(vectors, presents)]
    log_scale, bias = number(LOG_SCALE), number(BIAS)
    loss = loss_of(name, *sides, log_scale, bias, labels=torch.arange(4), positives=positives, same=same)
    if name == "sigmoid" and nothing == "rows apart":  # each pair is a question by itself, and its answer is no
        assert loss.item() > 0
    else:
        assert_zero(loss, *vectors, log_scale, *([bias] if name == "sigmoid" else []))


def test_one_pair_alone_teaches_infonce_nothing():
    vectors = F.normalize(torch.randn(2, 1, WIDTH), dim=2).requires_grad_()
    log_scale = number(LOG_SCALE)
    assert_zero(loss_of("infonce", side(vectors[0]), side(vectors[1]), log_scale), vectors, log_scale)


# Numbers


@every_loss
def test_half_precision_embeddings_give_a_float32_loss(name):
    half = [side(part.vectors.detach().bfloat16()) for part in random_sides()]
    single = [side(part.vectors.float()) for part in half]
    settings = [number(2.0, torch.bfloat16), number(-2.5, torch.bfloat16)]
    loss = loss_of(name, *half, *settings, labels=LABELS)
    assert loss.dtype == torch.float32
    expected = loss_of(name, *single, settings[0].float(), settings[1].float(), labels=LABELS)
    assert max_difference(loss, expected) < 0.01 * expected  # e^2 is rounded to 8 bits


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("sign", [1, -1], ids=["right", "wrong"])
@every_loss
def test_losses_at_the_largest_scale_are_finite(name, sign, dtype):
    """All right or all wrong at 1 / temperature = 100, where a careless softmax overflows."""
    first = torch.eye(NUM_ROWS, dtype=dtype).requires_grad_()
    second = (sign * torch.eye(NUM_ROWS, dtype=dtype)).requires_grad_()
    log_scale, bias = number(MAX_LOG_SCALE, torch.float32), number(BIAS, torch.float32)
    for labels, positives in ((None, "row"), (LABELS, "row"), (LABELS, "label")):
        loss = loss_of(name, side(first), side(second), log_scale, bias, labels=labels, positives=positives)
        sources = [first, second, log_scale] + ([bias] if name == "sigmoid" else [])
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in torch.autograd.grad(loss, sources))


@pytest.mark.parametrize("kind", ["identical", "opposite", "one far away"])
@every_loss
def test_the_worst_vectors_at_more_than_the_largest_scale_are_finite(name, kind):
    """Logits of 100 or -100 throughout, and the sum of a row or column that stands 200 above another's."""
    first = F.normalize(torch.ones(NUM_ROWS, WIDTH), dim=1)
    second = -first if kind == "opposite" else first.clone()
    if kind == "one far away":
        first[-1] = second[0] = -first[0]
    first, second, log_scale, bias = first.requires_grad_(), second.requires_grad_(), number(50.0), number(BIAS)
    sources = [first, second, log_scale] + ([bias] if name == "sigmoid" else [])
    loss = loss_of(name, side(first), side(second), log_scale, bias)
    double = [side(vectors.double()) for vectors in (first, second)]
    expected = whole_matrix_loss(name, *double, log_scale, bias)
    for actual, wanted in zip(loss_and_gradients(loss, *sources), loss_and_gradients(expected, *sources)):
        assert actual.isfinite().all()
        assert max_difference(actual, wanted) <= SINGLE * max(1, wanted.abs().max())


@pytest.mark.parametrize("beyond, limit", [(-3.0, 0.0), (7.5, math.log(100))])
@every_loss
def test_a_temperature_beyond_its_limits_acts_as_the_limit(name, beyond, limit):
    first, second = random_sides()
    losses = [loss_of(name, first, second, number(value)) for value in (beyond, limit)]
    assert max_difference(*losses) < SINGLE
    assert clamped(number(beyond)).item() == pytest.approx(limit, abs=EXACT)
    assert clamped(number(LOG_SCALE)).item() == LOG_SCALE


@pytest.mark.parametrize("beyond, sign", [(-3.0, 1), (7.5, -1)], ids=["below", "above"])
@every_loss
def test_a_temperature_beyond_its_limits_comes_back(name, beyond, sign):
    """Right matches want a larger scale, wrong ones a smaller: the gradient leads back between the limits."""
    vectors, log_scale = torch.eye(NUM_ROWS, dtype=torch.float64), number(beyond)
    loss = loss_of(name, side(vectors), side(sign * vectors), log_scale, number(0.0))
    gradient = torch.autograd.grad(loss, log_scale)[0]
    assert gradient.isfinite() and gradient.sign() == -sign


# Where temperatures start


STORED = ["text-image", "text-audio", "image-audio", "fused-text", "fused-image", "fused-audio"]
STORED += ["text-text", "image-image", "audio-audio"]


def start_of(config):
    """The logarithm of the scale and the bias that training starts from."""
    return (math.log(10), -10.0) if config.contrastive_loss == "sigmoid" else (math.log(1 / config.temperature), 0.0)


def assert_starts(contrastive, config):
    log_scale, bias = start_of(config)
    log_scales, biases = contrastive()
    assert list(log_scales) == list(biases) == STORED
    assert [number.item() for number in log_scales.values()] == pytest.approx([log_scale] * 9)
    assert [number.item() for number in biases.values()] == [bias] * 9


STARTS = pytest.mark.parametrize(
    "options", [{}, {"temperature": 0.2}, {"contrastive_loss": "sigmoid"}], ids=["infonce", "temperature", "sigmoid"]
)
CONTRASTIVE_HEADS = pytest.mark.parametrize("head_class", [MoTForRetrieval, MoTForPreTraining])


@STARTS
@CONTRASTIVE_HEADS
def test_temperatures_start_where_their_papers_do(head_class, options):
    config = tiny_config(**options)
    assert config.temperature == options.get("temperature", 0.07)
    assert_starts(head_class(config).contrastive, config)


@STARTS
@CONTRASTIVE_HEADS
def test_temperatures_start_so_where_a_checkpoint_lacks_them(head_class, options, tmp_path):
    """`from_pretrained` builds on the meta device, where what the constructor wrote is lost."""
    config = tiny_config(**options)
    MoTModel(config).save_pretrained(tmp_path)
    assert_starts(head_class.from_pretrained(tmp_path).contrastive, config)


def test_every_pair_has_a_temperature_of_its_own():
    model = MoTForRetrieval(tiny_config())
    names = [("text",), ("image",), ("audio",)]
    vectors = {name: F.normalize(torch.randn(NUM_ROWS, 32), dim=1) for name in names}
    losses = model.contrastive.losses({name: side(v) for name, v in vectors.items()}, given=MODALITIES)
    assert list(losses) == ["text-image", "text-audio", "image-audio"]
    scales = model.contrastive.log_scale()
    for name, loss in losses.items():
        gradients = torch.autograd.grad(loss, list(scales.values()), allow_unused=True)
        assert [stored for stored, gradient in zip(scales, gradients) if gradient is not None] == [name]


def test_three_modalities_have_the_nine_pairs_of_the_paper():
    pairs = MoTForRetrieval(tiny_config()).contrastive.pairs
    text, image, audio = ((m,) for m in MODALITIES)
    assert pairs[:3] == [(text, image), (text, audio), (image, audio)]
    assert pairs[3:6] == [(image + audio, text), (text + audio, image), (text + image, audio)]
    assert pairs[6:] == [(text, text), (image, image), (audio, audio)]


# Tokens and reconstruction


def test_token_loss_is_cross_entropy_over_the_labelled_tokens():
    logits = torch.randn(3, 4, 11, requires_grad=True)
    labels = torch.randint(0, 11, (3, 4))
    labels[0, 1:] = labels[2] = IGNORED_LABEL
    loss = token_loss(logits, labels)
    expected = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORED_LABEL)
    assert max_difference(loss, expected) < 1e-6
    gradients = [torch.autograd.grad(value, logits)[0] for value in (loss, expected)]
    assert max_difference(*gradients) < 1e-6


def test_token_loss_of_half_precision_is_float32():
    logits, labels = torch.randn(2, 3, 11).bfloat16(), torch.randint(0, 11, (2, 3))
    loss = token_loss(logits, labels)
    assert loss.dtype == torch.float32
    assert max_difference(loss, F.cross_entropy(logits.float().flatten(0, 1), labels.flatten())) < 1e-6


def test_token_loss_of_nothing_is_zero_with_zero_gradients():
    logits = torch.randn(2, 3, 11, requires_grad=True)
    assert_zero(token_loss(logits, torch.full((2, 3), IGNORED_LABEL)), logits)


@pytest.mark.parametrize("shape", [(2,), (2, 4), (3, 2), (2, 3, 1)])
def test_token_labels_of_another_shape_are_refused(shape):
    with pytest.raises(ValueError, match=r"labels.*expected \(2, 3\)"):
        token_loss(torch.randn(2, 3, 11), torch.zeros(shape, dtype=torch.long))


def reference_reconstruction(predictions, targets, kind, tokens):
    errors = []
    for b, n in itertools.product(range(targets.shape[0]), range(targets.shape[1])):
        if tokens is not None and not tokens[b, n]:
            continue
        for prediction, target in zip(predictions[b, n].tolist(), targets[b, n].tolist()):
            if math.isfinite(target):
                errors.append((prediction - target) ** 2 if kind == "mse" else abs(prediction - target))
    return mean_of(errors)


@pytest.mark.parametrize("chosen", [False, True], ids=["all tokens", "some tokens"])
@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_reconstruction_loss_is_the_mean_error_over_finite_targets(kind, chosen):
    predictions = torch.randn(3, 4, 5, requires_grad=True)
    targets = torch.randn(3, 4, 5)
    targets[0, 1] = targets[1, 2, 3:] = targets[2, 0, 0] = math.nan
    targets[1, 0, 1] = math.inf
    tokens = torch.rand(3, 4) < 0.5 if chosen else None
    loss = reconstruction_loss(predictions, targets, kind, tokens)
    assert loss.item() == pytest.approx(reference_reconstruction(predictions, targets, kind, tokens), rel=SINGLE)
    gradient = torch.autograd.grad(loss, predictions)[0]
    counted = targets.isfinite() if tokens is None else targets.isfinite() & tokens[..., None]
    assert (gradient[~counted] == 0).all() and (gradient[counted] != 0).all()


@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_reconstruction_loss_of_half_precision_is_float32(kind):
    predictions, targets = torch.randn(2, 3, 4).bfloat16(), torch.randn(2, 3, 4)
    loss = reconstruction_loss(predictions, targets, kind)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(reference_reconstruction(predictions, targets, kind, None), rel=SINGLE)


@pytest.mark.parametrize("kind", ["mse", "l1"])
@pytest.mark.parametrize("nothing", ["targets", "tokens"])
def test_reconstruction_loss_of_nothing_is_zero_with_zero_gradients(nothing, kind):
    predictions, targets = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4)
    if nothing == "targets":
        loss = reconstruction_loss(predictions, torch.full_like(targets, math.nan), kind)
    else:
        loss = reconstruction_loss(predictions, targets, kind, torch.zeros(2, 3, dtype=torch.bool))
    assert_zero(loss, predictions)


@pytest.mark.parametrize("kind", ["mse", "l1"])
def test_targets_are_not_learned(kind):
    """Features that come from a model in training: their predictor must not draw them to where it finds them
    easily."""
    predictions, targets = torch.randn(2, 2, 3, 4).requires_grad_().unbind()
    loss = reconstruction_loss(predictions, targets, kind)
    assert torch.autograd.grad(loss, targets, allow_unused=True)[0] is None


def test_normalized_patches_have_mean_zero_and_variance_one():
    patches = 5 + 3 * torch.randn(2, 6, 48)
    normalized = normalize_patches(patches)
    assert max_difference(normalized.mean(dim=-1), torch.zeros(2, 6)) < SINGLE
    assert max_difference(normalized.var(dim=-1), torch.ones(2, 6)) < SINGLE
    order = patches.argsort(dim=-1)
    assert torch.equal(normalized.argsort(dim=-1), order)


def test_a_patch_of_one_colour_is_normalized_to_zeros():
    assert max_difference(normalize_patches(torch.full((1, 2, 48), 0.25)), torch.zeros(1, 2, 48)) < SINGLE
