# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The Hub's protocol, spoken with a server on localhost: private repositories, revisions, expired tokens, what belongs
to others, and uploads that break off. (Loading without the package is in test_save_load.py, datasets are in
test_formats.py.)
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import RepositoryNotFoundError
from safetensors.torch import load as load_bytes
from safetensors.torch import load_file

REPOSITORY = Path(__file__).resolve().parents[1]
OPTIONS = ["--max_steps", "1", "--per_device_train_batch_size", "8", "--push_to_hub"]
OPTIONS += ["--config_overrides", '{"hidden_size": 32, "intermediate_size": 32}']
PUSH = """
import sys
from mixture_of_transformers import MoTConfig, MoTForRetrieval, MoTForSequenceClassification, MoTProcessor
from mixture_of_transformers import MultimodalClassificationPipeline

config = MoTConfig.of_size("tiny", hidden_size=32, intermediate_size=32)
model = MoTForRetrieval(config)
model.save_pretrained(sys.argv[1] + "/search", push_to_hub=True, repo_id="user/search", private=True)
model.push_to_hub("user/search", revision="second", commit_message="Again")
model, processor = MoTForSequenceClassification(config), MoTProcessor()
model.save_pretrained(sys.argv[1] + "/classifier", push_to_hub=True, repo_id="user/classifier")
pipeline = MultimodalClassificationPipeline(model=model, processor=processor)
pipeline.push_to_hub("user/pipeline")
pipeline.save_pretrained(sys.argv[1] + "/saved", push_to_hub=True, repo_id="user/saved")
"""
pytestmark = pytest.mark.training


def run(folder: Path, hub: dict, *command: str) -> subprocess.CompletedProcess:
    (folder / "packages").mkdir(exist_ok=True)
    if not (folder / "packages" / "mixture_of_transformers").exists():  # also where the package is not installed
        (folder / "packages" / "mixture_of_transformers").symlink_to(REPOSITORY, target_is_directory=True)
    environment = {"PYTHONPATH": str(folder / "packages"), "HF_HOME": str(folder / "hf"), "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=folder, env=os.environ | hub | environment
    )


def finetune(folder: Path, hub: dict, *options: str) -> subprocess.CompletedProcess:
    return run(
        folder, hub, str(REPOSITORY / "run_finetune.py"), "--output_dir", str(folder / "out"), *OPTIONS, *options
    )


def api(hub: dict) -> HfApi:
    return HfApi(endpoint=hub["HF_ENDPOINT"], token=hub["HF_TOKEN"])


def content(server, name: str, revision: str = "main") -> dict[str, bytes]:
    """The files of a model's repository, as the server has them."""
    repository = server.repositories["model", name]
    return {path: file for path, (file, _) in repository.commits[repository.find(revision)].items()}


def test_a_repository_and_a_revision_of_it_hold_what_the_folder_holds(hub, hub_server, tmp_path):
    api(hub).create_repo("user/search", private=True)
    api(hub).create_branch("user/search", branch="second")
    done = run(tmp_path, hub, "-c", PUSH, str(tmp_path))
    assert done.returncode == 0, done.stderr[-3000:]
    local = {
        folder: {path.name: path.read_bytes() for path in (tmp_path / folder).iterdir()}
        for folder in ("search", "classifier", "saved")
    }
    assert {"model.safetensors", "modules.json", "modeling_mot.py"} <= set(local["search"])
    for revision in ("main", "second"):
        pushed = content(hub_server, "user/search", revision)
        assert {name: pushed[name] for name in local["search"]} == local["search"]
    for folder in ("classifier", "saved"):  # also the code of the pipeline, and with a pipeline its processor
        pushed = content(hub_server, f"user/{folder}")
        assert {"pipeline_mot.py", "attribution_mot.py", "processing_mot.py"} <= set(local[folder])
        assert {name: pushed[name] for name in local[folder]} == local[folder]
    assert "processor_config.json" in local["saved"]
    pushed = content(hub_server, "user/pipeline")
    assert {name: pushed[name] for name in local["saved"]} == local["saved"]
    with pytest.raises(RepositoryNotFoundError):
        HfApi(endpoint=hub["HF_ENDPOINT"], token=False).model_info("user/search")


