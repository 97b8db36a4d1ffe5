# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""The equations of MoT, written slowly: one row at a time, one head at a time, in float64.

`reference_forward` takes a `MoTModel` state dict, its config and one row holding nothing but real tokens, so there
is no batch, no padding and no mask anywhere in this file. It shares no code with the model.
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import torch


@dataclass
class ReferenceOutput:
    """What one row gives: its n real tokens in the order of the config's modalities."""

    last_hidden_state: torch.Tensor  # (n, d)
    pooler_output: torch.Tensor  # (d,)
    modality_states: dict  # modality -> (n_m, d), slices of last_hidden_state
    hidden_states: list  # before the first and after every joint and global layer, each (n, d)
    attentions: list  # one (heads, n, n) per joint and global layer
    encoder_hidden_states: dict  # modality -> before the first and after every layer of the tower, each (n_m, d_m)


# Building blocks


def linear(x, weights, name):
    """x W^T + b, for x (n, d_in)."""
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def layer_norm(x, weights, name, eps):
    rows = []
    for row in x:
        mean = row.mean()
        variance = ((row - mean) ** 2).mean()
        rows.append((row - mean) / torch.sqrt(variance + eps))
    return torch.stack(rows) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def gelu(x):
    return 0.5 * x * (1.0 + torch.erf(x / math.sqrt(2.0)))


def feed_forward(x, weights, name):
    return linear(gelu(linear(x, weights, f"{name}.fc1")), weights, f"{name}.fc2")


def softmax(scores):
    exponentials = torch.exp(scores - scores.max())
    return exponentials / exponentials.sum()


def multi_head_attention(query, key, value, num_heads):
    """(n, d) each -> context (n, d) and the attention (num_heads, n, n)."""
    width = query.shape[1] // num_heads
    contexts, attentions = [], []
    for head in range(num_heads):
        part = slice(head * width, (head + 1) * width)
        scores = query[:, part] @ key[:, part].T / math.sqrt(width)
        attention = torch.stack([softmax(row) for row in scores])
        contexts.append(attention @ value[:, part])
        attentions.append(attention)
    return torch.cat(contexts, dim=1), torch.stack(attentions)


# Positions


