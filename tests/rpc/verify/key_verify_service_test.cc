#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <future>
#include <string>

#include "tests/rpc/rpc_server_fixture.h"

// Verify, BatchVerify and ReportUsage over a real connection.
namespace latchkey::rpc {
namespace {

class KeyVerifyRpc : public RpcServerFixture {
 protected:
  v1::Decision DecisionOn(const v1::VerifyRequest& request) {
    v1::VerifyResponse verdict;
    const grpc::Status status = Verify(verifier_key_, request, &verdict);
    EXPECT_THAT(status, Succeeds());
    return verdict.decision();
  }
  static v1::VerifyRequest Ask(const std::string& key) {
    v1::VerifyRequest request;
    request.set_key(key);
    return request;
  }
};

TEST_F(KeyVerifyRpc, MinRevisionMakesAServerCatchUpFirst) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  OtherServer other(service_);
  const core::RevisionToken deleted = other.Delete(created.key());
  v1::VerifyRequest request = Ask(created.key_string());
  // Nobody told this server, and its lease is good.
  ASSERT_EQ(DecisionOn(request), v1::DECISION_ALLOWED);
  request.set_min_revision(deleted.Encode());
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, request, &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_REVOKED);
  EXPECT_GE(verdict.revision().number(), deleted.revision);
  // Known by now.
  EXPECT_EQ(DecisionOn(request), v1::DECISION_REVOKED);
}

TEST_F(KeyVerifyRpc, FreshReadsTheLogFirst) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  OtherServer other(service_);
  other.Delete(created.key());
  v1::VerifyRequest request = Ask(created.key_string());
  ASSERT_EQ(DecisionOn(request), v1::DECISION_ALLOWED);
  request.set_fresh(true);
  EXPECT_EQ(DecisionOn(request), v1::DECISION_REVOKED);
}

TEST_F(KeyVerifyRpc, FreshAnswerThatCanNotBeReadIsNoDenial) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  service_.store.SetUnavailable(true);
  v1::VerifyRequest request = Ask(created.key_string());
  EXPECT_EQ(DecisionOn(request), v1::DECISION_ALLOWED);
  request.set_fresh(true);
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify(verifier_key_, request, &verdict), Fails(grpc::StatusCode::UNAVAILABLE, "DATABASE_UNAVAILABLE"));
}

TEST_F(KeyVerifyRpc, RevisionOfAnotherHistoryIsUnknownAndOneOfTheFutureNotReached) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  std::optional<core::RevisionToken> token = core::RevisionToken::Decode(created.key().revision().token());
  ASSERT_TRUE(token.has_value());
  v1::VerifyRequest request = Ask(created.key_string());
  request.set_min_revision(token->Encode());
  EXPECT_EQ(DecisionOn(request), v1::DECISION_ALLOWED);

  v1::VerifyResponse verdict;
  core::RevisionToken other = *token;
  other.chain[0] = static_cast<char>(other.chain[0] ^ 1);
  request.set_min_revision(other.Encode());
  EXPECT_THAT(Verify(verifier_key_, request, &verdict),
              Fails(grpc::StatusCode::FAILED_PRECONDITION, "REVISION_UNKNOWN"));
  token->revision += 1000;
  request.set_min_revision(token->Encode());
  EXPECT_THAT(Verify(verifier_key_, request, &verdict), Fails(grpc::StatusCode::UNAVAILABLE, "REVISION_NOT_REACHED"));
  request.set_min_revision("nonsense");
  EXPECT_THAT(Verify(verifier_key_, request, &verdict), BlamesField("min_revision"));
}

