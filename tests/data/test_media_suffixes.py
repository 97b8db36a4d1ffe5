# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Which medium a file is of, by its name."""

import pytest

from mixture_of_transformers.data.column_types import MEDIA_TYPES
from mixture_of_transformers.data.media_suffixes import medium_of, medium_of_path
from mixture_of_transformers.modalities_mot import CELLS


@pytest.mark.parametrize(
    "suffixes, medium",
    [
        ("png jpg webp TIFF", "image"),
        ("wav mp3 m4a aac wma aif", "audio"),
        ("mp4 mpeg MPG webm m4v wmv flv", "video"),
        ("h5 hdf raw txt json", None),
    ],
)
def test_a_file_is_of_the_medium_that_its_suffix_says(suffixes, medium):
    assert {medium_of([f"folder/file.{suffix}"]) for suffix in suffixes.split()} == {medium}


def test_files_are_of_the_medium_that_most_of_them_are():
    assert medium_of(["a.wav", "b.png", "c.wav", "d.txt", "e.txt", "f.txt"]) == "audio"
    assert medium_of(["a.mp4", "b.png"]) == "image", "of as many, the first medium counts"
    assert medium_of([]) is None


def test_a_cell_may_be_a_url_of_a_medium():
    assert medium_of_path(" https://example.org/a.PNG?size=2#top ") == "image"
    assert medium_of_path("no path") is None


def test_every_medium_of_a_cell_has_a_type_of_datasets():
    assert {cell.medium for cell in CELLS.values()} - {None} == set(MEDIA_TYPES)
