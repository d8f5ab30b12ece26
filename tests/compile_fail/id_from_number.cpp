// SPDX-License-Identifier: Apache-2.0
#include "base/ids.h"

using RankId = orrery::Id<struct RankTag>;
RankId first = 0;
