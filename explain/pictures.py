# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Pictures of attention, of contributions, of series, of losses and of embeddings.

Each function named `plot_...` returns a matplotlib figure and writes it where `save_path` says. matplotlib is imported
when the first figure is drawn, so that the rest of the package does without it.
"""

import itertools
import math
from collections.abc import Iterable, Sequence
from contextlib import contextmanager

import numpy as np
import torch

from mixture_of_transformers.attribution_mot import Contributions
from mixture_of_transformers.explain.attention import AttentionMaps, modality_attention, token_relevance
from mixture_of_transformers.explain.projection import project_embeddings
from mixture_of_transformers.explain.tokens import frame_attention, kind_of, token_labels, token_times
from mixture_of_transformers.modality_audio_mot import SECONDS_PER_FRAME
from mixture_of_transformers.modality_image_mot import is_video, patch_grid

# ---------------------------------------------------------------------------------------------------------------------
# Figures in one style
# ---------------------------------------------------------------------------------------------------------------------

# Colours that people with colour blindness tell apart (Okabe and Ito, 2008); the first three are text, image, audio.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
LINES, HATCHES = ("-", "--", ":", "-."), ("", "///", "xxx", "...")  # by which more things than colours differ
MARKS = "o^sDvP*X<>phd"
COLOR_MAP = "viridis"  # of amounts: lightness alone tells more from less
FONT_SIZE, TITLE_SIZE = 9, 11  # points
BACKGROUND, DOTS_PER_INCH = "white", 110
INK, GREY = "black", "#777777"
MOST_TICKS, MOST_WORDS = 10, 40  # along an axis
MOST_FRAMES, WORDS_PER_LINE, CHARACTERS_PER_LINE = 8, 8, 88
MOST_SAMPLES, MOST_MARKED, MOST_NAMED = 2000, 200, 14  # of a series as a line, with marks; channels with names
HEIGHTS = {"frames": 3.0, "spectrogram": 2.4, "series": 2.4}  # inches; that of words grows with their lines
OPACITY = 0.65  # of what lies over a picture


@contextmanager
def new_figure(title: str, size: tuple[float, float], save_path=None):
    """
    A figure in the common style, `size` in inches, written to `save_path` (its ending says how) once it is drawn. The
    style is put on each part of the figure: matplotlib's settings are those of the whole process, and changing them,
    even for a moment, would change what another thread draws.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: `pip install 'mixture-of-transformers[viz]'`.") from error
    # pyplot is not used: it would choose a backend, and keep every figure for a window that nobody opens.
    figure = Figure(figsize=size, layout="constrained", facecolor=BACKGROUND)
    figure.suptitle(title, fontsize=TITLE_SIZE, color=INK)
    yield figure
    if save_path is not None:
        figure.savefig(save_path, facecolor=BACKGROUND, dpi=DOTS_PER_INCH)


def new_axes(figure, rows: int = 1, columns: int = 1, **options):
    """Axes (rows, columns) of a figure in the common style."""
    axes = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in axes.flat:
        style_axis(axis)
        axis.spines[["top", "right"]].set_visible(False)
    return axes


def style_axis(axis) -> None:
    axis.set_facecolor(BACKGROUND)
    axis.grid(False)
    axis.tick_params(labelsize=FONT_SIZE, color=INK, labelcolor=INK)
    axis.spines[:].set_color(INK)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set(fontsize=FONT_SIZE, color=INK)


def add_scale(figure, image, axes, label: str, **options) -> None:
    """What the colours of an image mean, beside the axes."""
    bar = figure.colorbar(image, ax=axes, **options)
    style_axis(bar.ax)
    bar.set_label(label, fontsize=FONT_SIZE, color=INK)


def plain(text: str) -> str:
    """Text of a checkpoint, a tokenizer or a person as matplotlib shows it as it is: dollars begin no mathematics."""
    return text.replace("$", r"\$")


