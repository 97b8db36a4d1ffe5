# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""`mot report`: its figures are those of the model, it asks no one for anything, whatever the data hold is text in it,
and each task has a page."""

import io
import json
import re
import shutil
from pathlib import Path

import datasets
import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset, Features, Image, Value
from demo_server import open_browser
from page_reader import PageReader
from PIL import Image as PILImage
from small_media import sound_bytes
from transformers import AutoModelForSequenceClassification, AutoProcessor

from mixture_of_transformers.attribution_mot import modality_contributions
from mixture_of_transformers.evaluation.intervals import bootstrap_interval
from mixture_of_transformers.evaluation.report import intervals_of_search, report
from mixture_of_transformers.evaluation.report_style import SCRIPT
from mixture_of_transformers.run_finetune import main as finetune
from mixture_of_transformers.training.metrics import Ranking

pytestmark = [pytest.mark.training, pytest.mark.usefixtures("own_cache")]
LABELS = ("<script>alert('label')</script>", "b & c", "plain")
WORDS = ("awful dull grey", "usual even", "great bright warm")
TEXT = "<script>alert('text')</script><img src=x onerror=alert(1)> {} \u202e&amp; {}"
NUMBER = "<b onclick=alert(2)>age</b>"
PLACE = "taken at 47 Secret Street"
SIZES = {"train": 18, "validation": 9, "test": 20}
TINY = {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16}
TINY |= {f"{modality}_config": {"num_hidden_layers": 1} for modality in ("text", "image", "audio", "table")}
RUN = ["--max_steps", "8", "--logging_steps", "2", "--eval_strategy", "steps", "--eval_steps", "4", "--use_cpu"]
RUN += ["--per_device_train_batch_size", "6", "--cache_gigabytes", "0", "--disable_tqdm", "true"]
GENERATION = ["--tokenizer_steps", "2", "--pack_length", "64", "--samples", "1", "--document", "{caption} {image}"]
GENERATION += ["--document", "{image} {caption}", "--document", "{caption} {audio}"]
GENERATION += ["--image_tokenizer_config", '{"hidden_size": 8}', "--audio_tokenizer_config", '{"hidden_size": 8}']
TASKS = {
    "classification": [],
    "regression": ["--label_column", "score", "--task", "regression"],
    "retrieval": ["--task", "retrieval", "--label_column", "none"],
    "pretraining": ["--task", "pretraining"],
    "generation": ["--task", "generation", *GENERATION],
}


def jpeg_with_a_place(value: int) -> bytes:
    file, exif = io.BytesIO(), PILImage.Exif()
    exif[0x010E] = PLACE  # the description
    PILImage.new("RGB", (120, 80), (value, 60, 60)).save(file, format="JPEG", exif=exif)
    return file.getvalue()


def write_data(folder: Path) -> Path:
    """Rows whose names, texts and labels are those of an attacker; a picture of the test split is broken."""
    random = np.random.default_rng(0)
    types = {"caption": Value("string"), "image": Image(decode=False), "audio": Audio(decode=False)}
    types |= {NUMBER: Value("float64"), "mood": Value("string"), "score": Value("float64"), "row_id": Value("int64")}
    for split, size in SIZES.items():
        columns: dict[str, list] = {name: [] for name in types}
        for i in range(size):
            place, draw = i % len(LABELS), random.random()
            sound = 0.3 * np.sin(np.arange(3200) * (0.1 + 0.2 * place)) + 0.01 * random.standard_normal(3200)
            broken = split == "test" and i == 1
            columns["caption"].append(TEXT.format(WORDS[place], i) if draw > 0.2 or broken else None)
            image = {"bytes": b"no picture" if broken else jpeg_with_a_place(100 * place), "path": None}
            columns["image"].append(image if draw < 0.8 or broken else None)
            columns["audio"].append({"bytes": sound_bytes(sound), "path": None})
            columns[NUMBER].append(place + draw)
            columns["mood"].append(LABELS[place])
            columns["score"].append(place + 0.25 * draw)
            columns["row_id"].append(i)
        folder.mkdir(parents=True, exist_ok=True)
        table = datasets.table.pa.Table.from_pydict(columns, schema=Features(types).arrow_schema)
        Dataset(table).to_parquet(folder / f"{split}.parquet")
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A function that gives the folder of a finished run of each task and the page of it, made once."""
    root, made = tmp_path_factory.mktemp("runs"), {}
    data = write_data(root / "private data")

    def run(task: str) -> tuple[Path, str]:
        if task not in made:
            labels = [] if "--label_column" in TASKS[task] else ["--label_column", "mood"]
            columns = ["--text_column", "caption", "--exclude_columns", "mood" if task == "regression" else "score"]
            given = [*RUN, *TASKS[task], *columns, *labels, "--dataset_name", str(data)]
            sizes = [] if task == "generation" else ["--config_overrides", json.dumps(TINY)]
            finetune([*given, *sizes, "--output_dir", str(root / task)])
            made[task] = root / task, report([str(root / task)]).read_text(encoding="utf-8")
        return made[task]

    return run


