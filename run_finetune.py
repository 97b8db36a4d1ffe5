# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Fine-tune a Mixture-of-Transformers on any dataset with text, image, audio and label columns, and evaluate it on
every subset of its modalities. Without arguments it trains on the embedded digits.

    python run_finetune.py
    python run_finetune.py --dataset_name user/clips --text_column transcript --audio_column speech --label_column mood

Every option of transformers' `TrainingArguments` works too; `--help` lists all. `accelerate launch` and `torchrun`
start it on several devices.
"""

import json
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
from huggingface_hub import EvalResult, ModelCard, ModelCardData, upload_folder
from transformers import (
    AutoProcessor,
    AutoTokenizer,
    HfArgumentParser,
    ViTImageProcessorPil,
    set_seed,
)

from mot import MoTConfig, MoTFeatureExtractor, MoTForSequenceClassification, MoTProcessor
from mot.configuration_mot import MODALITIES
from mot.data_mot import (
    LabelSpec,
    ModalityColumns,
    drop_bad_examples,
    is_ready_features,
    load_digits_dataset,
    load_splits,
    prepare_splits,
    train_tokenizer,
)
from mot.processing_mot import load_image
from mot.training_mot import (
    AudioAugmentation,
    EncodedDataset,
    ImageAugmentation,
    MoTCollator,
    MoTTrainer,
    MoTTrainingArguments,
    compute_metrics,
)

MEL_BINS = 80
AUDIO_AUGMENTATIONS = {"speech": AudioAugmentation(), "sound": AudioAugmentation(tract=0.0)}
SMALL_IMAGE = 64  # pictures up to this side keep their size and get small patches


@dataclass
class DataArguments:
    """Which data, and which of its columns."""

    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local path; the embedded digits if not given."}
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "The dataset's configuration, if it has several."}
    )
    text_column: str | None = field(
        default=None, metadata={"help": "Found by name and type if not given; 'none' leaves it out."}
    )
    image_column: str | None = field(default=None, metadata={"help": "Likewise."})
    audio_column: str | None = field(default=None, metadata={"help": "Likewise."})
    video_column: str | None = field(default=None, metadata={"help": "Likewise."})
    label_column: str | None = field(default=None, metadata={"help": "Likewise; 'none' is not allowed."})
    problem_type: Literal["regression"] | None = field(
        default=None, metadata={"help": "`regression` reads whole numbers as numbers rather than as classes."}
    )
    on_bad_example: Literal["skip", "raise"] = field(
        default="skip", metadata={"help": "Leave out rows that cannot be decoded, with a counted warning, or stop."}
    )
    evaluate_on: Literal["test", "validation"] = field(
        default="test", metadata={"help": "The split of the final table; `validation` while you choose settings."}
    )
    max_audio_seconds: float = field(default=30.0, metadata={"help": "Longer audio is cut."})
    max_text_tokens: int = field(default=128, metadata={"help": "Longer text is cut."})


@dataclass
class ModelArguments:
    """Which model."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A MoT checkpoint to continue from; a new model if not given."}
    )
    size: str = field(default="tiny", metadata={"help": "tiny, small or base (docs/architecture.md)."})
    config_overrides: str | None = field(
        default=None, metadata={"help": "JSON of `MoTConfig` fields, such as '{\"num_joint_layers\": 2}'."}
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata={"help": "A tokenizer of the Hub or a path; one is trained on the training text if not given."},
    )
    image_size: int | None = field(
        default=None, metadata={"help": "Side in pixels; found from the training images if not given."}
    )
    patch_size: int | None = field(default=None, metadata={"help": "4 for small images, else 16, if not given."})
    image_augmentation: bool = field(default=True, metadata={"help": "Small random rotations, scalings and shifts."})
    audio_kind: Literal["speech", "sound"] = field(
        default="speech",
        metadata={
            "help": "`speech` is mean-normalised and may change its pitch; `sound` keeps what is constant in a clip and "
            "its pitch, which tell sounds apart."
        },
    )
    audio_augmentation: bool = field(default=True, metadata={"help": "Random tempo, noise and, in speech, pitch."})
    modality_dropout: float = field(
        default=0.0, metadata={"help": "Hide each modality of a training row with this probability, never its last."}
    )


