# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Seeing why: who attends to whom, what each modality contributed to an answer, and pictures of both.

`attention_maps` computes the attention weights of a batch, under any attention implementation; `attention_rollout` and
`modality_attention` sum them up; `attribution_mot.py` says what each modality contributed. Functions
named `plot_...` return a matplotlib figure and write it where `save_path` says; nothing else here needs matplotlib.

Shapes: B rows, L tokens of the joint sequence, H heads, M modalities, D width of an embedding.
"""

import itertools
import math
from collections.abc import Iterable
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import nn

from mixture_of_transformers.attribution_mot import Contributions, inference, model_inputs
from mixture_of_transformers.configuration_mot import MoTConfig
from mixture_of_transformers.layouts_mot import PaddedTokens, WrittenOut
from mixture_of_transformers.modalities_mot import MODALITIES
from mixture_of_transformers.modality_audio_mot import SECONDS_PER_FRAME

# ---------------------------------------------------------------------------------------------------------------------
# Attention weights
# ---------------------------------------------------------------------------------------------------------------------


@dataclass
class AttentionMaps:
    """
    Who attends to whom in a batch; see `attention_maps`.

    Args:
        weights: layer -> (B, H, L, L), queries by keys; the joint layers count from 0, the global ones follow. A real
            query's row sums to 1; where the query or the key is absent, there is 0.
        mask: (B, L) bool, which tokens are real.
        places: modality -> its slice of the joint sequence.
        encoder_weights: on request, modality -> (B, H_m, L_m, L_m) of each layer of its encoder.
        config: that of the model.
        inputs: the batch.
    """

    weights: dict[int, torch.Tensor]
    mask: torch.Tensor
    places: dict[str, slice]
    encoder_weights: dict[str, list[torch.Tensor]]
    config: MoTConfig = field(repr=False)
    inputs: dict[str, torch.Tensor] = field(repr=False)

    def layer(self, layer: int, head: int | None = None) -> torch.Tensor:
        """The weights of one head, or the mean over all heads, (B, L, L); negative layers count from the last."""
        number = self.config.num_hidden_layers
        chosen = layer + number if layer < 0 else layer
        if chosen not in self.weights:
            raise ValueError(
                f"`layer` is {layer}, but these maps hold layers {', '.join(map(str, self.weights)) or 'none'} of "
                f"{number}: name it in `attention_maps(..., layers=...)`."
            )
        weights = self.weights[chosen]
        if head is None:
            return weights.mean(dim=1)
        if not 0 <= head < weights.shape[1]:
            raise ValueError(
                f"`head` is {head}, but there are {weights.shape[1]}: expected 0 to {weights.shape[1] - 1}."
            )
        return weights[:, head]

    def real(self, modality: str, row: int) -> torch.Tensor:
        """The places of a row's real tokens of one modality, (n,), of which it must have some."""
        self.check_row(row)
        part = self.places.get(modality, slice(0, 0))
        real = part.start + self.mask[row, part].nonzero()[:, 0]
        if not len(real):
            raise ValueError(f"Row {row} has no {modality}: it has {', '.join(self.present(row)) or 'nothing'}.")
        return real

    def present(self, row: int) -> list[str]:
        """The modalities that a row has."""
        return [m for m, part in self.places.items() if self.mask[row, part].any()]

    def check_row(self, row: int) -> None:
        if not 0 <= row < len(self.mask):
            raise ValueError(
                f"`row` is {row}, but the batch has {len(self.mask)}: expected 0 to {len(self.mask) - 1}."
            )
        if not self.mask[row].any():
            raise ValueError(f"Row {row} has no token of any modality, so there is nothing to show.")


def layer_weights(
    layer: nn.Module, hidden_states: torch.Tensor, masks: dict[str, torch.Tensor], joint: bool
) -> torch.Tensor:
    """(B, H, L, L) of a layer that was given these states (B, L, d); zero where the query or the key is absent."""
    mask = torch.cat(list(masks.values()), dim=1)
    layout = WrittenOut.of(mask, hidden_states, tuple(part.shape[1] for part in masks.values()))
    parts = ({m: PaddedTokens(part) for m, part in masks.items()},) if joint else ()
    _, weights = layer(hidden_states, layout, *parts)
    return weights.float().masked_fill(~(mask[:, None, :, None] & mask[:, None, None, :]), 0)


