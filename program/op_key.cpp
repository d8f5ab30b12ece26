// SPDX-License-Identifier: Apache-2.0
#include "program/op_key.h"

#include "base/check.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

namespace orrery {
namespace {

constexpr std::array<std::string_view, 6> kPassNames = {"fwd", "rec", "igrad", "wgrad", "sync", "update"};

constexpr std::array<std::string_view, kNumOpCodes> kOpNames = {
    "embed.lookup",     "attn.norm",     "attn.qkv",      "attn.q_down",   "attn.q_norm",
    "attn.q_up",        "attn.kv_down",  "attn.kv_norm",  "attn.kv_up",    "attn.qk_norm",
    "attn.rope",        "attn.core",     "attn.out",      "attn.residual", "mlp.norm",
    "mlp.fc1",          "mlp.act",       "mlp.fc2",       "mlp.residual",  "moe.norm",
    "moe.router",       "moe.permute",   "moe.dispatch",  "moe.fc1",       "moe.act",
    "moe.fc2",          "moe.combine",   "moe.unpermute", "shared.fc1",    "shared.act",
    "shared.fc2",       "shared.gate",   "moe.residual",  "head.norm",     "head.logits",
    "head.loss",        "pp.send_act",   "pp.recv_act",   "pp.send_grad",  "pp.recv_grad",
    "dp.grad_rs",       "dp.grad_ar",    "edp.grad_rs",   "edp.grad_ar",   "moe.bias_counts",
    "norm.local",       "norm.reduce",   "adamw.dense",   "adamw.expert",  "moe.bias",
    "dp.param_ag",      "edp.param_ag",  "tp.embed",      "tp.attn_in",    "tp.q_latent",
    "tp.kv_latent",     "tp.k_rope",     "tp.attn_out",   "tp.mlp_in",     "tp.mlp_out",
    "tp.shared_in",     "tp.shared_out", "tp.head_in",    "tp.loss_max",   "tp.loss_sum",
    "tp.grad_ar",       "cp.kv",         "cp.dkv",        "cp.in",         "cp.out",
    "etp.gather",       "etp.scatter",   "attn.quant",    "head.max",      "mtp.embed",
    "mtp.norm",         "mtp.proj",      "embed.grad_ar", "dp.replica_ar", "edp.replica_ar",
    "dp.grad_cast",     "edp.grad_cast", "muon.dense",    "muon.expert",   "opt.load",
    "opt.store",        "act.load",      "act.store",     "mlp.act_quant", "moe.act_quant",
    "shared.act_quant",
};

/// The parts of a key's text between slashes, read from the front.
class Parts {
 public:
  explicit Parts(std::string_view text) : rest_(text) {}

