// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/collective_run.h"

#include "base/rng.h"
#include "executor/calibration/agreement.h"
#include "executor/kernels/permute.h"

#include <algorithm>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kLeastBytes = 32, kMostBytes = std::int64_t{64} << 20, kFactor = 4;
constexpr std::int64_t kExchangeRow = 1024;  // bytes of a row of the all-to-all: hidden 256 in f32
constexpr std::int64_t kLocalExperts = 4;
constexpr int kWarmUps = 2, kLeastRepeats = 3, kMostRepeats = 25;
constexpr double kTimeOfPoint = 0.03;  // seconds; more repeats than fit here do not change a median
constexpr std::string_view kKey = "calibration";

double seconds_between(Instant from, Instant to) { return std::chrono::duration<double>(to - from).count(); }

/// What the collectives of a rank work on, whatever the group.
struct Buffers {
  explicit Buffers(int rank) : sent(kPeriod) {
    const CounterRng rng(1, static_cast<std::uint64_t>(rank));
    for (std::size_t i = 0; i < kPeriod; ++i) sent[i] = static_cast<float>(rng.uniform(i));
    received = sorted = sent;
  }

  /// Makes all of them at least as long; memory is touched before it is measured.
  void grow(std::int64_t bytes) {
    const auto size = static_cast<std::size_t>(bytes) / sizeof(float);
    while (sent.size() < size) sent.push_back(sent[sent.size() - kPeriod]);
    received.resize(sent.size());
    sorted.resize(sent.size());
  }

  static constexpr std::size_t kPeriod = 4096;  // of the random numbers
  std::vector<float> sent, received, sorted;
};

/// Times the collectives of one group.
class GroupTimer {
 public:
  GroupTimer(Endpoint& endpoint, Communicator& world, Buffers& buffers, const GroupShape& shape)
      : world_(world), buffers_(buffers), size_(shape.size), stride_(shape.stride) {
    const std::vector<int> members = members_of(shape, endpoint.rank());
    group_ = endpoint.group(fmt::format("calibration{}x{}-{}", shape.size, shape.stride, members.front()), members);
  }

  /// Measures every collective on about `bytes`; appends to `out`.
  void measure(std::int64_t bytes, std::vector<CollectiveSamples>& out) {
    // Parts of equal whole numbers of f32.
    const std::int64_t part = std::max<std::int64_t>(bytes / size_ / 4, 1) * 4, whole = part * size_;
    buffers_.grow(whole);
    repeat("all_reduce", whole, out, [&] { return group_->all_reduce(floats(buffers_.sent, whole), kKey); });
    repeat("reduce_scatter", whole, out, [&] { return reduce_scatter(whole, part); });
    repeat("all_gather", whole, out, [&] {
      const std::span<std::byte> all = bytes_of(buffers_.sent, whole);
      return group_->all_gather(
          all.subspan(static_cast<std::size_t>(part * group_->rank()), static_cast<std::size_t>(part)), all, kKey);
    });
    const std::int64_t rows = bytes / kExchangeRow / (size_ * kLocalExperts) * kLocalExperts;  // for each rank
    if (rows > 0) repeat("all_to_all", rows * size_ * kExchangeRow, out, [&] { return exchange(rows); });
    if (size_ == 2) measure_message(bytes, out);
  }

 private:
  static std::span<float> floats(std::vector<float>& buffer, std::int64_t bytes) {
    return std::span(buffer).first(static_cast<std::size_t>(bytes) / sizeof(float));
  }
  static std::span<std::byte> bytes_of(std::vector<float>& buffer, std::int64_t bytes) {
    return std::as_writable_bytes(floats(buffer, bytes));
  }

  /// As the runtime does it: the sum needs memory of its own, since peers still read the buffer.
  CommReport reduce_scatter(std::int64_t whole, std::int64_t part) {
    std::vector<float> sum(static_cast<std::size_t>(part) / sizeof(float));
    const std::span<float> all = floats(buffers_.sent, whole);
    const CommReport report = group_->reduce_scatter(std::span<const float>(all), std::span(sum), kKey);
    std::copy(sum.begin(), sum.end(), all.begin());
    return report;
  }

