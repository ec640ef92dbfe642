#include "server/storage/postgres/sql_failure.h"

#include <pqxx/pqxx>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "server/base/errors.h"

namespace latchkey::storage::postgres {
namespace {

using Kind = SqlFailure::Kind;

Kind KindOf(const std::string& sqlstate) {
  if (sqlstate == "40001" || sqlstate == "40P01" || sqlstate == "55P03") return Kind::kContended;
  if (sqlstate == "23505") return Kind::kDuplicate;
  // Shutdown, crash, starting up, session ended by the server, too many connections, cancelled by statement_timeout,
  // and a primary that has become a standby.
  for (const char* code : {"57P01", "57P02", "57P03", "57P04", "57P05", "25P03", "53300", "57014", "25006"}) {
    if (sqlstate == code) return Kind::kUnavailable;
  }
  return absl::StartsWith(sqlstate, "08") ? Kind::kUnavailable : Kind::kBug;
}

}  // namespace

absl::Status SqlFailure::ToStatus(const std::string& while_doing) const {
  switch (kind) {
    case Kind::kUnavailable:
      return errors::DatabaseUnavailable();
    case Kind::kContended:
    case Kind::kDuplicate:
      return errors::Contended();
    case Kind::kUnreadable:
      return errors::RowUnreadable(unreadable);
    case Kind::kBug:
      break;
  }
  return errors::Internal(
      absl::StrCat("storage: ", while_doing, " failed, SQLSTATE ", sqlstate.empty() ? "none" : sqlstate));
}

SqlFailure FailureOf(const std::exception_ptr& exception, bool connection_open) {
  SqlFailure failure;
  try {
    std::rethrow_exception(exception);
  } catch (const pqxx::broken_connection&) {
    failure.kind = Kind::kUnavailable;
  } catch (const pqxx::statement_completion_unknown&) {  // For pqxx a transaction_rollback too, which it may not be.
    failure = {Kind::kUnavailable, kCompletionUnknown, ""};
  } catch (const pqxx::transaction_rollback&) {  // Serialisation failures and deadlocks.
    failure = {Kind::kContended, "40001", ""};
  } catch (const Contention&) {
    failure.kind = Kind::kContended;
  } catch (const pqxx::sql_error& error) {
    failure = {KindOf(error.sqlstate()), error.sqlstate(), ""};
  } catch (const UnreadableRow& row) {
    failure = {Kind::kUnreadable, "", row.what()};
  } catch (...) {
    failure.kind = Kind::kBug;
  }
  if (!connection_open) failure.kind = Kind::kUnavailable;
  return failure;
}

}  // namespace latchkey::storage::postgres
