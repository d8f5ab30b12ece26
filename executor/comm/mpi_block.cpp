// SPDX-License-Identifier: Apache-2.0
#include "executor/comm/mpi_block.h"

#include "base/check.h"
#include "base/errors.h"

#include <utility>
#include <vector>

#include <fmt/format.h>
#include <mpi.h>

namespace orrery::executor {
namespace {

constexpr int kTagOfWorlds = 0;  // of MPI's own way to make one

}  // namespace

struct MpiWorld::State {
  MPI_Comm ranks = MPI_COMM_NULL;
  bool has_started_mpi = false;
};

struct MpiBlock::State {
  MPI_Comm ranks;
  std::unique_ptr<std::byte[]> room;
  std::size_t num_bytes;
  MPI_Request request = MPI_REQUEST_NULL;
  bool receives = false;
  std::size_t num_received = 0;
  bool has_failed = false;

  /// Takes what a call has said.
  void take(int error) {
    if (error == MPI_SUCCESS) return;
    has_failed = true;
    request = MPI_REQUEST_NULL;
  }

  /// Whether MPI needs the room no more.
  bool is_over() {
    if (request == MPI_REQUEST_NULL) return true;
    int done = 0;
    MPI_Status status;
    take(MPI_Test(&request, &done, &status));
    if (done != 0 && receives && !has_failed) {
      int count = 0;
      MPI_Get_count(&status, MPI_BYTE, &count);
      num_received = static_cast<std::size_t>(count);
    }
    return request == MPI_REQUEST_NULL;
  }
};

MpiWorld::MpiWorld(int rank, int num_ranks) : state_(std::make_unique<State>()) {
  int is_started = 0;
  MPI_Initialized(&is_started);
  if (is_started == 0) {
    int level = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &level);  // kernels have threads, which never call MPI
    state_->has_started_mpi = true;
  }
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);  // and of all that is made of it
  int mpi_rank = 0, mpi_size = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &mpi_rank);
  MPI_Comm_size(MPI_COMM_WORLD, &mpi_size);
  if (mpi_rank != rank || mpi_size < num_ranks)
    throw BackendError(fmt::format("MPI knows this process as {} of {}, the job as rank {} of {}", mpi_rank, mpi_size,
                                   rank, num_ranks));
  MPI_Group everyone = MPI_GROUP_NULL, group = MPI_GROUP_NULL;
  MPI_Comm_group(MPI_COMM_WORLD, &everyone);
  int first_to_last[1][3] = {{0, num_ranks - 1, 1}};
  MPI_Group_range_incl(everyone, 1, first_to_last, &group);
  const int error = MPI_Comm_create_group(MPI_COMM_WORLD, group, kTagOfWorlds, &state_->ranks);
  MPI_Group_free(&group);
  MPI_Group_free(&everyone);
  if (error != MPI_SUCCESS) throw BackendError(fmt::format("MPI cannot make a world of {} ranks", num_ranks));
}

MpiWorld::~MpiWorld() = default;

void MpiWorld::finish() {
  if (std::exchange(state_->has_started_mpi, false)) MPI_Finalize();
}

MpiBlock::MpiBlock(const MpiWorld& world, std::size_t num_bytes)
    : state_(new State{.ranks = world.state_->ranks,
                       .room = std::make_unique_for_overwrite<std::byte[]>(num_bytes),
                       .num_bytes = num_bytes}) {}

MpiBlock::MpiBlock(MpiBlock&&) noexcept = default;
MpiBlock& MpiBlock::operator=(MpiBlock&& other) noexcept {
  std::swap(state_, other.state_);  // the other one's end sees to what was here
  return *this;
}

MpiBlock::~MpiBlock() {
  if (!state_ || state_->is_over()) return;
  if (state_->receives) MPI_Cancel(&state_->request);  // of a send, Open MPI cannot
  if (state_->is_over()) return;
  [[maybe_unused]] const State* kept_for_mpi = state_.release();
}

std::span<std::byte> MpiBlock::room() { return {state_->room.get(), state_->num_bytes}; }

void MpiBlock::send(std::size_t num_bytes, int peer, int tag) {
  CHECK(num_bytes <= state_->num_bytes && state_->request == MPI_REQUEST_NULL, num_bytes, state_->num_bytes);
  state_->receives = false;
  state_->take(
      MPI_Isend(state_->room.get(), static_cast<int>(num_bytes), MPI_BYTE, peer, tag, state_->ranks, &state_->request));
}

void MpiBlock::receive(int peer, int tag) {
  CHECK(state_->request == MPI_REQUEST_NULL, peer, tag);
  state_->receives = true;
  state_->take(MPI_Irecv(state_->room.get(), static_cast<int>(state_->num_bytes), MPI_BYTE, peer, tag, state_->ranks,
                         &state_->request));
}

bool MpiBlock::is_under_way() { return !state_->is_over(); }
std::size_t MpiBlock::num_received() const { return state_->num_received; }
bool MpiBlock::has_failed() const { return state_->has_failed; }

}  // namespace orrery::executor
