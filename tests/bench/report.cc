#include "tests/bench/report.h"

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <thread>

namespace latchkey::bench {
namespace {

template <typename Fn>
Series Combine(const Series& a, const Series& b, const Fn& fn) {
  Series out;
  for (size_t i = 0; i < std::min(a.rounds.size(), b.rounds.size()); ++i) {
    out.rounds.push_back(fn(a.rounds[i], b.rounds[i]));
  }
  return out;
}

std::string OutputOf(const char* command) {
  std::string text;
  FILE* const pipe = popen(command, "r");
  if (pipe == nullptr) return text;
  char buffer[256];
  while (std::fgets(buffer, sizeof(buffer), pipe) != nullptr) text += buffer;
  pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

std::string CpuModel() {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  }
  return "unknown";
}

// Visible characters: UTF-8 continuation bytes take no place.
size_t WidthOf(const std::string& text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; });
}

}  // namespace

double Series::Median() const {
  if (rounds.empty()) return 0;
  std::vector<double> sorted = rounds;
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
double Series::Min() const { return rounds.empty() ? 0 : *std::min_element(rounds.begin(), rounds.end()); }
double Series::Max() const { return rounds.empty() ? 0 : *std::max_element(rounds.begin(), rounds.end()); }

Series operator/(const Series& a, const Series& b) {
  return Combine(a, b, [](double x, double y) { return x / y; });
}
Series operator+(const Series& a, const Series& b) {
  return Combine(a, b, [](double x, double y) { return x + y; });
}

std::string Show(const Series& series, double scale, const char* format) {
  char median[32], low[32], high[32];
  std::snprintf(median, sizeof(median), format, series.Median() * scale);
  std::snprintf(low, sizeof(low), format, series.Min() * scale);
  std::snprintf(high, sizeof(high), format, series.Max() * scale);
  return std::string(median) + " [" + low + ".." + high + "]";
}

nlohmann::ordered_json DescribeRun(double seconds, int rounds) {
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%SZ", std::gmtime(&now));
  const std::string commit =
      OutputOf("git -C '" LATCHKEY_SOURCE_DIR "' describe --always --dirty --abbrev=40 2>/dev/null");
  return {{"date", date},
          {"commit", commit.empty() ? "unknown" : commit},
          {"machine", {{"cores", std::thread::hardware_concurrency()}, {"cpu", CpuModel()}}},
          {"build", LATCHKEY_BUILD_TYPE},
          {"seconds", seconds},
          {"rounds", rounds}};
}

nlohmann::ordered_json ToJson(const Rows& rows) {
  nlohmann::ordered_json out;
  for (const auto& [row, numbers] : rows) {
    for (const auto& [number, series] : numbers) {
      out[row][number] = {
          {"median", series.Median()}, {"min", series.Min()}, {"max", series.Max()}, {"rounds", series.rounds}};
    }
  }
  return out;
}

void PrintTable(const std::string& title, const std::vector<std::vector<std::string>>& lines) {
  std::vector<size_t> widths;
  for (const auto& line : lines) {
    widths.resize(std::max(widths.size(), line.size()));
    for (size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], WidthOf(line[i]));
  }
  std::printf("\n%s\n", title.c_str());
  for (const auto& line : lines) {
    std::string text;
    for (size_t i = 0; i < line.size(); ++i) {
      if (i > 0) text += "  ";
      text += line[i];
      if (i + 1 < line.size()) text += std::string(widths[i] - WidthOf(line[i]), ' ');
    }
    std::printf("%s\n", text.c_str());
  }
}

}  // namespace latchkey::bench
