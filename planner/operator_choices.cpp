// SPDX-License-Identifier: Apache-2.0
#include "planner/operator_choices.h"

#include "planner/on_demand.h"
#include "program/legality.h"

#include <numeric>

namespace orrery::planner {
namespace {

/// Whether the rules allow these operators on the smallest world that has them.
bool is_legal(const Model& model, const Strategy& s, std::int64_t seq) {
  const std::int64_t attention = s.tp * s.cp, world = std::lcm(attention, s.etp * s.ep);
  return violations(model, s, {.seq = seq, .global_batch = world / attention * s.micro_batch}, world).empty();
}

class Enumeration {
 public:
  Enumeration(const Model& model, const Domains& domains, const BatchShape& batch, std::int64_t num_devices)
      : model_(model), d_(domains), batch_(batch), num_devices_(num_devices) {}

  OperatorChoices run() {
    for (Strategy& base : bases_of(d_)) {
      s_ = std::move(base);
      begin();
      degrees();
    }
    return std::move(out_);
  }

 private:
  void begin() {
    s_.stages = even_stages(model_.num_layers(), 1);
    if (s_.mtp == Mtp::on) s_.stages = with_mtp(std::move(s_.stages), model_.num_mtp_modules);
    s_.schedule = Schedule::one_f_one_b;
    s_.overlap = {};
    s_.pp = s_.vpp = 1;
    s_.zero_dense = s_.zero_expert = 0;
    s_.offload_optimizer = s_.offload_activations = s_.cuda_graphs = false;
    s_.num_optimizer_instances = 1;
  }

  void degrees() {
    for (s_.tp = 1; const std::int64_t tp : d_.tp) {
      s_.tp = tp;
      s_.sp = tp > 1;
      for (const std::int64_t cp : d_.cp) {
        s_.cp = cp;
        if (num_devices_ % (tp * cp) != 0) continue;
        for (const ContextParallel kind : d_.cp_kind) {
          if (cp == 1 && kind != d_.cp_kind.front()) continue;
          s_.cp_kind = kind;
          s_.ep = s_.etp = s_.micro_batch = 1;
          s_.dispatcher = Dispatcher::all_to_all;
          if (is_legal(model_, s_, batch_.seq))
            experts();
          else
            ++out_.num_illegal;
        }
      }
    }
  }

  void experts() {
    for (const std::int64_t ep : d_.ep) {
      for (const std::int64_t etp : d_.etp) {
        if (num_devices_ % (ep * etp) != 0) continue;
        for (const Dispatcher dispatcher : d_.dispatcher) {
          if (ep == 1 && dispatcher != d_.dispatcher.front()) continue;
          s_.ep = ep;
          s_.etp = etp;
          s_.dispatcher = ep == 1 ? Dispatcher::all_to_all : dispatcher;
          s_.micro_batch = 1;
          if (!is_legal(model_, s_, batch_.seq)) {
            ++out_.num_illegal;
            continue;
          }
          for (const std::int64_t micro_batch : d_.micro_batch) {
            s_.micro_batch = micro_batch;
            out_.legal.push_back(s_);
          }
        }
      }
    }
  }

  const Model& model_;
  const Domains& d_;
  const BatchShape& batch_;
  const std::int64_t num_devices_;
  Strategy s_;
  OperatorChoices out_;
};

}  // namespace

OperatorChoices operator_choices(const Model& model, const Domains& domains, const BatchShape& batch,
                                 std::int64_t num_devices) {
  return Enumeration(model, domains, batch, num_devices).run();
}

}  // namespace orrery::planner
