// SPDX-License-Identifier: Apache-2.0
#include "cli/kernel_validation.h"

#include "base/errors.h"
#include "costmodel/calibration_names.h"
#include "costmodel/validation/kernel_score.h"
#include "program/names.h"

#include <string>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::cli {
namespace {

Device device_of(const costmodel::Calibration& calibration, const costmodel::DeviceLookup& lookup) {
  if (const auto* device = std::get_if<Device>(&calibration.device)) return *device;
  const auto& name = std::get<std::string>(calibration.device);
  const auto device = lookup(name);
  if (!device) throw ConfigError(fmt::format("/device: expected a device of the catalog, got \"{}\"", name));
  return *device;
}

void check(const costmodel::Calibration& calibration, const Device& device) {
  if (!calibration.kernels) {
    throw ConfigError("/kernels: expected the numbers of kernels, which are what is judged; they are missing",
                      "a calibration of CPU ranks has none");
  }
  if (calibration.points.empty()) throw ConfigError("/points: expected points to judge the kernels by, got none");
  for (const costmodel::OpPoint& point : calibration.points) {
    if (device.peak.contains(point.dtype) && device.memory_bandwidth) continue;
    throw ConfigError(fmt::format("/device: expected the {} peak rate and the memory bandwidth of {}",
                                  name_of(point.dtype), device.name));
  }
}

Table table_of(const std::vector<costmodel::KernelScore>& scores) {
  Table table{.columns = {{"op", "op"},
                          {"pass", "pass"},
                          {"dtype", "type"},
                          {"points", "points"},
                          {"form_median", "form: median |e|"},
                          {"form_ninth_decile", "ninth decile"},
                          {"form_bias", "bias"},
                          {"left_out_median", "from the others: median |e|"},
                          {"left_out_ninth_decile", "ninth decile"},
                          {"left_out_bias", "bias"}},
              .rows = {}};
  for (const costmodel::KernelScore& s : scores) {
    table.rows.push_back({s.op, name_of(costmodel::kMeasuredPasses, s.pass), name_of(s.dtype), s.num_points,
                          Value::percent(s.form.median), Value::percent(s.form.ninth_decile), Value::error(s.form.bias),
                          Value::percent(s.left_out.median), Value::percent(s.left_out.ninth_decile),
                          Value::error(s.left_out.bias)});
  }
  return table;
}

Table table_of(const costmodel::KernelParameters& stated, const costmodel::KernelParameters& fitted) {
  Table table{.columns = {{"number", "number"}, {"stated", "stated"}, {"fitted", "fitted"}}, .rows = {}};
  const auto add = [&](const char* name, auto of) { table.rows.push_back({name, of(stated), of(fitted)}); };
  using Numbers = costmodel::KernelParameters;
  add("matmul", [](const Numbers& k) { return Value(k.matmul); });
  add("matmul_fp8", [](const Numbers& k) { return Value(k.matmul_fp8); });
  add("grouped", [](const Numbers& k) { return Value(k.grouped); });
  add("ramp", [](const Numbers& k) { return Value(k.ramp); });
  add("attention_forward", [](const Numbers& k) { return Value(k.attention_forward); });
  add("attention_backward", [](const Numbers& k) { return Value(k.attention_backward); });
  add("memory", [](const Numbers& k) { return Value(k.memory); });
  add("kernel", [](const Numbers& k) { return Value(k.kernel); });
  return table;
}

}  // namespace

Report kernel_report(const costmodel::Calibration& calibration, const costmodel::DeviceLookup& lookup) {
  const Device device = device_of(calibration, lookup);
  check(calibration, device);
  costmodel::Calibration fitted = calibration;
  fitted.kernels = costmodel::fit_kernels(calibration, device);
  Report report("Kernels against a calibration's own points");
  report.fact("device", "device", device.name).fact("points", "points", calibration.points.size());
  report.table("stated", "With the numbers as they are stated",
               table_of(costmodel::score_kernels(calibration, device)));
  report.table("numbers", "Numbers fitted to the points", table_of(*calibration.kernels, *fitted.kernels));
  report.table("fitted", "With the fitted numbers", table_of(costmodel::score_kernels(fitted, device)));
  return report;
}

}  // namespace orrery::cli
