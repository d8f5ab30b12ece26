// SPDX-License-Identifier: Apache-2.0
// What torchtitan is told of a plan, in a form that its two ways of configuration spell: the TOML of v0.2, and the
// Python of its development head. It shards with FSDP or not at all, so that ZeRO 2 and 3 are its two ways of keeping
// gathered weights, and ZeRO 1 is none of them.
// Sources: torchtitan v0.2.2, torchtitan/config/job_config.py, torchtitan/distributed/parallel_dims.py; at b5bcd76,
// torchtitan/config/configs.py.
#pragma once

#include "planner/exporters/exporter.h"

#include <string>
#include <vector>

namespace orrery::planner {

enum class TorchtitanVersion : std::uint8_t { v0_2, head };

struct TorchtitanSetting {
  std::string section;  // "parallelism", in the order of the file
  std::string key;
  std::string value;  // as TOML writes it; a list over several lines has its lines indented by two spaces
};

/// The settings of `plan`; what cannot be one of them is listed or refused in `out`.
std::vector<TorchtitanSetting> torchtitan_settings(const Plan& plan, TorchtitanVersion version, Export& out);

}  // namespace orrery::planner
