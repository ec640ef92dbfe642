#include "server/rpc/verify/verify_stream.h"

#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/authenticated_stream.h"
#include "server/rpc/call/call.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/verify/verdicts.h"
#include "server/rpc/verify/verify_requests.h"

namespace latchkey::rpc {
namespace {

constexpr Method kStreamVerify = {"latchkey.v1.KeyVerify/StreamVerify", keys::kVerify, false};
constexpr size_t kMaxUnsentAnswers = 64;
constexpr size_t kMaxUnsentBytes = 256 << 10;
// Items of one stream that are looked for at a time. Above it they are refused one by one instead of no longer reading:
// a burst of keys that need an Argon2 must not delay those that need none.
constexpr size_t kMaxSought = 1024;
constexpr size_t kKeptAnswers = 2;  // Written messages that are kept to be used again.
constexpr absl::Duration kSweepEvery = absl::Seconds(1);
constexpr absl::Duration kLongestWrite = absl::Seconds(30);

// A batch with items that memory could not answer.
struct Batch;

// A message on its way out. Its elements are overwritten and not cleared, because clearing would free what the next
// answer needs again.
struct Outgoing {
  v1::StreamVerifyResponse message;
  int used = 0;                  // Elements that belong to this answer.
  size_t reserved = 0;           // Bytes, while it waits to be written.
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

class VerifyStreams::Stream final : public AuthenticatedStream {
 public:
  Stream(VerifyStreams& streams, StreamCall& call)
      : AuthenticatedStream(call, kStreamVerify, streams.dependencies_.calls, streams.registry_,
                            streams.dependencies_.clock,
                            {.longest_write = kLongestWrite, .answers_after_half_close = true}),
        async_verifier_(streams.dependencies_.async_verifier) {}

 private:
  bool Parse(const std::string& message) override { return request_.ParseFromString(message); }

  // Answers the batch in request_. The items of a caller who can't be judged are told why.
  void Take(const absl::Status& known) override {
    const absl::StatusOr<absl::Duration> timeout = BatchTimeoutOf(request_);
    absl::Status refused = timeout.status();
    const uint64_t id = request_.batch_id();
    std::unique_ptr<Outgoing> out;
    size_t room = 0;
    {
      const std::lock_guard lock(mutex());
      if (refused.ok() && batches_.contains(id)) {
        refused = errors::FieldInvalid("batch_id", "a number that no batch in flight on this stream has");
      }
      if (!refused.ok()) {
        EndLocked(refused, /*drop=*/true);
        LeaveLocked(/*took=*/true);
        return;
      }
      out = NewAnswerLocked(id);
      room = kMaxSought - sought_;
    }
    std::shared_ptr<Batch> batch;
    std::vector<keys::AsyncVerifier::PendingItem> open;
    const std::string& organization = caller().principal().organization;
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
                     async_verifier_.FromMemory(query_, organization)) {
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
      const std::lock_guard lock(mutex());
      if (batch != nullptr) {
        batch->id = id;
        batch->open = count;
        batches_.emplace(id, batch);
        sought_ += count;
        EnterLocked(count);
      }
      if (out->used > 0) SendLocked(std::move(out));
    }
    if (count > 0) {
      async_verifier_.VerifyAsync(
          std::move(open),
          {.organization = organization, .share = caller().principal().share(), .address = caller().address()},
          *timeout);
    }
    const std::lock_guard lock(mutex());
    AllowReadLocked();
    LeaveLocked(/*took=*/true);
  }

  // Moves `item` out of the message, which is read into again, and adds it to what is looked for.
  void Enqueue(const std::shared_ptr<Batch>& batch, v1::VerifyRequest& item, uint32_t index,
               std::vector<keys::AsyncVerifier::PendingItem>& open) {
    v1::VerifyRequest& kept = batch->requests.emplace_back();
    kept.Swap(&item);
    keys::AsyncVerifier::PendingItem& asked = open.emplace_back();
    // It was fine a moment ago; only its views change.
    static_cast<void>(ReadVerifyQuery(kept, static_cast<int>(index), asked.query));
    asked.done = [self = std::static_pointer_cast<Stream>(shared_from_this()), batch,
                  index](const keys::AsyncVerifier::Answer& answer) { self->OnDecided(batch, index, answer); };
  }

