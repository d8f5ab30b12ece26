// SPDX-License-Identifier: Apache-2.0
// The writers that exporter.cpp lists, one in each file of its name.
#pragma once

#include "planner/exporters/exporter.h"

namespace orrery::planner {

Export write_megatron(const Plan& plan);
Export write_bridge(const Plan& plan);
Export write_deepspeed(const Plan& plan);
Export write_torchtitan(const Plan& plan);
Export write_torchtitan_head(const Plan& plan);

}  // namespace orrery::planner
