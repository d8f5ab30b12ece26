// SPDX-License-Identifier: Apache-2.0
#include "report.h"

#include <cmath>
#include <cstdlib>

namespace gpu_points {

Report::Report(const char* file) : file_(std::fopen(file, "w")) {
  if (file_ != nullptr) return;
  std::perror(file);
  std::exit(1);
}

Report::~Report() { std::fclose(file_); }

void Report::point(const char* op, const char* pass, const char* dtype, const std::string& shape,
                   const Sample& sample) {
  std::fprintf(file_,
               "{\"kind\": \"point\", \"op\": \"%s\", \"pass\": \"%s\", \"dtype\": \"%s\", \"shape\": {%s}, "
               "\"time\": %.6e, \"spread\": %.2e, \"repeats\": %d, \"clock\": %.0f, \"power\": %.0f}\n",
               op, pass, dtype, shape.c_str(), sample.seconds, sample.spread, sample.repeats, nvml_.sm_clock(),
               nvml_.power());
  std::fflush(file_);
}

void Report::row(const char* kind, const std::string& name,
                 std::initializer_list<std::pair<const char*, double>> numbers) {
  std::fprintf(file_, "{\"kind\": \"%s\", \"name\": \"%s\"", kind, name.c_str());
  for (const auto& [key, value] : numbers) {
    if (std::isnan(value)) {
      std::fprintf(file_, ", \"%s\": null", key);
    } else {
      std::fprintf(file_, ", \"%s\": %.6g", key, value);
    }
  }
  std::fprintf(file_, "}\n");
  std::fflush(file_);
}

void Report::text(const char* kind, const std::string& name, const std::string& value) {
  std::fprintf(file_, "{\"kind\": \"%s\", \"name\": \"%s\", \"value\": \"%s\"}\n", kind, name.c_str(), value.c_str());
  std::fflush(file_);
}

}  // namespace gpu_points
