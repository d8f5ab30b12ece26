// SPDX-License-Identifier: Apache-2.0
// covering_plans FOLDER SEQUENCE GLOBAL_BATCH MOST_RANKS CONFIG...: writes each layout of the covering array as
// FOLDER/NN.json, a strategy/1, and prints one line for each: number, ranks, type, which of the models (config.json),
// and the layout in short. tools/predict_covering_array.py predicts and runs them.
#include "base/errors.h"
#include "base/files.h"
#include "base/number_text.h"
#include "program/hf_config.h"
#include "program/json_parts.h"
#include "tests/unit/executor/runtime/covering_layouts.h"

#include <cstdio>
#include <filesystem>

#include <fmt/format.h>

namespace orrery::executor::testing {
namespace {

int run(int argc, char** argv) {
  constexpr int kFirstModel = 5, kNumModels = 5;
  if (argc != kFirstModel + kNumModels) {
    fmt::print(stderr, "covering_plans: expected FOLDER SEQUENCE GLOBAL_BATCH MOST_RANKS and {} models\n", kNumModels);
    return 2;
  }
  const BatchShape batch{.seq = number_in<std::int64_t>(argv[2]).value_or(0),
                         .global_batch = number_in<std::int64_t>(argv[3]).value_or(0)};
  const auto most_ranks = number_in<std::int64_t>(argv[4]).value_or(0);
  std::vector<Model> models;
  for (int i = kFirstModel; i < argc; ++i) models.push_back(read_model_text(read_file(argv[i]), argv[i]));
  int number = 0;
  for (const Row& row : array_of_layouts(models, batch, most_ranks).rows) {
    const Layout layout = layout_of(row, models, batch, most_ranks).value();
    JsonWriter out;
    write_strategy(out, layout.strategy);
    const std::filesystem::path path = std::filesystem::path(argv[1]) / fmt::format("{:02}.json", number);
    write_file_atomically(path, out.text());
    fmt::print("{:02}\t{}\t{}\t{}\t{}\n", number++, layout.world, name_of(layout.strategy.precision), layout.model,
               layout.text(models));
  }
  return 0;
}

}  // namespace
}  // namespace orrery::executor::testing

int main(int argc, char** argv) {
  try {
    return orrery::executor::testing::run(argc, argv);
  } catch (const orrery::ConfigError& error) {
    fmt::print(stderr, "covering_plans: {}\n", error.what());
    return 2;
  }
}
