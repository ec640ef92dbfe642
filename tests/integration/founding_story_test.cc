// The main job on real parts: issue, verify, rename, revoke, through the stubs and the C++ client.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/strings/str_cat.h"
#include "client/core/key_format.h"
#include "latchkey/verifier.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::Not;

std::unique_ptr<Verifier> Connect(DevServer& dev) {
  auto verifier = Verifier::Connect({.server = dev.server().address(),
                                     .key_file = dev.KeyFile("verifier"),
                                     .timeout = absl::Seconds(10),
                                     .cache = false});
  EXPECT_TRUE(verifier.ok()) << verifier.status();
  return *std::move(verifier);
}

std::vector<std::string> IdsOf(const v1::ListRolesResponse& roles) {
  std::vector<std::string> ids;
  for (const v1::Role& role : roles.roles()) ids.push_back(role.name().substr(role.name().rfind('/') + 1));
  return ids;
}

TEST(FoundingStory, AKeyIsIssuedVerifiedRenamedAndRevoked) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const RpcClient ada = owner.As(owner.MustCreate("acme", "Ada, administrator", "admin").key_string());
  const std::unique_ptr<Verifier> verifier = Connect(dev);

  v1::CreateKeyRequest wanted;
  wanted.set_parent("organizations/acme");
  wanted.mutable_key()->set_display_name("Site publisher");
  wanted.mutable_key()->set_role("editor");
  wanted.mutable_key()->set_owner("web team");
  wanted.mutable_key()->set_description("publishes\nthe site");
  (*wanted.mutable_key()->mutable_labels())["env"] = "prod";
  const auto created = ada.Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  ASSERT_THAT(created, IsOk());
  const std::string name = created->key().name();
  const std::string key_string = created->key_string();
  EXPECT_TRUE(core::ParseKeyString(key_string).has_value());
  EXPECT_EQ(created->key().display_name(), "Site publisher");
  EXPECT_EQ(created->key().role(), "editor");
  EXPECT_EQ(created->key().state(), v1::Key::STATE_ACTIVE);
  EXPECT_FALSE(created->key().has_expire_time());

  const Answer allowed = verifier->Verify(key_string, {.required_permissions = {"app.write", "app.read"}});
  ASSERT_TRUE(allowed.allowed()) << allowed.error();
  EXPECT_EQ(allowed.identity().name(), name);
  EXPECT_EQ(allowed.identity().key_id(), name.substr(name.rfind('/') + 1));
  EXPECT_EQ(allowed.identity().organization(), "acme");
  EXPECT_EQ(allowed.identity().display_name(), "Site publisher");
  EXPECT_EQ(allowed.identity().role(), "editor");
  EXPECT_EQ(allowed.identity().owner(), "web team");
  EXPECT_EQ(allowed.identity().labels(), (std::map<std::string, std::string>{{"env", "prod"}}));
  EXPECT_EQ(allowed.identity().expires_at(), absl::InfiniteFuture());
  EXPECT_EQ(allowed.identity().secret_version(), 1);
  EXPECT_THAT(allowed.identity().permissions(), IsSupersetOf({"app.read", "app.write"}));

  const Answer lacking = verifier->Verify(key_string, {.required_permissions = {"latchkey.keys.create"}});
  EXPECT_EQ(lacking.decision(), Decision::kPermissionDenied);
  EXPECT_EQ(lacking.identity().name(), name);

  const auto renamed = ada.Rename(name, "Site publisher, Berlin");
  ASSERT_THAT(renamed, IsOk());
  EXPECT_EQ(renamed->display_name(), "Site publisher, Berlin");
  EXPECT_EQ(renamed->owner(), "web team");
  EXPECT_NE(renamed->etag(), created->key().etag());
  EXPECT_EQ(verifier->Verify(key_string).identity().display_name(), "Site publisher, Berlin");

  const auto deleted = ada.Delete(name);
  ASSERT_THAT(deleted, IsOk());
  EXPECT_EQ(deleted->state(), v1::Key::STATE_DELETED);
  const Answer revoked = verifier->Verify(key_string);
  EXPECT_TRUE(revoked.denied());
  EXPECT_EQ(revoked.decision(), Decision::kRevoked);
  EXPECT_EQ(revoked.identity().name(), name);
}

