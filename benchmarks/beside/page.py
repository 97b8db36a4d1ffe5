# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`docs/beside.md`, written from what the runs left: every figure is one of theirs, or follows from them."""

import json
import math
from collections import defaultdict
from pathlib import Path

import numpy as np

from ..miniature_page import paragraph, table
from ..page import ROOT
from .peers import OWN, PEERS
from .problems import PROBLEMS, QUICK, SEARCHES, SETTINGS

Run = dict
# problem -> learner -> its runs in the order of their seeds
Runs = dict[str, dict[str, list[Run]]]

SECTIONS = {
    "digits": """The embedded digits (`mixture_of_transformers.data.digits`): 1297 training rows, of which three in
        ten lack one or two modalities; 300 test rows, all complete. Each seed has splits of its own.""",
    "digits3m": """MNIST pictures, recordings of the Free Spoken Digit Dataset by six speakers, and sentences that name
        the digit in about 60 % of the rows. All 2938 training rows are complete, 500 test rows are spoken by somebody
        unheard.""",
    "digits_search": """To find the picture for a sentence, and the sentence for a picture: the embedded digits that
        have one of them or both. Six of ten sentences name the digit, the others fit any. No learner sees a label: it
        learns from which sentence stands beside which picture. Precision at 1 is the share of the queries whose
        nearest item is of their digit. In the 300 test rows the 180 sentences that name a digit look among all
        pictures, and all pictures among these sentences.""",
    "digits3m_search": """The same searches in digits3m, whose pictures are those of MNIST.""",
    "breast_cancer": """569 rows, 30 numbers, two classes (scikit-learn's copy of Breast Cancer Wisconsin). Each seed
        has splits of its own.""",
    "wine": "178 rows, 13 numbers, three classes (scikit-learn's copy). Each seed has splits of its own.",
    "diabetes": """442 rows, 10 numbers, from which to tell a score of the disease a year later, from 25 to 346
        (scikit-learn's copy). Each seed has splits of its own.""",
}
FULL = {"digits": "training.md#the-embedded-digits", "digits3m": "training.md#digits3m"}


def read_runs(folder: Path) -> Runs:
    """
    Raises:
        ValueError: there is none, or two runs of one problem and seed had other rows or networks of another recipe.
    """
    found: Runs = defaultdict(lambda: defaultdict(list))
    digests: dict[tuple[str, int], str] = {}
    recipes: dict[str, dict] = {}
    for file in sorted(folder.glob("*.json")):
        run = json.loads(file.read_text(encoding="utf-8"))
        digest = digests.setdefault((run["problem"], run["seed"]), run["rows"])
        recipe = recipes.setdefault(run["problem"], run["recipe"])
        if digest != run["rows"] or recipe != run["recipe"]:
            raise ValueError(f"{file} is a run on other rows or with other networks than those beside it: delete it.")
        found[run["problem"]][run["peer"]].append(run)
    if not found:
        raise ValueError(f"{folder} holds no runs: leave out `--page`, or name the `--output_dir` that has some.")
    return {
        problem: {peer: sorted(found[problem][peer], key=lambda run: run["seed"]) for peer in PEERS if peer in of}
        for problem in PROBLEMS
        if (of := found.get(problem))
    }


def write_page(folder: Path, docs: Path = ROOT / "docs") -> None:
    """Write `beside.md` into `docs` from the runs in `folder`."""
    runs = read_runs(folder)
    sections = [introduction(runs), *(section(name, of) for name, of in runs.items()), losses(runs)]
    (docs / "beside.md").write_text("\n\n".join([*sections, arrangement(runs)]) + "\n", encoding="utf-8")


# ---------------------------------------------------------------------------------------------------------------------
# Figures
# ---------------------------------------------------------------------------------------------------------------------


def mean_and_error(runs: list[Run], subset: str) -> tuple[float, float]:
    """
    The mean over the seeds and its standard error: the larger of what the spread of the seeds says, and what the
    number of test rows leaves open.
    """
    values = np.array([run["scores"][subset]["value"] for run in runs])
    errors = np.array([run["scores"][subset]["error"] for run in runs])
    # Splits that all seeds share leave as much open as those of one seed.
    is_shared = len({run["rows"] for run in runs}) == 1
    of_rows = errors.mean() if is_shared else math.sqrt((errors**2).sum()) / len(errors)
    of_seeds = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(values.mean()), float(max(of_rows, of_seeds))


