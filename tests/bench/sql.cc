#include "tests/bench/sql.h"

#include <libpq-fe.h>

#include <cstdio>
#include <cstdlib>

namespace latchkey::bench {

Sql::Sql(const std::string& connection_string) : connection_(PQconnectdb(connection_string.c_str())) {
  Require(PQstatus(connection_) == CONNECTION_OK);
}

Sql::~Sql() { PQfinish(connection_); }

void Sql::Require(bool good) {
  if (good) return;
  std::fprintf(stderr, "bench: PostgreSQL: %s\n", PQerrorMessage(connection_));
  std::abort();
}

std::string Sql::Run(const std::string& statement) {
  PGresult* const result = PQexec(connection_, statement.c_str());
  const ExecStatusType status = PQresultStatus(result);
  Require(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK);
  const std::string value = PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  PQclear(result);
  return value;
}

void Sql::CopyIn(const std::string& statement, const std::function<bool(std::string& line)>& next) {
  PGresult* const began = PQexec(connection_, statement.c_str());
  Require(PQresultStatus(began) == PGRES_COPY_IN);
  PQclear(began);
  std::string line;
  while (next(line)) {
    Require(PQputCopyData(connection_, line.data(), static_cast<int>(line.size())) == 1);
    line.clear();
  }
  Require(PQputCopyEnd(connection_, nullptr) == 1);
  while (PGresult* const result = PQgetResult(connection_)) {
    Require(PQresultStatus(result) == PGRES_COMMAND_OK);
    PQclear(result);
  }
}

int64_t Sql::CopyOut(const std::string& statement) {
  PGresult* const began = PQexec(connection_, statement.c_str());
  Require(PQresultStatus(began) == PGRES_COPY_OUT);
  PQclear(began);
  int64_t lines = 0;
  char* line = nullptr;
  while (PQgetCopyData(connection_, &line, 0) > 0) {
    ++lines;
    PQfreemem(line);
  }
  while (PGresult* const result = PQgetResult(connection_)) {
    Require(PQresultStatus(result) == PGRES_COMMAND_OK);
    PQclear(result);
  }
  return lines;
}

}  // namespace latchkey::bench
