// SPDX-License-Identifier: Apache-2.0
#include "costmodel/tensor_table.h"

namespace orrery::costmodel {

TensorTable::TensorTable() {
  forward_.reserve(32);
  backward_.reserve(48);
  uses_.reserve(256);
}

void TensorTable::add(std::vector<TableLine>& lines, TablePhase phase, Reads reads, Makes makes,
                      RecomputeModule module) {
  TableLine line{.phase = phase, .module = module, .begin = static_cast<std::uint16_t>(uses_.size())};
  for (const At& name : reads) {
    uses_.push_back({.role = name.role, .offset = static_cast<std::int8_t>(name.offset)});
  }
  for (const Made& made : makes) {
    uses_.push_back({.role = made.name.role,
                     .offset = static_cast<std::int8_t>(made.name.offset),
                     .creates = true,
                     .bytes = made.bytes});
  }
  line.end = static_cast<std::uint16_t>(uses_.size());
  lines.push_back(line);
  last_ = &lines;
}

TableSizes::TableSizes(const Model& the_model, const Strategy& the_strategy, const BatchShape& batch,
                       const MemoryModel& the_parameters)
    : model(the_model),
      strategy(the_strategy),
      parameters(the_parameters),
      tp(the_strategy.tp),
      cp(the_strategy.cp),
      tokens(static_cast<double>(batch.seq / the_strategy.cp * the_strategy.micro_batch)),
      stream_tokens(the_strategy.sp ? tokens / static_cast<double>(tp) : tokens),
      element(static_cast<double>(size_of(compute_dtype(the_strategy)))) {}

double TableSizes::operand(double rows, std::int64_t width) const {
  return fp8() ? rows * static_cast<double>(fp8_row(width, strategy.fp8_recipe)) : plain(rows, width);
}

double TableSizes::activation_input(double rows, std::int64_t width) const {
  return rows * static_cast<double>(fp8_row(width, strategy.fp8_recipe));
}

void add_forward(const TableSizes& s, const ColumnProduct& p, TensorTable& t) {
  const double out = s.plain(s.tokens, p.width);
  if (!s.sequence_parallel()) {
    t.forward({p.in}, {{p.out, out}}, p.module);
    return;
  }
  for (int slice = 0; slice < s.slices(); ++slice) {
    t.forward({p.in}, {{p.full, p.full_bytes / s.slices()}}, p.module);
    if (slice == 0) {
      t.forward({p.full}, {{p.out, out}}, p.module);
    } else {
      t.forward({p.full, p.out}, {}, p.module);
    }
  }
}

void add_gradients(const TableSizes& s, const ColumnProduct& p, TensorTable& t) {
  const double part = s.plain(s.tokens, p.inner), sum = s.plain(s.stream_tokens, p.inner);
  if (s.sequence_parallel()) t.gather_again({p.in}, {{p.full, p.full_bytes}});
  const bool in_parts = s.sequence_parallel() || (s.tp > 1 && p.adds);
  if (!in_parts) {
    // Sums over the group, if there is one, are made in place.
    p.adds ? t.input_grad({p.d_out, p.d_in}, {}) : t.input_grad({p.d_out}, {{p.d_in, sum}});
    if (s.tp > 1) t.input_grad({p.d_in}, {});
  }
  for (int slice = 0; in_parts && slice < s.slices(); ++slice) {
    t.input_grad({p.d_out}, {{p.d_part, part / s.slices()}});
    p.adds || slice > 0 ? t.input_grad({p.d_part, p.d_in}, {}) : t.input_grad({p.d_part}, {{p.d_in, sum}});
  }
  t.weight_grad({s.sequence_parallel() ? p.full : p.in, p.d_out});
}

void add_forward(const TableSizes& s, const RowProduct& p, TensorTable& t) {
  const double part = s.plain(s.tokens, p.width), sum = s.plain(s.stream_tokens, p.width);
  if (!s.sequence_parallel()) {
    t.forward({p.in}, {{p.out, sum}}, p.module);
    if (s.tp > 1) t.forward({p.out}, {}, p.module);
    return;
  }
  for (int slice = 0; slice < s.slices(); ++slice) {
    t.forward({p.in}, {{p.part, part / s.slices()}}, p.module);
    if (slice == 0) {
      t.forward({p.part}, {{p.out, sum}}, p.module);
    } else {
      t.forward({p.part, p.out}, {}, p.module);
    }
  }
}

void add_gradients(const TableSizes& s, const RowProduct& p, TensorTable& t) {
  const At d_out = s.sequence_parallel() ? At(p.d_full) : p.d_out;
  if (s.sequence_parallel()) t.input_grad({p.d_out}, {{p.d_full, s.plain(s.tokens, p.width)}});
  t.input_grad({d_out}, {{p.d_in, s.plain(s.tokens, p.inner)}});
  t.weight_grad({p.in, d_out});
}

}  // namespace orrery::costmodel
