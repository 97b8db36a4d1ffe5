# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests of processors, held against `MoTCausalProcessor`, whose media go through towers here.

What cannot apply is listed with its reason. The mixin's files are on the Hub: small ones of the same kind stand in.
"""

import unittest
from unittest.mock import patch

import numpy as np
import pytest
from common_setup import ListedSkips, common_tests
from small_media import png_bytes, sound_bytes
from test_causal_processing import TOWERS, words

from mixture_of_transformers import MoTCausalProcessor

COMMON = common_tests("test_processing_common")
pytestmark = pytest.mark.common


class TestCausalProcessor(ListedSkips, COMMON.ProcessorTesterMixin, unittest.TestCase):
    """The mixin's audio has no sampling rate, which MoT demands: it gets one."""

    processor_class = MoTCausalProcessor
    cannot_apply = {
        "test_apply_chat_template_assistant_mask": "ids of documents have no offsets in a text",
        "test_subprocessor_defaults_preserved_by_kwargs_0_images": (
            "lengths that a tokenizer was made for are of texts, and would cut documents; it gives none to a call"
        ),
        "test_subprocessor_defaults_preserved_by_kwargs_2_audio": "the same",
    }

    @classmethod
    def setUpClass(cls):
        # The tests save processors without their code.
        patcher = patch.object(MoTCausalProcessor, "_auto_class", None)
        patcher.start()
        cls.addClassCleanup(patcher.stop)
        super().setUpClass()

    @pytest.fixture(autouse=True)
    def local_files(self, tmp_path, monkeypatch):
        (tmp_path / "picture.png").write_bytes(png_bytes(np.zeros((9, 9, 3), np.uint8)))
        (tmp_path / "sound.wav").write_bytes(sound_bytes(np.zeros(4000), 8000))
        self.picture, self.sound = str(tmp_path / "picture.png"), str(tmp_path / "sound.wav")
        monkeypatch.setitem(COMMON.MODALITY_INPUT_DATA, "images", [self.picture] * 2)
        monkeypatch.setitem(COMMON.MODALITY_INPUT_DATA, "audio", [self.sound] * 2)
        monkeypatch.setattr(COMMON, "url_to_local_path", lambda *args, **kwargs: self.picture)
        monkeypatch.setitem(COMMON.MODALITY_TEST_SPECS["audio"]["call_time_kwargs"], "sampling_rate", 16000)

    @classmethod
    def _setup_tokenizer(cls):
        return MoTCausalProcessor(words(), encoders=TOWERS).tokenizer

    @classmethod
    def _setup_image_processor(cls):
        return MoTCausalProcessor(words(), encoders=TOWERS).image_processor

    @classmethod
    def _setup_feature_extractor(cls):
        return MoTCausalProcessor(words(), encoders=TOWERS).feature_extractor

    @staticmethod
    def prepare_processor_dict():
        return {"encoders": TOWERS}

    def prepare_videos_inputs(self, batch_size=None):
        return None

    def prepare_audio_inputs(self, batch_size=None):
        return [{"array": np.random.randn(1000), "sampling_rate": 16000}] * (batch_size or 1)

    def _prepare_modality_input(self, modality, batch_size=None):
        inputs = super()._prepare_modality_input(modality, batch_size)
        return [clip["array"] for clip in inputs] if modality == "audio" else inputs
