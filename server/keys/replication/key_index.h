#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "client/core/epochs.h"
#include "client/core/revision_token.h"
#include "server/base/clock.h"
#include "server/keys/replication/indexed_key.h"
#include "server/model/key_store.h"
#include "server/model/records.h"

namespace latchkey::keys {

// Organizations, roles and keys in memory: a materialised view of the change log, written by LogFollower alone and read
// by everyone. There are no fills from the database, so there are no fill races. Proofs lie beside the records.
//
// Readers hold a Pin and never wait for the writer. The read order of every decision: snapshot() first (lease, revision
// and the view they belong to), then the records of that view, judge, and the clock last, compared with the lease that
// was loaded. The writer publishes in the opposite order (records, then revision and lease), so a lease that was read
// covers every record read after it.
//
// A key that was purged from the database stays until the next load, as a deleted one.
//
// Thread-safe: any number of readers; the writing calls exclude each other.
class KeyIndex {
  struct View;

 public:
  // What a decision starts from. One immutable object: nothing of it can be newer than the rest.
  struct Snapshot {
    base::BootTime lease_until;
    int64_t revision = 0;
    core::ChainPrefix chain{};  // At `revision`.
    // That the view is of, as it was last read: `revision` counts in it.
    core::HistoryId history = core::kNoHistory;
    // Rises each time the whole view is replaced: after that a version's number may belong to another secret.
    int64_t view_id = 0;
    // The database's clock is at most `database_now + (now - sampled_at)`: what expiry is judged by, early rather than
    // late. It does not go back while this process lives, else what has ended would come back to life: when the
    // database's clock is set back, time stands still at `not_before` until that clock has come there again. So a clock
    // that was wrongly ahead counts until then, or until a restart.
    absl::Time database_now;
    base::BootTime sampled_at;
    absl::Time not_before = absl::InfinitePast();

    absl::Time DatabaseTimeAt(base::BootTime now) const {
      return std::max(database_now + (now - sampled_at), not_before);
    }

   private:
    friend class KeyIndex;
    std::shared_ptr<const View> view;  // Never nullptr in a published one. Dies with the last snapshot of it.
  };

  // A pinned moment: everything reached through it stays valid while it lives. Loads the snapshot when it is made, so
  // that nothing can be read before it. Everything found through one Pin belongs to its snapshot's view, and is that of
  // its revision or newer. Belongs to its thread; not to be kept over a wait. It must not outlive the index.
  class Pin {
   public:
    explicit Pin(const KeyIndex& index);
    const Snapshot& snapshot() const { return *snapshot_; }
    // nullptr if there is none.
    const IndexedKey* FindKey(std::string_view kid) const;
    const OrganizationRecord* FindOrganization(std::string_view id) const;
    // Built-in roles included.
    const RoleRecord* FindRole(std::string_view organization, std::string_view id) const;
    // The organization and the role of a key that this Pin found, without a look-up. nullptr if it is gone.
    const OrganizationRecord* OrganizationOf(const IndexedKey& key) const;
    const RoleRecord* RoleOf(const IndexedKey& key) const;
    // What it names, also if that is gone.
    std::string_view RoleIdOf(const IndexedKey& key) const;

   private:
    core::Epochs::Pin pin_;
    const Snapshot* snapshot_;
  };

  KeyIndex();
  ~KeyIndex();  // No readers any more.
  KeyIndex(const KeyIndex&) = delete;
  KeyIndex& operator=(const KeyIndex&) = delete;

  // A copy of the snapshot, for those who don't decide by it.
  Snapshot Read() const;
  // The last row applied; chain "" before the first load.
  LogPosition position() const;

  // --- The one writer ---
  // Takes a snapshot, beside the view and without a lock, and then puts it in the view's place: both are in memory for
  // a while. Belongs to one thread.
  class SnapshotLoader final : public storage::SnapshotSink {
   public:
    explicit SnapshotLoader(KeyIndex& index);
    ~SnapshotLoader() override;
    // Forgets what was added before.
    void Begin(const LogPosition& position, int64_t key_count) override;
    // After Begin. A kid longer than IndexedKey::kMaxKidLength is left out: no key string can ask for it.
    void Add(const OrganizationRecord& organization) override;
    void Add(const RoleRecord& role) override;
    void Add(const storage::SnapshotKey& key) override;
    // Told the number of keys so far, each 100,000 of them.
    void OnProgress(std::function<void(int64_t loaded, int64_t expected)> progress);
    // Publishes it, without a lease: there is none until Extend. Once, after the last Add.
    void Publish();

   private:
    KeyIndex& index_;
    LogPosition position_;
    std::shared_ptr<View> view_;
    int64_t loaded_ = 0;
    int64_t expected_ = 0;
    std::function<void(int64_t, int64_t)> progress_;
  };
  // The next row; the caller has checked that it is position().rev + 1 and that its chain is right. `proofs`: those of
  // the row's key, if any are known; those that the index has for versions that are still live stay.
  void Apply(const LogPosition& position, const Change& change, const std::vector<KeyProof>& proofs = {});
  // The view is of `history` too, which was read now: the log there has the row at position().
  void SetHistory(core::HistoryId history);
  // Lease and clock sample; `lease_until` never goes back but by EndLease. `now`: the time of this call, up to which
  // readers may have seen the earlier sample's time; without it `sampled_at` counts as that.
  void Extend(base::BootTime lease_until, absl::Time database_now, base::BootTime sampled_at,
              base::BootTime now = base::BootTime::Never());
  // Stops every answer until the next Extend.
  void EndLease();

  // --- Any thread ---
  // Keeps evidence of identity; no row of the log, so the revision stays. Does nothing if the key or the version is
  // gone, or if the view is not the one of `view_id` any more. Say the view_id if time has passed since the
  // evidence was collected: in another history the same version may have another secret.
  void RememberProof(const KeyProof& proof, std::optional<int64_t> view_id = std::nullopt);

  // Deleted ones too.
  size_t key_count() const;
  // What the allocator spends on the keys, table and entries, without organizations and roles.
  size_t memory_bytes() const;

 private:
  // Shows readers a copy of the snapshot, after `edit(Snapshot&)`; retires the old one. Under writing_.
  template <typename Edit>
  void PublishSnapshot(const Edit& edit);

  mutable std::mutex writing_;
  std::atomic<const Snapshot*> snapshot_;  // Never nullptr; replaced under writing_.
  std::shared_ptr<View> view_;             // The one that snapshot_ shows; under writing_.
  LogPosition position_;                   // Under writing_.
};

}  // namespace latchkey::keys
