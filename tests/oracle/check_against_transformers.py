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
    grouped = {"num_key_value_heads": c.get("num_kv_heads"), "head_dim": c.get("head_dim"), "attention_bias": True}
    if c["family"] == "gpt_oss":
        spans = ["sliding_attention" if str(i) in c["windows"] else "full_attention" for i in range(c["num_layers"])]
        return transformers.GptOssForCausalLM(transformers.GptOssConfig(
            intermediate_size=c["expert_width"], num_local_experts=c["num_experts"], sliding_window=c["windows"]["0"],
            layer_types=spans, swiglu_limit=c["swiglu_limit"], swiglu_alpha=c["swiglu_alpha"], **grouped, **common))
    if c["family"] == "glm4_moe":
        common["rope_parameters"]["partial_rotary_factor"] = c["rotary_dim"] / c["head_dim"]
        return transformers.Glm4MoeForCausalLM(transformers.Glm4MoeConfig(
            use_qk_norm=True, intermediate_size=c["dense_width"], moe_intermediate_size=c["expert_width"],
            n_routed_experts=c["num_experts"], first_k_dense_replace=c["num_dense"], n_group=c["num_groups"],
            topk_group=c["top_k_groups"], n_shared_experts=1, routed_scaling_factor=c["routed_scaling"], **grouped,
            **common))
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
    "q_up": "self_attn.q_b_proj", "kv_down": "self_attn.kv_a_proj_with_mqa", "q_norm": "self_attn.q_norm",
    "k_norm": "self_attn.k_norm", "kv_latent_norm": "self_attn.kv_a_layernorm", "kv_up": "self_attn.kv_b_proj",
    "attn_norm": "input_layernorm", "mlp_norm": "post_attention_layernorm", "moe_norm": "post_attention_layernorm",
    "router": "mlp.gate", "mlp_fc2": "mlp.down_proj", "shared_fc2": "mlp.shared_experts.down_proj",
    "embedding": "model.embed_tokens", "final_norm": "model.norm", "head": "lm_head"}
# GPT-OSS has names of its own; its experts' matrices are transposed, gate and up side by side.
GPT_OSS = {"router": "mlp.router.weight", "router_linear_bias": "mlp.router.bias", "sinks": "self_attn.sinks",
           "attn_out_bias": "self_attn.o_proj.bias"}


def gpt_oss_expert(prefix, expert, product):
    name = prefix + "mlp.experts." + product.replace("fc1", "gate_up_proj").replace("fc2", "down_proj")
    if product.startswith("fc2"):
        return [(name, lambda t: t[expert].t())]
    return [(name, lambda t: t[expert].t()[::2]), (name, lambda t: t[expert].t()[1::2])]


def places(name, family):
    """Where in `net` is what lies one below the other in weight `name`: names, and the part of a tensor."""
    if name in NAMES:
        return [(NAMES[name] + ".weight", whole)]
    _, index, rest = name.split(".", 2)
    prefix = f"model.layers.{index}."
    if family == "gpt_oss" and rest in GPT_OSS:
        return [(prefix + GPT_OSS[rest], whole)]
    if rest in NAMES:
        return [(prefix + NAMES[rest] + ".weight", whole)]
    if rest in ("qkv", "qkv_bias"):
        return [(f"{prefix}self_attn.{part}_proj.{'bias' if rest == 'qkv_bias' else 'weight'}", whole) for part in "qkv"]
    if rest == "router_bias":
        return [(prefix + "mlp.gate.e_score_correction_bias", whole)]
    if rest.startswith("experts."):
        _, expert, product = rest.split(".")
        if family == "gpt_oss":
            return gpt_oss_expert(prefix, int(expert), product)
        matrix = f"{prefix}mlp.experts.{'gate_up' if product == 'fc1' else 'down'}_proj"
        return [(matrix, lambda t: t[int(expert)])]
    block = "mlp.shared_experts" if rest == "shared_fc1" else "mlp"
    return [(f"{prefix}{block}.{part}_proj.weight", whole) for part in ("gate", "up")]


def whole(tensor):
    return tensor


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
        parts = [(n, part_of(theirs[n].data)) for n, part_of in places(name, c["family"])]
        set_names |= {n for n, _ in parts}
        # A bias is a row here and a vector there.
        values = w.flatten() if w.shape[0] == 1 else w
        for (_, part), value in zip(parts, values.split([part.shape[0] for _, part in parts])):
            part.copy_(value)
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
        parts = [part_of(theirs[n].grad) for n, part_of in places(name, c["family"])]
        grad = torch.cat(parts).reshape(w.shape)
        worst[name] = ((grad - w.grad).norm() / w.grad.norm()).item()
    name = max(worst, key=worst.get)
    print(f"{c['family']}: logits {worst['logits']:.1e}, "
          f"largest of all and {len(worst) - 1} gradients {worst[name]:.1e} ({name})")
    return worst[name] <= TOLERANCE


def main():
    folder = pathlib.Path(sys.argv[1])
    right = [check(folder / f"{name}.safetensors") for name in ("mixtral", "deepseek", "gpt_oss", "glm4_moe")]
    sys.exit(0 if all(right) else "the models differ")


main()
