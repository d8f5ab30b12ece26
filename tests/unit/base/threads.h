// SPDX-License-Identifier: Apache-2.0
// A number of threads for a part of a test.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>

namespace orrery::testing {

/// What the environment asks for, for as long as this lives. Not while threads run.
class Threads {
 public:
  explicit Threads(const std::string& wanted) {
    if (const char* before = std::getenv(kName)) before_ = before;
    setenv(kName, wanted.c_str(), 1);
  }
  ~Threads() {
    if (before_) {
      setenv(kName, before_->c_str(), 1);
    } else {
      unsetenv(kName);
    }
  }
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

 private:
  static constexpr const char* kName = "ORRERY_THREADS";
  std::optional<std::string> before_;
};

}  // namespace orrery::testing
