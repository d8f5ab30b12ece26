// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/check.h"
#include "executor/kernels/matrix.h"

// How kernels turn the element type of a view, known at run time, into a template argument: once per call, outside of
// every loop. Inside, static_cast<float>(element) widens, and element = value rounds.

namespace orrery::executor {

/// Calls function(T{}) with T = float or bf16. Requires: one of the two types.
template <class Function>
void with_element(DType dtype, Function&& function) {
  if (dtype == DType::bf16) {
    function(bf16{});
    return;
  }
  CHECK(dtype == DType::f32, name_of(dtype));
  function(float{});
}

}  // namespace orrery::executor
