// OpenSSL 3 deprecates these calls in favour of EVP_MAC, which costs four times as much for a message of one block.
#define OPENSSL_SUPPRESS_DEPRECATED
#include "server/keys/crypto/mac.h"

#include <openssl/crypto.h>
#include <openssl/sha.h>

namespace latchkey::keys {
namespace {

using Block = std::array<unsigned char, SHA256_CBLOCK>;
using Digest = std::array<unsigned char, SHA256_DIGEST_LENGTH>;

SHA256_CTX After(const Block& key, unsigned char pad) {
  Block block;
  for (size_t i = 0; i < block.size(); ++i) block[i] = key[i] ^ pad;
  SHA256_CTX context;
  SHA256_Init(&context);
  SHA256_Update(&context, block.data(), block.size());
  OPENSSL_cleanse(block.data(), block.size());
  return context;
}

}  // namespace

// SHA-256 after the first block, the key with each pad.
struct Mac::Pads {
  SHA256_CTX inner;
  SHA256_CTX outer;
};

void Mac::Cleanse::operator()(Pads* pads) const {
  OPENSSL_cleanse(pads, sizeof(*pads));
  delete pads;
}

Mac::Mac(const core::Secret& key) {
  Block block{};
  const std::string_view bytes = key.Expose();
  if (bytes.size() > block.size()) {
    SHA256(reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(), block.data());
  } else {
    bytes.copy(reinterpret_cast<char*>(block.data()), bytes.size());
  }
  pads_.reset(new Pads{After(block, 0x36), After(block, 0x5c)});
  OPENSSL_cleanse(block.data(), block.size());
}

Mac::Mac(Mac&&) noexcept = default;
Mac& Mac::operator=(Mac&&) noexcept = default;
Mac::~Mac() = default;

std::array<char, Mac::kSize> Mac::Of(std::initializer_list<std::string_view> parts) const {
  SHA256_CTX context = pads_->inner;
  for (const std::string_view part : parts) SHA256_Update(&context, part.data(), part.size());
  Digest inner;
  SHA256_Final(inner.data(), &context);
  context = pads_->outer;
  SHA256_Update(&context, inner.data(), inner.size());
  std::array<char, kSize> out;
  static_assert(kSize == SHA256_DIGEST_LENGTH);
  SHA256_Final(reinterpret_cast<unsigned char*>(out.data()), &context);
  OPENSSL_cleanse(inner.data(), inner.size());
  OPENSSL_cleanse(&context, sizeof(context));
  return out;
}

}  // namespace latchkey::keys
