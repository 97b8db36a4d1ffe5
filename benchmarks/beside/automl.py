# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""AutoGluon's tables: several learners, each with its own settings, and a weighted mean of them."""

import tempfile

import numpy as np
import pandas as pd

from .classical import Answer
from .problems import Problem, Row


def frame(rows: list[Row], modality: str) -> pd.DataFrame:
    return pd.DataFrame([row[modality] | {"label": row["label"]} for row in rows])


def autogluon(problem: Problem, seed: int) -> Answer:
    """On one core, by the preset that needs the least time; the validation rows weigh the learners."""
    from autogluon.tabular import TabularPredictor

    (modality,) = problem.modalities
    kind = "regression" if not problem.classes else "multiclass" if len(problem.classes) > 2 else "binary"
    folder = tempfile.TemporaryDirectory()  # which goes with the answers, since it reads its learners from there
    predictor = TabularPredictor(label="label", problem_type=kind, path=folder.name, verbosity=0)
    predictor.fit(
        frame(problem.train, modality),
        tuning_data=frame(problem.validation, modality),
        presets="medium_quality",
        num_cpus=1,
        num_gpus=0,
    )

    def answer(rows: list[Row], folder: tempfile.TemporaryDirectory = folder) -> np.ndarray:
        table = frame(rows, modality).drop(columns="label")
        if not problem.classes:
            return predictor.predict(table).to_numpy()
        return predictor.predict_proba(table)[list(range(len(problem.classes)))].to_numpy()

    return answer
