#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "client/core/secret.h"
#include "server/model/feature_level.h"

// The domain's value types: what storage keeps, what the log carries, what the index shows. No secrets: a key's hash
// travels only in NewSecret and StoredSecret.
namespace latchkey::keys {

// "Never" for the times below: an end that does not come.
inline absl::Time Never() { return absl::InfiniteFuture(); }

// 128 bits of HMAC-SHA-256(K_proof[ring_id], "lk1|proof|" kid "|" secret): identity of a key string under a secret
// that only the key ring holds, never its permission.
struct Proof {
  char ring_id = 0;  // Key ring id of K_proof: one base62 digit; 0 = no proof.
  std::array<char, 16> digest{};

  explicit operator bool() const { return ring_id != 0; }
  friend bool operator==(const Proof&, const Proof&) = default;
};

// A proof and what it proves.
struct KeyProof {
  std::string kid;
  int32_t version = 1;
  Proof proof;
};

// Why a key was deleted, with the numbers of latchkey.v1.Reason. A higher one is stronger only in the sense of
// StrongerReason().
enum class DeleteReason { kUnspecified = 0, kUnused = 1, kRotated = 2, kCompromised = 3, kOwnerLeft = 4 };

// One secret of a key.
struct SecretVersion {
  int32_t id = 1;
  absl::Time created_at;
  absl::Time expires_at = Never();  // End of an overlap after a rotation.
  // Last allowed use, to the minute. Filled by ReadKey and ListKeys alone, from the usage tables: no part of the log.
  absl::Time last_used_at = absl::InfinitePast();  // InfinitePast = never.
  friend bool operator==(const SecretVersion&, const SecretVersion&) = default;
};

struct KeyRecord {
  std::string organization;
  std::string kid;
  std::string display_name;
  std::string description;
  std::string role;   // Role id in `organization`.
  std::string owner;  // Free text.
  std::map<std::string, std::string> labels;
  std::string key_hint;
  std::string creator;      // A key's resource name, or "bootstrap".
  std::string creator_kid;  // "" for bootstrap.
  absl::Time created_at;
  absl::Time updated_at;
  absl::Time expires_at = Never();
  std::vector<std::string> allowed_cidrs;  // core::NormalisedCidrs; empty = anywhere.
  absl::Time deleted_at = Never();         // Never() = live.
  absl::Time purge_at = Never();
  DeleteReason delete_reason = DeleteReason::kUnspecified;
  std::vector<SecretVersion> versions;  // Oldest first.
  int64_t revision = 0;                 // Set by the store.
  // Last allowed use of any version, as in SecretVersion.
  absl::Time last_used_at = absl::InfinitePast();

  bool deleted() const { return deleted_at != Never(); }
  friend bool operator==(const KeyRecord&, const KeyRecord&) = default;
};

// Enough for any use that is known, and few enough that a page, a count and an index stay small.
inline constexpr int kDefaultMaxKeys = 100'000;

struct OrganizationRecord {
  std::string id;
  std::string display_name;
  absl::Time created_at;
  absl::Time updated_at;
  absl::Time deleted_at = Never();
  int max_keys = 0;  // As set; 0 = kDefaultMaxKeys.
  int64_t revision = 0;

  bool deleted() const { return deleted_at != Never(); }
  // How many live keys it may have.
  int key_quota() const { return max_keys > 0 ? max_keys : kDefaultMaxKeys; }
  friend bool operator==(const OrganizationRecord&, const OrganizationRecord&) = default;
};

// A custom role; built-in ones are in built_in_roles.h and never stored.
struct RoleRecord {
  std::string organization;
  std::string id;
  std::string display_name;
  std::string description;
  std::string documentation_uri;
  std::vector<std::string> permissions;  // Normalised.
  absl::Time created_at;
  absl::Time updated_at;
  bool removed = false;  // In a log row only: the role is gone.
  int64_t revision = 0;
  friend bool operator==(const RoleRecord&, const RoleRecord&) = default;
};

// A secret version about to be stored: the Argon2id hash in PHC form with the ids of what made it.
struct NewSecret {
  int32_t version = 1;
  std::string hash;       // PHC string; secret-derived: never logged.
  std::string pepper_id;  // Key ring id.
  Proof proof;            // Stored beside it, if there is one.
};

// A stored one.
struct StoredSecret {
  int32_t version = 1;
  std::string hash;
  std::string pepper_id;
  Proof proof;  // Another server may have proven it meanwhile.
};

// What holds for the whole installation, kept in the database.
struct Settings {
  // L: how long a server may answer from memory after it last heard of changes. 2..60 s.
  absl::Duration bound = absl::Seconds(5);
  // What it was before the last change: servers may hold leases of this length until
  // previous_bound·(1+4ρ) after each has first seen the change.
  absl::Duration previous_bound = absl::Seconds(5);
  absl::Time changed_at = absl::UnixEpoch();
  // The installation's feature level. It never falls.
  int level = kNewestLevel;

  friend bool operator==(const Settings&, const Settings&) = default;
};
inline const absl::Duration kShortestBound = absl::Seconds(2);
inline const absl::Duration kLongestBound = absl::Seconds(60);

// Who did what, kept in the change log beside the after-image.
struct Audit {
  std::string principal;  // The caller's key resource name, or "bootstrap".
  std::string peer;       // The caller's address.
  std::string method;     // "latchkey.v1.KeyAdmin/CreateKey".
  std::string request_id;
  std::string server;  // Which server.
};

// One mutation: the after-image of exactly one of the four. A new key comes with its secret.
struct Change {
  std::optional<KeyRecord> key;
  std::optional<OrganizationRecord> organization;
  std::optional<RoleRecord> role;
  std::optional<Settings> settings;
  std::optional<NewSecret> new_secret;  // With `key` only.
  std::string body;                     // What the log keeps, byte for byte: EncodeBody of the above.
};

// A row of the change log.
struct LogRow {
  int64_t rev = 0;
  absl::Time at;  // Microseconds.
  std::string body;
  std::string chain;  // 32 bytes: SHA-256(previous ‖ be64(rev) ‖ be64(at µs) ‖ be32(len) ‖ body).
};

// A position in the log together with the history it belongs to.
struct LogPosition {
  int64_t rev = 0;
  std::string chain;  // 32 bytes; "" only before the first load.
};

}  // namespace latchkey::keys
