// SPDX-License-Identifier: Apache-2.0
// SHA-256, as the provenance of inputs (sha256 of a file) and the identity of programs. Computed by libcrypto.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace orrery {

/// A hash that is fed piece by piece.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  Sha256(Sha256&&) noexcept;
  Sha256& operator=(Sha256&&) noexcept;

  void update(std::string_view bytes);

  /// The bytes of an array of plain values; requires a type without padding to be reproducible.
  template <class T>
    requires std::has_unique_object_representations_v<T>
  void update(std::span<const T> values) {
    update(std::string_view(reinterpret_cast<const char*>(values.data()), values.size_bytes()));
  }

  /// The hash of all bytes so far, 64 hexadecimal digits. Call once, last.
  std::string hex();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// The SHA-256 of `bytes`, 64 hexadecimal digits.
std::string sha256_hex(std::string_view bytes);

}  // namespace orrery
