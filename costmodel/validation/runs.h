// SPDX-License-Identifier: Apache-2.0
// runs/1: training runs that others measured and published, each with its full configuration (docs/formats/runs.md).
// A run says what its source says and nothing more: what is absent there is absent here, spellings included. What it
// means to Orrery is decided in run_plan.h. Predictions are scored against these runs; nothing is fitted on them here.
#pragma once

#include "base/units.h"

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace orrery {
class JsonDocument;
}

namespace orrery::costmodel {

/// An architecture as the file's table gives it. Sizes that the source does not state are absent.
struct RunModel {
  std::string type;  // "dense", "moe", "hybrid", "hybrid-moe"
  std::optional<std::int64_t> layers, dense_layers, hidden, ffn, heads, kv_heads, head_dim, vocab;
  std::optional<std::int64_t> q_lora_rank, kv_lora_rank, qk_nope_dim, qk_rope_dim, v_head_dim;
  std::optional<std::int64_t> experts, topk, moe_ffn, shared_expert_ffn, router_groups, router_group_topk;
  std::optional<std::string> attention;       // "GQA" where absent; "MLA", or words for another kind
  std::optional<std::string> activation;      // "swiglu", "geglu", "gelu", ...
  std::optional<std::string> norm;            // "layernorm"; RMSNorm where absent
  std::optional<std::string> moe_layer_freq;  // "every 2nd layer"
  bool mtp = false;                           // trains a multi-token-prediction module unless the row says otherwise
  bool tied_embeddings = false;
};

/// What was measured. Which rank and which moment a memory figure is of follows from its key.
struct MeasuredRun {
  std::optional<Seconds> step, step_deviation;
  std::optional<double> tokens_per_second_per_gpu;
  std::optional<double> published_tflops_per_gpu;  // in the convention of its source
  std::optional<Bytes> allocated_peak;             // mem_alloc_gib: by the allocator's users, fullest rank
  std::optional<Bytes> reserved_peak;              // mem_gib: by the allocator, fullest rank
  std::optional<Bytes> allocated_in_update;        // mem_alloc_gb: first pipeline rank, while the optimizer steps
  std::optional<Bytes> reserved_peak_of_first;     // mem_reserved_gb: first pipeline rank
  bool out_of_memory = false;
  std::map<std::string, double> bus_gigabytes_per_second;  // by collective, seen inside the same job
};

struct RunSource {
  std::string repo, path;
  std::optional<std::string> commit, table, config;
};

struct PublishedRun {
  std::string id, group;
  bool is_moe = false;
  std::string model;  // key of RunsFile::models, or a label if the model is inline
  std::optional<RunModel> model_inline;
  std::optional<std::string> model_label;
  std::optional<std::int64_t> layers_override;
  std::string task, gpu, software, precision;
  std::int64_t num_gpus = 1;
  std::optional<std::int64_t> gpus_per_node;
  std::optional<std::string> interconnect_intra, interconnect_inter;
  std::int64_t seq = 0, global_batch = 0, micro_batch = 0;
  std::int64_t tp = 1, pp = 1, dp = 1;
  std::optional<std::int64_t> vpp, cp, ep, etp;
  std::optional<int> zero;
  std::optional<std::int64_t> fsdp_shard;  // ranks that share one copy of the shards; 0: all
  std::vector<std::string> recompute;
  bool recompute_known = false;
  std::optional<std::string> dispatcher, schedule, pipeline_layout, tp_mode;
  std::map<std::string, bool> overlap;
  std::vector<std::string> cuda_graph;
  MeasuredRun measured;
  RunSource source;
  std::vector<std::string> flags;
};

/// A row with NaN or an infinity where a number should be, in itself or in its model, or with a measured figure that no
/// machine can have: counted, never averaged in.
struct BrokenRun {
  std::string id, group, gpu;  // as far as they are there; without an id, the place of the row
  bool is_moe = false, out_of_memory = false;
  std::vector<std::string> measured;  // keys of what was measured, whatever stands there
  std::string reason;  // "measured/step_s is NaN", "measured/step_s: expected a number from 1e-05 to 1000000, got 0"
};

struct RunsFile {
  std::string about;
  std::map<std::string, RunModel> models;
  std::vector<PublishedRun> runs;
  std::vector<BrokenRun> broken;

  /// The architecture of a run, its layers overridden. Requires: `run` is of this file.
  RunModel model_of(const PublishedRun& run) const;
};

/// Throws: ConfigError with all problems of the file: keys and types, a model that is not in the table, an id twice, no
/// run. Numbers that are not finite and measured figures that cannot be break their row alone: programs write NaN or
/// zero where a measurement failed.
RunsFile read_runs(const std::filesystem::path& path);
/// The same of a file that was parsed to see what it is.
RunsFile read_runs(const JsonDocument& document);
RunsFile read_runs_text(const std::string& text, const std::string& file);

}  // namespace orrery::costmodel
