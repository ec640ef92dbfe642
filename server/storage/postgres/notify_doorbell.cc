#include "server/storage/postgres/notify_doorbell.h"

#include <libpq-fe.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <memory>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"

namespace latchkey::storage {
namespace {

using SteadyTime = std::chrono::steady_clock::time_point;

// The longest for a connection to stand or a statement to be answered. A server that is stopped keeps no limit of its
// own.
constexpr std::chrono::seconds kPatience(4);
// Between two NOTIFYs: each is a transaction that takes a lock on which all notifying sessions of the server queue.
constexpr std::chrono::milliseconds kLeastPause(5);
constexpr absl::Duration kShortestBackoff = absl::Milliseconds(100);
constexpr absl::Duration kLongestBackoff = absl::Seconds(5);

int MillisecondsUntil(SteadyTime time) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(time - std::chrono::steady_clock::now()).count();
  return static_cast<int>(std::clamp<int64_t>(left, 0, 60'000));
}

}  // namespace

bool ParseRing(const std::string& payload, int64_t& revision, bool& waiting) {
  const char* const end = payload.data() + payload.size();
  const auto [rest, error] = std::from_chars(payload.data(), end, revision);
  const std::string_view tail(rest, static_cast<size_t>(end - rest));
  waiting = tail == " w";
  return error == std::errc() && revision >= 0 && (tail.empty() || waiting);
}

// A connection that is never waited for without also listening to the eventfd.
class NotifyDoorbell::Session {
 public:
  Session(const std::string& connection_string, int wake) : wake_(wake) {
    // What stands before dbname is only a default: the operator's string is the last word.
    const char* const names[] = {"application_name", "target_session_attrs", "keepalives_idle", "keepalives_interval",
                                 "keepalives_count", "tcp_user_timeout",     "dbname",          nullptr};
    const char* const values[] = {"latchkeyd doorbell",      "read-write", "5", "2", "3", "5000",
                                  connection_string.c_str(), nullptr};
    connection_.reset(PQconnectStartParams(names, values, /*expand_dbname=*/1));
    if (connection_ != nullptr)
      PQsetNoticeProcessor(
          connection_.get(), [](void*, const char*) {}, nullptr);
  }

  bool Connect(const std::function<bool()>& stopping) {
    if (connection_ == nullptr || PQstatus(connection_.get()) == CONNECTION_BAD) return false;
    const SteadyTime deadline = std::chrono::steady_clock::now() + kPatience;
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
      if (state == PGRES_POLLING_FAILED || stopping() || MillisecondsUntil(deadline) == 0) return false;
      Wait(state == PGRES_POLLING_WRITING ? POLLOUT : POLLIN, deadline);
      // A ring that comes meanwhile must not make this spin; it is kept as pending.
      DrainWake();
      if (Ready()) state = PQconnectPoll(connection_.get());
    }
    return PQsetnonblocking(connection_.get(), 1) == 0;
  }

  bool Send(const std::string& sql) {
    answer_by_ = std::chrono::steady_clock::now() + kPatience;
    busy_ = PQsendQuery(connection_.get(), sql.c_str()) == 1;
    flushing_ = PQflush(connection_.get()) == 1;
    return busy_;
  }
  bool busy() const { return busy_; }

