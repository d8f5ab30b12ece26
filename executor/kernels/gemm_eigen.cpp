// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm_backends.h"

// With several threads Eigen cuts a product so that its bits change with the number of threads and of rows.
#define EIGEN_DONT_PARALLELIZE
#include <Eigen/Core>

namespace orrery::executor {
namespace {

using RowMajor = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ConstView = Eigen::Map<const RowMajor, Eigen::Unaligned, Eigen::OuterStride<>>;
using View = Eigen::Map<RowMajor, Eigen::Unaligned, Eigen::OuterStride<>>;

void eigen_f32(const GemmArgs& args) {
  product_size(args);
  const auto& [a, b, c, transpose_a, transpose_b, accumulate] = args;
  const ConstView left(a.row<float>(0), a.rows, a.cols, Eigen::OuterStride<>(a.stride));
  const ConstView right(b.row<float>(0), b.rows, b.cols, Eigen::OuterStride<>(b.stride));
  View out(c.row<float>(0), c.rows, c.cols, Eigen::OuterStride<>(c.stride));
  if (!accumulate) out.setZero();
  if (transpose_a && transpose_b) {
    out.noalias() += left.transpose() * right.transpose();
  } else if (transpose_a) {
    out.noalias() += left.transpose() * right;
  } else if (transpose_b) {
    out.noalias() += left * right.transpose();
  } else {
    out.noalias() += left * right;
  }
}

}  // namespace

const Gemm& eigen_gemm() {
  static constexpr Gemm kGemm = {"eigen", [](const GemmArgs& args) { run_in_f32(args, eigen_f32); },
                                 [] { return false; }};
  return kGemm;
}

}  // namespace orrery::executor
