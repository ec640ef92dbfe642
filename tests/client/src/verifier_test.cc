#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "client/core/key_format.h"
#include "client/src/connection.h"
#include "client/src/convert.h"
#include "client/src/remote_verifier.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/grpcpp.h"
#include "gtest/gtest.h"
#include "latchkey/v1/key_verify.grpc.pb.h"
#include "latchkey/verifier.h"
#include "tests/client/src/slow_writes.h"

namespace latchkey {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const char kSecret[] = "SecretSecretSecretSecretSecretSecretSecret0";

std::string WellFormedKey() { return core::AssembleKeyString("", "0123456789ABCDEF", kSecret, '0', "00000000000"); }

std::string CallersKey() {
  return core::AssembleKeyString("", "Caller0000000000", "0000000000000000000000000000000000000000000", '0',
                                 "00000000000");
}

// Answers as the test tells it to, and remembers what it was asked.
class ScriptedKeyVerify : public v1::KeyVerify::Service {
 public:
  using Script = std::function<grpc::Status(const v1::VerifyRequest&, v1::VerifyResponse&)>;

  void Set(Script script) {
    absl::MutexLock lock(&mutex_);
    script_ = std::move(script);
  }
  int calls() {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }
  v1::VerifyRequest last_request() {
    absl::MutexLock lock(&mutex_);
    return last_request_;
  }
  std::string last_authorization() {
    absl::MutexLock lock(&mutex_);
    return last_authorization_;
  }

  grpc::Status Verify(grpc::ServerContext* context, const v1::VerifyRequest* request,
                      v1::VerifyResponse* response) override {
    Script script;
    {
      absl::MutexLock lock(&mutex_);
      ++calls_;
      last_request_ = *request;
      const auto found = context->client_metadata().find("authorization");
      if (found != context->client_metadata().end()) {
        last_authorization_.assign(found->second.data(), found->second.size());
      }
      script = script_;
    }
    const grpc::Status status = script(*request, *response);
    // As a server that has a lease; a script may say otherwise.
    if (!response->has_lease_remaining()) response->mutable_lease_remaining()->set_seconds(5);
    return status;
  }

 private:
  absl::Mutex mutex_;
  Script script_ = [](const v1::VerifyRequest&, v1::VerifyResponse&) { return grpc::Status::OK; };
  int calls_ = 0;
  v1::VerifyRequest last_request_;
  std::string last_authorization_;
};

ScriptedKeyVerify::Script Decide(int decision) {
  return [decision](const v1::VerifyRequest&, v1::VerifyResponse& response) {
    response.set_decision(static_cast<v1::Decision>(decision));
    return grpc::Status::OK;
  };
}

ScriptedKeyVerify::Script FailWith(grpc::Status status) {
  return [status = std::move(status)](const v1::VerifyRequest&, v1::VerifyResponse&) { return status; };
}

class VerifierTest : public ::testing::Test {
 protected:
  VerifierTest() {
    std::string pattern = (std::filesystem::temp_directory_path() / "latchkey_verifier_XXXXXX").string();
    directory_ = mkdtemp(pattern.data());
    StartServer(0);
  }
  ~VerifierTest() override {
    StopServer();
    std::filesystem::remove_all(directory_);
  }

