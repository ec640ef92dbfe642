#include "client/src/connection.h"

#include <optional>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/core/key_format.h"
#include "client/src/caller_metadata.h"
#include "client/src/convert.h"
#include "grpcpp/client_context.h"

namespace latchkey::client {
namespace {

// Servers of ours never quote a key; a proxy in between, or a server gone wrong, might.
bool Quotes(const grpc::Status& status, std::string_view key_string) {
  const auto parts = core::ParseKeyString(key_string);
  const std::string_view secret = parts ? parts->secret : key_string;
  return !secret.empty() && (status.error_message().find(secret) != std::string::npos ||
                             status.error_details().find(secret) != std::string::npos);
}

}  // namespace

class Connection::Calls {
 public:
  void Begin() {
    absl::MutexLock lock(&mutex_);
    ++count_;
  }
  void End() {
    absl::MutexLock lock(&mutex_);
    --count_;
  }
  void AwaitNone() {
    absl::MutexLock lock(&mutex_);
    mutex_.Await(absl::Condition(
        +[](int* count) { return *count == 0; }, &count_));
  }

 private:
  absl::Mutex mutex_;
  int count_ = 0;
};

struct Connection::Call {
  ~Call() { core::CleanseString(*request.mutable_key()); }
  std::optional<grpc::ClientContext> context{std::in_place};
  v1::VerifyRequest request;
  v1::VerifyResponse response;
  Done done;
};

Connection::Connection(std::shared_ptr<grpc::Channel> channel, core::Secret caller_key)
    : channel_(std::move(channel)),
      stub_(v1::KeyVerify::NewStub(channel_)),
      caller_key_(std::move(caller_key)),
      calls_(std::make_shared<Calls>()) {}

Connection::~Connection() { calls_->AwaitNone(); }

void Connection::Verify(std::string_view key_string, const VerifyParams& params, absl::Duration timeout, Done done) {
  auto call = std::make_shared<Call>();
  call->request.set_key(std::string(key_string));
  for (const std::string& permission : params.required_permissions) call->request.add_required_permissions(permission);
  call->done = std::move(done);
  PrepareCall(caller_key_, timeout, *call->context);
  calls_->Begin();
  // `this` outlives the callback: the destructor waits for End(), the last thing it does.
  stub_->async()->Verify(
      &*call->context, &call->request, &call->response, [this, call, calls = calls_](grpc::Status status) {
        const bool leaks =
            !status.ok() && (Quotes(status, call->request.key()) || Quotes(status, caller_key_.Expose()));
        if (leaks) status = grpc::Status(status.error_code(), "the server's message held a key");
        call->done(ToStatus(status), call->response);
        // What the callback captured goes before the destructor may return; so does the context, for the last reference
        // to a channel must not die on one of gRPC's own threads: it joins them.
        call->done = nullptr;
        call->context.reset();
        calls->End();
      });
}

bool Connection::WaitUntilConnected(absl::Duration patience) {
  return channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + patience));
}

}  // namespace latchkey::client