def digits_of(is_classes: bool) -> int:
    return 3 if is_classes else 1


def as_number(seconds: float) -> str:
    return "< 0.1" if seconds < 0.1 else f"{seconds:.1f}" if seconds < 10 else f"{seconds:.0f}"


def bullets(texts: tuple[str, ...]) -> str:
    return "\n".join(paragraph(text, bullet="- ") for text in texts)


def listed(numbers: set[int]) -> str:
    return ", ".join(map(str, sorted(numbers)))


# ---------------------------------------------------------------------------------------------------------------------
# Sections
# ---------------------------------------------------------------------------------------------------------------------


def introduction(runs: Runs) -> str:
    text = """
        What is a MoT worth beside what else one would take? The learners of this page are trained by
        `python -m benchmarks.beside`, which wrote it, on the same rows and splits, and answer the same test rows with
        what a subset of the modalities leaves of them, or find one modality of them by another. A figure is the mean
        over the seeds with its standard error: the larger of what their spread says and what the number of test rows
        leaves open. In bold are the best, and all that are within two standard errors of the difference (as if each
        had rows of its own, which errs on the side of caution). Seconds are those of one core for the training,
        reading and encoding of rows included; memory is what that took at its peak, in MiB, beyond what the process
        had before, with the libraries loaded that the package itself needs.
    """
    return "# Beside others\n\n" + paragraph(text)


def section(name: str, peers: dict[str, list[Run]]) -> str:
    first = next(iter(peers.values()))[0]
    is_classes, subsets = first["is_classes"], list(first["scores"])
    leading = {subset: leaders(peers, subset) for subset in subsets}
    lines = []
    for peer, runs in peers.items():
        cells = []
        for subset in subsets:
            value, error = mean_and_error(runs, subset)
            places = digits_of(is_classes)
            figure = f"{value:.{places}f}"
            cells.append((f"**{figure}**" if peer in leading[subset] else figure) + f" ± {error:.{places}f}")
        seconds = np.mean([run["seconds"]["fit"] for run in runs])
        memory = np.mean([run["mebibytes"] for run in runs])
        seeds = listed({run["seed"] for run in runs})
        lines.append([PEERS[peer].title, *cells, as_number(seconds), f"{memory:.0f}", seeds])
    metric = "precision at 1" if name in SEARCHES else "accuracy" if is_classes else "mean absolute error"
    head = [metric, *subsets, "seconds", "MiB", "seeds"]
    text = SECTIONS[name]
    if is_of_digits(name):
        is_quick = "narrow ones that see the rows a few times" if first["recipe"] == QUICK else "of the full recipe"
        text += f" The networks are {is_quick}." if OWN in peers else " No MoT was trained on them here."
    if name in FULL:
        text += f""" What a MoT of the full recipe tells of the rows of seed 0 is on
        [the page of training]({FULL[name]})."""
    return "\n\n".join([f"## {TITLES[name]}", paragraph(text), table(head, lines)])


def is_of_digits(name: str) -> bool:
    return name in FULL or name in SEARCHES


def better(one: float, other: float, is_classes: bool) -> float:
    """By how much one value is better than another."""
    return one - other if is_classes else other - one


def on_common_seeds(one: list[Run], other: list[Run], subset: str) -> list[tuple[float, float]]:
    """The figures of two learners on the seeds that both have, since each seed has its own splits; [] without any."""
    seeds = {run["seed"] for run in one} & {run["seed"] for run in other}
    both = [[run for run in runs if run["seed"] in seeds] for runs in (one, other)]
    return [mean_and_error(runs, subset) for runs in both] if seeds else []


def leaders(peers: dict[str, list[Run]], subset: str) -> set[str]:
    """The best learner, and those that are not behind it by more than two standard errors of the difference."""
    is_classes = next(iter(peers.values()))[0]["is_classes"]
    best = max(peers, key=lambda peer: better(mean_and_error(peers[peer], subset)[0], 0.0, is_classes))
    return {
        peer
        for peer, runs in peers.items()
        if not (figures := on_common_seeds(runs, peers[best], subset)) or not is_behind(*figures, is_classes)
    }


def is_behind(one: tuple[float, float], other: tuple[float, float], is_classes: bool) -> bool:
    return better(other[0], one[0], is_classes) > 2 * math.hypot(one[1], other[1])


