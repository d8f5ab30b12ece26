# SPDX-License-Identifier: Apache-2.0
"""Kinds of mixture-of-experts transformers as plain functions of PyTorch tensors, for autograd to differentiate.

Written from the papers that each function names; names and shapes of weights are those of docs/formats/checkpoint.md.
Every function takes the token axis as (sequences, seq). Nothing is fast: every expert sees every token, and a mask
says which of its results count.
"""
import torch
from torch.nn.functional import cross_entropy, silu


def rms_norm(x, gamma, eps):
    """Zhang and Sennrich (2019), eq. 4."""
    return x / torch.sqrt((x**2).mean(-1, keepdim=True) + eps) * gamma


def rope(x, theta):
    """Su et al. (2021), eq. 34: pair i is a complex number that position p turns by p theta^(-2i/d).

    x: (..., seq, d). Pairs are (i, i + d/2), as Hugging Face models store them.
    """
    seq, d = x.shape[-2:]
    frequency = theta ** (-torch.arange(0, d, 2, dtype=x.dtype) / d)
    angle = torch.outer(torch.arange(seq, dtype=x.dtype), frequency)
    real, imaginary = x.chunk(2, dim=-1)
    turned = torch.complex(real, imaginary) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([turned.real, turned.imag], dim=-1)


def partial_rope(x, c):
    """Of each head the first rotary_dim elements, as GPT-NeoX (Black et al., 2022, section 2.1.1); the rest stays."""
    width = c.get("rotary_dim", x.shape[-1])
    turned, rest = x.split([width, x.shape[-1] - width], dim=-1)
    return torch.cat([rope(turned, c["rope_theta"]), rest], dim=-1)


def causal_attention(q, k, v, window=0, sinks=None):
    """Vaswani et al. (2017), eq. 1, each position seeing itself and what is before it. (sequences, heads, seq, d) each.

    `window`: how many positions it sees, itself included, as Beltagy et al. (2020); 0: all. `sinks`: (1, heads) logits
    that join each softmax and have no value, as in the model card of gpt-oss (2025).
    """
    seq = q.shape[-2]
    visible = torch.ones(seq, seq, dtype=torch.bool).tril()
    if window > 0:
        visible = visible.triu(1 - window)
    logits = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).masked_fill(~visible, float("-inf"))
    if sinks is not None:
        logits = torch.cat([logits, sinks.reshape(-1, 1, 1).expand(*logits.shape[:-1], 1)], dim=-1)
    return torch.softmax(logits, dim=-1)[..., :seq] @ v


def heads_of(x, num_heads):
    """(sequences, seq, num_heads d) to (sequences, num_heads, seq, d)."""
    return x.unflatten(-1, (num_heads, -1)).transpose(1, 2)


def joined(x):
    return x.transpose(1, 2).flatten(2)


def linear(x, w, name):
    y = x @ w[name].T
    return y + w[f"{name}_bias"] if f"{name}_bias" in w else y


def grouped_query_attention(x, w, c, window):
    """Ainslie et al. (2023): each key-value head serves num_heads / num_kv_heads neighbouring query heads.

    Norms of queries and keys are those of Qwen3 (2025): of each head, in front of RoPE.
    """
    widths = [c["head_dim"] * n for n in (c["num_heads"], c["num_kv_heads"], c["num_kv_heads"])]
    q, k, v = linear(x, w, "qkv").split(widths, dim=-1)
    q, k, v = heads_of(q, c["num_heads"]), heads_of(k, c["num_kv_heads"]), heads_of(v, c["num_kv_heads"])
    if "q_norm" in w:
        q, k = rms_norm(q, w["q_norm"], c["norm_eps"]), rms_norm(k, w["k_norm"], c["norm_eps"])
    group = c["num_heads"] // c["num_kv_heads"]
    k, v = (part.repeat_interleave(group, dim=1) for part in (partial_rope(k, c), v))
    return linear(joined(causal_attention(partial_rope(q, c), k, v, window, w.get("sinks"))), w, "attn_out")


