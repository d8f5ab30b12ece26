// SPDX-License-Identifier: Apache-2.0
#include "executor/kernels/gemm_backends.h"

#include <map>
#include <tuple>
#include <utility>
#include <vector>

#include <omp.h>
#include <oneapi/dnnl/dnnl.hpp>

// The matmul primitive, not dnnl_sgemm: with AVX-512 a row's bits do not change with the number of rows beside it
// (measured). A primitive is made once per shape and thread; making one costs 350 us, running a made one 5 us.
//
// Without AVX-512 matmul is sgemm. It adds up the last two rows of a block in another order than the rest where the
// block has two more than a multiple of six, and its threads cut rows and sums as they like (measured with 2.6.3 on Zen
// 3). So there rows go in blocks of sizes that have none of it, each to one thread.

namespace orrery::executor {
namespace {

/// One operand as oneDNN sees it: dimensions after the transpose, and the strides that make the transpose.
struct Operand {
  std::int64_t rows, cols, row_stride, col_stride;
  DType dtype;

  auto operator<=>(const Operand&) const = default;
};

Operand operand_of(const ConstMatrix& matrix, bool transpose) {
  if (transpose) return {matrix.cols, matrix.rows, 1, matrix.stride, matrix.dtype};
  return {matrix.rows, matrix.cols, matrix.stride, 1, matrix.dtype};
}

dnnl::memory::desc description_of(const Operand& operand) {
  const auto type = operand.dtype == DType::bf16 ? dnnl::memory::data_type::bf16 : dnnl::memory::data_type::f32;
  return {{operand.rows, operand.cols}, type, {operand.row_stride, operand.col_stride}};
}

struct MatmulShape {
  Operand a, b, c;
  bool accumulate;

  auto operator<=>(const MatmulShape&) const = default;
};

const dnnl::engine& cpu() {
  static const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  return engine;
}

dnnl::matmul::primitive_desc describe(const MatmulShape& shape) {
  dnnl::primitive_attr attributes;
  if (shape.accumulate) {
    dnnl::post_ops add_old_value;
    add_old_value.append_sum(1.0F);
    attributes.set_post_ops(add_old_value);
  }
  const auto a = description_of(shape.a);
  const auto b = description_of(shape.b);
  const auto c = description_of(shape.c);
#if DNNL_VERSION_MAJOR < 3
  return {dnnl::matmul::desc(a, b, c), attributes, cpu()};
#else
  return {cpu(), a, b, c, attributes};
#endif
}

class Matmul {
 public:
  explicit Matmul(const dnnl::matmul::primitive_desc& description)
      : primitive_(description),
        a_(description.src_desc(), cpu(), nullptr),
        b_(description.weights_desc(), cpu(), nullptr),
        c_(description.dst_desc(), cpu(), nullptr) {}

  void run(const GemmArgs& args) {
    thread_local dnnl::stream stream(cpu());
    a_.set_data_handle(const_cast<void*>(args.a.first));
    b_.set_data_handle(const_cast<void*>(args.b.first));
    c_.set_data_handle(args.c.first);
    primitive_.execute(stream, {{DNNL_ARG_SRC, a_}, {DNNL_ARG_WEIGHTS, b_}, {DNNL_ARG_DST, c_}});
    stream.wait();
  }

 private:
  dnnl::matmul primitive_;
  dnnl::memory a_, b_, c_;
};

void run_whole(const GemmArgs& args) {
  const MatmulShape shape{operand_of(args.a, args.transpose_a), operand_of(args.b, args.transpose_b),
                          operand_of(args.c, false), args.accumulate};
  thread_local std::map<MatmulShape, Matmul> made;
  auto known = made.find(shape);
  if (known == made.end()) known = made.emplace(shape, Matmul(describe(shape))).first;
  known->second.run(args);
}

bool has_avx512() {
  const auto isa = static_cast<unsigned>(dnnl::get_effective_cpu_isa());  // a bit for each of its parts
  constexpr auto kNeeded = static_cast<unsigned>(dnnl::cpu_isa::avx512_core);
  return (isa & kNeeded) == kNeeded;
}

/// Rows [first, first + count) of the result. Rows of blocks of 48 and of 16 have the same bits.
struct RowBlock {
  std::int64_t first, count;
};

std::vector<RowBlock> blocks_of(std::int64_t rows) {
  std::vector<RowBlock> blocks;
  for (std::int64_t first = 0; first < rows; first += blocks.back().count) {
    const std::int64_t left = rows - first;
    blocks.push_back({first, left >= 48 ? 48 : left >= 16 ? 16 : left});
  }
  return blocks;
}

void run_in_blocks(const GemmArgs& args, const GemmSize& size) {
  const std::vector<RowBlock> blocks = blocks_of(size.m);
  const int available = omp_get_max_threads();
  constexpr std::int64_t kSmall = 1 << 20;  // products that take less than it does to wake and to await a thread
  // NOLINTNEXTLINE(clang-analyzer-deadcode.DeadStores): the pragma reads it.
  const int num_threads = size.m * size.n * size.k < kSmall ? 1 : available;
  omp_set_num_threads(1);  // within a block
#pragma omp parallel for num_threads(num_threads) schedule(dynamic)
  for (const RowBlock& block : blocks) {
    GemmArgs part = args;
    part.a = args.transpose_a ? args.a.col_block(block.first, block.count) : args.a.row_block(block.first, block.count);
    part.c = args.c.row_block(block.first, block.count);
    run_whole(part);
  }
  omp_set_num_threads(available);
}

void onednn_cached(const GemmArgs& args) {
  const GemmSize size = product_size(args);
  if (size.m == 0 || size.n == 0) return;
  static const bool takes_rows_alike = has_avx512();
  takes_rows_alike ? run_whole(args) : run_in_blocks(args, size);
}

/// Whether this CPU, within the limit of ONEDNN_MAX_CPU_ISA, has a bf16 matmul: asked once by describing one.
bool has_bf16() {
  static const bool has = [] {
    const Operand small{16, 16, 16, 1, DType::bf16};
    try {
      describe({small, small, small, false});
      return true;
    } catch (const dnnl::error&) {
      return false;
    }
  }();
  return has;
}

void onednn_run(const GemmArgs& args) {
  if (args.a.dtype == DType::f32 || has_bf16()) {
    onednn_cached(args);
  } else {
    run_in_f32(args, onednn_cached);
  }
}

}  // namespace

const Gemm* onednn_gemm() {
  static constexpr Gemm kGemm = {"onednn", onednn_run, has_bf16};
  return &kGemm;
}

}  // namespace orrery::executor
