// SPDX-License-Identifier: Apache-2.0
// What is read of a Hugging Face folder, and what is said of one that is not as it should be.
#include "executor/checkpoint/hf_weights.h"

#include "program/local_parameters.h"
#include "tests/unit/executor/checkpoint/broken_files.h"
#include "tests/unit/executor/runtime/hf_folders.h"
#include "tests/unit/executor/runtime/thread_ranks.h"

#include <fstream>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using namespace testing;
namespace fs = std::filesystem;

std::vector<Parameter> weights_of(const Model& model) {
  return whole_parameters(lower(model, strategy_of(model), kBatch, 1));
}

/// A copy of a family's folder in `folder`, through which files go before they are read.
template <class Change>
std::string error_in_copy(const std::string& family, Change&& change) {
  const TestFolder folder;
  fs::copy(hf_folder(family), folder.path() / "hf");
  change(folder.path() / "hf");
  const Model model = hf_model(family);
  return error_of(folder, [&] { HfWeights(model, folder / "hf").check(weights_of(model)); });
}

using Tensors = std::map<std::string, SafetensorsFile::Tensor>;

/// Writes a file again, with its tensors changed by `change(Tensors&)` and zeros in them.
template <class Change>
void rewrite(const fs::path& path, Change&& change) {
  Tensors tensors = SafetensorsFile(path.string()).tensors();
  change(tensors);
  const std::vector<std::byte> zeros(1 << 20);
  std::vector<TensorToWrite> all;
  for (const auto& [name, tensor] : tensors) {
    auto bytes = static_cast<std::size_t>(size_of(tensor.type));
    for (const std::int64_t side : tensor.shape) bytes *= static_cast<std::size_t>(side);
    all.push_back({name, tensor.type, tensor.shape, std::span(zeros).first(bytes)});
  }
  write_safetensors(path.string(), {}, all);
}

TEST(HfWeights, NamesEveryTensorThatIsMissingUnknownOrOfAnotherShapeOrTypeAtOnce) {
  const std::string error = error_in_copy("deepseek_v3", [](const fs::path& folder) {
    rewrite(folder / "model.safetensors", [](Tensors& tensors) {
      tensors.erase("model.layers.1.mlp.experts.3.up_proj.weight");
      tensors.erase("model.norm.weight");
      tensors["lm_head.weight"].shape = {64, 31};
      tensors["model.layers.0.input_layernorm.weight"].type = StoredType::i32;
      tensors["model.layers.0.mlp.down_proj.weight_scale_inv"].shape = {1, 1};
      // Computed from the config.json: no matter.
      tensors["model.layers.0.self_attn.rotary_emb.inv_freq"].shape = {2};
    });
  });
  EXPECT_EQ(error,
            "hf: missing tensor 'model.layers.1.mlp.experts.3.up_proj.weight' of 24 x 32\n"
            "hf: missing tensor 'model.norm.weight' of 32\n"
            "hf/model.safetensors: tensor 'lm_head.weight': expected 64 x 32, got 64 x 31\n"
            "hf/model.safetensors: tensor 'model.layers.0.input_layernorm.weight': expected F32, BF16 or F16, got I32\n"
            "hf/model.safetensors: unknown tensor 'model.layers.0.mlp.down_proj.weight_scale_inv': the model has no "
            "weight for it");
}

TEST(HfWeights, NamesEveryFileThatIsMissingOrCutOffAtOnce) {
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  const std::string error = error_in_copy("mixtral", [&](const fs::path& folder) {
    fs::remove(folder / first);
    fs::resize_file(folder / second, fs::file_size(folder / second) - 1);
  });
  EXPECT_EQ(error, "hf/" + first + ": expected a readable file, got: No such file or directory\n" + "hf/" + second +
                       ": the header describes 20480 bytes, the file has 20479");
}

