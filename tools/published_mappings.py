# SPDX-License-Identifier: Apache-2.0
"""Mappings that somebody published with a run or a recipe, and what the trainer behind each can do.

The degrees are facts of those sources: the report on DeepSeek-V3 (arXiv 2412.19437); the benchmark of xtuner
(InternLM/xtuner, docs/en/benchmark); Megatron-Bridge's docs/performance-summary.md and, where that names no layout or
recomputation, its scripts/performance/configs/*/*_workload_base_configs.py (NVIDIA-NeMo/Megatron-Bridge@04264182 and
@01b2977e); SimuMax's docs/b200; Primus' examples/moe_package (AMD-AGI/Primus).
"""

# What Megatron-Core and the trainers above it run: 1F1B, interleaved or not, the distributed optimizer (ZeRO 1).
MEGATRON = ["schedule=1f1b,interleaved", "zero_dense<=1", "zero_expert<=1", "dispatcher=all_to_all", "overlap.tp=0",
            "offload_optimizer=0", "offload_activations=0"]
# Without the exchange of experts beside another micro-batch, which came to Megatron-Core after those runs.
EARLIER_MEGATRON = MEGATRON + ["overlap.ep_batch_level=0", "overlap.delayed_wgrad=0"]
# The same with the flex dispatcher (DeepEP, HybridEP), which sends a token once to each rank and domain.
MEGATRON_FLEX = [c for c in MEGATRON if not c.startswith("dispatcher")] + ["dispatcher=all_to_all,two_level"]
# HAI-LLM as the DeepSeek-V3 report describes it: DualPipe, ZeRO 1, two-level dispatch to experts.
HAI_LLM = ["schedule=dualpipe", "zero_dense<=1", "zero_expert<=1", "dispatcher=two_level", "overlap.tp=0", "cp=1", "etp=1",
           "offload_optimizer=0", "offload_activations=0"]

# How servers of a device are built, as costmodel/validation/run_cluster.cpp takes them: devices of a node, nodes of a
# scale-up domain (16 of the 18 of a rack, which is what jobs of a power of two take), NICs of a node and their rate.
SERVERS = {"h100": (8, 1, 8, "400 Gbps"), "b200": (8, 1, 8, "400 Gbps"), "b300": (8, 1, 8, "800 Gbps"),
           "gb200": (4, 16, 4, "400 Gbps"), "gb300": (4, 16, 4, "800 Gbps"), "mi355x": (8, 1, 8, "400 Gbps")}


def qwen235(pp, ep, tp, vpp, recompute, **more):
    return {"model": "qwen3-235b-a22b", "cluster": "h800-2048", "nodes": 32, "sequence": 4096, "global_batch": 2048,
            "space": EARLIER_MEGATRON, "base": {},
            "mapping": {"tp": tp, "sp": tp > 1, "pp": pp, "vpp": vpp, "ep": ep, "micro_batch": 1, "recompute": recompute,
                        "schedule": "interleaved" if vpp > 1 else "1f1b", **more}}


BF16_GRADIENTS = {"grad_dtype": "bf16", "grad_wire_dtype": "bf16"}
MXFP8 = {"precision": "fp8", "fp8_recipe": "mxfp8"}
DEEPSEEK = {"moment_dtype": "bf16", "mtp": "on"}
SIXTEEN, THIRTY_TWO = "Et*4|(t*4|)*14tmL", "Et|(tt|)*30mL"  # stages of DeepSeek-V3 in Bridge


def ends(pp, vpp=1):
    """Stages of Qwen3-235B's 94 layers where embedding and head count as one each."""
    each = 96 // (pp * vpp)
    return f"Et*{each - 1}|(t*{each}|)*{pp * vpp - 2}t*{each - 1}L".replace("t*1|", "t|").replace("t*1L", "tL")


def bridge(model, device, gpus, batch, pp=1, vpp=1, ep=1, tp=1, micro_batch=1, recompute=(), base=None, flex=True,
           pairs=False, **more):
    mapping = {"tp": tp, "sp": tp > 1, "pp": pp, "vpp": vpp, "ep": ep, "micro_batch": micro_batch,
               "schedule": "interleaved" if vpp > 1 else "1f1b", "recompute": list(recompute),
               "dispatcher": "two_level" if flex and ep > 1 else "all_to_all",
               "overlap": {"dp_buckets": True, "ep_batch_level": pairs, "delayed_wgrad": pairs}, **more}
    return {"model": model, "server": device, "nodes": gpus // SERVERS[device][0], "sequence": 4096,
            "global_batch": batch, "space": MEGATRON_FLEX if flex else MEGATRON, "base": BF16_GRADIENTS | (base or {}),
            "mapping": mapping}


