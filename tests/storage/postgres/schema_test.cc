#include "server/storage/postgres/schema.h"

#include <gtest/gtest.h>
#include <openssl/evp.h>

#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/escaping.h"
#include "server/model/feature_level.h"

// The released steps of the schema: databases exist that were made by exactly these bytes.
namespace latchkey::storage::postgres {
namespace {

// SHA-256 of each released step, in order: of both its halves, one after the other. Lines are added, never changed.
constexpr const char* kReleased[] = {
    "b0a5be191ab4c9ed23b777027f7e818bf9cb69c4e712b71cc7ebd2b259e44f5a",  // 0001
    "a185a7b916d6e151b52ddc4263ca0fea7cc8a35c5a7436b7b260fe049be479b4",  // 0002
};

std::string Sha256(std::string_view text) {
  std::string digest(32, '\0');
  EXPECT_EQ(EVP_Digest(text.data(), text.size(), reinterpret_cast<unsigned char*>(digest.data()), nullptr, EVP_sha256(),
                       nullptr),
            1);
  return absl::BytesToHexString(digest);
}

TEST(SchemaSteps, AReleasedStepIsThereAndNeverChanges) {
  const std::vector<SchemaStep>& steps = SchemaSteps();
  ASSERT_GE(steps.size(), std::size(kReleased)) << "a released step is missing";
  for (size_t i = 0; i < std::size(kReleased); ++i) {
    EXPECT_EQ(Sha256(std::string(steps[i].expand) + steps[i].contract), kReleased[i])
        << "step " << i + 1 << " was released: write a new one";
  }
}

TEST(SchemaSteps, AStepIsOfALevelThatThisBuildKnowsAndNoneFallsBack) {
  int level = keys::kReleaseZeroLevel;
  for (const SchemaStep& step : SchemaSteps()) {
    EXPECT_GE(step.level, level);
    level = step.level;
    // What release 0 has, it has whole.
    if (level <= keys::kReleaseZeroLevel) EXPECT_STREQ(step.contract, "");
  }
  EXPECT_LE(level, keys::kNewestLevel);
}

}  // namespace
}  // namespace latchkey::storage::postgres
