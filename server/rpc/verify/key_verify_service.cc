#include "server/rpc/verify/key_verify_service.h"

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/verify/verdicts.h"
#include "server/rpc/verify/verify_requests.h"

namespace latchkey::rpc {
namespace {

constexpr Method kVerify = {"latchkey.v1.KeyVerify/Verify", keys::kVerify, false};
constexpr Method kBatchVerify = {"latchkey.v1.KeyVerify/BatchVerify", keys::kVerify, false};
constexpr Method kReportUsage = {"latchkey.v1.KeyVerify/ReportUsage", keys::kVerify, false};

// Where the results of a batch come together.
struct Batch {
  Batch(std::shared_ptr<Call> of, v1::BatchVerifyResponse* into, int count)
      : call(std::move(of)), response(into), open(count) {}

  const std::shared_ptr<Call> call;
  v1::BatchVerifyResponse* const response;
  std::atomic<int> open;
};

void Settle(Batch& batch, int index, const keys::AsyncVerifier::Answer& answer) {
  v1::VerifyResult* const result = batch.response->mutable_results(index);
  if (answer.ok()) {
    ToProto(*answer, result->mutable_response());
  } else {
    if (IsHidden(answer.status())) {
      log::Warning("batch item failed", {{"rpc", batch.call->method().name},
                                         {"request_id", batch.call->id()},
                                         {"error", std::string(answer.status().message())}});
    }
    *result->mutable_error() = RpcStatusOf(answer.status(), batch.call->id());
  }
  if (batch.open.fetch_sub(1) == 1) batch.call->Complete(absl::OkStatus());
}

bool HasVersion(const keys::IndexedKey& key, int32_t version) {
  for (int i = 0; i < key.version_count(); ++i) {
    if (key.version(i).id == version) return true;
  }
  return false;
}

}  // namespace

KeyVerifyService::KeyVerifyService(const Dependencies& parts)
    : dependencies_(parts),
      async_verifier_(parts.verifier, parts.follower, parts.waiting, parts.clock),
      verify_streams_({.verifier = parts.verifier,
                       .async_verifier = async_verifier_,
                       .clock = parts.clock,
                       .security_log = parts.security_log},
                      parts.streams),
      watch_streams_({.verifier = parts.verifier,
                      .hub = parts.hub,
                      .index = parts.index,
                      .follower = parts.follower,
                      .clock = parts.clock,
                      .security_log = parts.security_log},
                     parts.streams) {}

KeyVerifyService::CallPointer KeyVerifyService::NewCall(grpc::CallbackServerContext* context,
                                                        const Method& method) const {
  return std::make_shared<Call>(*context, method, dependencies_.verifier, dependencies_.security_log);
}

grpc::ServerUnaryReactor* KeyVerifyService::Verify(grpc::CallbackServerContext* context,
                                                   const v1::VerifyRequest* request, v1::VerifyResponse* response) {
  const CallPointer call = NewCall(context, kVerify);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  Call::Authenticate(call, [=, this] { JudgeOne(call, *request, response); });
  return reactor;
}

void KeyVerifyService::JudgeOne(const CallPointer& call, const v1::VerifyRequest& request,
                                v1::VerifyResponse* response) {
  keys::VerifyQuery query;
  if (absl::Status wrong = ReadVerifyQuery(request, -1, query); !wrong.ok()) {
    call->Complete(wrong);
    return;
  }
  const auto done = [call, response](const keys::AsyncVerifier::Answer& answer) {
    if (answer.ok()) ToProto(*answer, response);
    call->Complete(answer.status());
  };
  if (const std::optional<keys::AsyncVerifier::Answer> answer =
          async_verifier_.FromMemory(query, call->caller().organization)) {
    done(*answer);
    return;
  }
  std::vector<keys::AsyncVerifier::PendingItem> open;
  open.push_back({std::move(query), done});
  async_verifier_.VerifyAsync(std::move(open), call->caller().organization, call->address(), call->TimeLeft());
}

grpc::ServerUnaryReactor* KeyVerifyService::BatchVerify(grpc::CallbackServerContext* context,
                                                        const v1::BatchVerifyRequest* request,
                                                        v1::BatchVerifyResponse* response) {
  const CallPointer call = NewCall(context, kBatchVerify);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  Call::Authenticate(call, [=, this] { JudgeBatch(call, *request, response); });
  return reactor;
}

void KeyVerifyService::JudgeBatch(const CallPointer& call, const v1::BatchVerifyRequest& request,
                                  v1::BatchVerifyResponse* response) {
  if (absl::Status wrong = CheckBatch(request); !wrong.ok()) {
    call->Complete(wrong);
    return;
  }
  const int count = request.requests_size();
  for (int i = 0; i < count; ++i) response->add_results();
  // One more than there are, so that nothing ends the request's life while it is still read here.
  const auto batch = std::make_shared<Batch>(call, response, count + 1);
  std::vector<keys::AsyncVerifier::PendingItem> open;
  for (int i = 0; i < count; ++i) {
    keys::VerifyQuery query;
    if (absl::Status wrong = ReadVerifyQuery(request.requests(i), i, query); !wrong.ok()) {
      Settle(*batch, i, wrong);
    } else if (const std::optional<keys::AsyncVerifier::Answer> answer =
                   async_verifier_.FromMemory(query, call->caller().organization)) {
      Settle(*batch, i, *answer);
    } else {
      open.push_back(
          {std::move(query), [batch, i](const keys::AsyncVerifier::Answer& found) { Settle(*batch, i, found); }});
    }
  }
  if (!open.empty()) {
    async_verifier_.VerifyAsync(std::move(open), call->caller().organization, call->address(), call->TimeLeft());
  }
  if (batch->open.fetch_sub(1) == 1) call->Complete(absl::OkStatus());
}

VerifyStreams::Reactor* KeyVerifyService::StreamVerify(grpc::CallbackServerContext* context) {
  return verify_streams_.Open(*context);
}

WatchStreams::Reactor* KeyVerifyService::Watch(grpc::CallbackServerContext* context) {
  return watch_streams_.Open(*context);
}

grpc::ServerUnaryReactor* KeyVerifyService::ReportUsage(grpc::CallbackServerContext* context,
                                                        const v1::ReportUsageRequest* request,
                                                        v1::ReportUsageResponse* /*response*/) {
  const CallPointer call = NewCall(context, kReportUsage);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  Call::Authenticate(call, [=, this] { Report(call, *request); });
  return reactor;
}

void KeyVerifyService::Report(const CallPointer& call, const v1::ReportUsageRequest& request) {
  absl::StatusOr<storage::UseReport> report = absl::CancelledError("");
  {
    const keys::KeyIndex::Pin pin(dependencies_.index);
    report = UseReportOf(request, pin.snapshot().DatabaseTimeAt(dependencies_.clock.BootNow()));
    if (report.ok()) {
      // Silently, as one that does not exist: whose key it is, is nobody else's business. A version that was made up
      // would be rows of its own.
      std::erase_if(report->uses, [&](const storage::Use& use) {
        const keys::IndexedKey* const key = pin.FindKey(use.kid);
        const keys::OrganizationRecord* const organization = key == nullptr ? nullptr : pin.OrganizationOf(*key);
        return organization == nullptr || !call->caller().ActsOn(organization->id) || !HasVersion(*key, use.version);
      });
    }
  }
  if (!report.ok() || report->uses.empty()) {
    call->Complete(report.status());
    return;
  }
  report->reporter = call->caller().kid;
  dependencies_.uses.Report(*std::move(report), [call](const absl::Status& status) { call->Complete(status); });
}

void KeyVerifyService::StartDraining() {
  verify_streams_.StartDraining();
  watch_streams_.StartDraining();
}

}  // namespace latchkey::rpc