  void OnDecided(const std::shared_ptr<Batch>& batch, uint32_t index, const keys::AsyncVerifier::Answer& answer) {
    const std::lock_guard lock(mutex());
    --sought_;
    if (--batch->open == 0) batches_.erase(batch->id);
    if (!dropped()) {
      if (batch->unsent != nullptr) {
        Outgoing& out = *batch->unsent;
        AppendResult(out, index, answer);
        ReserveForLocked(out, out.message.results(out.used - 1).ByteSizeLong());
      } else {
        std::unique_ptr<Outgoing> out = NewAnswerLocked(batch->id);
        AppendResult(*out, index, answer);
        out->batch = batch;
        batch->unsent = out.get();
        SendLocked(std::move(out));
      }
    }
    LeaveLocked(/*took=*/false);
  }

  void AppendResult(Outgoing& out, uint32_t index, const absl::Status& status) {
    if (IsHidden(status)) {
      log::Warning(
          "batch item failed",
          {{"rpc", kStreamVerify.name}, {"request_id", caller().id()}, {"error", std::string(status.message())}});
    }
    *out.Add(index)->mutable_error() = RpcStatusOf(status, caller().id());
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
    PumpLocked();
    if (unsent_.empty()) return;
    // It waits for a client that has not taken those before it.
    Outgoing& last = *unsent_.back();
    if (last.reserved > 0) return;
    last.Trim();
    ReserveForLocked(last, last.message.ByteSizeLong());
  }

  // `out` is `bytes` larger. A client that leaves too much unread, here and elsewhere, loses the stream.
  void ReserveForLocked(Outgoing& out, size_t bytes) {
    if (!ReserveLocked(bytes)) {
      EndLocked(errors::WorkersBusy(kBusyRetryAfter), /*drop=*/true);
      return;
    }
    out.reserved += bytes;
    reserved_ += bytes;
  }
  void UnreserveForLocked(Outgoing& out) {
    const size_t bytes = std::exchange(out.reserved, 0);
    reserved_ -= bytes;
    if (bytes > 0) UnreserveLocked(bytes);
  }

  void PumpLocked() override {
    if (writing() || unsent_.empty() || finished()) return;
    std::unique_ptr<Outgoing> out = std::move(unsent_.front());
    unsent_.pop_front();
    if (out->batch != nullptr) {
      out->batch->unsent = nullptr;
      out->batch = nullptr;
    }
    UnreserveForLocked(*out);
    out->Trim();
    WriteLocked(out->message.SerializeAsString());
    if (kept_.size() < kKeptAnswers) kept_.push_back(std::move(out));
  }

  bool MayReadLocked() const override { return unsent_.size() < kMaxUnsentAnswers && reserved_ < kMaxUnsentBytes; }
  bool HasUnsentLocked() const override { return !unsent_.empty(); }
  void DropUnsentLocked() override {
    for (const std::unique_ptr<Outgoing>& out : unsent_) {
      if (out->batch != nullptr) out->batch->unsent = nullptr;
      UnreserveForLocked(*out);
    }
    unsent_.clear();
  }
  void DrainLocked() override { EndLocked(errors::ShuttingDown(), /*drop=*/false); }

  // It may have been revoked since the last message, and may never send another.
  void SweepLocked(bool /*over*/) override {
    if (taking()) return;
    const std::optional<absl::Status> known = caller().FromMemory(/*counted=*/false);
    if (known.has_value() && Caller::IsRefusal(*known)) EndLocked(*known, /*drop=*/true);
  }

  keys::AsyncVerifier& async_verifier_;
  v1::StreamVerifyRequest request_;
  keys::VerifyQuery query_;  // The one that is being read.

  // Under mutex().
  size_t sought_ = 0;  // Items that are looked for.
  absl::flat_hash_map<uint64_t, std::shared_ptr<Batch>> batches_;
  std::deque<std::unique_ptr<Outgoing>> unsent_;
  size_t reserved_ = 0;  // Bytes of those.
  std::vector<std::unique_ptr<Outgoing>> kept_;
};

VerifyStreams::VerifyStreams(const Dependencies& dependencies, size_t limit)
    : dependencies_(dependencies), registry_(limit) {
  sweeper_.Start(kSweepEvery, [this] { Sweep(); });
}

VerifyStreams::~VerifyStreams() { sweeper_.Stop(); }

std::shared_ptr<StreamHandler> VerifyStreams::Open(StreamCall& call) {
  const auto stream = std::make_shared<Stream>(*this, call);
  registry_.Open(stream);
  return stream;
}

}  // namespace latchkey::rpc
