// SPDX-License-Identifier: Apache-2.0
#include "base/errors.h"
#include "executor/bootstrap/store_client.h"
#include "executor/bootstrap/store_server.h"
#include "executor/comm/clock.h"

#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

using ::testing::ElementsAre;
using ::testing::Pair;

constexpr auto kPatience = std::chrono::seconds(30);
constexpr auto kImpatience = std::chrono::milliseconds(200);
const std::string kToken = "secret of the test";

/// A store for two processes at a port of its own.
struct Store {
  Descriptor listener = listen_at({"127.0.0.1", 0});
  HostPort place = own_place(listener);
  std::unique_ptr<StoreServer> server = std::make_unique<StoreServer>(std::move(listener), kToken, 2);

  std::unique_ptr<StoreClient> client(int process, std::chrono::nanoseconds time_out = kPatience,
                                      const std::string& token = kToken, int num_processes = 2) const {
    return std::make_unique<StoreClient>(place, token, process, num_processes, time_out);
  }
};

template <class Body>
std::string error_of(Body&& body) {
  try {
    body();
  } catch (const std::exception& error) {
    return error.what();
  }
  return "";
}

TEST(Store, GivesBackWhatAnotherProcessHasPutThere) {
  const Store store;
  const auto zero = store.client(0), one = store.client(1);
  const std::string large(3'000'000, 'x');
  zero->set("result/0", large);
  zero->set("result/1", "");
  zero->set("other", "y");
  EXPECT_TRUE(one->get("result/0") == large);
  EXPECT_THAT(one->list("result/"), ElementsAre(Pair("result/0", large), Pair("result/1", "")));
  zero->set("other", "z");
  EXPECT_EQ(one->get("other"), "z");
  EXPECT_TRUE(one->list("nothing/").empty());
}

TEST(Store, AReaderWaitsForWhatIsNotThereYet) {
  const Store store;
  const auto zero = store.client(0), one = store.client(1);
  std::thread writer([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    zero->set("late", "but here");
  });
  EXPECT_EQ(one->get("late"), "but here");
  writer.join();
}

TEST(Store, AReaderThatWaitsInVainNamesWhatDidNotCome) {
  const Store store;
  const auto one = store.client(1, kImpatience);
  EXPECT_EQ(error_of([&] { one->get("verdict"); }),
            "process 0 of the job at " + to_text(store.place) + " did not answer within 0.2 s: verdict");
}

TEST(Store, TellsItsTime) {
  const Store store;
  const auto one = store.client(1);
  const Instant before = now();
  const Instant reading{Instant::duration(one->time())};
  EXPECT_GE(reading, before);
  EXPECT_LE(reading, now());
}

TEST(Store, AProcessWithoutTheTokenOfTheJobIsRefused) {
  const Store store;
  for (const char* token : {"of another job", ""}) {
    EXPECT_EQ(error_of([&] { store.client(1, kPatience, token); }),
              "process 0 of the job at " + to_text(store.place) +
                  " refuses this process: it has another token\n  hint: all processes of a job need the same plan, "
                  "settings, number of processes and token");
  }
  EXPECT_TRUE(store.client(1)->list("refused").empty()) << "strangers do not end a job";
}

TEST(Store, AProcessThatBelievesInAnotherNumberOfProcessesIsRefusedAndToldOf) {
  const Store store;
  EXPECT_THROW(store.client(1, kPatience, kToken, 3), ConfigError);
  EXPECT_THAT(store.client(0)->list("refused"),
              ElementsAre(Pair("refused", "process 1 believes in 3 processes, process 0 in 2")));
}

TEST(Store, StrangersThatSayMuchOrNothingAreNoTrouble) {
  const Store store;
  const Descriptor silent = start_connecting(store.place), loud = start_connecting(store.place);
  const std::string noise(1'000'000, 'n');
  while (send_some(loud, std::as_bytes(std::span(noise))).must_wait) std::this_thread::yield();
  StoreConnection lengthy(start_connecting(store.place));
  lengthy.post({StoreOp::hello, "", noise});
  while (!lengthy.closed()) {
    lengthy.move();
    ASSERT_FALSE(lengthy.next().has_value()) << "an answer: it has been heard out";
  }
  const auto one = store.client(1);
  one->set("a", "b");
  EXPECT_EQ(one->get("a"), "b");
}

TEST(Store, SaysWhoIsGoneAndNotWhoHasLeft) {
  const Store store;
  const auto zero = store.client(0);
  store.client(1).reset();
  // A process that dies does not say that it leaves: here a connection that knows the token and breaks off.
  StoreConnection dying(start_connecting(store.place));
  dying.post({StoreOp::hello, "", hello_of(kToken, 1, 2)});
  while (!dying.next()) dying.move();
  EXPECT_TRUE(zero->list("gone/").empty());
  {
    const StoreConnection dead = std::move(dying);
  }
  EXPECT_EQ(zero->get(key_of("gone", 1)), "");
}

TEST(Store, ListsOfPairsComeOutAsTheyWentInAndHalfOnesAreRefused) {
  const std::vector<std::pair<std::string, std::string>> pairs = {{"a", ""}, {"", "bc"}};
  const std::string value = to_value(pairs);
  EXPECT_EQ(pairs_of(value), pairs);
  const std::size_t end_of_first = to_value({pairs[0]}).size();
  for (std::size_t bytes = 1; bytes < value.size(); ++bytes) {
    if (bytes == end_of_first) continue;
    EXPECT_THROW(pairs_of(value.substr(0, bytes)), BackendError) << bytes;
  }
  std::string endless = to_value({pairs[0]});  // lengths whose sum is what is left: none
  endless.replace(endless.size() - 17, 16, std::string(8, '\xff') + '\x02' + std::string(7, '\0'));
  EXPECT_THROW(pairs_of(endless), BackendError);
}

TEST(Store, ThatIsGoneOrWasNeverThereIsNamed) {
  HostPort place;
  {
    Store store;
    place = store.place;
    const auto one = store.client(1);
    std::thread closing([&] { store.server.reset(); });
    EXPECT_EQ(error_of([&] { one->get("never"); }), "process 0 of the job at " + to_text(place) + " is gone");
    closing.join();
  }
  EXPECT_EQ(error_of([&] { StoreClient(place, kToken, 1, 2, kImpatience); }),
            "nobody answers at " + to_text(place) + " within 0.2 s: process 0 of the job waits there");
}

TEST(Store, MayOpenLaterThanTheFirstProcessComes) {
  const HostPort place = own_place(listen_at({"127.0.0.1", 0}));
  std::unique_ptr<StoreServer> server;
  std::thread late([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    server = std::make_unique<StoreServer>(listen_at(place), kToken, 2);
  });
  StoreClient(place, kToken, 1, 2, kPatience).set("a", "b");
  late.join();
}

}  // namespace
}  // namespace orrery::executor
