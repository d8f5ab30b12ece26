// SPDX-License-Identifier: Apache-2.0
#include "base/units.h"

void wait(orrery::Seconds time);
void call() { wait(orrery::bytes(1.0)); }