TEST(FoundingStory, TheKeyStringIsShownOnceAndInNoOtherAnswer) {
  DevServer& dev = SharedDevServer();
  std::string transcript;
  RpcClient owner = dev.AcmeOwner();
  owner.RecordInto(&transcript);
  const v1::CreateKeyResponse created = owner.MustCreate("acme", "shown once", "viewer");
  const std::string secret(core::ParseKeyString(created.key_string())->secret);
  EXPECT_THAT(created.key().SerializeAsString(), Not(HasSubstr(secret)));
  ASSERT_THAT(owner.Get(created.key().name()), IsOk());
  ASSERT_THAT(owner.List("acme"), IsOk());
  ASSERT_THAT(owner.Rename(created.key().name(), "still shown once"), IsOk());
  ASSERT_THAT(owner.Delete(created.key().name()), IsOk());
  EXPECT_THAT(transcript, HasSubstr("still shown once"));
  EXPECT_THAT(transcript, Not(HasSubstr(secret)));
}

TEST(FoundingStory, ARoleAboveTheCallersIsRefusedAtCreateAndUpdate) {
  const Tenant tenant = NewTenant(SharedDevServer());
  const RpcClient owner = SharedDevServer().server().As(tenant.owner.key_string());
  const RpcClient admin = owner.As(owner.MustCreate(tenant.organization, "admin", "admin").key_string());
  EXPECT_THAT(admin.Create(tenant.organization, "too much", "owner"),
              Refused(absl::StatusCode::kPermissionDenied, "ROLE_EXCEEDS_CREATOR"));
  const v1::CreateKeyResponse editor = admin.MustCreate(tenant.organization, "editor", "editor");
  v1::UpdateKeyRequest raise;
  raise.mutable_key()->set_name(editor.key().name());
  raise.mutable_key()->set_role("owner");
  EXPECT_THAT(admin.Call(&v1::KeyAdmin::Stub::UpdateKey, raise),
              Refused(absl::StatusCode::kPermissionDenied, "ROLE_EXCEEDS_CREATOR"));
  EXPECT_THAT(admin.Delete(tenant.owner.key().name()),
              Refused(absl::StatusCode::kPermissionDenied, "ROLE_EXCEEDS_CREATOR"));
  EXPECT_EQ(owner.Get(editor.key().name())->role(), "editor");
}

TEST(FoundingStory, AKeyMayNotOutliveItsCreator) {
  const Tenant tenant = NewTenant(SharedDevServer());
  const RpcClient owner = SharedDevServer().server().As(tenant.owner.key_string());
  v1::CreateKeyRequest wanted;
  wanted.set_parent("organizations/" + tenant.organization);
  wanted.mutable_key()->set_display_name("ends");
  wanted.mutable_key()->set_role("admin");
  wanted.mutable_key()->mutable_ttl()->set_seconds(3600);
  const auto ending = owner.Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  ASSERT_THAT(ending, IsOk());
  EXPECT_TRUE(ending->key().has_expire_time());
  EXPECT_THAT(owner.As(ending->key_string()).Create(tenant.organization, "for ever", "viewer"),
              Refused(absl::StatusCode::kPermissionDenied, "EXPIRY_EXCEEDS_CREATOR"));
}

TEST(FoundingStory, AnExpiredKeyIsDeniedAsExpired) {
  DevServer& dev = SharedDevServer();
  v1::CreateKeyRequest wanted;
  wanted.set_parent("organizations/acme");
  wanted.mutable_key()->set_display_name("short");
  wanted.mutable_key()->set_role("viewer");
  wanted.mutable_key()->mutable_ttl()->set_seconds(1);
  const auto created = dev.AcmeOwner().Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  ASSERT_THAT(created, IsOk());
  const RpcClient verifier = dev.Verifier();
  EXPECT_TRUE(
      Eventually(absl::Seconds(30), [&] { return verifier.Decide(created->key_string()) == v1::DECISION_EXPIRED; }));
  EXPECT_EQ(dev.AcmeOwner().Get(created->key().name())->state(), v1::Key::STATE_EXPIRED);
  EXPECT_EQ(verifier.Verify(created->key_string())->identity().name(), created->key().name());
}

