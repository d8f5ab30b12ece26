// SPDX-License-Identifier: Apache-2.0
// A matrix product as a training framework asks cuBLASLt for it: y[m, n] = x[m, k] w[n, k]^T in the layouts of its
// three passes, the library's first choice of kernel, a workspace of 32 MiB. The weight gradient adds to f32.
#pragma once

#include <cstdint>
#include <string>

#include <cublasLt.h>
#include <cuda_runtime.h>

namespace gpu_points {

enum class Pass { fwd, igrad, wgrad };
enum class Type { bf16, fp8, fp8_blocks };  // fp8: one scale a tensor; blocks: 1 x 128 and 128 x 128, as DeepSeek-V3

struct Shape {
  std::int64_t m, n, k;
};

class Product {
 public:
  Product(cublasLtHandle_t handle, Pass pass, Type type, const Shape& shape);
  ~Product();
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;

  /// The library has no kernel for it.
  bool missing() const { return missing_; }
  /// Sizes of the operands in bytes.
  std::int64_t a_bytes() const { return m_ * k_ * element_; }
  std::int64_t b_bytes() const { return k_ * n_ * element_; }
  std::int64_t d_bytes() const { return m_ * n_ * (accumulate_ ? 4 : 2); }

  void run(const void* a, const void* b, void* d, void* workspace, cudaStream_t stream) const;

 private:
  cublasLtHandle_t handle_;
  cublasLtMatmulDesc_t description_ = nullptr;
  cublasLtMatrixLayout_t a_ = nullptr, b_ = nullptr, d_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
  std::int64_t m_, n_, k_, element_;  // as the library counts, column-major
  bool accumulate_, missing_ = false;
};

inline constexpr std::int64_t kWorkspace = 32 << 20;

const char* name_of(Pass pass);
const char* name_of(Type type);

}  // namespace gpu_points
