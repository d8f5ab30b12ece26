// SPDX-License-Identifier: Apache-2.0
#include "executor/bootstrap/store_wire.h"

#include "base/errors.h"

#include <cstring>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

struct Header {
  StoreOp op;
  std::uint64_t key_bytes, value_bytes;
};

std::string_view bytes_of(const Header& header) { return {reinterpret_cast<const char*>(&header), sizeof header}; }

Header header_at(const std::string& text) {
  Header header = {};
  std::memcpy(&header, text.data(), sizeof header);
  return header;
}

}  // namespace

std::string key_of(std::string_view what, int process) { return fmt::format("{}/{:06}", what, process); }

std::string to_value(const std::vector<std::pair<std::string, std::string>>& pairs) {
  std::string value;
  for (const auto& [key, text] : pairs) {
    value += bytes_of({StoreOp::list, key.size(), text.size()});
    value += key;
    value += text;
  }
  return value;
}

std::vector<std::pair<std::string, std::string>> pairs_of(const std::string& value) {
  std::vector<std::pair<std::string, std::string>> pairs;
  for (std::size_t begin = 0; begin < value.size();) {
    if (value.size() - begin < sizeof(Header)) throw BackendError("the store has sent half a list");
    const Header header = header_at(value.substr(begin, sizeof(Header)));
    begin += sizeof header;
    const std::size_t left = value.size() - begin;
    if (header.key_bytes > left || header.value_bytes > left - header.key_bytes)
      throw BackendError("the store has sent half a list");
    pairs.emplace_back(value.substr(begin, header.key_bytes),
                       value.substr(begin + header.key_bytes, header.value_bytes));
    begin += header.key_bytes + header.value_bytes;
  }
  return pairs;
}

void StoreConnection::post(const StoreMessage& message) {
  unsent_ += bytes_of({message.op, message.key.size(), message.value.size()});
  unsent_ += message.key;
  unsent_ += message.value;
}

bool StoreConnection::move() {
  std::size_t num_moved = 0, num_sent = 0;
  while (!closed_ && num_sent < unsent_.size()) {
    const Moved moved = send_some(socket_, std::as_bytes(std::span(unsent_)).subspan(num_sent));
    if (moved.error != 0) closed_ = true;
    if (moved.bytes == 0) break;
    num_sent += moved.bytes;
  }
  unsent_.erase(0, num_sent);
  std::byte buffer[std::size_t{64} << 10];
  while (true) {
    const Moved moved = receive_some(socket_, buffer);
    if (moved.error != 0 || moved.ended) closed_ = true;
    if (moved.bytes == 0) break;
    received_.append(reinterpret_cast<const char*>(buffer), moved.bytes);
    num_moved += moved.bytes;
    if (received_.size() > limit_) closed_ = true;
    if (closed_) break;
  }
  return num_moved + num_sent > 0;
}

std::optional<StoreMessage> StoreConnection::next() {
  if (received_.size() < sizeof(Header)) return std::nullopt;
  const Header header = header_at(received_);
  if (header.key_bytes > limit_ || header.value_bytes > limit_) {
    closed_ = true;
    return std::nullopt;
  }
  const std::size_t bytes = sizeof header + header.key_bytes + header.value_bytes;
  if (received_.size() < bytes) return std::nullopt;
  StoreMessage message{header.op, received_.substr(sizeof header, header.key_bytes),
                       received_.substr(sizeof header + header.key_bytes, header.value_bytes)};
  received_.erase(0, bytes);
  return message;
}

}  // namespace orrery::executor
