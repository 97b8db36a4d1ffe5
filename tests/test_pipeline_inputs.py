# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""What the pipeline takes: rows in every container, each answered once and in order; every form of a file; every name
that can mean but one thing, and no other. (What it says is in test_pipeline.py.)
"""

import base64
import io
import json
import math
import os
import re
import zipfile
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from datasets import Dataset
from PIL import Image
from small_media import png_bytes, sound_bytes
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForRetrieval,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
    MultimodalClassificationPipeline,
    analyze_video_sentiment,
)
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.pipeline_mot import read_row
from mixture_of_transformers.processing_mot import encode_rows
from mixture_of_transformers.serving.predict import main as predict

RATE, WORDS = 16_000, [f"w{i}" for i in range(20)]
CONTAINERS = {
    "list": list,
    "tuple": tuple,
    "generator": lambda rows: (row for row in rows),
    "iterator": iter,
    "datasets.Dataset": Dataset.from_list,
    "datasets.IterableDataset": lambda rows: Dataset.from_list(rows).to_iterable_dataset(num_shards=3),
    "a column of rows": lambda rows: Dataset.from_list([{"row": row} for row in rows])["row"],
    "KeyDataset": lambda rows: KeyDataset([{"row": row} for row in rows], "row"),
    "torch Dataset": lambda rows: Computed(rows),
    "torch Subset": lambda rows: torch.utils.data.Subset(Computed(rows), range(len(rows))),
    "torch IterableDataset": lambda rows: Streamed(rows),
    "sharded torch IterableDataset": lambda rows: Sharded(rows),
}


class Computed(torch.utils.data.Dataset):
    """A length, and rows of any number: it raises no IndexError."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, number):
        return self.rows[number % len(self.rows)]


class Streamed(torch.utils.data.IterableDataset):
    def __init__(self, rows):
        self.rows = rows

    def __len__(self):
        return len(self.rows)

    def __iter__(self):
        return iter(self.rows)


class Sharded(Streamed):
    """As its documentation advises, each worker of torch gives its share."""

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        yield from self.rows if worker is None else self.rows[worker.id :: worker.num_workers]


@pytest.fixture(scope="module")
def processor():
    tokenizer = train_tokenizer(WORDS * 9, model_max_length=8)
    images = MoTImageProcessor(size={"height": 16, "width": 16}, do_convert_rgb=True)
    return MoTProcessor(images, MoTFeatureExtractor(feature_size=20), tokenizer)


@pytest.fixture(scope="module")
def model(processor):
    torch.manual_seed(0)
    config = MoTConfig.of_size(
        "tiny",
        hidden_size=32,
        num_encoder_layers=1,
        text_config={"vocab_size": len(processor.tokenizer), "max_position_embeddings": 8},
        image_config={"image_size": 16, "patch_size": 8, "num_frames": 8},
        audio_config={"num_mel_bins": 20, "max_frames": 100},
        num_labels=4,
        initializer_range=0.5,
    )
    return MoTForSequenceClassification(config).eval()


@pytest.fixture(scope="module")
def classify(model, processor):
    return MultimodalClassificationPipeline(model=model, processor=processor)


@pytest.fixture(scope="module")
def image():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def samples():
    return np.random.default_rng(0).normal(0, 0.1, RATE // 4).astype(np.float32)


def scores(answer):
    return torch.tensor([part["score"] for part in sorted(answer, key=lambda part: part["label"])])


def assert_same_answers(found, expected):
    assert len(found) == len(expected)
    torch.testing.assert_close(torch.stack([*map(scores, found)]), torch.stack([*map(scores, expected)]))


# Rows in containers


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 3])
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_row_is_answered_once_and_in_order(classify, container, workers):
    rows = [{"text": " ".join(WORDS[: i + 1])} for i in range(5)]
    expected = [classify(row) for row in rows]
    found = classify(CONTAINERS[container](rows), num_workers=workers, batch_size=2)
    assert isinstance(found, list) == (container in ("list", "tuple"))
    assert_same_answers([answer for answer, _ in zip(found, range(20))], expected)


BAD = {1: {"image": b"no picture"}, 3: {"text": " ".join(WORDS)}, 4: {"txet": "w1"}}  # the second one in the model


