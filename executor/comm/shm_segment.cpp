// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/shm_segment.h"

#include "base/check.h"
#include "base/errors.h"
#include "base/fnv.h"
#include "executor/comm/clock.h"
#include "executor/comm/shm_layout.h"

#include <algorithm>
#include <cerrno>
#include <system_error>

#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

std::string system_message(int error) { return std::system_category().message(error); }

std::byte* map_segment(int descriptor, std::size_t bytes) {
  void* base = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
  if (base == MAP_FAILED)
    throw BackendError(fmt::format("cannot map a shared segment of {} bytes: {}", bytes, system_message(errno)));
  return static_cast<std::byte*>(base);
}

// 0 stands for a free entry.
std::uint64_t hash_of(std::string_view name) { return std::max<std::uint64_t>(fnv1a(name), 1); }

std::size_t first_free_byte(int num_ranks) {
  return round_up(sizeof(SegmentHeader) + static_cast<std::size_t>(num_ranks) * sizeof(RankState), kPageBytes);
}

}  // namespace

Segment::Segment(Descriptor descriptor, std::byte* base, std::size_t bytes)
    : descriptor_(std::move(descriptor)), base_(base), bytes_(bytes) {}

Segment::~Segment() { ::munmap(base_, bytes_); }

std::shared_ptr<Segment> Segment::create(const SegmentOptions& options) {
  CHECK(
      options.num_ranks >= 1 && options.chunk_bytes >= std::int64_t{64} * options.num_ranks && options.ring_bytes >= 1,
      options.num_ranks, options.chunk_bytes, options.ring_bytes);
  Descriptor descriptor(::memfd_create("orrery", MFD_CLOEXEC));
  const auto bytes = static_cast<std::size_t>(options.total_bytes);
  if (!descriptor.is_open() || ::ftruncate(descriptor.number(), options.total_bytes) != 0)
    throw BackendError(fmt::format("cannot make a shared segment of {} bytes: {}", bytes, system_message(errno)));
  std::byte* base = map_segment(descriptor.number(), bytes);
  std::shared_ptr<Segment> segment(new Segment(std::move(descriptor), base, bytes));
  SegmentHeader& header = segment->header();
  header.options = options;
  header.next_free = first_free_byte(options.num_ranks);
  header.magic.store(kSegmentMagic, std::memory_order_release);
  return segment;
}

std::shared_ptr<Segment> Segment::open(int descriptor) {
  struct stat status = {};
  if (::fstat(descriptor, &status) != 0 || static_cast<std::size_t>(status.st_size) < sizeof(SegmentHeader))
    throw BackendError(fmt::format("descriptor {} is not a shared segment", descriptor));
  const auto bytes = static_cast<std::size_t>(status.st_size);
  std::shared_ptr<Segment> segment(new Segment(Descriptor(), map_segment(descriptor, bytes), bytes));
  if (segment->header().magic.load(std::memory_order_acquire) != kSegmentMagic)
    throw BackendError(fmt::format("descriptor {} is not a shared segment of this version", descriptor));
  return segment;
}

SegmentHeader& Segment::header() const { return *reinterpret_cast<SegmentHeader*>(base_); }

RankState& Segment::state(int rank) const {
  CHECK(0 <= rank && rank < num_ranks(), rank, num_ranks());
  return reinterpret_cast<RankState*>(base_ + sizeof(SegmentHeader))[rank];
}

int Segment::num_ranks() const { return header().options.num_ranks; }

const SegmentOptions& Segment::options() const { return header().options; }

void Segment::set_key(int rank, std::string_view key) { state(rank).key.store(key); }

std::string Segment::key(int rank) const { return state(rank).key.load(); }

void Segment::count_move(int rank) { state(rank).num_moves.fetch_add(1, std::memory_order_relaxed); }

std::uint32_t Segment::num_moves(int rank) const { return state(rank).num_moves.load(std::memory_order_relaxed); }

void Segment::set_running(int rank) {
  state(rank).finished.store(false);
  state(rank).process.store(::getpid());
}

void Segment::set_finished(int rank) { state(rank).finished.store(true); }

bool Segment::gone(int rank) const {
  const RankState& peer = state(rank);
  if (peer.finished.load()) return true;
  const int process = peer.process.load();
  return process != 0 && ::kill(process, 0) != 0 && errno == ESRCH;
}

bool Segment::fail(int rank, std::string_view text, int missing) {
  FailureState expected = FailureState::none;
  if (!header().failure.compare_exchange_strong(expected, FailureState::being_written)) return false;
  header().failed_rank = rank;
  header().missing_rank = missing;
  header().failed_key.store(key(rank));
  header().failure_text.store(text);
  header().failure.store(FailureState::known, std::memory_order_release);
  return true;
}

std::optional<SegmentFailure> Segment::failure() const {
  if (header().failure.load(std::memory_order_acquire) != FailureState::known) return std::nullopt;
  return SegmentFailure{.rank = header().failed_rank,
                        .key = header().failed_key.load(),
                        .text = header().failure_text.load(),
                        .missing = header().missing_rank};
}

std::span<std::byte> Segment::region(std::string_view name, std::int64_t bytes) {
  CHECK(bytes > 0, name, bytes);
  const std::uint64_t size = static_cast<std::uint64_t>(bytes);
  const std::uint64_t hash = hash_of(name);
  auto& regions = header().regions;
  for (std::size_t probe = 0; probe < regions.size(); ++probe) {
    RegionEntry& entry = regions[(hash + probe) % regions.size()];
    std::uint64_t found = 0;
    if (entry.name_hash.compare_exchange_strong(found, hash)) {
      const std::uint64_t offset = header().next_free.fetch_add(round_up(size, kPageBytes));
      entry.bytes = size;
      entry.offset.store(offset, std::memory_order_release);
    } else if (found != hash) {
      continue;
    }
    std::uint64_t offset = 0;
    const Instant deadline = now() + options().time_out;  // whoever claimed the entry may have died since
    while ((offset = entry.offset.load(std::memory_order_acquire)) == 0) {
      if (now() > deadline) throw BackendError(fmt::format("nobody laid out the shared region '{}'", name));
      ::sched_yield();
    }
    CHECK(entry.bytes == size, name, bytes, entry.bytes);
    if (offset + size > bytes_)
      throw BackendError(fmt::format("the shared segment of {} bytes is full: region '{}' needs {} bytes, {} are used",
                                     bytes_, name, bytes, offset));
    return {base_ + offset, size};
  }
  throw BackendError(
      fmt::format("the shared segment has no entry left for region '{}': all {} are taken", name, regions.size()));
}

}  // namespace orrery::executor