def attention_maps(
    model: nn.Module, inputs: dict, layers: Iterable[int] | None = None, encoders: bool = False
) -> AttentionMaps:
    """
    The attention weights of the joint and global layers from one forward over a batch. The model may use any attention
    implementation: the chosen layers alone are run once more, from the states that went into them, with their softmax
    written out. The model stays as it was.

    Args:
        model: a `MoTModel`, or any model with a head.
        inputs: a batch of the processor or the collator, on the model's device; `labels` are passed over. What is given
            is attended to together, also in a model for retrieval, as in its `get_fused_features`. Pictures show the
            times of frames, if there are any, also where the model counts tokens.
        layers: which; all by default. The joint layers count from 0, the global ones follow, -1 is the last.
        encoders: whether to have the weights of every layer of the modalities' encoders, too.

    Raises:
        ValueError: if the model has no such layer.
    """
    mot = getattr(model, "mot", model)
    all_layers = [*mot.joint_layers, *mot.global_layers]
    chosen = choose_layers(layers, len(all_layers), encoders)
    inputs = model_inputs(inputs)
    times = () if mot.config.time_positions else ("pixel_times", "input_features_times")
    with inference(model):
        encoded = mot.encode(
            **{name: value for name, value in inputs.items() if name not in times},
            output_encoder_hidden_states=encoders,
        )
        states = mot.join(encoded, output_hidden_states=True).hidden_states
        weights = {
            i: layer_weights(all_layers[i], states[i], encoded.masks, joint=i < len(mot.joint_layers)) for i in chosen
        }
        encoder_weights = {
            m: [
                layer_weights(layer, state, {m: encoded.masks[m]}, joint=False)
                for layer, state in zip(mot.encoders[m].layers, found)
            ]
            for m, found in encoded.encoder_hidden_states.items()
        }
    ends = list(itertools.accumulate(mask.shape[1] for mask in encoded.masks.values()))
    places = {m: slice(end - mask.shape[1], end) for end, (m, mask) in zip(ends, encoded.masks.items())}
    mask = torch.cat(list(encoded.masks.values()), dim=1)
    return AttentionMaps(weights, mask, places, encoder_weights, mot.config, inputs)


def choose_layers(layers: Iterable[int] | None, number: int, encoders: bool) -> list[int]:
    """Checked layer numbers from 0, in order."""
    if number == 0 and not (encoders and layers is None):
        raise ValueError(
            "This model has no joint or global layers (`num_joint_layers` and `num_global_layers` are 0), so its "
            "modalities never attend to each other: there are no weights, but those of `encoders=True`."
        )
    if layers is None:
        return list(range(number))
    layers = list(layers)
    for layer in layers:
        if not -number <= layer < number:
            raise ValueError(
                f"`layers` holds {layer}, but the model has {number} joint and global layers: expected 0 to "
                f"{number - 1}, or -{number} to -1 from the last."
            )
    return sorted({layer % number for layer in layers})


def modality_attention(maps: AttentionMaps) -> dict[int, torch.Tensor]:
    """
    How much attention the modalities pay to each other: the mass that the mean query of one modality (first M) puts on
    all keys of another (second M).

    Returns:
        layer -> (B, H, M, M), with the modalities in the order of `maps.places`. Rows sum to 1; those of a modality that
        the batch's row lacks are NaN.
    """
    belongs = torch.stack([torch.zeros_like(maps.mask) for _ in maps.places], dim=1)  # (B, M, L)
    for i, part in enumerate(maps.places.values()):
        belongs[:, i, part] = maps.mask[:, part]
    belongs = belongs.float()
    count = belongs.sum(dim=-1)[:, None, :, None]  # (B, 1, M, 1)
    return {
        layer: torch.einsum("bmq,bhqk,bnk->bhmn", belongs, weights, belongs) / count.masked_fill(count == 0, torch.nan)
        for layer, weights in maps.weights.items()
    }


