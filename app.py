# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page: classify a sentence, a picture, a video, a sound or any mix of them and see why; search an index.

    mot demo                                             # on the embedded digits
    mot demo --model user/model --index outputs/index    # a checkpoint on the Hub or in a folder, an index in a folder
    mot demo --space_dir outputs/space                   # writes a folder to be uploaded as a Space

Checkpoints are loaded as the classes of this package: the page runs no code that comes with one.
"""

import argparse
import html
import json
import shutil
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.metadata import requires
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import torch
from packaging.requirements import Requirement
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoProcessor

from mot.attribution_mot import modality_contributions
from mot.command_mot import run
from mot.data_mot import load_digits_dataset
from mot.decoding_mot import load_image, open_source, read_audio, to_mono
from mot.embeddings_mot import SECONDS_PER_FRAME
from mot.pipeline_mot import WINDOW_SECONDS, MultimodalClassificationPipeline, analyze_video_sentiment
from mot.report_mot import save_examples
from mot.retrieval_mot import DESCRIPTION, KINDS, Index, as_stored, build_index
from mot.run_finetune import main as finetune
from mot.run_search import load, load_with_model
from mot.training_mot import all_subsets
from mot.visualization_mot import (
    attention_maps,
    plot_attention_over_time,
    plot_contributions,
    plot_modality_attention,
    plot_rollout,
    plot_token_attention,
)

try:
    import gradio as gr
except ImportError as error:
    raise ImportError("The page needs Gradio: pip install 'mixture-of-transformers[demo]'.") from error

DIGITS, DIGITS_RETRIEVAL, DIGITS_INDEX = "outputs/digits", "outputs/digits-retrieval", "outputs/digits-index"
EXAMPLES = 5  # rows of the embedded digits to try
LARGEST_UPLOAD = "50mb"
MOST_LABELS, MOST_CHARACTERS = 12, 300  # that are shown
ANYTHING = "anything"  # of an item may be near to the query
THUMBNAIL = 192  # pixels
# Small pictures fill their place.
STYLE = "#picture img, #query-picture img, .hit img {width: 100%; height: 100%; object-fit: contain}"
PARTS = {"text": ("text",), "image": ("images", "videos"), "audio": ("audio",)}  # modality -> of a decoded row
BESIDE = {"contributions": "What each modality contributed", "modalities": "Who looks at whom"}  # the answer
BELOW = {"tokens": "Token by token", "rollout": "What it goes back to", "over_time": "Frames and sound over time"}
PICTURES = BESIDE | BELOW


class Picture(gr.Image):
    """An upload as its path. gr.Image opens it first, and what it says of a broken file names its own temporary one."""

    is_template = True  # on the page it is a gr.Image

    def preprocess(self, payload):
        return None if payload is None else payload.path


@contextmanager
def messages() -> Iterator[None]:
    """What is wrong with what the visitor gave is shown, not logged."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise gr.Error(str(error), duration=None, print_exception=False) from error


# ---------------------------------------------------------------------------------------------------------------------
# Classify
# ---------------------------------------------------------------------------------------------------------------------


@lru_cache(maxsize=2)
def load_classifier(name: str) -> MultimodalClassificationPipeline:
    """A checkpoint on the Hub or in a folder; the last two stay loaded."""
    if not name:
        raise ValueError("Name a checkpoint: an id on the Hub, or a folder.")
    config = AutoConfig.from_pretrained(name)
    classes = config.architectures or ["no class that it names"]
    if config.model_type != "mot" or not classes[0].endswith("Classification"):
        raise ValueError(f"{name} holds {classes[0]}; this page classifies with MoTForSequenceClassification.")
    model = AutoModelForSequenceClassification.from_pretrained(name, use_safetensors=True)
    return MultimodalClassificationPipeline(model=model, processor=AutoProcessor.from_pretrained(name))