  // Waits until something happens, at most until `until`; takes in what came. False once the session is of no use.
  bool Step(SteadyTime until) {
    if (busy_) until = std::min(until, answer_by_);
    Wait(static_cast<short>(POLLIN | (flushing_ ? POLLOUT : 0)), until);
    DrainWake();
    if (Ready() && PQconsumeInput(connection_.get()) == 0) return false;
    if (flushing_) {
      const int flushed = PQflush(connection_.get());
      if (flushed < 0) return false;
      flushing_ = flushed == 1;
    }
    bool good = true;
    while (busy_ && PQisBusy(connection_.get()) == 0) {
      const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection_.get()), &PQclear);
      busy_ = result != nullptr;
      if (busy_) good = good && PQresultStatus(result.get()) == PGRES_COMMAND_OK;
    }
    if (busy_ && std::chrono::steady_clock::now() >= answer_by_) return false;
    return good && PQstatus(connection_.get()) == CONNECTION_OK;
  }

  void Deliver(const Heard& heard) {
    const int own = PQbackendPID(connection_.get());
    for (;;) {
      const std::unique_ptr<PGnotify, decltype(&PQfreemem)> notify(PQnotifies(connection_.get()), &PQfreemem);
      if (notify == nullptr) return;
      int64_t revision = 0;
      bool waiting = false;
      if (notify->be_pid != own && ParseRing(notify->extra, revision, waiting)) heard(revision, waiting);
    }
  }

 private:
  void Wait(short events, SteadyTime until) {
    descriptors_[0] = {.fd = PQsocket(connection_.get()), .events = events, .revents = 0};
    descriptors_[1] = {.fd = wake_, .events = POLLIN, .revents = 0};
    poll(descriptors_, 2, MillisecondsUntil(until));
  }
  bool Ready() const { return descriptors_[0].revents != 0; }
  void DrainWake() const {
    uint64_t count = 0;
    if (descriptors_[1].revents != 0 && read(wake_, &count, sizeof count) < 0) return;
  }

  const int wake_;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_{nullptr, &PQfinish};
  pollfd descriptors_[2] = {};
  SteadyTime answer_by_;
  bool busy_ = false;
  bool flushing_ = false;
};

NotifyDoorbell::NotifyDoorbell(std::string connection_string, Heard heard)
    : connection_string_(std::move(connection_string)),
      heard_(std::move(heard)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      thread_([this] { Run(); }) {}

NotifyDoorbell::~NotifyDoorbell() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  eventfd_write(wake_, 1);
  thread_.join();
  close(wake_);
}

void NotifyDoorbell::Ring(int64_t revision, bool waiting) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pending_ = true;
    pending_waiting_ = pending_waiting_ || waiting;
    pending_revision_ = std::max(pending_revision_, revision);
  }
  eventfd_write(wake_, 1);
}

bool NotifyDoorbell::Pause(absl::Duration duration) {
  const SteadyTime until = std::chrono::steady_clock::now() + absl::ToChronoNanoseconds(duration);
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return false;
    }
    const int left = MillisecondsUntil(until);
    if (left == 0) return true;
    pollfd wake{.fd = wake_, .events = POLLIN, .revents = 0};
    eventfd_t count = 0;
    if (poll(&wake, 1, left) > 0) eventfd_read(wake_, &count);
  }
}

void NotifyDoorbell::Run() {
  absl::Duration backoff = kShortestBackoff;
  do {
    backoff = Converse() ? kShortestBackoff : std::min(backoff * 2, kLongestBackoff);
    listening_ = false;
  } while (Pause(backoff));
}

bool NotifyDoorbell::Converse() {
  const auto stopping = [this] {
    const std::lock_guard<std::mutex> lock(mutex_);
    return stopping_;
  };
  Session session(connection_string_, wake_);
  if (!session.Connect(stopping)) return false;
  // A NOTIFY is a commit; nobody needs it on disk.
  if (!session.Send("SET synchronous_commit = off; LISTEN latchkey")) return false;
  while (session.busy()) {
    if (stopping() || !session.Step(std::chrono::steady_clock::now() + kPatience)) return listening_;
  }
  listening_ = true;
  SteadyTime next_send;
  for (;;) {
    session.Deliver(heard_);
    const SteadyTime now = std::chrono::steady_clock::now();
    SteadyTime until = now + std::chrono::seconds(60);
    std::string sql;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return true;
      if (pending_ && now < next_send) until = next_send;
      if (pending_ && !session.busy() && now >= next_send) {
        sql = absl::StrCat("NOTIFY latchkey, '", pending_revision_, pending_waiting_ ? " w'" : "'");
        pending_ = pending_waiting_ = false;
        next_send = now + kLeastPause;
      }
    }
    if (!sql.empty() && !session.Send(sql)) return true;
    if (!session.Step(until)) return true;
  }
}

}  // namespace latchkey::storage
