// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

double number() { return orrery::seconds(1.0).in(orrery::unit::byte); }