@pytest.mark.parametrize(
    "change, name, message",
    [
        ({"HF_TOKEN": "hf_old"}, "user/late", "User Access Token has expired"),
        ({}, "somebody/else", "namespace somebody"),
    ],
)
def test_what_cannot_be_pushed_is_an_error_before_training(change, name, message, hub, tmp_path):
    done = finetune(tmp_path, hub | change, "--hub_model_id", name)
    assert done.returncode != 0
    assert f"could not be pushed to {name}" in done.stderr and message in done.stderr
    assert "hf auth login" in done.stderr and "train_loss" not in done.stdout


def kept_here(names: set[str]) -> set[str]:
    """The state of a training, which is pushed on request alone."""
    return {"trainer_state.json", "run.json"} | {name for name in names if name.startswith(".")}


@pytest.fixture(scope="module")
def finished(hub, hub_server, tmp_path_factory) -> Path:
    """The folder of a run that was pushed to user/digits, where the first upload broke off."""
    root = tmp_path_factory.mktemp("finished")
    hub_server.cut_uploads = 1
    options = ["--hub_model_id", "user/digits", "--hub_private_repo", "true", "--hub_token", "hf_test"]
    done = finetune(root, hub, *options, "--run_name", str(root))
    assert done.returncode == 0, done.stderr[-3000:]
    return root / "out"


def test_an_upload_that_breaks_off_once_is_repeated(hub_server, finished):
    assert hub_server.cut_uploads == 0 and hub_server.repositories["model", "user/digits"].private
    pushed = load_bytes(content(hub_server, "user/digits")["model.safetensors"])
    local = load_file(finished / "model.safetensors")
    assert all((pushed[name] == value).all() for name, value in local.items())


@pytest.mark.slow
def test_an_upload_that_fails_loses_nothing(hub, hub_server, tmp_path):
    hub_server.cut_uploads = 1000
    done = finetune(tmp_path, hub, "--hub_model_id", "user/cut", "--seed", "1")  # weights the server has not seen
    hub_server.cut_uploads = 0
    assert done.returncode != 0
    command = next(line.strip() for line in done.stderr.splitlines() if line.strip().startswith("hf upload"))
    local = {path.name for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert {"model.safetensors", "README.md", "results.json"} <= local
    again = run(
        tmp_path, hub, "-c", "from huggingface_hub.cli.hf import main; main()", *command.replace("'", "").split()[1:]
    )
    assert again.returncode == 0, again.stderr[-3000:]
    assert local - kept_here(local) <= set(content(hub_server, "user/cut"))


def test_a_finished_run_pushes_its_folder_but_for_the_state_of_the_training(hub_server, finished):
    local, pushed = {path.name for path in finished.iterdir() if path.is_file()}, content(hub_server, "user/digits")
    assert {"model.safetensors", "README.md", "results.json", "modeling_mot.py"} <= local
    assert local - kept_here(local) <= set(pushed) and "training_args.bin" not in pushed
    assert pushed["README.md"] == (finished / "README.md").read_bytes()


def test_the_card_says_what_a_reader_asks(hub_server, finished):
    text = content(hub_server, "user/digits")["README.md"].decode()
    for heading in ("Inputs", "Labels", "Results", "Use", "Training", "Limits", "Licence"):
        assert f"\n## {heading}\n" in text
    assert "zero, one, two" in text and "1,297 rows of train" in text and "--max_steps 1" in text
    assert text.count("text+image+audio |") == 1 and "Apache-2.0" in text
    card = ModelCard(text)
    assert ModelCard(str(card)).data.to_dict() == card.data.to_dict()
    assert card.data.license == "apache-2.0" and "datasets" not in card.data.to_dict()
    assert {"text", "image", "audio"} <= set(card.data.tags)


def test_no_file_that_a_finished_run_pushes_names_a_place_of_this_machine_or_holds_its_state(hub_server, finished):
    files = content(hub_server, "user/digits")
    place = str(finished.parent).encode()
    assert {"model.safetensors", "README.md", "results.json", "processor_config.json"} <= set(files)
    assert not [path for path, file in files.items() if place in file or b"hf_test" in file]
    assert not [p for p in files if p.endswith((".bin", ".pt", ".pth", "run.json", ".jsonl")) or p.startswith(".run")]