def losses(runs: Runs) -> str:
    """What is better than the MoT, and whether by more than two standard errors."""
    lines = []
    for problem, peers in runs.items():
        if OWN not in peers:
            continue
        is_classes, places = peers[OWN][0]["is_classes"], digits_of(peers[OWN][0]["is_classes"])
        for subset in peers[OWN][0]["scores"]:
            for peer, others in peers.items():
                figures = on_common_seeds(peers[OWN], others, subset)
                if figures and better(figures[1][0], figures[0][0], is_classes) > 0:
                    is_sure = "yes" if is_behind(*figures, is_classes) else "no"
                    values = [f"{mean:.{places}f}" for mean, _ in figures]
                    lines.append([TITLES[problem], subset, PEERS[peer].title, *values, is_sure])
    text = """Every learner that has a better mean than the MoT, on whatever subset or search, on the seeds that both
        have."""
    if not lines:
        return "\n\n".join(["## Where the MoT loses", "No learner has a better mean on any subset or search."])
    head = ["rows", "subset or search", "learner", "MoT", "the other", "beyond two standard errors"]
    return "\n\n".join(["## Where the MoT loses", paragraph(text), table(head, lines), *tried(runs)])


def tried(runs: Runs) -> list[str]:
    """A paragraph for each attempt to do better than the recipe, of those that were run."""
    chosen = [
        f"{changed(TITLES[name], of, 'chosen')} ({', '.join(run['chosen'] for run in of['chosen'])})"
        for name, of in runs.items()
        if {OWN, "chosen"} <= of.keys()
    ]
    plain = [
        changed(TITLES[name], of, "no_augmentation")
        for name, of in runs.items()
        if {OWN, "no_augmentation"} <= of.keys()
    ]
    paragraphs = []
    if chosen:
        paragraphs.append(f"""
            What was tried for tables: the MoT's settings are for any number of rows, and these tables have a few
            hundred. Of {len(SETTINGS)} settings ({"; ".join(SETTINGS)}) the validation rows chose one for each seed,
            given in brackets. {"; ".join(chosen)}.
        """)
    if plain:
        paragraphs.append(f"""
            What was tried for digits: no augmentation, since it makes rows harder to learn, and pays, if at all,
            where they are seen more often. {"; ".join(plain)}.
        """)
    return [paragraph(text) for text in paragraphs]


def changed(title: str, peers: dict[str, list[Run]], other: str) -> str:
    """What became of the MoT's figures on the seeds that both have."""
    seeds = {run["seed"] for run in peers[other]}
    own = [run for run in peers[OWN] if run["seed"] in seeds]
    places = digits_of(own[0]["is_classes"])
    parts = []
    for subset in own[0]["scores"]:
        before, after = (mean_and_error(runs, subset)[0] for runs in (own, peers[other]))
        parts.append(f"{subset} {before:.{places}f} became {after:.{places}f}")
    return f"{title}: {', '.join(parts)}"


def arrangement(runs: Runs) -> str:
    all_runs = [run for peers in runs.values() for of in peers.values() for run in of]
    last = max(all_runs, key=lambda run: run["date"])
    alike = defaultdict(list)
    for name, of in runs.items():
        alike[described(next(iter(of.values()))[0]["recipe"])].append(TITLES[name])
    networks = "; ".join(f"{', '.join(names)}: {recipe}" for recipe, names in alike.items())
    text = f"""
        What the MoTs, the towers and CLIP have alike: {networks}. The last run was on {last["date"]}, commit
        {last["commit"]}, on {last["machine"]}, which others used at the same time; {last["software"]}, one thread.
    """
    return "\n\n".join(
        [
            "## How it was done",
            bullets(RECIPES),
            paragraph(text),
            COMMANDS,
            "## What did not run, or not here",
            bullets((*NOT_RUN, *not_run(runs))),
        ]
    )


def not_run(runs: Runs) -> list[str]:
    """For each problem the learners that take it and have no run."""
    found = []
    for problem in PROBLEMS:
        kind = "image" if is_of_digits(problem) else "table"
        takers = {name: peer for name, peer in PEERS.items() if kind in peer.kinds and peer.does(problem in SEARCHES)}
        lacking = [peer.title for name, peer in takers.items() if name not in runs.get(problem, {})]
        if lacking:
            found.append(f"{TITLES[problem]}: no runs for this page of {'; '.join(lacking)}.")
    return found


def described(recipe: dict) -> str:
    network = recipe["network"]
    return (
        f"{recipe['epochs']} epochs at a peak rate of {recipe['learning_rate']:g}, width {network['hidden_size']}, "
        f"depth of a tower {network['num_encoder_layers']}"
    )