def rows_with_bad():
    return [BAD.get(i, {"text": WORDS[i]}) for i in range(6)]


class Broken(Computed):
    """A dataset that decodes as it reads, and cannot read its third row."""

    def __getitem__(self, number):
        if number == 2:
            raise OSError("row is truncated")
        return super().__getitem__(number)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers, batch_size", [(0, 1), (0, 4), (2, 3)])
@pytest.mark.parametrize("container", ["list", "generator", "torch Dataset", "torch IterableDataset"])
def test_a_skipped_row_has_an_error_in_its_place_with_its_number_in_the_whole_input(
    classify, container, workers, batch_size
):
    rows = rows_with_bad()
    found = classify(CONTAINERS[container](rows), on_error="skip", num_workers=workers, batch_size=batch_size)
    found = [answer for answer, _ in zip(found, range(20))]
    assert len(found) == len(rows)
    for number, message in {1: "image is not a picture", 3: "input_ids", 4: "did you mean `text`"}.items():
        assert found[number].keys() == {"row", "error"} and found[number]["row"] == number
        assert f"rows[{number}]" in found[number]["error"] and message in found[number]["error"]
    good = [number for number in range(6) if number not in BAD]
    assert_same_answers([found[number] for number in good], [classify(rows[number]) for number in good])


@pytest.mark.parametrize("batch_size", [1, 4])
@pytest.mark.parametrize("bad", BAD)
def test_by_default_a_bad_row_of_many_is_raised_by_its_number(classify, bad, batch_size):
    rows = [BAD[bad] if i == bad else {"text": WORDS[i]} for i in range(6)]
    with pytest.raises(ValueError, match=rf"rows\[{bad}\]") as caught:
        classify(rows, batch_size=batch_size)
    assert "\n" not in str(caught.value)


def test_a_row_that_the_dataset_itself_cannot_read_is_named_and_skipped(classify):
    broken = Broken([{"text": word} for word in WORDS[:4]])
    with pytest.raises(OSError, match=r"rows\[2\]: row is truncated"):
        list(classify(broken, batch_size=2))
    found = list(classify(broken, batch_size=2, on_error="skip"))
    assert found[2] == {"row": 2, "error": "OSError: rows[2]: row is truncated"}
    assert [len(answer) for number, answer in enumerate(found) if number != 2] == [4, 4, 4]


def test_one_row_may_be_skipped_too_and_the_constructor_may_say_so(model, processor):
    skips = MultimodalClassificationPipeline(model=model, processor=processor, on_error="skip")
    assert skips({"image": b"no picture"})["error"].startswith("ValueError: image is not a picture")
    assert "error" in skips([{"text": 3}])[0]


URL = "https://localhost:1/file"


@pytest.mark.parametrize(
    "row", [{"image": URL}, {"audio": URL.upper()}, {"video": {"path": URL}}, {"video": [URL, URL]}]
)
def test_a_pipeline_opens_no_connection_unless_it_is_told_to(classify, row, monkeypatch):
    opened = []
    monkeypatch.setattr("socket.socket.connect", lambda *address: opened.append(address))
    with pytest.raises(ValueError, match="allow_urls=True"):
        classify(row)
    assert "allow_urls=True" in classify([row], on_error="skip")[0]["error"] and not opened


def test_a_url_that_is_refused_is_named_also_where_the_model_only_hears(processor):
    config = MoTConfig.of_size("tiny", hidden_size=32, num_encoder_layers=1, text_config=None, image_config=None)
    listen = MultimodalClassificationPipeline(model=MoTForSequenceClassification(config).eval(), processor=processor)
    with pytest.raises(ValueError, match="video is the URL '.*', and URLs are not followed here"):
        listen({"video": URL})


def test_a_pipeline_that_is_told_to_follows_urls(classify):
    with pytest.raises(OSError, match="image: cannot read the URL"):
        classify({"image": URL}, allow_urls=True)


def test_nothing_gives_nothing(classify):
    assert classify([]) == [] and list(classify(iter(()))) == [] and list(classify(Computed([]))) == []


def test_a_row_is_any_mapping(classify):
    seen = []
    Dataset.from_list([{"text": "w1 w2"}]).map(lambda row: seen.append(classify(row)))  # a row of `datasets`' own
    assert_same_answers(seen, [classify({"text": "w1 w2"})])