TEST(FoundingStory, ABatchGivesEachKeyItsOwnAnswer) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::CreateKeyResponse good = owner.MustCreate("acme", "good", "viewer");
  const v1::CreateKeyResponse gone = owner.MustCreate("acme", "gone", "viewer");
  ASSERT_THAT(owner.Delete(gone.key().name()), IsOk());
  v1::BatchVerifyRequest batch;
  batch.add_requests()->set_key(good.key_string());
  batch.add_requests()->set_key("garbage");
  batch.add_requests()->set_key(gone.key_string());
  v1::VerifyRequest& lacking = *batch.add_requests();
  lacking.set_key(good.key_string());
  lacking.add_required_permissions("app.write");
  v1::VerifyRequest& wrong = *batch.add_requests();
  wrong.set_key(good.key_string());
  wrong.mutable_client()->set_path("/");
  const auto answer = dev.Verifier().Call(&v1::KeyVerify::Stub::BatchVerify, batch);
  ASSERT_THAT(answer, IsOk());
  ASSERT_EQ(answer->results_size(), 5);
  EXPECT_EQ(answer->results(0).response().decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(answer->results(1).response().decision(), v1::DECISION_MALFORMED);
  EXPECT_EQ(answer->results(2).response().decision(), v1::DECISION_REVOKED);
  EXPECT_EQ(answer->results(3).response().decision(), v1::DECISION_PERMISSION_DENIED);
  EXPECT_THAT(client::ToStatus(grpc::Status(static_cast<grpc::StatusCode>(answer->results(4).error().code()), "",
                                            answer->results(4).error().SerializeAsString())),
              RefusedField("FIELD_NOT_SUPPORTED", "requests[4].client.path"));
}

TEST(FoundingStory, TheRolesThatMayBeGivenEndAtTheCallers) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  v1::ListRolesRequest request;
  request.set_parent("organizations/acme");
  const auto all = owner.Call(&v1::KeyAdmin::Stub::ListRoles, request);
  ASSERT_THAT(all, IsOk());
  EXPECT_THAT(IdsOf(*all), ElementsAre("owner", "admin", "editor", "viewer", "verifier"));
  request.set_assignable_only(true);
  const RpcClient editor = owner.As(owner.MustCreate("acme", "an editor", "editor").key_string());
  const auto below = editor.Call(&v1::KeyAdmin::Stub::ListRoles, request);
  ASSERT_THAT(below, IsOk());
  EXPECT_THAT(IdsOf(*below), ElementsAre("editor", "viewer"));
}

TEST(FoundingStory, ARepeatedRequestMakesNoSecondKeyAndNamesTheFirst) {
  DevServer& dev = SharedDevServer();
  v1::CreateKeyRequest wanted;
  wanted.set_parent("organizations/acme");
  wanted.mutable_key()->set_display_name("once");
  wanted.mutable_key()->set_role("viewer");
  wanted.set_request_id("7f3a7d3c-1c1a-4c8e-9d5e-0d4c6c6f5f10");
  const auto first = dev.AcmeOwner().Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  ASSERT_THAT(first, IsOk());
  const auto again = dev.AcmeOwner().Call(&v1::KeyAdmin::Stub::CreateKey, wanted);
  EXPECT_THAT(again, Refused(absl::StatusCode::kAlreadyExists, "REQUEST_REPLAYED"));
  EXPECT_EQ(WireMetadataOf(again.status(), "name"), first->key().name());
}

TEST(FoundingStory, AnOldEtagStopsUpdateAndDelete) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::Key made = owner.MustCreate("acme", "first name", "viewer").key();
  ASSERT_THAT(owner.Rename(made.name(), "second name"), IsOk());
  v1::UpdateKeyRequest update;
  update.mutable_key()->set_name(made.name());
  update.mutable_key()->set_etag(made.etag());
  update.mutable_key()->set_display_name("third name");
  EXPECT_THAT(owner.Call(&v1::KeyAdmin::Stub::UpdateKey, update), Refused(absl::StatusCode::kAborted, "ETAG_MISMATCH"));
  v1::DeleteKeyRequest remove;
  remove.set_name(made.name());
  remove.set_etag(made.etag());
  EXPECT_THAT(owner.Call(&v1::KeyAdmin::Stub::DeleteKey, remove), Refused(absl::StatusCode::kAborted, "ETAG_MISMATCH"));
  const auto now = owner.Get(made.name());
  ASSERT_THAT(now, IsOk());
  EXPECT_EQ(now->display_name(), "second name");
  update.mutable_key()->set_etag(now->etag());
  EXPECT_THAT(owner.Call(&v1::KeyAdmin::Stub::UpdateKey, update), IsOk());
}