TITLES = {
    "digits": "The embedded digits",
    "digits3m": "digits3m",
    "digits_search": "The embedded digits, searched",
    "digits3m_search": "digits3m, searched",
    "breast_cancer": "Breast cancer",
    "wine": "Wine",
    "diabetes": "Diabetes",
}

RECIPES = (
    """**MoT**: [`run_finetune.py`](training.md) on the training rows, with the options of the recipe and none that
    was chosen on these rows. *Modality dropout alone* is the same with `--objective given --modality_dropout
    0.5`: a step learns each row from what is not hidden of it, in place of a loss for every single modality.
    *Zeros for what lacks* is `--objective given` with zeros in place of every absent modality and no mask that
    tells them from real input, as it is done where a model takes all of its modalities. *Settings chosen on
    validation* trains with five settings and keeps the one that is best on the validation rows; its seconds are
    those of all five. A search is `--task retrieval --label_column none` on the command line: a row's sentence and
    picture match, and all others of the batch do not.""",
    """**BERT, ViT, AST, late fusion**: a transformer of the library for each modality, new, of the MoT's width and
    depth, each trained by `Trainer` on the rows that have its modality, for as many epochs at the MoT's rate.
    The answer is the mean of the probabilities of those that have something to see. The MoT's recipe augments
    pictures and sounds, theirs does not, and no more does the MoT with *no augmentation*.""",
    """**Ready features** of the classical learners, side by side: pixels; mean and standard deviation of 80
    log-mel bins over a clip; TF-IDF of words and pairs of words; the columns of a table. The *linear model* is a
    logistic or ridge regression, the *support vectors* have a radial kernel, both after `SimpleImputer` and
    `StandardScaler`, with penalties chosen on the validation rows. *Boosted trees* (`HistGradientBoosting*` and
    LightGBM, 100 rounds) take gaps as they are and stop early by the validation rows.""",
    """**sentence-transformers, new CLIP**: the package's own training of a model of sentences and pictures, as its
    pages on multimodal training and on `MultipleNegativesRankingLoss` have it: `SentenceTransformerTrainer` on pairs
    of a sentence and a picture, the symmetric InfoNCE loss, batches without duplicates. The CLIP is new, of the MoT's
    width and depth, with the MoT's tokenizer, rate, schedule and batch size, and sees pictures as they are.
    *Canonical correlation* is between the principal components of the ready features of both sides, as many as let
    most validation rows find their own pair among the first ten, and weighs each variable by its correlation.""",
    """**MMSA** 2.2.1: its models, settings for CMU-MOSI and trainers on sequences of ready features (a drawn
    vector for each word piece, pixels, log-mel frames), 10 classes in place of a score; zeros for what lacks.""",
    """**AutoGluon** 1.6.3, tables alone: the preset `medium_quality` on one core, with LightGBM and without the
    learners of its extras (CatBoost, XGBoost, fastai).""",
)

NOT_RUN = (
    """`MMSA_run` needs a GPU (`ValueError: Expected a cuda device, but got: cpu`), so that its models and trainers
    are called without it. MulT's trainer does not fit torch 2.13 (`TypeError: ReduceLROnPlateau.__init__() got
    an unexpected keyword argument 'verbose'`); here that argument is taken away. Self-MM tells scores around 0,
    no classes, and begins with a BERT of the Hub, so that it has no line.""",
    """AutoGluon's tables install beside torch 2.13 and transformers 5.23, but with pandas 2.3.3 and pyarrow 24 in
    place of the tested 3.1.1 and 26.0.1: they need an environment of their own. Its multimodal predictor takes
    no sound and was not tried.""",
    """Sentence-transformers' module `CLIPModel` is deprecated, so that its successor `Transformer` loads the CLIP. No
    published CLIP was tried, for want of one without a download: what the package is mostly used for, going on from
    weights that others trained, is not in these tables.""",
)

COMMANDS = """```bash
pip install lightgbm                                         # learners that are not installed are passed over
pip install --no-deps MMSA easydict nvidia-ml-py3
pip install "sentence-transformers>=6.2"
pip install autogluon.tabular                                # in another environment, see below
python -m benchmarks.beside --dataset_name path/to/digits3m  # an interrupted command goes on where it stopped
python -m benchmarks.beside --quick                          # smaller networks and fewer epochs on the digits
python -m benchmarks.beside --page                           # this page, of the runs that are there
```"""
