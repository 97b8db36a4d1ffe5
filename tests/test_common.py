# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests, held against MoT: four settings of the model, its configs and its processor.

Each setting is a tiny model and a batch of inputs, described by a `Setting`; the mixins of the library bring the
tests. What cannot apply is listed with its reason in `CANNOT_APPLY`, for each setting.
"""

import unittest
from unittest.mock import patch

import numpy as np
import pytest
import torch
from common_setup import common_tests
from transformers import BertTokenizer
from transformers.models.auto import modeling_auto

from mot import (
    MoTAudioConfig,
    MoTConfig,
    MoTForAudioClassification,
    MoTForImageClassification,
    MoTForSequenceClassification,
    MoTImageConfig,
    MoTModel,
    MoTProcessor,
    MoTTextConfig,
)
from mot.modeling_mot import MoTPreTrainedModel

ConfigTester = common_tests("test_configuration_common").ConfigTester
ModelTesterMixin = common_tests("test_modeling_common").ModelTesterMixin
ProcessorTesterMixin = common_tests("test_processing_common").ProcessorTesterMixin
TrainingTesterMixin = common_tests("test_training_mixin").TrainingTesterMixin

pytestmark = pytest.mark.common

# Where the library lists its own classes; the tests look there which class takes labels and which is a base model.
AUTO_CLASS_TABLES = {
    "MODEL_MAPPING_NAMES": "MoTModel",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "MoTForSequenceClassification",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "MoTForImageClassification",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES": "MoTForAudioClassification",
}
VOCAB_SIZE, IMAGE_SIZE, PATCH_SIZE, NUM_MEL_BINS = 99, 8, 4, 6
PICTURE, PATCHES = (3, IMAGE_SIZE, IMAGE_SIZE), 4
BATCH_SIZE, TEXT_LENGTH, NUM_FRAMES, AUDIO_LENGTH, AUDIO_TOKENS = 4, 7, 3, 11, 6


# ---------------------------------------------------------------------------------------------------------------------
# The models, in four settings
# ---------------------------------------------------------------------------------------------------------------------


def text_inputs():
    """Right and left padding."""
    mask = torch.ones(BATCH_SIZE, TEXT_LENGTH, dtype=torch.long)
    mask[0, 5:], mask[1, :2] = 0, 0
    return {"input_ids": torch.randint(1, VOCAB_SIZE, mask.shape), "attention_mask": mask}


def frame_inputs():
    """Videos; row 0 lacks its last frame, row 1 one in the middle."""
    mask = torch.ones(BATCH_SIZE, NUM_FRAMES, dtype=torch.long)
    mask[0, 2], mask[1, 1] = 0, 0
    return {"pixel_values": torch.randn(*mask.shape, *PICTURE), "pixel_mask": mask}


def audio_inputs():
    """Right and left padding, and a hole."""
    mask = torch.ones(BATCH_SIZE, AUDIO_LENGTH, dtype=torch.long)
    mask[0, 8:], mask[1, :4], mask[2, 3] = 0, 0, 0
    return {"input_features": torch.randn(*mask.shape, NUM_MEL_BINS), "input_features_mask": mask}


def trimodal_inputs():
    """Row 0 has no picture, row 1 no sound and row 3 no text."""
    pictures = {"pixel_values": torch.randn(BATCH_SIZE, *PICTURE), "pixel_mask": torch.tensor([0, 1, 1, 1])}
    inputs = text_inputs() | pictures | audio_inputs()
    inputs["input_features_mask"][1], inputs["attention_mask"][3] = 0, 0
    return inputs


class MoTModelTester:
    """What the mixin wants to know about a setting; it makes a new config and new inputs whenever it is asked."""

    batch_size = BATCH_SIZE
    hidden_size = 32
    num_attention_heads = 4
    is_training = True

    def __init__(self, config_fields, make_inputs, seq_length):
        self.config_fields, self.make_inputs, self.seq_length = config_fields, make_inputs, seq_length
        self.num_hidden_layers = self.get_config().num_hidden_layers

    def get_config(self):
        towers = {
            "text_config": {"vocab_size": VOCAB_SIZE, "max_position_embeddings": 32},
            "image_config": {"image_size": IMAGE_SIZE, "patch_size": PATCH_SIZE},
            "audio_config": {"num_mel_bins": NUM_MEL_BINS, "max_frames": 40},
        }
        fields = dict(self.config_fields)
        for name, tower in towers.items():
            changes = fields.get(name, {})
            fields[name] = None if changes is None else {"num_hidden_layers": 1} | tower | changes
        widths = {"hidden_size": self.hidden_size, "num_attention_heads": self.num_attention_heads}
        return MoTConfig(**widths, intermediate_size=37, projection_dim=16, **fields)

    def prepare_config_and_inputs_for_common(self):
        return self.get_config(), self.make_inputs()


class MoTModelTests(ModelTesterMixin):
    """The library's model tests; a setting is a subclass."""

    config_fields = {}
    make_inputs = None
    seq_length = None  # tokens of the joint sequence
    main_input_name = "input_ids"
    cannot_apply = {}

    # Or the test is skipped wherever the copyright line of the configuration does not say 2023 or later.
    test_can_init_all_missing_weights_before_2023 = True

    def setUp(self):
        if reason := self.cannot_apply.get(self._testMethodName):
            self.skipTest(reason)
        self.model_tester = MoTModelTester(self.config_fields, type(self).make_inputs, self.seq_length)
        self.additional_model_inputs = [n for n in self.model_tester.make_inputs() if n != self.main_input_name]
        patches = [patch.dict(getattr(modeling_auto, table), mot=name) for table, name in AUTO_CLASS_TABLES.items()]
        # The tests feed a model its main input; a setting without text has another one.
        patches.append(patch.object(MoTPreTrainedModel, "main_input_name", self.main_input_name))
        for patcher in patches:
            patcher.start()
            self.addCleanup(patcher.stop)


