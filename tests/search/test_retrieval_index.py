# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Search finds what a slow loop over cosine similarities finds, whatever built the index and in how many steps."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, Image
from forked import run_mot

from mixture_of_transformers import MoTConfig, MoTFeatureExtractor, MoTForRetrieval, MoTImageProcessor, MoTProcessor
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.sources import load_split
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.columns import EMBEDDING_KINDS
from mixture_of_transformers.search.index import Index

REPOSITORY = Path(__file__).resolve().parents[2]
ROWS = 30


@pytest.fixture(scope="module")
def rows():
    """Digits as text, picture and sound, of which some rows lack some."""
    dataset = load_digits_dataset(missing_rate=0.3, seed=0)["test"].select(range(ROWS))
    return dataset.cast_column("image", Image(decode=False)).cast_column("audio", Audio(decode=False))


@pytest.fixture(scope="module")
def parts(rows, tmp_path_factory):
    """A small model with random weights, saved, and its processor."""
    torch.manual_seed(0)
    texts = [text for text in rows["text"] if text is not None]
    images = MoTImageProcessor(size={"height": 28, "width": 28}, do_convert_rgb=True)
    processor = MoTProcessor(images, MoTFeatureExtractor(), train_tokenizer(texts * 5, model_max_length=64))
    config = MoTConfig.of_size(
        "tiny",
        hidden_size=32,
        intermediate_size=32,
        num_encoder_layers=1,
        projection_dim=16,
        text_config={"vocab_size": len(processor.tokenizer), "max_position_embeddings": 64},
        image_config={"image_size": 28, "patch_size": 4},
    )
    folder = tmp_path_factory.mktemp("model")
    MoTForRetrieval(config).save_pretrained(folder)
    processor.save_pretrained(folder)
    return MoTForRetrieval.from_pretrained(folder).eval(), MoTProcessor.from_pretrained(folder)


@pytest.fixture(scope="module")
def index(rows, parts, tmp_path_factory):
    return build_index(rows, *parts, tmp_path_factory.mktemp("index"), batch_size=7, shard_rows=11)


def embedded(parts, row, kinds):
    """One embedding, of one row alone."""
    model, processor = parts
    names = {"text": "text", "image": "images", "audio": "audio"}
    with torch.no_grad():
        return model.get_fused_features(**processor(**{names[kind]: [row[kind]] for kind in kinds})).pooler_output[0]


def by_loop(rows, parts, query, kinds):
    """id -> score of the best of a row's embeddings, one row and one cosine similarity at a time."""
    scores = {}
    for i, row in enumerate(rows):
        given = [kind for kind in ("text", "image", "audio") if row[kind] is not None]
        wanted = {kind: [kind] for kind in given} | ({"fused": given} if len(given) > 1 else {})
        own = [
            torch.nn.functional.cosine_similarity(query, embedded(parts, row, part), dim=0).item()
            for kind, part in wanted.items()
            if kind in kinds
        ]
        if own:
            scores[i] = max(own)
    return scores


@pytest.mark.parametrize("modality", [None, *EMBEDDING_KINDS])
@pytest.mark.parametrize("given", [["text"], ["image"], ["text", "audio"]])
def test_search_equals_a_loop_over_cosine_similarities(given, modality, index, rows, parts):
    row = next(row for row in rows if all(row[kind] is not None for kind in given))
    found = index.search(**{kind: row[kind] for kind in given}, k=5, modality=modality)
    scores = by_loop(rows, parts, embedded(parts, row, given), [modality] if modality else EMBEDDING_KINDS)
    assert len({hit["id"] for hit in found}) == 5
    assert np.allclose([hit["score"] for hit in found], sorted(scores.values(), reverse=True)[:5], atol=1e-5)
    assert np.allclose([hit["score"] for hit in found], [scores[hit["id"]] for hit in found], atol=1e-5)
    assert all(hit["modality"] == modality for hit in found) or modality is None


def test_a_rate_with_samples_is_one_query_not_two(index):
    samples = np.sin(np.arange(8000) / 9).astype(np.float32)
    expected = index.search(audio={"array": samples, "sampling_rate": 8000}, k=3)
    assert index.search(audio=(8000, samples), k=3) == expected and expected[0]["id"] >= 0


def test_many_queries_at_once_equal_one_by_one(index, rows):
    texts = [text for text in rows["text"] if text is not None][:9]
    together = index.search(text=texts, k=4)
    for text, found in zip(texts, together, strict=True):
        alone = index.search(text=text, k=4)
        assert np.allclose([hit["score"] for hit in found], [hit["score"] for hit in alone], atol=1e-5)
    vectors = index.vectors["image"][index.present["image"]][:3]
    assert [hits[0]["score"] for hits in index.search(embedding=vectors, modality="image")] == pytest.approx([1, 1, 1])


