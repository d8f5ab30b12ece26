// SPDX-License-Identifier: Apache-2.0
// What launcher_test starts as ranks. The first argument says what to do; as `launcher` it starts ranks of its own.
#include "base/check.h"
#include "base/errors.h"
#include "executor/launch/launcher.h"
#include "executor/launch/rank_main.h"

#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <map>
#include <numeric>
#include <thread>

#include <signal.h>
#include <unistd.h>

namespace orrery::executor {
namespace {

constexpr std::int64_t kManyValues = 700'001;  // several chunks of 1 MiB

std::vector<float> values_of(int rank, std::int64_t count) {
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i)
    values[static_cast<std::size_t>(i)] = static_cast<float>((i * 31 + rank) % 97);
  return values;
}

template <class T>
auto bytes_of(std::vector<T>& values) {
  return std::as_writable_bytes(std::span<T>(values));
}

/// Every collective once, on buffers of several chunks, and a message to the next rank.
void check_collectives(RankProcess& process) {
  const auto world = process.endpoint().world();
  const int n = world->size();
  const int rank = world->rank();

  std::vector<float> sum = values_of(rank, kManyValues);
  world->all_reduce(std::span<float>(sum), "step/ar");
  std::vector<float> expected = values_of(0, kManyValues);
  for (int peer = 1; peer < n; ++peer) {
    const std::vector<float> theirs = values_of(peer, kManyValues);
    for (std::size_t i = 0; i < expected.size(); ++i) expected[i] += theirs[i];
  }
  CHECK(sum == expected);

  std::vector<float> block(static_cast<std::size_t>(kManyValues / n));
  const std::vector<float> mine = values_of(rank, kManyValues / n * n);
  world->reduce_scatter(std::span<const float>(mine), std::span<float>(block), "step/rs");
  const auto begin = expected.begin() + rank * (kManyValues / n);
  CHECK(std::equal(block.begin(), block.end(), begin));

  std::vector<float> gathered(static_cast<std::size_t>(kManyValues * n));
  std::vector<float> own = values_of(rank, kManyValues);
  world->all_gather(bytes_of(own), bytes_of(gathered), "step/ag");
  std::vector<float> root = values_of(rank, kManyValues);
  world->broadcast(bytes_of(root), n - 1, "step/bc");
  CHECK(root == values_of(n - 1, kManyValues));
  for (int peer = 0; peer < n; ++peer)
    CHECK(std::equal(gathered.begin() + peer * kManyValues, gathered.begin() + (peer + 1) * kManyValues,
                     values_of(peer, kManyValues).begin()),
          peer);

  // Rank i sends i + j bytes times a thousand to rank j.
  std::vector<std::int64_t> counts;
  for (int peer = 0; peer < n; ++peer) counts.push_back(std::int64_t{1000} * (rank + peer));
  const Blocks blocks = Blocks::contiguous(counts);
  std::vector<std::byte> input(static_cast<std::size_t>(blocks.offsets.back() + blocks.counts.back()),
                               static_cast<std::byte>(rank));
  std::vector<std::byte> output(input.size());
  CHECK(exchange_counts(*world, counts, "step/counts") == counts);
  world->all_to_all_v(input, blocks, output, blocks, "step/a2a");
  for (int peer = 0; peer < n; ++peer) {
    const auto p = static_cast<std::size_t>(peer);
    for (std::int64_t i = 0; i < counts[p]; ++i)
      CHECK(output[static_cast<std::size_t>(blocks.offsets[p] + i)] == static_cast<std::byte>(peer), peer, i);
  }

  if (n == 1) return;  // nobody to send to
  std::vector<float> message = values_of(rank, kManyValues);
  std::vector<float> received(message.size());
  const auto transfer = world->start_send(bytes_of(message), (rank + 1) % n, "step/send");
  world->receive(bytes_of(received), (rank + n - 1) % n, "step/recv");
  transfer->wait();
  CHECK(received == values_of((rank + n - 1) % n, kManyValues));
}

void report_threads(RankProcess& process) {
  process.send_result("rank " + std::to_string(process.rank()) + " of " + std::to_string(process.size()));
  process.send_result(", threads " + std::to_string(process.threads()));
  process.send_result(std::string(", OMP_NUM_THREADS ") + std::getenv("OMP_NUM_THREADS"));
  process.send_result(std::string(", COLOUR ") + std::getenv("COLOUR"));
}

void return_much(RankProcess& process) {
  process.send_result(std::string(3'000'000, static_cast<char>('a' + process.rank())));
}

void return_two_parts(RankProcess& process) {
  process.send_result("first");
  std::this_thread::sleep_for(std::chrono::milliseconds(500));  // the launcher looks every 10 ms
  process.send_result("second");
}

void print_lines(RankProcess& process) {
  std::fprintf(stderr, "first of %d\n", process.rank());
  std::fflush(stderr);
  std::printf("last of %d, without an end", process.rank());
  std::fflush(stdout);
}

/// Rank 1 gets into trouble in an op, while the others wait for it.
void run_with_trouble(RankProcess& process, const std::function<void()>& trouble) {
  const auto world = process.endpoint().world();
  world->barrier("step/start");
  if (process.rank() == 1) {
    process.endpoint().set_key("step/mb0/stage1/layer3/fwd/moe.experts");
    trouble();
  }
  world->barrier("step/end");
}

void sleep_for_ever() {
  while (true) std::this_thread::sleep_for(std::chrono::seconds(1));
}

void print_process(RankProcess&) {
  std::printf("%d\n", ::getpid());
  std::fflush(stdout);
  sleep_for_ever();
}

using Body = std::function<void(RankProcess&)>;

Body trouble(const std::function<void()>& body) {
  return [body](RankProcess& process) { run_with_trouble(process, body); };
}

void hang_alone(RankProcess& process) {
  process.endpoint().set_key("step/mb0/stage1/layer3/fwd/moe.experts");
  sleep_for_ever();
}

/// Rank 1 hangs, rank 2 waits for it, and rank 0 has waited longer, for rank 2.
void hang_behind_another(RankProcess& process) {
  const auto world = process.endpoint().world();
  world->barrier("step/start");
  std::vector<std::byte> message(8);
  if (process.rank() == 1) sleep_for_ever();
  if (process.rank() == 2) {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    world->receive(message, 1, "step/recv");
  }
  world->receive(message, 2, "step/recv");
}

/// The last rank gets into trouble when all others have ended.
void fail_late(RankProcess& process) {
  const auto world = process.endpoint().world();
  world->barrier("step/end");
  if (process.rank() + 1 < process.size()) return;
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  throw BackendError("no space left on device");
}

const std::map<std::string, Body> kBodies = {
    {"collectives", check_collectives},
    {"threads", report_threads},
    {"much", return_much},
    {"two-parts", return_two_parts},
    {"lines", print_lines},
    {"print-process", print_process},
    {"killed", trouble([] { ::raise(SIGKILL); })},
    {"late", fail_late},
    {"exit", trouble([] { ::_exit(3); })},
    {"hang", trouble(sleep_for_ever)},
    {"slow", trouble([] { std::this_thread::sleep_for(std::chrono::seconds(1)); })},
    {"hang-alone", hang_alone},
    {"hang-behind", hang_behind_another},
    {"all-killed", [](RankProcess&) { ::raise(SIGKILL); }},
    {"throw", trouble([] { throw BackendError("no space left on device"); })},
    {"config", trouble([] { throw ConfigError("expected text, got nothing", "give it a file"); })},
    {"bug", trouble([] { CHECK(1 + 1 == 3); })},
};

/// Starts two ranks that print their process and then sleep; passes their lines on.
int run_launcher(const std::string& own_path) {
  const auto print_line = [](int, std::string_view line) { std::cout << line << '\n' << std::flush; };
  launch({.executable = own_path,
          .arguments = {"print-process"},
          .environment = {},
          .segment = {.num_ranks = 2},
          .on_line = print_line});
  return 0;
}

}  // namespace
}  // namespace orrery::executor

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "launcher") return orrery::executor::run_launcher(argv[0]);
  return orrery::executor::run_rank(orrery::executor::kBodies.at(what));
}
