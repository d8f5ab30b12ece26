// SPDX-License-Identifier: Apache-2.0
// A stream between two ranks over MPI. What is written goes in blocks of its own memory, so a rank that hands bytes
// over need not wait for who takes them; as many blocks may be under way as kMostUnderWay. The reader has a few
// receives posted ahead. Each direction is a tag of its own, which the writer chooses and tells before its first block.
// Private to `comm/`: `MpiPeers` opens them.
#pragma once

#include "executor/comm/byte_stream.h"
#include "executor/comm/mpi_block.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace orrery::executor {

class MpiPeers;

class MpiStream final : public ByteStream {
 public:
  static constexpr std::size_t kBlockBytes = 128 << 10;
  static constexpr std::size_t kMostUnderWay = 32;  // 4 MiB, as much as the sockets of a host hold
  static constexpr std::size_t kReceivesAhead = 4;

  /// `name`: what both ends call it, as a hash.
  MpiStream(MpiPeers& peers, std::uint64_t name, int peer);
  MpiStream(const MpiStream&) = delete;
  MpiStream& operator=(const MpiStream&) = delete;
  /// What was written arrives all the same.
  ~MpiStream() override;

  Medium medium() const override { return Medium::polled; }
  std::size_t write(std::span<const std::byte> bytes, bool more = false) override;
  std::size_t read(std::span<std::byte> bytes) override;
  bool closed() const override { return closed_; }

 private:
  /// A block that nothing is under way from; none while as many are as may be.
  MpiBlock* block_to_fill();
  /// Sends what the block holds that is being filled.
  void flush();
  /// Whether the writer has told its tag.
  bool is_announced();

  MpiPeers& peers_;
  std::uint64_t name_;
  int peer_;
  std::optional<int> own_tag_, peer_tag_;
  std::vector<MpiBlock> sends_;     // made as they are needed
  MpiBlock* filled_ = nullptr;      // of them, the one that bytes gather in
  std::size_t num_filled_ = 0;      // bytes
  std::vector<MpiBlock> receives_;  // a ring, in the order of their messages
  std::size_t first_ = 0;           // of them, the one whose message is read next
  std::size_t num_read_ = 0;        // bytes of that message
  bool closed_ = false;
};

}  // namespace orrery::executor
