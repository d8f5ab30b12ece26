// SPDX-License-Identifier: Apache-2.0
#include "base/units_parse.h"

#include "base/errors.h"
#include "base/rng.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

namespace orrery {
namespace {

template <class Q>
std::string error_of(std::string_view text) {
  try {
    parse_quantity<Q>(text);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "no error";
}

TEST(ParseQuantity, ReadsEachDimension) {
  EXPECT_EQ(parse_quantity<BytesPerSecond>("400 Gbps"), bytes_per_second(50.0e9));
  EXPECT_EQ(parse_quantity<BytesPerSecond>("50 GB/s"), bytes_per_second(50.0e9));
  EXPECT_EQ(parse_quantity<BytesPerSecond>("2 GiB/s"), gib(2.0) / seconds(1.0));
  EXPECT_EQ(parse_quantity<Bytes>("80 GiB"), gib(80.0));
  EXPECT_EQ(parse_quantity<Bytes>("8 kb"), bytes(1000.0));
  EXPECT_EQ(parse_quantity<FlopsPerSecond>("989 Tflop/s"), flops_per_second(989.0e12));
  EXPECT_EQ(parse_quantity<FlopsPerSecond>("989 TFLOP/s"), flops_per_second(989.0e12));
  EXPECT_EQ(parse_quantity<Flops>("1.5 Pflop"), flops(1.5e15));
  EXPECT_EQ(parse_quantity<Seconds>("2 us"), seconds(2e-6));
  EXPECT_EQ(parse_quantity<Seconds>("1.5 h"), seconds(5400.0));
  EXPECT_EQ(parse_quantity<Watts>("700 W"), watts(700.0));
  EXPECT_EQ(parse_quantity<Joules>("2 kWh"), joules(7.2e6));
  EXPECT_EQ(parse_quantity<Hertz>("1.98 GHz"), hertz(1.98e9));
}

TEST(ParseQuantity, ReadsPricesAndCarbonIntensities) {
  EXPECT_EQ(parse_units("2.10 USD/h", price_units()), 2.10);
  EXPECT_EQ(parse_units("400 g/kWh", carbon_intensity_units()), 0.4);
}

TEST(ParseQuantity, RoundsOnlyOnce) {
  EXPECT_EQ(parse_quantity<Seconds>("12.3 us"), seconds(12.3e-6));
  EXPECT_EQ(parse_quantity<Seconds>("1.1e3 ns"), seconds(1.1e-6));
  EXPECT_EQ(parse_quantity<Seconds>("0.7 ms"), seconds(0.7e-3));
}

TEST(ParseQuantity, TakesSignsExponentsAndNoSpace) {
  EXPECT_EQ(parse_quantity<Seconds>("-2s"), seconds(-2.0));
  EXPECT_EQ(parse_quantity<Seconds>("1E+2 ms"), seconds(0.1));
}

TEST(ParseQuantity, SaysWhatItExpected) {
  EXPECT_EQ(error_of<Watts>("700"),
            "expected a power with its unit, such as \"700 W\", got \"700\"\n  hint: known units: W, mW, kW, MW");
  EXPECT_EQ(error_of<Hertz>("80 GiB"),
            "expected a frequency with its unit, such as \"1.98 GHz\", got \"80 GiB\"\n"
            "  hint: known units: Hz, kHz, MHz, GHz");
}

TEST(ParseQuantity, RefusesWhatIsNoNumberAndUnit) {
  for (const char* text : {"",
                           " ",
                           "s",
                           "1",
                           "1 ",
                           " 1 s",
                           "1 s ",
                           "1  s",
                           "1 S",
                           "1.s",
                           ".5 s",
                           "+1 s",
                           "1,5 s",
                           "1e s",
                           "nan s",
                           "inf s",
                           "0x10 s",
                           "1e400 s",
                           "1e99999999999 s",
                           "1 s s",
                           "--1 s",
                           "1 second"}) {
    EXPECT_EQ(parse_units(text, unit_table<Seconds>()), std::nullopt) << '"' << text << '"';
  }
}

TEST(ExactText, PicksAReadablePrefix) {
  EXPECT_EQ(exact_text(seconds(12.3e-6)), "12.3 us");
  EXPECT_EQ(exact_text(seconds(0.0)), "0 s");
  EXPECT_EQ(exact_text(seconds(-0.25)), "-250 ms");
  EXPECT_EQ(exact_text(seconds(5400.0)), "5400 s");
  EXPECT_EQ(exact_text(seconds(2.5e-11)), "0.025 ns");
  EXPECT_EQ(exact_text(seconds(2.5e-20)), "2.5e-11 ns");
  EXPECT_EQ(exact_text(seconds(1e20)), "1e20 s");
  EXPECT_EQ(exact_text(gib(80.0)), "80 GiB");
  EXPECT_EQ(exact_text(bytes(1536.0)), "1.536 kB");
  EXPECT_EQ(exact_text(bytes_per_second(50.0e9)), "50 GB/s");
  EXPECT_EQ(exact_text(flops_per_second(989.4e12)), "989.4 Tflop/s");
  EXPECT_EQ(exact_text(flops(671.0)), "671 flop");
  EXPECT_EQ(exact_text(watts(700.0)), "700 W");
  EXPECT_EQ(exact_text(joules(1234.0)), "1.234 kJ");
  EXPECT_EQ(exact_text(hertz(1.98e9)), "1.98 GHz");
}

TEST(ExactText, ReadsBackAsTheSameDouble) {
  const CounterRng random(1, 0);
  for (std::uint64_t i = 0; i < 20000; ++i) {
    const double magnitude = std::pow(10.0, 60.0 * random.uniform(2 * i) - 30.0);
    const double value = magnitude * (0.5 + random.uniform(2 * i + 1));
    EXPECT_EQ(parse_quantity<Seconds>(exact_text(seconds(value))), seconds(value)) << value;
    EXPECT_EQ(parse_quantity<Bytes>(exact_text(bytes(value))), bytes(value)) << value;
    EXPECT_EQ(parse_quantity<FlopsPerSecond>(exact_text(flops_per_second(value))), flops_per_second(value)) << value;
  }
}

}  // namespace
}  // namespace orrery
