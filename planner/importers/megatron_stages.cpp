// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/megatron_stages.h"

#include "program/layout_text.h"

#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

constexpr const char* kLayout = "--pipeline-model-parallel-layout";
constexpr const char* kStagesOfRank = "--num-virtual-stages-per-pipeline-rank";
constexpr const char* kLayersOfStage = "--num-layers-per-virtual-pipeline-stage";

class Stages {
 public:
  Stages(ArgumentList& in, const Model& model, Strategy& strategy) : in_(in), model_(model), s_(strategy) {}

  void read() {
    const std::optional<std::string> layout = in_.word(kLayout);
    const auto stages_of_rank = in_.integer(kStagesOfRank), layers_of_stage = in_.integer(kLayersOfStage);
    first_ = in_.integer("--decoder-first-pipeline-num-layers");
    last_ = in_.integer("--decoder-last-pipeline-num-layers");
    embedding_counts_ = in_.on("--account-for-embedding-in-pipeline-split");
    head_counts_ = in_.on("--account-for-loss-in-pipeline-split");
    if (int{layout.has_value()} + int{stages_of_rank.has_value()} + int{layers_of_stage.has_value()} > 1) {
      in_.problem(layout ? kLayout : kStagesOfRank,
                  fmt::format("expected one of {}, {} and {}", kLayout, kStagesOfRank, kLayersOfStage));
    }
    if (layout) return by_layout(*layout);
    s_.vpp = stages_of_rank.value_or(1);
    if (layers_of_stage) {
      const std::int64_t stages = counted_layers() / *layers_of_stage;
      if (stages * *layers_of_stage != counted_layers() || stages % s_.pp != 0) {
        in_.problem(kLayersOfStage,
                    fmt::format("expected it to split {} layers into a multiple of {} stages (pp), got {}",
                                counted_layers(), s_.pp, *layers_of_stage));
      } else {
        s_.vpp = stages / s_.pp;
      }
    }
    finish(lay());
  }

 private:
  void by_layout(const std::string& text) {
    auto parsed = parse_layout(text);
    if (const auto* problem = std::get_if<LayoutTextProblem>(&parsed)) {
      return in_.problem(kLayout, fmt::format("at character {} {}", problem->position, problem->message));
    }
    auto stages = std::get<std::vector<StageLayout>>(std::move(parsed));
    const auto count = static_cast<std::int64_t>(stages.size());
    if (count % s_.pp != 0) {
      return in_.problem(kLayout, fmt::format("expected a multiple of {} stages (pp), got {}", s_.pp, count));
    }
    s_.vpp = count / s_.pp;
    finish(std::move(stages));
  }

  void finish(std::vector<StageLayout> stages) {
    s_.stages = std::move(stages);
    s_.schedule = s_.vpp > 1 ? Schedule::interleaved : Schedule::one_f_one_b;
  }

  std::int64_t counted_layers() const {
    return model_.num_layers() + (embedding_counts_ ? 1 : 0) + (head_counts_ ? 1 : 0);
  }

  /// Layers of each pipeline rank, embedding and head among them where they count; nothing after a problem.
  std::vector<std::int64_t> of_ranks() {
    std::int64_t rest = counted_layers(), ranks = s_.pp;
    for (const auto& end : {first_, last_}) {
      if (!end) continue;
      rest -= *end;
      --ranks;
    }
    const char* blamed = first_ ? "--decoder-first-pipeline-num-layers" : "--decoder-last-pipeline-num-layers";
    const bool splits = ranks > 0 ? rest >= ranks && rest % ranks == 0 : ranks == 0 && rest == 0;
    if (!splits) {
      in_.problem(first_ || last_ ? blamed : "--pipeline-model-parallel-size",
                  fmt::format("expected {} layers to be split evenly over {} pipeline ranks", rest, ranks));
      return {};
    }
    std::vector<std::int64_t> counts(static_cast<std::size_t>(s_.pp), ranks > 0 ? rest / ranks : 0);
    if (first_) counts.front() = *first_;
    if (last_) counts.back() = *last_;
    return counts;
  }

  std::vector<StageLayout> lay() {
    const std::vector<std::int64_t> ranks = of_ranks();
    std::vector<std::int64_t> counts;
    for (std::int64_t chunk = 0; chunk < s_.vpp; ++chunk) {
      for (const std::int64_t layers : ranks) {
        if (layers % s_.vpp != 0) {
          in_.problem(kStagesOfRank,
                      fmt::format("expected a divisor of {} (layers of a pipeline rank), got {}", layers, s_.vpp));
          return {};
        }
        counts.push_back(layers / s_.vpp);
      }
    }
    if (counts.empty()) return {};
    if (embedding_counts_) --counts.front();
    if (head_counts_) --counts.back();
    std::vector<StageLayout> stages = stages_of_counts(counts);
    return s_.mtp == Mtp::on ? with_mtp(std::move(stages), model_.num_mtp_modules) : stages;
  }

  ArgumentList& in_;
  const Model& model_;
  Strategy& s_;
  std::optional<std::int64_t> first_, last_;
  bool embedding_counts_ = false, head_counts_ = false;
};

}  // namespace

void read_megatron_stages(ArgumentList& in, const Model& model, Strategy& strategy) {
  Stages(in, model, strategy).read();
}

}  // namespace orrery::planner
