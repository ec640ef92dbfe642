// Bad input gets a clear error, and nothing is lost.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/core/base62.h"
#include "client/core/key_format.h"
#include "latchkey/verifier.h"
#include "server/keys/crypto/key_ring.h"
#include "server/keys/crypto/mac.h"
#include "tests/support/server_fixture.h"
#include "tests/support/status_matchers.h"

namespace latchkey::testing {
namespace {

using ::testing::Not;

// A key string that the server's own key ring tagged: only the stored hash can tell that its secret is wrong.
std::string WithAnotherSecret(const std::string& key_string, const std::string& keyring_file) {
  const core::KeyParts parts = *core::ParseKeyString(key_string);
  std::string secret(parts.secret);
  secret[20] = secret[20] == 'A' ? 'B' : 'A';
  const nlohmann::json ring = nlohmann::json::parse(ReadFile(keyring_file));
  std::string tag_secret;
  for (const auto& item : ring["secrets"]) {
    if (item["purpose"] != "tag") continue;
    EXPECT_TRUE(absl::Base64Unescape(item["secret"].get<std::string>(), &tag_secret));
  }
  const keys::Mac mac{core::Secret(std::move(tag_secret))};
  const auto digest = mac.Of({"lk1|tag|", parts.kid, "|", secret});
  const std::string tag = core::Base62Bytes(std::string_view(digest.data(), 8), core::kTagLength);
  return core::AssembleKeyString("", parts.kid, secret, parts.gen, tag);
}

class BadInput : public ::testing::Test {
 protected:
  DevServer& dev_ = SharedDevServer();
  RpcClient owner_ = dev_.AcmeOwner();

