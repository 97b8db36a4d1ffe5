# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""From raw clips, pictures, sounds and sentences to labels: a pipeline for any mix of them, and the sentiment of videos.

`pipeline("multimodal-classification", model=...)` takes rows as dicts; they are decoded one by one and answered in batches,
however their modalities differ. `analyze_video_sentiment` lets a window slide over a longer clip.
"""

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import Pipeline, pipeline
from transformers.pipelines.pt_utils import PipelineDataset, PipelineIterator

from .attribution_mot import Contributions, modality_contributions
from .decoding_mot import (
    even_indices,
    has_sound,
    iterate_frames,
    load_audio,
    load_frames,
    load_image,
    open_source,
    read_timestamps,
    reason,
    upright,
)
from .processing_mot import encode_rows

TASK, SPEECH_TASK = "multimodal-classification", "automatic-speech-recognition"
KEYS = ("text", "image", "audio", "video")
WINDOW_SECONDS = 5.0


class MultimodalClassificationPipeline(Pipeline):
    """
    Labels, or numbers, for rows of any mix of text, image, audio and video.

        classify = pipeline("multimodal-classification", model="user/model", trust_remote_code=True)
        classify({"text": "What a day!", "video": "clip.mp4"})
        classify([{"image": "face.png"}, {"audio": "voice.wav", "text": "Hm."}], batch_size=2)
        classify((row for row in dataset), batch_size=8)  # an iterator

    A row holds `text` (a string), `image`, `audio` and `video` (paths, URLs, bytes, arrays, PIL; see `MoTProcessor`); what
    it lacks is left out or None. The sound track of a video is heard unless the row has `audio`.

    Args of a call:
        top_k: how many labels; all by default.
        batch_size, num_workers: rows answered at once, and processes that decode.
        num_frames: of a video; by default those of the processor.
        sampling_rate: Hz of bare arrays of sound.
        truncation: whether to cut text and sound that are longer than the model takes, which are an error otherwise.
        return_attribution: also what each modality contributed to the first label, or to the first number.

    Returns, for each row:
        A list of {"label", "score"}, the likeliest first; or {"value"}, a number or a list of them, in regression. With
        `return_attribution`, {"labels" or "value", "attribution": {"prior": ..., modality: ...}} (`attribution_mot.py`).

    Raises:
        ValueError, OSError, ImportError: as `MoTProcessor`, naming what of the row cannot be read.
    """

    _load_processor = True
    _load_tokenizer = _load_feature_extractor = _load_image_processor = False

    def _sanitize_parameters(
        self, top_k=None, num_frames=None, sampling_rate=None, truncation=None, return_attribution=None, **unknown
    ) -> tuple[dict, dict, dict]:
        if unknown:
            raise ValueError(
                f"Unknown argument {', '.join(unknown)}; there are top_k, num_frames, sampling_rate, truncation, "
                "return_attribution, batch_size and num_workers."
            )
        preprocess = {"num_frames": num_frames, "sampling_rate": sampling_rate}
        forward = {"return_attribution": return_attribution, "truncation": truncation}
        return tuple(
            {name: value for name, value in options.items() if value is not None}
            for options in (preprocess, forward, {"top_k": top_k})
        )

    def __call__(self, inputs, **kwargs):
        is_table = not isinstance(inputs, (dict, list, str, bytes)) and hasattr(inputs, "__getitem__")
        return super().__call__((row for row in inputs) if is_table else inputs, **kwargs)

    def get_iterator(self, inputs, num_workers, batch_size, preprocess_params, forward_params, postprocess_params):
        kind = PipelineDataset if isinstance(inputs, list) else PipelineIterator
        rows = kind(inputs, self.preprocess, preprocess_params)
        batches = DataLoader(rows, batch_size=batch_size, num_workers=num_workers, collate_fn=list)
        for batch in batches:
            for answer in self.forward(batch, **forward_params):
                yield self.postprocess(answer, **postprocess_params)

    def run_single(self, inputs, preprocess_params, forward_params, postprocess_params):
        (answer,) = self.forward([self.preprocess(inputs, **preprocess_params)], **forward_params)
        return self.postprocess(answer, **postprocess_params)

    def preprocess(self, row: dict, num_frames: int | None = None, sampling_rate: int | None = None) -> dict:
        """A row with everything decoded."""
        if not isinstance(row, dict) or not row.keys() <= set(KEYS):
            found = ", ".join(map(str, row)) if isinstance(row, dict) else type(row).__name__
            raise ValueError(f"A row is a dict of {', '.join(KEYS)}, any of them; got {found}.")
        row = {name: value for name, value in row.items() if value is not None}
        if not row:
            raise ValueError(f"A row needs at least one of {', '.join(KEYS)}.")
        if "image" in row and "video" in row:
            raise ValueError("A row has either an image or a video, got both.")
        modalities = self.model.config.modalities
        decoded = {"text": row["text"]} if "text" in row else {}
        if "image" in row:
            decoded["images"] = load_image(row["image"], "image", convert_rgb=True)
        if "video" in row and "image" in modalities:
            frames = load_frames(row["video"], "video", num_frames or self.processor.num_frames, None)[0]
            decoded["videos"] = [load_image(frame, "video", convert_rgb=True) for frame in frames]
        sound = row.get("audio")
        if sound is None and "audio" in modalities and is_file(row.get("video")) and has_sound(row["video"], "video"):
            sound = row["video"]
        if sound is not None:
            rate = self.processor.feature_extractor.sampling_rate
            samples, _ = load_audio(sound, "audio", rate, sampling_rate)
            decoded["audio"] = {"array": samples, "sampling_rate": rate}
        if not decoded:
            raise ValueError(f"The model takes {', '.join(modalities)}, and nothing of the row is that.")
        return decoded

    def encode(self, rows: list[dict], truncation: bool = False) -> dict[str, torch.Tensor]:
        """The batch that the model takes, of rows as `preprocess` gives them."""
        # Pictures are videos of one frame where the batch has videos; else there is no axis of frames.
        names = [name for name in ("text", "images", "videos", "audio") if any(name in row for row in rows)]
        return encode_rows(self.processor, self.model, {n: [row.get(n) for row in rows] for n in names}, truncation)

    def _forward(self, rows: list[dict], return_attribution: bool = False, truncation: bool = False) -> list[dict]:
        batch = self.encode(rows, truncation)
        scores = self.answers(self.model(**batch).logits)
        if not return_attribution:
            return [{"scores": row} for row in scores]
        found = modality_contributions(self.model, batch)
        return [
            {"scores": scores[i], "attribution": {"prior": found.prior[i].item()} | self.parts(found, i)}
            for i in range(len(rows))
        ]

    def answers(self, logits: torch.Tensor) -> torch.Tensor:
        """Probabilities of classes, of each by itself if several may hold; or numbers."""
        problem_type = self.model.config.problem_type
        if problem_type == "regression":
            return logits.float()
        return logits.float().sigmoid() if problem_type == "multi_label_classification" else logits.float().softmax(-1)

    @staticmethod
    def parts(found: Contributions, row: int) -> dict[str, float]:
        return {m: found.values[row, i].item() for i, m in enumerate(found.modalities) if found.present[row, i]}

    def postprocess(self, answer: dict, top_k: int | None = None) -> Any:
        scores, config = answer["scores"].cpu(), self.model.config
        if config.problem_type == "regression":
            result = {"value": scores.item() if scores.numel() == 1 else scores.tolist()}
        else:
            order = scores.argsort(descending=True)[:top_k].tolist()
            result = [{"label": config.id2label[i], "score": scores[i].item()} for i in order]
        if "attribution" not in answer:
            return result
        return (result if isinstance(result, dict) else {"labels": result}) | {"attribution": answer["attribution"]}


def is_file(video: Any) -> bool:
    """Whether frames and sound may come in one: not an array or a list of frames."""
    return video is not None and not isinstance(video, (list, tuple, np.ndarray, torch.Tensor))


# ---------------------------------------------------------------------------------------------------------------------
# Sentiment of videos
# ---------------------------------------------------------------------------------------------------------------------

Segments = list[dict]  # {"start", "end", "text"} in seconds


def analyze_video_sentiment(
    video: Any,
    audio: Any = None,
    transcript: str | Segments | None = None,
    *,
    classifier: MultimodalClassificationPipeline,
    speech_recognizer: Callable | None = None,
    window: float = WINDOW_SECONDS,
    stride: float | None = None,
    batch_size: int = 8,
) -> dict:
    """
    The sentiment of a clip, and how it goes over a longer one.

    Args:
        video: a path, a URL or bytes. A file with sound alone, or without sound, is answered from what it has.
        audio: another sound than that of the file.
        transcript: what is said: a string, heard in every window, or segments {"start", "end", "text"} in seconds. Of a
            window's text and sound, what is longer than the model takes is cut.
        classifier: a pipeline whose model knows the labels, such as negative, neutral and positive.
        speech_recognizer: makes the transcript where there is none: `pipeline("automatic-speech-recognition", ...)`.
        window, stride: seconds; a clip longer than a window is answered window by window, half of one apart by default.
        batch_size: windows at once.

    Returns:
        {"label", "probabilities": {label: probability}, "timeline": [{"start", "end", "label", "probabilities"}, ...]};
        the answer to a longer clip is the mean of its windows.

    Raises:
        ValueError, OSError: the file cannot be decoded, or has neither frames nor sound.
    """
    if window <= 0 or (stride is not None and stride <= 0):
        raise ValueError(f"`window` and `stride` are seconds above 0, got {window} and {stride}.")
    if classifier.model.config.problem_type == "regression":
        raise ValueError(
            "The sentiment of a video needs a model with labels, and this one gives numbers (regression)."
        )
    rate = classifier.processor.feature_extractor.sampling_rate
    samples, sound_start = read_sound(video, audio, rate)
    times = frame_times(video)
    length = max(times[-1] if times else 0.0, sound_start + len(samples) / rate if samples is not None else 0.0)
    if not times and samples is None:
        raise ValueError("The video has neither frames nor sound that can be decoded.")
    if transcript is None and speech_recognizer is not None and samples is not None:
        transcript = recognize(speech_recognizer, samples, rate, sound_start)
    spans = slide(length, window, stride or window / 2)
    rows = window_rows(video, times, samples, sound_start, rate, transcript, spans, classifier.processor.num_frames)
    heard = []  # or seen: the windows that have anything

    def filled() -> Iterator[dict]:
        for span, row in zip(spans, rows):
            if row:
                heard.append(span)
                yield row

    timeline = []
    for number, labels in enumerate(classifier(filled(), batch_size=batch_size, truncation=True)):
        start, end = heard[number]
        probabilities = {answer["label"]: answer["score"] for answer in labels}
        timeline.append({"start": start, "end": end} | summarize(probabilities))
    if not timeline:
        raise ValueError(f"No window of {window} seconds has a frame or enough sound: give a longer one.")
    names = timeline[0]["probabilities"]
    means = {name: float(np.mean([part["probabilities"][name] for part in timeline])) for name in names}
    return summarize(means) | {"timeline": timeline}


def summarize(probabilities: dict[str, float]) -> dict:
    return {"label": max(probabilities, key=probabilities.get), "probabilities": dict(sorted(probabilities.items()))}


def slide(length: float, window: float, stride: float) -> list[tuple[float, float]]:
    """Windows over `length` seconds; one more ends with the clip where more than a bit would be left out."""
    if length <= window:
        return [(0.0, length)]
    spans = [(start, start + window) for start in np.arange(0, length - window + 1e-6, stride).tolist()]
    if length - spans[-1][1] > stride / 4:
        spans.append((length - window, length))
    return spans


def read_sound(video: Any, audio: Any, rate: int) -> tuple[np.ndarray | None, float]:
    """Samples (N,) at `rate` and the second at which they start; None if there is no sound."""
    if audio is None and not has_sound(video, "video"):
        return None, 0.0
    return load_audio(video if audio is None else audio, "video" if audio is None else "audio", rate, None)


def frame_times(video: Any) -> list[float]:
    """Seconds of each frame; none for a file with sound alone."""
    with open_source(video, "video") as file:
        try:
            times, rate = read_timestamps(file)
        except (OSError, ValueError) as error:  # of which PyAV's errors are kinds
            raise ValueError(f"The video cannot be decoded: {reason(error)}") from error
    return [float(i / rate) for i in range(len(times))] if None in times else times


def recognize(speech_recognizer: Callable, samples: np.ndarray, rate: int, start: float) -> Segments:
    """What is said, with the times that the recognizer has: of words (CTC) or of phrases (Whisper); else of the whole."""
    kind = getattr(speech_recognizer, "type", "seq2seq_whisper")
    options = {"return_timestamps": "word" if kind.startswith("ctc") else True} if kind != "seq2seq" else {}
    found = speech_recognizer({"array": samples, "sampling_rate": rate}, **options)
    whole = {"text": found.get("text"), "timestamp": (0.0, None)}
    return [
        {
            "start": start + chunk["timestamp"][0],
            "end": start + (chunk["timestamp"][1] or len(samples) / rate),
            "text": chunk["text"],
        }
        for chunk in found.get("chunks", [whole])
    ]


def window_rows(
    video: Any,
    times: list[float],
    samples: np.ndarray | None,
    sound_start: float,
    rate: int,
    transcript: str | Segments | None,
    spans: list[tuple[float, float]],
    num_frames: int,
) -> Iterator[dict]:
    """The row of each window. The file is decoded once more, and a frame is held as long as a window needs it."""
    wanted = []
    for start, end in spans:
        inside = [i for i, time in enumerate(times) if start <= time < end or (end == spans[-1][1] and time == end)]
        wanted.append([inside[i] for i in even_indices(len(inside), num_frames)])
    for (start, end), frames in zip(spans, take_in_order(video, wanted)):
        row = {"video": frames} if frames else {}
        if samples is not None:
            first, last = (max(0, round((second - sound_start) * rate)) for second in (start, end))
            heard = samples[first:last]
            if len(heard) >= rate // 10:  # less is no sound that an extractor takes
                row["audio"] = {"array": heard, "sampling_rate": rate}
        words = words_between(transcript, start, end)
        yield row | ({"text": words} if words else {})


def take_in_order(video: Any, wanted: list[list[int]]) -> Iterator[list]:
    """The frames of each list of indices; the lists begin and end in order."""
    if not any(wanted):
        yield from wanted
        return
    with open_source(video, "video") as file:
        frames, held, position = iterate_frames(file), {}, 0
        needed = set(itertools.chain(*wanted))
        for indices in wanted:
            while indices and position <= indices[-1]:
                frame = next(frames)
                if position in needed:
                    held[position] = upright(frame)
                position += 1
            yield [held[i] for i in indices]
            first = indices[0] if indices else position
            held = {i: frame for i, frame in held.items() if i >= first}


def words_between(transcript: str | Segments | None, start: float, end: float) -> str:
    if transcript is None or isinstance(transcript, str):
        return transcript or ""
    return " ".join(part["text"].strip() for part in transcript if part["start"] < end and part["end"] > start)


# ---------------------------------------------------------------------------------------------------------------------
# The command line
# ---------------------------------------------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    """`mot predict`: prints as JSON what a checkpoint says of one row, or of a video window by window."""
    parser = argparse.ArgumentParser(prog="mot predict", description=main.__doc__)
    parser.add_argument("--model", required=True, help="a checkpoint on the Hub or in a folder")
    parser.add_argument("--text", help="a sentence; what is said, beside a video")
    parser.add_argument("--image", help="a file or URL")
    parser.add_argument("--audio", help="a file or URL; beside a video in place of its sound track")
    parser.add_argument("--video", help="a file or URL")
    parser.add_argument("--top_k", type=int, help="so many labels; all by default")
    parser.add_argument("--attribution", action="store_true", help="also what each modality contributed")
    parser.add_argument(
        "--speech_recognizer", help="a model of speech recognition, for the words of a video with --window"
    )
    parser.add_argument("--window", type=float, help="seconds: answer a video window by window, with a timeline")
    options = parser.parse_args(arguments)
    if options.window is not None and options.video is None:
        parser.error("--window slides over a --video")
    if options.speech_recognizer is not None and options.window is None:
        parser.error("--speech_recognizer goes with --window")
    classifier = pipeline(TASK, model=options.model, trust_remote_code=True)
    try:
        if options.window is not None:
            recognizer = options.speech_recognizer and pipeline(SPEECH_TASK, model=options.speech_recognizer)
            found = analyze_video_sentiment(
                options.video,
                options.audio,
                options.text,
                classifier=classifier,
                speech_recognizer=recognizer,
                window=options.window,
            )
        else:
            row = {name: getattr(options, name) for name in KEYS}
            found = classifier(row, top_k=options.top_k, return_attribution=options.attribution)
    except (ValueError, OSError, ImportError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    print(json.dumps(found, indent=1))


__all__ = ["MultimodalClassificationPipeline", "analyze_video_sentiment"]
