# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What texts suffer: as many errors as the rates say, of the three sorts, and never a blank text."""

import random

import pytest

from mixture_of_transformers.evaluation.corruptions_text import CORRUPTIONS, NEIGHBOURS

BY_NAME = {corruption.name: corruption for corruption in CORRUPTIONS}
SEVERITIES = [(c.name, s) for c in CORRUPTIONS for s in range(1, len(c.values) + 1)]
SENTENCE = "Somebody wrote seven on the form, and then: 7 again!"


def changed(name: str, text: str, severity: int, seed: int = 0, row: int = 0) -> str:
    return BY_NAME[name].apply(text, severity, seed, row)


@pytest.mark.parametrize("name", BY_NAME)
def test_a_severity_of_0_is_the_text_itself(name):
    assert changed(name, SENTENCE, 0) == SENTENCE


@pytest.mark.parametrize("name, severity", SEVERITIES)
def test_the_same_seed_gives_the_same_text_and_no_text_becomes_blank(name, severity):
    for row, text in enumerate([SENTENCE, "7", "?!", "a b", "né à Zürich", "七 八 九", " x "]):
        first, again = (changed(name, text, severity, row=row) for _ in range(2))
        assert first == again and first.strip()


@pytest.mark.parametrize("name", ["typing_errors", "lost_words"])
def test_other_rows_are_hit_otherwise(name):
    assert len({changed(name, SENTENCE * 5, 4, row=row) for row in range(5)}) == 5


def errors_by_sort(typed: str, letters: str) -> dict[str, int]:
    """How letters that all differ from those beside them were mistyped, read from left to right."""
    found, place, i = {"neighbour": 0, "swapped": 0, "left out": 0}, 0, 0
    while i < len(letters):
        if typed[place : place + 1] == letters[i]:
            i, place = i + 1, place + 1
        elif typed[place : place + 2] == letters[i + 1 : i + 2] + letters[i]:
            found["swapped"] += 1
            i, place = i + 2, place + 2
        elif typed[place : place + 1] in (*NEIGHBOURS[letters[i]],):
            found["neighbour"] += 1
            i, place = i + 1, place + 1
        else:
            found["left out"] += 1
            i += 1
    return found


def test_letters_are_mistyped_at_the_rate_in_three_ways_alike():
    draw, letters = random.Random(0), "abc"
    while len(letters) < 20_000:  # none is near the last three, in the text or on the keyboard: errors are told apart
        near = set("".join(letter + NEIGHBOURS[letter] for letter in letters[-3:]))
        letters += draw.choice([letter for letter in sorted(NEIGHBOURS) if letter not in near])
    for severity, rate in enumerate(BY_NAME["typing_errors"].values, start=1):
        found = errors_by_sort(changed("typing_errors", letters, severity), letters)
        # A swap takes the letter behind along, which is then not drawn.
        expected = rate * len(letters) / (1 + rate / 3)
        assert sum(found.values()) == pytest.approx(expected, rel=0.12)
        assert all(number == pytest.approx(expected / 3, rel=0.25) for number in found.values())


def test_keys_are_neighbours_of_each_other_as_on_a_keyboard():
    some = {"g": "ftyhbv", "q": "wa", "m": "njk"}
    assert all(set(NEIGHBOURS[key]) == set(beside) for key, beside in some.items())
    assert all(key in NEIGHBOURS[other] for key, others in NEIGHBOURS.items() for other in others)


def test_marks_spaces_and_case_are_not_mistyped():
    for row in range(20):
        after = changed("typing_errors", "A, B! C?", 4, row=row)
        assert [c for c in after if not c.isalnum()] == list(", ! ?")
        assert after == after.upper()


def test_words_are_lost_by_their_share_and_the_others_keep_their_order():
    words = [f"w{i}" for i in range(50)]
    for severity, share in enumerate(BY_NAME["lost_words"].values, start=1):
        left = changed("lost_words", " ".join(words), severity).split()
        assert len(left) == 50 - round(share * 50) and left == sorted(left, key=words.index)
    assert changed("lost_words", "only one", 5) in ("only", "one")


def test_case_and_punctuation():
    assert changed("upper_case", SENTENCE, 1) == SENTENCE.upper()
    assert changed("lower_case", SENTENCE, 1) == SENTENCE.lower()
    assert changed("no_punctuation", SENTENCE, 1) == "Somebody wrote seven on the form and then 7 again"
    assert changed("no_punctuation", "«Ça va…»", 1) == "Ça va"
