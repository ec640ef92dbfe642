#include "client/src/connection.h"

#include <optional>
#include <stop_token>
#include <string>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "client/src/caller_metadata.h"
#include "client/src/convert.h"
#include "grpcpp/client_context.h"

namespace latchkey::client {
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
  std::optional<std::stop_callback<std::function<void()>>> stop;
};

struct Connection::Report {
  std::optional<grpc::ClientContext> context{std::in_place};
  v1::ReportUsageRequest request;
  v1::ReportUsageResponse response;
  Reported done;
};

Connection::Connection(std::shared_ptr<grpc::Channel> channel, core::Secret caller_key)
    : channel_(std::move(channel)),
      stub_(v1::KeyVerify::NewStub(channel_)),
      caller_key_(std::move(caller_key)),
      calls_(std::make_shared<Calls>()) {}

Connection::~Connection() { calls_->AwaitNone(); }

void Connection::Verify(std::string_view key_string, const VerifyParams& params, absl::Duration timeout,
                        const std::string& min_revision, Done done) {
  auto call = std::make_shared<Call>();
  call->request.set_key(std::string(key_string));
  for (const std::string& permission : params.required_permissions) call->request.add_required_permissions(permission);
  if (!params.client_ip.empty()) call->request.mutable_client()->set_ip(std::string(params.client_ip));
  if (!min_revision.empty()) call->request.set_min_revision(min_revision);
  call->done = std::move(done);
  PrepareCall(caller_key_, timeout, *call->context);
  calls_->Begin();
  if (params.stop.stop_possible())
    call->stop.emplace(params.stop, [context = &*call->context] { context->TryCancel(); });
  // `this` outlives the callback: the destructor waits for End(), the last thing it does.
  stub_->async()->Verify(
      &*call->context, &call->request, &call->response, [this, call, calls = calls_](const grpc::Status& status) {
        call->stop.reset();  // Waits for one that is under way.
        call->done(WithoutKey(WithoutKey(ToStatus(status), call->request.key()), caller_key_.Expose()), call->response);
        // What the callback captured goes before the destructor may return; so does the context, for the last reference
        // to a channel must not die on one of gRPC's own threads: it joins them.
        call->done = nullptr;
        call->context.reset();
        calls->End();
      });
}

void Connection::ReportUsage(const v1::ReportUsageRequest& report, absl::Duration timeout, Reported done) {
  auto call = std::make_shared<Report>();
  call->request = report;
  call->done = std::move(done);
  PrepareCall(caller_key_, timeout, *call->context);
  calls_->Begin();
  stub_->async()->ReportUsage(&*call->context, &call->request, &call->response,
                              [this, call, calls = calls_](const grpc::Status& status) {
                                call->done(WithoutKey(ToStatus(status), caller_key_.Expose()));
                                call->done = nullptr;
                                call->context.reset();
                                calls->End();
                              });
}

bool Connection::WaitUntilConnected(absl::Duration patience) {
  return channel_->WaitForConnected(absl::ToChronoTime(absl::Now() + patience));
}

}  // namespace latchkey::client
