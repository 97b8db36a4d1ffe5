# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""sentence-transformers' training of a search between sentences and pictures, of a CLIP that begins at nothing.

As its pages on multimodal training and on the loss have it: pairs of a sentence and a picture, the symmetric loss of
`MultipleNegativesRankingLoss`, and batches without duplicates. Its own `CLIPModel` is deprecated in favour of the
`Transformer` that is used here. The CLIP is of the MoT's width and depth, with the MoT's tokenizer and schedule.
"""

import io
import tempfile
from pathlib import Path

import numpy as np
from datasets import Dataset, Features, Image, Value
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPImageProcessorPil, CLIPModel, CLIPProcessor, set_seed

from mixture_of_transformers.data.tokenizers import train_tokenizer

from .classical import Answer
from .features import pixels
from .problems import Problem, Row, of_subset, only_modality
from .towers import MOST_TOKENS, PATCH_SIZE, schedule_of, sizes_of


def clip(problem: Problem, seed: int) -> Answer:
    from sentence_transformers import (
        SentenceTransformer,
        SentenceTransformerTrainer,
        SentenceTransformerTrainingArguments,
    )
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    set_seed(seed)
    text, image = problem.modalities
    with tempfile.TemporaryDirectory() as folder:
        save_new_clip(problem, Path(folder) / "clip")
        model = SentenceTransformer(f"{folder}/clip", device="cpu")
        SentenceTransformerTrainer(
            model=model,
            args=SentenceTransformerTrainingArguments(
                f"{folder}/run", batch_sampler="no_duplicates_hashed", **schedule_of(problem, seed)
            ),
            train_dataset=pairs_of(problem.train, text, image),
            loss=MultipleNegativesRankingLoss(
                model, directions=("query_to_doc", "doc_to_query"), partition_mode="per_direction"
            ),
        ).train()

    def answer(rows: list[Row]) -> np.ndarray:
        modality = only_modality(rows)
        cells = [row[modality] for row in rows]
        if modality == image:
            cells = [PILImage.open(io.BytesIO(cell)) for cell in cells]
        return model.encode(cells, batch_size=64, show_progress_bar=False)

    return answer


def save_new_clip(problem: Problem, folder: Path) -> None:
    text, image = problem.modalities
    texts, images = ([row[name] for row in problem.train if row[name] is not None] for name in (text, image))
    tokenizer = train_tokenizer(texts, model_max_length=MOST_TOKENS)
    side, sizes = pixels(images[0]).shape[0], sizes_of(problem)
    special = {"bos_token_id": tokenizer.cls_token_id, "eos_token_id": tokenizer.sep_token_id}
    text_config = {"vocab_size": len(tokenizer), "max_position_embeddings": MOST_TOKENS, **special, **sizes}
    image_config = {"image_size": side, "patch_size": PATCH_SIZE, **sizes}
    config = CLIPConfig(text_config=text_config, vision_config=image_config, projection_dim=sizes["hidden_size"])
    size = {"height": side, "width": side}
    CLIPModel(config).save_pretrained(folder)
    CLIPProcessor(CLIPImageProcessorPil(size=size, do_center_crop=False), tokenizer).save_pretrained(folder)


def pairs_of(rows: list[Row], text: str, image: str) -> Dataset:
    """The rows that have both, as columns of sentences and pictures."""
    both = of_subset(rows, (text, image))
    cells = {text: [row[text] for row in both], image: [{"bytes": row[image], "path": None} for row in both]}
    return Dataset.from_dict(cells, features=Features({text: Value("string"), image: Image()}))
