# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Training: batches, augmentation, the objective over subsets, metrics, and the command line as a user runs it."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from datasets import Dataset
from forked import run_mot
from helpers import save_untrained
from safetensors.torch import load_file
from sklearn.metrics import accuracy_score, f1_score
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoProcessor, DataCollatorForLanguageModeling

from mixture_of_transformers import (
    MoTConfig,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTProcessor,
)
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.run_finetune import DataArguments, encode_split
from mixture_of_transformers.run_finetune import main as finetune_main
from mixture_of_transformers.subsets_mot import all_subsets
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.augmentation import AudioAugmentation, ImageAugmentation
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.feature_cache import cache_features, encoded_bytes
from mixture_of_transformers.training.metrics import compute_metrics, retrieval_metrics
from mixture_of_transformers.training.objective import row_has
from mixture_of_transformers.training.trainer import MoTTrainer

REPOSITORY = Path(__file__).resolve().parents[2]


def encoded_row(text: int | None = None, image: bool = False, audio: int | None = None, label: int = 0) -> dict:
    row = {"labels": torch.tensor(label)}
    if text is not None:
        row["input_ids"] = torch.randint(1, 20, (text,))
    if image:
        row["pixel_values"] = torch.randn(3, 8, 8)
    if audio is not None:
        row["input_features"] = torch.randn(audio, 80)
    return row


def tiny_model(model_class=MoTForSequenceClassification, **kwargs):
    config = MoTConfig(
        hidden_size=16,
        num_attention_heads=2,
        intermediate_size=32,
        text_config={"vocab_size": 20, "num_hidden_layers": 1},
        image_config={"image_size": 8, "patch_size": 4, "num_hidden_layers": 1},
        audio_config={"num_hidden_layers": 1},
        num_labels=3,
        problem_type="single_label_classification",
        **kwargs,
    )
    return model_class(config)


# ---------------------------------------------------------------------------------------------------------------------
# Batches
# ---------------------------------------------------------------------------------------------------------------------


def test_collator_pads_every_modality_and_masks_what_a_row_lacks():
    rows = [encoded_row(text=3, audio=5), encoded_row(image=True, label=1), encoded_row(text=4, image=True, audio=2)]
    batch = MoTCollator(pad_token_id=7)(rows)
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    assert batch["input_ids"][0, 3] == 7
    assert batch["pixel_mask"].tolist() == [0, 1, 1]
    assert batch["input_features_mask"].sum(dim=1).tolist() == [5, 0, 2]
    assert torch.equal(batch["input_features"][2, :2], rows[2]["input_features"])
    assert batch["labels"].tolist() == [0, 1, 0]


def test_collator_pads_to_few_lengths():
    rows = [{"input_ids": torch.arange(n), "input_features": torch.ones(2 * n, 3)} for n in (3, 5)]
    batch = MoTCollator(pad_token_id=9, pad_to_multiple_of=4)(rows)
    assert batch["input_ids"].tolist() == [[0, 1, 2, 9, 9, 9, 9, 9], [0, 1, 2, 3, 4, 9, 9, 9]]
    assert batch["attention_mask"].sum(dim=1).tolist() == [3, 5]
    assert batch["input_features"].shape == (2, 12, 3) and batch["input_features_mask"].sum(dim=1).tolist() == [6, 10]


def test_collator_leaves_out_a_modality_that_no_row_has():
    assert set(MoTCollator()([encoded_row(text=3), encoded_row(text=2)])) == {"input_ids", "attention_mask", "labels"}


def test_collator_pads_videos_of_different_lengths():
    rows = [{"pixel_values": torch.randn(n, 3, 8, 8), "labels": torch.tensor(0)} for n in (2, 4)]
    batch = MoTCollator()(rows)
    assert batch["pixel_values"].shape == (2, 4, 3, 8, 8)
    assert batch["pixel_mask"].tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]


def test_modality_dropout_never_drops_the_last_modality():
    collator = MoTCollator(modality_dropout=0.9)
    rows = [encoded_row(text=2, image=True, audio=2), encoded_row(audio=2)] * 100
    random = torch.Generator().manual_seed(0)
    kept = [len(collator.drop_modalities(row, random)) - len({"labels"}) for row in rows]
    assert min(kept) == 1
    assert sum(count == 1 for count in kept) > 150  # three modalities are seldom kept at a rate of 0.9


