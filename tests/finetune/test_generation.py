# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`run_finetune.py --task generation` as a user runs it: what it leaves, how it goes on, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from datasets import ClassLabel, Dataset
from forked import run_mot
from safetensors.torch import load_file
from small_datasets import tri_modal_dataset, write_parquet_folder
from small_media import png_bytes, sound_bytes
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import find_labels

from mixture_of_transformers import MoTForCausalLM
from mixture_of_transformers.data.documents import read_templates
from mixture_of_transformers.data.tokenizers import train_writing_tokenizer
from mixture_of_transformers.finetune.documents import Documents
from mixture_of_transformers.finetune.generation import check_texts
from mixture_of_transformers.processing_causal_mot import MoTCausalProcessor
from mixture_of_transformers.run_finetune import main
from mixture_of_transformers.tokens_mot import MoTImageTokenizer, MoTImageTokenizerConfig

REPOSITORY = Path(__file__).resolve().parents[2]
SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
TOWERS = {
    "encoders": {m: {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1} for m in ("image", "audio")}
}
TINY = ["--per_device_train_batch_size", "4", "--pack_length", "64"]
FIT = ["--tokenizer_steps", "2"]
FIT += ["--image_tokenizer_config", '{"hidden_size": 8}', "--audio_tokenizer_config", '{"hidden_size": 8}']
NEW = [*FIT, "--config_overrides", json.dumps(SMALL | TOWERS)]
TEMPLATES = ["--document", "{label} {image}", "{image} {label}", "--document", "{audio} {caption}"]


def rows(number, seed):
    rng = np.random.default_rng(seed)
    for i in range(number):
        picture = rng.integers(0, 256, (8, 8), dtype=np.uint8)
        sound = 0.3 * np.sin(np.arange(1600) * (0.1 + 0.1 * (i % 2))) + 0.01 * rng.standard_normal(1600)
        media = (png_bytes(picture), sound_bytes(sound, 8000))
        yield (f"number {i % 2}", *media) if i % 5 else (f"number {i % 2}", None, media[1])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    splits = {
        name: tri_modal_dataset(rows(size, seed))
        for seed, (name, size) in enumerate((("train", 12), ("validation", 4), ("test", 4)))
    }
    for name, split in splits.items():
        labels = [i % 2 for i in range(len(split))]
        split = split.rename_column("text", "caption")
        splits[name] = split.add_column("label", labels, feature=ClassLabel(names=["zero", "one"]))
    return write_parquet_folder(splits, tmp_path_factory.mktemp("numbers"))


def run(tmp_path, folder, *options, check=True):
    line = ["finetune", "--task", "generation", "--dataset_name", folder, "--output_dir", str(tmp_path / "out"), *TINY]
    done = run_mot(tmp_path, *line, *options)
    assert not check or done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def base(tmp_path_factory, folder):
    """The folder of a run of two steps, and what it printed."""
    place = tmp_path_factory.mktemp("base")
    done = run(place, folder, *NEW, *TEMPLATES, "--max_steps", "2")
    return place / "out", done.stdout


@pytest.mark.training
def test_a_run_leaves_a_checkpoint_that_generates_results_and_a_card(base):
    out, printed = base
    results = json.loads((out / "results.json").read_text())
    assert results["task"] == "generation" and set(results["targets"]) == {"text", "image", "audio"}
    for modality, numbers in results["targets"].items():
        assert numbers["perplexity"] == pytest.approx(np.exp(numbers["loss"])) and numbers["tokens"] > 0
        assert modality in printed and f"{numbers['loss']:.4f}" in (out / "README.md").read_text()
    samples = [json.loads(line) for line in (out / "samples" / "samples.jsonl").read_text().splitlines()]
    assert {sample["template"] for sample in samples} == set(TEMPLATES) - {"--document"}
    assert all((out / sample["made"]).exists() for sample in samples if sample["template"] == "{label} {image}")
    assert "samples/0.png" in (out / "README.md").read_text()
    processor, model = MoTCausalProcessor.from_pretrained(out), MoTForCausalLM.from_pretrained(out)
    made = model.generate(**processor(["one"], return_tensors="pt"), generation_mode="image", do_sample=True)
    picture = processor.post_process_multimodal_output(made, generation_mode="image")[0]
    assert picture.size == (8, 8)


