// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/collective_curves.h"

#include "costmodel/collective_fit.h"
#include "program/work.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <regex>
#include <string_view>
#include <utility>
#include <variant>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

using Cell = std::variant<std::monostate, double, std::string>;
constexpr IntegerRange kCount{.min = 1, .max = std::int64_t{1} << 20};

struct Entry {
  std::size_t index = 0;
  std::string op, gpu, network, library, source;
  std::vector<std::int64_t> nodes;
  std::optional<std::int64_t> devices_per_node, num_devices;
  std::vector<std::string> columns, flags;
  std::vector<std::vector<Cell>> rows;
  std::vector<std::string> broken;  // "row 3: column 1 is NaN", counted from 0; these are not among rows
  bool is_table = true;

  std::optional<std::size_t> column(std::string_view name) const {
    const auto found = std::find(columns.begin(), columns.end(), name);
    if (found == columns.end()) return std::nullopt;
    return static_cast<std::size_t>(found - columns.begin());
  }
  bool has(std::string_view name) const { return column(name).has_value(); }
  std::optional<double> number(const std::vector<Cell>& row, std::string_view name) const {
    const auto at = column(name);
    if (!at || !std::holds_alternative<double>(row[*at])) return std::nullopt;
    return std::get<double>(row[*at]);
  }
  std::string text(const std::vector<Cell>& row, std::string_view name) const {
    const auto at = column(name);
    return at && std::holds_alternative<std::string>(row[*at]) ? std::get<std::string>(row[*at]) : "";
  }
  bool says(std::string_view words) const {
    return std::any_of(flags.begin(), flags.end(),
                       [&](const std::string& flag) { return flag.find(words) != std::string::npos; });
  }
};

Cell read_cell(const JsonValue& in) {
  if (in.is_null()) return std::monostate{};
  if (in.kind() == JsonKind::string) return in.string();
  return in.number();
}

bool contains(std::string_view text, std::string_view words) { return text.find(words) != std::string_view::npos; }

std::vector<std::string> texts(const OptionalJsonValue& in) {
  std::vector<std::string> out;
  if (!in.present()) return out;
  for (const JsonValue& value : in.value().array()) out.push_back(value.string());
  return out;
}

std::string read_source(const JsonObject& in) {
  const auto repo = in.optional("repo").string(), note = in.optional("note").string(),
             url = in.optional("url").string();
  if (!repo && !note && !url) in.problem("expected a repo, a url or a note that says where the figures are from");
  for (const char* key : {"path", "commit", "table"}) in.optional(key).string();  // for people
  in.finish();
  return repo ? *repo : url ? *url : note.value_or("");
}

/// Rows with a number that is not finite, by their place, "/entries/0/data/3": "4 is NaN", the column's number and what
/// stands there. Programs write that where a measurement failed. Other problems of the document go to `others`.
std::map<std::string, std::string> broken_rows(const ProblemList& problems, ProblemList& others) {
  const std::regex cell(R"((/entries/\d+/data/\d+)/(\d+))");
  constexpr std::string_view kFinite = "expected a finite number, got ";
  std::map<std::string, std::string> out;
  for (const Problem& problem : problems.problems()) {
    std::smatch match;
    if (!problem.message.starts_with(kFinite) || !std::regex_match(problem.pointer, match, cell)) {
      others.add(problem);
      continue;
    }
    std::string& cells = out[match[1]];
    if (!cells.empty()) cells += ", ";
    cells += fmt::format("column {} is {}", match[2].str(), problem.message.substr(kFinite.size()));
  }
  return out;
}

Entry read_entry(const JsonObject& in, std::size_t index, const std::map<std::string, std::string>& broken) {
  Entry out;
  out.index = index;
  out.op = in.required("op").string();
  out.gpu = in.required("gpu").string();
  out.network = in.nullable("inter").string().value_or("");
  out.library = in.optional("library").string().value_or("");
  if (const OptionalJsonValue nodes = in.optional("nodes"); nodes.present()) {
    if (nodes.value().kind() == JsonKind::array) {
      for (const JsonValue& value : nodes.value().array()) out.nodes.push_back(value.integer(kCount));
      if (out.nodes.empty()) nodes.value().problem("expected at least one number of nodes");
    } else {
      out.nodes.push_back(nodes.value().integer(kCount));
    }
  }
  out.devices_per_node = in.optional("gpus_per_node").integer(kCount);
  out.num_devices = in.optional("n_gpus").integer(kCount);
  out.columns = texts(OptionalJsonValue(in.required("columns")));
  out.flags = texts(in.optional("flags"));
  if (out.has("busbw_1node_GBps") && !in.has("nodes")) in.problem("expected nodes, of which columns name a number");
  out.source = read_source(in.required("source").object());
  const JsonValue data = in.required("data");
  out.is_table = data.kind() == JsonKind::array;
  if (out.is_table) {
    for (const JsonValue& row : data.array()) {
      if (const auto found = broken.find(row.pointer()); found != broken.end()) {
        out.broken.push_back(fmt::format("row {}: {}", row.pointer().substr(data.pointer().size() + 1), found->second));
        continue;
      }
      std::vector<Cell>& cells = out.rows.emplace_back();
      for (const JsonValue& cell : row.array()) cells.push_back(read_cell(cell));
      if (cells.size() == out.columns.size()) continue;
      row.problem(fmt::format("expected {} values, one for each column, got {}", out.columns.size(), cells.size()));
      cells.resize(out.columns.size());
    }
  } else {
    data.object();
  }
  in.finish();
  return out;
}

