// SPDX-License-Identifier: Apache-2.0
#include "base/ids.h"

using RankId = orrery::Id<struct RankTag>;
using ExpertId = orrery::Id<struct ExpertTag>;
bool same(RankId rank, ExpertId expert) { return rank == expert; }
