// SPDX-License-Identifier: Apache-2.0
// A file descriptor that is closed in the end: of a pipe, a socket, a file in memory.
#pragma once

#include <utility>

namespace orrery::executor {

class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor() { close(); }

  int number() const { return number_; }
  bool is_open() const { return number_ >= 0; }
  void close();

 private:
  int number_;
};

}  // namespace orrery::executor
