// SPDX-License-Identifier: Apache-2.0
// The facts about a model, a plan and a step that several verbs print, each in one place.
#pragma once

#include "cli/report.h"
#include "costmodel/calibration.h"
#include "costmodel/power.h"
#include "program/plan.h"
#include "traces/activities.h"
#include "traces/summary.h"
#include "traces/trace.h"

#include <string>
#include <vector>

namespace orrery::cli {

/// Parameters, total and active by every convention, and the note about modules that are left out.
void add_model(Report& report, const Model& model, Mtp mtp = Mtp::off);

/// What is left out of the model: a note in every output. Nothing is, with `mtp` on.
void add_model_notes(Report& report, const Model& model, Mtp mtp = Mtp::off);

/// Degrees and choices of a strategy; tp, cp, etp and stages of a rank only where they are not 1.
void add_strategy(Report& report, const Plan& plan);

/// Sequences per step, devices, layout.
void add_workload(Report& report, const Plan& plan);

/// Step time and what follows from it: tokens per second, MFU in both conventions.
void add_step_time(Report& report, const Plan& plan, Seconds step_time);

/// What a trace says about its step: time, rates, utilisation, energy, extrapolated ops, notes.
void add_trace(Report& report, const Plan& plan, const Trace& trace);

/// The same of a predicted trace, of which `work` has seen all spans: with the 80 % interval of its time, and energy,
/// price and carbon by the power of `calibration`.
void add_prediction(Report& report, const Plan& plan, const Trace& record, const ActivityCount& work,
                    const costmodel::Calibration& calibration);

/// Of a trace that holds its spans.
void add_prediction(Report& report, const Plan& plan, const Trace& trace, const costmodel::Calibration& calibration);

/// Energy, price and carbon of a step, and of its tokens; what is not known is said.
void add_cost(Report& report, const Plan& plan, const costmodel::StepCost& cost);

/// Peak memory of the fullest rank beside what the device has.
void add_memory(Report& report, Bytes peak, const Device& device);

/// Energy of a step; without one "no counter" where it could have been measured.
Value energy_of(const TraceSummary& summary);

/// "extrapolated: the times of ... lie outside what was measured".
void note_extrapolated(Report& report, const std::vector<std::string>& ops);

}  // namespace orrery::cli
