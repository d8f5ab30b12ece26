// SPDX-License-Identifier: Apache-2.0
#include "program/box.h"

namespace orrery {
namespace {

/// Adds the parts of `box` above, below, left and right of `hole`. Requires: `hole` is a part of it.
void add_frame(const Box& box, const Box& hole, std::vector<Box>& out) {
  const std::int64_t below = hole.row + hole.rows, right = hole.col + hole.cols;
  const auto add = [&](const Box& part) {
    if (part.size() > 0) out.push_back(part);
  };
  add({box.row, hole.row - box.row, box.col, box.cols});
  add({below, box.row + box.rows - below, box.col, box.cols});
  add({hole.row, hole.rows, box.col, hole.col - box.col});
  add({hole.row, hole.rows, right, box.col + box.cols - right});
}

}  // namespace

std::vector<Box> without(const Box& box, std::span<const Box> taken) {
  std::vector<Box> rest;
  if (box.size() > 0) rest.push_back(box);
  std::vector<Box> next;
  for (const Box& other : taken) {
    next.clear();
    for (const Box& part : rest) {
      const Box hole = common(part, other);
      if (hole.size() == 0) {
        next.push_back(part);
      } else {
        add_frame(part, hole, next);
      }
    }
    std::swap(rest, next);
  }
  return rest;
}

}  // namespace orrery
