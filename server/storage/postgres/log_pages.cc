#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "server/base/errors.h"
#include "server/storage/postgres/connection_pool.h"
#include "server/storage/postgres/postgres_key_store.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/sql_failure.h"

// The change log's pages, with a beat or without.
namespace latchkey::storage {

using postgres::Connection;
using postgres::ConnectionPool;
using postgres::SqlFailure;

namespace {

// "version,generation,digest;…", as statements.cc builds it.
void AddProofs(const std::string& kid, const char* text, std::vector<keys::KeyProof>& proofs) {
  for (const absl::string_view item : absl::StrSplit(text, ';')) {
    const std::vector<std::string> parts = absl::StrSplit(item, ',');
    keys::KeyProof& proof = proofs.emplace_back();
    proof.kid = kid;
    if (parts.size() != 3 || !absl::SimpleAtoi(parts[0], &proof.version)) throw postgres::UnreadableRow("not a proof");
    proof.proof = postgres::ProofFrom(parts[1], postgres::ParseBytes("\\x" + parts[2]));
  }
}

// LOG_PAGE from column `first` on.
LogPage PageFrom(const pqxx::result& result, int first) {
  LogPage page;
  const pqxx::row head = result.at(0);
  page.head = head[first].as<int64_t>();
  page.oldest = head[first + 1].as<int64_t>();
  page.now = postgres::ParseTime(head[first + 2].c_str());
  page.settings = postgres::SettingsFrom(head);
  page.history = postgres::HistoryFrom(head);
  std::set<std::string> seen;
  for (const auto& row : result) {
    if (row[first + 7].is_null()) break;  // No rows at or after the cursor.
    page.rows.push_back(postgres::LogRowFrom(row, first + 7));
    if (row[first + 12].is_null()) continue;
    std::string kid = row[first + 11].as<std::string>();
    if (seen.insert(kid).second) AddProofs(kid, row[first + 12].c_str(), page.proofs);
  }
  return page;
}

bool StartsAt(const LogPage& page, const keys::LogPosition& cursor) {
  return !page.rows.empty() && page.rows.front().rev == cursor.rev && page.rows.front().chain == cursor.chain;
}

}  // namespace

absl::StatusOr<LogPage> PostgresKeyStore::ReadLog(int64_t cursor, int limit) {
  LogPage page;
  const absl::Status status = OnConnection("reading the log", [&](Connection& connection) {
    page = PageFrom(connection.Run("read_log", cursor, limit), 0);
  });
  if (!status.ok()) return status;
  return page;
}

absl::StatusOr<std::optional<std::string>> PostgresKeyStore::ReadChain(int64_t revision) {
  std::optional<std::string> chain;
  const absl::Status status = OnConnection("reading a chain", [&](Connection& connection) {
    const pqxx::result result = connection.Run("read_chain", revision);
    chain = result.empty() ? std::nullopt : std::optional(postgres::ParseBytes(result[0][0].c_str()));
  });
  if (!status.ok()) return status;
  return chain;
}

absl::StatusOr<LogPage> PostgresKeyStore::RenewLease(const Heartbeat& beat, int64_t cursor, int limit) {
  // Not by OnConnection: one message on one session. The caller anchors a lease at the time it called; what another
  // session would say later is for the next call.
  ConnectionPool::PooledConnection lease = pool_->Borrow();
  if (!lease) return errors::DatabaseUnavailable();
  const int notices_before = lease->notices();
  std::vector<std::string> organizations, revisions;
  for (const auto& [organization, revision] : beat.acknowledged.behind) {
    organizations.push_back(organization);
    revisions.push_back(absl::StrCat(revision));
  }
  try {
    const pqxx::result result =
        lease->Run("renew_lease", cursor, limit, postgres::Text(beat.replica), beat.applied_revision,
                   beat.acknowledged.oldest(), beat.acknowledged.others, postgres::ArrayText(organizations),
                   postgres::ArrayText(revisions), absl::BytesToHexString(beat.chain));
    // The only thing a commit warns of is that it was not replicated as the operator asked: it may yet be lost.
    if (lease->notices() != notices_before) {
      lease.Drop();
      return errors::OutcomeUnknown();
    }
    LogPage page = PageFrom(result, 1);
    const bool written = result.at(0)[0].as<int64_t>() == 1;
    // The beat was refused by the log or by the want of a row of its own; the page tells which.
    if (!written && (beat.chain.empty() || StartsAt(page, {cursor, beat.chain}))) return errors::ReplicaForgotten();
    return page;
  } catch (...) {
    const SqlFailure failure = postgres::FailureOf(std::current_exception(), lease->open());
    const bool in_doubt = lease->warned_of_replication();
    // Whatever it was, this session may be on a primary of the past.
    lease.Drop();
    return in_doubt ? errors::OutcomeUnknown() : failure.ToStatus("renewing the lease");
  }
}

}  // namespace latchkey::storage