  /// The next part, or empty text at the end.
  std::string_view peek() const { return rest_.substr(0, rest_.find('/')); }
  std::string_view next() {
    const std::string_view part = peek();
    rest_.remove_prefix(std::min(rest_.size(), part.size() + 1));
    return part;
  }
  bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

/// The number behind `prefix` in `part`: "mb12" is 12 behind "mb".
template <class Int>
std::optional<Int> number_behind(std::string_view prefix, std::string_view part) {
  if (!part.starts_with(prefix)) return std::nullopt;
  part.remove_prefix(prefix.size());
  Int value = 0;
  const auto [end, error] = std::from_chars(part.data(), part.data() + part.size(), value);
  if (error != std::errc() || end != part.data() + part.size() || value < 0) return std::nullopt;
  return value;
}

std::optional<Pass> pass_of(std::string_view name) {
  const auto* found = std::find(kPassNames.begin(), kPassNames.end(), name);
  if (found == kPassNames.end()) return std::nullopt;
  return static_cast<Pass>(found - kPassNames.begin());
}

/// Sets op and bucket from "dp.grad_rs.b3".
bool read_op(std::string_view text, OpKey& key) {
  std::optional<OpCode> code = op_code_of(text);
  if (!code) {
    const std::size_t dot = text.rfind('.');
    if (dot == std::string_view::npos) return false;
    const auto bucket = number_behind<std::int16_t>("b", text.substr(dot + 1));
    code = op_code_of(text.substr(0, dot));
    if (!bucket || !code) return false;
    key.bucket = *bucket;
  }
  key.op = *code;
  return true;
}

}  // namespace

std::string_view name_of(Pass pass) { return kPassNames.at(static_cast<std::size_t>(pass)); }

std::string_view name_of(OpCode op) { return kOpNames.at(static_cast<std::size_t>(op)); }

namespace {

constexpr bool names_communication(OpCode op) {
  constexpr OpCode kOthers[] = {OpCode::moe_dispatch, OpCode::moe_combine, OpCode::moe_bias_counts, OpCode::norm_reduce,
                                OpCode::embed_grad_ar};
  if (op == OpCode::dp_grad_cast || op == OpCode::edp_grad_cast) return false;
  if (std::find(std::begin(kOthers), std::end(kOthers), op) != std::end(kOthers)) return true;
  // All else has the name of the group that talks.
  constexpr std::string_view kGroups[] = {"dp.", "edp.", "pp.", "tp.", "cp.", "etp."};
  return std::any_of(
      std::begin(kGroups), std::end(kGroups),
      [name = kOpNames[static_cast<std::size_t>(op)]](std::string_view group) { return name.starts_with(group); });
}

constexpr std::array<bool, kNumOpCodes> kCommunicates = [] {
  std::array<bool, kNumOpCodes> communicates{};
  for (int op = 0; op < kNumOpCodes; ++op) {
    communicates[static_cast<std::size_t>(op)] = names_communication(static_cast<OpCode>(op));
  }
  return communicates;
}();

}  // namespace

bool is_communication(OpCode op) { return kCommunicates[static_cast<std::size_t>(op)]; }

std::optional<OpCode> op_code_of(std::string_view name) {
  const auto* found = std::find(kOpNames.begin(), kOpNames.end(), name);
  if (found == kOpNames.end()) return std::nullopt;
  return static_cast<OpCode>(found - kOpNames.begin());
}

std::string to_string(const OpKey& key) {
  fmt::memory_buffer out;
  auto to = std::back_inserter(out);
  fmt::format_to(to, "step");
  if (key.micro_batch >= 0) fmt::format_to(to, "/mb{}", key.micro_batch);
  fmt::format_to(to, "/stage{}", key.stage);
  if (key.layer >= 0) fmt::format_to(to, "/layer{}", key.layer);
  if (key.layer == OpKey::kEmbed) fmt::format_to(to, "/embed");
  if (key.layer == OpKey::kHead) fmt::format_to(to, "/head");
  fmt::format_to(to, "/{}/{}", name_of(key.pass), name_of(key.op));
  if (key.bucket >= 0) fmt::format_to(to, ".b{}", key.bucket);
  return fmt::to_string(out);
}

std::optional<OpKey> parse_op_key(std::string_view text) {
  OpKey key;
  Parts parts(text);
  if (parts.next() != "step") return std::nullopt;
  if (const auto micro_batch = number_behind<std::int32_t>("mb", parts.peek())) {
    key.micro_batch = *micro_batch;
    parts.next();
  }
  const auto stage = number_behind<std::int16_t>("stage", parts.next());
  if (!stage) return std::nullopt;
  key.stage = *stage;
  if (const auto layer = number_behind<std::int16_t>("layer", parts.peek())) {
    key.layer = *layer;
    parts.next();
  } else if (parts.peek() == "embed" || parts.peek() == "head") {
    key.layer = parts.next() == "embed" ? OpKey::kEmbed : OpKey::kHead;
  }
  const auto pass = pass_of(parts.next());
  if (!pass || !read_op(parts.next(), key) || !parts.at_end()) return std::nullopt;
  key.pass = *pass;
  return key;
}

}  // namespace orrery