TEST_F(KeyVerifyRpc, OneWaitServesABatchAndHurtsNoNeighbour) {
  const v1::CreateKeyResponse gone = MustCreate("viewer");
  const v1::CreateKeyResponse stays = MustCreate("viewer");
  OtherServer other(service_);
  const core::RevisionToken deleted = other.Delete(gone.key());
  core::RevisionToken wrong = deleted;
  wrong.chain[7] = static_cast<char>(wrong.chain[7] ^ 1);
  v1::BatchVerifyRequest request;
  *request.add_requests() = Ask(gone.key_string());
  for (const core::RevisionToken& token : {deleted, wrong}) {
    v1::VerifyRequest& item = *request.add_requests();
    item = Ask(gone.key_string());
    item.set_min_revision(token.Encode());
  }
  v1::VerifyRequest& fresh = *request.add_requests();
  fresh = Ask(stays.key_string());
  fresh.set_fresh(true);
  fresh.set_min_revision(deleted.Encode());
  v1::BatchVerifyResponse response;
  ASSERT_THAT(verify_->BatchVerify(With(verifier_key_).get(), request, &response), Succeeds());
  ASSERT_EQ(response.results_size(), 4);
  EXPECT_EQ(response.results(0).response().decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(response.results(1).response().decision(), v1::DECISION_REVOKED);
  EXPECT_EQ(response.results(2).error().code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_EQ(response.results(3).response().decision(), v1::DECISION_ALLOWED);
}

TEST_F(KeyVerifyRpc, VerdictCarriesTheTokenOfTheStateItWasReadAt) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, created.key_string(), &verdict), Succeeds());
  EXPECT_EQ(verdict.revision().number(), created.key().revision().number());
  EXPECT_EQ(verdict.revision().token(), created.key().revision().token());
  const v1::Key deleted = MustDelete(acme_key_, created.key().name());
  EXPECT_GT(deleted.revision().number(), created.key().revision().number());
  ASSERT_THAT(Verify(verifier_key_, created.key_string(), &verdict), Succeeds());
  EXPECT_EQ(verdict.revision().token(), deleted.revision().token());
}

TEST_F(KeyVerifyRpc, KeyWithCidrsIsAllowedFromThereOnly) {
  const v1::CreateKeyResponse created = MustCreate("viewer", {"10.0.0.0/8"});
  v1::VerifyRequest request = Ask(created.key_string());
  EXPECT_EQ(DecisionOn(request), v1::DECISION_CLIENT_NOT_ALLOWED);
  request.mutable_client()->set_ip("10.1.2.3");
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, request, &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_ALLOWED);
  EXPECT_THAT(verdict.identity().allowed_cidrs(), ::testing::ElementsAre("10.0.0.0/8"));
  request.mutable_client()->set_ip("::ffff:10.1.2.3");
  EXPECT_EQ(DecisionOn(request), v1::DECISION_ALLOWED);
  request.mutable_client()->set_ip("11.1.2.3");
  EXPECT_EQ(DecisionOn(request), v1::DECISION_CLIENT_NOT_ALLOWED);
  request.mutable_client()->set_ip("nowhere");
  EXPECT_THAT(Verify(verifier_key_, request, &verdict), BlamesField("client.ip"));
}

