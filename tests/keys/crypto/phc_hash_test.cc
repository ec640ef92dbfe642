#include <gtest/gtest.h>

#include <thread>
#include <vector>

#include "server/base/clock.h"
#include "server/keys/crypto/hash_pool.h"
#include "server/keys/crypto/key_ring.h"
#include "server/keys/crypto/phc_hash.h"
#include "tests/support/status_matchers.h"

namespace latchkey::keys {
namespace {

using ::latchkey::testing::HasReason;
using ::latchkey::testing::IsOk;

const base::SystemClock kClock;
constexpr char kPhc[] = "$argon2id$v=19$m=1024,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA";

TEST(Phc, ReadsBackWhatItWrote) {
  const auto parsed = ParsePhc(kPhc);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->memory_kib, 1024u);
  EXPECT_EQ(parsed->salt, "saltsaltsaltsalt");
  EXPECT_EQ(FormatPhc(*parsed), kPhc);
}

TEST(Phc, RefusesParametersAboveTheCapsAndOtherForms) {
  const std::string tail = "$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA";
  EXPECT_TRUE(ParsePhc("$argon2id$v=19$m=131072,t=10,p=4" + tail));
  for (const char* head :
       {"$argon2id$v=19$m=131073,t=1,p=1", "$argon2id$v=19$m=1024,t=11,p=1", "$argon2id$v=19$m=1024,t=1,p=5",
        "$argon2id$v=19$m=4,t=1,p=1", "$argon2i$v=19$m=1024,t=1,p=1", "$argon2id$v=16$m=1024,t=1,p=1",
        "$argon2id$v=19$m=01024,t=1,p=1", "$argon2id$v=19$m=-1,t=1,p=1", "$argon2id$v=19$m=99999999999,t=1,p=1",
        "$argon2id$v=19$m=,t=1,p=1", "$argon2id$v=19$t=1,m=1024,p=1", ""}) {
    EXPECT_FALSE(ParsePhc(head + tail)) << head;
  }
  EXPECT_FALSE(ParsePhc("$argon2id$v=19$m=1024,t=1,p=1$c2FsdA$aGFzaGhhc2hoYXNoaGFzaA"));  // Salt of 4 bytes.
  EXPECT_FALSE(ParsePhc(std::string(kPhc) + "$"));
  EXPECT_FALSE(ParsePhc(std::string(kPhc) + " "));
}

// The reference hash of the Argon2 command line: echo -n password | argon2 somesalt -id -t 2 -k 65536 -p 1 -l 24.
TEST(HashPool, AgreesWithThePublishedVector) {
  HashPool pool({.workers = 1, .profile = RandomKeyProfile()}, kClock);
  const auto ticket = pool.Admit(absl::InfiniteDuration());
  ASSERT_THAT(ticket, IsOk());
  const std::string phc = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc";
  const auto matches = pool.Matches(*ticket, core::Secret(std::string("password")), phc);
  ASSERT_THAT(matches, IsOk());
  EXPECT_TRUE(*matches);
  EXPECT_FALSE(*pool.Matches(*ticket, core::Secret(std::string("Password")), phc));
}

TEST(HashPool, HashesUnderItsProfileWithAFreshSalt) {
  for (const HashProfile& profile : {OwaspProfile(), RandomKeyProfile()}) {
    HashPool pool({.workers = 1, .profile = profile}, kClock);
    const auto ticket = pool.Admit(absl::InfiniteDuration());
    ASSERT_THAT(ticket, IsOk());
    const core::Secret input(std::string("input"));
    const auto one = pool.Hash(*ticket, input);
    const auto two = pool.Hash(*ticket, input);
    ASSERT_THAT(one, IsOk());
    ASSERT_THAT(two, IsOk());
    EXPECT_NE(*one, *two);
    EXPECT_EQ(ParsePhc(*one)->memory_kib, profile.memory_kib);
    EXPECT_EQ(ParsePhc(*one)->passes, profile.passes);
    EXPECT_TRUE(*pool.Matches(*ticket, input, *one));
    EXPECT_FALSE(*pool.Matches(*ticket, core::Secret(std::string("other")), *one));
  }
}

TEST(HashPool, RefusesAStoredHashAboveTheCapsWithoutComputingIt) {
  HashPool pool({.workers = 1, .profile = RandomKeyProfile()}, kClock);
  const auto ticket = pool.Admit(absl::InfiniteDuration());
  const std::string phc = "$argon2id$v=19$m=1048576,t=1,p=1$c2FsdHNhbHRzYWx0c2FsdA$aGFzaGhhc2hoYXNoaGFzaA";
  EXPECT_THAT(pool.Matches(*ticket, core::Secret(std::string("x")), phc), HasReason("INTERNAL"));
  EXPECT_EQ(pool.computed(), 0);
}

TEST(HashPool, RefusesEarlyWithRetryInfoWhenThePredictedWaitIsTooLong) {
  HashPool pool({.workers = 1, .profile = RandomKeyProfile()}, kClock);
  std::vector<HashPool::Ticket> tickets;
  absl::Status refused;
  for (int i = 0; i < 1000 && refused.ok(); ++i) {
    auto ticket = pool.Admit(absl::Milliseconds(250));
    if (ticket.ok()) {
      tickets.push_back(*std::move(ticket));
    } else {
      refused = ticket.status();
    }
  }
  EXPECT_THAT(refused, HasReason("HASH_POOL_FULL"));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_GT(errors::DetailOf(refused)->retry_after, absl::ZeroDuration());
  EXPECT_FALSE(tickets.empty());
  tickets.clear();
  EXPECT_THAT(pool.Admit(absl::Milliseconds(250)), IsOk());
}

TEST(HashPool, ServesManyThreadsWithOneWorker) {
  HashPool pool({.workers = 1, .profile = RandomKeyProfile()}, kClock);
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&pool, &good, i] {
      const auto ticket = pool.Admit(absl::InfiniteDuration());
      const core::Secret input(std::to_string(i));
      const auto hash = pool.Hash(*ticket, input);
      if (hash.ok() && *pool.Matches(*ticket, input, *hash)) ++good;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 8);
  EXPECT_EQ(pool.computed(), 16);
}

