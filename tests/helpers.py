# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Tiny configurations, randomised models and random inputs for any subset of several sets of modalities.

`make_inputs` gives a batch whose rows cover full, right-padded, left-padded and holed masks and every way of lacking
a modality; `real_row` takes one of its rows down to the real tokens, and `poison` writes rubbish everywhere else. All
of it goes by a modality's name and kind: what it says of the three, it says of those that a user declares.
"""

from itertools import chain, combinations, cycle

import torch

from mixture_of_transformers import MoTConfig

MODALITIES = ("text", "image", "audio")
# Sets of modalities that users declare, each in the order of the joint sequence.
OPEN_SETS = (("text", "depth", "imu"), ("imu", "emg"), ("text", "image", "title", "vitals"))
SUBSETS = tuple(chain.from_iterable(combinations(MODALITIES, size) for size in (1, 2, 3)))

VOCAB_SIZE, NUM_MEL_BINS, NUM_CHANNELS, PATCH_SIZE = 50, 6, 3, 4
NUM_NUMBERS, CATEGORY_SIZES = 3, (2, 4)
TEXT = {"model_type": "mot_text", "vocab_size": VOCAB_SIZE, "max_position_embeddings": 16}
IMAGE = {"model_type": "mot_image", "image_size": 8, "patch_size": PATCH_SIZE, "num_frames": 6}
AUDIO = {"model_type": "mot_audio", "num_mel_bins": NUM_MEL_BINS, "max_frames": 40, "stem": "linear"}
SERIES = {"model_type": "mot_series", "max_length": 40, "stem_stride": 2}
TABLE = {"model_type": "mot_table", "num_numbers": NUM_NUMBERS, "category_sizes": list(CATEGORY_SIZES)}
TOWERS = {
    "text": TEXT,
    "image": IMAGE | {"num_channels": NUM_CHANNELS},
    "audio": AUDIO,
    "depth": IMAGE | {"num_channels": 1},
    "imu": SERIES | {"num_channels": 2},
    "emg": SERIES | {"num_channels": 4, "stem_stride": 1},
    "title": TEXT | {"vocab_size": VOCAB_SIZE - 7},
    "vitals": TABLE,
}
GAPS = ("imu",)  # the series whose masks say of each channel what is missing
DECLARED = tuple(name for name in TOWERS if name not in MODALITIES)
FEATURE_SIZES = {name: 10 + 2 * place for place, name in enumerate(TOWERS)}
# The picture is not square, so rows and columns cannot be confused; 11 audio frames do not divide by the stride.
LENGTHS = {"text": 7, "image": 5, "audio": 11, "depth": 5, "imu": 9, "emg": 6, "title": 4, "vitals": 5}
NUM_FRAMES, HEIGHT, WIDTH = 3, 8, 12

MASKS = {"text": "attention_mask", "image": "pixel_mask", "audio": "input_features_mask"}
MASKS |= {name: f"{name}_mask" for name in DECLARED}
RAW_INPUTS = {"text": "input_ids", "image": "pixel_values", "audio": "input_features"}
RAW_INPUTS |= {name: f"{name}_values" for name in DECLARED}
FEATURE_INPUTS = {"text": "text_features", "image": "image_features", "audio": "input_features"}
FEATURE_INPUTS |= {name: f"{name}_features" for name in DECLARED}
TIMES = {"image": "pixel_times", "audio": "input_features_times"}
MODALITY_OF_INPUT = {name: m for inputs in (RAW_INPUTS, FEATURE_INPUTS) for m, name in inputs.items()}

# What each architecture changes in the tiny default: joint fields, and those of the towers by their kind.
ARCHITECTURES = {
    "default": {},
    "joint_only": {
        "num_joint_layers": 2,
        "num_global_layers": 0,
        "towers": {"mot_audio": {"stem": "conv"}, "mot_series": {"stem": "conv"}},
        "every_tower": {"num_hidden_layers": 0},
    },
    "uneven_towers": {
        "num_joint_layers": 1,
        "num_global_layers": 2,
        "global_mlp": True,
        "towers": {
            "mot_text": {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1, "key_bias": False},
            "mot_image": {"hidden_size": 32, "num_hidden_layers": 2, "layer_norm_eps": 1e-3},
            "mot_audio": {
                "hidden_size": 16,
                "intermediate_size": 20,
                "num_hidden_layers": 3,
                "stem": "conv",
                "stem_stride": 3,
            },
            "mot_series": {"hidden_size": 16, "intermediate_size": 20, "stem": "conv", "stem_stride": 3},
            "mot_table": {"hidden_size": 24, "num_attention_heads": 2, "num_hidden_layers": 1},
        },
        "every_tower": {"final_norm": True, "use_cls_token": True, "embedding_norm": True},
    },
    "encoders_only": {"num_joint_layers": 0, "num_global_layers": 0},
}
# Each set with one of the two architectures that have most in them; of its subsets each modality alone and one pair,
# with an architecture each by turns. Every architecture is tried on all subsets of the three.
OPEN_WHOLES = tuple(zip(("uneven_towers", "joint_only", "uneven_towers"), OPEN_SETS))
OPEN_SUBSETS = tuple((m,) for m in DECLARED) + (("depth", "imu"), ("title", "vitals"))
OPEN_CASES = (*OPEN_WHOLES, *zip(cycle(ARCHITECTURES), OPEN_SUBSETS))


def whole_of(subset):
    """The modalities of the model that is called with a subset: of the first set that has them all."""
    return next(whole for whole in (MODALITIES, *OPEN_SETS) if set(subset) <= set(whole))


def subset_name(subset):
    return "+".join(subset)


def tiny_config(architecture="default", features=False, every_tower=None, modalities=MODALITIES, **overrides):
    """A `MoTConfig` of width 32; `every_tower` are fields for all modality configs, `overrides` joint fields."""
    changes = ARCHITECTURES[architecture]
    fields = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 48, "projection_dim": 32}
    fields |= {name: value for name, value in changes.items() if name not in ("towers", "every_tower")}
    fields |= {f"{name}_config": None for name in MODALITIES}
    for modality in modalities:
        tower = TOWERS[modality]
        tower = {"num_hidden_layers": 2} | tower | changes.get("towers", {}).get(tower["model_type"], {})
        tower |= changes.get("every_tower", {}) | (every_tower or {})
        if features:
            tower["feature_size"] = FEATURE_SIZES[modality]
        fields[f"{modality}_config"] = tower
    for name, value in overrides.items():
        merges = name.endswith("_config") and value is not None
        fields[name] = {**(fields.get(name) or {}), **value} if merges else value
    return MoTConfig(**fields)


def randomize(model, std=0.2):
    """Every parameter random, gains around one: zeros and ones of a fresh model hide mistakes."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            is_gain = "norm" in name and name.endswith("weight")
            parameter.normal_(mean=1.0 if is_gain else 0.0, std=std)
    return model


