// SPDX-License-Identifier: Apache-2.0
#include "base/units_parse.h"

#include "base/errors.h"

#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr double kKi = 1024.0;
constexpr double kBit = 1.0 / 8.0;

// Of spellings with the same meaning the first is the one that is written.
constexpr UnitSpelling kTimes[] = {
    {"s"}, {"ms", -3}, {"us", -6}, {"ns", -9}, {"min", 0, 60.0}, {"h", 0, 3600.0}, {"days", 0, 86400.0}};
constexpr UnitSpelling kFrequencies[] = {{"Hz"}, {"kHz", 3}, {"MHz", 6}, {"GHz", 9}};
constexpr UnitSpelling kSizes[] = {{"B"},
                                   {"kB", 3},
                                   {"MB", 6},
                                   {"GB", 9},
                                   {"TB", 12},
                                   {"PB", 15},
                                   {"KiB", 0, kKi},
                                   {"MiB", 0, kKi* kKi},
                                   {"GiB", 0, kKi* kKi* kKi},
                                   {"TiB", 0, kKi* kKi* kKi* kKi},
                                   {"b", 0, kBit},
                                   {"kb", 3, kBit},
                                   {"Mb", 6, kBit},
                                   {"Gb", 9, kBit},
                                   {"Tb", 12, kBit}};
constexpr UnitSpelling kWork[] = {{"flop"},      {"kflop", 3},  {"Mflop", 6},  {"Gflop", 9}, {"Tflop", 12},
                                  {"Pflop", 15}, {"Eflop", 18}, {"FLOP"},      {"kFLOP", 3}, {"MFLOP", 6},
                                  {"GFLOP", 9},  {"TFLOP", 12}, {"PFLOP", 15}, {"EFLOP", 18}};
constexpr UnitSpelling kEnergies[] = {{"J"},     {"mJ", -3},        {"kJ", 3},          {"MJ", 6},
                                      {"GJ", 9}, {"Wh", 0, 3600.0}, {"kWh", 3, 3600.0}, {"MWh", 6, 3600.0}};
constexpr UnitSpelling kPowers[] = {{"W"}, {"mW", -3}, {"kW", 3}, {"MW", 6}};
constexpr UnitSpelling kBandwidths[] = {{"B/s"},
                                        {"kB/s", 3},
                                        {"MB/s", 6},
                                        {"GB/s", 9},
                                        {"TB/s", 12},
                                        {"KiB/s", 0, kKi},
                                        {"MiB/s", 0, kKi* kKi},
                                        {"GiB/s", 0, kKi* kKi* kKi},
                                        {"TiB/s", 0, kKi* kKi* kKi* kKi},
                                        {"bps", 0, kBit},
                                        {"kbps", 3, kBit},
                                        {"Mbps", 6, kBit},
                                        {"Gbps", 9, kBit},
                                        {"Tbps", 12, kBit}};
constexpr UnitSpelling kRates[] = {{"flop/s"},      {"kflop/s", 3},  {"Mflop/s", 6},  {"Gflop/s", 9}, {"Tflop/s", 12},
                                   {"Pflop/s", 15}, {"Eflop/s", 18}, {"FLOP/s"},      {"kFLOP/s", 3}, {"MFLOP/s", 6},
                                   {"GFLOP/s", 9},  {"TFLOP/s", 12}, {"PFLOP/s", 15}, {"EFLOP/s", 18}};
constexpr UnitSpelling kPrices[] = {{"USD/h"}};
constexpr UnitSpelling kCarbonIntensities[] = {{"kg/kWh"}, {"g/kWh", -3}};

