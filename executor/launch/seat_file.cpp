// SPDX-License-Identifier: Apache-2.0
#include "executor/launch/seat_file.h"

#include "base/json_reader.h"
#include "base/json_writer.h"

namespace orrery::executor {

std::string to_json(const TcpSeat& seat) {
  JsonWriter out;
  out.begin_object().field("schema", "seat/1").field("token", seat.token);
  out.key("places").begin_array();
  for (const HostPort& place : seat.places) out.value(to_text(place));
  out.end_array().key("hosts").begin_array();
  for (const int host : seat.hosts) out.value(host);
  out.end_array().end_object();
  return out.text();
}

TcpSeat read_seat(const std::string& path) {
  const JsonDocument document = JsonDocument::parse_file(path);
  const JsonObject in = document.root();
  in.schema("seat/1");
  TcpSeat seat;
  seat.token = in.required("token").string();
  for (const JsonValue& place : in.required("places").array()) {
    const auto read = host_port_of(place.string());
    if (!read) place.problem("expected HOST:PORT");
    seat.places.push_back(read.value_or(HostPort{}));
  }
  for (const JsonValue& host : in.required("hosts").array()) seat.hosts.push_back(host.integer<int>({.min = 0}));
  in.finish();
  document.throw_if_problems();
  return seat;
}

}  // namespace orrery::executor
