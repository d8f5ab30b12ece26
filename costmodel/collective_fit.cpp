// SPDX-License-Identifier: Apache-2.0
#include "costmodel/collective_fit.h"

#include "base/median.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <map>
#include <string>
#include <utility>

namespace orrery::costmodel {
namespace {

constexpr Bytes kLarge = unit::mebibyte;

Seconds latency_of(const CollectiveFit& fit, std::int64_t ranks) {
  if (!fit.latency) return {};
  return *fit.latency + *fit.latency_per_peer * static_cast<double>(ranks - 1);
}

/// Least squares of time = latency + per_peer (n - 1), residuals relative to the measured time.
void fit_latency(const std::vector<CollectiveMeasurement>& small, CollectiveFit& fit) {
  if (small.empty()) return;
  const auto num_points = static_cast<Eigen::Index>(small.size());
  Eigen::MatrixXd terms(num_points, 2);
  for (Eigen::Index i = 0; i < num_points; ++i) {
    const CollectiveMeasurement& point = small[static_cast<std::size_t>(i)];
    const double time = point.time.in(unit::second);
    terms(i, 0) = 1.0 / time;
    terms(i, 1) = static_cast<double>(point.ranks - 1) / time;
  }
  const Eigen::VectorXd ones = Eigen::VectorXd::Ones(num_points);
  // Where one of the two cannot be told or comes out negative, the other alone explains the points.
  const auto alone = [&](Eigen::Index column) { return terms.col(column).dot(ones) / terms.col(column).squaredNorm(); };
  Eigen::Vector2d best{alone(0), 0.0};
  const Eigen::ColPivHouseholderQR<Eigen::MatrixXd> qr(terms);
  if (qr.rank() == 2) {
    best = qr.solve(ones);
    if (best[0] < 0.0) best = {0.0, alone(1)};
    if (best[1] < 0.0) best = {alone(0), 0.0};
  }
  fit.latency = seconds(best[0]);
  fit.latency_per_peer = seconds(best[1]);
}

void fit_rate(const std::vector<CollectiveMeasurement>& large, CollectiveFit& fit) {
  std::vector<double> rates;
  for (const CollectiveMeasurement& point : large) {
    const Seconds moving = point.time - latency_of(fit, point.ranks);
    if (moving <= Seconds::zero()) continue;
    rates.push_back((wire_factor(point.op, point.ranks) * point.bytes / moving).in(unit::byte_per_second));
  }
  if (!rates.empty()) fit.rate = bytes_per_second(median(rates));
}

double residual_of(const CollectiveFit& fit, const std::vector<CollectiveMeasurement>& points) {
  std::vector<double> errors;
  for (const CollectiveMeasurement& point : points) {
    Seconds time = latency_of(fit, point.ranks);
    if (fit.rate) time += wire_factor(point.op, point.ranks) * point.bytes / *fit.rate;
    errors.push_back(std::abs(time / point.time - 1.0));
  }
  return median(errors);
}

}  // namespace

double wire_factor(std::string_view op, std::int64_t ranks) {
  const auto n = static_cast<double>(ranks);
  if (op == "send_recv") return 1.0;
  return (op == "all_reduce" ? 2.0 : 1.0) * (n - 1.0) / n;
}

std::vector<CollectiveFit> fitted(std::span<const CollectiveMeasurement> points) {
  std::map<std::pair<std::string, std::string>, std::vector<CollectiveMeasurement>> by_kind;
  for (const CollectiveMeasurement& point : points) by_kind[{point.op, point.path}].push_back(point);
  std::vector<CollectiveFit> fits;
  for (const auto& [kind, measured] : by_kind) {
    CollectiveFit& fit = fits.emplace_back();
    std::tie(fit.op, fit.path) = kind;
    const auto [fewest, most] = std::minmax_element(measured.begin(), measured.end(),
                                                    [](const auto& a, const auto& b) { return a.ranks < b.ranks; });
    fit.min_ranks = fewest->ranks;
    fit.max_ranks = most->ranks;
    std::vector<CollectiveMeasurement> small, large;
    for (const CollectiveMeasurement& point : measured) {
      if (point.bytes <= kLargestStart) small.push_back(point);
      if (point.bytes >= kLarge) large.push_back(point);
    }
    fit_latency(small, fit);
    fit_rate(large, fit);
    fit.residual = residual_of(fit, measured);
  }
  return fits;
}

}  // namespace orrery::costmodel
