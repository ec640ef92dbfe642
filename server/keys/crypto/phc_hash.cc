#include "server/keys/crypto/phc_hash.h"

#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace latchkey::keys {
namespace {

constexpr std::string_view kPrefix = "$argon2id$v=19$m=";

// Eats `text` from the front of `rest`.
bool Eat(std::string_view& rest, std::string_view text) {
  if (rest.substr(0, text.size()) != text) return false;
  rest.remove_prefix(text.size());
  return true;
}

bool EatNumber(std::string_view& rest, uint32_t& out) {
  const auto [end, error] = std::from_chars(rest.data(), rest.data() + rest.size(), out);
  if (error != std::errc() || rest.front() == '0') return false;
  rest.remove_prefix(end - rest.data());
  return true;
}

bool Decode(std::string_view text, std::string& out) {
  for (const char c : text) {
    const bool digit =
        (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '+' || c == '/';
    if (!digit) return false;
  }
  return absl::Base64Unescape(absl::string_view(text.data(), text.size()), &out);
}

std::string Encode(const std::string& bytes) {
  std::string text = absl::Base64Escape(bytes);
  while (!text.empty() && text.back() == '=') text.pop_back();
  return text;
}

}  // namespace

HashProfile OwaspProfile() { return {"owasp", 19456, 2, 1}; }
HashProfile RandomKeyProfile() { return {"random-key", 1024, 1, 1}; }

std::optional<HashProfile> FindHashProfile(const std::string& name) {
  for (const HashProfile& profile : {OwaspProfile(), RandomKeyProfile()}) {
    if (profile.name == name) return profile;
  }
  return std::nullopt;
}

std::optional<PhcHash> ParsePhc(std::string_view text) {
  PhcHash out;
  if (!Eat(text, kPrefix) || text.empty() || !EatNumber(text, out.memory_kib)) return std::nullopt;
  if (!Eat(text, ",t=") || text.empty() || !EatNumber(text, out.passes)) return std::nullopt;
  if (!Eat(text, ",p=") || text.empty() || !EatNumber(text, out.lanes)) return std::nullopt;
  if (!Eat(text, "$")) return std::nullopt;
  const size_t dollar = text.find('$');
  if (dollar == std::string_view::npos) return std::nullopt;
  if (!Decode(text.substr(0, dollar), out.salt) || !Decode(text.substr(dollar + 1), out.hash)) return std::nullopt;
  if (out.memory_kib > kMaxMemoryKib || out.passes > kMaxPasses || out.lanes > kMaxLanes) return std::nullopt;
  // RFC 9106 §3.1: at least 8 KiB a lane.
  if (out.memory_kib < 8 * out.lanes) return std::nullopt;
  if (out.salt.size() < 8 || out.salt.size() > 64 || out.hash.size() < 16 || out.hash.size() > 64) return std::nullopt;
  return out;
}

std::string FormatPhc(const PhcHash& hash) {
  return absl::StrCat(std::string(kPrefix), hash.memory_kib, ",t=", hash.passes, ",p=", hash.lanes, "$",
                      Encode(hash.salt), "$", Encode(hash.hash));
}

}  // namespace latchkey::keys
