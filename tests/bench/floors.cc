#include "tests/bench/floors.h"

#include <libpq-fe.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "client/core/secret.h"
#include "tests/bench/load.h"

namespace latchkey::bench {
namespace {

constexpr int kRows = 10'000;

void Require(bool good, const std::string& what) {
  if (good) return;
  std::fprintf(stderr, "bench: %s\n", what.c_str());
  std::abort();
}

}  // namespace

Floors::Floors(const std::string& directory) : hashes_({.workers = 1, .profile = keys::OwaspProfile()}, clock_) {
  auto started = app::EmbeddedPostgres::Start({.directory = directory});
  Require(started.ok(), std::string(started.status().message()));
  postgres_ = *std::move(started);
  connection_ = PQconnectdb(postgres_->ConnectionString().c_str());
  Require(PQstatus(connection_) == CONNECTION_OK, PQerrorMessage(connection_));
  Run("CREATE TABLE rows (id text PRIMARY KEY, payload text NOT NULL, n bigint NOT NULL DEFAULT 0)");
  // As long as the hash that a verification selects.
  Run(absl::StrCat("INSERT INTO rows SELECT lpad(i::text, 16, '0'), repeat('x', 97) FROM generate_series(0, ",
                   kRows - 1, ") i"));
  Run("ANALYZE rows");
  Run("PREPARE point (text) AS SELECT payload, n FROM rows WHERE id = $1");
}

Floors::~Floors() { PQfinish(connection_); }

void Floors::Run(const std::string& sql) {
  PGresult* const result = PQexec(connection_, sql.c_str());
  const ExecStatusType status = PQresultStatus(result);
  PQclear(result);
  Require(status == PGRES_COMMAND_OK, PQerrorMessage(connection_));
}

int64_t Floors::Hash() {
  const core::Secret input = core::Secret::Random(32);
  const auto ticket = hashes_.Admit(absl::InfiniteDuration());
  Require(ticket.ok(), "no place in the hash pool");
  const int64_t began = NowNanoseconds();
  const bool good = hashes_.Hash(*ticket, input).ok();
  const int64_t took = NowNanoseconds() - began;
  Require(good, "a hash failed");
  return took;
}

int64_t Floors::PointSelect() {
  next_row_ = (next_row_ + 7919) % kRows;
  char id[17];
  std::snprintf(id, sizeof(id), "%016d", next_row_);
  const char* const values[] = {id};
  const int64_t began = NowNanoseconds();
  PGresult* const result = PQexecPrepared(connection_, "point", 1, values, nullptr, nullptr, 0);
  const int64_t took = NowNanoseconds() - began;
  const bool good = PQntuples(result) == 1;
  PQclear(result);
  Require(good, PQerrorMessage(connection_));
  return took;
}

int64_t Floors::Commit() {
  const int64_t began = NowNanoseconds();
  Run("BEGIN; UPDATE rows SET n = n + 1 WHERE id = '0000000000000000'; COMMIT");
  return NowNanoseconds() - began;
}

}  // namespace latchkey::bench
