# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The tab of the page that generates, and `mot generate`, with a checkpoint that has not learned."""

import io
import json
import re
import wave

import numpy as np
import pytest
import soundfile
from PIL import Image
from small_checkpoints import save_generator, save_patients

from mixture_of_transformers.serving.generate import generation_modes, load_generator, main, prompt_of

SETTINGS = {"temperature": 1, "guidance": 1, "max_new_tokens": 64, "seed": 0}


@pytest.fixture(scope="module")
def workplace(tmp_path_factory):
    root = tmp_path_factory.mktemp("generating")
    save_generator(root / "speaker")
    return root


@pytest.fixture(scope="module")
def generator(workplace):
    return load_generator(workplace / "speaker")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    path = tmp_path_factory.mktemp("sound") / "tone.wav"
    soundfile.write(path, np.sin(np.arange(8000) / 10), 16_000)
    return path


# ---------------------------------------------------------------------------------------------------------------------
# The command
# ---------------------------------------------------------------------------------------------------------------------


def test_a_command_draws_speaks_and_writes_and_a_seed_gives_the_same_again(workplace, tmp_path, capsys):
    draw = ["--model", str(workplace / "speaker"), "--text", "draw a seven", "--seed", "1", "--temperature", "1"]
    pictures = []
    for folder in ("first", "second"):
        main([*draw, "--mode", "image", "--rows", "2", "--output_dir", str(tmp_path / folder)])
        assert f"[image: {tmp_path / folder / '0-1.png'}]" in capsys.readouterr().out
        pictures.append([np.asarray(Image.open(tmp_path / folder / f"{row}-1.png")) for row in range(2)])
    assert np.array_equal(pictures[0], pictures[1]) and not np.array_equal(*pictures[0])
    main([*draw, "--mode", "audio", "--max_new_tokens", "20", "--output_dir", str(tmp_path)])
    with wave.open(str(tmp_path / "0-1.wav")) as file:
        assert file.getnframes() > 0 and file.getnchannels() == 1
    main([*draw, "--max_new_tokens", "5"])
    assert "[" not in capsys.readouterr().out.replace(f"[audio: {tmp_path / '0-1.wav'}]", "")


def test_media_stand_where_the_prompt_names_them_and_else_before_it(generator, sound):
    model, processor = generator
    picture = Image.new("L", (8, 8))
    for text, media, expected in [
        ("say a seven", {}, ["text"]),
        ("say <audio> a", {"audio": [sound]}, ["text", "audio", "text"]),
        ("say", {"audio": [sound, sound]}, ["audio", "audio", "text"]),
        ("say <image>", {"image": [picture], "audio": [sound]}, ["audio", "text", "image"]),
    ]:
        batch = processor(**prompt_of(processor, text, media), return_tensors="pt")
        found = processor.post_process_multimodal_output(batch["input_ids"])[0]
        assert [modality for modality, _ in found] == expected
        assert ("input_features" in batch) == ("audio" in media), "a sound goes through the tower that the model has"
    with pytest.raises(ValueError, match="The model takes no 'depth': its modalities are text, image, audio"):
        prompt_of(processor, "say", {"depth": [picture]})
    assert generation_modes(model) == ["text", "image", "audio", "interleaved"]


def test_a_checkpoint_that_does_not_generate_is_named(tmp_path):
    folder = save_patients(tmp_path / "patients")
    with pytest.raises(ValueError, match="holds a model that answers, not one that generates"):
        load_generator(folder)


# ---------------------------------------------------------------------------------------------------------------------
# The page
# ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(workplace):
    pytest.importorskip("gradio")
    from demo_server import Server

    server = Server.of_demo(workplace, "--models", "speaker")
    yield server
    server.stop()


def question(prompt="", mode="text", picture=None, sound=None, **settings) -> list:
    return ["speaker", picture, sound, prompt, mode, *(SETTINGS | settings).values()]


@pytest.mark.training
def test_a_script_sees_segments_as_they_come(server):
    status, number = server.begin("generate", question("draw a seven", "interleaved", max_new_tokens=96))
    assert status == 200, number
    events = [*server.events("generate", number)]
    assert events[-1][0] == "complete" and len([1 for event, _ in events if event == "generating"]) > 2
    said, drawn, *spoken = events[-1][1]
    marks = re.findall(r"\[(picture|sound) \d\]", said)
    assert len(marks) == len(drawn.get("value", [])) + len([1 for player in spoken if player.get("value")])
    names = [
        parameter["parameter_name"]
        for parameter in json.loads(server.ask("GET", "/gradio_api/info")[1])["named_endpoints"]["/generate"][
            "parameters"
        ]
    ]
    assert names == ["name", "image", "audio", "prompt", "mode", "temperature", "guidance", "max_new_tokens", "seed"]


@pytest.mark.training
@pytest.mark.parametrize(
    "asked, message",
    [
        ({}, "Nothing was given"),
        ({"prompt": "a " * 300}, "The prompt is too long: the model takes 256 tokens"),
        ({"prompt": "<image> a"}, "<image>"),
        ({"prompt": "<|begin_image|>"}, "a token of media and no text"),
    ],
)
def test_what_cannot_be_is_said(asked, message, server):
    log = server.log.read_text()
    event, answer = server.call("generate", question(**asked))
    said = answer["error"].replace("&#x27;", "'").replace("&lt;", "<").replace("&gt;", ">")
    assert event == "error" and message in said
    assert "Traceback" not in server.log.read_text().removeprefix(log)


@pytest.mark.training
@pytest.mark.parametrize("asked", [{"mode": "video"}, {"mode": ["text"]}, {"max_new_tokens": 3}, {"temperature": 9}])
def test_a_script_can_ask_for_nothing_that_the_page_does_not_offer(asked, server):
    event, answer = server.call("generate", question("a", **asked))
    assert event == "error" and "Value" in answer["error"]


@pytest.mark.training
def test_text_that_is_html_is_shown_as_it_is(generator):
    pytest.importorskip("gradio")
    from mixture_of_transformers.demo.generating import Made, enlarged

    made = Made(generator[1])
    made.take("text", "<b>seven</b>")
    made.take("image", Image.new("L", (8, 8)))
    made.take("image", None)  # one that was broken off
    said, gallery, *players = made.shown()
    assert "&lt;b&gt;" in said and "[picture 1]" in said and len(gallery.value) == 1 and not players[0].visible
    assert enlarged(Image.new("L", (8, 4))).size == (256, 128)


@pytest.mark.training
@pytest.mark.slow
def test_in_a_browser_a_prompt_becomes_a_picture(server, sound):
    from demo_server import open_browser

    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 1280, "height": 1000})
        page.set_default_timeout(120_000)
        page.goto(server.url)
        page.get_by_text("Reads text, image, audio; makes text, image, audio.").wait_for()
        page.get_by_label("Prompt").fill("draw a seven")
        page.locator("#generate-sound input[type=file]").set_input_files(str(sound))
        page.get_by_label("image", exact=True).check()
        page.get_by_role("button", name="Generate").click()
        picture = page.locator("#drawn img").first
        picture.wait_for()
        assert "[picture 1]" in page.locator("#said").inner_text()
        content = page.request.get(picture.get_attribute("src")).body()
        assert Image.open(io.BytesIO(content)).size == (256, 256)
        page.close()
