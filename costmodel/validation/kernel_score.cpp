// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/kernel_score.h"

#include "base/check.h"
#include "base/median.h"
#include "costmodel/operator_curves.h"

#include <Eigen/Dense>
#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <memory>
#include <tuple>

namespace orrery::costmodel {
namespace {

constexpr double kRobust = 0.15;  // errors above it count by their size, not by its square
constexpr double kStep = 0.01;    // of the numeric derivative, in logarithms
constexpr double kPrior = 1e-4;   // weight of staying, against that of an op: only for what no point tells
constexpr int kIterations = 12;
constexpr double kLargestMove = 0.5;

OpCode op_of(const OpPoint& point) { return op_code_of(point.op).value_or(OpCode::mlp_fc1); }

/// Time of a point's shape by `calibration`, which may hold other points or none.
double seconds_by(const Calibration& calibration, const OpPoint& point, const Device& device) {
  const OperatorCurves curves(calibration, std::make_shared<MeasuredKernels>(calibration, device),
                              Fp8Recipe::tensorwise);
  const OpKey key{.pass = point.pass, .op = op_of(point)};
  return curves.kernel_of(key, point.shape, {}, device).time.in(unit::second);
}

/// The numbers alone. Without a power limit they hold for any board, so that points are judged as they were measured.
Calibration without_points(const Calibration& calibration) {
  Calibration out;
  out.kernels = calibration.kernels;
  return out;
}

KernelErrors errors_of(std::vector<double> signed_errors) {
  KernelErrors out;
  out.bias = median(signed_errors);
  out.worst = *std::max_element(signed_errors.begin(), signed_errors.end(),
                                [](double a, double b) { return std::abs(a) < std::abs(b); });
  for (double& error : signed_errors) error = std::abs(error);
  std::sort(signed_errors.begin(), signed_errors.end());
  out.median = median(signed_errors);
  out.ninth_decile = signed_errors[(signed_errors.size() - 1) * 9 / 10];
  return out;
}

/// The numbers that are fitted, all positive.
constexpr std::size_t kNumFitted = 8;
constexpr Eigen::Index kNumShares = 6;  // the first of them
using Logs = Eigen::Matrix<double, kNumFitted, 1>;

template <class Numbers>
auto fitted_numbers(Numbers& k) {
  return std::array{&k.matmul, &k.matmul_fp8, &k.grouped, &k.attention_forward, &k.attention_backward,
                    &k.memory, &k.ramp};
}

Logs logs_of(KernelParameters numbers) {
  Logs out;
  Eigen::Index i = 0;
  for (const double* number : fitted_numbers(numbers)) out[i++] = std::log(std::max(*number, 1e-3));
  out[i] = std::log(numbers.kernel.in(unit::microsecond));
  return out;
}

KernelParameters with_logs(KernelParameters numbers, const Logs& logs) {
  Eigen::Index i = 0;
  for (double* number : fitted_numbers(numbers)) *number = std::exp(logs[i++]);
  numbers.kernel = microseconds(std::exp(logs[i]));
  return numbers;
}

}  // namespace

std::vector<KernelScore> score_kernels(const Calibration& calibration, const Device& device) {
  CHECK(calibration.kernels.has_value());
  std::map<std::tuple<std::string, Pass, DType>, std::vector<const OpPoint*>> groups;
  for (const OpPoint& point : calibration.points) groups[{point.op, point.pass, point.dtype}].push_back(&point);
  const Calibration form = without_points(calibration);
  std::vector<KernelScore> out;
  for (const auto& [name, points] : groups) {
    KernelScore score{.op = std::get<0>(name), .pass = std::get<1>(name), .dtype = std::get<2>(name)};
    score.num_points = points.size();
    std::vector<double> by_form, by_others;
    for (const OpPoint* left_out : points) {
      const double measured = left_out->time.in(unit::second);
      by_form.push_back(seconds_by(form, *left_out, device) / measured - 1.0);
      Calibration others = form;
      for (const OpPoint* point : points) {
        if (point != left_out) others.points.push_back(*point);
      }
      by_others.push_back(seconds_by(others, *left_out, device) / measured - 1.0);
    }
    score.form = errors_of(std::move(by_form));
    score.left_out = errors_of(std::move(by_others));
    out.push_back(std::move(score));
  }
  return out;
}

std::vector<KernelResidual> residuals_of(const std::vector<KernelScore>& scores) {
  const auto errors = [](const KernelErrors& of) {
    return KernelResidual::Errors{.median = of.median, .worst = of.worst};
  };
  std::vector<KernelResidual> out;
  for (const KernelScore& score : scores) {
    out.push_back({.op = score.op,
                   .pass = score.pass,
                   .dtype = score.dtype,
                   .num_points = static_cast<std::int64_t>(score.num_points),
                   .form = errors(score.form),
                   .left_out = errors(score.left_out)});
  }
  return out;
}

KernelParameters fit_kernels(const Calibration& calibration, const Device& device) {
  CHECK(calibration.kernels.has_value());
  Calibration form = without_points(calibration);
  const auto error_of = [&](const OpPoint& point, const Logs& logs) {
    form.kernels = with_logs(*calibration.kernels, logs);
    return std::log(seconds_by(form, point, device) / point.time.in(unit::second));
  };
  // Each op, pass and type counts alike, however many of its shapes were measured.
  std::map<std::tuple<std::string, Pass, DType>, double> num_points;
  for (const OpPoint& point : calibration.points) num_points[{point.op, point.pass, point.dtype}] += 1.0;
  Logs at = logs_of(*calibration.kernels);
  for (int iteration = 0; iteration < kIterations; ++iteration) {
    Eigen::Matrix<double, kNumFitted, kNumFitted> normal = kPrior * decltype(normal)::Identity();
    Logs right = Logs::Zero();
    for (const OpPoint& point : calibration.points) {
      const double error = error_of(point, at);
      Logs slope;
      for (Eigen::Index i = 0; i < slope.size(); ++i) {
        Logs moved = at;
        moved[i] += kStep;
        slope[i] = (error_of(point, moved) - error) / kStep;
      }
      const double weight =
          std::min(1.0, kRobust / std::max(std::abs(error), 1e-12)) / num_points[{point.op, point.pass, point.dtype}];
      normal += weight * slope * slope.transpose();
      right -= weight * error * slope;
    }
    at += normal.ldlt().solve(right).cwiseMax(-kLargestMove).cwiseMin(kLargestMove);
    at.head<kNumShares>() = at.head<kNumShares>().cwiseMin(0.0);  // of a peak, or of another rate: at most one
  }
  return with_logs(*calibration.kernels, at);
}

}  // namespace orrery::costmodel