TEST_F(KeyVerifyRpc, CallersOwnKeyIsHeldToTheAddressItCallsFrom) {
  const v1::CreateKeyResponse here = MustCreate("verifier", {"127.0.0.0/8"});
  const v1::CreateKeyResponse elsewhere = MustCreate("verifier", {"10.0.0.0/8"});
  v1::VerifyResponse verdict;
  EXPECT_THAT(Verify(here.key_string(), acme_key_, &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_ALLOWED);
  EXPECT_THAT(Verify(elsewhere.key_string(), acme_key_, &verdict),
              Fails(grpc::StatusCode::UNAUTHENTICATED, "CREDENTIALS_INVALID"));
}

// --- ReportUsage ---

class ReportUsageRpc : public KeyVerifyRpc {
 protected:
  // Reports, and flushes as the server's timer does.
  grpc::Status Report(const std::string& caller, const v1::ReportUsageRequest& request) {
    std::future<grpc::Status> status = std::async(std::launch::async, [&] {
      v1::ReportUsageResponse response;
      return verify_->ReportUsage(With(caller).get(), request, &response);
    });
    while (status.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
      if (service_.uses.reports_waiting()) static_cast<void>(service_.uses.Flush());
    }
    return status.get();
  }
  static v1::ReportUsageRequest UseOf(const v1::Key& key, const std::string& id) {
    v1::ReportUsageRequest request;
    request.set_request_id(id);
    v1::ReportUsageRequest::Usage& usage = *request.add_usages();
    usage.set_key_id(core::ParseKeyName(key.name())->kid);
    usage.set_secret_version(1);
    usage.set_count(5);
    usage.set_decision(v1::DECISION_ALLOWED);
    return request;
  }
  int64_t CountOf(const v1::Key& key, int32_t version = 1) {
    const absl::Time hour = absl::UnixEpoch() + absl::Floor(service_.now - absl::UnixEpoch(), absl::Hours(1));
    return service_.store.UseCount(core::ParseKeyName(key.name())->kid, version, hour, 1);
  }
};

TEST_F(ReportUsageRpc, ReportIsDurableWhenItIsAnsweredAndShownAsLastUse) {
  const v1::Key key = MustCreate("viewer").key();
  ASSERT_FALSE(key.has_last_used_time());
  ASSERT_THAT(Report(verifier_key_, UseOf(key, "a")), Succeeds());
  EXPECT_EQ(CountOf(key), 5);
  v1::GetKeyRequest request;
  request.set_name(key.name());
  v1::Key shown;
  ASSERT_THAT(admin_->GetKey(With(acme_key_).get(), request, &shown), Succeeds());
  EXPECT_EQ(shown.last_used_time().seconds(), absl::ToUnixSeconds(service_.now) / 60 * 60);
}

TEST_F(ReportUsageRpc, RetriedReportCountsOnceAndAnotherAgain) {
  const v1::Key key = MustCreate("viewer").key();
  ASSERT_THAT(Report(verifier_key_, UseOf(key, "a")), Succeeds());
  ASSERT_THAT(Report(verifier_key_, UseOf(key, "a")), Succeeds());
  EXPECT_EQ(CountOf(key), 5);
  ASSERT_THAT(Report(verifier_key_, UseOf(key, "b")), Succeeds());
  EXPECT_EQ(CountOf(key), 10);
}

TEST_F(ReportUsageRpc, ReportAboutAnotherOrganizationsKeyIsIgnored) {
  const v1::CreateKeyResponse acme_verifier = MustCreate("verifier");
  keys::IssuedKey foreign = service_.MustCreate(service_.system_owner, "system", "viewer");
  v1::Key foreign_key;
  foreign_key.set_name(core::KeyNameOf("system", foreign.key.kid));
  const v1::Key own = MustCreate("viewer").key();
  v1::ReportUsageRequest request = UseOf(foreign_key, "a");
  *request.add_usages() = UseOf(own, "").usages(0);
  ASSERT_THAT(Report(acme_verifier.key_string(), request), Succeeds());
  EXPECT_EQ(CountOf(foreign_key), 0);
  EXPECT_EQ(CountOf(own), 5);
}

TEST_F(ReportUsageRpc, ReportAboutAVersionThatTheKeyDoesNotHaveIsIgnored) {
  const v1::Key key = MustCreate("viewer").key();
  v1::ReportUsageRequest request = UseOf(key, "a");
  *request.add_usages() = request.usages(0);
  request.mutable_usages(0)->set_secret_version(2);
  ASSERT_THAT(Report(verifier_key_, request), Succeeds());
  EXPECT_EQ(CountOf(key, 2), 0);
  EXPECT_EQ(CountOf(key), 5);
}

TEST_F(ReportUsageRpc, ReportThatCouldNotBeWrittenIsToldSo) {
  const v1::Key key = MustCreate("viewer").key();
  service_.store.SetUnavailable(true);
  EXPECT_THAT(Report(verifier_key_, UseOf(key, "a")), Fails(grpc::StatusCode::UNAVAILABLE, "DATABASE_UNAVAILABLE"));
  service_.store.SetUnavailable(false);
  EXPECT_EQ(CountOf(key), 0);
}

TEST_F(ReportUsageRpc, NeedsPermissionAndAGoodRequest) {
  const v1::CreateKeyResponse viewer = MustCreate("viewer");
  EXPECT_THAT(Report(viewer.key_string(), UseOf(viewer.key(), "a")),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "PERMISSION_MISSING"));
  v1::ReportUsageRequest wrong = UseOf(viewer.key(), "a");
  wrong.mutable_usages(0)->set_count(0);
  EXPECT_THAT(Report(verifier_key_, wrong), BlamesField("usages[0].count"));
}

}  // namespace
}  // namespace latchkey::rpc
