# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train a Mixture-of-Transformers on any dataset with text, image, audio and label columns: to classify, to regress, to
retrieve or, without labels, to pretrain. Without arguments it learns to classify the embedded digits.

    python run_finetune.py
    python run_finetune.py --dataset_name user/clips --text_column transcript --audio_column speech --label_column mood
    python run_finetune.py --task retrieval --dataset_name user/captions

It evaluates every subset of the modalities (retrieval: every pair), and leaves a checkpoint with its card. Every option
of transformers' `TrainingArguments` works too; `--help` lists all. `accelerate launch` and `torchrun` start it on several
devices.
"""

import json
import shlex
import sys
import time
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Literal

import datasets
import numpy as np
from transformers import (
    AutoTokenizer,
    DataCollatorForLanguageModeling,
    HfArgumentParser,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForPreTraining,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
)
from mixture_of_transformers.configuration_mot import MODALITIES, SIZES
from mixture_of_transformers.data.bounds import BOUNDS, Bounds
from mixture_of_transformers.data.checks import Reading
from mixture_of_transformers.data.column_types import is_ready_features
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.labels import LabelSpec
from mixture_of_transformers.data.places import Places
from mixture_of_transformers.data.preparation import (
    check_classes_left,
    check_labels_left,
    drop_bad_examples,
    find_columns,
    prepare_splits,
)
from mixture_of_transformers.data.secrets import place_name, without_secrets
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.data.splits import draw_rows
from mixture_of_transformers.data.streams import RowStream
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.decoding_mot import load_image
from mixture_of_transformers.finetune.card import Run
from mixture_of_transformers.finetune.limits import (
    MAX_AUDIO_SECONDS,
    MAX_TEXT_TOKENS,
    check_splits,
    encoding_limits,
    fit_processor,
    set_limits,
)
from mixture_of_transformers.finetune.results import (
    RECORD,
    Record,
    build_metrics,
    check_same_run,
    finish,
    keep_record,
    merge_adapter,
    mot_command,
    print_usage,
    python_command,
    record_checkpoints,
    rest_of_the_run,
    save_checkpoint,
    weights_kept,
)
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.augmentation import AudioAugmentation, ImageAugmentation
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.command import peek, run
from mixture_of_transformers.training.continuation import fit_classifier, is_adapter, load_model, read_config
from mixture_of_transformers.training.encoded import EncodedDataset, StreamedDataset
from mixture_of_transformers.training.feature_cache import (
    CANNOT_BE_WRITTEN,
    CachedDataset,
    cache_features,
    encoded_bytes,
)
from mixture_of_transformers.training.interruption import check_folder, run_to_go_on
from mixture_of_transformers.training.launch import check_one_device
from mixture_of_transformers.training.optimization import add_lora
from mixture_of_transformers.training.pushing import check_push, push
from mixture_of_transformers.training.run_folder import begin_run, owned
from mixture_of_transformers.training.trainer import MoTTrainer

logger = logging.get_logger(__name__)

BOUNDS_OPTIONS = tuple(option.name for option in fields(Bounds))
MEL_BINS, LORA_RANK = 80, 8
MODEL_CLASSES = {
    "classification": MoTForSequenceClassification,
    "regression": MoTForSequenceClassification,
    "retrieval": MoTForRetrieval,
    "pretraining": MoTForPreTraining,
}
AUDIO_AUGMENTATIONS = {"speech": AudioAugmentation(), "sound": AudioAugmentation(tract=0.0)}
SMALL_IMAGE = 64  # pictures up to this side keep their size and get small patches


@dataclass
class DataArguments:
    """What to learn, from which data, and which of its columns."""

    task: Literal["classification", "regression", "retrieval", "pretraining"] | None = field(
        default=None,
        metadata={"help": "`regression` where the labels are floats, else `classification`, if not given."},
    )
    dataset_name: str | None = field(
        default=None, metadata={"help": "Hub id or local path; the embedded digits if not given."}
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "The dataset's configuration, if it has several."}
    )
    dataset_revision: str | None = field(
        default=None, metadata={"help": "A branch, tag or commit of a dataset on the Hub."}
    )
    train_split: str | None = field(default=None, metadata={"help": "The split to train on; 'train' if not given."})
    validation_split: str | None = field(
        default=None,
        metadata={
            "help": "'validation', 'valid', 'val', 'dev' or 'eval' if not given, or a tenth of the training rows; 'none' "
            "takes these though there is one."
        },
    )
    test_split: str | None = field(
        default=None,
        metadata={"help": "'test' if not given, or the validation split; 'none' leaves the test split out."},
    )
    split_column: str | None = field(
        default=None,
        metadata={
            "help": "The column of a single table that says the split of each row; one called 'split', 'mode' or the like if "
            "not given; 'none' keeps the rows together."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the training rows as they come and keep none; needs --max_steps and a validation split."
        },
    )
    shuffle_buffer: int = field(
        default=1000, metadata={"help": "Rows that a stream's next row is drawn from; 0 leaves them in their order."}
    )
    max_eval_samples: int = field(
        default=2000, metadata={"help": "Of a stream, validate and test on at most so many rows, the first ones."}
    )
    text_column: str | None = field(
        default=None, metadata={"help": "Found by name and type if not given; 'none' leaves it out."}
    )
    image_column: str | None = field(default=None, metadata={"help": "Likewise."})
    audio_column: str | None = field(
        default=None,
        metadata={"help": "Likewise; the sound of the videos if no column holds sound and it is not 'none'."},
    )
    video_column: str | None = field(default=None, metadata={"help": "Likewise."})
    label_column: str | None = field(
        default=None,
        metadata={"help": "Likewise. In retrieval, rows with the same label match; pretraining reads none."},
    )
    sentiment_metrics: bool = field(
        default=False,
        metadata={"help": "For regression to scores from -3 to 3: the numbers that MOSI and MOSEI are reported in."},
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={"help": "Train on so many rows, drawn by the seed, of each class its share; of a stream the first."},
    )
    on_bad_example: Literal["skip", "raise"] = field(
        default="skip",
        metadata={"help": "Leave out rows that cannot be decoded and name them in bad_rows.jsonl, or stop."},
    )
    evaluate_on: Literal["test", "validation"] = field(
        default="test", metadata={"help": "The split of the final table; `validation` while you choose settings."}
    )
    max_audio_seconds: float | None = field(
        default=None,
        metadata={"help": "Longer audio is cut; 30 if not given, or what the checkpoint to continue from takes."},
    )
    max_text_tokens: int | None = field(default=None, metadata={"help": "Likewise text; 128."})
    allow_outside_paths: bool = field(
        default=False, metadata={"help": "Read files that do not lie in the folder of the tables that name them."}
    )
    allow_urls: bool = field(
        default=False, metadata={"help": "Follow the URLs in a dataset of the Hub; those of tables here are followed."}
    )
    max_member_megabytes: float = field(
        default=BOUNDS.max_member_megabytes, metadata={"help": "Of one file in an archive; a larger one is a bad row."}
    )
    max_members: int = field(default=BOUNDS.max_members, metadata={"help": "Files of one archive."})
    max_unpacked_ratio: float = field(
        default=BOUNDS.max_unpacked_ratio,
        metadata={"help": "How many times its own size a compressed file may unpack to; 256 MiB are always allowed."},
    )
    cache_gigabytes: float = field(
        default=4.0,
        metadata={
            "help": "A split that takes up to so many GB when decoded and encoded is kept in the datasets cache, where "
            "later epochs and runs find it; a larger one is encoded in every epoch. 0: none is kept."
        },
    )


@dataclass
class ModelArguments:
    """Which model."""

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A MoT checkpoint to continue from; a new model if not given."}
    )
    text_model: str | None = field(
        default=None,
        metadata={
            "help": "A model of the Hub (`user/model` or `user/model@revision`) or a folder that the text tower begins as: "
            "SigLIP, RoBERTa-PreLayerNorm (docs/warm_starts.md). Its tokenizer is used, too."
        },
    )
    image_model: str | None = field(
        default=None,
        metadata={"help": "Likewise of images: ViT, DeiT, DINOv2, CLIP, SigLIP; with its image processor."},
    )
    audio_model: str | None = field(
        default=None, metadata={"help": "Likewise of audio: Whisper; with its feature extractor."}
    )
    size: str | None = field(
        default=None,
        metadata={"help": "Of a new model: tiny, small or base (docs/architecture.md); tiny if not given."},
    )
    config_overrides: str | None = field(
        default=None,
        metadata={
            "help": "JSON of `MoTConfig` fields, such as '{\"num_joint_layers\": 2}', also of a checkpoint to continue from."
        },
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
    audio_kind: Literal["speech", "sound"] | None = field(
        default=None,
        metadata={
            "help": "`speech` is mean-normalised and may change its pitch; `sound` keeps what is constant in a clip and "
            "its pitch, which tell sounds apart. `speech` if not given, or that of the checkpoint to continue from."
        },
    )
    audio_augmentation: bool = field(default=True, metadata={"help": "Random tempo, noise and, in speech, pitch."})
    lora: bool = field(
        default=False,
        metadata={
            "help": "Train low-rank adapters on the layers of --model_name_or_path, and the head, in place of all "
            "parameters; they are saved as an adapter."
        },
    )
    lora_rank: int | None = field(default=None, metadata={"help": "Of the adapters; 8 if not given."})
    merge_lora: bool = field(
        default=False, metadata={"help": "Save the model with its adapters merged, like any other checkpoint."}
    )
    modality_dropout: float = field(
        default=0.0, metadata={"help": "Hide each modality of a training row with this probability, never its last."}
    )
    modality_dropout_warmup: int = field(
        default=0, metadata={"help": "Let that probability rise from 0 over so many epochs."}
    )

    @property
    def towers(self) -> dict[str, str]:
        """modality -> the checkpoint that its tower begins as."""
        names = {m: getattr(self, f"{m}_model") for m in MODALITIES}
        return {m: name for m, name in names.items() if name is not None}


@dataclass
class RunArguments(MoTTrainingArguments):
    """Training arguments with defaults for a small model from scratch."""

    output_dir: str | None = field(
        default=None, metadata={"help": "outputs/digits, outputs/<dataset> or outputs/<dataset>-<task> if not given."}
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
    """The arguments with what depends on the data and the task: where the output goes, and settings for the digits."""
    known = peek(parser, arguments)
    folder = "digits" if known.dataset_name is None else place_name(known.dataset_name)
    suffix = "" if known.task in (None, "classification") else f"-{known.task}"
    defaults = {"--output_dir": f"outputs/{folder}{suffix}"}
    if known.dataset_name is None:
        defaults["--num_train_epochs"] = "25"
        if known.model_name_or_path is None:  # the keys of a telephone are told apart by their pitch
            defaults["--audio_kind"] = "sound"
    given = {argument.split("=")[0] for argument in arguments}
    return arguments + [part for name, value in defaults.items() if name not in given for part in (name, value)]


def load_data(
    data: DataArguments, seed: int, report: Path | None = None
) -> tuple[dict[str, datasets.Dataset | RowStream], LabelSpec | None]:
    """
    The splits (no `test` under --test_split none) with columns `text`, `image`, `audio`, `video`, `label`, without rows
    that cannot be read, which `report` names; and what the labels mean. A test split without labels has no `label`. Sets
    `data.task` where it was not given, and says of every column what becomes of it.
    """
    splits = read_splits(data, seed)
    names = {role: getattr(data, f"{role}_column") for role in (*MODALITIES, "video", "label")}
    if data.task == "pretraining":
        names["label"] = "none"
    places = places_of(data)
    columns = find_columns(splits["train"], places, **names)
    lines = columns.lines(splits["train"].features)
    if report is not None:  # on one process of several
        report.unlink(missing_ok=True)
        print("\n".join(lines))
        print("Name another with --text_column, --image_column, ...; 'none' leaves one out.")
    if columns.label is None and data.task not in ("retrieval", "pretraining"):
        raise ValueError("\n".join(["No label column was found: name it with --label_column.", *lines]))
    kind = data.task if data.task in ("classification", "regression") else None
    splits, labels = prepare_splits(splits, columns, kind, places)
    check_task(data, columns, labels)
    if data.max_train_samples is not None:
        splits["train"] = draw_rows(splits["train"], data.max_train_samples, seed)
    splits = {
        name: drop_bad_examples(split, data.on_bad_example, name, report, reading_of(data))
        for name, split in splits.items()
    }
    if labels is not None and data.task != "retrieval":
        check_labels_left(splits)
        check_classes_left(splits["train"], labels)
    if data.streaming:
        splits["train"] = splits["train"].shuffle(seed, data.shuffle_buffer)
    return splits, labels


def places_of(data: DataArguments) -> Places | None:
    """Where the files of the rows may lie; None of the embedded digits, which have none."""
    return None if data.dataset_name is None else Places.of(data.dataset_name, bounds_of(data))


def reading_of(data: DataArguments) -> Reading:
    """How the rows are decoded, alike before the training and in it."""
    places = places_of(data)
    return Reading(allow_urls=places is None or places.follow_urls, max_audio_seconds=data.max_audio_seconds)


def read_splits(data: DataArguments, seed: int) -> dict[str, datasets.Dataset | datasets.IterableDataset]:
    """The splits with the columns of the dataset."""
    if data.dataset_name is None:
        splits = load_digits_dataset(seed)
        if data.task == "regression":  # the digit is the number
            splits = splits.cast_column("label", datasets.Value("int64"))
        return splits
    return load_splits(
        data.dataset_name,
        data.dataset_config,
        seed,
        data.label_column,
        revision=data.dataset_revision,
        split_names={name: getattr(data, f"{name}_split") for name in ("train", "validation", "test")},
        streaming=data.streaming,
        max_eval_rows=data.max_eval_samples,
        split_column=data.split_column,
        bounds=bounds_of(data),
    )


def bounds_of(data: DataArguments) -> Bounds:
    return Bounds(**{name: getattr(data, name) for name in BOUNDS_OPTIONS})


def prepare_to_stream(data: DataArguments, training: RunArguments) -> None:
    """Refuses what a stream cannot do, and has each process take its part of the rows."""
    if data.dataset_name is None:
        raise ValueError("--streaming is for a dataset that is named with --dataset_name; the digits fit into memory.")
    if training.max_steps <= 0:
        raise ValueError(
            "--streaming needs --max_steps, since the length of a stream is not known: rows x epochs / "
            "(--per_device_train_batch_size x --gradient_accumulation_steps x number of processes), rounded up."
        )
    # Batches made by one process for all would have to hold the same modalities.
    training.accelerator_config.dispatch_batches = False


def check_task(data: DataArguments, columns: ModalityColumns, labels: LabelSpec | None) -> None:
    """Whether the labels are what the task needs; where it was not given, they decide."""
    kind = None if labels is None else labels.problem_type
    if data.task is None:
        data.task = "regression" if kind == "regression" else "classification"
    if data.sentiment_metrics and data.task != "regression":
        raise ValueError(f"--sentiment_metrics are for --task regression, not {data.task}.")
    if data.task == "retrieval" and kind not in (None, "single_label_classification"):
        raise ValueError(
            f"Retrieval matches rows with the same label, but column '{columns.label}' is for {kind}: name one with a "
            "class or an id for each row, or train on the rows alone with --label_column none."
        )
    if data.task == "retrieval" and len(columns.modalities) < 2:
        raise ValueError(f"Retrieval needs two modalities or more; found {', '.join(columns.modalities)}.")


def image_geometry(train: datasets.Dataset, model: ModelArguments, data: DataArguments) -> tuple[int, int]:
    """Image and patch size: small pictures keep their size, rounded up to whole patches, others become 224."""
    size, patch = model.image_size, model.patch_size
    if size is None:
        has_pictures = "image" in train.column_names and not is_ready_features(train.features["image"])
        column = train.select(range(min(len(train), 200)))["image"] if has_pictures else []
        access = reading_of(data).access
        pictures = (load_image(image, "image", convert_rgb=True, **access) for image in column if image is not None)
        sides = [max(picture.size) for picture in pictures]
        side = int(np.median(sides)) if sides else 224
        size = side if side <= SMALL_IMAGE else 224
    patch = patch or (4 if size <= SMALL_IMAGE else 16)
    return -(-size // patch) * patch, patch


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    try:
        return AutoTokenizer.from_pretrained(name, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise OSError(f"--tokenizer_name {name!r}: there is no tokenizer that could be loaded ({error})") from error


def build_processor(train: datasets.Dataset, model: ModelArguments, data: DataArguments) -> MoTProcessor:
    if model.tokenizer_name:
        tokenizer = load_tokenizer(model.tokenizer_name)
    elif "text" in train.column_names and not is_ready_features(train.features["text"]) and not model.text_model:
        tokenizer = train_tokenizer(train["text"], model_max_length=data.max_text_tokens)
    else:
        tokenizer = None
    parts = {"tokenizer": tokenizer, "feature_extractor": MoTFeatureExtractor(feature_size=MEL_BINS)}
    size, _ = image_geometry(train, model, data)
    half = [0.5, 0.5, 0.5]
    parts["image_processor"] = MoTImageProcessor(
        size={"height": size, "width": size}, image_mean=half, image_std=half, do_convert_rgb=True
    )
    parts["return_times"] = json.loads(model.config_overrides or "{}").get("time_positions", False)
    processor = MoTProcessor.from_unimodal_pretrained(**model.towers, **parts)
    if model.image_model and model.image_size:
        processor.image_processor.size = type(processor.image_processor.size)(
            height=model.image_size, width=model.image_size
        )
    return processor


def task_fields(task: str, labels: LabelSpec | None) -> dict:
    """The fields of a config that the task decides."""
    if task == "retrieval":
        return {"contrastive_positives": "row" if labels is None else "label"}
    if labels is None:
        return {}
    fields = {"problem_type": labels.problem_type, "num_labels": labels.num_labels}
    if task == "regression":
        fields |= {"regression_mean": labels.mean, "regression_std": labels.std}
    return fields | ({"id2label": labels.id2label, "label2id": labels.label2id} if labels.names else {})


def config_fields(
    train: datasets.Dataset,
    labels: LabelSpec | None,
    processor: MoTProcessor,
    data: DataArguments,
    model: ModelArguments,
) -> dict:
    """The fields of a new model's config, beyond its size, for the modalities that the training split has."""
    size, patch_size = image_geometry(train, model, data)
    raw = {
        "text": {
            "vocab_size": len(processor.tokenizer),
            "pad_token_id": processor.tokenizer.pad_token_id,
            "max_position_embeddings": data.max_text_tokens or MAX_TEXT_TOKENS,
        },
        "image": {"image_size": size, "patch_size": patch_size},
        "audio": {
            "num_mel_bins": MEL_BINS,
            "max_frames": round((data.max_audio_seconds or MAX_AUDIO_SECONDS) * 100),
            "stem_stride": 4,
            "mean_normalization": model.audio_kind != "sound",
            "silence_value": getattr(processor.feature_extractor, "silence_value", None),
        },
    }
    for modality in model.towers:  # their sources say what they are
        raw[modality] = {"image_size": size} if modality == "image" and model.image_size else {}
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
    return {"drop_path_rate": 0.1} | task_fields(data.task, labels) | overrides | configs


