#pragma once

#include <cstdint>
#include <functional>
#include <string>

struct pg_conn;

namespace latchkey::bench {

// One libpq connection. What fails aborts the process, with PostgreSQL's words on stderr.
class Sql {
 public:
  explicit Sql(const std::string& connection_string);
  ~Sql();
  Sql(const Sql&) = delete;
  Sql& operator=(const Sql&) = delete;

  // The first column of the first row; "" if there is none.
  std::string Run(const std::string& statement);
  // COPY ... FROM STDIN: `next` fills in a line in text format with its newline, and says false at the end.
  void CopyIn(const std::string& statement, const std::function<bool(std::string& line)>& next);
  // COPY ... TO STDOUT; returns how many lines came.
  int64_t CopyOut(const std::string& statement);

 private:
  void Require(bool good);
  pg_conn* const connection_;
};

}  // namespace latchkey::bench
