# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot predict` for one row: what a checkpoint says of it, or of a video window by window, as JSON."""

import argparse
import json

from transformers import pipeline

from mixture_of_transformers.data.written_rows import ROW_HELP, written_row
from mixture_of_transformers.modalities_mot import CELLS
from mixture_of_transformers.pipeline_mot import TASK
from mixture_of_transformers.processing_mot import load_processor
from mixture_of_transformers.serving.video import MultimodalRow, analyze_video_sentiment

SPEECH_TASK = "automatic-speech-recognition"


def main(arguments: list[str] | None = None) -> None:
    """`mot predict`: prints as JSON what a checkpoint says of one row, or of a video window by window."""
    parser = argparse.ArgumentParser(prog="mot predict", description=main.__doc__)
    parser.add_argument("--model", required=True, help="a checkpoint on the Hub or in a folder")
    parser.add_argument("--text", help="a sentence; what is said, beside a video")
    parser.add_argument("--image", help="a file or URL")
    parser.add_argument("--audio", help="a file or URL; beside a video in place of its sound track")
    parser.add_argument("--video", help="a file or URL")
    parser.add_argument("--row", nargs="+", default=[], metavar="FILE|NAME=VALUE", help=ROW_HELP)
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
    ours = {"trust_remote_code": False}  # nothing that lies in a checkpoint is run, nor asked for
    try:
        classifier = pipeline(TASK, model=options.model, processor=load_processor(options.model), **ours)
    except OSError as error:  # which may not say of what
        raise OSError(f"Cannot load the model {options.model!r}: {error}") from error
    named = {name: getattr(options, name) for name in CELLS}
    row = written_row(options.row, named, classifier.processor.rows)
    # Whoever calls the command names the row, so that its URLs are followed.
    if options.window is not None:
        recognizer = options.speech_recognizer and pipeline(SPEECH_TASK, model=options.speech_recognizer, **ours)
        clip = [row.pop(name, None) for name in MultimodalRow.__annotations__]
        found = analyze_video_sentiment(
            *clip,
            classifier=classifier,
            speech_recognizer=recognizer,
            window=options.window,
            others=row,
            allow_urls=True,
        )
    else:
        found = classifier(row, top_k=options.top_k, return_attribution=options.attribution, allow_urls=True)
    print(json.dumps(found, indent=1))
