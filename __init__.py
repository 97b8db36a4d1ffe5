# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Mixture-of-Transformers for text, images or video, audio, and any other modalities.

Importing this package registers it with the Auto classes.
"""

import transformers

from .configuration_causal_mot import MoTCausalConfig
from .configuration_mot import MoTConfig
from .feature_extraction_mot import MoTFeatureExtractor
from .head_classification_mot import MoTForAudioClassification, MoTForImageClassification, MoTForSequenceClassification
from .head_masked_lm_mot import MoTForMaskedLM
from .head_pretraining_mot import MoTForPreTraining
from .head_retrieval_mot import MoTForRetrieval
from .heads_mot import AUTO_CLASSES
from .image_processing_mot import MoTImageProcessor
from .modality_audio_mot import MoTAudioConfig
from .modality_image_mot import MoTImageConfig
from .modality_series_mot import MoTSeriesConfig
from .modality_table_mot import MoTTableConfig
from .modality_text_mot import MoTTextConfig
from .modeling_causal_mot import CAUSAL_AUTO_CLASSES, MoTCausalModel, MoTForCausalLM
from .modeling_mot import MoTModel
from .pipeline_mot import TASK, MultimodalClassificationPipeline
from .processing_causal_mot import MoTCausalProcessor
from .processing_mot import MoTProcessor
from .serving.video import analyze_video_sentiment

transformers.AutoConfig.register("mot", MoTConfig, exist_ok=True)
MoTConfig.register_for_auto_class()
transformers.AutoConfig.register("mot_causal", MoTCausalConfig, exist_ok=True)
MoTCausalConfig.register_for_auto_class()
for _config_class, _classes in ((MoTConfig, AUTO_CLASSES), (MoTCausalConfig, CAUSAL_AUTO_CLASSES)):
    for _auto_class, _model_class in _classes.items():
        getattr(transformers, _auto_class).register(_config_class, _model_class, exist_ok=True)
        _model_class.register_for_auto_class(_auto_class)
# `AutoModel` goes by the `architectures` of a checkpoint where it has several classes to choose from.
transformers.AutoModel.register(MoTConfig, (MoTModel, MoTForRetrieval), exist_ok=True)
transformers.AutoFeatureExtractor.register(MoTConfig, MoTFeatureExtractor, exist_ok=True)
MoTFeatureExtractor.register_for_auto_class()
transformers.AutoImageProcessor.register(MoTConfig, image_processor_classes={"pil": MoTImageProcessor}, exist_ok=True)
MoTImageProcessor.register_for_auto_class()
for _config_class, _processor_class in ((MoTConfig, MoTProcessor), (MoTCausalConfig, MoTCausalProcessor)):
    transformers.AutoProcessor.register(_config_class, _processor_class, exist_ok=True)
    _processor_class.register_for_auto_class()
transformers.pipelines.PIPELINE_REGISTRY.register_pipeline(
    TASK,
    pipeline_class=MultimodalClassificationPipeline,
    pt_model=transformers.AutoModelForSequenceClassification,
    type="multimodal",
)

__version__ = "0.1.0"

__all__ = [
    "MoTAudioConfig",
    "MoTCausalConfig",
    "MoTCausalModel",
    "MoTCausalProcessor",
    "MoTConfig",
    "MoTFeatureExtractor",
    "MoTForAudioClassification",
    "MoTForCausalLM",
    "MoTForImageClassification",
    "MoTForMaskedLM",
    "MoTForPreTraining",
    "MoTForRetrieval",
    "MoTForSequenceClassification",
    "MoTImageConfig",
    "MoTImageProcessor",
    "MoTModel",
    "MoTProcessor",
    "MoTSeriesConfig",
    "MoTTableConfig",
    "MoTTextConfig",
    "MultimodalClassificationPipeline",
    "analyze_video_sentiment",
]
