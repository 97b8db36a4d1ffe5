# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""One processor, model or pipeline that many threads share gives each of them its own rows, as one thread gets them.

A fast tokenizer keeps how it cuts and pads from call to call, so threads that ask for different lengths would meet.
"""

import multiprocessing
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
    MultimodalClassificationPipeline,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.modality_text_mot import tokenizing

RATE, WORDS = 16_000, [f"w{i}" for i in range(20)]


@pytest.fixture(scope="module")
def processor():
    tokenizer = train_tokenizer(WORDS * 9, model_max_length=16)
    images = MoTImageProcessor(size={"height": 16, "width": 16}, do_convert_rgb=True)
    return MoTProcessor(images, MoTFeatureExtractor(feature_size=20), tokenizer)


@pytest.fixture(scope="module")
def classify(processor):
    torch.manual_seed(0)
    config = MoTConfig.of_size(
        "tiny",
        hidden_size=32,
        intermediate_size=32,
        num_encoder_layers=1,
        text_config={"vocab_size": len(processor.tokenizer), "max_position_embeddings": 16},
        image_config={"image_size": 16, "patch_size": 8, "num_frames": 8},
        audio_config={"num_mel_bins": 20, "max_frames": 100},
        num_labels=4,
        initializer_range=0.5,
    )
    return MultimodalClassificationPipeline(
        model=MoTForSequenceClassification(config).eval(), processor=processor, device="cpu"
    )


def row_of(number):
    """A row of its own: words, and for some a picture, a sound, or both."""
    random = np.random.default_rng(number)
    row = {"text": " ".join(random.choice(WORDS, 1 + number % 6))}
    if number % 3 == 0:
        row["image"] = Image.fromarray(random.integers(0, 256, (20, 24, 3), dtype=np.uint8))
    if number % 5 == 0:
        row["audio"] = {"array": random.normal(0, 0.1, 4000).astype(np.float32), "sampling_rate": RATE}
    return row


def processed(processor, number):
    """The ids of two texts, cut and padded in one of four ways."""
    ways = [{}, {"truncation": True, "max_length": 3}, {"padding": "max_length", "max_length": 12}, {"padding": True}]
    texts = [row_of(2 * number)["text"], row_of(2 * number + 1)["text"]]
    return processor(text=texts, **ways[number % 4])["input_ids"].tolist()


def answered(classify, number, rows=2):
    options = {"truncation": True} if number % 2 else {"top_k": 2}
    return classify([row_of(rows * number + i) for i in range(rows)], batch_size=rows, **options)


def compare(call, shared, numbers, threads):
    alone = [call(shared, number) for number in numbers]
    with ThreadPoolExecutor(threads) as pool:
        together = list(pool.map(lambda number: call(shared, number), numbers))
    assert together == alone


def test_threads_that_cut_and_pad_differently_get_their_own_ids(processor):
    compare(processed, processor, range(200), threads=8)


def test_threads_that_share_a_pipeline_get_the_answers_to_their_rows(classify):
    compare(answered, classify, range(24), threads=8)


@pytest.mark.slow
def test_32_threads_of_10000_rows_equal_one_thread(classify, processor):
    compare(processed, processor, range(5_000), threads=32)
    compare(lambda *call: answered(*call, rows=20), classify, range(500), threads=32)


def test_a_process_that_is_forked_while_a_thread_tokenizes_gets_its_own_ids(processor):
    expected, begun = processed(processor, 0), threading.Event()

    def tokenize():
        with tokenizing(processor.tokenizer):
            processor.tokenizer(" ".join(WORDS), truncation=True, max_length=3)
            begun.set()
            time.sleep(0.3)

    def child():
        assert processor.tokenizer._tokenizer.truncation is None and processed(processor, 0) == expected

    thread = threading.Thread(target=tokenize)
    process = multiprocessing.get_context("fork").Process(target=child, daemon=True)
    thread.start()
    begun.wait()
    process.start()
    process.join(timeout=20)
    process.kill()
    thread.join()
    assert process.exitcode == 0


def test_a_call_leaves_the_tokenizer_and_what_it_saves_as_they_were(processor, tmp_path):
    processor.save_pretrained(tmp_path / "before")
    processor(text=[" ".join(WORDS[:9]), "w1"], truncation=True, max_length=3, padding="max_length")
    with pytest.raises(ValueError, match="return_overflowing_tokens"):
        processor(text=[" ".join(WORDS[:9])], truncation=True, max_length=3, return_overflowing_tokens=True)
    processor.save_pretrained(tmp_path / "after")
    before, after = ((tmp_path / name / "tokenizer.json").read_text() for name in ("before", "after"))
    assert before == after
