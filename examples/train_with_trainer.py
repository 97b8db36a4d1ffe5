# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train with transformers' own `Trainer`, nothing of it changed: to classify, or to retrieve.

    python examples/train_with_trainer.py --max_steps 200
    python examples/train_with_trainer.py --task retrieval --max_steps 200

Rows train with the modalities they have. A head that retrieves or pretrains has a loss without labels; the collator
asks for it (`return_loss`), and `label_names=[]` tells the Trainer not to wait for labels.
"""

import argparse

import digits
from transformers import Trainer, TrainingArguments

from mixture_of_transformers import MoTForRetrieval, MoTForSequenceClassification
from mixture_of_transformers.training.metrics import compute_metrics
from mixture_of_transformers.training.trainer import MoTCollator


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--task", choices=["classification", "retrieval"], default="classification")
    parser.add_argument("--max_steps", type=int, default=200)
    parser.add_argument("--output_dir", default="outputs/example-trainer")
    options = parser.parse_args()

    rows, processor, labels = digits.load()
    is_retrieval = options.task == "retrieval"
    if is_retrieval:
        model = MoTForRetrieval(digits.tiny_config(processor))
    else:
        model = MoTForSequenceClassification(
            digits.tiny_config(processor, num_labels=labels.num_labels, id2label=labels.id2label)
        )
    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            options.output_dir,
            max_steps=options.max_steps,
            per_device_train_batch_size=32,
            learning_rate=1e-3,
            logging_steps=20,
            save_strategy="no",
            report_to="none",
            remove_unused_columns=False,  # rows are tensors by name already
            label_names=[] if is_retrieval else None,
        ),
        data_collator=MoTCollator(processor.tokenizer.pad_token_id, return_loss=is_retrieval),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=processor,
        compute_metrics=None
        if is_retrieval
        else lambda p: compute_metrics(p.predictions, p.label_ids, labels.problem_type),
    )
    trainer.train()
    print(trainer.evaluate())
    trainer.save_model()


if __name__ == "__main__":
    main()
