// SPDX-License-Identifier: Apache-2.0
// The three ways to fail. ConfigError: the user's file or flag is wrong; it carries every problem found, each with
// file, line and JSON pointer (exit 2). BackendError: the operating system, a device or a peer failed (exit 4).
// InternalError: our bug, thrown by CHECK (exit 1). A candidate that cannot work is none of these: it is a value
// (exit 3 when nothing else is left), because a search meets millions of them.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace orrery {

/// One thing wrong in what the user gave. Printed as
///     file:line: /json/pointer: message
///       hint: hint
/// where empty or zero parts are left out. The message says what was expected and what was found.
struct Problem {
  std::string file = "";
  int line = 0;
  std::string pointer = "";
  std::string message = "";
  std::string hint = "";
};

/// The text of one problem, without a newline at the end; hint lines are indented by two spaces.
std::string to_text(const Problem& problem);

/// The user's input is wrong; `what()` lists all problems, one below the other.
class ConfigError : public std::runtime_error {
 public:
  /// Requires: at least one problem.
  explicit ConfigError(std::vector<Problem> problems);

  /// A problem that belongs to no line of a file, such as a flag.
  explicit ConfigError(std::string message, std::string hint = "");

  const std::vector<Problem>& problems() const { return problems_; }

 private:
  std::vector<Problem> problems_;
};

/// The system, a device or another rank failed; nothing in the user's files explains it.
class BackendError : public std::runtime_error {
 public:
  explicit BackendError(const std::string& message);

  /// A failure on one rank while it ran one op; `op_key` may be empty. `what()` is "rank 3, mb0/stage1/...: message".
  BackendError(int rank, const std::string& op_key, const std::string& message);

  /// The rank that failed; -1 when it is not known.
  int rank() const { return rank_; }

 private:
  int rank_ = -1;
};

/// A broken promise of our own code.
class InternalError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

/// Collects problems so that the user sees all of them at once.
class ProblemList {
 public:
  void add(Problem problem) { problems_.push_back(std::move(problem)); }
  bool empty() const { return problems_.empty(); }
  const std::vector<Problem>& problems() const { return problems_; }

  /// Throws: ConfigError with all problems, ordered by file and line, if there are any.
  void throw_if_any() const;

 private:
  std::vector<Problem> problems_;
};

}  // namespace orrery
