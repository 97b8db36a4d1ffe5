# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Odd things end in a right result or in an error that names them; and the fuzzer that says so sees what does not."""

import os
import time

import numpy as np
import pytest
import torch
from fuzz import workers
from fuzz.areas import AREAS
from fuzz.case import ACCEPTED, FAULTS, HANG, MEMORY, NAMED_ERROR, OBSCURE, RIGHT, Case, judge
from fuzz.world import build_world

SEED, CASES = 0, 13  # of each area; `python -m tests.fuzz` runs more


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return build_world(tmp_path_factory.mktemp("fuzz"))


@pytest.mark.parametrize("area", AREAS)
def test_odd_things_end_in_a_right_result_or_an_error_that_names_them(area, world):
    ended = list(workers.run(world, SEED, [(area, number) for number in range(CASES)]))
    assert len(ended) == CASES
    assert not [case for case in ended if case.outcome in FAULTS]


def fail(error):
    raise error


FLOATS = 2**26  # 256 MiB
ENDINGS = {
    "an error that names the argument": (lambda: fail(ValueError("`text[1]` is 5: expected a string")), NAMED_ERROR),
    "an error that names nothing": (lambda: fail(ValueError("something went wrong here")), OBSCURE),
    "an error of a kind that nobody catches": (lambda: fail(KeyError("text[1] is not among the words")), OBSCURE),
    "a name without a reason": (lambda: fail(ValueError("text[1]")), OBSCURE),
    "a right result": (lambda: 1, RIGHT),
    "a wrong result": (lambda: 2, ACCEPTED),
    "an end without a word": (lambda: os._exit(3), OBSCURE),
    "work without an end": (lambda: [sum(range(1000)) for _ in iter(int, 1)], HANG),
    "waiting without an end": (lambda: time.sleep(1000), HANG),
    "memory that is filled": (lambda: int(torch.ones(FLOATS)[0]), MEMORY),
    "memory that there is not": (lambda: torch.empty(2**50), MEMORY),
}


@pytest.mark.parametrize("what", [*ENDINGS])
def test_the_fuzzer_tells_good_ends_from_bad_ones(what, world, monkeypatch):
    call, outcome = ENDINGS[what]
    case = Case(what, call, ("text[1]",), lambda result: None if result == 1 else "it is not 1")
    monkeypatch.setitem(AREAS, "planted", lambda rng, world, folder: case)
    monkeypatch.setattr(workers, "MOST_SECONDS", 2)
    monkeypatch.setattr(workers, "MOST_BYTES", 2**27)
    (ended,) = workers.run(world, SEED, [("planted", 0)])
    assert (ended.outcome, ended.given) == (outcome, what)


def test_after_a_process_that_hangs_or_dies_the_next_case_runs(world, monkeypatch):
    ends = {0: lambda: os._exit(3), 1: lambda: time.sleep(1000), 2: lambda: 1}
    monkeypatch.setattr(workers, "make", lambda world, seed, area, number, folder: Case("", ends[number], ()))
    monkeypatch.setattr(workers, "MOST_SECONDS", 2)
    ended = workers.run(world, SEED, [("planted", number) for number in ends])
    assert [case.outcome for case in ended] == [OBSCURE, HANG, RIGHT]


@pytest.mark.parametrize("area", [*AREAS])
def test_a_case_is_the_same_one_for_the_same_seed_and_number(area, world, tmp_path):
    given = []
    for name in ("first", "second"):
        folder = tmp_path / "case"
        folder.mkdir()
        given.append(workers.make(world, 5, area, 3, folder).given)
        folder.rename(tmp_path / name)
    assert given[0] == given[1]


def test_what_must_work_may_not_be_refused_and_nonsense_may_not_be_taken():
    refused = Case("", lambda: fail(ValueError("`k` is 5: expected another")), ("k",), must_work=True)
    assert judge(refused)[0] == OBSCURE
    assert judge(Case("", lambda: np.ones(3), ("k",), must_fail=True))[0] == ACCEPTED