def build(model_class, config, attention="sdpa", seed=0):
    """A randomised model in eval mode; the same seed gives the same parameters whatever the attention."""
    torch.manual_seed(seed)
    return randomize(model_class._from_config(config, attn_implementation=attention)).eval()


def padding_pattern(row, length):
    """(length,) of ones and zeros: full, right padding, left padding, holes, by turns."""
    mask = torch.ones(length, dtype=torch.int64)
    if row % 4 == 1:
        mask[(length + 1) // 2 :] = 0
    elif row % 4 == 2:
        mask[: length // 2 + 1] = 0
    elif row % 4 == 3:
        mask[1] = 0
        mask[length // 2] = 0
    return mask


def presence(subset):
    """
    Which modalities each row has: four rows with all of them, then one row for each proper subset; of more than three
    for each alone and all but each.
    """
    sizes = [size for size in range(1, len(subset)) if len(subset) <= 3 or size in (1, len(subset) - 1)]
    return [subset] * 4 + [part for size in sizes for part in combinations(subset, size)]


def random_value(modality, batch_size, features, frames, generator):
    tower, length = TOWERS[modality], LENGTHS[modality]
    kind = tower["model_type"]
    if features:
        shape = (batch_size, length, FEATURE_SIZES[modality])
    elif kind == "mot_text":
        return torch.randint(0, tower["vocab_size"], (batch_size, length), generator=generator)
    elif kind == "mot_image":
        picture = (tower["num_channels"], HEIGHT, WIDTH)
        shape = (batch_size, NUM_FRAMES, *picture) if frames else (batch_size, *picture)
    elif kind == "mot_table":
        numbers = torch.randn(batch_size, NUM_NUMBERS, generator=generator)
        sizes = CATEGORY_SIZES
        categories = [torch.randint(0, size + 1, (batch_size, 1), generator=generator) for size in sizes]
        return torch.cat([numbers, *categories], dim=1)
    else:
        shape = (batch_size, length, tower.get("num_channels", NUM_MEL_BINS))
    return torch.randn(shape, generator=generator)


def make_inputs(subset, features=False, frames=False, masks="padding", seed=1):
    """Random inputs for the modalities of `subset`; masked positions hold random values, too.

    Args:
        features: ready features in place of raw inputs.
        frames: pictures come as (B, F, C, H, W).
        masks: "padding" (see `presence` and `padding_pattern`), "ones", or None for no masks at all.
    """
    generator = torch.Generator().manual_seed(seed)
    rows = presence(subset)
    names = FEATURE_INPUTS if features else RAW_INPUTS
    inputs = {}
    for modality in subset:
        value = random_value(modality, len(rows), features, frames, generator)
        inputs[names[modality]] = value
        still = value.dim() == 4
        if masks == "ones":
            inputs[MASKS[modality]] = torch.ones(value.shape[: 1 if still else 2], dtype=torch.int64)
        elif masks == "padding":
            present = torch.tensor([int(modality in row) for row in rows])
            mask = present
            if not still:
                patterns = [padding_pattern(row, value.shape[1]) for row in range(len(rows))]
                mask = torch.stack(patterns) * present[:, None]
            if modality in GAPS and not features:
                mask = mask[..., None] * (torch.rand(value.shape, generator=generator) < 0.8)
            inputs[MASKS[modality]] = mask
    return inputs


def input_items(inputs):
    """(modality, argument name, value, mask or None) of each modality given."""
    for name, value in inputs.items():
        if name in MODALITY_OF_INPUT:
            modality = MODALITY_OF_INPUT[name]
            yield modality, name, value, inputs.get(MASKS[modality])


def is_table(modality, name):
    """Whether an argument is a table, the place of whose cells says what they are."""
    return TOWERS[modality]["model_type"] == "mot_table" and name == RAW_INPUTS[modality]


def real_row(inputs, index):
    """
    Row `index` as modality -> its real tokens only, without a batch dimension; absent modalities are left out. What is
    missing beside what is there, a cell of a table or a channel of a sample, is NaN.
    """
    row = {}
    for modality, name, value, mask in input_items(inputs):
        value = value[index]
        if mask is None or mask.dim() == 1 and mask[index]:
            row[modality] = value
        elif mask.dim() > 1 and mask[index].any():
            real = mask[index] != 0
            if real.dim() == 2:
                value, real = value.masked_fill(~real, torch.nan), real.any(dim=1)
            row[modality] = value.masked_fill(~real, torch.nan) if is_table(modality, name) else value[real]
    return row


def compact_inputs(inputs, index):
    """Row `index` as a batch of one, with neither padding nor the modalities it lacks, and no masks but of gaps."""
    row = real_row(inputs, index)
    compact = {name: row[m][None].nan_to_num() for m, name, _, _ in input_items(inputs) if m in row}
    return compact | {MASKS[m]: (~value.isnan()).long()[None] for m, value in row.items() if value.isnan().any()}


def select_rows(inputs, rows):
    return {name: value[rows] for name, value in inputs.items()}


def without(inputs, modality):
    """The batch called without a modality: neither its input nor its mask."""
    return {
        name: value
        for name, value in inputs.items()
        if MODALITY_OF_INPUT.get(name) != modality and name != MASKS[modality]
    }


def poison(inputs, value):
    """Masked positions become `value`; masked ids become impossible ids."""
    poisoned = dict(inputs)
    for _, name, original, mask in input_items(inputs):
        absent = (mask == 0).reshape(mask.shape + (1,) * (original.dim() - mask.dim()))
        rubbish = torch.full_like(original, value if original.is_floating_point() else 10**9)
        if not original.is_floating_point():
            rubbish[:, ::2] = -100
        poisoned[name] = torch.where(absent, rubbish, original)
    return poisoned


def real_tokens(output, index):
    """The real joint tokens of a row, (n, d)."""
    return output.last_hidden_state[index][output.attention_mask[index] != 0]


def max_difference(left, right):
    if left.shape != right.shape:
        raise AssertionError(f"shapes differ: {tuple(left.shape)} and {tuple(right.shape)}")
    return (left.double() - right.double()).abs().max().item() if left.numel() else 0.0


def batch_size_of(inputs):
    return len(next(iter(inputs.values())))


def run(model, inputs, **options):
    with torch.no_grad():
        return model(**inputs, **options)


def in_float64(inputs):
    return {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}


def outputs_and_gradients(model, inputs):
    """The outputs, and the gradients of a fixed random reading of them for all parameters and float inputs."""
    inputs = {name: v.clone().requires_grad_() if v.is_floating_point() else v for name, v in inputs.items()}
    output = model(**inputs)
    generator = torch.Generator().manual_seed(3)
    readings = [output.last_hidden_state, output.pooler_output]
    loss = sum((torch.randn(value.shape, generator=generator) * value).sum() for value in readings)
    sources = dict(model.named_parameters()) | {name: v for name, v in inputs.items() if v.requires_grad}
    gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    return readings, {name: gradient for name, gradient in zip(sources, gradients) if gradient is not None}


def is_key_bias(name):
    """Adding a constant to all keys changes no softmax, so the gradient of a key bias is zero up to rounding."""
    return name.endswith("k_proj.bias")


def save_untrained(outputs, *tasks):
    """What `run_finetune.py` leaves of each task on the embedded digits, in the folders that it names, of a model that
    has not learned: outputs/digits, outputs/digits-retrieval, ..."""
    from mixture_of_transformers.data.columns import ModalityColumns
    from mixture_of_transformers.data.digits import DIGIT_NAMES, load_digits_dataset
    from mixture_of_transformers.data.labels import LabelSpec
    from mixture_of_transformers.data.preparation import prepare_splits
    from mixture_of_transformers.finetune.limits import set_limits
    from mixture_of_transformers.finetune.options import DataArguments, ModelArguments
    from mixture_of_transformers.finetune.recipe import build_model, build_processor, config_fields
    from mixture_of_transformers.finetune.usage import save_examples

    splits = load_digits_dataset()
    splits, _ = prepare_splits(splits, ModalityColumns.guess(splits["train"].features))
    model = ModelArguments(config_overrides='{"hidden_size": 32, "intermediate_size": 32}')
    labels = LabelSpec("single_label_classification", DIGIT_NAMES)
    for task in tasks:
        folder = outputs / ("digits" if task == "classification" else f"digits-{task}")
        folder.mkdir(parents=True)
        data = DataArguments(task=task)
        set_limits(data)
        processor = build_processor(splits["train"], model, data)
        fields = config_fields(splits["train"], labels, processor, data, model)
        build_model(fields, data, labels, model).save_pretrained(folder)
        processor.save_pretrained(folder)
        save_examples(folder, splits["test"][0])
