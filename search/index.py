# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Search: embed a dataset once, then find its rows by text, image, audio, or any of them together.

An index is a folder (`search/folder.py`) of the rows of a dataset with their embeddings beside them, which knows what
embedded them and takes no other model. Small sets are searched exactly, by one matrix product; large ones through FAISS.

Shapes: N rows, Q queries, d width of the embeddings.
"""

import difflib
import hashlib
import inspect
import json
import numbers
import operator
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from accelerate.utils.modeling import get_state_dict_offloaded_model
from datasets import Audio, ClassLabel, Dataset, Features, Image, Value, Video
from transformers.utils import logging

from mixture_of_transformers.arguments_mot import is_one_of
from mixture_of_transformers.attribution_mot import inference
from mixture_of_transformers.data.fingerprints import fingerprint_of_files
from mixture_of_transformers.decoding_mot import is_rate_and_samples
from mixture_of_transformers.processing_mot import encode_rows, is_blank, unknown_name
from mixture_of_transformers.search.folder import (
    DESCRIPTION,
    EMBEDDINGS,
    KINDS,
    LOCK,
    MEDIA,
    append_rows,
    as_joined,
    commit,
    copy_shard,
    joined_features,
    locked,
    merged_into,
    put_in_place,
    read_description,
    read_rows,
    stored_features,
    write_description,
)

logger = logging.get_logger(__name__)

ARGUMENTS = {
    "text": "text",
    "image": "images",
    "video": "videos",
    "audio": "audio",
}  # column's kind -> of the processor
MEDIA_OF = {"image": Image, "audio": Audio, "video": Video}
STRINGS = (Value("string"), Value("large_string"))
MOST_EXACT_SCORES = 2**26  # scores that are held at once: 256 MiB
CHANGE_NO_EMBEDDING = (  # parts of the names of settings that other weights, or nothing but training, depend on
    "_name_or_path",
    "architectures",
    "auto_map",
    "custom_pipelines",
    "processor_class",
    "dtype",
    "transformers_version",
    "id2label",
    "label2id",
    "problem_type",
    "output_",
    "return_dict",
    "use_cache",
    "keys_to_ignore_at_inference",
    "initializer",
    "dropout",
    "drop_path",
    "mask_",
    "freeze",
    "contrastive",
    "loss",
)


# ---------------------------------------------------------------------------------------------------------------------
# What embeds
# ---------------------------------------------------------------------------------------------------------------------


def fingerprint_of_weights(model, dtype: torch.dtype = torch.bfloat16) -> str:
    """Of the weights rounded to a type, by default one that float32 and bfloat16 have in common."""
    parameters = dict(model.named_parameters())
    if any(parameter.is_meta for parameter in parameters.values()):  # they lie elsewhere, such as on a disk
        parameters = {
            name: value for name, value in get_state_dict_offloaded_model(model).items() if name in parameters
        }
    digest = hashlib.sha256()
    for name, parameter in parameters.items():
        digest.update(name.encode())
        digest.update(parameter.detach().to(dtype).cpu().reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def embedding_settings(model, processor) -> dict[str, Any]:
    """What embeddings depend on beside the weights, by dotted names, as JSON keeps it."""
    found = {"config": json.loads(model.config.to_json_string(use_diff=False))}
    found["processor"] = json.loads(processor.to_json_string())
    tokenizer = processor.tokenizer
    words = tokenizer.get_vocab()
    if hasattr(tokenizer, "backend_tokenizer"):  # which remembers how the last texts were cut and padded
        words = json.loads(tokenizer.backend_tokenizer.to_str()) | {"truncation": None, "padding": None}
    found["processor"]["tokenizer"] = hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()
    return dict(flattened(found))


def flattened(settings: dict, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if not any(part in name for part in CHANGE_NO_EMBEDDING):
            yield from flattened(value, f"{prefix}{name}.") if isinstance(value, dict) else [(prefix + name, value)]


def difference(built: dict, given: dict) -> str:
    """What differs between two descriptions of what embeds, "" if nothing; settings that one does not know do not."""
    for name in ("width", "weights"):
        if built[name] != given[name]:
            return f"{name} ({built[name]!s:.12} and {given[name]!s:.12})"
    own, other = built.get("settings", {}), given.get("settings", {})
    found = [name for name in own if name in other and own[name] != other[name]]
    return f"{found[0]} ({own[found[0]]!r} and {other[found[0]]!r})" if found else ""


def check_retrieves(model) -> None:
    if not hasattr(model, "get_fused_features"):
        raise ValueError(f"{type(model).__name__} has no retrieval head: an index takes a MoTForRetrieval as `model`.")


def describe_embedder(model, processor) -> dict[str, Any]:
    return {
        "weights": fingerprint_of_weights(model),
        "width": model.config.projection_dim,
        "model": model.config._name_or_path,
        "settings": embedding_settings(model, processor),
    }


def check_embedder(folder: Path, description: dict, model, processor) -> None:
    """
    Raises:
        ValueError: not this model and processor made the embeddings of an index.
    """
    given = describe_embedder(model, processor)
    if "settings" not in description:  # an earlier version, which took the weights as they are
        given["weights"] = fingerprint_of_weights(model, torch.float32)
    if found := difference(description, given):
        names = [part["model"] or "a model without a name" for part in (description, given)]
        raise ValueError(
            f"{folder} holds embeddings of {names[0]!r}, with which those of {names[1]!r} cannot be compared: the two "
            f"differ in {found}. Pass the model and the processor that the index was built with, or build another index."
        )


# ---------------------------------------------------------------------------------------------------------------------
# Embedding
# ---------------------------------------------------------------------------------------------------------------------


def find_columns(features: Features) -> dict[str, str]:
    """Which columns hold what: by the types of media, and a column of strings that is called text."""
    found = {}
    for kind, media in MEDIA_OF.items():
        if names := [name for name, feature in features.items() if isinstance(feature, media)]:
            found[kind] = names[0]
    texts = [name for name, feature in features.items() if feature == Value("string")]
    if "text" in texts or len(texts) == 1:
        found["text"] = "text" if "text" in texts else texts[0]
    return found


def tell_left_out(features: Features, columns: dict[str, str]) -> None:
    """Warn of columns that were not chosen but could hold something to embed, such as the paths of pictures."""
    left = [n for n, f in features.items() if n not in columns.values() and (f in STRINGS or isinstance(f, MEDIA))]
    if left:
        taken = ", ".join(f"{name!r} as {kind}" for kind, name in columns.items())
        logger.warning(
            f"The index embeds {taken}; it leaves out {', '.join(map(repr, left))}. Name what to embed in `columns`, also "
            'a column of paths: columns={"image": "photo"}.'
        )


def check_columns(columns: dict[str, str], dataset: Dataset, model) -> None:
    known = set(model.config.modalities) | ({"video"} if "image" in model.config.modalities else set())
    for kind, name in columns.items():
        if kind not in known:
            raise ValueError(f"`columns` names {kind!r}, but this model takes {', '.join(sorted(known))}.")
        if name not in dataset.column_names:
            raise ValueError(f"`columns` names {name!r}, but the dataset has {', '.join(dataset.column_names)}.")
    if not columns:
        raise ValueError(
            f"No column to embed was found among {', '.join(dataset.column_names)}: name them in `columns`."
        )
    if {"image", "video"} <= columns.keys():
        raise ValueError("`columns` names images and videos; a row has one of them: leave one out.")


def embed(model, processor, rows: dict[str, list]) -> dict[str, np.ndarray]:
    """
    Args:
        rows: kind ("text", "image", "video", "audio") -> a cell for each of B rows, None where a row has none.

    Returns:
        kind of embedding -> (B, d) float32, NaN where a row has none; "fused" for rows that have several.
    """
    number = len(next(iter(rows.values())))
    count = np.zeros(number, dtype=int)
    found = {}
    for kind, cells in rows.items():
        present = [i for i, cell in enumerate(cells) if cell is not None]
        count[present] += 1
        name = "image" if kind == "video" else kind
        found[name] = np.full((number, model.config.projection_dim), np.nan, dtype=np.float32)
        if present:
            found[name][present] = vectors_of(model, processor, {kind: [cells[i] for i in present]}, name)
    if several := np.flatnonzero(count > 1).tolist():
        given = {kind: [cells[i] for i in several] for kind, cells in rows.items()}
        given = {kind: cells for kind, cells in given.items() if any(cell is not None for cell in cells)}
        found["fused"] = np.full((number, model.config.projection_dim), np.nan, dtype=np.float32)
        found["fused"][several] = vectors_of(model, processor, given, "fused")
    return found


def vectors_of(model, processor, rows: dict[str, list], name: str) -> np.ndarray:
    """The embeddings (B, d) float32 of one kind; a row that has none is an error."""
    batch = encode_rows(processor, model, {ARGUMENTS[kind]: cells for kind, cells in rows.items()}, truncation=True)
    with inference(model):
        vectors = getattr(model, f"get_{name}_features")(**batch).pooler_output.float().cpu().numpy()
    if not np.isfinite(vectors).all():
        raise ValueError(f"the model's {name} embedding is not finite; try it in float32.")
    return vectors


def embed_part(model, processor, rows: dict[str, list], start: int) -> dict[str, np.ndarray]:
    """
    `embed` for rows that begin at number `start` of a dataset.

    Raises:
        ValueError: naming the row that cannot be read.
    """
    rows = {kind: [None if is_blank(cell) else cell for cell in cells] for kind, cells in rows.items()}
    try:
        return embed(model, processor, rows)
    except (ValueError, OSError):
        for i in range(len(next(iter(rows.values())))):
            try:
                embed(model, processor, {kind: cells[i : i + 1] for kind, cells in rows.items()})
            except (ValueError, OSError) as error:
                raise ValueError(f"Row {start + i} of the dataset cannot be embedded: {error}") from error
        raise


def as_stored(dataset: Dataset) -> Dataset:
    """With media as files, not decoded, and cells as they are, whatever the format."""
    dataset = dataset.with_format(None)
    for name, feature in dataset.features.items():
        if isinstance(feature, MEDIA):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def with_media(dataset: Dataset, kinds: dict[str, type]) -> Dataset:
    """With columns of paths as media, whose content goes into the index with them."""
    for name, kind in kinds.items():
        dataset = dataset.cast_column(name, kind(decode=False))
    return dataset


def fingerprint_of_rows(dataset: Dataset, columns: dict[str, str], shard_rows: int) -> str:
    state = [fingerprint_of_files(dataset), len(dataset), columns, shard_rows]
    return hashlib.sha256(json.dumps(state).encode()).hexdigest()


def embedded_tables(
    dataset: Dataset, features: Features, model, processor, columns: dict[str, str], batch_size: int
) -> Callable[[range], Iterator[pa.Table]]:
    """From a range of rows to these rows with their embeddings, in parts of `batch_size`."""
    features = stored_features(features)

    def tables(rows: range) -> Iterator[pa.Table]:
        for start in range(rows.start, rows.stop, batch_size):
            part = dataset.select(range(start, min(start + batch_size, rows.stop)))
            cells = part.select_columns(list(columns.values()))[:]
            found = embed_part(model, processor, {kind: cells[name] for kind, name in columns.items()}, start)
            table = part.with_format("arrow")[:]
            for kind, name in zip(KINDS, EMBEDDINGS):
                vectors = found.get(kind)
                cells_of = [None] * len(part) if vectors is None else [None if np.isnan(v[0]) else v for v in vectors]
                table = table.append_column(name, pa.array(cells_of, pa.list_(pa.float32())))
            yield as_joined(
                table.replace_schema_metadata(stored_features(part.features).arrow_schema.metadata), features
            )

    return tables


def build_index(
    dataset: Dataset,
    model,
    processor,
    output_dir: str | os.PathLike,
    columns: dict[str, str] | None = None,
    batch_size: int = 32,
    shard_rows: int = 1000,
) -> "Index":
    """
    Embed every row of a dataset, and keep the rows with their media and embeddings in a folder.

    Args:
        dataset: with columns of text, pictures, videos or sound; a cell may be None.
        model: a `MoTForRetrieval`.
        processor: its `MoTProcessor`.
        output_dir: of the index. If a run was killed there, this one goes on where it stopped.
        columns: kind ("text", "image", "video", "audio") -> column; found by their types if not given, with a warning
            that names the columns of strings and media that are left out.
        batch_size: rows that are embedded at once.
        shard_rows: rows that are written at once, at most what a killed run loses.

    Raises:
        ValueError: nothing can be embedded, or the folder holds an index of other rows, columns or weights.
    """
    check_retrieves(model)
    check_rows(dataset)
    folder, dataset = Path(output_dir), as_stored(dataset)
    found = find_columns(dataset.features) if columns is None else dict(columns)
    check_columns(found, dataset, model)
    if columns is None:
        tell_left_out(dataset.features, found)
    columns = found
    paths = [kind for kind in columns if kind != "text" and dataset.features[columns[kind]] in STRINGS]
    dataset = with_media(dataset, {columns[kind]: MEDIA_OF[kind] for kind in paths})
    fingerprint = fingerprint_of_rows(dataset, columns, shard_rows)
    begin_index(folder, fingerprint, columns, model, processor)
    with locked(folder):
        if not read_description(folder)["shards"]:
            tables = embedded_tables(dataset, dataset.features, model, processor, columns, batch_size)
            schema = stored_features(dataset.features).arrow_schema
            append_rows(folder, fingerprint, len(dataset), shard_rows, schema, tables)
    return Index.load(folder, model, processor).tell_empty()


def check_rows(dataset: Dataset) -> None:
    if not isinstance(dataset, Dataset):
        raise ValueError(f"`dataset` is a {type(dataset).__name__}, expected a `datasets.Dataset`, such as one split.")
    if not len(dataset):
        raise ValueError("The dataset has no rows: there is nothing to embed.")
    if taken := [name for name in dataset.column_names if name in EMBEDDINGS]:
        raise ValueError(f"The dataset has a column {taken[0]!r}, as an index calls its own: rename or remove it.")


def begin_index(folder: Path, fingerprint: str, columns: dict[str, str], model, processor) -> None:
    """A folder for an index of no rows yet, or one that holds the same index, whatever is done of it."""
    folder.mkdir(parents=True, exist_ok=True)
    if any(file.name != LOCK for file in folder.iterdir()) and not (folder / DESCRIPTION).exists():
        raise ValueError(f"{folder} holds something that is not an index: choose an empty output_dir.")
    with locked(folder):
        if not (folder / DESCRIPTION).exists():
            empty = {
                "generation": 0,
                "fingerprint": fingerprint,
                "rows": 0,
                "columns": columns,
                "removed": [],
                "shards": [],
            }
            write_description(folder, empty | describe_embedder(model, processor))
            return
        found = read_description(folder)
        if found["fingerprint"] != fingerprint:
            raise ValueError(
                f"{folder} holds an index of other rows or columns (of the model {found['model']!r}): choose another "
                "output_dir, or delete it."
            )
        check_embedder(folder, found, model, processor)


# ---------------------------------------------------------------------------------------------------------------------
# Searching
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Index:
    """
    A dataset with its embeddings, to be searched.

    Args:
        folder: where it is kept.
        dataset: all rows, those that were removed, too, with their embeddings; a row's number is its id.
        vectors: kind ("text", "image", "audio", "fused") -> (N, d) float32, zeros where a row has none.
        present: kind -> (N,) bool, which rows have one and were not removed.
        description: what `index.json` held when it was read.
        model, processor: what embedded the rows, and embeds what the index is asked.
    """

    folder: Path
    dataset: Dataset
    vectors: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    description: dict
    model: Any = None
    processor: Any = None
    approximate: dict[str, Dataset] = field(default_factory=dict)  # modality -> ids with a FAISS index
    checked: tuple = ()  # what embeds, as it was when it was found to be what embedded the rows

    @classmethod
    def load(cls, folder: str | os.PathLike, model=None, processor=None) -> "Index":
        """
        Read an index. `model` and `processor` embed what it is asked; ready embeddings need none.

        Raises:
            ValueError: there is no index, its build is not finished, a file is damaged, or another model or processor
                built it.
        """
        folder = Path(folder)
        description = read_description(folder)
        dataset, width = read_rows(folder, description), description["width"]
        kept = torch.ones(len(dataset), dtype=torch.bool)
        kept[description["removed"]] = False
        vectors, present = {}, {}
        for kind, name in zip(KINDS, EMBEDDINGS):
            column = dataset.data.column(name)
            has = torch.from_numpy(~np.asarray(column.is_null()))
            vectors[kind] = torch.zeros(len(dataset), width)
            flat = np.asarray(pc.list_flatten(column), dtype=np.float32)
            vectors[kind][has] = torch.tensor(flat.reshape(-1, width))
            present[kind] = has & kept
        found = cls(folder, as_stored(dataset), vectors, present, description)
        return found if model is None and processor is None else found.attach(model, processor)

    def attach(self, model, processor) -> "Index":
        """This index with what embeds its queries and further rows; the errors are those of `load`."""
        self.model, self.processor = model, processor
        self.check_embedder()
        return self

    def reload(self) -> "Index":
        """What the folder says now, such as after another process changed it."""
        fresh = vars(Index.load(self.folder))
        self.__dict__.update(fresh | {name: getattr(self, name) for name in ("model", "processor", "checked")})
        return self

    def check_embedder(self) -> None:
        """
        Raises:
            ValueError: the model and the processor are not what embedded the rows, or there are none.
        """
        if self.model is None or self.processor is None:
            missing = "model" if self.model is None else "processor"
            raise ValueError(
                f"To embed queries or rows, the index needs a model and its processor, but has no {missing}: "
                "Index.load(folder, model, processor)."
            )
        check_retrieves(self.model)
        # Weights are compared once, and again if they have been trained since.
        steps = sum(0 if p.is_inference() else p._version for p in self.model.parameters())
        state = (self.model, self.processor, steps, self.description["weights"])
        if len(self.checked) != len(state) or any(
            own is not new and own != new for own, new in zip(self.checked, state)
        ):
            check_embedder(self.folder, self.description, self.model, self.processor)
            self.checked = state

    def tell_empty(self, first: int = 0) -> "Index":
        """This index, after a warning of rows from number `first` that have no embedding."""
        is_empty = ~torch.stack([*self.present.values()]).any(dim=0)
        is_empty[self.description["removed"]] = False
        if empty := [i for i in is_empty.nonzero().flatten().tolist() if i >= first]:
            columns = ", ".join(map(repr, self.description["columns"].values()))
            logger.warning(
                f"Nothing is embedded of {len(empty)} of {len(self.dataset) - first} rows, such as row {empty[0]}: their "
                f"cells of {columns} are empty, so that no query finds them."
            )
        return self

    def check_holds(self, modality: str) -> None:
        """
        Raises:
            ValueError: no row has an embedding of this modality.
        """
        if not self.present[modality].any():
            held = [kind for kind, rows in self.present.items() if rows.any()]
            raise ValueError(f"No row of the index has {modality}: there is {', '.join(held) or 'nothing'}.")

    def __repr__(self) -> str:
        held = ", ".join(f"{int(rows.sum())} {kind}" for kind, rows in self.present.items() if rows.any())
        return f"Index({str(self.folder)!r}: {len(self)} rows, embedded: {held or 'nothing'})"

    def __len__(self) -> int:
        """How many rows can be found."""
        return len(self.dataset) - len(self.description["removed"])

    @property
    def rows(self) -> Dataset:
        """Those of the dataset, without embeddings; a row's number is its id."""
        return self.dataset.remove_columns([name for name in EMBEDDINGS if name in self.dataset.column_names])

    def search(
        self,
        text: str | Sequence | None = None,
        image: Any = None,
        audio: Any = None,
        *,
        embedding: torch.Tensor | np.ndarray | None = None,
        k: int = 10,
        modality: str | None = None,
        where: dict[str, Any] | Callable[[dict], bool] | None = None,
        approximate: bool = False,
        **unknown,
    ) -> list[dict] | list[list[dict]]:
        """
        The rows nearest to a query, by cosine similarity.

        Args:
            text, image, audio: a query of one of them, or of several together; or lists of Q queries.
            embedding: in place of these, (d,) or (Q, d).
            k: how many rows.
            modality: what of the rows to compare with: "text", "image" (or video), "audio", or "fused" (all a row has);
                None: whatever of a row is nearest.
            where: only rows whose columns have these values (a class by its name or number, None for an empty cell), or
                for which a function of the row (a dict without decoded media) is true.
            approximate: by the FAISS index of that modality (`build_faiss`).

        Returns:
            For each query, {"id", "score", "modality"} of up to k rows, the nearest first, as a list; for several queries
            a list of these. `index.dataset[id]` is the row.

        Raises:
            ValueError: no query, or one that does not fit the index; a `modality` that no row has; an unknown argument,
                with the nearest; a model that is not the index's; a `where` that
                names no column, or what its cells cannot be.
        """
        for name in unknown:
            raise unknown_name(name, [*inspect.signature(self.search).parameters][:-1], "argument")
        if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(f"`k` is how many rows to find, 1 or more, got {k!r}.")
        if modality is not None and modality not in KINDS:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(KINDS)}, or None for any.")
        if modality is not None and len(self):
            self.check_holds(modality)
        if not is_one_of(approximate, True, False):
            raise ValueError(f"`approximate` is {approximate!r}: expected True or False.")
        if approximate and (where is not None or modality is None):
            raise ValueError("`approximate` goes with a `modality` and without `where`.")
        chosen = self.selected(where)
        queries, is_single = self.queries(text, image, audio, embedding)
        if approximate:
            found = self.search_faiss(queries, modality, k)
        else:
            found = self.search_exact(queries, k, [modality] if modality else list(KINDS), chosen)
        return found[0] if is_single else found

    def queries(self, text, image, audio, embedding) -> tuple[torch.Tensor, bool]:
        """(Q, d) of length 1, and whether there was one query, not a list."""
        given = {"text": text, "image": image, "audio": audio}
        given = {name: value for name, value in given.items() if value is not None and not is_blank(value)}
        if embedding is not None:
            if given:
                raise ValueError(f"A query is an `embedding` or {', '.join(given)}, not both.")
            return self.ready_queries(embedding)
        if not given:
            raise ValueError(
                "Give a query: `text=`, `image=`, `audio=`, several of them, or `embedding=`; a blank string is none."
            )
        self.check_embedder()
        lists = {name: value for name, value in given.items() if isinstance(value, (list, tuple))}
        lengths = {name: len(value) for name, value in lists.items() if not is_rate_and_samples(value)}
        if lengths and (len(lengths) < len(given) or len(set(lengths.values())) > 1):
            listed = ", ".join(f"{name} has {lengths.get(name, 'no list')}" for name in given)
            raise ValueError(f"Several queries are lists of the same length, but {listed}.")
        if 0 in lengths.values():
            return torch.zeros(0, self.description["width"]), False
        rows = {name: list(value) if lengths else [value] for name, value in given.items()}
        return torch.from_numpy(vectors_of(self.model, self.processor, rows, "fused")), not lengths

    def ready_queries(self, embedding) -> tuple[torch.Tensor, bool]:
        """`queries` for vectors of any length but 0."""
        width = self.description["width"]
        vectors = torch.as_tensor(embedding).detach().float().cpu()
        if vectors.ndim not in (1, 2) or vectors.shape[-1] != width:
            raise ValueError(f"`embedding` has shape {tuple(vectors.shape)}, expected ({width},) or (Q, {width}).")
        queries = vectors.reshape(-1, width)
        if wrong := (~queries.isfinite().all(dim=1) | (queries == 0).all(dim=1)).nonzero().flatten().tolist():
            raise ValueError(
                f"`embedding` points nowhere: row {wrong[0]} holds NaN or infinity, or nothing but zeros."
            )
        return torch.nn.functional.normalize(queries, dim=-1), vectors.ndim == 1

    def selected(self, where) -> torch.Tensor | None:
        """(N,) bool, the rows that `where` lets through; None for all."""
        if where is None:
            return None
        rows = self.rows
        if callable(where):
            return torch.tensor([bool(where(row)) for row in rows])
        if not isinstance(where, dict):
            raise ValueError(f"`where` is {where!r}, expected a dict from columns to values, or a function of a row.")
        chosen = np.ones(len(rows), dtype=bool)
        for name, value in where.items():
            chosen &= matches(rows, name, value)
        return torch.from_numpy(chosen)

    def search_exact(self, queries: torch.Tensor, k: int, kinds: list[str], chosen) -> list[list[dict]]:
        found = []
        for part in queries.split(max(1, MOST_EXACT_SCORES // max(1, len(self.dataset)))):
            scores = torch.full((len(part), len(self.dataset)), -torch.inf)
            nearest = torch.zeros(scores.shape, dtype=torch.int8)
            for number, kind in enumerate(kinds):
                own = part @ self.vectors[kind].T  # (Q, N)
                own.masked_fill_(~(self.present[kind] if chosen is None else self.present[kind] & chosen), -torch.inf)
                nearest[own > scores] = number
                scores = torch.maximum(scores, own)
            best = scores.topk(min(k, scores.shape[1]), dim=1)
            for values, ids, parts in zip(best.values, best.indices, nearest.gather(1, best.indices)):
                hits = zip(ids.tolist(), values.tolist(), parts.tolist())
                found.append([answer(i, s, kinds[n]) for i, s, n in hits if s > -torch.inf])
        return found

    # -----------------------------------------------------------------------------------------------------------------
    # FAISS
    # -----------------------------------------------------------------------------------------------------------------

    def faiss_file(self, modality: str) -> Path:
        """Of this state of the index alone: a change of its rows makes another necessary."""
        return self.folder / f"{modality}-{self.description['generation']}.faiss"

    def build_faiss(self, modality: str, kind: str = "hnsw", effort: int = 128) -> None:
        """
        An approximate index of one modality's embeddings, kept in the folder, by FAISS through `datasets`.

        Args:
            modality: as in `search`.
            kind: "hnsw", a graph (arXiv 1603.09320), or "ivf", lists around centroids, which takes less memory.
            effort: neighbours that a search of the graph considers, or lists that it looks into.

        Raises:
            ImportError: FAISS is not installed. ValueError: an unknown kind, or no row has this modality.
        """
        faiss = import_faiss()
        if modality not in KINDS:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(KINDS)}.")
        self.check_holds(modality)
        vectors = self.vectors[modality][self.present[modality]].numpy()
        width, metric = self.description["width"], faiss.METRIC_INNER_PRODUCT
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, 32, metric)
            index.hnsw.efConstruction, index.hnsw.efSearch = 200, effort
        elif kind == "ivf":
            lists = max(1, round(len(vectors) ** 0.5))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, metric)
            index.nprobe = min(effort, lists)
        else:
            raise ValueError(f"`kind` is {kind!r}, expected 'hnsw' or 'ivf'.")
        found = self.numbered(modality)
        size = len(vectors) if kind == "ivf" else None
        found.add_faiss_index_from_external_arrays(vectors, modality, custom_index=index, train_size=size)
        file = self.faiss_file(modality)
        partial = file.with_suffix(".partial")
        found.save_faiss_index(modality, partial)
        put_in_place(partial, file)
        self.approximate.pop(modality, None)

    def numbered(self, modality: str) -> Dataset:
        """The ids of the rows that have an embedding of this modality, as FAISS counts them."""
        return Dataset.from_dict({"id": self.present[modality].nonzero().flatten().tolist()})

    def search_faiss(self, queries: torch.Tensor, modality: str, k: int) -> list[list[dict]]:
        if modality not in self.approximate:
            self.approximate[modality] = self.load_faiss(modality)
        found = self.approximate[modality]
        ids = found["id"][:]
        scores, places = found.search_batch(modality, queries.numpy(), k=min(k, len(ids)))
        return [
            [answer(ids[place], float(score), modality) for score, place in zip(*one) if place >= 0]
            for one in zip(scores, places)
        ]

    def load_faiss(self, modality: str) -> Dataset:
        """The ids of a modality with its FAISS index."""
        file, remedy = self.faiss_file(modality), f"build_faiss({modality!r}) makes one"
        if not file.exists():
            raise ValueError(f"There is no FAISS index of {modality}: {remedy}.")
        import_faiss()
        ids = self.numbered(modality)
        try:
            ids.load_faiss_index(modality, file)
        except RuntimeError as error:
            raise ValueError(f"{file} is damaged ({error}): {remedy}.") from None
        read = ids.get_index(modality).faiss_index
        if (read.ntotal, read.d) != (len(ids), self.description["width"]):
            raise ValueError(
                f"{file} has {read.ntotal} vectors of {read.d} numbers, not those of this index: {remedy}."
            )
        return ids

    # -----------------------------------------------------------------------------------------------------------------
    # Changing
    # -----------------------------------------------------------------------------------------------------------------

    def add(self, dataset: Dataset, batch_size: int = 32, shard_rows: int = 1000) -> "Index":
        """
        More rows, which get the next ids; all of them or, if something is wrong, none. If a run was killed there, adding
        the same rows goes on where it stopped. FAISS indices are to be built anew.

        Args:
            dataset: of the same columns. Classes go by their names: those that the index does not know are new.
            batch_size, shard_rows: as in `build_index`.

        Returns:
            this index, as its folder is now, also where others changed it.

        Raises:
            ValueError: the columns differ, a row cannot be read, or the model is not the index's.
        """
        self.check_embedder()
        check_rows(dataset)
        dataset, columns = as_stored(dataset), self.description["columns"]
        with locked(self.folder):
            self.reload().check_embedder()
            own = self.rows.features.items()
            paths = {
                name: type(f) for name, f in own if isinstance(f, MEDIA) and dataset.features.get(name) in STRINGS
            }
            dataset = with_media(dataset, paths)
            features = joined_features(self.rows.features, dataset.features, "the rows to add")
            tables = embedded_tables(dataset, features, self.model, self.processor, columns, batch_size)
            fingerprint = fingerprint_of_rows(dataset, columns, shard_rows)
            schema = stored_features(features).arrow_schema
            first = len(self.dataset)
            append_rows(self.folder, fingerprint, len(dataset), shard_rows, schema, tables)
        return self.reload().tell_empty(first)

    def remove(self, ids: Sequence[int]) -> "Index":
        """
        Rows are not found any more; the ids of the others stay. FAISS indices are to be built anew.

        Returns:
            this index, as its folder is now, also where others changed it.

        Raises:
            ValueError: there is no such row.
        """
        if isinstance(ids, numbers.Integral):
            raise ValueError(f"`ids` is {ids}, expected a list of rows: [{ids}].")
        ids = {operator.index(i) for i in ids}
        with locked(self.folder):
            description = read_description(self.folder)
            if unknown := [i for i in sorted(ids) if not 0 <= i < description["rows"]]:
                raise ValueError(f"There is no row {unknown[0]}: ids go from 0 to {description['rows'] - 1}.")
            if not ids <= set(description["removed"]):
                description["removed"] = sorted(ids.union(description["removed"]))
                commit(self.folder, description)
        return self.reload()

    @classmethod
    def merge(cls, folders: Sequence[str | os.PathLike], output_dir: str | os.PathLike, **parts) -> "Index":
        """
        One index of several, such as those that several machines built; rows keep their order, and get new ids. Classes
        go by their names. If a run was killed there, this one begins anew.

        Raises:
            ValueError: they are of different columns or models, or `output_dir` is not empty.
        """
        output_dir, indices = Path(output_dir), [cls.load(folder) for folder in folders]
        if not indices:
            raise ValueError("`folders` names no index to merge.")
        first, *others = indices
        features = first.rows.features
        for index in others:
            check_mergeable(first, index)
            features = joined_features(features, index.rows.features, f"the rows of {index.folder}")
        digest = hashlib.sha256("".join(index.description["fingerprint"] for index in indices).encode()).hexdigest()
        kept = {name: value for name, value in first.description.items() if name != "pending"}
        shards, offset, removed = [], 0, []
        with merged_into(output_dir):
            for index in indices:
                for shard in index.description["shards"]:
                    shards.append(copy_shard(index.folder, shard, stored_features(features), output_dir, len(shards)))
                removed += [offset + i for i in index.description["removed"]]
                offset += len(index.dataset)
            changed = {"generation": 0, "removed": removed, "rows": offset, "fingerprint": digest, "shards": shards}
            write_description(output_dir, kept | changed)
        return cls.load(output_dir, **parts)


