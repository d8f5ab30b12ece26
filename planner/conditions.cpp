// SPDX-License-Identifier: Apache-2.0
#include "planner/conditions.h"

#include "base/errors.h"
#include "base/units_parse.h"
#include "planner/dimension_visit.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include <fmt/format.h>
#include <fmt/ranges.h>

namespace orrery::planner {
namespace {

struct Condition {
  std::string_view text;  // as its user wrote it
  std::string normal, dimension, relation;
  std::vector<std::string> values;

  [[noreturn]] void refuse(const std::string& why) const {
    throw ConfigError(fmt::format("condition \"{}\": {}", text, why));
  }
};

/// At `at`, of "<=" and "<" the longer one.
std::string_view relation_at(std::string_view text, std::size_t at) {
  for (const std::string_view relation : {"<=", ">=", "!=", "==", "=", "<", ">"}) {
    if (text.substr(at, relation.size()) == relation) return relation;
  }
  return {};
}

Condition parse(std::string_view text) {
  Condition out{.text = text, .normal = normal_condition(text), .values = {}};
  const std::size_t at = out.normal.find_first_of("<>!=");
  const std::string_view relation = at == std::string::npos ? "" : relation_at(out.normal, at);
  if (at == 0 || relation.empty()) {
    out.refuse("expected a dimension, one of = != <= >= < > and a value, such as \"tp<=8\"");
  }
  out.dimension = out.normal.substr(0, at);
  out.relation = relation == "==" ? "=" : relation;
  std::string_view rest = std::string_view(out.normal).substr(at + relation.size());
  for (std::size_t comma = 0; comma != std::string_view::npos; rest.remove_prefix(comma + 1)) {
    comma = rest.find(',');
    out.values.emplace_back(rest.substr(0, comma));
    if (out.values.back().empty()) out.refuse("a value is empty");
    if (comma == std::string_view::npos) break;
  }
  const bool is_set = out.relation == "=" || out.relation == "!=";
  if (!is_set && out.values.size() > 1) out.refuse(fmt::format("{} takes one value", out.relation));
  return out;
}

std::int64_t number_of(const Condition& condition, std::string_view text) {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    condition.refuse(fmt::format("expected a whole number, got \"{}\"", text));
  }
  return value;
}

bool holds(std::int64_t value, std::string_view relation, std::int64_t limit) {
  if (relation == "<=") return value <= limit;
  if (relation == ">=") return value >= limit;
  return relation == "<" ? value < limit : value > limit;
}

template <class Value, class Text>
std::string list_of(const std::vector<Value>& values, Text text) {
  std::vector<std::string> texts;
  for (const Value& value : values) texts.push_back(text(value));
  return fmt::format("{}", fmt::join(texts, " "));
}

/// Refuses names that are none of `values`.
template <class Value, class Text>
void keep(const Condition& condition, std::vector<Value>& values, Text text) {
  constexpr bool kIsNumber = std::is_integral_v<Value>;
  const bool is_set = condition.relation == "=" || condition.relation == "!=";
  if (!is_set && !kIsNumber) condition.refuse(fmt::format("{} has names: expected = or !=", condition.dimension));
  for (const std::string& wanted : condition.values) {
    if constexpr (kIsNumber) {
      number_of(condition, wanted);
    } else if (std::none_of(values.begin(), values.end(), [&](const Value& value) { return text(value) == wanted; })) {
      condition.refuse(fmt::format("\"{}\" is none of its values here, which are {}", wanted, list_of(values, text)));
    }
  }
  const auto is_listed = [&](const Value& value) {
    return std::any_of(condition.values.begin(), condition.values.end(), [&](const std::string& wanted) {
      if constexpr (kIsNumber) return static_cast<std::int64_t>(value) == number_of(condition, wanted);
      return text(value) == wanted;
    });
  };
  std::erase_if(values, [&](const Value& value) {
    if (is_set) return is_listed(value) != (condition.relation == "=");
    if constexpr (kIsNumber) return !holds(value, condition.relation, number_of(condition, condition.values.front()));
    return false;
  });
}

/// Refuses a dimension that there is not.
void require_known(const Condition& condition, const Domains& domains) {
  std::vector<std::string_view> names;
  visit_dimensions(domains, [&](std::string_view name, const auto&, auto) { names.push_back(name); });
  if (std::ranges::find(names, condition.dimension) != names.end()) return;
  if (condition.dimension == "dp") condition.refuse("dp is what tp, cp and pp leave of the devices: ask for those");
  if (condition.dimension == "sp") condition.refuse("sp goes with tp: ask for tp=1, or for tp>1");
  condition.refuse(fmt::format("expected one of {}, got \"{}\"", fmt::join(names, ", "), condition.dimension));
}

/// Adds to `values`, which a search caps, those that a condition lists and that are legal, in their order.
template <class IsLegal>
void add_listed(const Condition& condition, std::vector<std::int64_t>& values, IsLegal is_legal) {
  for (const std::string& text : condition.values) {
    const std::int64_t wanted = number_of(condition, text);
    if (!is_legal(wanted)) continue;
    const auto at = std::ranges::lower_bound(values, wanted);
    if (at == values.end() || *at != wanted) values.insert(at, wanted);
  }
}

/// What of `values` meets all of `conditions`, each of which means the same whatever stands beside it.
template <class Value, class Text>
std::vector<Value> kept(const std::vector<const Condition*>& conditions, const std::vector<Value>& values, Text text) {
  std::vector<Value> out = values;
  for (const Condition* condition : conditions) {
    std::vector<Value> alone = values;
    keep(*condition, alone, text);
    std::erase_if(out, [&](const Value& value) { return std::ranges::find(alone, value) == alone.end(); });
  }
  return out;
}

/// Conditions on one dimension, of which together nothing is left of `values`. Those that do no harm are not named.
template <class Value, class Text>
[[noreturn]] void refuse_together(std::vector<const Condition*> conditions, const std::vector<Value>& values,
                                  Text text) {
  for (std::size_t i = 0; i < conditions.size();) {
    std::vector<const Condition*> others = conditions;
    others.erase(others.begin() + static_cast<std::ptrdiff_t>(i));
    if (kept(others, values, text).empty()) {
      conditions = std::move(others);
    } else {
      ++i;
    }
  }
  const std::string all = list_of(values, text);
  if (conditions.size() == 1) {
    conditions.front()->refuse(fmt::format("nothing is left of its values, which are {}", all));
  }
  std::vector<std::string> names;
  for (const Condition* condition : conditions) names.push_back(fmt::format("\"{}\"", condition->text));
  const std::string last = names.back();
  names.pop_back();
  throw ConfigError(fmt::format("conditions {} and {} contradict each other: no value of {} meets {}, of {}",
                                fmt::join(names, ", "), last, conditions.front()->dimension,
                                names.size() == 1 ? "both" : "all", all));
}

}  // namespace

