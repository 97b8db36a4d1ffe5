# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Embed a dataset for search, and search it.

mot index user/captions --model outputs/captions-retrieval --output_dir outputs/index
mot search outputs/index --text "a red bicycle" -k 5
mot search outputs/index --audio bell.wav --modality image
mot search outputs/walks --row imu=walk.npy vitals='{"age": 71}'
"""

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import fields
from functools import partial

from datasets import Dataset

from mixture_of_transformers.data.allowed_paths import AllowedPaths
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.columns import LEFT_OUT, ModalityColumns
from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.model_columns import options_of_model
from mixture_of_transformers.data.preparation import find_columns
from mixture_of_transformers.data.sources import load_split
from mixture_of_transformers.data.written_rows import ROW_HELP, written_row
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES, MODALITY_OF_CELL
from mixture_of_transformers.processing_mot import MoTProcessor, kind_in
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.embedder import load
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.search.rows import rows_to_index
from mixture_of_transformers.training.workers import RayArguments, on_ray

TRUST = "run the code that lies in the checkpoint, of which none is run without this option"


def load_with_model(folder: str, name: str | None = None, trust_remote_code: bool = False) -> Index:
    """An index with what embeds its queries, by default the checkpoint that it was built with."""
    found = Index.load(folder)
    return found.attach(*load(name or found.description["model"], trust_remote_code))


def index(arguments: list[str]) -> None:
    """`mot index`: embed the rows of a dataset for search."""
    options = parse_index(arguments)
    model, processor = load(options.model, options.trust_remote_code)
    split, allowed_paths = read_dataset(options)
    columns = columns_to_embed(split, options, model.config.modalities, processor, allowed_paths)
    print("\n".join(columns.lines(split.features)))
    reading = reading_of(model, processor, allowed_paths)
    rows, of_kind = rows_to_index(split, columns, options.on_bad_example, options.split, allowed_paths, reading)
    spread = partial(on_ray, address=options.ray_address, workers=options.ray_workers) if options.ray else None
    found = build_index(
        rows,
        model,
        processor,
        options.output_dir,
        of_kind,
        options.batch_size,
        spread=spread,
        trust_remote_code=options.trust_remote_code,
    )
    folder = shlex.quote(options.output_dir)
    print(f"{len(found):,} rows in {options.output_dir}; search them with: mot search {folder} --text ...")


def parse_index(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="mot index", description="Embed the rows of a dataset for search.")
    parser.add_argument("dataset", help="a dataset on the Hub or a folder or file; 'digits' for the embedded ones")
    parser.add_argument("--split", default="train", help="the split whose rows are all embedded (default: train)")
    parser.add_argument("--model", required=True, help="a retrieval checkpoint on the Hub or in a folder")
    parser.add_argument("--output_dir", required=True, help="the folder of the index")
    parser.add_argument("--batch_size", type=int, default=32, help="rows that are embedded at once (default: 32)")
    parser.add_argument("--dataset_config", help="the dataset's configuration, if it has several")
    parser.add_argument("--dataset_revision", help="a branch, tag or commit of a dataset on the Hub")
    parser.add_argument(
        "--on_bad_example",
        choices=("skip", "raise"),
        default="skip",
        help="what is done with a row that cannot be read",
    )
    for kind in CELLS:
        known = f"the column of the {kind}, which is found as in training if it is not given; 'none' leaves it out"
        parser.add_argument(f"--{kind}_column", help=known)
    parser.add_argument(
        "--extra_columns",
        nargs="+",
        default=(),
        help="the columns of the model's other modalities, such as imu=accelerometer vitals=age,sex; those that are "
        "not named are found by the names that the model knows, unless 'none' is given",
    )
    for option in (*fields(DatasetLimits), *fields(RayArguments)):
        kind = {"action": "store_true"} if option.type is bool else {"type": option.type, "default": option.default}
        parser.add_argument(f"--{option.name}", **kind, help=option.metadata["help"])
    parser.add_argument("--trust_remote_code", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    if options.batch_size < 1:
        parser.error(f"--batch_size is {options.batch_size}: expected at least 1")
    options.limits = DatasetLimits(**{option.name: getattr(options, option.name) for option in fields(DatasetLimits)})
    return options


def read_dataset(options: argparse.Namespace) -> tuple[Dataset, AllowedPaths | None]:
    """The split to embed, and where the files may lie that its rows name; None: anywhere."""
    if options.dataset == "digits":
        return load_digits_dataset()[options.split], None
    revision, limits = options.dataset_revision, options.limits
    split = load_split(options.dataset, options.split, options.dataset_config, revision, limits)
    return split, AllowedPaths.of(options.dataset, limits)


def reading_of(model, processor, allowed_paths: AllowedPaths | None) -> Reading:
    """How the rows are decoded: as the processor does it, with as much of their sound as the model takes."""
    towers = {name: model.config.modality_config(name) for name in model.config.modalities}
    cut = [kind_in(processor, n).cut_options(t, processor) for n, t in towers.items() if t.feature_size is None]
    seconds = max((options["max_audio_seconds"] for options in cut if "max_audio_seconds" in options), default=None)
    return Reading(processor.limits, allowed_paths is None or allowed_paths.follow_urls, seconds)


def columns_to_embed(
    split: Dataset,
    options: argparse.Namespace,
    modalities: Sequence[str],
    processor: MoTProcessor,
    allowed_paths: AllowedPaths | None = None,
) -> ModalityColumns:
    """The columns that a training run would take, of the modalities that the model has."""
    named = {kind: getattr(options, f"{kind}_column") for kind in CELLS}
    for kind in named:
        if named[kind] is None and MODALITY_OF_CELL[kind] not in modalities:
            named[kind] = LEFT_OUT
    extra = options_of_model(modalities, processor, split.features, options.extra_columns)
    return find_columns(split, allowed_paths, **named, extra=extra)


def search(arguments: list[str]) -> None:
    """`mot search`: print the rows of an index that are nearest to a query."""
    parser = argparse.ArgumentParser(prog="mot search", description="Find the rows of an index nearest to a query.")
    parser.add_argument("index", help="the folder that `mot index` wrote")
    parser.add_argument("--model", help="the checkpoint that it was built with, if it is not where it was")
    for name, modality in MODALITIES.items():
        place = ", a file or URL" if modality.cells[0].medium else ""
        parser.add_argument(f"--{name}", help=f"the {modality.noun} of the query{place}")
    parser.add_argument("--row", nargs="+", default=[], metavar="FILE|NAME=VALUE", help=ROW_HELP)
    parser.add_argument("-k", type=int, default=10, help="how many rows to find (default: 10)")
    parser.add_argument("--modality", help="what of the rows to compare with (default: whatever is nearest)")
    parser.add_argument("--trust_remote_code", action="store_true", help=TRUST)
    options = parser.parse_args(arguments)
    found = load_with_model(options.index, options.model, options.trust_remote_code)
    named = {name: getattr(options, name) for name in MODALITIES}
    query = written_row(options.row, named, found.processor.rows)
    found.check_names(query)
    hits = found.search(**query, k=options.k, modality=options.modality)
    features = found.dataset.features.items()
    shown = [name for name, feature in features if getattr(feature, "dtype", "") in ("string", "int64")]
    for hit in hits:
        row = found.dataset.select_columns(shown)[hit["id"]]
        print(f"{hit['score']:.3f}  {hit['modality']:5}  row {hit['id']}  {row}")
