// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/shell_words.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> texts_of(const std::vector<ShellWord>& words) {
  std::vector<std::string> texts;
  for (const ShellWord& word : words) texts.push_back(word.text);
  return texts;
}

std::vector<std::string> words_of(std::string_view text) { return texts_of(shell_words(text).words); }

TEST(ShellWords, AreSplitAtSpacesOutsideQuotes) {
  EXPECT_THAT(words_of("a 'b $c' \"d e\"f # g\nh \\\n i"), ElementsAre("a", "b $c", "d ef", "h", "i"));
  EXPECT_THAT(words_of("--freq ([0]*3+[1]*58) x"), ElementsAre("--freq", "([0]*3+[1]*58)", "x"));
}

TEST(ShellWords, HaveTheLineOnWhichTheyBegin) {
  const std::vector<ShellWord> words = shell_words("a\nA='x\ny'\nb").words;
  ASSERT_EQ(words.size(), 2U);
  EXPECT_EQ(words[1].text, "b");
  EXPECT_EQ(words[1].line, 4);
}

TEST(ShellWords, TakeVariablesThatTheScriptAssigns) {
  EXPECT_THAT(words_of("TP=2; export PP=4\nrun $TP ${PP} \"x$TP-y\" --a=$TP"),
              ElementsAre("export", "run", "2", "4", "x2-y", "--a=2"));
  EXPECT_THAT(words_of("TP=${TP:-8}\nEP=${1:-16}\nrun $TP ${CP:-\"1\"} $EP"), ElementsAre("run", "8", "1", "${1:-16}"));
  EXPECT_THAT(words_of("N=$(($G*$M))\nrun $N $HOME $(date +%s)"),
              ElementsAre("run", "$(($G*$M))", "$HOME", "$(date +%s)"));
}

TEST(ShellWords, SplitWhatAVariableHoldsUnlessItIsQuoted) {
  EXPECT_THAT(words_of("ARGS=\"\n --a 1 \\\n --b 2\n\"\nrun $ARGS \"$ARGS\"").size(), 6U);
  EXPECT_THAT(words_of("ARGS=\"--a 1 \\\n --b 2\"\nMORE=\"$ARGS --c\"\nrun ${MORE}"),
              ElementsAre("run", "--a", "1", "--b", "2", "--c"));
}

TEST(ShellWords, TakeArraysThatTheScriptAssigns) {
  const ShellText text = shell_words(
      "MODEL=(\n  --layers 3  # few\n#  --wide\n  --freq '([0]*1+[1]*2)'\n  --odd ([1]*3)\n)\nMODEL+=(--tp $TP)\n"
      "torchrun train.py ${MODEL[@]} \"${MODEL[@]}\" ${NONE[@]}");
  EXPECT_THAT(texts_of(text.elements),
              ElementsAre("--layers", "3", "--freq", "([0]*1+[1]*2)", "--odd", "([1]*3)", "--tp", "$TP"));
  ASSERT_EQ(text.words.size(), 2U + 8U + 8U + 1U);
  EXPECT_EQ(text.words[3].text, "3");
  EXPECT_EQ(text.words.back().text, "${NONE[@]}");
}

TEST(ShellWords, LeaveWhatABranchAssigns) {
  EXPECT_THAT(words_of("A=1\nB=(x)\nif true; then\n A=2\n B+=(y)\n C=3\nfi\nD=4\nrun $A ${B[@]} $C $D ${A:-5}"),
              ElementsAre("if", "true;", "then", "fi", "run", "$A", "${B[@]}", "$C", "4", "${A:-5}"));
}

TEST(ShellWords, EndBeforeAQuoteThatNobodyCloses) {
  const ShellText text = shell_words("a\nb 'c d");
  EXPECT_THAT(texts_of(text.words), ElementsAre("a", "b"));
  ASSERT_TRUE(text.open_quote);
  EXPECT_EQ(text.open_quote->quote, '\'');
  EXPECT_EQ(text.open_quote->line, 2);
  EXPECT_THAT(words_of(""), IsEmpty());
  EXPECT_THAT(words_of("a ${b $(c"), ElementsAre("a", "${b $(c"));
}

}  // namespace
}  // namespace orrery::planner
