# SPDX-License-Identifier: Apache-2.0
"""make_dumps.py FOLDER: writes the oracle of oracle_test.cpp, a file for each model.

A dump holds a text, weights, and what PyTorch makes of them: logits, loss, the gradient of every weight. Weights are
f32; everything is computed from them in f64 and rounded once, when it is written. See docs/design/oracle.md.
"""
import json
import pathlib
import sys

import torch
from safetensors.torch import save_file

import model

BATCH = {"seq": 16, "global_batch": 8}
COMMON = BATCH | {"hidden": 32, "vocab": 64, "num_heads": 4, "num_experts": 8, "top_k": 2, "expert_width": 24}
MIXTRAL = COMMON | {
    "family": "mixtral", "num_layers": 2, "num_dense": 0, "num_mtp_modules": 0, "num_kv_heads": 2, "head_dim": 8,
    "aux_loss_coefficient": 0.01, "norm_eps": 1e-5, "rope_theta": 1e6, "seed": 12}
DEEPSEEK = COMMON | {
    "family": "deepseek_v3", "num_layers": 3, "num_dense": 1, "num_mtp_modules": 1, "dense_width": 48,
    "q_lora_rank": 24, "kv_lora_rank": 16, "qk_nope_dim": 8, "qk_rope_dim": 4, "v_head_dim": 8, "shared_width": 16,
    "num_groups": 4, "top_k_groups": 2, "routed_scaling": 1.5, "norm_eps": 1e-6, "rope_theta": 1e4, "seed": 4}
VARIED = MIXTRAL | {
    "family": "varied", "num_dense": 1, "dense_width": 48, "shared_width": 16, "windows": {"0": 6},
    "aux_loss_coefficient": 0.0, "seed": 5}
GPT_OSS = MIXTRAL | {
    "family": "gpt_oss", "num_experts": 4, "windows": {"0": 6}, "aux_loss_coefficient": 0.0, "rope_theta": 1.5e5,
    "swiglu_limit": 0.5, "swiglu_alpha": 1.702, "seed": 6}
GLM = MIXTRAL | {
    "family": "glm4_moe", "num_experts": 4, "num_dense": 1, "dense_width": 48, "shared_width": 16, "num_groups": 1,
    "top_k_groups": 1, "routed_scaling": 1.5, "rotary_dim": 4, "aux_loss_coefficient": 0.0, "seed": 7}


def with_biases(shapes):
    return shapes | {f"{name}_bias": (1, shape[0]) for name, shape in shapes.items()}


def shapes_of_attention(c):
    h, n = c["hidden"], c["num_heads"]
    if c["family"] != "deepseek_v3":
        width, d = n * c["head_dim"], c["head_dim"]
        shapes = {"qkv": (width + 2 * c["num_kv_heads"] * d, h), "attn_out": (h, width)}
        norms, sinks = {"q_norm": (1, d), "k_norm": (1, d)}, {"sinks": (1, n)}
        if c["family"] == "glm4_moe":
            return shapes | {"qkv_bias": (1, shapes["qkv"][0])} | norms
        if c["family"] == "gpt_oss":
            return with_biases(shapes) | sinks
        return shapes if c["family"] == "mixtral" else with_biases(shapes) | norms | sinks
    return {"q_down": (c["q_lora_rank"], h), "q_latent_norm": (1, c["q_lora_rank"]),
            "q_up": (n * (c["qk_nope_dim"] + c["qk_rope_dim"]), c["q_lora_rank"]),
            "kv_down": (c["kv_lora_rank"] + c["qk_rope_dim"], h), "kv_latent_norm": (1, c["kv_lora_rank"]),
            "kv_up": (n * (c["qk_nope_dim"] + c["v_head_dim"]), c["kv_lora_rank"]),
            "attn_out": (h, n * c["v_head_dim"])}


