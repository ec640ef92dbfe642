#include "client/cli/table.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "client/core/text.h"

namespace latchkey::cli {
namespace {

struct Range {
  uint32_t first;
  uint32_t last;
};

constexpr Range kWide[] = {{0x1100, 0x115F},   {0x2E80, 0x303E},   {0x3041, 0xA4CF},   {0xAC00, 0xD7A3},
                           {0xF900, 0xFAFF},   {0xFE30, 0xFE6F},   {0xFF00, 0xFF60},   {0xFFE0, 0xFFE6},
                           {0x1F300, 0x1F64F}, {0x1F680, 0x1F6FF}, {0x1F900, 0x1FAFF}, {0x20000, 0x3FFFD}};
constexpr Range kNoWidth[] = {{0x0300, 0x036F}, {0x0591, 0x05BD}, {0x064B, 0x065F}, {0x1AB0, 0x1AFF},
                              {0x200B, 0x200F}, {0x20D0, 0x20FF}, {0xFE00, 0xFE0F}, {0xE0100, 0xE01EF}};

template <size_t kSize>
bool In(const Range (&ranges)[kSize], uint32_t point) {
  return std::any_of(std::begin(ranges), std::end(ranges),
                     [point](const Range& range) { return point >= range.first && point <= range.last; });
}

// Takes one code point off the front of valid UTF-8.
uint32_t TakePoint(std::string_view& text) {
  const auto lead = static_cast<unsigned char>(text[0]);
  const size_t size = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
  uint32_t point = size == 1 ? lead : lead & (0x7F >> size);
  for (size_t i = 1; i < size && i < text.size(); ++i) point = (point << 6) | (text[i] & 0x3F);
  text.remove_prefix(std::min(size, text.size()));
  return point;
}

std::string Padded(const std::string& text, size_t columns) {
  const size_t taken = DisplayColumns(text);
  return text + std::string(columns > taken ? columns - taken : 0, ' ');
}

}  // namespace

size_t DisplayColumns(std::string_view text) {
  size_t columns = 0;
  while (!text.empty()) {
    const uint32_t point = TakePoint(text);
    columns += In(kNoWidth, point) ? 0 : In(kWide, point) ? 2 : 1;
  }
  return columns;
}

std::string Shortened(std::string_view text, size_t columns) {
  if (DisplayColumns(text) <= columns) return std::string(text);
  std::string_view rest = text;
  size_t taken = 0;
  size_t bytes = 0;
  while (!rest.empty()) {
    const uint32_t point = TakePoint(rest);
    taken += In(kNoWidth, point) ? 0 : In(kWide, point) ? 2 : 1;
    if (taken >= columns) break;
    bytes = text.size() - rest.size();
  }
  return std::string(text.substr(0, bytes)) + "…";
}

Table::Table(std::vector<std::string> heading) : rows_{std::move(heading)} {}

void Table::AddRow(const std::vector<std::string>& cells) {
  std::vector<std::string> row;
  for (const std::string& cell : cells) row.push_back(core::Printable(cell));
  row.resize(rows_.front().size());
  rows_.push_back(std::move(row));
}

std::string Table::ToString() const {
  std::vector<size_t> widths(rows_.front().size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], DisplayColumns(row[i]));
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) line += Padded(row[i], widths[i] + 2);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string Sheet(const std::vector<std::pair<std::string, std::string>>& lines) {
  size_t width = 0;
  for (const auto& line : lines) width = std::max(width, DisplayColumns(line.first));
  std::string text;
  for (const auto& [name, value] : lines) text += Padded(name, width + 2) + core::Printable(value) + "\n";
  return text;
}

}  // namespace latchkey::cli