@pytest.fixture
def copy_of(finished, tmp_path):
    return lambda task: Path(shutil.copytree(finished(task)[0], tmp_path / "out"))


@pytest.fixture(scope="module")
def reference(finished):
    """What the checkpoint answers to each row by itself from each subset of the modalities, and its rows."""
    folder, _ = finished("classification")
    model, processor = (auto.from_pretrained(folder) for auto in (AutoModelForSequenceClassification, AutoProcessor))
    table = datasets.table.pa.parquet.read_table(folder.parent / "private data" / "test.parquet").to_pylist()
    rows = [(number, row) for number, row in enumerate(table) if number != 1]
    answers: dict[str, dict[int, np.ndarray]] = {}
    for number, row in rows:
        cells = {"text": row["caption"], "images": row["image"], "audio": row["audio"], "table": {NUMBER: row[NUMBER]}}
        inputs = processor(**{name: [cell] for name, cell in cells.items() if cell is not None}, return_tensors="pt")
        subsets = [tuple(subset) for subset in subsets_of(model.config.modalities)]
        with torch.no_grad():
            logits = model.eval()(**inputs, modality_subsets=subsets).logits[0].double().softmax(dim=-1).numpy()
        has = {"text": "input_ids", "image": "pixel_values", "audio": "input_features"}
        present = {m for m in model.config.modalities if has.get(m, f"{m}_values") in inputs}
        for subset, probabilities in zip(subsets, logits):
            if set(subset) <= present:
                answers.setdefault("+".join(subset), {})[number] = probabilities
        answers.setdefault("own", {})[number] = logits[-1]
    return model, processor, dict(rows), answers


def subsets_of(modalities):
    """Every non-empty subset, by its bits."""
    return [[m for place, m in enumerate(modalities) if bits >> place & 1] for bits in range(1, 2 ** len(modalities))]


def labels_of(rows, numbers, model) -> np.ndarray:
    return np.array([model.config.label2id[rows[number]["mood"]] for number in numbers])


# ---------------------------------------------------------------------------------------------------------------------
# The figures
# ---------------------------------------------------------------------------------------------------------------------


def test_the_figures_of_each_subset_are_those_of_the_model_and_lie_within_their_intervals(finished, reference):
    model, _, rows, answers = reference
    (head, *lines), *_ = PageReader(finished("classification")[1]).tables["results"]
    assert head == ["modalities", "accuracy", "f1_macro", "f1_weighted", "rows"] and len(lines) == 15
    for name, *cells, count in lines:
        found = answers["+".join(m for m in model.config.modalities if m in name.split("+"))]
        right = np.array([p.argmax() for p in found.values()]) == labels_of(rows, found, model)
        assert int(count) == len(found)
        assert float(cells[0].split()[0]) == pytest.approx(right.mean(), abs=5.1e-5)
        for cell in cells:
            value, low, _, high = cell.split()
            assert float(low) - 5e-4 <= float(value) <= float(high) + 5e-4


def test_the_figures_are_those_that_the_run_has_found(finished):
    folder, html = finished("classification")
    (_, *lines), *_ = PageReader(html).tables["results"]
    results = json.loads((folder / "results.json").read_text())["subsets"]
    assert {name: float(cells[0].split()[0]) for name, *cells in lines} == pytest.approx(
        {name: numbers["accuracy"] for name, numbers in results.items()}, abs=5.1e-5
    )


def test_the_confusion_of_each_subset_counts_its_rows(finished, reference):
    model, _, rows, answers = reference
    tables = PageReader(finished("classification")[1]).tables["classes"]
    blocks = [block for block in tables if block[0][0] == "label \\ answer"]
    results = json.loads((finished("classification")[0] / "results.json").read_text())["subsets"]
    subsets = [name for name, numbers in results.items() if numbers["rows"]]
    assert len(blocks) == len(subsets)
    for name, (head, *lines) in zip(subsets, blocks):
        found = answers[name]
        expected = np.zeros((3, 3), dtype=int)
        for label, probabilities in zip(labels_of(rows, found, model), found.values()):
            expected[label, probabilities.argmax()] += 1
        places = [model.config.label2id[label] for label in head[1:]]
        assert [line[0] for line in lines] == head[1:]
        counted = [[int(cell or 0) for cell in line[1:]] for line in lines]
        assert counted == expected[np.ix_(places, places)].tolist()


