// SPDX-License-Identifier: Apache-2.0
#include "program/verify/checks.h"

#include <algorithm>
#include <bitset>
#include <map>
#include <span>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orrery::verify_checks {
namespace {

/// A key without its micro-batch, in the order of OpKey, and whose it is.
struct Entry {
  std::uint64_t key = 0;
  OpIndex op = 0;
};

std::uint64_t packed(const OpKey& key) {
  const auto bits = [](auto value) { return static_cast<std::uint64_t>(static_cast<std::uint16_t>(value)); };
  return bits(key.stage) << 48 | bits(key.layer) << 32 | static_cast<std::uint64_t>(key.pass) << 24 |
         static_cast<std::uint64_t>(key.op) << 16 | bits(key.bucket);
}

/// All ops by micro-batch (-1 first), those of one micro-batch sorted by key.
class SortedOps {
 public:
  SortedOps(const RankClass& c, std::int64_t num_micro_batches)
      : begin_(static_cast<std::size_t>(num_micro_batches) + 2), entries_(c.ops.size()) {
    for (const Op& op : c.ops) ++begin_[slot(op) + 1];
    for (std::size_t i = 1; i < begin_.size(); ++i) begin_[i] += begin_[i - 1];
    std::vector<std::size_t> next(begin_.begin(), begin_.end() - 1);
    for (OpIndex op = 0; op < c.ops.size(); ++op) entries_[next[slot(c.ops[op])]++] = {packed(c.ops[op].key), op};
    for (std::size_t i = 0; i + 1 < begin_.size(); ++i) {
      std::sort(entries_.begin() + static_cast<std::ptrdiff_t>(begin_[i]),
                entries_.begin() + static_cast<std::ptrdiff_t>(begin_[i + 1]),
                [](const Entry& a, const Entry& b) { return a.key < b.key; });
    }
  }

  std::span<const Entry> of(std::int64_t micro_batch) const {
    const auto i = static_cast<std::size_t>(micro_batch + 1);
    return std::span(entries_).subspan(begin_[i], begin_[i + 1] - begin_[i]);
  }

 private:
  static std::size_t slot(const Op& op) { return static_cast<std::size_t>(std::int64_t{op.key.micro_batch} + 1); }

  std::vector<std::size_t> begin_;
  std::vector<Entry> entries_;
};

using OpSet = std::bitset<kNumOpCodes>;

/// Whether the input gradient and the weight gradient of a forward op are ops.
bool has_input_grad(const OpShape& shape) {
  return std::holds_alternative<GemmShape>(shape) || std::holds_alternative<GroupedGemmShape>(shape) ||
         std::holds_alternative<AttentionShape>(shape);
}
bool has_weight_grad(const Op& op, const OpShape& shape) {
  return std::holds_alternative<GemmShape>(shape) || std::holds_alternative<GroupedGemmShape>(shape) ||
         op.key.op == OpCode::embed_lookup;
}

class PassChecker {
 public:
  PassChecker(const StepProgram& program, std::size_t rank, Problems& problems)
      : program_(program), c_(program.classes[rank]), rank_(rank), problems_(problems) {}

  /// `passed`: how often each micro-batch has passed each stage, as (micro-batch, stage).
  void run(std::map<std::pair<std::int64_t, std::int64_t>, int>& passed) {
    const SortedOps sorted(c_, program_.num_micro_batches);
    for (std::int64_t micro_batch = -1; micro_batch < program_.num_micro_batches; ++micro_batch) {
      const std::span<const Entry> entries = sorted.of(micro_batch);
      for (std::size_t i = 1; i < entries.size(); ++i) {
        if (entries[i].key == entries[i - 1].key)
          problems_.add(rank_, fmt::format("{} twice", to_string(key(entries[i]))));
      }
      if (micro_batch < 0) continue;
      std::int64_t last_stage = -1;
      for (std::size_t i = 0; i < entries.size();) {
        const std::int16_t stage = key(entries[i]).stage;
        if (std::exchange(last_stage, stage) != stage) ++passed[{micro_batch, stage}];
        std::size_t end = i;
        while (end < entries.size() && entries[end].key >> 32 == entries[i].key >> 32) ++end;
        check_layer(entries.subspan(i, end - i));
        i = end;
      }
    }
  }

 private:
  const OpKey& key(const Entry& entry) const { return c_.ops[entry.op].key; }

  /// Ops of one layer and micro-batch.
  void check_layer(std::span<const Entry> entries) {
    OpSet input_grads, weight_grads;
    for (const Entry& entry : entries) {
      if (key(entry).pass == Pass::igrad) input_grads.set(static_cast<std::size_t>(key(entry).op));
      if (key(entry).pass == Pass::wgrad) weight_grads.set(static_cast<std::size_t>(key(entry).op));
    }
    for (const Entry& entry : entries) {
      const Op& op = c_.ops[entry.op];
      if (op.key.pass != Pass::fwd) break;  // sorted: forwards come first
      const auto code = static_cast<std::size_t>(op.key.op);
      const OpShape& shape = program_.shapes[op.shape];
      if (has_input_grad(shape) && !input_grads.test(code)) missing(op, "input");
      if (has_weight_grad(op, shape) && !weight_grads.test(code)) missing(op, "weight");
    }
  }
  void missing(const Op& op, std::string_view what) {
    problems_.add(rank_, fmt::format("{} has no {} gradient", to_string(op.key), what));
  }

  const StepProgram& program_;
  const RankClass& c_;
  const std::size_t rank_;
  Problems& problems_;
};

}  // namespace

void check_passes(const StepProgram& program, Problems& problems) {
  std::map<std::pair<std::int64_t, std::int64_t>, int> passed;
  for (std::size_t rank = 0; rank < program.classes.size(); ++rank) PassChecker(program, rank, problems).run(passed);
  for (std::size_t rank = 0; rank < program.classes.size(); ++rank) {
    for (const std::int64_t stage : program.classes[rank].stages) {
      for (std::int64_t micro_batch = 0; micro_batch < program.num_micro_batches; ++micro_batch) {
        int& count = passed[{micro_batch, stage}];
        if (count != 1)
          problems.add(rank, fmt::format("micro-batch {} passes stage {} {} times", micro_batch, stage, count));
        count = 1;  // said once, if two ranks hold the stage
      }
    }
  }
}

}  // namespace orrery::verify_checks
