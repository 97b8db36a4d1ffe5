# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Train with a plain Accelerate loop: everything that `MoTTrainer` does, in sight.

    python examples/train_with_accelerate.py --max_steps 200
    torchrun --nproc_per_node 2 examples/train_with_accelerate.py --max_steps 200

The loss terms are logged, learning rates go by part, gradients are accumulated, the state is saved and found again by
`--resume`, and the accuracy of every subset of the modalities is printed at the end.
"""

import argparse
import math
from collections import defaultdict
from pathlib import Path

import digits
import torch
from accelerate import Accelerator, DataLoaderConfiguration
from accelerate.utils import set_seed
from torch.utils.data import DataLoader
from transformers import get_cosine_schedule_with_warmup

from mixture_of_transformers import MoTForSequenceClassification
from mixture_of_transformers.subsets_mot import bounded_subsets, subset_name
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.launch import check_engine, check_processes
from mixture_of_transformers.training.objective import draw_subsets, row_has
from mixture_of_transformers.training.optimization import WITHOUT_DECAY, split_by_learning_rate


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--max_steps", type=int, default=200)
    parser.add_argument("--batch_size", type=int, default=32, help="rows of a step and process")
    parser.add_argument("--accumulation", type=int, default=1, help="batches of a step")
    parser.add_argument("--learning_rate", type=float, default=1e-3)
    parser.add_argument("--save_steps", type=int, default=100)
    parser.add_argument("--output_dir", default="outputs/example-accelerate")
    parser.add_argument("--resume", action="store_true", help="go on from the last saved state")
    return parser.parse_args()


def build_optimizer(model: torch.nn.Module, learning_rate: float) -> torch.optim.Optimizer:
    """AdamW with weight decay for matrices alone, and half the learning rate for the embeddings."""
    decayed, others = [], []
    for name, parameter in model.named_parameters():
        is_vector = parameter.ndim < 2 or any(part in name for part in WITHOUT_DECAY)
        (others if is_vector else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=learning_rate)
    split_by_learning_rate(optimizer, model, {"embeddings": learning_rate / 2})
    return optimizer


@torch.no_grad()
def accuracy_of_subsets(accelerator: Accelerator, model: torch.nn.Module, batches: DataLoader) -> dict[str, float]:
    """Over the rows that have all of a subset; the encoders run once."""
    subsets = bounded_subsets(accelerator.unwrap_model(model).config.modalities)
    correct, complete = [], []
    for batch in batches:
        labels = batch.pop("labels")
        answers = model(**batch, modality_subsets=subsets).logits.argmax(-1)  # (B, S)
        has = torch.stack([row_has(batch, subset, all) for subset in subsets], dim=1)  # (B, S)
        gathered = accelerator.gather_for_metrics(((answers == labels[:, None]) & has, has))
        correct.append(gathered[0])
        complete.append(gathered[1])
    shares = torch.cat(correct).sum(dim=0) / torch.cat(complete).sum(dim=0)
    return {subset_name(subset): share.item() for subset, share in zip(subsets, shares)}


def train(accelerator: Accelerator, model, optimizer, schedule, batches: DataLoader, options) -> None:
    state, modalities = Path(options.output_dir) / "state", accelerator.unwrap_model(model).config.modalities
    step, terms = 0, defaultdict(list)
    if options.resume:
        accelerator.load_state(state)
        step = schedule.scheduler.last_epoch // accelerator.num_processes  # it counts the steps of all processes
    per_epoch = math.ceil(len(batches) / options.accumulation)
    while step < options.max_steps:
        epoch, done = divmod(step, per_epoch)
        batches.set_epoch(epoch)
        for batch in accelerator.skip_first_batches(batches, done * options.accumulation):
            with accelerator.accumulate(model):
                output = model(**batch, modality_subsets=draw_subsets(modalities))
                accelerator.backward(output.loss)
                for name, term in output.losses.items():
                    terms[name].append(term.detach())
                if accelerator.sync_gradients:
                    accelerator.clip_grad_norm_(model.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                optimizer.zero_grad()
            if not accelerator.sync_gradients:
                continue
            step += 1
            if step % 20 == 0 or step == options.max_steps:
                means = {name: f"{torch.stack(values).mean().item():.3f}" for name, values in terms.items()}
                accelerator.print(f"step {step}: {means}")
                terms.clear()
            if step % options.save_steps == 0:
                accelerator.save_state(state)
            if step == options.max_steps:
                break


def main() -> None:
    options = parse_options()
    accelerator = Accelerator(
        gradient_accumulation_steps=options.accumulation,
        dataloader_config=DataLoaderConfiguration(use_seedable_sampler=True),
    )
    check_processes(accelerator.num_processes)
    check_engine(accelerator)
    set_seed(0)
    rows, processor, labels = digits.load()
    config = digits.tiny_config(processor, num_labels=labels.num_labels, id2label=labels.id2label)
    model = MoTForSequenceClassification(config)
    optimizer = build_optimizer(model, options.learning_rate)
    # The schedule steps once for each process.
    steps = options.max_steps * accelerator.num_processes
    schedule = get_cosine_schedule_with_warmup(optimizer, steps // 10, steps)
    collator = MoTCollator(processor.tokenizer.pad_token_id)
    # With a generator of its own, a new epoch draws nothing from the global state, which a resumed run restores.
    own = torch.Generator().manual_seed(0)
    batches = DataLoader(
        rows["train"], options.batch_size, shuffle=True, collate_fn=collator, drop_last=True, generator=own
    )
    test = DataLoader(rows["test"], options.batch_size, collate_fn=collator)
    model, optimizer, schedule, batches, test = accelerator.prepare(model, optimizer, schedule, batches, test)

    train(accelerator, model.train(), optimizer, schedule, batches, options)
    accelerator.print(accuracy_of_subsets(accelerator, model.eval(), test))
    accelerator.unwrap_model(model).save_pretrained(options.output_dir, is_main_process=accelerator.is_main_process)
    if accelerator.is_main_process:
        processor.save_pretrained(options.output_dir)


if __name__ == "__main__":
    main()