@pytest.mark.training
def test_the_printed_lines_run_without_the_package(base, tmp_path):
    lines = base[1].split("without this package:")[1]
    blocker = "import sys\nsys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
    environment = os.environ | {"HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", blocker + lines], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "made.png").exists() and (tmp_path / "made.wav").exists()


@pytest.mark.training
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(tmp_path, folder):
    options = [*NEW, *TEMPLATES, "--save_strategy", "steps", "--save_steps", "2", "--max_steps", "4"]
    options += ["--media_versions", "2"]
    run(tmp_path, folder, *options)
    whole = load_file(tmp_path / "out" / "model.safetensors")
    (tmp_path / "whole").mkdir()
    (tmp_path / "out").rename(tmp_path / "whole" / "out")
    (tmp_path / "out").mkdir()
    (tmp_path / "whole" / "out" / "checkpoint-2").rename(tmp_path / "out" / "checkpoint-2")
    run(tmp_path, folder, *options, "--resume_from_checkpoint", "auto")
    resumed = load_file(tmp_path / "out" / "model.safetensors")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.slow
def test_two_processes_with_other_modalities_learn_as_one(tmp_path, folder):
    line = [str(REPOSITORY / "run_finetune.py"), "--task", "generation", "--dataset_name", folder, *NEW]
    line += ["--document", "{image:raw} {label}", "{label} {image}", "{audio:raw} {caption}", "--pack_length", "64"]
    # Adam would make steps as large of the rounding of gradients near zero.
    line += ["--max_steps", "3", "--use_cpu", "--samples", "0", "--optim", "sgd", "--learning_rate", "0.5"]
    line += ["--lr_scheduler_type", "constant", "--warmup_steps", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node=2", "--standalone"]
    for name, start, rows in (("two", launcher, "1"), ("one", [], "2")):
        options = ["--output_dir", str(tmp_path / name), "--per_device_train_batch_size", rows]
        done = subprocess.run(
            [sys.executable, *start, *line, *options], capture_output=True, text=True, env=environment
        )
        assert done.returncode == 0, done.stderr[-3000:]
    two, one = (load_file(tmp_path / name / "model.safetensors") for name in ("two", "one"))
    assert max((two[name] - one[name]).abs().max().item() for name in one) < 1e-5


@pytest.mark.training
def test_the_adapters_of_one_expert_change_what_it_makes_alone(tmp_path, folder, base):
    out, _ = base
    options = ["--model_name_or_path", str(out), *TEMPLATES, "--max_steps", "2", "--lora", "--lora_experts", "image"]
    run(tmp_path, folder, *options)
    names = load_file(tmp_path / "out" / "adapter_model.safetensors").keys()
    assert names and all(".experts.image." in name for name in names)
    (tmp_path / "out").rename(tmp_path / "adapter")
    run(tmp_path, folder, *options, "--merge_lora")
    before, after = load_file(out / "model.safetensors"), load_file(tmp_path / "out" / "model.safetensors")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(".experts.image." in name for name in changed)


@pytest.mark.training
def test_frozen_text_stays_as_it_is_with_its_words(tmp_path, folder, base):
    out, _ = base
    run(tmp_path, folder, "--model_name_or_path", str(out), *TEMPLATES, "--max_steps", "2", "--freeze", "text")
    before, after = MoTForCausalLM.from_pretrained(out), MoTForCausalLM.from_pretrained(tmp_path / "out")
    processor = MoTCausalProcessor.from_pretrained(out)
    inputs = processor(["number one"], return_tensors="pt")
    words = len(processor.tokenizer) - 4  # without those that begin and end media, which learn
    logits = [model.eval()(**inputs).logits[..., :words] for model in (before, after)]
    assert torch.equal(*logits)
    weights = [model.state_dict()["model.layers.0.experts.image.mlp.up_proj.weight"] for model in (before, after)]
    assert not torch.equal(*weights)


@pytest.mark.training
def test_a_stream_trains_with_raw_media(tmp_path, folder):
    options = [*NEW, "--document", "{image:raw} {label}", "{label} {image}", "{audio:raw} {caption}"]
    options += ["--streaming", "--max_steps", "2"]
    run(tmp_path, folder, *options)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(results["targets"]) == {"text", "image"}


@pytest.mark.training
def test_a_run_begins_as_a_language_model(tmp_path, folder):
    tokenizer = train_writing_tokenizer(["number one", "number zero"] * 3)
    config = LlamaConfig(vocab_size=len(tokenizer) + 9, num_attention_heads=4, max_position_embeddings=64, **SMALL)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    tokenizer.save_pretrained(tmp_path / "llama")
    options = ["--from_causal_lm", str(tmp_path / "llama"), *FIT, *TEMPLATES, "--max_steps", "2", "--freeze", "text"]
    run(tmp_path, folder, *options)
    before = load_file(tmp_path / "llama" / "model.safetensors")
    after = load_file(tmp_path / "out" / "model.safetensors")
    for part in ("mlp.up_proj.weight", "self_attn.q_proj.weight"):
        source = before[f"model.layers.1.{part}"]
        assert torch.equal(source, after[f"model.layers.1.experts.text.{part}"])
        assert not torch.equal(source, after[f"model.layers.1.experts.image.{part}"])


@pytest.mark.training
def test_a_run_is_evaluated_again_with_the_same_numbers(base, tmp_path):
    out, _ = base
    results = json.loads((out / "results.json").read_text())
    done = run_mot(tmp_path, "evaluate", str(out))
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((out / "results.json").read_text())["targets"] == results["targets"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--document", "a seven"], "names no column.*caption, image, audio, label"),
        (["--document", "{picture} {label}"], "no column 'picture'.*caption, image, audio, label"),
        (["--document", "{caption}", "--extra_columns", "x=label"], "--extra_columns"),
        (["--text_model", "x"], "--text_model is for models that answer"),
        (["--label_smoothing_factor", "0.1"], "--label_smoothing_factor is for classes"),
        (["--prompt_dropout", "1"], "--prompt_dropout is 1.0, expected a share from 0 to below 1"),
        (["--lora_experts", "image"], "--lora_experts says what --lora adapts"),
        (["--lora"], "--lora adapts a trained model"),
        (["--model_name_or_path", "x", "--size", "tiny"], "--size is for a new model"),
        (["--document", "{caption}", "--size", "huge"], "--size is 'huge', expected one of tiny, small, base"),
    ],
)
def test_what_cannot_be_is_an_error_before_anything_is_learnt(tmp_path, folder, options, message):
    with pytest.raises(ValueError, match=message):
        main(
            [
                "--task",
                "generation",
                "--dataset_name",
                folder,
                "--output_dir",
                str(tmp_path / "out"),
                "--max_steps",
                "1",
                *TINY,
                *options,
            ]
        )