def shapes_of_layer(c, index):
    h, f = c["hidden"], c["expert_width"]
    shapes = {"attn_norm": (1, h)} | shapes_of_attention(c)
    biased = with_biases if c["family"] in ("varied", "gpt_oss") else dict
    if index < c["num_dense"]:
        f = c["dense_width"]
        return shapes | {"mlp_norm": (1, h)} | biased({"mlp_fc1": (2 * f, h), "mlp_fc2": (h, f)})
    shapes |= {"moe_norm": (1, h), "router": (c["num_experts"], h)}
    for expert in range(c["num_experts"]):
        shapes |= biased({f"experts.{expert}.fc1": (2 * f, h), f"experts.{expert}.fc2": (h, f)})
    if c["family"] in ("deepseek_v3", "glm4_moe"):
        shapes["router_bias"] = (1, c["num_experts"])
    if c["family"] in ("varied", "gpt_oss"):
        shapes["router_linear_bias"] = (1, c["num_experts"])
    if c["family"] == "varied":
        shapes["shared_gate"] = (1, h)
    if "shared_width" in c:
        shapes |= {"shared_fc1": (2 * c["shared_width"], h), "shared_fc2": (h, c["shared_width"])}
    if index >= c["num_layers"]:
        shapes |= {"mtp_embedding_norm": (1, h), "mtp_hidden_norm": (1, h), "mtp_projection": (h, 2 * h),
                   "mtp_final_norm": (1, h)}
    return shapes


def shapes_of(c):
    shapes = {name: (c["vocab"], c["hidden"]) for name in ("embedding", "head")} | {"final_norm": (1, c["hidden"])}
    if c["family"] == "varied":
        del shapes["head"]  # tied
    for index in range(c["num_layers"] + c["num_mtp_modules"]):
        shapes |= {f"layers.{index}.{name}": shape for name, shape in shapes_of_layer(c, index).items()}
    return shapes


def first_weights(c, generator):
    """Norms about 1 and biases about 0, but nowhere just that; matrices large enough that every layer matters."""
    weights = {}
    for name, shape in shapes_of(c).items():
        noise = torch.randn(shape, generator=generator, dtype=torch.float64)
        start, deviation = (1.0, 0.2) if name.endswith("norm") else (0.0, 0.2)
        weights[name] = (start + deviation * noise).float()
    return weights


def dump(c):
    generator = torch.Generator().manual_seed(c["seed"])
    stored = first_weights(c, generator)
    seq, count = c["seq"], c["global_batch"]
    text = torch.randint(c["vocab"], (seq * count + 2,), generator=generator)
    weights = {name: w.double().requires_grad_(not name.endswith(".router_bias")) for name, w in stored.items()}
    loss, logits, margin = model.forward(weights, text.unfold(0, seq + 2, seq), c)
    loss.backward()
    print(f"{c['family']}: loss {loss.item():.9f}, smallest margin of a choice {margin:.1e}")
    if margin < 1e-4:
        sys.exit(f"{c['family']}: a choice of experts is nearly a tie, f32 may choose otherwise; take another seed")
    tensors = {f"weight.{name}": w for name, w in stored.items()}
    tensors |= {f"gradient.{name}": w.grad for name, w in weights.items() if w.requires_grad}
    tensors |= logits | {"text": text, "loss": loss.reshape(1)}
    tensors = {name: t.detach().float().contiguous() for name, t in tensors.items()}
    # One entry: safetensors writes several in any order.
    return tensors, {"made_with": json.dumps({"torch": torch.__version__, "config": c})}


def main():
    folder = pathlib.Path(sys.argv[1])
    dumps = {"mixtral": MIXTRAL, "deepseek": DEEPSEEK, "varied": VARIED, "gpt_oss": GPT_OSS, "glm4_moe": GLM}
    for name, c in dumps.items():
        tensors, metadata = dump(c)
        save_file(tensors, folder / f"{name}.safetensors", metadata)


main()