def check_mergeable(first: Index, other: Index) -> None:
    own, found = first.description, other.description
    if own["columns"] != found["columns"]:
        raise ValueError(
            f"{first.folder} and {other.folder} differ in their columns: {own['columns']} and {found['columns']}."
        )
    if what := difference(own, found):
        raise ValueError(
            f"{first.folder} and {other.folder} are of different models ({own['model']!r} and {found['model']!r}): they "
            f"differ in {what}, so that their embeddings cannot be compared."
        )


def matches(rows: Dataset, name: str, value: Any) -> np.ndarray:
    """(N,) bool, in which rows the cell of a column is this value."""
    if name not in rows.column_names:
        nearest = difflib.get_close_matches(str(name), rows.column_names, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ValueError(f"`where` names {name!r}, but the rows have {', '.join(rows.column_names)}.{hint}")
    column, feature = rows.data.column(name), rows.features[name]
    if value is None:
        return np.asarray(column.is_null())
    if isinstance(feature, MEDIA):
        raise ValueError(
            f"`where` cannot compare {name!r}, a column of {type(feature).__name__.lower()}s, with {value!r}: it matches "
            f"values alone, or None. Name another column, or give a function of the row."
        )
    if isinstance(feature, ClassLabel):
        value = class_number(feature, name, value)
    cell = as_cell(column.type, name, value)
    if pa.types.is_nested(column.type):
        return np.array([own == cell.as_py() for own in column.to_pylist()], dtype=bool)
    return np.asarray(pc.fill_null(pc.equal(column, cell), False))


def class_number(feature: ClassLabel, name: str, value: Any) -> Any:
    """Of a class, which may be called by its name."""
    if isinstance(value, str):
        if value not in feature.names:
            nearest = difflib.get_close_matches(value, feature.names, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"they are {', '.join(feature.names[:20])}."
            raise ValueError(f"`where` asks for the class {value!r} of {name!r}, which is none of its classes: {hint}")
        return feature.names.index(value)
    if isinstance(value, numbers.Integral) and not -1 <= value < feature.num_classes:  # -1 is no class
        raise ValueError(f"`where` asks for class {value} of {name!r}, which has 0 to {feature.num_classes - 1}.")
    return value


def as_cell(kind: pa.DataType, name: str, value: Any) -> pa.Scalar:
    """A value as the cells of a column are; one that they can never be is an error."""
    value = value.item() if isinstance(value, np.generic) else value
    is_bool = isinstance(value, bool) == pa.types.is_boolean(kind) or pa.types.is_nested(kind)
    try:
        cell = pa.scalar(value, kind)
        if is_bool and (pa.types.is_floating(kind) or cell.as_py() == value):
            return cell
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    raise ValueError(
        f"`where` asks for {value!r} ({type(value).__name__}) in {name!r}, whose cells are {kind}, so that nothing "
        "matches: give a value of that type, or a function of the row."
    )


def answer(row: int, score: float, modality: str) -> dict:
    return {"id": row, "score": score, "modality": modality}


def import_faiss():
    try:
        import faiss
    except ImportError:
        raise ImportError(
            "Approximate search needs FAISS: pip install 'mixture-of-transformers[search]', or faiss-cpu."
        ) from None
    return faiss


__all__ = ["Index", "build_index"]