def test_a_blank_part_of_a_row_is_no_part(classify, processor, image, samples):
    sound = {"array": samples, "sampling_rate": RATE}
    for full in ({"text": "w1 w2"}, {"image": image}, {"audio": sound}):
        for blank in ("", " \n\t"):
            row = {"text": blank, "image": blank, "audio": blank, "video": blank, "picture": None} | full
            assert classify(row) == classify(full)
    assert (
        classify({"text": "w1", "image": []}) == classify({"text": "w1", "image": [" "]}) == classify({"text": "w1"})
    )
    with pytest.raises(ValueError, match=r"rows\[1\]: A row needs at least one of .* and more than white space"):
        classify([{"text": "w1"}, {"text": " ", "image": ""}])
    assert_same_answers(
        classify([{"text": " ", "audio": sound}, {"text": "w1"}], batch_size=2),
        classify([{"audio": sound}, {"text": "w1"}]),
    )


def test_a_column_that_is_no_input_is_an_error_that_says_how_to_leave_it_out(classify):
    rows = Dataset.from_dict({"text": ["w1"], "label": [0]})
    message = "Unknown part of rows[0] `label`: there are text, image, audio, video. Leave out what is no input: "
    with pytest.raises(ValueError, match=re.escape(message + "`dataset.remove_columns('label')`.")):
        list(classify(rows))
    with pytest.raises(ValueError, match="Unknown part of a row `txet`: did you mean `text`"):
        classify({"txet": "w1"})
    assert_same_answers(list(classify(rows.remove_columns("label"))), [classify({"text": "w1"})])


def test_a_row_that_cannot_be_read_is_named_by_its_number(classify):
    good, bad = {"text": "w1"}, {"image": b"no picture"}
    for rows in ([good, good, bad], iter([good, good, bad]), Computed([good, good, bad])):
        with pytest.raises(ValueError, match=r"rows\[2\]: image is not a picture"):
            list(classify(rows, batch_size=2))
    with pytest.raises(ValueError, match=r'rows\[1\]: A row is a dict, such as {"text": .*; got str'):
        classify([good, "w1"])


def test_a_table_of_pandas_is_refused_with_the_way_to_pass_it(classify):
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"text": ["w1", "w2 w3"]})
    with pytest.raises(ValueError, match=r'pass its rows, `table.to_dict\("records"\)`'):
        classify(table)
    assert len(classify(table.to_dict("records"))) == 2


@pytest.mark.training
def test_a_video_is_analysed_by_a_pipeline_with_workers_and_options_of_its_own(model, processor, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        for shade in range(0, 240, 6):
            picture = Image.new("RGB", (32, 32), (shade, 255 - shade, 90))
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode())
    plain = MultimodalClassificationPipeline(model=model, processor=processor)
    other = MultimodalClassificationPipeline(
        model=model, processor=processor, num_workers=2, top_k=1, return_attribution=True
    )
    expected = analyze_video_sentiment(tmp_path / "clip.mp4", classifier=plain, window=1, stride=1)
    assert len(expected["timeline"]) == 4 and len(expected["probabilities"]) == 4
    with open(tmp_path / "clip.mp4", "rb") as file:
        assert analyze_video_sentiment(file, classifier=other, window=1, stride=1) == expected


# Options


def test_threads_that_share_a_pipeline_do_not_see_each_others_options(classify):
    long = " ".join(WORDS)  # more than the model takes

    def ask(number):
        options = [{"top_k": 1}, {"return_attribution": True}, {"truncation": True}, {}][number % 4]
        row = {"text": long if number % 2 else "w1 w2"} if options != {"return_attribution": True} else {"text": "w3"}
        try:
            return str(classify([row] * 3, batch_size=3, **options))
        except ValueError as error:
            return str(error)

    expected = [ask(number) for number in range(8)]
    assert "but the model takes at most 8" in expected[3]
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: [ask(number) for number in range(8)], range(12)):
            assert found == expected


