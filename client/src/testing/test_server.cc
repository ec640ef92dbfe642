#include "latchkey/testing/test_server.h"

#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <list>
#include <mutex>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "client/core/cidr.h"
#include "client/core/judge.h"
#include "client/core/key_format.h"
#include "client/core/revision_token.h"
#include "client/src/convert.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "latchkey/v1/key_verify.grpc.pb.h"

namespace latchkey::testing {
namespace {

std::string RandomText(int length) {
  static constexpr char kDigits[] = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::random_device random;
  std::string text;
  for (int i = 0; i < length; ++i) text += kDigits[random() % 62];
  return text;
}

std::string RandomKey() {
  return core::AssembleKeyString("", RandomText(core::kKeyIdLength), RandomText(core::kSecretLength), '0',
                                 RandomText(core::kTagLength));
}

google::rpc::Status Error(grpc::StatusCode code, const char* reason) {
  google::rpc::ErrorInfo info;
  info.set_reason(reason);
  info.set_domain("latchkey.dev");
  google::rpc::Status error;
  error.set_code(code);
  error.set_message(absl::StrCat("test server: ", reason));
  error.add_details()->PackFrom(info);
  return error;
}

grpc::Status ToGrpc(const google::rpc::Status& error) {
  return {static_cast<grpc::StatusCode>(error.code()), error.message(), error.SerializeAsString()};
}

google::rpc::Status Unavailable() { return Error(grpc::StatusCode::UNAVAILABLE, "LEASE_EXPIRED"); }

}  // namespace

// Synchronous, one mutex for all: what matters in a test is that the order of things is plain.
class TestServer::Service : public v1::KeyVerify::Service {
 public:
  using Watching = grpc::ServerReaderWriter<v1::WatchResponse, v1::WatchRequest>;
  using Verifying = grpc::ServerReaderWriter<v1::StreamVerifyResponse, v1::StreamVerifyRequest>;

  struct Record {
    TestKey key;
    std::string key_string;
    std::string key_id;
    absl::Time expires_at;
    bool revoked = false;
    int questions = 0;
    std::map<int, int64_t> reported;  // By decision.
  };
  struct Subscriber {
    grpc::ServerContext* context;
    Watching* stream;
    bool greeted = false;
    int64_t acknowledged = 0;
    std::vector<v1::WatchResponse> kept_back;  // While Watch is stalled.
    std::optional<google::rpc::Status> ended;
  };

  explicit Service(Settings settings) : max_staleness_(settings.max_staleness), caller_(RandomKey()) {
    std::string pattern = (std::filesystem::temp_directory_path() / "latchkey_test_server_XXXXXX").string();
    if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("no temporary directory");
    directory_ = pattern;
    const std::filesystem::path file = directory_ / "verifier.key";
    std::ofstream(file).close();
    std::filesystem::permissions(file, std::filesystem::perms(0600));
    std::ofstream(file) << caller_ << "\n";
    chains_.push_back(RandomText(8));
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
    if (server_ == nullptr) throw std::runtime_error("the test server can't listen");
  }

  ~Service() override {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
      EndAll(Error(grpc::StatusCode::UNAVAILABLE, "SHUTTING_DOWN"));
    }
    changed_.notify_all();
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    std::filesystem::remove_all(directory_);
  }

  // --- RPCs ---
  grpc::Status Verify(grpc::ServerContext* context, const v1::VerifyRequest* request,
                      v1::VerifyResponse* response) override {
    Linger(*context);
    const std::lock_guard lock(mutex_);
    ++counts_.verify_calls;
    const v1::VerifyResult result = Judge(*context, *request);
    if (result.has_error()) return ToGrpc(result.error());
    *response = result.response();
    return grpc::Status::OK;
  }

  grpc::Status BatchVerify(grpc::ServerContext* context, const v1::BatchVerifyRequest* request,
                           v1::BatchVerifyResponse* response) override {
    Linger(*context);
    const std::lock_guard lock(mutex_);
    ++counts_.batch_calls;
    if (const auto refused = Refuses(*context)) return ToGrpc(*refused);
    for (const auto& one : request->requests()) *response->add_results() = Judge(*context, one);
    return grpc::Status::OK;
  }

