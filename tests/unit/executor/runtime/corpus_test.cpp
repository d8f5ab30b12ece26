// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/corpus.h"

#include "base/errors.h"
#include "tests/unit/base/test_folder.h"

#include <fstream>
#include <map>
#include <set>

#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

class TextFile {
 public:
  explicit TextFile(const std::string& text) : path_(orrery::testing::own_path("corpus.txt")) {
    std::ofstream(path_) << text;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

struct Sequence {
  std::vector<std::int64_t> tokens, labels;
};

Sequence sequence(const Corpus& corpus, std::int64_t index, std::size_t seq) {
  Sequence out{std::vector<std::int64_t>(seq), std::vector<std::int64_t>(seq)};
  corpus.sequence(index, out.tokens, out.labels);
  return out;
}

TEST(Corpus, BytesOfATextAreTokensAndLabelsAreTheNextBytes) {
  const TextFile file("abcdefgh");
  const Corpus corpus(file.path(), 256, 3, 1);
  EXPECT_EQ(sequence(corpus, 0, 3).tokens, (std::vector<std::int64_t>{'a', 'b', 'c'}));
  EXPECT_EQ(sequence(corpus, 0, 3).labels, (std::vector<std::int64_t>{'b', 'c', 'd'}));
  EXPECT_EQ(sequence(corpus, 1, 3).tokens, (std::vector<std::int64_t>{'d', 'e', 'f'}));
  EXPECT_EQ(sequence(corpus, 2, 3).tokens, (std::vector<std::int64_t>{'b', 'c', 'd'}));  // 6 mod 5 starts
}

TEST(Corpus, SyntheticTextIsAFunctionOfSeedAndNumberAndCanBeLearned) {
  const Corpus corpus("", 64, 512, 7), same("", 64, 512, 7), other("", 64, 512, 8);
  EXPECT_EQ(sequence(corpus, 5, 512).tokens, sequence(same, 5, 512).tokens);
  EXPECT_NE(sequence(corpus, 5, 512).tokens, sequence(corpus, 6, 512).tokens);
  EXPECT_NE(sequence(corpus, 5, 512).tokens, sequence(other, 5, 512).tokens);
  std::map<std::int64_t, std::set<std::int64_t>> successors;
  for (int i = 0; i < 8; ++i) {
    const Sequence s = sequence(corpus, i, 512);
    for (std::size_t t = 0; t < 512; ++t) successors[s.tokens[t]].insert(s.labels[t]);
  }
  for (const auto& [token, followers] : successors) EXPECT_LE(followers.size(), 4U) << token;
}

TEST(Corpus, NamesWhatIsWrongWithAFile) {
  const auto message = [](const std::string& path, std::int64_t vocab, std::int64_t seq) -> std::string {
    try {
      const Corpus corpus(path, vocab, seq, 1);
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "";
  };
  const TextFile file("abc");
  EXPECT_EQ(message(file.path(), 256, 3), file.path() +
                                              ": expected at least 4 bytes (one sequence and its last "
                                              "label), got 3");
  EXPECT_EQ(message(file.path(), 64, 2), file.path() + ": expected bytes below 64 (the vocabulary), got 99");
  EXPECT_NE(message("no/such/file", 64, 2), "");
}

}  // namespace
}  // namespace orrery::executor
