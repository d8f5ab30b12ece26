// SPDX-License-Identifier: Apache-2.0
// From a Hugging Face folder into ranks, from ranks into a checkpoint, and back into a folder.
#include "executor/checkpoint/hf_export.h"
#include "executor/runtime/checkpointing.h"
#include "program/model_differences.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/checkpoint/content.h"
#include "tests/unit/executor/runtime/hf_folders.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;

Model with_modules(Model model) {
  model.num_mtp_modules = 2;
  return model;
}

std::string with_modules(const std::string& config) {
  return orrery::testing::edited(config, "\"num_nextn_predict_layers\": 0", "\"num_nextn_predict_layers\": 2");
}

StepProgram program_of(const Model& model, std::int64_t num_ranks, void (*change)(Strategy&)) {
  Strategy strategy = strategy_of(model);
  change(strategy);
  if (!model.moe) strategy.ep = strategy.etp = 1;
  strategy.stages = with_mtp(even_stages(model.num_layers(), strategy.pp), model.num_mtp_modules);
  return lower(model, strategy, kBatch, num_ranks);
}

/// Saves what `prepare` makes of the ranks.
void save(const StepProgram& program, const std::filesystem::path& to,
          const std::function<void(RankRuntime&)>& prepare) {
  on_all_ranks(program, settings_of(1), [&](RankRuntime& runtime, int) {
    prepare(runtime);
    runtime.state().step = 1;
    Checkpointing saving(runtime, to, 0, {.model = "m", .seq = 1, .global_batch = 1});
    saving.save();
    saving.finish();
  });
}

void expect_same_tensors(const HfFolder& want, const HfFolder& got) {
  for (const auto& [name, file] : want.tensors()) {
    ASSERT_TRUE(got.tensors().contains(name)) << name;
    const SafetensorsFile& other = *got.tensors().at(name);
    EXPECT_EQ(file->tensors().at(name).shape, other.tensors().at(name).shape) << name;
    EXPECT_EQ(file->read(name), other.read(name)) << name;
  }
  EXPECT_EQ(want.tensors().size(), got.tensors().size());
}

class HfRoundTrip : public ::testing::TestWithParam<std::string> {};

INSTANTIATE_TEST_SUITE_P(Families, HfRoundTrip, ::testing::ValuesIn(kHfFamilies),
                         [](const auto& family) { return family.param; });

TEST_P(HfRoundTrip, WhatTransformersWroteComesBackToTheByte) {
  const Model model = hf_model(GetParam());
  const HfWeights weights(model, hf_folder(GetParam()));
  const StepProgram program = program_of(model, 4, [](Strategy& s) { s.tp = 2, s.ep = 2, s.pp = 2, s.sp = true; });
  const TestFolder folder;
  save(program, folder / "saved", [&](RankRuntime& runtime) { load_from(weights, runtime.state()); });
  const CheckpointReader saved(last_checkpoint(folder / "saved").value());
  const std::string config = read_file((hf_folder(GetParam()) / "config.json").string());
  // Several files, whatever the original has.
  const ExportedFolder done = export_hf(saved, weights.tensors(), whole_parameters(program), config,
                                        {.most_file_bytes = 30000}, folder / "out");
  EXPECT_GT(done.files.size(), 1U);
  const HfFolder original(hf_folder(GetParam())), out(folder.path() / "out");
  expect_same_tensors(original, out);
  EXPECT_EQ(done.num_tensors, static_cast<std::int64_t>(original.tensors().size()));
  for (const std::string& name : done.files) {
    const SafetensorsFile file(folder / ("out/" + name));
    std::int64_t bytes = 0;
    for (const auto& [tensor, place] : file.tensors()) bytes += place.bytes;
    EXPECT_TRUE(bytes <= 30000 || file.tensors().size() == 1) << name << " has " << bytes;
  }
  const std::string index = read_file((folder.path() / "out" / HfFolder::kIndex).string());
  EXPECT_NE(index.find("\"total_size\": " + std::to_string(done.bytes)), std::string::npos) << index;
  EXPECT_EQ(differences(model, read_model(folder.path() / "out" / "config.json")), std::vector<std::string>());
}

