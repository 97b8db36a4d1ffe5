# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Mixture-of-Transformers for text, images or video, and audio. Importing this package registers it with the Auto classes."""

import transformers

from . import modeling_mot
from .configuration_mot import MoTAudioConfig, MoTConfig, MoTImageConfig, MoTTextConfig
from .feature_extraction_mot import MoTFeatureExtractor
from .image_processing_mot import MoTImageProcessor
from .modeling_mot import (
    AUTO_CLASSES,
    MoTForAudioClassification,
    MoTForImageClassification,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTModel,
)
from .pipeline_mot import TASK, MultimodalClassificationPipeline
from .processing_mot import MoTProcessor
from .serving.video import analyze_video_sentiment

transformers.AutoConfig.register("mot", MoTConfig, exist_ok=True)
MoTConfig.register_for_auto_class()
for _auto_class, _name in AUTO_CLASSES.items():
    _model_class = getattr(modeling_mot, _name)
    getattr(transformers, _auto_class).register(MoTConfig, _model_class, exist_ok=True)
    _model_class.register_for_auto_class(_auto_class)
# `AutoModel` goes by the `architectures` of a checkpoint where it has several classes to choose from.
transformers.AutoModel.register(MoTConfig, (MoTModel, MoTForRetrieval), exist_ok=True)
transformers.AutoFeatureExtractor.register(MoTConfig, MoTFeatureExtractor, exist_ok=True)
MoTFeatureExtractor.register_for_auto_class()
transformers.AutoImageProcessor.register(MoTConfig, image_processor_classes={"pil": MoTImageProcessor}, exist_ok=True)
MoTImageProcessor.register_for_auto_class()
transformers.AutoProcessor.register(MoTConfig, MoTProcessor, exist_ok=True)
MoTProcessor.register_for_auto_class()
transformers.pipelines.PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=MultimodalClassificationPipeline,
    pt_model=transformers.AutoModelForSequenceClassification,
    type="multimodal",
)

__version__ = "0.1.0"

__all__ = [
    "MoTAudioConfig",
    "MoTConfig",
    "MoTFeatureExtractor",
    "MoTForAudioClassification",
    "MoTForImageClassification",
    "MoTForMaskedLM",
    "MoTForPreTraining",
    "MoTForRetrieval",
    "MoTForSequenceClassification",
    "MoTImageConfig",
    "MoTImageProcessor",
    "MoTModel",
    "MoTProcessor",
    "MoTTextConfig",
    "MultimodalClassificationPipeline",
    "analyze_video_sentiment",
]
