# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The sentiment of a video: a window slides over its frames, sound and transcript, and a pipeline answers each."""

import itertools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypedDict

import numpy as np

from mixture_of_transformers.decoding_audio_mot import load_audio
from mixture_of_transformers.decoding_container_mot import has_sound
from mixture_of_transformers.decoding_mot import open_source, read_once, reason
from mixture_of_transformers.decoding_video_mot import even_indices, iterate_frames, read_timestamps, upright
from mixture_of_transformers.pipeline_mot import MultimodalClassificationPipeline

WINDOW_SECONDS = 5.0
SAID = "text"  # the key of what is said, in utterances and in what a pipeline of speech recognition gives

Utterances = list[dict]  # {"start", "end", "text"} in seconds


class MultimodalRow(TypedDict, total=False):
    """A row of the pipeline, of which a window has what is not empty."""

    video: list
    audio: dict | None
    text: str


def analyze_video_sentiment(
    video: Any,
    audio: Any = None,
    transcript: str | Utterances | None = None,
    *,
    classifier: MultimodalClassificationPipeline,
    speech_recognizer: Callable | None = None,
    window: float = WINDOW_SECONDS,
    stride: float | None = None,
    batch_size: int = 8,
    allow_urls: bool | str = False,
    others: Mapping[str, Any] | None = None,
) -> dict:
    """
    The sentiment of a clip, and how it goes over a longer one.

    Args:
        video: a path, bytes, an open file, or with `allow_urls` a URL. A file with sound alone, or without sound, is
            answered from what it has.
        audio: another sound than that of the file.
        transcript: what is said: a string, heard in every window, or utterances {"start", "end", "text"} in seconds.
            Of a window's text and sound, what is longer than the model takes is cut.
        classifier: a pipeline whose model knows the labels, such as negative, neutral and positive.
        speech_recognizer: makes the transcript where there is none: `pipeline("automatic-speech-recognition", ...)`.
        window, stride: seconds; a clip longer than a window is answered window by window, half of one apart by
            default.
        batch_size: windows at once.
        allow_urls: as for the pipeline.
        others: what else there is in every window, by the names that it has in a row of the pipeline, such as a table.

    Returns:
        {"label", "probabilities": {label: probability}, "timeline": [{"start", "end", "label", "probabilities"},
        ...]}; the answer to a longer clip is the mean of its windows.

    Raises:
        ValueError, OSError: the file cannot be decoded, or has neither frames nor sound.
    """
    if window <= 0 or (stride is not None and stride <= 0):
        raise ValueError(f"`window` and `stride` are seconds above 0, got {window} and {stride}.")
    if classifier.model.answers_with == "numbers":
        raise ValueError(
            "The sentiment of a video needs a model with labels, and this one gives numbers (regression)."
        )
    video, audio = read_once(video, "video"), read_once(audio, "audio")
    rate = classifier.processor.feature_extractor.sampling_rate
    access = {"allow_urls": allow_urls, "limits": classifier.processor.limits}
    samples, sound_start = read_sound(video, audio, rate, access)
    times = frame_times(video, access)
    length = max(times[-1] if times else 0.0, sound_start + len(samples) / rate if samples is not None else 0.0)
    if not times and samples is None:
        raise ValueError("The video has neither frames nor sound that can be decoded.")
    if transcript is None and speech_recognizer is not None and samples is not None:
        transcript = recognize(speech_recognizer, samples, rate, sound_start)
    spans = slide(length, window, stride or window / 2)
    num_frames = classifier.processor.num_frames
    rows = window_rows(video, times, samples, sound_start, rate, transcript, spans, num_frames, access)
    timeline = list(answer_windows(classifier, spans, rows, batch_size, others or {}))
    if not timeline:
        raise ValueError(f"No window of {window} seconds has a frame or enough sound: give a longer one.")
    names = timeline[0]["probabilities"]
    means = {name: float(np.mean([part["probabilities"][name] for part in timeline])) for name in names}
    return summarize(means) | {"timeline": timeline}


def answer_windows(
    classifier: MultimodalClassificationPipeline,
    spans: list[tuple[float, float]],
    rows: Iterator[dict],
    batch_size: int,
    others: Mapping[str, Any],
) -> Iterator[dict]:
    """Start, end, label and probabilities of each window that has something to see, hear or read."""
    answered = []

    def filled() -> Iterator[dict]:
        for span, row in zip(spans, rows):
            if row:
                answered.append(span)
                yield row | dict(others)

    # All labels are needed, whatever the pipeline gives otherwise. One process answers, as `filled` notes the windows.
    options = {"top_k": classifier.model.config.num_labels, "return_attribution": False, "num_workers": 0}
    options |= {"on_error": "raise", "truncation": True, "batch_size": batch_size}
    for number, labels in enumerate(classifier(filled(), **options)):
        start, end = answered[number]
        yield {"start": start, "end": end} | summarize({answer["label"]: answer["score"] for answer in labels})


