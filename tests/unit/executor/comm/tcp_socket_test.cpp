// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/tcp_socket.h"

#include "base/errors.h"

#include <cstring>
#include <string>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace orrery::executor {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

TEST(TcpSocket, AnAddressIsAHostAndAPort) {
  for (const char* text : {"10.0.0.1:4711", "node-3.cluster:1", "[fe80::1]:65535"}) {
    const auto place = host_port_of(text);
    ASSERT_TRUE(place.has_value()) << text;
    EXPECT_EQ(to_text(*place), text);
  }
  EXPECT_EQ(host_port_of("[::1]:80")->host, "::1");
  for (const char* text : {"", "host", "host:", ":80", "host:x", "host:0", "host:65536", "host:80x", "host:-1"})
    EXPECT_FALSE(host_port_of(text).has_value()) << text;
}

TEST(TcpSocket, BytesComeOutAsTheyWentIn) {
  const Descriptor listener = listen_at({"127.0.0.1", 0});
  EXPECT_FALSE(accept_next(listener).has_value());
  const Descriptor one = start_connecting(own_place(listener));
  std::optional<Descriptor> other;
  while (!(other = accept_next(listener))) std::this_thread::yield();
  EXPECT_EQ(to_text(own_place(one)), to_text(other_place(*other)));
  std::string text(7, '.');
  const auto room = std::as_writable_bytes(std::span(text));
  EXPECT_TRUE(receive_some(*other, room).must_wait);
  Moved sent;
  while ((sent = send_some(one, bytes_of("planets"))).must_wait) std::this_thread::yield();
  EXPECT_EQ(sent.bytes, 7);
  Moved got;
  while ((got = receive_some(*other, room)).must_wait) std::this_thread::yield();
  EXPECT_EQ(got.bytes, 7);
  EXPECT_EQ(text, "planets");
}

TEST(TcpSocket, TheEndOfTheOtherSideIsSeen) {
  const Descriptor listener = listen_at({"127.0.0.1", 0});
  Descriptor one = start_connecting(own_place(listener));
  std::optional<Descriptor> other;
  while (!(other = accept_next(listener))) std::this_thread::yield();
  other->close();
  std::byte room[1];
  Moved got;
  while ((got = receive_some(one, room)).must_wait) std::this_thread::yield();
  EXPECT_TRUE(got.ended);
}

TEST(TcpSocket, AnAddressThatIsTakenOrNotOursIsNamed) {
  const Descriptor listener = listen_at({"127.0.0.1", 0});
  const HostPort taken = own_place(listener);
  try {
    listen_at(taken);
    FAIL() << "it is taken";
  } catch (const BackendError& error) {
    EXPECT_EQ(error.what(), "cannot listen at " + to_text(taken) + ": Address already in use");
  }
  EXPECT_THROW(listen_at({"192.0.2.1", 0}), BackendError);
  EXPECT_THROW(start_connecting({"no.such.host.invalid", 1}), BackendError);
}

}  // namespace
}  // namespace orrery::executor
