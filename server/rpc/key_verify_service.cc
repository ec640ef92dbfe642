#include "server/rpc/key_verify_service.h"

#include <atomic>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "server/base/errors.h"
#include "server/base/log.h"
#include "server/keys/built_in_roles.h"
#include "server/rpc/convert.h"
#include "server/rpc/requests.h"
#include "server/rpc/status_conversion.h"

namespace latchkey::rpc {
namespace {

constexpr absl::Duration kBusyRetryAfter = absl::Milliseconds(250);

constexpr Method kVerify = {"latchkey.v1.KeyVerify/Verify", keys::kVerify, false};
constexpr Method kBatchVerify = {"latchkey.v1.KeyVerify/BatchVerify", keys::kVerify, false};

// Where the results of a batch come together.
struct Batch {
  Batch(std::shared_ptr<Call> of, v1::BatchVerifyResponse* into, int count)
      : call(std::move(of)), response(into), open(count) {}

  const std::shared_ptr<Call> call;
  v1::BatchVerifyResponse* const response;
  std::atomic<int> open;
};

void Settle(Batch& batch, int index, const absl::StatusOr<keys::Verdict>& verdict) {
  v1::VerifyResult* const result = batch.response->mutable_results(index);
  if (verdict.ok()) {
    ToProto(*verdict, result->mutable_response());
  } else {
    if (IsHidden(verdict.status())) {
      log::Warning("batch item failed", {{"rpc", batch.call->method().name},
                                         {"request_id", batch.call->id()},
                                         {"error", std::string(verdict.status().message())}});
    }
    *result->mutable_error() = RpcStatusOf(verdict.status(), batch.call->id());
  }
  if (batch.open.fetch_sub(1) == 1) batch.call->Complete(absl::OkStatus());
}

}  // namespace

grpc::ServerUnaryReactor* KeyVerifyService::Verify(grpc::CallbackServerContext* context,
                                                   const v1::VerifyRequest* request, v1::VerifyResponse* response) {
  const auto call = std::make_shared<Call>(*context, kVerify, parts_.security_log);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  WithCaller(call, [=, this] {
    Judge(call, *request, "", [call, response](const absl::StatusOr<keys::Verdict>& verdict) {
      if (verdict.ok()) ToProto(*verdict, response);
      call->Complete(verdict.status());
    });
  });
  return reactor;
}

grpc::ServerUnaryReactor* KeyVerifyService::BatchVerify(grpc::CallbackServerContext* context,
                                                        const v1::BatchVerifyRequest* request,
                                                        v1::BatchVerifyResponse* response) {
  const auto call = std::make_shared<Call>(*context, kBatchVerify, parts_.security_log);
  grpc::ServerUnaryReactor* const reactor = call->reactor();
  WithCaller(call, [=, this] {
    if (absl::Status status = Guarded([&] { return CheckBatch(*request); }); !status.ok()) {
      call->Complete(status);
      return;
    }
    // Read before the first question: the last answer ends the request's life, maybe before this loop has ended.
    const int count = request->requests_size();
    for (int i = 0; i < count; ++i) response->add_results();
    const auto batch = std::make_shared<Batch>(call, response, count);
    for (int i = 0; i < count; ++i) {
      Judge(call, request->requests(i), absl::StrCat("requests[", i, "]."),
            [batch, i](const absl::StatusOr<keys::Verdict>& verdict) { Settle(*batch, i, verdict); });
    }
  });
  return reactor;
}

void KeyVerifyService::WithCaller(const CallPointer& call, std::function<void()> then) {
  keys::KeyVerifier& verifier = parts_.verifier;
  const std::optional<absl::Status> known = Guarded([&] { return call->AuthenticateFromMemory(verifier); });
  if (known.has_value()) {
    if (known->ok()) {
      then();
    } else {
      call->Complete(*known);
    }
    return;
  }
  absl::StatusOr<keys::HashPool::Ticket> admitted = verifier.hashes().Admit(call->HashPatience(parts_.hash_patience));
  if (!admitted.ok()) {
    call->Complete(admitted.status());
    return;
  }
  auto ticket = std::make_shared<const keys::HashPool::Ticket>(*std::move(admitted));
  std::function<void()> job = [call, ticket = std::move(ticket), then = std::move(then), &verifier]() mutable {
    const absl::Status status = Guarded([&]() -> absl::Status {
      if (absl::Status wanted = call->StillWanted(); !wanted.ok()) return wanted;
      return call->AuthenticateUnproven(verifier, *ticket);
    });
    ticket.reset();  // The key in question may need a place of its own.
    if (status.ok()) {
      then();
    } else {
      call->Complete(status);
    }
  };
  if (!parts_.workers.TryRun(job)) call->Complete(errors::WorkersBusy(kBusyRetryAfter));
}

void KeyVerifyService::Judge(const CallPointer& call, const v1::VerifyRequest& request, const std::string& prefix,
                             std::function<void(const absl::StatusOr<keys::Verdict>&)> done) {
  keys::KeyVerifier& verifier = parts_.verifier;
  absl::StatusOr<std::vector<std::string>> permissions =
      Guarded([&] { return RequiredPermissionsOf(request, prefix); });
  if (!permissions.ok()) {
    done(permissions.status());
    return;
  }
  const std::optional<absl::StatusOr<keys::Verdict>> remembered = Guarded([&] {
    return verifier.VerifyFromMemory({.key_string = request.key(),
                                      .required_permissions = &*permissions,
                                      .asker_organization = call->caller().organization});
  });
  if (remembered.has_value()) {
    done(*remembered);
    return;
  }
  absl::StatusOr<keys::HashPool::Ticket> admitted = verifier.hashes().Admit(call->HashPatience(parts_.hash_patience));
  if (!admitted.ok()) {
    done(admitted.status());
    return;
  }
  const auto ticket = std::make_shared<const keys::HashPool::Ticket>(*std::move(admitted));
  std::function<void()> job = [call, ticket, done, permissions = *std::move(permissions), &request, &verifier] {
    done(Guarded([&]() -> absl::StatusOr<keys::Verdict> {
      if (absl::Status wanted = call->StillWanted(); !wanted.ok()) return wanted;
      return verifier.VerifyUnproven({.key_string = request.key(),
                                      .required_permissions = &permissions,
                                      .asker_organization = call->caller().organization},
                                     *ticket);
    }));
  };
  if (!parts_.workers.TryRun(job)) done(errors::WorkersBusy(kBusyRetryAfter));
}

}  // namespace latchkey::rpc
