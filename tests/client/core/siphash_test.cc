#include "client/core/siphash.h"

#include <gtest/gtest.h>
#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"

namespace latchkey::core {
namespace {

using Key = std::array<uint8_t, 16>;

std::string Bytes(const Digest128& digest) {
  std::string out;
  for (const uint64_t half : {digest.low, digest.high}) {
    for (int shift = 0; shift < 64; shift += 8) out.push_back(static_cast<char>(half >> shift & 0xff));
  }
  return out;
}

std::string OpenSslSipHash(const Key& key, const std::string& text) {
  const std::unique_ptr<EVP_MAC, decltype(&EVP_MAC_free)> mac(EVP_MAC_fetch(nullptr, "SIPHASH", nullptr), EVP_MAC_free);
  const std::unique_ptr<EVP_MAC_CTX, decltype(&EVP_MAC_CTX_free)> context(EVP_MAC_CTX_new(mac.get()), EVP_MAC_CTX_free);
  size_t size = 16;
  const OSSL_PARAM params[] = {OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size), OSSL_PARAM_construct_end()};
  std::string out(size, '\0');
  size_t written = 0;
  const bool ok =
      EVP_MAC_init(context.get(), key.data(), key.size(), params) == 1 &&
      EVP_MAC_update(context.get(), reinterpret_cast<const unsigned char*>(text.data()), text.size()) == 1 &&
      EVP_MAC_final(context.get(), reinterpret_cast<unsigned char*>(out.data()), &written, out.size()) == 1;
  EXPECT_TRUE(ok);
  EXPECT_EQ(written, size);
  return out;
}

// From vectors.h of the reference implementation: key 00 01 ... 0f, text 00 01 ... of that length.
TEST(SipHash, GivesTheReferenceImplementationsVectors) {
  struct Vector {
    size_t length;
    const char* digest;
  };
  constexpr Vector kVectors[] = {
      {0, "a3817f04ba25a8e66df67214c7550293"},  {1, "da87c1d86b99af44347659119b22fc45"},
      {2, "8177228da4a45dc7fca38bdef60affe4"},  {3, "9c70b60c5267a94e5f33b6b02985ed51"},
      {61, "7697009a6a831dfecca91c5993670f7a"}, {62, "5853542321f567a005d547a4f04759bd"},
      {63, "5150d1772f50834a503e069a973fbd7c"},
  };
  Key key;
  for (size_t i = 0; i < key.size(); ++i) key[i] = static_cast<uint8_t>(i);
  std::string text;
  for (size_t i = 0; i < 64; ++i) text.push_back(static_cast<char>(i));
  const SipHash hash(key);
  for (const Vector& vector : kVectors) {
    EXPECT_EQ(absl::BytesToHexString(Bytes(hash.Of(std::string_view(text).substr(0, vector.length)))), vector.digest)
        << vector.length;
  }
}

TEST(SipHash, AgreesWithOpenSslOnEveryLengthAndAlignment) {
  std::mt19937_64 random(3);
  for (size_t length = 0; length <= 128; ++length) {
    for (size_t offset = 0; offset < 8; ++offset) {
      Key key;
      for (uint8_t& byte : key) byte = static_cast<uint8_t>(random());
      // Exactly as long as the view, so that AddressSanitizer sees a read beyond it.
      std::vector<char> buffer(offset + length);
      for (char& byte : buffer) byte = static_cast<char>(random());
      const std::string_view text(buffer.data() + offset, length);
      ASSERT_EQ(Bytes(SipHash(key).Of(text)), OpenSslSipHash(key, std::string(text))) << length;
    }
  }
}

TEST(SipHash, RandomKeysDiffer) {
  EXPECT_NE(SipHash::Random().Of("text"), SipHash::Random().Of("text"));
  const SipHash hash = SipHash::Random();
  EXPECT_EQ(hash.Of("text"), hash.Of(std::string("te") + "xt"));
}

}  // namespace
}  // namespace latchkey::core