def sinusoid(position, width):
    """E(pos, 2i) = sin(pos / 10000^(2i/d)), E(pos, 2i+1) = cos(the same)."""
    values = []
    for index in range(width):
        angle = position / 10000.0 ** (2 * (index // 2) / width)
        values.append(math.sin(angle) if index % 2 == 0 else math.cos(angle))
    return torch.tensor(values, dtype=torch.float64)


def sinusoid_2d(row, column, width):
    """Half of the width for the row, half for the column."""
    return torch.cat([sinusoid(row, width // 2), sinusoid(column, width // 2)])


def time_sinusoid(position, width):
    """What a frame adds to its picture positions; nothing for the first one."""
    return sinusoid(position, width) - sinusoid(0, width)


def sequence_positions(number, width, times):
    """Of a sequence's tokens: 0, 1, 2, ...; or, given the seconds of each, 50 to the second."""
    return torch.stack([sinusoid(position, width) for position in places(number, times)])


def places(number, times):
    return list(range(number)) if times is None else [50 * float(time) for time in times]


# "Input + E_pos" of equation 1, per modality


def embed_features(features, weights, name, config, times):
    tokens = linear(features, weights, f"{name}.projection")
    if config.position_embedding_type == "learned":
        return tokens + weights[f"{name}.position_embeddings.weight"][: len(tokens)]
    return tokens + sequence_positions(len(features), config.hidden_size, times)


def embed_text(input_ids, weights, name, config):
    table = weights[f"{name}.word_embeddings.weight"]
    tokens = torch.stack([table[int(token)] for token in input_ids])
    return tokens + sequence_positions(len(input_ids), config.hidden_size, times=None)


def convolve_2d(picture, weights, name):
    """A 2-D convolution over (C, H, W) of stride 2, padded with (k - 1) // 2 zeros on each side."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]  # (c_out, c_in, k, k)
    size, border = kernel.shape[2], (kernel.shape[2] - 1) // 2
    channels, height, width = picture.shape
    padded = torch.zeros(channels, height + 2 * border, width + 2 * border, dtype=picture.dtype)
    padded[:, border : border + height, border : border + width] = picture
    rows = []
    for top in range(0, padded.shape[1] - size + 1, 2):
        row = []
        for left in range(0, padded.shape[2] - size + 1, 2):
            window = padded[:, top : top + size, left : left + size]
            row.append(torch.stack([(channel * window).sum() for channel in kernel]) + bias)
        rows.append(torch.stack(row))
    return torch.stack(rows).permute(2, 0, 1)  # (c_out, height, width)


def embed_picture(picture, weights, name, config):
    """One picture (C, H, W) -> its patches (h * w, d), row by row, with their places in two dimensions."""
    rows, columns = picture.shape[1] // config.patch_size, picture.shape[2] // config.patch_size
    patch = config.patch_size
    if config.stem == "conv":  # each convolution halves the sides, so that one pixel is left of each patch
        for index in range(0, 2 * int(math.log2(config.patch_size)), 2):
            picture = gelu(convolve_2d(picture, weights, f"{name}.stem.{index}"))
        patch = 1
    kernel, bias = weights[f"{name}.projection.weight"], weights[f"{name}.projection.bias"]
    kernel = kernel.reshape(config.hidden_size, -1)  # (d, channel * row * column)
    tokens = []
    for row in range(rows):
        for column in range(columns):
            pixels = picture[:, row * patch : (row + 1) * patch, column * patch : (column + 1) * patch]
            token = kernel @ pixels.reshape(-1) + bias
            if config.position_embedding_type == "sinusoidal_2d":
                token = token + sinusoid_2d(row, column, config.hidden_size)
            tokens.append(token)
    return torch.stack(tokens)


def embed_image(pixels, weights, name, config, times):
    """A still picture (C, H, W), or its real frames (F, C, H, W) one after the other."""
    frames = [pixels] if pixels.dim() == 3 else list(pixels)
    tokens = [embed_picture(frame, weights, name, config) for frame in frames]
    if config.position_embedding_type == "sinusoidal":  # all patches of all frames are one sequence
        tokens = torch.cat(tokens)
        return tokens + sequence_positions(len(tokens), config.hidden_size, times=None)
    positions = [time_sinusoid(place, config.hidden_size) for place in places(len(frames), times)]
    return torch.cat([frame + position for frame, position in zip(tokens, positions)])


def convolve(signal, weights, name, stride):
    """A 1-D convolution over (n, c_in), padded with (k - 1) // 2 zeros on both sides -> (n_out, c_out)."""
    kernel, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]  # (c_out, c_in, k)
    size = kernel.shape[2]
    border = torch.zeros((size - 1) // 2, signal.shape[1], dtype=signal.dtype)
    padded = torch.cat([border, signal, border])
    outputs = []
    for start in range(0, len(padded) - size + 1, stride):
        window = padded[start : start + size]  # (k, c_in)
        outputs.append(torch.stack([(kernel[channel].T * window).sum() for channel in range(len(kernel))]) + bias)
    return torch.stack(outputs)


def embed_audio(frames, weights, name, config, times):
    """Real mel frames (n, bins) -> ceil(n / stem_stride) tokens; a token has the time of its first frame."""
    stride = config.stem_stride
    if config.stem == "conv":
        hidden = gelu(convolve(frames, weights, f"{name}.conv1", stride=1))
        tokens = gelu(convolve(hidden, weights, f"{name}.conv2", stride=stride))
    else:
        tokens = []
        for start in range(0, len(frames), stride):
            group = torch.zeros(stride * frames.shape[1], dtype=frames.dtype)
            piece = frames[start : start + stride].reshape(-1)
            group[: len(piece)] = piece
            tokens.append(group)
        tokens = linear(torch.stack(tokens), weights, f"{name}.projection")
    first_times = None if times is None else [times[index * stride] for index in range(len(tokens))]
    return tokens + sequence_positions(len(tokens), config.hidden_size, first_times)


def embed_series(samples, weights, name, config, times):
    """Samples (n, channels) with NaN for readings that are missing, which stand as 0 beside an indicator of 1 each."""
    missing = samples.isnan()
    seen = torch.cat([samples.nan_to_num(), missing.to(samples.dtype)], dim=1)
    if config.position_embedding_type is None:  # a set: each sample a token, without a position
        return linear(seen, weights, f"{name}.projection")
    return embed_audio(seen, weights, name, config, times)


def embed_table(row, weights, name, config):
    """The cells of a row (columns,) with NaN where they are empty: a token for each of the others, at its column."""
    edges = [NormalDist().inv_cdf((2 * index + 0.5) / 33) for index in range(17)]
    tokens = []
    for column, cell in enumerate(row.tolist()):
        if math.isnan(cell):
            continue
        if column < config.num_numbers:  # how far it is through each bin (arXiv 2203.05556), and asinh
            features = [min(1.0, max(0.0, (cell - a) / (b - a))) for a, b in zip(edges, edges[1:])]
            features = torch.tensor([*features, math.asinh(cell)], dtype=torch.float64)
            token = features @ weights[f"{name}.number_embeddings.weight"][column]
        else:
            before = sum(config.category_sizes[: column - config.num_numbers])
            table = weights[f"{name}.category_embeddings.weight"]
            token = table[before + int(cell) - 1] if cell else torch.zeros_like(table[0])
        if config.position_embedding_type == "learned":
            tokens.append(token + weights[f"{name}.position_embeddings.weight"][column])
        else:
            tokens.append(token + sinusoid(column, config.hidden_size))
    return torch.stack(tokens)


def embed(modality, value, weights, config, times):
    """Equation 1: X = Input + E_mod + E_pos, then the cls token in front, then the norm where configured."""
    name = f"embeddings.{modality}"
    if config.feature_size is not None:
        tokens = embed_features(value, weights, name, config, times)
    elif config.model_type == "mot_text":
        tokens = embed_text(value, weights, name, config)
    elif config.model_type == "mot_image":
        tokens = embed_image(value, weights, name, config, times)
    elif config.model_type == "mot_table":
        tokens = embed_table(value, weights, name, config)
    elif config.model_type == "mot_series":
        tokens = embed_series(value, weights, name, config, times)
    else:
        tokens = embed_audio(value, weights, name, config, times)
    kind = weights[f"modality_embeddings.{modality}"]  # (1, d)
    tokens = tokens + kind
    if config.use_cls_token:
        tokens = torch.cat([weights[f"{name}.cls_token"].reshape(1, -1) + kind, tokens])
    if config.embedding_norm:
        tokens = layer_norm(tokens, weights, f"{name}.norm", config.layer_norm_eps)
    return tokens


# Layers


def project_queries_keys_values(x, weights, name):
    return tuple(linear(x, weights, f"{name}.{letter}_proj") for letter in "qkv")


def encoder_layer(x, weights, name, config):
    """Equation 2: X' = X + MultiHead(LayerNorm(X)); X'' = X' + FFN(LayerNorm(X'))."""
    normed = layer_norm(x, weights, f"{name}.layernorm_before", config.layer_norm_eps)
    query, key, value = project_queries_keys_values(normed, weights, f"{name}.attention")
    context, _ = multi_head_attention(query, key, value, config.num_attention_heads)
    x = x + linear(context, weights, f"{name}.attention.o_proj")
    return x + feed_forward(
        layer_norm(x, weights, f"{name}.layernorm_after", config.layer_norm_eps), weights, f"{name}.mlp"
    )


def encode(modality, x, weights, config, joint_width):
    """The tower of one modality -> its output (n, joint width), and the tokens before and after each layer."""
    name = f"encoders.{modality}"
    states = [x]
    for index in range(config.num_hidden_layers):
        x = encoder_layer(x, weights, f"{name}.layers.{index}", config)
        states.append(x)
    if config.final_norm:
        x = layer_norm(x, weights, f"{name}.final_norm", config.layer_norm_eps)
    if config.hidden_size != joint_width:
        x = linear(x, weights, f"{name}.projection")
    return x, states


def split(joined, lengths):
    """(n, d) -> modality -> (n_m, d)."""
    parts, start = {}, 0
    for modality, length in lengths.items():
        parts[modality] = joined[start : start + length]
        start += length
    return parts


def joint_layer(x, lengths, weights, name, config):
    """Each modality's own norms, projections and FFN around one attention over all tokens (arXiv 2411.04996)."""
    parts = split(x, lengths)
    queries, keys, values = [], [], []
    for modality, tokens in parts.items():
        expert = f"{name}.experts.{modality}"
        normed = layer_norm(tokens, weights, f"{expert}.layernorm_before", config.layer_norm_eps)
        query, key, value = project_queries_keys_values(normed, weights, f"{expert}.attention")
        queries.append(query)
        keys.append(key)
        values.append(value)
    context, attention = multi_head_attention(
        torch.cat(queries), torch.cat(keys), torch.cat(values), config.num_attention_heads
    )
    contexts = split(context, lengths)
    outputs = []
    for modality, tokens in parts.items():
        expert = f"{name}.experts.{modality}"
        tokens = tokens + linear(contexts[modality], weights, f"{expert}.attention.o_proj")
        normed = layer_norm(tokens, weights, f"{expert}.layernorm_after", config.layer_norm_eps)
        outputs.append(tokens + feed_forward(normed, weights, f"{expert}.mlp"))
    return torch.cat(outputs), attention


def global_layer(x, weights, name, config):
    """Equation 3: X + GlobalMultiHead(LayerNorm(X)), then an FFN only where the config asks for one."""
    normed = layer_norm(x, weights, f"{name}.layernorm", config.layer_norm_eps)
    query, key, value = project_queries_keys_values(normed, weights, f"{name}.attention")
    context, attention = multi_head_attention(query, key, value, config.num_attention_heads)
    x = x + linear(context, weights, f"{name}.attention.o_proj")
    if config.global_mlp:
        normed = layer_norm(x, weights, f"{name}.layernorm_after", config.layer_norm_eps)
        x = x + feed_forward(normed, weights, f"{name}.mlp")
    return x, attention


# Fusion: from the modalities' tokens to one vector


def pool(modality, tokens, config):
    """A modality's mean token, or its cls token: (d,)."""
    return tokens[0] if config.modality_config(modality).use_cls_token else tokens.mean(dim=0)


def attend(x, context, weights, name, num_heads):
    """Queries from x (n, d), keys and values from context (k, d) -> (n, d)."""
    query = linear(x, weights, f"{name}.q_proj")
    key, value = (linear(context, weights, f"{name}.{letter}_proj") for letter in "kv")
    attended, _ = multi_head_attention(query, key, value, num_heads)
    return linear(attended, weights, f"{name}.o_proj")


def late_fusion(parts, weights, config):
    """The mean over the row's modalities."""
    return torch.stack([pool(modality, tokens, config) for modality, tokens in parts.items()]).mean(dim=0)


def early_fusion(parts, weights, config):
    """GELU(LayerNorm(W [text; image; audio; ...] + b)), a learned vector for each modality that the row lacks."""
    vectors = []
    for modality in config.modalities:
        if modality in parts:
            vectors.append(pool(modality, parts[modality], config))
        else:
            vectors.append(weights[f"fusion.missing.{modality}"][0])
    projected = linear(torch.cat(vectors)[None], weights, "fusion.projection")  # (1, d)
    return gelu(layer_norm(projected, weights, "fusion.layernorm", config.layer_norm_eps))[0]


def hierarchical_fusion(parts, weights, config):
    """Text attends to the image, the result to the audio, then to itself; the first that the row has takes the
    lead."""
    leading, *levels = parts
    x = parts[leading]
    for level in levels:
        query = layer_norm(x, weights, f"fusion.query_norms.{level}", config.layer_norm_eps)
        context = layer_norm(parts[level], weights, f"fusion.context_norms.{level}", config.layer_norm_eps)
        x = x + attend(query, context, weights, f"fusion.cross_attentions.{level}", config.num_attention_heads)
    normed = layer_norm(x, weights, "fusion.layernorm", config.layer_norm_eps)
    x = x + attend(normed, normed, weights, "fusion.self_attention", config.num_attention_heads)
    return pool(leading, x, config)


def attention_fusion(parts, weights, config):
    """A learned query looks at the normed joint sequence."""
    tokens = layer_norm(torch.cat(list(parts.values())), weights, "fusion.layernorm", config.layer_norm_eps)
    return attend(weights["fusion.query"][0], tokens, weights, "fusion.attention", config.num_attention_heads)[0]


FUSIONS = {
    "late": late_fusion,
    "early": early_fusion,
    "hierarchical": hierarchical_fusion,
    "attention": attention_fusion,
}


# The whole model


def reference_forward(state_dict, config, row, times=None):
    """Computes one row.

    Args:
        state_dict: that of a `MoTModel`.
        config: its `MoTConfig`, with sinusoidal positions, but for the columns of a table.
        row: modality -> its real input: ids (n,), pixels (C, H, W) or (F, C, H, W), mel frames (n, bins), samples
            (n, channels), cells (columns,), or ready features (n, feature_size). What is missing beside what is there,
            a channel of a sample or a cell, is NaN. A modality that is not a key is absent from the row.
        times: modality -> the seconds of its frames or features (n,); where there are none, positions count.

    Returns:
        A `ReferenceOutput` in float64.
    """
    weights = {name: value.detach().double() for name, value in state_dict.items()}
    parts, encoder_hidden_states = {}, {}
    for modality in config.modalities:
        if modality in row:
            value = row[modality] if row[modality].dtype == torch.int64 else row[modality].detach().double()
            tower = config.modality_config(modality)
            tokens = embed(modality, value, weights, tower, (times or {}).get(modality))
            parts[modality], encoder_hidden_states[modality] = encode(
                modality, tokens, weights, tower, config.hidden_size
            )
    lengths = {modality: len(tokens) for modality, tokens in parts.items()}
    x = torch.cat(list(parts.values()))
    hidden_states, attentions = [x], []
    for index in range(config.num_joint_layers):
        x, attention = joint_layer(x, lengths, weights, f"joint_layers.{index}", config)
        hidden_states.append(x)
        attentions.append(attention)
    for index in range(config.num_global_layers):
        x, attention = global_layer(x, weights, f"global_layers.{index}", config)
        hidden_states.append(x)
        attentions.append(attention)
    modality_states = split(x, lengths)
    pooled = FUSIONS[config.fusion_type](modality_states, weights, config)
    return ReferenceOutput(x, pooled, modality_states, hidden_states, attentions, encoder_hidden_states)
