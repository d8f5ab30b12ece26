// SPDX-License-Identifier: Apache-2.0
// Products beside a kernel that holds multiprocessors, as measured (docs/validation/gpu) and as the form has them. The
// figures of docs/design/overlap.md are this test's properties: --gtest_filter='Beside*' --gtest_output=xml.
#include "base/files.h"
#include "base/json_reader.h"
#include "costmodel/kernel_model.h"
#include "tests/unit/costmodel/validation/published.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace orrery::costmodel {
namespace {

struct Beside {
  std::string kind, pass;
  std::int64_t m = 0, n = 0, k = 0;
  double held = 0.0, seconds = 0.0;
};

std::vector<Beside> rows_of(const std::string& device) {
  const std::string path = orrery::testing::repository_path("docs/validation/gpu/" + device + ".jsonl");
  std::istringstream lines(read_file(path));
  std::vector<Beside> out;
  for (std::string line; std::getline(lines, line);) {
    if (line.find("\"beside ") == std::string::npos) continue;
    const JsonDocument document = JsonDocument::parse_text(line, path);
    const JsonObject in = document.root();
    out.push_back({.kind = in.required("kind").string(),
                   .pass = in.required("name").string(),
                   .m = static_cast<std::int64_t>(in.required("m").number()),
                   .n = static_cast<std::int64_t>(in.required("n").number()),
                   .k = static_cast<std::int64_t>(in.required("k").number()),
                   .held = in.required("held").number(),
                   .seconds = in.required("seconds").number()});
  }
  return out;
}

/// How many multiprocessors products miss beside kernels that hold so many.
using Missing = std::function<double(const KernelParameters& kernels, double held)>;

/// Predicted over measured slowdown beside kernels that hold `held`; of `kind`, or of all.
std::vector<double> ratios(const Missing& missing, double held, const std::string& kind = "") {
  std::vector<double> out;
  for (const char* name : {"h100", "h200"}) {
    const Calibration table = testing::table_of(name);
    const Device device = *testing::device_of_catalog(name);
    double alone = 0.0;
    for (const Beside& row : rows_of(name)) {
      if (row.held == 0.0) alone = row.seconds;
      if (row.held != held || (!kind.empty() && row.kind != kind)) continue;
      const double rows[] = {static_cast<double>(row.m)};
      const auto time = [&](double taken) {
        return KernelModel(device, *table.kernels, {.taken = taken})
            .product(row.pass == "fwd" ? Pass::fwd : Pass::wgrad, rows, row.n, row.k, DType::bf16, DType::f32)
            ->in(unit::second);
      };
      out.push_back(time(missing(*table.kernels, held)) / time(0.0) / (row.seconds / alone));
    }
  }
  return out;
}

double mean_error(const std::vector<double>& ratios) {
  double sum = 0.0;
  for (const double ratio : ratios) sum += ratio - 1.0;
  return sum / static_cast<double>(ratios.size());
}

double mean_absolute_error(const std::vector<double>& ratios) {
  double sum = 0.0;
  for (const double ratio : ratios) sum += std::abs(ratio - 1.0);
  return sum / static_cast<double>(ratios.size());
}

double as_held(const KernelParameters& /*kernels*/, double held) { return held; }

TEST(BesideACommunication, ProductsMissAsManyMultiprocessorsAsTheTableSays) {
  for (const std::string kind : {"beside a spin", "beside a copy"}) {
    const std::vector<double> all = ratios(missing_multiprocessors, kHeldMultiprocessors, kind);
    const std::vector<double> held = ratios(as_held, kHeldMultiprocessors, kind);
    EXPECT_EQ(all.size(), 32u);
    const std::string name = kind.substr(std::string("beside a ").size());
    RecordProperty(name + "_bias", std::to_string(mean_error(all)));
    RecordProperty(name + "_mean", std::to_string(mean_absolute_error(all)));
    RecordProperty(name + "_bias_of_20", std::to_string(mean_error(held)));
    EXPECT_LT(mean_absolute_error(all), 0.10) << kind;
    EXPECT_LT(mean_error(held), mean_error(all)) << kind;
  }
  // Between one that spins and one that copies: a communication does both.
  EXPECT_GT(mean_error(ratios(missing_multiprocessors, kHeldMultiprocessors, "beside a spin")), 0.0);
  EXPECT_LT(mean_error(ratios(missing_multiprocessors, kHeldMultiprocessors, "beside a copy")), 0.0);
}

// Fewer than 20 spare products little: they take as long beside 4 as beside 20. More take more.
TEST(BesideACommunication, ProductsMissNoLessBesideKernelsThatHoldFew) {
  const auto in_proportion = [](const KernelParameters& kernels, double held) {
    return kernels.taken * held / kHeldMultiprocessors;
  };
  std::vector<double> of_rule, of_proportion, of_held;
  for (const double held : {4.0, 8.0, 16.0, 20.0, 24.0, 32.0}) {
    const std::vector<double> rule = ratios(missing_multiprocessors, held), proportion = ratios(in_proportion, held),
                              plain = ratios(as_held, held);
    EXPECT_EQ(rule.size(), 64u);
    EXPECT_LT(mean_absolute_error(rule), 0.10) << held;
    EXPECT_LT(std::abs(mean_error(rule)), 0.05) << held;
    RecordProperty("bias_" + std::to_string(std::lround(held)), std::to_string(mean_error(rule)));
    RecordProperty("mean_" + std::to_string(std::lround(held)), std::to_string(mean_absolute_error(rule)));
    of_rule.insert(of_rule.end(), rule.begin(), rule.end());
    of_proportion.insert(of_proportion.end(), proportion.begin(), proportion.end());
    of_held.insert(of_held.end(), plain.begin(), plain.end());
  }
  RecordProperty("mean", std::to_string(mean_absolute_error(of_rule)));
  RecordProperty("mean_in_proportion", std::to_string(mean_absolute_error(of_proportion)));
  RecordProperty("mean_as_held", std::to_string(mean_absolute_error(of_held)));
  EXPECT_LT(mean_absolute_error(of_rule), mean_absolute_error(of_proportion));
  EXPECT_LT(mean_absolute_error(of_proportion), mean_absolute_error(of_held));
}

}  // namespace
}  // namespace orrery::costmodel
