#include "server/storage/postgres/connection.h"

#include <libpq-fe.h>
#include <poll.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "server/storage/postgres/statements.h"

namespace latchkey::storage::postgres {
namespace {

using Setting = std::pair<const char*, std::string>;

// Ours go first: in both forms a later setting wins, so the operator's word is the last. A black-holed peer is noticed
// by the keepalives and by tcp_user_timeout (both ignored on a Unix socket). `read-write` keeps us off a standby, which
// would show the past.
std::string WithDefaults(const std::string& connection_string, const SessionSettings& settings) {
  const int64_t seconds =
      std::max<int64_t>(2, absl::ToInt64Seconds(absl::Ceil(settings.connect_timeout, absl::Seconds(1))));
  const Setting defaults[] = {{"connect_timeout", absl::StrCat(seconds)},
                              {"application_name", "latchkeyd"},
                              {"client_encoding", "UTF8"},
                              {"target_session_attrs", "read-write"},
                              {"keepalives_idle", "5"},
                              {"keepalives_interval", "2"},
                              {"keepalives_count", "3"},
                              {"tcp_user_timeout", "5000"}};
  const bool uri =
      absl::StartsWith(connection_string, "postgres://") || absl::StartsWith(connection_string, "postgresql://");
  std::string ours;
  for (const auto& [name, value] : defaults) {
    absl::StrAppend(&ours, ours.empty() ? "" : (uri ? "&" : " "), name, "=", value);
  }
  if (!uri) return absl::StrCat(ours, " ", connection_string);
  const size_t question = connection_string.find('?');
  if (question == std::string::npos) return absl::StrCat(connection_string, "?", ours);
  return absl::StrCat(connection_string.substr(0, question), "?", ours, "&", connection_string.substr(question + 1));
}

std::string SessionSql(const SessionSettings& settings) {
  const auto milliseconds = [](absl::Duration duration) { return absl::ToInt64Milliseconds(duration); };
  return absl::StrCat(
      "SET lock_timeout = ", milliseconds(settings.lock_timeout),
      "; SET statement_timeout = ", milliseconds(settings.statement_timeout),
      "; SET idle_in_transaction_session_timeout = ", milliseconds(settings.idle_in_transaction_timeout),
      "; SET synchronous_commit = on; SET TimeZone = 'UTC'; SET DateStyle = 'ISO, YMD'"
      "; SET bytea_output = 'hex'; SET standard_conforming_strings = on"
      "; SET default_transaction_isolation = 'read committed'; SET client_min_messages = 'warning'");
}

}  // namespace

// A connection whose libpq handle can be had: pqxx itself has no COPY of a query.
class Connection::Session final : public pqxx::connection_base {
 public:
  explicit Session(const std::string& connection_string)
      : pqxx::connection_base(policy_), options_(connection_string), policy_(options_) {
    init();
  }
  ~Session() noexcept { close(); }
  PGconn* handle() const { return policy_.handle_; }

