# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page: classify a sentence, a picture, a video, a sound or any mix of them and see why; search an index.

    mot demo                                                # on the embedded digits
    mot demo --models user/model --indexes outputs/index    # checkpoints on the Hub or in folders, indexes in folders
    mot demo --space_dir outputs/space                      # writes a folder to be uploaded as a Space

Visitors choose from what the page was started with, and their files are the only ones that are read
(`demo/visitors.py`). Checkpoints are loaded as the classes of this package: the page runs no code that comes with one.
"""

import argparse
import dataclasses
import html
import os
import signal
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import torch

from mixture_of_transformers.attribution_mot import modality_contributions
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.decoding_audio_mot import read_audio, to_mono
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.demo.offers import Offered, index_version, read_classifier, read_index
from mixture_of_transformers.demo.space import write_space
from mixture_of_transformers.demo.visitors import (
    DEFAULTS,
    LOCAL,
    Guard,
    Uploads,
    VisitorLimits,
    check_inputs,
    own_folder,
    served_hosts,
)
from mixture_of_transformers.explain.attention import attention_maps
from mixture_of_transformers.explain.pictures import (
    plot_attention_over_time,
    plot_contributions,
    plot_modality_attention,
    plot_rollout,
    plot_token_attention,
)
from mixture_of_transformers.finetune.usage import save_examples
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.commands import load
from mixture_of_transformers.search.rows import as_stored
from mixture_of_transformers.serving.video import WINDOW_SECONDS, analyze_video_sentiment
from mixture_of_transformers.subsets_mot import bounded_subsets
from mixture_of_transformers.training.command import run

import gradio as gr  # isort: skip  (after `mixture_of_transformers.demo.visitors`, which says so if it is missing)
from starlette.middleware import Middleware  # isort: skip
from mixture_of_transformers.finetune.commands import start_run as finetune
from mixture_of_transformers.search.columns import EMBEDDING_KINDS

DIGITS, DIGITS_RETRIEVAL, DIGITS_INDEX = "outputs/digits", "outputs/digits-retrieval", "outputs/digits-index"
EXAMPLES = 5  # rows of the embedded digits to try
MOST_LABELS, MOST_CHARACTERS = 12, 300  # that are shown
MOST_HITS = 24
ANYTHING = "anything"  # of an item may be near to the query
THUMBNAIL = 192  # pixels
# Small pictures fill their place.
STYLE = (
    "#picture img, #query-picture img, .hit img {width: 100%; height: 100%; object-fit: contain} "
    ".hit {overflow-wrap: anywhere}"
)
# modality -> those parts of a decoded row that are of it
PARTS = {m: tuple(cell.argument for cell in kind.cells) for m, kind in MODALITIES.items()}
# How the tokens of a modality are drawn -> what its inputs stand in
FIELDS = {"words": gr.Textbox, "frames": gr.Row, "spectrogram": gr.Audio}
BESIDE = {"contributions": "What each modality contributed", "modalities": "Who looks at whom"}  # the answer
BELOW = {"tokens": "Token by token", "rollout": "What it goes back to", "over_time": "Frames and sound over time"}
PICTURES = BESIDE | BELOW


class Page(gr.Blocks):
    """Blocks that check what visitors send before a component or Gradio's cache sees it."""

    def __init__(self, limits: VisitorLimits, **options):
        self.limits = limits
        super().__init__(**options)

    async def preprocess_data(self, block_fn, inputs, *args, **kwargs):
        with messages():
            check_inputs(inputs, self.limits)
        return await super().preprocess_data(block_fn, inputs, *args, **kwargs)


def read_upload(self, payload: Any) -> bytes | None:
    """A component's upload as its content: what reads it knows no path and can complain of none."""
    if payload is None or payload.path is None:
        return None
    content = Path(payload.path).read_bytes()
    with messages():
        if not content:
            raise ValueError(f"{self.label}: the file is empty.")
    return content


class Picture(gr.Image):
    is_template = True  # on the page it is a gr.Image
    preprocess = read_upload