  void StartServer(int port) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort(absl::StrCat("127.0.0.1:", port), grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void StopServer() {
    if (server_ == nullptr) return;
    server_->Shutdown(std::chrono::system_clock::now());
    server_->Wait();
    server_.reset();
  }

  std::string WriteKeyFile(const std::string& text, std::filesystem::perms mode = std::filesystem::perms(0600)) {
    const std::string path = absl::StrCat(directory_, "/caller.key");
    std::filesystem::remove(path);
    std::ofstream(path) << text;
    std::filesystem::permissions(path, mode);
    return path;
  }

  VerifierOptions Options() {
    return {.server = absl::StrCat("127.0.0.1:", port_),
            .key_file = WriteKeyFile(absl::StrCat(CallersKey(), "\n")),
            .timeout = absl::Seconds(30),
            .cache = false};
  }

  std::unique_ptr<Verifier> Connected(VerifierOptions options) {
    auto verifier = Verifier::Connect(options);
    EXPECT_TRUE(verifier.ok()) << verifier.status();
    return *std::move(verifier);
  }
  std::unique_ptr<Verifier> Connected() { return Connected(Options()); }

  std::string directory_;
  int port_ = 0;
  // A call that is held, and its release. Members, because the server's thread may look at them after the test is over.
  absl::Notification arrived_;
  absl::Notification release_;
  ScriptedKeyVerify service_;
  std::unique_ptr<grpc::Server> server_;
};

TEST(Answer, DefaultOneIsUndecided) {
  const Answer answer;
  EXPECT_TRUE(answer.undecided());
  EXPECT_FALSE(answer.allowed());
  EXPECT_FALSE(answer.error().ok());
}

TEST(Answer, UndecidedNeverHasAnOkError) { EXPECT_FALSE(Answer::Undecided(absl::OkStatus()).error().ok()); }

TEST(DecisionName, UnknownNumberIsUnspecified) {
  EXPECT_EQ(DecisionName(Decision::kRevoked), "REVOKED");
  EXPECT_EQ(DecisionName(static_cast<Decision>(77)), "UNSPECIFIED");
}

TEST_F(VerifierTest, AllowedComesWithTheIdentity) {
  service_.Set([](const v1::VerifyRequest&, v1::VerifyResponse& response) {
    response.set_decision(v1::DECISION_ALLOWED);
    v1::Identity& identity = *response.mutable_identity();
    identity.set_name("organizations/acme/keys/0123456789ABCDEF");
    identity.set_key_id("0123456789ABCDEF");
    identity.set_organization("acme");
    identity.set_display_name("Nightly export");
    identity.set_role("viewer");
    identity.add_permissions("app.read");
    identity.set_owner("ops");
    (*identity.mutable_labels())["team"] = "web";
    identity.mutable_expire_time()->set_seconds(4'000'000'000);
    identity.set_secret_version(3);
    return grpc::Status::OK;
  });
  const Answer answer = Connected()->Verify(WellFormedKey());
  EXPECT_TRUE(answer.allowed());
  EXPECT_TRUE(answer.error().ok());
  EXPECT_EQ(answer.decision(), Decision::kAllowed);
  EXPECT_EQ(answer.identity().name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(answer.identity().key_id(), "0123456789ABCDEF");
  EXPECT_EQ(answer.identity().organization(), "acme");
  EXPECT_EQ(answer.identity().display_name(), "Nightly export");
  EXPECT_EQ(answer.identity().role(), "viewer");
  EXPECT_THAT(answer.identity().permissions(), ElementsAre("app.read"));
  EXPECT_EQ(answer.identity().owner(), "ops");
  EXPECT_EQ(answer.identity().labels().at("team"), "web");
  EXPECT_EQ(answer.identity().expires_at(), absl::FromUnixSeconds(4'000'000'000));
  EXPECT_EQ(answer.identity().secret_version(), 3);
}

TEST_F(VerifierTest, UnsetExpiryIsNever) {
  service_.Set(Decide(v1::DECISION_ALLOWED));
  EXPECT_EQ(Connected()->Verify(WellFormedKey()).identity().expires_at(), absl::InfiniteFuture());
}

TEST_F(VerifierTest, EveryNumberButAllowedIsDenied) {
  const std::unique_ptr<Verifier> verifier = Connected();
  for (const int decision : {0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 99, -1}) {
    service_.Set(Decide(decision));
    const Answer answer = verifier->Verify(WellFormedKey());
    EXPECT_TRUE(answer.denied()) << decision;
    EXPECT_FALSE(answer.allowed()) << decision;
    EXPECT_EQ(static_cast<int>(answer.decision()), decision);
  }
}

TEST_F(VerifierTest, SendsTheKeyThePermissionsAndTheCallersCredentials) {
  Connected()->Verify(WellFormedKey(), {.required_permissions = {"app.read", "app.pages.publish"}});
  const v1::VerifyRequest request = service_.last_request();
  EXPECT_EQ(request.key(), WellFormedKey());
  EXPECT_THAT(request.required_permissions(), ElementsAre("app.read", "app.pages.publish"));
  EXPECT_EQ(service_.last_authorization(), absl::StrCat("Bearer ", CallersKey()));
}

TEST_F(VerifierTest, MalformedStringIsDeniedWithoutACall) {
  const std::unique_ptr<Verifier> verifier = Connected();
  std::string wrong_crc = WellFormedKey();
  wrong_crc.back() = wrong_crc.back() == '0' ? '1' : '0';
  const std::vector<std::string> malformed = {
      "", "no key", wrong_crc, WellFormedKey() + "\n", " " + WellFormedKey(), std::string(1 << 20, 'a')};
  for (const std::string& text : malformed) {
    const Answer answer = verifier->Verify(text);
    EXPECT_TRUE(answer.denied());
    EXPECT_EQ(answer.decision(), Decision::kMalformed);
  }
  EXPECT_EQ(service_.calls(), 0);
}

TEST_F(VerifierTest, TooManyOrUnfitPermissionsAreTheCallersFaultAndMakeNoCall) {
  const std::unique_ptr<Verifier> verifier = Connected();
  const std::vector<std::vector<std::string>> wrong = {
      std::vector<std::string>(33, "app.read"), {"app.read", std::string(129, 'a')}, {""}, {"app read"}};
  for (const auto& permissions : wrong) {
    const Answer answer = verifier->Verify(WellFormedKey(), {.required_permissions = permissions});
    EXPECT_TRUE(answer.undecided());
    EXPECT_EQ(answer.error().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(answer.error().message()), HasSubstr("required_permissions"));
  }
  EXPECT_EQ(service_.calls(), 0);
  service_.Set(Decide(v1::DECISION_ALLOWED));
  EXPECT_TRUE(
      verifier->Verify(WellFormedKey(), {.required_permissions = std::vector<std::string>(32, std::string(128, 'a'))})
          .allowed());
}

TEST_F(VerifierTest, AnAllowanceThatOutlivedItsLeaseIsUndecidedAndALateDenialIsStillADenial) {
  const std::unique_ptr<Verifier> verifier = Connected();
  for (const v1::Decision decision : {v1::DECISION_ALLOWED, v1::DECISION_REVOKED}) {
    service_.Set([decision](const v1::VerifyRequest&, v1::VerifyResponse& response) {
      response.set_decision(decision);
      response.mutable_lease_remaining()->set_nanos(1);
      return grpc::Status::OK;
    });
    const Answer answer = verifier->Verify(WellFormedKey());
    EXPECT_EQ(answer.undecided(), decision == v1::DECISION_ALLOWED);
    EXPECT_EQ(answer.denied(), decision == v1::DECISION_REVOKED);
  }
}

TEST_F(VerifierTest, AnAllowancesTimeCountsFromBeforeItsQuestionWasWritten) {
  const absl::Duration lease = absl::Milliseconds(300);
  service_.Set([lease](const v1::VerifyRequest&, v1::VerifyResponse& response) {
    response.set_decision(v1::DECISION_ALLOWED);
    *response.mutable_lease_remaining() = client::ToProto(lease);
    return grpc::Status::OK;
  });
  absl::Notification never;
  client::RemoteVerifier verifier(
      std::make_unique<client::Connection>(
          client::ChannelWithSlowWrites(absl::StrCat("127.0.0.1:", port_),
                                        [&] { never.WaitForNotificationWithTimeout(lease); }),
          core::Secret(CallersKey())),
      absl::Seconds(30));
  EXPECT_EQ(verifier.Verify(WellFormedKey(), {}).error().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(service_.calls(), 1);
}

TEST_F(VerifierTest, EveryErrorIsUndecidedWithItsCodeAndMessage) {
  const std::unique_ptr<Verifier> verifier = Connected();
  for (int code = 1; code <= 16; ++code) {
    // Even a response that says "allowed" counts for nothing beside an error.
    service_.Set([code](const v1::VerifyRequest&, v1::VerifyResponse& response) {
      response.set_decision(v1::DECISION_ALLOWED);
      return grpc::Status(static_cast<grpc::StatusCode>(code), "said the server");
    });
    const Answer answer = verifier->Verify(WellFormedKey());
    EXPECT_TRUE(answer.undecided()) << code;
    EXPECT_EQ(static_cast<int>(answer.error().code()), code);
    EXPECT_EQ(std::string(answer.error().message()), "said the server");
  }
}

TEST_F(VerifierTest, ErrorKeepsItsDetails) {
  google::rpc::ErrorInfo info;
  info.set_reason("LEASE_EXPIRED");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  service_.Set(FailWith({grpc::StatusCode::UNAVAILABLE, "lease expired", details.SerializeAsString()}));
  const auto payload = Connected()->Verify(WellFormedKey()).error().GetPayload(client::kErrorInfoUrl);
  ASSERT_TRUE(payload.has_value());
  google::rpc::ErrorInfo received;
  ASSERT_TRUE(received.ParseFromString(std::string(*payload)));
  EXPECT_EQ(received.reason(), "LEASE_EXPIRED");
}

TEST_F(VerifierTest, ErrorNeverQuotesAKeyEvenIfTheServerDoes) {
  const std::unique_ptr<Verifier> verifier = Connected();
  for (const std::string& key : {WellFormedKey(), CallersKey()}) {
    service_.Set(FailWith({grpc::StatusCode::INTERNAL, absl::StrCat("can't handle ", key)}));
    const Answer answer = verifier->Verify(WellFormedKey());
    EXPECT_TRUE(answer.undecided());
    EXPECT_EQ(answer.error().code(), absl::StatusCode::kInternal);
    EXPECT_THAT(answer.error().ToString(), Not(HasSubstr(key)));
  }
}

TEST_F(VerifierTest, ServerTooSlowForTheOptionsTimeoutIsUndecided) {
  service_.Set([this](const v1::VerifyRequest&, v1::VerifyResponse&) {
    release_.WaitForNotification();
    return grpc::Status::OK;
  });
  VerifierOptions options = Options();
  options.timeout = absl::Milliseconds(50);
  const Answer answer = Connected(options)->Verify(WellFormedKey());
  release_.Notify();
  EXPECT_TRUE(answer.undecided());
  EXPECT_EQ(answer.error().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(VerifierTest, ShorterTimeoutOfTheCallWinsOverTheOptions) {
  service_.Set([this](const v1::VerifyRequest&, v1::VerifyResponse&) {
    release_.WaitForNotification();
    return grpc::Status::OK;
  });
  const Answer answer = Connected()->Verify(WellFormedKey(), {.timeout = absl::Milliseconds(50)});
  release_.Notify();
  EXPECT_EQ(answer.error().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(VerifierTest, NoTimeLeftIsUndecidedWithoutACall) {
  const Answer answer = Connected()->Verify(WellFormedKey(), {.timeout = absl::ZeroDuration()});
  EXPECT_EQ(answer.error().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(service_.calls(), 0);
}

TEST_F(VerifierTest, ServerThatIsAwayIsUndecidedAndItsReturnIsNoticed) {
  service_.Set(Decide(v1::DECISION_ALLOWED));
  const std::unique_ptr<Verifier> verifier = Connected();
  ASSERT_TRUE(verifier->Verify(WellFormedKey()).allowed());
  const int port = port_;
  StopServer();
  const Answer away = verifier->Verify(WellFormedKey());
  EXPECT_TRUE(away.undecided());
  EXPECT_EQ(away.error().code(), absl::StatusCode::kUnavailable);

  StartServer(port);
  ASSERT_TRUE(verifier->WaitUntilConnected(absl::Seconds(30)));
  EXPECT_TRUE(verifier->Verify(WellFormedKey()).allowed());
}

TEST_F(VerifierTest, WaitingForAServerThatIsAwayEndsWithThePatience) {
  const std::unique_ptr<Verifier> verifier = Connected();
  StopServer();
  EXPECT_FALSE(verifier->WaitUntilConnected(absl::Milliseconds(50)));
}

TEST_F(VerifierTest, AsyncCallsBackExactlyOnceWithAnswerErrorOrMalformed) {
  constexpr int kRounds = 200;
  std::atomic<int> allowed = 0;
  std::atomic<int> denied = 0;
  std::atomic<int> undecided = 0;
  std::atomic<int> served = 0;
  service_.Set([&served](const v1::VerifyRequest&, v1::VerifyResponse& response) {
    if (served++ % 2 == 0) return grpc::Status(grpc::StatusCode::UNAVAILABLE, "every other");
    response.set_decision(v1::DECISION_ALLOWED);
    return grpc::Status::OK;
  });
  const auto count = [&](const Answer& answer) {
    ++(answer.allowed() ? allowed : answer.denied() ? denied : undecided);
  };
  std::unique_ptr<Verifier> verifier = Connected();
  for (int i = 0; i < kRounds; ++i) {
    verifier->VerifyAsync(std::string(WellFormedKey()), {}, count);
    verifier->VerifyAsync("malformed", {}, count);
  }
  verifier.reset();  // Waits for the calls.
  EXPECT_EQ(allowed, kRounds / 2);
  EXPECT_EQ(undecided, kRounds / 2);
  EXPECT_EQ(denied, kRounds);
}

TEST_F(VerifierTest, DestructionWaitsForTheCallInFlight) {
  service_.Set([this](const v1::VerifyRequest&, v1::VerifyResponse& response) {
    arrived_.Notify();
    release_.WaitForNotification();
    response.set_decision(v1::DECISION_ALLOWED);
    return grpc::Status::OK;
  });
  std::unique_ptr<Verifier> verifier = Connected();
  int callbacks = 0;
  Answer received;
  verifier->VerifyAsync(WellFormedKey(), {}, [&](Answer answer) {
    ++callbacks;
    received = std::move(answer);
  });
  arrived_.WaitForNotification();
  std::thread releaser([this] { release_.Notify(); });
  verifier.reset();
  // Read without a lock: only the destructor's wait makes it sound.
  EXPECT_EQ(callbacks, 1);
  EXPECT_TRUE(received.allowed());
  releaser.join();
}

TEST_F(VerifierTest, ConnectNamesTheWrongOption) {
  const auto error = [](const VerifierOptions& options) { return Verifier::Connect(options).status(); };
  VerifierOptions options = Options();
  for (const char* const server : {"", "localhost", "http://localhost:50051", "localhost :50051", "localhost:",
                                   "localhost:0", "127.0.0.1:65536", "127.0.0.1:99999999999999", "unix:"}) {
    options.server = server;
    EXPECT_EQ(error(options).code(), absl::StatusCode::kInvalidArgument) << server;
    EXPECT_THAT(error(options).ToString(), HasSubstr("VerifierOptions.server")) << server;
  }
  for (const char* const server : {"127.0.0.1:65535", "[::1]:1", "dns:///localhost:50051", "unix:/tmp/1/65536"}) {
    options.server = server;
    EXPECT_TRUE(error(options).ok()) << server << ": " << error(options);
  }
  options = Options();
  options.key_file = "";
  EXPECT_EQ(error(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(error(options).ToString(), HasSubstr("VerifierOptions.key_file"));
  for (const absl::Duration timeout :
       {absl::ZeroDuration(), absl::Microseconds(999), absl::Seconds(61), absl::InfiniteDuration()}) {
    options = Options();
    options.timeout = timeout;
    EXPECT_EQ(error(options).code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(error(options).ToString(), HasSubstr("VerifierOptions.timeout"));
  }
  using Change = std::function<void(VerifierOptions&)>;
  const auto grace = VerifierOptions::OnUnavailable::kGrace;
  const std::vector<std::pair<const char*, Change>> wrong = {
      {"cache_entries", [](VerifierOptions& o) { o.cache_entries = 0; }},
      {"cache_entries", [](VerifierOptions& o) { o.cache_entries = 10'000'001; }},
      {"negative_entries", [](VerifierOptions& o) { o.negative_entries = 1'000'001; }},
      {"grace", [=](VerifierOptions& o) { o.on_unavailable = grace; }},
      {"grace", [](VerifierOptions& o) { o.grace = absl::Seconds(1); }},
      {"grace", [=](VerifierOptions& o) { o.on_unavailable = grace, o.grace = absl::Seconds(601); }},
      {"grace", [=](VerifierOptions& o) { o.on_unavailable = grace, o.grace = absl::Seconds(-1); }}};
  for (const auto& [option, change] : wrong) {
    options = Options();
    options.cache = true;
    change(options);
    EXPECT_EQ(error(options).code(), absl::StatusCode::kInvalidArgument) << option;
    EXPECT_THAT(error(options).ToString(), HasSubstr(absl::StrCat("VerifierOptions.", option))) << option;
    options.cache = false;
    EXPECT_TRUE(error(options).ok()) << option;
  }
}

TEST_F(VerifierTest, KeyFileFaultsSayWhatToDoAndQuoteNothing) {
  const auto connect = [this](const std::string& path) {
    VerifierOptions options = Options();
    options.key_file = path;
    return Verifier::Connect(options).status();
  };
  EXPECT_EQ(connect(directory_ + "/none").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(connect(directory_).code(), absl::StatusCode::kInvalidArgument);
  for (const int mode : {0640, 0604, 0660, 0644, 0620}) {
    VerifierOptions options = Options();
    options.key_file = WriteKeyFile(CallersKey(), std::filesystem::perms(mode));
    const absl::Status error = Verifier::Connect(options).status();
    EXPECT_EQ(error.code(), absl::StatusCode::kPermissionDenied) << mode;
    EXPECT_THAT(error.ToString(), HasSubstr("chmod 600"));
  }
  const std::string good = CallersKey();
  for (const std::string& text : {std::string(), std::string("\n"), good + "\n\n", good + "\n" + good, " " + good,
                                  good.substr(1), good + "x", good + std::string(5000, 'x'), good + "\r\n\n"}) {
    VerifierOptions options = Options();
    options.key_file = WriteKeyFile(text);
    const absl::Status error = Verifier::Connect(options).status();
    EXPECT_EQ(error.code(), absl::StatusCode::kInvalidArgument) << text.size();
    EXPECT_THAT(error.ToString(), Not(HasSubstr("0000000000000000")));
  }
}

TEST_F(VerifierTest, KeyFileMayLackTheFinalNewlineAndCarryALabel) {
  VerifierOptions options = Options();
  options.key_file = WriteKeyFile("acme_live_" + CallersKey());
  Connected(options)->Verify(WellFormedKey());
  EXPECT_EQ(service_.last_authorization(), "Bearer acme_live_" + CallersKey());
}

}  // namespace
}  // namespace latchkey
