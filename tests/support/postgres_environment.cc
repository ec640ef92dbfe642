#include "tests/support/postgres_environment.h"

#include <gtest/gtest.h>
#include <libpq-fe.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "tests/support/temp_directory.h"

namespace latchkey::testing {
namespace {

// What the executable's tests share. Made by the first that asks, so that a run without any makes none.
class SharedPostgres : public ::testing::Environment {
 public:
  // nullptr, and the test fails, if it cannot be had.
  app::EmbeddedPostgres* Get() {
    std::lock_guard lock(mutex_);
    if (directory_ == nullptr) {
      directory_ = std::make_unique<TempDirectory>();
      started_ = app::EmbeddedPostgres::Start({.directory = directory_->Child("postgres"), .durable = false});
    }
    EXPECT_TRUE(started_.ok()) << started_.status();
    return started_.ok() ? started_->get() : nullptr;
  }
  void TearDown() override {
    started_ = absl::UnavailableError("stopped");
    directory_.reset();
  }

 private:
  std::mutex mutex_;
  std::unique_ptr<TempDirectory> directory_;
  absl::StatusOr<std::unique_ptr<app::EmbeddedPostgres>> started_;
};

SharedPostgres* shared = nullptr;

std::string Parameter(const std::string& connection_string, const std::string& keyword) {
  PQconninfoOption* const options = PQconninfoParse(connection_string.c_str(), nullptr);
  std::string value;
  for (const PQconninfoOption* option = options; option != nullptr && option->keyword != nullptr; ++option) {
    if (option->keyword == keyword && option->val != nullptr) value = option->val;
  }
  PQconninfoFree(options);
  EXPECT_NE(value, "") << "no " << keyword << " in " << connection_string;
  return value;
}

}  // namespace

int RunWithPostgres(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  shared = new SharedPostgres();  // Owned by gtest from here.
  ::testing::AddGlobalTestEnvironment(shared);
  return RUN_ALL_TESTS();
}

std::string FreshDatabase() {
  static std::atomic<int> count = 0;
  if (shared == nullptr) {
    ADD_FAILURE() << "no PostgreSQL: this executable's main() must be RunWithPostgres";
    return "";
  }
  app::EmbeddedPostgres* const postgres = shared->Get();
  if (postgres == nullptr) return "";
  const std::string name = absl::StrCat("test_", ++count);
  RunSql(postgres->ConnectionString("postgres"), absl::StrCat("CREATE DATABASE ", name));
  return postgres->ConnectionString(name);
}

std::unique_ptr<app::EmbeddedPostgres> StartPostgres(const std::string& directory, bool durable) {
  absl::StatusOr<std::unique_ptr<app::EmbeddedPostgres>> started =
      app::EmbeddedPostgres::Start({.directory = directory, .durable = durable});
  if (!started.ok()) {
    fprintf(stderr, "%s\n", std::string(started.status().message()).c_str());
    abort();
  }
  return *std::move(started);
}

std::string RunSql(const std::string& connection_string, const std::string& statement) {
  PGconn* connection = PQconnectdb(connection_string.c_str());
  PGresult* result = PQexec(connection, statement.c_str());
  const ExecStatusType status = PQresultStatus(result);
  EXPECT_TRUE(status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK)
      << statement << ": " << PQerrorMessage(connection);
  const std::string value = status == PGRES_TUPLES_OK && PQntuples(result) > 0 ? PQgetvalue(result, 0, 0) : "";
  PQclear(result);
  PQfinish(connection);
  return value;
}

std::string SocketOf(const std::string& connection_string) {
  return absl::StrCat(Parameter(connection_string, "host"), "/.s.PGSQL.", Parameter(connection_string, "port"));
}

std::string ThroughPort(const std::string& connection_string, int port) {
  return absl::StrCat("host=127.0.0.1 port=", port, " user=", Parameter(connection_string, "user"),
                      " dbname=", Parameter(connection_string, "dbname"), " sslmode=disable gssencmode=disable");
}

}  // namespace latchkey::testing
