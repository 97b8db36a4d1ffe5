# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The options of a run: what to learn from which data, which model, and how to train it."""

from argparse import ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter
from dataclasses import dataclass, field
from typing import Any, Literal

from transformers import HfArgumentParser

from mixture_of_transformers.data.dataset_limits import DatasetLimits
from mixture_of_transformers.data.secrets import place_name
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.command import peek

LABELLED_TASKS = ("classification", "regression")
# Settings of generation on the embedded digits, whose sentences do not always say which digit it is.
DIGITS_GENERATION = {
    "--document": ["{label} {image}", "{image:raw} {label}", "{label} {audio}", "{audio:raw} {label}"],
    "--media_versions": ["4"],
    "--tokenizer_steps": ["1000"],
    "--learning_rate": ["1e-3"],
    "--num_train_epochs": ["50"],
    "--config_overrides": ['{"loss_weights": {"text": 10}}'],  # a caption has two tokens, a picture a hundred
}


def option_of_limits(name: str) -> Any:
    """An option of `DatasetLimits`, with its help as a sentence."""
    limit = DatasetLimits.__dataclass_fields__[name]
    text = limit.metadata["help"]
    return field(default=limit.default, metadata={"help": f"{text[0].upper()}{text[1:]}."})


def option_of_trainer(name: str, default: Any) -> Any:
    """An option of `MoTTrainingArguments` with another default and the help that it has there."""
    return field(default=default, metadata=MoTTrainingArguments.__dataclass_fields__[name].metadata)


