#include "server/keys/crypto/hash_pool.h"

#include <argon2.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <limits>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

constexpr size_t kSaltBytes = 16;
constexpr size_t kHashBytes = 32;
const absl::Duration kUsualCost = absl::Milliseconds(25);
constexpr int kFirstInARow = 9;
constexpr int kUnbounded = std::numeric_limits<int>::max();

// libargon2's allocation callbacks carry no user data, so a worker's arena is found by thread.
struct ThreadArena {
  uint8_t* memory = nullptr;
  size_t size = 0;
};
thread_local ThreadArena arena;

int TakeArena(uint8_t** memory, size_t bytes) {
  if (bytes <= arena.size) {
    *memory = arena.memory;
    return ARGON2_OK;
  }
  // A row hashed under a costlier profile than this server's.
  *memory = static_cast<uint8_t*>(std::malloc(bytes));
  return *memory == nullptr ? ARGON2_MEMORY_ALLOCATION_ERROR : ARGON2_OK;
}

void GiveBackArena(uint8_t* memory, size_t) {
  if (memory != arena.memory) std::free(memory);
}

// A server that may not do this still serves, only less smoothly under load.
void LowerPriority(int by) {
  if (by == 0) return;
  const id_t thread = static_cast<id_t>(gettid());
  setpriority(PRIO_PROCESS, thread, getpriority(PRIO_PROCESS, thread) + by);
}

}  // namespace

struct HashPool::Job {
  const PhcHash* parameters;
  const core::Secret* input;
  std::string* output;
  int error = ARGON2_OK;
  bool refused = false;
  bool done = false;
  std::condition_variable finished{};  // Its own: a shared one would wake every waiting thread for every hash.
};

HashPool::Ticket::Ticket(Ticket&& other) noexcept
    : pool_(std::exchange(other.pool_, nullptr)), priority_(other.priority_), share_(std::move(other.share_)) {}
HashPool::Ticket::~Ticket() {
  if (pool_ != nullptr) pool_->Release(*this);
}

HashPool::HashPool(Options options, const base::Clock& clock)
    : options_(std::move(options)),
      clock_(clock),
      queues_{base::FairQueue<Job*>(kUnbounded, kUnbounded), base::FairQueue<Job*>(kUnbounded, kUnbounded)} {
  for (int i = 0; i < std::max(1, options_.workers); ++i) workers_.emplace_back([this] { Work(); });
}

HashPool::~HashPool() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  ready_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

absl::StatusOr<HashPool::Ticket> HashPool::Admit(absl::Duration patience, Priority priority, const std::string& share) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const absl::Duration wait = cost_ * (Ahead(priority, share) / static_cast<double>(workers_.size()));
  // The cost is learnt from hashes alone: one that a stopped process drew out must not keep an idle pool from trying.
  const bool idle = pending_[0].empty() && pending_[1].empty();
  const absl::Duration cost = idle ? std::min(cost_, kUsualCost) : cost_;
  if (wait + cost > patience) return errors::HashPoolFull(std::max(wait, absl::Milliseconds(10)));
  ++pending_[static_cast<size_t>(priority)][share];
  return Ticket(this, priority, share);
}

// The shares take turns: before the n-th of one share each other share has n turns at most.
int HashPool::AheadInLane(Priority priority, const std::string& share) const {
  const auto& lane = pending_[static_cast<size_t>(priority)];
  const auto found = lane.find(share);
  const int own = found == lane.end() ? 0 : found->second;
  int ahead = own;
  for (const auto& [other, count] : lane) {
    if (other != share) ahead += std::min(count, own + 1);
  }
  return ahead;
}

int HashPool::Ahead(Priority priority, const std::string& share) const {
  const auto total = [this](Priority of) {
    int sum = 0;
    for (const auto& [name, count] : pending_[static_cast<size_t>(of)]) sum += count;
    return sum;
  };
  const int own = AheadInLane(priority, share);
  if (priority == Priority::kInteractive) {
    return own + std::min(total(Priority::kBackground), (passed_over_ + own) / kFirstInARow);
  }
  return own + std::min(total(Priority::kInteractive), kFirstInARow * (own + 1) - passed_over_);
}

void HashPool::Release(const Ticket& ticket) {
  const std::lock_guard<std::mutex> lock(mutex_);
  auto& lane = pending_[static_cast<size_t>(ticket.priority_)];
  const auto found = lane.find(ticket.share_);
  if (--found->second == 0) lane.erase(found);
}