def show_checkpoint(name: str) -> list:
    """What the checkpoint takes and gives, and the inputs and modalities that it has."""
    with messages():
        config = load_classifier(name).model.config
    raw = [m for m in config.modalities if config.modality_config(m).takes_raw_input]
    takes = {m: m for m in raw}
    if "text" in raw:
        takes["text"] += f" (up to {config.text_config.max_position_embeddings} tokens)"
    if "audio" in raw:
        takes["audio"] += f" (up to {config.audio_config.max_frames * SECONDS_PER_FRAME:g} seconds)"
    labels = list(config.id2label.values())
    gives = ", ".join(labels[:MOST_LABELS]) + ", …" * (len(labels) > MOST_LABELS)
    gives = "a number" if config.problem_type == "regression" else html.escape(gives)
    return [
        gr.Markdown(f"Takes {', '.join(takes.values())}, any of them; the rest is cut off. Answers {gives}."),
        gr.Textbox(visible="text" in raw),
        gr.Row(visible="image" in raw),
        gr.Audio(visible="audio" in raw),
        gr.CheckboxGroup(choices=raw, value=raw),
    ]


def read_row(classifier: MultimodalClassificationPipeline, row: dict[str, Any], used: list[str]) -> dict:
    """What was given, decoded, without the modalities that are left out."""
    row = {name: value for name, value in row.items() if value}
    if not row:
        raise ValueError("Nothing was given: type a sentence, or upload a picture, a video or a sound.")
    decoded = classifier.preprocess(row)
    kept = {part: decoded[part] for m in used for part in PARTS[m] if part in decoded}
    if not kept:
        raise ValueError(f"Everything that was given is left out: use {', '.join(m for m in PARTS if m not in used)}.")
    return kept


def classify(name: str, text: str, image: str, video: str, audio: str, used: list[str]) -> Iterator[list]:
    """The answer and those to every subset of the modalities; then the pictures, too."""
    with messages():
        classifier = load_classifier(name)
        row = read_row(classifier, {"text": text.strip(), "image": image, "video": video, "audio": audio}, used)
        batch = classifier.encode([row], truncation=True)
        given = [m for m, parts in PARTS.items() if row.keys() & set(parts)]
        answers = answer_subsets(classifier, batch, given)
        shown = [show_answer(classifier, answers[tuple(given)]), show_answers(classifier, answers)]
        yield [*shown, *[gr.skip()] * (1 + len(PICTURES))]
        is_whole = {*classifier.model.config.modalities} <= {*used}  # windows are answered from all that a clip has
        timeline = show_timeline(classifier, video, audio, text.strip()) if "videos" in row and is_whole else None
        pictures = draw(classifier, batch, given)
        plots = [gr.Plot(value=pictures.get(kind), visible=kind in pictures) for kind in PICTURES]
        yield [*shown, gr.LinePlot(value=timeline, visible=timeline is not None), *plots]


def answer_subsets(classifier: MultimodalClassificationPipeline, batch: dict, given: list[str]) -> dict:
    """Subset of the modalities -> answers (labels,); all that was given comes first."""
    subsets = sorted(all_subsets(given), key=len, reverse=True)
    with torch.no_grad():
        logits = classifier.model(**batch, modality_subsets=subsets).logits[0]  # (subsets, labels)
    return dict(zip(subsets, classifier.answers(logits).cpu()))


def show_answer(classifier: MultimodalClassificationPipeline, answer: torch.Tensor) -> dict[str, float] | str:
    """As gr.Label takes it: labels with probabilities, or numbers."""
    if classifier.model.config.problem_type == "regression":
        return ", ".join(f"{value:.3f}" for value in answer.tolist())
    return {part["label"]: part["score"] for part in classifier.postprocess({"scores": answer})}


def show_answers(classifier: MultimodalClassificationPipeline, answers: dict) -> gr.Dataframe:
    """A line for each subset of what was given: what would be said without the rest."""
    config, whole = classifier.model.config, next(iter(answers.values()))
    if config.problem_type == "regression":
        header = ["given", "answer"]
        lines = [[" + ".join(subset), show_answer(classifier, answer)] for subset, answer in answers.items()]
    else:
        chosen = whole.argmax().item()
        header = ["given", "answer", "score", f"score of “{config.id2label[chosen]}”"]
        lines = [
            [
                " + ".join(subset),
                config.id2label[answer.argmax().item()],
                f"{answer.max():.3f}",
                f"{answer[chosen]:.3f}",
            ]
            for subset, answer in answers.items()
        ]
    widths = ["40%", *[f"{60 // (len(header) - 1)}%"] * (len(header) - 1)]
    return gr.Dataframe(value=lines, headers=header, column_count=len(header), column_widths=widths)