class TestTextAlone(MoTModelTests, unittest.TestCase):
    """A tri-modal model that is given nothing but text."""

    all_model_classes = (MoTModel, MoTForSequenceClassification)
    config_fields = {
        "text_config": {"hidden_size": 16, "position_embedding_type": "learned", "embedding_norm": True},
    }
    make_inputs = text_inputs
    seq_length = TEXT_LENGTH


class TestImageAlone(MoTModelTests, unittest.TestCase):
    """A model of images alone, given video frames; its joint part is one joint layer."""

    all_model_classes = (MoTModel, MoTForSequenceClassification, MoTForImageClassification)
    config_fields = {
        "num_joint_layers": 1,
        "num_global_layers": 0,
        "text_config": None,
        "audio_config": None,
        "image_config": {
            "stem": "conv",
            "position_embedding_type": "learned",
            "use_cls_token": True,
            "final_norm": True,
        },
    }
    make_inputs = frame_inputs
    seq_length = 1 + NUM_FRAMES * PATCHES
    main_input_name = "pixel_values"


class TestAudioAlone(MoTModelTests, unittest.TestCase):
    """A model of text and audio that is given nothing but audio."""

    all_model_classes = (MoTModel, MoTForSequenceClassification, MoTForAudioClassification)
    config_fields = {
        "image_config": None,
        "audio_config": {"mean_normalization": True, "key_bias": False},
    }
    make_inputs = audio_inputs
    seq_length = AUDIO_TOKENS
    main_input_name = "input_features"


class TestTrimodal(MoTModelTests, TrainingTesterMixin, unittest.TestCase):
    """All three modalities, one joint layer and one global layer."""

    all_model_classes = (
        MoTModel,
        MoTForSequenceClassification,
        MoTForImageClassification,
        MoTForAudioClassification,
    )
    config_fields = {"num_joint_layers": 1, "num_global_layers": 1, "global_mlp": True}
    make_inputs = trimodal_inputs
    seq_length = TEXT_LENGTH + PATCHES + AUDIO_TOKENS
