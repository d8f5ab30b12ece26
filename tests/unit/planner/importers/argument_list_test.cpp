// SPDX-License-Identifier: Apache-2.0
#include "planner/importers/argument_list.h"

#include "base/errors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::planner {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

constexpr Named<int> kColours[] = {{"red", 1}, {"green", 2}};

std::string problems_of(const ArgumentList& in) {
  try {
    in.throw_if_any();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no problem";
}

TEST(ArgumentList, SplitsWordsAsAShellDoes) {
  ArgumentList in("--a 1 --b='x y' --c \"p\"q \\\n  r # --d 2\n--e -3", "a.txt");
  EXPECT_EQ(in.integer("--a"), 1);
  EXPECT_EQ(in.word("--b"), "x y");
  EXPECT_THAT(in.words("--c"), Optional(ElementsAre("pq", "r")));
  EXPECT_FALSE(in.has("--d"));
  EXPECT_EQ(in.integer("--e", -5), -3);
  EXPECT_EQ(problems_of(in), "no problem");
}

TEST(ArgumentList, PassesOverTheLauncherAndTakesTheLastOfTwo) {
  ArgumentList in("srun torchrun --a 7 train.py --a 1 --b --a 2", "a.txt");
  EXPECT_EQ(in.integer("--a"), 2);
  EXPECT_TRUE(in.on("--b"));
  EXPECT_FALSE(in.on("--c"));
}

TEST(ArgumentList, ReadsAScriptThatHoldsThemInArrays) {
  const std::string arrays = "A=4\nMODEL=(\n  --a $A\n  # --b\n)\nMORE=( --c x y )\n";
  ArgumentList script(arrays + "torchrun --d 7 train.py ${MODEL[@]} \\\n  ${MORE[@]}\n", "a.sh");
  EXPECT_EQ(script.integer("--a"), 4);
  EXPECT_THAT(script.words("--c"), Optional(ElementsAre("x", "y")));
  EXPECT_FALSE(script.has("--b"));
  EXPECT_FALSE(script.has("--d"));
  ArgumentList pasted(arrays, "a.sh");
  EXPECT_EQ(pasted.integer("--a"), 4);
  EXPECT_EQ(problems_of(ArgumentList("train.py --a 1 ${MODEL[@]}", "a.sh")),
            "a.sh:1: expected arguments, got the shell's \"${MODEL[@]}\"\n"
            "  hint: let the shell fill it in: echo ARGUMENTS > FILE");
}

TEST(ArgumentList, NamesTheLineOfWhatIsWrong) {
  ArgumentList in("--a one\n--b\n--c 1 2\n--d $X\n--e blue\n--f 1.5x", "a.txt");
  EXPECT_EQ(in.integer("--a"), std::nullopt);
  EXPECT_EQ(in.word("--b"), std::nullopt);
  EXPECT_EQ(in.word("--c"), std::nullopt);
  EXPECT_EQ(in.word("--d"), std::nullopt);
  EXPECT_EQ(in.one_of("--e", kColours), std::nullopt);
  EXPECT_EQ(in.number("--f"), std::nullopt);
  EXPECT_EQ(problems_of(in),
            "a.txt:1: --a: expected an integer from 1 to 1073741824, got \"one\"\n"
            "a.txt:2: --b: expected a value, got none\n"
            "a.txt:3: --c: expected one value, got 2\n"
            "a.txt:4: --d: expected a value, got the shell's \"$X\"\n"
            "  hint: let the shell fill it in: echo ARGUMENTS > FILE\n"
            "a.txt:5: --e: expected \"red\" or \"green\", got \"blue\"\n"
            "a.txt:6: --f: expected a number, got \"1.5x\"");
}

TEST(ArgumentList, ReportsAQuoteThatNobodyCloses) {
  EXPECT_EQ(problems_of(ArgumentList("--a 1\n--b 'x\n", "a.txt")),
            "a.txt:2: expected a ' at the end of what it opens, got the end");
}

TEST(ArgumentList, KnowsWhatWasNotReadInTheOrderOfTheText) {
  ArgumentList in("--z 1 --a 2 --m", "a.txt");
  EXPECT_EQ(in.integer("--a"), 2);
  EXPECT_THAT(in.unread(), ElementsAre("--z", "--m"));
}

TEST(ArgumentList, ReadsChoicesAndNumbers) {
  ArgumentList in("--a green --b 1.25 --c 0", "a.txt");
  EXPECT_EQ(in.one_of("--a", kColours), 2);
  EXPECT_EQ(in.number("--b"), 1.25);
  EXPECT_EQ(in.integer("--c", 0), 0);
  EXPECT_EQ(in.number("--d"), std::nullopt);
}

}  // namespace
}  // namespace orrery::planner
