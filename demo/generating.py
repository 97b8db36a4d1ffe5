# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tab of the page where a causal checkpoint writes, draws and speaks: type, show or record, choose what is to come
out, and watch it come.
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from PIL import Image
from transformers import set_seed

from mixture_of_transformers.configuration_causal_mot import TEXT
from mixture_of_transformers.demo.fields import as_text, choose, parameters_of, with_parameters
from mixture_of_transformers.demo.offers import Offered
from mixture_of_transformers.demo.panels import Panel, messages, panel_of
from mixture_of_transformers.demo.visitors import VisitorLimits
from mixture_of_transformers.grammar_mot import INTERLEAVED
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.serving.generate import generation_modes, prompt_of

import gradio as gr  # isort: skip  (after `mixture_of_transformers.demo.visitors`, which says so if it is missing)

MOST_SEED = 2**31 - 1
# What may come out of a checkpoint that a visitor names.
ANY_MODE = [*MODALITIES, INTERLEAVED]
MOST_SOUNDS = 4  # that are shown
MOST_TOKENS = 1024
PICTURE = 256  # pixels, to which small pictures are enlarged, each of their pixels as a square


def media_panels(processor: Any) -> dict[str, Panel]:
    """What is asked of each modality beside text that a page has inputs for."""
    names = [name for name in processor.layout.modalities if name != TEXT and name in processor.kinds]
    return {name: panel_of(processor.kinds[name], {}).usual for name in names}


def show_generator(generators: Offered, panels: list[Panel], name: str) -> list:
    """What the checkpoint takes and makes, its inputs, and what may come out."""
    with messages():
        model, processor = generators(name)
        asked = media_panels(processor).values()
    modes = generation_modes(model)
    return [
        as_text(f"Reads {', '.join(processor.layout.modalities)}; makes {', '.join(model.output_modalities)}."),
        *(gr.update(visible=panel in asked) for panel in panels),
        gr.Radio(modes, value=modes[0]),
    ]


def read_media(panels: list[Panel], values: list, processor: Any, limits: VisitorLimits) -> dict[str, list]:
    """Modality -> what was given of it, of those that the checkpoint asks for."""
    waiting, media, asked = list(values), {}, media_panels(processor)
    for panel in panels:
        held, waiting = waiting[: panel.size], waiting[panel.size :]
        if panel in asked.values():
            settings = processor.kinds[panel.name].settings_in(processor)
            found = panel.read(held, settings, limits).values()
            media[panel.name] = [value for value in found if value]
    return media


def generate(generators: Offered, panels: list[Panel], limits: VisitorLimits, name: str, *values) -> Iterator[list]:
    """
    What comes, as it comes: the text with a mark for each medium, the pictures, the sounds.

    Args:
        values: what the components of the panels hold; then the prompt, the mode, the temperature, the strength of
            guidance, the most tokens, and the seed.
    """
    with messages():
        *held, text, mode, temperature, guidance, length, seed = values
        model, processor = generators(name)
        if mode not in generation_modes(model):
            raise ValueError(f"The checkpoint has no mode {mode!r}: it has {', '.join(generation_modes(model))}.")
        media = read_media(panels, held, processor, limits)
        if not (text or "").strip() and not any(media.values()):
            raise ValueError("Nothing was given: type a prompt, or give what it is to answer to.")
        prompt = prompt_of(processor, (text or "").strip(), media)
        inputs = processor(**prompt, allow_urls=False, return_tensors="pt")
        room = model.config.max_position_embeddings - inputs["input_ids"].shape[1]
        if room < 1:
            raise ValueError(f"The prompt is too long: the model takes {model.config.max_position_embeddings} tokens.")
        options = {"generation_mode": mode, "max_new_tokens": max(1, min(int(length), room))}
        options |= {"do_sample": temperature > 0} | ({"temperature": float(temperature)} if temperature > 0 else {})
        if mode != TEXT and guidance != 1:
            options["guidance_scale"] = float(guidance)
        set_seed(int(seed) % MOST_SEED)
        made = Made(processor)
        for _, modality, content in model.stream(processor, **inputs, **options):
            made.take(modality, content)
            yield made.shown()
        yield made.shown()