TEST(FoundingStory, ADeletedKeyStaysDeletedAndOnlyItsReasonGetsStronger) {
  DevServer& dev = SharedDevServer();
  const RpcClient owner = dev.AcmeOwner();
  const v1::Key made = owner.MustCreate("acme", "deleted twice", "viewer").key();
  v1::DeleteKeyRequest remove;
  remove.set_name(made.name());
  remove.set_reason(v1::REASON_COMPROMISED);
  ASSERT_THAT(owner.Call(&v1::KeyAdmin::Stub::DeleteKey, remove), IsOk());
  remove.set_reason(v1::REASON_UNUSED);
  const auto again = owner.Call(&v1::KeyAdmin::Stub::DeleteKey, remove);
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->delete_reason(), v1::REASON_COMPROMISED);
  EXPECT_THAT(owner.Rename(made.name(), "back"), Refused(absl::StatusCode::kFailedPrecondition, "KEY_DELETED"));
}

TEST(FoundingStory, TheLastOwnerOfSystemCannotBeDeleted) {
  DevServer& dev = SharedDevServer();
  const RpcClient system = dev.SystemOwner();
  v1::ListKeysRequest request;
  request.set_parent("organizations/system");
  const auto keys = system.Call(&v1::KeyAdmin::Stub::ListKeys, request);
  ASSERT_THAT(keys, IsOk());
  for (const v1::Key& key : keys->keys()) {
    if (key.role() != "owner") continue;
    EXPECT_THAT(system.Delete(key.name()), Refused(absl::StatusCode::kFailedPrecondition, "LAST_OWNER"));
  }
}

TEST(Organizations, AreCreatedReadAndListed) {
  DevServer& dev = SharedDevServer();
  const RpcClient system = dev.SystemOwner();
  v1::CreateOrganizationRequest request;
  request.set_organization_id("globex");
  request.mutable_organization()->set_display_name("Globex Corporation");
  const auto made = system.Call(&v1::KeyAdmin::Stub::CreateOrganization, request);
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->name(), "organizations/globex");
  EXPECT_EQ(made->state(), v1::Organization::STATE_ACTIVE);
  EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::CreateOrganization, request),
              Refused(absl::StatusCode::kAlreadyExists, "ORGANIZATION_EXISTS"));
  v1::GetOrganizationRequest get;
  get.set_name("organizations/globex");
  const auto got = system.Call(&v1::KeyAdmin::Stub::GetOrganization, get);
  ASSERT_THAT(got, IsOk());
  EXPECT_EQ(got->display_name(), "Globex Corporation");
  const auto all = system.Call(&v1::KeyAdmin::Stub::ListOrganizations, v1::ListOrganizationsRequest());
  ASSERT_THAT(all, IsOk());
  std::vector<std::string> names;
  for (const v1::Organization& organization : all->organizations()) names.push_back(organization.name());
  EXPECT_THAT(names, IsSupersetOf({"organizations/acme", "organizations/globex", "organizations/system"}));
  EXPECT_THAT(dev.AcmeOwner().CreateOrganization("initech"), Not(IsOk()));
}

TEST(Pages, WalkEveryKeyOnceNewestFirst) {
  DevServer& dev = SharedDevServer();
  const Tenant tenant = NewTenant(dev);
  const RpcClient owner = dev.server().As(tenant.owner.key_string());
  std::vector<std::string> newest_first = {tenant.owner.key().name()};
  for (int i = 0; i < 6; ++i) {
    const v1::Key made = owner.MustCreate(tenant.organization, absl::StrCat("key ", i), "viewer").key();
    newest_first.insert(newest_first.begin(), made.name());
  }
  v1::ListKeysRequest request;
  request.set_parent("organizations/" + tenant.organization);
  request.set_page_size(3);
  std::vector<std::string> seen;
  int pages = 0;
  do {
    const auto page = owner.Call(&v1::KeyAdmin::Stub::ListKeys, request);
    ASSERT_THAT(page, IsOk());
    for (const v1::Key& key : page->keys()) seen.push_back(key.name());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && ++pages < 10);
  EXPECT_EQ(seen, newest_first);
}

