#include "client/core/revision_token.h"

#include <gtest/gtest.h>

#include <limits>
#include <random>
#include <string>

#include "absl/strings/escaping.h"

namespace latchkey::core {
namespace {

// 17 bytes with that version, revision and chain.
std::string Text(char version, uint64_t revision, const std::string& chain) {
  std::string bytes(1, version);
  for (int shift = 56; shift >= 0; shift -= 8) bytes.push_back(static_cast<char>(revision >> shift & 0xff));
  return absl::WebSafeBase64Escape(bytes + chain);
}

TEST(RevisionToken, IsVersionRevisionAndChainInBase64Url) {
  const RevisionToken token = RevisionToken::Of(0x0102030405060708, "\xF0\xF1\xF2\xF3\xF4\xF5\xF6\xF7 and more");
  EXPECT_EQ(token.Encode(), "AQECAwQFBgcI8PHy8_T19vc");
}

TEST(RevisionToken, ReadsBackWhatItWrote) {
  std::mt19937_64 random(5);
  for (const int64_t revision : {int64_t{0}, int64_t{1}, int64_t{255}, int64_t{1} << 40, INT64_MAX}) {
    for (int i = 0; i < 100; ++i) {
      std::string chain(32, '\0');
      for (char& byte : chain) byte = static_cast<char>(random());
      const RevisionToken token = RevisionToken::Of(revision, chain);
      EXPECT_EQ(std::string(token.chain.begin(), token.chain.end()), chain.substr(0, 8));
      const std::string text = token.Encode();
      EXPECT_EQ(text.size(), 23u);
      EXPECT_EQ(text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"),
                std::string::npos);
      EXPECT_EQ(RevisionToken::Decode(text), token);
    }
  }
}

TEST(RevisionToken, AShortChainIsFilledUpWithZeros) {
  EXPECT_EQ(RevisionToken::Of(1, "ab"), RevisionToken::Of(1, std::string("ab\0\0\0\0\0\0", 8)));
}

TEST(RevisionToken, RefusesOtherVersionsNegativeRevisionsAndLengths) {
  const std::string chain = "12345678";
  ASSERT_TRUE(RevisionToken::Decode(Text(1, 7, chain)));
  EXPECT_FALSE(RevisionToken::Decode(Text(0, 7, chain)));
  EXPECT_FALSE(RevisionToken::Decode(Text(2, 7, chain)));
  EXPECT_FALSE(RevisionToken::Decode(Text(1, uint64_t{1} << 63, chain)));
  EXPECT_FALSE(RevisionToken::Decode(Text(1, ~uint64_t{0}, chain)));
  EXPECT_FALSE(RevisionToken::Decode(Text(1, 7, chain + "9")));
  EXPECT_FALSE(RevisionToken::Decode(Text(1, 7, "1234567")));
}

TEST(RevisionToken, RefusesEverySpellingButItsOwn) {
  const std::string text = RevisionToken::Of(7, "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF").Encode();
  ASSERT_TRUE(RevisionToken::Decode(text));
  EXPECT_FALSE(RevisionToken::Decode(""));
  EXPECT_FALSE(RevisionToken::Decode(text + "="));
  EXPECT_FALSE(RevisionToken::Decode(text + " "));
  EXPECT_FALSE(RevisionToken::Decode(" " + text));
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(RevisionToken::Decode(text.substr(0, size))) << size;
  // Whatever one character is changed to, what is read is written the same way again.
  int read = 0;
  for (size_t at = 0; at < text.size(); ++at) {
    for (int c = 0; c < 256; ++c) {
      std::string changed = text;
      changed[at] = static_cast<char>(c);
      const auto token = RevisionToken::Decode(changed);
      if (!token.has_value()) continue;
      ++read;
      EXPECT_EQ(token->Encode(), changed);
    }
  }
  EXPECT_GT(read, 23);
  // The last character carries four bits: the other two are zeros.
  std::string other_end = text;
  ++other_end.back();
  EXPECT_FALSE(RevisionToken::Decode(other_end));
  std::string standard_alphabet = text;
  standard_alphabet[standard_alphabet.find('_')] = '/';
  EXPECT_FALSE(RevisionToken::Decode(standard_alphabet));
}

}  // namespace
}  // namespace latchkey::core
