# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Training on any subset of the modalities: `MoTTrainer`.

What it is made of stands beside it: its arguments (arguments.py), rows and batches (encoded.py, collator.py,
samplers.py), what a step trains (objective.py, gradient_cache.py), how fast parameters learn (optimization.py),
evaluation (evaluation.py, metrics.py), and runs that end early or go on (divergence.py, interruption.py, callbacks.py,
run_folder.py).
"""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from accelerate.utils import DistributedType
from transformers import EarlyStoppingCallback, Trainer, TrainerState
from transformers.trainer_utils import TrainOutput
from transformers.utils import logging

from mixture_of_transformers.data.shares import Place
from mixture_of_transformers.training import evaluation
from mixture_of_transformers.training.arguments import MoTTrainingArguments
from mixture_of_transformers.training.callbacks import (
    SINCE_LOG,
    EpochCallback,
    ResumeCallback,
    epoch_of,
    losses_since_log,
)
from mixture_of_transformers.training.collator import MoTCollator
from mixture_of_transformers.training.divergence import check_gradients, check_loss, check_weights
from mixture_of_transformers.training.encoded import EpochDataset, EvaluatedRows, StreamedRows, kinds_of
from mixture_of_transformers.training.gradient_cache import cached_step
from mixture_of_transformers.training.interruption import (
    StopOnSignal,
    check_can_go_on,
    check_folder,
    check_room,
    checkpoint_to_resume,
    checkpoints_at_once,
    finished_state,
    is_done,
    newest_whole_checkpoint,
    saving_into,
    weights_file,
)
from mixture_of_transformers.training.launch import check_engine, check_one_device
from mixture_of_transformers.training.metrics import NOT_ALWAYS_DEFINED
from mixture_of_transformers.training.objective import (
    check_label_smoothing,
    class_weights,
    draw_subsets,
    labels_of_subsets,
    weighted_loss,
)
from mixture_of_transformers.training.optimization import WITHOUT_DECAY, freeze, settings_of, split_by_learning_rate
from mixture_of_transformers.training.pushing import being_pushed, push_checkpoint, push_folder
from mixture_of_transformers.training.run_folder import (
    SAVING,
    STATE,
    clear_unfinished,
    delete_old_checkpoints,
    keep_best_checkpoint,
    owned,
    put_in_place,
    put_model_in_place,
)
from mixture_of_transformers.training.samplers import LengthSampler, RebalanceSampler, length_of
from mixture_of_transformers.training.stream_places import (
    STREAM,
    PlacedCollator,
    go_on_in_stream,
    places_of_all,
    read_by_processes,
    take_place,
)

logger = logging.get_logger(__name__)


class MoTTrainer(Trainer):
    """
    `Trainer` for all MoT models. Each loss term is logged beside the loss.

    Heads that classify or regress train with `objective="subsets"`: a step's loss is the mean over every single
    modality and one random larger subset, the encoders run once. That teaches each modality to answer alone, slow ones
    too, better than modality dropout (see `docs/training.md`). Heads that retrieve or pretrain have losses over
    several modalities of their own. `evaluate` of a model that retrieves also ranks the whole evaluation set:
    `eval_recall_at_1` and its like are means over all pairs of `evaluate_retrieval`, fit for `metric_for_best_model`;
    that of a model with several losses reports each as `eval_loss/text` and its like.

    An evaluation leaves the training that it interrupts as it is: neither the epoch of the rows nor a random number
    changes.

    Args:
        train_collator: makes the batches of training, where `data_collator` makes those of evaluation.

    Raises:
        TypeError: `args` are not `MoTTrainingArguments`.
        ValueError: label smoothing is asked for without classes, or chunks without retrieval, or freezing leaves
            nothing to train.
        RuntimeError: one process would train on several devices, or the engine asked for is not there.
    """

    def __init__(
        self,
        model: torch.nn.Module | None = None,
        args: MoTTrainingArguments | None = None,
        *others,
        train_collator: MoTCollator | None = None,
        **kwargs,
    ):
        if not isinstance(args, MoTTrainingArguments):
            raise TypeError(f"`args` are {type(args).__name__}; MoTTrainer takes MoTTrainingArguments.")
        if args.accelerator_config.dispatch_batches is None:
            # Batches that one process makes of a stream for all would have to hold the same modalities.
            args.accelerator_config.dispatch_batches = False
        super().__init__(model, args, *others, **kwargs)
        check_engine(self.accelerator)
        check_one_device(self.args.n_gpu)
        self.train_collator = train_collator or self.data_collator
        self.add_callback(EpochCallback)
        self.add_callback(ResumeCallback(self))
        self.stop = StopOnSignal(self.accelerator)
        self.add_callback(self.stop)
        if self.args.freeze:
            freeze(self.model, self.args.freeze)
        self.early_stopping = None
        if self.args.early_stopping_patience is not None:
            self.early_stopping = EarlyStoppingCallback(self.args.early_stopping_patience)
            self.add_callback(self.early_stopping)
        accepted = inspect.signature(self.head.forward).parameters
        kind = getattr(self.head, "answers_with", None)
        self.takes_subsets, self.retrieves = kind in ("classes", "numbers"), kind == "embeddings"
        if self.args.contrastive_chunk_size is not None:
            self.check_chunks()
        if "return_loss" in accepted:  # a loss that needs no labels, also in evaluation
            self.can_return_loss, self.label_names = True, []
        if self.args.label_smoothing_factor:
            check_label_smoothing(self)
        self.class_weights: torch.Tensor | None = None
        if self.args.class_weights is not None and self.train_dataset is not None:
            self.class_weights = class_weights(self)
        self.is_finished = False  # whether `train` found its run finished, and left the folder as it is
        self.saving = False  # whether a checkpoint is being written
        self.checkpoints_pushed: set[Path] = set()  # on their way to the Hub
        # Writes what else belongs into a checkpoint's folder, before it has its name.
        self.add_to_checkpoint: Callable[[Path], None] = lambda folder: None
        # The sum of each loss term since the last log, or over an evaluation, and of how many batches.
        self.loss_terms: dict[str, tuple[torch.Tensor | float, int]] = {}
        self.evaluated_terms: dict[str, tuple[torch.Tensor | float, int]] = {}
        self.asked: dict[str, float] = {}  # `settings_of` the optimizer as it was made
        self.measured: tuple = (None, [])  # a dataset and the lengths of its rows
        self.places: dict[int, Place] = {}  # in a stream, of the readers of this process

    @property
    def head(self) -> torch.nn.Module:
        """The model itself, also where adapters wrap it."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    def check_chunks(self) -> None:
        if not self.retrieves:
            raise ValueError(
                f"contrastive_chunk_size is for models that retrieve, not for {type(self.head).__name__}: leave it "
                "out, and use gradient_accumulation_steps."
            )
        if self.accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
            raise ValueError(
                f"contrastive_chunk_size works on one process and under DDP, not {self.accelerator.distributed_type}."
            )

    def get_train_dataloader(self):
        evaluation_collator, self.data_collator = self.data_collator, self.train_collator
        if isinstance(self.train_dataset, StreamedRows):
            self.data_collator = PlacedCollator(self.train_collator)
        try:
            dataloader = super().get_train_dataloader()
        finally:
            self.data_collator = evaluation_collator
        return dataloader

    def _get_dataloader(self, dataset, *args, is_training: bool = False, **kwargs):
        if isinstance(dataset, EpochDataset) and not is_training:
            dataset = EvaluatedRows(dataset)
        dataloader = super()._get_dataloader(dataset, *args, is_training=is_training, **kwargs)
        if isinstance(dataset, StreamedRows):
            read_by_processes(self, dataset, dataloader)
        # Every pass over the data draws a seed for its workers: not from the numbers that dropout draws from, so that
        # a stream, which is one pass, trains as rows that are read again in each epoch, and evaluations in between
        # change nothing.
        dataloader.base_dataloader.generator = torch.Generator().manual_seed(self.args.seed)
        return dataloader

    def _get_train_sampler(self, train_dataset=None):
        dataset, args = self.train_dataset if train_dataset is None else train_dataset, self.args
        by_length = args.train_sampling_strategy in ("group_by_length", "batch_rebalance")
        if not by_length or not hasattr(dataset, "__len__"):
            return super()._get_train_sampler(train_dataset)
        # The library's own lengths are those of one input, which a row may lack.
        lengths, rows_of_a_step = self.lengths_of(dataset), args.train_batch_size * args.gradient_accumulation_steps
        if args.train_sampling_strategy == "group_by_length":
            return LengthSampler(rows_of_a_step, lengths, args.seed, epoch=lambda: epoch_of(self.state))
        return RebalanceSampler(
            lengths,
            effective_batch_size=rows_of_a_step * args.world_size,
            dp_size=args.world_size,
            grad_accum=args.gradient_accumulation_steps,
            seed=args.seed,
            rank=args.process_index,
            drop_last=args.dataloader_drop_last,
            epoch=lambda: epoch_of(self.state),
        )

    def _get_eval_sampler(self, eval_dataset):
        """Rows in their own order, whatever that of training: the predictions stand as the rows do."""
        if not hasattr(eval_dataset, "__len__") or self.args.world_size > 1:  # accelerate shares them out in order
            return None
        return torch.utils.data.SequentialSampler(eval_dataset)

    def lengths_of(self, dataset) -> list[int]:
        """The length of each row, which takes reading them all, once."""
        if self.measured[0] is not dataset:
            kinds = kinds_of(self.head.config)
            self.measured = (dataset, [length_of(dataset[i], kinds) for i in range(len(dataset))])
        return self.measured[1]

    def get_decay_parameter_names(self, model) -> list[str]:
        """Weight decay is for matrices; not for norms, biases and scales, nor for embeddings and learned tokens."""
        names = super().get_decay_parameter_names(model)
        return [name for name in names if not any(part in name for part in WITHOUT_DECAY)]

    def create_optimizer(self, model=None) -> torch.optim.Optimizer:
        is_new = self.optimizer is None
        optimizer = super().create_optimizer(model)
        if is_new and (self.args.learning_rates or self.args.layer_decay != 1):
            rates = self.args.learning_rates or {}
            split_by_learning_rate(optimizer, model or self.model, rates, self.args.layer_decay)
        if is_new and optimizer is not None:
            self.asked = settings_of(optimizer)
        return optimizer

    def training_step(self, model, inputs, num_items_in_batch=None) -> torch.Tensor:
        take_place(self.places, inputs)
        if self.args.contrastive_chunk_size is None:
            loss = super().training_step(model, inputs, num_items_in_batch)
        else:
            loss = self.chunked_step(model, inputs)
        check_loss(self, loss, inputs)
        return loss

    def chunked_step(self, model, inputs) -> torch.Tensor:
        model.train()
        inputs = self._prepare_inputs(inputs)

        def backward(loss: torch.Tensor) -> None:
            self.accelerator.backward(loss / self.current_gradient_accumulation_steps)

        with self.compute_loss_context_manager():
            loss, terms = cached_step(
                model,
                self.head.contrastive,
                inputs,
                self.args.contrastive_chunk_size,
                backward,
                no_sync=lambda: self.accelerator.no_sync(model),
            )
        self.add_terms(self.loss_terms, terms)
        return loss / self.current_gradient_accumulation_steps

    def compute_loss(self, model, inputs, return_outputs: bool = False, num_items_in_batch=None):
        if self.can_return_loss:
            inputs = {**inputs, "return_loss": True}
        if model.training and self.takes_subsets and self.args.objective == "subsets":
            inputs = self.with_subsets(inputs)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training and self.class_weights is not None and "labels" in inputs:
            subsets, weights = inputs.get("modality_subsets"), self.class_weights.to(outputs.logits.device)
            loss = weighted_loss(outputs.logits, inputs, subsets, self.head.config, weights)
        self.add_terms(self.loss_terms if model.training else self.evaluated_terms, outputs.get("losses") or {})
        return (loss, outputs) if return_outputs else loss

    def with_subsets(self, inputs: dict[str, torch.Tensor]) -> dict:
        """A batch with the subsets that this step trains."""
        inputs = {**inputs, "modality_subsets": draw_subsets(self.model.config.modalities)}
        if self.label_smoother is not None or self.compute_loss_func is not None:
            inputs["labels"] = labels_of_subsets(inputs, inputs["modality_subsets"])
        return inputs

    @staticmethod
    def add_terms(sums: dict, terms: dict[str, torch.Tensor]) -> None:
        """A term that is not a number, as that of a modality which a batch lacks, does not count."""
        for name, term in terms.items():
            total, number = sums.get(name, (0.0, 0))
            sums[name] = (total + term.detach().nan_to_num(), number + (~term.isnan()).int())

    def _prepare_inputs(self, inputs: dict) -> dict:
        prepared = super()._prepare_inputs(inputs)
        # DeepSpeed has floats cast, and half precision spoils seconds.
        for name in [name for name in inputs if name.endswith("_times")]:
            prepared[name] = inputs[name].to(prepared[name].device)
        return prepared

    def _get_grad_norm(self, model, grad_norm=None):
        norm = super()._get_grad_norm(model, grad_norm)
        check_gradients(self, norm)
        return norm

    def log(self, logs: dict[str, float], *args, **kwargs) -> None:
        if "loss" in logs:
            means = {name: float(total / number) for name, (total, number) in self.loss_terms.items()}
            logs |= {f"loss/{name}": mean for name, mean in means.items() if not math.isnan(mean)}
            self.loss_terms = {}
        super().log(logs, *args, **kwargs)

    def train(self, resume_from_checkpoint: str | bool | None = None, **kwargs):
        """
        As `Trainer.train`, and `resume_from_checkpoint` may be "auto": the newest checkpoint that is whole, if there
        is any; a checkpoint that is named must be whole. Ctrl-C and SIGTERM end it with a checkpoint; `stop.received`
        then has the signal's number.

        A run that has done all steps that are asked for is not trained any further: its state and its weights (the
        best, if those were to be kept) are loaded. Where the output folder holds the finished model itself,
        `is_finished` says so.

        Raises:
            OSError: the checkpoints cannot be written to `output_dir`, or would not fit.
            ValueError: the checkpoint that is asked for is not there or damaged, or "auto" finds a finished run that
                is to go on, and no checkpoint to go on from. Nothing in the folder has changed then.
            FloatingPointError: the training diverged: the loss, the gradients or the weights are not finite.
        """
        folder, steps = Path(self.args.output_dir), self.number_of_steps()
        self.is_finished = False
        ended = finished_state(folder)
        if resume_from_checkpoint == "auto" and ended:
            if is_done(self.args, ended, steps):
                self.is_finished = True
                return self.take_finished(folder, ended)
            check_can_go_on(folder, ended, steps)
        checkpoint, state = checkpoint_to_resume(resume_from_checkpoint, folder), None
        if checkpoint is not None:
            place, state = Path(checkpoint), TrainerState.load_from_json(str(Path(checkpoint) / STATE))
            if is_done(self.args, state, steps):
                is_last = ended is not None and ended.global_step == state.global_step
                self.is_finished = is_last and place.resolve().parent == folder.resolve()
                return self.take_finished(folder if self.is_finished else place, state)
            logger.warning(f"Going on from {checkpoint}.")
        elif resume_from_checkpoint == "auto":
            logger.warning(f"{folder} has no whole checkpoint: training starts anew.")
        if self.args.should_save:
            check_folder(folder)
            number = 0 if self.args.save_strategy == "no" else steps
            check_room(folder, self.model, checkpoints_at_once(self.args, number))
        with owned(folder) if self.is_world_process_zero() else contextlib.nullcontext(), self.going_on(state):
            return super().train(checkpoint, **kwargs)

    @contextlib.contextmanager
    def going_on(self, state: TrainerState | None) -> Iterator[None]:
        """Has a stream begin where a run was, whose batches the library then need not pass over."""
        is_stream, skips = isinstance(self.train_dataset, StreamedRows), self.args.ignore_data_skip
        places = go_on_in_stream(self, self.train_dataset, state) if is_stream else None
        self.places = places or {}
        if places is not None:
            self.args.ignore_data_skip = True
        try:
            yield
        finally:
            self.args.ignore_data_skip = skips

    def number_of_steps(self) -> int:
        if self.args.max_steps > 0:
            return self.args.max_steps
        return self.set_initial_training_values(self.args, self.get_train_dataloader())[-1]

    def take_finished(self, folder: Path, state: TrainerState) -> TrainOutput:
        """Make the state and the weights of a run that is done, in `folder`, those of this trainer."""
        logger.warning(
            f"Nothing to do: {folder} holds a run that ended after {state.global_step} steps, which are all that are "
            "asked for. Ask for more with --num_train_epochs or --max_steps, or train anew in another --output_dir."
        )
        self.state = state
        is_adapter, best = self.head is not self.model, Path(state.best_model_checkpoint or folder)
        places = [folder] if self.is_finished or not self.args.load_best_model_at_end else [best, folder]
        places += [newest] if (newest := newest_whole_checkpoint(Path(self.args.output_dir))) else []
        place = next((place for place in places if weights_file(place, is_adapter)), None)
        if place is None or self.is_deepspeed_enabled or self.is_fsdp_enabled:
            logger.warning("Its weights, which are merged or sharded, are not loaded into this model.")
        else:
            self._load_from_checkpoint(str(place))
        losses = [entry["train_loss"] for entry in state.log_history if "train_loss" in entry]
        return TrainOutput(state.global_step, losses[-1] if losses else math.nan, {})

    def _hp_search_setup(self, trial) -> None:
        """Every `train` comes by here, when `model_init` has made its model and a trial has set its arguments."""
        super()._hp_search_setup(trial)
        if self.args.freeze and self.model_init is not None:
            freeze(self.model, self.args.freeze)

    def _determine_best_metric(self, metrics: dict[str, float], trial) -> bool:
        """A metric that these answers leave undefined, such as a correlation with a constant, is no better."""
        name = (self.args.metric_for_best_model or "").removeprefix("eval_")
        if name in NOT_ALWAYS_DEFINED and "eval_mae" in metrics and f"eval_{name}" not in metrics:
            logger.warning(f"{name} is not defined for these answers, which do not count as the best.")
            return False
        return super()._determine_best_metric(metrics, trial)

    def _finalize_training(self, trial, *args, **kwargs) -> TrainOutput:
        """As the library's, whose last cleaning with `save_total_limit=1` would take other runs' checkpoints, too."""
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            output = super()._finalize_training(trial, *args, **kwargs)
        finally:
            self.args.save_total_limit = limit
        if self.args.should_save and limit == 1 and self.state.best_model_checkpoint is not None:
            keep_best_checkpoint(Path(self._get_output_dir(trial)), Path(self.state.best_model_checkpoint))
        return output

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """
        As `Trainer.save_model`. Beside an adapter stands the config of the model that it makes. What a finished run
        leaves in its folder has its state, by which "auto" knows it.

        Raises:
            FloatingPointError: the weights are not finite; what lies in the folder stays.
            OSError: they could not be written; what lies in the folder stays.
        """
        check_weights(self)
        if self.saving:  # a checkpoint, which is renamed when it is complete
            self.save_parts(output_dir)
            return
        folder, is_end = Path(output_dir or self.args.output_dir), output_dir is None
        with saving_into(folder, self.state.global_step):
            self.save_parts(str(folder / SAVING / "model"))
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                put_model_in_place(folder)
                if is_end and self.state.global_step and not self.is_in_train and not self.stop.received:
                    self.state.save_to_json(str(folder / SAVING / STATE))
                    put_in_place(folder / SAVING / STATE, folder / STATE)
                clear_unfinished(folder)
        if self.args.push_to_hub and not _internal_call:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)

    def save_parts(self, folder: str) -> None:
        """The weights with their config and processor; beside an adapter the config of the model that it makes."""
        super().save_model(folder, _internal_call=True)
        if self.args.should_save and self.head is not self.model:
            self.head.config.save_pretrained(folder)

    def _get_output_dir(self, trial) -> str:
        """Where the checkpoints are; while one is being written, a folder beside them."""
        folder = super()._get_output_dir(trial)
        return str(Path(folder) / SAVING) if self.saving else folder

    def _save_checkpoint(self, model, trial) -> None:
        folder, name = Path(self._get_output_dir(trial)), f"checkpoint-{self.state.global_step}"
        self.state.stateful_callbacks[SINCE_LOG] = losses_since_log(self)
        if isinstance(self.train_dataset, StreamedRows):
            self.state.stateful_callbacks[STREAM] = places_of_all(self, self.places)
        with saving_into(folder, self.state.global_step):
            self.saving = True
            try:
                super()._save_checkpoint(model, trial)
            finally:
                self.saving = False
            best = folder / f"checkpoint-{self.state.best_global_step}"
            if best.name == name or best.is_dir():
                self.state.best_model_checkpoint = str(best)
            self.accelerator.wait_for_everyone()
            if self.args.should_save:
                self.state.save_to_json(str(folder / SAVING / name / STATE))
                self.add_to_checkpoint(folder / SAVING / name)
                put_in_place(folder / SAVING / name, folder / name)
                clear_unfinished(folder)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self._push_from_checkpoint(str(folder / name))
        if self.args.should_save:
            delete_old_checkpoints(folder, self.args.save_total_limit, best, being_pushed(self))

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        if not self.saving:  # when the checkpoint has its name
            push_checkpoint(self, Path(checkpoint_folder))

    def push_to_hub(self, commit_message: str | None = "End of training", blocking: bool = True, **kwargs):
        """
        As `Trainer.push_to_hub`, of what is for others: no pickle, no report of bad rows, no place of this machine.
        """
        return push_folder(self, commit_message, blocking, **kwargs)

    def evaluation_loop(self, dataloader, *args, metric_key_prefix: str = "eval", **kwargs):
        if self.is_in_train:
            check_weights(self)  # before metrics complain of answers that are not numbers
        self.evaluated_terms = {}
        with evaluation.random_numbers_of_its_own(self.args.seed):
            output = super().evaluation_loop(dataloader, *args, metric_key_prefix=metric_key_prefix, **kwargs)
        terms = evaluation.means_of_terms(self.evaluated_terms)
        numbers = {f"loss/{name}": loss for name, loss in terms.items()}
        if self.retrieves:
            numbers |= evaluation.mean_over_pairs(self.evaluate_retrieval(dataloader.dataset))
        output.metrics.update({f"{metric_key_prefix}_{name}": value for name, value in numbers.items()})
        return output

    def batches(self, dataset):
        """The model ready to evaluate, with each batch of a dataset on its device."""
        model = self._wrap_model(self.model, training=False).eval()
        for inputs in self.get_eval_dataloader(dataset):
            yield model, self._prepare_inputs(inputs)

    def evaluate_subsets(self, dataset) -> dict[str, dict[str, float]]:
        """
        Metrics of one model on the `bounded_subsets` of its modalities, each over the rows that have all of it and a
        label (their number is `rows`): `{"text": {"accuracy": …, "rows": …}, …, "text+image+audio": {…}}`. They are
        those of the trainer's own `compute_metrics`, if it has one. Encoders run once.
        """
        return evaluation.evaluate_subsets(self, dataset)

    def evaluate_retrieval(self, dataset) -> dict[str, dict[str, float]]:
        """
        Search metrics over a whole dataset, both directions of every two modalities, and each modality against all
        others together: `{"text->image": {"recall_at_1": …, …}, …, "text+audio->image": {…}, …}`, each over the rows
        that have all of them. With labels, `precision_at_1` says how often the first item shows the query's label.
        """
        return evaluation.evaluate_retrieval(self, dataset)

    def embed(self, dataset) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """
        Embeddings (N, projection_dim) of every modality, and of all but one where that is several, zero for rows that
        have none of it; and the labels (N,), if there are any.
        """
        return evaluation.embed(self, dataset)

    def evaluate_targets(self, dataset) -> dict[str, dict[str, float]]:
        """
        The loss of a model that generates for the targets of each modality in a dataset's documents, in nats a token,
        with its perplexity and the number of these `tokens`.
        """
        return evaluation.evaluate_targets(self, dataset)

    def evaluate_terms(self, dataset) -> dict[str, dict[str, float]]:
        """The mean of each loss term over a dataset's batches, always with the same hidden tokens."""
        return evaluation.evaluate_terms(self, dataset)