def latent_attention(x, w, c, window):
    """DeepSeek-V2 (2024), eq. 9 to 13 and 14 to 19; the norms of the latents as its section 3.1.2 says."""
    n, nope, rotated = c["num_heads"], c["qk_nope_dim"], c["qk_rope_dim"]
    q_latent = rms_norm(x @ w["q_down"].T, w["q_latent_norm"], c["norm_eps"])
    q_content, q_position = heads_of(q_latent @ w["q_up"].T, n).split([nope, rotated], dim=-1)
    kv_latent, k_position = (x @ w["kv_down"].T).split([c["kv_lora_rank"], rotated], dim=-1)
    kv_latent = rms_norm(kv_latent, w["kv_latent_norm"], c["norm_eps"])
    k_content, v = heads_of(kv_latent @ w["kv_up"].T, n).split([nope, c["v_head_dim"]], dim=-1)
    k_position = rope(k_position.unsqueeze(1), c["rope_theta"]).expand(-1, n, -1, -1)  # all heads share it
    q = torch.cat([q_content, rope(q_position, c["rope_theta"])], dim=-1)
    return joined(causal_attention(q, torch.cat([k_content, k_position], dim=-1), v)) @ w["attn_out"].T


def swiglu(x, w, prefix):
    """Shazeer (2020), eq. 6; the gate's rows come first."""
    gate, up = linear(x, w, prefix + "fc1").chunk(2, dim=-1)
    return linear(silu(gate) * up, w, prefix + "fc2")


def clamped_swiglu(x, w, prefix, c):
    """gpt-oss model card (2025), section 2.2, whose text names the clamp and the 1 that is added, without numbers.

    What is cut on which side, and where alpha stands, is in the code alone (Hugging Face Transformers, GptOssExperts in
    modeling_gpt_oss.py): the gate has an upper bound only, the other half one on both sides; the swish of the gate has
    its sigmoid sharpened by alpha; 1 is added to the other half after it is cut.
    """
    gate, up = linear(x, w, prefix + "fc1").chunk(2, dim=-1)
    gate = gate.clamp(max=c["swiglu_limit"])
    up = up.clamp(-c["swiglu_limit"], c["swiglu_limit"])
    return linear(gate * torch.sigmoid(c["swiglu_alpha"] * gate) * (up + 1), w, prefix + "fc2")


def best_of(values, k, margins):
    """Indices of the k largest; keeps by how much the choice was one."""
    ordered, indices = values.sort(dim=-1, descending=True)
    if k < values.shape[-1]:
        margins.append((ordered[..., k - 1] - ordered[..., k]).min().item())
    return indices[..., :k]


def mixtral_router(logits, c, margins):
    """Mixtral (2024), section 2.1: softmax over the top-k logits. Returns weights (..., E), zero if not chosen."""
    chosen = best_of(logits.detach(), c["top_k"], margins)
    return torch.zeros_like(logits).scatter(-1, chosen, torch.softmax(logits.gather(-1, chosen), dim=-1))


def deepseek_router(logits, c, bias, margins):
    """DeepSeek-V3 (2024), eq. 12 to 16; groups by their two best experts, as the code published with its weights.

    The bias has a part in the choice, of groups too, and none in the weights: Wang et al. (2024), algorithm 1.
    """
    scores = torch.sigmoid(logits)
    biased = (scores.detach() + bias).unflatten(-1, (c["num_groups"], -1))
    groups = best_of(biased.topk(2, dim=-1).values.sum(-1), c["top_k_groups"], margins)
    allowed = torch.zeros(biased.shape[:-1], dtype=torch.bool).scatter(-1, groups, True)
    chosen = best_of(biased.masked_fill(~allowed.unsqueeze(-1), float("-inf")).flatten(-2), c["top_k"], margins)
    gates = scores.gather(-1, chosen)
    gates = gates / gates.sum(-1, keepdim=True) * c["routed_scaling"]
    return torch.zeros_like(logits).scatter(-1, chosen, gates)


