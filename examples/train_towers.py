# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train three models of transformers, each on one modality alone, for a MoT to begin as.

    python examples/train_towers.py --dataset_name user/clips --output_dir outputs/towers
    python run_finetune.py --dataset_name user/clips --max_audio_seconds 1 \
        --config_overrides '{"audio_config": {"mean_normalization": true}}' \
        --text_model outputs/towers/text --image_model outputs/towers/image --audio_model outputs/towers/audio

A ViT, the encoder of a Whisper and a RoBERTa-PreLayerNorm, small ones, in plain transformers: nothing of this project
takes part but the reading of the dataset. What stands in their folders are checkpoints like any on the Hub.
"""

import argparse
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from transformers import (
    PreTrainedModel,
    RobertaPreLayerNormConfig,
    RobertaPreLayerNormForSequenceClassification,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForAudioClassification,
    get_cosine_schedule_with_warmup,
)

from mixture_of_transformers.data.columns import ModalityColumns
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.data.preparation import prepare_splits
from mixture_of_transformers.data.sources import load_splits
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.decoding_mot import load_audio, load_image

SIZE = {"hidden_size": 128, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 256}
WHISPER = {"d_model": 128, "encoder_layers": 3, "encoder_attention_heads": 4, "encoder_ffn_dim": 256}
WHISPER |= {"decoder_layers": 1, "decoder_attention_heads": 1, "decoder_ffn_dim": 1, "vocab_size": 8}
WHISPER |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
SECONDS, IMAGE_SIZE, TEXT_TOKENS = 1, 28, 64
Rows = dict[str, torch.Tensor]


def sinusoids_2d(side: int, width: int) -> torch.Tensor:
    """Where the positions of patches begin: on little data, random ones never learn where they are."""
    frequencies = torch.exp(torch.arange(0, width // 2, 2) * (-math.log(10000.0) / (width // 2)))
    angles = torch.arange(side)[:, None] * frequencies
    line = torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)  # (side, width / 2)
    rows, columns = line[:, None].expand(-1, side, -1), line[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1)


def jitter(values: torch.Tensor, most: float) -> torch.Tensor:
    """Each of (B, C, H, W) a little wider or narrower, sheared and shifted: other hands, other voices, other
    tempos."""
    changes = (torch.rand(len(values), 2, 3) * 2 - 1) * most
    grid = torch.nn.functional.affine_grid(torch.eye(2, 3) + changes, list(values.shape), align_corners=False)
    return torch.nn.functional.grid_sample(values, grid, padding_mode="border", align_corners=False)


def augment(rows: Rows) -> Rows:
    if "pixel_values" in rows:
        return {"pixel_values": jitter(rows["pixel_values"], 0.15)}
    if "input_features" in rows:
        return {"input_features": jitter(rows["input_features"][:, None], 0.06)[:, 0]}
    return rows


def prepare_text(splits: dict, folder: Path) -> tuple[PreTrainedModel, Callable[[list], Rows]]:
    texts = [text for text in splits["train"]["text"] if text is not None]
    tokenizer = train_tokenizer(texts, model_max_length=TEXT_TOKENS)
    tokenizer.save_pretrained(folder)
    config = RobertaPreLayerNormConfig(
        **SIZE,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        max_position_embeddings=TEXT_TOKENS + tokenizer.pad_token_id + 1,
        num_labels=10,
        layer_norm_eps=1e-5,
    )
    model = RobertaPreLayerNormForSequenceClassification(config)
    return model, lambda cells: dict(tokenizer(cells, padding=True, truncation=True, return_tensors="pt"))


def prepare_image(splits: dict, folder: Path) -> tuple[PreTrainedModel, Callable[[list], Rows]]:
    half = [0.5, 0.5, 0.5]
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor = ViTImageProcessorPil(size=size, image_mean=half, image_std=half, do_convert_rgb=True)
    processor.save_pretrained(folder)
    model = ViTForImageClassification(ViTConfig(**SIZE, image_size=IMAGE_SIZE, patch_size=4, num_labels=10))
    with torch.no_grad():
        model.vit.embeddings.position_embeddings[0, 1:] = sinusoids_2d(IMAGE_SIZE // 4, SIZE["hidden_size"])

    def encode(cells: list) -> Rows:
        pictures = [load_image(cell, "image", convert_rgb=True) for cell in cells]
        return {"pixel_values": processor(pictures, return_tensors="pt")["pixel_values"]}

    return model, encode


def prepare_audio(splits: dict, folder: Path) -> tuple[PreTrainedModel, Callable[[list], Rows]]:
    extractor = WhisperFeatureExtractor(chunk_length=SECONDS)  # longer clips are cut, shorter ones padded
    extractor.save_pretrained(folder)
    model = WhisperForAudioClassification(
        WhisperConfig(**WHISPER, max_source_positions=50 * SECONDS, num_labels=10, classifier_proj_size=128)
    )
    for convolution in (model.encoder.conv1, model.encoder.conv2):
        torch.nn.init.kaiming_normal_(convolution.weight)  # as large as the positions that are added

    def encode(cells: list) -> Rows:
        sounds = [load_audio(cell, "audio", extractor.sampling_rate, None)[0] for cell in cells]
        options = {"sampling_rate": extractor.sampling_rate, "return_attention_mask": True, "return_tensors": "pt"}
        found = extractor(sounds, **options)
        features, mask = found["input_features"], found["attention_mask"][:, None]  # (B, mel, T), (B, 1, T)
        # Without its mean over the clip, which is much of what tells speakers apart: `mean_normalization` of a MoT.
        mean = (features * mask).sum(dim=2, keepdim=True) / mask.sum(dim=2, keepdim=True)
        return {"input_features": (features - mean) * mask}

    return model, encode


PREPARE = {"text": prepare_text, "image": prepare_image, "audio": prepare_audio}


def read(split, modality: str) -> tuple[list, np.ndarray]:
    """The cells of the rows that have a modality, and the labels of these rows."""
    cells, labels = split[modality], np.array(split["label"])
    present = [i for i, cell in enumerate(cells) if cell is not None]
    return [cells[i] for i in present], labels[present]


def accuracy(model: PreTrainedModel, encode: Callable, cells: list, labels: np.ndarray) -> float:
    model.eval()
    with torch.no_grad():
        answers = [model(**encode(cells[i : i + 64])).logits.argmax(-1) for i in range(0, len(cells), 64)]
    return (torch.cat(answers).numpy() == labels).mean()


def train(modality: str, splits: dict, epochs: int, folder: Path) -> None:
    model, encode = PREPARE[modality](splits, folder)
    cells, labels = read(splits["train"], modality)
    rows, targets = encode(cells), torch.tensor(labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.05)
    steps = epochs * (len(cells) // 64)
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    for _ in range(epochs):
        for part in torch.randperm(len(cells)).split(64)[: len(cells) // 64]:
            batch = augment({name: values[part] for name, values in rows.items()})
            loss = model.train()(**batch, labels=targets[part]).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    model.save_pretrained(folder)
    found = accuracy(model, encode, *read(splits["validation"], modality))
    print(f"{modality}: {steps} steps, accuracy on validation {found:.3f}, in {folder}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--dataset_name", help="the embedded digits if not given")
    parser.add_argument("--modalities", nargs="+", choices=PREPARE, default=list(PREPARE))
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--output_dir", type=Path, default=Path("outputs/towers"))
    options = parser.parse_args()
    torch.manual_seed(0)
    splits = load_splits(options.dataset_name) if options.dataset_name else load_digits_dataset()
    splits, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    for modality in options.modalities:
        train(modality, splits, options.epochs, options.output_dir / modality)


if __name__ == "__main__":
    main()
