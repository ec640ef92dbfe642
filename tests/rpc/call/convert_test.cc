#include "server/rpc/call/convert.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "server/keys/admin/key_registry.h"
#include "server/model/built_in_roles.h"

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

TEST(TimeConversion, TimeBeforeTheEpochHasPositiveNanos) {
  google::protobuf::Timestamp time;
  ToProto(absl::FromUnixMillis(-1500), &time);
  EXPECT_EQ(time.seconds(), -2);
  EXPECT_EQ(time.nanos(), 500'000'000);
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

const core::RevisionToken kRevision = {7, {'h', 'i', 's', 't', 'o', 'r', 'y', '1'}};

keys::Verdict AllowedVerdict() {
  keys::Verdict verdict;
  verdict.decision = core::Decision::kAllowed;
  verdict.identity = keys::Identity{.organization = "acme",
                                    .kid = "0123456789ABCDEF",
                                    .display_name = "deploy",
                                    .role = "editor",
                                    .owner = "ops",
                                    .permissions = {"app.read", "app.write"},
                                    .labels = {{"team", "billing"}},
                                    .allowed_cidrs = {"10.0.0.0/8"},
                                    .expires_at = kNow + absl::Seconds(90),
                                    .secret_version = 2};
  verdict.revision = kRevision;
  verdict.lease_remaining = absl::Milliseconds(4500);
  verdict.expires_in = absl::Seconds(90);
  return verdict;
}

TEST(VerdictConversion, IdentityAndTimesArrive) {
  v1::VerifyResponse response;
  ToProto(AllowedVerdict(), &response);
  EXPECT_EQ(response.decision(), v1::DECISION_ALLOWED);
  EXPECT_EQ(response.identity().name(), "organizations/acme/keys/0123456789ABCDEF");
  EXPECT_EQ(response.identity().key_id(), "0123456789ABCDEF");
  EXPECT_EQ(response.identity().organization(), "acme");
  EXPECT_EQ(response.identity().display_name(), "deploy");
  EXPECT_EQ(response.identity().role(), "editor");
  EXPECT_EQ(response.identity().permissions_size(), 2);
  EXPECT_EQ(response.identity().owner(), "ops");
  EXPECT_EQ(response.identity().labels().at("team"), "billing");
  EXPECT_TRUE(response.identity().has_expire_time());
  EXPECT_EQ(response.identity().secret_version(), 2);
  ASSERT_EQ(response.identity().allowed_cidrs_size(), 1);
  EXPECT_EQ(response.identity().allowed_cidrs(0), "10.0.0.0/8");
  EXPECT_EQ(response.revision().number(), 7);
  EXPECT_EQ(response.revision().token(), kRevision.Encode());
  EXPECT_EQ(response.lease_remaining().seconds(), 4);
  EXPECT_EQ(response.lease_remaining().nanos(), 500'000'000);
  EXPECT_EQ(response.expires_in().seconds(), 90);
}

TEST(VerdictConversion, AnswerMayBeReusedUntilTheEarlierOfLeaseAndExpiry) {
  keys::Verdict verdict = AllowedVerdict();
  v1::VerifyResponse lease_first;
  ToProto(verdict, &lease_first);
  EXPECT_EQ(lease_first.max_cache_age().seconds(), 4);
  verdict.expires_in = absl::Seconds(2);
  v1::VerifyResponse expiry_first;
  ToProto(verdict, &expiry_first);
  EXPECT_EQ(expiry_first.max_cache_age().seconds(), 2);
  EXPECT_EQ(expiry_first.max_cache_age().nanos(), 0);
}

TEST(VerdictConversion, NeverIsUnsetAndThePastIsZero) {
  keys::Verdict verdict = AllowedVerdict();
  verdict.expires_in = absl::InfiniteDuration();
  v1::VerifyResponse never;
  ToProto(verdict, &never);
  EXPECT_FALSE(never.has_expires_in());
  EXPECT_EQ(never.max_cache_age().seconds(), 4);
  verdict.expires_in = absl::Seconds(-3);
  v1::VerifyResponse past;
  ToProto(verdict, &past);
  EXPECT_EQ(past.expires_in().seconds(), 0);
  EXPECT_EQ(past.max_cache_age().seconds(), 0);
  EXPECT_GE(past.max_cache_age().nanos(), 0);
}

TEST(VerdictConversion, NoIdentityStaysUnset) {
  v1::VerifyResponse unknown;
  keys::Verdict verdict;
  verdict.decision = core::Decision::kNotFound;
  ToProto(verdict, &unknown);
  EXPECT_EQ(unknown.decision(), v1::DECISION_NOT_FOUND);
  EXPECT_FALSE(unknown.has_identity());
}

TEST(VerdictConversion, UsedMessageKeepsNothingOfItsFormerVerdict) {
  keys::Verdict bare;
  bare.decision = core::Decision::kRevoked;
  bare.identity = keys::Identity{.organization = "beta", .kid = "FEDCBA9876543210"};
  bare.revision = {8, {}};
  keys::Verdict unknown;
  unknown.decision = core::Decision::kNotFound;
  for (const keys::Verdict& next : {bare, unknown, AllowedVerdict()}) {
    v1::VerifyResponse used;
    ToProto(AllowedVerdict(), &used);
    ToProto(next, &used);
    v1::VerifyResponse fresh;
    ToProto(next, &fresh);
    // Labels are a map: one of them at most, so that the bytes can be compared.
    EXPECT_EQ(used.SerializeAsString(), fresh.SerializeAsString());
  }
}

TEST(RevisionConversion, NumberAndTokenSayTheSame) {
  v1::Revision first;
  v1::Revision second;
  v1::Revision again;
  ToProto(kRevision, &first);
  ToProto(core::RevisionToken{7, {'o', 't', 'h', 'e', 'r', '.', '.', '.'}}, &second);
  ToProto(kRevision, &again);
  EXPECT_EQ(first.number(), 7);
  EXPECT_EQ(core::RevisionToken::Decode(first.token()), kRevision);
  EXPECT_NE(first.token(), second.token());
  EXPECT_EQ(first.token(), again.token());
  ToProto(core::RevisionToken(), &again);
  EXPECT_EQ(core::RevisionToken::Decode(again.token()), core::RevisionToken());
}

}  // namespace
}  // namespace latchkey::rpc
