// SPDX-License-Identifier: Apache-2.0
// "Did you mean": the known word nearest to what the user wrote.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace orrery {

/// The number of insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`.
int edit_distance(std::string_view a, std::string_view b);

/// The candidate nearest to `word`, or "" if none is near enough to be a likely slip of the keyboard
/// (at most 2 edits and at most a third of the word).
std::string nearest_word(std::string_view word, std::span<const std::string> candidates);

/// `"a", "b" or "c"`: the choices of an error message.
std::string list_of_choices(std::span<const std::string_view> choices);

}  // namespace orrery
