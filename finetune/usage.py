# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The lines of Python that load a checkpoint and use it, as they are printed and stand in its card."""

from pathlib import Path

from mixture_of_transformers.configuration_causal_mot import TEXT, MoTCausalConfig
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.finetune.options import DataArguments
from mixture_of_transformers.finetune.record import Record
from mixture_of_transformers.finetune.samples import MEDIA_OF_SAMPLES, read_samples
from mixture_of_transformers.media_causal_mot import CODEC_OF
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES, OTHER_CELLS, modality_of, words_of
from mixture_of_transformers.training.trainer import MoTTrainer

# What is done with what was generated.
SAVING = ("image.save('made.png')",)
SAVING += ("soundfile.write('made.wav', audio, processor.codecs['audio'].tokenizer.sampling_rate)",)
SAVING_LINES = dict(zip(CODEC_OF, SAVING, strict=True))


def print_usage(trainer: MoTTrainer, folder: Path, record: Record, row: dict | None = None) -> None:
    """Where the checkpoint is, which weights it has, and the lines of Python that use it."""
    base, weights = base_of(trainer), record.run.weights
    base = str(Path(base).resolve()) if base and Path(base).exists() else base
    usage = usage_lines(
        record.data["task"], str(folder), trainer.model.config, examples_for(folder, record, row), base
    )
    print(f"\nThe checkpoint is in {folder}" + (f"; its weights are those {weights}." if weights else "."))
    print(f"To use it, without this package:\n\n{usage}")


def base_of(trainer: MoTTrainer) -> str | None:
    """The checkpoint under an adapter."""
    return None if trainer.head is trainer.model else trainer.head.name_or_path


def usage_lines(
    task: str, folder: str, config: MoTConfig, example: dict[str, str] | None = None, base: str | None = None
) -> str:
    """
    The lines of Python that load a checkpoint and use it.

    Args:
        folder: of the checkpoint, or its id on the Hub.
        example: a text and paths of files to use it with, as far as there are any; a `video` in place of an `image`
            where the model has learned from videos.
        base: the checkpoint under an adapter, where the folder holds one.
    """
    if task == "generation":
        return usage_of_generation(folder, config, base, example or {})
    arguments = example_arguments(config, example or {})
    lines = usage_of_task(task, folder, config, arguments, base)
    return ("import numpy as np\n" if "np." in lines else "") + lines


def example_arguments(config: MoTConfig, example: dict[str, str]) -> dict[str, str]:
    """modality -> a processor's argument with an example of it: a sentence, a file, or vectors of the right width."""
    arguments = {}
    for modality in config.modalities:
        tower = config.modality_config(modality)
        kind = modality_of(tower, modality)
        usual, *others = kind.cells
        cell = next((other for other in others if example.get(other.name)), usual)
        arguments[modality] = f"{cell.argument}={example.get(cell.name) or kind.example(cell, tower)!r}"
        if not tower.takes_raw_input:
            length = min(8, kind.length_limit(tower) or 8)
            arguments[modality] = f"{kind.features_argument}=np.ones(({length}, {tower.feature_size}))"
    return arguments


def usage_of_task(task: str, folder: str, config: MoTConfig, arguments: dict[str, str], base: str | None) -> str:
    if task == "retrieval":
        return usage_of_retrieval(folder, arguments, base)
    if task == "pretraining":
        return usage_of_pretraining(folder, arguments, config)
    vectors = ", with your own vectors" if "_features=np.ones" in "".join(arguments.values()) else ""
    answer = "print(model.config.id2label[logits.argmax(-1).item()])"
    if config.problem_type == "regression":
        answer = "print(logits.tolist())"
    elif config.problem_type == "multi_label_classification":
        answer = "print([model.config.id2label[i] for i in (logits[0] > 0).nonzero().flatten().tolist()])"
    return f"""\
{loading_lines("AutoModelForSequenceClassification", folder, base)}
inputs = processor({", ".join(arguments.values())}, return_tensors="pt")  # or any subset of these{vectors}
logits = model(**inputs).logits
{answer}
"""


def usage_of_retrieval(folder: str, arguments: dict[str, str], base: str | None) -> str:
    *others, item = arguments  # the last modality is searched with all the others
    query = ", ".join(arguments[m] for m in others)
    encode = f"get_{item}_features(" if item in MODALITIES else f"get_modality_features({item!r}, "
    return f"""\
{loading_lines("AutoModel", folder, base)}
item = model.{encode}**processor({arguments[item]}, return_tensors="pt")).pooler_output
query = processor({query}, return_tensors="pt")  # one modality, or several together
similarity = model.get_fused_features(**query).pooler_output @ item.T
print(similarity.item())
"""