 private:
  class Policy final : public pqxx::connect_direct {
   public:
    using pqxx::connect_direct::connect_direct;
    handle do_startconnect(handle old) override { return handle_ = pqxx::connect_direct::do_startconnect(old); }
    PGconn* handle_ = nullptr;
  };
  const std::string options_;
  Policy policy_;
};

// Counts instead of printing to stderr, pqxx's default.
class Connection::Notices final : public pqxx::errorhandler {
 public:
  explicit Notices(pqxx::connection_base& connection) : pqxx::errorhandler(connection) {}
  bool operator()(const char message[]) noexcept override {
    ++count;
    if (std::strstr(message, "synchronous replication") != nullptr) of_replication = true;
    return false;
  }
  int count = 0;
  bool of_replication = false;
};

Connection::Connection(const std::string& connection_string, const SessionSettings& settings, Watchdog* dog)
    : dog_(dog),
      connection_(std::make_unique<Session>(WithDefaults(connection_string, settings))),
      socket_(connection_->sock()) {
  if (socket_.get() < 0) throw pqxx::broken_connection("no descriptor to watch it by");
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
  connection_->inhibit_reactivation(true);
#pragma GCC diagnostic pop
  notices_ = std::make_unique<Notices>(*connection_);
  session_ = std::make_unique<pqxx::nontransaction>(*connection_);
  Exec(SessionSql(settings));
  for (const Statement& statement : Statements()) connection_->prepare(statement.name, statement.sql);
}

Connection::~Connection() {
  session_.reset();
  notices_.reset();
}

pqxx::result Connection::Exec(const std::string& sql) {
  const Watchdog::Watch watch(dog_, socket_.get());
  return session_->exec(sql);
}

std::vector<pqxx::result> Connection::ExecAll(const std::vector<std::string>& statements) {
  const Watchdog::Watch watch(dog_, socket_.get());
  pqxx::pipeline pipeline(*session_);
  pipeline.retain(static_cast<int>(statements.size()) + 1);
  for (const std::string& statement : statements) pipeline.insert(statement);
  pipeline.complete();
  std::vector<pqxx::result> results;
  while (!pipeline.empty()) results.push_back(pipeline.retrieve().second);
  return results;
}

std::string Connection::Execute(const char* statement, const std::vector<std::string>& arguments) {
  if (!prepared_.contains(statement)) {
    const Watchdog::Watch watch(dog_, socket_.get());
    connection_->prepare_now(statement);
    prepared_.insert(statement);
  }
  const std::string values = absl::StrJoin(
      arguments, ", ", [this](std::string* out, const std::string& value) { absl::StrAppend(out, Quote(value)); });
  return absl::StrCat("EXECUTE ", statement, values.empty() ? "" : "(", values, values.empty() ? "" : ")");
}

void Connection::CopyOut(const std::string& sql, absl::FunctionRef<void(std::string_view)> take) {
  // A watch has as long as a statement; one for a thousand rows costs nothing.
  constexpr int kRowsAWatch = 1000;
  PGconn* const handle = connection_->handle();
  const auto fail = [&](const PGresult* result) {
    const char* const state = result == nullptr ? nullptr : PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const std::string code = state == nullptr ? "" : state;
    if (PQstatus(handle) != CONNECTION_OK) throw pqxx::broken_connection("broken while copying");
    throw pqxx::sql_error("copying failed", "", code.c_str());
  };
  using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;
  std::optional<Watchdog::Watch> watch;
  watch.emplace(dog_, socket_.get());
  if (const Result started(PQexec(handle, sql.c_str()), &PQclear); PQresultStatus(started.get()) != PGRES_COPY_OUT) {
    fail(started.get());
  }
  int size = 0;
  char* buffer = nullptr;
  for (int rows = 1; (size = PQgetCopyData(handle, &buffer, /*async=*/0)) > 0; ++rows) {
    const std::unique_ptr<char, decltype(&PQfreemem)> message(buffer, &PQfreemem);
    take({buffer, static_cast<size_t>(size)});
    if (rows % kRowsAWatch == 0) {
      watch.reset();
      watch.emplace(dog_, socket_.get());
    }
  }
  if (size == -2) fail(nullptr);
  while (const Result end = Result(PQgetResult(handle), &PQclear)) {
    if (PQresultStatus(end.get()) != PGRES_COMMAND_OK) fail(end.get());
  }
}

std::string Connection::Quote(const std::string& text) const { return connection_->quote(text); }

bool Connection::open() const { return connection_->is_open(); }

bool Connection::in_failed_transaction() const {
  return connection_->is_open() && PQtransactionStatus(connection_->handle()) == PQTRANS_INERROR;
}

bool Connection::stale() const {
  if (!connection_->is_open()) return true;
  pollfd readable{.fd = connection_->sock(), .events = POLLIN, .revents = 0};
  return poll(&readable, 1, 0) != 0;
}

bool Connection::Reset() noexcept {
  try {
    if (!connection_->is_open()) return false;
    // A ROLLBACK outside a transaction only warns; so that notices() keeps its meaning, nobody asks it in between.
    Exec("ROLLBACK");
    return connection_->is_open();
  } catch (...) {
    return false;
  }
}

int Connection::notices() const { return notices_->count; }

bool Connection::warned_of_replication() const { return notices_->of_replication; }

}  // namespace latchkey::storage::postgres