def test_modality_dropout_rises_with_the_epoch():
    collator, rates = MoTCollator(modality_dropout=0.8, modality_dropout_warmup=4), []
    rows = [encoded_row(text=4, audio=4) for _ in range(400)]
    for epoch in (0, 1, 2, 4, 9):
        batch = collator([row | {"epoch": torch.tensor(epoch)} for row in rows])
        rates.append(1 - batch["attention_mask"].any(dim=1).float().mean().item())
    # Of two modalities one goes with probability 2 p (1 - p), or, where both would, with p ** 2.
    expected = [p * (1 - p) + p * p / 2 for p in (0.0, 0.2, 0.4, 0.8, 0.8)]
    assert rates == pytest.approx(expected, abs=0.08) and rates[0] == 0


def test_augmentations_change_values_but_neither_shape_nor_scale():
    pixels = torch.rand(4, 3, 28, 28)
    augmented = ImageAugmentation()(pixels)
    assert augmented.shape == pixels.shape
    assert not torch.equal(augmented, pixels)
    assert augmented.min() >= 0
    assert augmented.max() <= 1
    frames = torch.rand(50, 80)
    shapes = {tuple(AudioAugmentation()(frames.clone()).shape) for _ in range(50)}
    assert {bins for _, bins in shapes} == {80}
    assert len(shapes) > 5
    assert all(40 <= length <= 60 for length, _ in shapes)


def test_no_clip_is_stretched_beyond_what_the_model_takes():
    augmentation = AudioAugmentation(tempo=0.5, max_frames=100)
    lengths = {len(augmentation(torch.randn(90, 20), torch.Generator().manual_seed(seed))) for seed in range(40)}
    assert max(lengths) == 100 and min(lengths) < 80


def test_image_augmentation_without_strength_is_the_identity():
    pixels = torch.rand(2, 3, 3, 12, 12)
    assert torch.allclose(ImageAugmentation(0, 0, 0, 0)(pixels), pixels, atol=1e-5)


def test_encoded_dataset_keeps_what_fits_and_encodes_the_rest_again():
    encoded_labels = []

    class Counted(EncodedDataset):
        def encode(self, row):
            encoded_labels.append(row["label"])
            return super().encode(row)

    rows = [{"text": "a", "label": 0}, {"text": "b", "label": 1}]
    row_bytes = 3 * 8 + 8  # [CLS], the word, [SEP], and the label, each an int64
    dataset = Counted(rows, MoTProcessor(), cache_bytes=row_bytes)
    for _ in range(3):
        assert [dataset[i]["labels"].item() for i in range(2)] == [0, 1]
    assert encoded_labels == [0, 1, 1, 1]


# ---------------------------------------------------------------------------------------------------------------------
# Features on disk
# ---------------------------------------------------------------------------------------------------------------------


class CountedRows(EncodedDataset):
    """Writes down every row that it encodes, also in another process."""

    def __init__(self, *args, log, **kwargs):
        super().__init__(*args, **kwargs)
        self.log = log

    def encode(self, row):
        with open(self.log, "a") as log:
            log.write("x")
        return super().encode(row)


@pytest.fixture(scope="module")
def some_digits():
    """Twelve rows with a sentence, some of them without picture or sound."""
    train = load_digits_dataset()["train"]
    return train.select([i for i, text in enumerate(train["text"][:30]) if text is not None][:12])


@pytest.fixture
def cached(some_digits, tmp_path):
    """A function that caches digits with a processor; it returns the rows, how many were encoded, and their source."""

    def cache(processor, split=some_digits, num_proc=None, **options):
        (log := tmp_path / "log").write_text("")
        source = CountedRows(split, processor, log=log, **options)
        rows = cache_features(source, num_proc=num_proc, folder=str(tmp_path / "features"))
        return rows, len(log.read_text()), source

    return cache


def assert_same_rows(left, right):
    assert len(left) == len(right)
    for a, b in zip((left[i] for i in range(len(left))), (right[i] for i in range(len(right)))):
        assert a.keys() == b.keys()
        assert all(torch.equal(a[name], b[name]) and a[name].dtype == b[name].dtype for name in a)


def test_cached_rows_equal_encoded_ones_and_are_not_encoded_again(cached):
    rows, encoded, source = cached(MoTProcessor())
    assert encoded == len(source) == 12
    assert_same_rows(rows, source)
    batches = torch.utils.data.DataLoader(rows, batch_size=5, collate_fn=MoTCollator())
    for batch, start in zip(batches, (0, 5, 10)):
        expected = MoTCollator()([source[i] for i in range(start, min(start + 5, 12))])
        assert all(torch.equal(batch[name], expected[name]) for name in expected)
    again, encoded, _ = cached(MoTProcessor())
    assert encoded == 0
    assert_same_rows(again, rows)


