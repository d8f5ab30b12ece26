// SPDX-License-Identifier: Apache-2.0
#include "executor/checkpoint/manifest.h"

#include "base/enum_names.h"
#include "base/errors.h"

#include <charconv>
#include <utility>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr Named<StatePart> kPartNames[] = {{"value", StatePart::value},
                                           {"first_moment", StatePart::first_moment},
                                           {"second_moment", StatePart::second_moment}};

constexpr std::size_t kNumFields = 7;  // of a piece

/// Whether the boxes of each part of a tensor cover it without overlap.
void check_cover(const JsonObject& in, const Manifest& manifest) {
  std::map<std::pair<std::string, StatePart>, std::vector<Box>> boxes;
  for (const Shard& shard : manifest.shards) {
    for (const StoredPiece& piece : shard.pieces) boxes[{piece.tensor, piece.part}].push_back(piece.box);
  }
  for (const auto& [name, size] : manifest.tensors) {
    if (!boxes.contains({name, StatePart::value})) in.problem(fmt::format("no shard has a value of '{}'", name));
  }
  for (const auto& [key, all] : boxes) {
    const std::string what = fmt::format("{} of '{}'", name_of(key.second), key.first);
    const auto tensor = manifest.tensors.find(key.first);
    if (tensor == manifest.tensors.end()) {
      in.problem(fmt::format("a shard has the {}, which is not among the tensors", what));
      continue;
    }
    const Box whole{0, tensor->second.rows, 0, tensor->second.cols};
    std::int64_t covered = 0;
    for (std::size_t i = 0; i < all.size(); ++i) {
      covered += all[i].size();
      if (common(all[i], whole) != all[i]) in.problem(fmt::format("the {} has a piece outside of it", what));
      for (std::size_t j = 0; j < i; ++j) {
        if (common(all[i], all[j]).size() > 0) in.problem(fmt::format("two pieces of the {} overlap", what));
      }
    }
    if (covered != whole.size())
      in.problem(fmt::format("pieces of the {} have {} elements, it has {}", what, covered, whole.size()));
  }
}

void write(JsonWriter& out, const TrainingIdentity& t) {
  out.begin_object().field("model", t.model).field("model_sha256", t.model_sha256).field("optimizer", t.optimizer);
  out.field("seq", t.seq).field("global_batch", t.global_batch).field("seed", t.seed).field("corpus", t.corpus);
  out.field("balanced_routing", t.balanced_routing).end_object();
}

TrainingIdentity read_training(const JsonObject& in) {
  TrainingIdentity t;
  t.model = in.required("model").string();
  t.model_sha256 = in.required("model_sha256").string();
  t.optimizer = in.required("optimizer").string();
  t.seq = in.required("seq").integer({.min = 1});
  t.global_batch = in.required("global_batch").integer({.min = 1});
  t.seed = in.required("seed").integer({.min = 0});
  t.corpus = in.required("corpus").string();
  t.balanced_routing = in.required("balanced_routing").boolean();
  in.finish();
  return t;
}

}  // namespace

std::string_view name_of(StatePart part) { return orrery::name_of(kPartNames, part); }

std::string StoredPiece::name() const { return fmt::format("{}/{}/{},{}", tensor, name_of(part), box.row, box.col); }

void write_pieces(JsonWriter& out, const std::vector<StoredPiece>& pieces) {
  out.begin_array();
  for (const StoredPiece& piece : pieces) {
    out.begin_array().value(piece.tensor).value(name_of(piece.part));
    out.value(piece.box.row).value(piece.box.rows).value(piece.box.col).value(piece.box.cols);
    out.value(fmt::format("{:016x}", piece.checksum)).end_array();
  }
  out.end_array();
}

std::vector<StoredPiece> read_pieces(const JsonValue& in) {
  std::vector<StoredPiece> pieces;
  for (const JsonValue& value : in.array()) {
    const std::vector<JsonValue> fields = value.array();
    if (fields.size() != kNumFields) {
      value.problem("expected [tensor, part, row, rows, col, cols, checksum]");
      continue;
    }
    StoredPiece piece;
    piece.tensor = fields[0].string();
    piece.part = fields[1].one_of<StatePart>(kPartNames);
    piece.box = {fields[2].integer({.min = 0}), fields[3].integer({.min = 1}), fields[4].integer({.min = 0}),
                 fields[5].integer({.min = 1})};
    const std::string digits = fields[6].string();
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), piece.checksum, 16);
    if (error != std::errc() || end != digits.data() + digits.size() || digits.size() != 16)
      fields[6].problem("expected 16 hexadecimal digits");
    pieces.push_back(std::move(piece));
  }
  return pieces;
}

