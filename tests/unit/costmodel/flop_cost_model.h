// SPDX-License-Identifier: Apache-2.0
// A cost model for lowered programs: each floating-point operation takes a picosecond.
#pragma once

#include "program/sequence_model.h"
#include "program/work.h"
#include "tests/conformance/programs.h"

#include <memory>
#include <utility>
#include <vector>

namespace orrery::testing {

class PicosecondPerFlop : public NanosecondPerByte {
 public:
  using NanosecondPerByte::NanosecondPerByte;
  costmodel::OpTime compute(const OpKey& key, const OpShape& shape, const ResolvedLoad& load,
                            DeviceIndex) const override {
    return {.time = seconds(work_of(key, shape, load).flops.in(unit::flop) * 1e-12)};
  }
};

/// The documents of each sequence, in order.
inline SequenceModel lengths(std::vector<std::vector<std::int64_t>> sequences) {
  return std::make_shared<const RecordedLengths>(RecordedLengths{.sequences = std::move(sequences)});
}

}  // namespace orrery::testing
