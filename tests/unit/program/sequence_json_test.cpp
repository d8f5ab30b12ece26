// SPDX-License-Identifier: Apache-2.0
#include "program/sequence_json.h"

#include "tests/unit/program/reading.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::problems_of;

SequenceModel read(const std::string& text) { return read_sequences_text(text, "lengths.json"); }

std::string problems(const std::string& text) {
  return problems_of([&] { return read(text); });
}

TEST(SequenceJson, IsReadBackAsItWasWritten) {
  const HistogramLengths histogram{.documents = {{512, 0.75}, {8192, 0.25}}, .seed = 9};
  EXPECT_EQ(std::get<HistogramLengths>(read(to_json(histogram))), histogram);
  const RecordedLengths recorded{.sequences = {{100, 28}, {128}}};
  const SequenceModel shared_recorded = std::make_shared<const RecordedLengths>(recorded);
  EXPECT_EQ(*std::get<std::shared_ptr<const RecordedLengths>>(read(to_json(shared_recorded))), recorded);
  const PackedLengths packed{.documents = {7, 11}};
  const SequenceModel shared_packed = std::make_shared<const PackedLengths>(packed);
  EXPECT_EQ(*std::get<std::shared_ptr<const PackedLengths>>(read(to_json(shared_packed))), packed);
  EXPECT_TRUE(is_fixed(read(to_json(FixedLengths{}))));
}

TEST(SequenceJson, IsWrittenForPeople) {
  EXPECT_EQ(to_json(HistogramLengths{.documents = {{512, 0.75}}, .seed = 9}),
            "{\n"
            "  \"schema\": \"sequence/1\",\n"
            "  \"kind\": \"histogram\",\n"
            "  \"seed\": 9,\n"
            "  \"documents\": [\n"
            "    {\n"
            "      \"tokens\": 512,\n"
            "      \"weight\": 0.75\n"
            "    }\n"
            "  ]\n"
            "}\n");
}

TEST(SequenceJson, ReportsAllProblemsAtOnce) {
  EXPECT_EQ(problems(R"({"schema": "sequence/1", "kind": "histogram", "seed": -1, "tokens": 3,
 "documents": [{"tokens": 0, "weight": 0},
  {"tokens": 8}]})"),
            "lengths.json:1: /seed: expected an integer of at least 0, got -1\n"
            "lengths.json:1: /tokens: unknown key\n"
            "  hint: known keys: documents, kind, schema, seed\n"
            "lengths.json:2: /documents/0/tokens: expected an integer from 1 to 1073741824, got 0\n"
            "lengths.json:2: /documents/0/weight: expected a number from 1e-09 to 1000000000, got 0\n"
            "lengths.json:3: /documents/1: expected the key \"weight\", which is missing");
}

TEST(SequenceJson, RefusesAnUnknownKindAndAnotherSchema) {
  EXPECT_EQ(problems(R"({"schema": "sequence/1", "kind": "uniform"})"),
            "lengths.json:1: /kind: expected \"fixed\", \"histogram\", \"recorded\" or \"packed\", got \"uniform\"");
  EXPECT_EQ(problems(R"({"schema": "sequence/2", "kind": "fixed"})"),
            "lengths.json:1: /schema: expected \"sequence/1\", got \"sequence/2\"");
}

TEST(SequenceJson, RefusesEmptyLists) {
  EXPECT_EQ(problems(R"({"schema": "sequence/1", "kind": "packed", "documents": []})"),
            "lengths.json:1: /documents: expected at least one document, got none");
  EXPECT_EQ(problems(R"({"schema": "sequence/1", "kind": "recorded", "sequences": []})"),
            "lengths.json:1: /sequences: expected at least one sequence, got none");
  EXPECT_EQ(problems(R"({"schema": "sequence/1", "kind": "recorded", "sequences": [[8], []]})"),
            "lengths.json:1: /sequences/1: expected at least one document, got none");
}

TEST(SequenceJson, NamesAFileThatIsNotThere) {
  EXPECT_EQ(problems_of([] { return read_sequences("no/lengths.json"); }),
            "no/lengths.json: expected a readable file, got: No such file or directory");
}

}  // namespace
}  // namespace orrery