def test_a_text_that_holds_what_begins_a_picture_is_an_error():
    processor = MoTCausalProcessor(
        tokenizer=train_writing_tokenizer(["a"]), image_tokenizer=MoTImageTokenizer(MoTImageTokenizerConfig())
    )
    kinds = {"caption": "text"}
    documents = Documents(read_templates(["{caption}"], kinds, kinds), kinds, {"caption": "caption"})
    split = Dataset.from_dict({"caption": ["fine", None, "a <|begin_image|> b"]})
    with pytest.raises(ValueError, match=r"Row 2, column 'caption' holds <\|begin_image\|>"):
        check_texts(split, documents, processor)


def test_a_plain_trainer_knows_the_labels_of_a_generator():
    assert find_labels(MoTForCausalLM) == ["labels"]


def test_options_of_generators_are_not_ignored_elsewhere(tmp_path, folder):
    for option in (["--document", "{label}"], ["--media_versions", "2"], ["--init", "text_only"]):
        with pytest.raises(ValueError, match=f"{option[0]} is for --task generation"):
            main(["--dataset_name", folder, "--output_dir", str(tmp_path / "out"), *option])


@pytest.mark.training
def test_rows_without_a_document_are_left_out_and_named(tmp_path, folder):
    done = run(tmp_path, folder, *NEW, "--document", "{image} {label}", "--max_steps", "1")
    lines = [json.loads(line) for line in (tmp_path / "out" / "bad_rows.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines if line["split"] == "train"] == [0, 5, 10]
    assert all("lacks image" in line["reason"] for line in lines)
    assert "3 incomplete rows" in done.stderr and "{image} {label}" in done.stderr
