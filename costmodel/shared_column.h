// SPDX-License-Identifier: Apache-2.0
// A column of a table that several rows of ranks have in common. Data-parallel replicas do the same ops in the same
// times: each copy of such a column points to the one there is. Nobody changes it; who needs others makes a new one.
#pragma once

#include <algorithm>
#include <cstddef>
#include <initializer_list>
#include <memory>
#include <vector>

namespace orrery::costmodel {

template <class T>
class SharedColumn {
 public:
  SharedColumn() = default;
  SharedColumn(const std::vector<T>& values)  // NOLINT(google-explicit-constructor): a vector that is given away
      : values_(values.empty() ? nullptr : std::make_shared_for_overwrite<T[]>(values.size())), size_(values.size()) {
    std::ranges::copy(values, values_.get());
  }
  SharedColumn(std::initializer_list<T> values) : SharedColumn(std::vector<T>(values)) {}

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  const T& operator[](std::size_t i) const { return values_[static_cast<std::ptrdiff_t>(i)]; }
  const T* begin() const { return values_.get(); }
  const T* end() const { return values_.get() + size_; }

  friend bool operator==(const SharedColumn& a, const SharedColumn& b) {
    return a.begin() == b.begin() ? a.size_ == b.size_ : std::ranges::equal(a, b);
  }
  /// Whether both are one column.
  bool is(const SharedColumn& other) const { return values_ == other.values_; }

 private:
  std::shared_ptr<T[]> values_;
  std::size_t size_ = 0;
};

}  // namespace orrery::costmodel
