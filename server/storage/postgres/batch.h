#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "server/storage/postgres/connection.h"

namespace latchkey::storage::postgres {

// Statements that go to the database in one message, one round trip, each with what is done with its result.
class Batch {
 public:
  // What is done when all of them have run; may throw.
  using Take = std::function<void(const pqxx::result& rows)>;

  explicit Batch(Connection& connection) : connection_(connection) {}

  // Any SQL of one statement.
  void Add(std::string sql) { Push(std::move(sql), nullptr); }
  // One of statements.h.
  void Add(const char* statement, const std::vector<std::string>& arguments, Take take = nullptr) {
    Push(connection_.Execute(statement, arguments), std::move(take));
  }

  // Runs them in order; the first that fails is thrown, and none after it is run. Then it is empty again.
  void Run() {
    const std::vector<pqxx::result> results = connection_.ExecAll(std::exchange(statements_, {}));
    const std::vector<Take> takes = std::exchange(takes_, {});
    for (size_t i = 0; i < results.size(); ++i) {
      if (takes[i]) takes[i](results[i]);
    }
  }

 private:
  void Push(std::string sql, Take take) {
    statements_.push_back(std::move(sql));
    takes_.push_back(std::move(take));
  }

  Connection& connection_;
  std::vector<std::string> statements_;
  std::vector<Take> takes_;
};

}  // namespace latchkey::storage::postgres
