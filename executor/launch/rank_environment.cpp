// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/rank_environment.h"

#include "base/errors.h"
#include "base/number_text.h"
#include "executor/launch/child_process.h"

#include <cstdlib>
#include <map>
#include <optional>
#include <string_view>

#include <fmt/format.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr std::string_view kRank = "ORRERY_RANK";
constexpr std::string_view kSegment = "ORRERY_SEGMENT_FD";
constexpr std::string_view kLauncher = "ORRERY_LAUNCHER_PID";
constexpr std::string_view kListener = "ORRERY_LISTENER_FD";
constexpr std::string_view kSeatFile = "ORRERY_SEAT_FILE";
constexpr std::string_view kUsesMpi = "ORRERY_USES_MPI";
constexpr std::string_view kThreads = "OMP_NUM_THREADS";

std::string text_in_environment(std::string_view name) {
  const char* text = std::getenv(std::string(name).c_str());
  return text == nullptr ? "" : text;
}

int number_in_environment(std::string_view name) {
  const std::string digits = text_in_environment(name);
  const std::optional<int> number = number_in<int>(digits);
  if (!number)
    throw ConfigError(fmt::format("{}: expected a number, got '{}'", name, digits),
                      "this program is started by `orrery execute`, not by hand");
  return *number;
}

}  // namespace

std::vector<std::string> RankEnvironment::variables(
    const std::vector<std::pair<std::string, std::string>>& changes) const {
  std::map<std::string, std::string> values;
  for (char** entry = ::environ; *entry != nullptr; ++entry) {
    const std::string_view text = *entry;
    const std::size_t equals = text.find('=');
    if (equals != std::string_view::npos) values.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  values.erase(std::string(ChildProcess::kResultVariable));  // of a rank that is itself a launcher
  for (const auto& [name, value] : changes) values[name] = value;
  values[std::string(kRank)] = std::to_string(rank);
  values[std::string(kSegment)] = std::to_string(segment_descriptor);
  values[std::string(kLauncher)] = std::to_string(launcher);
  values[std::string(kThreads)] = std::to_string(num_threads);
  values[std::string(kListener)] = std::to_string(listener_descriptor);
  values[std::string(kSeatFile)] = seat_file;
  values[std::string(kUsesMpi)] = std::to_string(static_cast<int>(uses_mpi));
  std::vector<std::string> lines;
  for (const auto& [name, value] : values) lines.push_back(fmt::format("{}={}", name, value));
  return lines;
}

RankEnvironment RankEnvironment::of_this_process() {
  return {.rank = number_in_environment(kRank),
          .num_threads = number_in_environment(kThreads),
          .segment_descriptor = number_in_environment(kSegment),
          .result_descriptor = number_in_environment(ChildProcess::kResultVariable),
          .launcher = number_in_environment(kLauncher),
          .listener_descriptor = number_in_environment(kListener),
          .seat_file = text_in_environment(kSeatFile),
          .uses_mpi = number_in_environment(kUsesMpi) == 1};
}

}  // namespace orrery::executor