def attention_rollout(maps: AttentionMaps) -> torch.Tensor:
    """
    How much of what each token became goes back to each token that came in, by attention rollout (arXiv 2005.00928):
    the product over the layers of (A + I) / 2 with A the mean over heads, which takes the residual connection for half.
    Over the layers that the maps hold: `attention_maps(model, inputs, encoders=True)` holds all.

    Returns:
        (B, L, L), outputs by inputs; rows of real tokens sum to 1, what is absent is 0.
    """
    batch_size, length = maps.mask.shape
    identity = torch.eye(length, device=maps.mask.device)
    rollout = identity.repeat(batch_size, 1, 1)
    for m, layers in maps.encoder_weights.items():
        part = maps.places[m]
        for weights in layers:
            own = (weights.mean(dim=1) + identity[part, part]) / 2
            rollout[:, part, part] = own @ rollout[:, part, part]
    for _, weights in sorted(maps.weights.items()):
        rollout = (weights.mean(dim=1) + identity) / 2 @ rollout
    return rollout * (maps.mask[:, :, None] & maps.mask[:, None, :])


def token_relevance(maps: AttentionMaps) -> torch.Tensor:
    """
    How much of the fused vector goes back to each token that came in, by `attention_rollout`, (B, L); rows sum to 1. The
    outputs are read as late fusion reads them, each present modality equally (its cls token, or else the mean of its
    tokens); other fusions weigh them by what they learned, which no rollout knows.
    """
    reads = torch.zeros(maps.mask.shape, device=maps.mask.device)
    for m, part in maps.places.items():
        pooled = maps.mask[:, part].float()
        tower = maps.config.modality_config(m)
        if tower.use_cls_token:
            pooled[:, 1:] = 0
        else:
            pooled[:, : tower.num_register_tokens] = 0
        reads[:, part] = pooled / pooled.sum(dim=1, keepdim=True).clamp(min=1)
    reads = reads / reads.sum(dim=1, keepdim=True).clamp(min=1)
    return (reads[:, None] @ attention_rollout(maps))[:, 0]


# ---------------------------------------------------------------------------------------------------------------------
# What tokens are called
# ---------------------------------------------------------------------------------------------------------------------


def token_times(maps: AttentionMaps, modality: str, row: int = 0) -> tuple[torch.Tensor, str]:
    """
    When each of a row's real tokens of images, video frames or audio is, (n,), without a cls token.

    Returns:
        The times, and their unit: "s" (those of `pixel_times` or `input_features_times`; mel frames that come without
        are 10 ms apart), or "frame" or "token", which are counted, where nothing says when they are.

    Raises:
        ValueError: if the row lacks the modality, or the modality has no time.
    """
    maps.real(modality, row)
    names, config = MODALITIES[modality].names, maps.config.modality_config(modality)
    if names.times is None:
        raise ValueError(f"`{modality}` has no time: expected image (video frames) or audio.")
    is_raw = config.feature_size is None
    values = maps.inputs[names.raw if is_raw else names.features][row]
    mask = maps.inputs.get(names.mask)
    is_still = is_raw and modality == "image" and values.ndim == 3
    steps = torch.arange(1 if is_still else len(values))
    if mask is not None:
        steps = steps[mask[row].reshape(-1).cpu() != 0]
    is_mel = is_raw and modality == "audio"
    times, unit = steps.float(), "frame" if is_raw else "token"
    if (given := maps.inputs.get(names.times)) is not None:
        times, unit = given[row].cpu().float()[steps], "s"
    elif is_mel:
        times, unit = torch.arange(len(steps)) * SECONDS_PER_FRAME, "s"  # padding takes no time
    if is_mel:
        return times[:: config.stem_stride], unit  # a token has the time of its first frame
    return times.repeat_interleave(math.prod(patch_grid(maps))) if is_raw else times, unit


