// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

auto sum() { return orrery::seconds(1.0) + orrery::bytes(1.0); }
