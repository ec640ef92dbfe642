#pragma once

#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/model/records.h"

// The requests that change keys, as values whose form is already validated (server/rpc).
namespace latchkey::keys {

// When a key ends: unset = never.
struct Expiration {
  std::optional<absl::Time> at;
  std::optional<absl::Duration> ttl;  // From the database's now.
};

struct NewKey {
  std::string organization;
  std::string display_name;
  std::string description;
  std::string role;
  std::string owner;
  std::map<std::string, std::string> labels;
  std::vector<std::string> allowed_cidrs;  // core::NormalisedCidrs.
  Expiration expiration;
  std::string request_id;
};

// Each set field is written; nothing else changes.
struct KeyEdit {
  std::string organization;
  std::string kid;
  std::string etag;  // "" = not checked.
  std::optional<std::string> display_name;
  std::optional<std::string> description;
  std::optional<std::string> role;
  std::optional<std::string> owner;
  std::optional<std::map<std::string, std::string>> labels;
  std::optional<std::vector<std::string>> allowed_cidrs;  // core::NormalisedCidrs.
  std::optional<Expiration> expiration;

  // Whether it may take something away from the key: then it is a revocation, for whoever waits for its turn.
  bool may_lower() const { return role.has_value() || allowed_cidrs.has_value() || expiration.has_value(); }
};

// What all texts of one key may take together, so that a key, and an answer about many, has a bound that is far below
// the sum of the fields' own.
inline constexpr size_t kMaxKeyTextBytes = 4096;
inline constexpr char kKeyTextsWanted[] =
    "display_name, description, owner, labels and allowed_cidrs of together at most 4096 bytes";

// The bytes of those texts. `Key`: NewKey or KeyRecord.
template <typename Key>
size_t KeyTextBytes(const Key& key) {
  size_t bytes = key.display_name.size() + key.description.size() + key.owner.size();
  for (const auto& [name, value] : key.labels) bytes += name.size() + value.size();
  for (const std::string& block : key.allowed_cidrs) bytes += block.size();
  return bytes;
}

struct KeyRemoval {
  std::string organization;
  std::string kid;
  std::string etag;  // "" = not checked.
  DeleteReason reason = DeleteReason::kUnspecified;
};

}  // namespace latchkey::keys
