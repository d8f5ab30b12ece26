// SPDX-License-Identifier: Apache-2.0
#include "planner/limits.h"

#include "base/check.h"
#include "planner/divisors.h"
#include "planner/even_layout.h"
#include "program/legality.h"
#include "program/mesh.h"

#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

namespace orrery::planner {
namespace {

using Check = std::function<FitCheck(std::int64_t)>;

/// The last of `values` that fits, when memory grows along them. `end` is said where all of them do.
Limit last_that_fits(const std::vector<std::int64_t>& values, const Check& check, const std::string& end) {
  const auto at = [&](std::int64_t i) { return values[static_cast<std::size_t>(i)]; };
  const auto count = static_cast<std::int64_t>(values.size());
  const std::int64_t num_fitting = num_leading(count, [&](std::int64_t i) { return check(at(i)).fits; });
  Limit limit;
  limit.binds = num_fitting == count ? end : fmt::format("at {}: {}", at(num_fitting), check(at(num_fitting)).why);
  if (num_fitting > 0) {
    limit.value = at(num_fitting - 1);
    limit.memory = check(*limit.value).memory;
  }
  return limit;
}

}  // namespace

std::int64_t num_leading(std::int64_t count, const std::function<bool(std::int64_t)>& holds) {
  std::int64_t known = 0, unknown_until = count;  // true below `known`, false from `unknown_until` on
  while (known < unknown_until) {
    const std::int64_t middle = known + (unknown_until - known) / 2;
    if (holds(middle)) {
      known = middle + 1;
    } else {
      unknown_until = middle;
    }
  }
  return known;
}

// More data-parallel ranks take smaller shards and fewer micro-batches each, so from the most ranks to the fewest
// memory grows.
Limit fewest_devices(const Plan& plan) {
  const Strategy& s = plan.strategy;
  const std::int64_t per_node = plan.cluster.groups.front().devices_per_node;
  const std::int64_t of_a_pipeline = s.tp * s.cp * s.pp;
  std::vector<std::int64_t> counts;
  const std::int64_t per_pipeline = plan.batch.global_batch / s.micro_batch;
  const std::vector<std::int64_t> degrees = divisors(per_pipeline, per_pipeline);
  for (auto dp = degrees.rbegin(); dp != degrees.rend(); ++dp) {
    const std::int64_t count = *dp * of_a_pipeline;
    if (count % per_node == 0 && violations(plan.model, s, plan.batch, count).empty()) counts.push_back(count);
  }
  const FitChecker checker(plan);
  const auto check = [&](std::int64_t count) { return checker.check(s, plan.batch, count); };
  if (counts.empty()) return {.value = {}, .memory = {}, .binds = "no number of whole nodes is legal"};
  return last_that_fits(counts, check,
                        fmt::format("no smaller number is legal: one pipeline is tp * cp * pp = {}, its experts are on "
                                    "etp * ep * pp = {}, a node has {}",
                                    of_a_pipeline, s.etp * s.ep * s.pp, per_node));
}

Limit longest_sequence(const Plan& plan) {
  constexpr std::int64_t kLongest = std::int64_t{1} << 24;
  const Strategy& s = plan.strategy;
  std::int64_t step = s.cp > 1 ? 2 * s.cp : 1;
  if (s.tp > 1 && s.sp) step = std::lcm(step, s.tp * s.cp);
  const FitChecker checker(plan);
  const auto check = [&](std::int64_t seq) {
    return checker.check(s, {.seq = seq, .global_batch = plan.batch.global_batch}, plan.num_ranks());
  };
  std::int64_t longest = kLongest / step;
  std::string end = fmt::format("{} tokens are the most that is asked for", longest * step);
  if (plan.model.learned_positions) {
    longest = plan.model.max_positions / step;
    end = fmt::format("the model has {} positions", plan.model.max_positions);
  }
  const std::int64_t count = num_leading(longest, [&](std::int64_t i) { return check((i + 1) * step).fits; });
  Limit limit;
  limit.binds = count == longest ? end : fmt::format("at {}: {}", (count + 1) * step, check((count + 1) * step).why);
  if (count > 0) {
    limit.value = count * step;
    limit.memory = check(*limit.value).memory;
  }
  return limit;
}

Limit largest_micro_batch(const Plan& plan) {
  const std::int64_t of_a_rank = plan.batch.global_batch / Mesh(plan.strategy, plan.num_ranks()).dp();
  const auto with = [&](std::int64_t size) {
    Strategy strategy = plan.strategy;
    strategy.micro_batch = size;
    return strategy;
  };
  std::vector<std::int64_t> sizes;
  for (const std::int64_t size : divisors(of_a_rank, of_a_rank)) {
    if (violations(plan.model, with(size), plan.batch, plan.num_ranks()).empty()) sizes.push_back(size);
  }
  const FitChecker checker(plan);
  const auto check = [&](std::int64_t size) { return checker.check(with(size), plan.batch, plan.num_ranks()); };
  const std::string end = sizes.back() == of_a_rank
                              ? fmt::format("it is all {} sequences of a rank", of_a_rank)
                              : fmt::format("no larger divisor of the {} sequences of a rank is legal", of_a_rank);
  return last_that_fits(sizes, check, end);
}

Model with_layers(const Model& model, std::int64_t num_layers) {
  CHECK(num_layers >= 1, num_layers);
  Model out = model;
  out.layers.resize(static_cast<std::size_t>(num_layers), model.layers.back());
  if (model.spans.empty()) return out;
  // Windows alternate, so new layers go on where the pattern would.
  out.spans.clear();
  for (std::size_t i = 0; i < out.layers.size(); ++i) out.spans.push_back(model.spans[i % model.spans.size()]);
  return out;
}

Strategy strategy_for(const Model& model, const Plan& plan) {
  Strategy s = plan.strategy;
  if (model.num_mtp_modules == 0) s.mtp = Mtp::off;
  lay_evenly(s, model);
  return s;
}

FitCheck check_model(const Model& model, const Plan& plan) {
  const FitChecker checker(model, plan.load, plan.cluster.groups.front().device, plan.framework);
  return checker.check(strategy_for(model, plan), plan.batch, plan.num_ranks());
}

// One layer more lengthens one stage and moves the layers behind it, of which a stage may become smaller by that (a
// dense layer leaves it). Over a whole round of the stages every stage has become longer, so a round is looked at
// behind what bisection finds.
Limit largest_layers(const Plan& plan) {
  constexpr std::int64_t kMost = 4096;
  const std::int64_t least = plan.strategy.num_stages();
  const auto check = [&](std::int64_t num_layers) {
    const Model model = with_layers(plan.model, num_layers);
    return check_model(model, plan);
  };
  const auto fits = [&](std::int64_t i) { return check(least + i).fits; };
  std::int64_t limit = 1;
  while (least + limit < kMost && fits(limit)) limit *= 2;
  std::int64_t count = num_leading(std::min(limit + 1, kMost - least + 1), fits);
  for (std::int64_t i = count + 1; i <= count + least && least + i <= kMost; ++i) {
    if (fits(i)) count = i + 1;
  }
  Limit out;
  out.binds = least + count > kMost ? fmt::format("{} layers are the most that is asked for", kMost)
                                    : fmt::format("at {}: {}", least + count, check(least + count).why);
  if (count > 0) {
    out.value = least + count - 1;
    out.memory = check(*out.value).memory;
  }
  return out;
}

}  // namespace orrery::planner
