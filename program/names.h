// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "base/enum_names.h"
#include "program/cluster.h"
#include "program/dtype.h"
#include "program/strategy.h"

// The names of choices in strategy/1, cluster/1 and device/1 (docs/formats), read and written from these tables.

namespace orrery {

inline constexpr Named<Schedule> kScheduleNames[] = {
    {"gpipe", Schedule::gpipe},       {"1f1b", Schedule::one_f_one_b},   {"interleaved", Schedule::interleaved},
    {"zb_h1", Schedule::zb_h1},       {"zb_h2", Schedule::zb_h2},        {"zbv", Schedule::zbv},
    {"dualpipe", Schedule::dualpipe}, {"dualpipev", Schedule::dualpipev}};

inline constexpr Named<ContextParallel> kContextParallelNames[] = {{"ring", ContextParallel::ring},
                                                                   {"all_gather", ContextParallel::all_gather},
                                                                   {"ulysses", ContextParallel::ulysses}};

inline constexpr Named<Dispatcher> kDispatcherNames[] = {{"all_to_all", Dispatcher::all_to_all},
                                                         {"all_gather", Dispatcher::all_gather},
                                                         {"two_level", Dispatcher::two_level}};

inline constexpr Named<OptimizerKind> kOptimizerNames[] = {{"adamw", OptimizerKind::adamw},
                                                           {"muon", OptimizerKind::muon}};

inline constexpr Named<Mtp> kMtpNames[] = {{"off", Mtp::off}, {"on", Mtp::on}};

inline constexpr Named<RecomputeModule> kRecomputeModuleNames[] = {{"layernorm", RecomputeModule::layernorm},
                                                                   {"core_attn", RecomputeModule::core_attn},
                                                                   {"mla_up_proj", RecomputeModule::mla_up_proj},
                                                                   {"mlp", RecomputeModule::mlp},
                                                                   {"moe", RecomputeModule::moe},
                                                                   {"moe_act", RecomputeModule::moe_act},
                                                                   {"shared_experts", RecomputeModule::shared_experts},
                                                                   {"full", RecomputeModule::full}};

inline constexpr Named<Fp8Recipe> kFp8RecipeNames[] = {
    {"tensorwise", Fp8Recipe::tensorwise}, {"blockwise", Fp8Recipe::blockwise}, {"mxfp8", Fp8Recipe::mxfp8}};

/// The types that weights, states and messages can have.
inline constexpr Named<DType> kFloatNames[] = {{"f32", DType::f32}, {"bf16", DType::bf16}, {"fp8", DType::fp8}};
/// Those of gradients: whole multiples of a small unit as well, whose sums do not depend on their order.
inline constexpr Named<DType> kGradientNames[] = {
    {"f32", DType::f32}, {"bf16", DType::bf16}, {"fp8", DType::fp8}, {"i64", DType::i64}};

inline constexpr Named<DeviceKind> kDeviceKindNames[] = {
    {"cuda", DeviceKind::cuda}, {"hip", DeviceKind::hip}, {"cpu", DeviceKind::cpu}};

inline constexpr Named<ScaleUpKind> kScaleUpKindNames[] = {{"nvlink", ScaleUpKind::nvlink},
                                                           {"xgmi", ScaleUpKind::xgmi},
                                                           {"pcie", ScaleUpKind::pcie},
                                                           {"shared_memory", ScaleUpKind::shared_memory},
                                                           {"none", ScaleUpKind::none}};

inline constexpr Named<FabricKind> kFabricKindNames[] = {{"rail_leaf_spine", FabricKind::rail_leaf_spine},
                                                         {"fat_tree", FabricKind::fat_tree},
                                                         {"torus", FabricKind::torus},
                                                         {"dragonfly", FabricKind::dragonfly},
                                                         {"none", FabricKind::none}};

inline constexpr Named<GatewayKind> kGatewayKindNames[] = {{"direct", GatewayKind::direct},
                                                           {"host_staged", GatewayKind::host_staged}};

}  // namespace orrery
