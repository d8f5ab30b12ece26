// SPDX-License-Identifier: Apache-2.0
// What the reader says about text that is no JSON, and the lines it reports.
#include "base/json_reader.h"

#include <gtest/gtest.h>

namespace orrery {
namespace {

std::string error_of(std::string_view text, int first_line = 1) {
  try {
    JsonDocument::parse_text(text, "a.json", first_line).throw_if_problems();
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

constexpr const char* kExpected =
    "; expected a key or a value: text in double quotes (UTF-8), a finite number, true, false, null, [ or {";

TEST(JsonSyntax, TruncatedFileNamesTheLastLine) {
  EXPECT_EQ(error_of(""), "a.json:1: invalid JSON: unexpected end of input; expected '[', '{', or a literal");
  EXPECT_EQ(error_of("{\n\"a\": 1,\n"), "a.json:2: invalid JSON: unexpected end of input; expected string literal");
  EXPECT_EQ(error_of("{\n\"a\": 1", 5), "a.json:6: invalid JSON: unexpected end of input; expected '}'");
}

TEST(JsonSyntax, MisplacedTokenNamesWhatBelongsThere) {
  EXPECT_EQ(error_of("{\"a\":\n 1\n \"b\":2}"), "a.json:3: invalid JSON: unexpected string literal; expected '}'");
  EXPECT_EQ(error_of("{\"a\" 1}"), "a.json:1: invalid JSON: unexpected number literal; expected ':'");
  EXPECT_EQ(error_of("{} {}"), "a.json:1: invalid JSON: unexpected '{'; expected end of input");
  EXPECT_EQ(error_of("[01]"), "a.json:1: invalid JSON: unexpected number literal; expected ']'");
  EXPECT_EQ(error_of("[1.]"), "a.json:1: invalid JSON: invalid number; expected digit after '.'; last read: '1.]'");
}

TEST(JsonSyntax, WhatJsonDoesNotHaveIsRefused) {
  EXPECT_EQ(error_of("[NAN]"), "a.json:1: invalid JSON: invalid literal; last read: '[N'" + std::string(kExpected));
  EXPECT_EQ(error_of("// x\n{}"), "a.json:1: invalid JSON: invalid literal; last read: '/'" + std::string(kExpected));
  EXPECT_EQ(error_of("{\"a\": [1,\n0.1e310, -1e999], \"b\": \"1e999\", \"c\": -1e-999}"),
            "a.json:2: /a/1: expected a finite number, got 0.1e310\n"
            "a.json:2: /a/2: expected a finite number, got -1e999");
  EXPECT_NE(error_of("[1e999.5e999]").find("invalid JSON"), std::string::npos);
  EXPECT_EQ(error_of("[\"\xff\"]"),
            "a.json:1: invalid JSON: invalid string: ill-formed UTF-8 byte" + std::string(kExpected));
}

TEST(JsonSyntax, NumbersThatAreNotFiniteAreNamedByTheirPlace) {
  EXPECT_EQ(error_of("{\"a\": [1,\n{\"NaN\": NaN}],\n\"b\": -Infinity, \"c\": \"say \\\"NaN\\\"\"}"),
            "a.json:2: /a/1/NaN: expected a finite number, got NaN\n"
            "a.json:3: /b: expected a finite number, got -Infinity");
  EXPECT_EQ(error_of("{\"a\": \"Infinity\"}"), "no error");
  EXPECT_NE(error_of("[NaNs]").find("invalid JSON"), std::string::npos);
}

TEST(JsonSyntax, AReaderThatMeetsNanComplainsOnce) {
  const JsonDocument document = JsonDocument::parse_text("{\"a\": NaN, \"b\": Infinity}", "a.json");
  EXPECT_EQ(document.root().required("a").integer({.min = 1}), 1);
  EXPECT_EQ(document.root().required("b").number({.min = 0.5}), 0.5);
  EXPECT_EQ(document.problems().problems().size(), 2u);
}

TEST(JsonSyntax, NestingHasALimit) {
  const std::string deep = std::string(200, '[') + std::string(200, ']');
  EXPECT_EQ(error_of(deep), "no error");
  EXPECT_EQ(error_of("[" + deep + "]"), "a.json:1: expected at most 200 levels of nesting, got more");
  EXPECT_EQ(error_of(std::string(1000000, '[')), "a.json:1: expected at most 200 levels of nesting, got more");
}

TEST(JsonSyntax, NoTruncationOfAFileCrashes) {
  const std::string text = R"({"a": [1, -2.5e3, "x\u00e9\n", true, null], "b": {"c": {}}, "d": "80 GiB"})";
  for (std::size_t size = 0; size < text.size(); ++size) {
    EXPECT_NE(error_of(text.substr(0, size)).find("invalid JSON"), std::string::npos) << text.substr(0, size);
  }
  EXPECT_EQ(error_of(text), "no error");
}

TEST(JsonSyntax, AByteOrderMarkIsAccepted) { EXPECT_EQ(error_of("\xef\xbb\xbf{}"), "no error"); }

TEST(JsonSyntax, DuplicateKeysNameBothLines) {
  EXPECT_EQ(error_of("{\n\"a\": 1,\n\"b\": {\"c\": 1, \"c\": 2},\n\"a\": 3}"),
            "a.json:3: /b/c: duplicate key; it is already in line 3\n"
            "a.json:4: /a: duplicate key; it is already in line 2");
}

TEST(JsonSyntax, TheFirstOfTwoEqualKeysIsRead) {
  const JsonDocument document = JsonDocument::parse_text(R"({"a": 1, "a": 2})", "a.json");
  EXPECT_EQ(document.root().required("a").integer(), 1);
}

TEST(JsonSyntax, LinesAreThoseOfTheValues) {
  const JsonDocument document = JsonDocument::parse_text(R"({
  "number":
     12
  ,
  "text": "x", "list": [
    1,
    2
  ], "last": 4
}
)",
                                                         "a.json", 10);
  const JsonObject in = document.root();
  EXPECT_EQ(in.line(), 10);
  EXPECT_EQ(in.required("number").line(), 12);
  EXPECT_EQ(in.required("text").line(), 14);
  const std::vector<JsonValue> list = in.required("list").array();
  EXPECT_EQ(list.at(0).line(), 15);
  EXPECT_EQ(list.at(1).line(), 16);
  EXPECT_EQ(list.at(1).pointer(), "/list/1");
  EXPECT_EQ(in.required("last").line(), 17);
}

TEST(JsonSyntax, ManyMembersAreReadInReasonableTime) {
  std::string text = "{";
  for (int i = 0; i < 100000; ++i) text += "\"key" + std::to_string(i) + "\": 1,\n";
  text += "\"key5\": 2}";
  EXPECT_EQ(error_of(text), "a.json:100001: /key5: duplicate key; it is already in line 6");
}

}  // namespace
}  // namespace orrery