class Made:
    """What a checkpoint has made so far, as the page shows it."""

    def __init__(self, processor: Any):
        self.processor, self.text, self.pictures, self.sounds = processor, "", [], []

    def take(self, modality: str, content: Any) -> None:
        """One segment, as `MoTForCausalLM.stream` gives it."""
        if modality == TEXT:
            self.text += content
        elif isinstance(content, Image.Image):
            self.pictures.append(enlarged(content))
            self.text += f" [picture {len(self.pictures)}] "
        elif isinstance(content, np.ndarray):
            rate = self.processor.codecs[modality].tokenizer.sampling_rate
            self.sounds.append((rate, (content.clip(-1, 1) * np.iinfo(np.int16).max).astype(np.int16)))
            self.text += f" [sound {len(self.sounds)}] "

    def shown(self) -> list:
        """The values of the components: the text, the pictures, and `MOST_SOUNDS` players."""
        players = [
            gr.Audio(value=sound, visible=sound is not None)
            for sound in (self.sounds + [None] * MOST_SOUNDS)[:MOST_SOUNDS]
        ]
        return [as_text(self.text), gr.Gallery(value=self.pictures, visible=bool(self.pictures)), *players]


def enlarged(picture: Image.Image) -> Image.Image:
    """A small picture larger by a whole number, so that each of its pixels is a square."""
    factor = max(PICTURE // max(picture.size), 1)
    return picture.resize((picture.width * factor, picture.height * factor), Image.Resampling.NEAREST)


def generate_tab(generators: Offered, limits: VisitorLimits) -> tuple:
    """Returns what is to be done when the page is opened: a function, its inputs and its outputs."""
    name, chosen = choose(generators, "Checkpoint", "An id on the Hub, or a folder; Enter loads it.")
    asked = [media_panels(processor) for _, (_, processor) in generators.loaded.values()]
    panels = [*dict.fromkeys(panel for panels in asked for panel in panels.values())]
    about = gr.HTML()
    with gr.Row():
        with gr.Column():
            options = {"max_length": limits.max_characters, "elem_id": "prompt"}
            prompt = gr.Textbox(label="Prompt", info="Pictures and sounds stand before it.", **options)
            inputs = [panel.build(limits, prefix="generate-", height=200) for panel in panels]
            fields = [field for made in inputs for field in made.components]
            modes = dict.fromkeys(
                mode for _, (model, _) in generators.loaded.values() for mode in generation_modes(model)
            )
            mode = gr.Radio([*modes] or ANY_MODE, value=TEXT, label="What is to come out", elem_id="mode")
            with gr.Accordion("How it chooses", open=False):
                temperature = gr.Slider(0, 2, value=0.8, step=0.1, label="Temperature", info="0: the likeliest tokens")
                guidance = gr.Slider(1, 8, value=2, step=0.5, label="Guidance of pictures and sounds", info="1: none")
                length = gr.Slider(8, MOST_TOKENS, value=256, step=8, label="Most tokens")
                seed = gr.Number(0, precision=0, minimum=0, maximum=MOST_SEED, label="Seed")
            button = gr.Button("Generate", variant="primary")
        with gr.Column():
            said = gr.HTML(elem_id="said", label="What it says", show_label=True)
            drawn = gr.Gallery(label="What it draws", visible=False, elem_id="drawn", columns=3, height="auto")
            spoken = [
                gr.Audio(label=f"Sound {i}", visible=False, interactive=False, elem_id=f"spoken-{i}")
                for i in range(1, MOST_SOUNDS + 1)
            ]
    opening = (partial(show_generator, generators, panels), [name], [about, *(made.shown for made in inputs), mode])
    chosen(*opening, api_name="show_generator")
    settings = ["prompt", "mode", "temperature", "guidance", "max_new_tokens", "seed"]
    gr.on(
        [button.click, prompt.submit],
        with_parameters(partial(generate, generators, panels, limits), ["name", *parameters_of(panels), *settings]),
        [name, *fields, prompt, mode, temperature, guidance, length, seed],
        [said, drawn, *spoken],
        trigger_mode="always_last",
        api_name="generate",
    )
    return opening
