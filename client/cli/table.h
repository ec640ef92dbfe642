#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace latchkey::cli {

// Table of text in aligned columns, for people. Every cell is made printable (client/core/text.h), so that what
// somebody stored as a name can't drive the reader's terminal.
class Table {
 public:
  explicit Table(std::vector<std::string> heading);
  // As many cells as the heading has.
  void AddRow(const std::vector<std::string>& cells);
  // A line each, the heading first; no spaces at line ends.
  std::string ToString() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

// "name   value" lines, names aligned, values made printable.
std::string Sheet(const std::vector<std::pair<std::string, std::string>>& lines);

// Roughly how many terminal columns `text` (valid UTF-8) takes: combining marks none, East Asian wide characters and
// emoji two, everything else one.
size_t DisplayColumns(std::string_view text);

// `text` (valid UTF-8) if it takes at most `columns` (from 1), otherwise as much of its beginning as fits before "…".
std::string Shortened(std::string_view text, size_t columns);

}  // namespace latchkey::cli