def is_video(maps: AttentionMaps) -> bool:
    return maps.inputs["pixel_values"].ndim == 5


def patch_grid(maps: AttentionMaps) -> tuple[int, int]:
    """The rows and columns of patches in a picture."""
    rows, columns = (side // maps.config.image_config.patch_size for side in maps.inputs["pixel_values"].shape[-2:])
    return rows, columns


def token_labels(maps: AttentionMaps, modality: str, row: int = 0, tokenizer=None) -> list[str]:
    """
    What a row's real tokens of one modality are called, in order: words (ids without a tokenizer), "patch row 1,
    column 2", "0.12 s" of audio; a cls token is "cls".
    """
    places = maps.real(modality, row)
    config = maps.config.modality_config(modality)
    first = ["cls"] if config.use_cls_token else []
    if modality == "text":
        if config.feature_size is not None:
            return first + [f"token {i}" for i in range(len(places) - len(first))]
        own = places[len(first) :] - maps.places["text"].start - len(first)
        ids = maps.inputs["input_ids"][row][own].tolist()
        return first + (list(map(str, ids)) if tokenizer is None else tokenizer.convert_ids_to_tokens(ids))
    times, unit = token_times(maps, modality, row)
    labels = [f"{time:.2f} s" if unit == "s" else f"{unit} {time:.0f}" for time in times.tolist()]
    if modality == "image" and config.feature_size is None:
        rows, columns = patch_grid(maps)
        labels = [
            (f"{label}, " if is_video(maps) else "") + f"patch row {i // columns % rows}, column {i % columns}"
            for i, label in enumerate(labels)
        ]
    return first + labels


def frame_attention(
    maps: AttentionMaps, queries: str, keys: str, row: int = 0, layer: int = -1, head: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """
    Attention between two modalities over time: what the mean token of each video frame (or moment of sound) puts on all
    tokens of each moment of the other.

    Args:
        queries, keys: "image" (video frames) or "audio".
        head: the mean over all heads by default.

    Returns:
        (moments of queries, moments of keys), whose rows sum to at most 1; and the times of both, see `token_times`.
    """
    groups, moments = [], []
    for modality in (queries, keys):
        times, _ = token_times(maps, modality, row)
        places = maps.real(modality, row)[-len(times) :]  # without the cls token
        found, index = times.unique(return_inverse=True)
        group = torch.zeros(len(found), maps.mask.shape[1], device=places.device)
        group[index.to(places.device), places] = 1
        groups.append(group)
        moments.append(found)
    mean = groups[0] / groups[0].sum(dim=1, keepdim=True)
    return mean @ maps.layer(layer, head)[row] @ groups[1].T, *moments


def project_embeddings(embeddings: torch.Tensor, method: str = "pca", seed: int = 0):
    """Embeddings (N, D) in two dimensions, an array (N, 2), by scikit-learn's PCA or t-SNE (van der Maaten, 2008)."""
    try:
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("Projections need scikit-learn: `pip install scikit-learn`.") from error
    if method not in ("pca", "tsne"):
        raise ValueError(f'`method` is {method!r}, expected "pca" or "tsne".')
    if embeddings.ndim != 2 or min(embeddings.shape) < 2:
        raise ValueError(f"`embeddings` has shape {tuple(embeddings.shape)}, expected (N, D), both at least 2.")
    vectors = embeddings.detach().float().cpu().numpy()
    if method == "pca":
        return PCA(n_components=2, random_state=seed).fit_transform(vectors)
    perplexity = min(30.0, (len(vectors) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(vectors)


# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------

# Colours that people with colour blindness tell apart (Okabe and Ito, 2008); the first three are text, image, audio.
COLORS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000")
COLOR_MAP = "viridis"  # of amounts: lightness alone tells more from less
FONT_SIZE, TITLE_SIZE = 9, 11  # points
BACKGROUND, DOTS_PER_INCH = "white", 110
INK = "black"
MOST_TICKS, MOST_WORDS = 10, 40  # along an axis
MOST_FRAMES, WORDS_PER_LINE = 8, 8
OPACITY = 0.65  # of what lies over a picture


@contextmanager
def new_figure(title: str, size: tuple[float, float], save_path=None):
    """
    A figure in the common style, `size` in inches, written to `save_path` (its ending says how) once it is drawn. The
    style is put on each part of the figure: matplotlib's settings are those of the whole process, and not ours to change,
    not even for a moment, in which another thread may draw.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("Pictures need matplotlib: `pip install 'mixture-of-transformers[viz]'`.") from error
    # Not through pyplot, which would choose a backend, and keep every figure for a window that nobody opens.
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


def add_legend(figure) -> None:
    figure.legend(loc="outside right upper", frameon=False, fontsize=FONT_SIZE, labelcolor=INK)


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
    with new_figure(
        f"Attention between modalities{of_row(row, len(maps.mask))}",
        (1.45 * (heads + 1) + 1.5, 1.6 * len(masses) + 1),
        save_path,
    ) as figure:
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


def axis_ticks(maps: AttentionMaps, modality: str, row: int, tokenizer) -> tuple[list[int], list[str]]:
    """Where to write what along the real tokens of a modality: words, rows of patches or frames, moments."""
    labels = token_labels(maps, modality, row, tokenizer)
    config = maps.config.modality_config(modality)
    first, step, most = int(config.use_cls_token), 1, MOST_WORDS if modality == "text" else MOST_TICKS
    if modality == "image" and config.feature_size is None:
        rows, columns = patch_grid(maps)
        step = rows * columns if is_video(maps) else columns
        labels = [label.split(", ")[0] for label in labels]  # the frame, or the row
    step *= math.ceil((len(labels) - first) / step / most)
    ticks = list(range(first, len(labels), step))
    return ticks, [plain(labels[i]) for i in ticks]


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
    `token_relevance` of one row over its picture or video frames, its mel spectrogram and its words. The maps should
    hold all layers, the encoders' too: `attention_maps(model, inputs, encoders=True)`.
    """
    maps.check_row(row)
    relevance, present = 100 * token_relevance(maps)[row].cpu(), maps.present(row)
    is_raw = {m: m != "text" and maps.config.modality_config(m).feature_size is None for m in present}
    lines = {m: math.ceil(len(maps.real(m, row)) / WORDS_PER_LINE) for m in present}
    heights = [{"image": 3.0, "audio": 2.4}[m] if is_raw[m] else 0.7 + 0.3 * lines[m] for m in present]  # inches
    with new_figure(f"Attention rollout{of_row(row, len(maps.mask))}", (7.5, sum(heights) + 0.4), save_path) as figure:
        parts = figure.subfigures(len(present), 1, squeeze=False, height_ratios=heights)[:, 0]
        for m, part in zip(present, parts):
            own = relevance[maps.real(m, row).cpu()]
            part.suptitle(f"{m}: {own.sum():.0f} % of the whole", fontsize=FONT_SIZE, color=INK)
            own = own[int(maps.config.modality_config(m).use_cls_token) :]
            if is_raw[m]:
                (draw_frames if m == "image" else draw_spectrogram)(part, own, maps, row)
            else:
                draw_words(part, own, token_labels(maps, m, row, tokenizer)[-len(own) :])
    return figure


def draw_words(figure, relevance: torch.Tensor, words: list[str]) -> None:
    """Each word in a cell of its own, whose colour is its relevance."""
    lines = math.ceil(len(words) / WORDS_PER_LINE)
    cells = torch.full((lines * min(len(words), WORDS_PER_LINE),), torch.nan)
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


def draw_frames(figure, relevance: torch.Tensor, maps: AttentionMaps, row: int) -> None:
    """The picture, or the frames of a video, and beside or below it the same under the relevance of its patches."""
    frames = maps.inputs["pixel_values"][row].cpu().float()
    frames = frames if is_video(maps) else frames[None]  # (F, C, H, W)
    if (mask := maps.inputs.get("pixel_mask")) is not None:
        frames = frames[mask[row].reshape(-1).cpu() != 0]
    frames = (frames - frames.amin()) / (frames.amax() - frames.amin()).clamp(min=1e-6)  # colours from 0 to 1
    relevance = relevance.unflatten(0, (len(frames), *patch_grid(maps)))
    labels = token_labels(maps, "image", row)[-relevance.numel() :: relevance[0].numel()]
    shown = range(0, len(frames), math.ceil(len(frames) / MOST_FRAMES))
    axes = new_axes(figure, *((2, len(shown)) if is_video(maps) else (1, 2))).T.reshape(-1, 2)
    height, width = frames.shape[2:]
    for i, (plain, covered) in zip(shown, axes):
        for axis in (plain, covered):
            axis.imshow(frames[i].movedim(0, -1).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axis.set_axis_off()
        plain.set_title(labels[i].split(", ")[0] if is_video(maps) else "", fontsize=7, color=INK)
        options = {"cmap": COLOR_MAP, "vmin": 0, "vmax": relevance.max().item(), "alpha": OPACITY}
        extent = (-0.5, width - 0.5, height - 0.5, -0.5)
        image = covered.imshow(relevance[i].numpy(), extent=extent, **options)
    add_scale(figure, image, axes, "% per patch")


def draw_spectrogram(figure, relevance: torch.Tensor, maps: AttentionMaps, row: int) -> None:
    """The log-mel spectrogram, and beside it the same under the relevance of its tokens."""
    frames = maps.inputs["input_features"][row].cpu().float()
    if (mask := maps.inputs.get("input_features_mask")) is not None:
        frames = frames[mask[row].cpu() != 0]  # (T, mel)
    stride, (times, _) = maps.config.audio_config.stem_stride, token_times(maps, "audio", row)
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
    prior, answer = (part[rows].mean().item() for part in (contributions.prior, contributions.answer))
    title = "What each modality contributed" + of_row(row, number)
    label = contributions.unit
    if row is not None and contributions.target.ndim == 1 and contributions.unit in ("probability", "logit"):
        target = contributions.target[row].item()
        label += f" of “{labels[target] if labels else target}”"
    with new_figure(title, (6.5, 0.42 * len(names) + 2), save_path) as figure:
        axis = new_axes(figure)[0, 0]
        colors = {m: COLORS[i % len(COLORS)] for i, m in enumerate(contributions.modalities)}
        start, bars = prior, [("nothing (prior)", 0.0, prior, "#777777")]
        for m, value in zip(names, values):
            bars.append((m, start, value, colors[m]))
            start += value
        bars.append(("all (answer)", 0.0, answer, "#777777"))
        for y, (name, left, value, color) in enumerate(bars):
            axis.barh(y, value, left=left, color=color, height=0.65)
            text = f"{value:+.3f}" if name in names else f"{value:.3f}"
            axis.annotate(
                text,
                (max(left, left + value), y),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8,
                color=INK,
            )
        for y, (_, left, value, _) in enumerate(bars[:-1]):  # each bar starts where the one before ended
            axis.plot([left + value] * 2, [y, y + 1], color="#777777", linewidth=0.8, linestyle=":")
        axis.set_yticks(range(len(bars)), [name for name, *_ in bars])
        axis.invert_yaxis()
        axis.axvline(0, color=INK, linewidth=0.8)
        axis.margins(x=0.12)
        axis.set_xlabel(plain(label))
    return figure


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
                style = {"color": COLORS[i % 6], "linewidth": 1.3, "linestyle": ("-", "--", ":")[i // 6 % 3]}
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
    marks = dict(zip(embeddings, itertools.cycle("o^sDvP")))
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
            axis.scatter([], [], marker=mark, color="#777777", label=plain(name))
        axis.set_xlabel("first dimension (arbitrary unit)")
        axis.set_ylabel("second dimension (arbitrary unit)")
        if len(embeddings) > 1:
            add_legend(figure)
    return figure
