#include "server/model/change_codec.h"

#include <nlohmann/json.hpp>

#include "tests/storage/contract_fixture.h"
#include "tests/support/status_matchers.h"

// Bodies as they lie in logs for years, and what a server of another age makes of them.
namespace latchkey::contract {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;

absl::StatusOr<keys::Change> Decoded(const std::string& body) { return keys::DecodeBody({.rev = 7, .body = body}); }

int VersionIn(const keys::Change& change) { return nlohmann::json::parse(change.body).at("v").get<int>(); }

TEST(ChangeCodec, OldReadersAreStoppedByWhatTheyWouldMisread) {
  keys::KeyRecord anywhere = Key("k");
  anywhere.allowed_cidrs.clear();
  EXPECT_EQ(VersionIn(ChangeOf(anywhere)), 1);
  EXPECT_EQ(VersionIn(ChangeOf(Organization("acme"))), 1);
  EXPECT_EQ(VersionIn(ChangeOf(Role("acme", "r"))), 1);
  EXPECT_EQ(VersionIn(ChangeOf(Key("k"))), 2);
  EXPECT_EQ(VersionIn(ChangeOf(keys::Settings{.level = 2})), 2);
  EXPECT_EQ(VersionIn(ChangeOf(keys::Settings{.level = 3})), 3);
}

TEST(ChangeCodec, TheLevelThatAChangeNeedsIsTheHighestOfItsFields) {
  keys::KeyRecord anywhere = Key("k");
  anywhere.allowed_cidrs.clear();
  EXPECT_EQ(keys::LevelOf(ChangeOf(anywhere)), 1);
  EXPECT_EQ(keys::LevelOf(ChangeOf(Key("k"))), 2);
  EXPECT_EQ(keys::LevelOf(ChangeOf(keys::Settings{.level = 2})), 2);
  EXPECT_EQ(keys::LevelOf(ChangeOf(keys::Settings{.level = 3})), 3);
}

TEST(ChangeCodec, WhatNeedsMoreThanTheInstallationsLevelMayNotBeWritten) {
  keys::KeyRecord anywhere = Key("k");
  anywhere.allowed_cidrs.clear();
  const keys::Settings first = {.level = 1};
  EXPECT_THAT(keys::RequireLevel({ChangeOf(anywhere)}, first), IsOk());
  EXPECT_THAT(keys::RequireLevel({ChangeOf(anywhere), ChangeOf(Key("l"))}, first), HasReason("UPGRADE_UNFINISHED"));
  EXPECT_THAT(keys::RequireLevel({ChangeOf(Key("l"))}, {.level = 2}), IsOk());
  EXPECT_THAT(keys::RequireLevel({ChangeOf(keys::Settings{.level = 3})}, {.level = 2}), IsOk()) << "it raises it";
}

TEST(ChangeCodec, ABodyWithoutTheNewThingsIsWhatItWasBefore) {
  keys::KeyRecord key = Key("k");
  key.allowed_cidrs.clear();
  EXPECT_EQ(ChangeOf(key).body.find("allowed_cidrs"), std::string::npos);
}

TEST(ChangeCodec, ABodyOfTheFirstVersionIsRead) {
  const absl::StatusOr<keys::Change> change = Decoded(
      R"({"v":1,"key":{"organization":"acme","kid":"k","display_name":"d","description":"","role":"editor","owner":"",)"
      R"("labels":{},"key_hint":"h","creator":"bootstrap","creator_kid":"","created_at":1,"updated_at":2,)"
      R"("delete_reason":0,"versions":[{"id":1,"created_at":1}]},"audit":{}})");
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->key->kid, "k");
  EXPECT_EQ(change->key->revision, 7);
  EXPECT_TRUE(change->key->allowed_cidrs.empty());
}

TEST(ChangeCodec, WhatIsWrittenIsReadBack) {
  keys::KeyRecord key = Key("k");
  key.revision = 7;
  EXPECT_EQ(Decoded(ChangeOf(key).body)->key, key);
  for (const int level : {2, 3}) {
    const keys::Settings settings = {
        .bound = absl::Seconds(3), .previous_bound = absl::Seconds(60), .changed_at = At(1), .level = level};
    EXPECT_EQ(Decoded(ChangeOf(settings).body)->settings, settings);
  }
}

