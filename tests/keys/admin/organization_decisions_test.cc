#include "server/keys/admin/organization_decisions.h"

#include <gtest/gtest.h>

#include <string>

#include "server/base/errors.h"
#include "server/keys/admin/etag.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;
using storage::LockedState;

const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
const Audit kAudit{"who", "where", "method", "", "server"};

KeyRecord Caller(const std::string& organization, const std::string& role) {
  KeyRecord key;
  key.organization = organization;
  key.kid = "caller";
  key.role = role;
  return key;
}

// What `key` is when it calls, and the state that it finds.
Principal As(const KeyRecord& key) { return {.organization = key.organization, .kid = key.kid, .role = key.role}; }
LockedState StateOf(const KeyRecord& caller) {
  LockedState state;
  state.now = kNow;
  state.keys[caller.kid] = caller;
  return state;
}
OrganizationRecord Acme() {
  OrganizationRecord acme;
  acme.id = "acme";
  acme.display_name = "Acme";
  acme.revision = 7;
  return acme;
}

TEST(DecideCreateOrganization, MakesItWithTheNameAndTheQuotaThatWereAskedFor) {
  const KeyRecord owner = Caller("system", "owner");
  const auto made = DecideCreateOrganization(StateOf(owner), As(owner), {.id = "acme", .max_keys = 5}, kAudit);
  ASSERT_THAT(made, IsOk());
  EXPECT_EQ(made->organization.display_name, "acme");
  EXPECT_EQ(made->organization.max_keys, 5);
  EXPECT_EQ(made->organization.created_at, kNow);
  ASSERT_EQ(made->mutation.changes.size(), 1u);
  EXPECT_EQ(made->mutation.changes[0].organization, made->organization);
  EXPECT_EQ(made->mutation.changes[0].body, EncodeBody(made->mutation.changes[0], kAudit));
}

TEST(DecideCreateOrganization, AnIdIsUsedOnce) {
  const KeyRecord owner = Caller("system", "owner");
  LockedState state = StateOf(owner);
  state.organization = Acme();
  EXPECT_THAT(DecideCreateOrganization(state, As(owner), {.id = "acme"}, kAudit), HasReason("ORGANIZATION_EXISTS"));
  state.organization->deleted_at = kNow;
  EXPECT_THAT(DecideCreateOrganization(state, As(owner), {.id = "acme"}, kAudit), HasReason("ORGANIZATION_EXISTS"));
}

TEST(DecideOrganization, OnlyCallersOfSystemWhoHoldThePermissionMay) {
  const struct {
    KeyRecord caller;
    const char* said;
  } cases[] = {
      {Caller("system", "admin"), "PERMISSION_MISSING"},
      {Caller("acme", "owner"), "PERMISSION_MISSING"},
  };
  for (const auto& c : cases) {
    LockedState state = StateOf(c.caller);
    EXPECT_THAT(DecideCreateOrganization(state, As(c.caller), {.id = "acme"}, kAudit), HasReason(c.said));
    state.organization = Acme();
    EXPECT_THAT(DecideUpdateOrganization(state, As(c.caller), {.id = "acme", .max_keys = 1}, kAudit),
                HasReason(c.said));
  }
  // Its key is gone by now.
  const KeyRecord owner = Caller("system", "owner");
  LockedState state = StateOf(owner);
  state.keys.clear();
  EXPECT_THAT(DecideCreateOrganization(state, As(owner), {.id = "acme"}, kAudit), HasReason("CREDENTIALS_INVALID"));
}

TEST(DecideUpdateOrganization, WritesWhatIsSetAndNothingIfThatChangesNothing) {
  const KeyRecord owner = Caller("system", "owner");
  LockedState state = StateOf(owner);
  state.organization = Acme();
  const auto decide = [&](const OrganizationEdit& edit) {
    return DecideUpdateOrganization(state, As(owner), edit, kAudit);
  };
  const auto quota = decide({.id = "acme", .max_keys = 9});
  ASSERT_THAT(quota, IsOk());
  EXPECT_EQ(quota->organization.max_keys, 9);
  EXPECT_EQ(quota->organization.display_name, "Acme");
  EXPECT_EQ(quota->organization.updated_at, kNow);
  EXPECT_EQ(quota->mutation.changes.size(), 1u);
  EXPECT_EQ(decide({.id = "acme", .display_name = "ACME"})->organization.display_name, "ACME");
  EXPECT_TRUE(decide({.id = "acme", .display_name = "Acme"})->mutation.changes.empty());
  EXPECT_THAT(decide({.id = "acme", .etag = EtagOf(6), .max_keys = 9}), HasReason("ETAG_MISMATCH"));
  EXPECT_THAT(decide({.id = "acme", .etag = EtagOf(7), .max_keys = 9}), IsOk());
  state.organization->deleted_at = kNow;
  EXPECT_THAT(decide({.id = "acme", .max_keys = 9}), HasReason("ORGANIZATION_NOT_FOUND"));
  state.organization.reset();
  EXPECT_THAT(decide({.id = "acme", .max_keys = 9}), HasReason("ORGANIZATION_NOT_FOUND"));
}

}  // namespace
}  // namespace latchkey::keys
