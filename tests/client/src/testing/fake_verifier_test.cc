#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/core/cidr.h"
#include "client/core/judge.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "latchkey/testing/fake_verifier.h"
#include "tests/client/src/cache/lease_cache_fixture.h"

namespace latchkey::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

const std::vector<std::string>& UnreadableBlocks() {
  static const auto& blocks = *new std::vector<std::string>{
      "10.0.0.1/8", "nonsense", "", "10.0.0.0/33", "10.0.0.0/", "/8", "10.0.0.0/8 ", "2001:db8::1/32", "::/129"};
  return blocks;
}

TEST(FakeVerifier, AllowsWhatItWasToldWithTheIdentityAndItsPermissions) {
  FakeVerifier verifier;
  verifier.Allow("good", Identity({.organization = "acme", .key_id = "k1", .permissions = {"app.*"}}));
  const Answer answer = verifier.Verify("good", {.required_permissions = {"app.read"}});
  EXPECT_TRUE(answer.allowed());
  EXPECT_EQ(answer.identity().organization(), "acme");
  EXPECT_EQ(verifier.Verify("good", {.required_permissions = {"other"}}).decision(), Decision::kPermissionDenied);
  EXPECT_EQ(verifier.Verify("unknown", {}).decision(), Decision::kNotFound);
  EXPECT_EQ(verifier.calls("good"), 2);
  EXPECT_EQ(verifier.calls(), 3);
}

TEST(FakeVerifier, ChecksTheAddressIfTheKeyIsHeldToOne) {
  FakeVerifier verifier;
  verifier.Allow("held", Identity({.allowed_cidrs = {"10.0.0.0/8"}}));
  EXPECT_TRUE(verifier.Verify("held", {.client_ip = "10.1.1.1"}).allowed());
  EXPECT_EQ(verifier.Verify("held", {}).decision(), Decision::kClientNotAllowed);
}

TEST(FakeVerifier, UnreadableBlockAllowsNobodyAloneAndTakesNothingFromAReadableOne) {
  FakeVerifier verifier;
  for (const std::string& block : UnreadableBlocks()) {
    verifier.Allow("alone", Identity({.allowed_cidrs = {block}}));
    verifier.Allow("beside", Identity({.allowed_cidrs = {block, "192.0.2.0/24"}}));
    for (const char* address : {"", "10.0.0.1", "192.0.2.1", "2001:db8::1"}) {
      EXPECT_EQ(verifier.Verify("alone", {.client_ip = address}).decision(), Decision::kClientNotAllowed)
          << block << " from " << address;
    }
    EXPECT_TRUE(verifier.Verify("beside", {.client_ip = "192.0.2.1"}).allowed()) << block;
    EXPECT_EQ(verifier.Verify("beside", {.client_ip = "10.0.0.1"}).decision(), Decision::kClientNotAllowed) << block;
  }
}

