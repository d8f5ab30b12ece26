// SPDX-License-Identifier: Apache-2.0
#include "costmodel/validation/time_fit.h"

#include "base/parallel.h"

#include <Eigen/Dense>
#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include <fmt/format.h>

namespace orrery::costmodel {
namespace {

// Standard deviations of the logarithm of each factor before anything is fitted: how far a training step may be from
// the tables. Launching depends on the host and the framework most, products on the power that a board may draw.
constexpr Knobs kPrior = {0.2, 0.15, 0.2, 0.25, 0.4, 0.5, 0.6, 0.3};
constexpr double kDeviceShare = 0.5;  // of a device within its family
// Of products and attention, where they are known: by points of the chip at the power of its board, and of a framework,
// since all call the same libraries. What a step takes longer then has to be between its kernels.
constexpr double kKnownShare = 0.5;
constexpr double kReleasePrior = 0.05;
// Errors above this count by their size, not by its square.
constexpr double kRobust = 0.15;
constexpr double kDeviation = 0.1;            // expected of one run, as a logarithm: what the prior is weighed against
constexpr double kStep = 0.02;                // of the numeric derivative
constexpr int kIterations = 4;                // of derivatives, which cost predictions
constexpr int kSteps = 3, kStepsOfFold = 12;  // of robust weights, which cost nothing
constexpr double kLargestMove = 0.7;          // of a logarithm in one iteration

std::array<std::string, 3> owners_of(const TimedRun& run) {
  return costmodel::owners_of(run.plan.device, run.plan.framework.name);
}

/// Logarithm of predicted over measured, and its derivatives by the knobs.
struct Linear {
  double value = 0.0;
  Knobs slope{};
};

double log_time(const TimedRun& run, const KnownDevice& device, const Knobs& knobs) {
  return std::log(predict(run, device, knobs).in(unit::second));
}

bool is_of_libraries(Knob knob) {
  return knob == Knob::matmul || knob == Knob::matmul_fp8 || knob == Knob::grouped || knob == Knob::attention;
}

/// Whether points of products and of attention tell what this board does.
bool is_measured(const TimedRun& run, const KnownDevice& known) {
  const Device& device = run.cluster.groups.front().device;
  return !known.has_unknown_kernels && known.numbers.conditions.power_limit == device.power_limit;
}

class Fit {
 public:
  Fit(std::span<const TimedRun> runs, const DeviceOfRun& device_of) : runs_(runs) {
    std::set<std::string> owners, releases;
    std::map<std::string, double> in_cell;
    for (const TimedRun& run : runs) {
      devices_.push_back(&device_of(run));
      if (is_measured(run, *devices_.back())) measured_.insert(family_of(run.plan.device));
      cells_.push_back(cell_of(run));
      in_cell[cells_.back()] += 1.0;
      for (const std::string& owner : owners_of(run)) owners.insert(owner);
      releases.insert(run.run->software);
    }
    for (const std::string& owner : owners) column_.emplace(owner, column_.size() * kNumKnobs);
    num_columns_ = owners.size() * kNumKnobs;
    for (const std::string& release : releases) release_column_.emplace(release, num_columns_++);
    // Many runs of one cell tell less than as many of different ones.
    for (const std::string& cell : cells_) weights_.push_back(1.0 / std::sqrt(in_cell[cell]));
  }

  TimeFactors solve() {
    Eigen::VectorXd at = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(num_columns_));
    for (int i = 0; i < kIterations; ++i) {
      linearise(factors(at));
      for (int j = 0; j < kSteps; ++j) at = step(at, "");
    }
    linearise(factors(at));
    at_ = at;
    return factors(at);
  }

  /// Factors without the runs of a cell, from the last linearisation.
  TimeFactors without(const std::string& cell) const {
    Eigen::VectorXd at = at_;
    for (int i = 0; i < kStepsOfFold; ++i) at = step(at, cell);
    return factors(at);
  }

  const std::vector<std::string>& cells() const { return cells_; }
  const KnownDevice& device(std::size_t run) const { return *devices_[run]; }

 private:
  /// Of the prior's deviation, for a factor of this owner: "device b200", "family hopper", "framework nanotron".
  double share_of(const std::string& owner, Knob knob) const {
    const bool is_device = owner.starts_with("device ");
    const std::string name = owner.substr(owner.find(' ') + 1);
    const bool is_known = owner.starts_with("framework ") || measured_.contains(is_device ? family_of(name) : name);
    return (is_device ? kDeviceShare : 1.0) * (is_known && is_of_libraries(knob) ? kKnownShare : 1.0);
  }

  TimeFactors factors(const Eigen::VectorXd& at) const {
    TimeFactors out;
    for (const auto& [owner, column] : column_) {
      for (std::size_t k = 0; k < kNumKnobs; ++k) out.of[owner][k] = at[static_cast<Eigen::Index>(column + k)];
    }
    for (const auto& [release, column] : release_column_) {
      out.release[release] = at[static_cast<Eigen::Index>(column)];
    }
    return out;
  }

