# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From raw files to answers: the pipeline for any mix of modalities, and the sentiment of videos.

Clips are made with PyAV: red and low is negative, grey and in between neutral, green and high positive. A small model
is trained on such frames, tones and words once for the whole file.
"""

import json
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from forked import run_mot
from PIL import Image
from transformers import (
    Wav2Vec2Config,
    Wav2Vec2CTCTokenizer,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2ForCTC,
    Wav2Vec2Processor,
    pipeline,
)

from mixture_of_transformers import (
    MoTConfig,
    MoTFeatureExtractor,
    MoTForSequenceClassification,
    MoTImageProcessor,
    MoTProcessor,
)
from mixture_of_transformers import analyze_video_sentiment as analyze
from mixture_of_transformers.data.tokenizers import train_tokenizer
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline
from mixture_of_transformers.subsets_mot import all_subsets

av = pytest.importorskip("av")

LABELS = ["negative", "neutral", "positive"]
COLOURS = {"negative": (200, 30, 30), "neutral": (120, 120, 120), "positive": (30, 190, 30)}
TONES = {"negative": 200.0, "neutral": 600.0, "positive": 1800.0}
WORDS = {"negative": "this is terrible", "neutral": "this is a table", "positive": "this is wonderful"}
RATE, FPS = 16_000, 10
pytestmark = pytest.mark.training


def picture(label, size=(48, 48), random=None):
    pixels = np.full((size[1], size[0], 3), COLOURS[label], dtype=np.int16)
    if random is not None:
        pixels += random.integers(-25, 25, (1, 1, 3)) + random.integers(-10, 10, pixels.shape)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def tone(label, seconds, rate=RATE, random=None):
    pitch = TONES[label] * (1 if random is None else random.uniform(0.9, 1.1))
    sound = 0.3 * np.sin(2 * np.pi * pitch * np.arange(int(seconds * rate)) / rate)
    if random is not None:
        sound[len(sound) - random.integers(0, rate // 5) :] = 0  # as codecs leave it
        sound = random.uniform(0.3, 1.5) * (sound + random.normal(0, 10 ** random.uniform(-7, -1.5), len(sound)))
    return sound.astype(np.float32)


def write_clip(path, parts, frames=True, sound=True, size=(48, 48), rate=RATE, layout="mono", codec="mpeg4"):
    """A file whose parts are (label, seconds), one after another."""
    with av.open(str(path), "w") as container:
        if frames:
            video = container.add_stream(codec, rate=FPS)
            video.width, video.height = size
            video.pix_fmt = "rgb24" if codec == "ffv1" else "yuv420p"
            if codec == "ffv1":
                video.pix_fmt = "bgr0"
        if sound:
            track = container.add_stream("aac", rate=rate, layout=layout)
        if frames:
            for label, seconds in parts:
                image = av.VideoFrame.from_image(picture(label, size))
                for _ in range(round(seconds * FPS)):
                    container.mux(video.encode(image))
            container.mux(video.encode())
        if sound:
            samples = np.concatenate([tone(label, seconds, rate) for label, seconds in parts])
            samples = np.stack([samples] * (2 if layout == "stereo" else 1))
            frame = av.AudioFrame.from_ndarray(samples, format="fltp", layout=layout)
            frame.sample_rate = rate
            container.mux(track.encode(frame))
            container.mux(track.encode())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint that has learned what the colours, tones and words mean, from any subset of them."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    tokenizer = train_tokenizer(list(WORDS.values()) * 9, model_max_length=32)
    images = MoTImageProcessor(size={"height": 32, "width": 32}, do_convert_rgb=True)
    processor = MoTProcessor(images, MoTFeatureExtractor(feature_size=20), tokenizer, num_frames=4)
    config = MoTConfig.of_size(
        "tiny",
        hidden_size=32,
        intermediate_size=32,
        num_encoder_layers=1,
        text_config={"vocab_size": len(tokenizer), "max_position_embeddings": 32},
        image_config={"image_size": 32, "patch_size": 8},
        audio_config={"num_mel_bins": 20, "max_frames": 1000, "stem_stride": 8},
        num_labels=3,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    model = MoTForSequenceClassification(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(100):
        labels = random.integers(0, 3, 12)
        names = [LABELS[i] for i in labels]
        batch = processor(
            text=[WORDS[name] for name in names],
            videos=[[picture(name, random=random)] * 2 for name in names],
            audio=[tone(name, random.uniform(1, 5), random=random) for name in names],
            sampling_rate=RATE,
        )
        loss = model(**batch, labels=torch.tensor(labels), modality_subsets=all_subsets(config.modalities)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.1
    path = tmp_path_factory.mktemp("sentiment")
    model.save_pretrained(path)
    processor.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def classify(folder):
    return pipeline("multimodal-classification", model=str(folder), trust_remote_code=True)


def first(answer):
    return answer[0]["label"]


# ---------------------------------------------------------------------------------------------------------------------
# The pipeline
# ---------------------------------------------------------------------------------------------------------------------


def test_rows_of_any_mix_answer_the_same_alone_and_in_batches(classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("positive", 2)])
    rows = [
        {"text": WORDS["negative"]},
        {"image": picture("positive"), "text": None},
        {"audio": {"array": tone("neutral", 1.5), "sampling_rate": RATE}},
        {"video": str(clip)},
        {"video": clip.read_bytes(), "text": WORDS["positive"]},
        {"image": np.asarray(picture("negative")), "audio": tone("negative", 1.0), "text": WORDS["negative"]},
    ]
    wanted = ["negative", "positive", "neutral", "positive", "positive", "negative"]
    alone = [classify(row, sampling_rate=RATE) for row in rows]
    assert [first(answer) for answer in alone] == wanted
    for together in (
        classify(rows, batch_size=4, sampling_rate=RATE),
        list(classify((row for row in rows), batch_size=3, sampling_rate=RATE)),
    ):
        for ours, theirs in zip(together, alone, strict=True):
            assert [a["label"] for a in ours] == [a["label"] for a in theirs]
            assert np.allclose([a["score"] for a in ours], [a["score"] for a in theirs], atol=1e-5)
    assert len(classify(rows[0], top_k=2)) == 2
    assert sum(a["score"] for a in alone[0]) == pytest.approx(1, abs=1e-5)


def test_the_sound_track_of_a_video_is_heard_unless_the_row_has_audio(classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("positive", 2)])
    silent = write_clip(tmp_path / "silent.mp4", [("positive", 2)], sound=False)
    row = classify.preprocess({"video": str(clip)})
    assert len(row["audio"]["array"]) == pytest.approx(2 * RATE, abs=2000)
    assert "audio" not in classify.preprocess({"video": str(silent)})
    other = classify.preprocess({"video": str(clip), "audio": tone("negative", 1)}, sampling_rate=RATE)
    assert len(other["audio"]["array"]) == RATE


@pytest.mark.parametrize(
    "row, message",
    [
        ({}, "at least one of text, image, audio, video"),
        ({"image": None}, "at least one of"),
        ({"txet": "a"}, "part of a row `txet`: did you mean `text`"),
        ({"text": 3}, "text has type int: expected a string"),
        ("a sentence", "got str"),
        ({"image": b"nonsense"}, "image is not a picture"),
        ({"video": b""}, "video is not a video"),
        ({"audio": "nowhere.wav"}, "there is no file at 'nowhere.wav'"),
        ({"image": Image.new("RGB", (8, 8)), "video": "a.mp4"}, "either an image or a video"),
    ],
)
def test_a_row_that_cannot_be_read_is_named(row, message, classify):
    with pytest.raises((ValueError, OSError), match=message):
        classify(row)


def test_what_is_too_long_is_an_error_or_cut(classify):
    words, sound = WORDS["positive"].split(), tone("positive", 11.0)  # the model takes 32 tokens and 10 seconds
    for row in ({"text": " ".join(words * 20)}, {"audio": sound}):
        with pytest.raises(ValueError, match="but the model takes at most"):
            classify(row, sampling_rate=RATE)
        assert first(classify(row, sampling_rate=RATE, truncation=True)) == "positive"
    (cut,) = classify.encode([classify.preprocess({"audio": sound}, sampling_rate=RATE)], True)["input_features"]
    (whole,) = classify.encode([classify.preprocess({"audio": sound}, sampling_rate=RATE)])["input_features"]
    assert len(whole) > 1000 and torch.equal(cut, whole[:1000])
    short = {"text": WORDS["neutral"], "audio": tone("neutral", 1.0)}
    assert classify(short, sampling_rate=RATE, truncation=True) == classify(short, sampling_rate=RATE)


def test_an_unknown_option_is_named(classify):
    with pytest.raises(ValueError, match="Unknown argument `topk`: did you mean `top_k`"):
        classify({"text": "this"}, topk=3)


def test_contributions_of_batched_rows_sum_to_the_score_of_the_first_label(classify):
    """(That they are Shapley values is in test_visualization.py.)"""
    rows = [
        {"text": WORDS["positive"], "image": picture("negative"), "audio": tone("neutral", 1.0)},
        {"text": WORDS["negative"], "image": picture("neutral")},
    ]
    for row, answer in zip(rows, classify(rows, batch_size=2, sampling_rate=RATE, return_attribution=True)):
        assert set(answer["attribution"]) == {"prior", *row}
        assert sum(answer["attribution"].values()) == pytest.approx(answer["labels"][0]["score"], abs=1e-5)


REMOTE = """
import sys
from transformers import pipeline
assert "mixture_of_transformers" not in sys.modules
try:
    import mixture_of_transformers
    raise SystemExit("mixture_of_transformers is there")
