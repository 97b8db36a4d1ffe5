# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests, held against MoT: its models in five settings, its configs and its processor.

The library's mixins bring the tests, a class here brings a tiny model and a batch of inputs, or the processor. What
cannot apply is listed with its reason in the class' `cannot_apply`; the mixins themselves skip what needs hardware or
packages that are not there, and what asks for features that MoT does not have.
"""

import unittest
from unittest.mock import patch

import numpy as np
import pytest
import torch
from common_setup import ListedSkips, common_tests
from transformers import BertTokenizer
from transformers.models.auto import modeling_auto

from mixture_of_transformers import (
    MoTAudioConfig,
    MoTConfig,
    MoTForAudioClassification,
    MoTForImageClassification,
    MoTForMaskedLM,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageConfig,
    MoTModel,
    MoTProcessor,
    MoTTextConfig,
    head_pretraining_mot,
)
from mixture_of_transformers.modeling_mot import MoTPreTrainedModel

ConfigTester = common_tests("test_configuration_common").ConfigTester
ModelTesterMixin = common_tests("test_modeling_common").ModelTesterMixin
MODALITY_TEST_SPECS = common_tests("test_processing_common").MODALITY_TEST_SPECS
ProcessorTesterMixin = common_tests("test_processing_common").ProcessorTesterMixin
TrainingTesterMixin = common_tests("test_training_mixin").TrainingTesterMixin

pytestmark = pytest.mark.common

# Where the library lists its own classes; the tests look there which class takes labels and which is a base model.
AUTO_CLASS_TABLES = {
    "MODEL_MAPPING_NAMES": "MoTModel",
    "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES": "MoTForSequenceClassification",
    "MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES": "MoTForImageClassification",
    "MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING_NAMES": "MoTForAudioClassification",
    "MODEL_FOR_ZERO_SHOT_IMAGE_CLASSIFICATION_MAPPING_NAMES": "MoTForRetrieval",
    "MODEL_FOR_PRETRAINING_MAPPING_NAMES": "MoTForPreTraining",
    "MODEL_FOR_MASKED_LM_MAPPING_NAMES": "MoTForMaskedLM",
}
VOCAB_SIZE, IMAGE_SIZE, PATCH_SIZE, NUM_MEL_BINS = 99, 8, 4, 6
PICTURE, PATCHES = (3, IMAGE_SIZE, IMAGE_SIZE), 4
DEPTH_MAP, SERIES_LENGTH, SERIES_CHANNELS, SERIES_TOKENS = (1, IMAGE_SIZE, IMAGE_SIZE), 9, 2, 5
BATCH_SIZE, TEXT_LENGTH, NUM_FRAMES, AUDIO_LENGTH, AUDIO_TOKENS = 4, 7, 3, 11, 6


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models: on a busy machine, several threads would spend most of their time waiting for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


# ---------------------------------------------------------------------------------------------------------------------
# The models, in five settings
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


def declared_inputs():
    """Text and sound, depth maps and a series with gaps; row 0 has no map, row 1 no series and row 3 no text."""
    inputs = text_inputs() | audio_inputs()
    inputs["attention_mask"][3] = 0
    maps = {"depth_values": torch.randn(BATCH_SIZE, *DEPTH_MAP), "depth_mask": torch.tensor([0, 1, 1, 1])}
    mask = torch.ones(BATCH_SIZE, SERIES_LENGTH, SERIES_CHANNELS, dtype=torch.long)
    mask[0, 6:], mask[1], mask[2, 1, 0] = 0, 0, 0
    return inputs | maps | {"imu_values": torch.randn(mask.shape), "imu_mask": mask}


class ModelTester:
    """What the mixin wants to know about a setting; it makes a new config and new inputs whenever it is asked."""

    batch_size = BATCH_SIZE
    hidden_size = 32
    num_attention_heads = 4
    is_training = True
    sequence_classification_class = MoTForSequenceClassification

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


def every_test(beginning, reason):
    """That reason for all of the library's model tests whose name begins so."""
    return {name: reason for name in dir(ModelTesterMixin) if name.startswith(beginning)}


