# Copyright 2026 The MoT authors. Licensed under the Apache License, Version 2.0.
"""Algorithm 1 of Mixture-of-Transformers (arXiv 2411.04996), written slowly: one row, one token, one head at a
time, in float64.

Every token takes the weights of its modality's expert and attends to itself and to all tokens before, of any modality.
The layer is that of Llama and Qwen: norms come before what they norm, positions are rotations, the feed-forward layer
is gated. It shares no code with the model and knows neither batches, padding, masks nor caches.
"""

import math

import torch


def modality_of(token, config):
    """The name of the range that an id lies in."""
    for name, start, stop in config.token_ranges:
        if start <= token < stop:
            return name
    return "text"


def place_of(part, modality, config):
    """Where the weights stand that a modality uses of a part of the layers."""
    return f"experts.{config.experts[modality]}" if part in config.untied else "shared"


def linear(x, weights, name):
    """W x + b, for x (d_in,)."""
    y = weights[f"{name}.weight"] @ x
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def rms_norm(x, gain, eps):
    return gain * x / math.sqrt((x * x).mean().item() + eps)


def silu(x):
    return x / (1 + torch.exp(-x))


def softmax(scores):
    exponentials = [math.exp(score - max(scores)) for score in scores]
    return [value / sum(exponentials) for value in exponentials]


def rotate(x, position, theta):
    """Turns the pair (x_i, x_{i + d/2}) by position / theta^(2i/d), for each i below d/2."""
    half, turned = len(x) // 2, x.clone()
    for i in range(half):
        angle = position / theta ** (2 * i / len(x))
        turned[i] = x[i] * math.cos(angle) - x[i + half] * math.sin(angle)
        turned[i + half] = x[i + half] * math.cos(angle) + x[i] * math.sin(angle)
    return turned


class Reference:
    """
    The model as it reads one row.

    Args:
        state_dict: that of a `MoTForCausalLM`.
        config: its `MoTCausalConfig`, with the default kind of rotary positions.
    """

    def __init__(self, state_dict, config):
        self.weights = {name.removeprefix("model."): value.detach().double() for name, value in state_dict.items()}
        self.config = config
        self.keys = [[] for _ in range(config.num_hidden_layers)]  # of each layer: of each token, (heads, head_dim)
        self.values = [[] for _ in range(config.num_hidden_layers)]

    def name(self, layer, module, modality):
        part = "norm" if module.endswith("norm") else "attention" if module.startswith("self_attn") else "mlp"
        return f"layers.{layer}.{place_of(part, modality, self.config)}.{module}"

    def norm(self, x, layer, module, modality):
        return rms_norm(x, self.weights[f"{self.name(layer, module, modality)}.weight"], self.config.rms_norm_eps)

    def heads(self, x, layer, letter, modality):
        """The queries, keys or values of a token: one (head_dim,) for each head."""
        projected = linear(x, self.weights, self.name(layer, f"self_attn.{letter}_proj", modality))
        heads = list(projected.reshape(-1, self.config.head_dim))
        if letter == "v" or not self.config.qk_norm:
            return heads
        return [self.norm(head, layer, f"self_attn.{letter}_norm", modality) for head in heads]

    def attend(self, x, layer, modality, position):
        theta = self.config.rope_parameters["rope_theta"]
        queries = [rotate(head, position, theta) for head in self.heads(x, layer, "q", modality)]
        self.keys[layer].append([rotate(head, position, theta) for head in self.heads(x, layer, "k", modality)])
        self.values[layer].append(self.heads(x, layer, "v", modality))
        contexts = []
        for head, query in enumerate(queries):
            group = head * self.config.num_key_value_heads // len(queries)
            scores = [(query @ keys[group]).item() / math.sqrt(len(query)) for keys in self.keys[layer]]
            values = [values[group] for values in self.values[layer]]
            contexts.append(sum(weight * value for weight, value in zip(softmax(scores), values)))
        return linear(torch.cat(contexts), self.weights, self.name(layer, "self_attn.o_proj", modality))

    def feed_forward(self, x, layer, modality):
        gate, up = (linear(x, self.weights, self.name(layer, f"mlp.{part}_proj", modality)) for part in ("gate", "up"))
        return linear(silu(gate) * up, self.weights, self.name(layer, "mlp.down_proj", modality))

    def read(self, x, modality, position):
        """One more token (d,) -> its hidden state after the last norm (d,)."""
        for layer in range(self.config.num_hidden_layers):
            x = x + self.attend(self.norm(x, layer, "input_layernorm", modality), layer, modality, position)
            x = x + self.feed_forward(self.norm(x, layer, "post_attention_layernorm", modality), layer, modality)
        expert = place_of("norm", modality, self.config).removeprefix("experts.")
        return rms_norm(x, self.weights[f"norms.{expert}.weight"], self.config.rms_norm_eps)


def reference_logits(state_dict, config, ids):
    """The logits (n, vocab_size) of a row of n token ids, in float64."""
    reference = Reference(state_dict, config)
    embeddings = reference.weights["embed_tokens.weight"]
    head = reference.weights.get("lm_head.weight", embeddings)
    rows = []
    for position, token in enumerate(ids):
        hidden = reference.read(embeddings[token], modality_of(token, config), position)
        rows.append(head @ hidden)
    return torch.stack(rows)
