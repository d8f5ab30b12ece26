// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

orrery::Seconds t = 0.5;