NO_TEXT_GIVEN = {
    "test_model_main_input_name": "the setting has a main input of its own, MoT's first argument stays `input_ids`",
    "test_resize_tokens_embeddings": "runs the model on token ids",
    "test_inputs_embeds": "puts the embeddings of token ids in their place",
    "test_inputs_embeds_matches_input_ids": "compares with token ids",
}


class ModelTests(ListedSkips, ModelTesterMixin):
    """The library's model tests; each subclass is a setting."""

    all_model_classes = (
        MoTModel,
        MoTForSequenceClassification,
        MoTForImageClassification,
        MoTForAudioClassification,
    )
    config_fields = {}
    make_inputs = None
    seq_length = None  # tokens of the joint sequence
    main_input_name = "input_ids"
    # Or the test is skipped wherever the copyright line of the configuration does not say 2023 or later.
    test_can_init_all_missing_weights_before_2023 = True

    @pytest.mark.slow  # a fifth of the time of all these tests
    def test_bc_torch_dtype(self):
        super().test_bc_torch_dtype()

    def setUp(self):
        super().setUp()
        self.model_tester = ModelTester(self.config_fields, type(self).make_inputs, self.seq_length)
        self.additional_model_inputs = [n for n in self.model_tester.make_inputs() if n != self.main_input_name]
        patches = [patch.dict(getattr(modeling_auto, table), mot=name) for table, name in AUTO_CLASS_TABLES.items()]
        # The tests feed a model its main input; a setting without text has another one.
        patches.append(patch.object(MoTPreTrainedModel, "main_input_name", self.main_input_name))
        for patcher in patches:
            patcher.start()
            self.addCleanup(patcher.stop)


class TestTextAlone(ModelTests, unittest.TestCase):
    """A tri-modal model that is given nothing but text."""

    config_fields = {
        "text_config": {"hidden_size": 16, "position_embedding_type": "learned", "embedding_norm": True},
    }
    make_inputs = text_inputs
    seq_length = TEXT_LENGTH


class TestImageAlone(ModelTests, unittest.TestCase):
    """A model of images alone, given video frames; its joint part is one joint layer."""

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
    cannot_apply = {
        **NO_TEXT_GIVEN,
        "test_model_get_set_embeddings": "a model without text has no word embeddings",
        "test_load_with_mismatched_shapes": "changes the vocabulary, which a model without text does not have",
    }


class TestAudioAlone(ModelTests, unittest.TestCase):
    """A model of text and audio that is given nothing but audio."""

    config_fields = {
        "image_config": None,
        "audio_config": {"mean_normalization": True, "key_bias": False},
    }
    make_inputs = audio_inputs
    seq_length = AUDIO_TOKENS
    main_input_name = "input_features"
    cannot_apply = NO_TEXT_GIVEN


class TestTrimodal(ModelTests, unittest.TestCase):
    """All three modalities, one joint layer and one global layer."""

    config_fields = {"num_joint_layers": 1, "num_global_layers": 1, "global_mlp": True}
    make_inputs = trimodal_inputs
    seq_length = TEXT_LENGTH + PATCHES + AUDIO_TOKENS
    _is_composite = True  # attention chosen for each sub-config


class TestDeclared(ModelTests, unittest.TestCase):
    """Four modalities, of which the library's tests know two by name; the others are of the kinds image and series."""

    all_model_classes = (MoTModel, MoTForSequenceClassification)
    config_fields = {
        "num_joint_layers": 1,
        "num_global_layers": 1,
        "image_config": None,
        "depth_config": {
            "model_type": "mot_image",
            "num_channels": 1,
            "image_size": IMAGE_SIZE,
            "patch_size": PATCH_SIZE,
            "num_hidden_layers": 1,
            "use_cls_token": True,
        },
        "imu_config": {
            "model_type": "mot_series",
            "num_channels": SERIES_CHANNELS,
            "max_length": 40,
            "stem_stride": 2,
            "num_hidden_layers": 1,
            "position_embedding_type": "learned",
        },
    }
    make_inputs = declared_inputs
    seq_length = TEXT_LENGTH + AUDIO_TOKENS + 1 + PATCHES + SERIES_TOKENS
    _is_composite = True  # attention chosen for each sub-config