except ImportError:
    pass
classify = pipeline("multimodal-classification", model=sys.argv[1], trust_remote_code=True)
print(classify({"text": "this is wonderful"})[0]["label"])
"""


def test_a_process_without_mot_loads_the_pipeline_from_the_folder(folder, tmp_path):
    (tmp_path / "mixture_of_transformers.py").write_text("raise ImportError('not here')")
    environment = {"PYTHONPATH": str(tmp_path), "HF_HOME": str(tmp_path / "hf"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", REMOTE, str(folder)],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.strip() == "positive"


def test_a_regression_gives_values(folder):
    model = MoTForSequenceClassification.from_pretrained(
        folder, num_labels=1, problem_type="regression", ignore_mismatched_sizes=True
    )
    processor = MoTProcessor.from_pretrained(folder)
    score = MultimodalClassificationPipeline(model=model, processor=processor)
    answer = score({"text": WORDS["positive"], "image": picture("neutral")}, return_attribution=True)
    inputs = processor(text=WORDS["positive"], images=picture("neutral"))
    assert answer["value"] == pytest.approx(model(**inputs).logits.item(), abs=1e-5)
    assert sum(answer["attribution"].values()) == pytest.approx(answer["value"], abs=1e-5)
    with pytest.raises(ValueError, match="needs a model with labels"):
        analyze("clip.mp4", classifier=score)


# ---------------------------------------------------------------------------------------------------------------------
# The sentiment of videos
# ---------------------------------------------------------------------------------------------------------------------


class Recorder:
    """A classifier that keeps the rows which it is given."""

    def __init__(self, classify):
        self.classify, self.model, self.processor = classify, classify.model, classify.processor
        self.rows = []

    def __call__(self, given, **options):
        self.rows.extend(given)
        return self.classify(self.rows, **options)


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("given", ["both", "frames", "sound"])
def test_the_answer_follows_the_clip(label, given, classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [(label, 3)], frames=given != "sound", sound=given != "frames")
    found = analyze(clip, classifier=classify)
    assert found["label"] == label
    assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert set(found["probabilities"]) == set(LABELS) and len(found["timeline"]) == 1


def test_the_timeline_changes_where_the_clip_changes(classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("negative", 6), ("positive", 6)])
    found = analyze(clip, classifier=classify, window=2, stride=1)
    for part in found["timeline"]:
        if part["end"] <= 6 or part["start"] >= 6:
            assert part["label"] == ("negative" if part["end"] <= 6 else "positive"), part
    assert len(found["timeline"]) == 11 and found["timeline"][-1]["end"] == pytest.approx(12, abs=0.2)
    means = np.mean([part["probabilities"]["positive"] for part in found["timeline"]])
    assert found["probabilities"]["positive"] == pytest.approx(means, abs=1e-6)


def test_another_sound_and_a_transcript_take_part(classify, tmp_path):
    silent = write_clip(tmp_path / "silent.mp4", [("neutral", 4)], sound=False)
    segments = [
        {"start": 0.0, "end": 2.0, "text": WORDS["negative"]},
        {"start": 2.0, "end": 4.0, "text": WORDS["positive"]},
    ]
    recorder = Recorder(classify)
    sound = {"array": tone("positive", 4), "sampling_rate": RATE}
    analyze(silent, audio=sound, transcript=segments, classifier=recorder, window=2, stride=2)
    assert [row["text"] for row in recorder.rows] == [WORDS["negative"], WORDS["positive"]]
    assert [len(row["audio"]["array"]) for row in recorder.rows] == [2 * RATE, 2 * RATE]
    assert [len(row["video"]) for row in recorder.rows] == [4, 4]


def test_a_transcript_longer_than_the_model_takes_is_cut(classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("negative", 2)])
    long, short = (analyze(clip, transcript=f"{WORDS['negative']} " * n, classifier=classify) for n in (99, 10))
    assert long["probabilities"] == pytest.approx(short["probabilities"], abs=1e-6)  # 10 times fill its 32 tokens


def test_a_speech_recognizer_makes_the_transcript(classify, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("neutral", 4)])
    heard = []

    def recognizer(sound, return_timestamps):
        heard.append(len(sound["array"]) / sound["sampling_rate"])
        return {"chunks": [{"timestamp": (0.0, 4.0), "text": WORDS["positive"]}]}

    plain, spoken = (analyze(clip, classifier=classify, speech_recognizer=r) for r in (None, recognizer))
    assert heard == [pytest.approx(4, abs=0.2)]
    assert spoken["probabilities"]["positive"] > plain["probabilities"]["positive"]


@pytest.fixture(scope="module")
def recognizer(tmp_path_factory):
    """The folder of a model for speech recognition that hears one word, whatever is said."""
    path = tmp_path_factory.mktemp("recognizer")
    (path / "vocab.json").write_text(json.dumps({"<pad>": 0, "<s>": 1, "</s>": 2, "<unk>": 3, "|": 4, "wonderful": 5}))
    layers = {"conv_dim": (8, 8), "conv_stride": (20, 16), "conv_kernel": (20, 16), "num_feat_extract_layers": 2}
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=6, num_conv_pos_embedding_groups=4, **sizes, **layers))
    with torch.no_grad():
        model.lm_head.weight.zero_()
        model.lm_head.bias.copy_(torch.eye(6)[5])
    model.save_pretrained(path)
    tokenizer = Wav2Vec2CTCTokenizer(str(path / "vocab.json"))
    Wav2Vec2Processor(Wav2Vec2FeatureExtractor(), tokenizer).save_pretrained(path)
    return path


def test_a_recognizer_by_ctc_makes_the_transcript_too(classify, recognizer, tmp_path):
    clip = write_clip(tmp_path / "clip.mp4", [("neutral", 4)])
    hear = pipeline("automatic-speech-recognition", model=str(recognizer))
    assert hear.type == "ctc"
    heard = analyze(clip, classifier=classify, speech_recognizer=hear)
    told = analyze(clip, classifier=classify, transcript="wonderful")
    assert heard["probabilities"] == pytest.approx(told["probabilities"], abs=1e-6)
    assert heard["probabilities"] != analyze(clip, classifier=classify)["probabilities"]


def test_odd_sizes_and_stereo_at_44_kilohertz(classify, tmp_path):
    clip = write_clip(
        tmp_path / "odd.mkv", [("positive", 2)], size=(61, 35), rate=44_100, layout="stereo", codec="ffv1"
    )
    assert analyze(clip, classifier=classify)["label"] == "positive"


def turn(path):
    """What a phone writes that was held upright: the frames lie on their side, and the track's matrix turns them by a
    quarter clockwise (ISO/IEC 14496-12, 8.3.2)."""
    content = bytearray(path.read_bytes())
    identity = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    place = content.index(identity, content.index(b"tkhd"))
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    content[place : place + len(quarter)] = quarter
    path.write_bytes(content)


def test_frames_of_a_phone_held_upright_are_turned(classify, tmp_path):
    lying = Image.new("RGB", (64, 48))
    lying.paste(COLOURS["negative"], (0, 0, 32, 48))
    lying.paste(COLOURS["positive"], (32, 0, 64, 48))
    with av.open(str(tmp_path / "phone.mp4"), "w") as container:
        video = container.add_stream("mpeg4", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(2 * FPS):
            container.mux(video.encode(av.VideoFrame.from_image(lying)))
        container.mux(video.encode())
    turn(tmp_path / "phone.mp4")
    recorder = Recorder(classify)
    analyze(tmp_path / "phone.mp4", classifier=recorder)
    whole = classify.preprocess({"video": str(tmp_path / "phone.mp4")})["videos"]
    for frame in [*recorder.rows[0]["video"], *whole]:
        assert frame.size == (48, 64)
        assert np.abs(np.subtract(frame.getpixel((24, 8)), COLOURS["negative"])).max() < 30  # what lay left is on top
        assert np.abs(np.subtract(frame.getpixel((24, 56)), COLOURS["positive"])).max() < 30


@pytest.mark.parametrize("content", [b"", b"this is no video" * 100])
def test_a_file_that_is_no_video_is_an_error(content, classify, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(content)
    with pytest.raises(ValueError, match="video cannot be decoded"):
        analyze(tmp_path / "broken.mp4", classifier=classify)
    with pytest.raises(FileNotFoundError, match="there is no file"):
        analyze(tmp_path / "nowhere.mp4", classifier=classify)


@pytest.mark.slow
def test_ten_minutes_are_answered_window_by_window(classify, tmp_path):
    clip = write_clip(tmp_path / "long.mp4", [("negative", 300), ("positive", 300)])
    found = analyze(clip, classifier=classify, window=10, stride=10, batch_size=16)
    labels = [part["label"] for part in found["timeline"]]
    assert labels == ["negative"] * 30 + ["positive"] * 30


def test_the_command_line_prints_what_the_pipeline_says(folder, classify, recognizer, tmp_path):
    write_clip(tmp_path / "clip.mp4", [("negative", 2), ("positive", 2)])
    picture("negative").save(tmp_path / "face.png")

    def predict(*options):
        return run_mot(tmp_path, "predict", "--model", folder, *options)

    done = predict("--image", "face.png", "--text", WORDS["negative"], "--top_k", "1")
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout)[0]["label"] == "negative"
    done = predict("--video", "clip.mp4", "--window", "2")
    assert [part["label"] for part in json.loads(done.stdout)["timeline"]][::2] == ["negative", "positive"]
    done = predict("--video", "clip.mp4", "--window", "9", "--speech_recognizer", str(recognizer))
    told = analyze(tmp_path / "clip.mp4", classifier=classify, transcript="wonderful", window=9)
    assert json.loads(done.stdout)["probabilities"] == pytest.approx(told["probabilities"], abs=1e-5)
    done = predict("--video", "nowhere.mp4")
    assert done.returncode == 1 and "Traceback" not in done.stderr and "there is no file" in done.stderr
