# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Search: embed a dataset once, then find its rows by text, image, audio, or any of them together.

An index is a folder of parquet shards, the rows of the dataset with their embeddings beside them, and `index.json`, which
says what they are. Shards are written whole or not at all, so that a run that was killed goes on where it stopped. Small
sets are searched exactly, by one matrix product; large ones through FAISS.

Shapes: N rows, Q queries, d width of the embeddings.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Audio, Dataset, Features, Image, List, Value, Video, load_dataset
from transformers.utils import logging

from .processing_mot import encode_rows

logger = logging.get_logger(__name__)

ARGUMENTS = {
    "text": "text",
    "image": "images",
    "video": "videos",
    "audio": "audio",
}  # column's kind -> of the processor
KINDS = ("text", "image", "audio", "fused")  # of embeddings; a video's is that of images
MEDIA = (Image, Audio, Video)
MOST_EXACT_SCORES = 2**26  # scores that are held at once: 256 MiB
DESCRIPTION = "index.json"


# ---------------------------------------------------------------------------------------------------------------------
# Embedding
# ---------------------------------------------------------------------------------------------------------------------


def find_columns(features: Features) -> dict[str, str]:
    """Which columns hold what: by the types of media, and a column of strings that is called text."""
    kinds = {"image": Image, "audio": Audio, "video": Video}
    found = {}
    for kind, media in kinds.items():
        if names := [name for name, feature in features.items() if isinstance(feature, media)]:
            found[kind] = names[0]
    texts = [name for name, feature in features.items() if feature == Value("string")]
    if "text" in texts or len(texts) == 1:
        found["text"] = "text" if "text" in texts else texts[0]
    return found


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


@torch.no_grad()
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
            batch = encode_rows(processor, model, {ARGUMENTS[kind]: [cells[i] for i in present]}, truncation=True)
            vectors = getattr(model, f"get_{name}_features")(**batch).pooler_output
            found[name][present] = vectors.float().cpu().numpy()
    if several := np.flatnonzero(count > 1).tolist():
        given = {ARGUMENTS[kind]: [cells[i] for i in several] for kind, cells in rows.items()}
        given = {name: cells for name, cells in given.items() if any(cell is not None for cell in cells)}
        batch = encode_rows(processor, model, given, truncation=True)
        found["fused"] = np.full((number, model.config.projection_dim), np.nan, dtype=np.float32)
        found["fused"][several] = model.get_fused_features(**batch).pooler_output.float().cpu().numpy()
    return found


def as_stored(dataset: Dataset) -> Dataset:
    """With media as files, not decoded."""
    for name, feature in dataset.features.items():
        if isinstance(feature, MEDIA):
            dataset = dataset.cast_column(name, type(feature)(decode=False))
    return dataset


def fingerprint_of_rows(dataset: Dataset, columns: dict[str, str], shard_rows: int) -> str:
    return hashlib.sha256(json.dumps([dataset._fingerprint, len(dataset), columns, shard_rows]).encode()).hexdigest()