# The same settings for the heads that predict what is hidden.


class PretrainingTests:
    """Beside a setting: what it takes to compute these losses, the same each time."""

    all_model_classes = (MoTForPreTraining, MoTForMaskedLM)

    def setUp(self):
        super().setUp()
        patcher = patch.object(head_pretraining_mot, "draw_hidden", self.hide_every_other)
        patcher.start()
        self.addCleanup(patcher.stop)

    @staticmethod
    def hide_every_other(real, ratio, span):
        return real & (torch.arange(real.shape[1]) % 2 == 0)

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        """Words to predict: the library gives one for each token of the joint sequence, or none."""
        inputs = super()._prepare_for_class(inputs_dict, model_class, return_labels)
        if return_labels and "input_ids" in inputs:
            inputs.pop("labels", None)
            inputs["labels" if model_class is MoTForMaskedLM else "text_labels"] = inputs["input_ids"].clone()
        return inputs


class TestTextAloneInPretraining(PretrainingTests, TestTextAlone):
    pass


class TestImageAloneInPretraining(PretrainingTests, TestImageAlone):
    all_model_classes = (MoTForPreTraining,)


class TestAudioAloneInPretraining(PretrainingTests, TestAudioAlone):
    all_model_classes = (MoTForPreTraining,)
    cannot_apply = {"test_resize_embeddings_untied": "runs the model on token ids"}


class TestTrimodalInPretraining(PretrainingTests, TestTrimodal):
    pass


# And for retrieval, where each modality has a pass of its own.


class RetrievalTests:
    """Beside a setting."""

    all_model_classes = (MoTForRetrieval,)
    cannot_apply = dict.fromkeys(
        ("test_attention_outputs", "test_hidden_states_output", "test_retain_grad_hidden_states_attentions"),
        "each modality has hidden states and attention weights of its own, under `model_outputs`",
    )


class RetrievalOfOneModalityTests(RetrievalTests):
    """Beside a setting, where nothing can be compared."""

    cannot_apply = every_test(
        "test_eager_matches_sdpa_inference", "compares `logits_per_text`, or hidden states where there are none"
    )


class TestTextAloneInRetrieval(RetrievalOfOneModalityTests, TestTextAlone):
    # The library expects `last_hidden_state` of `get_text_features` at the text's width; MoT's has the joint one.
    config_fields = {"text_config": TestTextAlone.config_fields["text_config"] | {"hidden_size": 32}}
    cannot_apply = {
        **every_test("test_get_image_features", "the setting has no image"),
        **every_test("test_get_audio_features", "the setting has no audio"),
    }


class TestImageAloneInRetrieval(RetrievalOfOneModalityTests, TestImageAlone):
    cannot_apply = {
        **every_test("test_get_text_features", "the setting has no text"),
        **every_test("test_get_audio_features", "the setting has no audio"),
    }


class TestAudioAloneInRetrieval(RetrievalOfOneModalityTests, TestAudioAlone):
    cannot_apply = {
        **every_test("test_get_text_features", "the setting has no text"),
        **every_test("test_get_image_features", "the setting has no image"),
    }


class TestTrimodalInRetrieval(RetrievalTests, TestTrimodal):
    pass


@pytest.mark.slow  # as long as the setting itself
class TestDeclaredInRetrieval(RetrievalTests, TestDeclared):
    """Of the heads that predict or compare, one: they loop over the same table."""

    all_model_classes = (MoTForRetrieval,)


