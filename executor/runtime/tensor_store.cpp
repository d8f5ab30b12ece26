// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/tensor_store.h"

#include "base/check.h"

namespace orrery::executor {
namespace {

std::int64_t rows_of(const Rows& rows, const ArrivedCounts& arrived) {
  switch (rows.kind) {
    case Rows::Kind::fixed:
    case Rows::Kind::routed:
      return rows.count;
    case Rows::Kind::received:
      return arrived.received;
    case Rows::Kind::gathered:
      return arrived.gathered;
    case Rows::Kind::distinct:
      return arrived.distinct;
  }
  CHECK(false, static_cast<int>(rows.kind));
}

}  // namespace

void TensorStore::create(TensorIndex index, const ArrivedCounts& arrived) {
  const Tensor& tensor = rank_class_.tensors[index];
  Place& place = places_[index];
  CHECK(place.first == nullptr, name_of(tensor.role));
  place.rows = rows_of(tensor.rows, arrived);
  place.bytes = place.rows * tensor.width * size_of(tensor.dtype);
  const std::int64_t most = arena_.peak_bytes();
  place.first = arena_.allocate(place.bytes);
  live_[static_cast<std::size_t>(tensor.role)] += place.bytes;
  if (arena_.peak_bytes() > most) fullest_ = live_;
  alive_[{tensor.role, tensor.layer, tensor.micro_batch}] = index;
}

void TensorStore::release(TensorIndex index) {
  const Tensor& tensor = rank_class_.tensors[index];
  Place& place = places_[index];
  CHECK(place.first != nullptr, name_of(tensor.role));
  arena_.release(place.first, place.bytes);
  live_[static_cast<std::size_t>(tensor.role)] -= place.bytes;
  place = {};
  const auto found = alive_.find({tensor.role, tensor.layer, tensor.micro_batch});
  if (found != alive_.end() && found->second == index) alive_.erase(found);
}

TensorIndex TensorStore::alive(TensorRole role, std::int64_t layer, std::int64_t micro_batch) const {
  const auto found = alive_.find({role, static_cast<std::int16_t>(layer), static_cast<std::int32_t>(micro_batch)});
  CHECK(found != alive_.end(), name_of(role), layer, micro_batch);
  return found->second;
}

Matrix TensorStore::matrix(TensorIndex index) const {
  const Tensor& tensor = rank_class_.tensors[index];
  const Place& place = places_[index];
  CHECK(place.first != nullptr, name_of(tensor.role));
  return {place.first, tensor.dtype, place.rows, tensor.width, tensor.width};
}

}  // namespace orrery::executor
