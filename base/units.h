// SPDX-License-Identifier: Apache-2.0
// Physical quantities: a double in SI units whose dimension is part of its type, so that bytes cannot be added to
// seconds and a bare number cannot be taken for either. Four dimensions (time, data, floating-point operations,
// energy) are all that the project needs; this is not a general unit library, which would cost ten times the
// compile time. A quantity is made by a named maker (`microseconds(2)`) or a unit (`3.0 * unit::gigabyte`) and
// leaves the type only with its unit named: `t.in(unit::microsecond)`. The idea of named makers alone is that of au.
// Text with units is in units_parse.h (reading, exact) and units_format.h (readable output).
#pragma once

#include <compare>

namespace orrery {

/// A physical quantity of dimension time^Time * data^Data * flop^Flop * energy^Energy.
template <int Time, int Data, int Flop, int Energy>
class Quantity {
 public:
  /// Zero.
  constexpr Quantity() = default;
  static constexpr Quantity zero() { return Quantity(); }

  /// The quantity of `value` SI units (seconds, bytes, operations, joules and their products). For generic code;
  /// elsewhere the makers below say the unit.
  static constexpr Quantity from_si(double value) { return Quantity(value); }

  /// How many `unit` this is: `t.in(unit::millisecond)`.
  constexpr double in(Quantity unit) const { return value_ / unit.value_; }

  constexpr Quantity operator-() const { return Quantity(-value_); }
  constexpr Quantity& operator+=(Quantity other) { return *this = *this + other; }
  constexpr Quantity& operator-=(Quantity other) { return *this = *this - other; }
  constexpr Quantity& operator*=(double factor) { return *this = *this * factor; }
  constexpr Quantity& operator/=(double divisor) { return *this = *this / divisor; }

  friend constexpr Quantity operator+(Quantity a, Quantity b) { return Quantity(a.value_ + b.value_); }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return Quantity(a.value_ - b.value_); }
  friend constexpr Quantity operator*(Quantity a, double b) { return Quantity(a.value_ * b); }
  friend constexpr Quantity operator*(double a, Quantity b) { return Quantity(a * b.value_); }
  friend constexpr Quantity operator/(Quantity a, double b) { return Quantity(a.value_ / b); }
  friend constexpr bool operator==(Quantity, Quantity) = default;
  friend constexpr std::partial_ordering operator<=>(Quantity, Quantity) = default;

 private:
  explicit constexpr Quantity(double value) : value_(value) {}

  double value_ = 0.0;
};

/// The product of two quantities; a plain double when the dimensions cancel.
template <int T1, int D1, int F1, int E1, int T2, int D2, int F2, int E2>
constexpr auto operator*(Quantity<T1, D1, F1, E1> a, Quantity<T2, D2, F2, E2> b) {
  const double value = a.in(a.from_si(1.0)) * b.in(b.from_si(1.0));
  if constexpr (T1 + T2 == 0 && D1 + D2 == 0 && F1 + F2 == 0 && E1 + E2 == 0) {
    return value;
  } else {
    return Quantity<T1 + T2, D1 + D2, F1 + F2, E1 + E2>::from_si(value);
  }
}

/// The ratio of two quantities; a plain double when they have the same dimension.
template <int T1, int D1, int F1, int E1, int T2, int D2, int F2, int E2>
constexpr auto operator/(Quantity<T1, D1, F1, E1> a, Quantity<T2, D2, F2, E2> b) {
  const double value = a.in(a.from_si(1.0)) / b.in(b.from_si(1.0));
  if constexpr (T1 == T2 && D1 == D2 && F1 == F2 && E1 == E2) {
    return value;
  } else {
    return Quantity<T1 - T2, D1 - D2, F1 - F2, E1 - E2>::from_si(value);
  }
}

/// The reciprocal: `1.0 / period` is a rate.
template <int T, int D, int F, int E>
constexpr Quantity<-T, -D, -F, -E> operator/(double a, Quantity<T, D, F, E> b) {
  return Quantity<-T, -D, -F, -E>::from_si(a / b.in(b.from_si(1.0)));
}