def look_of(number: int, others: Sequence[str]) -> tuple[str, str]:
    """The colour of the thing with this number, and by which of `others` it differs from those of the same colour."""
    return COLORS[number % len(COLORS)], others[number // len(COLORS) % len(others)]


def add_legend(figure) -> None:
    figure.legend(loc="outside right upper", frameon=False, fontsize=FONT_SIZE, labelcolor=INK)


# ---------------------------------------------------------------------------------------------------------------------
# What titles and axes say
# ---------------------------------------------------------------------------------------------------------------------


def of_row(row: int | None, number: int) -> str:
    """Which of the batch's rows a title speaks of; of a batch of one there is nothing to say."""
    if number == 1:
        return ""
    return f", mean of {number} rows" if row is None else f", row {row} of the batch"


def layer_name(maps: AttentionMaps, layer: int) -> str:
    layer %= maps.config.num_hidden_layers
    return f"layer {layer} ({'joint' if layer < maps.config.num_joint_layers else 'global'})"


def head_name(head: int | None) -> str:
    return "mean of all heads" if head is None else f"head {head}"


def axis_ticks(maps: AttentionMaps, modality: str, row: int, tokenizer) -> tuple[list[int], list[str]]:
    """Where to write what along the real tokens of a modality: words, rows of patches or frames, moments."""
    labels, kind = token_labels(maps, modality, row, tokenizer), kind_of(maps, modality)
    config = maps.config.modality_config(modality)
    first, step, most = config.num_prefix_tokens, 1, MOST_TICKS if kind.has_times else MOST_WORDS
    if kind.drawing == "frames":
        pixels = maps.inputs[kind.names.raw]
        rows, columns = patch_grid(pixels, config)
        step = rows * columns if is_video(pixels) else columns
        labels = [label.split(", ")[0] for label in labels]  # the frame, or the row
    step *= math.ceil((len(labels) - first) / step / most)
    ticks = list(range(first, len(labels), step))
    return ticks, [plain(labels[i]) for i in ticks]


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def plot_modality_attention(maps: AttentionMaps, row: int | None = None, save_path=None):
    """
    A heat map of `modality_attention` for each layer of the maps and each head, and one for the mean of all heads.

    Args:
        row: of the batch; by default the mean over the rows that have the modality that looks.
    """
    masses, names = modality_attention(maps), list(maps.places)
    if not masses:
        raise ValueError("These maps hold no joint or global layer: name some in `attention_maps(..., layers=...)`.")
    if row is not None:
        maps.check_row(row)
    heads = next(iter(masses.values())).shape[1]
    side = max(1.45, 0.36 * len(names))  # inches of a panel: room for the number in each cell
    size = (side * (heads + 1) + 1.5, (side + 0.15) * len(masses) + 1)
    with new_figure(f"Attention between modalities{of_row(row, len(maps.mask))}", size, save_path) as figure:
        axes = new_axes(figure, len(masses), heads + 1, sharex=True, sharey=True)
        for line, (layer, mass) in zip(axes, masses.items()):
            mass = mass.nanmean(dim=0) if row is None else mass[row]  # (H, M, M)
            panels = [("all heads", mass.mean(dim=0)), *((f"head {i}", found) for i, found in enumerate(mass))]
            for axis, (name, found) in zip(line, panels):
                image = axis.imshow(found.cpu().numpy(), cmap=COLOR_MAP, vmin=0, vmax=1)
                axis.set_title(name if layer == min(masses) else "", fontsize=FONT_SIZE, color=INK)
                axis.set_xticks(range(len(names)), names, rotation=45)
                axis.set_yticks(range(len(names)), names)
                for (i, j), value in zip(itertools.product(range(len(names)), repeat=2), found.flatten().tolist()):
                    if not math.isnan(value):
                        color = "black" if value > 0.45 else "white"
                        axis.text(j, i, f"{value:.2f}", ha="center", va="center", color=color, fontsize=7)
            line[0].set_ylabel(f"{layer_name(maps, layer)}\nqueries of")
        figure.supxlabel("keys of", fontsize=FONT_SIZE, color=INK)
        add_scale(figure, image, axes, "share of attention", shrink=0.9)
    return figure


def plot_token_attention(
    maps: AttentionMaps,
    row: int = 0,
    layer: int = -1,
    head: int | None = None,
    queries: str | None = None,
    keys: str | None = None,
    tokenizer=None,
    save_path=None,
):
    """
    Who attends to whom, token by token: a heat map for every two modalities, with words, places in the picture and
    seconds along the axes.

    Args:
        head: the mean over all heads by default.
        queries, keys: one modality; all that the row has by default.
        tokenizer: that of the processor, which turns ids back into words.
    """
    maps.check_row(row)
    sides = [maps.present(row) if chosen is None else [chosen] for chosen in (queries, keys)]
    places = {m: maps.real(m, row) for m in dict.fromkeys(sides[0] + sides[1])}
    ticks = {m: axis_ticks(maps, m, row, tokenizer) for m in places}
    weights = maps.layer(layer, head)[row]
    most = max(weights[places[q]][:, places[k]].max().item() for q in sides[0] for k in sides[1])
    title = f"Attention from token to token{of_row(row, len(maps.mask))}\n{layer_name(maps, layer)}, {head_name(head)}"
    # In inches; room for the words of a sentence, and for a video to be larger than a sentence, within limits.
    heights, widths = ([min(max(0.13 * len(places[m]), 1.2), 4.5) for m in side] for side in sides)
    with new_figure(title, (max(sum(widths) + 2.4, 5.5), sum(heights) + 1.8), save_path) as figure:
        ratios = {"height_ratios": heights, "width_ratios": widths}
        axes = new_axes(figure, len(heights), len(widths), **ratios)
        for (i, q), (j, k) in itertools.product(enumerate(sides[0]), enumerate(sides[1])):
            axis, block = axes[i, j], weights[places[q]][:, places[k]].cpu().numpy()
            image = axis.imshow(block, cmap=COLOR_MAP, vmin=0, vmax=most, aspect="auto")
            axis.set_xticks(*(ticks[k] if q == sides[0][-1] else ([], [])), rotation=90, fontsize=7)
            axis.set_yticks(*(ticks[q] if j == 0 else ([], [])), fontsize=7)
            axis.set_title(f"keys: {k}" if i == 0 else "", fontsize=FONT_SIZE, color=INK)
            axis.set_ylabel(f"queries: {q}" if j == 0 else "")
        add_scale(figure, image, axes, "attention weight", aspect=30)
    return figure


def plot_rollout(maps: AttentionMaps, row: int = 0, tokenizer=None, save_path=None):
    """
    `token_relevance` of one row over its picture or video frames, its mel spectrogram, its series and its words. The
    maps should hold all layers, the encoders' too: `attention_maps(model, inputs, encoders=True)`.
    """
    maps.check_row(row)
    relevance, present = 100 * token_relevance(maps)[row].cpu(), maps.present(row)
    prefixes = {m: maps.config.modality_config(m).num_prefix_tokens for m in present}
    labels = {m: token_labels(maps, m, row, tokenizer)[number:] for m, number in prefixes.items()}
    lines = {m: math.ceil(len(words) / words_per_line(words)) for m, words in labels.items()}
    drawings = {m: kind_of(maps, m).drawing for m in present}
    heights = [HEIGHTS.get(drawing, 0.7 + 0.3 * lines[m]) for m, drawing in drawings.items()]  # inches
    with new_figure(f"Attention rollout{of_row(row, len(maps.mask))}", (7.5, sum(heights) + 0.4), save_path) as figure:
        parts = figure.subfigures(len(present), 1, squeeze=False, height_ratios=heights)[:, 0]
        for m, part in zip(present, parts):
            own = relevance[maps.real(m, row).cpu()]
            part.suptitle(f"{m}: {own.sum():.0f} % of the whole", fontsize=FONT_SIZE, color=INK)
            own = own[prefixes[m] :]
            if drawings[m] == "frames":
                draw_frames(part, own, labels[m], maps, m, row)
            elif drawings[m] == "series":
                draw_series(part, own, maps, m, row)
            elif drawings[m] == "spectrogram":
                draw_spectrogram(part, own, maps, m, row)
            else:  # of whatever kind: its tokens have labels
                draw_words(part, own, labels[m])
    return figure


def words_per_line(words: list[str]) -> int:
    """How many words stand in a line, so that the longest has room."""
    return max(1, min(WORDS_PER_LINE, CHARACTERS_PER_LINE // max(map(len, words), default=1)))


def draw_words(figure, relevance: torch.Tensor, words: list[str]) -> None:
    """Each word in a cell of its own, whose colour is its relevance."""
    width = words_per_line(words)
    lines = math.ceil(len(words) / width)
    cells = torch.full((lines * min(len(words), width),), torch.nan)
    cells[: len(words)] = relevance
    cells = cells.reshape(lines, -1)
    axis = new_axes(figure)[0, 0]
    image = axis.imshow(cells.numpy(), cmap=COLOR_MAP, vmin=0, aspect="auto")
    for i, word in enumerate(words):
        color = "black" if relevance[i] > 0.45 * relevance.max() else "white"
        place = (i % cells.shape[1], i // cells.shape[1])
        axis.text(*place, plain(word), ha="center", va="center", color=color, fontsize=FONT_SIZE)
    axis.set_axis_off()
    add_scale(figure, image, axis, "% per token")


def draw_frames(
    figure, relevance: torch.Tensor, labels: list[str], maps: AttentionMaps, modality: str, row: int
) -> None:
    """The picture, or the frames of a video, and beside or below it the same under the relevance of its patches."""
    kind = kind_of(maps, modality)
    pixels = maps.inputs[kind.names.raw]
    grid, is_moving = patch_grid(pixels, maps.config.modality_config(modality)), is_video(pixels)
    frames = pixels[row].cpu().float()
    frames = frames if is_moving else frames[None]  # (F, C, H, W)
    frames = frames[kind.real_places(maps.inputs, row, len(frames))]
    frames = (frames - frames.amin()) / (frames.amax() - frames.amin()).clamp(min=1e-6)  # colours from 0 to 1
    relevance = relevance.unflatten(0, (len(frames), *grid))
    labels = labels[:: relevance[0].numel()]
    shown = range(0, len(frames), math.ceil(len(frames) / MOST_FRAMES))
    axes = new_axes(figure, *((2, len(shown)) if is_moving else (1, 2))).T.reshape(-1, 2)
    height, width = frames.shape[2:]
    for i, (bare, covered) in zip(shown, axes):
        for axis in (bare, covered):
            axis.imshow(frames[i].movedim(0, -1).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
        bare.set_title(labels[i].split(", ")[0] if is_moving else "", fontsize=7, color=INK)
        options = {"cmap": COLOR_MAP, "vmin": 0, "vmax": relevance.max().item(), "alpha": OPACITY}
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        image = covered.imshow(relevance[i].numpy(), extent=extent, **options)
    add_scale(figure, image, axes, "% per patch")


def draw_spectrogram(figure, relevance: torch.Tensor, maps: AttentionMaps, modality: str, row: int) -> None:
    """The log-mel spectrogram, and beside it the same under the relevance of its tokens."""
    kind = kind_of(maps, modality)
    frames = maps.inputs[kind.names.raw][row].cpu().float()
    frames = frames[kind.real_places(maps.inputs, row, len(frames))]  # (T, mel)
    stride, (times, _) = maps.config.modality_config(modality).stem_stride, token_times(maps, modality, row)
    step = (times[-1] - times[0]).item() / max(len(times) - 1, 1) / stride or SECONDS_PER_FRAME
    extent = (times[0].item(), times[0].item() + step * len(frames), 0, frames.shape[1])
    relevance = relevance.repeat_interleave(stride)[: len(frames)]
    axes = new_axes(figure, 1, 2, sharey=True)[0]
    for axis in axes:
        axis.imshow(frames.T.numpy(), origin="lower", extent=extent, cmap="gray", aspect="auto")
        axis.set_xlabel("seconds")
    axes[0].set_ylabel("mel bin")
    options = {"cmap": COLOR_MAP, "vmin": 0, "alpha": OPACITY, "extent": extent, "aspect": "auto"}
    add_scale(figure, axes[1].imshow(relevance[None].numpy(), **options), axes, "% per token")


def draw_series(figure, relevance: torch.Tensor, maps: AttentionMaps, modality: str, row: int) -> None:
    """The channels as lines, which end at gaps, over the relevance of their tokens."""
    kind, config = kind_of(maps, modality), maps.config.modality_config(modality)
    values, (times, unit) = kind.readings(maps.inputs, row), kind.sample_times(config, maps.inputs, row)
    step = times.diff().mean(dim=0, keepdim=True) if len(times) > 1 else torch.ones(1)
    edges = torch.cat([times[:: config.stem_stride], times[-1:] + step])
    known = values[~values.isnan()]
    axis = new_axes(figure)[0, 0]
    options = {"cmap": COLOR_MAP, "vmin": 0, "alpha": OPACITY}
    heights = [known.min().item() - 0.1, known.max().item() + 0.1]  # a line along the border would not be seen
    image = axis.pcolormesh(edges.numpy(), heights, relevance[None].numpy(), **options)
    draw_channels(axis, times.numpy(), values.numpy())
    axis.set_xlabel("seconds" if unit == "s" else unit)
    add_scale(figure, image, axis, "% per token")


def draw_channels(axis, times: np.ndarray, values: np.ndarray) -> None:
    """
    Channels (T, C) as lines, which end at gaps; of a long series, the highest and the lowest of samples that fall
    together.
    """
    step = math.ceil(len(values) / MOST_SAMPLES)
    if step > 1:
        starts = np.arange(0, len(values), step)
        ends = [part.reduceat(values, starts, axis=0) for part in (np.fmin, np.fmax)]  # of what is no gap
        times, values = times[starts].repeat(2), np.stack(ends, axis=1).reshape(-1, values.shape[1])
    marks = {"marker": ".", "markersize": 3} if len(values) <= MOST_MARKED else {}
    for number, channel in enumerate(values.T):
        color, line = look_of(number, LINES)
        axis.plot(times, channel, color=color, linestyle=line, linewidth=0.9, label=f"channel {number}", **marks)


def plot_series(values, times=None, sampling_rate: float | None = None, name: str = "series", save_path=None):
    """
    A series as lines, which end at gaps.

    Args:
        values: (T, C), NaN where there is no reading.
        times: (T,) seconds; or else
        sampling_rate: in Hz; without either samples are counted.
    """
    values = np.asarray(values, dtype=np.float64)
    counts = np.arange(len(values))
    is_timed = times is not None or sampling_rate is not None
    places = counts / (sampling_rate or 1) if times is None else np.asarray(times, dtype=np.float64)
    samples, channels = values.shape
    title = f"{plain(name)}: {samples:,} samples of {channels} channel{'s' if channels > 1 else ''}"
    with new_figure(title, (6.5, 2.6), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        draw_channels(axis, places, values)
        axis.set_xlabel("seconds" if is_timed else "sample")
        axis.margins(x=0.01)
        if 1 < channels <= MOST_NAMED:
            add_legend(figure)
    return figure


def plot_attention_over_time(
    maps: AttentionMaps,
    queries: str = "image",
    keys: str = "audio",
    row: int = 0,
    layer: int = -1,
    head: int | None = None,
    save_path=None,
):
    """`frame_attention` between the frames of a video and its sound (or the other way round) as a heat map."""
    weights, *moments = frame_attention(maps, queries, keys, row, layer, head)
    title = f"Attention over time{of_row(row, len(maps.mask))}\n{layer_name(maps, layer)}, {head_name(head)}"
    with new_figure(title, (7, 3.5), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        image = axis.imshow(weights.cpu().numpy(), cmap=COLOR_MAP, vmin=0, aspect="auto")
        for m, times, which in zip((queries, keys), moments, (axis.yaxis, axis.xaxis)):
            unit = token_times(maps, m, row)[1]
            ticks = range(0, len(times), math.ceil(len(times) / MOST_TICKS))
            which.set_ticks(ticks, [f"{times[i]:.2f}" if unit == "s" else f"{times[i]:.0f}" for i in ticks])
            role = "queries" if which is axis.yaxis else "keys"
            which.set_label_text(f"{role}: {m} ({'seconds' if unit == 's' else unit})")
        add_scale(figure, image, axis, "share of attention")
    return figure


def plot_contributions(contributions: Contributions, row: int | None = None, labels=None, save_path=None):
    """
    From the prior to the answer, by what each modality contributed.

    Args:
        row: of the batch; by default the mean over all rows.
        labels: class -> name, such as `model.config.id2label`.
    """
    number = len(contributions.answer)
    if row is not None and not 0 <= row < number:
        raise ValueError(f"`row` is {row}, but there are {number}: expected 0 to {number - 1}.")
    rows = slice(None) if row is None else slice(row, row + 1)
    names = [m for m, has in zip(contributions.modalities, contributions.present[rows].any(dim=0)) if has]
    values = [contributions.of(m)[rows].mean().item() for m in names]
    errors = [""] * len(names)
    if contributions.error is not None:  # of a mean at most their mean, since rows share what was drawn
        columns = [contributions.error[rows, contributions.modalities.index(m)] for m in names]
        errors = [f" ± {column.mean().item():.3f}" for column in columns]
    prior, answer = (part[rows].mean().item() for part in (contributions.prior, contributions.answer))
    title = "What each modality contributed" + of_row(row, number)
    label = contributions.unit
    if row is not None and contributions.target.ndim == 1 and contributions.unit in ("probability", "logit"):
        target = contributions.target[row].item()
        label += f" of “{labels[target] if labels else target}”"
    looks = {m: look_of(i, HATCHES) for i, m in enumerate(contributions.modalities)}
    start, bars = prior, [("nothing (prior)", 0.0, prior, f"{prior:.3f}", (GREY, ""))]
    for m, value, error in zip(names, values, errors):
        bars.append((m, start, value, f"{value:+.3f}{error}", looks[m]))
        start += value
    bars.append(("all (answer)", 0.0, answer, f"{answer:.3f}", (GREY, "")))
    with new_figure(title, (6.5, 0.42 * len(names) + 2), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        draw_bars(axis, bars)
        axis.set_xlabel(plain(label))
    return figure


def draw_bars(axis, bars: list[tuple[str, float, float, str, tuple[str, str]]]) -> None:
    """Bars (name, where it starts, its length, what is written at its end, colour and hatch), one below another."""
    for y, (_, left, length, text, (color, hatch)) in enumerate(bars):
        axis.barh(y, length, left=left, color=color, hatch=hatch, edgecolor=BACKGROUND, linewidth=0, height=0.65)
        options = {"xytext": (4, 0), "textcoords": "offset points", "va": "center", "fontsize": 8, "color": INK}
        axis.annotate(text, (max(left, left + length), y), **options)
    for y, (_, left, length, _, _) in enumerate(bars[:-1]):  # each bar starts where the one before ended
        axis.plot([left + length] * 2, [y, y + 1], color=GREY, linewidth=0.8, linestyle=":")
    axis.set_yticks(range(len(bars)), [name for name, *_ in bars])
    axis.invert_yaxis()
    axis.axvline(0, color=INK, linewidth=0.8)
    axis.margins(x=0.12)


def plot_losses(log_history: list[dict], save_path=None):
    """
    The loss over the steps of a training, with each of its terms and the evaluation's.

    Args:
        log_history: `trainer.state.log_history`, also in a checkpoint's `trainer_state.json`.
    """
    curves = {}
    for entry in log_history:
        for name, value in entry.items():
            if name in ("loss", "eval_loss") or name.startswith("loss/"):
                curves.setdefault(name, []).append((entry["step"], float(value)))
    if not curves:
        found = sorted({name for entry in log_history for name in entry})
        raise ValueError(
            f"`log_history` holds no `loss`: expected that of a trainer, got {', '.join(found) or 'nothing'}."
        )
    sums = {"loss": "-", "eval_loss": "--"}
    terms = sorted(curves.keys() - sums, key=lambda name: (name.count("+"), list(curves).index(name)))
    with new_figure("Loss and its terms", (7, 3.8), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        for name in [name for name in sums if name in curves] + terms:
            style = {"color": INK, "linewidth": 2.2, "linestyle": sums.get(name)}
            if name in terms:
                i = terms.index(name)
                color, line = look_of(i, LINES)
                style = {"color": color, "linewidth": 1.3, "linestyle": line}
            axis.plot(*zip(*curves[name]), label=name.removeprefix("loss/"), marker=".", **style)
        axis.set_xlabel("step")
        axis.set_ylabel("loss")
        axis.set_ylim(bottom=min(0, axis.get_ylim()[0]))
        add_legend(figure)
    return figure


def plot_embeddings(
    embeddings: torch.Tensor | dict[str, torch.Tensor],
    labels: Iterable,
    method: str = "pca",
    seed: int = 0,
    save_path=None,
):
    """
    A map of the embeddings of a retrieval set, coloured by label: what lies near belongs together.

    Args:
        embeddings: (N, D), or several of them by the name of their modality, which get marks of their own. A row of
            zeros, as of a modality that was not there, is left out.
        labels: (N,) what each row shows, numbers or names; the same for all modalities.
        method: "pca", or "tsne", which keeps neighbours together, but no distances.
    """
    embeddings = embeddings if isinstance(embeddings, dict) else {"items": embeddings}
    labels = [str(label) for label in (labels.tolist() if isinstance(labels, torch.Tensor) else labels)]
    vectors, points = [], []
    for name, part in embeddings.items():
        if len(part) != len(labels):
            raise ValueError(f"`embeddings[{name!r}]` has {len(part)} rows, but there are {len(labels)} labels.")
        has = part.any(dim=1)
        vectors.append(part[has].float())
        points += [(name, label) for label, real in zip(labels, has.tolist()) if real]
    places = project_embeddings(torch.cat(vectors), method, seed)
    kinds = sorted(set(labels), key=lambda kind: (float(kind) if kind.isdigit() else math.inf, kind))
    marks = dict(zip(embeddings, itertools.cycle(MARKS)))
    title = f"Map of embeddings ({'PCA' if method == 'pca' else 't-SNE'})"
    with new_figure(title, (7, 5), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        for name, (i, kind) in itertools.product(embeddings, enumerate(kinds)):
            own, color = places[[point == (name, kind) for point in points]], COLORS[i % len(COLORS)]
            fill = color if i < len(COLORS) else "none"  # hollow once the colours are used up
            axis.scatter(*own.T, s=18, marker=marks[name], facecolors=fill, edgecolors=color, linewidths=0.8)
            if len(own):  # named, too, since colours alone do not tell many labels apart
                middle = torch.from_numpy(own).median(dim=0).values.tolist()
                axis.annotate(plain(kind), middle, xytext=(5, 3), textcoords="offset points", fontsize=8, color=INK)
        for name, mark in marks.items():
            axis.scatter([], [], marker=mark, color=GREY, label=plain(name))
        axis.set_xlabel("first dimension (arbitrary unit)")
        axis.set_ylabel("second dimension (arbitrary unit)")
        if len(embeddings) > 1:
            add_legend(figure)
    return figure
