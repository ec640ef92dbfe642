#pragma once

#include <string>

#include "server/base/errors.h"
#include "tests/simulation/world.h"
#include "tests/support/forwarding_store.h"
#include "tests/support/memory_store/memory_key_store.h"

namespace latchkey::simulation {

// The database as one server sees it: over a link that delays and loses, with time-outs; and for a while, at times,
// through a standby that lags behind.
class RemoteStore final : public testing::ForwardingStore {
 public:
  RemoteStore(storage::KeyStore& database, World& world, std::string link)
      : ForwardingStore(database), world_(world), link_(std::move(link)) {}

  // From `from` to `until` reads see the log as it was when that began, and nothing can be written.
  void Lag(double from, double until) {
    lag_from_ = from;
    lag_until_ = until;
  }

  absl::StatusOr<storage::SnapshotHead> LoadSnapshot(storage::SnapshotSink& sink) override {
    return Over<storage::SnapshotHead>([&]() -> absl::StatusOr<storage::SnapshotHead> {
      if (lagging()) return errors::DatabaseUnavailable();
      return behind().LoadSnapshot(sink);
    });
  }
  absl::StatusOr<storage::LogPage> ReadLog(int64_t cursor, int limit) override {
    return Over<storage::LogPage>([&] { return Read(cursor, limit); });
  }
  absl::StatusOr<storage::LogPage> RenewLease(const storage::Heartbeat& beat, int64_t cursor, int limit) override {
    return Over<storage::LogPage>([&]() -> absl::StatusOr<storage::LogPage> {
      // A copy of the database that does not have this server's row.
      if (lagging()) return errors::ReplicaForgotten();
      return behind().RenewLease(beat, cursor, limit);
    });
  }
  absl::Status EnterReplica(const std::string& replica, const std::string& doorbell) override {
    return lagging() ? errors::DatabaseUnavailable() : behind().EnterReplica(replica, doorbell);
  }

 private:
  static constexpr double kTimeOut = 4;

  bool lagging() const { return world_.now() >= lag_from_ && world_.now() < lag_until_; }

  absl::StatusOr<storage::LogPage> Read(int64_t cursor, int limit) {
    absl::StatusOr<storage::LogPage> page = behind().ReadLog(cursor, limit);
    if (!page.ok() || !lagging()) return page;
    const absl::Time seen = world_.wall_now() - absl::Seconds(world_.now() - lag_from_);
    while (page->rows.size() > 1 && page->rows.back().at > seen) page->rows.pop_back();
    if (page->rows.size() < static_cast<size_t>(limit) && !page->rows.empty()) page->head = page->rows.back().rev;
    return page;
  }

  template <typename T, typename Call>
  absl::StatusOr<T> Over(const Call& call) {
    if (!world_.Cross(link_)) {
      world_.Sleep(kTimeOut);
      return errors::DatabaseUnavailable();
    }
    absl::StatusOr<T> answer = call();
    if (!world_.Cross(link_)) {
      world_.Sleep(kTimeOut);
      return errors::DatabaseUnavailable();
    }
    return answer;
  }

  World& world_;
  const std::string link_;
  double lag_from_ = 1e18;
  double lag_until_ = 1e18;
};

}  // namespace latchkey::simulation
