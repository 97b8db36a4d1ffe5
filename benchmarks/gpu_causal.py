# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The causal model on a GPU

Made for an H200: bfloat16, width 1024, 16 heads, gated feed-forward 2816, 16 layers. Utilisation is the operations of
`benchmarks/flops.py` a second over those of one large matrix product, in a forward and a backward pass with the loss,
on documents of 64 text, 197 image and 300 audio tokens, or *packed*: documents of many lengths in one row. Decoding is
`generate` after a prompt of 64 tokens, in tokens a second of all rows together. A *static* cache is what transformers
compiles the decoding step for. In text mode the grammar tells the model what each token is; *interleaved*, compiled
code runs every expert on every token. `python -m benchmarks.gpu_causal --tiny` walks through all of it on any machine,
with figures that mean nothing.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

from mixture_of_transformers.modeling_causal_mot import MoTForCausalLM

from .causal import DENSE, Sizes, build, documents, generate, loss_of, packed, training_step
from .flops import causal_forward_flops
from .gpu import measured_peak, utilisation_row, utilisation_table
from .measure import NotMeasured, Row, Table, as_time, take_turns
from .shapes import TOKENS

WIDTH_1024 = {"hidden_size": 1024, "intermediate_size": 2816, "num_hidden_layers": 16, "num_attention_heads": 16}
WIDTH_32 = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
PROMPT = 64


@dataclass(frozen=True)
class Setting:
    """Where and how large."""

    device: str = "cuda"
    dtype: torch.dtype = torch.bfloat16
    sizes: Sizes = field(default_factory=lambda: WIDTH_1024)
    batch_size: int = 64
    product_size: int = 8192  # of the square matrices whose product is the peak
    decoded_rows: tuple[int, ...] = (1, 32)
    decoded_tokens: int = 256

    def model(self, **fields) -> MoTForCausalLM:
        return build(self.sizes, **fields).to(self.device, self.dtype)

    def place(self, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: tensor.to(self.device) for name, tensor in tensors.items()}


TINY = Setting("cpu", torch.float32, WIDTH_32, 2, product_size=256, decoded_rows=(1, 3), decoded_tokens=52)


def utilisation(setting: Setting, seconds: float) -> Table:
    peak = measured_peak(setting.product_size, setting.device, setting.dtype, seconds)
    table = utilisation_table("Model FLOPs utilisation of training, width 1024", peak)
    untied = setting.model()
    input_ids = documents(setting.batch_size)
    lengths, in_one_row = packed(setting.batch_size, mean=sum(TOKENS.values()))
    full = ({"input_ids": input_ids, "labels": input_ids}, [input_ids.shape[1]] * setting.batch_size)
    for name, model, (inputs, rows) in (
        ("dense twin", setting.model(experts=DENSE), full),
        ("untied", untied, full),
        ("untied, packed", untied, (in_one_row, lengths)),
    ):
        step = training_step(model, loss_of(model), setting.place(inputs))
        operations = 3 * causal_forward_flops(model.config, rows)
        table.rows.append(utilisation_row(f"{name}, {len(rows)} documents", step, operations, peak, seconds))
    return table


def decoding(setting: Setting, seconds: float) -> Table:
    table = Table(f"Decoding, {setting.decoded_tokens} tokens", value="tokens a second")
    untied, dense = setting.model(), setting.model(experts=DENSE)
    candidates = {
        "untied, text, static": (untied, "text", "static"),
        "untied, text, dynamic": (untied, "text", "dynamic"),
        "untied, interleaved, static": (untied, "interleaved", "static"),
        "untied, interleaved, dynamic": (untied, "interleaved", "dynamic"),
        "dense twin, text, static": (dense, "text", "static"),
    }
    for rows in setting.decoded_rows:
        prompt = setting.place({"input_ids": documents(rows, {"text": PROMPT})})
        for name, (model, mode, cache) in candidates.items():
            number, options = setting.decoded_tokens, {"generation_mode": mode, "cache_implementation": cache}
            step = {"step": lambda: generate(model, prompt, number, **options)}  # noqa: B023 (timed before the next)
            times = take_turns(step, seconds)["step"]
            row = Row.of(f"{name}, {rows} row{'s' * (rows > 1)}", rows * number / times)
            row.details["time of a step"] = as_time(rows / row.value)
            table.rows.append(row)
    return table


def tables(seconds: float, setting: Setting | None = None) -> Iterator[Table]:
    if setting is None:
        if not torch.cuda.is_available():
            raise NotMeasured("no GPU was at hand")
        setting = Setting()
    yield utilisation(setting, seconds)
    yield decoding(setting, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_causal", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=12.0, help="how long a comparison may take (default: 12)")
    parser.add_argument("--tiny", action="store_true", help="a walk through on the CPU")
    arguments = parser.parse_args()
    try:
        for table in tables(arguments.seconds, TINY if arguments.tiny else None):
            print(f"\n{table.title}\n\n{table.note}\n\n{table.markdown()}", flush=True)
    except NotMeasured as error:
        parser.exit(1, f"Nothing was measured: {error}. `--tiny` walks through on the CPU.\n")


if __name__ == "__main__":
    main()