std::string normal_condition(std::string_view text) {
  static constexpr std::pair<std::string_view, std::string_view> kWords[] = {
      {" at most ", "<="}, {" at least ", ">="}, {" is not ", "!="}, {" is ", "="}, {" below ", "<"}, {" above ", ">"}};
  std::string words = " ";
  for (const char c : text) words += c == '\t' ? ' ' : c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  for (const auto& [word, relation] : kWords) {
    if (const std::size_t at = words.find(word); at != std::string::npos) words.replace(at, word.size(), relation);
  }
  std::erase(words, ' ');
  return words;
}

std::optional<Bytes> take_memory_limit(std::vector<std::string>& conditions, std::optional<Bytes> limit) {
  std::erase_if(conditions, [&](const std::string& text) {
    std::string_view normal = text;
    const std::string without_words = normal_condition(text);
    const std::size_t at = std::min(without_words.find_first_of("<>!="), without_words.size());
    const std::string_view dimension = std::string_view(without_words).substr(0, at);
    if (at == without_words.size() || (!dimension.empty() && dimension != "memory")) return false;
    // Units have capitals, so the size is read from what the user wrote.
    normal.remove_prefix(std::min(normal.find_first_of("0123456789"), normal.size()));
    const std::optional<double> size = parse_units(normal, unit_table<Bytes>());
    if (without_words.substr(at, 2) != "<=" || !size || !(*size > 0.0)) {
      throw ConfigError(
          fmt::format("condition \"{}\": of memory expected a size with its unit, such as \"memory <= 70 GiB\"", text));
    }
    limit = std::min(limit.value_or(Bytes::from_si(*size)), Bytes::from_si(*size));
    return true;
  });
  return limit;
}

void keep_where(Domains& domains, std::span<const std::string> texts) {
  std::vector<Condition> conditions;
  for (const std::string& text : texts) {
    conditions.push_back(parse(text));
    require_known(conditions.back(), domains);
  }
  // Who lists values of what is searched on demand alone demands it.
  visit_on_demand(domains, [&](std::string_view name, auto& values, auto, const auto& all) {
    const bool lists = std::any_of(conditions.begin(), conditions.end(), [&](const Condition& condition) {
      return condition.dimension == name && condition.relation == "=";
    });
    if (!lists) return;
    for (const auto& value : all) {
      if (std::ranges::find(values, value) == values.end()) values.push_back(value);
    }
  });
  for (const Condition& condition : conditions) {
    if (condition.relation != "=") continue;
    if (condition.dimension == "vpp") {
      add_listed(condition, domains.vpp, [&](std::int64_t vpp) { return vpp >= 1 && vpp <= domains.most_chunks; });
    } else if (condition.dimension == "micro_batch") {
      add_listed(condition, domains.micro_batch,
                 [&](std::int64_t size) { return size >= 1 && domains.global_batch % size == 0; });
    }
  }
  visit_dimensions(domains, [&](std::string_view name, auto& values, auto value_text) {
    std::vector<const Condition*> of_this;
    for (const Condition& condition : conditions) {
      if (condition.dimension == name) of_this.push_back(&condition);
    }
    if (of_this.empty()) return;
    auto left = kept(of_this, values, value_text);
    if (left.empty()) refuse_together(std::move(of_this), values, value_text);
    values = std::move(left);
  });
}

void keep_where(Domains& domains, const std::string& condition) { keep_where(domains, std::span(&condition, 1)); }

}  // namespace orrery::planner
