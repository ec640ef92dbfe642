#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/rpc/rpc_server_fixture.h"
#include "tests/support/forwarding_store.h"

// What KeyAdmin does with addresses, revisions and waiting, over a real connection.
namespace latchkey::rpc {
namespace {

class KeyAdminRpc : public RpcServerFixture {
 protected:
  grpc::Status Delete(const std::string& name, v1::RevocationWait wait, v1::Key* key,
                      std::chrono::milliseconds deadline = std::chrono::milliseconds(0)) {
    v1::DeleteKeyRequest request;
    request.set_name(name);
    request.set_wait(wait);
    const auto context = With(acme_key_);
    if (deadline.count() > 0) context->set_deadline(std::chrono::system_clock::now() + deadline);
    return admin_->DeleteKey(context.get(), request, key);
  }
};

// A store whose lists of keys hang until they are let go.
class HangingLists final : public ::latchkey::testing::ForwardingStore {
 public:
  using ForwardingStore::ForwardingStore;
  absl::StatusOr<std::vector<keys::KeyRecord>> ListKeys(const storage::KeyQuery& query) override {
    std::unique_lock lock(mutex_);
    ++hanging_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return let_go_; });
    return ForwardingStore::ListKeys(query);
  }
  void AwaitHanging(int count) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return hanging_ >= count; });
  }
  void LetGo() {
    const std::lock_guard lock(mutex_);
    let_go_ = true;
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int hanging_ = 0;
  bool let_go_ = false;
};

TEST_F(KeyAdminRpc, DeleteIsNotHeldUpByOtherCallsOfKeyAdmin) {
  const v1::CreateKeyResponse doomed = MustCreate("viewer");
  HangingLists store(service_.store);
  keys::KeyRegistry registry(store, store, service_.index, service_.follower, service_.minter, service_.clock, {});
  RpcServer::Domain domain = Domain(service_.verifier);
  constexpr int kWorkers = 8;
  RpcServer server({.keys = registry,
                    .organizations = domain.organizations,
                    .roles = domain.roles,
                    .verifier = domain.verifier,
                    .ring = domain.ring,
                    .index = domain.index,
                    .follower = domain.follower,
                    .hub = domain.hub,
                    .uses = domain.uses,
                    .revocations = domain.revocations,
                    .clock = domain.clock,
                    .serving = domain.serving},
                   {.listen = "127.0.0.1:0", .admin_workers = kWorkers});
  const absl::StatusOr<int> port = server.Start();
  ASSERT_TRUE(port.ok()) << port.status();
  const auto admin = v1::KeyAdmin::NewStub(
      grpc::CreateChannel("127.0.0.1:" + std::to_string(*port), grpc::InsecureChannelCredentials()));
  std::vector<std::thread> readers;
  for (int i = 0; i < 2 * kWorkers; ++i) {
    readers.emplace_back([&] {
      v1::ListKeysRequest request;
      request.set_parent("organizations/acme");
      v1::ListKeysResponse keys;
      EXPECT_THAT(admin->ListKeys(With(acme_key_).get(), request, &keys), Succeeds());
    });
  }
  store.AwaitHanging(kWorkers - 1);  // All that one organization may run at a time; the others wait in the queue.
  v1::DeleteKeyRequest request;
  request.set_name(doomed.key().name());
  v1::Key deleted;
  EXPECT_THAT(admin->DeleteKey(With(acme_key_).get(), request, &deleted), Succeeds());
  store.LetGo();
  for (std::thread& reader : readers) reader.join();
}

TEST_F(KeyAdminRpc, EveryMutationReturnsATokenThatVerifyTakes) {
  const v1::CreateKeyResponse created = MustCreate("viewer");
  v1::UpdateKeyRequest rename;
  rename.mutable_key()->set_name(created.key().name());
  rename.mutable_key()->set_display_name("renamed");
  v1::Key renamed;
  ASSERT_THAT(admin_->UpdateKey(With(acme_key_).get(), rename, &renamed), Succeeds());
  v1::CreateOrganizationRequest beta;
  beta.set_organization_id("beta");
  v1::Organization organization;
  ASSERT_THAT(admin_->CreateOrganization(With(operator_key_).get(), beta, &organization), Succeeds());
  const v1::Key deleted = MustDelete(acme_key_, created.key().name());
  int64_t last = 0;
  for (const v1::Revision& revision :
       {created.key().revision(), renamed.revision(), organization.revision(), deleted.revision()}) {
    EXPECT_GT(revision.number(), last);
    last = revision.number();
    v1::VerifyRequest request;
    request.set_key(created.key_string());
    request.set_min_revision(revision.token());
    v1::VerifyResponse verdict;
    EXPECT_THAT(Verify(verifier_key_, request, &verdict), Succeeds());
    EXPECT_EQ(verdict.decision(), v1::DECISION_REVOKED);
  }
}

TEST_F(KeyAdminRpc, CidrsAreStoredCanonicalAndClearedByTheMask) {
  const v1::CreateKeyResponse created = MustCreate("viewer", {"2001:DB8::/32", "10.0.0.0/8", "10.1.0.0/16"});
  EXPECT_THAT(created.key().allowed_cidrs(), ::testing::ElementsAre("10.0.0.0/8", "2001:db8::/32"));
  v1::UpdateKeyRequest edit;
  edit.mutable_key()->set_name(created.key().name());
  edit.mutable_update_mask()->add_paths("allowed_cidrs");
  v1::Key key;
  ASSERT_THAT(admin_->UpdateKey(With(acme_key_).get(), edit, &key), Succeeds());
  EXPECT_TRUE(key.allowed_cidrs().empty());
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, created.key_string(), &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_ALLOWED);
}