@dataclass
class RunArguments(MoTTrainingArguments):
    """Training arguments with defaults for a small model from scratch."""

    output_dir: str | None = field(
        default=None, metadata={"help": "outputs/digits or outputs/<dataset> if not given."}
    )
    num_train_epochs: float = 40.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    adam_beta2: float = 0.98
    lr_scheduler_type: str = "cosine"
    warmup_steps: float = 0.1
    per_device_train_batch_size: int = 64
    per_device_eval_batch_size: int = 64
    logging_steps: float = 50
    save_strategy: str = "no"
    report_to: str = "none"
    seed: int = 0


def with_defaults(arguments: list[str], parser: HfArgumentParser) -> list[str]:
    """The arguments with what depends on the data: where the output goes, and settings for the embedded digits."""
    dataset_name = parser.parse_known_args(arguments)[0].dataset_name
    if dataset_name is None:
        # The keys of a telephone are told apart by their pitch.
        defaults = {"--output_dir": "outputs/digits", "--num_train_epochs": "25", "--audio_kind": "sound"}
    else:
        defaults = {"--output_dir": f"outputs/{Path(dataset_name).name}"}
    given = {argument.split("=")[0] for argument in arguments}
    return arguments + [part for name, value in defaults.items() if name not in given for part in (name, value)]


def load_data(data: DataArguments, seed: int) -> tuple[datasets.DatasetDict, LabelSpec]:
    """The three splits with columns `text`, `image`, `audio`, `video`, `label`, without rows that cannot be read."""
    if data.dataset_name is None:
        splits = load_digits_dataset(seed)
    else:
        splits = load_splits(data.dataset_name, data.dataset_config, seed, data.label_column)
    names = {role: getattr(data, f"{role}_column") for role in (*MODALITIES, "video", "label")}
    columns = ModalityColumns.guess(splits["train"].features, **names)
    if columns.label is None:
        raise ValueError(
            f"No label column was found among {', '.join(splits['train'].column_names)}: name it with --label_column."
        )
    splits, labels = prepare_splits(splits, columns, data.problem_type)
    checked = {name: drop_bad_examples(split, data.on_bad_example, name) for name, split in splits.items()}
    return datasets.DatasetDict(checked), labels


