#include "server/keys/crypto/key_ring.h"

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/core/base62.h"
#include "server/keys/crypto/mac.h"

namespace latchkey::keys {
namespace {

constexpr int kFormatVersion = 1;
constexpr size_t kSecretBytes = 32;
constexpr char kFirstId[] = "1";
constexpr char kActive[] = "active";
constexpr char kRetired[] = "retired";
constexpr char kLost[] = "lost";
// K_import is made with the rest, so that a ring of today need not be replaced for it.
constexpr const char* kPurposes[] = {"pepper", "tag", "proof", "token", "import"};

std::string BigEndian32(uint32_t value) {
  return {static_cast<char>(value >> 24), static_cast<char>(value >> 16), static_cast<char>(value >> 8),
          static_cast<char>(value)};
}

std::string RandomKeyId() {
  std::string kid;
  while (kid.size() < core::kKeyIdLength) {
    const core::Secret random = core::Secret::Random(32);
    for (const char c : random.Expose()) {
      const unsigned byte = static_cast<unsigned char>(c);
      // 248 = 4 × 62: without the rejection the first digits would come up more often.
      if (byte < 248 && kid.size() < core::kKeyIdLength) kid += core::kBase62Digits[byte % 62];
    }
  }
  return kid;
}

uint64_t TagOf(const Mac& mac, std::string_view kid, std::string_view secret) {
  const auto digest = mac.Of({"lk1|tag|", kid, "|", secret});
  uint64_t number = 0;
  for (int i = 0; i < 8; ++i) number = number << 8 | static_cast<unsigned char>(digest[i]);
  return number;
}

// Key strings carry a tag's id, stored proofs a proof's: as one character.
bool IsGeneration(const std::string& id) { return id.size() == 1 && core::IsBase62(id); }

absl::Status Malformed(const std::string& what) {
  return absl::InvalidArgumentError(absl::StrCat("the key ring file is not one: ", what));
}

}  // namespace

struct KeyRing::Entry {
  std::string purpose;
  std::string id;
  bool active;
  core::Secret secret;     // Empty if it is lost.
  std::optional<Mac> mac;  // Under `secret`.
};

KeyRing::KeyRing() = default;
KeyRing::KeyRing(KeyRing&&) noexcept = default;
KeyRing& KeyRing::operator=(KeyRing&&) noexcept = default;
KeyRing::~KeyRing() = default;

KeyRing KeyRing::Generate() {
  KeyRing ring;
  for (const char* purpose : kPurposes) {
    core::Secret secret = core::Secret::Random(kSecretBytes);
    Mac mac(secret);
    ring.entries_.push_back(Entry{purpose, kFirstId, true, std::move(secret), std::move(mac)});
  }
  return ring;
}

absl::StatusOr<KeyRing> KeyRing::Parse(const std::string& text) {
  const nlohmann::json json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Malformed("wanted a JSON object");
  if (!json.contains("latchkey_key_ring") || json["latchkey_key_ring"] != kFormatVersion) {
    return Malformed("wanted \"latchkey_key_ring\": 1");
  }
  if (!json.contains("secrets") || !json["secrets"].is_array()) return Malformed("wanted a list \"secrets\"");
  KeyRing ring;
  for (const nlohmann::json& item : json["secrets"]) {
    const auto field = [&item](const char* name) -> std::string {
      return item.is_object() && item.contains(name) && item[name].is_string() ? item[name].get<std::string>() : "";
    };
    const std::string purpose = field("purpose");
    const std::string id = field("id");
    const std::string state = field("state");
    std::string encoded = field("secret");
    std::string bytes;
    const bool decoded = absl::Base64Unescape(encoded, &bytes);
    core::CleanseString(encoded);
    core::Secret secret(std::move(bytes));
    if (purpose.empty() || id.empty()) return Malformed("an entry lacks \"purpose\" or \"id\"");
    if (ring.Find(purpose, id) != nullptr) return Malformed(absl::StrCat(purpose, "/", id, " is there twice"));
    if ((purpose == "tag" || purpose == "proof") && !IsGeneration(id)) {
      return Malformed(absl::StrCat("the id of ", purpose, "/", id, " is not one base62 digit"));
    }
    if (state == kLost) {
      if (purpose != "tag" || item.contains("secret")) {
        return Malformed(absl::StrCat(purpose, "/", id, ": only a tag can be lost, and then it has no secret"));
      }
      ring.entries_.push_back(Entry{purpose, id, false, core::Secret(), std::nullopt});
      continue;
    }
    if (state != kActive && state != kRetired) {
      return Malformed(absl::StrCat("the state of ", purpose, "/", id, " is not active, retired or lost"));
    }
    if (!decoded || secret.size() != kSecretBytes) {
      return Malformed(absl::StrCat("the secret of ", purpose, "/", id, " is not 32 bytes in base64"));
    }
    Mac mac(secret);
    ring.entries_.push_back(Entry{purpose, id, state == kActive, std::move(secret), std::move(mac)});
  }
  for (const char* purpose : kPurposes) {
    int active = 0;
    for (const Entry& entry : ring.entries_) active += entry.purpose == purpose && entry.active ? 1 : 0;
    if (active != 1) return Malformed(absl::StrCat("wanted exactly one active secret for ", purpose));
  }
  return ring;
}

core::Secret KeyRing::Serialise() const {
  nlohmann::ordered_json json;
  json["latchkey_key_ring"] = kFormatVersion;
  json["secrets"] = nlohmann::ordered_json::array();
  for (const Entry& entry : entries_) {
    nlohmann::ordered_json item = {{"purpose", entry.purpose}, {"id", entry.id}};
    if (!entry.mac) {
      item["state"] = kLost;
    } else {
      const std::string_view bytes = entry.secret.Expose();
      item["state"] = entry.active ? kActive : kRetired;
      item["secret"] = absl::Base64Escape(absl::string_view(bytes.data(), bytes.size()));
    }
    json["secrets"].push_back(std::move(item));
  }
  return core::Secret(json.dump(2) + "\n");
}

const KeyRing::Entry* KeyRing::Find(std::string_view purpose, std::string_view id) const {
  for (const Entry& entry : entries_) {
    if (entry.purpose == purpose && entry.id == id) return &entry;
  }
  return nullptr;
}

const KeyRing::Entry& KeyRing::Active(std::string_view purpose) const {
  for (const Entry& entry : entries_) {
    if (entry.purpose == purpose && entry.active) return entry;
  }
  std::abort();  // Generate and Parse make sure there is one.
}

core::Secret KeyRing::Mint(std::string_view label) const {
  const Entry& tag = Active("tag");
  const std::string kid = RandomKeyId();
  const core::Secret random = core::Secret::Random(kSecretBytes);
  const core::Secret secret(core::Base62Bytes(random.Expose(), core::kSecretLength));
  return core::Secret(core::AssembleKeyString(label, kid, secret.Expose(), tag.id[0],
                                              core::Base62(TagOf(*tag.mac, kid, secret.Expose()), core::kTagLength)));
}

KeyRing::TagCheck KeyRing::CheckTag(const core::KeyParts& parts) const {
  const Entry* const tag = Find("tag", std::string_view(&parts.gen, 1));
  if (tag == nullptr) return TagCheck::kUnknownGeneration;
  if (!tag->mac) return TagCheck::kLostGeneration;
  // As numbers, in constant time: turning ours into text would cost as much as the digest.
  return core::ParseBase62(parts.tag) == TagOf(*tag->mac, parts.kid, parts.secret) ? TagCheck::kMinted
                                                                                   : TagCheck::kForged;
}

Proof KeyRing::ProofOf(const core::KeyParts& parts) const { return ProofUnder(Active("proof"), parts); }

Proof KeyRing::ProofOf(const core::KeyParts& parts, char generation) const {
  const Entry* const entry = Find("proof", std::string_view(&generation, 1));
  return entry == nullptr ? Proof() : ProofUnder(*entry, parts);
}

Proof KeyRing::ProofUnder(const Entry& entry, const core::KeyParts& parts) {
  const auto digest = entry.mac->Of({"lk1|proof|", parts.kid, "|", parts.secret});
  Proof proof{.ring_id = entry.id[0]};
  std::copy_n(digest.begin(), proof.digest.size(), proof.digest.begin());
  return proof;
}

const std::string& KeyRing::active_pepper_id() const { return Active("pepper").id; }

bool KeyRing::HasPepper(const std::string& id) const { return Find("pepper", id) != nullptr; }

core::Secret KeyRing::PreHash(const std::string& pepper_id, std::string_view kid, std::string_view secret) const {
  const Entry* const pepper = Find("pepper", pepper_id);
  if (pepper == nullptr) std::abort();  // HasPepper is the caller's to ask.
  auto digest = pepper->mac->Of({"lk1|pre|", BigEndian32(kid.size()), kid, BigEndian32(secret.size()), secret});
  return core::Secret(std::string(digest.data(), digest.size()));
}

std::string KeyRing::TokenMac(std::string_view text) const {
  const auto digest = Active("token").mac->Of({"lk1|token|", text});
  return std::string(digest.data(), 16);
}

std::map<std::string, std::string> KeyRing::CheckValues() const {
  std::map<std::string, std::string> checks;
  for (const Entry& entry : entries_) {
    if (!entry.mac) continue;
    const auto digest = entry.mac->Of({"lk1|check"});
    checks[absl::StrCat(entry.purpose, "/", entry.id)] = absl::BytesToHexString(absl::string_view(digest.data(), 8));
  }
  return checks;
}

}  // namespace latchkey::keys
