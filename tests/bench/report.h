#pragma once

#include <map>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace latchkey::bench {

// One number of one row, round by round. NaN where a round has none.
struct Series {
  std::vector<double> rounds;
  double Median() const;
  double Min() const;
  double Max() const;
};

// The ratio of two series, round by round, so that what disturbed both cancels out.
Series operator/(const Series& a, const Series& b);
Series operator+(const Series& a, const Series& b);

// Everything that was measured: row → number ("rate", "p50_us", ...) → rounds.
using Rows = std::map<std::string, std::map<std::string, Series>>;

// "12.3k [11.9k..12.8k]"
std::string Show(const Series& series, double scale = 1, const char* format = "%.2f");

// CPU model, cores, commit (if git knows), date, seconds, rounds.
nlohmann::ordered_json DescribeRun(double seconds, int rounds);
nlohmann::ordered_json ToJson(const Rows& rows);

// A table with the columns aligned; the first row is its head.
void PrintTable(const std::string& title, const std::vector<std::vector<std::string>>& lines);

}  // namespace latchkey::bench