TEST(ChangeCodec, TheBytesOfABodyNeverChange) {
  EXPECT_EQ(ChangeOf(FilledKey("k")).body,
            R"({"v":2,"key":{"organization":"acme","kid":"k","display_name":"display_name","description":"descripti)"
            R"(on","role":"role","owner":"owner","labels":{"labels":"value"},"key_hint":"key_hint","creator":"creat)"
            R"(or","creator_kid":"creator_kid","created_at":1700000011000000,"updated_at":1700000012000000,"expires)"
            R"(_at":1700000013000000,"deleted_at":1700000014000000,"purge_at":1700000015000000,"delete_reason":3,"a)"
            R"(llowed_cidrs":["allowed_cidrs","second"],"versions":[{"id":11,"created_at":1700000002000000,"expires)"
            R"(_at":1700000003000000}]},"audit":{"principal":"bootstrap","peer":"","method":"contract","request_id")"
            R"(:"","server":""}})");
  keys::OrganizationRecord with_default_quota = Filled<keys::OrganizationRecord>();
  with_default_quota.max_keys = 0;
  EXPECT_EQ(ChangeOf(with_default_quota).body,
            R"({"v":1,"organization":{"id":"id","display_name":"display_name","created_at":1700000003000000,"update)"
            R"(d_at":1700000004000000,"deleted_at":1700000005000000},"audit":{"principal":"bootstrap","peer":"","me)"
            R"(thod":"contract","request_id":"","server":""}})");
  EXPECT_EQ(ChangeOf(Filled<keys::OrganizationRecord>()).body,
            R"({"v":1,"organization":{"id":"id","display_name":"display_name","created_at":1700000003000000,"update)"
            R"(d_at":1700000004000000,"deleted_at":1700000005000000,"max_keys":16},"audit":{"principal":"bootstrap")"
            R"(,"peer":"","method":"contract","request_id":"","server":""}})");
  EXPECT_EQ(ChangeOf(Filled<keys::RoleRecord>()).body,
            R"({"v":1,"role":{"organization":"organization","id":"id","display_name":"display_name","description":")"
            R"(description","documentation_uri":"documentation_uri","permissions":["permissions","second"],"created)"
            R"(_at":1700000007000000,"updated_at":1700000008000000,"removed":true},"audit":{"principal":"bootstrap")"
            R"(,"peer":"","method":"contract","request_id":"","server":""}})");
  EXPECT_EQ(ChangeOf(Filled<keys::Settings>()).body,
            R"({"v":3,"critical":["settings.level"],"settings":{"bound_us":11000000,"previous_bound_us":12000000,"c)"
            R"(hanged_at":1700000003000000,"level":14},"audit":{"principal":"bootstrap","peer":"","method":"contrac)"
            R"(t","request_id":"","server":""}})");
  keys::Settings of_release_zero = Filled<keys::Settings>();
  of_release_zero.level = keys::kReleaseZeroLevel;
  EXPECT_EQ(ChangeOf(of_release_zero).body,
            R"({"v":2,"settings":{"bound_us":11000000,"previous_bound_us":12000000,"changed_at":1700000003000000},")"
            R"(audit":{"principal":"bootstrap","peer":"","method":"contract","request_id":"","server":""}})");
}

TEST(ChangeCodec, EveryFieldIsReadBack) {
  keys::KeyRecord key = FilledKey("k");
  key.revision = 7;
  EXPECT_EQ(Decoded(ChangeOf(key).body)->key, key);
  keys::OrganizationRecord organization = Filled<keys::OrganizationRecord>();
  organization.revision = 7;
  EXPECT_EQ(Decoded(ChangeOf(organization).body)->organization, organization);
  keys::RoleRecord role = Filled<keys::RoleRecord>();
  role.revision = 7;
  EXPECT_EQ(Decoded(ChangeOf(role).body)->role, role);
}

TEST(ChangeCodec, ProofsAndUsageAreNeverInABody) {
  keys::KeyRecord used = Key("k");
  used.last_used_at = used.versions[0].last_used_at = At(3);
  EXPECT_EQ(ChangeOf(used, ProvenSecret(1, 'A')).body, ChangeOf(Key("k")).body);
}

TEST(ChangeCodec, ABodyOfALaterVersionIsRefused) {
  for (const char* version : {"0", "4", "-1", "\"2\""}) {
    EXPECT_THAT(Decoded(std::string(R"({"v":)") + version +
                        R"(,"settings":{"bound_us":5000000,"previous_bound_us":5000000,"changed_at":1}})"),
                HasReason("ROW_UNREADABLE"))
        << version;
  }
}