def balance_loss(probabilities, weights, top_k):
    """DeepSeek-V3 (2024), eq. 17 to 20, of each sequence; mean over the sequences, factor not included."""
    num_experts = probabilities.shape[-1]
    f = (weights.detach() > 0).to(probabilities.dtype).mean(1) * num_experts / top_k
    return (f * probabilities.mean(1)).sum(-1).mean()


def feed_forward(x, w, c, state):
    """The dense block of a layer, or its experts: those of the router and, where there is one, the shared one."""
    if "mlp_fc1" in w:
        return swiglu(x, w, "mlp_")
    logits = x @ w["router"].T
    if "router_linear_bias" in w:
        logits = logits + w["router_linear_bias"]
    if "router_bias" in w:
        weights = deepseek_router(logits, c, w["router_bias"], state["margins"])
    else:
        weights = mixtral_router(logits, c, state["margins"])
        state["loss"] += c["aux_loss_coefficient"] * balance_loss(torch.softmax(logits, -1), weights, c["top_k"])
    out = swiglu(x, w, "shared_") if "shared_fc1" in w else 0
    if "shared_gate" in w:
        out = torch.sigmoid(x @ w["shared_gate"].T) * out  # Qwen2 (2024) has it in its code only
    for expert in range(c["num_experts"]):
        prefix = f"experts.{expert}."
        y = clamped_swiglu(x, w, prefix, c) if "swiglu_limit" in c else swiglu(x, w, prefix)
        out = out + weights[..., expert : expert + 1] * y
    return out


def layer(x, w, c, state, window=0):
    attention = latent_attention if c["family"] == "deepseek_v3" else grouped_query_attention
    x = x + attention(rms_norm(x, w["attn_norm"], c["norm_eps"]), w, c, window)
    norm = w["mlp_norm"] if "mlp_norm" in w else w["moe_norm"]
    return x + feed_forward(rms_norm(x, norm, c["norm_eps"]), w, c, state)


def weights_of_layer(weights, index):
    prefix = f"layers.{index}."
    return {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}


def forward(weights, text, c):
    """text: (sequences, seq + 2) tokens. Returns the loss, {name: logits}, and the smallest margin of a choice."""
    state = {"loss": 0.0, "margins": []}
    seq, eps = c["seq"], c["norm_eps"]

    def head(x, norm, ahead, weight):
        logits = rms_norm(x, norm, eps) @ weights.get("head", weights["embedding"]).T
        labels = text[:, ahead + 1 : ahead + 1 + seq]
        state["loss"] += weight * cross_entropy(logits.flatten(0, 1), labels.flatten())
        return logits

    x = weights["embedding"][text[:, :seq]]
    for index in range(c["num_layers"]):
        x = layer(x, weights_of_layer(weights, index), c, state, c.get("windows", {}).get(str(index), 0))
    logits = {"logits": head(x, weights["final_norm"], 0, 1.0)}
    if c["num_mtp_modules"] == 1:
        # DeepSeek-V3 (2024), eq. 21 to 25, with the factor of its section 4.2; the embedding comes first in the
        # projection, as in the weights that DeepSeek published.
        w = weights_of_layer(weights, c["num_layers"])
        ahead = weights["embedding"][text[:, 1 : 1 + seq]]
        pair = [rms_norm(ahead, w["mtp_embedding_norm"], eps), rms_norm(x, w["mtp_hidden_norm"], eps)]
        x = layer(torch.cat(pair, dim=-1) @ w["mtp_projection"].T, w, c, state)
        logits["mtp_logits"] = head(x, w["mtp_final_norm"], 1, 0.3)
    return state["loss"], logits, min(state["margins"])
