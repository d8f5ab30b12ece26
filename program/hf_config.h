// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "program/model.h"

#include <filesystem>
#include <set>
#include <string>
#include <vector>

// Reader of models: Hugging Face `config.json` files as they are published, and model/1 (program/model_reader.cpp),
// which a file is if it has the key "schema". Each family (model_type) has its own file in
// program/hf/ with three lists of keys: read, known to be harmless (ignored), and known to change shapes but
// unsupported (refused). A key in no list is an error with the hint --ignore-key NAME: silence would be a guess.

namespace orrery {

/// Throws: ConfigError with all problems of the file; for an unknown model_type it names the supported ones.
Model read_model(const std::filesystem::path& path, const std::set<std::string>& ignored_keys = {});
Model read_model_text(const std::string& text, const std::string& file, const std::set<std::string>& ignored_keys = {});

/// The model_type values that can be read, sorted.
std::vector<std::string> supported_families();

}  // namespace orrery
