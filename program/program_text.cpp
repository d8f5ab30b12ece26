// SPDX-License-Identifier: Apache-2.0
#include "program/program_text.h"

#include <array>
#include <iterator>
#include <string_view>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::array<std::string_view, kNumQueues> kQueueNames = {
    "compute",
    "copy",
    "tp",
    "cp",
    "ep",
    "etp",
    "dp",
    "edp",
    "embedding",
    "world",
    "send_next",
    "recv_prev",
    "send_prev",
    "recv_next",
    "send_prev_act",
    "recv_next_act",
    "send_next_grad",
    "recv_prev_grad",
};

std::string_view name_of(Group group) {
  constexpr std::array<std::string_view, 16> kNames = {
      "self", "tp",        "cp",          "dp",        "dp_shard", "dp_replica", "ep",      "etp",
      "edp",  "edp_shard", "edp_replica", "embedding", "stage",    "world",      "pp_next", "pp_prev"};
  return kNames.at(static_cast<std::size_t>(group));
}

std::string text_of(const Rows& rows) {
  switch (rows.kind) {
    case Rows::Kind::fixed:
      return fmt::format("{}", rows.count);
    case Rows::Kind::routed:
      return fmt::format("routed({})", rows.count);
    case Rows::Kind::received:
      return fmt::format("received({})", rows.count);
    case Rows::Kind::gathered:
      return fmt::format("gathered({})", rows.count);
    case Rows::Kind::distinct:
      return fmt::format("distinct({})", rows.count);
  }
  return "?";
}

/// What comes to a number of bytes: " and gathered(64) rows of 128 B".
std::string text_of(const Rows& rows, std::int64_t row_bytes) {
  return row_bytes == 0 ? "" : fmt::format(" and {} rows of {} B", text_of(rows), row_bytes);
}

struct TextOfShape {
  std::string operator()(const GemmShape& s) const {
    return fmt::format("gemm {}x{}x{} {}", s.m, s.n, s.k, orrery::name_of(s.dtype));
  }
  std::string operator()(const GroupedGemmShape& s) const {
    return fmt::format("grouped {} experts {}x{}x{} {}{}", s.num_experts, text_of(s.rows), s.n, s.k,
                       orrery::name_of(s.dtype), s.bias ? " with biases" : "");
  }
  std::string operator()(const AttentionShape& s) const {
    const std::string keys = s.kv_seq == s.seq ? "" : fmt::format(" keys {}", s.kv_seq);
    const std::string window = s.window == 0 ? "" : fmt::format(" {} {}", s.chunked ? "chunk" : "window", s.window);
    return fmt::format("attention {}x{}{} heads {}/{} dims {}/{}{} {}", s.batch, s.seq, keys, s.heads, s.kv_heads,
                       s.d_qk, s.d_v, window, orrery::name_of(s.dtype));
  }
  std::string operator()(const MemoryShape& s) const {
    return fmt::format("memory {} rows, {} B in, {} B out{}", text_of(s.rows), s.read_per_row, s.written_per_row,
                       s.clamped_per_row == 0 ? "" : ", clamped");
  }
  std::string operator()(const CollectiveShape& s) const {
    return fmt::format("{} over {} of {} B{}", orrery::name_of(s.kind), name_of(s.group), s.bytes,
                       text_of(s.rows, s.row_bytes));
  }
  std::string operator()(const ExchangeShape& s) const {
    return fmt::format("exchange {} experts over {}, {} rows of {} B, {} B of counts{}", s.to_experts ? "to" : "from",
                       name_of(s.group), text_of(s.rows), s.row_bytes, s.count_bytes,
                       s.two_level ? ", two-level" : "") +
           (s.num_groups > 1 ? fmt::format(", in {} of {} groups", s.top_k_groups, s.num_groups) : "");
  }
  std::string operator()(const PeerShape& s) const {
    return fmt::format("{} {} of {} B", s.send ? "send to" : "receive from", name_of(s.peer), s.bytes);
  }
  std::string operator()(const CopyShape& s) const {
    return fmt::format("copy {} host of {} B{}", s.to_host ? "to" : "from", s.bytes, text_of(s.rows, s.row_bytes));
  }
};

std::string text_of(const TensorUse& use, const RankClass& c) {
  const Tensor& tensor = c.tensors[use.tensor()];
  constexpr std::array<std::string_view, 3> kMarks = {"", "+", "~"};  // read, create, modify
  return fmt::format("{}{}.{}.{}{}", kMarks.at(static_cast<std::size_t>(use.access())), name_of(tensor.role),
                     tensor.layer, tensor.micro_batch, use.releases() ? "-" : "");
}

}  // namespace

std::string to_text(const OpShape& shape) { return std::visit(TextOfShape{}, shape); }

std::string to_text(const StepProgram& program) {
  fmt::memory_buffer out;
  auto to = std::back_inserter(out);
  fmt::format_to(to, "program of {} on {} ranks, {} micro-batches, {} ops a replica\n", program.model.name,
                 program.mesh.world(), program.num_micro_batches, program.num_ops());
  fmt::format_to(to, "tensors: role.layer.micro-batch; + created, ~ modified, - released\n");
  for (const RankClass& c : program.classes) {
    fmt::format_to(to, "\npipeline rank {}: {} ops\n", c.pipeline_rank, c.ops.size());
    for (OpIndex i = 0; i < c.ops.size(); ++i) {
      const Op& op = c.ops[i];
      fmt::format_to(to, "{:4} {} {} [{}]", i, kQueueNames.at(static_cast<std::size_t>(op.queue)), to_string(op.key),
                     to_text(program.shapes[op.shape]));
      for (const OpIndex dep : c.deps_of(i)) fmt::format_to(to, " after {}", dep);
      for (const TensorUse& use : c.uses_of(i)) fmt::format_to(to, " {}", text_of(use, c));
      fmt::format_to(to, "\n");
    }
  }
  return fmt::to_string(out);
}

}  // namespace orrery
