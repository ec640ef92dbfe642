#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <shared_mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/keys/key_ring.h"
#include "server/keys/records.h"

namespace latchkey::keys {

// Organizations, roles and keys in memory: a materialised view of the change log, written by LogFollower alone and read
// by everyone. There are no fills from the database, so there are no fill races.
//
// The read order of every decision: Read() first (lease and revision), then the records, judge, and the clock last,
// compared with the lease that Read() gave. The writer publishes in the opposite order (records, revision, lease), so a
// lease that was read covers every record read after it.
//
// Thread-safe: any number of readers, one writer.
class KeyIndex {
 public:
  // What a decision starts from.
  struct Reading {
    base::BootTime lease_until;
    int64_t revision = 0;
    // Rises each time the whole view is replaced: "there is no such key" is worth nothing if it rose meanwhile.
    int64_t generation = 0;
    // The database's clock is at most `database_now + (now - sampled_at)`: what expiry is judged by, early rather than
    // late.
    absl::Time database_now;
    base::BootTime sampled_at;

    absl::Time DatabaseTimeAt(base::BootTime now) const { return database_now + (now - sampled_at); }
  };

  KeyIndex();
  ~KeyIndex();

  // --- Readers ---
  Reading Read() const;
  // nullptr if there is none. The record never changes; a later change is another record.
  std::shared_ptr<const KeyRecord> FindKey(std::string_view kid) const;
  std::shared_ptr<const OrganizationRecord> FindOrganization(const std::string& id) const;
  // Built-in roles included. nullptr if there is none.
  std::shared_ptr<const RoleRecord> FindRole(const std::string& organization, const std::string& id) const;
  // The last row applied.
  LogPosition position() const;

  // --- The one writer ---
  void Replace(const LogPosition& position, std::vector<OrganizationRecord> organizations,
               std::vector<RoleRecord> roles, const std::vector<KeyRecord>& keys);
  // The next row; the caller has checked that it is position().rev + 1 and that its chain is right.
  void Apply(const LogPosition& position, const Change& change);
  // Lease and clock sample; `lease_until` never goes back but by Revoke.
  void Extend(base::BootTime lease_until, absl::Time database_now, base::BootTime sampled_at);
  // Stops every answer until the next Extend.
  void EndLease();

  // --- Proofs: evidence of identity, beside the records; any thread ---
  // nullopt if none is known.
  std::optional<Proof> FindProof(std::string_view kid, int32_t version) const;
  void RememberProof(const std::string& kid, int32_t version, const Proof& proof);
  void ForgetProofs(const std::string& kid);

  size_t key_count() const;

 private:
  struct KeyShard;
  struct ProofShard;
  static constexpr size_t kShards = 64;
  KeyShard& ShardOf(std::string_view kid) const;
  ProofShard& ProofShardOf(std::string_view kid) const;
  void PutKey(const KeyRecord& key);

  std::unique_ptr<std::array<KeyShard, kShards>> keys_;
  std::unique_ptr<std::array<ProofShard, kShards>> proofs_;

  mutable std::shared_mutex names_mutex_;
  std::unordered_map<std::string, std::shared_ptr<const OrganizationRecord>> organizations_;
  std::unordered_map<std::string, std::shared_ptr<const RoleRecord>> roles_;  // By resource name.
  LogPosition position_;

  mutable std::mutex reading_mutex_;  // Held for a copy of a few words.
  Reading reading_;
};

}  // namespace latchkey::keys