size_t HashPool::waiting(Priority priority) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return queues_[static_cast<size_t>(priority)].size();
}

base::FairQueue<HashPool::Job*>& HashPool::NextQueue() {
  auto& [first, slow] = queues_;
  const bool take_slow = first.empty() || (!slow.empty() && passed_over_ >= kFirstInARow);
  if (take_slow) {
    passed_over_ = 0;
  } else if (!slow.empty()) {
    ++passed_over_;
  }
  return take_slow ? slow : first;
}

absl::StatusOr<std::string> HashPool::Hash(const Ticket& ticket, const core::Secret& input) {
  const core::Secret salt = core::Secret::Random(kSaltBytes);
  PhcHash phc{options_.profile.memory_kib, options_.profile.passes, options_.profile.lanes, std::string(salt.Expose()),
              ""};
  absl::StatusOr<std::string> hash = Compute(ticket, phc, kHashBytes, input);
  if (!hash.ok()) return hash.status();
  phc.hash = *std::move(hash);
  return FormatPhc(phc);
}

absl::StatusOr<bool> HashPool::Matches(const Ticket& ticket, const core::Secret& input, const std::string& phc) {
  const std::optional<PhcHash> stored = ParsePhc(phc);
  if (!stored) return errors::Internal("a stored hash is not a PHC string of Argon2id within the caps");
  const absl::StatusOr<std::string> hash = Compute(ticket, *stored, stored->hash.size(), input);
  if (!hash.ok()) return hash.status();
  return core::ConstantTimeEqual(*hash, stored->hash);
}

absl::StatusOr<std::string> HashPool::Compute(const Ticket& ticket, const PhcHash& parameters, size_t hash_size,
                                              const core::Secret& input) {
  std::string output(hash_size, '\0');
  Job job{&parameters, &input, &output};
  std::unique_lock<std::mutex> lock(mutex_);
  if (stopping_) return errors::ShuttingDown();
  // It has a place: the queue is as long as there are tickets.
  static_cast<void>(queues_[static_cast<size_t>(ticket.priority_)].Push(ticket.share_, &job));
  ready_.notify_one();
  job.finished.wait(lock, [&job] { return job.done; });
  if (job.refused) return errors::ShuttingDown();
  if (job.error != ARGON2_OK) return errors::Internal(absl::StrCat("Argon2: ", argon2_error_message(job.error)));
  return output;
}

void HashPool::Work() {
  LowerPriority(options_.nice);
  arena.size = size_t{options_.profile.memory_kib} * 1024;
  arena.memory = static_cast<uint8_t*>(std::aligned_alloc(64, arena.size));
  if (arena.memory == nullptr) arena.size = 0;  // Then every hash allocates: slower, not wrong.
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    const auto idle = [this] { return queues_[0].empty() && queues_[1].empty(); };
    ready_.wait(lock, [&] { return stopping_ || !idle(); });
    if (idle()) break;
    base::FairQueue<Job*>& queue = NextQueue();
    const std::optional<base::FairQueue<Job*>::Popped> next = queue.Pop();
    Job* const job = next->item;
    if (stopping_) {
      job->refused = true;
    } else {
      lock.unlock();
      const std::string_view input = job->input->Expose();
      argon2_context context{};
      context.out = reinterpret_cast<uint8_t*>(job->output->data());
      context.outlen = job->output->size();
      context.pwd = reinterpret_cast<uint8_t*>(const_cast<char*>(input.data()));
      context.pwdlen = input.size();
      context.salt = reinterpret_cast<uint8_t*>(const_cast<char*>(job->parameters->salt.data()));
      context.saltlen = job->parameters->salt.size();
      context.t_cost = job->parameters->passes;
      context.m_cost = job->parameters->memory_kib;
      context.lanes = job->parameters->lanes;
      context.threads = 1;  // The arena belongs to this thread.
      context.allocate_cbk = TakeArena;
      context.free_cbk = GiveBackArena;
      context.version = ARGON2_VERSION_13;
      const base::BootTime began = clock_.BootNow();
      job->error = argon2_ctx(&context, Argon2_id);
      const absl::Duration took = clock_.BootNow() - began;
      lock.lock();
      cost_ = cost_ * 0.8 + took * 0.2;
      ++computed_;
    }
    queue.Done(next->share);
    job->done = true;
    job->finished.notify_one();  // Under the lock: the job is gone as soon as its thread has seen `done`.
  }
  lock.unlock();
  std::free(arena.memory);
  arena = ThreadArena();
}

}  // namespace latchkey::keys
