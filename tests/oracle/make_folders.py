# SPDX-License-Identifier: Apache-2.0
"""make_folders.py FOLDER [FAMILY...]: writes a small Hugging Face checkpoint of each family, and the logits that it
stands for.

Names, shapes and files are those of save_pretrained of Hugging Face Transformers; weights are bf16, and Transformers
computes from them in f64, norms and softmax in f32. See docs/design/oracle.md.
"""
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

SEQ, COUNT, VOCAB = 16, 8, 64
COMMON = {
    "hidden_size": 32, "vocab_size": VOCAB, "num_attention_heads": 4, "num_hidden_layers": 2,
    "max_position_embeddings": 64, "bos_token_id": None, "eos_token_id": None, "pad_token_id": None,
    "tie_word_embeddings": False, "attn_implementation": "eager"}
EXPERTS = {"num_experts_per_tok": 2, "experts_implementation": "eager"}
GROUPED = {"num_key_value_heads": 2, "head_dim": 8}
LATENT = {
    "num_key_value_heads": 4, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 4, "v_head_dim": 8,
    "intermediate_size": 48, "moe_intermediate_size": 24, "n_routed_experts": 4, "first_k_dense_replace": 1,
    "n_shared_experts": 1}
FAMILIES = {
    "llama": ("Llama", COMMON | GROUPED | {"intermediate_size": 48, "tie_word_embeddings": True, "mlp_bias": True}, 1),
    "mixtral": ("Mixtral", COMMON | EXPERTS | GROUPED | {"intermediate_size": 24, "num_local_experts": 4}, 2),
    "qwen2_moe": ("Qwen2Moe", COMMON | EXPERTS | {
        "num_key_value_heads": 2, "intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4,
        "shared_expert_intermediate_size": 16, "mlp_only_layers": [0]}, 3),
    "qwen3_moe": ("Qwen3Moe", COMMON | EXPERTS | GROUPED | {
        "intermediate_size": 48, "moe_intermediate_size": 24, "num_experts": 4, "norm_topk_prob": True}, 4),
    "deepseek_v2": ("DeepseekV2", COMMON | EXPERTS | LATENT | {"q_lora_rank": None}, 5),
    "deepseek_v3": ("DeepseekV3", COMMON | EXPERTS | LATENT | {
        "q_lora_rank": 24, "n_group": 2, "topk_group": 1, "num_nextn_predict_layers": 0}, 6),
    "glm4_moe": ("Glm4Moe", COMMON | EXPERTS | GROUPED | {
        "intermediate_size": 48, "moe_intermediate_size": 24, "n_routed_experts": 4, "first_k_dense_replace": 1,
        "n_group": 1, "topk_group": 1, "use_qk_norm": True, "attention_bias": True, "num_nextn_predict_layers": 0,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4, "partial_rotary_factor": 0.5}}, 7),
    "gpt_oss": ("GptOss", COMMON | EXPERTS | GROUPED | {
        "intermediate_size": 24, "num_local_experts": 4, "sliding_window": 6, "swiglu_limit": 0.5,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1.5e5}}, 8),
    "mistral": ("Mistral", COMMON | GROUPED | {"intermediate_size": 48, "sliding_window": 5}, 9),
    "qwen2": ("Qwen2", COMMON | {
        "num_key_value_heads": 2, "intermediate_size": 48, "use_sliding_window": True, "sliding_window": 6,
        "max_window_layers": 1}, 10),
    "qwen3": ("Qwen3", COMMON | GROUPED | {"intermediate_size": 48, "tie_word_embeddings": True}, 11),
    "olmoe": ("Olmoe", COMMON | EXPERTS | {
        "num_key_value_heads": 2, "intermediate_size": 24, "num_experts": 4, "norm_topk_prob": False}, 12)}


def set_weights(net, generator):
    """Norms about 1 and biases about 0, but nowhere just that."""
    for name, tensor in list(net.named_parameters()) + list(net.named_buffers()):
        if name.endswith("inv_freq"):
            continue
        start = 1.0 if "norm" in name else 0.0
        tensor.data = (start + 0.2 * torch.randn(tensor.shape, generator=generator)).bfloat16()


def logits_of(kind, path, tokens, dtype):
    net = kind.from_pretrained(path, dtype=dtype, attn_implementation="eager", experts_implementation="eager")
    return net(tokens).logits.double()


def make(folder, name, architecture, config, seed):
    generator = torch.Generator().manual_seed(seed)
    config = getattr(transformers, f"{architecture}Config")(**config)
    kind = getattr(transformers, f"{architecture}ForCausalLM")
    net = kind(config)
    set_weights(net, generator)
    net.bfloat16().save_pretrained(folder / name, max_shard_size="40KB" if name == "mixtral" else "5GB")
    (folder / name / "generation_config.json").unlink()
    text = torch.randint(VOCAB, (SEQ * COUNT + 1,), generator=generator)
    tokens = text[:-1].reshape(COUNT, SEQ)
    with torch.no_grad():
        logits, rounded = (logits_of(kind, folder / name, tokens, dtype) for dtype in (torch.float64, torch.float32))
    difference = ((logits - rounded).norm() / logits.norm()).item()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), text[1:]).item()
    print(f"{name}: loss {loss:.9f}, f32 differs by {difference:.1e}")
    if difference > 5e-6:
        sys.exit(f"{name}: a choice of experts is nearly a tie, f32 chooses otherwise; take another seed")
    save_file({"text": text.float(), "logits": logits.float(), "loss": torch.tensor([loss])},
              folder / f"{name}.logits.safetensors",
              {"made_with": f"torch {torch.__version__}, transformers {transformers.__version__}"})


def main():
    folder, wanted = pathlib.Path(sys.argv[1]), sys.argv[2:] or FAMILIES
    for name in wanted:
        architecture, config, seed = FAMILIES[name]
        make(folder, name, architecture, config, seed)


main()
