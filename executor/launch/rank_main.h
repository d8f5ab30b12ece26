// SPDX-License-Identifier: Apache-2.0
// The other side of the launcher: what the main of a rank does first and last. It ties the life of the process to its
// launcher, finds its seat in the segment, runs the body, and turns every exception into a message for the launcher.
#pragma once

#include "executor/comm/endpoint.h"
#include "executor/comm/peers.h"

#include <functional>
#include <memory>
#include <string_view>

namespace orrery::executor {

/// A rank that was started by `launch`.
class RankProcess {
 public:
  RankProcess(std::unique_ptr<Endpoint> endpoint, int threads, int result_descriptor);

  int rank() const { return endpoint_->rank(); }
  int size() const { return endpoint_->size(); }
  int threads() const { return threads_; }  ///< for this rank's kernels; OMP_NUM_THREADS says the same
  Endpoint& endpoint() { return *endpoint_; }

  /// Appends to what the launcher returns for this rank; may be called often.
  /// Throws: BackendError, when the launcher does not take it.
  void send_result(std::string_view bytes);

 private:
  std::unique_ptr<Endpoint> endpoint_;
  int threads_;
  int result_descriptor_;
};

/// Call it first in main, before any thread and any GEMM. Returns the exit status: 0, or what the exception of `body`
/// stands for (2 the user's input, 4 the system or a peer, 1 our bug), after all ranks have been told to stop.
/// `over_mpi` makes the peers of a rank whose launcher wants MPI; it comes from outside, since a library that knows MPI
/// cannot be linked into `orrery` (docs/design/layers.md).
int run_rank(const std::function<void(RankProcess&)>& body, const MakePeers& over_mpi = {});

}  // namespace orrery::executor
