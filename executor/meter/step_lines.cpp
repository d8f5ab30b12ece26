// SPDX-License-Identifier: Apache-2.0
#include "executor/meter/step_lines.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

namespace orrery::executor {
namespace {

constexpr const char* kSchema = "step_metrics/1";

/// The step of a line that text_of() wrote.
std::int64_t step_of(std::string_view line, const std::string& path, int number) {
  const JsonDocument document = JsonDocument::parse_text(line, path, number);
  const JsonObject in = document.root();
  in.schema(kSchema);
  const std::int64_t step = in.required("step").integer({.min = 0});
  document.throw_if_problems();
  return step;
}

}  // namespace

std::string text_of(const StepLine& line) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object().field("schema", kSchema).field("step", line.step).field("seconds", line.time.in(unit::second));
  out.field("tokens", line.tokens).field("loss", line.loss).field("grad_norm", line.grad_norm);
  out.key("bytes").begin_object();
  std::string_view dimension;
  for (const auto& [place, bytes] : line.sent_bytes) {
    if (place.first != dimension) {
      if (!dimension.empty()) out.end_object();
      out.key(place.first).begin_object();
      dimension = place.first;
    }
    out.field(place.second, bytes);
  }
  if (!dimension.empty()) out.end_object();
  out.end_object().key("energy");
  line.energy ? out.value(line.energy->in(unit::joule)) : out.value("no counter");
  return out.end_object().text();
}

void start_step_lines(const std::string& path, std::int64_t first_step) {
  std::string kept;
  if (first_step > 0 && std::filesystem::exists(path)) {
    const std::string all = read_file(path);
    std::string_view rest = all;
    // A run that was killed may have left a line without its end.
    for (int number = 1; rest.find('\n') != std::string_view::npos; ++number) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      if (step_of(line, path, number) < first_step) kept += std::string(line) + '\n';
      rest.remove_prefix(line.size() + 1);
    }
  }
  write_file_atomically(path, kept);
}

void append_step_line(const std::string& path, const StepLine& line) {
  errno = 0;
  std::ofstream file(path, std::ios::app);
  file << text_of(line) << '\n' << std::flush;
  if (!file) throw BackendError(fmt::format("cannot write {}: {}", path, std::strerror(errno)));
}

}  // namespace orrery::executor
