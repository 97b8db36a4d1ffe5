# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""An index: the rows of a dataset with their embeddings, to be searched and changed.

It is a folder that knows what embedded it and takes no other model. Small sets are searched exactly, by one matrix
product; large ones through FAISS.

Shapes: N rows, Q queries, d width of the embeddings.
"""

import hashlib
import inspect
import numbers
import operator
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import torch
from datasets import Dataset
from transformers.utils import logging

from mixture_of_transformers.arguments_mot import is_one_of
from mixture_of_transformers.data.column_types import is_medium
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES
from mixture_of_transformers.rows_mot import is_blank, unknown_name
from mixture_of_transformers.search.approximate import load_faiss, save_faiss
from mixture_of_transformers.search.columns import EMBEDDING_KINDS, FUSED, STRINGS, embedding_column, stored_features
from mixture_of_transformers.search.description import kinds_in, read_description, write_description
from mixture_of_transformers.search.embedder import check_embedder, check_retrieves, difference
from mixture_of_transformers.search.embedding import embed_as, embedded_blocks, embedded_tables, queries_in
from mixture_of_transformers.search.filters import matches
from mixture_of_transformers.search.folder import append_rows, commit, locked, merged_into
from mixture_of_transformers.search.joining import copy_shard, joined_features
from mixture_of_transformers.search.rows import as_stored, check_rows, fingerprint_of_rows, with_media
from mixture_of_transformers.search.shards import read_shards

logger = logging.get_logger(__name__)

MOST_EXACT_SCORES = 2**26  # scores that an exact search holds at once: 256 MiB


@dataclass
class Index:
    """
    A dataset with its embeddings, to be searched.

    Args:
        folder: where it is kept.
        dataset: all rows, those that were removed, too, with their embeddings; a row's number is its id.
        vectors: kind ("text", "image", "audio", the names of the model's other modalities, "fused") -> (N, d) float32,
            zeros where a row has none.
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
    approximate: dict[str, Dataset] = field(default_factory=dict)  # modality -> ids of rows with their FAISS index
    checked: tuple = ()  # the model, the processor and their state when they were last found to be the right ones

    @classmethod
    def load(cls, folder: str | os.PathLike, model=None, processor=None) -> "Index":
        """
        Read an index. `model` and `processor` embed queries and further rows; a ready embedding needs neither.

        Raises:
            ValueError: there is no index, its build is not finished, a file is damaged, or another model or processor
                built it.
        """
        folder = Path(folder)
        description = read_description(folder)
        dataset, width = read_shards(folder, description), description["width"]
        kept = torch.ones(len(dataset), dtype=torch.bool)
        kept[description["removed"]] = False
        vectors, present = {}, {}
        for kind in kinds_in(description):
            column = dataset.data.column(embedding_column(kind))
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
        """This index as its folder is now, such as after another process changed it."""
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
        # Hashing all weights is slow, so they are compared once, and again after they have been trained.
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
                f"Nothing is embedded of {len(empty)} of {len(self.dataset) - first} rows, such as row {empty[0]}: "
                f"their cells of {columns} are empty, so that no query finds them."
            )
        return self

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of embeddings, each of which a row may have: of its modalities, and "fused" of all of them."""
        return tuple(self.vectors)

    def check_holds(self, modality: str) -> None:
        """
        Raises:
            ValueError: the index knows no such modality, or no row has an embedding of it.
        """
        if modality not in self.kinds:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(self.kinds)}, or None for any.")
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
        """The rows of the dataset, without embeddings; a row's number is its id."""
        columns = [embedding_column(kind) for kind in self.kinds]
        return self.dataset.remove_columns([name for name in columns if name in self.dataset.column_names])

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
        **others: Any,
    ) -> list[dict] | list[list[dict]]:
        """
        The rows nearest to a query, by cosine similarity.

        Args:
            text, image, audio: a query of one of them, or of several together; or lists of Q queries.
            others: the same of the model's other modalities by their names, `imu=array`, and of `video`. (One that is
                called as another argument can be asked for as an `embedding`.)
            embedding: in place of these, (d,) or (Q, d).
            k: how many rows.
            modality: what of the rows to compare with: "text", "image" (or video), "audio", another modality of the
                model's, or "fused" (all a row has); None: whatever of a row is nearest.
            where: only rows whose columns have these values (a class by its name or number, None for an empty cell),
                or for which a function of the row (a dict without decoded media) is true.
            approximate: by the FAISS index of that modality (`build_faiss`).

        Returns:
            For each query, {"id", "score", "modality"} of up to k rows, the nearest first, as a list; for several
            queries a list of these. `index.dataset[id]` is the row.

        Raises:
            ValueError: no query, or one that does not fit the index; a `modality` that no row has; an unknown
                argument, with the nearest; a model that is not the index's; a `where` that names no column, or what
                its cells cannot be.
        """
        self.check_names(others)
        self.check_options(k, modality, where, approximate)
        chosen = self.selected(where)
        queries, is_single = self.queries(embedding, dict(zip(MODALITIES, (text, image, audio))) | others)
        if approximate:
            found = self.search_faiss(queries, modality, k)
        else:
            found = self.search_exact(queries, k, [modality] if modality else self.kinds, chosen)
        return found[0] if is_single else found

    def check_options(self, k, modality, where, approximate) -> None:
        """
        Raises:
            ValueError: one of these arguments of `search` cannot be, or not beside the others.
        """
        if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 1:
            raise ValueError(f"`k` is how many rows to find, 1 or more, got {k!r}.")
        if modality is not None and (len(self) or modality not in self.kinds):
            self.check_holds(modality)
        if not is_one_of(approximate, True, False):
            raise ValueError(f"`approximate` is {approximate!r}: expected True or False.")
        if approximate and (where is not None or modality is None):
            raise ValueError("`approximate` goes with a `modality` and without `where`.")

    def check_names(self, names: Iterable[str]) -> None:
        """
        Raises:
            ValueError: nothing of a row is called so, with the nearest that is.
        """
        known = [*CELLS, *(kind for kind in self.kinds if kind not in EMBEDDING_KINDS)]
        options = [*inspect.signature(self.search).parameters][:-1]
        for name in names:
            if name not in known:
                raise unknown_name(name, list(dict.fromkeys([*known, *options])), "argument")

    def queries(self, embedding, given: dict[str, Any]) -> tuple[torch.Tensor, bool]:
        """
        The embeddings of what is searched for, (Q, d) of length 1, and whether it was one query, not a list of
        queries.

        Args:
            given: name of a cell of a row -> a query of it or a list of them.

        Raises:
            ValueError: as `search` does for its query.
        """
        arguments = ", ".join(f"`{kind}=`" for kind in self.kinds if kind != FUSED)
        given = {name: value for name, value in given.items() if value is not None and not is_blank(value)}
        if embedding is not None:
            if given:
                raise ValueError(f"A query is an `embedding` or {', '.join(given)}, not both.")
            return self.ready_queries(embedding)
        if not given:
            raise ValueError(f"Give a query: {arguments}, several of them, or `embedding=`; a blank string is none.")
        self.check_embedder()
        lists = {name: queries_in(self.model, self.processor, name, value) for name, value in given.items()}
        lengths = {name: len(queries) for name, queries in lists.items() if queries is not None}
        if lengths and (len(lengths) < len(given) or len(set(lengths.values())) > 1):
            listed = ", ".join(f"{name} has {lengths.get(name, 'no list')}" for name in given)
            raise ValueError(f"Several queries are lists of the same length, but {listed}.")
        if 0 in lengths.values():
            return torch.zeros(0, self.description["width"]), False
        rows = {name: [given[name]] if queries is None else queries for name, queries in lists.items()}
        return torch.from_numpy(embed_as(self.model, self.processor, rows, FUSED)), not lengths

    def ready_queries(self, embedding) -> tuple[torch.Tensor, bool]:
        """`queries` for a ready embedding: vectors (d,) or (Q, d) of any length but 0."""
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
        """Which of the rows `where` lets through, (N,) bool; None where all are."""
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

    def search_exact(
        self, queries: torch.Tensor, k: int, kinds: Sequence[str], chosen: torch.Tensor | None = None
    ) -> list[list[dict]]:
        """
        For each query what `search` returns, by comparing it with every row.

        Args:
            queries: (Q, d), of length 1.
            k: how many rows to find at most.
            kinds: which embeddings of a row to compare with; the nearest counts.
            chosen: (N,) bool, the rows that may be found; None for all.
        """
        found = []
        for part in queries.split(max(1, MOST_EXACT_SCORES // max(1, len(self.dataset)))):
            scores = torch.full((len(part), len(self.dataset)), -torch.inf)
            nearest = torch.zeros(scores.shape, dtype=torch.int8)
            for number, kind in enumerate(kinds):
                own = part @ self.vectors[kind].T  # (Q, N)
                can_be_found = self.present[kind] if chosen is None else self.present[kind] & chosen
                own.masked_fill_(~can_be_found, -torch.inf)
                nearest[own > scores] = number
                scores = torch.maximum(scores, own)
            best = scores.topk(min(k, scores.shape[1]), dim=1)
            for values, ids, parts in zip(best.values, best.indices, nearest.gather(1, best.indices)):
                hits = zip(ids.tolist(), values.tolist(), parts.tolist())
                found.append([hit(i, s, kinds[n]) for i, s, n in hits if s > -torch.inf])
        return found

    def faiss_file(self, modality: str) -> Path:
        """The file of a FAISS index. It is of this state of the index alone: a change of its rows asks for another."""
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
        self.check_holds(modality)
        vectors = self.vectors[modality][self.present[modality]].numpy()
        save_faiss(self.ids_of(modality), vectors, modality, self.faiss_file(modality), kind, effort)
        self.approximate.pop(modality, None)

    def ids_of(self, modality: str) -> Dataset:
        """The ids of the rows that have an embedding of this modality, in the order in which FAISS counts them."""
        return Dataset.from_dict({"id": self.present[modality].nonzero().flatten().tolist()})

    def search_faiss(self, queries: torch.Tensor, modality: str, k: int) -> list[list[dict]]:
        """For each of the queries (Q, d) what `search` returns, by the FAISS index of a modality."""
        if modality not in self.approximate:
            file, width = self.faiss_file(modality), self.description["width"]
            self.approximate[modality] = load_faiss(self.ids_of(modality), modality, file, width)
        found = self.approximate[modality]
        ids = found["id"][:]
        scores, numbers_of_ids = found.search_batch(modality, queries.numpy(), k=min(k, len(ids)))
        return [
            [hit(ids[number], float(score), modality) for score, number in zip(*one) if number >= 0]
            for one in zip(scores, numbers_of_ids)
        ]

    def add(self, dataset: Dataset, batch_size: int = 32, shard_rows: int = 1000) -> "Index":
        """
        Add rows, which get the next ids; all of them or, if something is wrong, none. If a run was killed there,
        adding the same rows goes on where it stopped. FAISS indices are to be built anew.

        Args:
            dataset: of the same columns. Classes go by their names: those that the index does not know are new.
            batch_size, shard_rows: as in `build_index`.

        Returns:
            this index, as its folder is now, also where others changed it.

        Raises:
            ValueError: the columns differ, a row cannot be read, or the model is not the index's.
        """
        self.check_embedder()
        check_rows(dataset, self.kinds)
        dataset, columns = as_stored(dataset), self.description["columns"]
        with locked(self.folder):
            self.reload().check_embedder()
            media = {name: type(f) for name, f in self.rows.features.items() if is_medium(f)}
            paths = {name: kind for name, kind in media.items() if dataset.features.get(name) in STRINGS}
            dataset = with_media(dataset, paths)
            features = joined_features(self.rows.features, dataset.features, "the rows to add")
            features = stored_features(features, self.kinds)
            embed = embedded_blocks(self.model, self.processor, dataset, columns, batch_size)
            tables = embedded_tables(dataset, features, embed, batch_size)
            fingerprint = fingerprint_of_rows(dataset, columns, shard_rows)
            first = len(self.dataset)
            append_rows(self.folder, fingerprint, len(dataset), shard_rows, features.arrow_schema, tables)
        return self.reload().tell_empty(first)

    def remove(self, ids: Sequence[int]) -> "Index":
        """
        Let rows not be found any more; the ids of the others stay. FAISS indices are to be built anew.

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
    def merge(
        cls, folders: Sequence[str | os.PathLike], output_dir: str | os.PathLike, model=None, processor=None
    ) -> "Index":
        """
        One index of several, such as those that several machines built; rows keep their order, and get new ids.
        Classes go by their names. If a run was killed there, this one begins anew.

        Args:
            folders: of the indices.
            output_dir: of the new one.
            model, processor: as in `load`.

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
        stored = stored_features(features, first.kinds)
        shards, offset, removed = [], 0, []
        with merged_into(output_dir):
            for index in indices:
                for shard in index.description["shards"]:
                    shards.append(copy_shard(index.folder, shard, stored, output_dir, len(shards)))
                removed += [offset + i for i in index.description["removed"]]
                offset += len(index.dataset)
            changed = {"generation": 0, "removed": removed, "rows": offset, "fingerprint": digest, "shards": shards}
            write_description(output_dir, kept | changed)
        return cls.load(output_dir, model, processor)


def check_mergeable(first: Index, other: Index) -> None:
    """
    Raises:
        ValueError: the two embed other columns, or were embedded by other models.
    """
    own, found = first.description, other.description
    if own["columns"] != found["columns"]:
        raise ValueError(
            f"{first.folder} and {other.folder} differ in their columns: {own['columns']} and {found['columns']}."
        )
    if what := difference(own, found):
        raise ValueError(
            f"{first.folder} and {other.folder} are of different models ({own['model']!r} and {found['model']!r}): "
            f"they differ in {what}, so that their embeddings cannot be compared."
        )


def hit(row: int, score: float, modality: str) -> dict:
    """What a search says of a row that it found."""
    return {"id": row, "score": score, "modality": modality}