// A body of shape 3 of acme's key k with `more` of its fields and `beside` it.
std::string BodyWith(const std::string& more, const std::string& beside) {
  return R"({"v":3,)" + beside +
         R"("key":{"organization":"acme","kid":"k","display_name":"d","description":"","role":"editor","owner":"",)"
         R"("labels":{},"key_hint":"h","creator":"bootstrap","creator_kid":"","created_at":1,"updated_at":2,)" +
         more + R"("delete_reason":0,"versions":[{"id":1,"created_at":1,"colour":"red"}]},"audit":{"weather":"fair"}})";
}

TEST(ChangeCodec, FieldsThatAReaderDoesNotKnowAreKeptAndPassedOver) {
  const std::string body = BodyWith(R"("shoe_size":44,)", R"("beside":[1],)");
  const absl::StatusOr<keys::Change> change = Decoded(body);
  ASSERT_THAT(change, IsOk());
  EXPECT_EQ(change->key->kid, "k");
  EXPECT_EQ(change->body, body);
}

TEST(ChangeCodec, OnlyWhatIsCriticalAndNotKnownStopsAReader) {
  const std::string disabled = R"("disabled_until":7,)";
  EXPECT_THAT(Decoded(BodyWith(disabled, R"("critical":[],)")), IsOk());
  EXPECT_THAT(Decoded(BodyWith(disabled, R"("critical":["key.allowed_cidrs","key.versions.expires_at","audit"],)")),
              IsOk());
  for (const char* path :
       {"key.disabled_until", "key.versions.colour", "beside", "disabled_until", "versions.id", ""}) {
    const absl::StatusOr<keys::Change> change =
        Decoded(BodyWith(disabled, std::string(R"("critical":["key.kid",")") + path + R"("],)"));
    EXPECT_THAT(change, HasReason("ROW_UNREADABLE")) << path;
    EXPECT_NE(change.status().message().find(std::string("does not know: ") + path), std::string::npos);
  }
  for (const char* critical : {"true", "{}", "[1]", "\"key.kid\""}) {
    EXPECT_THAT(Decoded(BodyWith("", std::string("\"critical\":") + critical + ",")), HasReason("ROW_UNREADABLE"))
        << critical;
  }
}

TEST(ChangeCodec, AThingThatAReaderDoesNotKnowChangesNothing) {
  const absl::StatusOr<keys::Change> change = Decoded(R"({"v":3,"session":{"id":"s"},"audit":{}})");
  ASSERT_THAT(change, IsOk());
  EXPECT_FALSE(change->key || change->organization || change->role || change->settings);
  EXPECT_THAT(Decoded(R"({"v":3,"critical":["session"],"session":{"id":"s"},"audit":{}})"),
              HasReason("ROW_UNREADABLE"));
}

// A good body of each kind in which `from` is replaced by `to`; the error's text, "" if it is read.
std::string ErrorWith(const std::string& from, const std::string& to) {
  for (std::string body : {ChangeOf(FilledKey("k")).body, ChangeOf(Filled<keys::OrganizationRecord>()).body,
                           ChangeOf(Filled<keys::RoleRecord>()).body, ChangeOf(Filled<keys::Settings>()).body}) {
    const size_t at = body.find(from);
    if (at == std::string::npos) continue;
    body.replace(at, from.size(), to);
    const absl::StatusOr<keys::Change> change = Decoded(body);
    if (change.ok()) return "";
    EXPECT_THAT(change, HasReason("ROW_UNREADABLE"));
    return std::string(change.status().message());
  }
  ADD_FAILURE() << "no body has " << from;
  return "";
}

TEST(ChangeCodec, WhatANumberOrATextCanNotBeIsRefusedByTheNameOfItsField) {
  struct {
    std::string from, to, field;
  } const kCases[] = {
      // Wider than 64 bits: the parser makes floats of them.
      {"1700000013000000", "18446744073709551616", "key.expires_at"},
      {"1700000013000000", "1700000013000000000000000000", "key.expires_at"},
      // Of 64 bits, and no time that a record may have.
      {"1700000013000000", "18446744073709551615", "key.expires_at"},
      {"1700000013000000", "9223372036854775807", "key.expires_at"},
      {"1700000013000000", "-9223372036854775808", "key.expires_at"},
      {"1700000013000000", "253402300800000000", "key.expires_at"},
      {"1700000013000000", "-62135596800000001", "key.expires_at"},
      // No integers.
      {"1700000013000000", "1700000013000000.0", "key.expires_at"},
      {"1700000013000000", "1e15", "key.expires_at"},
      {"1700000013000000", "true", "key.expires_at"},
      {"1700000013000000", "null", "key.expires_at"},
      {"1700000013000000", "\"1700000013000000\"", "key.expires_at"},
      {"1700000003000000}]", "253402300800000000}]", "key.versions.expires_at"},
      {"1700000005000000", "0.5", "organization.deleted_at"},
      {"1700000008000000", "[]", "role.updated_at"},
      // Wider than their field.
      {"\"id\":11", "\"id\":2147483648", "key.versions.id"},
      {"\"id\":11", "\"id\":-2147483649", "key.versions.id"},
      {"\"delete_reason\":3", "\"delete_reason\":4294967299", "key.delete_reason"},
      {"\"delete_reason\":3", "\"delete_reason\":3.0", "key.delete_reason"},
      {"\"level\":14", "\"level\":4294967310", "settings.level"},
      {":11000000", ":9223372036854775808", "settings.bound_us"},
      {":11000000", ":11000000.5", "settings.bound_us"},
      {"{\"v\":2", "{\"v\":2.0", "v"},
      {"{\"v\":1", "{\"v\":true", "v"},
      {"{\"v\":2", "{\"v\":4294967298", "v"},
      // Of another type.
      {"\"display_name\":\"display_name\"", "\"display_name\":1", "key.display_name"},
      {"\"removed\":true", "\"removed\":1", "role.removed"},
      {"{\"labels\":\"value\"}", "{\"labels\":1}", "key.labels"},
      {"{\"labels\":\"value\"}", "[\"value\"]", "key.labels"},
      {"[\"allowed_cidrs\",\"second\"]", "\"10.0.0.0/8\"", "key.allowed_cidrs"},
      {"[\"permissions\",\"second\"]", "{\"a\":\"b\"}", "role.permissions"},
      {"\"versions\":[", "\"versions\":null,\"was\":[", "key.versions"},
      {"\"versions\":[", "\"versions\":[1,", "key.versions"},
      {"\"kid\":\"k\",", "", "key.kid"},
  };
  for (const auto& one : kCases) {
    EXPECT_THAT(ErrorWith(one.from, one.to), ::testing::HasSubstr("change-log row 7: " + one.field + ": ")) << one.to;
  }
}

TEST(ChangeCodec, AnErrorQuotesNoValue) {
  EXPECT_THAT(ErrorWith("\"display_name\":\"display_name\"", "\"display_name\":[\"canary\"]"),
              ::testing::AllOf(::testing::HasSubstr("display_name"), ::testing::Not(::testing::HasSubstr("canary"))));
  EXPECT_THAT(ErrorWith("}}", "}}canary"), ::testing::Not(::testing::HasSubstr("canary")));
}

TEST(ChangeCodec, TheFirstAndTheLastTimeOfARecordAreReadBack) {
  for (const int64_t us : {int64_t{-62135596800000000}, int64_t{-1}, int64_t{253402300799999999}}) {
    keys::KeyRecord key = Key("k");
    key.revision = 7;
    key.expires_at = key.versions[0].expires_at = absl::FromUnixMicros(us);
    EXPECT_EQ(Decoded(ChangeOf(key).body)->key, key) << us;
  }
}

TEST(ChangeCodec, ALevelThatIsWrittenByLeavingItOutReadsAsRelease0s) {
  for (const char* level : {"2", "1", "-5"}) {
    EXPECT_EQ(Decoded(std::string(R"({"v":3,"settings":{"bound_us":1,"previous_bound_us":1,"changed_at":1,"level":)") +
                      level + "}}")
                  ->settings->level,
              keys::kReleaseZeroLevel);
  }
}

TEST(ChangeCodec, ABodyIsAboutOneThing) {
  EXPECT_THAT(Decoded(R"({"v":2})"), HasReason("ROW_UNREADABLE"));
  keys::Change two;
  two.settings = keys::Settings();
  two.organization = Organization("acme");
  EXPECT_THAT(Decoded(keys::EncodeBody(two, {})), HasReason("ROW_UNREADABLE"));
}

}  // namespace
}  // namespace latchkey::contract
