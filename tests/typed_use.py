# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""A program of someone who uses the package and checks the types: `make lint` checks it, and nothing runs it.

Each public name stands here as its documentation uses it, so that a name that goes, an argument that is renamed, or a
type that becomes `Any` where it was known is an error of the type checker.
"""

from functools import partial
from pathlib import Path
from typing import Any, assert_type

from datasets import Dataset, DatasetDict

from mixture_of_transformers import (
    MoTAudioConfig,
    MoTCausalConfig,
    MoTCausalModel,
    MoTCausalProcessor,
    MoTConfig,
    MoTFeatureExtractor,
    MoTForAudioClassification,
    MoTForCausalLM,
    MoTForImageClassification,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageConfig,
    MoTImageProcessor,
    MoTModel,
    MoTProcessor,
    MoTSeriesConfig,
    MoTTableConfig,
    MoTTextConfig,
    MultimodalClassificationPipeline,
    analyze_video_sentiment,
)
from mixture_of_transformers.attribution_mot import Contributions, modality_contributions
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.evaluation.report import report
from mixture_of_transformers.explain.attention import AttentionMaps, attention_maps
from mixture_of_transformers.explain.pictures import plot_contributions
from mixture_of_transformers.run_finetune import main as finetune
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.serving.onnx import export_onnx, quantize_onnx
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.trainer import MoTTrainer
from mixture_of_transformers.training.workers import on_ray


def configs() -> MoTConfig:
    config = assert_type(MoTConfig.of_size("tiny", num_labels=3, audio_config=None), MoTConfig)
    MoTConfig(
        hidden_size=64,
        text_config=MoTTextConfig(vocab_size=100),
        image_config=MoTImageConfig(image_size=16, patch_size=4),
        audio_config=MoTAudioConfig(num_mel_bins=80),
        imu_config=MoTSeriesConfig(num_channels=6),
        vitals_config=MoTTableConfig(num_numbers=2, category_sizes=[3]),
    )
    assert_type(config.modalities, tuple[str, ...])
    assert_type(config.num_hidden_layers, int)
    return config


def models(config: MoTConfig, inputs: dict[str, Any]) -> None:
    for head in (MoTModel, MoTForImageClassification, MoTForAudioClassification, MoTForPreTraining, MoTForMaskedLM):
        head(config).save_pretrained("folder")
    model = MoTForSequenceClassification(config)
    MoTForSequenceClassification.from_unimodal_pretrained(image="google/vit-base-patch16-224")
    finder = MoTForRetrieval(config)
    finder.get_text_features(**inputs)
    finder.get_image_features(**inputs)
    finder.get_audio_features(**inputs)
    finder.get_fused_features(**inputs)
    finder.get_modality_features("imu", **inputs)
    assert_type(model.add_modality("depth", MoTImageConfig(num_channels=1)), list[str])
    contributions = assert_type(modality_contributions(model, inputs, target=1), Contributions)
    plot_contributions(contributions, row=0, save_path="contributions.png")
    assert_type(attention_maps(model, inputs, layers=[-1]), AttentionMaps)
    export_onnx(model, inputs, "model.onnx")
    quantize_onnx("model.onnx", Path("small.onnx"))


def inputs_of(processor: MoTProcessor) -> None:
    MoTProcessor(MoTImageProcessor(size={"height": 16, "width": 16}), MoTFeatureExtractor(), processor.tokenizer)
    processor(text=["one", None], images=[None, "two.png"], audio=["one.wav", None], return_tensors="pt")


def generating(processor: MoTCausalProcessor) -> None:
    config = assert_type(processor.config_for(hidden_size=64), MoTCausalConfig)
    MoTCausalModel(config).save_pretrained("folder")
    model = MoTForCausalLM(config)
    inputs = processor([[{"text": "a seven"}, {"image": "seven.png"}]], padding_side="left", return_tensors="pt")
    ids = model.generate(**inputs, generation_mode="image", guidance_scale=3.0)
    processor.post_process_multimodal_output(ids, generation_mode="interleaved")
    assert_type(next(model.stream(processor, **inputs, max_new_tokens=9)), tuple[int, str, Any])


def videos(classify: MultimodalClassificationPipeline) -> dict:
    classify({"text": "a word", "image": "a.png"}, top_k=1)
    return assert_type(analyze_video_sentiment("clip.mp4", classifier=classify, window=4.0), dict[Any, Any])


def training(processor: MoTProcessor, model: MoTForSequenceClassification) -> None:
    splits: DatasetDict = load_digits_dataset(seed=0)
    load_splits("user/clips", label_column="mood", streaming=True)
    splits, labels = prepare_splits(
        splits, assert_type(ModalityColumns.guess(splits["train"].features), ModalityColumns)
    )
    assert_type(labels, LabelSpec | None)
    rows = EncodedDataset(splits["train"], processor, max_audio_seconds=2.0)
    trainer = MoTTrainer(
        model=model,
        args=MoTTrainingArguments("outputs", max_steps=2),
        train_dataset=rows,
        data_collator=MoTCollator(pad_token_id=0, modality_dropout=0.1),
    )
    trainer.train()
    trainer.evaluate_subsets(rows)
    assert_type(finetune(["--max_steps", "2"]), dict[Any, Any])
    assert_type(report(["outputs/digits", "--output", "digits.html"]), Path)


def searching(rows: Dataset, model: MoTForRetrieval, processor: MoTProcessor) -> None:
    assert_type(build_index(rows, model, processor, "index", batch_size=16), Index)
    build_index(rows, model, processor, "index", spread=partial(on_ray, address="auto", workers=2))
    index = assert_type(Index.load("index", model, processor), Index)
    index.search(text="a word", k=3, modality="image", where={"label": 3})
    index.add(rows)
    index.remove([3, 8])
    assert_type(Index.merge(["a", "b"], "both"), Index)
