# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The causal model

`MoTForCausalLM` of width 512, 8 heads, gated feed-forward 1408 and 4 layers, with random weights, on one thread. Its
*dense twin* has all modalities on one expert: the same operations for each token, a third of the weights. Rows are
documents of 64 text, 197 image and 300 audio tokens in pieces that take turns. *Boolean masks* are the model's own
weights routed as the code of arXiv 2411.04996 routes them: in every layer attention and feed-forward each pick a
modality's tokens by a mask and put them back by it. What is compared must give equal results, which is checked before
anything is timed; what is generated is compared after it. Training is a forward and a backward pass with the loss;
*with AdamW* adds the optimizer's step, which costs more where there are more weights.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from transformers import DynamicCache, LlamaConfig, LlamaModel

from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig
from mixture_of_transformers.modeling_causal_mot import MoTCausalModel, MoTForCausalLM

from .measure import Row, Table, Times, take_turns
from .peers import routed_decoder
from .shapes import TOKENS

TEXT_IDS, CODES = 2048, 1024
BEGIN, END = {"image": 2, "audio": 4}, {"image": 3, "audio": 5}  # text ids, as 0 (padding) and 1 (the end)
FIRST_WORD = 6
RANGES = {"image": (TEXT_IDS, TEXT_IDS + CODES), "audio": (TEXT_IDS + CODES, TEXT_IDS + 2 * CODES)}
IMAGE_TOKENS = 49  # of a generated picture
DENSE = dict.fromkeys(TOKENS, "text")
GENERATED, CACHED = 200, 256  # tokens that are generated; those before a decoding step
PROMPTS, CONTINUED = 16, 64

Sizes = dict[str, int]
WIDTH_128 = {"hidden_size": 128, "intermediate_size": 352, "num_hidden_layers": 2, "num_attention_heads": 4}
WIDTH_512 = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 4, "num_attention_heads": 8}


def causal_config(sizes: Sizes, **fields) -> MoTCausalConfig:
    return MoTCausalConfig(
        vocab_size=TEXT_IDS + len(RANGES) * CODES,
        pad_token_id=0,
        eos_token_id=1,
        token_ranges=[[modality, *ids] for modality, ids in RANGES.items()],
        begin_ids=BEGIN,
        end_ids=END,
        num_tokens={"image": IMAGE_TOKENS},
        **sizes,
        **fields,
    )


def build(sizes: Sizes, seed: int = 0, **fields) -> MoTForCausalLM:
    torch.manual_seed(seed)
    return MoTForCausalLM(causal_config(sizes, **fields)).eval()


def twins(sizes: Sizes) -> dict[str, MoTForCausalLM]:
    return {"untied": build(sizes), "dense": build(sizes, experts=DENSE)}


# ---------------------------------------------------------------------------------------------------------------------
# Tokens
# ---------------------------------------------------------------------------------------------------------------------


def tokens_of(modality: str, number: int, rng: np.random.Generator) -> np.ndarray:
    return rng.integers(*RANGES.get(modality, (FIRST_WORD, TEXT_IDS)), size=number)


def documents(rows: int, tokens: dict[str, int] = TOKENS, pieces: int = 4, seed: int = 0) -> torch.Tensor:
    """(rows, L): the tokens of each modality in `pieces` pieces, which take turns."""
    rng = np.random.default_rng(seed)
    parts = {m: np.array_split(np.arange(number), pieces) for m, number in tokens.items()}
    order = [(modality, len(parts[modality][piece])) for piece in range(pieces) for modality in tokens]
    return torch.from_numpy(np.stack([np.concatenate([tokens_of(*part, rng) for part in order]) for _ in range(rows)]))


def prompts(number: int, seed: int = 0) -> list[np.ndarray]:
    """Of several lengths: text alone, after a picture, after a sound, after both; of three, two begin a medium."""
    rng, rows = np.random.default_rng(seed), []
    for row in range(number):
        parts = []
        for modality in ((), ("image",), ("audio",), ("image", "audio"))[row % 4]:
            size = IMAGE_TOKENS if modality == "image" else rng.integers(10, 40)
            parts += [[BEGIN[modality]], tokens_of(modality, size, rng), [END[modality]]]
        parts.append(tokens_of("text", rng.integers(8, 32), rng))
        parts.append([[], [BEGIN["image"]], [BEGIN["audio"]]][row % 3])
        rows.append(np.concatenate(parts).astype(np.int64))
    return rows