MAPPINGS = {
    "deepseek-v3": {
        "model": "deepseek-v3", "cluster": "h800-2048", "nodes": 0, "sequence": 4096, "global_batch": 15360,
        "calibration": "tables/h800", "space": HAI_LLM,
        "base": {"precision": "fp8", "fp8_activation_input": True, "mtp": "on", "moment_dtype": "bf16"},
        "mapping": {"pp": 16, "ep": 64, "micro_batch": 1, "schedule": "dualpipe", "dispatcher": "two_level",
                    "recompute": ["layernorm", "mla_up_proj", "moe_act"], "overlap": {"shared_expert": True}}},
    "pai qwen3-235b tp2 pp32 ep8": qwen235(32, 8, 2, 3, ["layernorm", "moe_act"]),
    "pai qwen3-235b tp1 pp32 ep8": qwen235(32, 8, 1, 3, ["layernorm", "moe"]),
    "pai qwen3-235b tp2 pp8 ep8": qwen235(8, 8, 2, 1, ["layernorm", "moe_act"]),
    "pai qwen3-235b tp4 pp8 ep8": qwen235(8, 8, 4, 4, []),
    "pai qwen3-235b tp2 pp8 ep32": qwen235(8, 32, 2, 4, ["layernorm", "moe_act"]),
    "bridge qwen3-30b ep16": {
        "model": "qwen3-30b-a3b", "cluster": "h100-64", "nodes": 2, "sequence": 4096, "global_batch": 1024,
        "space": MEGATRON_FLEX, "base": {"precision": "fp8"},
        "mapping": {"ep": 16, "micro_batch": 1, "schedule": "1f1b", "dispatcher": "two_level",
                    "overlap": {"dp_buckets": True}}},
    "bridge qwen3-30b pp2 ep8": {
        "model": "qwen3-30b-a3b", "cluster": "h100-64", "nodes": 2, "sequence": 4096, "global_batch": 1024,
        "space": MEGATRON, "base": {"precision": "fp8"},
        "mapping": {"pp": 2, "vpp": 12, "ep": 8, "micro_batch": 1, "schedule": "interleaved",
                    "overlap": {"dp_buckets": True}}},
    "bridge gpt-oss-120b": {
        "model": "gpt-oss-120b", "cluster": "h100-64", "nodes": 8, "sequence": 4096, "global_batch": 1280,
        "space": MEGATRON, "base": {},
        "mapping": {"pp": 4, "ep": 8, "micro_batch": 1, "schedule": "1f1b", "recompute": ["layernorm", "moe_act"],
                    "overlap": {"dp_buckets": True}}},
}