def image_geometry(train: datasets.Dataset, model: ModelArguments) -> tuple[int, int]:
    """Image and patch size: small pictures keep their size, rounded up to whole patches, others become 224."""
    size, patch = model.image_size, model.patch_size
    if size is None:
        has_pictures = "image" in train.column_names and not is_ready_features(train.features["image"])
        column = train.select(range(min(len(train), 200)))["image"] if has_pictures else []
        sides = [max(load_image(image, "image", convert_rgb=True).size) for image in column if image is not None]
        side = int(np.median(sides)) if sides else 224
        size = side if side <= SMALL_IMAGE else 224
    patch = patch or (4 if size <= SMALL_IMAGE else 16)
    return -(-size // patch) * patch, patch


def build_processor(train: datasets.Dataset, model: ModelArguments, max_text_tokens: int) -> MoTProcessor:
    if model.model_name_or_path:
        return AutoProcessor.from_pretrained(model.model_name_or_path)
    if model.tokenizer_name:
        tokenizer = AutoTokenizer.from_pretrained(model.tokenizer_name)
    elif "text" in train.column_names and not is_ready_features(train.features["text"]):
        tokenizer = train_tokenizer(train["text"], model_max_length=max_text_tokens)
    else:
        tokenizer = None
    size, _ = image_geometry(train, model)
    half = [0.5, 0.5, 0.5]
    image_processor = ViTImageProcessorPil(
        size={"height": size, "width": size}, image_mean=half, image_std=half, do_convert_rgb=True
    )
    return MoTProcessor(image_processor, MoTFeatureExtractor(feature_size=MEL_BINS), tokenizer)


def build_config(
    train: datasets.Dataset, labels: LabelSpec, processor: MoTProcessor, data: DataArguments, model: ModelArguments
) -> MoTConfig:
    """A config of the named size for the modalities that the training split has."""
    size, patch_size = image_geometry(train, model)
    raw = {
        "text": {
            "vocab_size": len(processor.tokenizer),
            "pad_token_id": processor.tokenizer.pad_token_id,
            "max_position_embeddings": data.max_text_tokens,
        },
        "image": {"image_size": size, "patch_size": patch_size},
        "audio": {
            "num_mel_bins": MEL_BINS,
            "max_frames": int(data.max_audio_seconds * 100),
            "stem_stride": 4,
            "mean_normalization": model.audio_kind == "speech",
        },
    }
    configs = {f"{modality}_config": None for modality in MODALITIES}
    for modality in MODALITIES:
        column = "video" if modality == "image" and "video" in train.column_names else modality
        if column in train.column_names:
            features = train.features[column]
            configs[f"{modality}_config"] = (
                {"feature_size": feature_size(train[column])} if is_ready_features(features) else raw[modality]
            )
    overrides = json.loads(model.config_overrides or "{}")
    for name in configs:
        if configs[name] is not None:
            configs[name] |= overrides.pop(name, None) or {}
    fields = {"drop_path_rate": 0.1, "problem_type": labels.problem_type, "num_labels": labels.num_labels}
    if labels.names:
        fields |= {"id2label": labels.id2label, "label2id": labels.label2id}
    return MoTConfig.of_size(model.size, **fields | overrides, **configs)


def feature_size(column) -> int:
    """The width of ready features."""
    return len(next(cell for cell in column if cell is not None)[0])


def metric_names(results: dict) -> list[str]:
    names = dict.fromkeys(name for numbers in results["subsets"].values() for name in numbers)
    return [name for name in names if name != "rows"]


def print_table(results: dict) -> None:
    """The metrics of every subset, one line each."""
    names = metric_names(results)
    print(f"\n{results['split']} split, one checkpoint:")
    print(f"{'modalities':<20}" + "".join(f"{name:>12}" for name in names) + f"{'rows':>8}")
    for subset, numbers in results["subsets"].items():
        cells = "".join(f"{numbers.get(name, float('nan')):>12.4f}" for name in names)
        print(f"{subset:<20}{cells}{numbers['rows']:>8}")


def usage_lines(folder: str, modalities: tuple[str, ...], problem_type: str, example: dict[str, str]) -> str:
    """The lines of Python that load a checkpoint and use it."""
    arguments = {"text": "text", "image": "images", "audio": "audio"}
    given = ", ".join(f"{arguments[m]}={example[m]!r}" for m in modalities)
    answer = {
        "regression": "print(logits.tolist())",
        "multi_label_classification": "print([model.config.id2label[i] for i in (logits[0] > 0).nonzero().flatten().tolist()])",
    }.get(problem_type, "print(model.config.id2label[logits.argmax(-1).item()])")
    return f"""\
from transformers import AutoModelForSequenceClassification, AutoProcessor

processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
model = AutoModelForSequenceClassification.from_pretrained({folder!r}, trust_remote_code=True)
inputs = processor({given}, return_tensors="pt")  # or any subset of these
logits = model(**inputs).logits
{answer}
"""


def save_examples(folder: Path, row: dict) -> dict[str, str]:
    """The first test row of the embedded data as files, so that the printed lines run as they are."""
    example = {"text": row.get("text")}
    for modality, name in (("image", "example.png"), ("audio", "example.wav")):
        if modality in row:
            (folder / name).write_bytes(row[modality]["bytes"])
            example[modality] = str(folder / name)
    return example


def write_card(folder: Path, results: dict, usage: str, dataset: str, command: str) -> None:
    """The checkpoint's model card: tags, metrics, how to load, how it was trained."""
    metrics = metric_names(results)
    data = ModelCardData(
        model_name=folder.name,
        library_name="transformers",
        license="apache-2.0",
        tags=["mixture-of-transformers", "multimodal", "text", "image", "audio"],
        eval_results=[
            EvalResult(
                task_type=f"{results['task']}",
                dataset_type=dataset,
                dataset_name=dataset,
                dataset_split=results["split"],
                metric_type=name,
                metric_name=f"{name} ({subset})",
                metric_value=round(numbers[name], 4),
            )
            for subset, numbers in results["subsets"].items()
            for name in metrics
            if name in numbers
        ],
    )
    rows = "\n".join(
        f"| {subset} | "
        + " | ".join(f"{numbers.get(n, float('nan')):.4f}" for n in metrics)
        + f" | {numbers['rows']} |"
        for subset, numbers in results["subsets"].items()
    )
    text = f"""---
{data.to_yaml()}
---

# {folder.name}

A [Mixture-of-Transformers](https://arxiv.org/abs/2411.04996) that answers from any subset of its modalities.

## Results

On the {results["split"]} split of {dataset}, from this one checkpoint:

| modalities | {" | ".join(metrics)} | rows |
|---|{"---|" * (len(metrics) + 1)}
{rows}

## Use

```python
{usage}```

## Training

`{command}`, seed {results["seed"]}, {results["seconds"]:.0f} seconds of training.
"""
    ModelCard(text).save(folder / "README.md")


def main(arguments: list[str] | None = None) -> dict:
    """Train, evaluate, save; returns what `results.json` holds."""
    parser = HfArgumentParser((DataArguments, ModelArguments, RunArguments), description=__doc__)
    arguments = sys.argv[1:] if arguments is None else arguments
    data, model_arguments, training = parser.parse_args_into_dataclasses(with_defaults(arguments, parser))
    set_seed(training.seed)

    with training.main_process_first():
        splits, labels = load_data(data, training.seed)
    processor = build_processor(splits["train"], model_arguments, data.max_text_tokens)
    if model_arguments.model_name_or_path:
        model = MoTForSequenceClassification.from_pretrained(
            model_arguments.model_name_or_path,
            num_labels=labels.num_labels,
            problem_type=labels.problem_type,
            ignore_mismatched_sizes=True,
        )
    else:
        model = MoTForSequenceClassification(build_config(splits["train"], labels, processor, data, model_arguments))
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters for {', '.join(model.config.modalities)}")

    encoded = {
        name: EncodedDataset(
            split, processor, max_audio_seconds=data.max_audio_seconds, max_text_tokens=data.max_text_tokens
        )
        for name, split in splits.items()
    }
    pad_token_id = processor.tokenizer.pad_token_id
    trainer = MoTTrainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=processor,
        data_collator=MoTCollator(pad_token_id),
        train_collator=MoTCollator(
            pad_token_id,
            ImageAugmentation() if model_arguments.image_augmentation else None,
            AUDIO_AUGMENTATIONS[model_arguments.audio_kind] if model_arguments.audio_augmentation else None,
            model_arguments.modality_dropout,
        ),
        compute_metrics=lambda p: compute_metrics(p.predictions, p.label_ids, labels.problem_type),
    )
    start = time.time()
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    seconds = time.time() - start

    results = {
        "task": labels.problem_type,
        "split": data.evaluate_on,
        "seed": training.seed,
        "seconds": round(seconds, 1),
        "subsets": trainer.evaluate_subsets(encoded[data.evaluate_on]),
    }
    finish(trainer, results, splits["test"], data, arguments)
    return results


