# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""transformers' own common tests of models and of `generate`, held against the causal model in several settings.

The mixins bring the tests, a class here brings a tiny model and a batch of interleaved ids. What cannot apply is
listed with its reason in the class' `cannot_apply`; the mixins themselves skip what needs hardware or packages that
are not there.
"""

import inspect
import unittest
from unittest.mock import patch

import pytest
import torch
from common_setup import ListedSkips, common_tests, generation_tests
from transformers.models.auto import modeling_auto

from mixture_of_transformers import MoTCausalConfig, MoTCausalModel, MoTForCausalLM

common = common_tests("test_modeling_common")
ConfigTester = common_tests("test_configuration_common").ConfigTester
TrainingTesterMixin = common_tests("test_training_mixin").TrainingTesterMixin
generation = generation_tests()

pytestmark = pytest.mark.common

AUTO_CLASS_TABLES = {
    "MODEL_MAPPING_NAMES": "MoTCausalModel",
    "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES": "MoTForCausalLM",
}
VOCAB_SIZE, BATCH_SIZE, LENGTH = 99, 4, 9


if isinstance(generation, str):  # why they cannot be had

    class GenerationTesterMixin:
        pass

    not_of_this_version = {"test_generation_tester_mixin_inheritance": generation}
else:
    GenerationTesterMixin = generation.GenerationTesterMixin
    # A copy of another version may ask for what the library has by another name now.
    renamed = {
        "test_assisted_decoding_matches_greedy_search_0_random": '"dynamic_full"',
        "test_assisted_decoding_matches_greedy_search_1_same": '"dynamic_full"',
        "test_assisted_decoding_sample": '"dynamic_full"',
        "test_generate_compilation_all_outputs": "get_max_cache_shape",
    }
    source = inspect.getsource(generation)
    not_of_this_version = {
        test: f"of another version: the library has no {name} any more"
        for test, name in renamed.items()
        if name in source
    }


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Tiny models: on a busy machine, several threads would spend most of their time waiting for each other."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(num_threads)


class ModelTester:
    """What the mixins want to know about a setting; it makes a new config and new inputs whenever it is asked."""

    batch_size = BATCH_SIZE
    seq_length = LENGTH
    hidden_size = 32
    num_hidden_layers = 2
    num_attention_heads = 4
    is_training = True
    causal_lm_class = MoTForCausalLM

    def __init__(self, config_fields):
        self.config_fields = config_fields

    def get_config(self):
        fields = {
            "vocab_size": VOCAB_SIZE,
            "hidden_size": self.hidden_size,
            "intermediate_size": 37,
            "num_hidden_layers": self.num_hidden_layers,
            "num_attention_heads": self.num_attention_heads,
            "num_key_value_heads": 2,
            "max_position_embeddings": 64,
            # Some tests take the last 15 ids away.
            "token_ranges": [["image", 45, 60], ["audio", 60, 75]],
            "bos_token_id": 1,
            "eos_token_id": 2,
            "pad_token_id": 0,
        }
        return MoTCausalConfig(**fields | self.config_fields)

    def prepare_config_and_inputs_for_common(self):
        """Ids of all modalities; row 0 is padded on the right and row 1 on the left."""
        ids = torch.randint(3, VOCAB_SIZE, (self.batch_size, self.seq_length))
        mask = torch.ones_like(ids)
        mask[0, 7:], mask[1, :2] = 0, 0
        return self.get_config(), {"input_ids": ids, "attention_mask": mask}


class CausalTests(ListedSkips, GenerationTesterMixin, common.ModelTesterMixin):
    """The library's tests; each subclass is a setting."""

    all_model_classes = (MoTCausalModel, MoTForCausalLM)
    config_fields = {}
    model_tester_class = ModelTester
    # Or the test is skipped wherever the copyright line of the configuration does not say 2023 or later.
    test_can_init_all_missing_weights_before_2023 = True
    additional_model_inputs = ["attention_mask"]
    cannot_apply = not_of_this_version

    @pytest.mark.slow  # as long as all tests of saving together
    def test_bc_torch_dtype(self):
        super().test_bc_torch_dtype()

    def setUp(self):
        super().setUp()
        self.model_tester = self.model_tester_class(self.config_fields)
        patches = [
            patch.dict(getattr(modeling_auto, table), mot_causal=name) for table, name in AUTO_CLASS_TABLES.items()
        ]
        # One of the tests asks whether this mixin is among the bases, for which the distribution has a stand-in.
        patches.append(patch.object(common, "GenerationTesterMixin", GenerationTesterMixin))
        for patcher in patches:
            patcher.start()
            self.addCleanup(patcher.stop)