def test_only_rows_that_pass_are_found(index):
    digits = index.dataset["label"]
    for where in ({"label": 3}, lambda row: row["label"] == 3):
        found = index.search(text="three", k=ROWS, where=where)
        assert {hit["id"] for hit in found} == {i for i, digit in enumerate(digits) if digit == 3}


def equal(first, second):
    return all(
        first.vectors[kind].equal(second.vectors[kind]) and first.present[kind].equal(second.present[kind])
        for kind in EMBEDDING_KINDS
    )


def test_adding_and_merging_give_what_building_at_once_gives(index, rows, parts, tmp_path):
    first = build_index(rows.select(range(12)), *parts, tmp_path / "a", batch_size=12)
    grown = first.add(rows.select(range(12, ROWS)), batch_size=18)
    assert len(grown) == ROWS and grown.dataset["text"][:] == rows["text"][:]
    build_index(rows.select(range(12, ROWS)), *parts, tmp_path / "b", batch_size=18)
    build_index(rows.select(range(12)), *parts, tmp_path / "c", batch_size=12)
    merged = Index.merge([tmp_path / "c", tmp_path / "b"], tmp_path / "merged")
    assert equal(merged, grown)
    for kind in EMBEDDING_KINDS:
        assert torch.allclose(merged.vectors[kind], index.vectors[kind], atol=1e-5)
        assert merged.present[kind].equal(index.present[kind])


def test_removed_rows_are_not_found_and_the_others_keep_their_ids(rows, parts, tmp_path):
    index = build_index(rows, *parts, tmp_path / "index")
    best = index.search(text="four", k=3)
    smaller = index.remove([best[0]["id"]])
    assert len(smaller) == ROWS - 1
    assert [hit["id"] for hit in smaller.search(text="four", k=2)] == [hit["id"] for hit in best[1:]]
    with pytest.raises(ValueError, match="There is no row 99: ids go from 0 to 29"):
        index.remove([99])


def test_the_folder_holds_its_shards_their_description_and_what_is_hidden(index):
    names = {path.name for path in index.folder.iterdir()}
    assert names == {
        "index.json",
        "shard-00000.parquet",
        "shard-00001.parquet",
        "shard-00002.parquet",
        ".lock",
        ".cache",
    }


BUILD = """
import sys
from datasets import load_dataset
from mixture_of_transformers import MoTForRetrieval, MoTProcessor
from mixture_of_transformers.search.building import build_index
rows = load_dataset("parquet", data_files=sys.argv[1], split="train", cache_dir=sys.argv[4])
build_index(rows, MoTForRetrieval.from_pretrained(sys.argv[2]), MoTProcessor.from_pretrained(sys.argv[2]), sys.argv[3],
            batch_size=1, shard_rows=3)
"""


def listed(folder):
    """How many shards a build has finished."""
    file = folder / "index.json"
    return len(json.loads(file.read_text()).get("pending", {"shards": []})["shards"]) if file.exists() else 0


@pytest.mark.slow
def test_a_build_that_is_killed_goes_on_to_the_same_index(rows, parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    rows.to_parquet(tmp_path / "rows.parquet")
    (tmp_path / "packages").mkdir()
    (tmp_path / "packages" / "mixture_of_transformers").symlink_to(REPOSITORY, target_is_directory=True)
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "packages"), "OMP_NUM_THREADS": "1"}

    def start(folder):
        names = (tmp_path / "rows.parquet", tmp_path / "model", tmp_path / folder, tmp_path / "cache")
        return subprocess.Popen([sys.executable, "-c", BUILD, *map(str, names)], env=environment)

    assert start("whole").wait() == 0
    killed = start("killed")
    while listed(tmp_path / "killed") < 3:
        assert killed.poll() is None
        time.sleep(0.005)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    done = listed(tmp_path / "killed")
    assert 3 <= done < 10
    with pytest.raises(ValueError, match=rf"has {3 * done} of 30 rows: `build_index` with the same arguments goes on"):
        Index.load(tmp_path / "killed")
    shards = sorted((tmp_path / "killed").glob("shard-*.parquet"))[:done]
    before = {path.name: path.stat().st_mtime_ns for path in shards}
    assert start("killed").wait() == 0
    assert all((tmp_path / "killed" / name).stat().st_mtime_ns == when for name, when in before.items())
    assert equal(Index.load(tmp_path / "killed"), Index.load(tmp_path / "whole"))


