# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What happens to text on its way: typing errors, lost words, other cases and no punctuation.

A change takes a string, a value and random numbers, and gives a string that is not blank where the first was not.
"""

import unicodedata

import numpy as np

from mixture_of_transformers.evaluation.corruption import Corruption

ROWS_OF_KEYS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")  # each shifted by about half a key against the one above


def keys_beside() -> dict[str, str]:
    """Each letter of an English keyboard -> those whose keys touch its own."""
    places = {key: (row, column) for row, keys in enumerate(ROWS_OF_KEYS) for column, key in enumerate(keys)}
    near = {(0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0)}  # (rows, columns) from a key to those that touch it
    return {
        key: "".join(k for k, (r, c) in places.items() if (r - row, c - column) in near)
        for key, (row, column) in places.items()
    }


NEIGHBOURS = keys_beside()


def typing_errors(text: str, rate: float, random: np.random.Generator) -> str:
    """Each letter or digit is mistyped at this rate: a key beside its own where there is one, the letter behind it
    first, or nothing at all, each as likely."""
    characters, typed, place = list(text), [], 0
    while place < len(characters):
        character, following = characters[place], characters[place + 1 : place + 2]
        place += 1
        if not character.isalnum() or random.random() >= rate:
            typed.append(character)
            continue
        error = random.integers(3)
        if error == 0:
            typed.append(beside(character, random))
        elif error == 1:
            typed += [*following, character]
            place += len(following)
    return unless_blank("".join(typed), text)


def beside(character: str, random: np.random.Generator) -> str:
    """The letter of a key beside that of another, in its case; what has no key here stays."""
    keys = NEIGHBOURS.get(character.lower(), character)
    key = keys[random.integers(len(keys))]
    return key.upper() if character.isupper() else key


def lost_words(text: str, share: float, random: np.random.Generator) -> str:
    """This share of the words is left out, but never the last one."""
    words = text.split()
    number = min(round(share * len(words)), len(words) - 1)
    lost = set(random.permutation(len(words))[:number].tolist())
    return " ".join(word for place, word in enumerate(words) if place not in lost)


def upper_case(text: str, value: float, random: np.random.Generator) -> str:
    return text.upper()


def lower_case(text: str, value: float, random: np.random.Generator) -> str:
    return text.lower()


def no_punctuation(text: str, value: float, random: np.random.Generator) -> str:
    """Without the marks that Unicode calls punctuation."""
    return unless_blank("".join(c for c in text if not unicodedata.category(c).startswith("P")), text)


def unless_blank(text: str, before: str) -> str:
    """A blank text would be a missing one."""
    return text if text.strip() else before


CORRUPTIONS = (
    Corruption("typing_errors", typing_errors, (0.02, 0.05, 0.1, 0.2), "share of the letters"),
    Corruption("lost_words", lost_words, (0.1, 0.3, 0.5, 0.7, 0.9), "share of the words"),
    Corruption("upper_case", upper_case, (1,)),
    Corruption("lower_case", lower_case, (1,)),
    Corruption("no_punctuation", no_punctuation, (1,)),
)
