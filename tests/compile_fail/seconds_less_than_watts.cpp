// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

bool less() { return orrery::seconds(1.0) < orrery::watts(1.0); }