@pytest.mark.parametrize(
    "options, message",
    [
        ({"topk": 1}, "Unknown argument `topk`: did you mean `top_k`"),
        ({"padding": True}, "Unknown argument `padding`: there are top_k"),
        ({"top_k": -1}, "`top_k` is -1: expected a whole number of at least 1"),
        ({"num_frames": 0}, "`num_frames` is 0"),
        ({"truncation": "do_not_truncate"}, "`truncation` is 'do_not_truncate': expected True or False"),
        ({"sampling_rate": "16000"}, "`sampling_rate` is '16000'"),
        ({"on_error": "ignore"}, "`on_error` is 'ignore': expected 'raise' or 'skip'"),
        ({"allow_urls": "yes"}, "`allow_urls` is 'yes'"),
        ({"truncation": np.zeros(2)}, "`truncation` is array"),
        ({"batch_size": 0}, "`batch_size` is 0: expected a whole number of at least 1"),
        ({"num_workers": math.nan}, "`num_workers` is nan: expected a whole number of at least 0"),
    ],
)
def test_an_option_that_cannot_be_is_an_error_in_a_call_and_in_the_constructor(
    classify, model, processor, options, message
):
    with pytest.raises(ValueError, match=message):
        classify({"text": "w1"}, **options)
    with pytest.raises(ValueError, match=message):
        MultimodalClassificationPipeline(model=model, processor=processor, **options)


def test_parts_that_cannot_answer_are_refused(model, processor):
    with pytest.raises(ValueError, match="needs a `processor`"):
        MultimodalClassificationPipeline(model=model)
    with pytest.raises(ValueError, match="MoTForRetrieval has no classifier"):
        MultimodalClassificationPipeline(model=MoTForRetrieval(model.config), processor=processor)


def test_one_output_without_a_problem_type_is_a_number(processor):
    config = MoTConfig.of_size(
        "tiny",
        image_config=None,
        audio_config=None,
        text_config={"vocab_size": len(processor.tokenizer)},
        num_labels=1,
    )
    model = MoTForSequenceClassification(config).eval()
    answer = MultimodalClassificationPipeline(model=model, processor=processor)({"text": "w1"})
    assert answer == {"value": pytest.approx(model(**processor(text="w1")).logits.item(), abs=1e-6)}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
def test_seconds_stay_float32_in_a_model_of_any_type(processor, samples, dtype):
    config = MoTConfig.of_size(
        "tiny",
        text_config=None,
        audio_config={"num_mel_bins": 20},
        image_config={"image_size": 16},
        time_positions=True,
    )
    timed = MoTProcessor(
        processor.image_processor, processor.feature_extractor, processor.tokenizer, return_times=True
    )
    rows = {"audio": [{"array": np.tile(samples, 90), "sampling_rate": RATE}]}
    rows["videos"] = [[Image.new("RGB", (16, 16))] * 3]
    exact = timed(**rows, videos_kwargs={"fps": 0.3})
    model = MoTForSequenceClassification(config).to(dtype).eval()
    batch = encode_rows(lambda **rows: timed(**rows, videos_kwargs={"fps": 0.3}), model, rows)
    for name in ("pixel_times", "input_features_times"):
        assert torch.equal(batch[name], exact[name]) and batch[name].dtype == torch.float32
    assert batch["pixel_values"].dtype == batch["input_features"].dtype == dtype
    assert batch["pixel_mask"].dtype == torch.int64


def test_seconds_stay_float32_where_deepspeed_has_the_trainer_cast_its_inputs(tmp_path):
    from mixture_of_transformers.training.arguments import MoTTrainingArguments
    from mixture_of_transformers.training.trainer import MoTTrainer

    config = MoTConfig.of_size("tiny", text_config=None, image_config=None, time_positions=True)
    arguments = MoTTrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to="none")
    trainer = MoTTrainer(MoTForSequenceClassification(config), arguments)
    plugin = SimpleNamespace(hf_ds_config=SimpleNamespace(dtype=lambda: torch.bfloat16))
    trainer.is_deepspeed_enabled = True  # it is not installed here; this is all that `_prepare_inputs` asks of it
    trainer.accelerator = SimpleNamespace(state=SimpleNamespace(deepspeed_plugin=plugin))
    times = 29 + torch.rand(2, 50)
    batch = trainer._prepare_inputs({"input_features": torch.rand(2, 50, 80), "input_features_times": times})
    assert batch["input_features"].dtype == torch.bfloat16
    assert torch.equal(batch["input_features_times"], times)


