"""What a newcomer does with the installed package: make a tiny model, save it, load it, ask it. `make wheel` runs this
where neither the repository nor anything but the package's dependencies can be imported."""

import numpy as np
import torch
from PIL import Image
from transformers import AutoModelForSequenceClassification, AutoProcessor, pipeline

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer

texts = ["a red cat", "a blue dog"] * 20
processor = MoTProcessor(
    MoTImageProcessor(size={"height": 16, "width": 16}), MoTFeatureExtractor(), train_tokenizer(texts)
)
config = MoTConfig.of_size(
    "tiny",
    num_labels=2,
    id2label={0: "cat", 1: "dog"},
    label2id={"cat": 0, "dog": 1},
    text_config={"vocab_size": len(processor.tokenizer)},
    image_config={"image_size": 16, "patch_size": 8},
)
model = MoTForSequenceClassification(config).eval()
model.save_pretrained("checkpoint")
processor.save_pretrained("checkpoint")

picture = Image.fromarray(np.zeros((16, 16, 3), np.uint8))
sound = {"array": np.sin(np.arange(8000) / 10), "sampling_rate": 16_000}
batch = AutoProcessor.from_pretrained("checkpoint")(
    text=[texts[0], None], images=[picture, None], audio=[None, sound], return_tensors="pt"
)
with torch.no_grad():
    logits = AutoModelForSequenceClassification.from_pretrained("checkpoint").eval()(**batch).logits
    assert logits.shape == (2, 2) and logits.isfinite().all(), logits
    torch.testing.assert_close(logits, model(**batch).logits)

(answer,) = pipeline("multimodal-classification", model="checkpoint")({"text": texts[0], "image": picture}, top_k=1)
assert answer["label"] in ("cat", "dog") and 0 <= answer["score"] <= 1, answer
print(f"a model was made, saved, loaded on the Auto classes and asked: {answer}")
