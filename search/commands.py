# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embed a dataset for search, and search it.

mot index user/captions --model outputs/captions-retrieval --output_dir outputs/index
mot search outputs/index --text "a red bicycle" -k 5
mot search outputs/index --audio bell.wav --modality image
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import fields

from datasets import Dataset

from mixture_of_transformers.configuration_mot import MODALITIES
from mixture_of_transformers.data.bounds import Bounds
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.columns import LEFT_OUT, ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.places import Places
from mixture_of_transformers.data.preparation import find_columns, read_rows
from mixture_of_transformers.data.sources import load_split
from mixture_of_transformers.modeling_mot import MoTForRetrieval
from mixture_of_transformers.processing_mot import frames_per_second, load_processor
from mixture_of_transformers.search.folder import KINDS
from mixture_of_transformers.search.index import Index, build_index
from mixture_of_transformers.training.continuation import read_config
from mixture_of_transformers.training.loading import load_checkpoint

TRUST = "run the code that lies in the checkpoint; without it none is"


def load(name: str, trust_remote_code: bool = False):
    """The model of a retrieval checkpoint and its processor."""
    classes = read_config(name).architectures or []
    if classes and MoTForRetrieval.__name__ not in classes and not trust_remote_code:
        raise ValueError(f"{name} holds {classes[0]}, which has no retrieval head: an index takes a MoTForRetrieval.")
    return load_checkpoint(name, MoTForRetrieval, trust_remote_code), load_processor(name, trust_remote_code)


def load_with_model(folder: str, name: str | None = None, trust_remote_code: bool = False) -> Index:
    """An index with what embeds its queries, by default the checkpoint that it was built with."""
    found = Index.load(folder)
    return found.attach(*load(name or found.description["model"], trust_remote_code))


def index(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="mot index", description="Embed the rows of a dataset for search.")
    parser.add_argument("dataset", help="a dataset on the Hub or a folder or file; 'digits' for the embedded ones")
    parser.add_argument("--split", default="train", help="all of whose rows are embedded (default: train)")
    parser.add_argument("--model", required=True, help="a retrieval checkpoint on the Hub or in a folder")
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--batch_size", type=int, default=32)
    parser.add_argument("--dataset_config", help="the dataset's configuration, if it has several")
    parser.add_argument("--dataset_revision", help="a branch, tag or commit of a dataset on the Hub")
    parser.add_argument("--on_bad_example", choices=("skip", "raise"), default="skip", help="rows that cannot be read")
    for kind in (*MODALITIES, "video"):
        parser.add_argument(f"--{kind}_column", help="found as in training if not given; 'none' leaves it out")
    for option in fields(Bounds):
        kind = {"action": "store_true"} if option.type is bool else {"type": option.type, "default": option.default}
        parser.add_argument(f"--{option.name}", **kind, help="as in training: docs/data.md, What a dataset may do")
    parser.add_argument("--trust_remote_code", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    if options.batch_size < 1:
        parser.error(f"--batch_size is {options.batch_size}: expected at least 1")
    bounds = Bounds(**{option.name: getattr(options, option.name) for option in fields(Bounds)})
    model, processor = load(options.model, options.trust_remote_code)
    if options.dataset == "digits":
        split, places = load_digits_dataset()[options.split], None
    else:
        split = load_split(options.dataset, options.split, options.dataset_config, options.dataset_revision, bounds)
        places = Places.of(options.dataset, bounds)
    columns = columns_to_embed(split, options, model.config.modalities, places)
    print("\n".join(columns.lines(split.features)))
    reading = reading_of(model, processor, places)
    rows, of_kind = read_rows(split, columns, options.on_bad_example, options.split, places, reading)
    found = build_index(rows, model, processor, options.output_dir, of_kind, options.batch_size)
    folder = shlex.quote(options.output_dir)
    print(f"{len(found):,} rows in {options.output_dir}; search them with: mot search {folder} --text ...")


def reading_of(model, processor, places: Places | None) -> Reading:
    """How the rows are decoded: as the processor does it, with as much of their sound as the model takes."""
    tower, seconds = model.config.audio_config, None
    if tower is not None and tower.feature_size is None:
        seconds = tower.max_frames / frames_per_second(processor.feature_extractor)
    return Reading(processor.limits, places is None or places.follow_urls, seconds)


def columns_to_embed(
    split: Dataset, options: argparse.Namespace, modalities: Sequence[str], places: Places | None = None
) -> ModalityColumns:
    """The columns that a training run would take, of the modalities that the model has."""
    named = {kind: getattr(options, f"{kind}_column") for kind in (*MODALITIES, "video")}
    for kind in named:
        if named[kind] is None and ("image" if kind == "video" else kind) not in modalities:
            named[kind] = LEFT_OUT
    return find_columns(split, places, **named)


def search(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="mot search", description="Find the rows of an index nearest to a query.")
    parser.add_argument("index", help="the folder that `mot index` wrote")
    parser.add_argument("--model", help="the checkpoint that it was built with, if it is not where it was")
    parser.add_argument("--text")
    parser.add_argument("--image", help="a file or URL")
    parser.add_argument("--audio", help="a file or URL")
    parser.add_argument("-k", type=int, default=10, help="how many rows")
    parser.add_argument("--modality", choices=KINDS, help="what of the rows to compare with; any by default")
    parser.add_argument("--trust_remote_code", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    found = load_with_model(options.index, options.model, options.trust_remote_code)
    hits = found.search(options.text, options.image, options.audio, k=options.k, modality=options.modality)
    shown = [
        c for c, feature in found.dataset.features.items() if getattr(feature, "dtype", "") in ("string", "int64")
    ]
    for hit in hits:
        row = found.dataset.select_columns(shown)[hit["id"]]
        print(f"{hit['score']:.3f}  {hit['modality']:5}  row {hit['id']}  {row}")