def feature_size(column) -> int:
    """The width of ready features."""
    return len(next(cell for cell in column if cell is not None)[0])


def checkpoint_config(model: ModelArguments, data: DataArguments) -> MoTConfig:
    """
    The config of the checkpoint to go on from, changed as --config_overrides asks. What it fixes is taken from it: the
    modalities, of which the data's others are left out, and the kind of audio.

    Raises:
        ValueError: an option asks for something else.
    """
    name = model.model_name_or_path
    if given := [o for o in ("size", "tokenizer_name", "image_size", "patch_size") if getattr(model, o) is not None]:
        raise ValueError(f"--{given[0]} is for a new model; --model_name_or_path goes on with what {name} has.")
    config = read_config(name, json.loads(model.config_overrides or "{}"))
    leave_out_columns(data, config, name)
    if config.audio_config:
        kind = "speech" if config.audio_config.mean_normalization else "sound"
        if model.audio_kind not in (None, kind):
            raise ValueError(
                f"--audio_kind is {model.audio_kind}, but {name} is one for {kind} (its `audio_config.mean_normalization` "
                f"is {config.audio_config.mean_normalization}): leave it out."
            )
        model.audio_kind = kind
    return config


def leave_out_columns(data: DataArguments, config: MoTConfig, name: str) -> None:
    """Take no columns of modalities that the checkpoint `name` lacks; a ValueError where one was given."""
    for column in (*MODALITIES, "video"):
        if ("image" if column == "video" else column) in config.modalities:
            continue
        if getattr(data, f"{column}_column") not in (None, "none"):
            raise ValueError(f"--{column}_column is given, but {name} takes {', '.join(config.modalities)} alone.")
        setattr(data, f"{column}_column", "none")
    if len(config.modalities) < len(MODALITIES):
        logger.warning(f"{name} takes {', '.join(config.modalities)}: columns of other kinds are left out.")


