// SPDX-License-Identifier: Apache-2.0
// Published runs and the catalog, for tests of what is scored on them.
#pragma once

#include "base/files.h"
#include "base/json_reader.h"
#include "costmodel/calibration.h"
#include "costmodel/collective_fit.h"
#include "costmodel/validation/runs.h"
#include "program/json_parts.h"
#include "tests/unit/program/reading.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace orrery::costmodel::testing {

/// The published rows with these ids, in this order.
inline RunsFile published(const std::vector<std::string>& ids) {
  RunsFile file = read_runs(orrery::testing::repository_path("tests/data/runs/published.json"));
  std::vector<PublishedRun> runs;
  for (const std::string& id : ids) {
    runs.push_back(
        *std::find_if(file.runs.begin(), file.runs.end(), [&](const PublishedRun& run) { return run.id == id; }));
  }
  file.runs = std::move(runs);
  return file;
}

inline std::optional<Device> device_of_catalog(const std::string& name) {
  const std::string path = orrery::testing::repository_path("catalog/devices/" + name + ".json");
  if (!std::filesystem::exists(path)) return std::nullopt;
  const JsonDocument document = JsonDocument::parse_file(path);
  Device device = read_device(document.root());
  document.throw_if_problems();
  return device;
}

/// What published tables of kernels say of a device.
inline Calibration table_of(const std::string& device) {
  Calibration out =
      read_calibration(orrery::testing::repository_path("catalog/calibration/tables/" + device + ".json"));
  out.fits = fitted(out.collectives);
  return out;
}

}  // namespace orrery::costmodel::testing
