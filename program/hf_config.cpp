// SPDX-License-Identifier: Apache-2.0
#include "program/hf_config.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "base/suggestion.h"
#include "program/hf/family.h"
#include "program/json_parts.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

namespace orrery {
namespace {

// Sorted by model_type.
const auto& families() {
  static const std::array<const hf::Family*, 15> all = {
      &hf::deepseek_v2(), &hf::deepseek_v3(), &hf::glm4_moe(),    &hf::gpt_oss(), &hf::kimi_k2(),
      &hf::llama(),       &hf::llama4(),      &hf::llama4_text(), &hf::mistral(), &hf::mixtral(),
      &hf::olmoe(),       &hf::qwen2(),       &hf::qwen2_moe(),   &hf::qwen3(),   &hf::qwen3_moe()};
  return all;
}

const hf::Family* find_family(const JsonObject& in) {
  const JsonValue model_type = in.required("model_type");
  if (!in.has("model_type")) return nullptr;
  std::vector<std::string_view> names;
  for (const hf::Family* family : families()) {
    if (model_type.is_text(family->model_type)) return family;
    names.push_back(family->model_type);
  }
  model_type.problem(fmt::format("expected a supported model type: {}, got {}", list_of_choices(names),
                                 JsonWriter(JsonWriter::Layout::line).value(model_type).text()));
  return nullptr;
}

bool contains(const std::vector<std::string_view>& keys, std::string_view key) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

void refuse(const hf::RefusedKey& refused, const JsonObject& in) {
  const OptionalJsonValue value = in.nullable(refused.key);
  if (!value.present()) return;
  const std::string text = JsonWriter(JsonWriter::Layout::line).value(value.value()).text();
  if (text == "false") return;
  value.value().problem(fmt::format("expected null or false, got {}: {} is not supported", text, refused.what));
}

void report_unknown_keys(const hf::Family& family, const JsonObject& in, const std::set<std::string>& ignored_keys) {
  const std::vector<std::string> known(family.read_keys.begin(), family.read_keys.end());
  for (const std::string& key : in.keys()) {
    const bool refused = std::any_of(family.refused_keys.begin(), family.refused_keys.end(),
                                     [&](const hf::RefusedKey& r) { return r.key == key; });
    if (refused || contains(family.read_keys, key) || contains(family.harmless_keys, key)) continue;
    const JsonValue value = in.required(key);
    if (ignored_keys.contains(key)) continue;
    const std::string nearest = nearest_word(key, known);
    value.problem(nearest.empty() ? fmt::format("unknown key of model type {}", family.model_type)
                                  : fmt::format("unknown key; did you mean \"{}\"?", nearest),
                  fmt::format("if it changes no shape of a weight or activation: --ignore-key {}", key));
  }
}

void read_family(const hf::Family& family, const JsonObject& in, const std::set<std::string>& ignored_keys,
                 Model& model) {
  family.read(in, model);
  for (const std::string_view key : family.harmless_keys) in.ignore(key);
  for (const hf::RefusedKey& key : family.refused_keys) refuse(key, in);
  report_unknown_keys(family, in, ignored_keys);
  if (family.nested != nullptr) {
    const JsonValue nested = in.required(family.nested_key);
    if (in.has(family.nested_key)) read_family(family.nested(), nested.object(), ignored_keys, model);
  }
  in.finish();
}

}  // namespace

namespace hf {

const Family* family_of(std::string_view model_type) {
  const auto found = std::find_if(families().begin(), families().end(),
                                  [&](const Family* family) { return family->model_type == model_type; });
  return found == families().end() ? nullptr : *found;
}

std::vector<std::string_view> join(std::span<const std::string_view> common,
                                   std::initializer_list<std::string_view> own) {
  std::vector<std::string_view> all(common.begin(), common.end());
  all.insert(all.end(), own.begin(), own.end());
  return all;
}

}  // namespace hf

Model read_model(const JsonObject& in, const std::string& name, const std::set<std::string>& ignored_keys) {
  if (in.has("schema")) return read_own_model(in, name);
  Model model;
  model.name = name;
  const hf::Family* family = find_family(in);
  if (family == nullptr) return model;
  model.family = family->model_type;
  read_family(*family, in, ignored_keys, model);
  return model;
}

Model read_model(const std::filesystem::path& path, const std::set<std::string>& ignored_keys) {
  return read_model_text(read_file(path.string()), path.string(), ignored_keys);
}

Model read_model_text(const std::string& text, const std::string& file, const std::set<std::string>& ignored_keys) {
  const JsonDocument document = JsonDocument::parse_text(text, file);
  Model model = read_model(document.root(), std::filesystem::path(file).stem().string(), ignored_keys);
  document.throw_if_problems();
  return model;
}

std::vector<std::string> supported_families() {
  std::vector<std::string> names;
  for (const hf::Family* family : families()) names.emplace_back(family->model_type);
  return names;
}

}  // namespace orrery