def go_on(data: DataArguments, labels: LabelSpec | None, model: ModelArguments, config: MoTConfig | None = None):
    """The model of a checkpoint of any task, with a head for this task: its own, as far as it has one."""
    name, model_class = model.model_name_or_path, MODEL_CLASSES[data.task]
    config = config or read_config(name, json.loads(model.config_overrides or "{}"))
    if data.task == "retrieval":
        config.contrastive_positives = "row" if labels is None else "label"
    found, fresh = load_model(model_class, name, config)
    if is_adapter(name):
        found = found.merge_and_unload()
    if labels is not None and model_class is MoTForSequenceClassification:
        fit_classifier(found, labels, is_new=bool(fresh))
    elif fresh:
        parts = sorted({weight.partition(".")[0] for weight in fresh})
        logger.warning(f"What {name} lacks for this task begins anew: {', '.join(parts)}.")
    return found


def build_model(
    fields: dict | None,
    data: DataArguments,
    labels: LabelSpec | None,
    model: ModelArguments,
    number_of_words: int = 0,
    config: MoTConfig | None = None,
):
    """A new model, one whose towers begin as others, or one that goes on from a checkpoint (of `config`) of any task."""
    model_class, size = MODEL_CLASSES[data.task], model.size or "tiny"
    if model.model_name_or_path:
        return go_on(data, labels, model, config)
    if not model.towers:
        return model_class(MoTConfig.of_size(size, **fields))
    fresh = {f"{m}_config": {"num_hidden_layers": SIZES[size]["num_encoder_layers"]} for m in MODALITIES}
    for name in fresh.keys() - {f"{m}_config" for m in model.towers}:
        fields[name] = None if fields[name] is None else fresh[name] | fields[name]
    built = model_class.from_unimodal_pretrained(**model.towers, **fields)
    if model.text_model and number_of_words > built.config.text_config.vocab_size:
        raise ValueError(
            f"The tokenizer has {number_of_words} tokens, {model.text_model} knows {built.config.text_config.vocab_size}: leave "
            f'--tokenizer_name out, or add new words with --config_overrides \'{{"text_config": {{"vocab_size": '
            f"{number_of_words}}}}}'."
        )
    return built