  static v1::CreateKeyRequest GoodCreate() {
    v1::CreateKeyRequest request;
    request.set_parent("organizations/acme");
    request.mutable_key()->set_display_name("a good name");
    request.mutable_key()->set_role("viewer");
    return request;
  }
  absl::StatusOr<v1::CreateKeyResponse> Create(const v1::CreateKeyRequest& request) {
    return owner_.Call(&v1::KeyAdmin::Stub::CreateKey, request);
  }
};

TEST_F(BadInput, KeyStringsOfEveryWrongKindAreDeniedWithTheRightReason) {
  const RpcClient verifier = dev_.Verifier();
  const v1::CreateKeyResponse made = owner_.MustCreate("acme", "to be mangled", "viewer");
  const std::string& good = made.key_string();
  const core::KeyParts parts = *core::ParseKeyString(good);
  ASSERT_EQ(verifier.Decide(good), v1::DECISION_ALLOWED);

  std::string wrong_crc = good;
  wrong_crc.back() = wrong_crc.back() == '0' ? '1' : '0';
  const std::vector<std::string> malformed = {"",
                                              "x",
                                              "lk1_",
                                              good.substr(0, good.size() - 1),
                                              good + "0",
                                              " " + good,
                                              good + "\n",
                                              good + good,
                                              std::string(10000, 'a'),
                                              wrong_crc,
                                              "LK1" + good.substr(3),
                                              "Label_" + good,
                                              "sixteen_letters1_" + good,
                                              "lk2" + good.substr(3)};
  for (const std::string& text : malformed) EXPECT_EQ(verifier.Decide(text), v1::DECISION_MALFORMED) << text.size();

  std::string tag(parts.tag);
  tag[5] = tag[5] == 'x' ? 'y' : 'x';
  const std::string wrong_tag = core::AssembleKeyString("", parts.kid, parts.secret, parts.gen, tag);
  const std::string unknown_generation = core::AssembleKeyString("", parts.kid, parts.secret, 'z', parts.tag);
  const std::string keyring_file = dev_.data_directory() + "/keyring.json";
  const auto ring = keys::KeyRing::Parse(ReadFile(keyring_file));
  ASSERT_THAT(ring, IsOk());
  const std::string unknown_key(ring->Mint().Expose());
  const std::string wrong_secret = WithAnotherSecret(good, keyring_file);
  ASSERT_EQ(ring->CheckTag(*core::ParseKeyString(wrong_secret)), keys::KeyRing::TagCheck::kMinted);
  for (const std::string& text : {wrong_tag, unknown_generation, unknown_key, wrong_secret}) {
    const auto verdict = verifier.Verify(text);
    ASSERT_THAT(verdict, IsOk());
    EXPECT_EQ(verdict->decision(), v1::DECISION_NOT_FOUND);
    EXPECT_FALSE(verdict->has_identity());
  }

  EXPECT_EQ(verifier.Decide("acme_live_" + good), v1::DECISION_ALLOWED) << "a label is cosmetic";
  ASSERT_THAT(owner_.Delete(made.key().name()), IsOk());
  EXPECT_EQ(verifier.Decide(good), v1::DECISION_REVOKED);
  EXPECT_EQ(verifier.Decide(wrong_secret), v1::DECISION_NOT_FOUND) << "deleted is told only to the right secret";
}

TEST_F(BadInput, NamesOfTheWrongLengthOrWithControlsAreRefused) {
  v1::CreateKeyRequest request = GoodCreate();
  request.mutable_key()->clear_display_name();
  EXPECT_THAT(Create(request), RefusedField("FIELD_REQUIRED", "key.display_name"));
  std::string astral;
  for (int i = 0; i < 101; ++i) astral += "𝒳";
  const std::vector<std::string> names = {std::string(101, 'n'),
                                          std::string(10000, 'n'),
                                          astral,
                                          "tab\there",
                                          "line\nbreak",
                                          std::string("nul\0byte", 8),
                                          "del\x7f",
                                          "c1 \u0085",
                                          "separator \u2028",
                                          "paragraph \u2029",
                                          "override \u202Egnp.exe",
                                          "isolate \u2066x",
                                          "embedding \u202Ax"};
  const std::string newest = owner_.MustCreate("acme", "the newest", "viewer").key().name();
  for (const std::string& name : names) {
    request.mutable_key()->set_display_name(name);
    EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.display_name"))
        << absl::CHexEscape(name.substr(0, 30));
  }
  const auto keys = owner_.List("acme");
  ASSERT_THAT(keys, IsOk());
  EXPECT_EQ(keys->keys(0).name(), newest) << "none was made";
  const v1::Key made = owner_.MustCreate("acme", "kept name", "viewer").key();
  for (const std::string& name : names) {
    EXPECT_THAT(owner_.Rename(made.name(), name), RefusedField("FIELD_INVALID", "key.display_name"));
  }
  EXPECT_THAT(owner_.Rename(made.name(), ""), RefusedField("FIELD_REQUIRED", "key.display_name"));
  EXPECT_EQ(owner_.Get(made.name())->display_name(), "kept name");
}

TEST_F(BadInput, NamesOfEveryScriptAreKeptAsTheyAre) {
  std::string hundred;
  for (int i = 0; i < 100; ++i) hundred += "漢";
  for (const std::string& name :
       {std::string("Café Zoë"), std::string("Ключ для сайта"), std::string("مفتاح الموقع"), std::string("מפתח האתר"),
        std::string("网站密钥"), std::string("サイトの鍵"), std::string("웹사이트 열쇠"), std::string("साइट कुंजी"),
        std::string("กุญแจเว็บไซต์"), std::string("ቁልፍ"), std::string("🔑🇩🇪 key"), std::string("e\u0301"),
        std::string("👩‍💻"), std::string("x"), std::string("'; DROP TABLE keys; --"), std::string("\\\"%s{}"),
        hundred}) {
    const v1::Key made = owner_.MustCreate("acme", name, "viewer").key();
    EXPECT_EQ(made.display_name(), name);
    EXPECT_EQ(owner_.Get(made.name())->display_name(), name);
  }
}

TEST_F(BadInput, EveryOtherFieldOfAKeyNamesWhatIsWrong) {
  v1::CreateKeyRequest request = GoodCreate();
  request.mutable_key()->clear_role();
  EXPECT_THAT(Create(request), RefusedField("FIELD_REQUIRED", "key.role"));
  for (const char* role : {"no-such-role", "Editor", "editor ", "lk1_x"}) {
    request.mutable_key()->set_role(role);
    EXPECT_THAT(Create(request), RefusedField("ROLE_UNKNOWN", "key.role")) << role;
  }
  request = GoodCreate();
  request.clear_parent();
  EXPECT_THAT(Create(request), RefusedField("FIELD_REQUIRED", "parent"));
  for (const char* parent : {"acme", "organizations/", "organizations/Acme", "organizations/acme/keys/x", "/"}) {
    request.set_parent(parent);
    EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "parent")) << parent;
  }
  request = GoodCreate();
  request.mutable_key()->set_owner(std::string(257, 'o'));
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.owner"));
  request = GoodCreate();
  request.mutable_key()->set_description(std::string(1001, 'd'));
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.description"));
  request = GoodCreate();
  (*request.mutable_key()->mutable_labels())["Env"] = "prod";
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.labels"));
  request = GoodCreate();
  request.mutable_key()->mutable_ttl()->set_seconds(0);
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.ttl"));
  request.mutable_key()->mutable_ttl()->set_seconds(int64_t{200} * 366 * 86400);
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.ttl"));
  request = GoodCreate();
  request.mutable_key()->mutable_expire_time()->set_seconds(1'000'000'000);
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.expire_time"));
  request = GoodCreate();
  request.set_request_id("not a uuid");
  EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "request_id"));
  EXPECT_THAT(owner_.Get("organizations/acme/keys/short"), RefusedField("FIELD_INVALID", "name"));
  EXPECT_THAT(owner_.Get(""), RefusedField("FIELD_REQUIRED", "name"));
  EXPECT_THAT(dev_.SystemOwner().CreateOrganization("Bad Id"), RefusedField("FIELD_INVALID", "organization_id"));
  EXPECT_THAT(dev_.SystemOwner().CreateOrganization(""), RefusedField("FIELD_REQUIRED", "organization_id"));
  EXPECT_THAT(dev_.Verifier().Verify(dev_.Key("acme"), {"Not A Permission"}),
              RefusedField("FIELD_INVALID", "required_permissions[0]"));
  EXPECT_THAT(dev_.Verifier().Verify(dev_.Key("acme"), std::vector<std::string>(33, "app.read")),
              RefusedField("FIELD_INVALID", "required_permissions"));
  v1::ListKeysRequest list;
  list.set_parent("organizations/acme");
  list.set_page_size(-1);
  EXPECT_THAT(owner_.Call(&v1::KeyAdmin::Stub::ListKeys, list), RefusedField("FIELD_INVALID", "page_size"));
  v1::BatchVerifyRequest batch;
  EXPECT_THAT(dev_.Verifier().Call(&v1::KeyVerify::Stub::BatchVerify, batch),
              RefusedField("FIELD_REQUIRED", "requests"));
  for (int i = 0; i < 101; ++i) batch.add_requests()->set_key("x");
  EXPECT_THAT(dev_.Verifier().Call(&v1::KeyVerify::Stub::BatchVerify, batch),
              RefusedField("FIELD_INVALID", "requests"));
}