def summarize(probabilities: dict[str, float]) -> dict:
    """The likeliest label, and the probabilities by the name of their label."""
    return {"label": max(probabilities, key=probabilities.get), "probabilities": dict(sorted(probabilities.items()))}


def slide(length: float, window: float, stride: float) -> list[tuple[float, float]]:
    """Windows over `length` seconds; one more ends with the clip where more than a bit would be left out."""
    if length <= window:
        return [(0.0, length)]
    spans = [(start, start + window) for start in np.arange(0, length - window + 1e-6, stride).tolist()]
    if length - spans[-1][1] > stride / 4:
        spans.append((length - window, length))
    return spans


def read_sound(video: Any, audio: Any, rate: int, access: dict) -> tuple[np.ndarray | None, float]:
    """Samples (N,) at `rate` and the second at which they start; None if there is no sound."""
    if audio is None and not has_sound(video, "video", **access):
        return None, 0.0
    source, name = (video, "video") if audio is None else (audio, "audio")
    return load_audio(source, name, rate, None, **access)


def frame_times(video: Any, access: dict) -> list[float]:
    """Seconds of each frame; none for a file with sound alone."""
    with open_source(video, "video", **access) as file:
        try:
            times, rate = read_timestamps(file, "video", access["limits"])
        except (OSError, ValueError) as error:  # of which PyAV's errors are kinds
            raise ValueError(f"The video cannot be decoded: {reason(error)}") from error
    return [float(i / rate) for i in range(len(times))] if None in times else times


def recognize(speech_recognizer: Callable, samples: np.ndarray, rate: int, start: float) -> Utterances:
    """What is said, with the times of words (CTC) or of phrases (Whisper), or else with the time of the whole."""
    kind = getattr(speech_recognizer, "type", "seq2seq_whisper")
    options = {"return_timestamps": "word" if kind.startswith("ctc") else True} if kind != "seq2seq" else {}
    found = speech_recognizer({"array": samples, "sampling_rate": rate}, **options)
    whole = {SAID: found.get(SAID), "timestamp": (0.0, None)}
    return [
        {
            "start": start + chunk["timestamp"][0],
            "end": start + (chunk["timestamp"][1] or len(samples) / rate),
            SAID: chunk[SAID],
        }
        for chunk in found.get("chunks", [whole])
    ]


def window_rows(
    video: Any,
    times: list[float],
    samples: np.ndarray | None,
    sound_start: float,
    rate: int,
    transcript: str | Utterances | None,
    spans: list[tuple[float, float]],
    num_frames: int,
    access: dict,
) -> Iterator[dict]:
    """The row of each window. The file is decoded once more, and a frame is held as long as a window needs it."""
    wanted = []
    for start, end in spans:
        inside = [i for i, time in enumerate(times) if start <= time < end or (end == spans[-1][1] and time == end)]
        wanted.append([inside[i] for i in even_indices(len(inside), num_frames)])
    for (start, end), frames in zip(spans, take_in_order(video, wanted, access)):
        sound = None if samples is None else sound_between(samples, start - sound_start, end - sound_start, rate)
        row = MultimodalRow(video=frames, audio=sound, text=words_between(transcript, start, end))
        yield {name: cell for name, cell in row.items() if cell}


def sound_between(samples: np.ndarray, start: float, end: float, rate: int) -> dict | None:
    """What is heard in a window of the samples (N,); None where it is less than an extractor takes for sound."""
    first, last = (max(0, round(second * rate)) for second in (start, end))
    heard = samples[first:last]
    return {"array": heard, "sampling_rate": rate} if len(heard) >= rate // 10 else None


def take_in_order(video: Any, wanted: list[list[int]], access: dict) -> Iterator[list]:
    """The frames of each list of indices; the lists begin and end in order."""
    if not any(wanted):
        yield from wanted
        return
    with open_source(video, "video", **access) as file:
        frames, held, position = iterate_frames(file, "video", access["limits"]), {}, 0
        needed = set(itertools.chain(*wanted))
        for indices in wanted:
            while indices and position <= indices[-1]:
                frame = next(frames)
                if position in needed:
                    held[position] = upright(frame, access["limits"])
                position += 1
            yield [held[i] for i in indices]
            first = indices[0] if indices else position
            held = {i: frame for i, frame in held.items() if i >= first}


def words_between(transcript: str | Utterances | None, start: float, end: float) -> str:
    """What is said in a window: all of a transcript without times, or the utterances that overlap the window."""
    if transcript is None or isinstance(transcript, str):
        return (transcript or "").strip()
    return " ".join(part[SAID].strip() for part in transcript if part["start"] < end and part["end"] > start)
