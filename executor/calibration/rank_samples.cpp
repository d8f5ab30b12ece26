// SPDX-License-Identifier: Apache-2.0
#include "executor/calibration/rank_samples.h"

#include "base/json_reader.h"
#include "base/json_writer.h"

namespace orrery::executor {
namespace {

void write_numbers(JsonWriter& out, std::string_view key, const std::vector<double>& numbers) {
  out.key(key).begin_array();
  for (const double x : numbers) out.value(x);
  out.end_array();
}

std::vector<double> read_numbers(const JsonObject& in, std::string_view key) {
  std::vector<double> numbers;
  for (const JsonValue& value : in.required(key).array()) numbers.push_back(value.number({.min = 0.0}));
  return numbers;
}

OpSamples read_op(const JsonObject& in) {
  OpSamples samples{.op = static_cast<OpCode>(in.required("op").integer({.min = 0, .max = kNumOpCodes - 1})),
                    .pass = static_cast<Pass>(in.required("pass").integer({.max = static_cast<int>(Pass::update)})),
                    .shape = in.required("shape").integer<ShapeId>(),
                    .seconds = read_numbers(in, "seconds")};
  in.finish();
  return samples;
}

CollectiveSamples read_collective(const JsonObject& in) {
  CollectiveSamples samples{.op = in.required("op").string(),
                            .ranks = in.required("ranks").integer({.min = 2}),
                            .stride = in.required("stride").integer({.min = 1}),
                            .bytes = in.required("bytes").integer({.min = 1}),
                            .seconds = read_numbers(in, "seconds")};
  in.finish();
  return samples;
}

}  // namespace

std::string to_json(const RankSamples& samples) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object().key("ops").begin_array();
  for (const OpSamples& op : samples.ops) {
    out.begin_object().field("op", static_cast<int>(op.op)).field("pass", static_cast<int>(op.pass));
    out.field("shape", op.shape);
    write_numbers(out, "seconds", op.seconds);
    out.end_object();
  }
  out.end_array().key("collectives").begin_array();
  for (const CollectiveSamples& collective : samples.collectives) {
    out.begin_object().field("op", collective.op).field("ranks", collective.ranks);
    out.field("stride", collective.stride).field("bytes", collective.bytes);
    write_numbers(out, "seconds", collective.seconds);
    out.end_object();
  }
  out.end_array();
  write_numbers(out, "gaps", samples.gaps);
  write_numbers(out, "steps", samples.steps);
  out.end_object();
  return out.text();
}

RankSamples read_rank_samples(const std::string& text, const std::string& name) {
  const JsonDocument document = JsonDocument::parse_text(text, name);
  const JsonObject in = document.root();
  RankSamples samples;
  for (const JsonValue& value : in.required("ops").array()) samples.ops.push_back(read_op(value.object()));
  for (const JsonValue& value : in.required("collectives").array()) {
    samples.collectives.push_back(read_collective(value.object()));
  }
  samples.gaps = read_numbers(in, "gaps");
  samples.steps = read_numbers(in, "steps");
  in.finish();
  document.throw_if_problems();
  return samples;
}

}  // namespace orrery::executor
