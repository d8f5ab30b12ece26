// SPDX-License-Identifier: Apache-2.0
#include "program/fidelity.h"

#include "program/json_parts.h"
#include "tests/unit/program/reading.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery {
namespace {

using testing::problems_of;

Fidelities of(const std::vector<std::string>& settings, Fidelities fidelities = {}) {
  fidelities.set(settings);
  return fidelities;
}

std::string problem_of(const std::string& setting) {
  return problems_of([&] { return of({setting}); });
}

Fidelities read(const std::string& text) {
  const JsonDocument document = JsonDocument::parse_text(text, "f.json");
  Fidelities fidelities = read_fidelities(document.root());
  document.throw_if_problems();
  return fidelities;
}

std::string problems_of_text(const std::string& text) {
  return problems_of([&] { return read(text); });
}

TEST(Fidelities, AreL1WithoutSettings) {
  EXPECT_EQ(Fidelities().of(OpCode::moe_dispatch), Fidelity::l1);
  EXPECT_EQ(Fidelities().text(), "L1");
}

TEST(Fidelities, NameOneForAllAndOthersForSome) {
  const Fidelities some = of({"moe.dispatch=L3", "L0", "pp.send_act=L1"});
  EXPECT_EQ(some.of(OpCode::moe_dispatch), Fidelity::l3);
  EXPECT_EQ(some.of(OpCode::pp_send_act), Fidelity::l1);
  EXPECT_EQ(some.of(OpCode::moe_combine), Fidelity::l0);
  EXPECT_EQ(some.text(), "L0, moe.dispatch=L3, pp.send_act=L1");
}

TEST(Fidelities, KeepWhatASettingDoesNotName) {
  const Fidelities plan(Fidelity::l2, {{OpCode::moe_dispatch, Fidelity::l3}, {OpCode::pp_send_act, Fidelity::l0}});
  EXPECT_EQ(of({}, plan), plan);
  EXPECT_EQ(of({"L0"}, plan).text(), "L0, moe.dispatch=L3, pp.send_act=L0");
  EXPECT_EQ(of({"moe.dispatch=L1"}, plan).text(), "L2, moe.dispatch=L1, pp.send_act=L0");
  EXPECT_EQ(of({"moe.dispatch=L1", "L3", "moe.dispatch=L2"}, plan).text(), "L3, moe.dispatch=L2, pp.send_act=L0");
}

TEST(Fidelities, SayWhatTheyExpect) {
  EXPECT_EQ(problem_of("L4"), "--fidelity: expected L0, L1, L2 or L3, got L4 in L4");
  EXPECT_EQ(problem_of("moe.dispatch=3"), "--fidelity: expected L0, L1, L2 or L3, got 3 in moe.dispatch=3");
  EXPECT_EQ(problem_of("attn.qkv=L2"),
            "--fidelity: expected the name of a communication, got attn.qkv\n"
            "  hint: the table of communications that orrery simulate prints has them, such as moe.dispatch");
}

TEST(Fidelities, AreReadFromAnObject) {
  EXPECT_EQ(read("{}"), Fidelities());
  EXPECT_EQ(read(R"({"default": "L2"})"), Fidelities(Fidelity::l2));
  EXPECT_EQ(read(R"({"moe.dispatch": "L3"})"), Fidelities(Fidelity::l1, {{OpCode::moe_dispatch, Fidelity::l3}}));
}

TEST(Fidelities, AreReadBackAsTheyWereWritten) {
  for (const Fidelities& fidelities :
       {Fidelities(), Fidelities(Fidelity::l3),
        Fidelities(Fidelity::l0, {{OpCode::dp_grad_rs, Fidelity::l2}, {OpCode::moe_combine, Fidelity::l1}})}) {
    JsonWriter out;
    write_fidelities(out, fidelities);
    EXPECT_EQ(read(out.text()), fidelities);
  }
}

TEST(Fidelities, NameEveryMistakeOfAnObject) {
  EXPECT_EQ(problems_of_text(R"({"default": "L7", "moe.dispach": "L2", "moe.combine": 3})"),
            "f.json:1: /default: expected \"L0\", \"L1\", \"L2\" or \"L3\", got \"L7\"\n"
            "f.json:1: /moe.combine: expected \"L0\", \"L1\", \"L2\" or \"L3\", got 3\n"
            "f.json:1: /moe.dispach: unknown key; did you mean \"moe.dispatch\"?");
  // Compute has no level: the communications are listed.
  EXPECT_THAT(problems_of_text(R"({"attn.core": "L2"})"),
              ::testing::AllOf(::testing::StartsWith("f.json:1: /attn.core: unknown key\n  hint: known keys: cp.dkv, "),
                               ::testing::HasSubstr(", default, dp.grad_ar, "),
                               ::testing::HasSubstr(", moe.combine, moe.dispatch, norm.reduce, pp.recv_act, "),
                               ::testing::Not(::testing::HasSubstr("attn.core,"))));
}

TEST(Fidelities, AreNamedInTheSchemaOfPlans) {
  const JsonDocument document =
      JsonDocument::parse_text(testing::repository_text("schemas/plan.schema.json"), "plan.schema.json");
  const JsonObject of_plan = document.root().required("properties").object().required("fidelity").object();
  std::vector<std::string> names, expected = {"default"};
  for (const JsonValue& name : of_plan.required("propertyNames").object().required("enum").array()) {
    names.push_back(name.string());
  }
  for (int code = 0; code < kNumOpCodes; ++code) {
    const auto op = static_cast<OpCode>(code);
    if (is_communication(op)) expected.emplace_back(name_of(op));
  }
  EXPECT_EQ(names, expected);
}

}  // namespace
}  // namespace orrery
