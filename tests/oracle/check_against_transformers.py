# SPDX-License-Identifier: Apache-2.0
"""check_against_transformers.py FOLDER: the dumps' model against the one of Hugging Face Transformers.

Compares logits and, of the cross-entropy alone, every gradient. Transformers has no prediction modules and counts its
auxiliary loss in another way, so those two stand on the papers only. It computes norms and softmax in f32, whatever
the type of its weights.
"""
import json
import pathlib
import sys

import torch
import transformers
from safetensors import safe_open

import model

TOLERANCE = 2e-6


def hugging_face(c):
    common = {
        "hidden_size": c["hidden"], "vocab_size": c["vocab"], "num_attention_heads": c["num_heads"],
        "num_experts_per_tok": c["top_k"], "num_hidden_layers": c["num_layers"], "rms_norm_eps": c["norm_eps"],
        "rope_parameters": {"rope_type": "default", "rope_theta": c["rope_theta"]}, "tie_word_embeddings": False,
        "attn_implementation": "eager", "experts_implementation": "eager"}
    if c["family"] == "mixtral":
        return transformers.MixtralForCausalLM(transformers.MixtralConfig(
            num_key_value_heads=c["num_kv_heads"], head_dim=c["head_dim"], intermediate_size=c["expert_width"],
            num_local_experts=c["num_experts"], **common))
    # The published weights have the pairs of RoPE side by side; the dumps have them as all other families.
    latent = {"qk_nope_head_dim": c["qk_nope_dim"], "qk_rope_head_dim": c["qk_rope_dim"], "rope_interleave": False}
    return transformers.DeepseekV3ForCausalLM(transformers.DeepseekV3Config(
        num_key_value_heads=c["num_heads"], q_lora_rank=c["q_lora_rank"], kv_lora_rank=c["kv_lora_rank"],
        v_head_dim=c["v_head_dim"], intermediate_size=c["dense_width"], moe_intermediate_size=c["expert_width"],
        n_routed_experts=c["num_experts"], first_k_dense_replace=c["num_dense"], n_group=c["num_groups"],
        topk_group=c["top_k_groups"], n_shared_experts=1, routed_scaling_factor=c["routed_scaling"], **latent,
        **common))


def with_shared_width(net, c):
    """Gives the shared expert a width of its own: Transformers gives it that of a routed one."""
    for block in net.model.layers if "shared_width" in c else ():
        if hasattr(block.mlp, "shared_experts"):
            of_width = type(block.mlp.shared_experts)
            block.mlp.shared_experts = of_width(net.config, intermediate_size=c["shared_width"])
    return net.double()


NAMES = {
    "attn_out": "self_attn.o_proj", "q_down": "self_attn.q_a_proj", "q_latent_norm": "self_attn.q_a_layernorm",
    "q_up": "self_attn.q_b_proj", "kv_down": "self_attn.kv_a_proj_with_mqa",
    "kv_latent_norm": "self_attn.kv_a_layernorm", "kv_up": "self_attn.kv_b_proj", "attn_norm": "input_layernorm",
    "mlp_norm": "post_attention_layernorm", "moe_norm": "post_attention_layernorm", "router": "mlp.gate",
    "mlp_fc2": "mlp.down_proj", "shared_fc2": "mlp.shared_experts.down_proj", "embedding": "model.embed_tokens",
    "final_norm": "model.norm", "head": "lm_head"}


def places(name):
    """Names in `net` of what lies one below the other in weight `name`, with the index of an expert in it."""
    if name in NAMES:
        return [(NAMES[name] + ".weight", None)]
    _, index, rest = name.split(".", 2)
    prefix = f"model.layers.{index}."
    if rest in NAMES:
        return [(prefix + NAMES[rest] + ".weight", None)]
    if rest == "qkv":
        return [(f"{prefix}self_attn.{part}_proj.weight", None) for part in "qkv"]
    if rest == "router_bias":
        return [(prefix + "mlp.gate.e_score_correction_bias", None)]
    if rest.startswith("experts."):
        _, expert, product = rest.split(".")
        return [(f"{prefix}mlp.experts.{'gate_up' if product == 'fc1' else 'down'}_proj", int(expert))]
    block = "mlp.shared_experts" if rest == "shared_fc1" else "mlp"
    return [(f"{prefix}{block}.{part}_proj.weight", None) for part in ("gate", "up")]


def check(path):
    with safe_open(path, "pt") as file:
        c = json.loads(file.metadata()["made_with"])["config"]
        dump = {name: file.get_tensor(name).double() for name in file.keys()}
    weights = {name.removeprefix("weight."): w for name, w in dump.items() if name.startswith("weight.")}
    text = dump["text"].long().unfold(0, c["seq"] + 2, c["seq"])
    net = with_shared_width(hugging_face(c), c)
    theirs = dict(net.named_parameters()) | dict(net.named_buffers())
    ours = {name: w for name, w in weights.items()
            if "." not in name or int(name.split(".")[1]) < c["num_layers"]}  # no prediction module
    set_names = set()
    for name, w in ours.items():
        tensors = [(n, theirs[n] if i is None else theirs[n][i]) for n, i in places(name)]
        set_names |= {n for n, _ in tensors}
        rows = [t.shape[0] if t.dim() == 2 else 1 for _, t in tensors]
        for (_, tensor), part in zip(tensors, w.split(rows)):
            tensor.data.copy_(part.reshape(tensor.shape))
    missing = set(dict(net.named_parameters())) - set_names
    assert not missing, missing
    logits = net(text[:, : c["seq"]]).logits
    torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[:, 1 : 1 + c["seq"]].flatten()).backward()

    plain = c | {"aux_loss_coefficient": 0.0, "num_mtp_modules": 0}
    leaves = {name: w.requires_grad_(not name.endswith("router_bias")) for name, w in ours.items()}
    loss, _, _ = model.forward(leaves, text, plain)
    loss.backward()
    worst = {"logits": ((logits - dump["logits"]).norm() / dump["logits"].norm()).item()}
    for name, w in leaves.items():
        if w.grad is None:
            continue
        parts = [theirs[n].grad if i is None else theirs[n].grad[i] for n, i in places(name)]
        grad = torch.cat([p.reshape(-1, w.shape[1]) for p in parts])
        worst[name] = ((grad - w.grad).norm() / w.grad.norm()).item()
    name = max(worst, key=worst.get)
    print(f"{c['family']}: logits {worst['logits']:.1e}, "
          f"largest of all and {len(worst) - 1} gradients {worst[name]:.1e} ({name})")
    return worst[name] <= TOLERANCE


def main():
    folder = pathlib.Path(sys.argv[1])
    right = [check(folder / f"{name}.safetensors") for name in ("mixtral", "deepseek")]
    sys.exit(0 if all(right) else "the models differ")


main()