# Names


@pytest.mark.parametrize(
    "name, meant",
    [
        *[(name, "text") for name in ("texts", "sentence", "sentences")],
        *[(name, "image") for name in ("images", "picture", "pictures")],
        *[(name, "audio") for name in ("audios", "sound", "sounds")],
        ("videos", "video"),
    ],
)
def test_names_that_can_mean_but_one_thing_are_understood_by_pipeline_and_processor(
    classify, processor, image, samples, name, meant
):
    sound = {"array": samples, "sampling_rate": RATE}
    value = {"text": "w1 w2", "image": image, "audio": sound, "video": [image] * 2}[meant]
    assert classify({name: value}) == classify({meant: value})
    argument = {"image": "images", "video": "videos"}.get(meant, meant)
    expected = processor(**{argument: [value]})
    for called in {name, meant}:
        found = processor(**{called: [value]})
        assert found.keys() == expected.keys() and all(torch.equal(found[key], expected[key]) for key in expected)
    with pytest.raises(ValueError, match=f"Got both `{meant}` and `{name}`|Got both `{name}` and `{meant}`"):
        classify({meant: value, name: value})
    other = name if name != argument else meant
    with pytest.raises(ValueError, match=f"Got both `{argument}` and `{other}`"):
        processor(**{argument: [value], other: [value]})


# Forms


class Pipe(io.RawIOBase):
    """A file that cannot be gone back in, such as what a server answers."""

    def __init__(self, content):
        self.stream = io.BytesIO(content)

    def readable(self):
        return True

    def read(self, size=-1):
        return self.stream.read(size)


def forms_of_a_file(content, path, kind):
    """The same content, as people hold it."""
    path.write_bytes(content)
    used = io.BytesIO(content)
    used.read()
    with zipfile.ZipFile(path.with_suffix(".zip"), "w") as archive:
        archive.writestr("inside", content)
    return {
        "path": str(path),
        "pathlib": path,
        "bytes": content,
        "bytearray": bytearray(content),
        "BytesIO": io.BytesIO(content),
        "BytesIO at its end": used,
        "open file": open(path, "rb"),
        "pipe": Pipe(content),
        "in an archive": zipfile.ZipFile(path.with_suffix(".zip")).open("inside"),
        "dict of bytes": {"bytes": content, "path": None},
        "dict of path": {"bytes": None, "path": str(path)},
        "data URL": f"data:{kind};base64,{base64.b64encode(content).decode()}",
        "shouted data URL": f"DATA:{kind};base64,{base64.b64encode(content).decode()}",
    }


def test_every_form_of_a_picture_is_the_picture(classify, processor, image, tmp_path):
    array = np.asarray(image)
    forms = {"PIL": image, "array": array, "tensor": torch.tensor(array), "channels first": array.transpose(2, 0, 1)}
    expected = classify({"image": image})
    for name, form in (forms | forms_of_a_file(png_bytes(image), tmp_path / "picture.png", "image/png")).items():
        assert classify({"image": form}) == expected, name
    pixels = processor(images=image)["pixel_values"]
    for name, form in forms_of_a_file(png_bytes(image), tmp_path / "picture.png", "image/png").items():
        assert torch.equal(processor(images=[form])["pixel_values"], pixels), name


def test_every_form_of_a_sound_is_the_sound(classify, processor, samples, tmp_path):
    expected = classify({"audio": {"array": samples, "sampling_rate": RATE}})
    forms = {
        "array": samples,
        "tensor": torch.tensor(samples),
        "list": samples.tolist(),
        "raw": {"raw": samples, "sampling_rate": RATE},
        "raw tensor": {"raw": torch.tensor(samples), "sampling_rate": RATE},
        "rate and samples": (RATE, samples),
        "array of datasets": {"array": samples, "path": "nowhere.wav", "sampling_rate": RATE},
    }
    for name, form in (
        forms | forms_of_a_file(sound_bytes(samples, subtype="FLOAT"), tmp_path / "sound.wav", "audio/wav")
    ).items():
        assert classify({"audio": form}, sampling_rate=RATE) == expected, name
    features = processor(audio=samples, sampling_rate=RATE)["input_features"]
    for name, form in forms_of_a_file(
        sound_bytes(samples, subtype="FLOAT"), tmp_path / "sound.wav", "audio/wav"
    ).items():
        assert torch.equal(processor(audio=[form])["input_features"], features), name