@pytest.mark.parametrize("bytes_left", [0, 10, 0.5, -9], ids=["none", "ten", "half", "all but nine"])
def test_a_cache_of_features_that_was_cut_short_is_made_again(bytes_left, cached, tmp_path, caplog):
    source = cached(MoTProcessor())[2]
    (file,) = (tmp_path / "features").glob("*.arrow")
    content = file.read_bytes()
    file.unlink()  # in a file of its own, for the first one may still be mapped into memory
    file.write_bytes(content[: bytes_left if isinstance(bytes_left, int) else int(len(content) * bytes_left)])
    with caplog.at_level("WARNING"):
        rows, encoded, _ = cached(MoTProcessor())
    assert encoded == 12 and "is cut short or damaged: its rows are encoded again" in caplog.text
    assert_same_rows(rows, source)


def exit_code_as_nobody(call) -> int:
    """That of a process of a user who may write nowhere here but into `/tmp`."""

    def child():
        if os.getuid() == 0:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
        call()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    return process.exitcode


@pytest.fixture
def read_only(monkeypatch):
    """
    A folder that everybody may read, and a function after which nobody but root may write into it or what it holds.
    """
    folder = Path(tempfile.mkdtemp())

    def close():
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)

    yield folder, close
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


def test_data_are_read_from_a_folder_that_cannot_be_written(read_only, monkeypatch):
    folder, close = read_only
    for split in ("train", "test"):
        (folder / f"{split}.csv").write_text("text,label\none,a\ntwo,b\n")
    close()

    def call():
        with tempfile.TemporaryDirectory() as cache:
            for name in ("HF_DATASETS_CACHE", "DOWNLOADED_DATASETS_PATH"):
                monkeypatch.setattr(datasets.config, name, Path(cache))
            assert load_splits(str(folder))["test"]["text"][:] == ["one", "two"]

    call()  # imports what may lie in a home that only its owner may read, such as a codec of Python's
    assert exit_code_as_nobody(call) == 0


def test_cached_features_are_read_from_a_folder_that_cannot_be_written(some_digits, read_only):
    folder, close = read_only
    cache_features(EncodedDataset(some_digits, MoTProcessor()), folder=str(folder / "features"))
    close()

    def call():
        rows = cache_features(EncodedDataset(some_digits, MoTProcessor()), folder=str(folder / "features"))
        assert len(rows) == len(some_digits) and "labels" in rows[0]

    assert exit_code_as_nobody(call) == 0


def test_features_that_cannot_be_kept_are_encoded_in_every_epoch(some_digits, read_only):
    folder, close = read_only
    close()

    def call():
        datasets.config.HF_DATASETS_CACHE = folder
        config, data = MoTConfig.of_size("tiny"), DataArguments(max_audio_seconds=30.0, max_text_tokens=128)
        rows = encode_split("train", some_digits, MoTProcessor(), config, data, 0)
        assert type(rows) is EncodedDataset and len(rows) == len(some_digits)

    assert exit_code_as_nobody(call) == 0


def test_a_tokenizer_that_has_been_used_is_the_same_tokenizer(cached):
    processor = MoTProcessor()
    cached(processor, max_text_tokens=4)
    processor(text="one two three four five", text_kwargs={"truncation": True, "max_length": 3})
    assert cached(processor, max_text_tokens=4)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda p, split: (p.feature_extractor.__init__(mel_floor=1e-3), split)[1],
        lambda p, split: (setattr(p.image_processor, "image_mean", [0.1, 0.2, 0.3]), split)[1],
        lambda p, split: (p.tokenizer.add_tokens(["seven"]), split)[1],
        lambda p, split: split.select(range(11)),
        lambda p, split: split.remove_columns("audio"),
    ],
    ids=["mel", "image", "tokenizer", "rows", "columns"],
)
def test_another_processor_or_other_data_are_encoded_anew(change, cached, some_digits):
    cached(MoTProcessor())
    processor = MoTProcessor()
    split = change(processor, some_digits)
    rows, encoded, source = cached(processor, split)
    assert encoded == len(split)
    assert_same_rows(rows, source)


def test_other_limits_of_length_are_encoded_anew(cached):
    cached(MoTProcessor())
    for options in ({"max_audio_seconds": 0.2}, {"max_text_tokens": 4}):
        rows, encoded, source = cached(MoTProcessor(), **options)
        assert encoded == 12
        assert_same_rows(rows, source)


@pytest.mark.training
def test_processes_share_the_work_and_find_each_others_rows(cached):
    rows, encoded, source = cached(MoTProcessor(), num_proc=2)
    assert encoded == 12
    assert_same_rows(rows, source)
    assert cached(MoTProcessor(), num_proc=None)[1] == 0
    loader = torch.utils.data.DataLoader(rows, batch_size=4, num_workers=2, collate_fn=MoTCollator())
    assert torch.cat([batch["labels"] for batch in loader]).tolist() == [row["labels"] for row in rows]


