// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/run_log.h"

#include "traces/trace_io.h"

#include <algorithm>
#include <cstddef>

#include <fmt/format.h>

namespace orrery::executor {

std::vector<StepRecord> merge_steps(const std::vector<std::vector<StepRecord>>& of_rank) {
  std::vector<StepRecord> all = of_rank.front();
  for (const std::vector<StepRecord>& steps : of_rank) {
    all.resize(std::min(all.size(), steps.size()));
    for (std::size_t i = 0; i < all.size(); ++i) {
      all[i].time = std::max(all[i].time, steps[i].time);
      all[i].peak_memory = std::max(all[i].peak_memory, steps[i].peak_memory);
    }
  }
  return all;
}

void RunLog::start(int num_ranks) {
  loaded_ = first_step_ = std::nullopt;
  of_rank_.assign(static_cast<std::size_t>(num_ranks), {});
  started_ = now();
}

void RunLog::take(int rank, std::string_view bytes) {
  Sent& sent = of_rank_[static_cast<std::size_t>(rank)];
  while (!bytes.empty()) {
    const std::size_t end = bytes.find('\n');
    sent.line += bytes.substr(0, end);
    if (end == std::string_view::npos) break;
    end_line(sent);
    bytes.remove_prefix(end + 1);
  }
  if (!loaded_ && all_have_sent(1)) loaded_ = now();
  if (first_step_ || !all_have_sent(2)) return;
  first_step_ = now();
  on_first_step_();
}

void RunLog::end_line(Sent& sent) {
  if (sent.num_lines == 0 || sent.line.starts_with(R"({"step")")) sent.head += sent.line + '\n';
  sent.line.clear();
  ++sent.num_lines;
}

bool RunLog::all_have_sent(int num_lines) const {
  return std::ranges::all_of(of_rank_, [num_lines](const Sent& sent) { return sent.num_lines >= num_lines; });
}

std::vector<StepRecord> RunLog::steps() const {
  if (!loaded_) return {};
  std::vector<std::vector<StepRecord>> of_rank;
  for (std::size_t rank = 0; rank < of_rank_.size(); ++rank) {
    of_rank.push_back(read_unfinished_trace_text(of_rank_[rank].head, fmt::format("trace of rank {}", rank)).steps);
  }
  return merge_steps(of_rank);
}

}  // namespace orrery::executor
