// SPDX-License-Identifier: Apache-2.0
#include "program/local_parameters.h"

#include "base/check.h"
#include "program/counts.h"
#include "program/schedule.h"

#include <algorithm>
#include <numeric>

namespace orrery {
namespace {

/// Consecutive outputs of a weight: rows of a matrix, elements of a vector.
struct Outputs {
  std::int64_t first = 0, count = 0;
};

/// Gate and up projection are divided alike, so that their products meet on one rank.
std::vector<Outputs> halves_on_rank(std::int64_t size, bool gated, std::int64_t degree, std::int64_t index) {
  const std::int64_t half = gated ? size / 2 : size, share = half / degree;
  std::vector<Outputs> out = {{index * share, share}};
  if (gated) out.push_back({half + index * share, share});
  return out;
}

/// Heads of queries, then of keys, then of values. With more ranks than key-value heads, neighbours hold the same one.
std::vector<Outputs> heads_on_rank(const Parameter& whole, const GroupedQueryAttention& a, std::int64_t degree,
                                   std::int64_t index) {
  const std::int64_t d = a.head_dim, q_heads = a.num_heads / degree;
  const std::int64_t kv_heads = std::max<std::int64_t>(a.num_kv_heads / degree, 1);
  const std::int64_t kv_head = index * a.num_kv_heads / degree;
  const Outputs keys{kv_head * d, kv_heads * d};
  if (whole.role == WeightRole::k_norm) return {keys};
  const std::int64_t q_width = a.num_heads * d, k_width = a.num_kv_heads * d;
  return {{index * q_heads * d, q_heads * d},
          {q_width + keys.first, keys.count},
          {q_width + k_width + keys.first, keys.count}};
}

bool has_halves(WeightRole role) {
  return role == WeightRole::mlp_fc1 || role == WeightRole::mlp_fc1_bias || role == WeightRole::expert_fc1 ||
         role == WeightRole::expert_fc1_bias || role == WeightRole::shared_fc1;
}

/// Says which elements other ranks of the group hold, too.
void mark_copies(LocalParameter& p, const Model& model, std::int64_t degree, std::int64_t index) {
  p.copied_from = p.size();
  if (p.whole.split == Split::none) {
    p.copied_from = 0;
    p.num_copies = degree;
    p.copy = index;
  } else if (p.whole.split == Split::kv_rows) {
    const auto& a = std::get<GroupedQueryAttention>(model.attention);
    const std::int64_t q_elements = a.num_heads / degree * a.head_dim * (p.whole.rows == 1 ? 1 : p.cols);
    p.copied_from = p.whole.role == WeightRole::k_norm ? 0 : q_elements;
    p.num_copies = std::max<std::int64_t>(degree / a.num_kv_heads, 1);
    p.copy = index % p.num_copies;
  }
}

/// Element `first` of a row-major box and the `count` - 1 behind it: the rest of a row, whole rows, the start of one.
void add_boxes(const Box& box, std::int64_t first, std::int64_t count, std::int64_t at, std::vector<LocalBox>& out) {
  while (count > 0) {
    const std::int64_t row = first / box.cols, col = first % box.cols;
    const bool whole_rows = col == 0 && count >= box.cols;
    const std::int64_t rows = whole_rows ? count / box.cols : 1;
    const std::int64_t cols = whole_rows ? box.cols : std::min(box.cols - col, count);
    out.push_back({{box.row + row, rows, box.col + col, cols}, at});
    first += rows * cols;
    at += rows * cols;
    count -= rows * cols;
  }
}

}  // namespace

Parameter stored_parameter(const Parameter& parameter, bool tied_embeddings) {
  Parameter stored = parameter;
  if (tied_embeddings && stored.role == WeightRole::head) stored.role = WeightRole::embedding;
  return stored;
}

std::string stored_name(const Parameter& parameter, bool tied_embeddings) {
  return name_of(stored_parameter(parameter, tied_embeddings));
}

std::vector<Box> boxes_on_rank(const Parameter& whole, const Model& model, std::int64_t degree, std::int64_t index) {
  if (whole.split == Split::none || degree == 1) return {{0, whole.rows, 0, whole.cols}};
  if (whole.split == Split::cols) return {{0, whole.rows, index * whole.cols / degree, whole.cols / degree}};
  const bool is_vector = whole.rows == 1;
  const std::int64_t size = is_vector ? whole.cols : whole.rows;
  const std::vector<Outputs> outputs =
      whole.split == Split::kv_rows
          ? heads_on_rank(whole, std::get<GroupedQueryAttention>(model.attention), degree, index)
          : halves_on_rank(size, model.gated && has_halves(whole.role), degree, index);
  std::vector<Box> boxes;
  for (const Outputs& o : outputs) {
    boxes.push_back(is_vector ? Box{0, 1, o.first, o.count} : Box{o.first, o.count, 0, whole.cols});
  }
  return boxes;
}

std::vector<LocalBox> local_boxes(const LocalParameter& parameter, std::int64_t begin, std::int64_t count) {
  std::vector<LocalBox> out;
  std::int64_t first = 0;  // element of what is here with which a box starts
  for (const Box& box : parameter.boxes) {
    const std::int64_t from = std::max(begin, first), to = std::min(begin + count, first + box.size());
    if (from < to) add_boxes(box, from - first, to - from, from, out);
    first += box.size();
  }
  return out;
}

std::vector<StageLayout> stages_in_order(const Strategy& strategy, const Mesh& mesh, RankId rank) {
  std::vector<std::int64_t> held = stages_of(strategy, mesh.coords(rank).pp);
  std::sort(held.begin(), held.end());
  std::vector<StageLayout> stages;
  for (const std::int64_t stage : held) stages.push_back(strategy.stages[static_cast<std::size_t>(stage)]);
  return stages;
}

std::int16_t unit_of(const Parameter& parameter) {
  if (parameter.layer >= 0) return parameter.layer;
  const bool at_entry = parameter.role == WeightRole::embedding || parameter.role == WeightRole::positions;
  return at_entry ? OpKey::kEmbed : OpKey::kHead;
}

std::vector<LocalParameter> local_parameters(const Model& model, const Strategy& s, const Mesh& mesh, RankId rank) {
  const Coords at = mesh.coords(rank);
  const std::vector<StageLayout> stages = stages_in_order(s, mesh, rank);
  const std::vector<RankId> holders = mesh.members(Group::embedding, rank);
  const bool has_copies = holders.size() > 1 && std::find(holders.begin(), holders.end(), rank) != holders.end() &&
                          (model.tied_embeddings || num_mtp_modules(model, s.mtp) > 0);
  std::vector<LocalParameter> out;
  std::int64_t next_dense = 0, next_expert = 0;
  for (const Parameter& whole : rank_parameters(model, stages, s.ep, at.ep)) {
    const std::int64_t degree = whole.is_expert() ? s.etp : s.tp, index = whole.is_expert() ? at.etp : at.tp;
    LocalParameter& p = out.emplace_back();
    p.whole = whole;
    p.orthogonalised = is_orthogonalised(whole, s);
    p.boxes = boxes_on_rank(whole, model, degree, index);
    const bool is_vector = whole.rows == 1;
    for (const Box& box : p.boxes) {
      p.rows = is_vector ? 1 : p.rows + box.rows;
      p.cols = is_vector ? p.cols + box.cols : box.cols;
    }
    CHECK(p.size() == elements_on_rank(whole, model, s.tp, s.etp), name_of(whole), p.size());
    mark_copies(p, model, degree, index);
    const bool is_table =
        whole.role == WeightRole::embedding || (whole.role == WeightRole::head && model.tied_embeddings);
    p.shared_by_stages = has_copies && is_table;
    p.stage_copy = p.shared_by_stages && holders.front() != rank ? 1 : 0;
    if (whole.buffer) continue;
    std::int64_t& next = whole.is_expert() ? next_expert : next_dense;
    p.first = next;
    next += p.size();
  }
  return out;
}

std::vector<LocalParameter> local_parameters(const StepProgram& program, RankId rank) {
  std::vector<LocalParameter> all = local_parameters(program.model, program.strategy, program.mesh, rank);
  for (LocalParameter& p : all) {
    if (p.whole.is_expert()) p.whole.expert = program.experts.expert_at(p.whole.layer, p.whole.expert);
  }
  return all;
}

}  // namespace orrery
