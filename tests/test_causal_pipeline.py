# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The library's pipelines any-to-any, image-text-to-text and text-generation on a saved folder: the processor reads
what goes in, and what comes out is what `generate` and the processor give alone, one by one and in batches.

None of them needs torchvision, since this project reads and resizes pictures by PIL.
"""

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from small_media import png_bytes, sound_bytes

from mixture_of_transformers import MoTCausalProcessor, MoTForCausalLM
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.tokens_mot import (
    MoTAudioTokenizer,
    MoTAudioTokenizerConfig,
    MoTImageTokenizer,
    MoTImageTokenizerConfig,
)

SIZES = {"hidden_size": 16, "num_hidden_layers": 1}
TOWERS = {
    "image": {"model_type": "mot_image", "image_size": 8, "patch_size": 4, **SIZES},
    "audio": {"model_type": "mot_audio", "num_mel_bins": 20, **SIZES},
}
PICTURE = Image.fromarray((np.random.default_rng(0).random((8, 8)) * 255).astype(np.uint8))
SAMPLES = np.random.default_rng(1).normal(size=4000).astype(np.float32) / 10
SOUND = {"array": SAMPLES, "sampling_rate": 8000}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    processor = MoTCausalProcessor(
        train_tokenizer(["a handwritten seven", "an eight", "say it loud"]),
        MoTImageTokenizer(MoTImageTokenizerConfig(image_size=8, patch_size=4, **SIZES)).eval(),
        MoTAudioTokenizer(MoTAudioTokenizerConfig(**SIZES)).eval(),
        encoders=TOWERS,
    )
    sizes = {"intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "initializer_range": 0.3}
    folder = tmp_path_factory.mktemp("saved")
    MoTForCausalLM(processor.config_for(hidden_size=32, **sizes)).save_pretrained(folder)
    processor.save_pretrained(folder)
    (folder / "picture.png").write_bytes(png_bytes(PICTURE))
    (folder / "sound.wav").write_bytes(sound_bytes(SAMPLES, 8000, subtype="FLOAT"))
    return folder


@pytest.fixture(scope="module")
def pipe(folder):
    return transformers.pipeline("any-to-any", model=str(folder))


def generated(pipe, documents, **options):
    """What the model and the processor give of documents, without a pipeline."""
    torch.manual_seed(0)
    batch = pipe.processor(documents, return_tensors="pt")
    return pipe.model.generate(**batch, **options)


def text_of(pipe, ids, prompt=0):
    return pipe.processor.post_process_image_text_to_text(ids[:, prompt:])


@pytest.mark.parametrize("way", ["as tokens", "raw"])
@pytest.mark.parametrize("source", ["object", "path"])
def test_any_to_any_goes_on_with_text_behind_media(pipe, folder, way, source):
    raw = {"raw": True} if way == "raw" else {}
    document = [{"text": "a seven"}, {"image": PICTURE} | raw, {"text": "say"}, {"audio": SOUND} | raw]
    mark = ":raw" if raw else ""
    images, audio = (
        (PICTURE, SOUND) if source == "object" else (str(folder / "picture.png"), str(folder / "sound.wav"))
    )
    (result,) = pipe(
        text=f"a seven <image{mark}> say <audio{mark}>",
        images=images,
        audio=audio,
        max_new_tokens=6,
        return_full_text=False,
    )
    ids = generated(pipe, [document], max_new_tokens=6)
    prompt = pipe.processor.post_process_image_text_to_text(ids[:, :-6])[0]
    assert prompt + result["generated_text"] == text_of(pipe, ids)[0]


def test_any_to_any_draws_and_speaks(pipe):
    texts = ["a seven", "an eight"]
    results = pipe(text=texts, generation_mode="image")
    documents = [[{"text": text}] for text in texts]
    ids = generated(pipe, documents, generation_mode="image")
    pictures = pipe.processor.post_process_multimodal_output(ids, generation_mode="image")
    for result, picture in zip(results, pictures, strict=True):
        assert np.array_equal(np.asarray(result["generated_image"]), np.asarray(picture))
    (result,) = pipe(text="a seven", generation_mode="audio", max_new_tokens=12)
    ids = generated(pipe, documents[:1], generation_mode="audio", max_new_tokens=12)
    (samples,) = pipe.processor.post_process_multimodal_output(ids, generation_mode="audio")
    assert len(samples) and np.array_equal(result["generated_audio"], samples)


def chat(text, sound, raw=False):
    return [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": PICTURE, "raw": raw},
                {"type": "text", "text": text},
                {"type": "audio", "audio": sound, "raw": raw},
            ],
        }
    ]


def test_any_to_any_takes_conversations_with_pictures_and_sounds(pipe):
    document = [{"image": PICTURE}, {"text": "an eight"}, {"audio": SOUND}]
    ids = generated(pipe, [document], max_new_tokens=5)
    (result,) = pipe(text=chat("an eight", SOUND), max_new_tokens=5)
    *before, answer = result["generated_text"]
    assert before == chat("an eight", SOUND) and answer["role"] == "assistant"
    assert "an eight" + answer["content"] == text_of(pipe, ids)[0]
    (result,) = pipe(text=chat("an eight", SOUND), generation_mode="image")
    assert result["generated_image"].size == PICTURE.size


@pytest.mark.parametrize("raw", [False, True])
def test_a_batch_of_conversations_gives_what_each_gives_alone(pipe, raw):
    chats = [chat("a", SOUND, raw), chat("say it loud", SOUND | {"array": SAMPLES[:2500]}, raw)]
    options = {"max_new_tokens": 5, "return_full_text": False}
    together = pipe(text=chats, batch_size=2, **options)
    alone = [pipe(text=each, **options) for each in chats]
    assert [result[0]["generated_text"] for result in together] == [result[0]["generated_text"] for result in alone]


def test_image_text_to_text_answers_about_pictures(folder):
    pipe = transformers.pipeline("image-text-to-text", model=str(folder))
    documents = [[{"image": PICTURE, "raw": True}, {"text": "a"}], [{"text": "an eight"}, {"image": PICTURE}]]
    ids = generated(pipe, documents, max_new_tokens=5)
    results = pipe(
        images=[PICTURE, str(folder / "picture.png")],
        text=["<image:raw> a", "an eight <image>"],
        max_new_tokens=5,
        return_full_text=False,
    )
    answers = [prompt + result["generated_text"] for prompt, result in zip(("a", "an eight"), results, strict=True)]
    assert answers == text_of(pipe, ids)
    (result,) = pipe(text=chat("an eight", SOUND), max_new_tokens=5)
    assert result["generated_text"][-1]["role"] == "assistant"


def test_text_generation_goes_on_as_with_the_processor(folder):
    pipe = transformers.pipeline("text-generation", model=str(folder))
    texts = ["a handwritten seven", "say"]
    results = pipe(texts, max_new_tokens=5, do_sample=False, batch_size=2, return_tensors=True)
    processor = transformers.AutoProcessor.from_pretrained(folder)
    for text, (result,) in zip(texts, results, strict=True):
        ids = pipe.model.generate(**processor(text, return_tensors="pt"), max_new_tokens=5)[0].tolist()
        found = result["generated_token_ids"]
        assert found[len(found) - len(ids) :] == ids
        assert set(found[: len(found) - len(ids)]) <= {processor.tokenizer.pad_token_id}


def test_samples_without_a_rate_are_an_error_and_take_one(pipe):
    with pytest.raises(ValueError, match="The sampling rate of audio.0. is missing"):
        pipe(text="<audio>", audio=SAMPLES)
    given = pipe(text="<audio>", audio=SAMPLES, sampling_rate=8000, max_new_tokens=4)
    assert given == pipe(text="<audio>", audio=SOUND, max_new_tokens=4)