TEST_F(BadInput, AddressesAndRevisionsOfAnotherFormAreRefusedByTheirPath) {
  for (const char* block : {"10.0.0.1/8", "10.0.0.0/33", "everywhere", "", "::/129"}) {
    v1::CreateKeyRequest request = GoodCreate();
    request.mutable_key()->add_allowed_cidrs("192.168.0.0/16");
    request.mutable_key()->add_allowed_cidrs(block);
    EXPECT_THAT(Create(request), RefusedField("FIELD_INVALID", "key.allowed_cidrs[1]")) << block;
  }
  v1::VerifyRequest verify;
  verify.set_key(dev_.Key("acme"));
  verify.mutable_client()->set_ip("10.0.0.1:80");
  EXPECT_THAT(dev_.Verifier().Call(&v1::KeyVerify::Stub::Verify, verify), RefusedField("FIELD_INVALID", "client.ip"));
  verify.clear_client();
  verify.set_min_revision("17");
  EXPECT_THAT(dev_.Verifier().Call(&v1::KeyVerify::Stub::Verify, verify),
              RefusedField("FIELD_INVALID", "min_revision"));
}

TEST_F(BadInput, MasksThatNameAnythingElseAreRefusedWhole) {
  const v1::Key made = owner_.MustCreate("acme", "masked", "viewer").key();
  for (const char* path : {"state", "name", "creator", "no_such_field", "key.display_name", "Display_name", "etag"}) {
    v1::UpdateKeyRequest request;
    request.mutable_key()->set_name(made.name());
    request.mutable_key()->set_display_name("changed");
    request.mutable_update_mask()->add_paths("display_name");
    request.mutable_update_mask()->add_paths(path);
    EXPECT_THAT(owner_.Call(&v1::KeyAdmin::Stub::UpdateKey, request), RefusedField("MASK_PATH_INVALID", "update_mask"))
        << path;
  }
  EXPECT_EQ(owner_.Get(made.name())->display_name(), "masked");
}

