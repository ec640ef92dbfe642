#include "client/core/secret.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <cstdlib>
#include <utility>

namespace latchkey::core {

Secret::Secret(std::string&& bytes) : bytes_(bytes) { CleanseString(bytes); }

Secret Secret::Random(size_t size) {
  Secret secret;
  secret.bytes_.resize(size);
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(secret.bytes_.data()), static_cast<int>(size)) != 1) {
    // Without randomness every later promise is void: there is nothing to return to.
    std::abort();
  }
  return secret;
}

Secret Secret::Clone() const {
  Secret copy;
  copy.bytes_ = bytes_;
  return copy;
}

// Copied and cleansed, not moved: a moved-from short string keeps its bytes.
// NOLINTNEXTLINE(performance-move-constructor-init)
Secret::Secret(Secret&& other) noexcept : bytes_(other.bytes_) { other.Cleanse(); }

Secret& Secret::operator=(Secret&& other) noexcept {
  if (this != &other) {
    Cleanse();
    bytes_ = other.bytes_;
    other.Cleanse();
  }
  return *this;
}

Secret::~Secret() { Cleanse(); }

void Secret::Cleanse() { CleanseString(bytes_); }

bool ConstantTimeEqual(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

void CleanseString(std::string& text) {
  // The whole capacity: a shorter value assigned later leaves the tail of the old one behind.
  text.resize(text.capacity());
  OPENSSL_cleanse(text.data(), text.size());
  text.clear();
}

}  // namespace latchkey::core