def finish(
    trainer: MoTTrainer, results: dict, test: datasets.Dataset, data: DataArguments, arguments: list[str]
) -> None:
    """Save the checkpoint with its card and results, push it if asked, and say where it is and how to use it."""
    folder = Path(trainer.args.output_dir).resolve()
    # Cutting the training texts has set the tokenizer to cut every text, which the processor leaves to its caller.
    if backend := getattr(trainer.processing_class.tokenizer, "backend_tokenizer", None):
        backend.no_truncation()
    trainer.save_model(_internal_call=True)  # the push comes below, when the folder is complete
    if not trainer.is_world_process_zero():
        return
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle, which a checkpoint must not need
    example = {"text": "a sentence", "image": "picture.png", "audio": "sound.wav"}
    if data.dataset_name is None:
        example = save_examples(folder, test[0])
    config, hub_name = trainer.model.config, trainer.args.hub_model_id or folder.name
    own_files = {m: Path(value).name if m != "text" else value for m, value in example.items()}
    write_card(
        folder,
        results,
        usage_lines(hub_name, config.modalities, config.problem_type, own_files),
        dataset=Path(data.dataset_name or "embedded digits").name,
        command=" ".join(["python run_finetune.py", *arguments]),
    )
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n")
    if trainer.args.push_to_hub:
        upload_folder(
            repo_id=trainer.hub_model_id,
            folder_path=folder,
            token=trainer.args.hub_token,
            ignore_patterns=["checkpoint-*"],
        )
    print_table(results)
    print(f"\nThe checkpoint is in {folder}. To use it, without this package:\n")
    print(usage_lines(str(folder), config.modalities, config.problem_type, example))


if __name__ == "__main__":
    main()
