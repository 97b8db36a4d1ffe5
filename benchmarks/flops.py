# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""How many floating-point operations a model needs, by a formula that can be followed by hand.

A multiply-add counts as two. Counted are the products: linear layers, convolutions and the two of an attention. Left
out is what takes no product worth counting: norms, activations, sums, the lookup of word embeddings, the fusion. The
count is of what must be computed, so a token that is not real costs nothing. Training takes three times the forward:
the backward pass multiplies once for the gradient of the inputs and once for that of the weights.
"""

from mixture_of_transformers import MoTConfig
from mixture_of_transformers.configuration_causal_mot import MoTCausalConfig

# For n tokens of width d: a linear layer to width w takes 2 n d w; queries times keys and weights times values over n
# tokens take 2 n n d each.


def linear(inputs: int, outputs: int) -> int:
    """Of a linear layer, for one token."""
    return 2 * inputs * outputs


def attention(width: int, tokens: int) -> int:
    """Of Q K^T and of the weights times V, for all heads together, over a row of `tokens` tokens."""
    return 2 * 2 * width * tokens * tokens


def projections(width: int) -> int:
    """Of queries, keys, values and output, for one token."""
    return 4 * linear(width, width)


def mlp(width: int, intermediate_size: int) -> int:
    """Of the feed-forward layer, for one token."""
    return linear(width, intermediate_size) + linear(intermediate_size, width)


def image_stem(config) -> int:
    """From the pixels of one patch to its token."""
    side, channels, total = config.patch_size, config.num_channels, 0
    halvings = (side & -side).bit_length() - 1 if config.stem == "conv" else 0
    for i in range(halvings):  # 3 x 3 convolutions that halve the side
        width, side = config.hidden_size >> (halvings - i), side // 2
        total += side * side * linear(9 * channels, width)
        channels = width
    return total + linear(side * side * channels, config.hidden_size)


def audio_stem(config) -> int:
    """From the frames of one token to it; a token that lacks some of its frames is taken to have them all."""
    stride, width = config.stem_stride, config.hidden_size
    if config.stem == "linear":
        return linear(stride * config.num_mel_bins, width)
    kernel_size = max(3, 2 * stride - 1)
    return stride * linear(3 * config.num_mel_bins, width) + linear(kernel_size * width, width)


def embedding(config) -> int:
    """Of the embedding of one token."""
    if config.feature_size is not None:
        return linear(config.feature_size, config.hidden_size)
    return {"mot_text": lambda config: 0, "mot_image": image_stem, "mot_audio": audio_stem}[config.model_type](config)


def encoder(config, joint_size: int, tokens: int) -> int:
    """Of one modality's layers and of the projection to the joint width, for one row."""
    width = config.hidden_size
    layer = tokens * (projections(width) + mlp(width, config.intermediate_size)) + attention(width, tokens)
    return config.num_hidden_layers * layer + (tokens * linear(width, joint_size) if width != joint_size else 0)


def forward_flops(config: MoTConfig, rows: list[dict[str, int]]) -> int:
    """
    Of `MoTModel(config)` on a batch.

    Args:
        rows: for each row of the batch, modality -> its real tokens, without a cls token; what a row lacks is left
            out.
    """
    total = 0
    for row in rows:
        joint_tokens = 0
        for modality, tokens in row.items():
            tower = config.modality_config(modality)
            total += tokens * embedding(tower)
            tokens += tower.use_cls_token and tokens > 0
            total += encoder(tower, config.hidden_size, tokens)
            joint_tokens += tokens
        width = config.hidden_size
        feed_forward = mlp(width, config.intermediate_size)
        shared = joint_tokens * projections(width) + attention(width, joint_tokens)
        total += config.num_joint_layers * (shared + joint_tokens * feed_forward)
        total += config.num_global_layers * (shared + joint_tokens * feed_forward * config.global_mlp)
    return total


def training_flops(config: MoTConfig, rows: list[dict[str, int]]) -> int:
    """Of a forward and a backward pass."""
    return 3 * forward_flops(config, rows)


def causal_forward_flops(config: MoTCausalConfig, lengths: list[int]) -> int:
    """
    Of `MoTForCausalLM(config)` on ids, whatever their modalities and experts.

    Args:
        lengths: of the documents. A token attends to itself and to those before it.
    """
    queries, keys = (heads * config.head_dim for heads in (config.num_attention_heads, config.num_key_value_heads))
    width = config.hidden_size
    token = 2 * linear(width, queries) + 2 * linear(width, keys) + 3 * linear(width, config.intermediate_size)
    pairs = sum(length * (length + 1) // 2 for length in lengths)
    tokens = sum(lengths)
    layers = config.num_hidden_layers * (tokens * token + 2 * 2 * queries * pairs)
    return layers + tokens * linear(width, config.vocab_size)
