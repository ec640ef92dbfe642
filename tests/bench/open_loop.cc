#include <grpcpp/generic/generic_stub.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/bench/load.h"
#include "tests/bench/process.h"

namespace latchkey::bench {
namespace {

constexpr size_t kMostInFlight = 20'000;

// The calls of one run. Those that are over are used again.
class OpenLoop {
 public:
  OpenLoop(const Channels& channels, const Target& target) : target_(target) {
    for (const auto& channel : channels) stubs_.push_back(std::make_unique<grpc::GenericStub>(channel));
  }

  // `intended` in NowNanoseconds; `measured`: it counts. False if too many are in flight.
  bool Start(int64_t intended, bool measured) {
    Call* call = nullptr;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (idle_.empty()) {
        if (calls_.size() >= kMostInFlight) return false;
        calls_.push_back(std::make_unique<Call>());
        idle_.push_back(calls_.back().get());
      }
      call = idle_.back();
      idle_.pop_back();
      ++in_flight_;
    }
    const size_t number = started_++;
    call->intended = intended;
    call->measured = measured;
    call->looked_at = number % target_.look_at_one_in == 0;
    call->response.Clear();
    call->context.emplace();
    PrepareContext(*call->context, target_.bearer);
    stubs_[number % stubs_.size()]->UnaryCall(&*call->context, target_.method, grpc::StubOptions(),
                                              &target_.requests[number % target_.requests.size()], &call->response,
                                              [this, call](const grpc::Status& status) { Done(*call, status); });
    return true;
  }

  // Waits for what is in flight, and adds what was measured.
  void Finish(Measurement& result) {
    std::unique_lock<std::mutex> lock(mutex_);
    none_left_.wait(lock, [this] { return in_flight_ == 0; });
    result.Add(measured_);
  }

 private:
  struct Call {
    int64_t intended = 0;
    bool measured = false;
    bool looked_at = false;
    std::optional<grpc::ClientContext> context;
    grpc::ByteBuffer response;
  };

  void Done(Call& call, const grpc::Status& status) {
    const int64_t took = NowNanoseconds() - call.intended;
    std::string why;
    if (!status.ok()) {
      why = absl::StrCat("code ", static_cast<int>(status.error_code()), ": ", status.error_message());
    } else if (call.looked_at && !target_.is_right(call.response)) {
      why = "another answer than expected";
    }
    const std::lock_guard<std::mutex> lock(mutex_);
    if (call.measured) {
      measured_.latency.Add(took);
      if (!why.empty() && measured_.failures++ == 0) measured_.first_failure = why;
      if (status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED) ++measured_.refused;
    }
    idle_.push_back(&call);
    if (--in_flight_ == 0) none_left_.notify_all();
  }

  const Target& target_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  size_t started_ = 0;
  std::mutex mutex_;
  std::condition_variable none_left_;
  std::vector<std::unique_ptr<Call>> calls_;
  std::vector<Call*> idle_;
  size_t in_flight_ = 0;
  Measurement measured_;
};

void SleepUntil(int64_t when) {
  const int64_t left = when - NowNanoseconds();
  if (left > 0) std::this_thread::sleep_for(std::chrono::nanoseconds(left));
}

}  // namespace

Measurement RunOpenLoop(const Channels& channels, const Target& target, double rate, absl::Duration warm_up,
                        absl::Duration length, pid_t server) {
  OpenLoop loop(channels, target);
  const double distance = 1e9 / rate;
  const int64_t began = NowNanoseconds();
  const int64_t measured_from = began + absl::ToInt64Nanoseconds(warm_up);
  const int64_t until = measured_from + absl::ToInt64Nanoseconds(length);
  Measurement result;
  double cpu_before = CpuSecondsOf(server);
  bool warm = false;
  for (int64_t i = 0;; ++i) {
    const int64_t intended = began + static_cast<int64_t>(static_cast<double>(i) * distance);
    if (intended >= until) break;
    SleepUntil(intended);
    if (!warm && intended >= measured_from) {
      warm = true;
      cpu_before = CpuSecondsOf(server);
    }
    if (!loop.Start(intended, warm)) {
      result.failures = 1;
      result.first_failure = absl::StrCat("more than ", kMostInFlight, " calls in flight: the rate is too high");
      break;
    }
  }
  result.server_cpu_seconds = CpuSecondsOf(server) - cpu_before;
  result.seconds = absl::ToDoubleSeconds(length);
  loop.Finish(result);
  return result;
}

}  // namespace latchkey::bench
