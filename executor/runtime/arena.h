// SPDX-License-Identifier: Apache-2.0
// Memory of the tensors of one rank. It counts what is live and the most that ever was, in the bytes of the tensors
// themselves, so that predicted memory can be compared with it to the byte; freed blocks are kept for the next tensor
// of their size, since every micro-batch asks for the same ones. All are its own, also those of a step that failed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <vector>

namespace orrery::executor {

class Arena {
 public:
  /// Memory for `bytes`, aligned to 64; its content is undefined.
  std::byte* allocate(std::int64_t bytes);
  /// Requires: `block` came from allocate(bytes).
  void release(std::byte* block, std::int64_t bytes);

  std::int64_t live_bytes() const { return live_; }
  std::int64_t peak_bytes() const { return peak_; }

 private:
  struct Free {
    void operator()(std::byte* block) const;
  };
  using Block = std::unique_ptr<std::byte, Free>;
  std::vector<Block> blocks_;
  std::map<std::int64_t, std::vector<std::byte*>> free_;  // of them, by rounded size
  std::int64_t live_ = 0, peak_ = 0;
};

}  // namespace orrery::executor
