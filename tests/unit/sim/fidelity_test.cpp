// SPDX-License-Identifier: Apache-2.0
#include "sim/fidelity.h"

#include "base/errors.h"

#include <gtest/gtest.h>

namespace orrery::sim {
namespace {

std::string problem_of(const std::string& setting) {
  try {
    Fidelities::parse({setting});
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(Fidelities, AreL1WithoutSettings) {
  EXPECT_EQ(Fidelities().of(OpCode::moe_dispatch), Fidelity::l1);
  EXPECT_EQ(Fidelities().text(), "L1");
}

TEST(Fidelities, NameOneForAllAndOthersForSome) {
  const Fidelities some = Fidelities::parse({"moe.dispatch=L3", "L0", "pp.send_act=L1"});
  EXPECT_EQ(some.of(OpCode::moe_dispatch), Fidelity::l3);
  EXPECT_EQ(some.of(OpCode::pp_send_act), Fidelity::l1);
  EXPECT_EQ(some.of(OpCode::moe_combine), Fidelity::l0);
  EXPECT_EQ(Fidelities::parse(some.settings()).text(), some.text());
}

TEST(Fidelities, SayWhatTheyExpect) {
  EXPECT_EQ(problem_of("L4"), "--fidelity: expected L0, L1, L2 or L3, got L4 in L4");
  EXPECT_EQ(problem_of("moe.dispatch=3"), "--fidelity: expected L0, L1, L2 or L3, got 3 in moe.dispatch=3");
  EXPECT_EQ(problem_of("attn.qkv=L2"),
            "--fidelity: expected the name of a communication, got attn.qkv\n"
            "  hint: the table of communications that orrery simulate prints has them, such as moe.dispatch");
}

}  // namespace
}  // namespace orrery::sim