template <int T, int D, int F, int E>
constexpr Quantity<T, D, F, E> abs(Quantity<T, D, F, E> x) {
  return x < x.zero() ? -x : x;
}

using Seconds = Quantity<1, 0, 0, 0>;
using Hertz = Quantity<-1, 0, 0, 0>;
using Bytes = Quantity<0, 1, 0, 0>;
using Flops = Quantity<0, 0, 1, 0>;
using Joules = Quantity<0, 0, 0, 1>;
using Watts = Quantity<-1, 0, 0, 1>;
using BytesPerSecond = Quantity<-1, 1, 0, 0>;
using FlopsPerSecond = Quantity<-1, 0, 1, 0>;

// Constants that read as units where they stand, `3.0 * unit::second`, and so have their names.
// NOLINTBEGIN(readability-identifier-naming)
namespace unit {

inline constexpr Seconds second = Seconds::from_si(1.0);
inline constexpr Seconds millisecond = Seconds::from_si(1e-3);
inline constexpr Seconds microsecond = Seconds::from_si(1e-6);
inline constexpr Seconds nanosecond = Seconds::from_si(1e-9);
inline constexpr Seconds hour = Seconds::from_si(3600.0);

inline constexpr Hertz hertz = Hertz::from_si(1.0);
inline constexpr Hertz gigahertz = Hertz::from_si(1e9);

inline constexpr Bytes byte = Bytes::from_si(1.0);
inline constexpr Bytes kilobyte = Bytes::from_si(1e3);
inline constexpr Bytes megabyte = Bytes::from_si(1e6);
inline constexpr Bytes gigabyte = Bytes::from_si(1e9);
inline constexpr Bytes kibibyte = Bytes::from_si(1024.0);
inline constexpr Bytes mebibyte = Bytes::from_si(1024.0 * 1024.0);
inline constexpr Bytes gibibyte = Bytes::from_si(1024.0 * 1024.0 * 1024.0);

inline constexpr Flops flop = Flops::from_si(1.0);
inline constexpr Flops gigaflop = Flops::from_si(1e9);
inline constexpr Flops teraflop = Flops::from_si(1e12);

inline constexpr Joules joule = Joules::from_si(1.0);
inline constexpr Joules kilowatt_hour = Joules::from_si(3.6e6);
inline constexpr Watts watt = Watts::from_si(1.0);

inline constexpr BytesPerSecond byte_per_second = BytesPerSecond::from_si(1.0);
inline constexpr BytesPerSecond gigabytes_per_second = BytesPerSecond::from_si(1e9);
inline constexpr BytesPerSecond gigabits_per_second = BytesPerSecond::from_si(1e9 / 8.0);
inline constexpr FlopsPerSecond flop_per_second = FlopsPerSecond::from_si(1.0);
inline constexpr FlopsPerSecond gigaflops_per_second = FlopsPerSecond::from_si(1e9);
inline constexpr FlopsPerSecond teraflops_per_second = FlopsPerSecond::from_si(1e12);

}  // namespace unit
// NOLINTEND(readability-identifier-naming)

constexpr Seconds seconds(double x) { return x * unit::second; }
constexpr Seconds milliseconds(double x) { return x * unit::millisecond; }
constexpr Seconds microseconds(double x) { return x * unit::microsecond; }
constexpr Hertz hertz(double x) { return x * unit::hertz; }
constexpr Bytes bytes(double x) { return x * unit::byte; }
constexpr Bytes kib(double x) { return x * unit::kibibyte; }
constexpr Bytes mib(double x) { return x * unit::mebibyte; }
constexpr Bytes gib(double x) { return x * unit::gibibyte; }
constexpr Flops flops(double x) { return x * unit::flop; }
constexpr Joules joules(double x) { return x * unit::joule; }
constexpr Watts watts(double x) { return x * unit::watt; }
constexpr BytesPerSecond bytes_per_second(double x) { return x * unit::byte_per_second; }
constexpr FlopsPerSecond flops_per_second(double x) { return x * unit::flop_per_second; }

}  // namespace orrery