  void linearise(const TimeFactors& factors) {
    linear_.assign(runs_.size(), {});
    centre_ = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(num_columns_));
    for (const auto& [owner, column] : column_) {
      const auto found = factors.of.find(owner);
      for (std::size_t k = 0; k < kNumKnobs; ++k) centre_[static_cast<Eigen::Index>(column + k)] = found->second[k];
    }
    for (const auto& [release, column] : release_column_) {
      centre_[static_cast<Eigen::Index>(column)] = factors.release.at(release);
    }
    parallel_for(std::ssize(runs_), [&](std::int64_t number, int) {
      const auto i = static_cast<std::size_t>(number);
      const Knobs here = factors.knobs(runs_[i].plan.device, runs_[i].plan.framework.name);
      const double time = log_time(runs_[i], *devices_[i], here);
      linear_[i].value =
          time + factors.release_of(runs_[i].run->software) - std::log(runs_[i].measured.in(unit::second));
      for (std::size_t k = 0; k < kNumKnobs; ++k) {
        Knobs there = here;
        there[k] += kStep;
        linear_[i].slope[k] = (log_time(runs_[i], *devices_[i], there) - time) / kStep;
      }
    });
  }

  /// One step of iteratively reweighted least squares from `at`, on the linearised errors. Complexity: runs x
  /// columns^2.
  Eigen::VectorXd step(const Eigen::VectorXd& at, const std::string& held_out) const {
    const auto n = static_cast<Eigen::Index>(num_columns_);
    Eigen::MatrixXd normal = Eigen::MatrixXd::Zero(n, n);
    Eigen::VectorXd right = Eigen::VectorXd::Zero(n);
    for (const auto& [owner, column] : column_) {
      for (std::size_t k = 0; k < kNumKnobs; ++k) {
        const auto c = static_cast<Eigen::Index>(column + k);
        normal(c, c) += std::pow(kDeviation / (share_of(owner, static_cast<Knob>(k)) * kPrior[k]), 2);
      }
    }
    for (const auto& [release, column] : release_column_) {
      const auto c = static_cast<Eigen::Index>(column);
      normal(c, c) += std::pow(kDeviation / kReleasePrior, 2);
    }
    for (std::size_t i = 0; i < runs_.size(); ++i) {
      if (cells_[i] == held_out) continue;
      std::array<std::pair<Eigen::Index, double>, 3 * kNumKnobs + 1> row;
      std::size_t used = 0;
      for (const std::string& owner : owners_of(runs_[i])) {
        for (std::size_t k = 0; k < kNumKnobs; ++k) {
          row[used++] = {static_cast<Eigen::Index>(column_.at(owner) + k), linear_[i].slope[k]};
        }
      }
      row[used++] = {static_cast<Eigen::Index>(release_column_.at(runs_[i].run->software)), 1.0};
      // The error at `at`, and the right side of  J x = J centre - error(centre).
      double error = linear_[i].value, target = -linear_[i].value;
      for (const auto& [c, slope] : row) {
        error += slope * (at[c] - centre_[c]);
        target += slope * centre_[c];
      }
      const double weight = weights_[i] * std::min(1.0, kRobust / std::max(std::abs(error), 1e-12));
      for (const auto& [c, slope] : row) {
        right[c] += weight * slope * target;
        for (const auto& [d, other] : row) normal(c, d) += weight * slope * other;
      }
    }
    const Eigen::VectorXd next = normal.ldlt().solve(right);
    return at + (next - at).cwiseMax(-kLargestMove).cwiseMin(kLargestMove);
  }

  std::span<const TimedRun> runs_;
  std::vector<const KnownDevice*> devices_;
  std::vector<std::string> cells_;
  std::vector<double> weights_;
  std::map<std::string, std::size_t> column_, release_column_;
  std::set<std::string> measured_;  // families
  std::size_t num_columns_ = 0;
  std::vector<Linear> linear_;
  Eigen::VectorXd centre_, at_;
};

}  // namespace

Seconds predict(const TimedRun& run, const KnownDevice& device, const TimeFactors& factors) {
  return predict(run, device, factors.knobs(run.plan.device, run.plan.framework.name)) *
         std::exp(factors.release_of(run.run->software));
}

std::string cell_of(const TimedRun& run) {
  std::string model = run.plan.model.name;
  // One label for many sizes is no model.
  if (run.run->model_inline) model = fmt::format("{} {}x{}", model, run.plan.model.num_layers(), run.plan.model.hidden);
  return model + " on " + run.run->gpu;
}

std::vector<Seconds> predict_all(std::span<const TimedRun> runs, const DeviceOfRun& device_of,
                                 const TimeFactors& factors) {
  std::vector<const KnownDevice*> devices;
  for (const TimedRun& run : runs) devices.push_back(&device_of(run));
  std::vector<Seconds> out(runs.size());
  parallel_for(std::ssize(runs), [&](std::int64_t number, int) {
    const auto i = static_cast<std::size_t>(number);
    out[i] = predict(runs[i], *devices[i], factors);
  });
  return out;
}

FittedTimes fit_times(std::span<const TimedRun> runs, const DeviceOfRun& device_of) {
  FittedTimes out;
  Fit fit(runs, device_of);
  out.factors = fit.solve();
  std::map<std::string, TimeFactors> folds;
  for (const std::string& cell : fit.cells()) folds.try_emplace(cell);
  std::vector<std::pair<const std::string, TimeFactors>*> order;
  for (auto& fold : folds) order.push_back(&fold);
  parallel_for(std::ssize(order), [&](std::int64_t i, int) {
    auto& [cell, factors] = *order[static_cast<std::size_t>(i)];
    factors = fit.without(cell);
  });
  out.cross_validated.resize(runs.size());
  parallel_for(std::ssize(runs), [&](std::int64_t number, int) {
    const auto i = static_cast<std::size_t>(number);
    out.cross_validated[i] = predict(runs[i], fit.device(i), folds.at(fit.cells()[i]));
  });
  return out;
}

}  // namespace orrery::costmodel
