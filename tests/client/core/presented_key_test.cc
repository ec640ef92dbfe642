#include "client/core/presented_key.h"

#include <gtest/gtest.h>

#include <string>

namespace latchkey::core {
namespace {

std::string KeyString(const std::string& label) {
  return AssembleKeyString(label, std::string(kKeyIdLength, 'k'), std::string(kSecretLength, 's'), '1',
                           std::string(kTagLength, 't'));
}

TEST(PresentedKey, KeyStringHasNativePartsWithAndWithoutALabel) {
  for (const char* const label : {"", "acme", "fifteen_letters"}) {
    const std::string text = KeyString(label);
    const PresentedKey key(text);
    ASSERT_NE(key.native(), nullptr) << text;
    EXPECT_EQ(key.native()->kid, std::string(kKeyIdLength, 'k'));
    EXPECT_EQ(key.canonical(), key.native()->canonical);
    EXPECT_EQ(key.canonical(), KeyString(""));
    EXPECT_EQ(key.text(), text);
  }
}

TEST(PresentedKey, AnythingElseHasNone) {
  std::string mistyped = KeyString("");
  mistyped.back() = mistyped.back() == '0' ? '1' : '0';
  EXPECT_EQ(PresentedKey(mistyped).native(), nullptr);
  EXPECT_EQ(PresentedKey(mistyped).canonical(), mistyped) << "its place is right; the digest says the rest";
  for (const std::string& text : {std::string(), std::string("x"), KeyString("") + "0", "Acme_" + KeyString(""),
                                  "sixteen_letters0_" + KeyString(""), "acme-" + KeyString("")}) {
    EXPECT_EQ(PresentedKey(text).native(), nullptr) << text;
    EXPECT_EQ(PresentedKey(text).canonical(), "") << text;
  }
  EXPECT_EQ(PresentedKey().native(), nullptr);
}

}  // namespace
}  // namespace latchkey::core
