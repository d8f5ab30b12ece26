// SPDX-License-Identifier: Apache-2.0
#include "program/lowering/tensor_parallel.h"

#include "base/check.h"

namespace orrery::lowering {
namespace {

/// Slices follow each other inside one kernel: a later one does not wait for the stream.
OpRule in_slice(OpRule rule, std::int64_t slice, std::int64_t num_slices) {
  if (num_slices > 1) rule.bucket = static_cast<std::int16_t>(slice);
  rule.eager = slice > 0;
  return rule;
}

}  // namespace

OpRule TensorParallel::gather(OpCode op, Pass pass, const RoleUse& from, const RoleUse& to) const {
  CHECK(c_.sequence_parallel() && to.access == Access::create, name_of(op));
  const CollectiveShape shape{
      .kind = CollectiveKind::all_gather, .group = Group::tp, .bytes = to.rows.count * to.width * size_of(to.dtype)};
  return c_.with_shape(op, pass, Queue::tp, shape, {from, to});
}

OpRule TensorParallel::scatter(OpCode op, Pass pass, TensorRole part, const RoleUse& to) const {
  CHECK(c_.sequence_parallel(), name_of(op));
  const RuleContext::Created& sums = c_.created(part);
  const CollectiveShape shape{
      .kind = CollectiveKind::reduce_scatter, .group = Group::tp, .bytes = sums.rows.count * sums.row_bytes};
  return c_.with_shape(op, pass, Queue::tp, shape, {read(part), to});
}

OpRule TensorParallel::all_reduce(OpCode op, Pass pass, TensorRole tensor) const {
  CHECK(c_.tp > 1, name_of(op));
  const RuleContext::Created& sums = c_.created(tensor);
  const CollectiveShape shape{
      .kind = CollectiveKind::all_reduce, .group = Group::tp, .bytes = sums.rows.count * sums.row_bytes};
  return c_.with_shape(op, pass, Queue::tp, shape, {modify(tensor)});
}

void TensorParallel::forward(const ColumnParallel& layer, std::vector<OpRule>& fwd) const {
  const std::int64_t slices = num_slices(), m = c_.tokens / slices;
  const Rows rows{Rows::Kind::fixed, m};
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    if (c_.sequence_parallel()) {
      fwd.push_back(in_slice(gather(layer.gather, Pass::fwd, read(layer.in), full_input(layer, rows)), slice, slices));
    }
    const RoleUse out = slice == 0 ? create(layer.out, c_.token_rows(), layer.n, c_.dtype) : modify(layer.out);
    fwd.push_back(in_slice(product(layer, Pass::fwd, m, {input(layer), out}), slice, slices));
  }
}

void TensorParallel::input_gradient(const ColumnParallel& layer, std::vector<OpRule>& igrad) const {
  const std::int64_t slices = num_slices(), m = c_.tokens / slices;
  const auto gradient = [&](bool adds) {
    return adds ? modify(layer.d_in) : create(layer.d_in, c_.local_rows(), layer.k, c_.dtype);
  };
  const bool in_parts = c_.sequence_parallel() || (c_.tp > 1 && layer.adds_to_d_in);
  if (!in_parts) {
    igrad.push_back(product(layer, Pass::igrad, m, {read(layer.d_out), gradient(layer.adds_to_d_in)}));
    if (c_.tp > 1) igrad.push_back(all_reduce(layer.gather, Pass::igrad, layer.d_in));
    return;
  }
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    igrad.push_back(
        in_slice(product(layer, Pass::igrad, m,
                         {read(layer.d_out), create(layer.d_part, {Rows::Kind::fixed, m}, layer.k, c_.dtype)}),
                 slice, slices));
    const RoleUse sum = gradient(layer.adds_to_d_in || slice > 0);
    if (c_.sequence_parallel()) {
      igrad.push_back(in_slice(scatter(layer.gather, Pass::igrad, layer.d_part, sum), slice, slices));
    } else {
      OpRule reduced = all_reduce(layer.gather, Pass::igrad, layer.d_part);
      reduced.uses = {read(layer.d_part), sum};
      igrad.push_back(reduced);
    }
  }
}

void TensorParallel::weight_gradient(const ColumnParallel& layer, std::vector<OpRule>& wgrad) const {
  if (c_.sequence_parallel()) {
    wgrad.push_back(gather(layer.gather, Pass::wgrad, read(layer.in), full_input(layer, c_.token_rows())));
    wgrad.back().follows = layer.gemm;
    wgrad.back().early = true;
  }
  wgrad.push_back(product(layer, Pass::wgrad, c_.tokens, {input(layer), read(layer.d_out)}));
}

void TensorParallel::forward(const RowParallel& layer, std::vector<OpRule>& fwd) const {
  const std::int64_t slices = num_slices(), m = c_.tokens / slices;
  const auto gemm = [&](TensorRole out) {
    return c_.gemm(layer.gemm, Pass::fwd, m, layer.n, layer.k,
                   {read(layer.in), create(out, {Rows::Kind::fixed, m}, layer.n, c_.dtype)});
  };
  if (!c_.sequence_parallel()) {
    fwd.push_back(gemm(layer.out));
    if (c_.tp > 1) fwd.push_back(all_reduce(layer.scatter, Pass::fwd, layer.out));
    return;
  }
  for (std::int64_t slice = 0; slice < slices; ++slice) {
    fwd.push_back(in_slice(gemm(layer.part), slice, slices));
    const RoleUse sum = slice == 0 ? create(layer.out, c_.local_rows(), layer.n, c_.dtype) : modify(layer.out);
    fwd.push_back(in_slice(scatter(layer.scatter, Pass::fwd, layer.part, sum), slice, slices));
  }
}

void TensorParallel::input_gradient(const RowParallel& layer, std::vector<OpRule>& igrad) const {
  if (c_.sequence_parallel()) {
    igrad.push_back(gather(layer.scatter, Pass::igrad, read(layer.d_out, layer.d_out_offset),
                           create(layer.d_full, c_.token_rows(), layer.n, c_.dtype)));
  }
  igrad.push_back(c_.gemm(layer.gemm, Pass::igrad, c_.tokens, layer.n, layer.k,
                          {output_gradient(layer), create(layer.d_in, c_.token_rows(), layer.k, c_.dtype)}));
}

void TensorParallel::weight_gradient(const RowParallel& layer, std::vector<OpRule>& wgrad) const {
  wgrad.push_back(
      c_.gemm(layer.gemm, Pass::wgrad, c_.tokens, layer.n, layer.k, {read(layer.in), output_gradient(layer)}));
}

OpRule TensorParallel::product(const ColumnParallel& layer, Pass pass, std::int64_t m,
                               const std::vector<RoleUse>& uses) const {
  return c_.gemm(layer.gemm, pass, m, layer.n, layer.k, layer.dtype.value_or(c_.operand), uses);
}

RoleUse TensorParallel::input(const ColumnParallel& layer) const {
  return read(c_.sequence_parallel() ? layer.in_full : layer.in);
}

RoleUse TensorParallel::full_input(const ColumnParallel& layer, Rows rows) const {
  return layer.operand_in ? c_.create_operand(layer.in_full, rows, layer.k)
                          : create(layer.in_full, rows, layer.k, c_.dtype);
}

RoleUse TensorParallel::output_gradient(const RowParallel& layer) const {
  return c_.sequence_parallel() ? read(layer.d_full) : read(layer.d_out, layer.d_out_offset);
}

}  // namespace orrery::lowering
