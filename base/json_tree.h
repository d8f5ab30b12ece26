// SPDX-License-Identifier: Apache-2.0
// The parsed document behind the cursors of json_reader.h: a flat array of nodes with their lines. Nothing outside
// base includes this header.
#pragma once

#include "base/json_reader.h"

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace orrery::detail {

struct JsonNode {
  JsonKind kind = JsonKind::null;
  int line = 0;
  std::int32_t parent = -1;
  std::int32_t position = 0;  ///< among the children of the parent
  std::string key;            ///< if the parent is an object
  int key_line = 0;
  bool used = false;  ///< the key was read
  bool boolean = false;
  std::int64_t integer = 0;
  double number = 0.0;
  std::string text;  ///< of a string, or a number as it was written
  std::vector<std::int32_t> children;
};

struct JsonTree {
  std::string name;
  std::vector<JsonNode> nodes;                             ///< the root is the first
  std::map<std::int32_t, std::vector<std::string>> asked;  ///< keys an object was asked for and does not have
  ProblemList problems;

  const JsonNode& node(std::int32_t id) const { return nodes[static_cast<std::size_t>(id)]; }
  JsonNode& node(std::int32_t id) { return nodes[static_cast<std::size_t>(id)]; }

  /// The JSON pointer (RFC 6901) of a node; "" for the root.
  std::string pointer_of(std::int32_t id) const;
};

/// A key as a part of a JSON pointer: "~" is "~0", "/" is "~1".
std::string escaped_pointer_part(std::string_view key);

/// Parses `text`. Duplicate keys are problems of the tree, and so are NaN, Infinity and -Infinity, which some programs
/// write as numbers; each then is a number node with that value. Throws: ConfigError if it is not JSON otherwise.
std::unique_ptr<JsonTree> parse_json(std::string_view text, std::string name, int first_line);

}  // namespace orrery::detail