def check_towers(model: ModelArguments, columns: list[str]) -> None:
    if model.towers and model.model_name_or_path:
        raise ValueError(
            "--model_name_or_path goes on from a whole model, --text_model and its like begin one: give either."
        )
    for m in model.towers:
        if m not in columns and not (m == "image" and "video" in columns):
            raise ValueError(
                f"--{m}_model names a {m} tower, but the dataset has no {m} column; it has {', '.join(columns)}."
            )


def check_lora(model: ModelArguments, task: str) -> None:
    if (model.lora or model.merge_lora) and (not model.model_name_or_path or task == "pretraining"):
        raise ValueError(
            "--lora adapts a trained model to a task: give --model_name_or_path, and a --task other than pretraining."
        )
    if model.merge_lora and not model.lora:
        raise ValueError("--merge_lora merges what --lora trains: give both.")
    if model.lora_rank is not None and not model.lora:
        raise ValueError(f"--lora_rank {model.lora_rank} is of the adapters that --lora trains: give both.")
    if model.lora and not model.merge_lora and is_adapter(model.model_name_or_path):
        raise ValueError(
            f"{model.model_name_or_path} is an adapter, on which another cannot stand: train all parameters, or save "
            "both merged with --merge_lora."
        )


def check_base(model: ModelArguments, output_dir: str) -> None:
    if model.model_name_or_path and Path(model.model_name_or_path).resolve() == Path(output_dir).resolve():
        raise ValueError(
            f"This run would overwrite {output_dir}, the checkpoint that it goes on from: name another --output_dir."
        )