def fingerprint_of_weights(model) -> str:
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        digest.update(name.encode())
        digest.update(parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


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
    Embed every row of a dataset, and keep the rows with their embeddings in a folder.

    Args:
        dataset: with columns of text, pictures, videos or sound; a cell may be None.
        model: a `MoTForRetrieval`.
        processor: its `MoTProcessor`.
        output_dir: of the index. If a run was killed there, this one goes on where it stopped.
        columns: kind ("text", "image", "video", "audio") -> column; found by their types if not given.
        batch_size: rows that are embedded at once.
        shard_rows: rows that are written at once, at most what a killed run loses.

    Raises:
        ValueError: nothing can be embedded, or the folder holds an index of other rows, columns or weights.
    """
    folder, dataset = Path(output_dir), as_stored(dataset)
    columns = find_columns(dataset.features) if columns is None else dict(columns)
    check_columns(columns, dataset, model)
    description = {
        "fingerprint": fingerprint_of_rows(dataset, columns, shard_rows),
        "weights": fingerprint_of_weights(model),
        "rows": len(dataset),
        "columns": columns,
        "width": model.config.projection_dim,
        "model": model.config._name_or_path,
        "removed": [],
    }
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DESCRIPTION).exists():
        found = json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
        if any(found[name] != description[name] for name in ("fingerprint", "weights")):
            raise ValueError(
                f"{folder} holds an index of other rows, columns or weights (of {found['model']!r}): choose another "
                "output_dir, or delete it."
            )
    elif any(folder.iterdir()):
        raise ValueError(f"{folder} holds something that is not an index: choose an empty output_dir.")
    else:
        write_whole(folder / DESCRIPTION, json.dumps(description, indent=1).encode())
    embed_shards(dataset, model.eval(), processor, folder, columns, batch_size, shard_rows)
    return Index.load(folder)


def embed_shards(dataset: Dataset, model, processor, folder: Path, columns, batch_size: int, shard_rows: int) -> None:
    """Write the shards that are not there yet."""
    with logging.tqdm(total=len(dataset), desc="Embedding", unit="row") as progress:
        for number, start in enumerate(range(0, len(dataset), shard_rows)):
            file = folder / f"shard-{number:05d}.parquet"
            part = dataset.select(range(start, min(start + shard_rows, len(dataset))))
            if not file.exists():
                write_shard(part, model, processor, file, columns, batch_size)
            progress.update(len(part))


def write_shard(part: Dataset, model, processor, file: Path, columns: dict[str, str], batch_size: int) -> None:
    embedded: dict[str, list] = {kind: [] for kind in KINDS}
    for start in range(0, len(part), batch_size):
        cells = part[start : start + batch_size]
        found = embed(model, processor, {kind: cells[name] for kind, name in columns.items()})
        number = len(next(iter(cells.values())))
        for kind in KINDS:
            vectors = found.get(kind)
            rows = [None] * number if vectors is None else [None if np.isnan(v[0]) else v for v in vectors]
            embedded[kind] += rows
    for kind, rows in embedded.items():
        feature = List(Value("float32"))
        part = part.add_column(f"{kind}_embedding", rows, feature=feature)
    partial = file.with_suffix(".partial")
    part.to_parquet(partial)
    os.replace(partial, file)


def write_whole(file: Path, content: bytes) -> None:
    partial = file.with_suffix(".partial")
    partial.write_bytes(content)
    os.replace(partial, file)


def json_of(folder: Path) -> dict:
    try:
        return json.loads((folder / DESCRIPTION).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no index: there is no {DESCRIPTION}. `build_index` makes one.") from None


# ---------------------------------------------------------------------------------------------------------------------
# Searching
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class Index:
    """
    A dataset with its embeddings, to be searched.

    Args:
        folder: where it is kept.
        dataset: all rows, those that were removed, too; a row's number is its id.
        vectors: kind ("text", "image", "audio", "fused") -> (N, d) float32, zeros where a row has none.
        present: kind -> (N,) bool, which rows have one and were not removed.
        description: what `index.json` holds.
    """

    folder: Path
    dataset: Dataset
    vectors: dict[str, torch.Tensor]
    present: dict[str, torch.Tensor]
    description: dict
    model: Any = None
    processor: Any = None
    approximate: dict[str, Dataset] = field(default_factory=dict)  # modality -> ids with a FAISS index

    @classmethod
    def load(cls, folder: str | os.PathLike, model=None, processor=None) -> "Index":
        """
        Read an index. `model` and `processor` embed what it is asked; ready embeddings need none.

        Raises:
            ValueError: there is no index, or its build is not finished.
        """
        folder = Path(folder)
        description, files = json_of(folder), sorted(map(str, folder.glob("shard-*.parquet")))
        if not files:
            raise ValueError(f"{folder} has no rows yet: `build_index` with the same arguments goes on.")
        dataset = as_stored(load_dataset("parquet", data_files=files, split="train", cache_dir=str(folder / ".cache")))
        if len(dataset) < description["rows"]:
            raise ValueError(
                f"{folder} has {len(dataset)} of {description['rows']} rows: `build_index` with the same arguments goes on."
            )
        vectors, present = {}, {}
        kept = torch.ones(len(dataset), dtype=torch.bool)
        kept[description["removed"]] = False
        for kind in KINDS:
            column = dataset.data.column(f"{kind}_embedding").combine_chunks()
            has = torch.from_numpy(~np.asarray(column.is_null()))
            vectors[kind] = torch.zeros(len(dataset), description["width"])
            flat = np.asarray(column.drop_null().flatten(), dtype=np.float32)
            vectors[kind][has] = torch.from_numpy(flat.reshape(-1, description["width"]).copy())
            present[kind] = has & kept
        return cls(folder, dataset, vectors, present, description, model, processor)

    def __len__(self) -> int:
        """How many rows can be found."""
        return len(self.dataset) - len(self.description["removed"])

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
    ) -> list[dict] | list[list[dict]]:
        """
        The rows nearest to a query, by cosine similarity.

        Args:
            text, image, audio: a query of one of them, or of several together; or lists of Q queries.
            embedding: in place of these, (d,) or (Q, d).
            k: how many rows.
            modality: what of the rows to compare with: "text", "image" (or video), "audio", or "fused" (all a row has);
                None: whatever of a row is nearest.
            where: only rows whose columns have these values, or for which a function of the row (a dict without decoded
                media) is true.
            approximate: by the FAISS index of that modality (`build_faiss`).

        Returns:
            For each query, {"id", "score", "modality"} of up to k rows, the nearest first, as a list; for several queries
            a list of these. `index.dataset[id]` is the row.

        Raises:
            ValueError: no query, or one that does not fit the index.
        """
        queries, is_single = self.queries(text, image, audio, embedding)
        if k < 1:
            raise ValueError(f"`k` is how many rows to find, 1 or more, got {k}.")
        if modality is not None and modality not in KINDS:
            raise ValueError(f"`modality` is {modality!r}, expected one of {', '.join(KINDS)}, or None for any.")
        if approximate:
            if where is not None or modality is None:
                raise ValueError("`approximate` goes with a `modality` and without `where`.")
            found = self.search_faiss(queries, modality, k)
        else:
            found = self.search_exact(queries, k, [modality] if modality else list(KINDS), self.selected(where))
        return found[0] if is_single else found

    def queries(self, text, image, audio, embedding) -> tuple[torch.Tensor, bool]:
        """(Q, d) of length 1, and whether there was one query, not a list."""
        if embedding is not None:
            vectors = torch.as_tensor(np.asarray(embedding), dtype=torch.float32)
            if vectors.shape[-1] != self.description["width"] or vectors.ndim > 2:
                raise ValueError(
                    f"`embedding` has shape {tuple(vectors.shape)}, expected ({self.description['width']},) or (Q, "
                    f"{self.description['width']})."
                )
            return torch.nn.functional.normalize(vectors.reshape(-1, vectors.shape[-1]), dim=-1), vectors.ndim == 1
        given = {"text": text, "images": image, "audio": audio}
        given = {name: value for name, value in given.items() if value is not None}
        if not given:
            raise ValueError("Give a query: `text=`, `image=`, `audio=`, several of them, or `embedding=`.")
        if self.model is None or self.processor is None:
            raise ValueError("To embed a query the index needs a model: Index.load(folder, model, processor).")
        is_single = not any(isinstance(value, list) for value in given.values())
        rows = {name: [value] if is_single else value for name, value in given.items()}
        batch = encode_rows(self.processor, self.model, rows, truncation=True)
        with torch.no_grad():
            return self.model.eval().get_fused_features(**batch).pooler_output.float().cpu(), is_single

    def selected(self, where) -> torch.Tensor | None:
        """(N,) bool, the rows that `where` lets through; None for all."""
        if where is None:
            return None
        if callable(where):
            rows = self.dataset.remove_columns([f"{kind}_embedding" for kind in KINDS])
            return torch.tensor([bool(where(row)) for row in rows])
        chosen = np.ones(len(self.dataset), dtype=bool)
        for name, value in where.items():
            if name not in self.dataset.column_names:
                raise ValueError(f"`where` names {name!r}, but the rows have {', '.join(self.dataset.column_names)}.")
            chosen &= np.array([cell == value for cell in self.dataset[name]])
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
            for values, ids, numbers in zip(best.values, best.indices, nearest.gather(1, best.indices)):
                hits = zip(ids.tolist(), values.tolist(), numbers.tolist())
                found.append([answer(i, s, kinds[n]) for i, s, n in hits if s > -torch.inf])
        return found

    # -----------------------------------------------------------------------------------------------------------------
    # FAISS
    # -----------------------------------------------------------------------------------------------------------------

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
        rows = np.flatnonzero(self.present[modality].numpy())
        if not len(rows):
            raise ValueError(f"No row has a {modality} embedding.")
        width, metric = self.description["width"], faiss.METRIC_INNER_PRODUCT
        if kind == "hnsw":
            index = faiss.IndexHNSWFlat(width, 32, metric)
            index.hnsw.efConstruction, index.hnsw.efSearch = 200, effort
        elif kind == "ivf":
            lists = max(1, round(len(rows) ** 0.5))
            index = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, metric)
            index.nprobe = min(effort, lists)
        else:
            raise ValueError(f"`kind` is {kind!r}, expected 'hnsw' or 'ivf'.")
        vectors = self.vectors[modality][rows].numpy()
        size = len(vectors) if kind == "ivf" else None
        found = Dataset.from_dict({"id": rows})
        found.add_faiss_index_from_external_arrays(vectors, modality, custom_index=index, train_size=size)
        found.save_faiss_index(modality, self.folder / f"{modality}.faiss")
        found.drop_index(modality)
        found.to_parquet(self.folder / f"{modality}.faiss-ids.parquet")
        self.approximate.pop(modality, None)

    def search_faiss(self, queries: torch.Tensor, modality: str, k: int) -> list[list[dict]]:
        if modality not in self.approximate:
            file = self.folder / f"{modality}.faiss"
            if not file.exists():
                raise ValueError(f"There is no FAISS index of {modality}: build_faiss({modality!r}) makes one.")
            import_faiss()
            ids = Dataset.from_parquet(str(self.folder / f"{modality}.faiss-ids.parquet"), keep_in_memory=True)
            ids.load_faiss_index(modality, file)
            self.approximate[modality] = ids
        found = self.approximate[modality]
        ids = found["id"][:]
        scores, places = found.search_batch(modality, queries.numpy(), k=min(k, len(ids)))
        return [
            [answer(ids[place], float(score), modality) for score, place in zip(*one) if place >= 0]
            for one in zip(scores, places)
        ]

    # -----------------------------------------------------------------------------------------------------------------
    # Changing
    # -----------------------------------------------------------------------------------------------------------------

    def add(self, dataset: Dataset, batch_size: int = 32, shard_rows: int = 1000) -> "Index":
        """The index with more rows, of the same columns, which get the next ids. FAISS indices are to be built anew."""
        if self.model is None or self.processor is None:
            raise ValueError("To embed more rows the index needs a model: Index.load(folder, model, processor).")
        check_columns(self.description["columns"], dataset, self.model)
        partial, number = self.folder / "partial", len(list(self.folder.glob("shard-*.parquet")))
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        options = (self.description["columns"], batch_size, shard_rows)
        embed_shards(as_stored(dataset), self.model.eval(), self.processor, partial, *options)
        self.change(rows=len(self.dataset) + len(dataset))
        for file in sorted(partial.iterdir()):  # all rows are there, or none
            os.replace(file, self.folder / f"shard-{number:05d}.parquet")
            number += 1
        partial.rmdir()
        return Index.load(self.folder, self.model, self.processor)

    def remove(self, ids: Sequence[int]) -> "Index":
        """The index without some rows; the ids of the others stay. FAISS indices are to be built anew."""
        if unknown := [i for i in ids if not 0 <= i < len(self.dataset)]:
            raise ValueError(f"There is no row {unknown[0]}: ids go from 0 to {len(self.dataset) - 1}.")
        self.change(removed=sorted({*self.description["removed"], *map(int, ids)}))
        return Index.load(self.folder, self.model, self.processor)

    def change(self, **fields) -> None:
        for file in self.folder.glob("*.faiss*"):
            file.unlink()
        write_whole(self.folder / DESCRIPTION, json.dumps(self.description | fields, indent=1).encode())

    @classmethod
    def merge(cls, folders: Sequence[str | os.PathLike], output_dir: str | os.PathLike, **parts) -> "Index":
        """
        One index of several, such as those that several machines built; rows keep their order, and get new ids.

        Raises:
            ValueError: they are of different columns or models, or `output_dir` is not empty.
        """
        output_dir, indices = Path(output_dir), [cls.load(folder) for folder in folders]
        output_dir.mkdir(parents=True, exist_ok=True)
        if any(output_dir.iterdir()):
            raise ValueError(f"{output_dir} is not empty: choose another output_dir.")
        for name in ("columns", "width", "weights"):
            if len({json.dumps(index.description[name]) for index in indices}) > 1:
                raise ValueError(
                    f"These indices differ in their {name}: {[index.description[name] for index in indices]}."
                )
        number, offset, removed = 0, 0, []
        for index in indices:
            for file in sorted(index.folder.glob("shard-*.parquet")):
                shutil.copy(file, output_dir / f"shard-{number:05d}.parquet")
                number += 1
            removed += [offset + i for i in index.description["removed"]]
            offset += len(index.dataset)
        digest = hashlib.sha256("".join(index.description["fingerprint"] for index in indices).encode()).hexdigest()
        description = indices[0].description | {"removed": removed, "rows": offset, "fingerprint": digest}
        write_whole(output_dir / DESCRIPTION, json.dumps(description, indent=1).encode())
        return cls.load(output_dir, **parts)


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
