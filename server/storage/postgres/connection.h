#pragma once

#include <memory>
#include <pqxx/pqxx>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/time/time.h"
#include "server/storage/postgres/watchdog.h"

namespace latchkey::storage::postgres {

// What every session is set to.
struct SessionSettings {
  absl::Duration connect_timeout = absl::Seconds(3);  // Whole seconds, at least 2 (libpq).
  absl::Duration lock_timeout = absl::Milliseconds(500);
  absl::Duration statement_timeout = absl::Seconds(10);  // More than 0: a pool's watchdog goes by it.
  absl::Duration idle_in_transaction_timeout = absl::Seconds(2);
};

// One session that is never silently opened again: pqxx would lose the session's settings and an open transaction with
// it. Once broken it only throws. Every method may throw pqxx's exceptions. Not thread-safe.
class Connection {
 public:
  // Connects and sets the session; throws pqxx::broken_connection if it can't. `dog` outlives it and ends every
  // statement that its limit is too short for; nullptr = none does.
  Connection(const std::string& connection_string, const SessionSettings& settings, Watchdog* dog = nullptr);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // A simple query: one message, any number of statements; the result of the last.
  pqxx::result Exec(const std::string& sql);
  // One of statements.h, prepared on first use in this session.
  template <typename... Arguments>
  pqxx::result Run(const char* statement, Arguments&&... arguments) {
    const Watchdog::Watch watch(dog_, socket_.get());
    return session_->exec_prepared(statement, std::forward<Arguments>(arguments)...);
  }

  // One message of several statements, none with a semicolon of its own; the result of each. The first that fails is
  // thrown, and none after it is run.
  std::vector<pqxx::result> ExecAll(const std::vector<std::string>& statements);
  // The SQL that runs one of statements.h with these arguments, for Exec and ExecAll.
  std::string Execute(const char* statement, const std::vector<std::string>& arguments);

  // Runs "COPY (…) TO STDOUT (FORMAT binary)" and hands out its messages as they come: a header before the first row,
  // then a row each, then the end (see copy_reader.h). Pieces are good during the call only. If `take` throws, the rest
  // still has to be read: drop the session instead.
  void CopyOut(const std::string& sql, absl::FunctionRef<void(std::string_view message)> take);

  // `text` as a quoted SQL literal.
  std::string Quote(const std::string& text) const;

  // False once it is broken. Talks to nobody.
  bool open() const;
  // Whether it is in a transaction that an error has ended, and that can only be rolled back. Talks to nobody.
  bool in_failed_transaction() const;
  // For an idle session: whether the server has closed it or sent something that nobody asked for. Talks to nobody.
  bool stale() const;
  // Ends whatever transaction is open; false if the session is of no further use. Never throws.
  bool Reset() noexcept;
  // Warnings received so far.
  int notices() const;
  // Whether one of them said that a commit did not wait for its replicas.
  bool warned_of_replication() const;

 private:
  class Notices;
  class Session;
  Watchdog* const dog_;
  std::unique_ptr<Session> connection_;
  const SocketCopy socket_;
  std::unique_ptr<Notices> notices_;
  std::unique_ptr<pqxx::nontransaction> session_;
  std::set<std::string> prepared_;  // Those that Execute has named.
};

}  // namespace latchkey::storage::postgres