def encode_split(
    name: str,
    split: datasets.Dataset | RowStream,
    processor: MoTProcessor,
    config: MoTConfig,
    data: DataArguments,
    num_proc: int,
) -> EncodedDataset | CachedDataset | StreamedDataset:
    """The rows of a split as tensors: from the disk if they fit there, else encoded whenever they are read."""
    limits = encoding_limits(config, data, processor.feature_extractor)
    limits["allow_urls"] = reading_of(data).allow_urls
    if isinstance(split, RowStream):
        return StreamedDataset(split, processor, **limits)
    encoded = EncodedDataset(split, processor, **limits)
    if data.cache_gigabytes == 0:
        return encoded
    gigabytes = encoded_bytes(encoded) / 1e9
    if gigabytes <= data.cache_gigabytes:
        try:
            return cache_features(encoded, num_proc=num_proc or None)
        except OSError as error:
            if error.errno not in CANNOT_BE_WRITTEN:
                raise
            logger.warning(
                f"The encoded rows of '{name}' cannot be kept ({error}; the cache is where HF_DATASETS_CACHE says): they are "
                "decoded and encoded in every epoch."
            )
            return encoded
    logger.warning(
        f"Encoded, '{name}' takes about {gigabytes:.1f} GB, more than --cache_gigabytes {data.cache_gigabytes:g}: its rows "
        "are decoded and encoded in every epoch, in parallel to training with --dataloader_num_workers."
    )
    return encoded


