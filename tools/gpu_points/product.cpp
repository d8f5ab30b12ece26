// SPDX-License-Identifier: Apache-2.0
#include "product.h"

#include "check.h"

#include <vector>

namespace gpu_points {
namespace {

/// Scales of fp8 operands, all one: as many as the finest blocks of the largest operand have.
const float* scales() {
  static const float* const ones = [] {
    const std::vector<float> host(16 << 20, 1.0f);
    float* device = nullptr;
    check(cudaMalloc(&device, host.size() * sizeof(float)), "scales");
    check(cudaMemcpy(device, host.data(), host.size() * sizeof(float), cudaMemcpyHostToDevice), "scales");
    return device;
  }();
  return ones;
}

template <class T>
void set(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t attribute, const T& value) {
  check(cublasLtMatmulDescSetAttribute(description, attribute, &value, sizeof(value)), "an attribute of a product");
}

}  // namespace

Product::Product(cublasLtHandle_t handle, Pass pass, Type type, const Shape& s)
    : handle_(handle), element_(type == Type::bf16 ? 2 : 1), accumulate_(pass == Pass::wgrad) {
  // Row-major y[m, n] is column-major y^T: the library makes (n, m) forward, (k, m) and (k, n) backward.
  m_ = pass == Pass::fwd ? s.n : s.k;
  n_ = pass == Pass::wgrad ? s.n : s.m;
  k_ = pass == Pass::fwd ? s.k : pass == Pass::igrad ? s.n : s.m;
  // fp8 kernels of Hopper take both operands with the inner dimension contiguous; frameworks keep transposed copies.
  const bool fp8 = type != Type::bf16;
  const cublasOperation_t ta = fp8 || pass == Pass::fwd ? CUBLAS_OP_T : CUBLAS_OP_N;
  const cublasOperation_t tb = !fp8 && pass == Pass::wgrad ? CUBLAS_OP_T : CUBLAS_OP_N;
  check(cublasLtMatmulDescCreate(&description_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "a product");
  set(description_, CUBLASLT_MATMUL_DESC_TRANSA, ta);
  set(description_, CUBLASLT_MATMUL_DESC_TRANSB, tb);
  if (fp8) {
    set(description_, CUBLASLT_MATMUL_DESC_A_SCALE_POINTER, scales());
    set(description_, CUBLASLT_MATMUL_DESC_B_SCALE_POINTER, scales());
  }
  if (type == Type::fp8) set<std::int8_t>(description_, CUBLASLT_MATMUL_DESC_FAST_ACCUM, pass == Pass::fwd ? 1 : 0);
  if (type == Type::fp8_blocks) {
    const bool weights = pass != Pass::wgrad;  // of A: in blocks of 128 x 128
    set<std::int32_t>(description_, CUBLASLT_MATMUL_DESC_A_SCALE_MODE,
                      weights ? CUBLASLT_MATMUL_MATRIX_SCALE_BLK128x128_32F : CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
    set<std::int32_t>(description_, CUBLASLT_MATMUL_DESC_B_SCALE_MODE, CUBLASLT_MATMUL_MATRIX_SCALE_VEC128_32F);
  }
  const cudaDataType in = fp8 ? CUDA_R_8F_E4M3 : CUDA_R_16BF, out = accumulate_ ? CUDA_R_32F : CUDA_R_16BF;
  const auto layout = [](cublasLtMatrixLayout_t* to, cudaDataType of, std::int64_t rows, std::int64_t cols) {
    check(cublasLtMatrixLayoutCreate(to, of, rows, cols, rows), "a layout");
  };
  ta == CUBLAS_OP_T ? layout(&a_, in, k_, m_) : layout(&a_, in, m_, k_);
  tb == CUBLAS_OP_T ? layout(&b_, in, n_, k_) : layout(&b_, in, k_, n_);
  layout(&d_, out, m_, n_);
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "a preference");
  check(cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &kWorkspace,
                                             sizeof(kWorkspace)),
        "a preference");
  cublasLtMatmulHeuristicResult_t found{};
  int number = 0;
  const cublasStatus_t status =
      cublasLtMatmulAlgoGetHeuristic(handle_, description_, a_, b_, d_, d_, preference, 1, &found, &number);
  missing_ = status != CUBLAS_STATUS_SUCCESS || number == 0;
  algorithm_ = found.algo;
  check(cublasLtMatmulPreferenceDestroy(preference), "a preference");
}

Product::~Product() {
  cublasLtMatrixLayoutDestroy(a_);
  cublasLtMatrixLayoutDestroy(b_);
  cublasLtMatrixLayoutDestroy(d_);
  cublasLtMatmulDescDestroy(description_);
}

void Product::run(const void* a, const void* b, void* d, void* workspace, cudaStream_t stream) const {
  const float one = 1.0f, beta = accumulate_ ? 1.0f : 0.0f;
  check(cublasLtMatmul(handle_, description_, &one, a, a_, b, b_, &beta, d, d_, d, d_, &algorithm_, workspace,
                       kWorkspace, stream),
        "a product");
}

const char* name_of(Pass pass) { return pass == Pass::fwd ? "fwd" : pass == Pass::igrad ? "igrad" : "wgrad"; }

const char* name_of(Type type) { return type == Type::bf16 ? "bf16" : type == Type::fp8 ? "fp8" : "fp8_blocks"; }

}  // namespace gpu_points
