#include <grpcpp/generic/generic_stub.h>

#include <atomic>
#include <deque>
#include <latch>
#include <memory>
#include <mutex>
#include <optional>

#include "absl/strings/str_cat.h"
#include "tests/bench/closed_loop.h"
#include "tests/bench/load.h"

namespace latchkey::bench {
namespace {

constexpr int64_t kLookAtOneIn = 64;

// One stream. Reads and writes have a callback each, at the same time.
class Stream final : public grpc::ClientBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  Stream(const std::shared_ptr<grpc::Channel>& channel, const StreamTarget& target, const std::atomic<Phase>& phase,
         std::latch& over)
      : stub_(channel), target_(target), phase_(phase), over_(over), sent_at_(target.requests.size()) {
    PrepareContext(context_, target.bearer);
    // The deadline of a call is too short for a stream.
    context_.set_deadline(std::chrono::system_clock::now() + std::chrono::minutes(5));
    if (target.answer_bytes > 0) context_.AddMetadata("answer-bytes", absl::StrCat(target.answer_bytes));
    stub_.PrepareBidiStreamingCall(&context_, target.method, grpc::StubOptions(), this);
    for (size_t i = 0; i < target.requests.size(); ++i) waiting_.push_back(i);
    Write();
    StartRead(&response_);
    StartCall();
  }

  Histogram latency;
  int64_t failures = 0;
  int64_t refused = 0;
  std::string first_failure;

 private:
  // With mutex_ held, or before the call starts.
  void Write() {
    if (waiting_.empty() || writing_ || closed_) return;
    const size_t next = waiting_.front();
    waiting_.pop_front();
    writing_ = true;
    sent_at_[next] = NowNanoseconds();
    in_flight_.push_back(next);
    StartWrite(&target_.requests[next]);
  }

  void OnWriteDone(bool ok) override {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = false;
    if (close_wanted_ && !closed_) {
      closed_ = true;
      StartWritesDone();
    }
    if (ok) Write();
  }

  void OnReadDone(bool ok) override {
    if (!ok) return;
    const int64_t now = NowNanoseconds();
    const std::lock_guard<std::mutex> lock(mutex_);
    if (in_flight_.empty()) {
      Fail("an answer too many");
      context_.TryCancel();
      return;
    }
    const size_t answered = in_flight_.front();
    in_flight_.pop_front();
    const Phase phase = phase_.load(std::memory_order_relaxed);
    if (phase == Phase::kMeasured) latency.Add(now - sent_at_[answered]);
    if (messages_++ % kLookAtOneIn == 0 && !target_.is_right(answered, response_)) Fail("another answer than expected");
    if (phase == Phase::kOver) {
      close_wanted_ = true;
      if (!writing_ && !closed_) {
        closed_ = true;
        StartWritesDone();
      }
    } else {
      waiting_.push_back(answered);
      Write();
    }
    StartRead(&response_);
  }

  void OnDone(const grpc::Status& status) override {
    if (!status.ok()) {
      if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++refused;
      Fail(absl::StrCat("code ", static_cast<int>(status.error_code()), ": ", status.error_message()));
    }
    over_.count_down();
  }

  void Fail(const std::string& why) {
    if (failures++ == 0) first_failure = why;
  }

  grpc::GenericStub stub_;
  const StreamTarget& target_;
  const std::atomic<Phase>& phase_;
  std::latch& over_;
  grpc::ClientContext context_;
  grpc::ByteBuffer response_;
  std::mutex mutex_;
  bool writing_ = false;
  bool close_wanted_ = false;
  bool closed_ = false;
  std::deque<size_t> waiting_;    // Requests that are not in flight.
  std::deque<size_t> in_flight_;  // In the order in which they were written.
  std::vector<int64_t> sent_at_;
  int64_t messages_ = 0;
};

}  // namespace

Measurement RunStreams(const Channels& channels, const StreamTarget& target, absl::Duration warm_up,
                       absl::Duration length, pid_t server) {
  std::atomic<Phase> phase = Phase::kWarmUp;
  std::latch over(static_cast<std::ptrdiff_t>(channels.size()));
  std::vector<std::unique_ptr<Stream>> streams;
  for (const auto& channel : channels) streams.push_back(std::make_unique<Stream>(channel, target, phase, over));
  Measurement result = MeasureLoops(streams, phase, over, warm_up, length, server);
  result.items = target.items;
  return result;
}

}  // namespace latchkey::bench
