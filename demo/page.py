# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The demo page: classify any mix of what a checkpoint takes and see why; search an index; write, draw and speak.

    mot demo                                                # on the embedded digits
    mot demo --models user/model --indexes outputs/index    # checkpoints on the Hub or in folders, indexes in folders
    mot demo --space_dir outputs/space                      # writes a folder to be uploaded as a Space

Visitors choose from what the page was started with, and their files are the only ones that are read
(`demo/visitors.py`). Checkpoints are loaded as the classes of this package: the page runs no code that comes with one.
"""

import argparse
import dataclasses
import os
import signal
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import pandas
import torch

from mixture_of_transformers.attribution_mot import modality_contributions
from mixture_of_transformers.data.digits import load_digits_dataset
from mixture_of_transformers.decoding_image_mot import load_image
from mixture_of_transformers.decoding_series_mot import read_series
from mixture_of_transformers.demo.examples import digits, examples_in
from mixture_of_transformers.demo.fields import as_text, choose, parameters_of, with_parameters
from mixture_of_transformers.demo.generating import generate_tab
from mixture_of_transformers.demo.offers import Offered, index_version, read_classifier, read_index
from mixture_of_transformers.demo.panels import (
    NUMBER_WIDTH,
    Clip,
    FramesPanel,
    Inputs,
    Panel,
    SeriesPanel,
    messages,
    panels_of,
    panels_with,
    playable,
    shortened,
)
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
    plot_series,
    plot_token_attention,
)
from mixture_of_transformers.modalities_mot import CELLS, MODALITIES
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.search.building import build_index
from mixture_of_transformers.search.embedder import load
from mixture_of_transformers.search.index import Index
from mixture_of_transformers.serving.generate import load_generator
from mixture_of_transformers.serving.video import WINDOW_SECONDS, analyze_video_sentiment
from mixture_of_transformers.subsets_mot import bounded_subsets
from mixture_of_transformers.training.command import run
from mixture_of_transformers.training.continuation import generates

import gradio as gr  # isort: skip  (after `mixture_of_transformers.demo.visitors`, which says so if it is missing)
from gradio.components import Component  # isort: skip
from starlette.middleware import Middleware  # isort: skip
from mixture_of_transformers.finetune.commands import start_run as finetune

DIGITS, DIGITS_RETRIEVAL, DIGITS_INDEX = "outputs/digits", "outputs/digits-retrieval", "outputs/digits-index"
DIGITS_GENERATOR = "outputs/digits-generation"
MOST_LABELS = 12  # that are shown
MOST_HITS = 24
ANYTHING = "anything"  # of an item may be near to the query
THUMBNAIL = 192  # pixels
SAID_HINT = "Or what is said in the video."
# Small pictures fill their place.
STYLE = (
    ".picture img, .hit img {width: 100%; height: 100%; object-fit: contain} .hit {overflow-wrap: anywhere} "
    f".columns > .form {{display: grid; grid-template-columns: repeat(auto-fill, minmax({NUMBER_WIDTH}px, 1fr)); "
    "background: var(--block-background-fill)}"
)
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


# ---------------------------------------------------------------------------------------------------------------------
# Classify
# ---------------------------------------------------------------------------------------------------------------------


def show_checkpoint(checkpoints: Offered, panels: list[Panel], with_examples: list[str], name: str) -> list:
    """What the checkpoint takes and gives, and the inputs, the modalities and the examples that it has."""
    with messages():
        classifier = checkpoints(name)
        asked = panels_of(classifier.model, classifier.processor)
    shown = [m for m, panel in asked.items() if panel in panels]
    return [
        as_text(describe(classifier, shown)),
        *(gr.update(visible=panel in asked.values()) for panel in panels),
        gr.CheckboxGroup(choices=shown, value=shown),
        *(gr.update(visible=place == checkpoints.place_of(name)) for place in with_examples),
    ]


def describe(classifier: MultimodalClassificationPipeline, shown: list[str]) -> str:
    """What a checkpoint takes, of which the page has inputs for what is `shown`, and what it gives."""
    model, config = classifier.model, classifier.model.config
    limits = {m: config.kinds[m].describe_limit(config.modality_config(m)) for m in shown}
    takes = ", ".join(f"{m} ({limit})" if limit else m for m, limit in limits.items())
    said = f"Takes {takes}, any of them; the rest is cut off. " if shown else ""
    ready = [m for m in config.modalities if not config.modality_config(m).takes_raw_input]
    if ready:
        said += f"Takes {', '.join(ready)} as ready vectors, too, for which a page has no inputs. "
    if missing := [m for m in config.modalities if m not in shown and m not in ready]:
        said += f"Takes {', '.join(missing)}, too, for which this page has no inputs: start it with this checkpoint. "
    if model.answers_with == "numbers":
        return f"{said}Answers a number."
    labels = [shortened(label) for label in list(config.id2label.values())[:MOST_LABELS]]
    return f"{said}Answers {', '.join(labels)}{', …' * (len(config.id2label) > MOST_LABELS)}."


def read_row(classifier: MultimodalClassificationPipeline, row: dict[str, Any], used: list[str]) -> dict:
    """What was given, decoded, without the modalities that are left out."""
    decoded, parts = classifier.preprocess(row), parts_of(classifier)
    if unknown := [m for m in used if m not in parts]:
        raise ValueError(f"The checkpoint does not take {shortened(unknown[0])!r}: it takes {', '.join(parts)}.")
    kept = {part: decoded[part] for m in used for part in parts[m] if part in decoded}
    if not kept:
        unused = [m for m, own in parts.items() if m not in used and decoded.keys() & set(own)]
        raise ValueError(f"Everything that was given is left out: use {', '.join(unused)}.")
    return kept


def parts_of(classifier: MultimodalClassificationPipeline) -> dict[str, tuple[str, ...]]:
    """Modality -> those parts of a decoded row that are of it."""
    kinds = classifier.processor.kinds
    return {m: tuple(cell.argument for cell in kinds[m].cells) for m in classifier.model.config.modalities}


def read_panels(
    panels: list[Panel], asked: dict[str, Panel], values: tuple, processor: Any, limits: VisitorLimits
) -> dict[str, Any]:
    """
    The cells of the row that was given.

    Args:
        panels: all of the page, whose components hold `values` in their order.
        asked: those of the checkpoint, by modality; what is hidden, others hold.
    """
    waiting, row = list(values), {}
    for panel in panels:
        held, waiting = waiting[: panel.size], waiting[panel.size :]
        if panel in asked.values():
            row |= panel.read(held, processor.kinds[panel.name].settings_in(processor), limits)
    row = {name: value for name, value in row.items() if value}
    if not row:
        labels = [label for panel in asked.values() for label in panel.labels]
        raise ValueError(f"Nothing was given: fill in {' or '.join(labels)}.")
    return row


def classify(checkpoints: Offered, panels: list[Panel], limits: VisitorLimits, name: str, *values) -> Iterator[list]:
    """
    The answer and those to every subset of the modalities; then the pictures, too.

    Args:
        values: what the components of the panels hold; and at the end, which modalities are used.
    """
    with messages():
        *values, used = values
        classifier = checkpoints(name)
        asked = panels_of(classifier.model, classifier.processor)
        given_row = read_panels(panels, asked, values, classifier.processor, limits)
        row = read_row(classifier, given_row, used)
        batch = classifier.encode([row], truncation=True)
        given = [m for m, parts in parts_of(classifier).items() if row.keys() & set(parts)]
        answers = answer_subsets(classifier, batch, given)
        shown = [show_answer(classifier, answers[tuple(given)]), show_answers(classifier, answers)]
        yield [*shown, *[gr.skip()] * (1 + len(PICTURES))]
        # Windows are answered from all that a clip has, and from nothing else.
        is_whole = {*classifier.model.config.modalities} <= {*used} and given_row.keys() <= CELLS.keys()
        timeline = show_timeline(classifier, **given_row) if "video" in given_row and is_whole else None
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


def show_timeline(
    classifier: MultimodalClassificationPipeline, video: bytes, audio: bytes | None = None, text: str | None = None
):
    """A table of the probability of each label in each window of a longer clip, or None."""
    if classifier.model.answers_with == "numbers":
        return None
    windows = analyze_video_sentiment(video, audio, text, classifier=classifier)["timeline"]
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
        moving = [m for m in given if model.config.kinds[m].is_moving(batch)]
        if len(moving) > 1:
            found["over_time"] = plot_attention_over_time(maps, *moving[:2])
    return found | {"rollout": plot_rollout(maps, tokenizer=tokenizer)}


def examples_of(place: str, classifier: MultimodalClassificationPipeline) -> list[dict[str, Any]]:
    """Rows to try a checkpoint with, if it brings any."""
    found = examples_in(place, classifier.processor.rows)
    return found or (digits() if place == DIGITS else [])


def show_examples(
    panels: list[Panel], inputs: list[Component], asked: Iterable[Panel], rows: list[dict[str, Any]], label: str
) -> gr.Dataset:
    """
    Rows which a click puts into the inputs of the page. (`gr.Examples` would do so around the queue.)

    Args:
        panels, inputs: all of the page, and their components.
        asked: the panels of the checkpoint.
    """
    headers = [label for panel in asked for label in panel.labels]
    with tempfile.TemporaryDirectory() as folder:  # from which the page takes files over
        seen = []
        for number, row in enumerate(rows):
            place = Path(folder) / str(number)
            place.mkdir()
            seen.append([preview for panel in asked for preview in panel.previews(row, place)])
        used = [i for i in range(len(headers)) if any(row[i][1] for row in seen)]
        shown = gr.Dataset(
            components=[seen[0][i][0] for i in used],
            headers=[headers[i] for i in used],
            samples=[[row[i][1] for i in used] for row in seen],
            type="index",
            label=label,
        )

    def fill(number: int) -> list:
        return [value for panel in panels for value in panel.fill(rows[number])]

    shown.click(fill, shown, inputs, show_progress="hidden", api_visibility="private")
    return shown


def show_input(checkpoints: Offered, panel: SeriesPanel, limits: VisitorLimits, name: str, *values) -> gr.Plot:
    """What was given of one modality, drawn."""
    with messages():
        processor = checkpoints(name).processor
        settings = processor.kinds[panel.name].settings_in(processor) if panel.name in processor.kinds else {}
        figure = panel.draw(list(values), settings, limits)
    return gr.Plot(value=figure, visible=figure is not None)


def empty_plot(kind: str) -> gr.Plot:
    return gr.Plot(label=PICTURES[kind], show_label=False, elem_id=kind, visible=False)


def classify_tab(checkpoints: Offered, limits: VisitorLimits) -> tuple:
    """Returns what is to be done when the page is opened: a function, its inputs and its outputs."""
    name, chosen = choose(checkpoints, "Checkpoint", "An id on the Hub, or a folder; Enter loads it.")
    asked = [panels_of(classifier.model, classifier.processor) for _, classifier in checkpoints.loaded.values()]
    panels = panels_with(asked, historic=checkpoints.any_place)
    about = gr.HTML()
    with gr.Row():
        with gr.Column():
            has_clip = any(isinstance(panel, FramesPanel) and any(panel.are_videos) for panel in panels)
            hints = {m: SAID_HINT for m in MODALITIES if has_clip}
            inputs = [panel.build(limits, hint=hints.get(panel.name)) for panel in panels]
            fields = [field for made in inputs for field in made.components]
            names = [*dict.fromkeys(panel.name for panel in panels)]
            used = gr.CheckboxGroup(names, value=names, label="Use", info="Leave out a modality to see what changes.")
            button = gr.Button("Classify", variant="primary")
            examples = {}
            for place, (_, classifier) in checkpoints.loaded.items():
                if rows := examples_of(place, classifier):
                    own = panels_of(classifier.model, classifier.processor).values()
                    label = "Digits that it never saw" if place == DIGITS else "Examples"
                    examples[place] = show_examples(panels, fields, own, rows, label)
        with gr.Column():
            answer = gr.Label(label="Answer", num_top_classes=5, elem_id="answer")
            header = {"headers": ["given", "answer"], "label": "What it would say without the rest"}
            answers = gr.Dataframe(**header, wrap=True, elem_id="answers")
            options = {"x": "seconds", "y": "probability", "color": "label", "y_lim": [0, 1], "visible": False}
            timeline = gr.LinePlot(label=f"Over time, in windows of {WINDOW_SECONDS:g} s", **options)
            plots = [empty_plot(kind) for kind in BESIDE]
    plots += [empty_plot(kind) for kind in BELOW]
    shown = [about, *(made.shown for made in inputs), used, *examples.values()]
    opening = (partial(show_checkpoint, checkpoints, panels, list(examples)), [name], shown)
    chosen(*opening, api_name="show_checkpoint")
    draw_inputs(checkpoints, name, panels, inputs, limits)
    gr.on(
        [button.click, *(field.submit for field in fields if isinstance(field, gr.Textbox)), used.input],
        with_parameters(partial(classify, checkpoints, panels, limits), ["name", *parameters_of(panels), "used"]),
        [name, *fields, used],
        [answer, answers, timeline, *plots],
        trigger_mode="always_last",
        api_name="classify",
    )
    return opening


def draw_inputs(
    offered: Offered, name: Component, panels: list[Panel], inputs: list[Inputs], limits: VisitorLimits
) -> None:
    """Have what is given be drawn, of those modalities for which the page has a place for that."""
    options = {"show_progress": "hidden", "trigger_mode": "always_last", "api_visibility": "private"}
    for panel, made in zip(panels, inputs):
        if made.drawn is not None:
            draw_input = partial(show_input, offered, panel, limits)
            gr.on(made.events, draw_input, [name, *made.components], [made.drawn], **options)


# ---------------------------------------------------------------------------------------------------------------------
# Search
# ---------------------------------------------------------------------------------------------------------------------


def show_index(indexes: Offered, panels: list[Panel], name: str) -> list:
    """What the index holds and is asked with, the inputs for that, and what of a row can be compared with."""
    with messages():
        index = indexes(name)
        columns, model = ", ".join(index.description["columns"].values()), index.description["model"]
        asked_with = Path(model).name if Path(model).is_dir() else model
        asked = usual_panels(index)
    return [
        as_text(f"{len(index):,} rows with {shortened(columns)}; asked with {shortened(asked_with)}."),
        *(gr.update(visible=panel in asked.values()) for panel in panels),
        gr.Radio([ANYTHING, *kinds_in(index)], value=ANYTHING),
    ]


def usual_panels(index: Index) -> dict[str, Panel]:
    """Modality -> what is asked of it in a query."""
    return {m: panel.usual for m, panel in panels_of(index.model, index.processor).items()}


def kinds_in(index: Index) -> list[str]:
    """The embeddings of which the rows have some."""
    return [kind for kind, rows in index.present.items() if rows.any()]


def search(indexes: Offered, panels: list[Panel], limits: VisitorLimits, name: str, *values) -> dict:
    """
    Which rows were found in which index.

    Args:
        values: what the components of the panels hold; and at the end, what to compare with, and how many rows.
    """
    with messages():
        *values, modality, k = values
        index = indexes(name)
        query = read_panels(panels, usual_panels(index), values, index.processor, limits)
        chosen = None if modality == ANYTHING else modality
        hits = index.search(**query, k=int(k), modality=chosen)
        if not hits:
            raise ValueError(f"No row of the index has {modality}.")
        return {"name": name, "hits": hits}


def show_hits(indexes: Offered, found: dict | None) -> None:
    """Cards of the rows: thumbnails, players, and what else the columns say."""
    if found is None:
        return
    with messages():
        index = indexes(found["name"])
        rows, asked = index.rows, usual_panels(index)
        panels = {column: asked.get(kind) for kind, column in index.description["columns"].items()}
    with gr.Row():
        for hit in found["hits"]:
            with gr.Column(min_width=THUMBNAIL, elem_classes="hit"):
                gr.HTML(as_text(f"{hit['score']:.3f}", f" by {hit['modality']}, row {hit['id']}"))
                for column, cell in rows[hit["id"]].items():
                    if cell is not None:
                        show_cell(column, cell, rows.features[column], panels.get(column))


def show_cell(column: str, cell: Any, feature: Any, panel: Panel | None) -> None:
    """
    Args:
        panel: that of the modality which the column holds; None where it holds none.
    """
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
        elif isinstance(panel, SeriesPanel):
            series = read_series(cell, column)
            gr.Plot(plot_series(series.values, series.times, series.sampling_rate, column), show_label=False)
        elif isinstance(cell, dict):
            said = ", ".join(f"{name}: {value}" for name, value in cell.items() if value is not None)
            gr.HTML(as_text(column, f": {shortened(said)}"))
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
    loaded = [index for _, index in indexes.loaded.values()]
    panels = panels_with(map(usual_panels, loaded), historic=indexes.any_place)
    panels = [*dict.fromkeys(panel.usual for panel in panels)]
    about = gr.HTML()
    with gr.Row():
        inputs = [panel.build(limits, prefix="query-", height=200) for panel in panels]
    fields = [field for made in inputs for field in made.components]
    with gr.Row():
        kinds = [ANYTHING, *dict.fromkeys(kind for index in loaded for kind in kinds_in(index))]
        modality = gr.Radio(kinds, value=ANYTHING, label="Compare with", info="fused: all that a row has")
        k = gr.Slider(1, MOST_HITS, value=8, step=1, label="How many")
    button = gr.Button("Search", variant="primary")
    found = gr.State()

    @gr.render(found)
    def show_found(found):
        show_hits(indexes, found)

    shown = [about, *(made.shown for made in inputs), modality]
    opening = (partial(show_index, indexes, panels), [name], shown)
    chosen(*opening, api_name="show_index")
    draw_inputs(indexes, name, panels, inputs, limits)
    gr.on(
        [button.click, *(field.submit for field in fields if isinstance(field, gr.Textbox))],
        with_parameters(partial(search, indexes, panels, limits), ["name", *parameters_of(panels), "modality", "k"]),
        [name, *fields, modality, k],
        [found],
        api_name="search",
    )
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
        models: checkpoints that classify or generate, on the Hub or in folders.
        indexes: folders of indexes.
        allow_any_checkpoint: visitors may name other checkpoints and indexes, of this machine or of the Hub.
        limits: of what visitors send.

    Raises:
        ValueError, OSError: one of them cannot be loaded.
    """
    models = [models] if isinstance(models, str) else [*filter(None, models)]
    generating = [place for place in models if generates(place)]
    classifying = [place for place in models if place not in generating]
    checkpoints = Offered(classifying, read_classifier, any_place=allow_any_checkpoint)
    generators = Offered(generating, load_generator, any_place=allow_any_checkpoint)
    offered = Offered(indexes, read_index, index_version, any_place=allow_any_checkpoint)
    with Page(limits, title="Mixture-of-Transformers", analytics_enabled=False) as page:
        gr.Markdown("# Mixture-of-Transformers\nAny of what a model takes, and what each part of it adds.")
        tabs = (
            ("Classify", classify_tab, checkpoints),
            ("Search", search_tab, offered),
            ("Generate", generate_tab, generators),
        )
        for title, make, things in tabs:
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
    generators = [DIGITS_GENERATOR] if (Path(DIGITS_GENERATOR) / "config.json").exists() else []  # `make generate`
    return [DIGITS, *generators], [DIGITS_INDEX]


def main(arguments: list[str] | None = None) -> None:
    """`mot demo`."""
    parser = argparse.ArgumentParser(
        prog="mot demo", description="A page to classify, search and generate with, and to see why."
    )
    parser.add_argument("--models", "--model", nargs="+", default=[], help="checkpoints that classify or generate")
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
