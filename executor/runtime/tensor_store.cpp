// SPDX-License-Identifier: Apache-2.0
#include "executor/runtime/tensor_store.h"

#include "base/check.h"

namespace orrery::executor {

void TensorStore::create(TensorIndex index, std::int64_t received) {
  const Tensor& tensor = rank_class_.tensors[index];
  Place& place = places_[index];
  CHECK(place.first == nullptr, name_of(tensor.role));
  place.rows = tensor.rows.kind == Rows::Kind::received ? received : tensor.rows.count;
  place.bytes = place.rows * tensor.width * size_of(tensor.dtype);
  place.first = arena_.allocate(place.bytes);
}

void TensorStore::release(TensorIndex index) {
  Place& place = places_[index];
  CHECK(place.first != nullptr, name_of(rank_class_.tensors[index].role));
  arena_.release(place.first, place.bytes);
  place = {};
}

Matrix TensorStore::matrix(TensorIndex index) const {
  const Tensor& tensor = rank_class_.tensors[index];
  const Place& place = places_[index];
  CHECK(place.first != nullptr, name_of(tensor.role));
  return {place.first, tensor.dtype, place.rows, tensor.width, tensor.width};
}

}  // namespace orrery::executor
