// SPDX-License-Identifier: Apache-2.0
// What tests against the models of others need: a text whose bytes are tokens as a file, and the logits of a step.
#pragma once

#include "executor/kernels/elementwise.h"
#include "executor/runtime/op_call.h"
#include "tests/unit/base/test_folder.h"

#include <fstream>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace orrery::executor::testing {

/// A text as a corpus, whose bytes are tokens.
class CorpusFile {
 public:
  explicit CorpusFile(const std::string& text) : path_(orrery::testing::own_path("corpus.txt")) {
    std::ofstream(path_, std::ios::binary) << text;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

/// Logits of all tokens of the step, in the order of its sequences.
class Logits {
 public:
  void add(const OpCall& call) {
    if (call.op.key.op != OpCode::head_loss || !call.is_forward()) return;
    const RankState& rank = call.rank;
    const ConstMatrix here = call.tensor(TensorRole::logits);
    const std::int64_t first =
        (rank.view.coords.dp * rank.program.num_micro_batches + call.op.key.micro_batch) * here.rows * here.cols;
    const std::lock_guard lock(mutex_);
    std::vector<float>& all = by_name_[call.layer() < 0 ? "logits" : "mtp_logits"];
    all.resize(static_cast<std::size_t>(rank.global_tokens()) * static_cast<std::size_t>(here.cols));
    for (std::int64_t row = 0; row < here.rows; ++row) {
      const std::span<const float> values = row_span<float>(here, row);
      std::copy(values.begin(), values.end(), all.begin() + first + row * here.cols);
    }
  }
  const std::map<std::string, std::vector<float>>& by_name() const { return by_name_; }

 private:
  std::mutex mutex_;
  std::map<std::string, std::vector<float>> by_name_;
};

}  // namespace orrery::executor::testing
