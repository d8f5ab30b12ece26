// SPDX-License-Identifier: Apache-2.0
// Products beside a kernel that holds multiprocessors, as measured (docs/validation/gpu) and as the form has them. The
// figures of docs/design/overlap.md are this test's properties: --gtest_filter='Beside*' --gtest_output=xml.
#include "base/files.h"
#include "base/json_reader.h"
#include "costmodel/kernel_model.h"
#include "tests/unit/costmodel/validation/published.h"

#include <algorithm>
#include <cmath>
#include <map>
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

/// Predicted over measured slowdown beside 20 held multiprocessors, if `missing` are missing; by kind.
std::map<std::string, std::vector<double>> ratios(double missing) {
  std::map<std::string, std::vector<double>> out;
  for (const char* name : {"h100", "h200"}) {
    const Calibration table = testing::table_of(name);
    const Device device = *testing::device_of_catalog(name);
    double alone = 0.0;
    for (const Beside& row : rows_of(name)) {
      if (row.held == 0.0) alone = row.seconds;
      if (row.held != 20.0) continue;
      const double rows[] = {static_cast<double>(row.m)};
      const auto time = [&](double taken) {
        return KernelModel(device, *table.kernels, {.taken = taken})
            .product(row.pass == "fwd" ? Pass::fwd : Pass::wgrad, rows, row.n, row.k, DType::bf16, DType::f32)
            ->in(unit::second);
      };
      out[row.kind].push_back(time(missing) / time(0.0) / (row.seconds / alone));
    }
  }
  return out;
}

double mean_error(const std::vector<double>& ratios) {
  double sum = 0.0;
  for (const double ratio : ratios) sum += ratio - 1.0;
  return sum / static_cast<double>(ratios.size());
}

TEST(BesideACommunication, ProductsMissAsManyMultiprocessorsAsTheTableSays) {
  const double taken = testing::table_of("h100").kernels->taken;
  const auto as_stated = ratios(taken), as_held = ratios(20.0);
  for (const char* kind : {"beside a spin", "beside a copy"}) {
    const std::vector<double>& all = as_stated.at(kind);
    EXPECT_EQ(all.size(), 32u);
    double absolute = 0.0;
    for (const double ratio : all) absolute += std::abs(ratio - 1.0) / static_cast<double>(all.size());
    const std::string name = std::string(kind).substr(std::string("beside a ").size());
    RecordProperty(name + "_bias", std::to_string(mean_error(all)));
    RecordProperty(name + "_mean", std::to_string(absolute));
    RecordProperty(name + "_bias_of_20", std::to_string(mean_error(as_held.at(kind))));
    EXPECT_LT(absolute, 0.10) << kind;
    EXPECT_LT(mean_error(as_held.at(kind)), mean_error(all)) << kind;
  }
  // Between one that spins and one that copies: a communication does both.
  EXPECT_GT(mean_error(as_stated.at("beside a spin")), 0.0);
  EXPECT_LT(mean_error(as_stated.at("beside a copy")), 0.0);
}

}  // namespace
}  // namespace orrery::costmodel