  /// As the runtime does it: rows arrive by source and are sorted by expert.
  CommReport exchange(std::int64_t rows_for_each) {
    const std::int64_t rows = rows_for_each * size_;
    const Blocks blocks = Blocks::even(size_, rows_for_each * kExchangeRow);
    const CommReport report = group_->all_to_all_v(bytes_of(buffers_.sent, rows * kExchangeRow), blocks,
                                                   bytes_of(buffers_.received, rows * kExchangeRow), blocks, kKey);
    const std::vector<std::int64_t> counts(static_cast<std::size_t>(size_ * kLocalExperts),
                                           rows_for_each / kLocalExperts);
    constexpr std::int64_t kWidth = kExchangeRow / static_cast<std::int64_t>(sizeof(float));
    sort_by_expert(counts, kLocalExperts, matrix_of(std::as_const(buffers_.received).data(), rows, kWidth),
                   matrix_of(buffers_.sorted.data(), rows, kWidth));
    return report;
  }

  void measure_message(std::int64_t bytes, std::vector<CollectiveSamples>& out) {
    const std::span<std::byte> message = bytes_of(buffers_.sent, bytes);
    repeat("send_recv", bytes, out,
           [&] { return group_->rank() == 0 ? group_->send(message, 1, kKey) : group_->receive(message, 0, kKey); });
    // The sender only hands over; the message has arrived when the receiver has it.
    if (group_->rank() == 0) out.pop_back();
  }

  void repeat(std::string_view op, std::int64_t bytes, std::vector<CollectiveSamples>& out,
              const std::function<CommReport()>& run) {
    CollectiveSamples samples{.op = std::string(op), .ranks = size_, .stride = stride_, .bytes = bytes, .seconds = {}};
    double spent = 0.0;
    bool more = true;
    for (int i = -kWarmUps; more; ++i) {
      world_.barrier(kKey);
      const Instant begin = now();
      const CommReport report = run();
      const double time = seconds_between(std::max(begin, report.last_arrival), now());
      if (i < 0) continue;
      samples.seconds.push_back(time);
      spent += time;
      more = as_rank_0_says(world_, i + 1 < kLeastRepeats || (i + 1 < kMostRepeats && spent < kTimeOfPoint));
    }
    out.push_back(std::move(samples));
  }

  Communicator& world_;
  Buffers& buffers_;
  int size_, stride_;
  std::unique_ptr<Communicator> group_;
};

}  // namespace

std::vector<GroupShape> group_shapes(int num_ranks) {
  std::vector<GroupShape> shapes;
  for (int size = 2; size <= num_ranks; ++size) {
    for (int stride = 1; size * stride <= num_ranks; ++stride) {
      if (num_ranks % (size * stride) == 0) shapes.push_back({size, stride});
    }
  }
  return shapes;
}

std::vector<int> members_of(const GroupShape& shape, int rank) {
  const int span = shape.size * shape.stride, first = rank / span * span + rank % shape.stride;
  std::vector<int> members;
  for (int i = 0; i < shape.size; ++i) members.push_back(first + i * shape.stride);
  return members;
}

RankSamples time_collectives(Endpoint& endpoint, Seconds max_time, const BudgetClock& clock) {
  const Instant start = clock();
  const std::unique_ptr<Communicator> world = endpoint.world();
  Buffers buffers(endpoint.rank());
  std::vector<std::unique_ptr<GroupTimer>> groups;
  for (const GroupShape& shape : group_shapes(endpoint.size())) {
    groups.push_back(std::make_unique<GroupTimer>(endpoint, *world, buffers, shape));
  }
  RankSamples samples;
  for (std::int64_t bytes = kLeastBytes; bytes <= kMostBytes && !groups.empty(); bytes *= kFactor) {
    const Instant size_start = clock();
    for (const auto& group : groups) group->measure(bytes, samples.collectives);
    // The next size takes at most kFactor times as long as this one.
    const double next = static_cast<double>(kFactor) * seconds_between(size_start, clock());
    if (!as_rank_0_says(*world, seconds_between(start, clock()) + next < max_time.in(unit::second))) break;
  }
  return samples;
}

}  // namespace orrery::executor