TEST(HfWeights, TheIndexMustAgreeWithTheFiles) {
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  const auto moved = [&](const std::string& tensor, const std::string& from, const std::string& to) {
    return error_in_copy("mixtral", [&](const fs::path& folder) {
      change_file((folder / HfFolder::kIndex).string(), [&](std::string& text) {
        const std::string place = "\"" + tensor + "\": \"";
        text = orrery::testing::edited(text, place + from, place + to);
      });
    });
  };
  EXPECT_EQ(moved("lm_head.weight", first, second),
            "hf/" + second + ": it has no tensor 'lm_head.weight', which the index says");
  const std::string outside = moved("lm_head.weight", first, "../" + first);
  EXPECT_NE(outside.find("/weight_map/lm_head.weight: expected a file of this folder, got ../" + first),
            std::string::npos)
      << outside;
}

TEST(HfWeights, ATensorIsInOneFile) {
  const std::string first = "model-00001-of-00002.safetensors", second = "model-00002-of-00002.safetensors";
  const std::string error = error_in_copy("mixtral", [&](const fs::path& folder) {
    rewrite(folder / second, [](Tensors& tensors) { tensors["lm_head.weight"].shape = {64, 32}; });
  });
  EXPECT_EQ(error, "hf/" + second + ": tensor 'lm_head.weight' is in hf/" + first + ", too");
}

TEST(HfWeights, AnotherModelIsNotTakenForThisOne) {
  const std::string error = error_in_copy("mixtral", [](const fs::path& folder) {
    change_file((folder / "config.json").string(), [](std::string& text) {
      text = orrery::testing::edited(text, "\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 1");
      text = orrery::testing::edited(text, "\"rope_theta\": 1000000.0", "\"rope_theta\": 10000.0");
    });
  });
  EXPECT_EQ(error,
            "hf/config.json: rope_theta: expected 1000000 of the plan's model, got 10000\n"
            "hf/config.json: top_k: expected 2 of the plan's model, got 1");
  const TestFolder folder;
  EXPECT_EQ(error_of(folder, [&] { HfWeights(hf_model("mixtral"), folder / "none"); }),
            "none: expected a folder with model.safetensors, got none");
  fs::create_directory(folder / "empty");
  EXPECT_EQ(error_of(folder, [&] { HfWeights(hf_model("mixtral"), folder / "empty"); }),
            "empty/model.safetensors: expected a readable file, got: No such file or directory");
}

/// Bytes that this process has read so far, of files and others.
std::int64_t bytes_read() {
  std::ifstream in("/proc/self/io");
  std::string key;
  std::int64_t value = 0;
  in >> key >> value;
  EXPECT_EQ(key, "rchar:");
  return value;
}

// Columns of a matrix, rows of a pair that RoPE turns, experts of others: none of it is read by who does not hold it.
TEST(HfWeights, ARankReadsWhatItHoldsAndNoMore) {
  for (const std::string family : {"mixtral", "deepseek_v3"}) {
    const Model model = hf_model(family);
    Strategy strategy = strategy_of(model);
    strategy.tp = strategy.etp = strategy.ep = 2;
    strategy.sp = true;
    const StepProgram program = lower(model, strategy, kBatch, 4);
    const HfWeights weights(model, hf_folder(family));
    for (std::int32_t rank = 0; rank < 4; ++rank) {
      std::int64_t held = 0;
      const std::int64_t before = bytes_read(), between = bytes_read();
      for (const LocalParameter& p : local_parameters(model, program.strategy, program.mesh, RankId(rank))) {
        for (const Box& box : p.boxes) {
          std::vector<float> values(static_cast<std::size_t>(box.size()));
          weights.read(stored_parameter(p.whole, false), box, values);
          held += box.size();
        }
      }
      const std::int64_t own_reading = between - before;  // of /proc/self/io
      EXPECT_EQ(bytes_read() - between - own_reading, 2 * held) << family << " rank " << rank;
    }
  }
}

}  // namespace
}  // namespace orrery::executor
