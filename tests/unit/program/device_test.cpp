// SPDX-License-Identifier: Apache-2.0
#include "program/json_parts.h"
#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::edited;
using testing::problems_of;
using testing::repository_text;

Device read(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "d.json");
  Device device = read_device(document.root());
  document.throw_if_problems();
  return device;
}

const char* const kCpu = R"({
"schema": "device/1", "name": "CPU, 1 core per rank", "vendor": "amd", "kind": "cpu",
"peak": {"f32": {"value": "120 Gflop/s", "source": "best GEMM"}},
"memory": {"value": "3.9 GiB", "source": "/proc/meminfo"},
"memory_bandwidth": null, "scale_up_bandwidth": null, "pcie_bandwidth": null,
"num_sms": {"value": 1, "source": "cores / ranks"},
"idle_power": null, "power_limit": null, "price": null})";

TEST(Device, ReadsWhatIsKnownAndLeavesOutTheRest) {
  const Device device = read(kCpu);
  EXPECT_EQ(device.name, "CPU, 1 core per rank");
  EXPECT_EQ(device.vendor, "amd");
  EXPECT_EQ(device.kind, DeviceKind::cpu);
  EXPECT_EQ(device.peak.size(), 1);
  EXPECT_EQ(device.peak.at(DType::f32), flops_per_second(120e9));
  EXPECT_EQ(device.memory, gib(3.9));
  EXPECT_EQ(device.memory_bandwidth, std::nullopt);
  EXPECT_EQ(device.num_sms, 1);
  EXPECT_EQ(device.sources.at("memory"), "/proc/meminfo");
}

TEST(Device, WritesWhatItReads) {
  for (const std::string& text : {std::string(kCpu), repository_text("catalog/devices/h800.json")}) {
    JsonWriter once, twice;
    write_device(once, read(text));
    write_device(twice, read(once.text()));
    EXPECT_EQ(once.text(), twice.text());
  }
}

TEST(Device, SaysThatASourceIsNotStatedRatherThanInventOne) {
  Device device;
  device.memory = gib(1);
  JsonWriter out;
  write_device(out, device);
  EXPECT_NE(out.text().find("\"source\": \"not stated\""), std::string::npos) << out.text();
}

TEST(Device, ReportsEveryProblemWithItsLine) {
  std::string text = edited(kCpu, "\"3.9 GiB\"", "3.9");
  text = edited(text, "\"f32\"", "\"int4\"");
  text = edited(text, "\"source\": \"cores / ranks\"", "\"source\": \"\"");
  text = edited(text, "\"kind\": \"cpu\"", "\"kind\": \"tpu\"");
  text = edited(text, ", \"price\": null", "");
  EXPECT_EQ(problems_of([&] { return read(text); }),
            "d.json:1: expected the key \"price\", which is missing\n"
            "d.json:2: /kind: expected \"cuda\", \"hip\" or \"cpu\", got \"tpu\"\n"
            "d.json:3: /peak/int4: unknown key\n"
            "  hint: known keys: bf16, f32, fp8\n"
            "d.json:4: /memory/value: expected a size with its unit, such as \"80 GiB\" or \"512 MB\", got 3.9\n"
            "d.json:6: /num_sms/source: expected where the value comes from, got an empty string");
}

}  // namespace
}  // namespace orrery
