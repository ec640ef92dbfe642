#pragma once

#include <array>
#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/base/guarded.h"
#include "server/base/work_queue.h"
#include "server/model/principal.h"
#include "server/rpc/call/authenticator.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// The deadline of a call whose caller set none.
inline constexpr absl::Duration kDefaultDeadline = absl::Seconds(2);
using base::kBusyRetryAfter;

// What the calls of a door share; all outlive them.
struct CallDependencies {
  const Authenticator& authenticator;
  // Hook for metrics: told of the end of each call and stream, on whatever thread it ends. Never blocks; empty = nobody
  // is told.
  std::function<void(const Method& method, const absl::Status& status, absl::Duration took)> observer;
};

// One call of one unary RPC, as a list of steps: those before the work, the work, those after it. A step that has to
// wait gives its thread back and goes on later. Its id, peer and start are known from the beginning. Not thread-safe:
// one thread at a time.
class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(const Call&) = delete;
  Call& operator=(const Call&) = delete;
  // Answers with SHUTTING_DOWN if nobody has: a job that was dropped must not leave its caller waiting.
  virtual ~Call();

  // Goes through the steps. Once.
  void Run();

  // --- For the work ---
  const std::string& id() const { return caller_.id(); }
  const Method& method() const { return caller_.method(); }
  const std::string& address() const { return caller_.address(); }
  const keys::Principal& caller() const { return caller_.principal(); }
  // Until the caller's deadline, or the server's own where it set none. Negative if it has passed.
  absl::Duration TimeLeft() const;
  // Answers. Exactly once, from any thread; afterwards the call must not be used.
  void Complete(const absl::Status& status);

 protected:
  // `default_deadline`: of a call whose caller set none.
  Call(std::unique_ptr<UnaryCall> transport, const Method& method, const CallDependencies& dependencies,
       absl::Duration default_deadline);

  // Reads the request, before the call waits for anything but its caller's proof.
  virtual absl::Status ReadRequest() = 0;
  // Where the work runs, because it may block; nullptr = on the transport's thread. After ReadRequest.
  virtual base::WorkQueue* workers() const = 0;
  // Begins the work, which calls Complete.
  virtual void Work() = 0;
  // What is sent with OK.
  virtual std::string SerializedResponse() const = 0;

 private:
  // What a step comes to: OK = on to the next; another status ends the call; nullopt = it calls Resume itself, once.
  using StepResult = std::optional<absl::Status>;
  using Step = StepResult (Call::*)();
  static const std::array<Step, 6> kStepsBeforeTheWork;

  StepResult Authenticate();
  StepResult Validate();
  StepResult TakeAPlaceInTheQueue();
  StepResult CheckStillWanted();
  StepResult AuthenticateAgain();
  StepResult StartWork();
  // The end of a step.
  void Resume(const absl::Status& status);

  const std::unique_ptr<UnaryCall> transport_;
  const CallDependencies& dependencies_;
  const absl::Duration default_deadline_;
  Caller caller_;
  size_t next_step_ = 0;
  bool completed_ = false;
};

// A call with its messages, which live as long as the call. `Wanted`: what the request asks for, read and validated.
template <typename Request, typename Response, typename Wanted>
class CallOf final : public Call {
 public:
  // What is fixed about the calls of one method; outlives them.
  struct Parts {
    // Empty = the handler reads the request itself.
    std::function<absl::StatusOr<Wanted>(const Call&, const Request&)> read = {};
    // Where the handler runs, because it may block; empty = on the transport's thread.
    std::function<base::WorkQueue*(const Wanted&)> workers = {};
    // Runs on the call's thread, and has it answered, once.
    std::function<void(const std::shared_ptr<CallOf>&)> handler = {};
  };

  CallOf(std::unique_ptr<UnaryCall> transport, const Method& method, const CallDependencies& dependencies,
         absl::Duration default_deadline, Request read, const Parts& parts)
      : Call(std::move(transport), method, dependencies, default_deadline), request(std::move(read)), parts_(parts) {}

  // For the handler.
  const Wanted& wanted() const { return *wanted_; }
  const Request request;
  Response response;

 private:
  absl::Status ReadRequest() override {
    if (!parts_.read) return absl::OkStatus();
    absl::StatusOr<Wanted> read = base::Guarded([&] { return parts_.read(*this, request); });
    if (!read.ok()) return read.status();
    wanted_ = *std::move(read);
    return absl::OkStatus();
  }
  base::WorkQueue* workers() const override { return parts_.workers ? parts_.workers(*wanted_) : nullptr; }
  void Work() override { parts_.handler(std::static_pointer_cast<CallOf>(shared_from_this())); }
  std::string SerializedResponse() const override { return response.SerializeAsString(); }

  const Parts& parts_;
  std::optional<Wanted> wanted_;  // Once it was read.
};

}  // namespace latchkey::rpc
