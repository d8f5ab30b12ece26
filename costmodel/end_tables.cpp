// SPDX-License-Identifier: Apache-2.0
#include "costmodel/tensor_table.h"

#include <algorithm>

namespace orrery::costmodel {
namespace {

using R = TensorRole;

constexpr double kId = 8.0, kFloat = 4.0;

}  // namespace

TensorTable embedding_table(const TableSizes& s) {
  TensorTable t;
  const double full = s.plain(s.tokens, s.model.hidden);
  if (s.sequence_parallel()) {
    t.forward({}, {{R::tokens, kId * s.tokens}, {R::embed_part, full}});
    t.forward({R::embed_part}, {{R::x, s.stream()}});
    t.gather_again({R::d_x}, {{R::d_embed, full}});
    t.weight_grad({R::tokens, R::d_embed});
    return t;
  }
  t.forward({}, {{R::tokens, kId * s.tokens}, {R::x, s.stream()}});
  t.weight_grad({R::tokens, R::d_x});
  return t;
}

namespace {

/// Bytes of the loss for each logit. Ours: logits in the type of the weights, whose place their gradient takes later,
/// and the softmax in f32, which waits for the backward. A framework that turns logits into gradients in place keeps
/// one tensor from the forward to the weight gradient.
struct LossBytes {
  double logits = 0.0, softmax = kFloat;
  bool in_place = false;

  explicit LossBytes(const TableSizes& s) {
    const double all = s.parameters.framework.logits_bytes;
    const bool is_ours = all == Framework{}.logits_bytes;
    logits = is_ours ? s.element : std::max(0.0, all - softmax);
    softmax = std::min(softmax, all);
    in_place = !is_ours && logits == 0.0;
  }
};

}  // namespace

TensorTable head_table(const TableSizes& s, bool adds) {
  TensorTable t;
  const double vocab = s.tokens * static_cast<double>(s.model.vocab / s.tp);
  const double hidden = s.plain(s.tokens, s.model.hidden), ids = kId * s.tokens;
  const LossBytes loss(s);
  const bool sp = s.sequence_parallel();
  const Made logits(R::logits, loss.logits * vocab), d_logits(R::d_logits, loss.logits * vocab);
  const Made softmax(R::softmax, loss.softmax * vocab);
  t.forward({R::x}, {{R::head_norm, s.stream()}});
  for (int slice = 0; slice < s.slices(); ++slice) {
    if (sp) t.forward({R::head_norm}, {{R::head_full, hidden / s.slices()}});
    const R in = sp ? R::head_full : R::head_norm;
    slice == 0 ? t.forward({in}, {logits}) : t.forward({in, R::logits}, {});
  }
  if (s.tp > 1) {
    t.forward({R::logits}, {{R::logits_max, kFloat * s.tokens}});
    t.forward({R::logits_max}, {});  // its greatest over the group
    t.forward({R::logits, R::logits_max}, {{R::labels, ids}, softmax});
    t.forward({R::softmax}, {});  // its sums
  } else {
    t.forward({R::logits}, {{R::labels, ids}, softmax});
  }

  t.input_grad({R::softmax, R::labels}, {d_logits});
  if (sp) t.gather_again({R::head_norm}, {{R::head_full, hidden}});
  for (int slice = 0; sp && slice < s.slices(); ++slice) {
    t.input_grad({R::d_logits}, {{R::d_head_part, hidden / s.slices()}});
    slice == 0 ? t.input_grad({R::d_head_part}, {{R::d_head_norm, s.stream()}})
               : t.input_grad({R::d_head_part, R::d_head_norm}, {});
  }
  if (!sp) {
    t.input_grad({R::d_logits}, {{R::d_head_norm, s.stream()}});
    if (s.tp > 1) t.input_grad({R::d_head_norm}, {});
  }
  const R in = sp ? R::head_full : R::head_norm;
  if (s.parameters.framework.head_wgrad_is_buffer) {
    // Its partial sums are still under way.
    const double weight = s.element * static_cast<double>(s.model.vocab / s.tp * s.model.hidden);
    sp ? t.weight_grad({in, R::d_logits, R::softmax, R::d_head_part}, {{R::wire_grads, weight}})
       : t.weight_grad({in, R::d_logits, R::softmax}, {{R::wire_grads, weight}});
  } else {
    loss.in_place ? t.weight_grad({in, R::d_logits, R::softmax}) : t.weight_grad({in, R::d_logits});
  }
  adds ? t.input_grad({R::x, R::d_head_norm, R::d_x}, {})
       : t.input_grad({R::x, R::d_head_norm}, {{R::d_x, s.stream()}});
  return t;
}

TensorTable mtp_table(const TableSizes& s, bool adds) {
  TensorTable t;
  const double full = s.plain(s.tokens, s.model.hidden), pair = s.plain(s.stream_tokens, 2 * s.model.hidden);
  const At hidden(R::x, -1), d_hidden(R::d_x, -1);
  if (s.sequence_parallel()) {
    t.forward({}, {{R::mtp_tokens, kId * s.tokens}, {R::mtp_part, full}});
    t.forward({R::mtp_part}, {{R::mtp_embed, s.stream()}});
  } else {
    t.forward({}, {{R::mtp_tokens, kId * s.tokens}, {R::mtp_embed, s.stream()}});
  }
  t.forward({hidden, R::mtp_embed}, {{R::mtp_pair, s.operand(s.stream_tokens, 2 * s.model.hidden)}});
  t.forward({R::mtp_pair}, {{R::x, s.stream()}});

  t.input_grad({R::d_x}, {{R::d_mtp_pair, pair}});
  t.weight_grad({R::mtp_pair, R::d_x});
  adds ? t.input_grad({hidden, R::mtp_embed, R::d_mtp_pair, d_hidden}, {{R::d_mtp_embed, s.stream()}})
       : t.input_grad({hidden, R::mtp_embed, R::d_mtp_pair}, {{d_hidden, s.stream()}, {R::d_mtp_embed, s.stream()}});
  if (s.sequence_parallel()) {
    t.gather_again({R::d_mtp_embed}, {{R::d_embed, full}});
    t.weight_grad({R::mtp_tokens, R::d_embed});
  } else {
    t.weight_grad({R::mtp_tokens, R::d_mtp_embed});
  }
  return t;
}

}  // namespace orrery::costmodel