class Clip(gr.Video):
    """A gr.Video of a file as it is, for which Gradio starts no program that looks at it or makes another of it."""

    is_template = True
    preprocess = read_upload

    def postprocess(self, value):
        return None if value is None else gr.FileData(path=str(value))


class Sound(gr.Audio):
    is_template = True
    preprocess = read_upload


class Choice(gr.Dropdown):
    """A name as it was sent: `Offered` knows which there are, and says so in words."""

    is_template = True

    def preprocess(self, payload):
        return payload


def choose(offered: Offered, label: str, info: str) -> tuple[gr.Textbox | gr.Dropdown, Callable]:
    """Where a visitor chooses among what is offered, or names anything, and what is called when that is done."""
    names = list(offered.places)
    if offered.any_place:
        field = gr.Textbox(names[0] if names else "", label=label, info=info, max_length=1000)
        return field, field.submit
    field = Choice(names, value=names[0], label=label, interactive=len(names) > 1)
    return field, field.input


@contextmanager
def messages() -> Iterator[None]:
    """What is wrong with what the visitor gave is shown as text, which Gradio would take for HTML, and not logged."""
    try:
        yield
    except (ValueError, OSError, ImportError) as error:
        raise gr.Error(html.escape(str(error)), duration=None, print_exception=False) from error


def as_text(*parts: str) -> str:
    """HTML that shows each part as it is, whatever it holds; the first is bold if there are several."""
    first, *others = [html.escape(part) for part in parts]
    return f"<b>{first}</b>{''.join(others)}" if others else first


# ---------------------------------------------------------------------------------------------------------------------
# Classify
# ---------------------------------------------------------------------------------------------------------------------


