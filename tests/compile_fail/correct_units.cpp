// SPDX-License-Identifier: Apache-2.0
// The control: what the other files do wrong, done right. It must compile, else their failures prove nothing.
#include "base/ids.h"
#include "base/units.h"

using RankId = orrery::Id<struct RankTag>;

void wait(orrery::Seconds time);

orrery::Seconds sum() { return orrery::seconds(1.0) + orrery::bytes(1.0) / orrery::bytes_per_second(1.0); }
double number() { return orrery::seconds(1.0).in(orrery::unit::millisecond); }
bool less() { return orrery::seconds(1.0) < orrery::joules(1.0) / orrery::watts(1.0); }
void call() { wait(orrery::seconds(0.5)); }
RankId next(RankId rank) { return RankId(rank.value() + 1); }
bool same(RankId a, RankId b) { return a == b; }