def padded(rows: list[np.ndarray]) -> dict[str, torch.Tensor]:
    """Padded on the left, for generation."""
    width = max(map(len, rows))
    input_ids = np.stack([np.pad(row, (width - len(row), 0)) for row in rows])
    mask = np.stack([np.arange(width) >= width - len(row) for row in rows])
    return {"input_ids": torch.from_numpy(input_ids), "attention_mask": torch.from_numpy(mask).long()}


# ---------------------------------------------------------------------------------------------------------------------
# Generation
# ---------------------------------------------------------------------------------------------------------------------


def generate(
    model: MoTForCausalLM,
    inputs: dict[str, torch.Tensor],
    number: int,
    generation_mode: str = "interleaved",
    **options,
) -> torch.Tensor:
    """Exactly `number` new tokens (B, number), the likeliest of each step."""
    lengths = {"max_new_tokens": number, "min_new_tokens": number}
    generated = model.generate(**inputs, **lengths, do_sample=False, generation_mode=generation_mode, **options)
    return generated[:, inputs["input_ids"].shape[1] :]


def cached_generation(sizes: Sizes, number: int, seconds: float) -> Row:
    model, prompt = build(sizes), {"input_ids": documents(1)}
    candidates = {
        name: lambda use_cache=use_cache: generate(model, prompt, number, use_cache=use_cache)
        for name, use_cache in {"cached": True, "uncached": False}.items()
    }
    times = take_turns_equally(candidates, seconds)
    name = f"uncached / cached, {number} tokens, width {sizes['hidden_size']}"
    return speed_up(times, name, "cached", "uncached", bar=10)


def batched_generation(sizes: Sizes, number: int, seconds: float) -> Row:
    model, rows = build(sizes), prompts(PROMPTS)
    batch, singles = padded(rows), [padded([row]) for row in rows]
    candidates = {
        "batch": lambda: generate(model, batch, number),
        "one by one": lambda: torch.cat([generate(model, single, number) for single in singles]),
    }
    times = take_turns_equally(candidates, seconds)
    name = f"one by one / a batch of {PROMPTS}, {number} tokens each, width {sizes['hidden_size']}"
    return speed_up(times, name, "batch", "one by one", bar=4)


def take_turns_equally(candidates: dict[str, Callable[[], torch.Tensor]], seconds: float) -> Times:
    """The times of candidates that take long, in fewer rounds; an error unless each gives the same tokens."""
    tokens = {}

    def kept(name: str) -> Callable[[], None]:
        return lambda: tokens.update({name: candidates[name]()})

    times = take_turns({name: kept(name) for name in candidates}, seconds, fewest_rounds=2)
    first, *others = tokens.values()
    if not all(torch.equal(first, other) for other in others):
        raise AssertionError(f"{' and '.join(candidates)} do not give equal tokens.")
    return times


def speed_up(times: Times, name: str, fast: str, slow: str, bar: float) -> Row:
    """How many times as fast, with the time of the fast one."""
    row = times.row(name, slow, fast, bar=bar, at_least=True)
    row.details["time"] = times.row(name, fast, slow).details["time"]
    return row


def generation(sizes: Sizes, small: Sizes, seconds: float) -> Table:
    return Table(
        "Generation",
        [
            cached_generation(sizes, GENERATED, seconds),
            batched_generation(sizes, CONTINUED, seconds),
            batched_generation(small, CONTINUED, seconds),
        ],
        "The likeliest token of each step, pictures and sounds among them; the same ones by both ways. The cache is "
        "tried on one document. The sixteen prompts are text, text after a picture, after a sound and after both; of "
        "three, one goes on with text, one with a picture, one with a sound. A step of theirs reads the weights of "
        "all experts, where one prompt reads those of one: where reading weights is what takes the time, that limits "
        "the gain; at width 128, with 2 layers, the weights stay in the processor's cache.",
        value="speed-up",
    )


