// SPDX-License-Identifier: Apache-2.0
// A shell script's words, as far as scripts that start a training need it: quotes, comments, lines that go on,
// variables and arrays that the script itself assigns (NAME=value, NAME=(...), NAME+=(...)), and their use ($NAME,
// ${NAME}, ${NAME:-default}, ${NAME[@]}). Nothing is run: $(...), arithmetic, positional parameters, and variables
// that only the environment or a branch of the script assigns stay as they are written, for whoever needs their value
// to refuse them.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::planner {

struct ShellWord {
  std::string text;
  int line = 0;  // from 1
};

struct ShellText {
  /// Without assignments that were understood.
  std::vector<ShellWord> words;
  /// Elements of arrays, in the order of the text: where no command uses them, what was pasted.
  std::vector<ShellWord> elements;
  struct OpenQuote {
    char quote = 0;
    int line = 0;
  };
  std::optional<OpenQuote> open_quote;  // that nobody closes; words end before it
};

ShellText shell_words(std::string_view text);

}  // namespace orrery::planner