def build_collators(
    processor: MoTProcessor, config: MoTConfig, data: DataArguments, model: ModelArguments, seed: int
) -> dict:
    """What makes the batches of evaluation and, augmented, of training."""
    pad_token_id, word_masking = processor.tokenizer.pad_token_id, None
    if data.task == "pretraining" and config.text_config and config.text_config.feature_size is None:
        share = config.text_config.mask_ratio
        word_masking = DataCollatorForLanguageModeling(processor.tokenizer, mlm_probability=share)
    augmentation = None
    if model.audio_augmentation and config.audio_config and config.audio_config.feature_size is None:
        augmentation = replace(
            AUDIO_AUGMENTATIONS[model.audio_kind or "speech"],
            silence_value=getattr(processor.feature_extractor, "silence_value", None),
            max_frames=config.audio_config.max_frames,
        )
    return {
        "data_collator": MoTCollator(pad_token_id, word_masking=word_masking, seed=seed),
        "train_collator": MoTCollator(
            pad_token_id,
            ImageAugmentation() if model.image_augmentation else None,
            augmentation,
            model.modality_dropout,
            model.modality_dropout_warmup,
            word_masking,
            seed=seed,
        ),
    }


def main(arguments: list[str] | None = None) -> dict:
    """Train, evaluate, save; returns what `results.json` holds."""
    parser = HfArgumentParser(
        (DataArguments, ModelArguments, RunArguments), usage="%(prog)s [OPTIONS]", description=__doc__
    )
    arguments = sys.argv[1:] if arguments is None else arguments
    data, model_arguments, training = parser.parse_args_into_dataclasses(with_defaults(arguments, parser))
    check_one_device(training.n_gpu)
    check_base(model_arguments, training.output_dir)
    if training.process_index != 0:
        return finetune(data, model_arguments, training, arguments)
    check_folder(Path(training.output_dir))  # before the data are read, which may take long
    with owned(Path(training.output_dir)):
        return finetune(data, model_arguments, training, arguments)


