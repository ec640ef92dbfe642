#include "server/rpc/admin/resources.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/keys/admin/etag.h"
#include "server/keys/admin/key_registry.h"
#include "server/model/built_in_roles.h"
#include "server/rpc/call/convert.h"

namespace latchkey::rpc {
namespace {

const absl::Time kCreated = absl::FromUnixMicros(1700000000123456);
const absl::Time kNow = kCreated + absl::Hours(1);

keys::KeyRecord Sample() {
  return {.organization = "acme",
          .kid = "0123456789ABCDEF",
          .display_name = "deploy",
          .description = "what for",
          .role = "editor",
          .owner = "ops",
          .labels = {{"team", "billing"}},
          .key_hint = "lk1_0123…f3Kz",
          .creator = "organizations/acme/keys/FEDCBA9876543210",
          .creator_kid = "FEDCBA9876543210",
          .created_at = kCreated,
          .updated_at = kCreated + absl::Seconds(5),
          .versions = {{.id = 1, .created_at = kCreated, .expires_at = kCreated + absl::Hours(2)},
                       {.id = 2, .created_at = kCreated + absl::Seconds(5)}},
          .revision = 42};
}

TEST(KeyConversion, EveryFieldArrives) {
  v1::Key key;
  ToProto(Sample(), kNow, &key);
  EXPECT_EQ(key.name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(key.display_name(), "deploy");
  EXPECT_EQ(key.description(), "what for");
  EXPECT_EQ(key.role(), "editor");
  EXPECT_EQ(key.owner(), "ops");
  EXPECT_EQ(key.labels().at("team"), "billing");
  EXPECT_EQ(key.state(), v1::Key::STATE_ACTIVE);
  EXPECT_EQ(key.key_hint(), "lk1_0123…f3Kz");
  EXPECT_EQ(key.creator(), "organizations/acme/keys/FEDCBA9876543210");
  EXPECT_EQ(key.create_time().seconds(), 1700000000);
  EXPECT_EQ(key.create_time().nanos(), 123456000);
  EXPECT_EQ(key.update_time().seconds(), 1700000005);
  EXPECT_EQ(key.etag(), keys::EtagOf(42));
  EXPECT_EQ(key.revision().number(), 42);
  ASSERT_EQ(key.secret_versions_size(), 2);
  EXPECT_EQ(key.secret_versions(0).id(), 2);
  EXPECT_FALSE(key.secret_versions(0).has_expire_time());
  EXPECT_EQ(key.secret_versions(1).id(), 1);
  EXPECT_EQ(key.secret_versions(1).expire_time().seconds(), 1700007200);
}

TEST(KeyConversion, CidrsAndLastUsesArrive) {
  keys::KeyRecord record = Sample();
  record.allowed_cidrs = {"10.0.0.0/8", "2001:db8::/32"};
  record.last_used_at = kCreated + absl::Minutes(2);
  record.versions[0].last_used_at = kCreated + absl::Minutes(1);
  v1::Key key;
  ToProto(record, kNow, &key);
  ASSERT_EQ(key.allowed_cidrs_size(), 2);
  EXPECT_EQ(key.allowed_cidrs(1), "2001:db8::/32");
  EXPECT_EQ(key.last_used_time().seconds(), 1700000120);
  EXPECT_EQ(key.secret_versions(1).last_used_time().seconds(), 1700000060);
  EXPECT_FALSE(key.secret_versions(0).has_last_used_time());
}

TEST(KeyConversion, WhatIsNeverIsUnset) {
  v1::Key key;
  ToProto(Sample(), kNow, &key);
  EXPECT_FALSE(key.has_expire_time());
  EXPECT_FALSE(key.has_ttl());
  EXPECT_FALSE(key.has_delete_time());
  EXPECT_FALSE(key.has_purge_time());
  EXPECT_FALSE(key.has_last_used_time());
  EXPECT_EQ(key.delete_reason(), v1::REASON_UNSPECIFIED);
}

TEST(KeyConversion, ExpiredKeyShowsItAndItsTimeIsReadBackAsExpireTime) {
  keys::KeyRecord record = Sample();
  record.expires_at = kNow - absl::Seconds(1);
  v1::Key key;
  ToProto(record, kNow, &key);
  EXPECT_EQ(key.state(), v1::Key::STATE_EXPIRED);
  EXPECT_TRUE(key.has_expire_time());
  v1::Key earlier;
  ToProto(record, kNow - absl::Minutes(1), &earlier);
  EXPECT_EQ(earlier.state(), v1::Key::STATE_ACTIVE);
}

TEST(KeyConversion, DeletedComesBeforeExpired) {
  keys::KeyRecord record = Sample();
  record.expires_at = kNow - absl::Seconds(1);
  record.deleted_at = kNow;
  record.purge_at = kNow + absl::Hours(24);
  record.delete_reason = keys::DeleteReason::kRotated;
  v1::Key key;
  ToProto(record, kNow, &key);
  EXPECT_EQ(key.state(), v1::Key::STATE_DELETED);
  EXPECT_TRUE(key.has_delete_time());
  EXPECT_EQ(key.purge_time().seconds() - key.delete_time().seconds(), 86400);
  EXPECT_EQ(key.delete_reason(), v1::REASON_ROTATED);
}

TEST(OrganizationConversion, EveryFieldArrives) {
  keys::OrganizationRecord record{
      .id = "acme", .display_name = "Acme", .created_at = kCreated, .updated_at = kCreated, .revision = 3};
  v1::Organization organization;
  ToProto(record, &organization);
  EXPECT_EQ(organization.name(), "organizations/acme");
  EXPECT_EQ(organization.display_name(), "Acme");
  EXPECT_EQ(organization.state(), v1::Organization::STATE_ACTIVE);
  EXPECT_EQ(organization.create_time().seconds(), 1700000000);
  EXPECT_FALSE(organization.has_delete_time());
  EXPECT_EQ(organization.etag(), keys::EtagOf(3));
  EXPECT_EQ(organization.revision().number(), 3);
  record.deleted_at = kNow;
  v1::Organization deleted;
  ToProto(record, &deleted);
  EXPECT_EQ(deleted.state(), v1::Organization::STATE_DELETED);
  EXPECT_TRUE(deleted.has_delete_time());
}

TEST(RoleConversion, BuiltInRoleHasNoTimesAndACustomOneHas) {
  keys::RoleRecord built_in = *keys::FindBuiltInRole("editor");
  built_in.organization = "acme";
  v1::Role role;
  ToProto(built_in, &role);
  EXPECT_EQ(role.name(), "organizations/acme/roles/editor");
  EXPECT_TRUE(role.built_in());
  EXPECT_FALSE(role.has_create_time());
  EXPECT_EQ(role.permissions_size(), static_cast<int>(built_in.permissions.size()));
  v1::Role custom;
  ToProto(keys::RoleRecord{.organization = "acme",
                           .id = "deployer",
                           .display_name = "Deployer",
                           .permissions = {"app.deploy"},
                           .created_at = kCreated,
                           .updated_at = kCreated,
                           .revision = 9},
          &custom);
  EXPECT_FALSE(custom.built_in());
  EXPECT_TRUE(custom.has_create_time());
  EXPECT_EQ(custom.permissions(0), "app.deploy");
  EXPECT_EQ(custom.revision().number(), 9);
}

}  // namespace
}  // namespace latchkey::rpc
