// SPDX-License-Identifier: Apache-2.0
#include "cli/inputs.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/sha256.h"
#include "tests/unit/base/test_folder.h"

#include <filesystem>
#include <variant>

#include <gtest/gtest.h>

namespace orrery::cli {
namespace {

const std::string kCatalog = ORRERY_SOURCE_DIR "/catalog";

InputOptions options() { return {.catalog = kCatalog, .ignored_keys = {}}; }

template <class Call>
std::string message_of(const Call& call) {
  try {
    call();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Inputs, NamesStandForFilesOfTheCatalog) {
  const Loaded<Model> by_name = load_model(options(), "deepseek-v3");
  const Loaded<Model> by_path = load_model(options(), kCatalog + "/models/deepseek-v3.json");
  EXPECT_EQ(by_name.value.num_layers(), 61);
  EXPECT_EQ(by_name.source.path, "catalog/models/deepseek-v3.json");
  EXPECT_EQ(by_path.source.path, by_name.source.path);
  EXPECT_EQ(by_name.source.content, read_file(kCatalog + "/models/deepseek-v3.json"));
  EXPECT_EQ(by_name.source.sha256, sha256_hex(by_name.source.content));
}

TEST(Inputs, FilesElsewhereKeepTheirPath) {
  const Loaded<Cluster> cluster =
      load_cluster(options(), ORRERY_SOURCE_DIR "/tests/data/schemas/cluster/good-one-cpu-node.json");
  EXPECT_EQ(cluster.source.path, ORRERY_SOURCE_DIR "/tests/data/schemas/cluster/good-one-cpu-node.json");
  EXPECT_EQ(cluster.value.num_devices(), 2);
}

TEST(Inputs, UnknownNamesAreAnsweredWithTheKnownOnes) {
  EXPECT_EQ(message_of([] { load_cluster(options(), "h800-204"); }),
            "cluster: expected a path that ends in .json, or the name of a cluster of the catalog " + kCatalog +
                " (a100-64, h100-64, h800-2048), got \"h800-204\"\n  hint: did you mean \"h800-2048\"?");
}

TEST(Inputs, ClustersOfSeveralGroupsAreRefused) {
  std::string text = read_file(kCatalog + "/clusters/h800-2048.json");
  const std::size_t begin = text.find('{', text.find("\"groups\"")), end = text.rfind(']', text.find("\"fabric\""));
  std::string group = text.substr(begin, end - begin);
  group.replace(group.find("\"h800\""), 6, "\"other\"");
  text.insert(end, "," + group);
  const std::string path = orrery::testing::own_path("two-groups.json");
  write_file_atomically(path, text);
  EXPECT_EQ(message_of([&] { load_cluster(options(), path); }),
            path + ": /groups: expected one group of nodes, got 2: steps over several groups are not lowered yet");
  std::filesystem::remove(path);
}

TEST(Inputs, TheCalibrationOfTheDevicesIsFoundInTheCatalog) {
  const Cluster cluster = load_cluster(options(), "h800-2048").value;
  const auto calibration = load_calibration(options(), "", cluster);
  EXPECT_EQ(calibration.source.path, "catalog/calibration/h800.json");
  EXPECT_TRUE(calibration.source.content.empty());
  EXPECT_EQ(calibration.path, kCatalog + "/calibration/h800.json");
}

TEST(Inputs, APlanKeepsToItsCalibration) {
  Plan plan;
  plan.cluster.groups.emplace_back().device.name = "NVIDIA H800 SXM 80GB";
  plan.calibration_source.path = "not/here/h800.json";
  plan.calibration_source.sha256 = sha256_hex(read_file(kCatalog + "/calibration/h800.json"));
  EXPECT_EQ(load_calibration(options(), "", plan).source.sha256, plan.calibration_source.sha256);
  plan.calibration_source.sha256 = std::string(64, '0');
  const std::string real = sha256_hex(read_file(kCatalog + "/calibration/h800.json")).substr(0, 12);
  EXPECT_EQ(message_of([&] { load_calibration(options(), "", plan); }),
            kCatalog +
                "/calibration/h800.json: expected the file that the plan was made with, of sha256 "
                "000000000000..., got " +
                real + "...\n  hint: pass --calibration FILE to predict with another one");
  EXPECT_NO_THROW(load_calibration(options(), "h800", plan));  // the user names it
}

TEST(Inputs, TheDeviceOfACalibrationIsThatOfTheCatalog) {
  const Cluster cluster = load_cluster(options(), "h800-2048").value;
  const auto device = std::get<Device>(load_calibration(options(), "b200", cluster).value.device);
  EXPECT_EQ(device.name, "NVIDIA B200 SXM 180GB");
  EXPECT_EQ(device.power_limit, 1000.0 * unit::watt);
}

TEST(Inputs, NoBoardDrawsMuchLessOrMoreThanItsKind) {
  Cluster cluster = load_cluster(options(), "h100-64").value;
  const auto load = [&](double limit, const std::string& name) {
    cluster.groups.front().device.power_limit = limit * unit::watt;
    return message_of([&] { load_calibration(options(), name, cluster); });
  };
  for (const std::string name : {"", "h100"}) {
    EXPECT_EQ(load(700, name), "no error");
    EXPECT_EQ(load(200, name), "no error");
    constexpr const char* kExpected =
        "power_limit of NVIDIA H100 SXM 80GB: expected 105 W to 1.40 kW, 0.15 to 2 times the 700 W under which "
        "catalog/calibration/h100.json was measured, got ";
    EXPECT_EQ(load(1, name), std::string(kExpected) + "1.00 W");
    EXPECT_EQ(load(7000, name), std::string(kExpected) + "7.00 kW");
  }
  EXPECT_EQ(load(100, "b200"), "no error");  // of another device, which is said
}

TEST(Inputs, LoadsAreReadFromFlags) {
  EXPECT_TRUE(is_balanced(parse_load("balanced")));
  EXPECT_EQ(std::get<DirichletLoad>(parse_load("dirichlet:10:7")).alpha, 10.0);
  EXPECT_EQ(std::get<DirichletLoad>(parse_load("dirichlet:10:7")).seed, 7);
  EXPECT_EQ(std::get<ZipfLoad>(parse_load("zipf:0.5")).exponent, 0.5);
  EXPECT_EQ(message_of([] { parse_load("zipf:inf"); }),
            "--load: expected a number above 0 instead of \"inf\" in \"zipf:inf\"");
  EXPECT_EQ(message_of([] { parse_load("flat"); }),
            "--load: expected \"balanced\", \"dirichlet:ALPHA[:SEED]\", \"zipf:EXPONENT[:SEED]\" or "
            "\"popularity:TRACE\", got \"flat\"");
  EXPECT_EQ(message_of([] { parse_load("zipf:1:2:3"); }),
            "--load: expected \"balanced\", \"dirichlet:ALPHA[:SEED]\", \"zipf:EXPONENT[:SEED]\" or "
            "\"popularity:TRACE\", got \"zipf:1:2:3\"");
  EXPECT_EQ(message_of([] { parse_load("popularity:no/such.trace"); }),
            "no/such.trace: expected a readable file, got: No such file or directory");
}

TEST(Inputs, SequencesAreReadFromAFileAndMustFit) {
  EXPECT_TRUE(is_fixed(load_sequences("", 128)));
  const std::string path = orrery::testing::own_path("lengths.json");
  write_file_atomically(path, R"({"schema": "sequence/1", "kind": "recorded", "sequences": [[64], [100, 29]]})");
  EXPECT_FALSE(is_fixed(load_sequences(path, 129)));
  EXPECT_EQ(message_of([&] { load_sequences(path, 128); }),
            path +
                ": /sequences/1: expected documents of at most 128 tokens together\n"
                "  hint: --sequence says how many tokens a sequence has");
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace orrery::cli