class Reading {
 public:
  explicit Reading(CurvesFile& out) : out_(out) {}

  void read(const Entry& in) {
    for (const std::string& row : in.broken) refuse(in, row, 1);
    const std::size_t num_figures = in.is_table ? in.rows.size() : 1;
    if (!in.is_table) return refuse(in, "fitted numbers and no measured times", num_figures);
    if (in.gpu.starts_with("not stated")) return refuse(in, "the GPU is not stated", num_figures);
    if (in.has("dispatch_us")) return refuse(in, "low-latency kernels, which go around NVLink", 2 * num_figures);
    if (in.has("dispatch_GBps")) return read_tokens(in);
    if (in.has("gpus")) return read_by_devices(in);
    if (in.has("algo")) return read_by_algorithm(in);
    if (in.has("busbw_1node_GBps")) {
      read_sizes(in, 1, "busbw_1node_GBps");
      return read_sizes(in, in.nodes.back(), fmt::format("busbw_{}nodes_GBps", in.nodes.back()));
    }
    const std::string op = op_of(in.op);
    if (op.empty() || !(in.has("size_B") || in.has("size_MB"))) return refuse(in, "no collective of ours", num_figures);
    read_sizes(in, in.nodes.empty() ? 1 : in.nodes.front(), in.has("busbw_GBps") ? "busbw_GBps" : "oop_busbw_GBps");
  }

 private:
  static std::string op_of(std::string_view text) {
    if (text.starts_with("alltoall")) return "all_to_all";
    for (const char* op : {"all_reduce", "all_gather", "reduce_scatter", "all_to_all"}) {
      if (text.starts_with(op)) return op;
    }
    return "";
  }

  /// "collective comparison, 16GiB".
  static Bytes size_in(const std::string& text) {
    std::smatch match;
    if (!std::regex_search(text, match, std::regex(R"((\d+) ?GiB)"))) return {};
    return gib(std::stod(match[1]));
  }

  static Seconds time_at(Bytes size, std::string_view op, std::int64_t ranks, double bus_gigabytes) {
    return wire_factor(op, ranks) * size / (bus_gigabytes * unit::gigabytes_per_second);
  }

  void refuse(const Entry& in, std::string reason, std::size_t num_figures) {
    if (num_figures > 0) out_.unread.push_back({in.index, in.op, std::move(reason), num_figures});
  }

  static Curve curve_of(const Entry& in, std::string op) {
    return {.entry = in.index,
            .op = std::move(op),
            .gpu = in.gpu,
            .network = in.network,
            .library = in.library,
            .source = in.source,
            .devices_per_node = in.devices_per_node,
            .tokens = {},
            .points = {}};
  }

  static bool is_sound(const CurvePoint& point) {
    const bool positive =
        point.size > Bytes::zero() && point.time > Seconds::zero() && !std::isinf(point.time.in(unit::second));
    const bool spread = point.ranks >= 2 && point.nodes >= 1 && point.ranks % point.nodes == 0;
    return positive && spread;
  }

  void add(const Entry& in, Curve curve) {
    const std::size_t num_broken =
        std::erase_if(curve.points, [](const CurvePoint& point) { return !is_sound(point); });
    refuse(in, "no positive size and time among at least two devices", num_broken);
    if (!curve.points.empty()) out_.curves.push_back(std::move(curve));
  }

  void read_sizes(const Entry& in, std::int64_t nodes, std::string_view bus_column) {
    Curve curve = curve_of(in, op_of(in.op));
    const std::int64_t ranks = in.num_devices.value_or(nodes * in.devices_per_node.value_or(1));
    const bool in_place = in.says("use in-place");
    std::size_t num_coarse = 0;
    for (const auto& row : in.rows) {
      const auto size = in.number(row, "size_B"), mebibytes = in.number(row, "size_MB");
      CurvePoint point{.size = size ? bytes(*size) : mib(mebibytes.value_or(0.0)), .ranks = ranks, .nodes = nodes};
      const auto time = in.number(row, in_place ? "ip_time_us" : in.has("time_us") ? "time_us" : "oop_time_us");
      if (time) {
        point.time = microseconds(*time);
      } else if (const auto whole = in.number(row, "time_s")) {
        point.time = seconds(*whole);
      } else if (const auto rate = in.number(row, bus_column); rate && *rate >= 0.1) {
        point.time = time_at(point.size, curve.op, ranks, *rate);
      } else {
        ++num_coarse;  // two decimals: of 0.01 nobody knows the first digit
        continue;
      }
      curve.points.push_back(point);
    }
    refuse(in, "bandwidth below 0.1 GB/s, printed with two decimals", num_coarse);
    add(in, std::move(curve));
  }