def show_timeline(classifier: MultimodalClassificationPipeline, video: str, audio: str | None, text: str):
    """A table of the probability of each label in each window of a longer clip, or None."""
    if classifier.model.config.problem_type == "regression":
        return None
    windows = analyze_video_sentiment(video, audio, text or None, classifier=classifier)["timeline"]
    if len(windows) == 1:
        return None
    lines = [
        {"seconds": (part["start"] + part["end"]) / 2, "label": label, "probability": probability}
        for part in windows
        for label, probability in part["probabilities"].items()
    ]
    return pandas.DataFrame(lines)


def draw(classifier: MultimodalClassificationPipeline, batch: dict, given: list[str]) -> dict[str, Any]:
    """Those of PICTURES that there are of this row."""
    model, tokenizer = classifier.model, classifier.processor.tokenizer
    maps = attention_maps(model, batch, encoders=True)
    labels = model.config.id2label
    found = {"contributions": plot_contributions(modality_contributions(model, batch), row=0, labels=labels)}
    if model.config.num_hidden_layers:
        found["modalities"] = plot_modality_attention(maps, row=0)
        found["tokens"] = plot_token_attention(maps, tokenizer=tokenizer)
        if "audio" in given and "pixel_values" in batch and batch["pixel_values"].ndim == 5:
            found["over_time"] = plot_attention_over_time(maps)
    return found | {"rollout": plot_rollout(maps, tokenizer=tokenizer)}


def write_examples(folder: Path) -> list[list]:
    """Rows of the embedded digits that no training saw, as the inputs of the page take them."""
    examples = []
    for number, row in enumerate(as_stored(load_digits_dataset()["test"].select(range(EXAMPLES)))):
        place = folder / str(number)
        place.mkdir()
        example = save_examples(place, row)
        examples.append([example["text"], example["image"], example["audio"]])
    return examples


def empty_plot(kind: str) -> gr.Plot:
    return gr.Plot(label=PICTURES[kind], show_label=False, elem_id=kind, visible=False)


def classify_tab(model: str) -> tuple:
    """Returns what is to be done when the page is opened: a function, its inputs and its outputs."""
    name = gr.Textbox(model, label="Checkpoint", info="An id on the Hub, or a folder; Enter loads it.")
    about = gr.Markdown()
    with gr.Row():
        with gr.Column():
            text = gr.Textbox(label="Sentence", info="Or what is said in the video.")
            with gr.Row() as looks:
                image = Picture(label="Picture", height=280, elem_id="picture")
                video = gr.Video(label="Video", height=280, elem_id="video")
            audio = gr.Audio(label="Sound", type="filepath", elem_id="sound")
            used = gr.CheckboxGroup(
                list(PARTS), value=list(PARTS), label="Use", info="Leave out a modality to see what changes."
            )
            button = gr.Button("Classify", variant="primary")
            if model == DIGITS:
                with tempfile.TemporaryDirectory() as folder:  # from which the page takes them over
                    examples = write_examples(Path(folder))
                    gr.Examples(examples, [text, image, audio], label="Digits that it never saw")
        with gr.Column():
            answer = gr.Label(label="Answer", num_top_classes=5, elem_id="answer")
            header = {"headers": ["given", "answer"], "label": "What it would say without the rest"}
            answers = gr.Dataframe(**header, wrap=True, elem_id="answers")
            options = {"x": "seconds", "y": "probability", "color": "label", "y_lim": [0, 1], "visible": False}
            timeline = gr.LinePlot(label=f"Over time, in windows of {WINDOW_SECONDS:g} s", **options)
            plots = [empty_plot(kind) for kind in BESIDE]
    plots += [empty_plot(kind) for kind in BELOW]
    opening = (show_checkpoint, [name], [about, text, looks, audio, used])
    name.submit(*opening)
    gr.on(
        [button.click, text.submit, used.input],
        classify,
        [name, text, image, video, audio, used],
        [answer, answers, timeline, *plots],
        trigger_mode="always_last",
    )
    return opening


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def load_index(folder: str) -> Index:
    """An index as its folder is now, with the model that it names."""
    if not folder:
        raise ValueError("Name the folder of an index; `mot index` makes one.")
    file = Path(folder) / DESCRIPTION
    return index_as_of(folder, file.stat().st_mtime_ns if file.exists() else 0)


