# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Cost as work grows

Time and memory beside each other, one thread. Memory is the growth of the process' resident memory at the peak of a
call, weights and inputs not counted. Both axes are logarithmic where the work grows by doubling: a line of slope 1 is
a cost in proportion to the work. Models are of the real shape (width 512, 4 layers for each modality, 64 text, 197
image and 300 audio tokens unless the axis says otherwise) on ready features.
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from mixture_of_transformers.loss_mot import Embeddings, contrastive_loss  # noqa: E402
from mixture_of_transformers.sparse_attention_mot import BlockSparsity, block_sparse_attention, block_sparse_mask  # noqa: E402

from .bare import bare_loop, inference, model_forward  # noqa: E402
from .measure import Table, peak_memory, take_turns  # noqa: E402
from .peers import flava, vit  # noqa: E402
from .shapes import (  # noqa: E402
    MASKS,
    REAL,
    TOKENS,
    build,
    feature_config,
    feature_inputs,
    feature_masks,
    masks_for,
    ragged_rows,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
# Okabe and Ito's colours, which colour-blind readers tell apart; markers and dashes say the same again.
STYLES = (("#0072B2", "o", "-"), ("#D55E00", "s", "--"), ("#009E73", "^", "-."), ("#CC79A7", "D", ":"))

Candidates = dict[str, Callable[[], object]]

# ---------------------------------------------------------------------------------------------------------------------
# Pictures
# ---------------------------------------------------------------------------------------------------------------------


def draw(name: str, title: str, text: str, unit: str, sizes: list, series: dict[str, tuple], doubling: bool) -> str:
    """
    Time and memory over size as `docs/benchmarks_{name}.svg`; returns the file's name.

    Args:
        series: candidate -> (seconds for each size, MiB for each size).
    """
    with plt.rc_context({"svg.hashsalt": "mot", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False}):
        figure, panels = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
        for panel, what, label in zip(panels, (0, 1), ("time (ms)", "memory at the peak (MiB)")):
            for (candidate, values), (colour, marker, dash) in zip(series.items(), STYLES):
                values = np.array(values[what]) * (1000 if what == 0 else 1)
                panel.plot(sizes, values, color=colour, marker=marker, linestyle=dash, markersize=5, label=candidate)
            panel.set_xlabel(unit)
            panel.set_ylabel(label)
            panel.grid(True, color="#dddddd", linewidth=0.6)
            if doubling:
                panel.set_xscale("log", base=2)
                panel.set_yscale("log")
                panel.yaxis.set_major_locator(matplotlib.ticker.LogLocator(subs=(1, 2, 5)))
            else:
                panel.set_ylim(bottom=0)
            panel.set_xticks(sizes, [f"{size:,}" for size in sizes])
            panel.minorticks_off()
            panel.yaxis.set_major_formatter(matplotlib.ticker.FuncFormatter(lambda value, _: f"{value:,g}"))
        panels[0].legend(frameon=False)
        figure.get_layout_engine().set(wspace=0.06)
        file = DOCS / f"benchmarks_{name}.svg"
        figure.savefig(file, metadata={"Date": None, "Title": title})
        plt.close(figure)
    # matplotlib writes a title, but no description for those who cannot see the picture.
    svg = file.read_text(encoding="utf-8")
    file.write_text(svg.replace("</title>", f"</title>\n <desc>{text}</desc>", 1), encoding="utf-8")
    return file.name


def grow(
    name: str,
    title: str,
    unit: str,
    batches: Iterable[tuple[int, Candidates]],
    seconds: float,
    note: str = "",
    doubling: bool = True,
) -> Table:
    """
    Measure the candidates at every size, draw them, and tabulate the first one against each other one.

    Args:
        batches: (size, what is timed at that size); made one by one, so that only one is in memory.
    """
    table, sizes, series = Table(title, note=note), [], {}
    for size, candidates in batches:
        times = take_turns(candidates, seconds, fewest_rounds=4)
        memory = {candidate: peak_memory(function) for candidate, function in candidates.items()}
        sizes.append(size)
        for candidate in candidates:
            both = series.setdefault(candidate, ([], []))
            both[0].append(float(np.median(times[candidate])))
            both[1].append(memory[candidate])
        first, *others = candidates
        for other in others:
            amounts = f"{memory[first]:,.0f} / {memory[other]:,.0f} MiB"
            table.rows.append(times.row(f"{size:,} {unit}: {first} / {other}", first, other, memory=amounts))
    text = f"{title}: time and memory over {unit}, for {', '.join(series)}; the table below has the numbers."
    table.plot, table.plot_text = draw(name, title, text, unit, sizes, series, doubling), text
    return table


# ---------------------------------------------------------------------------------------------------------------------
# What grows
# ---------------------------------------------------------------------------------------------------------------------


def longer_rows() -> Iterator[tuple[int, Candidates]]:
    for factor in (0.25, 0.5, 1, 2, 4):
        tokens = {modality: round(length * factor) for modality, length in TOKENS.items()}
        model = build(feature_config(REAL, tokens))
        inputs = feature_inputs(model.config, 1, tokens)
        peers = {"ViT layers": vit(REAL, tokens).eval(), "FLAVA layers": flava(REAL, tokens).eval()}
        steps = {name: inference(peer, inputs) for name, peer in peers.items()}
        yield sum(tokens.values()), {"MoT": inference(model_forward(model), inputs)} | steps


def more_rows() -> Iterator[tuple[int, Candidates]]:
    model = build(feature_config(REAL))
    for batch_size in (1, 2, 4, 8):
        inputs = feature_inputs(model.config, batch_size)
        rows = ragged_rows(batch_size, missing=False, seed=1)
        yield (
            batch_size,
            {
                "MoT, ragged rows": inference(model_forward(model, feature_masks(rows)), inputs),
                "MoT, full rows": inference(model_forward(model), inputs),
                "padded loop, ragged rows": inference(bare_loop(model, TOKENS, masks_for(rows)), inputs),
            },
        )


def more_modalities() -> Iterator[tuple[int, Candidates]]:
    model = build(feature_config(REAL))
    everything = feature_inputs(model.config, 4)
    for number in (1, 2, 3):
        given = dict(list(TOKENS.items())[:number])
        masks = masks_for([given] * 4)
        masked = {MASKS[m]: mask.long() for m, mask in masks.items() if m not in given}
        yield (
            number,
            {
                "MoT, others not passed": inference(model_forward(model), feature_inputs(model.config, 4, given)),
                "MoT, others masked out": inference(model_forward(model, masked), everything),
                "padded loop, others masked out": inference(bare_loop(model, TOKENS, masks), everything),
            },
        )


def more_pairs() -> Iterator[tuple[int, Candidates]]:
    for number in (256, 512, 1024, 2048, 4096):
        torch.manual_seed(0)
        sides = [F.normalize(torch.randn(number, 512), dim=1).requires_grad_() for _ in range(2)]
        present, log_scale = torch.ones(number, dtype=torch.bool), torch.tensor(2.66, requires_grad=True)
        labels = torch.arange(number)

        def ours(sides=sides, present=present, log_scale=log_scale):
            contrastive_loss(*(Embeddings(side, present) for side in sides), log_scale).backward()

        def naive(sides=sides, labels=labels, log_scale=log_scale):
            logits = log_scale.exp() * sides[0] @ sides[1].T
            ((F.cross_entropy(logits, labels) + F.cross_entropy(logits.T, labels)) / 2).backward()

        yield number, {"MoT": ours, "two cross-entropies": naive}


def longer_sparse_rows() -> Iterator[tuple[int, Candidates]]:
    options = BlockSparsity(block_size=64, sparsity=0.9, seed=0, layer=0)
    for length in (1024, 2048, 4096, 8192):
        torch.manual_seed(0)
        query, key, value = (torch.randn(1, 8, length, 64) for _ in range(3))
        segments = (length // 8, length // 4, length - length // 8 - length // 4)
        masks = [torch.ones(1, size, dtype=torch.bool) for size in segments]

        def sparse(tensors=(query, key, value), segments=segments):
            return block_sparse_attention(*tensors, (segments,), options, scaling=64**-0.5)

        pattern = block_sparse_mask(masks, options)[:, None]

        def masked(tensors=(query, key, value), mask=pattern):
            return F.scaled_dot_product_attention(*tensors, mask)

        def dense(tensors=(query, key, value)):
            return F.scaled_dot_product_attention(*tensors)

        with torch.no_grad():
            yield length, {"block-sparse, 0.9": sparse, "dense": dense, "dense with a mask": masked}


def tables(seconds: float) -> Iterator[Table]:
    seconds = min(seconds, 2.0)  # of each size
    yield grow(
        "tokens",
        "Longer rows",
        "tokens in a row",
        longer_rows(),
        seconds,
        "A forward pass of one row whose modalities all grow alike. FLAVA's attention is written out, so it keeps a "
        "score for each pair of tokens.",
    )
    yield grow(
        "rows",
        "More rows",
        "rows",
        more_rows(),
        seconds,
        "A forward pass. Ragged rows have 20 to 100 % of each modality's longest length (a row alone is the longest); "
        "the padded loop computes the padding too.",
    )
    yield grow(
        "modalities",
        "More modalities",
        "modalities given",
        more_modalities(),
        seconds,
        "A forward pass of 4 rows that have text (64 tokens), text and image (261), or text, image and audio (561); "
        "the others are not passed, or passed and masked out in every row.",
        doubling=False,
    )
    yield grow(
        "pairs",
        "More rows in the contrastive loss",
        "rows",
        more_pairs(),
        seconds,
        "The loss between two modalities with 512 dimensions and its backward pass, against the usual two "
        "cross-entropies over the whole matrix of similarities.",
    )
    yield grow(
        "sparse",
        "Longer rows in block-sparse attention",
        "tokens in a row",
        longer_sparse_rows(),
        seconds,
        "Attention alone, 8 heads of width 64, blocks of 64 tokens, sparsity 0.9, forward, against "
        "scaled_dot_product_attention over everything and with the pattern as its mask.",
    )
