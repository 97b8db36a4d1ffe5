# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What a run asks the kinds of its modalities: how training changes them, what it predicts, how it shows them."""

import re

import datasets
import numpy as np
import PIL.Image
import pytest
from forked import run_script
from open_rows import cells, make_model
from open_rows import make_processor as make_open_processor
from transformers import BertConfig, ViTConfig

from mixture_of_transformers import (
    MoTCausalConfig,
    MoTCausalProcessor,
    MoTConfig,
    MoTFeatureExtractor,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTProcessor,
    processing_mot,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.finetune.batches import augmentations, build_collators, further_augmentations
from mixture_of_transformers.finetune.checks import check_towers
from mixture_of_transformers.finetune.generation import augmentations_of, code_maker
from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
from mixture_of_transformers.finetune.recipe import image_geometry, new_tokenizer
from mixture_of_transformers.finetune.usage import save_examples, usage_lines
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation, black_of

READY = {"feature_size": 4}


def processor():
    return MoTProcessor(tokenizer=train_tokenizer(["a b"]), feature_extractor=MoTFeatureExtractor())


def test_raw_pictures_and_sound_are_augmented_unless_a_person_says_no():
    config, silence = MoTConfig.of_size("tiny", audio_config={"max_frames": 115}), MoTFeatureExtractor().silence_value
    of_speech = AudioAugmentation(silence_value=silence, max_frames=115)
    of_pictures = ImageAugmentation(black=black_of(processor().image_processor))
    of_sound = AudioAugmentation(silence_value=silence, max_frames=115, tract=0.0)
    for options, expected in (
        ({}, {"image_augmentation": of_pictures, "audio_augmentation": of_speech}),
        ({"audio_kind": "sound", "image_augmentation": False}, {"audio_augmentation": of_sound}),
        ({"audio_augmentation": False}, {"image_augmentation": of_pictures}),
    ):
        assert augmentations(processor(), config, ModelArguments(**options), "classification") == expected


@pytest.mark.parametrize("task", ["classification", "regression", "retrieval", "pretraining"])
def test_pictures_keep_their_light_where_a_loss_compares_rows(task):
    """Of any name: a new model's vectors differ by their light before all else."""
    config = MoTConfig.of_size("tiny", scan_config={"model_type": "mot_image"})
    changes = augmentations(processor(), config, ModelArguments(), task) | further_augmentations(
        processor(), config, ModelArguments(), task
    )
    lights = {changes[name].light for name in ("image_augmentation", "scan")}
    assert lights == ({0.0} if task in ("retrieval", "pretraining") else {ImageAugmentation().light})


def test_the_pitch_of_sounds_stays_whichever_modality_and_model_hears_them():
    """`--audio_kind sound`: of a further modality, of a generator's tower and of the versions that become codes."""
    config = MoTConfig.of_size("tiny", siren_config={"model_type": "mot_audio"})
    generator = MoTCausalConfig(
        encoders={"audio": {"model_type": "mot_audio"}}, token_ranges=[["audio", 90, 100]], vocab_size=100
    )
    for kind, bends_pitch in (("sound", False), ("speech", True)):
        model = ModelArguments(audio_kind=kind)
        further = further_augmentations(processor(), config, model, "classification")["siren"]
        heard = augmentations_of(generator, processor(), model)["audio"]
        assert (further.tract > 0) == (heard.tract > 0) == bends_pitch
        codes = code_maker(MoTCausalProcessor(train_tokenizer(["a b"])), None, DataArguments(), model, seed=0)
        assert (len(codes.sounds.speeds) > 1) == bends_pitch


def test_ready_features_are_not_augmented_and_pictures_for_a_model_in_front_are():
    config = MoTConfig.of_size("tiny", image_config=READY, audio_config=READY)
    assert augmentations(processor(), config, ModelArguments(), "classification") == {}
    front = {"backbone_config": ViTConfig(hidden_size=8, num_attention_heads=2)}
    config = MoTConfig.of_size("tiny", image_config=front, audio_config=None)
    of_pictures = ImageAugmentation(black=black_of(processor().image_processor))
    assert augmentations(processor(), config, ModelArguments(), "classification") == {
        "image_augmentation": of_pictures
    }


@pytest.mark.parametrize("task", ["classification", "pretraining"])
def test_words_are_hidden_in_pretraining_where_a_vocabulary_predicts_them(task):
    front = {"backbone_config": BertConfig(hidden_size=8, num_attention_heads=2)}
    for text, is_predicted in (({"mask_ratio": 0.3}, True), (READY, False), (front, False)):
        config = MoTConfig.of_size("tiny", text_config=text)
        collators = build_collators(processor(), config, DataArguments(task=task), ModelArguments(), 0)
        masking = collators["data_collator"].word_masking
        assert masking is collators["train_collator"].word_masking
        assert (masking and masking.mlm_probability) == (0.3 if task == "pretraining" and is_predicted else None)
        assert ("fill-mask" in usage_lines("pretraining", "folder", config)) == is_predicted


def test_use_is_shown_with_a_video_where_there_is_one_and_with_vectors_where_these_are_taken():
    config = MoTConfig.of_size("tiny", text_config=READY | {"max_position_embeddings": 6})
    lines = usage_lines("classification", "folder", config, {"video": "my.mp4", "audio": "my.wav"})
    assert "processor(text_features=np.ones((6, 4)), videos='my.mp4', audio='my.wav', " in lines
    assert "images='picture.png', audio='sound.wav'" in usage_lines("classification", "folder", config)


def test_what_is_shown_of_a_series_and_a_table_is_what_their_processor_takes():
    settings = {
        "imu": {"kind": "series", "num_channels": 3, "mean": [0.0] * 3, "std": [1.0] * 3},
        "vitals": {"kind": "table", "numbers": {"age": {"mean": 50, "std": 20}}, "categories": {"sex": ["f", "m"]}},
    }
    kinds = MoTProcessor(modalities=settings).kinds
    fields = {
        f"{name}_config": {"model_type": f"mot_{settings[name]['kind']}"}
        | kinds[name].config_fields({key: value for key, value in settings[name].items() if key != "kind"})
        for name in settings
    }
    config = MoTConfig.of_size("tiny", text_config=None, image_config=None, audio_config=None, **fields)
    lines = usage_lines("classification", "folder", config)
    call = re.search(r"processor\((.*), return_tensors", lines)[1]
    inputs = eval(f"MoTProcessor(modalities=settings)({call})", globals() | {"np": np, "settings": settings})  # noqa: S307
    assert inputs["imu_values"].shape == (1, 2, 3) and inputs["vitals_mask"].tolist() == [[1, 1]]
    assert "your own vectors" not in lines


def test_without_text_a_run_has_a_tokenizer_without_words_and_says_nothing_of_it(caplog):
    train = datasets.Dataset.from_dict({"imu": [[1.0, 2.0]] * 4})
    data = DataArguments(extra_columns=["imu:series=imu"])
    processing_mot.logger.warning_once.cache_clear()
    with caplog.at_level("WARNING"):
        tokenizer = new_tokenizer(train, ModelArguments(), data)
        MoTProcessor(tokenizer=tokenizer)
    assert not caplog.records and set(tokenizer.get_vocab()) == set(tokenizer.all_special_tokens)


def test_a_row_becomes_a_sentence_and_files_without_what_it_lacks(tmp_path):
    row = {"text": "seven", "image": None, "audio": {"bytes": b"RIFF", "path": None}, "label": 7}
    assert save_examples(tmp_path, row) == {"text": "seven", "audio": str(tmp_path / "example.wav")}
    assert [path.name for path in tmp_path.iterdir()] == ["example.wav"]
    assert (tmp_path / "example.wav").read_bytes() == b"RIFF"


def test_the_tower_of_a_model_needs_a_column_of_any_form_of_its_modality():
    model = ModelArguments(image_model="user/vit")
    check_towers(model, ["video", "label"])
    with pytest.raises(ValueError, match="--image_model names a image tower, but the dataset has no image column"):
        check_towers(model, ["text", "label"])


def test_small_pictures_keep_their_size_also_where_a_row_has_several():
    picture = PIL.Image.new("RGB", (18, 10))
    rows = datasets.Dataset.from_dict(
        {"views": [[picture, picture], [picture], None]},
        features=datasets.Features({"views": datasets.List(datasets.Image())}),
    )
    assert image_geometry(rows, ModelArguments(), DataArguments()) == (20, 4)


@pytest.mark.training
@pytest.mark.parametrize(
    "task, head", [("classification", MoTForSequenceClassification), ("retrieval", MoTForRetrieval)]
)
def test_the_lines_that_are_printed_run_for_declared_modalities(task, head, tmp_path):
    model = make_model(head)
    model.save_pretrained(tmp_path / "model")
    make_open_processor().save_pretrained(tmp_path / "model")
    cells()[0]["depth"].save(tmp_path / "picture.png")
    (tmp_path / "lines.py").write_text(usage_lines(task, "model", model.config))
    done = run_script(tmp_path / "lines.py", tmp_path)
    printed = done.stdout.strip()
    assert printed, done.stderr[-2000:]
    assert printed in model.config.id2label.values() if task == "classification" else -1 <= float(printed) <= 1