class TestTraining(TrainingTesterMixin, unittest.TestCase):
    """A fixed batch of all three modalities is learned by heart, by the head that `ModelTester` names."""

    # The mixin reads the size of the vocabulary from the joint config, which keeps unknown keys.
    model_tester = ModelTester(
        TestTrimodal.config_fields | {"vocab_size": VOCAB_SIZE}, trimodal_inputs, TestTrimodal.seq_length
    )

    def _create_text_training_batch(self, batch_size, seq_length, vocab_size):
        """In place of the mixin's tokens to predict: rows of all modalities to classify."""
        return self.model_tester.make_inputs() | {"labels": torch.arange(BATCH_SIZE) % 2}


# ---------------------------------------------------------------------------------------------------------------------
# The configs and the processor
# ---------------------------------------------------------------------------------------------------------------------


class TestConfigs(unittest.TestCase):
    model_tester = ModelTester({}, trimodal_inputs, TEXT_LENGTH + PATCHES + AUDIO_TOKENS)

    def check(self, config_class, has_text_modality=False, **fields):
        ConfigTester(self, config_class, has_text_modality=has_text_modality, **fields).run_common_tests()

    def test_joint_config(self):
        self.check(MoTConfig, hidden_size=32, num_joint_layers=2, num_global_layers=0)

    def test_config_without_a_modality(self):
        self.check(MoTConfig, hidden_size=32, image_config=None)

    def test_text_config(self):
        self.check(MoTTextConfig, has_text_modality=True, hidden_size=32, position_embedding_type="learned")

    def test_image_config(self):
        self.check(MoTImageConfig, hidden_size=32, stem="conv", use_cls_token=True)

    def test_audio_config(self):
        self.check(MoTAudioConfig, hidden_size=32, stem_stride=3, feature_size=10)


class TestProcessor(ListedSkips, ProcessorTesterMixin, unittest.TestCase):
    """
    The mixin's audio has no sampling rate, which MoT demands: it gets one. The mixin gives a row a picture and a
    video, of which MoT's rows have at most one: there are no videos.
    """

    processor_class = MoTProcessor
    cannot_apply = {
        "test_init_arguments_not_in_processor_kwargs": (
            "`num_frames` is saved with the processor, and a call may ask for another through VideosKwargs"
        ),
    }

    @classmethod
    def setUpClass(cls):
        # The tests save processors without their code.
        patcher = patch.object(MoTProcessor, "_auto_class", None)
        patcher.start()
        cls.addClassCleanup(patcher.stop)
        super().setUpClass()

    def setUp(self):
        super().setUp()
        patcher = patch.dict(MODALITY_TEST_SPECS["audio"]["call_time_kwargs"], sampling_rate=16000)
        patcher.start()
        self.addCleanup(patcher.stop)

    @classmethod
    def _setup_tokenizer(cls):
        special, words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"), ("lower", "newer", "upper", "older", "longer")
        return BertTokenizer(
            vocab={word: i for i, word in enumerate(special + words)},
            model_input_names=["input_ids", "attention_mask"],
        )

    @classmethod
    def _setup_image_processor(cls):
        return MoTProcessor().image_processor

    @classmethod
    def _setup_feature_extractor(cls):
        return MoTProcessor().feature_extractor

    def prepare_videos_inputs(self, batch_size=None):
        return None

    def prepare_audio_inputs(self, batch_size=None):
        return [{"array": np.random.randn(1000), "sampling_rate": 16000}] * (batch_size or 1)

    def _prepare_modality_input(self, modality, batch_size=None):
        inputs = super()._prepare_modality_input(modality, batch_size)
        return [clip["array"] for clip in inputs] if modality == "audio" else inputs

    def test_subprocessor_defaults_3_audio(self):
        """As in the mixin, but the mask is int64 by MoT's contract where the extractor gives bool."""
        processor = self.get_processor()
        clips = self._prepare_modality_input("audio")
        kwargs = processor._merge_kwargs(sampling_rate=16000, return_tensors="pt")["audio_kwargs"]
        expected, got = processor.feature_extractor(clips, **kwargs), processor(audio=clips, **kwargs)
        torch.testing.assert_close(got["input_features"], expected["input_features"])
        torch.testing.assert_close(got["input_features_mask"], expected["input_features_mask"].long())
