// SPDX-License-Identifier: Apache-2.0
// The names of queues in trace/1 and in every output, read and written from this table.
#pragma once

#include "base/enum_names.h"
#include "program/op.h"

namespace orrery {

inline constexpr Named<Queue> kQueueNames[] = {{"compute", Queue::compute},
                                               {"copy", Queue::copy},
                                               {"tp", Queue::tp},
                                               {"cp", Queue::cp},
                                               {"ep", Queue::ep},
                                               {"etp", Queue::etp},
                                               {"dp", Queue::dp},
                                               {"edp", Queue::edp},
                                               {"embedding", Queue::embedding},
                                               {"world", Queue::world},
                                               {"pp_send_next", Queue::pp_send_next},
                                               {"pp_recv_prev", Queue::pp_recv_prev},
                                               {"pp_send_prev", Queue::pp_send_prev},
                                               {"pp_recv_next", Queue::pp_recv_next},
                                               {"pp_send_prev_act", Queue::pp_send_prev_act},
                                               {"pp_recv_next_act", Queue::pp_recv_next_act},
                                               {"pp_send_next_grad", Queue::pp_send_next_grad},
                                               {"pp_recv_prev_grad", Queue::pp_recv_prev_grad}};

}  // namespace orrery
