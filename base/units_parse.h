// SPDX-License-Identifier: Apache-2.0
// Quantities as text in files: "400 Gbps", "80 GiB", "989 Tflop/s", "2 us", "700 W". A bit is b, a byte is B;
// k M G T P are powers of 1000, Ki Mi Gi Ti powers of 1024; a bare number is an error. Reading is exact:
// "12.3 us" is the double nearest to 12.3e-6, and `exact_text` writes text that reads back as the same double.
#pragma once

#include "base/units.h"

#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace orrery {

/// One spelling of a unit: a quantity of n such units is n * 10^exponent * factor in SI.
struct UnitSpelling {
  std::string_view name;
  int exponent = 0;
  double factor = 1.0;
};

/// How the texts of one dimension are read: the units, and what an error message says.
struct UnitTable {
  std::string_view expected;  ///< for example "a bandwidth with its unit, such as \"400 Gbps\" or \"50 GB/s\""
  std::span<const UnitSpelling> spellings;
};

/// The table of a quantity type; defined for the named types of units.h.
template <class Q>
const UnitTable& unit_table();
template <>
const UnitTable& unit_table<Seconds>();
template <>
const UnitTable& unit_table<Hertz>();
template <>
const UnitTable& unit_table<Bytes>();
template <>
const UnitTable& unit_table<Flops>();
template <>
const UnitTable& unit_table<Joules>();
template <>
const UnitTable& unit_table<Watts>();
template <>
const UnitTable& unit_table<BytesPerSecond>();
template <>
const UnitTable& unit_table<FlopsPerSecond>();

/// Tables of two numbers that are not physical quantities: "2.10 USD/h" (in USD/h) and "0.4 kg/kWh" (in kg/kWh).
const UnitTable& price_units();
const UnitTable& carbon_intensity_units();

/// The number of SI units in `text`, or nothing if it is not "<number> <unit>" with a unit of the table, or too large
/// for a double. One space between number and unit is usual; none is accepted.
std::optional<double> parse_units(std::string_view text, const UnitTable& table);

/// "known units: s, ms, ...": the hint of an error message.
std::string known_units(const UnitTable& table);

/// The quantity that `text` names, for flags and tests. Throws: ConfigError, saying what was expected.
template <class Q>
Q parse_quantity(std::string_view text);

/// Text that `parse_units` reads back as the same double, with a readable decimal prefix: "12.3 us", "400 GB/s".
std::string exact_text(Seconds x);
std::string exact_text(Hertz x);
std::string exact_text(Bytes x);
std::string exact_text(Flops x);
std::string exact_text(Joules x);
std::string exact_text(Watts x);
std::string exact_text(BytesPerSecond x);
std::string exact_text(FlopsPerSecond x);

namespace detail {
double parse_units_or_throw(std::string_view text, const UnitTable& table);
}  // namespace detail

template <class Q>
Q parse_quantity(std::string_view text) {
  return Q::from_si(detail::parse_units_or_throw(text, unit_table<Q>()));
}

}  // namespace orrery
