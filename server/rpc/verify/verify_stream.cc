#include "server/rpc/verify/verify_stream.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/verify/verdicts.h"
#include "server/rpc/verify/verify_requests.h"

namespace latchkey::rpc {
namespace {

constexpr Method kStreamVerify = {"latchkey.v1.KeyVerify/StreamVerify", keys::kVerify, false};
constexpr size_t kMaxUnsentAnswers = 64;
// Items of one stream that are looked for at a time. Above it they are refused one by one instead of no longer reading:
// a burst of keys that need an Argon2 must not delay those that need none.
constexpr size_t kMaxSought = 1024;
constexpr size_t kKeptAnswers = 2;  // Written messages that are kept to be used again.
constexpr absl::Duration kCallerPatience = absl::Seconds(2);
constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(250);
constexpr absl::Duration kLimitRetryAfter = absl::Seconds(1);
constexpr auto kSweepEvery = std::chrono::seconds(1);
constexpr absl::Duration kLongestWrite = absl::Seconds(30);

// A batch with items that memory could not answer.
struct Batch;

// A message on its way out. Its elements are overwritten and not cleared, because clearing would free what the next
// answer needs again.
struct Outgoing {
  v1::StreamVerifyResponse message;
  int used = 0;                  // Elements that belong to this answer.
  std::shared_ptr<Batch> batch;  // Whose later items may still join it; nullptr = none.

  v1::VerifyResult* Add(uint32_t index) {
    v1::StreamVerifyResponse::IndexedResult* const next =
        used < message.results_size() ? message.mutable_results(used) : message.add_results();
    ++used;
    next->set_index(index);
    return next->mutable_result();
  }
  void Trim() {
    while (message.results_size() > used) message.mutable_results()->RemoveLast();
  }
};

struct Batch {
  uint64_t id = 0;
  size_t open = 0;                         // Items without an answer.
  std::deque<v1::VerifyRequest> requests;  // Those items; they must not move.
  Outgoing* unsent = nullptr;              // The answer that is queued and can take more.
};

}  // namespace

// Lives until OnDone, and until the last search that it began is over. It finishes only when none of its own callbacks
// and searches is under way, so that nothing of the service is used after the server has stopped.
class VerifyStreams::Stream final : public Reactor, public std::enable_shared_from_this<Stream> {
 public:
  Stream(VerifyStreams& streams, grpc::CallbackServerContext& context)
      : streams_(streams),
        context_(context),
        caller_(context, kStreamVerify, streams.dependencies_.verifier, streams.dependencies_.security_log) {}

