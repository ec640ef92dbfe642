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
  EXPECT_EQ(VersionIn(ChangeOf(keys::Settings())), 2);
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
  const keys::Settings settings = {.bound = absl::Seconds(3), .previous_bound = absl::Seconds(60), .changed_at = At(1)};
  EXPECT_EQ(Decoded(ChangeOf(settings).body)->settings, settings);
}

TEST(ChangeCodec, ProofsAndUsageAreNeverInABody) {
  keys::KeyRecord used = Key("k");
  used.last_used_at = used.versions[0].last_used_at = At(3);
  EXPECT_EQ(ChangeOf(used, ProvenSecret(1, 'A')).body, ChangeOf(Key("k")).body);
}

TEST(ChangeCodec, ABodyOfALaterVersionIsRefused) {
  for (const char* version : {"0", "3", "-1", "\"2\""}) {
    EXPECT_THAT(Decoded(std::string(R"({"v":)") + version +
                        R"(,"settings":{"bound_us":5000000,"previous_bound_us":5000000,"changed_at":1}})"),
                HasReason("INTERNAL"))
        << version;
  }
}

TEST(ChangeCodec, ABodyIsAboutOneThing) {
  EXPECT_THAT(Decoded(R"({"v":2})"), HasReason("INTERNAL"));
  keys::Change two;
  two.settings = keys::Settings();
  two.organization = Organization("acme");
  EXPECT_THAT(Decoded(keys::EncodeBody(two, {})), HasReason("INTERNAL"));
}

}  // namespace
}  // namespace latchkey::contract