def finetune(
    data: DataArguments, model_arguments: ModelArguments, training: RunArguments, arguments: list[str]
) -> dict:
    """The run of one process, in a folder that belongs to it."""
    set_seed(training.seed)
    if training.push_to_hub and training.process_index == 0:
        check_pushed_base(model_arguments)
        check_push(training.hub_model_id or Path(training.output_dir).name, training)
    if data.streaming:
        prepare_to_stream(data, training)
    before = run_to_go_on(training.resume_from_checkpoint, Path(training.output_dir))  # an error if it is not there
    if before:
        check_same_run(before, data, training.seed)
    elif training.process_index == 0:
        begin_run(Path(training.output_dir))  # what lies there is of earlier runs from now on
    is_new = not model_arguments.model_name_or_path
    config = None if is_new else checkpoint_config(model_arguments, data)

    processor = None if is_new else load_processor(model_arguments.model_name_or_path)
    set_limits(data, config, processor and processor.feature_extractor)
    bad = Path(training.output_dir) / "bad_rows.jsonl"
    with training.main_process_first():
        splits, labels = load_data(data, training.seed, bad if training.process_index == 0 else None)
    train_sample = splits["train"].sample() if data.streaming else splits["train"]
    check_lora(model_arguments, data.task)
    check_towers(model_arguments, train_sample.column_names)
    processor = processor or build_processor(train_sample, model_arguments, data)
    fields = config_fields(train_sample, labels, processor, data, model_arguments) if is_new else None
    model = build_model(fields, data, labels, model_arguments, len(processor.tokenizer), config)
    fit_processor(processor, model.config)
    if before:
        check_same_run(before, data, training.seed, model)
    splits = check_splits(splits, model.config, bad)
    if model_arguments.lora:
        model = add_lora(model, LORA_RANK if model_arguments.lora_rank is None else model_arguments.lora_rank)
    learning = sum(p.numel() for p in model.parameters() if p.requires_grad)
    total = sum(p.numel() for p in model.parameters())
    print(
        f"{total:,} parameters for {', '.join(model.config.modalities)}"
        + (f", {learning:,} learn" * (learning < total))
    )

    with training.main_process_first():
        encoded = {
            name: encode_split(name, split, processor, model.config, data, training.dataloader_num_workers)
            for name, split in splits.items()
        }
    trainer = MoTTrainer(
        model=model,
        args=training,
        train_dataset=encoded["train"],
        eval_dataset=encoded["validation"],
        processing_class=processor,
        **build_collators(processor, model.config, data, model_arguments, training.seed),
        compute_metrics=build_metrics(data, labels and labels.problem_type),
    )
    earlier = Record.read(before).run.seconds if before and (before / RECORD).exists() else 0.0
    start = time.time() - earlier

    def record_after(seconds: float) -> Record:
        return Record.of(data, training, describe_run(trainer, data, splits, arguments, seconds))

    record_checkpoints(trainer, lambda: record_after(time.time() - start))
    trainer.train(resume_from_checkpoint=training.resume_from_checkpoint)
    if trainer.is_finished and (results := Path(training.output_dir) / "results.json").exists():
        return json.loads(results.read_text(encoding="utf-8"))
    seconds = time.time() - start
    if trainer.stop.received:
        stop_well(trainer, arguments)

    save_checkpoint(trainer)
    with rest_of_the_run(trainer, model_arguments.merge_lora):
        record = record_after(seconds)
        keep_record(trainer, record)
        if model_arguments.merge_lora:
            merge_adapter(trainer, record)
        results = finish(trainer, splits, encoded.__getitem__, record, example_row(data, splits), bad)
    if trainer.is_world_process_zero():
        folder = Path(training.output_dir).resolve()
        if training.push_to_hub:
            push(folder, trainer)
        print_usage(trainer, folder, record, example_row(data, splits))
    return results


