// SPDX-License-Identifier: Apache-2.0
#include "costmodel/scattered_curve.h"

#include "base/check.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <utility>

namespace orrery::costmodel {
namespace {

// A plane in three sizes needs four points; three times as many make it steady.
constexpr std::size_t kNumNeighbours = 12;
// Slopes that the neighbours do not determine are taken as zero: the weight of that wish.
constexpr double kRidge = 1e-3;
// Logarithms of sizes that differ by less are the same size: 1 part in 10^9.
constexpr double kSame = 1e-9;

struct Neighbour {
  double distance = 0.0;
  std::size_t point = 0;
};

}  // namespace

void ScatteredCurve::add(std::initializer_list<double> sizes, double value) {
  CHECK(sizes.size() <= kMaxSizes && (points_.empty() || sizes.size() == num_sizes_), sizes.size(), num_sizes_);
  CHECK(value > 0.0, value);
  Point point{.place = {}, .value = value, .log_value = std::log(value)};
  std::size_t i = 0;
  for (double size : sizes) {
    CHECK(size > 0.0, size);
    point.place[i++] = std::log(size);
  }
  if (points_.empty()) lowest_ = highest_ = point.place;
  for (i = 0; i < sizes.size(); ++i) {
    lowest_[i] = std::min(lowest_[i], point.place[i]);
    highest_[i] = std::max(highest_[i], point.place[i]);
  }
  num_sizes_ = sizes.size();
  points_.push_back(point);
}

ScatteredCurve::Place ScatteredCurve::place_of(std::initializer_list<double> sizes) const {
  CHECK(!points_.empty() && sizes.size() == num_sizes_, sizes.size(), num_sizes_);
  Place where{};
  std::size_t dimension = 0;
  for (double size : sizes) {
    CHECK(size > 0.0, size);
    where[dimension++] = std::log(size);
  }
  return where;
}

bool ScatteredCurve::is_inside(const Place& where) const {
  for (std::size_t i = 0; i < num_sizes_; ++i) {
    if (where[i] < lowest_[i] - kSame || where[i] > highest_[i] + kSame) return false;
  }
  return true;
}

ScatteredCurve::Value ScatteredCurve::at(std::initializer_list<double> sizes) const {
  const Place where = place_of(sizes);
  return {interpolate(where), is_inside(where)};
}

ScatteredCurve::Value ScatteredCurve::at_border(std::initializer_list<double> sizes) const {
  Place where = place_of(sizes);
  const bool inside = is_inside(where);
  for (std::size_t i = 0; i < num_sizes_; ++i) where[i] = std::clamp(where[i], lowest_[i], highest_[i]);
  return {interpolate(where), inside};
}

double ScatteredCurve::interpolate(const Place& where) const {
  std::vector<Neighbour> neighbours(points_.size());
  for (std::size_t i = 0; i < points_.size(); ++i) {
    double square = 0.0;
    for (std::size_t j = 0; j < num_sizes_; ++j) {
      const double difference = points_[i].place[j] - where[j];
      square += difference * difference;
    }
    neighbours[i] = {std::sqrt(square), i};
  }
  const std::size_t num_used = std::min(kNumNeighbours, points_.size());
  const std::size_t num_sorted = std::min(kNumNeighbours + 1, points_.size());
  std::partial_sort(neighbours.begin(), neighbours.begin() + static_cast<std::ptrdiff_t>(num_sorted), neighbours.end(),
                    [](const Neighbour& a, const Neighbour& b) {
                      return std::pair(a.distance, a.point) < std::pair(b.distance, b.point);
                    });
  if (neighbours.front().distance < kSame) return points_[neighbours.front().point].value;

  // Franke and Little: the weight is zero from the first point that is not used; twice the last where all are used.
  const double radius =
      num_sorted > num_used ? neighbours[num_used].distance * (1.0 + 1e-12) : 2.0 * neighbours[num_used - 1].distance;
  const auto n = static_cast<Eigen::Index>(num_sizes_);
  const auto count = static_cast<Eigen::Index>(num_used);
  Eigen::MatrixXd offsets(count, n);
  Eigen::VectorXd weights(count), values(count);
  for (Eigen::Index i = 0; i < count; ++i) {
    const Neighbour& neighbour = neighbours[static_cast<std::size_t>(i)];
    const Point& point = points_[neighbour.point];
    const double closeness = (radius - neighbour.distance) / (radius * neighbour.distance);
    weights[i] = closeness * closeness;
    values[i] = point.log_value;
    for (Eigen::Index j = 0; j < n; ++j) {
      offsets(i, j) = point.place[static_cast<std::size_t>(j)] - where[static_cast<std::size_t>(j)];
    }
  }
  weights /= weights.sum();
  const double mean = weights.dot(values);
  const Eigen::RowVectorXd center = weights.transpose() * offsets;
  const Eigen::MatrixXd centered = offsets.rowwise() - center;
  Eigen::MatrixXd normal = centered.transpose() * weights.asDiagonal() * centered;
  normal.diagonal().array() += kRidge * normal.trace() / static_cast<double>(n) + 1e-12;
  const Eigen::VectorXd moments = centered.transpose() * weights.asDiagonal() * (values.array() - mean).matrix();
  const Eigen::VectorXd slopes = normal.ldlt().solve(moments);
  const double plane = mean - center * slopes;
  return std::exp(std::clamp(plane, values.minCoeff(), values.maxCoeff()));
}

}  // namespace orrery::costmodel