def usage_of_pretraining(folder: str, arguments: dict[str, str], config: MoTConfig) -> str:
    words = words_of(config)
    if words is not None and config.modality_weights.get(words, 1):
        return f"""\
from transformers import pipeline

fill = pipeline("fill-mask", {folder!r}, trust_remote_code=True)
print(fill(f"This is a {{fill.tokenizer.mask_token}}.")[0]["token_str"])
"""
    return f"""\
{loading_lines("AutoModel", folder)}
inputs = processor({", ".join(arguments.values())}, return_tensors="pt")  # or any subset of these
print(model(**inputs).pooler_output.shape)
"""


def usage_of_generation(folder: str, config: MoTCausalConfig, base: str | None, example: dict[str, str]) -> str:
    """What makes each modality of a text, and a text of each example."""
    makes = [m for m in config.modalities[1:] if len(config.codes(m))]
    prompt = example.get(TEXT) or CELLS[TEXT].example
    lines = [loading_lines("AutoModelForCausalLM", folder, base)]
    lines.append(f"inputs = processor([{prompt!r}], return_tensors='pt')")
    for m in makes:
        lines.append(f"ids = model.generate(**inputs, generation_mode={m!r}, do_sample=True)")
        lines.append(f"{m} = processor.post_process_multimodal_output(ids, generation_mode={m!r})[0]")
        lines += [SAVING_LINES[m]] if m in SAVING_LINES else []
    for m in [m for m in config.modalities[1:] if m in example]:
        part = {m: example[m]} | (
            {"raw": True} if m in config.encoders else {}
        )  # through the tower that learnt to read
        lines.append(f"inputs = processor([[{part!r}]], return_tensors='pt')")
        lines.append("ids = model.generate(**inputs, max_new_tokens=32)")
        lines.append("print(processor.post_process_multimodal_output(ids, generation_mode='text')[0])")
    uses_soundfile = any(line.startswith("soundfile.") for line in lines)
    return ("import soundfile\n" if uses_soundfile else "") + "\n".join(lines) + "\n"


def loading_lines(auto_class: str, folder: str, base: str | None = None) -> str:
    if base is not None:
        return f"""\
from transformers import {auto_class}, AutoConfig, AutoProcessor
from peft import PeftModel

processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
config = AutoConfig.from_pretrained({folder!r}, trust_remote_code=True)
model = {auto_class}.from_pretrained({base!r}, config=config, ignore_mismatched_sizes=True, trust_remote_code=True)
model = PeftModel.from_pretrained(model, {folder!r})"""
    return f"""\
from transformers import {auto_class}, AutoProcessor

processor = AutoProcessor.from_pretrained({folder!r}, trust_remote_code=True)
model = {auto_class}.from_pretrained({folder!r}, trust_remote_code=True)"""


def example_row(data: DataArguments, splits: dict) -> dict | None:
    """A row of the embedded data."""
    held_out = [splits[name] for name in ("test", "validation", "train") if name in splits]
    return held_out[0][0] if data.dataset_name is None else None


def examples_for(folder: Path, record: Record, row: dict | None) -> dict[str, str]:
    """A text and paths of files to show how the model is used, as far as the run has any."""
    if record.data["task"] == "generation":
        return generated_examples(folder)
    if row is not None:
        return save_examples(folder, row)
    return {cell.name: cell.example for cell in OTHER_CELLS if cell.name in record.run.columns}


def generated_examples(folder: Path) -> dict[str, str]:
    """A prompt of a run's samples, and files of what was made."""
    examples: dict[str, str] = {}
    for sample in read_samples(folder):
        modality = MEDIA_OF_SAMPLES.get(Path(sample["made"]).suffix)
        if modality is not None:
            examples.setdefault(modality, str(folder / sample["made"]))
        if modality is not None and not sample["prompt"].startswith("<"):
            examples.setdefault(TEXT, sample["prompt"])
    return examples


def save_examples(folder: Path, row: dict) -> dict[str, str]:
    """A row of the embedded data as files, so that the printed lines run as they are; what it lacks stays unnamed."""
    example = {}
    for cell in (modality.cells[0] for modality in MODALITIES.values()):
        value = row.get(cell.name)
        if value and cell.medium is not None:
            file = (folder / "example").with_suffix(Path(cell.example).suffix)
            file.write_bytes(value["bytes"])
            value = str(file)
        if value:
            example[cell.name] = value
    return example
