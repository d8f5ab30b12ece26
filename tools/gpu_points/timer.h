// SPDX-License-Identifier: Apache-2.0
// Device time of one call. Calls run in batches of some milliseconds, replayed from a graph so that the host is never
// what is measured, on a chip that earlier batches have heated: a training step finds no cold chip either. What is left
// besides the kernel is the gap between two nodes of a graph, about half a microsecond.
#pragma once

#include <cstdint>
#include <functional>

#include <cuda_runtime.h>

namespace gpu_points {

struct Sample {
  double seconds = 0.0;  // of one call, median over the batches
  double spread = 0.0;   // median absolute deviation
  int repeats = 0;       // batches
};

class Timer {
 public:
  Timer();

  /// `launch(i)` puts call i on `stream()`. Calls should take operands that no earlier call has left in the L2.
  Sample time(const std::function<void(int)>& launch);
  /// The same without a graph: launches of the host, one after the other.
  Sample time_launches(const std::function<void(int)>& launch, int calls);

  cudaStream_t stream() const { return stream_; }

 private:
  double elapsed(const std::function<void()>& work);

  cudaStream_t stream_;
  cudaEvent_t begin_, end_;
};

/// Memory filled with random normal numbers of one type, handed out piece by piece, over and over.
class Operands {
 public:
  enum class Fill { bf16, fp8, zero };
  Operands(std::int64_t bytes, Fill fill);

  /// `bytes` that no call has used for as long as possible. Wraps; exits if there is not as much.
  void* next(std::int64_t bytes);

 private:
  char* base_ = nullptr;
  std::int64_t size_ = 0, used_ = 0;
};

}  // namespace gpu_points