# The set above is the one of tools/fidelity_table.py; what follows is timed and searched, not simulated.
MORE = {
    "pai qwen3-235b tp2 pp8 ep32, DeepEP": qwen235(8, 32, 2, 4, ["layernorm", "moe_act"], dispatcher="two_level")
    | {"space": MEGATRON_FLEX + ["overlap.ep_batch_level=0", "overlap.delayed_wgrad=0"]},
    "bridge deepseek-v3 h100 bf16": bridge("deepseek-v3", "h100", 1024, 16384, 8, 4, 64, 2, 1, ["mla_up_proj", "mlp"],
                                           DEEPSEEK, stages=THIRTY_TWO),
    "bridge deepseek-v3 h100 fp8": bridge("deepseek-v3", "h100", 1024, 16384, 8, 4, 64, 2, 1, ["mla_up_proj", "mlp"],
                                          DEEPSEEK | {"precision": "fp8", "fp8_recipe": "tensorwise"},
                                          stages=THIRTY_TWO),
    "bridge deepseek-v3 b200 mxfp8": bridge("deepseek-v3", "b200", 256, 4096, 8, 2, 32, 1, 1, ["mla_up_proj", "mlp"],
                                            DEEPSEEK | MXFP8, pairs=True, stages=SIXTEEN),
    "bridge deepseek-v3 b200 pp16": bridge("deepseek-v3", "b200", 256, 2048, 16, 1, 8, 1, 1, ["mla_up_proj"],
                                           DEEPSEEK | MXFP8, stages=SIXTEEN),
    "bridge deepseek-v3 b300 bf16": bridge("deepseek-v3", "b300", 256, 4096, 8, 2, 8, 1, 1, ["mla_up_proj"], DEEPSEEK,
                                           stages=SIXTEEN),
    "bridge deepseek-v3 b300 mxfp8": bridge("deepseek-v3", "b300", 256, 4096, 8, 2, 8, 1, 1, ["mla_up_proj"],
                                            DEEPSEEK | MXFP8, pairs=True, stages=SIXTEEN),
    "bridge deepseek-v3 gb200 bf16": bridge("deepseek-v3", "gb200", 256, 4096, 4, 4, 64, 1, 1, ["mla_up_proj"],
                                            DEEPSEEK, stages=SIXTEEN),
    "bridge deepseek-v3 gb200 mxfp8": bridge("deepseek-v3", "gb200", 256, 4096, 4, 4, 64, 1, 1, ["mla_up_proj"],
                                             DEEPSEEK | MXFP8, pairs=True, stages=SIXTEEN),
    "bridge deepseek-v3 gb300 bf16": bridge("deepseek-v3", "gb300", 256, 4096, 4, 4, 64, 1, 1, ["moe_act"], DEEPSEEK,
                                            stages=SIXTEEN),
    "bridge deepseek-v3 gb300 mxfp8": bridge("deepseek-v3", "gb300", 256, 4096, 2, 8, 32, 1, 1, [], DEEPSEEK | MXFP8,
                                             pairs=True, stages=SIXTEEN),
    "bridge qwen3-235b h100 bf16": bridge("qwen3-235b-a22b", "h100", 256, 8192, 8, 4, 32, 2, 1, [], flex=False,
                                          pairs=True, stages=ends(8, 4)),
    "bridge qwen3-235b b200 bf16": bridge("qwen3-235b-a22b", "b200", 64, 1024, 8, 4, 8, flex=False, stages=ends(8, 4)),
    "bridge qwen3-235b b300 bf16": bridge("qwen3-235b-a22b", "b300", 256, 8192, 8, 1, 8, flex=False, stages=ends(8)),
    "bridge qwen3-235b gb200 bf16": bridge("qwen3-235b-a22b", "gb200", 256, 8192, 8, 1, 8, stages=ends(8)),
    "bridge qwen3-235b gb200 mxfp8": bridge("qwen3-235b-a22b", "gb200", 256, 8192, 8, 3, 32, base=MXFP8,
                                            stages=ends(8, 3)),
    "bridge qwen3-235b gb300 bf16": bridge("qwen3-235b-a22b", "gb300", 256, 8192, 4, 1, 32, 1, 2, stages=ends(4)),
    "bridge qwen3-235b gb300 mxfp8": bridge("qwen3-235b-a22b", "gb300", 256, 8192, 4, 12, 32, 1, 2, base=MXFP8,
                                            stages=ends(4, 12)),
    "bridge qwen3-30b b200 mxfp8": bridge("qwen3-30b-a3b", "b200", 8, 512, 1, 1, 8, 1, 4, base=MXFP8),
    "bridge qwen3-30b b300 mxfp8": bridge("qwen3-30b-a3b", "b300", 8, 512, 1, 1, 8, 1, 8, base=MXFP8),
    "bridge qwen3-30b gb200 mxfp8": bridge("qwen3-30b-a3b", "gb200", 8, 512, 1, 1, 8, 1, 4, base=MXFP8, pairs=True),
    "bridge qwen3-30b gb300 mxfp8": bridge("qwen3-30b-a3b", "gb300", 8, 512, 1, 1, 8, 1, 8, base=MXFP8, pairs=True),
    "bridge gpt-oss-120b b200 bf16": bridge("gpt-oss-120b", "b200", 64, 1280, 1, 1, 8, 1, 4, ["layernorm", "moe_act"]),
    "bridge gpt-oss-120b b300 bf16": bridge("gpt-oss-120b", "b300", 64, 1280, 1, 1, 8, 1, 4),
    "bridge gpt-oss-120b b300 mxfp8": bridge("gpt-oss-120b", "b300", 64, 1280, 1, 1, 8, 1, 4, base=MXFP8),
    "bridge gpt-oss-120b gb200 bf16": bridge("gpt-oss-120b", "gb200", 64, 1280, 1, 1, 64, 1, 4,
                                             ["layernorm", "moe_act"], pairs=False),
    "bridge gpt-oss-120b gb200 mxfp8": bridge("gpt-oss-120b", "gb200", 64, 1280, 1, 1, 64, 1, 4, base=MXFP8, pairs=True),
    "bridge gpt-oss-120b gb300 bf16": bridge("gpt-oss-120b", "gb300", 64, 1280, 1, 1, 64, 1, 4),
    "bridge gpt-oss-120b gb300 mxfp8": bridge("gpt-oss-120b", "gb300", 64, 1280, 1, 1, 16, 1, 4, base=MXFP8, pairs=True),
    "primus deepseek-v2-lite mi355x": bridge("deepseek-v2-lite", "mi355x", 8, 896, 1, 1, 8, 1, 14, flex=False,
                                             base={"grad_dtype": "f32", "grad_wire_dtype": "f32"}),
    "simumax deepseek-v2 of 4 layers b200": bridge("deepseek-v2", "b200", 8, 256, 1, 1, 8, 1, 1, flex=False,
                                                   base={"grad_dtype": "f32", "grad_wire_dtype": "f32"})
    | {"layers": 4},
}
