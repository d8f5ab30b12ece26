// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

double t = orrery::seconds(0.5);