  grpc::Status StreamVerify(grpc::ServerContext* context, Verifying* stream) override {
    v1::StreamVerifyRequest request;
    while (stream->Read(&request)) {
      Linger(*context);
      v1::StreamVerifyResponse response;
      {
        const std::lock_guard lock(mutex_);
        ++counts_.stream_messages;
        counts_.stream_questions += request.requests_size();
        if (stall_verify_) continue;
        if (const auto refused = Refuses(*context)) return ToGrpc(*refused);
        response.set_batch_id(request.batch_id());
        for (int i = 0; i < request.requests_size(); ++i) {
          auto& result = *response.add_results();
          result.set_index(static_cast<uint32_t>(i));
          *result.mutable_result() = Judge(*context, request.requests(i));
        }
      }
      if (!stream->Write(response)) break;
    }
    return grpc::Status::OK;
  }

  grpc::Status Watch(grpc::ServerContext* context, Watching* stream) override {
    v1::WatchRequest message;
    if (!stream->Read(&message) || !message.has_subscribe()) {
      return ToGrpc(Error(grpc::StatusCode::INVALID_ARGUMENT, "FIELD_REQUIRED"));
    }
    Subscriber watch{.context = context, .stream = stream};
    {
      const std::lock_guard lock(mutex_);
      if (const auto refused = Refuses(*context)) return ToGrpc(*refused);
      Greet(watch, message.subscribe());
      watches_.push_back(&watch);
    }
    while (stream->Read(&message)) {
      const std::lock_guard lock(mutex_);
      if (watch.ended.has_value()) break;
      ++counts_.pings;
      if (const auto token = core::RevisionToken::Decode(message.ping().acknowledged_revision())) {
        watch.acknowledged = token->revision;
      }
      if (stall_watches_) continue;
      v1::WatchResponse response;
      auto& pong = *response.mutable_pong();
      pong.set_echo_seq(message.ping().seq());
      *pong.mutable_revision() = Now();
      *pong.mutable_remaining() = client::ToProto(max_staleness_);
      pong.set_history(history_);
      stream->Write(response);
    }
    const std::lock_guard lock(mutex_);
    watches_.remove(&watch);
    return watch.ended.has_value() ? ToGrpc(*watch.ended) : grpc::Status::OK;
  }

  grpc::Status ReportUsage(grpc::ServerContext* context, const v1::ReportUsageRequest* request,
                           v1::ReportUsageResponse* /*response*/) override {
    const std::lock_guard lock(mutex_);
    ++counts_.reports;
    if (const auto refused = Refuses(*context)) return ToGrpc(*refused);
    if (!reports_.insert(request->request_id()).second) return grpc::Status::OK;
    for (const auto& usage : request->usages()) {
      if (Record* record = Find(usage.key_id())) record->reported[usage.decision()] += usage.count();
    }
    return grpc::Status::OK;
  }