TEST_F(KeyAdminRpc, NobodyGrantsAddressesThatTheirOwnKeyCanNotCallFrom) {
  const v1::CreateKeyResponse admin = MustCreate("admin", {"127.0.0.0/8"});
  v1::CreateKeyResponse created;
  EXPECT_THAT(Create(admin.key_string(), "organizations/acme", "viewer", &created),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "CIDRS_EXCEED_CREATOR"));
  EXPECT_THAT(Create(admin.key_string(), "organizations/acme", "viewer", &created, {"10.0.0.0/8"}),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "CIDRS_EXCEED_CREATOR"));
  ASSERT_THAT(Create(admin.key_string(), "organizations/acme", "viewer", &created, {"127.0.0.1"}), Succeeds());
  // Taking the restriction away grants every address.
  v1::UpdateKeyRequest edit;
  edit.mutable_key()->set_name(created.key().name());
  edit.mutable_update_mask()->add_paths("allowed_cidrs");
  v1::Key key;
  EXPECT_THAT(admin_->UpdateKey(With(admin.key_string()).get(), edit, &key),
              Fails(grpc::StatusCode::PERMISSION_DENIED, "CIDRS_EXCEED_CREATOR"));
}

TEST_F(KeyAdminRpc, WhatServersOfTheVersionBeforeCanNotReadIsRefusedUntilTheUpgradeIsFinished) {
  service_.store.SetLevel(1);
  v1::CreateKeyResponse created;
  const grpc::Status refused = Create(acme_key_, "organizations/acme", "viewer", &created, {"10.0.0.0/8"});
  EXPECT_THAT(refused, Fails(grpc::StatusCode::FAILED_PRECONDITION, "UPGRADE_UNFINISHED"));
  EXPECT_THAT(refused.error_message(), ::testing::HasSubstr("latchkeyd upgrade finish"));
  EXPECT_THAT(Create(acme_key_, "organizations/acme", "viewer", &created), Succeeds());
  service_.store.SetLevel(2);
  EXPECT_THAT(Create(acme_key_, "organizations/acme", "viewer", &created, {"10.0.0.0/8"}), Succeeds());
}

TEST_F(KeyAdminRpc, DeleteWaitsUntilTheOtherServersKnow) {
  OtherServer other(service_);
  const v1::Key victim = MustCreate("viewer").key();
  v1::Key key;
  std::future<grpc::Status> deleted =
      std::async(std::launch::async, [&] { return Delete(victim.name(), v1::REVOCATION_WAIT_SERVERS, &key); });
  // Committed and refused here, and still nobody answers.
  ASSERT_TRUE(Eventually(
      [&] { return service_.store.ReadKey("acme", core::ParseKeyName(victim.name())->kid).value()->deleted(); }));
  EXPECT_EQ(deleted.wait_for(std::chrono::milliseconds(50)), std::future_status::timeout);
  // This one has it in its index, and says so when it renews.
  ASSERT_TRUE(other.follower().Renew().ok());
  ASSERT_TRUE(other.follower().Renew().ok());
  ASSERT_TRUE(service_.follower.Renew().ok());
  EXPECT_THAT(deleted.get(), Succeeds());
  EXPECT_EQ(key.state(), v1::Key::STATE_DELETED);
}

TEST_F(KeyAdminRpc, DeleteThatWaitsForASilentServerEndsWithTheBound) {
  OtherServer silent(service_);
  const v1::Key victim = MustCreate("viewer").key();
  v1::Key key;
  std::future<grpc::Status> deleted =
      std::async(std::launch::async, [&] { return Delete(victim.name(), v1::REVOCATION_WAIT_ALL, &key); });
  ASSERT_TRUE(Eventually(
      [&] { return service_.store.ReadKey("acme", core::ParseKeyName(victim.name())->kid).value()->deleted(); }));
  // Little by little, because the wait may begin only now.
  while (deleted.wait_for(std::chrono::milliseconds(1)) != std::future_status::ready) {
    service_.clock.Advance(absl::Milliseconds(100));
  }
  EXPECT_THAT(deleted.get(), Succeeds());
}

TEST_F(KeyAdminRpc, DeleteWhoseDeadlineComesFirstHasDeletedAllTheSame) {
  OtherServer silent(service_);
  const v1::CreateKeyResponse victim = MustCreate("viewer");
  v1::Key key;
  EXPECT_EQ(Delete(victim.key().name(), v1::REVOCATION_WAIT_SERVERS, &key, std::chrono::milliseconds(300)).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, victim.key_string(), &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_REVOKED);
  service_.clock.Advance(absl::Minutes(2));  // Lets the waiting worker go.
}

TEST_F(KeyAdminRpc, WaitThatIsNotKnownIsRefusedBeforeAnythingIsDeleted) {
  const v1::CreateKeyResponse victim = MustCreate("viewer");
  v1::Key key;
  EXPECT_THAT(Delete(victim.key().name(), static_cast<v1::RevocationWait>(42), &key), BlamesField("wait"));
  v1::VerifyResponse verdict;
  ASSERT_THAT(Verify(verifier_key_, victim.key_string(), &verdict), Succeeds());
  EXPECT_EQ(verdict.decision(), v1::DECISION_ALLOWED);
}

}  // namespace
}  // namespace latchkey::rpc