def test_encoded_bytes_estimates_all_rows():
    rows = [{"text": "a " * (i % 5), "label": 0} for i in range(1, 101) if i % 5]
    dataset = EncodedDataset(rows, MoTProcessor())
    exact = sum(value.nbytes for i in range(len(dataset)) for value in dataset[i].values())
    assert encoded_bytes(dataset) == pytest.approx(exact, rel=0.2)
    assert encoded_bytes(dataset, samples=len(dataset)) == exact


def test_row_has_tells_which_rows_have_all_or_any_of_a_subset():
    batch = MoTCollator()([encoded_row(text=3), encoded_row(text=2, audio=4)])
    assert row_has(batch, ("text", "audio"), all).tolist() == [False, True]
    assert row_has(batch, ("text", "audio"), any).tolist() == [True, True]
    assert row_has(batch, ("image",), any).tolist() == [False, False]


# ---------------------------------------------------------------------------------------------------------------------
# Metrics
# ---------------------------------------------------------------------------------------------------------------------


def test_a_row_without_a_label_gets_one_that_does_not_count():
    rows = [encoded_row(text=3), encoded_row(text=2, label=2)]
    del rows[0]["labels"]
    assert MoTCollator()(rows)["labels"].tolist() == [-100, 2]
    rows[1]["labels"] = torch.tensor(0.5)
    assert MoTCollator()(rows)["labels"].isnan().tolist() == [True, False]


@pytest.mark.parametrize("labels", [[1, 2, 0, None, None, None], [0.5, 1.0, 2.0, None, None, None]])
def test_a_batch_of_rows_without_labels_trains_and_evaluates(labels, tmp_path):
    """Here every second batch: it has labels none of which counts, rather than none."""
    is_class = isinstance(labels[0], int)
    split = Dataset.from_dict({"text": ["a b", "c", "d"] * 2, "label": labels})
    problem = {} if is_class else {"problem_type": "regression", "num_labels": 1}
    rows = EncodedDataset(split, MoTProcessor())
    assert all("labels" in rows[i] for i in range(6))
    trainer = toy_trainer(tmp_path, max_steps=2, per_device_eval_batch_size=3)
    trainer.model.config.update(problem)
    if not is_class:
        trainer.model.classifier = torch.nn.Linear(16, 1)
    trainer.train_dataset = rows
    trainer.train()
    assert np.isfinite(trainer.evaluate(rows)["eval_loss"])
    assert trainer.evaluate_subsets(rows)["text"]["rows"] == 3


def test_word_masking_hides_words_and_gives_them_as_labels():
    processor = MoTProcessor()
    masking = DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=1.0)
    rows = [encoded_row(text=6), encoded_row(text=4, audio=3), encoded_row(audio=2)]
    batch = MoTCollator(processor.tokenizer.pad_token_id, word_masking=masking)(rows)
    special = torch.tensor(processor.tokenizer.all_special_ids)
    for row, labels, mask in zip(rows, batch["text_labels"], batch["attention_mask"]):
        ids = row.get("input_ids", torch.tensor([], dtype=torch.long))
        expected = torch.where(torch.isin(ids, special), -100, ids)
        assert torch.equal(labels[: len(ids)], expected)
        assert (labels[mask == 0] == -100).all()


def test_augmented_audio_keeps_the_seconds_of_its_clip():
    row = encoded_row(audio=50) | {"input_features_times": torch.arange(50) * 0.01}
    rows = [row | {"epoch": torch.tensor(epoch)} for epoch in range(20)]
    batch = MoTCollator(audio_augmentation=AudioAugmentation(tempo=0.5))(rows)
    lengths = batch["input_features_mask"].sum(dim=1)
    assert len(set(lengths.tolist())) > 3
    for times, length in zip(batch["input_features_times"], lengths):
        assert times[:length].min() >= 0 and times[:length].max() <= 0.49
        assert times[:length].diff().min() >= 0


def test_metrics_equal_their_definitions():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 4, 50)
    numbers = compute_metrics(logits, labels, "single_label_classification")
    assert numbers["accuracy"] == pytest.approx(accuracy_score(labels, logits.argmax(1)))
    assert numbers["f1_macro"] == pytest.approx(f1_score(labels, logits.argmax(1), average="macro"))
    numbers = compute_metrics(logits[:, :1], logits[:, 0] * 2 + 1, "regression")
    assert numbers["pearson"] == pytest.approx(1.0)
    assert numbers["mae"] == pytest.approx(np.abs(logits[:, 0] + 1).mean())
    targets = rng.integers(0, 2, (50, 4))
    numbers = compute_metrics(logits, targets.astype(float), "multi_label_classification")
    assert numbers["accuracy"] == pytest.approx(((logits > 0) == targets).all(1).mean())