  // --- All below with the mutex held ---
  std::optional<google::rpc::Status> Refuses(const grpc::ServerContext& context) const {
    const auto found = context.client_metadata().find("authorization");
    const bool known = found != context.client_metadata().end() &&
                       std::string(found->second.data(), found->second.size()) == "Bearer " + caller_;
    if (!known || !accept_caller_) return Error(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID");
    if (!available_) return Unavailable();
    return std::nullopt;
  }

  v1::VerifyResult Judge(const grpc::ServerContext& context, const v1::VerifyRequest& request) {
    v1::VerifyResult result;
    ++counts_.questions;
    if (const auto refused = Refuses(context)) {
      *result.mutable_error() = *refused;
      return result;
    }
    v1::VerifyResponse& response = *result.mutable_response();
    *response.mutable_revision() = Now();
    *response.mutable_lease_remaining() = client::ToProto(max_staleness_);
    response.set_history(history_);
    const auto parts = core::ParseKeyString(request.key());
    Record* record = parts.has_value() ? Find(parts->kid) : nullptr;
    if (record != nullptr) ++record->questions;
    if (!parts.has_value() || record == nullptr || record->key_string != parts->canonical) {
      response.set_decision(parts.has_value() ? v1::DECISION_NOT_FOUND : v1::DECISION_MALFORMED);
      return result;
    }
    const TestKey& key = record->key;
    const std::vector<std::string> wanted(request.required_permissions().begin(), request.required_permissions().end());
    const std::vector<std::string>& held = PermissionsOf(key.organization, key.role);
    std::vector<core::Cidr> blocks;
    for (const std::string& text : key.allowed_cidrs) blocks.push_back(core::Cidr::Parse(text).value());
    const absl::Time now = absl::Now();
    response.set_decision(static_cast<v1::Decision>(
        core::Judge({.revoked = record->revoked || deleted_organizations_.count(key.organization) != 0,
                     .expired = now >= record->expires_at,
                     .permissions = &held,
                     .allowed_cidrs = blocks},
                    {.permissions = &wanted, .client_ip = request.client().ip()})));
    v1::Identity& identity = *response.mutable_identity();
    identity.set_name(absl::StrCat("organizations/", key.organization, "/keys/", record->key_id));
    identity.set_key_id(record->key_id);
    identity.set_organization(key.organization);
    identity.set_display_name(key.display_name);
    identity.set_role(key.role);
    identity.mutable_permissions()->Assign(held.begin(), held.end());
    identity.set_owner(key.owner);
    identity.mutable_labels()->insert(key.labels.begin(), key.labels.end());
    identity.mutable_allowed_cidrs()->Assign(key.allowed_cidrs.begin(), key.allowed_cidrs.end());
    identity.set_secret_version(1);
    if (record->expires_at != absl::InfiniteFuture()) {
      const absl::Duration since_epoch = record->expires_at - absl::UnixEpoch();
      identity.mutable_expire_time()->set_seconds(client::ToProto(since_epoch).seconds());
      identity.mutable_expire_time()->set_nanos(client::ToProto(since_epoch).nanos());
      *response.mutable_expires_in() = client::ToProto(std::max(absl::ZeroDuration(), record->expires_at - now));
    }
    return result;
  }

  void Greet(Subscriber& watch, const v1::WatchRequest::Subscribe& subscribe) {
    ++counts_.watches;
    const auto resume = core::RevisionToken::Decode(subscribe.resume_revision());
    const bool resumed = resume.has_value() && resume->revision < static_cast<int64_t>(chains_.size()) &&
                         TokenAt(resume->revision) == *resume && resume->revision >= rewritten_at_;
    if (resumed) ++counts_.resumes;
    v1::WatchResponse message;
    auto& hello = *message.mutable_hello();
    *hello.mutable_sub_revision() = resumed ? RevisionAt(resume->revision) : Now();
    hello.set_resumed(resumed);
    *hello.mutable_max_staleness() = client::ToProto(max_staleness_);
    hello.set_history(history_);
    watch.stream->Write(message);
    watch.greeted = true;
    if (!resumed) return;
    for (auto change = changes_.upper_bound(resume->revision); change != changes_.end(); ++change) {
      Send(watch, change->second);
    }
  }

  void Send(Subscriber& watch, const v1::WatchResponse& message) {
    if (stall_watches_) {
      watch.kept_back.push_back(message);
    } else {
      watch.stream->Write(message);
    }
  }

  // A Pong says that every change up to its revision was sent, so there is none before all of this is.
  void SendKeptBack() {
    for (Subscriber* watch : watches_) {
      for (const v1::WatchResponse& message : std::exchange(watch->kept_back, {})) watch->stream->Write(message);
    }
  }

  // A new revision that makes `what` invalid.
  void Change(v1::WatchResponse::Invalidate what) {
    chains_.push_back(RandomText(8));
    *what.mutable_revision() = Now();
    v1::WatchResponse message;
    *message.mutable_invalidate() = std::move(what);
    changes_[revision()] = message;
    for (Subscriber* watch : watches_) Send(*watch, message);
  }

  void EndAll(const google::rpc::Status& why) {
    for (Subscriber* watch : watches_) {
      watch->ended = why;
      // The thread that serves it waits in Read.
      watch->context->TryCancel();
    }
  }

  Record* Find(std::string_view key) {
    const auto parts = core::ParseKeyString(key);
    const auto found = records_.find(std::string(parts.has_value() ? parts->kid : key));
    return found == records_.end() ? nullptr : &found->second;
  }

  const std::vector<std::string>& PermissionsOf(const std::string& organization, const std::string& role) {
    static const std::map<std::string, std::vector<std::string>> kBuiltIn = {
        {"owner", {"*"}}, {"editor", {"app.read", "app.write"}}, {"viewer", {"app.read"}}};
    const auto [place, is_new] = permissions_.try_emplace(organization + "/" + role);
    if (is_new && kBuiltIn.count(role) != 0) place->second = kBuiltIn.at(role);
    return place->second;
  }

  int64_t revision() const { return static_cast<int64_t>(chains_.size()) - 1; }
  core::RevisionToken TokenAt(int64_t revision) const {
    return core::RevisionToken::Of(revision, chains_[static_cast<size_t>(revision)]);
  }
  v1::Revision RevisionAt(int64_t number) const {
    v1::Revision position;
    position.set_number(number);
    position.set_token(TokenAt(number).Encode());
    return position;
  }
  v1::Revision Now() const { return RevisionAt(revision()); }

  // Takes the mutex.
  void Linger(const grpc::ServerContext& context) {
    std::unique_lock lock(mutex_);
    const auto until =
        std::min(std::chrono::system_clock::now() + absl::ToChronoMilliseconds(latency_), context.deadline());
    if (latency_ > absl::ZeroDuration()) changed_.wait_until(lock, until, [this] { return stopping_; });
  }

  const absl::Duration max_staleness_;
  const std::string caller_;
  std::filesystem::path directory_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;

  mutable std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool available_ = true;
  bool accept_caller_ = true;
  bool stall_verify_ = false;
  bool stall_watches_ = false;
  absl::Duration latency_;
  std::map<std::string, Record> records_;
  std::map<std::string, std::vector<std::string>> permissions_;
  std::set<std::string> deleted_organizations_;
  std::vector<std::string> chains_;  // Of each revision, from 0.
  core::HistoryId history_ = std::random_device{}() + core::HistoryId{1};
  int64_t rewritten_at_ = 0;
  std::map<int64_t, v1::WatchResponse> changes_;
  std::list<Subscriber*> watches_;
  std::set<std::string> reports_;
  Counts counts_;
};

TestServer::TestServer(Settings settings) : service_(std::make_unique<Service>(settings)) {}
TestServer::~TestServer() = default;

std::string TestServer::address() const { return absl::StrCat("127.0.0.1:", service_->port_); }

VerifierOptions TestServer::Options() const {
  return {.server = address(), .key_file = (service_->directory_ / "verifier.key").string()};
}

std::string TestServer::AddKey(const TestKey& key) {
  for (const std::string& text : key.allowed_cidrs) {
    if (!core::Cidr::Parse(text).ok()) throw std::invalid_argument("TestKey.allowed_cidrs: no CIDR block");
  }
  const std::lock_guard lock(service_->mutex_);
  const std::string text = RandomKey();
  const std::string id = KeyId(text);
  const absl::Time expires_at = key.ttl == absl::InfiniteDuration() ? absl::InfiniteFuture() : absl::Now() + key.ttl;
  service_->records_[id] = {.key = key, .key_string = text, .key_id = id, .expires_at = expires_at};
  v1::WatchResponse::Invalidate what;
  what.add_key_ids(id);
  service_->Change(std::move(what));
  return text;
}

std::string TestServer::KeyId(std::string_view key_string) {
  const auto parts = core::ParseKeyString(key_string);
  return parts.has_value() ? std::string(parts->kid) : std::string();
}

bool TestServer::Revoke(std::string_view key) {
  const std::lock_guard lock(service_->mutex_);
  Service::Record* record = service_->Find(key);
  if (record == nullptr) return false;
  record->revoked = true;
  v1::WatchResponse::Invalidate what;
  what.add_key_ids(record->key_id);
  service_->Change(std::move(what));
  return true;
}

void TestServer::SetRolePermissions(const std::string& organization, const std::string& role,
                                    std::vector<std::string> permissions) {
  const std::lock_guard lock(service_->mutex_);
  std::sort(permissions.begin(), permissions.end());
  service_->permissions_[organization + "/" + role] = std::move(permissions);
  v1::WatchResponse::Invalidate what;
  what.add_roles(absl::StrCat("organizations/", organization, "/roles/", role));
  service_->Change(std::move(what));
}

void TestServer::DeleteOrganization(const std::string& organization) {
  const std::lock_guard lock(service_->mutex_);
  service_->deleted_organizations_.insert(organization);
  v1::WatchResponse::Invalidate what;
  what.add_organizations(organization);
  service_->Change(std::move(what));
}

void TestServer::SetAvailable(bool available) {
  const std::lock_guard lock(service_->mutex_);
  service_->available_ = available;
  if (!available) service_->EndAll(Unavailable());
}

void TestServer::StallVerifyStreams(bool stall) {
  const std::lock_guard lock(service_->mutex_);
  service_->stall_verify_ = stall;
}

void TestServer::StallWatches(bool stall) {
  const std::lock_guard lock(service_->mutex_);
  service_->stall_watches_ = stall;
  if (!stall) service_->SendKeptBack();
}

void TestServer::SetLatency(absl::Duration latency) {
  const std::lock_guard lock(service_->mutex_);
  service_->latency_ = latency;
}

void TestServer::Drain() {
  const std::lock_guard lock(service_->mutex_);
  v1::WatchResponse message;
  message.mutable_drain();
  for (Service::Subscriber* watch : service_->watches_) service_->Send(*watch, message);
}

void TestServer::EndWatches() {
  const std::lock_guard lock(service_->mutex_);
  service_->EndAll(Error(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
}

void TestServer::RewriteHistory() {
  const std::lock_guard lock(service_->mutex_);
  service_->EndAll(Error(grpc::StatusCode::UNAVAILABLE, "WATCH_ENDED"));
  service_->chains_.push_back(RandomText(8));
  service_->rewritten_at_ = service_->revision();
  ++service_->history_;
}

void TestServer::AcceptCaller(bool accept) {
  const std::lock_guard lock(service_->mutex_);
  service_->accept_caller_ = accept;
  if (!accept) service_->EndAll(Error(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

TestServer::Counts TestServer::counts() const {
  const std::lock_guard lock(service_->mutex_);
  return service_->counts_;
}

int TestServer::open_watches() const {
  const std::lock_guard lock(service_->mutex_);
  return static_cast<int>(service_->watches_.size());
}

int TestServer::questions(std::string_view key) const {
  const std::lock_guard lock(service_->mutex_);
  const Service::Record* record = service_->Find(key);
  return record == nullptr ? 0 : record->questions;
}

int64_t TestServer::reported_uses(std::string_view key, Decision decision) const {
  const std::lock_guard lock(service_->mutex_);
  const Service::Record* record = service_->Find(key);
  if (record == nullptr) return 0;
  const auto found = record->reported.find(static_cast<int>(decision));
  return found == record->reported.end() ? 0 : found->second;
}

int64_t TestServer::acknowledged_revision() const {
  const std::lock_guard lock(service_->mutex_);
  int64_t least = service_->revision();
  for (const Service::Subscriber* watch : service_->watches_) least = std::min(least, watch->acknowledged);
  return least;
}

int64_t TestServer::revision() const {
  const std::lock_guard lock(service_->mutex_);
  return service_->revision();
}

}  // namespace latchkey::testing