  // `refused`: why it may not even begin.
  void Begin(const absl::Status& refused) {
    self_ = shared_from_this();
    if (!refused.ok()) {
      End(refused, /*drop=*/true);
      return;
    }
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (end_.has_value()) return;
      ++under_way_;
    }
    JudgeCaller([this](const absl::Status& known) {
      const absl::Status admitted = known.ok() ? AcquirePlace() : known;
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!admitted.ok()) EndLocked(admitted, /*drop=*/true);
      LeaveLocked(/*read=*/true);
    });
  }

  void Drain() { End(errors::ShuttingDown(), /*drop=*/false); }

  void OnReadDone(bool ok) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!ok && !context_.IsCancelled()) EndLocked(absl::OkStatus(), /*drop=*/false);
      if (!ok && context_.IsCancelled()) EndLocked(absl::CancelledError("cancelled"), /*drop=*/true);
      if (end_.has_value()) {
        MaybeFinishLocked();
        return;
      }
      ++under_way_;
      taking_ = true;
    }
    JudgeCaller([this](const absl::Status& known) { Judge(known); });
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (kept_.size() < kKeptAnswers) kept_.push_back(std::move(writing_));
    writing_.reset();
    if (!ok) EndLocked(absl::CancelledError("cancelled"), /*drop=*/true);
    WriteLocked();
    ReadLocked();
    MaybeFinishLocked();
  }

  void OnCancel() override { End(absl::CancelledError("cancelled"), /*drop=*/true); }

  void OnDone() override {
    if (!place_of_.empty()) streams_.places_.Release(place_of_);
    {
      const std::lock_guard<std::mutex> lock(streams_.mutex_);
      streams_.open_.erase(this);
    }
    const std::shared_ptr<Stream> last = std::move(self_);
  }

  // Called each second.
  void Sweep(base::BootTime now) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (finished_) return;
    // A client that does not read would keep the write, and so the stream, for ever. Whoever is refused keeps it no
    // longer than to the next sweep.
    if (writing_ != nullptr && (refused_at_last_sweep_ || now - write_began_ > kLongestWrite)) {
      EndLocked(absl::CancelledError("the client does not read"), /*drop=*/true);
      context_.TryCancel();
      return;
    }
    if (!drop_ && !taking_) {
      const std::optional<absl::Status> known = caller_.FromMemory(/*counted=*/false);
      if (known.has_value() && Caller::IsRefusal(*known)) EndLocked(*known, /*drop=*/true);
    }
    refused_at_last_sweep_ = drop_;
    MaybeFinishLocked();
  }

 private:
  // Of the caller, who is known by now.
  absl::Status AcquirePlace() {
    const std::string& kid = caller_.principal().kid;
    if (!streams_.places_.Acquire(kid)) return errors::WorkersBusy(kLimitRetryAfter);
    place_of_ = kid;
    return absl::OkStatus();
  }

  // The caller's key as it is now: it may have been revoked since the last message.
  template <typename Then>
  void JudgeCaller(Then then) {
    caller_.Judge(kCallerPatience, shared_from_this(), std::move(then));
  }

  // Answers the batch in request_. A caller who can't be judged is no bad caller: its items are told why instead.
  void Judge(const absl::Status& known) {
    const absl::StatusOr<absl::Duration> timeout = BatchTimeoutOf(request_);
    absl::Status refused = Caller::IsRefusal(known) ? known : timeout.status();
    const uint64_t id = request_.batch_id();
    std::unique_ptr<Outgoing> out;
    size_t room = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (refused.ok() && batches_.contains(id)) {
        refused = errors::FieldInvalid("batch_id", "a number that no batch in flight on this stream has");
      }
      if (!refused.ok()) {
        EndLocked(refused, /*drop=*/true);
        LeaveLocked(/*read=*/false);
        return;
      }
      out = NewAnswerLocked(id);
      room = kMaxSought - sought_;
    }
    std::shared_ptr<Batch> batch;
    std::vector<keys::AsyncVerifier::PendingItem> open;
    const std::string& organization = caller_.principal().organization;
    for (int i = 0; i < request_.requests_size(); ++i) {
      const auto index = static_cast<uint32_t>(i);
      if (!known.ok()) {
        AppendResult(*out, index, known);
        continue;
      }
      v1::VerifyRequest& item = *request_.mutable_requests(i);
      if (absl::Status wrong = ReadVerifyQuery(item, i, query_); !wrong.ok()) {
        AppendResult(*out, index, wrong);
      } else if (const std::optional<keys::AsyncVerifier::Answer> answer =
                     streams_.dependencies_.async_verifier.FromMemory(query_, organization)) {
        AppendResult(*out, index, *answer);
      } else if (open.size() >= room) {
        AppendResult(*out, index, errors::WorkersBusy(kBusyRetryAfter));
      } else {
        if (batch == nullptr) batch = std::make_shared<Batch>();
        Enqueue(batch, item, index, open);
      }
    }
    const size_t count = open.size();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (batch != nullptr) {
        batch->id = id;
        batch->open = count;
        batches_.emplace(id, batch);
        sought_ += count;
        under_way_ += count;
      }
      if (out->used > 0) SendLocked(std::move(out));
    }
    if (count > 0)
      streams_.dependencies_.async_verifier.VerifyAsync(std::move(open), organization, caller_.address(), *timeout);
    const std::lock_guard<std::mutex> lock(mutex_);
    LeaveLocked(/*read=*/true);
  }

  // Moves `item` out of the message, which is read into again, and adds it to what is looked for.
  void Enqueue(const std::shared_ptr<Batch>& batch, v1::VerifyRequest& item, uint32_t index,
               std::vector<keys::AsyncVerifier::PendingItem>& open) {
    v1::VerifyRequest& kept = batch->requests.emplace_back();
    kept.Swap(&item);
    keys::AsyncVerifier::PendingItem& asked = open.emplace_back();
    // It was fine a moment ago; only its views change.
    static_cast<void>(ReadVerifyQuery(kept, static_cast<int>(index), asked.query));
    asked.done = [self = shared_from_this(), batch, index](const keys::AsyncVerifier::Answer& answer) {
      self->OnDecided(batch, index, answer);
    };
  }

  void OnDecided(const std::shared_ptr<Batch>& batch, uint32_t index, const keys::AsyncVerifier::Answer& answer) {
    const std::lock_guard<std::mutex> lock(mutex_);
    --sought_;
    if (--batch->open == 0) batches_.erase(batch->id);
    if (!drop_) {
      if (batch->unsent != nullptr) {
        AppendResult(*batch->unsent, index, answer);
      } else {
        std::unique_ptr<Outgoing> out = NewAnswerLocked(batch->id);
        AppendResult(*out, index, answer);
        out->batch = batch;
        batch->unsent = out.get();
        SendLocked(std::move(out));
      }
    }
    LeaveLocked(/*read=*/false);
  }

  void AppendResult(Outgoing& out, uint32_t index, const absl::Status& status) {
    if (IsHidden(status)) {
      log::Warning(
          "batch item failed",
          {{"rpc", kStreamVerify.name}, {"request_id", caller_.id()}, {"error", std::string(status.message())}});
    }
    *out.Add(index)->mutable_error() = RpcStatusOf(status, caller_.id());
  }
  void AppendResult(Outgoing& out, uint32_t index, const keys::AsyncVerifier::Answer& answer) {
    if (answer.ok()) {
      ToProto(*answer, out.Add(index)->mutable_response());
    } else {
      AppendResult(out, index, answer.status());
    }
  }

  std::unique_ptr<Outgoing> NewAnswerLocked(uint64_t batch_id) {
    std::unique_ptr<Outgoing> out;
    if (kept_.empty()) {
      out = std::make_unique<Outgoing>();
    } else {
      out = std::move(kept_.back());
      kept_.pop_back();
    }
    out->used = 0;
    out->message.set_batch_id(batch_id);
    return out;
  }

  void SendLocked(std::unique_ptr<Outgoing> out) {
    unsent_.push_back(std::move(out));
    WriteLocked();
  }

  void WriteLocked() {
    if (writing_ != nullptr || unsent_.empty() || finished_) return;
    writing_ = std::move(unsent_.front());
    unsent_.pop_front();
    if (writing_->batch != nullptr) {
      writing_->batch->unsent = nullptr;
      writing_->batch = nullptr;
    }
    writing_->Trim();
    write_began_ = streams_.dependencies_.clock.BootNow();
    StartWrite(&writing_->message);
  }

  // Reads on, if that is due and there is room for the answer.
  void ReadLocked() {
    if (!read_due_ || end_.has_value() || unsent_.size() >= kMaxUnsentAnswers) return;
    read_due_ = false;
    StartRead(&request_);
  }

  // The end of something that was under way. `read`: request_ and caller_ are free again.
  void LeaveLocked(bool read) {
    --under_way_;
    if (read) {
      taking_ = false;
      read_due_ = true;
    }
    ReadLocked();
    MaybeFinishLocked();
  }

  void End(const absl::Status& status, bool drop) {
    const std::lock_guard<std::mutex> lock(mutex_);
    EndLocked(status, drop);
    MaybeFinishLocked();
  }

  // `drop`: nothing more is written; otherwise what was read is answered first. The first status stays.
  void EndLocked(const absl::Status& status, bool drop) {
    if (!end_.has_value() || (drop && !drop_)) end_ = status;
    if (!drop) return;
    drop_ = true;
    for (const std::unique_ptr<Outgoing>& out : unsent_) {
      if (out->batch != nullptr) out->batch->unsent = nullptr;
    }
    unsent_.clear();
  }

  void MaybeFinishLocked() {
    if (finished_ || !end_.has_value() || under_way_ > 0 || writing_ != nullptr || !unsent_.empty()) return;
    finished_ = true;
    caller_.Log(*end_);
    Finish(GrpcStatusOf(*end_, caller_.id()));
  }

  VerifyStreams& streams_;
  grpc::CallbackServerContext& context_;
  Caller caller_;
  std::shared_ptr<Stream> self_;
  v1::StreamVerifyRequest request_;
  keys::VerifyQuery query_;  // The one that is being read.
  std::string place_of_;     // Whose place it takes; "" = it has none. Set at the beginning.

  std::mutex mutex_;
  size_t under_way_ = 0;  // Callbacks and searches.
  size_t sought_ = 0;     // Items that are looked for.
  absl::flat_hash_map<uint64_t, std::shared_ptr<Batch>> batches_;
  std::unique_ptr<Outgoing> writing_;
  std::deque<std::unique_ptr<Outgoing>> unsent_;
  std::vector<std::unique_ptr<Outgoing>> kept_;
  base::BootTime write_began_;  // If writing_.
  bool taking_ = true;  // The beginning or a message is worked on: request_ and caller_ belong to that callback.
  bool read_due_ = false;
  bool drop_ = false;
  bool refused_at_last_sweep_ = false;
  bool finished_ = false;
  std::optional<absl::Status> end_;
};

