#include "server/keys/crypto/mac.h"

#include <gtest/gtest.h>

#include <utility>

#include "absl/strings/escaping.h"

namespace latchkey::keys {
namespace {

std::string HexOf(const std::string& key, std::initializer_list<std::string_view> parts) {
  const Mac mac{core::Secret(std::string(key))};
  const auto digest = mac.Of(parts);
  return absl::BytesToHexString(absl::string_view(digest.data(), digest.size()));
}

// RFC 4231, test cases 1, 2 and 6.
TEST(Mac, AgreesWithTheVectorsOfRfc4231) {
  EXPECT_EQ(HexOf(std::string(20, '\x0b'), {"Hi There"}),
            "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
  EXPECT_EQ(HexOf("Jefe", {"what do ya want for nothing?"}),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
}

TEST(Mac, HashesAKeyThatIsLongerThanABlock) {
  EXPECT_EQ(HexOf(std::string(131, '\xaa'), {"Test Using Larger Than Block-Size Key - Hash Key First"}),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

TEST(Mac, IsOfThePartsAsOneText) {
  const std::string whole(200, 'x');
  const std::string_view view = whole;
  EXPECT_EQ(HexOf("key", {view.substr(0, 63), "", view.substr(63, 2), view.substr(65)}), HexOf("key", {whole}));
}

TEST(Mac, GivesTheSameAnswerAgainAndAfterAMove) {
  Mac first{core::Secret(std::string("Jefe"))};
  const auto before = first.Of({"text"});
  EXPECT_EQ(first.Of({"text"}), before);
  const Mac moved = std::move(first);
  EXPECT_EQ(moved.Of({"text"}), before);
}

}  // namespace
}  // namespace latchkey::keys
