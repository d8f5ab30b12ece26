// SPDX-License-Identifier: Apache-2.0
// sequence/1 (docs/formats/sequence.md), a file of its own and the "sequences" of a plan's workload.
#include "program/sequence_json.h"

#include "base/files.h"
#include "program/json_parts.h"

#include <memory>
#include <utility>

namespace orrery {
namespace {

constexpr std::int64_t kMostTokens = std::int64_t{1} << 30;
constexpr NumberRange kWeight{.min = 1e-9, .max = 1e9};

/// The elements of a list that must have some.
std::vector<JsonValue> some(const JsonValue& in, const char* what) {
  std::vector<JsonValue> values = in.array();
  if (in.kind() == JsonKind::array && values.empty()) in.problem(std::string("expected at least one ") + what);
  return values;
}

std::vector<std::int64_t> read_lengths(const JsonValue& in) {
  std::vector<std::int64_t> lengths;
  for (const JsonValue& value : some(in, "document, got none")) {
    lengths.push_back(value.integer({.min = 1, .max = kMostTokens}));
  }
  return lengths;
}

HistogramLengths read_histogram(const JsonObject& in) {
  HistogramLengths model{.documents = {}, .seed = in.required("seed").integer<std::uint64_t>()};
  for (const JsonValue& value : some(in.required("documents"), "document, got none")) {
    const JsonObject bin = value.object();
    model.documents.push_back({.tokens = bin.required("tokens").integer({.min = 1, .max = kMostTokens}),
                               .weight = bin.required("weight").number(kWeight)});
    bin.finish();
  }
  return model;
}

RecordedLengths read_recorded(const JsonObject& in) {
  RecordedLengths model;
  for (const JsonValue& value : some(in.required("sequences"), "sequence, got none")) {
    model.sequences.push_back(read_lengths(value));
  }
  return model;
}

struct Writer {
  JsonWriter& out;

  void operator()(const FixedLengths&) const { out.field("kind", "fixed"); }
  void operator()(const HistogramLengths& model) const {
    out.field("kind", "histogram").field("seed", model.seed).key("documents").begin_array();
    for (const HistogramLengths::Bin& bin : model.documents) {
      out.begin_object().field("tokens", bin.tokens).field("weight", bin.weight).end_object();
    }
    out.end_array();
  }
  void operator()(const std::shared_ptr<const RecordedLengths>& model) const {
    out.field("kind", "recorded").key("sequences").begin_array();
    for (const std::vector<std::int64_t>& sequence : model->sequences) write(sequence);
    out.end_array();
  }
  void operator()(const std::shared_ptr<const PackedLengths>& model) const {
    out.field("kind", "packed").key("documents");
    write(model->documents);
  }

 private:
  void write(const std::vector<std::int64_t>& lengths) const {
    out.begin_array();
    for (const std::int64_t tokens : lengths) out.value(tokens);
    out.end_array();
  }
};

void write_object(JsonWriter& out, const SequenceModel& model) {
  out.begin_object().field("schema", "sequence/1");
  std::visit(Writer{out}, model);
  out.end_object();
}

}  // namespace

SequenceModel read_sequences(const JsonObject& in) {
  in.schema("sequence/1");
  const JsonValue kind = in.required("kind");
  SequenceModel model;
  if (kind.is_text("histogram")) {
    model = read_histogram(in);
  } else if (kind.is_text("recorded")) {
    model = std::make_shared<const RecordedLengths>(read_recorded(in));
  } else if (kind.is_text("packed")) {
    model = std::make_shared<const PackedLengths>(PackedLengths{.documents = read_lengths(in.required("documents"))});
  } else if (!kind.is_text("fixed")) {
    kind.one_of({"fixed", "histogram", "recorded", "packed"});
    return model;  // which keys belong to it is anyone's guess
  }
  in.finish();
  return model;
}

SequenceModel read_sequences(const JsonValue& in) {
  if (in.is_text("fixed")) return FixedLengths{};
  if (in.kind() == JsonKind::object) return read_sequences(in.object());
  in.problem("expected \"fixed\" or a sequence/1 object");
  return FixedLengths{};
}

void write_sequences(JsonWriter& out, const SequenceModel& model) {
  if (is_fixed(model)) {
    out.value("fixed");
  } else {
    write_object(out, model);
  }
}

SequenceModel read_sequences(const std::filesystem::path& path) {
  return read_sequences_text(read_file(path.string()), path.string());
}

SequenceModel read_sequences_text(const std::string& text, const std::string& file) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  SequenceModel model = read_sequences(document.root());
  document.throw_if_problems();
  return model;
}

std::string to_json(const SequenceModel& model) {
  JsonWriter out;
  write_object(out, model);
  return out.text();
}

}  // namespace orrery