def test_what_does_not_fit_is_an_error(index, rows, parts, tmp_path):
    with pytest.raises(ValueError, match="holds an index of other rows or columns"):
        build_index(rows.select(range(5)), *parts, index.folder, shard_rows=11)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match="holds something that is not an index"):
        build_index(rows, *parts, tmp_path)
    with pytest.raises(ValueError, match="holds no index"):
        Index.load(tmp_path)
    with pytest.raises(ValueError, match="`columns` names 'sound'.*takes audio, image, text, video"):
        build_index(rows, *parts, tmp_path / "new", columns={"sound": "audio"})
    with pytest.raises(ValueError, match="No column to embed"):
        build_index(Dataset.from_dict({"n": [1]}), *parts, tmp_path / "new")
    with pytest.raises(ValueError, match="Give a query"):
        index.search()
    with pytest.raises(ValueError, match=r"shape \(3,\), expected \(16,\)"):
        index.search(embedding=torch.zeros(3))
    with pytest.raises(ValueError, match="`where` names 'colour'"):
        index.search(text="one", where={"colour": "red"})
    with pytest.raises(ValueError, match="no FAISS index of image"):
        index.search(text="one", modality="image", approximate=True)


def test_indices_of_other_models_are_not_merged(rows, parts, tmp_path):
    model, processor = parts
    torch.manual_seed(1)
    other = MoTForRetrieval(model.config).eval()
    build_index(rows.select(range(5)), *parts, tmp_path / "a")
    build_index(rows.select(range(5)), other, processor, tmp_path / "b")
    with pytest.raises(ValueError, match="of different models .* differ in weights"):
        Index.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "both")


def test_text_and_sound_that_are_too_long_are_cut(parts, tmp_path):
    sound = np.random.default_rng(0).normal(0, 0.1, 40 * 16_000)  # of which the model takes 30 seconds
    files = []
    for seconds in (40, 30):
        files.append(str(tmp_path / f"{seconds}.wav"))
        soundfile.write(files[-1], sound[: seconds * 16_000], 16_000)
    long = Dataset.from_dict({"text": ["eight " * 300, "eight"], "audio": files}).cast_column("audio", Audio())
    index = build_index(long, *parts, tmp_path / "index")
    assert len(index.search(text="eight " * 500, k=2)) == 2
    assert {round(hit["score"], 3) for hit in index.search(audio=files[0], k=2, modality="audio")} == {1.0}


def test_all_rows_of_a_split_are_read(tmp_path):
    Dataset.from_dict({"text": [str(i) for i in range(20)]}).to_parquet(tmp_path / "train.parquet")
    assert load_split(str(tmp_path))["text"][:] == [str(i) for i in range(20)]
    with pytest.raises(ValueError, match="has no split 'test'; it has train"):
        load_split(str(tmp_path), "test")


def make_large(folder, number=4000, width=64):
    """An index of clustered vectors, as embeddings are."""
    random = np.random.default_rng(0)
    centres = random.normal(size=(50, width))
    vectors = centres[random.integers(0, 50, number)] + 0.7 * random.normal(size=(number, width))
    vectors = torch.nn.functional.normalize(torch.tensor(vectors, dtype=torch.float32), dim=1)
    nothing = torch.zeros(number, dtype=torch.bool)
    present = dict.fromkeys(EMBEDDING_KINDS, nothing) | {"image": torch.arange(number) % 7 != 0}
    description = {"width": width, "removed": [], "columns": {}, "model": "", "rows": number, "generation": 0}
    folder.mkdir()
    dataset = Dataset.from_dict({"n": list(range(number))})
    return Index(folder, dataset, dict.fromkeys(EMBEDDING_KINDS, vectors), present, description)


@pytest.mark.parametrize("kind", ["hnsw", "ivf"])
def test_approximate_search_finds_nearly_what_exact_search_finds(kind, tmp_path):
    pytest.importorskip("faiss")
    index = make_large(tmp_path / "index")
    index.build_faiss("image", kind, effort=64)
    queries = index.vectors["image"][::100] + 0.05
    exact = index.search(embedding=queries, modality="image", k=10)
    found = index.search(embedding=queries, modality="image", k=10, approximate=True)
    recall = np.mean([len({h["id"] for h in a} & {h["id"] for h in b}) / 10 for a, b in zip(exact, found)])
    assert recall >= 0.95
    assert not {h["id"] for hits in found for h in hits} & set(range(0, 4000, 7))


@pytest.mark.training
def test_the_command_line_builds_and_searches(parts, tmp_path):
    model, processor = parts
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    done = run_mot(tmp_path, "index", "digits", "--split", "test", "--model", "model", "--output_dir", "index")
    assert done.returncode == 0 and "rows in index" in done.stdout, done.stderr[-2000:]
    done = run_mot(tmp_path, "search", "index", "--text", "My answer is eight.", "-k", "3")
    assert len(done.stdout.splitlines()) == 3 and "row " in done.stdout, done.stderr[-2000:]
    done = run_mot(tmp_path, "search", "nowhere", "--text", "eight")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "holds no index" in done.stderr