def example_row(data: DataArguments, splits: dict) -> dict | None:
    """A row of the embedded data."""
    held_out = [splits[name] for name in ("test", "validation", "train") if name in splits]
    return held_out[0][0] if data.dataset_name is None else None


def command_line(start: list[str], arguments: list[str]) -> str:
    """A run as a line for the shell, without the secrets that it was given."""
    is_token = [argument.replace("-", "_").startswith("__hub_t") for argument in arguments]
    follows = [i > 0 and is_token[i - 1] and "=" not in arguments[i - 1] for i in range(len(arguments))]
    kept = (a for a, *secret in zip(arguments, is_token, follows) if not any(secret))
    return without_secrets(shlex.join([*start, *kept]))


def check_pushed_base(model: ModelArguments) -> None:
    if model.lora and not model.merge_lora and Path(model.model_name_or_path or "").is_dir():
        raise ValueError(
            f"An adapter names its model, and {model.model_name_or_path} is a folder of this machine, which nobody else "
            "could load: push that first and give its id as --model_name_or_path, or push both in one with --merge_lora."
        )


def stop_well(trainer: MoTTrainer, arguments: list[str]) -> None:
    """Say how to go on after a signal, and end as it asked."""
    is_script = Path(sys.argv[0]).name == Path(__file__).name
    start = [*python_command(), sys.argv[0]] if is_script else [*mot_command(), "finetune"]
    command = command_line(start, [*arguments, "--resume_from_checkpoint", "auto"])
    if trainer.is_world_process_zero():
        step, folder, processes = trainer.state.global_step, trainer.args.output_dir, trainer.args.world_size
        how = f", by what started these {processes} processes" if processes > 1 else ""
        print(
            f"\nStopped after step {step}, which is saved in {folder}/checkpoint-{step}. To go on{how}:\n\n{command}"
        )
    sys.exit(128 + trainer.stop.received)


def arguments_that_held(arguments: list[str], args: RunArguments) -> list[str]:
    """The arguments, with what a checkpoint's optimizer has kept in place of what was asked for."""
    held = list(arguments)
    for i, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        field_name = name.removeprefix("--").replace("-", "_")
        if field_name not in ("learning_rate", "weight_decay", "adam_beta1", "adam_beta2"):
            continue
        kept = getattr(args, field_name)
        if float(value if equals else arguments[i + 1]) != kept:
            held[i if equals else i + 1] = f"{name}={kept:g}" if equals else f"{kept:g}"
    return held


def describe_run(trainer: MoTTrainer, data: DataArguments, splits: dict, arguments: list[str], seconds: float) -> Run:
    """What the card says of the data and of how the model came to be."""
    name = data.dataset_name or "embedded digits"
    is_path = data.dataset_name is None or "://" in name or Path(data.dataset_name).expanduser().exists()
    return Run(
        name=trainer.args.hub_model_id or Path(trainer.args.output_dir).resolve().name,
        dataset=place_name(name) if is_path else name,
        hub_dataset=None if is_path else name,
        rows={split: len(part) for split, part in splits.items() if isinstance(part, datasets.Dataset)},
        columns=splits["train"].column_names,
        seed=trainer.args.seed,
        command=command_line(["python", "run_finetune.py"], arguments_that_held(arguments, trainer.args)),
        seconds=round(seconds, 1),
        weights=weights_kept(trainer),
    )


if __name__ == "__main__":
    run(main, sys.argv[1:])
