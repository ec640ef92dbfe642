#include "server/rpc/verify/key_verify_service.h"

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/status_conversion.h"
#include "server/rpc/call/unary_method.h"
#include "server/rpc/verify/verdicts.h"
#include "server/rpc/verify/verify_requests.h"

namespace latchkey::rpc {
namespace {

constexpr Method kVerify = {"latchkey.v1.KeyVerify/Verify", keys::kVerify, false};
constexpr Method kBatchVerify = {"latchkey.v1.KeyVerify/BatchVerify", keys::kVerify, false};
constexpr Method kReportUsage = {"latchkey.v1.KeyVerify/ReportUsage", keys::kVerify, false};

// Where the results of a batch come together.
struct Batch {
  Batch(std::shared_ptr<CallOf<v1::BatchVerifyRequest, v1::BatchVerifyResponse, std::monostate>> of, int count)
      : call(std::move(of)), open(count) {}

  const std::shared_ptr<CallOf<v1::BatchVerifyRequest, v1::BatchVerifyResponse, std::monostate>> call;
  std::atomic<int> open;
};

void AnswerItem(Batch& batch, int index, const keys::AsyncVerifier::Answer& answer) {
  v1::VerifyResult* const result = batch.call->response.mutable_results(index);
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

keys::VerifyAsker AskerOf(const Call& call) {
  return {.organization = call.caller().organization, .share = call.caller().share(), .address = call.address()};
}

bool HasVersion(const keys::IndexedKey& key, int32_t version) {
  for (int i = 0; i < key.version_count(); ++i) {
    if (key.version(i).id == version) return true;
  }
  return false;
}

}  // namespace

KeyVerifyService::KeyVerifyService(const Dependencies& dependencies)
    : dependencies_(dependencies),
      async_verifier_(dependencies.verifier, dependencies.follower, dependencies.waiting, dependencies.clock),
      verify_streams_({.calls = dependencies.calls, .async_verifier = async_verifier_, .clock = dependencies.clock},
                      dependencies.streams),
      watch_streams_({.calls = dependencies.calls,
                      .hub = dependencies.hub,
                      .index = dependencies.index,
                      .follower = dependencies.follower,
                      .clock = dependencies.clock},
                     dependencies.streams),
      methods_("latchkey.v1.KeyVerify") {
  // What memory answers never waits, so handlers read their requests themselves, without a copy.
  Add<v1::VerifyRequest, v1::VerifyResponse>(kVerify, &KeyVerifyService::Verify);
  Add<v1::BatchVerifyRequest, v1::BatchVerifyResponse>(kBatchVerify, &KeyVerifyService::BatchVerify);
  Add<v1::ReportUsageRequest, v1::ReportUsageResponse>(kReportUsage, &KeyVerifyService::ReportUsage);
  methods_.AddStream("StreamVerify", [this](StreamCall& call) { return verify_streams_.Open(call); });
  methods_.AddStream("Watch", [this](StreamCall& call) { return watch_streams_.Open(call); });
}

template <typename Request, typename Response>
void KeyVerifyService::Add(const Method& method,
                           void (KeyVerifyService::*handler)(const std::shared_ptr<AsyncCall<Request, Response>>&)) {
  const std::string name = method.name;
  methods_.AddUnary(
      name.substr(name.find('/') + 1),
      UnaryMethod<Request, Response, std::monostate>{
          .method = method, .parts = {.handler = [this, handler](const auto& call) { (this->*handler)(call); }}}
          .Start(dependencies_.calls));
}

void KeyVerifyService::Verify(const std::shared_ptr<VerifyCall>& call) {
  keys::VerifyQuery query;
  if (absl::Status wrong = ReadVerifyQuery(call->request, -1, query); !wrong.ok()) {
    call->Complete(wrong);
    return;
  }
  const auto done = [call](const keys::AsyncVerifier::Answer& answer) {
    if (answer.ok()) ToProto(*answer, &call->response);
    call->Complete(answer.status());
  };
  if (const std::optional<keys::AsyncVerifier::Answer> answer =
          async_verifier_.FromMemory(query, call->caller().organization)) {
    done(*answer);
    return;
  }
  std::vector<keys::AsyncVerifier::PendingItem> open;
  open.push_back({std::move(query), done});
  async_verifier_.VerifyAsync(std::move(open), AskerOf(*call), call->TimeLeft());
}

void KeyVerifyService::BatchVerify(const std::shared_ptr<BatchCall>& call) {
  if (absl::Status wrong = CheckBatch(call->request); !wrong.ok()) {
    call->Complete(wrong);
    return;
  }
  const int count = call->request.requests_size();
  for (int i = 0; i < count; ++i) call->response.add_results();
  // One more than there are, so that the call is not answered while its items are still read here.
  const auto batch = std::make_shared<Batch>(call, count + 1);
  std::vector<keys::AsyncVerifier::PendingItem> open;
  for (int i = 0; i < count; ++i) {
    keys::VerifyQuery query;
    if (absl::Status wrong = ReadVerifyQuery(call->request.requests(i), i, query); !wrong.ok()) {
      AnswerItem(*batch, i, wrong);
    } else if (const std::optional<keys::AsyncVerifier::Answer> answer =
                   async_verifier_.FromMemory(query, call->caller().organization)) {
      AnswerItem(*batch, i, *answer);
    } else {
      open.push_back(
          {std::move(query), [batch, i](const keys::AsyncVerifier::Answer& found) { AnswerItem(*batch, i, found); }});
    }
  }
  if (!open.empty()) {
    async_verifier_.VerifyAsync(std::move(open), AskerOf(*call), call->TimeLeft());
  }
  if (batch->open.fetch_sub(1) == 1) call->Complete(absl::OkStatus());
}

void KeyVerifyService::ReportUsage(const std::shared_ptr<ReportCall>& call) {
  absl::StatusOr<storage::UseReport> report = absl::CancelledError("");
  {
    const keys::KeyIndex::Pin pin(dependencies_.index);
    report = UseReportOf(call->request, pin.snapshot().DatabaseTimeAt(dependencies_.clock.BootNow()));
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