def test_mistakes_are_the_surest_wrong_answers_with_what_the_rows_hold(finished, reference):
    model, _, rows, answers = reference
    page = PageReader(finished("classification")[1])
    labels = dict(zip(answers["own"], labels_of(rows, answers["own"], model)))
    wrong = {n: p for n, p in answers["own"].items() if p.argmax() != labels[n]}
    surest = sorted(wrong, key=lambda n: -wrong[n].max())[:8]
    assert surest, "a model that is always right shows nothing here"
    assert len(page.cards) == len(surest)
    for number, card in zip(surest, page.cards):
        title, place, *content = card.splitlines()
        said, truth = (model.config.id2label[int(i)] for i in (wrong[number].argmax(), labels[number]))
        assert title == f"{said}, not {truth}"
        shown = re.fullmatch(r"row (\d+), confidence ([\d.]+)", place)
        assert int(shown[1]) == number and float(shown[2]) == pytest.approx(wrong[number].max(), abs=6e-4)
        assert (f"{rows[number]['caption']}".split("{")[0][:30] in card) == (rows[number]["caption"] is not None)


def test_the_contributions_beside_a_mistake_are_those_to_its_answer(finished, reference):
    model, processor, rows, answers = reference
    html = finished("classification")[1]
    cards = [card.partition("</article>")[0] for card in html.split("<article")[1:]]
    for card in cards:
        row = rows[int(re.search(r"row (\d+), confidence", card)[1])]
        cells = {"text": row["caption"], "images": row["image"], "audio": row["audio"], "table": {NUMBER: row[NUMBER]}}
        inputs = processor(**{name: [cell] for name, cell in cells.items() if cell is not None}, return_tensors="pt")
        expected = modality_contributions(model, inputs).of_row(0)
        found = {name: float(value) for name, value in re.findall(r"<title>(\w+): ([+-][\d.]+)</title>", card)}
        assert found == pytest.approx(expected, abs=6e-4)


def test_curves_show_every_loss_term_and_figure_of_the_log(finished):
    folder, html = finished("classification")
    log = json.loads((folder / "trainer_state.json").read_text())["log_history"]
    section = html.partition('id="training"')[2].partition("</section>")[0]
    titles = set(re.findall(r"<title>([^<]+)</title>", section))
    entries = [e for e in log if "loss" in e]
    assert len(entries) == 4
    for entry in entries:
        for name, value in entry.items():
            if name.startswith("loss"):
                assert f"{name.removeprefix('loss/')}, step {entry['step']}: {float(value):.4g}" in titles
    for entry in (e for e in log if "eval_accuracy" in e):
        assert f"accuracy, step {entry['step']}: {entry['eval_accuracy']:.4g}" in titles


def test_rows_columns_and_splits_are_accounted_for(finished):
    page = PageReader(finished("classification")[1])
    splits, columns = page.tables["data"]
    assert splits == [
        ["split", "rows", "left out"],
        ["train", "18", "0"],
        ["validation", "9", "0"],
        ["test", "19", "1"],
    ]
    assert page.words.count("1 corrupt image (row 1)") == 2, "of the run, and of this evaluation"
    became = {place: name for name, place in columns[1:]}
    taken = {"caption": "text", "image": "image", "audio": "audio", "mood": "label", NUMBER: "table"}
    for column in ("caption", "image", "audio", "mood", NUMBER, "row_id", "score"):
        (name,) = [name for place, name in became.items() if f"'{column}' (" in place]
        assert name == taken.get(column, "left out")


