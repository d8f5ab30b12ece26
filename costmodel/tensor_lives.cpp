// SPDX-License-Identifier: Apache-2.0
#include "costmodel/tensor_lives.h"

#include "base/check.h"

#include <algorithm>

namespace orrery::costmodel {

LifeSegment joined(const LifeSegment& first, const LifeSegment& second) {
  const LiveBytes later = first.net + second.peak;
  return {.peak = later.all > first.peak.all ? later : first.peak, .net = first.net + second.net};
}

void append(const LifeSegments& segments, LifeSegments& to) {
  auto next = segments.begin();
  if (next == segments.end()) return;
  if (!to.empty()) {
    to.back() = joined(to.back(), *next);
    ++next;
  }
  to.insert(to.end(), next, segments.end());
}

LifeSegment whole(const LifeSegments& segments) {
  LifeSegment out;
  for (const LifeSegment& segment : segments) out = joined(out, segment);
  return out;
}

LifeSegment zipped(const LifeSegments& first, const LifeSegments& second) {
  LifeSegment out;
  for (std::size_t i = 0; i < std::max(first.size(), second.size()); ++i) {
    if (i < first.size()) out = joined(out, first[i]);
    if (i < second.size()) out = joined(out, second[i]);
  }
  return out;
}

TensorLives::TensorLives(double stream, int num_positions) : stream_(stream), num_positions_(num_positions) {
  events_.reserve(160);
}

std::size_t TensorLives::name(TensorRole role, int position) const {
  CHECK(position >= 0 && position < num_positions_, name_of(role), position);
  return static_cast<std::size_t>(position * kNumTensorRoles + static_cast<int>(role));
}

struct TensorLives::Life {
  double bytes = 0.0;
  std::int32_t created = -1, last = -1;  // events; -1: before the first
  std::int8_t unit = 0;                  // that uses it first
  bool leaves = false;                   // somebody else releases it
  bool hidden = false;                   // a hidden state between layers
  bool own = false;                      // the unit's, not that of a layer beside it
  bool crosses = false;                  // from the forward to the backward
};

void TensorLives::begin_unit(int unit, double bucket) {
  buckets_.resize(std::max(buckets_.size(), static_cast<std::size_t>(unit) + 1), 0.0);
  buckets_[static_cast<std::size_t>(unit)] = bucket;
  unit_ = unit;
}

void TensorLives::add(Part part, const TensorTable& table, const TableLine& line, int position, bool keeps_out) {
  CHECK(events_.empty() || events_.back().part <= part, position);
  const bool makes = line.phase == TablePhase::gathered_again || line.phase == TablePhase::weight_grad;
  events_.push_back({.begin = table.uses() + line.begin,
                     .end = table.uses() + line.end,
                     .part = part,
                     .position = static_cast<std::int8_t>(position),
                     .unit = static_cast<std::int8_t>(unit_),
                     .exchange = line.exchange,
                     .keeps_out = keeps_out,
                     .makes_weight_gradient = makes});
}

void TensorLives::leaves(TensorRole role, int position) { leaving_.push_back(name(role, position)); }

std::vector<TensorLives::Life> TensorLives::follow() const {
  std::vector<Life> lives;
  lives.reserve(events_.size() * 2);
  // What each name stands for; behind the names, the scratch of attention that runs again.
  const auto scratch = static_cast<std::size_t>(num_positions_ * kNumTensorRoles);
  std::vector<std::int16_t> bound(scratch + 1, -1);
  const auto born = [&](std::size_t key, const TableUse& use, double bytes, std::int32_t created, const Event& event) {
    lives.push_back({.bytes = bytes,
                     .created = created,
                     .last = created,
                     .unit = event.unit,
                     .leaves = std::find(leaving_.begin(), leaving_.end(), key) != leaving_.end(),
                     .hidden = use.role == TensorRole::x,
                     .own = use.offset == 0});
    return static_cast<std::int16_t>(lives.size() - 1);
  };
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    const auto now = static_cast<std::int32_t>(i);
    for (const TableUse* use = event.begin; use != event.end; ++use) {
      const bool is_scratch = event.keeps_out && use->role == TensorRole::attn_out;
      const std::size_t key = is_scratch ? scratch : name(use->role, event.position + use->offset);
      if (use->creates) {
        bound[key] = born(key, *use, use->bytes, now, event);
        continue;
      }
      if (bound[key] < 0) {
        CHECK(use->role == TensorRole::x || use->role == TensorRole::d_x, name_of(use->role));
        bound[key] = born(key, *use, stream_, -1, event);
      }
      Life& life = lives[static_cast<std::size_t>(bound[key])];
      life.last = now;
      const bool from_forward =
          life.created >= 0 ? events_[static_cast<std::size_t>(life.created)].part == Part::forward : life.hidden;
      if (from_forward && event.part != Part::forward) life.crosses = true;
    }
  }
  return lives;
}

void TensorLives::add_buckets(std::vector<Life>& lives) const {
  for (std::size_t unit = 0; unit < buckets_.size(); ++unit) {
    if (buckets_[unit] == 0.0) continue;
    Life bucket{.bytes = buckets_[unit]};
    for (std::size_t i = 0; i < events_.size(); ++i) {
      if (static_cast<std::size_t>(events_[i].unit) != unit) continue;
      const auto now = static_cast<std::int32_t>(i);
      if (bucket.created < 0 && events_[i].makes_weight_gradient) bucket.created = now;
      bucket.last = now;
    }
    if (bucket.created >= 0) lives.push_back(bucket);
  }
}

TensorLives::Parts TensorLives::run() const {
  std::vector<Life> lives = follow();
  Parts out;
  std::vector<LiveBytes> offloaded(buckets_.size());
  for (const Life& life : lives) {
    // The hidden state between two layers goes with the layer that it enters.
    if (life.crosses && life.own) offloaded[static_cast<std::size_t>(life.unit)] += {life.bytes, life.bytes};
  }
  add_buckets(lives);
  std::vector<LiveBytes> created(events_.size()), released(events_.size());
  for (const Life& life : lives) {
    const LiveBytes bytes{life.bytes, life.crosses || life.hidden ? life.bytes : 0.0};
    if (life.created >= 0) created[static_cast<std::size_t>(life.created)] += bytes;
    if (!life.leaves) released[static_cast<std::size_t>(life.last)] += bytes;
  }
  bool starts = false;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    std::vector<UnitLives>& units = out[static_cast<std::size_t>(event.part)];
    if (units.empty() || units.back().unit != event.unit) {
      units.push_back({.unit = event.unit, .work = {{}}});
      starts = false;
      units.back().offloaded = offloaded[static_cast<std::size_t>(event.unit)];
    }
    LifeSegments& segments = units.back().work;
    if (starts) segments.emplace_back();
    LifeSegment& segment = segments.back();
    segment.net += created[i];
    if (segment.net.all > segment.peak.all) segment.peak = segment.net;
    segment.net += -1.0 * released[i];
    starts = event.exchange;
  }
  return out;
}

}  // namespace orrery::costmodel