TEST(Pages, ATokenIsGoodOnlyForTheSameCallerAndTheSameQuestion) {
  DevServer& dev = SharedDevServer();
  const Tenant tenant = NewTenant(dev);
  const RpcClient owner = dev.server().As(tenant.owner.key_string());
  const v1::CreateKeyResponse admin = owner.MustCreate(tenant.organization, "another caller", "admin");
  owner.MustCreate(tenant.organization, "one more", "viewer");
  v1::ListKeysRequest request;
  request.set_parent("organizations/" + tenant.organization);
  request.set_page_size(1);
  const auto page = owner.Call(&v1::KeyAdmin::Stub::ListKeys, request);
  ASSERT_THAT(page, IsOk());
  const std::string token = page->next_page_token();
  ASSERT_NE(token, "");
  const auto with = [&](const RpcClient& caller, const std::string& page_token) {
    request.set_page_token(page_token);
    return caller.Call(&v1::KeyAdmin::Stub::ListKeys, request);
  };
  const auto invalid = RefusedField("PAGE_TOKEN_INVALID", "page_token");
  EXPECT_THAT(with(owner, token), IsOk());
  EXPECT_THAT(with(owner.As(admin.key_string()), token), invalid);
  EXPECT_THAT(with(dev.SystemOwner(), token), invalid);
  std::string tampered = token;
  tampered[0] = tampered[0] == 'A' ? 'B' : 'A';
  EXPECT_THAT(with(owner, tampered), invalid);
  EXPECT_THAT(with(owner, token + "A"), invalid);
  EXPECT_THAT(with(owner, "nonsense"), invalid);
  EXPECT_THAT(with(owner, std::string(5000, 'A')), invalid);
  request.set_show_deleted(true);
  EXPECT_THAT(with(owner, token), invalid);
  request.set_show_deleted(false);
  request.set_page_size(2);
  EXPECT_THAT(with(owner, token), IsOk());

  // The same caller, another parent.
  const RpcClient system = dev.SystemOwner();
  request.set_page_size(1);
  const auto of_system = with(system, "");
  ASSERT_THAT(of_system, IsOk());
  request.set_parent("organizations/acme");
  EXPECT_THAT(with(system, of_system->next_page_token()), invalid);
}

TEST(Pages, RolesAndOrganizationsHaveThemToo) {
  const RpcClient system = SharedDevServer().SystemOwner();
  v1::ListRolesRequest roles;
  roles.set_parent("organizations/acme");
  roles.set_page_size(2);
  std::vector<std::string> ids;
  do {
    const auto page = system.Call(&v1::KeyAdmin::Stub::ListRoles, roles);
    ASSERT_THAT(page, IsOk());
    for (const std::string& id : IdsOf(*page)) ids.push_back(id);
    roles.set_page_token(page->next_page_token());
  } while (!roles.page_token().empty() && ids.size() < 20);
  EXPECT_THAT(ids, ElementsAre("owner", "admin", "editor", "viewer", "verifier"));
  roles.set_page_token("nonsense");
  EXPECT_THAT(system.Call(&v1::KeyAdmin::Stub::ListRoles, roles), RefusedField("PAGE_TOKEN_INVALID", "page_token"));

  v1::ListOrganizationsRequest organizations;
  organizations.set_page_size(1);
  std::vector<std::string> names;
  do {
    const auto page = system.Call(&v1::KeyAdmin::Stub::ListOrganizations, organizations);
    ASSERT_THAT(page, IsOk());
    for (const auto& organization : page->organizations()) names.push_back(organization.name());
    organizations.set_page_token(page->next_page_token());
  } while (!organizations.page_token().empty() && names.size() < 100);
  EXPECT_THAT(names, IsSupersetOf({"organizations/acme", "organizations/system"}));
  EXPECT_TRUE(std::is_sorted(names.begin(), names.end()));
}

TEST(Verifier, AsyncCallsAnswerOnceEach) {
  DevServer& dev = SharedDevServer();
  const v1::CreateKeyResponse made = dev.AcmeOwner().MustCreate("acme", "asynchronous", "viewer");
  std::atomic<int> allowed = 0;
  std::atomic<int> others = 0;
  {
    const std::unique_ptr<Verifier> verifier = Connect(dev);
    for (int i = 0; i < 50; ++i) {
      verifier->VerifyAsync(made.key_string(), {},
                            [&](const Answer& answer) { ++(answer.allowed() ? allowed : others); });
    }
  }
  EXPECT_EQ(allowed, 50);
  EXPECT_EQ(others, 0);
}

}  // namespace
}  // namespace latchkey::testing