std::string to_json(const Manifest& manifest) {
  JsonWriter out;
  out.begin_object().field("schema", "checkpoint/1").field("step", manifest.step);
  out.key("training");
  write(out, manifest.training);
  out.key("tensors").begin_array();
  for (const auto& [name, size] : manifest.tensors) {
    out.begin_array().value(name).value(size.rows).value(size.cols).end_array();
  }
  out.end_array().key("shards").begin_array();
  for (const Shard& shard : manifest.shards) {
    out.begin_object().field("file", shard.file).field("bytes", shard.bytes).key("pieces");
    write_pieces(out, shard.pieces);
    out.end_object();
  }
  out.end_array().end_object();
  return out.text();
}

Manifest read_manifest(const std::string& path) {
  const JsonDocument document = JsonDocument::parse_file(path);
  const JsonObject in = document.root();
  in.schema("checkpoint/1");
  Manifest manifest;
  manifest.step = in.required("step").integer({.min = 1});
  manifest.training = read_training(in.required("training").object());
  for (const JsonValue& value : in.required("tensors").array()) {
    const std::vector<JsonValue> fields = value.array();
    if (fields.size() != 3) {
      value.problem("expected [name, rows, cols]");
      continue;
    }
    const TensorSize size{fields[1].integer({.min = 1}), fields[2].integer({.min = 1})};
    if (!manifest.tensors.emplace(fields[0].string(), size).second) value.problem("the tensor is there twice");
  }
  for (const JsonValue& value : in.required("shards").array()) {
    const JsonObject shard = value.object();
    manifest.shards.push_back({.file = shard.required("file").string(),
                               .bytes = shard.required("bytes").integer({.min = 1}),
                               .pieces = read_pieces(shard.required("pieces"))});
    shard.finish();
  }
  in.finish();
  if (document.problems().empty()) check_cover(in, manifest);
  document.throw_if_problems();
  return manifest;
}

void check_same_training(const std::string& where, const TrainingIdentity& saved, const TrainingIdentity& wanted) {
  ProblemList problems;
  const auto compare = [&](std::string_view what, const auto& has, const auto& wants) {
    if (has != wants) {
      problems.add({.file = where, .message = fmt::format("expected {} {} of this run, got {}", what, wants, has)});
    }
  };
  compare("model", saved.model, wanted.model);
  if (saved.model == wanted.model) compare("model (sha256)", saved.model_sha256, wanted.model_sha256);
  compare("optimizer", saved.optimizer, wanted.optimizer);
  compare("sequence length", saved.seq, wanted.seq);
  compare("global batch", saved.global_batch, wanted.global_batch);
  compare("seed", saved.seed, wanted.seed);
  compare("corpus", saved.corpus, wanted.corpus);
  compare("balanced routing", saved.balanced_routing, wanted.balanced_routing);
  problems.throw_if_any();
}

void check_tensors(const std::string& where, const std::map<std::string, TensorSize>& saved,
                   const std::map<std::string, TensorSize>& wanted) {
  ProblemList problems;
  const auto problem = [&](std::string message) { problems.add({.file = where, .message = std::move(message)}); };
  for (const auto& [name, size] : wanted) {
    const auto found = saved.find(name);
    if (found == saved.end()) {
      problem(fmt::format("missing tensor '{}' of {} x {}", name, size.rows, size.cols));
    } else if (found->second != size) {
      problem(fmt::format("tensor '{}': expected {} x {}, got {} x {}", name, size.rows, size.cols, found->second.rows,
                          found->second.cols));
    }
  }
  for (const auto& [name, size] : saved) {
    if (!wanted.contains(name)) problem(fmt::format("unknown tensor '{}': the model has none of that name", name));
  }
  problems.throw_if_any();
}

}  // namespace orrery::executor