constexpr UnitTable kTimeTable{R"(a time with its unit, such as "2 us" or "1.5 ms")", kTimes};
constexpr UnitTable kFrequencyTable{R"(a frequency with its unit, such as "1.98 GHz")", kFrequencies};
constexpr UnitTable kSizeTable{R"(a size with its unit, such as "80 GiB" or "512 MB")", kSizes};
constexpr UnitTable kWorkTable{R"(an amount of work with its unit, such as "3 Tflop")", kWork};
constexpr UnitTable kEnergyTable{R"(an energy with its unit, such as "5 kJ" or "1.2 kWh")", kEnergies};
constexpr UnitTable kPowerTable{R"(a power with its unit, such as "700 W")", kPowers};
constexpr UnitTable kBandwidthTable{R"(a bandwidth with its unit, such as "400 Gbps" or "50 GB/s")", kBandwidths};
constexpr UnitTable kRateTable{R"(a compute rate with its unit, such as "989 Tflop/s")", kRates};
constexpr UnitTable kPriceTable{R"(a price with its unit, such as "2.10 USD/h")", kPrices};
constexpr UnitTable kCarbonIntensityTable{R"(a carbon intensity with its unit, such as "0.4 kg/kWh")",
                                          kCarbonIntensities};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

std::size_t skip_digits(std::string_view text, std::size_t at) {
  while (at < text.size() && is_digit(text[at])) ++at;
  return at;
}

/// The end of the number without exponent at the start of `text`; 0 if there is none.
std::size_t end_of_mantissa(std::string_view text) {
  const std::size_t first_digit = text.starts_with('-') ? 1 : 0;
  std::size_t end = skip_digits(text, first_digit);
  if (end == first_digit) return 0;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) end = skip_digits(text, end + 1);
  return end;
}

/// The end of the exponent ("e-6") that starts at `at`; `at` if there is none.
std::size_t end_of_exponent(std::string_view text, std::size_t at) {
  if (at >= text.size() || (text[at] != 'e' && text[at] != 'E')) return at;
  std::size_t digits = at + 1;
  if (digits < text.size() && (text[digits] == '+' || text[digits] == '-')) ++digits;
  const std::size_t end = skip_digits(text, digits);
  return end == digits ? at : end;
}

/// The shortest digits of |x| and the decimal exponent of the first of them: 0.0123 is ("123", -2).
struct Decimal {
  std::string digits;
  int exponent = 0;
};

Decimal decimal_of(double x) {
  char buffer[32];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, std::abs(x), std::chars_format::scientific);
  const std::string_view text(buffer, static_cast<std::size_t>(result.ptr - buffer));
  const std::size_t e = text.find('e');
  Decimal out;
  for (char c : text.substr(0, e)) {
    if (c != '.') out.digits += c;
  }
  const std::size_t exponent = e + (text[e + 1] == '+' ? 2 : 1);
  std::from_chars(text.data() + exponent, text.data() + text.size(), out.exponent);
  return out;
}

/// The decimal as text, in scientific form if that saves many zeros.
std::string plain_number(const Decimal& decimal) {
  constexpr int kMostZeros = 6;
  const std::string_view digits = decimal.digits;
  const int num_digits = static_cast<int>(digits.size());
  const int point = decimal.exponent + 1;
  if (point > num_digits + kMostZeros || point < -kMostZeros) {
    return fmt::format("{}{}{}e{}", digits[0], num_digits > 1 ? "." : "", digits.substr(1), decimal.exponent);
  }
  if (point <= 0) return fmt::format("0.{:0>{}}", digits, num_digits - point);
  if (point >= num_digits) return fmt::format("{:0<{}}", digits, point);
  const auto split = static_cast<std::size_t>(point);
  return fmt::format("{}.{}", digits.substr(0, split), digits.substr(split));
}

std::string exact_text_of(double x, const UnitTable& table) {
  if (x == 0.0) return fmt::format("0 {}", table.spellings.front().name);
  Decimal decimal = decimal_of(x);
  // The largest unit that is not larger than x, else the smallest of all.
  const auto preference = [&](const UnitSpelling& unit) {
    constexpr int kTooLarge = -1000;
    return unit.exponent <= decimal.exponent ? unit.exponent : kTooLarge - unit.exponent;
  };
  const UnitSpelling* best = &table.spellings.front();
  for (const UnitSpelling& unit : table.spellings) {
    if (unit.factor == 1.0 && preference(unit) > preference(*best)) best = &unit;
  }
  decimal.exponent -= best->exponent;
  return fmt::format("{}{} {}", x < 0.0 ? "-" : "", plain_number(decimal), best->name);
}

}  // namespace