def show_checkpoint(checkpoints: Offered, name: str) -> list:
    """What the checkpoint takes and gives, and the inputs and modalities that it has."""
    with messages():
        model = checkpoints(name).model
    config = model.config
    raw = [m for m in config.modalities if config.modality_config(m).takes_raw_input]
    limits = {m: MODALITIES[m].describe_limit(config.modality_config(m)) for m in raw}
    takes = [f"{m} ({limit})" if limit else m for m, limit in limits.items()]
    labels = [shortened(label) for label in list(config.id2label.values())[:MOST_LABELS]]
    gives = ", ".join(labels) + ", …" * (len(config.id2label) > MOST_LABELS)
    gives = "a number" if model.answers_with == "numbers" else gives
    return [
        as_text(f"Takes {', '.join(takes)}, any of them; the rest is cut off. Answers {gives}."),
        *(FIELDS[kind.drawing](visible=m in raw) for m, kind in MODALITIES.items()),
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


def classify(checkpoints: Offered, name: str, text: str, image, video, audio, used: list[str]) -> Iterator[list]:
    """The answer and those to every subset of the modalities; then the pictures, too."""
    with messages():
        classifier, text = checkpoints(name), (text or "").strip()
        row = read_row(classifier, dict(zip(CELLS, (text, image, audio, video), strict=True)), used)
        batch = classifier.encode([row], truncation=True)
        given = [m for m, parts in PARTS.items() if row.keys() & set(parts)]
        answers = answer_subsets(classifier, batch, given)
        shown = [show_answer(classifier, answers[tuple(given)]), show_answers(classifier, answers)]
        yield [*shown, *[gr.skip()] * (1 + len(PICTURES))]
        is_whole = {*classifier.model.config.modalities} <= {*used}  # windows are answered from all that a clip has
        timeline = show_timeline(classifier, video, audio, text) if "videos" in row and is_whole else None
        pictures = draw(classifier, batch, given)
        plots = [gr.Plot(value=pictures.get(kind), visible=kind in pictures) for kind in PICTURES]
        yield [*shown, gr.LinePlot(value=timeline, visible=timeline is not None), *plots]


def answer_subsets(classifier: MultimodalClassificationPipeline, batch: dict, given: list[str]) -> dict:
    """Subset of the modalities -> answers (labels,); all that was given comes first."""
    subsets = sorted(bounded_subsets(given), key=len, reverse=True)
    with torch.no_grad():
        logits = classifier.model(**batch, modality_subsets=subsets).logits[0]  # (subsets, labels)
    return dict(zip(subsets, classifier.answers(logits).cpu()))


def show_answer(classifier: MultimodalClassificationPipeline, answer: torch.Tensor) -> dict[str, float] | str:
    """As gr.Label takes it: labels with probabilities, or numbers."""
    if classifier.model.answers_with == "numbers":
        return ", ".join(f"{value:.3f}" for value in answer.tolist())
    return {part["label"]: part["score"] for part in classifier.postprocess({"scores": answer})}


def show_answers(classifier: MultimodalClassificationPipeline, answers: dict) -> gr.Dataframe:
    """A line for each subset of what was given: what would be said without the rest."""
    config, whole = classifier.model.config, next(iter(answers.values()))
    if classifier.model.answers_with == "numbers":
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


def show_timeline(classifier: MultimodalClassificationPipeline, video: bytes, audio: bytes | None, text: str):
    """A table of the probability of each label in each window of a longer clip, or None."""
    if classifier.model.answers_with == "numbers":
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
    labels = {number: shortened(label) for number, label in model.config.id2label.items()}
    found = {"contributions": plot_contributions(modality_contributions(model, batch), row=0, labels=labels)}
    if model.config.num_hidden_layers:
        found["modalities"] = plot_modality_attention(maps, row=0)
        found["tokens"] = plot_token_attention(maps, tokenizer=tokenizer)
        moving = [m for m in given if MODALITIES[m].is_moving(batch)]
        if len(moving) > 1:
            found["over_time"] = plot_attention_over_time(maps, *moving[:2])
    return found | {"rollout": plot_rollout(maps, tokenizer=tokenizer)}


def show_examples(inputs: list) -> None:
    """Rows of the embedded digits that no training saw, which a click puts into the inputs of the page. (`gr.Examples`
    would do so around the queue.)"""
    rows, files = [], []
    with tempfile.TemporaryDirectory() as folder:  # from which the page takes them over
        for number, row in enumerate(as_stored(load_digits_dataset()["test"].select(range(EXAMPLES)))):
            place = Path(folder) / str(number)
            place.mkdir()
            example = save_examples(place, row)
            files.append([example[m] for m in MODALITIES])
            rows.append([FILLED_IN[kind.drawing](row[m], m) for m, kind in MODALITIES.items()])
        shown = gr.Dataset(components=inputs, samples=files, type="index", label="Digits that it never saw")
    shown.click(rows.__getitem__, shown, inputs, show_progress="hidden", api_visibility="private")


def playable(sound: Any, name: str) -> tuple[int, np.ndarray]:
    """Hz, and samples (N,) as the page plays them."""
    samples, rate = read_audio(sound, name, allow_urls=False)
    return rate, (to_mono(samples, name).clip(-1, 1) * np.iinfo(np.int16).max).astype(np.int16)


# How the tokens of a modality are drawn -> what makes an example of a cell that its input is filled in with
FILLED_IN = {
    "words": lambda cell, name: cell,
    "frames": partial(load_image, convert_rgb=True),
    "spectrogram": playable,
}


def shortened(value: Any) -> str:
    return textwrap.shorten(str(value), MOST_CHARACTERS, placeholder=" …")


def empty_plot(kind: str) -> gr.Plot:
    return gr.Plot(label=PICTURES[kind], show_label=False, elem_id=kind, visible=False)


def classify_tab(checkpoints: Offered, limits: VisitorLimits) -> tuple:
    """Returns what is to be done when the page is opened: a function, its inputs and its outputs."""
    name, chosen = choose(checkpoints, "Checkpoint", "An id on the Hub, or a folder; Enter loads it.")
    about = gr.HTML()
    with gr.Row():
        with gr.Column():
            said = "Or what is said in the video."
            text = gr.Textbox(label="Sentence", info=said, max_length=limits.max_characters)
            with gr.Row() as looks:
                image = Picture(label="Picture", height=280, elem_id="picture")
                video = Clip(label="Video", height=280, elem_id="video")
            audio = Sound(label="Sound", type="filepath", elem_id="sound")
            used = gr.CheckboxGroup(
                list(PARTS), value=list(PARTS), label="Use", info="Leave out a modality to see what changes."
            )
            button = gr.Button("Classify", variant="primary")
            if DIGITS in checkpoints.loaded:
                show_examples([text, image, audio])
        with gr.Column():
            answer = gr.Label(label="Answer", num_top_classes=5, elem_id="answer")
            header = {"headers": ["given", "answer"], "label": "What it would say without the rest"}
            answers = gr.Dataframe(**header, wrap=True, elem_id="answers")
            options = {"x": "seconds", "y": "probability", "color": "label", "y_lim": [0, 1], "visible": False}
            timeline = gr.LinePlot(label=f"Over time, in windows of {WINDOW_SECONDS:g} s", **options)
            plots = [empty_plot(kind) for kind in BESIDE]
    plots += [empty_plot(kind) for kind in BELOW]
    opening = (partial(show_checkpoint, checkpoints), [name], [about, text, looks, audio, used])
    chosen(*opening, api_name="show_checkpoint")
    gr.on(
        [button.click, text.submit, used.input],
        partial(classify, checkpoints),
        [name, text, image, video, audio, used],
        [answer, answers, timeline, *plots],
        trigger_mode="always_last",
        api_name="classify",
    )
    return opening


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def show_index(indexes: Offered, name: str) -> str:
    with messages():
        index = indexes(name)
        columns, model = ", ".join(index.description["columns"].values()), index.description["model"]
        asked_with = Path(model).name if Path(model).is_dir() else model
        return as_text(f"{len(index):,} rows with {shortened(columns)}; asked with {shortened(asked_with)}.")


def search(indexes: Offered, name: str, text: str, image, audio, modality: str, k: float) -> dict:
    """Which rows were found in which index."""
    with messages():
        index, text = indexes(name), (text or "").strip()
        if not (text or image or audio):
            raise ValueError("Nothing was given: type a sentence, or upload a picture or a sound.")
        chosen = None if modality == ANYTHING else modality
        hits = index.search(text or None, image, audio, k=int(k), modality=chosen)
        if not hits:
            raise ValueError(f"No row of the index has {modality}.")
        return {"name": name, "hits": hits}


def show_hits(indexes: Offered, found: dict | None) -> None:
    """Cards of the rows: thumbnails, players, and what else the columns say."""
    if found is None:
        return
    with messages():
        rows = indexes(found["name"]).rows
    with gr.Row():
        for hit in found["hits"]:
            with gr.Column(min_width=THUMBNAIL, elem_classes="hit"):
                gr.HTML(as_text(f"{hit['score']:.3f}", f" by {hit['modality']}, row {hit['id']}"))
                for column, cell in rows[hit["id"]].items():
                    if cell is not None:
                        show_cell(column, cell, rows.features[column])


def show_cell(column: str, cell: Any, feature: Any) -> None:
    try:
        if isinstance(feature, datasets.Image):
            picture = load_image(stored_content(cell, column), column, convert_rgb=True, allow_urls=False)
            picture.thumbnail((THUMBNAIL, THUMBNAIL))
            gr.Image(picture, label=column, height=THUMBNAIL, interactive=False)
        elif isinstance(feature, datasets.Audio):
            gr.Audio(playable(stored_content(cell, column), column), label=column, interactive=False)
        elif isinstance(feature, datasets.Video):
            with tempfile.NamedTemporaryFile(suffix=".mp4") as copy:
                copy.write(stored_content(cell, column))
                copy.flush()
                Clip(copy.name, label=column, height=THUMBNAIL, interactive=False)  # which takes it over
        else:
            value = feature.int2str(cell) if isinstance(feature, datasets.ClassLabel) else cell
            gr.HTML(as_text(column, f": {shortened(value)}"))
    except (ValueError, OSError, ImportError) as error:
        gr.HTML(as_text(str(error)))


def stored_content(cell: Any, column: str) -> bytes:
    """
    Of a picture, a sound or a video of an index.

    Raises:
        ValueError: the index points to a file that is not there, which is not named, or elsewhere than to a file.
    """
    cell = cell if isinstance(cell, dict) else {"path": cell}
    if cell.get("bytes") is not None:
        return cell["bytes"]
    try:
        return Path(cell["path"]).read_bytes()
    except (OSError, ValueError, TypeError):
        raise ValueError(f"{column} is not in the index, and not where the index says it is.") from None


def search_tab(indexes: Offered, limits: VisitorLimits) -> tuple:
    """Returns what is to be done when the page is opened, as `classify_tab`."""
    name, chosen = choose(indexes, "Index", "The folder that `mot index` wrote; Enter loads it.")
    about = gr.HTML()
    with gr.Row():
        text = gr.Textbox(label="Sentence", max_length=limits.max_characters)
        image = Picture(label="Picture", height=200, elem_id="query-picture")
        audio = Sound(label="Sound", type="filepath", elem_id="query-sound")
    with gr.Row():
        modality = gr.Radio(
            [ANYTHING, *EMBEDDING_KINDS], value=ANYTHING, label="Compare with", info="fused: all that a row has"
        )
        k = gr.Slider(1, MOST_HITS, value=8, step=1, label="How many")
    button = gr.Button("Search", variant="primary")
    found = gr.State()

    @gr.render(found)
    def show_found(found):
        show_hits(indexes, found)

    opening = (partial(show_index, indexes), [name], [about])
    chosen(*opening, api_name="show_index")
    inputs = [name, text, image, audio, modality, k]
    gr.on([button.click, text.submit], partial(search, indexes), inputs, [found], api_name="search")
    return opening


# ---------------------------------------------------------------------------------------------------------------------
# The page, here or as a Space
# ---------------------------------------------------------------------------------------------------------------------


def build_page(
    models: str | Iterable[str] = (),
    indexes: str | Iterable[str] = (),
    allow_any_checkpoint: bool = False,
    limits: VisitorLimits = DEFAULTS,
) -> gr.Blocks:
    """
    The page, for `serve`. What it offers is loaded now.

    Args:
        models: checkpoints that classify, on the Hub or in folders.
        indexes: folders of indexes.
        allow_any_checkpoint: visitors may name other checkpoints and indexes, of this machine or of the Hub.
        limits: of what visitors send.

    Raises:
        ValueError, OSError: one of them cannot be loaded.
    """
    checkpoints = Offered(models, read_classifier, any_place=allow_any_checkpoint)
    offered = Offered(indexes, read_index, index_version, any_place=allow_any_checkpoint)
    with Page(limits, title="Mixture-of-Transformers", analytics_enabled=False) as page:
        gr.Markdown("# Mixture-of-Transformers\nText, pictures or video, and sound: any of them, and what each adds.")
        for title, make, things in (("Classify", classify_tab, checkpoints), ("Search", search_tab, offered)):
            if things.places or allow_any_checkpoint:
                with gr.Tab(title):
                    opening = make(things, limits)
                if things.places:
                    page.load(*opening, api_name=False)
    return page.queue(max_size=limits.max_waiting, api_open=False)


def serve(
    models: str | Iterable[str] = (),
    indexes: str | Iterable[str] = (),
    host: str | None = None,
    port: int | None = None,
    allow_hosts: Iterable[str] = (),
    allow_any_checkpoint: bool = False,
    limits: VisitorLimits = DEFAULTS,
) -> None:
    """Serve the page until the process is stopped; then nothing is left of what visitors sent."""
    host = host or "127.0.0.1"
    os.environ["GRADIO_RUN_HISTORY"] = "False"  # it writes what was asked to the Hub, with the token of this machine
    with own_folder() as folder, stopping_on_signals():
        page = build_page(models, indexes, allow_any_checkpoint, limits)
        uploads = Uploads(folder, limits)
        uploads.keep_sweeping()
        guard = Middleware(Guard, serves=served_hosts(host, allow_hosts), limits=limits, uploads=uploads)
        # None from elsewhere.
        fonts = {"font": ("system-ui", "sans-serif"), "font_mono": ("ui-monospace", "monospace")}
        try:
            page.launch(
                server_name=host,
                server_port=port,
                show_error=False,
                ssr_mode=False,
                max_file_size=limits.max_upload_megabytes * 2**20,
                state_session_capacity=limits.max_sessions,
                footer_links=["api", "settings"],
                _frontend=False,  # Gradio's check that the page answers within 3 s stops it on a busy machine
                app_kwargs={"middleware": [guard]},
                theme=gr.themes.Default(**fonts),
                css=STYLE,
            )
        finally:
            page.close(verbose=False)


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """SIGTERM and a terminal that is closed end the process as Ctrl-C does: what is to be removed is removed."""
    numbers = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, lambda number, frame: sys.exit(128 + number)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train_digits() -> tuple[list[str], list[str]]:
    """The checkpoint and the index of the embedded digits, made where they are not there yet."""
    for folder, arguments in ((DIGITS, []), (DIGITS_RETRIEVAL, ["--task", "retrieval"])):
        if not (Path(folder) / "config.json").exists():
            print(f"{folder} is not there: training it on the embedded digits, once, which takes some minutes.")
            finetune(arguments)
    build_index(load_digits_dataset()["test"], *load(DIGITS_RETRIEVAL), DIGITS_INDEX)
    return [DIGITS], [DIGITS_INDEX]


def main(arguments: list[str] | None = None) -> None:
    """`mot demo`."""
    parser = argparse.ArgumentParser(
        prog="mot demo", description="A page to classify and search with, and to see why."
    )
    parser.add_argument("--models", "--model", nargs="+", default=[], help="checkpoints that classify: ids, folders")
    parser.add_argument("--indexes", "--index", nargs="+", default=[], help="folders that `mot index` wrote")
    host = os.environ.get("GRADIO_SERVER_NAME")  # which Spaces set
    parser.add_argument(
        "--host", default=host, help="of the page; this machine alone by default, 0.0.0.0 for all that reach it"
    )
    parser.add_argument("--port", type=int, help="of the page; the first that is free from 7860 by default")
    parser.add_argument("--allow_hosts", nargs="+", default=[], help="names under which others reach the page")
    parser.add_argument(
        "--allow_any_checkpoint",
        action="store_true",
        help="the page has a field for any checkpoint or index, of this machine or the Hub; "
        "for your own machine alone",
    )
    for limit in dataclasses.fields(VisitorLimits):
        parser.add_argument(f"--{limit.name}", type=int, default=limit.default, help=f"default: {limit.default}")
    parser.add_argument("--space_dir", type=Path, help="write a folder to be uploaded as a Space, and stop")
    options = parser.parse_args(arguments)
    models, indexes = options.models, options.indexes
    is_open = options.host not in (None, *LOCAL) or options.space_dir is not None or gr.utils.get_space() is not None
    if options.allow_any_checkpoint and is_open:
        parser.error(
            "--allow_any_checkpoint reads any folder for whoever asks: it goes with a page of this machine alone"
        )
    limits = VisitorLimits(**{limit.name: getattr(options, limit.name) for limit in dataclasses.fields(VisitorLimits)})
    if not (models or indexes):
        models, indexes = train_digits()
    if options.space_dir is not None:
        write_space(options.space_dir, models, indexes)
        print(f"Upload it with: hf upload user/name {options.space_dir} . --repo-type space")
        return
    serve(models, indexes, options.host, options.port, options.allow_hosts, options.allow_any_checkpoint, limits)


if __name__ == "__main__":
    run(main, sys.argv[1:])