def test_every_form_of_a_video_gives_its_frames_and_its_sound(classify, samples, tmp_path):
    av = pytest.importorskip("av")
    with av.open(str(tmp_path / "clip.mp4"), "w") as container:
        video, sound = container.add_stream("mpeg4", rate=10), container.add_stream("aac", rate=RATE, layout="mono")
        video.width = video.height = 32
        for shade in (0, 90, 180):
            container.mux(video.encode(av.VideoFrame.from_image(Image.new("RGB", (32, 32), (shade, 0, 0)))))
        container.mux(video.encode())
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        container.mux(sound.encode(frame))
        container.mux(sound.encode())
    content = (tmp_path / "clip.mp4").read_bytes()
    expected = classify({"video": str(tmp_path / "clip.mp4")})
    assert {"audio", "videos"} == set(classify.preprocess({"video": content}))
    for name, form in forms_of_a_file(content, tmp_path / "other.mp4", "video/mp4").items():
        assert classify({"video": form}) == expected, name


@pytest.mark.parametrize(
    "row, message",
    [
        ({"image": io.StringIO("text")}, 'image is a file that was opened as text: open it with mode "rb"'),
        ({"image": 7}, "image has type int, which is not something that can be read: expected a path"),
        (
            {"audio": {"raw": np.zeros(900), "sampling_rate": "8000"}},
            "rate of audio is '8000' of type str: expected Hz",
        ),
        ({"audio": ("8000", np.zeros(900))}, "rate of audio is '8000' of type str: expected Hz"),
        ({"audio": (np.zeros(900), 8000)}, "audio has type tuple, which is not something that can be read"),
        ({"audio": {"data": [0.1], "rate": 8000}}, "audio has type dict of data, rate"),
        ({"image": base64.b64encode(bytes(900)).decode()}, "Base64 is given as a data URL, `data:image/png;base64"),
        ({"image": "data:image/png;base64,"}, "image is not a picture"),
        ({"image": "a\0b"}, "image: cannot open"),
        ({"audio": os.path.dirname(__file__)}, "audio: cannot open .*it is no file"),
        ({"audio": torch.zeros(900).to_sparse()}, "audio is a tensor without values of its own .*dense"),
        ({"image": torch.zeros(4, 4, 3, device="meta")}, "image is a tensor without values of its own"),
        ({"text": ["w1", 2]}, r"text\[1\] has type int: expected a string"),
        ({"images": [Image.new("RGB", (9, 9)), [7]]}, r"image\[1\] has type list, which is not something that can"),
    ],
)
def test_what_is_no_source_is_refused_with_the_way_to_pass_it(classify, row, message):
    with pytest.raises((ValueError, OSError), match=message):
        classify(row, sampling_rate=RATE)


# A checkpoint's own code


@pytest.mark.training
def test_no_code_of_a_checkpoint_is_run_by_the_pipeline_after_import_or_by_the_command_line(
    model, processor, classify, tmp_path, capsys
):
    model.save_pretrained(tmp_path / "model")
    processor.save_pretrained(tmp_path / "model")
    for path in (tmp_path / "model").glob("*.py"):
        path.write_text(f"open({str(tmp_path / 'trace')!r}, 'w').close()\n{path.read_text()}")
    expected = classify({"text": "w1"})
    assert pipeline("multimodal-classification", str(tmp_path / "model"))({"text": "w1"}) == expected
    options = ["--model", str(tmp_path / "model"), "--text", "w1"]
    capsys.readouterr()
    predict(options)
    assert json.loads(capsys.readouterr().out) == expected
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    (tmp_path / "model" / "config.json").write_text(json.dumps(config | {"model_type": "stranger"}))
    with pytest.raises(ValueError, match="trust_remote_code"):
        predict(options)
    assert not (tmp_path / "trace").exists()


def test_two_names_of_one_input_are_refused_by_the_number_of_their_row():
    with pytest.raises(ValueError, match=r"rows\[3\]: Got both `audio` and `sound`"):
        read_row({"audio": b"a", "sound": b"b"}, "rows[3]: ")
