// SPDX-License-Identifier: Apache-2.0
#include "base/suggestion.h"

#include <vector>

#include <gtest/gtest.h>

namespace orrery {
namespace {

TEST(EditDistance, CountsInsertionsDeletionsReplacementsAndSwaps) {
  EXPECT_EQ(edit_distance("", ""), 0);
  EXPECT_EQ(edit_distance("", "abc"), 3);
  EXPECT_EQ(edit_distance("bandwith", "bandwidth"), 1);
  EXPECT_EQ(edit_distance("nodse", "nodes"), 1);
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3);
  EXPECT_EQ(edit_distance("sitting", "kitten"), 3);
}

TEST(NearestWord, IsALikelySlipOfTheKeyboard) {
  const std::vector<std::string> known = {"bandwidth", "latency", "rails", "pp"};
  EXPECT_EQ(nearest_word("bandwith", known), "bandwidth");
  EXPECT_EQ(nearest_word("latncey", known), "latency");
  EXPECT_EQ(nearest_word("color", known), "");
  EXPECT_EQ(nearest_word("tp", known), "") << "every two-letter word is near every other";
  EXPECT_EQ(nearest_word(std::string(100000, 'a'), known), "");
}

TEST(ListOfChoices, ReadsAsASentence) {
  const std::vector<std::string_view> choices = {"gpipe", "1f1b", "interleaved"};
  EXPECT_EQ(list_of_choices(choices), "\"gpipe\", \"1f1b\" or \"interleaved\"");
  EXPECT_EQ(list_of_choices(std::span(choices).first(1)), "\"gpipe\"");
}

}  // namespace
}  // namespace orrery
