# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train with `MoTTrainer`: every modality alone and one larger subset in each step, learning rates by part, early
stopping on a named metric, and the table of every subset at the end.

    python examples/train_with_mot_trainer.py --max_steps 300
    python examples/train_with_mot_trainer.py --max_steps 300 --freeze text.encoders --layer_decay 0.8

All options of `MoTTrainingArguments` work.
"""

import digits
from transformers import HfArgumentParser

from mixture_of_transformers import MoTForSequenceClassification
from mixture_of_transformers.finetune.table import print_table
from mixture_of_transformers.modality_audio_mot import AudioAugmentation
from mixture_of_transformers.modality_image_mot import ImageAugmentation
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.metrics import compute_metrics
from mixture_of_transformers.training.trainer import MoTTrainer

DEFAULTS = {
    "output_dir": "outputs/example-mot-trainer",
    "max_steps": 300,
    "per_device_train_batch_size": 32,
    "learning_rate": 1e-3,
    "learning_rates": '{"embeddings": 5e-4}',
    "eval_strategy": "steps",
    "eval_steps": 50,
    "save_steps": 50,
    "logging_steps": 25,
    "save_total_limit": 1,
    "early_stopping_patience": 3,
    "metric_for_best_model": "accuracy",
    "report_to": "none",
}


def main() -> None:
    parser = HfArgumentParser(MoTTrainingArguments)
    parser.set_defaults(**DEFAULTS)
    (arguments,) = parser.parse_args_into_dataclasses()

    rows, processor, labels = digits.load()
    config = digits.tiny_config(processor, num_labels=labels.num_labels, id2label=labels.id2label)
    pad = processor.tokenizer.pad_token_id
    trainer = MoTTrainer(
        model=MoTForSequenceClassification(config),
        args=arguments,
        data_collator=MoTCollator(pad),
        train_collator=MoTCollator(
            pad,
            ImageAugmentation(),
            AudioAugmentation(tract=0.0, silence_value=processor.feature_extractor.silence_value),
        ),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
        processing_class=processor,
        compute_metrics=lambda p: compute_metrics(p.predictions, p.label_ids, labels.problem_type),
    )
    trainer.train()
    print_table({"split": "test", "subsets": trainer.evaluate_subsets(rows["test"])})
    trainer.save_model()


if __name__ == "__main__":
    main()