TEST(KeyRing, ReadsBackWhatItSerialised) {
  const KeyRing ring = KeyRing::Generate();
  const auto again = KeyRing::Parse(std::string(ring.Serialise().Expose()));
  ASSERT_THAT(again, IsOk());
  EXPECT_EQ(again->CheckValues(), ring.CheckValues());
  EXPECT_EQ(ring.CheckValues().size(), 5u);
  EXPECT_NE(KeyRing::Generate().CheckValues(), ring.CheckValues());
  const core::Secret key = ring.Mint("acme");
  const auto parts = core::ParseKeyString(key.Expose());
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(again->CheckTag(*parts), KeyRing::TagCheck::kMinted);
  EXPECT_EQ(again->ProofOf(*parts), ring.ProofOf(*parts));
  EXPECT_EQ(KeyRing::Generate().CheckTag(*parts), KeyRing::TagCheck::kForged);
}

TEST(KeyRing, AGenerationItDoesNotHoldIsUnknown) {
  const KeyRing ring = KeyRing::Generate();
  const std::string text =
      core::AssembleKeyString("", std::string(16, 'k'), std::string(43, 's'), 'Z', std::string(11, 't'));
  EXPECT_EQ(ring.CheckTag(*core::ParseKeyString(text)), KeyRing::TagCheck::kUnknownGeneration);
}

TEST(KeyRing, BindsThePreHashToKidSecretAndPepper) {
  const KeyRing ring = KeyRing::Generate();
  const std::string base(ring.PreHash("1", "kid", "secret").Expose());
  EXPECT_EQ(base.size(), 32u);
  EXPECT_NE(ring.PreHash("1", "kids", "ecret").Expose(), base);
  EXPECT_NE(ring.PreHash("1", "kid", "secreT").Expose(), base);
  EXPECT_NE(KeyRing::Generate().PreHash("1", "kid", "secret").Expose(), base);
}

TEST(KeyRing, RefusesDamagedFilesWithoutQuotingThem) {
  const std::string good(KeyRing::Generate().Serialise().Expose());
  for (const std::string& bad :
       {std::string("{}"), std::string("not json"), std::string("[]"), good.substr(0, good.size() / 2),
        std::string("{\"latchkey_key_ring\":2,\"secrets\":[]}"),
        std::string("{\"latchkey_key_ring\":1,\"secrets\":[]}")}) {
    const auto ring = KeyRing::Parse(bad);
    EXPECT_THAT(ring, testing::HasCode(absl::StatusCode::kInvalidArgument));
    EXPECT_EQ(ring.status().message().find("secret\":"), absl::string_view::npos);
  }
}

}  // namespace
}  // namespace latchkey::keys
