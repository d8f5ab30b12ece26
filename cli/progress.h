// SPDX-License-Identifier: Apache-2.0
// Progress and log lines on stderr: a line that is redrawn on a terminal, one line for each finished part elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace orrery::cli {

/// Shows how far each part of a job is. Not for several threads at once.
class ProgressLine {
 public:
  ProgressLine();
  ~ProgressLine();
  ProgressLine(const ProgressLine&) = delete;
  ProgressLine& operator=(const ProgressLine&) = delete;

  /// `detail`: what is known so far, such as "best 9.87 s".
  void update(std::string_view part, std::int64_t done, std::int64_t total, std::string_view detail = {});

 private:
  void clear();

  bool on_terminal_;
  int shown_percent_ = -1;
  std::chrono::steady_clock::time_point shown_at_;
  std::string part_;
};

/// Sends log lines to stderr, without time stamps.
void set_up_log();
void log_info(std::string_view message);

}  // namespace orrery::cli