// In f32 nothing is rounded, so a trained model comes back with all of its bits, whatever the layout.
TEST(HfRoundTripOf, TrainedWeightsWithPredictionModulesAreLoadedByAnotherLayout) {
  for (const std::string family : {"deepseek_v3", "glm4_moe"}) {
    SCOPED_TRACE(family);
    const Model model = with_modules(hf_model(family));
    const std::string config = with_modules(read_file((hf_folder(family) / "config.json").string()));
    const TestFolder folder;
    const StepProgram one = program_of(model, 2, [](Strategy& s) { s.ep = 2, s.zero_dense = 1; });
    save(one, folder / "one", [](RankRuntime& runtime) { runtime.run_step(); });
    const CheckpointReader saved(last_checkpoint(folder / "one").value());
    export_hf(saved, HfTensors(model, config, "config.json"), whole_parameters(one), config, {.type = StoredType::f32},
              folder / "out");

    const HfWeights weights(model, folder / "out");
    const StepProgram other = program_of(model, 4, [](Strategy& s) { s.tp = 2, s.pp = 2, s.sp = true; });
    weights.check(whole_parameters(other));
    save(other, folder / "other", [&](RankRuntime& runtime) { load_from(weights, runtime.state()); });
    Content want = content(folder / "one"), got = content(folder / "other");
    std::erase_if(want, [](const auto& part) { return part.first.second != StatePart::value; });
    std::erase_if(got, [](const auto& part) { return part.first.second != StatePart::value; });
    EXPECT_EQ(want, got);
    // A plan that leaves the modules out leaves their tensors where they are.
    Strategy without = strategy_of(model);
    without.mtp = Mtp::off;
    without.stages = even_stages(model.num_layers(), 1);
    EXPECT_NO_THROW(weights.check(whole_parameters(lower(model, without, kBatch, 1))));
  }
}

TEST(HfExport, TheConfigSaysTheTypeOfWhatLiesBesideIt) {
  const Model model = hf_model("llama");
  const std::string config =
      orrery::testing::edited(read_file((hf_folder("llama") / "config.json").string()), "\"dtype\": \"bfloat16\"",
                              "\"quantization_config\": {\"quant_method\": \"fp8\"}");
  const StepProgram program = program_of(model, 1, [](Strategy&) {});
  const TestFolder folder;
  save(program, folder / "saved", [](RankRuntime&) {});
  const CheckpointReader saved(last_checkpoint(folder / "saved").value());
  const HfTensors names(model, config, "config.json");
  export_hf(saved, names, whole_parameters(program), config, {.type = StoredType::f16}, folder / "out");
  const std::string written = read_file(folder / "out/config.json");
  EXPECT_NE(written.find("\"torch_dtype\": \"float16\""), std::string::npos) << written;
  EXPECT_EQ(written.find("quantization_config"), std::string::npos) << written;
  EXPECT_EQ(HfFolder(folder.path() / "out").tensors().begin()->second->tensors().begin()->second.type, StoredType::f16);
  EXPECT_EQ(error_of(folder, [&] { export_hf(saved, names, whole_parameters(program), config, {}, folder / "out"); }),
            "out: expected a new or an empty folder");
  // What f16 cannot hold is no infinity.
  save(program, folder / "large", [](RankRuntime& runtime) {
    FlatState& dense = runtime.state().weights.dense();
    dense.kept(StatePart::value, 0, 3, 1)[0] = 1e5F;
  });
  EXPECT_EQ(error_of(folder,
                     [&] {
                       export_hf(CheckpointReader(last_checkpoint(folder / "large").value()), names,
                                 whole_parameters(program), config, {.type = StoredType::f16}, folder / "none");
                     }),
            "tensor 'model.embed_tokens.weight': 100000 does not fit f16, which ends at 65504");
}

}  // namespace
}  // namespace orrery::executor
