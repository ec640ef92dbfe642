#pragma once

#include <memory>
#include <string>

#include "server/app/dev/embedded_postgres.h"

// One private PostgreSQL for the test executable, made on first use and stopped at its end. A machine without
// PostgreSQL fails the tests that need it; nothing is ever skipped.
//
// A ring's executable that needs a database has this as its main.cc:
//
//   #include "tests/support/postgres_environment.h"
//   int main(int argc, char** argv) { return latchkey::testing::RunWithPostgres(argc, argv); }
namespace latchkey::testing {

// Runs the tests.
int RunWithPostgres(int argc, char** argv);

// An empty database of its own for one test: a libpq connection string. They live until the executable ends. Fails the
// test and returns "" if it cannot be made. Thread-safe.
std::string FreshDatabase();

// A PostgreSQL of one test's own, for killing it. `durable` as in EmbeddedPostgres::Options. Aborts if it cannot start.
std::unique_ptr<app::EmbeddedPostgres> StartPostgres(const std::string& directory, bool durable = false);

// Runs one statement; fails the test if it does not succeed. Returns the first column of the first row, "" if there is
// none.
std::string RunSql(const std::string& connection_string, const std::string& statement);

// The path of the Unix socket that a connection string of EmbeddedPostgres leads to, and the same database through a
// port of 127.0.0.1 that forwards to it (tests/support/tcp_proxy.h).
std::string SocketOf(const std::string& connection_string);
std::string ThroughPort(const std::string& connection_string, int port);

}  // namespace latchkey::testing
