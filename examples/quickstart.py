# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The shortest way from nothing to an answer, as in the cells of a notebook: build, train a little, ask.

python examples/quickstart.py
"""

import digits
import torch
from torch.utils.data import DataLoader

from mixture_of_transformers import MoTForSequenceClassification
from mixture_of_transformers.training.collator import MoTCollator

# Data, processor and a new model of 1.5 million parameters.
rows, processor, labels = digits.load()
torch.manual_seed(0)
config = digits.tiny_config(processor, num_labels=labels.num_labels, id2label=labels.id2label)
model = MoTForSequenceClassification(config)

# Two passes in plain PyTorch. A batch holds rows with any of the modalities; the model gives the loss.
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
batches = DataLoader(rows["train"], batch_size=16, shuffle=True, collate_fn=MoTCollator())
for epoch in range(2):
    losses = []
    for batch in batches:
        loss = model(**batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    print(f"mean loss of epoch {epoch}: {sum(losses) / len(losses):.3f}")

# Ask with text and sound, without an image.
example = rows["test"].split[0]
inputs = processor(text=example["text"], audio=example["audio"], return_tensors="pt")
with torch.no_grad():
    answer = model.eval()(**inputs).logits.argmax(-1).item()
print(f"{example['text']!r} with its sound: {config.id2label[answer]}, and right is {labels.names[example['label']]}")
