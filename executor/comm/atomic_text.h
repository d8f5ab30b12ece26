// SPDX-License-Identifier: Apache-2.0
// A short text in shared memory that one rank writes and others may read at any moment, without a lock. A reader that
// comes during a write may see the beginning of the new text and the end of the old one: it is for messages to people,
// never for decisions. Text that does not fit is cut off. All bytes zero is the empty text.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace orrery::executor {

template <std::size_t kBytes>
class AtomicText {
 public:
  void store(std::string_view text) {
    text = text.substr(0, kBytes - 1);
    for (std::size_t word = 0; word < words_.size(); ++word) {
      const std::string_view piece = text.substr(std::min(word * 8, text.size()), 8);
      std::uint64_t bits = 0;
      std::memcpy(&bits, piece.data(), piece.size());
      words_[word].store(bits, std::memory_order_relaxed);
      if (piece.size() < 8) return;  // the zero byte that ends the text is in this word
    }
  }

  std::string load() const {
    std::string text;
    for (const auto& word : words_) {
      const std::uint64_t bits = word.load(std::memory_order_relaxed);
      char bytes[9] = {};
      std::memcpy(bytes, &bits, 8);
      text += bytes;
      if (std::strlen(bytes) < 8) break;
    }
    return text;
  }

 private:
  static_assert(kBytes % 8 == 0);
  static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
  std::array<std::atomic<std::uint64_t>, kBytes / 8> words_;
};

}  // namespace orrery::executor
