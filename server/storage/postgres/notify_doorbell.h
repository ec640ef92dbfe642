#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"
#include "server/model/doorbell.h"

namespace latchkey::storage {

// The doorbell over PostgreSQL's LISTEN and NOTIFY, channel "latchkey", payload "REVISION" or "REVISION w" (somebody
// waits). One session and one thread of its own: NOTIFY in the transaction of a mutation would make all of them queue
// for one lock. Needs a connection that stays one session; behind a pooler that shares sessions between transactions
// rings are lost, which costs time and nothing else.
//
// While the database is away rings are dropped but for the newest. Thread-safe.
class NotifyDoorbell final : public keys::Doorbell {
 public:
  // `connection_string`: libpq's, either form. `heard` is called on the doorbell's thread and must not block. Never our
  // own rings.
  NotifyDoorbell(std::string connection_string, Heard heard);
  ~NotifyDoorbell() override;
  NotifyDoorbell(const NotifyDoorbell&) = delete;
  NotifyDoorbell& operator=(const NotifyDoorbell&) = delete;

  void Ring(int64_t revision, bool waiting) override;

  // It listens. For tests.
  bool listening() const { return listening_; }

 private:
  class Session;
  void Run();
  // One session from connecting to its end; returns whether it ever listened.
  bool Converse();
  // False once the doorbell ends.
  bool Pause(absl::Duration duration);

  const std::string connection_string_;
  const Heard heard_;
  const int wake_;  // An eventfd: rings and the end.
  std::atomic<bool> listening_{false};
  std::mutex mutex_;
  bool stopping_ = false;
  bool pending_ = false;
  bool pending_waiting_ = false;
  int64_t pending_revision_ = 0;
  std::thread thread_;
};

// What a notification says; false if it is not one of ours. For tests.
bool ParseRing(const std::string& payload, int64_t& revision, bool& waiting);

}  // namespace latchkey::storage
