// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "traces/trace.h"

#include <limits>
#include <string>
#include <string_view>

// A step of two pipeline stages with one micro-batch, small enough to follow by hand. In seconds:
//   rank 0 | qkv 0-2 | send 2-3 |                | norm.reduce ready 3, 5-6
//   rank 1 | recv ready 0, 2-3  | logits 3-5     | norm.reduce 5-6

namespace orrery::testing {

inline Span span(std::int32_t rank, std::string_view key, Queue queue, double ready, double start, double end,
                 std::int32_t last_peer = -1, double sent = 0.0) {
  return {.step = 0,
          .rank = rank,
          .key = parse_op_key(key).value(),
          .queue = queue,
          .ready = seconds(ready),
          .start = seconds(start),
          .end = seconds(end),
          .last_peer = last_peer,
          .bytes = bytes(sent)};
}

inline constexpr const char* kQkv = "step/mb0/stage0/layer0/fwd/attn.qkv";
inline constexpr const char* kSend = "step/mb0/stage0/fwd/pp.send_act";
inline constexpr const char* kRecv = "step/mb0/stage1/fwd/pp.recv_act";
inline constexpr const char* kLogits = "step/mb0/stage1/head/fwd/head.logits";
inline constexpr const char* kNorm0 = "step/stage0/sync/norm.reduce";
inline constexpr const char* kNorm1 = "step/stage1/sync/norm.reduce";

inline Trace tiny_trace() {
  Trace trace;
  trace.header = {.interpreter = "cpu",
                  .version = "0.1.0",
                  .program_hash = "abc",
                  .plan = "plans/tiny.json",
                  .num_ranks = 2,
                  .represents = {{0, 1}, {1, 1}},
                  .clock_error = microseconds(0.3),
                  .threads_per_rank = 1,
                  .extrapolated = {"moe.fc1"},
                  .notes = {"a note with \"quotes\""}};
  trace.spans.push_back(span(0, kQkv, Queue::compute, 0, 0, 2));
  trace.spans.push_back(span(0, kSend, Queue::pp_send_next, 2, 2, 3, -1, 4096));
  trace.spans.push_back(span(1, kRecv, Queue::pp_recv_prev, 0, 2, 3, 0));
  trace.spans.push_back(span(1, kLogits, Queue::compute, 3, 3, 5));
  trace.spans.push_back(span(0, kNorm0, Queue::world, 3, 5, 6, 1, 32));
  trace.spans.push_back(span(1, kNorm1, Queue::world, 5, 5, 6, -1, 32));
  trace.steps.push_back({.step = 0,
                         .time = seconds(6),
                         .tokens = 4096,
                         .loss = 5.63,
                         .grad_norm = std::numeric_limits<double>::quiet_NaN(),
                         .peak_memory = mib(300)});
  return trace;
}

}  // namespace orrery::testing