@lru_cache(maxsize=2)
def index_as_of(folder: str, changed: int) -> Index:
    """The last two stay loaded."""
    return load_with_model(folder)


def show_index(folder: str) -> str:
    with messages():
        index = load_index(folder)
        columns = ", ".join(index.description["columns"].values())
        return f"{len(index):,} rows with {html.escape(columns)}; asked with {index.description['model']}."


def search(folder: str, text: str, image: str, audio: str, modality: str, k: float) -> dict:
    """Which rows were found in which index."""
    with messages():
        index, text = load_index(folder), text.strip()
        if not (text or image or audio):
            raise ValueError("Nothing was given: type a sentence, or upload a picture or a sound.")
        chosen = None if modality == ANYTHING else modality
        hits = index.search(text or None, image, audio, k=int(k), modality=chosen)
        if not hits:
            raise ValueError(f"No row of the index has {modality}.")
        return {"folder": folder, "hits": hits}


def show_hits(found: dict | None) -> None:
    """Cards of the rows: thumbnails, players, and what else the columns say."""
    if found is None:
        return
    index = load_index(found["folder"])
    rows = index.rows
    with gr.Row():
        for hit in found["hits"]:
            with gr.Column(min_width=THUMBNAIL, elem_classes="hit"):
                gr.Markdown(f"**{hit['score']:.3f}** by {hit['modality']}, row {hit['id']}")
                for column, cell in rows[hit["id"]].items():
                    if cell is not None:
                        show_cell(column, cell, rows.features[column])


def show_cell(column: str, cell: Any, feature: Any) -> None:
    try:
        if isinstance(feature, datasets.Image):
            picture = load_image(cell, column, convert_rgb=True)
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            gr.Image(picture, label=column, height=THUMBNAIL, interactive=False)
        elif isinstance(feature, datasets.Audio):
            samples, rate = read_audio(cell, column)
            samples = (to_mono(samples, column).clip(-1, 1) * np.iinfo(np.int16).max).astype(np.int16)
            gr.Audio((rate, samples), label=column, interactive=False)
        elif isinstance(feature, datasets.Video):
            with open_source(cell, column) as file, tempfile.NamedTemporaryFile(suffix=".mp4") as copy:
                shutil.copyfileobj(file, copy)
                copy.flush()
                gr.Video(copy.name, label=column, height=THUMBNAIL, interactive=False)  # which takes it over
        else:
            value = feature.int2str(cell) if isinstance(feature, datasets.ClassLabel) else cell
            text = textwrap.shorten(str(value), MOST_CHARACTERS, placeholder=" …")
            gr.HTML(f"<b>{html.escape(column)}</b>: {html.escape(text)}")
    except (ValueError, OSError, ImportError) as error:
        gr.Markdown(str(error))


def search_tab(folder: str) -> tuple:
    """Returns what is to be done when the page is opened, as `classify_tab`."""
    name = gr.Textbox(folder, label="Index", info="The folder that `mot index` wrote; Enter loads it.")
    about = gr.Markdown()
    with gr.Row():
        text = gr.Textbox(label="Sentence")
        image = Picture(label="Picture", height=200, elem_id="query-picture")
        audio = gr.Audio(label="Sound", type="filepath", elem_id="query-sound")
    with gr.Row():
        modality = gr.Radio([ANYTHING, *KINDS], value=ANYTHING, label="Compare with", info="fused: all that a row has")
        k = gr.Slider(1, 24, value=8, step=1, label="How many")
    button = gr.Button("Search", variant="primary")
    found = gr.State()
    gr.render(found)(show_hits)
    opening = (show_index, [name], [about])
    name.submit(*opening)
    gr.on([button.click, text.submit], search, [name, text, image, audio, modality, k], [found])
    return opening


# ---------------------------------------------------------------------------------------------------------------------
# The page, here or as a Space
# ---------------------------------------------------------------------------------------------------------------------


def build_page(model: str, index: str) -> gr.Blocks:
    """
    Args:
        model: a checkpoint that classifies, on the Hub or in a folder; "" for none, which the visitor names.
        index: the folder of an index; "" likewise.
    """
    seconds_kept = 24 * 3600  # of uploads
    with gr.Blocks(
        title="Mixture-of-Transformers", analytics_enabled=False, delete_cache=(3600, seconds_kept)
    ) as page:
        gr.Markdown("# Mixture-of-Transformers\nText, pictures or video, and sound: any of them, and what each adds.")
        with gr.Tab("Classify"):
            opening = classify_tab(model)
        with gr.Tab("Search"):
            opening_search = search_tab(index)
        if model:
            page.load(*opening)
        if index:
            page.load(*opening_search)
    return page


