// SPDX-License-Identifier: Apache-2.0
// What a published run means to Orrery: its model, strategy and batch, the framework that ran it, and the assumptions
// that were needed where its source is silent. Every scorer of runs/1 starts here, so that memory and time are scored
// on the same reading. A run that we cannot describe is a value with its reason, never dropped.
#pragma once

#include "costmodel/framework.h"
#include "costmodel/validation/run_model.h"
#include "program/legality.h"
#include "program/step_program.h"

#include <functional>
#include <optional>
#include <set>
#include <string>
#include <variant>
#include <vector>

namespace orrery::costmodel {

/// The device of a catalog name, or nothing.
using DeviceLookup = std::function<std::optional<Device>(const std::string& name)>;

struct RunPlan {
  Model model;
  Strategy strategy;
  BatchShape batch;
  std::int64_t num_devices = 1;
  std::string device;  // name in the catalog; empty: we have none
  Framework framework;
  bool framework_is_known = true;        // false: the run's software has no preset, and this one stands in for it
  bool casts_inside_products = false;    // to fp8; what is saved stays bf16
  bool multiplies_fp4 = false;           // which no strategy says; its tensors are taken to be fp8
  bool attends_in_fp8 = false;           // operands of attention are cast, as those of products are
  bool fp8_head = false;                 // operands of the head's products too, which else stay in bf16
  bool sorts_in_exchanges = false;       // rows by expert, in the library that sends them, beside compute
  bool trains_adapters = false;          // LoRA: the model's own weights are frozen
  bool recompute_is_stated = false;      // by the source, or by its framework's default
  std::vector<std::string> assumptions;  // each once, in words
};

/// Requires: `run` is of `file`.
std::variant<RunPlan, NotModelled> plan_of(const RunsFile& file, const PublishedRun& run);

/// Why a plan that breaks a rule is not modelled. Equal reasons have equal texts: of what is not lowered, the words
/// that name it; of other rules, the key without its indices and what was expected.
std::string reason_of(const Violation& violation);

/// Name in catalog/devices of a device as runs/1 spells it; empty: there is none.
std::string catalog_device(const std::string& gpu);

/// Layers dealt by the cumulative cost of blocks, 4 h^2 + 3 h f for a layer and V h for the head: a stage ends with the
/// block that reaches its share. Stages may be empty, and the head may stand alone; it stands on the last stage, where
/// nanotron puts it on the first that is not full when stages behind it stay empty.
/// Source: nanotron models/base.py build_model and models/llama.py get_block_compute_costs.
std::vector<StageLayout> stages_by_cost(const Model& model, std::int64_t num_stages);

/// The strategy with the choices that move time but no tensors set to the plain ones: overlap, dispatcher, CUDA graphs.
/// For memory; what CUDA graphs and a dispatcher's buffers take is not modelled.
Strategy without_timing_choices(Strategy strategy);

}  // namespace orrery::costmodel