@dataclass
class DataArguments:
    """What to learn, from which data, and which of its columns."""

    _argument_group_name = "the task and its data"

    task: Literal["classification", "regression", "retrieval", "pretraining", "generation"] | None = field(
        default=None,
        metadata={
            "help": "What to learn. If not given, `regression` where the labels are floats, else `classification`."
        },
    )
    document: list[str] | None = field(
        default=None,
        metadata={
            "action": "extend",
            "help": "For generation: templates that make documents of the rows, of which each row has one in every "
            "epoch, at random: `--document '{image} {text}' '{text} {image}'`. A column in braces is the cell of the "
            "row, pictures and sound as tokens, or as the model's tower reads them with `{image:raw}`. If not given, "
            "each two of text, image and audio that the data have, in both orders.",
        },
    )
    pack_length: int = field(
        default=512,
        metadata={"help": "For generation: the tokens of a sequence, in which several documents are packed."},
    )
    media_versions: int = field(
        default=1,
        metadata={
            "help": "For generation: how many versions of each training picture and sound, which differ a little, are "
            "encoded as tokens; each time one is drawn."
        },
    )
    prompt_dropout: float = field(
        default=0.1,
        metadata={
            "help": "For generation: the share of training documents that lose what stands before their last picture "
            "or sound; `guidance_scale` needs some."
        },
    )
    dataset_name: str | None = field(
        default=None,
        metadata={
            "aliases": ["--dataset"],
            "help": "A dataset of the Hub, or a local folder or file; the embedded digits if not given.",
        },
    )
    dataset_config: str | None = field(
        default=None, metadata={"help": "The configuration of the dataset, if it has several."}
    )
    dataset_revision: str | None = field(
        default=None, metadata={"help": "A branch, tag or commit of a dataset on the Hub."}
    )
    train_split: str | None = field(default=None, metadata={"help": "The split to train on; 'train' if not given."})
    validation_split: str | None = field(
        default=None,
        metadata={
            "help": "The split to validate on; 'validation', 'valid', 'val', 'dev' or 'eval' if not given, or a tenth "
            "of the training rows where there is none; 'none' takes a tenth of the training rows in any case."
        },
    )
    test_split: str | None = field(
        default=None,
        metadata={
            "help": "The split of the final table; 'test' if not given, or the validation split where there is none; "
            "'none' leaves the test split out."
        },
    )
    split_column: str | None = field(
        default=None,
        metadata={
            "help": "The column of a single table that says the split of each row; one called 'split', 'mode' or the "
            "like if not given; 'none' keeps the rows together."
        },
    )
    streaming: bool = field(
        default=False,
        metadata={
            "help": "Read the training rows as they come and keep none; needs --max_steps and a validation split."
        },
    )
    shuffle_buffer: int = field(
        default=1000,
        metadata={"help": "The number of rows that a stream's next row is drawn from; 0 leaves them in their order."},
    )
    max_eval_samples: int = field(
        default=2000,
        metadata={"help": "Validate and test a streamed dataset on at most so many rows of a split, the first ones."},
    )
    text_column: str | None = field(
        default=None,
        metadata={"help": "The column of texts; found by its name and type if not given; 'none' leaves text out."},
    )
    image_column: str | None = field(
        default=None,
        metadata={
            "help": "The column of pictures; found by its name and type if not given; 'none' leaves pictures out."
        },
    )
    audio_column: str | None = field(
        default=None,
        metadata={
            "help": "The column of sound; found by its name and type if not given, and where no column holds sound, "
            "that of the videos is taken; 'none' leaves sound out."
        },
    )
    video_column: str | None = field(
        default=None,
        metadata={"help": "The column of videos; found by its name and type if not given; 'none' leaves videos out."},
    )
    label_column: str | None = field(
        default=None,
        metadata={
            "help": "The column of labels; found by its name and type if not given; 'none' leaves labels out. In "
            "retrieval, rows with the same label match; pretraining reads no labels."
        },
    )
    extra_columns: list[str] | None = field(
        default=None,
        metadata={
            "help": "Further modalities, each a name of yours and its columns: `imu=accelerometer "
            "vitals=age,sex,bmi`, or `imu:series=accelerometer` where its kind (text, image, audio, video, series, "
            "table) is not that of its type. The other columns are found by their types and cells; 'none' takes none "
            "but those named here. Beside a checkpoint, which gets what is named as modalities more, only its own "
            "columns are taken, and 'auto' has others found, too."
        },
    )
    exclude_columns: list[str] = field(
        default_factory=list, metadata={"help": "Columns that are neither an input nor the label."}
    )
    group_column: str | None = field(
        default=None,
        metadata={
            "help": "The column that says which rows belong together, such as those of one patient: no group is in "
            "two splits."
        },
    )
    time_column: str | None = field(
        default=None,
        metadata={
            "help": "The column that says when a row was: every row to validate or test on is later than the training."
        },
    )
    sentiment_metrics: bool = field(
        default=False,
        metadata={"help": "Report the numbers of MOSI and MOSEI, for regression to scores from -3 to 3."},
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={
            "help": "Train on so many rows: drawn by the seed, of each class its share; the first ones of a stream."
        },
    )
    on_bad_example: Literal["skip", "raise"] = field(
        default="skip",
        metadata={
            "help": "What to do about rows that cannot be decoded: leave them out and name them in bad_rows.jsonl "
            "(`skip`), or stop (`raise`)."
        },
    )
    evaluate_on: Literal["test", "validation"] = field(
        default="test", metadata={"help": "The split of the final table; `validation` while you choose settings."}
    )
    max_audio_seconds: float | None = field(
        default=None,
        metadata={
            "help": "Cut audio after so many seconds; if not given, after 30, or after what the checkpoint to "
            "continue from takes."
        },
    )
    max_text_tokens: int | None = field(
        default=None,
        metadata={
            "help": "Cut text after so many tokens; if not given, after 128, or after what the checkpoint to continue "
            "from takes."
        },
    )
    allow_outside_paths: bool = option_of_limits("allow_outside_paths")
    allow_urls: bool = option_of_limits("allow_urls")
    max_member_megabytes: float = option_of_limits("max_member_megabytes")
    max_members: int = option_of_limits("max_members")
    max_unpacked_ratio: float = option_of_limits("max_unpacked_ratio")
    cache_gigabytes: float = field(
        default=4.0,
        metadata={
            "help": "A split that takes up to so many GB when decoded and encoded is kept in the datasets cache, "
            "where later epochs and runs find it; a larger one is encoded in every epoch. 0: none is kept."
        },
    )
    samples: int = field(
        default=3,
        metadata={
            "help": "For generation: of how many held-out documents of each template the last part is generated at "
            "the end, into the folder `samples` of the run; 0 for none."
        },
    )
    # No option, but what a run finds out: role ("label" or the name of a cell) -> the column that it was taken from.
    columns_found: dict[str, str] = field(default_factory=dict, init=False)
    # What became of each column, as the run has said it.
    column_lines: list[str] = field(default_factory=list, init=False)
    # Those of `extra_columns` that no person named: the checkpoint's run had these columns, which data may lack.
    extras_remembered: list[str] = field(default_factory=list, init=False)
    # Form of text, pictures or sound -> the column that the checkpoint's run took it from.
    cells_remembered: dict[str, str] = field(default_factory=dict, init=False)