# ---------------------------------------------------------------------------------------------------------------------
# Trainer
# ---------------------------------------------------------------------------------------------------------------------


def toy_rows(number: int) -> list[dict]:
    """Each modality alone tells the label; every third row lacks something."""
    rows = []
    for i in range(number):
        label = i % 3
        row = encoded_row(text=3, image=True, audio=6, label=label)
        row["input_ids"][:] = label + 1
        row["pixel_values"][:] = label - 1.0
        row["input_features"][:] = label - 1.0
        if i % 3 == 0:
            row.pop(("input_ids", "pixel_values", "input_features")[i // 3 % 3])
        rows.append(row)
    return rows


def toy_trainer(tmp_path, model=None, **kwargs) -> MoTTrainer:
    options = {"max_steps": 60, "learning_rate": 1e-2, "report_to": "none", "save_strategy": "no", "logging_steps": 10}
    arguments = {key: kwargs.pop(key) for key in list(kwargs) if key in MoTTrainingArguments.__dataclass_fields__}
    return MoTTrainer(
        model=model or tiny_model(),
        args=MoTTrainingArguments(str(tmp_path), per_device_train_batch_size=12, **options | arguments),
        train_dataset=toy_rows(36),
        data_collator=MoTCollator(),
        **kwargs,
    )


@pytest.mark.parametrize("label_smoothing_factor", [0.0, 0.1])
def test_one_model_learns_every_subset_at_once(tmp_path, label_smoothing_factor):
    trainer = toy_trainer(tmp_path, label_smoothing_factor=label_smoothing_factor)
    trainer.train()
    results = trainer.evaluate_subsets(toy_rows(30))
    assert list(results) == ["text", "image", "audio", "text+image", "text+audio", "image+audio", "text+image+audio"]
    assert {name: numbers["accuracy"] for name, numbers in results.items()} == dict.fromkeys(results, 1.0)
    assert results["text+image+audio"]["rows"] == 20  # a third of the rows lacks something
    logged = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert label_smoothing_factor or {"loss/text", "loss/image", "loss/audio"} <= set(logged[0])


def test_compute_loss_func_sees_every_subset_with_its_labels(tmp_path):
    seen = []

    def loss(outputs, labels, num_items_in_batch=None):
        seen.append((outputs.logits.shape, labels))
        return torch.nn.functional.cross_entropy(outputs.logits.flatten(0, 1), labels.flatten())

    toy_trainer(tmp_path, compute_loss_func=loss, max_steps=2).train()
    shape, labels = seen[0]
    assert shape == (12, 4, 3)
    assert labels.shape == (12, 4)
    # The rows that lack a modality do not count where it stands alone, and do where the subset is larger.
    assert 0 < (labels[:, :3] == -100).sum() < 12
    assert (labels[:, 3] == -100).sum() == 0


def test_evaluating_subsets_equals_evaluating_each_alone(tmp_path):
    trainer, rows = toy_trainer(tmp_path, max_steps=5), toy_rows(30)
    trainer.train()
    results = trainer.evaluate_subsets(rows)
    names = {"text": "input_ids", "image": "pixel_values", "audio": "input_features"}
    for subset in all_subsets(tuple(names)):
        correct = []
        for row in rows:
            if all(names[modality] in row for modality in subset):
                kept = {names[modality]: row[names[modality]][None] for modality in subset}
                with torch.no_grad():
                    correct.append(trainer.model.eval()(**kept).logits.argmax().item() == row["labels"].item())
        assert results["+".join(subset)]["rows"] == len(correct)
        assert results["+".join(subset)]["accuracy"] == pytest.approx(np.mean(correct))


def test_evaluating_retrieval_ranks_over_the_whole_set_and_not_within_batches(tmp_path):
    rows = [encoded_row(text=3 if i % 3 else None, image=True, audio=6, label=i) for i in range(30)]
    trainer = toy_trainer(tmp_path, tiny_model(MoTForRetrieval), per_device_eval_batch_size=4)
    results = trainer.evaluate_retrieval(rows)
    assert list(results)[:2] == ["text->image", "image->text"] and "text+audio->image" in results
    complete = [row for row in rows if {"input_ids", "pixel_values"} <= set(row)]
    with torch.no_grad():
        texts = torch.cat([trainer.model.get_text_features(row["input_ids"][None]).pooler_output for row in complete])
        images = torch.cat(
            [trainer.model.get_image_features(row["pixel_values"][None]).pooler_output for row in complete]
        )
    expected = retrieval_metrics(texts, images)
    found = results["text->image"]
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-4)
    assert found["rows"] == len(complete) == 20


def test_retrieval_and_pretraining_train_and_evaluate_without_labels(tmp_path):
    rows = [{name: value for name, value in row.items() if name != "labels"} for row in toy_rows(36)]
    for model_class in (MoTForRetrieval, MoTForPreTraining):
        trainer = toy_trainer(tmp_path, tiny_model(model_class), max_steps=10, logging_steps=5)
        trainer.train_dataset = rows
        before = trainer.evaluate(rows)["eval_loss"]
        trainer.train()
        assert trainer.evaluate(rows)["eval_loss"] < before
        terms = set(trainer.state.log_history[0])
        assert terms >= ({"loss/text-image"} if model_class is MoTForRetrieval else {"loss/image", "loss/audio"})
    first, second = trainer.evaluate_terms(rows), trainer.evaluate_terms(rows)
    assert first == second and {"image", "audio", "contrastive/text-image"} <= set(first)


def sentiment_rows(number: int, labels: list) -> list[dict]:
    """Ready features of ragged lengths; row 0 has no face, row 1 no label."""
    rows = []
    for i in range(number):
        row = {
            "text_features": torch.randn(2 + i % 4, 768),
            "image_features": torch.randn(1 + i % 3, 2048),
            "input_features": torch.randn(3 + i % 5, 80),
            "labels": torch.tensor(labels[i % len(labels)]),
        }
        rows.append(row)
    del rows[0]["image_features"], rows[1]["labels"]
    return rows


@pytest.mark.parametrize("problem", ["three classes", "regression"])
def test_the_sentiment_recipe_trains_and_its_numbers_equal_those_computed_by_hand(problem, tmp_path):
    """Encoders and hierarchical fusion on features of widths 768, 2048 and 80 (docs/sentiment.md)."""
    is_regression = problem == "regression"
    config = MoTConfig.of_size(
        "tiny",
        num_encoder_layers=1,
        num_global_layers=0,
        fusion_type="hierarchical",
        text_config={"feature_size": 768},
        image_config={"feature_size": 2048},
        audio_config={"feature_size": 80},
        num_labels=1 if is_regression else 3,
        problem_type="regression" if is_regression else "single_label_classification",
    )
    rows = sentiment_rows(12, [-2.5, 0.0, 1.0, 3.0] if is_regression else [0, 1, 2])
    trainer = toy_trainer(tmp_path, MoTForSequenceClassification(config), max_steps=15, learning_rate=1e-3)
    trainer.train_dataset = rows
    before = trainer.evaluate(rows)["eval_loss"]
    trainer.train()
    assert trainer.evaluate(rows)["eval_loss"] < before
    found = trainer.evaluate_subsets(rows)["text+image+audio"]
    counted = rows[2:]  # the others lack a face and a label
    assert found["rows"] == len(counted)
    names = ("text_features", "image_features", "input_features")
    with torch.no_grad():
        answers = [trainer.model(**{name: row[name][None] for name in names}).logits[0] for row in counted]
    if is_regression:
        errors = [abs(answer.item() - row["labels"].item()) for answer, row in zip(answers, counted)]
        assert found["mae"] == pytest.approx(sum(errors) / len(errors), abs=1e-4)
    else:
        correct = [answer.argmax().item() == row["labels"].item() for answer, row in zip(answers, counted)]
        assert found["accuracy"] == pytest.approx(sum(correct) / len(correct))


def test_rows_of_like_length_share_a_batch(tmp_path):
    """Whatever they lack: the library's own sampler asks every row for its words."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(1, 40, (400,), generator=generator).tolist()
    rows = [encoded_row(text=None if n % 3 else 3, image=True, audio=n) for n in frames]
    padding = {}
    for strategy in ("random", "group_by_length"):
        trainer = toy_trainer(tmp_path, train_sampling_strategy=strategy)
        trainer.train_dataset = rows
        batches = list(trainer.get_train_dataloader())
        assert sum(len(batch["labels"]) for batch in batches) == 400
        padding[strategy] = sum((batch["input_features_mask"] == 0).sum().item() for batch in batches)
    assert padding["group_by_length"] < 0.4 * padding["random"]


def test_weight_decay_spares_norms_biases_and_embeddings(tmp_path):
    trainer = toy_trainer(tmp_path)
    decayed = trainer.get_decay_parameter_names(trainer.model)
    assert "mot.encoders.text.layers.0.mlp.fc1.weight" in decayed
    spared = ("bias", "layernorm", "modality_embeddings", "word_embeddings")
    assert not [name for name in decayed if any(part in name for part in spared)]


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------


def run_finetune(
    tmp_path, *options: str, check: bool = True, environment: dict | None = None
) -> subprocess.CompletedProcess:
    """A run in a folder; with an environment, by a real start of `run_finetune.py`."""
    if environment is None:
        done = run_mot(tmp_path, "finetune", "--output_dir", str(tmp_path / "out"), *options)
    else:
        environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HOME": str(tmp_path / "hf")} | environment
        command = [
            sys.executable,
            str(REPOSITORY / "run_finetune.py"),
            "--output_dir",
            str(tmp_path / "out"),
            *options,
        ]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


def run_finetune_here(tmp_path, *options: str) -> dict:
    """In this process, for what ends before it has changed anything."""
    return finetune_main(["--output_dir", str(tmp_path / "out"), "--use_cpu", *options])


@pytest.mark.training
def test_finetune_leaves_a_checkpoint_results_and_a_card_that_work(tmp_path):
    done = run_finetune(tmp_path, "--max_steps", "3", "--per_device_train_batch_size", "8")
    out = tmp_path / "out"
    results = json.loads((out / "results.json").read_text())
    assert {"task", "split", "seed", "seconds", "subsets"} <= set(results)
    assert list(results["subsets"])[-1] == "text+image+audio"
    assert results["subsets"]["text"]["rows"] == 300
    assert load_file(out / "model.safetensors")
    assert not [path for path in out.rglob("*") if path.suffix in (".bin", ".pt", ".pkl")]
    card = (out / "README.md").read_text()
    assert "mixture-of-transformers" in card
    assert f"{results['subsets']['text']['accuracy']:.4f}" in card
    answer = run_printed_lines(done, tmp_path)
    assert "max_length" not in answer.stderr  # no leftover of how the training texts were cut
    model = AutoModelForSequenceClassification.from_pretrained(out)
    assert answer.stdout.strip() in model.config.id2label.values()


def run_printed_lines(done: subprocess.CompletedProcess, tmp_path: Path) -> subprocess.CompletedProcess:
    """The printed lines, pasted into a process that cannot import the package."""
    lines = done.stdout.split("without this package:")[1]
    blocker = "import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    check = "try:\n    import mixture_of_transformers\nexcept ImportError:\n    pass\n"
    check += "else:\n    raise SystemExit('mixture_of_transformers can be imported')\n"
    environment = os.environ | {"HF_HOME": str(tmp_path / "other"), "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(
        [sys.executable, "-c", blocker + check + lines], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert answer.returncode == 0, answer.stderr[-3000:]
    return answer


@pytest.mark.training
@pytest.mark.parametrize(
    ("task", "section", "names", "metrics"),
    [
        ("regression", "subsets", {"text", "text+image+audio"}, {"mae", "pearson"}),
        ("retrieval", "pairs", {"text->image", "text+audio->image"}, {"recall_at_1", "median_rank", "precision_at_1"}),
        ("pretraining", "terms", {"text", "image", "audio", "contrastive/text-image"}, {"loss"}),
    ],
)
def test_every_task_ends_with_its_table_a_card_and_lines_that_run(task, section, names, metrics, tmp_path):
    done = run_finetune(tmp_path, "--task", task, "--max_steps", "2", "--per_device_train_batch_size", "8")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == task
    assert names <= set(results[section])
    for name, numbers in results[section].items():
        assert metrics <= set(numbers)
        assert name in done.stdout and name in (tmp_path / "out" / "README.md").read_text()
    assert run_printed_lines(done, tmp_path).stdout.strip()


@pytest.mark.training
def test_a_pretrained_checkpoint_starts_a_classifier_on_few_labels(tmp_path):
    save_untrained(tmp_path, "pretraining")
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8", "--learning_rate", "0"]
    options += ["--model_name_or_path", str(tmp_path / "digits-pretraining"), "--max_train_samples", "20"]
    run_finetune(tmp_path, *options)
    first = load_file(tmp_path / "digits-pretraining" / "model.safetensors")
    second = load_file(tmp_path / "out" / "model.safetensors")
    assert set(second) == {name for name in first if name.startswith("mot.")} | {
        "classifier.weight",
        "classifier.bias",
    }
    assert all(torch.equal(first[name], second[name]) for name in second if name.startswith("mot."))


@pytest.mark.slow
def test_finetune_leaves_an_adapter_or_the_merged_model(tmp_path):
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8"]
    run_finetune(tmp_path, *options)
    (tmp_path / "out").rename(tmp_path / "base")
    options += ["--model_name_or_path", str(tmp_path / "base"), "--lora", "--lora_rank", "2"]
    done = run_finetune(tmp_path, *options)
    assert " learn\n" in done.stdout
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert not (tmp_path / "out" / "model.safetensors").exists() and "classifier" in " ".join(weights)
    assert run_printed_lines(done, tmp_path).stdout.strip() in AutoConfig.from_pretrained(tmp_path / "out").label2id
    (tmp_path / "out").rename(tmp_path / "adapter")
    done = run_finetune(tmp_path, *options, "--merge_lora")
    merged, base = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "base"))
    assert set(merged) == set(base)
    assert not torch.equal(*(w["mot.encoders.text.layers.0.mlp.fc1.weight"] for w in (merged, base)))
    assert run_printed_lines(done, tmp_path).stdout.strip()


@pytest.mark.training
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lora"], "give --model_name_or_path"),
        (["--task", "retrieval", "--image_column", "none", "--audio_column", "none"], "two modalities"),
        (["--task", "pretraining", "--sentiment_metrics"], "sentiment_metrics are for --task regression"),
        (["--max_train_samples", "5000"], "has 1297 rows"),
    ],
)
def test_a_task_that_the_data_cannot_serve_is_an_error(options, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        run_finetune_here(tmp_path, *options)


@pytest.mark.training
def test_finetune_takes_any_local_dataset_and_continues_from_a_checkpoint(tmp_path):
    columns = {"text": "transcript", "image": "picture", "audio": "speech", "label": "mood"}
    for name, split in load_digits_dataset().items():
        (tmp_path / "clips").mkdir(exist_ok=True)
        split.select(range(60)).rename_columns(columns).to_parquet(tmp_path / "clips" / f"{name}.parquet")
    options = ["--dataset_name", str(tmp_path / "clips"), "--max_steps", "2", "--per_device_train_batch_size", "8"]
    options += [f"--{role}_column={name}" for role, name in columns.items() if role != "audio"]
    run_finetune(tmp_path, *options, "--audio_column", "none")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(results["subsets"]) == ["text", "image", "text+image"]
    first = load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "out").rename(tmp_path / "first")
    run_finetune(
        tmp_path, *options, "--audio_column=none", f"--model_name_or_path={tmp_path / 'first'}", "--learning_rate=0"
    )
    second = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)
    processor = AutoProcessor.from_pretrained(tmp_path / "out")
    assert processor.tokenizer.vocab == AutoProcessor.from_pretrained(tmp_path / "first").tokenizer.vocab


@pytest.mark.training
def test_finetune_regresses_on_ready_features(tmp_path):
    """As in sentiment analysis: words, face and voice arrive as vectors, the label is a number."""
    rng = np.random.default_rng(0)
    widths = {"text": 12, "image": 5, "audio": 7}
    rows = [
        {name: rng.normal(size=(rng.integers(2, 6), width)).tolist() for name, width in widths.items()}
        | {"sentiment": float(rng.normal())}
        for _ in range(40)
    ]
    rows[3]["image"] = None
    (tmp_path / "clips").mkdir()
    for name in ("train", "validation", "test"):
        Dataset.from_list(rows).to_parquet(tmp_path / "clips" / f"{name}.parquet")
    options = ["--dataset_name", str(tmp_path / "clips"), "--label_column", "sentiment"]
    run_finetune(tmp_path, *options, "--max_steps", "2", "--per_device_train_batch_size", "8")
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "regression"
    assert results["subsets"]["image"]["rows"] == 39
    assert {"mae", "mse", "pearson"} <= set(results["subsets"]["text+image+audio"])


@pytest.mark.training
def test_finetune_names_the_columns_when_one_does_not_exist(tmp_path):
    with pytest.raises(ValueError, match=r"transcript.*'text' \(string\)"):
        run_finetune_here(tmp_path, "--text_column", "transcript")


@pytest.mark.slow
@pytest.mark.training
def test_finetune_runs_on_two_processes(tmp_path):
    """Started by torchrun, rows are split between the processes and each is evaluated once."""
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8", "--output_dir", str(tmp_path / "out")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "HF_HOME": str(tmp_path / "hf")}
    script = str(REPOSITORY / "run_finetune.py")
    done = subprocess.run(
        [*command, script, *options], capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr[-3000:]
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [numbers["rows"] for numbers in results["subsets"].values()] == [300] * 7
    assert done.stdout.count("one checkpoint:") == 1
