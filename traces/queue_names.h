// SPDX-License-Identifier: Apache-2.0
// The names of queues in trace/1 and in every output, read and written from this table.
#pragma once

#include "base/enum_names.h"
#include "program/op.h"

namespace orrery {

inline constexpr Named<Queue> kQueueNames[] = {{"compute", Queue::compute},
                                               {"ep", Queue::ep},
                                               {"dp", Queue::dp},
                                               {"edp", Queue::edp},
                                               {"world", Queue::world},
                                               {"pp_send_next", Queue::pp_send_next},
                                               {"pp_recv_prev", Queue::pp_recv_prev},
                                               {"pp_send_prev", Queue::pp_send_prev},
                                               {"pp_recv_next", Queue::pp_recv_next}};

}  // namespace orrery
