#include "tests/faults/caller.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace latchkey::faults {
namespace {

constexpr char kParent[] = "organizations/acme";
constexpr size_t kMostInBatch = 100;

Reply ReplyOf(const grpc::Status& status) {
  Reply reply{.code = status.error_code(), .message = status.error_message()};
  google::rpc::Status details;
  if (!details.ParseFromString(status.error_details())) return reply;
  for (const auto& detail : details.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      reply.reason = info.reason();
      if (const auto name = info.metadata().find("name"); name != info.metadata().end()) reply.name = name->second;
    }
    if (detail.UnpackTo(&retry)) {
      reply.retry_after = absl::Seconds(retry.retry_delay().seconds()) + absl::Nanoseconds(retry.retry_delay().nanos());
    }
  }
  return reply;
}

}  // namespace

bool Reply::refused() const {
  if (ok() || reason.empty()) return false;
  return reason != "OUTCOME_UNKNOWN" && reason != "INTERNAL" && reason != "DEADLINE_EXCEEDED";
}

bool Reply::busy() const { return reason == "HASH_POOL_FULL" || reason == "WORKERS_BUSY" || reason == "CONTENDED"; }

std::ostream& operator<<(std::ostream& out, const Reply& reply) {
  return out << "code " << reply.code << " " << reply.reason << " " << reply.message;
}

std::string RequestId(int round, int thread, int count) {
  return absl::StrFormat("%08x-%04x-4000-8000-%012x", round, thread, count);
}

bool WaitToRepeat(const Reply& reply, bool also_unavailable, absl::Time give_up) {
  const bool again = reply.busy() || (also_unavailable && reply.code == grpc::StatusCode::UNAVAILABLE);
  if (!again || absl::Now() >= give_up) return false;
  absl::SleepFor(std::max(reply.retry_after, absl::Milliseconds(10)));
  return true;
}

std::shared_ptr<grpc::Channel> ChannelTo(const std::string& address) {
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 20);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
  return grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
}

Caller::Caller(const std::shared_ptr<grpc::Channel>& channel, const std::string& key_string, absl::Duration deadline)
    : admin_(v1::KeyAdmin::NewStub(channel)),
      verify_(v1::KeyVerify::NewStub(channel)),
      authorization_(absl::StrCat("Bearer ", key_string)),
      deadline_(deadline) {}

template <typename Stub, typename Request, typename Response>
Reply Caller::Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
                   const Request& request, Response* response) const {
  grpc::ClientContext context;
  context.AddMetadata("authorization", authorization_);
  context.set_deadline(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(deadline_));
  return ReplyOf((stub.*method)(&context, request, response));
}

Reply Caller::Create(const std::string& role, const std::string& display_name, const std::string& request_id,
                     v1::CreateKeyResponse* created) const {
  v1::CreateKeyRequest request;
  request.set_parent(kParent);
  request.mutable_key()->set_display_name(display_name);
  request.mutable_key()->set_role(role);
  request.set_request_id(request_id);
  v1::CreateKeyResponse ignored;
  return Call(*admin_, &v1::KeyAdmin::Stub::CreateKey, request, created == nullptr ? &ignored : created);
}

Reply Caller::Delete(const std::string& name) const {
  v1::DeleteKeyRequest request;
  request.set_name(name);
  v1::Key key;
  return Call(*admin_, &v1::KeyAdmin::Stub::DeleteKey, request, &key);
}

Reply Caller::SetRole(const std::string& name, const std::string& role) const {
  v1::UpdateKeyRequest request;
  request.mutable_key()->set_name(name);
  request.mutable_key()->set_role(role);
  request.mutable_update_mask()->add_paths("role");
  v1::Key key;
  return Call(*admin_, &v1::KeyAdmin::Stub::UpdateKey, request, &key);
}

Reply Caller::Get(const std::string& name, v1::Key* key) const {
  v1::GetKeyRequest request;
  request.set_name(name);
  return Call(*admin_, &v1::KeyAdmin::Stub::GetKey, request, key);
}

Reply Caller::CreateOrganization(const std::string& id) const {
  v1::CreateOrganizationRequest request;
  request.set_organization_id(id);
  request.mutable_organization()->set_display_name(id);
  v1::Organization organization;
  return Call(*admin_, &v1::KeyAdmin::Stub::CreateOrganization, request, &organization);
}

Reply Caller::List(std::vector<v1::Key>* keys) const {
  v1::ListKeysRequest request;
  request.set_parent(kParent);
  request.set_page_size(1000);
  for (;;) {
    v1::ListKeysResponse page;
    Reply reply = Call(*admin_, &v1::KeyAdmin::Stub::ListKeys, request, &page);
    if (!reply.ok()) return reply;
    keys->insert(keys->end(), page.keys().begin(), page.keys().end());
    if (page.next_page_token().empty()) return reply;
    request.set_page_token(page.next_page_token());
  }
}

std::vector<v1::Decision> Caller::Verify(const std::vector<std::string>& key_strings) const {
  std::vector<v1::Decision> decisions(key_strings.size(), v1::DECISION_UNSPECIFIED);
  std::vector<size_t> open(key_strings.size());
  for (size_t i = 0; i < open.size(); ++i) open[i] = open.size() - 1 - i;
  const absl::Time give_up = absl::Now() + absl::Seconds(30);
  while (!open.empty() && absl::Now() < give_up) {
    std::vector<size_t> asked;
    v1::BatchVerifyRequest request;
    while (!open.empty() && asked.size() < kMostInBatch) {
      asked.push_back(open.back());
      open.pop_back();
      request.add_requests()->set_key(key_strings[asked.back()]);
    }
    v1::BatchVerifyResponse response;
    const Reply reply = Call(*verify_, &v1::KeyVerify::Stub::BatchVerify, request, &response);
    size_t decided = 0;
    for (size_t i = 0; i < asked.size(); ++i) {
      const bool answered = reply.ok() && response.results(static_cast<int>(i)).has_response();
      if (answered) {
        decisions[asked[i]] = response.results(static_cast<int>(i)).response().decision();
        ++decided;
      } else {
        open.push_back(asked[i]);
      }
    }
    if (decided == 0) absl::SleepFor(absl::Milliseconds(20));
  }
  return decisions;
}

}  // namespace latchkey::faults