# ---------------------------------------------------------------------------------------------------------------------
# One file that asks no one
# ---------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("task", TASKS)
def test_each_task_has_a_page_that_names_nothing_outside_itself(task, finished):
    folder, html = finished(task)
    page = PageReader(html)
    addresses = [
        a[name] for _, a in page.elements for name in ("src", "href", "action", "data", "srcset") if name in a
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert not re.search(r"https?://|url\(|@import", html)
    assert not {tag for tag, _ in page.elements} & {"link", "iframe", "object", "embed", "form", "base"}
    (policy,) = [a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert len(html) < 2e6
    for place in (str(folder.parent), str(Path.home()), "private data/"):
        assert place not in html
    assert task in page.words and "private data" in page.words


@pytest.mark.parametrize("task", TASKS)
def test_what_the_data_hold_is_text_and_no_markup(task, finished):
    page = PageReader(finished(task)[1])
    assert page.scripts == [SCRIPT]
    assert not [name for _, attributes in page.elements for name in attributes if name.startswith("on")]
    assert not page.attributes("b", "onclick")
    if task == "classification":
        assert LABELS[0] in page.words and NUMBER in page.words and "<script>alert('text')</script>" in page.words
        assert "\\u202e" in page.words and "\u202e" not in page.words


def test_pictures_and_sounds_are_made_anew_small_and_without_what_their_files_say(finished):
    page = PageReader(finished("classification")[1])
    pictures, sounds = page.media("image/"), page.media("audio/mpeg")
    assert pictures and sounds
    for content in pictures:
        assert PLACE.encode() not in content
        with PILImage.open(io.BytesIO(content)) as picture:
            assert picture.size == (120, 80) and not picture.getexif()
    for content in sounds:
        samples, rate = soundfile.read(io.BytesIO(content))
        assert len(samples) / rate == pytest.approx(0.2, abs=0.1) and len(content) < 4000


@pytest.mark.parametrize("task", TASKS)
def test_a_browser_shows_the_page_without_a_request_or_a_complaint(task, finished):
    folder, _ = finished(task)
    with open_browser() as browser:
        context = browser.new_context(viewport={"width": 360, "height": 700}, offline=True)
        page, asked, said = context.new_page(), [], []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.goto((folder / "report.html").as_uri())
        wide = "[...document.querySelectorAll('body *')].filter(e => e.getBoundingClientRect().right > 361"
        wide += " && !e.closest('.wide')).map(e => e.outerHTML.slice(0, 80))"
        assert page.evaluate(wide) == [], "nothing but what can be moved is wider than a telephone"
        assert page.evaluate("[...document.images].every(image => image.naturalWidth > 0)")
        if task == "classification":
            page.wait_for_function("[...document.querySelectorAll('audio')].every(sound => sound.duration > 0.1)")
            shown = "[...document.querySelectorAll('[data-subset]')].filter(e => !e.hidden).map(e => e.dataset.subset)"
            assert page.evaluate(shown) == ["text+image+audio+table"]
            page.get_by_label("Answers from").select_option("audio")
            assert page.evaluate(shown) == ["audio"]
        assert [url for url in asked if not url.startswith("data:")] == [(folder / "report.html").as_uri()]
        assert said == []


# ---------------------------------------------------------------------------------------------------------------------
# Other tasks, and what is not there
# ---------------------------------------------------------------------------------------------------------------------


def test_a_regression_shows_each_answer_beside_its_label_and_the_largest_errors(finished):
    folder, html = finished("regression")
    page = PageReader(html)
    (head, *_), *_ = page.tables["results"]
    assert head == ["modalities", "mae", "mse", "pearson", "rows"]
    section = html.partition('id="answers-and-labels"')[2].partition("</section>")[0]
    pairs = re.findall(r"label ([^\s,]+), answer ([^\s<]+)<", section.split("<figure>")[-1])
    results = json.loads((folder / "results.json").read_text())["subsets"]["text+image+audio+table"]
    errors = [abs(float(label) - float(answer)) for label, answer in pairs]
    assert len(pairs) == results["rows"] and np.mean(errors) == pytest.approx(results["mae"], abs=0.01)
    off = [float(card.splitlines()[1].rpartition(" ")[2]) for card in page.cards]
    assert len(off) == 8 and off == sorted(off, reverse=True)
    assert "There are no classes: the task is regression." in page.words


@pytest.mark.parametrize(
    "task, section, first", [("retrieval", "pairs", "search"), ("pretraining", "terms", "loss term")]
)
def test_search_and_pretraining_show_their_tables_and_say_what_does_not_apply(task, section, first, finished):
    folder, html = finished(task)
    page = PageReader(html)
    (head, *lines), *_ = page.tables["results"]
    results = json.loads((folder / "results.json").read_text())[section]
    assert head[0] == first and [line[0] for line in lines] == list(results)
    for name, *cells in lines:
        metric = next(iter(results[name]))
        assert float(cells[head.index(metric) - 1].split()[0]) == pytest.approx(results[name][metric], abs=5.1e-5)
    assert page.words.count(f"the task is {task}") == 3  # classes, mistakes, contributions


def test_the_figures_of_a_search_have_intervals_around_them_of_queries_drawn_anew(finished):
    page = PageReader(finished("retrieval")[1])
    (head, *lines), *_ = page.tables["results"]
    assert head[-1] == "rows" and "the queries are drawn" in page.words
    for _, *cells, _ in lines:
        for cell in cells:
            value, low, _, high = cell.split()
            assert float(low) - 5e-4 <= float(value) <= float(high) + 5e-4


def test_the_interval_of_recall_is_that_of_the_share_of_queries_that_find_their_item():
    ahead = np.random.default_rng(0).integers(0, 12, size=80)
    nobody, ranking = Ranking(np.zeros(0), np.zeros(0)), Ranking(ahead, np.ones(80))
    found = intervals_of_search({"text->image": ranking, "image->audio": nobody})
    assert list(found) == ["text->image"]
    assert list(found["text->image"]) == ["recall_at_1", "recall_at_5", "recall_at_10", "median_rank"]
    for k in (1, 5, 10):
        expected = bootstrap_interval(lambda rows, k=k: (ahead[rows] < k).mean(), 80)
        assert found["text->image"][f"recall_at_{k}"] == pytest.approx(expected)
        half = 1.96 * ((ahead < k).mean() * (ahead >= k).mean() / 80) ** 0.5
        middle = (ahead < k).mean()
        assert found["text->image"][f"recall_at_{k}"] == pytest.approx((middle - half, middle + half), abs=0.02)
    low, high = found["text->image"]["median_rank"]
    assert low <= np.median(ahead + 1) <= high and low < high


def test_a_generator_shows_its_losses_and_what_it_has_made(finished):
    folder, html = finished("generation")
    page = PageReader(html)
    (head, *lines), *_ = page.tables["results"]
    assert head == ["predicted", "loss", "perplexity", "tokens"] and {line[0] for line in lines} == {
        "text",
        "image",
        "audio",
    }
    made = [json.loads(line)["made"] for line in (folder / "samples" / "samples.jsonl").read_text().splitlines()]
    assert len(page.cards) == len(made) == 3
    assert len(page.media("image/")) == sum(name.endswith(".png") for name in made)
    assert len(page.media("audio/mpeg")) == sum(name.endswith(".wav") for name in made)


def test_a_sample_that_names_a_file_elsewhere_is_text(copy_of, tmp_path):
    out = copy_of("generation")
    PILImage.new("RGB", (8, 8)).save(tmp_path / "other.png")
    line = {"template": "{a} {b}", "prompt": "a", "made": "../other.png"}
    (out / "samples" / "samples.jsonl").write_text(json.dumps(line) + "\n")
    page = PageReader(report([str(out)]).read_text())
    assert not page.media("image/") and "../other.png" in page.words


def test_other_data_and_another_file_may_be_named(copy_of, finished, tmp_path):
    out, other = copy_of("classification"), tmp_path / "other"
    other.mkdir()
    shutil.copy(finished("classification")[0].parent / "private data" / "validation.parquet", other / "test.parquet")
    columns = ["--text_column", "caption", "--label_column", "mood"]
    path = report([str(out), "--dataset_name", str(other), *columns, "--output", str(tmp_path / "new" / "page.html")])
    page = PageReader(path.read_text())
    assert path == tmp_path / "new" / "page.html"
    assert "of the test split of other" in page.words and page.tables["results"][0][3][-1] == "9"
    with pytest.raises(ValueError, match=r"page.pdf is to be a page: name a file that ends with .html or .htm"):
        report([str(out), "--output", "page.pdf"])


def test_without_the_data_of_the_run_the_page_has_what_the_run_left_and_says_what_is_missing(copy_of):
    out = copy_of("classification")
    record = json.loads((out / "run.json").read_text())
    record["data"]["dataset_name"] += "/moved"
    (out / "run.json").write_text(json.dumps(record))
    page = PageReader(report([str(out)]).read_text())
    results = json.loads((out / "results.json").read_text())["subsets"]
    (_, *lines), *_ = page.tables["results"]
    assert {name: float(cells[0]) for name, *cells in lines} == pytest.approx(
        {name: numbers["accuracy"] for name, numbers in results.items()}, abs=5.1e-5
    )
    assert page.words.count("The data could not be read when this page was made.") == 4
    assert not page.cards and not page.tables["classes"]
    assert "moved" not in page.words
    (out / "results.json").unlink()
    assert "The run has left no results either." in report([str(out)]).read_text()


def test_bad_input_what_is_no_run_and_data_that_are_not_there_are_named(copy_of, tmp_path):
    with pytest.raises(OSError, match="There is no folder .*nothing"):
        report([str(tmp_path / "nothing")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty has no run.json, which says what it was trained on"):
        report([str(tmp_path / "empty")])
    with pytest.raises(OSError, match="nowhere"):
        report([str(copy_of("classification")), "--dataset_name", str(tmp_path / "nowhere"), "--label_column", "mood"])