VerifyStreams::VerifyStreams(const Dependencies& parts, size_t limit)
    : dependencies_(parts),
      limit_(limit),
      places_(std::max<size_t>(1, limit / 2)),
      sweeper_([this] { SweepEachSecond(); }) {}

VerifyStreams::~VerifyStreams() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_one();
  sweeper_.join();
}

VerifyStreams::Reactor* VerifyStreams::Open(grpc::CallbackServerContext& context) {
  const auto stream = std::make_shared<Stream>(*this, context);
  absl::Status refused;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (draining_) {
      refused = errors::ShuttingDown();
    } else if (open_.size() >= limit_) {
      refused = errors::WorkersBusy(kLimitRetryAfter);
    }
    open_.insert(stream.get());
  }
  stream->Begin(refused);
  return stream.get();
}

void VerifyStreams::StartDraining() {
  std::vector<std::shared_ptr<Stream>> streams;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
    for (Stream* stream : open_) streams.push_back(stream->shared_from_this());
  }
  for (const std::shared_ptr<Stream>& stream : streams) stream->Drain();
}

void VerifyStreams::SweepEachSecond() {
  std::vector<std::shared_ptr<Stream>> all;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!wake_.wait_for(lock, kSweepEvery, [this] { return stopping_; })) {
    for (Stream* stream : open_) all.push_back(stream->shared_from_this());
    lock.unlock();
    const base::BootTime now = dependencies_.clock.BootNow();
    for (const std::shared_ptr<Stream>& stream : all) stream->Sweep(now);
    all.clear();  // Without the lock: a stream may end with the last reference to it.
    lock.lock();
  }
}

}  // namespace latchkey::rpc