TEST(FakeVerifier, RefusesParametersThatARealVerifierRefuses) {
  FakeVerifier verifier;
  verifier.Allow("good", Identity({.permissions = {"*"}}));
  EXPECT_EQ(verifier.Verify("good", {.client_ip = "10.0.0.1:80"}).error().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(verifier.Verify("good", {.required_permissions = {"App Read"}}).error().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(verifier.Verify("good").allowed());
  EXPECT_EQ(verifier.Stats().undecided, 2);
}

using FakeVerifierBesideTheCache = client::LeaseCacheTest;

TEST_F(FakeVerifierBesideTheCache, SaysTheSameOfEveryListOfBlocks) {
  OpenSettledStream();
  Pong();
  std::vector<std::vector<std::string>> lists = {{}, {"10.0.0.0/8"}, {"10.0.0.0/8", "2001:db8::/32"}};
  lists.push_back(UnreadableBlocks());
  for (const std::string& block : UnreadableBlocks()) {
    lists.push_back({block});
    lists.push_back({block, "10.0.0.0/8"});
    lists.push_back({"2001:db8::/32", block});
  }
  FakeVerifier fake;
  int refused = 0;
  for (size_t i = 0; i < lists.size(); ++i) {
    SCOPED_TRACE(absl::StrCat("{", absl::StrJoin(lists[i], ", "), "}"));
    const std::string name = absl::StrCat("k", i, "-");
    Identity::Fields fields = client::FieldsOf(name);
    fields.allowed_cidrs = lists[i];
    fake.Allow(name, Identity(fields));
    Insert(name, AllowedAs(fields));
    std::vector<core::Cidr> readable;
    for (const std::string& text : lists[i]) {
      if (const auto block = core::Cidr::Parse(text); block.ok()) readable.push_back(*block);
    }
    for (const char* address : {"", "10.1.2.3", "192.0.2.1", "2001:db8::1"}) {
      for (const char* permission : {"app.write", "app.other"}) {
        const VerifyParams params = {.required_permissions = {permission}, .client_ip = address};
        const core::Decision cached = Find(name, params);
        ASSERT_NE(cached, core::Decision::kUnspecified);
        EXPECT_EQ(fake.Verify(name, params).decision(), static_cast<Decision>(cached)) << address << " " << permission;
        if (readable.empty() && !lists[i].empty()) {
          EXPECT_EQ(cached, core::Decision::kClientNotAllowed);
          ++refused;
        } else {
          EXPECT_EQ(cached, core::Judge({.permissions = &fields.permissions, .allowed_cidrs = readable},
                                        {.permissions = &params.required_permissions, .client_ip = address}));
        }
      }
    }
  }
  EXPECT_EQ(refused, static_cast<int>(UnreadableBlocks().size() + 1) * 8);
}

TEST_F(FakeVerifierBesideTheCache, IdentityFromTheCacheTellsWhatCouldNotBeRead) {
  OpenSettledStream();
  Pong();
  Identity::Fields fields = client::FieldsOf("k");
  fields.labels = {{"team", "web"}};
  fields.allowed_cidrs = {"nonsense", "10.0.0.0/8"};
  Insert("k", AllowedAs(fields));
  const auto hit = cache.Find(client::KeyOf("k"), {.client_ip = "10.0.0.1"});
  ASSERT_TRUE(hit.has_value());
  EXPECT_THAT(hit->identity.allowed_cidrs(), ElementsAre("10.0.0.0/8", "nonsense"));
  EXPECT_EQ(hit->identity.key_id(), fields.key_id);
  EXPECT_EQ(hit->identity.labels(), fields.labels);
}

TEST(Identity, AllowedCidrsAreEmptyOnlyIfItMayBeUsedFromAnywhere) {
  EXPECT_THAT(Identity().allowed_cidrs(), IsEmpty());
  EXPECT_THAT(Identity({.allowed_cidrs = {}}).allowed_cidrs(), IsEmpty());
  for (const std::string& block : UnreadableBlocks()) {
    EXPECT_THAT(Identity({.allowed_cidrs = {block}}).allowed_cidrs(), ElementsAre(block));
    EXPECT_THAT(Identity({.allowed_cidrs = {block, "2001:DB8::/32", "10.0.0.1"}}).allowed_cidrs(),
                ElementsAre("2001:db8::/32", "10.0.0.1/32", block));
  }
  EXPECT_THAT(Identity({.allowed_cidrs = UnreadableBlocks()}).allowed_cidrs(),
              ::testing::ElementsAreArray(UnreadableBlocks()));
}

TEST(Identity, KeepsAKeyIdOfAnyLength) {
  for (const std::string& id : {std::string(), std::string("k1"), std::string(16, 'k'), std::string(17, 'k'),
                                std::string("build-server-key-1"), std::string(5'000, 'k')}) {
    const Identity identity({.organization = "acme", .key_id = id, .owner = "web team", .labels = {{"team", "web"}}});
    const Identity copy = identity;  // NOLINT(performance-unnecessary-copy-initialization): copies share.
    EXPECT_EQ(copy.key_id(), id);
    EXPECT_EQ(copy.name(), "organizations/acme/keys/" + id);
    EXPECT_EQ(copy.owner(), "web team");
    EXPECT_EQ(copy.labels().at("team"), "web");
    EXPECT_THAT(copy.allowed_cidrs(), IsEmpty());
  }
  const Identity both({.key_id = "build-server-key-1", .allowed_cidrs = {"nonsense"}});
  EXPECT_EQ(both.key_id(), "build-server-key-1");
  EXPECT_THAT(both.allowed_cidrs(), ElementsAre("nonsense"));
}

TEST(FakeVerifier, DeniesAndForgets) {
  FakeVerifier verifier;
  verifier.Deny("bad", Decision::kRevoked);
  EXPECT_EQ(verifier.Verify("bad", {}).decision(), Decision::kRevoked);
  verifier.Forget("bad");
  EXPECT_EQ(verifier.Verify("bad", {}).decision(), Decision::kNotFound);
}

TEST(FakeVerifier, UndecidedUntilToldOtherwise) {
  FakeVerifier verifier;
  verifier.Allow("good", {});
  verifier.SetUndecided(absl::UnavailableError("away"));
  int answers = 0;
  verifier.VerifyAsync("good", {}, [&](const Answer& answer) {
    ++answers;
    EXPECT_TRUE(answer.undecided());
  });
  EXPECT_EQ(answers, 1);
  EXPECT_FALSE(verifier.WaitUntilConnected(absl::ZeroDuration()));
  verifier.SetUndecided(absl::OkStatus());
  EXPECT_TRUE(verifier.Verify("good", {}).allowed());
}

}  // namespace
}  // namespace latchkey::testing