def decoding_step(model: MoTForCausalLM, rows: torch.Tensor, modality: str | None) -> Callable[[], torch.Tensor]:
    """One token (B, 1) for each row after `CACHED` others, which are read once."""
    cache = DynamicCache(config=model.config)
    with torch.no_grad():
        model(documents(len(rows), {"text": CACHED}), past_key_values=cache, logits_to_keep=1)

    @torch.no_grad()
    def step() -> torch.Tensor:
        logits = model(rows, past_key_values=cache, modality=modality).logits
        cache.crop(-1)
        return logits

    return step


def decoding(sizes: Sizes, seconds: float) -> Table:
    models = twins(sizes)
    table = Table(
        "A decoding step",
        note=f"The next token after {CACHED}. *Known*: `forward` is told that all rows are in a picture, as by "
        "`generate` where its grammar says so; *read*: it finds that in the ids; *mixed*: rows of the three "
        "modalities.",
    )
    for number in (1, 6, 24):
        image = documents(number, {"image": 1}, pieces=1)
        mixed = torch.cat([documents(1, {list(TOKENS)[row % 3]: 1}, pieces=1, seed=row) for row in range(number)])
        candidates = {
            "dense": decoding_step(models["dense"], image, "image"),
            "known": decoding_step(models["untied"], image, "image"),
            "read": decoding_step(models["untied"], image, None),
        } | ({"mixed": decoding_step(models["untied"], mixed, None)} if number > 1 else {})
        torch.testing.assert_close(candidates["known"](), candidates["read"]())
        times = take_turns(candidates, seconds)
        rows = f"{number} row{'s' * (number > 1)}"
        table.rows.append(times.row(f"{rows}: known / dense twin", "known", "dense", bar=1.05))
        others = [name for name in ("read", "mixed") if name in candidates]
        table.rows += [times.row(f"{rows}: {name} / dense twin", name, "dense") for name in others]
    return table


# ---------------------------------------------------------------------------------------------------------------------
# Training and forward passes
# ---------------------------------------------------------------------------------------------------------------------


def training_step(
    model: MoTForCausalLM, forward: Callable[..., torch.Tensor], inputs: dict, adamw: bool = False
) -> Callable[[], None]:
    """`forward(**inputs)` is the loss."""
    model.train()
    optimizer = torch.optim.AdamW(model.parameters()) if adamw else None

    def step() -> None:
        model.zero_grad(set_to_none=True)
        forward(**inputs).backward()
        if optimizer is not None:
            optimizer.step()

    return step


def loss_of(model: MoTForCausalLM) -> Callable[..., torch.Tensor]:
    return lambda **inputs: model(**inputs).loss


def routing(sizes: Sizes, seconds: float, rows: int = 4) -> Table:
    models, input_ids = twins(sizes), documents(rows)
    inputs = {"input_ids": input_ids, "labels": input_ids}
    masks = routed_decoder(models["untied"])
    torch.testing.assert_close(masks(**inputs), models["untied"](**inputs).loss, atol=1e-5, rtol=1e-5)
    times = take_turns(
        {
            "untied": training_step(models["untied"], loss_of(models["untied"]), inputs),
            "dense": training_step(models["dense"], loss_of(models["dense"]), inputs),
            "masks": training_step(models["untied"], masks, inputs),
        },
        seconds,
    )
    table = Table(f"A training step, {rows} rows")
    table.rows += [
        times.row("untied / dense twin", "untied", "dense", bar=1.10),
        times.row("untied / boolean masks", "untied", "masks", bar=1.00),
        times.row("boolean masks / dense twin", "masks", "dense"),
    ]
    times = take_turns(
        {name: training_step(model, loss_of(model), inputs, adamw=True) for name, model in models.items()}, seconds
    )
    table.rows.append(times.row("untied / dense twin, with AdamW", "untied", "dense"))
    return table


