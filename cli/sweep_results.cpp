// SPDX-License-Identifier: Apache-2.0
#include "cli/sweep_results.h"

#include "base/errors.h"
#include "base/files.h"
#include "base/json_reader.h"
#include "base/json_writer.h"
#include "program/interval_json.h"
#include "program/json_parts.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

namespace orrery::cli {
namespace {

namespace fs = std::filesystem;

std::optional<std::int64_t> number_in(const char* variable) {
  const char* text = std::getenv(variable);
  if (text == nullptr) return std::nullopt;
  std::int64_t value = 0;
  const char* end = text + std::strlen(text);
  const auto [at, error] = std::from_chars(text, end, value);
  return error == std::errc() && at == end ? std::optional(value) : std::nullopt;
}

/// The lines that are whole.
std::string_view whole_lines(std::string_view text) { return text.substr(0, text.rfind('\n') + 1); }

SweepResult read_line(std::string_view line, const std::string& path, int number) {
  const JsonDocument document = JsonDocument::parse_text(line, path, number);
  const JsonObject in = document.root();
  SweepResult out{.point = planner::read_point(in), .num_devices = in.required("devices").integer({.min = 0})};
  out.infeasible = in.optional("infeasible").string().value_or("");
  out.refused = in.optional("refused").string().value_or("");
  if (out.runs()) {
    out.step_time = in.required("step_time").quantity<Seconds>();
    in.required("tokens_per_second").number();
    out.peak_memory = in.required("peak_memory").quantity<Bytes>();
    out.step_time_80 = read_interval_80<Seconds>(in, "step_time_80");
    out.peak_memory_80 = read_interval_80<Bytes>(in, "peak_memory_80");
    out.usd = in.optional("usd").number();
    out.gap = in.optional("gap").number();
    out.strategy = in.required("plan").string();
    in.ignore("strategy");
  }
  in.finish();
  document.throw_if_problems();
  return out;
}

void read_file_of(const fs::path& path, std::vector<SweepResult>& out) {
  const std::string text = read_file(path.string());
  std::string_view rest = whole_lines(text);
  for (int number = 1; !rest.empty(); ++number) {
    const std::size_t end = rest.find('\n');
    if (end > 0) out.push_back(read_line(rest.substr(0, end), path.string(), number));
    rest.remove_prefix(end + 1);
  }
}

[[noreturn]] void fail(const std::string& path) {
  throw BackendError(fmt::format("cannot write {}: {}", path, std::system_category().message(errno)));
}

}  // namespace

SweepShare SweepShare::of_environment() {
  constexpr const char* kLaunchers[][2] = {
      {"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"}, {"PMI_RANK", "PMI_SIZE"}, {"SLURM_PROCID", "SLURM_NTASKS"}};
  for (const auto& [rank, size] : kLaunchers) {
    const std::optional<std::int64_t> index = number_in(rank), count = number_in(size);
    if (index && count && *index >= 0 && *index < *count) return {.index = *index, .count = *count};
  }
  return {};
}

std::string results_path(const std::string& path, const SweepShare& share) {
  return share.count == 1 ? path : fmt::format("{}.{}", path, share.index);
}

std::vector<SweepResult> read_results(const std::string& path) {
  const fs::path whole(path);
  const fs::path folder = whole.has_parent_path() ? whole.parent_path() : fs::path(".");
  const std::string prefix = whole.filename().string() + ".";
  std::vector<fs::path> files;
  if (fs::exists(whole)) files.push_back(whole);
  std::error_code none;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, none)) {
    const std::string name = entry.path().filename().string();
    const std::string_view number = std::string_view(name).substr(std::min(prefix.size(), name.size()));
    const bool is_number = !number.empty() && number.find_first_not_of("0123456789") == std::string_view::npos;
    if (name.starts_with(prefix) && is_number) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::vector<SweepResult> out;
  for (const fs::path& file : files) read_file_of(file, out);
  return out;
}

void append_result(const std::string& path, const SweepResult& result, const Strategy* strategy) {
  JsonWriter out(JsonWriter::Layout::line);
  out.begin_object();
  planner::write_point(out, result.point);
  out.field("devices", result.num_devices);
  if (!result.refused.empty()) {
    out.field("refused", result.refused);
  } else if (!result.infeasible.empty()) {
    out.field("infeasible", result.infeasible);
  } else {
    const double tokens = static_cast<double>(result.point.seq * result.point.global_batch);
    out.field("step_time", result.step_time);
    out.field("tokens_per_second", (tokens / result.step_time).in(unit::hertz));
    out.field("peak_memory", result.peak_memory);
    write_interval_80(out, "step_time_80", result.step_time_80);
    write_interval_80(out, "peak_memory_80", result.peak_memory_80);
    if (result.usd) out.field("usd", *result.usd);
    if (result.gap) out.field("gap", *result.gap);
    out.field("plan", result.strategy);
    if (strategy != nullptr) {
      out.key("strategy");
      write_strategy(out, *strategy);
    }
  }
  out.end_object();
  const std::string line = out.text() + "\n";

  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file < 0) fail(path);
  const std::string before = read_file(path);
  const bool is_written = ::ftruncate(file, static_cast<off_t>(whole_lines(before).size())) == 0 &&
                          ::write(file, line.data(), line.size()) == static_cast<ssize_t>(line.size());
  const int problem = errno;
  ::close(file);
  errno = problem;
  if (!is_written) fail(path);
}

}  // namespace orrery::cli