@dataclass
class ModelArguments:
    """Which model."""

    _argument_group_name = "the model"

    model_name_or_path: str | None = field(
        default=None, metadata={"help": "A MoT checkpoint to continue from; a new model is built if not given."}
    )
    text_model: str | None = field(
        default=None,
        metadata={
            "help": "A model of the Hub (`user/model` or `user/model@revision`) or a folder that the text tower "
            "begins as, such as a SigLIP; what cannot be a tower, such as a BERT, stands in front of one "
            "(docs/warm_starts.md). Its tokenizer is used, too."
        },
    )
    image_model: str | None = field(
        default=None,
        metadata={
            "help": "A model of the Hub (`user/model` or `user/model@revision`) or a folder that the image tower "
            "begins as, such as a ViT, DINOv2, CLIP or SigLIP; what cannot be a tower, such as a ResNet, stands in "
            "front of one (docs/warm_starts.md). Its image processor is used, too."
        },
    )
    audio_model: str | None = field(
        default=None,
        metadata={
            "help": "A model of the Hub (`user/model` or `user/model@revision`) or a folder that the audio tower "
            "begins as, such as a Whisper; what cannot be a tower, such as a wav2vec2, stands in front of one "
            "(docs/warm_starts.md). Its feature extractor is used, too."
        },
    )
    tower: list[str] | None = field(
        default=None,
        metadata={
            "help": "Models that the towers of any modalities begin as, or that stand in front of them: "
            "`--tower imu=user/model depth=folder`."
        },
    )
    train_backbones: list[str] | None = field(
        default=None,
        metadata={
            "help": "The modalities whose models in front of the tower learn, too: `--train_backbones text imu`; they "
            "stay as they are if not given."
        },
    )
    size: str | None = field(
        default=None,
        metadata={"help": "The size of a new model: tiny, small or base (docs/architecture.md); tiny if not given."},
    )
    config_overrides: str | None = field(
        default=None,
        metadata={
            "help": "JSON of `MoTConfig` fields, such as '{\"num_joint_layers\": 2}', for a new model and for a "
            "checkpoint to continue from."
        },
    )
    tokenizer_name: str | None = field(
        default=None,
        metadata={
            "help": "A tokenizer of the Hub or a path to one; one is trained on the training texts if not given."
        },
    )
    from_causal_lm: str | None = field(
        default=None,
        metadata={
            "help": "For generation: a Llama, Qwen2 or Qwen3 of the Hub (`user/model`) or a folder that a new model "
            "begins as (docs/from_llama.md). Its tokenizer is used, too."
        },
    )
    init: Literal["copy", "text_only"] = field(
        default="copy",
        metadata={
            "help": "What --from_causal_lm gives: its weights to every expert (`copy`), or to that of text alone "
            "(`text_only`)."
        },
    )
    image_tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "For generation: a tokenizer of pictures, of the Hub or in a folder; one is trained on the "
            "training pictures if not given."
        },
    )
    audio_tokenizer: str | None = field(
        default=None,
        metadata={
            "help": "For generation: a tokenizer of sound, of the Hub or in a folder; one is trained on the training "
            "sounds if not given."
        },
    )
    image_tokenizer_config: str | None = field(
        default=None,
        metadata={
            "help": "JSON of `MoTImageTokenizerConfig` fields for the tokenizer that is trained, such as "
            "'{\"levels\": [8, 8, 8]}'."
        },
    )
    audio_tokenizer_config: str | None = field(
        default=None,
        metadata={
            "help": "JSON of `MoTAudioTokenizerConfig` fields for the tokenizer that is trained, such as "
            "'{\"frames_per_token\": 4}'."
        },
    )
    tokenizer_steps: int = field(
        default=2000, metadata={"help": "The steps for which tokenizers of pictures and sound are trained."}
    )
    image_size: int | None = field(
        default=None,
        metadata={"help": "The side of images in pixels; found from the training images if not given."},
    )
    patch_size: int | None = field(
        default=None,
        metadata={
            "help": "The side of an image's patches in pixels; if not given, 4 for images of at most 64 pixels, else "
            "16."
        },
    )
    image_augmentation: bool = field(
        default=True,
        metadata={
            "help": "Whether training images are rotated, scaled and shifted a little and lose light, at random."
        },
    )
    audio_kind: Literal["speech", "sound"] | None = field(
        default=None,
        metadata={
            "help": "What the audio is: `speech` is mean-normalised and may change its pitch; `sound` keeps what is "
            "constant in a clip and its pitch, which tell sounds apart. If not given, `speech`, or the kind of the "
            "checkpoint to continue from."
        },
    )
    audio_augmentation: bool = field(
        default=True,
        metadata={"help": "Whether training audio gets a random tempo, noise and, in speech, another pitch."},
    )
    lora: bool = field(
        default=False,
        metadata={
            "help": "Train low-rank adapters on the layers of --model_name_or_path, and the head, in place of all "
            "parameters; they are saved as an adapter."
        },
    )
    lora_rank: int | None = field(
        default=None, metadata={"help": "The rank of the adapters that --lora trains; 8 if not given."}
    )
    lora_experts: list[str] | None = field(
        default=None,
        metadata={
            "help": "For generation: the experts whose layers --lora adapts (`--lora_experts image`); all layers if "
            "not given."
        },
    )
    merge_lora: bool = field(
        default=False,
        metadata={"help": "Save the model with the adapters of --lora merged, like any other checkpoint."},
    )
    modality_dropout: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Hide each modality of a training row with this probability, but never its last one: a number for "
            "all, or one for each by name, `text=0.1 imu=0.5`."
        },
    )
    modality_dropout_warmup: int = field(
        default=0,
        metadata={"help": "The number of epochs over which the probability of --modality_dropout rises from 0."},
    )

    @property
    def towers(self) -> dict[str, str]:
        """
        modality -> the checkpoint that its tower begins as, or that stands in front of it.

        Raises:
            ValueError: --tower is not written as `modality=model`, or names a modality twice.
        """
        names = {m: getattr(self, f"{m}_model") for m in MODALITIES}
        found = {m: name for m, name in names.items() if name is not None}
        for given in self.tower or ():
            modality, sign, name = given.partition("=")
            if not (modality and sign and name):
                raise ValueError(
                    f"--tower {given}: expected the name of a modality and a model, as in imu=user/model."
                )
            if modality in found:
                raise ValueError(f"--tower {given}: {modality} begins as {found[modality]} already, give one of them.")
            found[modality] = name
        return found


