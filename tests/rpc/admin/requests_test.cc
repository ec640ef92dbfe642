#include "server/rpc/admin/requests.h"

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "server/base/errors.h"
#include "server/rpc/call/supported_fields.h"
#include "tests/support/status_matchers.h"

namespace latchkey::rpc {
namespace {

constexpr char kName[] = "organizations/acme/keys/0123456789ABCDEF";

void ExpectFault(const absl::Status& status, const std::string& reason, const std::string& field) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  const std::optional<errors::Detail> detail = errors::DetailOf(status);
  ASSERT_TRUE(detail.has_value()) << status;
  EXPECT_EQ(errors::NameOf(detail->reason), reason) << status;
  EXPECT_EQ(detail->field, field) << status;
}

v1::CreateKeyRequest GoodCreate() {
  v1::CreateKeyRequest request;
  request.set_parent("organizations/acme");
  request.mutable_key()->set_display_name("deploy");
  request.mutable_key()->set_role("editor");
  return request;
}

v1::UpdateKeyRequest UpdateWith(const std::vector<std::string>& paths) {
  v1::UpdateKeyRequest request;
  request.mutable_key()->set_name(kName);
  for (const std::string& path : paths) request.mutable_update_mask()->add_paths(path);
  return request;
}

TEST(CreateKeyRequest, EverySupportedFieldArrives) {
  v1::CreateKeyRequest request = GoodCreate();
  v1::Key& key = *request.mutable_key();
  key.set_description("what\nfor");
  key.set_owner("ops");
  (*key.mutable_labels())["team"] = "billing";
  key.mutable_ttl()->set_seconds(60);
  request.set_request_id("0f8fad5b-d9cb-469f-a165-70867728950e");
  const absl::StatusOr<keys::NewKey> wanted = NewKeyOf(request);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(wanted->organization, "acme");
  EXPECT_EQ(wanted->display_name, "deploy");
  EXPECT_EQ(wanted->description, "what\nfor");
  EXPECT_EQ(wanted->role, "editor");
  EXPECT_EQ(wanted->owner, "ops");
  EXPECT_EQ(wanted->labels.at("team"), "billing");
  EXPECT_EQ(wanted->expiration.ttl, absl::Seconds(60));
  EXPECT_FALSE(wanted->expiration.at.has_value());
  EXPECT_EQ(wanted->request_id, "0f8fad5b-d9cb-469f-a165-70867728950e");
}

TEST(CreateKeyRequest, FaultNamesTheFullPath) {
  const auto fault = [](const std::function<void(v1::CreateKeyRequest&)>& spoil) {
    v1::CreateKeyRequest request = GoodCreate();
    spoil(request);
    return NewKeyOf(request).status();
  };
  ExpectFault(fault([](auto& r) { r.clear_parent(); }), "FIELD_REQUIRED", "parent");
  ExpectFault(fault([](auto& r) { r.set_parent("acme"); }), "FIELD_INVALID", "parent");
  ExpectFault(fault([](auto& r) { r.clear_key(); }), "FIELD_REQUIRED", "key.display_name");
  ExpectFault(fault([](auto& r) { r.mutable_key()->set_display_name("a\nb"); }), "FIELD_INVALID", "key.display_name");
  ExpectFault(fault([](auto& r) { r.mutable_key()->clear_role(); }), "FIELD_REQUIRED", "key.role");
  ExpectFault(fault([](auto& r) { r.mutable_key()->set_role("Nope!"); }), "ROLE_UNKNOWN", "key.role");
  ExpectFault(fault([](auto& r) { r.mutable_key()->mutable_ttl()->set_nanos(1); }), "FIELD_INVALID", "key.ttl");
  ExpectFault(fault([](auto& r) { r.mutable_key()->mutable_expire_time()->set_nanos(-1); }), "FIELD_INVALID",
              "key.expire_time");
  ExpectFault(fault([](auto& r) { r.set_request_id("x"); }), "FIELD_INVALID", "request_id");
}

TEST(CreateKeyRequest, AllTextsOfAKeyTogetherHaveALimit) {
  v1::CreateKeyRequest request = GoodCreate();
  for (int i = 0; i < 32; ++i)
    (*request.mutable_key()->mutable_labels())["l" + std::to_string(i)] = std::string(63, 'x');
  const size_t used = keys::KeyTextBytes(*NewKeyOf(request));
  // Two bytes each.
  for (size_t i = 0; i < (4096 - used) / 2; ++i) request.mutable_key()->mutable_description()->append("\u00e9");
  ASSERT_TRUE(NewKeyOf(request).ok());
  request.mutable_key()->set_owner("me");
  ExpectFault(NewKeyOf(request).status(), "FIELD_INVALID", "key");
}

TEST(CreateKeyRequest, FieldThatIsNotImplementedIsRefusedByName) {
  const auto fault = [](const std::function<void(v1::CreateKeyRequest&)>& spoil) {
    v1::CreateKeyRequest request = GoodCreate();
    spoil(request);
    return NewKeyOf(request).status();
  };
  ExpectFault(fault([](auto& r) { r.mutable_acting_for(); }), "FIELD_NOT_SUPPORTED", "acting_for");
  ExpectFault(fault([](auto& r) { r.set_validate_only(true); }), "FIELD_NOT_SUPPORTED", "validate_only");
}

TEST(CreateKeyRequest, OutputOnlyFieldsAreIgnored) {
  v1::CreateKeyRequest request = GoodCreate();
  v1::Key& key = *request.mutable_key();
  key.set_name("anything");
  key.set_state(v1::Key::STATE_DELETED);
  key.set_key_hint("x");
  key.set_creator("x");
  for (auto* time : {key.mutable_create_time(), key.mutable_update_time(), key.mutable_delete_time(),
                     key.mutable_purge_time(), key.mutable_last_used_time()}) {
    time->set_seconds(1);
  }
  key.set_delete_reason(v1::REASON_COMPROMISED);
  key.add_secret_versions()->set_id(7);
  key.set_etag("x");
  key.mutable_revision()->set_number(7);
  EXPECT_TRUE(NewKeyOf(request).ok()) << NewKeyOf(request).status();
}

TEST(SupportedFields, UnknownFieldIsRefusedWhereverItIs) {
  v1::CreateKeyRequest top = GoodCreate();
  top.GetReflection()->MutableUnknownFields(&top)->AddVarint(99, 1);
  ExpectFault(NewKeyOf(top).status(), "FIELD_NOT_SUPPORTED", "unknown field 99");

  v1::CreateKeyRequest inner = GoodCreate();
  v1::Key& key = *inner.mutable_key();
  key.GetReflection()->MutableUnknownFields(&key)->AddLengthDelimited(77, "x");
  ExpectFault(NewKeyOf(inner).status(), "FIELD_NOT_SUPPORTED", "key.unknown field 77");

  v1::CreateKeyRequest leaf = GoodCreate();
  google::protobuf::Duration& ttl = *leaf.mutable_key()->mutable_ttl();
  ttl.set_seconds(5);
  ttl.GetReflection()->MutableUnknownFields(&ttl)->AddVarint(9, 1);
  ExpectFault(NewKeyOf(leaf).status(), "FIELD_NOT_SUPPORTED", "key.ttl.unknown field 9");
}

TEST(SupportedFields, FieldsAtTheirDefaultAreNotSet) {
  v1::DeleteKeyRequest request;
  request.set_name(kName);
  request.set_wait(v1::REVOCATION_WAIT_UNSPECIFIED);
  request.set_allow_lockout(false);
  EXPECT_TRUE(KeyRemovalOf(request).ok());
}

TEST(SupportedFields, EachRpcRefusesWhatItDoesNotImplement) {
  v1::ListKeysRequest list;
  list.set_parent("organizations/acme");
  list.set_filter("role = editor");
  ExpectFault(PageRequestOf(list).status(), "FIELD_NOT_SUPPORTED", "filter");
  list.clear_filter();
  list.set_order_by("display_name");
  ExpectFault(PageRequestOf(list).status(), "FIELD_NOT_SUPPORTED", "order_by");

  v1::DeleteKeyRequest removal;
  removal.set_name(kName);
  removal.set_descendants(v1::DESCENDANTS_REVOKE);
  ExpectFault(KeyRemovalOf(removal).status(), "FIELD_NOT_SUPPORTED", "descendants");
  removal.clear_descendants();
  removal.set_allow_lockout(true);
  ExpectFault(KeyRemovalOf(removal).status(), "FIELD_NOT_SUPPORTED", "allow_lockout");
  removal.clear_allow_lockout();
  removal.mutable_acting_for()->set_subject("x");
  ExpectFault(KeyRemovalOf(removal).status(), "FIELD_NOT_SUPPORTED", "acting_for");

  v1::UpdateKeyRequest update = UpdateWith({"owner"});
  update.set_descendants(v1::DESCENDANTS_CLAMP);
  ExpectFault(KeyEditOf(update).status(), "FIELD_NOT_SUPPORTED", "descendants");
  update.clear_descendants();
  update.set_validate_only(true);
  ExpectFault(KeyEditOf(update).status(), "FIELD_NOT_SUPPORTED", "validate_only");

  v1::ListRolesRequest roles;
  roles.set_parent("organizations/acme");
  roles.mutable_acting_for();
  ExpectFault(PageRequestOf(roles).status(), "FIELD_NOT_SUPPORTED", "acting_for");
}

TEST(CreateKeyRequest, CidrsArriveCanonicalAndTheWrongOneIsNamed) {
  v1::CreateKeyRequest request = GoodCreate();
  request.mutable_key()->add_allowed_cidrs("2001:DB8::/32");
  request.mutable_key()->add_allowed_cidrs("10.1.2.3");
  const absl::StatusOr<keys::NewKey> wanted = NewKeyOf(request);
  ASSERT_TRUE(wanted.ok()) << wanted.status();
  EXPECT_EQ(wanted->allowed_cidrs, (std::vector<std::string>{"10.1.2.3/32", "2001:db8::/32"}));
  request.mutable_key()->set_allowed_cidrs(1, "10.1.2.3/8");
  ExpectFault(NewKeyOf(request).status(), "FIELD_INVALID", "key.allowed_cidrs[1]");
  request.mutable_key()->set_allowed_cidrs(1, "");
  ExpectFault(NewKeyOf(request).status(), "FIELD_INVALID", "key.allowed_cidrs[1]");
  request.mutable_key()->clear_allowed_cidrs();
  for (int i = 0; i < 64; ++i) request.mutable_key()->add_allowed_cidrs("10.0.0." + std::to_string(2 * i));
  EXPECT_TRUE(NewKeyOf(request).ok());
  request.mutable_key()->add_allowed_cidrs("10.0.1.1");
  ExpectFault(NewKeyOf(request).status(), "FIELD_INVALID", "key.allowed_cidrs");
}

TEST(UpdateMask, NamedFieldsAreWrittenAndNoOthers) {
  v1::UpdateKeyRequest request = UpdateWith({"display_name", "owner"});
  request.mutable_key()->set_display_name("new");
  request.mutable_key()->set_role("owner");
  const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_EQ(edit->organization, "acme");
  EXPECT_EQ(edit->kid, "0123456789ABCDEF");
  EXPECT_EQ(edit->display_name, "new");
  EXPECT_EQ(edit->owner, "");
  EXPECT_FALSE(edit->role.has_value());
  EXPECT_FALSE(edit->description.has_value());
  EXPECT_FALSE(edit->labels.has_value());
  EXPECT_FALSE(edit->expiration.has_value());
}

TEST(UpdateMask, WithoutOneEveryPopulatedFieldIsWritten) {
  v1::UpdateKeyRequest request = UpdateWith({});
  request.mutable_key()->set_display_name("new");
  request.mutable_key()->mutable_ttl()->set_seconds(60);
  request.mutable_key()->set_etag("e");
  const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_EQ(edit->display_name, "new");
  EXPECT_EQ(edit->etag, "e");
  ASSERT_TRUE(edit->expiration.has_value());
  EXPECT_EQ(edit->expiration->ttl, absl::Seconds(60));
  EXPECT_FALSE(edit->owner.has_value());
  EXPECT_FALSE(edit->role.has_value());
}

TEST(UpdateMask, WithoutOneAndWithNothingPopulatedIsRefused) {
  ExpectFault(KeyEditOf(UpdateWith({})).status(), "FIELD_REQUIRED", "key");
  ExpectFault(KeyEditOf(v1::UpdateKeyRequest()).status(), "FIELD_REQUIRED", "key.name");
}

TEST(UpdateMask, ExpirationNamedAndUnsetMeansNever) {
  for (const std::string path : {"expire_time", "ttl"}) {
    const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(UpdateWith({path}));
    ASSERT_TRUE(edit.ok()) << edit.status();
    ASSERT_TRUE(edit->expiration.has_value());
    EXPECT_FALSE(edit->expiration->at.has_value());
    EXPECT_FALSE(edit->expiration->ttl.has_value());
  }
}

TEST(UpdateMask, NamingTheOtherSpellingOfTheExpirationNeverMakesAKeyEternal) {
  v1::UpdateKeyRequest ttl = UpdateWith({"expire_time"});
  ttl.mutable_key()->mutable_ttl()->set_seconds(60);
  ExpectFault(KeyEditOf(ttl).status(), "FIELD_INVALID", "update_mask");
  v1::UpdateKeyRequest at = UpdateWith({"ttl"});
  at.mutable_key()->mutable_expire_time()->set_seconds(4102444800);
  ExpectFault(KeyEditOf(at).status(), "FIELD_INVALID", "update_mask");
  at.mutable_update_mask()->add_paths("expire_time");
  const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(at);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_EQ(edit->expiration->at, absl::FromUnixSeconds(4102444800));
}

TEST(UpdateMask, StarReplacesEverything) {
  v1::UpdateKeyRequest request = UpdateWith({"*"});
  ExpectFault(KeyEditOf(request).status(), "FIELD_REQUIRED", "key.display_name");
  request.mutable_key()->set_display_name("new");
  ExpectFault(KeyEditOf(request).status(), "FIELD_REQUIRED", "key.role");
  request.mutable_key()->set_role("viewer");
  const absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_EQ(edit->display_name, "new");
  EXPECT_EQ(edit->role, "viewer");
  EXPECT_EQ(edit->owner, "");
  EXPECT_EQ(edit->description, "");
  EXPECT_EQ(edit->allowed_cidrs, std::vector<std::string>());
  ASSERT_TRUE(edit->labels.has_value());
  EXPECT_TRUE(edit->labels->empty());
  ASSERT_TRUE(edit->expiration.has_value());
  EXPECT_FALSE(edit->expiration->at.has_value() || edit->expiration->ttl.has_value());
}

TEST(UpdateMask, AnythingElseIsRefused) {
  for (const std::string path : {"name", "state", "etag", "creator", "create_time", "key.display_name", "labels.team",
                                 "display_name ", "DisplayName", "", "lk1"}) {
    ExpectFault(KeyEditOf(UpdateWith({path})).status(), "MASK_PATH_INVALID", "update_mask");
  }
  ExpectFault(KeyEditOf(UpdateWith({"*", "owner"})).status(), "MASK_PATH_INVALID", "update_mask");
  ExpectFault(KeyEditOf(UpdateWith({"owner", "*"})).status(), "MASK_PATH_INVALID", "update_mask");
  EXPECT_LT(KeyEditOf(UpdateWith({std::string(60000, 'x')})).status().message().size(), 300u);
}

TEST(UpdateMask, CidrsAreWrittenIfNamedAndThenAlsoCleared) {
  v1::UpdateKeyRequest request = UpdateWith({"allowed_cidrs"});
  absl::StatusOr<keys::KeyEdit> edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  ASSERT_TRUE(edit->allowed_cidrs.has_value());
  EXPECT_TRUE(edit->allowed_cidrs->empty());
  request.mutable_key()->add_allowed_cidrs("10.0.0.0/8");
  request.clear_update_mask();
  edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_EQ(edit->allowed_cidrs, std::vector<std::string>{"10.0.0.0/8"});
  EXPECT_FALSE(edit->display_name.has_value());
  request.mutable_update_mask()->add_paths("display_name");
  request.mutable_key()->set_display_name("new");
  edit = KeyEditOf(request);
  ASSERT_TRUE(edit.ok()) << edit.status();
  EXPECT_FALSE(edit->allowed_cidrs.has_value());
  request.mutable_update_mask()->add_paths("allowed_cidrs");
  request.mutable_key()->add_allowed_cidrs("10.0.0.0/33");
  ExpectFault(KeyEditOf(request).status(), "FIELD_INVALID", "key.allowed_cidrs[1]");
}

TEST(UpdateMask, ValuesAreCheckedLikeThoseOfCreate) {
  ExpectFault(KeyEditOf(UpdateWith({"display_name"})).status(), "FIELD_REQUIRED", "key.display_name");
  v1::UpdateKeyRequest request = UpdateWith({"display_name"});
  request.mutable_key()->set_display_name(std::string(101, 'a'));
  ExpectFault(KeyEditOf(request).status(), "FIELD_INVALID", "key.display_name");
}

TEST(DeleteKeyRequest, WaitIsOneOfTheKnown) {
  v1::DeleteKeyRequest request;
  EXPECT_EQ(RevocationWaitOf(request).value(), keys::RevocationWait::kCommitted);
  request.set_wait(v1::REVOCATION_WAIT_SERVERS);
  EXPECT_EQ(RevocationWaitOf(request).value(), keys::RevocationWait::kServers);
  request.set_wait(v1::REVOCATION_WAIT_ALL);
  EXPECT_EQ(RevocationWaitOf(request).value(), keys::RevocationWait::kAll);
  request.set_wait(static_cast<v1::RevocationWait>(42));
  ExpectFault(RevocationWaitOf(request).status(), "FIELD_INVALID", "wait");
}

TEST(DeleteKeyRequest, ReasonIsOneOfTheKnown) {
  v1::DeleteKeyRequest request;
  request.set_name(kName);
  request.set_etag("e");
  request.set_reason(v1::REASON_COMPROMISED);
  const absl::StatusOr<keys::KeyRemoval> removal = KeyRemovalOf(request);
  ASSERT_TRUE(removal.ok());
  EXPECT_EQ(removal->reason, keys::DeleteReason::kCompromised);
  EXPECT_EQ(removal->etag, "e");
  request.set_reason(static_cast<v1::Reason>(42));
  ExpectFault(KeyRemovalOf(request).status(), "FIELD_INVALID", "reason");
}

TEST(ListRequests, CarryTheirArguments) {
  v1::ListKeysRequest keys_request;
  keys_request.set_parent("organizations/acme");
  keys_request.set_page_size(7);
  keys_request.set_page_token("t");
  keys_request.set_show_deleted(true);
  const absl::StatusOr<PageRequest> keys_page = PageRequestOf(keys_request);
  ASSERT_TRUE(keys_page.ok());
  EXPECT_EQ(keys_page->organization, "acme");
  EXPECT_EQ(keys_page->page_size, 7);
  EXPECT_EQ(keys_page->page_token, "t");
  EXPECT_TRUE(keys_page->show_deleted);
  keys_request.set_page_size(-1);
  ExpectFault(PageRequestOf(keys_request).status(), "FIELD_INVALID", "page_size");

  v1::ListRolesRequest roles;
  roles.set_parent("organizations/acme");
  roles.set_assignable_only(true);
  const absl::StatusOr<PageRequest> roles_page = PageRequestOf(roles);
  ASSERT_TRUE(roles_page.ok());
  EXPECT_TRUE(roles_page->assignable_only);
  EXPECT_EQ(roles_page->page_size, 50);

  v1::ListOrganizationsRequest organizations;
  organizations.set_show_deleted(true);
  const absl::StatusOr<PageRequest> organizations_page = PageRequestOf(organizations);
  ASSERT_TRUE(organizations_page.ok());
  EXPECT_TRUE(organizations_page->show_deleted);
}

TEST(CreateOrganizationRequest, DisplayNameDefaultsToTheId) {
  v1::CreateOrganizationRequest request;
  ExpectFault(NewOrganizationOf(request).status(), "FIELD_REQUIRED", "organization_id");
  for (const std::string bad : {"Acme", "a_b", "-a", "a-", "1a"}) {
    request.set_organization_id(bad);
    ExpectFault(NewOrganizationOf(request).status(), "FIELD_INVALID", "organization_id");
  }
  request.set_organization_id("acme");
  EXPECT_EQ(NewOrganizationOf(request)->display_name, "acme");
  request.mutable_organization()->set_display_name("Acme & Söhne");
  EXPECT_EQ(NewOrganizationOf(request)->display_name, "Acme & Söhne");
  request.mutable_organization()->set_display_name("a\tb");
  ExpectFault(NewOrganizationOf(request).status(), "FIELD_INVALID", "organization.display_name");
}

TEST(CreateOrganizationRequest, QuotaIsANumberWithinBoundsOrTheDefault) {
  v1::CreateOrganizationRequest request;
  request.set_organization_id("acme");
  EXPECT_EQ(NewOrganizationOf(request)->max_keys, 0);
  for (const int good : {0, 1, 1'000'000}) {
    request.mutable_organization()->set_max_keys(good);
    EXPECT_EQ(NewOrganizationOf(request)->max_keys, good);
  }
  for (const int bad : {-1, 1'000'001}) {
    request.mutable_organization()->set_max_keys(bad);
    ExpectFault(NewOrganizationOf(request).status(), "FIELD_INVALID", "organization.max_keys");
  }
}

TEST(UpdateOrganizationRequest, MaskSaysWhatIsWritten) {
  v1::UpdateOrganizationRequest request;
  ExpectFault(OrganizationEditOf(request).status(), "FIELD_REQUIRED", "organization.name");
  request.mutable_organization()->set_name("organizations/acme");
  ExpectFault(OrganizationEditOf(request).status(), "FIELD_REQUIRED", "organization");
  request.mutable_organization()->set_display_name("Acme");
  EXPECT_EQ(OrganizationEditOf(request)->display_name, "Acme");
  EXPECT_EQ(OrganizationEditOf(request)->max_keys, std::nullopt);
  request.mutable_organization()->set_max_keys(5);
  request.mutable_organization()->set_etag("e");
  EXPECT_EQ(OrganizationEditOf(request)->max_keys, 5);
  EXPECT_EQ(OrganizationEditOf(request)->etag, "e");
  request.mutable_update_mask()->add_paths("max_keys");
  EXPECT_EQ(OrganizationEditOf(request)->display_name, std::nullopt);
  EXPECT_EQ(OrganizationEditOf(request)->max_keys, 5);
  request.mutable_organization()->clear_max_keys();
  EXPECT_EQ(OrganizationEditOf(request)->max_keys, 0) << "named and unset: the default";
  request.mutable_update_mask()->set_paths(0, "*");
  EXPECT_EQ(OrganizationEditOf(request)->display_name, "Acme");
  EXPECT_EQ(OrganizationEditOf(request)->max_keys, 0);
  request.mutable_update_mask()->set_paths(0, "state");
  EXPECT_THAT(OrganizationEditOf(request), latchkey::testing::HasReason("MASK_PATH_INVALID"));
}

}  // namespace
}  // namespace latchkey::rpc
