// SPDX-License-Identifier: Apache-2.0
// device/1, read and written. Each quantity is {"value": ..., "source": ...}, or null when it is not known.
#include "program/json_parts.h"
#include "program/names.h"

#include <fmt/format.h>

namespace orrery {
namespace {

/// Reads the sourced quantities of a device and keeps their sources.
class QuantityReader {
 public:
  QuantityReader(const JsonObject& in, Device& device) : in_(in), device_(device) {}

  /// `read_value` gets the JsonValue of "value".
  template <class ReadValue>
  auto read(const std::string& key, ReadValue read_value) {
    return read_sourced(in_.required(key), key, read_value);
  }

  template <class Q>
  std::optional<Q> quantity(const std::string& key) {
    return read(key, [](const JsonValue& value) { return value.quantity<Q>(); });
  }

  std::map<DType, FlopsPerSecond> peak() {
    std::map<DType, FlopsPerSecond> rates;
    const JsonValue value = in_.required("peak");
    if (value.is_null()) return rates;
    const JsonObject peaks = value.object();
    for (const auto& [name, type] : kFloatNames) {
      const OptionalJsonValue peak = peaks.optional(name);
      if (!peak.present()) continue;
      const auto rate = read_sourced(peak.value(), fmt::format("peak/{}", name),
                                     [](const JsonValue& v) { return v.quantity<FlopsPerSecond>(); });
      if (rate) rates[type] = *rate;
    }
    peaks.finish();
    return rates;
  }

 private:
  template <class ReadValue>
  auto read_sourced(const JsonValue& sourced, const std::string& key, ReadValue read_value)
      -> std::optional<decltype(read_value(sourced))> {
    if (sourced.is_null()) return std::nullopt;
    const JsonObject object = sourced.object();
    const auto value = read_value(object.required("value"));
    const JsonValue source = object.required("source");
    if (source.is_text("")) source.problem("expected where the value comes from, got an empty string");
    device_.sources[key] = source.string();
    object.finish();
    return value;
  }

  const JsonObject& in_;
  Device& device_;
};

class QuantityWriter {
 public:
  QuantityWriter(JsonWriter& out, const Device& device) : out_(out), device_(device) {}

  template <class T>
  void write(std::string_view key, const std::optional<T>& value) {
    write_as(key, std::string(key), value);
  }

  template <class T>
  void write_as(std::string_view key, const std::string& source_key, const std::optional<T>& value) {
    out_.key(key);
    if (!value) {
      out_.null();
      return;
    }
    const auto source = device_.sources.find(source_key);
    out_.begin_object().field("value", *value);
    out_.field("source", source == device_.sources.end() ? std::string("not stated") : source->second).end_object();
  }

 private:
  JsonWriter& out_;
  const Device& device_;
};

}  // namespace

Device read_device(const JsonObject& in) {
  in.schema("device/1");
  Device device;
  device.name = in.required("name").string();
  device.vendor = in.required("vendor").string();
  device.kind = in.required("kind").one_of<DeviceKind>(kDeviceKindNames);
  QuantityReader reader(in, device);
  device.peak = reader.peak();
  device.memory = reader.quantity<Bytes>("memory");
  device.memory_bandwidth = reader.quantity<BytesPerSecond>("memory_bandwidth");
  device.scale_up_bandwidth = reader.quantity<BytesPerSecond>("scale_up_bandwidth");
  device.pcie_bandwidth = reader.quantity<BytesPerSecond>("pcie_bandwidth");
  device.num_sms = reader.read("num_sms", [](const JsonValue& v) { return v.integer({.min = 1, .max = 1 << 20}); });
  device.idle_power = reader.quantity<Watts>("idle_power");
  device.power_limit = reader.quantity<Watts>("power_limit");
  device.usd_per_hour = reader.read("price", [](const JsonValue& v) { return v.number_with_unit(price_units()); });
  in.finish();
  return device;
}

void write_device(JsonWriter& out, const Device& device) {
  out.begin_object();
  out.field("schema", "device/1").field("name", device.name).field("vendor", device.vendor);
  out.field("kind", name_of(kDeviceKindNames, device.kind));
  QuantityWriter writer(out, device);
  out.key("peak").begin_object();
  for (const auto& [type, rate] : device.peak) {
    const std::string name(name_of(type));
    writer.write_as(name, "peak/" + name, std::optional(rate));
  }
  out.end_object();
  writer.write("memory", device.memory);
  writer.write("memory_bandwidth", device.memory_bandwidth);
  writer.write("scale_up_bandwidth", device.scale_up_bandwidth);
  writer.write("pcie_bandwidth", device.pcie_bandwidth);
  writer.write("num_sms", device.num_sms);
  writer.write("idle_power", device.idle_power);
  writer.write("power_limit", device.power_limit);
  std::optional<std::string> price;
  if (device.usd_per_hour) price = fmt::format("{} USD/h", *device.usd_per_hour);
  writer.write("price", price);
  out.end_object();
}

}  // namespace orrery
