#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "server/keys/admin/key_changes.h"
#include "server/keys/crypto/key_minter.h"
#include "server/model/key_store.h"
#include "server/model/principal.h"
#include "server/model/records.h"

// Values that tests of decisions are made of: keys of `acme` at an instant kNow, what a store would have read of them
// under locks, and requests to change the key "target".
namespace latchkey::keys {

inline const absl::Time kNow = absl::FromUnixSeconds(1'700'000'000);
inline const absl::Time kBefore = kNow - absl::Hours(24);
inline const absl::Time kSoon = kNow + absl::Hours(1);
inline const absl::Time kLater = kNow + absl::Hours(2);
inline const Audit kAudit{"organizations/acme/keys/caller", "ipv4:192.0.2.1:1", "latchkey.v1.KeyAdmin/Test", "",
                          "server-1"};
inline constexpr absl::Duration kKept = absl::Hours(24 * 90);

inline KeyRecord Key(const std::string& kid, const std::string& role, absl::Time expires_at = Never(),
                     std::vector<std::string> cidrs = {}) {
  KeyRecord key;
  key.organization = "acme";
  key.kid = kid;
  key.display_name = kid;
  key.role = role;
  key.created_at = kBefore;
  key.updated_at = kBefore;
  key.expires_at = expires_at;
  key.allowed_cidrs = std::move(cidrs);
  key.versions = {SecretVersion{.created_at = kBefore}};
  key.revision = 7;
  return key;
}

inline KeyRecord In(const std::string& organization, KeyRecord key) {
  key.organization = organization;
  return key;
}

inline KeyRecord CreatedBy(const std::string& creator_kid, KeyRecord key) {
  key.creator_kid = creator_kid;
  return key;
}

inline KeyRecord Deleted(KeyRecord key, DeleteReason reason = DeleteReason::kUnused) {
  key.deleted_at = kBefore;
  key.purge_at = kBefore + kKept;
  key.delete_reason = reason;
  return key;
}

// What a store would have read: `acme` with two custom roles that neither of them is at most the other.
inline storage::LockedState StateWith(const std::vector<KeyRecord>& keys) {
  storage::LockedState state;
  state.now = kNow;
  for (const KeyRecord& key : keys) state.keys[key.kid] = key;
  state.organization = OrganizationRecord{.id = "acme"};
  for (const char* letter : {"a", "b"}) {
    const std::string id = std::string("keeper-") + letter;
    state.roles[{"acme", id}] =
        RoleRecord{.organization = "acme", .id = id, .permissions = {std::string("app.") + letter, "latchkey.keys.*"}};
  }
  return state;
}

inline Principal As(const KeyRecord& key) {
  return {.organization = key.organization, .kid = key.kid, .role = key.role};
}

inline MintedKey Minted() {
  MintedKey minted;
  minted.kid = "minted";
  minted.key_hint = "lk1_min";
  minted.secret = NewSecret{.version = 1, .hash = "a hash", .pepper_id = "1"};
  return minted;
}

inline NewKey Wanted(const std::string& role, Expiration expiration = {}, std::vector<std::string> cidrs = {}) {
  NewKey wanted;
  wanted.organization = "acme";
  wanted.role = role;
  wanted.allowed_cidrs = std::move(cidrs);
  wanted.expiration = expiration;
  return wanted;
}

inline Expiration At(absl::Time time) { return {.at = time, .ttl = std::nullopt}; }
inline Expiration After(absl::Duration ttl) { return {.at = std::nullopt, .ttl = ttl}; }

inline KeyEdit Edit() {
  KeyEdit edit;
  edit.organization = "acme";
  edit.kid = "target";
  return edit;
}
inline KeyEdit Rename() {
  KeyEdit edit = Edit();
  edit.display_name = "renamed";
  return edit;
}
inline KeyEdit ToRole(const std::string& role) {
  KeyEdit edit = Edit();
  edit.role = role;
  return edit;
}
inline KeyEdit ToEnd(Expiration expiration) {
  KeyEdit edit = Edit();
  edit.expiration = expiration;
  return edit;
}
inline KeyEdit ToCidrs(std::vector<std::string> cidrs) {
  KeyEdit edit = Edit();
  edit.allowed_cidrs = std::move(cidrs);
  return edit;
}
inline KeyEdit WithEtag(const std::string& etag, KeyEdit edit) {
  edit.etag = etag;
  return edit;
}

inline KeyRemoval Removal(DeleteReason reason = DeleteReason::kUnspecified, const std::string& etag = "") {
  return {"acme", "target", etag, reason};
}

}  // namespace latchkey::keys