TEST_F(BadInput, AMessageOfAMebibyteIsRefusedAndTheConnectionGoesOn) {
  v1::CreateKeyRequest request = GoodCreate();
  request.mutable_key()->set_description(std::string(1 << 20, 'd'));
  EXPECT_EQ(Create(request).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(dev_.Verifier().Verify(std::string(1 << 20, 'k')).status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(Create(GoodCreate()), IsOk());
}

TEST_F(BadInput, EveryFieldThatNothingActsOnYetIsRefusedByItsPath) {
  const v1::CreateKeyResponse made = owner_.MustCreate("acme", "untouched", "viewer");
  const auto refused = [](const std::string& field, const auto& answer) {
    EXPECT_THAT(answer, RefusedField("FIELD_NOT_SUPPORTED", field));
  };
  const auto create = [&](const std::string& field, const auto& set) {
    v1::CreateKeyRequest request = GoodCreate();
    set(request);
    refused(field, Create(request));
  };
  create("acting_for", [](auto& request) { request.mutable_acting_for()->set_subject("alice"); });
  create("acting_for", [](auto& request) { request.mutable_acting_for(); });
  create("validate_only", [](auto& request) { request.set_validate_only(true); });

  const auto update = [&](const std::string& field, const auto& set) {
    v1::UpdateKeyRequest request;
    request.mutable_key()->set_name(made.key().name());
    request.mutable_key()->set_display_name("changed");
    set(request);
    refused(field, owner_.Call(&v1::KeyAdmin::Stub::UpdateKey, request));
  };
  update("acting_for", [](auto& request) { request.mutable_acting_for()->set_role("viewer"); });
  update("validate_only", [](auto& request) { request.set_validate_only(true); });
  update("descendants", [](auto& request) { request.set_descendants(v1::DESCENDANTS_CLAMP); });

  const auto remove = [&](const std::string& field, const auto& set) {
    v1::DeleteKeyRequest request;
    request.set_name(made.key().name());
    set(request);
    refused(field, owner_.Call(&v1::KeyAdmin::Stub::DeleteKey, request));
  };
  remove("acting_for", [](auto& request) { request.mutable_acting_for()->set_subject("alice"); });
  remove("descendants", [](auto& request) { request.set_descendants(v1::DESCENDANTS_REVOKE); });
  remove("allow_lockout", [](auto& request) { request.set_allow_lockout(true); });

  v1::ListKeysRequest list;
  list.set_parent("organizations/acme");
  list.set_filter("role = viewer");
  refused("filter", owner_.Call(&v1::KeyAdmin::Stub::ListKeys, list));
  list.clear_filter();
  list.set_order_by("display_name");
  refused("order_by", owner_.Call(&v1::KeyAdmin::Stub::ListKeys, list));
  v1::ListRolesRequest roles;
  roles.set_parent("organizations/acme");
  roles.mutable_acting_for()->set_subject("alice");
  refused("acting_for", owner_.Call(&v1::KeyAdmin::Stub::ListRoles, roles));

  const auto verify = [&](const std::string& field, const auto& set) {
    v1::VerifyRequest request;
    request.set_key(made.key_string());
    set(request);
    refused(field, dev_.Verifier().Call(&v1::KeyVerify::Stub::Verify, request));
  };
  verify("client.method", [](auto& request) { request.mutable_client()->set_method("GET"); });
  verify("client.path", [](auto& request) { request.mutable_client()->set_path("/"); });
  verify("client.user_agent", [](auto& request) { request.mutable_client()->set_user_agent("curl"); });

  const auto now = owner_.Get(made.key().name());
  ASSERT_THAT(now, IsOk());
  EXPECT_EQ(now->etag(), made.key().etag()) << "nothing was changed";
}

TEST_F(BadInput, AKeyStringWhereANameBelongsIsNotSentBack) {
  const v1::CreateKeyResponse made = owner_.MustCreate("acme", "pasted", "viewer");
  const std::string secret(core::ParseKeyString(made.key_string())->secret);
  std::string transcript;
  RpcClient caller = owner_;
  caller.RecordInto(&transcript);
  EXPECT_THAT(caller.Get(made.key_string()), Not(IsOk()));
  EXPECT_THAT(caller.Get("organizations/acme/keys/" + made.key_string()), Not(IsOk()));
  EXPECT_THAT(caller.Create("acme", "x", made.key_string()), Not(IsOk()));
  EXPECT_THAT(caller.CreateOrganization(made.key_string()), Not(IsOk()));
  v1::UpdateKeyRequest update;
  update.mutable_key()->set_name(made.key().name());
  update.mutable_update_mask()->add_paths(made.key_string());
  EXPECT_THAT(caller.Call(&v1::KeyAdmin::Stub::UpdateKey, update), Not(IsOk()));
  EXPECT_THAT(transcript, Not(::testing::HasSubstr(secret)));
}

}  // namespace
}  // namespace latchkey::testing