class RawModelTester(ModelTester):
    """Each row has the placeholders of a picture of 4 tokens and of a sound of 3, and two ids of text."""

    batch_size = 7  # the tests add rows to fewer, whose placeholders would not be as many as the towers' tokens

    def prepare_config_and_inputs_for_common(self):
        config = self.get_config()
        image, audio = config.placeholder_ids["image"], config.placeholder_ids["audio"]
        row = torch.tensor([image] * 4 + [audio] * 3 + [5, 6])
        inputs = {"input_ids": row.repeat(self.batch_size, 1)}
        inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
        inputs["pixel_values"] = torch.randn(self.batch_size, 3, 8, 8)
        inputs["input_features"] = torch.randn(self.batch_size, 6, 6)
        return config, inputs


def every_test(beginning, reason):
    """That reason for all of the library's tests whose name begins so."""
    return {name: reason for name in dir(CausalTests) if name.startswith(beginning)}


NO_PLACES = "the tokens of a tower go to the places that ids name, and the test gives embeddings in their place"
NO_TOWERS = {
    **every_test("test_get_image_features", "the setting has no tower for pictures"),
    **every_test("test_get_audio_features", "the setting has no tower for sounds"),
}


class TestUntied(CausalTests, unittest.TestCase):
    """Every part of a layer is each expert's own."""

    cannot_apply = {
        **NO_TOWERS,
        "test_inputs_embeds_matches_input_ids": (
            "embeddings are text unless `modality_ids` come with them, and the test has none: "
            "test_causal_model.py compares them"
        ),
    }


class TestPartlyUntied(CausalTests, unittest.TestCase):
    """Feed-forward layers are untied, the rest is shared; sounds use the expert of text, and the head is tied."""

    config_fields = {
        "untied": ["mlp"],
        "experts": {"audio": "text"},
        "tie_word_embeddings": True,
        "qk_norm": False,
        "attention_bias": True,
        "loss_weights": {"image": 0.5},
    }
    cannot_apply = TestUntied.cannot_apply


class TestOnOneExpert(CausalTests, unittest.TestCase):
    """The dense twin, where embeddings need no modality."""

    config_fields = {"experts": {"image": "text", "audio": "text"}}
    cannot_apply = NO_TOWERS


class TestRaw(CausalTests, unittest.TestCase):
    """Pictures and sounds that arrive raw: in each row a tower's tokens stand for one of each."""

    config_fields = {
        "encoders": {
            "image": {"model_type": "mot_image", "image_size": 8, "patch_size": 4, "num_hidden_layers": 2},
            "audio": {"model_type": "mot_audio", "num_mel_bins": 6, "max_frames": 40, "num_hidden_layers": 2},
        }
    }
    additional_model_inputs = ["attention_mask", "pixel_values", "input_features"]
    model_tester_class = RawModelTester
    _is_composite = True  # attention chosen for each sub-config
    cannot_apply = {
        **every_test("test_inputs_embeds", NO_PLACES),
        **every_test("test_generate_from_inputs_embeds", NO_PLACES),
        **every_test("test_model_rope_scaling_from_config", "its random ids may be placeholders, without raw input"),
    }


class TestTraining(TrainingTesterMixin, unittest.TestCase):
    """A fixed batch of interleaved ids is learned by heart."""

    model_tester = ModelTester({})


class TestConfig(unittest.TestCase):
    model_tester = ModelTester({})

    def test_config(self):
        fields = {"hidden_size": 32, "token_ranges": [["image", 60, 75]], "untied": ["mlp"]}
        ConfigTester(self, MoTCausalConfig, **fields).run_common_tests()