@dataclass
class RunArguments(MoTTrainingArguments):
    """Training arguments with defaults for a small model from scratch."""

    _argument_group_name = "the training (options of transformers' TrainingArguments, and some of this package)"

    output_dir: str | None = field(
        default=None,
        metadata={
            "help": "The folder of the run; outputs/digits, outputs/<dataset> or outputs/<dataset>-<task> if not "
            "given."
        },
    )
    num_train_epochs: float = option_of_trainer("num_train_epochs", 40.0)
    learning_rate: float = option_of_trainer("learning_rate", 1e-3)
    weight_decay: float = option_of_trainer("weight_decay", 0.05)
    adam_beta2: float = option_of_trainer("adam_beta2", 0.98)
    lr_scheduler_type: str = option_of_trainer("lr_scheduler_type", "cosine")
    warmup_steps: float = option_of_trainer("warmup_steps", 0.1)
    per_device_train_batch_size: int = option_of_trainer("per_device_train_batch_size", 64)
    per_device_eval_batch_size: int = option_of_trainer("per_device_eval_batch_size", 64)
    logging_steps: float = option_of_trainer("logging_steps", 50)
    save_strategy: str = option_of_trainer("save_strategy", "no")
    report_to: str = option_of_trainer("report_to", "none")
    seed: int = option_of_trainer("seed", 0)


class OptionHelp(ArgumentDefaultsHelpFormatter, RawDescriptionHelpFormatter):
    """`--help` with the default of each option, and with the lines of the description as they were written."""


def parse(arguments: list[str], description: str) -> tuple[DataArguments, ModelArguments, RunArguments]:
    """The options of a command line; what is no option of it ends the process, as `--help` does."""
    parser = HfArgumentParser(
        (DataArguments, ModelArguments, RunArguments),
        usage="%(prog)s [OPTIONS]",
        description=description,
        formatter_class=OptionHelp,
    )
    return parser.parse_args_into_dataclasses(with_defaults(arguments, parser))


def with_defaults(arguments: list[str], parser: HfArgumentParser) -> list[str]:
    """The arguments with what depends on the data and the task: where the output goes, and settings for the digits."""
    known = peek(parser, arguments)
    folder = "digits" if known.dataset_name is None else place_name(known.dataset_name)
    suffix = "" if known.task in (None, "classification") else f"-{known.task}"
    defaults = {"--output_dir": [f"outputs/{folder}{suffix}"]}
    if known.dataset_name is None:
        defaults |= DIGITS_GENERATION if known.task == "generation" else {"--num_train_epochs": ["25"]}
        if known.model_name_or_path is None:  # the keys of a telephone are told apart by their pitch
            defaults["--audio_kind"] = ["sound"]
    given = {argument.split("=")[0] for argument in arguments}
    return arguments + [part for name, values in defaults.items() if name not in given for part in (name, *values)]


def needs_labels(task: str | None) -> bool:
    return task in LABELLED_TASKS
