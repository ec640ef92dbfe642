#include "client/core/siphash.h"

#include <openssl/rand.h>

#include <bit>
#include <cstdlib>
#include <cstring>

namespace latchkey::core {
namespace {

constexpr uint64_t FromLittleEndian(uint64_t word) {
  if constexpr (std::endian::native == std::endian::big) return __builtin_bswap64(word);
  return word;
}

uint64_t Load(const char* bytes) {
  uint64_t word;
  std::memcpy(&word, bytes, sizeof(word));
  return FromLittleEndian(word);
}

// The last `size` bytes, 0 to 7, with zeros above them.
uint64_t Tail(std::string_view text, size_t size) {
  if (size == 0) return 0;
  // Shifted out of a whole word: copying a number of bytes that the compiler does not know costs as much as a round.
  if (text.size() >= 8) return Load(text.data() + text.size() - 8) >> (64 - 8 * size);
  char word[8] = {};
  std::memcpy(word, text.data(), size);
  return Load(word);
}

struct State {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v1 = std::rotl(v1, 13) ^ v0;
    v0 = std::rotl(v0, 32);
    v2 += v3;
    v3 = std::rotl(v3, 16) ^ v2;
    v0 += v3;
    v3 = std::rotl(v3, 21) ^ v0;
    v2 += v1;
    v1 = std::rotl(v1, 17) ^ v2;
    v2 = std::rotl(v2, 32);
  }

  void Compress(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }

  uint64_t Finish() {
    Round();
    Round();
    Round();
    Round();
    return v0 ^ v1 ^ v2 ^ v3;
  }
};

}  // namespace

SipHash::SipHash(const std::array<uint8_t, 16>& key)
    : k0_(Load(reinterpret_cast<const char*>(key.data()))), k1_(Load(reinterpret_cast<const char*>(key.data() + 8))) {}

SipHash SipHash::Random() {
  std::array<uint8_t, 16> key;
  // Without randomness strangers can choose what collides.
  if (RAND_priv_bytes(key.data(), static_cast<int>(key.size())) != 1) std::abort();
  return SipHash(key);
}

Digest128 SipHash::Of(std::string_view text) const {
  State state{.v0 = k0_ ^ 0x736f6d6570736575u,
              .v1 = k1_ ^ 0x646f72616e646f6du ^ 0xee,  // 0xee, here and below, and 0xdd: the 128-bit variant.
              .v2 = k0_ ^ 0x6c7967656e657261u,
              .v3 = k1_ ^ 0x7465646279746573u};
  const char* at = text.data();
  size_t left = text.size();
  for (; left >= 8; at += 8, left -= 8) state.Compress(Load(at));
  state.Compress(Tail(text, left) | uint64_t{text.size()} << 56);
  state.v2 ^= 0xee;
  Digest128 digest;
  digest.low = state.Finish();
  state.v1 ^= 0xdd;
  digest.high = state.Finish();
  return digest;
}

}  // namespace latchkey::core