  void read_by_devices(const Entry& in) {
    Curve curve = curve_of(in, op_of(in.op));
    const Bytes size = size_in(in.op);
    for (const auto& row : in.rows) {
      const auto ranks = static_cast<std::int64_t>(in.number(row, "gpus").value_or(2.0));
      const double rate = in.number(row, "busbw_GBps").value_or(1.0);
      curve.points.push_back({.size = size, .ranks = ranks, .time = time_at(size, curve.op, ranks, rate)});
    }
    if (in.has("busbw_NVLS_off_GBps")) refuse(in, "NVLS switched off", in.rows.size());
    add(in, std::move(curve));
  }

  void read_by_algorithm(const Entry& in) {
    const std::int64_t nodes = in.nodes.empty() ? 1 : in.nodes.front();
    const std::int64_t ranks = nodes * in.devices_per_node.value_or(1);
    const Bytes size = size_in(in.op);
    std::size_t num_forced = 0;
    for (const auto& row : in.rows) {
      const std::string what = in.text(row, "collective") + in.text(row, "algo");
      if (contains(what, "forced") || contains(what, "NVLS off")) {
        ++num_forced;
        continue;
      }
      Curve curve = curve_of(in, op_of(in.has("collective") ? in.text(row, "collective") : in.op));
      const double rate = in.number(row, "busbw_GBps").value_or(1.0);
      curve.points = {{.size = size, .ranks = ranks, .nodes = nodes, .time = time_at(size, curve.op, ranks, rate)}};
      add(in, std::move(curve));
    }
    refuse(in, "an algorithm that was forced", num_forced);
  }

  /// DeepEP's tests: 7168 wide, eight of 256 experts, dispatch in fp8 with a scale for 128, combine in bf16. Its rates
  /// count what arrives at a device from its node, and over nodes the copies for each node, the own one included.
  void read_tokens(const Entry& in) {
    const bool is_first = in.has("EP");  // version 1: the setting of DeepSeek-V3, tokens go to four groups at most
    for (const auto& row : in.rows) {
      std::int64_t ranks = 0, nodes = 1;
      const std::string place = in.text(row, "topo");
      std::smatch match;
      if (is_first) {
        ranks = static_cast<std::int64_t>(in.number(row, "EP").value_or(8.0));
        nodes = std::max<std::int64_t>(ranks / 8, 1);
      } else if (std::regex_search(place, match, std::regex(R"(EP (\d+)x(\d+))"))) {
        nodes = std::stoll(match[2]);
        ranks = std::stoll(match[1]) * nodes;
      } else {
        ranks = 8;
      }
      for (const bool to_experts : {true, false}) {
        Curve curve = curve_of(in, "all_to_all");
        curve.devices_per_node = 8;
        if (!is_first) curve.gpu = in.text(row, "arch");
        if (!is_first) curve.network = in.text(row, "nic");
        TokenExchange tokens{.tokens = is_first ? 4096 : 8192, .row_bytes = to_experts ? 7392 : 14336};
        tokens.top_k_groups = is_first ? 4 : 0;
        tokens.to_experts = to_experts;
        const std::int64_t limit = tokens.top_k_groups == 0 ? nodes : std::min(tokens.top_k_groups, nodes);
        if (ranks < 2 || tokens.num_experts % ranks != 0 || tokens.num_experts % nodes != 0) {
          refuse(in, "experts that do not divide among the devices", 1);
          continue;
        }
        const double copies = nodes == 1 ? expected_distinct(tokens.num_experts, tokens.top_k, ranks)
                                         : expected_nodes(tokens.num_experts, tokens.top_k, nodes, nodes, limit);
        const Bytes size = bytes(copies * static_cast<double>(tokens.tokens * tokens.row_bytes));
        const double rate = in.number(row, to_experts ? "dispatch_GBps" : "combine_GBps").value_or(1.0);
        curve.points = {
            {.size = size, .ranks = ranks, .nodes = nodes, .time = size / (rate * unit::gigabytes_per_second)}};
        curve.tokens = tokens;
        add(in, std::move(curve));
      }
    }
  }

  CurvesFile& out_;
};

}  // namespace

CurvesFile read_collective_curves(const JsonDocument& document) {
  const JsonObject in = document.root();
  in.required("schema_version").integer({.min = 1, .max = 1});
  in.ignore("note");
  ProblemList others, strict;
  const std::map<std::string, std::string> broken = broken_rows(document.problems(), others);
  std::vector<Entry> entries;
  const JsonValue list = in.required("entries");
  for (const JsonValue& value : list.array()) entries.push_back(read_entry(value.object(), entries.size(), broken));
  const bool has_data = std::any_of(entries.begin(), entries.end(), [](const Entry& entry) {
    return !entry.is_table || !entry.rows.empty() || !entry.broken.empty();
  });
  if (list.kind() == JsonKind::array && !has_data) list.problem("expected at least one entry with data, got none");
  in.finish();
  broken_rows(document.problems(), strict);
  strict.throw_if_any();
  CurvesFile out;
  Reading reading(out);
  for (const Entry& entry : entries) reading.read(entry);
  return out;
}

}  // namespace orrery::costmodel