def train_digits() -> tuple[str, str]:
    """The checkpoint and the index of the embedded digits, made where they are not there yet."""
    for folder, arguments in ((DIGITS, []), (DIGITS_RETRIEVAL, ["--task", "retrieval"])):
        if not (Path(folder) / "config.json").exists():
            print(f"{folder} is not there: training it on the embedded digits, once, which takes some minutes.")
            finetune(arguments)
    build_index(load_digits_dataset()["test"], *load(DIGITS_RETRIEVAL), DIGITS_INDEX)
    return DIGITS, DIGITS_INDEX


def write_space(folder: Path, model: str, index: str) -> None:
    """A folder that runs this page as a Space: the package, the checkpoint and the index, if they are folders here."""
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose another --space_dir.")
    needed = [Requirement(line) for line in requires("mixture-of-transformers")]
    needed = [r for r in needed if r.marker is None or r.marker.evaluate({"extra": "demo"})]
    package = folder / "mot"
    package.mkdir(parents=True)
    for file in Path(__file__).parent.glob("*.py"):
        shutil.copy(file, package)
    left_out = shutil.ignore_patterns("checkpoint-*", "runs", ".cache", ".lock", "*.faiss*")
    if index:
        shutil.copytree(index, folder / "index", ignore=left_out)
        description = json.loads((folder / "index" / DESCRIPTION).read_text(encoding="utf-8"))
        if Path(description["model"]).is_dir():
            shutil.copytree(description["model"], folder / "retriever", ignore=left_out)
            content = json.dumps(description | {"model": "retriever"}, indent=1)
            (folder / "index" / DESCRIPTION).write_text(content, encoding="utf-8")
    is_here = Path(model).is_dir()
    if is_here and model:
        shutil.copytree(model, folder / "model", ignore=left_out)
    arguments = ["--model", "model" if is_here else model] if model else []
    arguments += ["--index", "index"] if index else []
    (folder / "requirements.txt").write_text("".join(f"{r.name}{r.specifier}\n" for r in needed), encoding="utf-8")
    (folder / "app.py").write_text(f"from mot.app import main\n\nmain({arguments!r})\n", encoding="utf-8")
    (folder / "README.md").write_text(
        "---\ntitle: Mixture-of-Transformers\nsdk: gradio\n"
        f"sdk_version: {gr.__version__}\npython_version: '{sys.version_info[0]}.{sys.version_info[1]}'\n"
        "app_file: app.py\nlicense: apache-2.0\n---\n\n"
        "Classify text, pictures, videos, sounds or any mix of them, and see why; search across them.\n",
        encoding="utf-8",
    )


def main(arguments: list[str] | None = None) -> None:
    """`mot demo`."""
    parser = argparse.ArgumentParser(
        prog="mot demo", description="A page to classify and search with, and to see why."
    )
    parser.add_argument("--model", default="", help="a checkpoint that classifies, on the Hub or in a folder")
    parser.add_argument("--index", default="", help="a folder that `mot index` wrote; without both, the digits")
    parser.add_argument("--host", help="of the page; this machine alone by default, 0.0.0.0 for all that reach it")
    parser.add_argument("--port", type=int, help="of the page; the first that is free from 7860 by default")
    parser.add_argument("--space_dir", type=Path, help="write a folder to be uploaded as a Space, and stop")
    options = parser.parse_args(arguments)
    model, index = options.model, options.index
    if not (model or index):
        model, index = train_digits()
    if options.space_dir is not None:
        write_space(options.space_dir, model, index)
        print(f"Upload it with: hf upload user/name {options.space_dir} . --repo-type space")
        return
    fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}  # none from elsewhere
    build_page(model, index).launch(
        server_name=options.host,
        server_port=options.port,
        max_file_size=LARGEST_UPLOAD,
        theme=gr.themes.Default(**fonts),
        css=STYLE,
    )


if __name__ == "__main__":
    run(main, sys.argv[1:])