def packed(number: int, mean: int = 100) -> tuple[list[int], dict[str, torch.Tensor]]:
    """Lengths of `number` documents, and the documents in one row, whose positions begin anew with each."""
    rng = np.random.default_rng(0)
    lengths = np.round(np.exp(rng.normal(size=number) * 0.6) * mean).astype(int).clip(mean // 6, 4 * mean).tolist()
    row = torch.cat([documents(1, shares(length), pieces=2, seed=i)[0] for i, length in enumerate(lengths)])[None]
    positions = torch.cat([torch.arange(length) for length in lengths])[None]
    return lengths, {"input_ids": row, "position_ids": positions, "labels": row}


def shares(length: int) -> dict[str, int]:
    """A document's tokens by modality, in the proportions of `TOKENS`."""
    counts = {modality: round(length * number / sum(TOKENS.values())) for modality, number in TOKENS.items()}
    return counts | {"text": length - counts["image"] - counts["audio"]}


def packing(sizes: Sizes, seconds: float, number: int = 16) -> Table:
    """Documents of many lengths in one row, against as many tokens in documents of one length."""
    model, (lengths, in_one_row) = build(sizes), packed(number)
    rows = in_one_row["input_ids"][0].split(lengths)
    full = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in rows], batch_first=True)
    mean = round(sum(lengths) / number)
    equal = documents(number, shares(mean), pieces=2)
    batches = {
        "packed": in_one_row,
        "equal": {"input_ids": equal, "labels": equal},
        "padded": {"input_ids": full, "attention_mask": mask, "labels": full.masked_fill(mask == 0, -100)},
    }
    with torch.no_grad():
        torch.testing.assert_close(model(**batches["packed"]).loss, model(**batches["padded"]).loss)
    times = take_turns({name: training_step(model, loss_of(model), batch) for name, batch in batches.items()}, seconds)
    share = sum(lengths) / equal.numel()
    return Table(
        "Packed documents",
        [
            times.row("packed / ideal", "packed", "equal", bar=1.10, ideal=share),
            times.row("padded / ideal", "padded", "equal", ideal=share),
        ],
        f"A training step on {number} documents of {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in "
        f"all, in one row. *Ideal* is the cost of as many tokens in {number} documents of {mean}, which need no "
        "padding; *padded* fills every document up to the longest.",
    )


def beside_llama(sizes: Sizes, seconds: float, rows: int = 4) -> Table:
    fields = {"vocab_size": TEXT_IDS + len(RANGES) * CODES, "use_cache": False, "pad_token_id": 0}
    torch.manual_seed(0)
    llama = LlamaModel(LlamaConfig(**sizes, **fields)).eval()
    untied, dense = (build(sizes, qk_norm=False, experts=experts).model for experts in ({}, DENSE))
    copy_llama(llama, dense)
    inputs = {"input_ids": documents(rows), "use_cache": False}
    candidates = {
        name: no_gradients(model, inputs) for name, model in {"untied": untied, "dense": dense, "llama": llama}.items()
    }
    torch.testing.assert_close(candidates["dense"](), candidates["llama"](), atol=1e-5, rtol=1e-5)
    times = take_turns(candidates, seconds)
    return Table(
        f"Beside transformers' Llama, forward, {rows} rows",
        [
            times.row("dense twin / LlamaModel", "dense", "llama", bar=1.05),
            times.row("untied / LlamaModel", "untied", "llama"),
        ],
        "`LlamaModel` of the same sizes, without norms of queries and keys. The dense twin has its weights, and gives "
        "the same hidden states; the untied model has three times as many.",
    )


def copy_llama(llama: LlamaModel, model: MoTCausalModel) -> None:
    """Llama's weights to the one expert of a model: its names with the expert's inserted."""
    weights = {}
    for name, weight in llama.state_dict().items():
        if name.startswith("layers."):
            _, number, rest = name.split(".", 2)
            name = f"layers.{number}.experts.text.{rest}"
        weights["norms.text.weight" if name == "norm.weight" else name] = weight
    model.load_state_dict(weights)


def no_gradients(model: torch.nn.Module, inputs: dict) -> Callable[[], torch.Tensor]:
    @torch.no_grad()
    def run() -> torch.Tensor:
        return model(**inputs).last_hidden_state

    return run


def tables(seconds: float, sizes: Sizes = WIDTH_512, small: Sizes = WIDTH_128) -> Iterator[Table]:
    yield routing(sizes, seconds)
    yield packing(sizes, seconds)
    yield beside_llama(sizes, seconds)
    yield decoding(sizes, seconds)
    yield generation(sizes, small, seconds)
