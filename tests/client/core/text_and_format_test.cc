#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "client/core/base62.h"
#include "client/core/key_format.h"
#include "client/core/permissions.h"
#include "client/core/resource_names.h"
#include "client/core/secret.h"
#include "client/core/text.h"

namespace latchkey::core {
namespace {

using ::testing::ElementsAre;

std::string KeyString(const std::string& label = "") {
  return AssembleKeyString(label, std::string(16, 'k'), std::string(43, 's'), '1', std::string(11, 't'));
}

TEST(KeyFormat, ReadsBackWhatItAssembled) {
  const std::string text = KeyString("acme_live");
  const auto parts = ParseKeyString(text);
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(parts->canonical.size(), 82u);
  EXPECT_EQ(parts->kid, std::string(16, 'k'));
  EXPECT_EQ(parts->secret, std::string(43, 's'));
  EXPECT_EQ(parts->gen, '1');
  EXPECT_EQ(parts->tag, std::string(11, 't'));
  EXPECT_EQ(parts->canonical, KeyString());
}

TEST(KeyFormat, RefusesEveryTruncationAndEveryExtension) {
  const std::string text = KeyString();
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(ParseKeyString(text.substr(0, size))) << size;
  EXPECT_FALSE(ParseKeyString(text + "0"));
  EXPECT_FALSE(ParseKeyString(text + "\n"));
  EXPECT_FALSE(ParseKeyString(" " + text));
  EXPECT_FALSE(ParseKeyString("_" + text));
  EXPECT_FALSE(ParseKeyString("Acme_" + text));
  EXPECT_FALSE(ParseKeyString(std::string(16, 'a') + "_" + text));
  EXPECT_FALSE(ParseKeyString(std::string(1 << 20, 'a')));
}

TEST(KeyFormat, RefusesAnyOneChangedCharacter) {
  const std::string text = KeyString();
  for (size_t at = 0; at < text.size(); ++at) {
    std::string changed = text;
    changed[at] = changed[at] == 'X' ? 'Y' : 'X';
    EXPECT_FALSE(ParseKeyString(changed)) << at;
  }
}

TEST(KeyFormat, HintShowsNothingOfTheSecret) {
  const std::string text = AssembleKeyString("", "AbCd000000000000", std::string(43, 's'), '1', std::string(11, 't'));
  const auto parts = ParseKeyString(text);
  ASSERT_TRUE(parts.has_value());
  EXPECT_EQ(KeyHint(*parts), "lk1_AbCd…" + text.substr(78));
}

TEST(Base62, NumberComesBackFromItsText) {
  for (const uint64_t number : {uint64_t{0}, uint64_t{61}, uint64_t{62}, uint64_t{0xFFFFFFFF}, ~uint64_t{0}}) {
    EXPECT_EQ(ParseBase62(Base62(number, 11)), number);
  }
  EXPECT_EQ(ParseBase62("z"), 61u);
  EXPECT_EQ(ParseBase62("LygHa16AHYG"), std::nullopt);  // 2^64.
  EXPECT_EQ(ParseBase62("zzzzzzzzzzz"), std::nullopt);
  EXPECT_EQ(ParseBase62("000000000001"), std::nullopt);  // Twelve digits.
  for (const char* const text : {"1_1", "1 ", "-1", "\xc3\xa9"}) EXPECT_EQ(ParseBase62(text), std::nullopt) << text;
}

TEST(Base62, PadsAndOrdersDigitsAndLetters) {
  EXPECT_EQ(Base62(0, 3), "000");
  EXPECT_EQ(Base62(61, 2), "0z");
  EXPECT_EQ(Base62(62, 2), "10");
  EXPECT_EQ(Base62Bytes(std::string(8, '\xff'), 11), "LygHa16AHYF");  // 2^64 - 1.
  EXPECT_EQ(Base62Bytes(std::string(32, '\0'), 43), std::string(43, '0'));
}

TEST(Permissions, AcceptOnlyTheDocumentedForm) {
  for (const char* good : {"*", "app.read", "app.*", "app", "a.b.c-d_e.0", "latchkey.keys.*"}) {
    EXPECT_TRUE(IsPermission(good)) << good;
  }
  for (const char* bad :
       {"", ".", "app.", ".app", "app..read", "App.read", "app.*.read", "a*", "**", ".*", "app .read"}) {
    EXPECT_FALSE(IsPermission(bad)) << bad;
  }
  EXPECT_TRUE(IsPermission(std::string(128, 'a')));
  EXPECT_FALSE(IsPermission(std::string(129, 'a')));
}

TEST(Permissions, AWildcardCoversWhatIsBelowItAndNotItself) {
  EXPECT_TRUE(Covers("a.*", "a.b"));
  EXPECT_TRUE(Covers("a.*", "a.b.*"));
  EXPECT_TRUE(Covers("a.*", "a.*"));
  EXPECT_TRUE(Covers("*", "a"));
  EXPECT_TRUE(Covers("*", "*"));
  EXPECT_FALSE(Covers("a.*", "a"));
  EXPECT_FALSE(Covers("a.*", "ab.c"));
  EXPECT_FALSE(Covers("a.*", "*"));
  EXPECT_FALSE(Covers("a.b", "a.*"));
  EXPECT_FALSE(Covers("a.b", "a.b.c"));
}

TEST(Permissions, IncomparableSetsAreNotAtMostEachOther) {
  EXPECT_TRUE(AtMost({}, {}));
  EXPECT_TRUE(AtMost({"app.read"}, {"app.*"}));
  EXPECT_FALSE(AtMost({"app.*"}, {"app.read", "app.write"}));
  EXPECT_FALSE(AtMost({"app.read", "b"}, {"app.*"}));
  EXPECT_FALSE(AtMost({"b"}, {"app.*"}));
}

TEST(Permissions, NormalisingSortsAndDropsCoveredOnes) {
  EXPECT_THAT(Normalised({"b", "a.c", "a.*", "b", "a.b.*"}), ElementsAre("a.*", "b"));
  EXPECT_THAT(Normalised({"x", "*"}), ElementsAre("*"));
}

TEST(Text, CountsCodePointsOfEveryScriptAndRefusesInvalidUtf8) {
  EXPECT_EQ(CodePoints(""), 0u);
  EXPECT_EQ(CodePoints("Zażółć 日本語 עברית 🔑"), 18u);
  EXPECT_EQ(CodePoints("\xC0\x80"), std::nullopt);          // Overlong.
  EXPECT_EQ(CodePoints("\xED\xA0\x80"), std::nullopt);      // Surrogate.
  EXPECT_EQ(CodePoints("\xF4\x90\x80\x80"), std::nullopt);  // Above U+10FFFF.
  EXPECT_EQ(CodePoints("\xE2\x82"), std::nullopt);
}

TEST(Text, FindsControlsSeparatorsAndBidiOverrides) {
  for (const char* bad : {"a\nb", "\x7f", "\xC2\x85", "\u2028", "\u202E", "\u2066", "\u2069"}) {
    EXPECT_TRUE(HasForbiddenCharacter(bad));
  }
  EXPECT_FALSE(HasForbiddenCharacter("CI deploy — продакшн 日本 🔑\u200d"));
  EXPECT_EQ(Printable("a\x1b[31m"), "a\uFFFD[31m");
  EXPECT_EQ(Printable("\xff"), "\uFFFD");
}

TEST(ResourceNames, ParseOnlyTheExactForm) {
  EXPECT_EQ(ParseOrganizationName("organizations/acme"), "acme");
  for (const char* bad : {"", "organizations/", "organizations/Acme", "organizations/-a", "organizations/a-",
                          "organizations/acme/", "orgs/acme", "organizations/a/keys/b"}) {
    EXPECT_FALSE(ParseOrganizationName(bad)) << bad;
  }
  EXPECT_TRUE(IsResourceId(std::string(63, 'a')));
  EXPECT_FALSE(IsResourceId(std::string(64, 'a')));
  const auto key = ParseKeyName("organizations/acme/keys/0123456789abcdEF");
  ASSERT_TRUE(key.has_value());
  EXPECT_EQ(key->organization, "acme");
  EXPECT_EQ(key->kid, "0123456789abcdEF");
  EXPECT_FALSE(ParseKeyName("organizations/acme/keys/short"));
  EXPECT_FALSE(ParseKeyName("organizations/acme/keys/0123456789abcdEF/x"));
  EXPECT_FALSE(ParseKeyName("organizations/acme/roles/0123456789abcdEF"));
  EXPECT_EQ(ParseRoleName("organizations/acme/roles/editor")->role, "editor");
}

TEST(Secret, MovesWithoutLeavingACopy) {
  std::string text = "a secret that is longer than the small-string buffer";
  Secret first(std::move(text));
  EXPECT_TRUE(text.empty());  // NOLINT(bugprone-use-after-move): that is the point.
  Secret second = std::move(first);
  EXPECT_TRUE(first.empty());  // NOLINT(bugprone-use-after-move)
  EXPECT_EQ(second.Expose(), "a secret that is longer than the small-string buffer");
  EXPECT_FALSE(std::is_copy_constructible_v<Secret>);
  EXPECT_NE(Secret::Random(32).Expose(), Secret::Random(32).Expose());
}

}  // namespace
}  // namespace latchkey::core