template <>
const UnitTable& unit_table<Seconds>() {
  return kTimeTable;
}
template <>
const UnitTable& unit_table<Hertz>() {
  return kFrequencyTable;
}
template <>
const UnitTable& unit_table<Bytes>() {
  return kSizeTable;
}
template <>
const UnitTable& unit_table<Flops>() {
  return kWorkTable;
}
template <>
const UnitTable& unit_table<Joules>() {
  return kEnergyTable;
}
template <>
const UnitTable& unit_table<Watts>() {
  return kPowerTable;
}
template <>
const UnitTable& unit_table<BytesPerSecond>() {
  return kBandwidthTable;
}
template <>
const UnitTable& unit_table<FlopsPerSecond>() {
  return kRateTable;
}

const UnitTable& price_units() { return kPriceTable; }
const UnitTable& carbon_intensity_units() { return kCarbonIntensityTable; }

std::optional<double> parse_units(std::string_view text, const UnitTable& table) {
  const std::size_t mantissa_end = end_of_mantissa(text);
  if (mantissa_end == 0) return std::nullopt;
  const std::size_t number_end = end_of_exponent(text, mantissa_end);
  std::string_view name = text.substr(number_end);
  if (name.starts_with(' ')) name.remove_prefix(1);

  int exponent = 0;
  if (number_end > mantissa_end) {
    const std::size_t first = mantissa_end + (text[mantissa_end + 1] == '+' ? 2 : 1);
    const auto result = std::from_chars(text.data() + first, text.data() + number_end, exponent);
    if (result.ec != std::errc() || std::abs(exponent) > 1000) return std::nullopt;
  }
  for (const UnitSpelling& unit : table.spellings) {
    if (unit.name != name) continue;
    // The prefix joins the exponent in the text, so that the result is rounded only once.
    const std::string number = fmt::format("{}e{}", text.substr(0, mantissa_end), exponent + unit.exponent);
    double value = 0.0;
    const auto result = std::from_chars(number.data(), number.data() + number.size(), value);
    value *= unit.factor;
    if (result.ec != std::errc() || !std::isfinite(value)) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

std::string known_units(const UnitTable& table) {
  std::string text = "known units: ";
  for (const UnitSpelling& unit : table.spellings) {
    if (&unit != &table.spellings.front()) text += ", ";
    text += unit.name;
  }
  return text;
}

double detail::parse_units_or_throw(std::string_view text, const UnitTable& table) {
  const std::optional<double> value = parse_units(text, table);
  if (!value) throw ConfigError(fmt::format("expected {}, got \"{}\"", table.expected, text), known_units(table));
  return *value;
}

std::string exact_text(Bytes x) {
  // Memory sizes are whole numbers of KiB or GiB far more often than round in powers of 1000.
  for (const char* name : {"GiB", "MiB", "KiB"}) {
    const Bytes unit = parse_quantity<Bytes>(fmt::format("1 {}", name));
    const double count = x.in(unit);
    if (count >= 1.0 && count < 1e6 && count == std::floor(count)) return fmt::format("{:.0f} {}", count, name);
  }
  return exact_text_of(x.in(unit::byte), kSizeTable);
}

std::string exact_text(Seconds x) { return exact_text_of(x.in(unit::second), kTimeTable); }
std::string exact_text(Hertz x) { return exact_text_of(x.in(unit::hertz), kFrequencyTable); }
std::string exact_text(Flops x) { return exact_text_of(x.in(unit::flop), kWorkTable); }
std::string exact_text(Joules x) { return exact_text_of(x.in(unit::joule), kEnergyTable); }
std::string exact_text(Watts x) { return exact_text_of(x.in(unit::watt), kPowerTable); }
std::string exact_text(BytesPerSecond x) { return exact_text_of(x.in(unit::byte_per_second), kBandwidthTable); }
std::string exact_text(FlopsPerSecond x) { return exact_text_of(x.in(unit::flop_per_second), kRateTable); }

}  // namespace orrery
