#include "server/storage/postgres/copy_reader.h"

#include <limits>

#include "server/model/time_range.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

constexpr std::string_view kSignature("PGCOPY\n\377\r\n\0", 11);
constexpr int64_t kMicrosFrom1970To2000 = 946'684'800'000'000;

uint64_t BigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (const char byte : bytes) value = value << 8 | static_cast<unsigned char>(byte);
  return value;
}

[[noreturn]] void Refuse() { throw UnreadableRow("not COPY's binary format"); }

[[noreturn]] void RefuseJson() { throw UnreadableRow("not flat JSON"); }

void AppendUtf8(unsigned code, char*& out) {
  if (code < 0x80) {
    *out++ = static_cast<char>(code);
  } else if (code < 0x800) {
    *out++ = static_cast<char>(0xc0 | code >> 6);
    *out++ = static_cast<char>(0x80 | (code & 0x3f));
  } else {
    RefuseJson();  // jsonb keeps those as they are; only control characters come escaped.
  }
}

// `in` is after a backslash; writes what it stands for.
void Unescape(const char*& in, const char* end, char*& out) {
  switch (*in++) {
    case 'b':
      *out++ = '\b';
      return;
    case 'f':
      *out++ = '\f';
      return;
    case 'n':
      *out++ = '\n';
      return;
    case 'r':
      *out++ = '\r';
      return;
    case 't':
      *out++ = '\t';
      return;
    case '"':
    case '\\':
    case '/':
      *out++ = in[-1];
      return;
    case 'u': {
      if (end - in < 4) RefuseJson();
      unsigned code = 0;
      for (int i = 0; i < 4; ++i) {
        const char c = *in++;
        const bool digit = c >= '0' && c <= '9';
        const char lower = static_cast<char>(c | 0x20);
        if (!digit && (lower < 'a' || lower > 'f')) RefuseJson();
        code = code << 4 | static_cast<unsigned>(digit ? c - '0' : lower - 'a' + 10);
      }
      AppendUtf8(code, out);
      return;
    }
    default:
      RefuseJson();
  }
}

}  // namespace

CopyReader CopyReader::OfFields(std::string_view fields) {
  CopyReader reader;
  reader.in_header_ = false;
  reader.rest_ = fields;
  return reader;
}

std::string_view CopyReader::Take(size_t size) {
  if (rest_.size() < size) Refuse();
  const std::string_view taken = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return taken;
}

bool CopyReader::Next(std::string_view message) {
  rest_ = message;
  if (in_header_) {
    if (Take(kSignature.size()) != kSignature) Refuse();
    Take(4);  // Flags: none that concern us.
    Take(BigEndian(Take(4)));
    in_header_ = false;
    if (rest_.empty()) return false;
  }
  constexpr uint64_t kTrailer = 0xffff;
  return BigEndian(Take(2)) != kTrailer;
}

std::optional<std::string_view> CopyReader::Field() {
  const auto size = static_cast<int32_t>(BigEndian(Take(4)));
  if (size < 0) return std::nullopt;
  return Take(static_cast<size_t>(size));
}

std::string_view CopyReader::Text() {
  const std::optional<std::string_view> field = Field();
  if (!field.has_value()) Refuse();
  return *field;
}

int32_t CopyReader::Int32From(std::string_view bytes) {
  if (bytes.size() != 4) Refuse();
  return static_cast<int32_t>(BigEndian(bytes));
}

bool CopyReader::Bool() {
  const std::string_view bytes = Text();
  if (bytes.size() != 1) Refuse();
  return bytes[0] != 0;
}

absl::Time CopyReader::Time() {
  const std::string_view bytes = Text();
  if (bytes.size() != 8) Refuse();
  const auto micros = static_cast<int64_t>(BigEndian(bytes));
  if (micros == std::numeric_limits<int64_t>::max()) return absl::InfiniteFuture();
  if (micros == std::numeric_limits<int64_t>::min()) return absl::InfinitePast();
  if (micros < keys::kFirstMicrosecond - kMicrosFrom1970To2000 ||
      micros > keys::kLastMicrosecond - kMicrosFrom1970To2000) {
    throw UnreadableRow(keys::kWantedTime);
  }
  return absl::FromUnixMicros(micros + kMicrosFrom1970To2000);
}

void JsonStrings(std::string& json, std::vector<std::string_view>& strings) {
  strings.clear();
  const char* in = json.data();
  const char* const end = in + json.size();
  char* out = json.data();
  while (in < end) {
    if (*in++ != '"') continue;
    const char* const start = out;
    while (true) {
      if (in == end) RefuseJson();
      const char c = *in++;
      if (c == '"') break;
      if (c != '\\') {
        *out++ = c;
      } else if (in < end) {
        Unescape(in, end, out);
      }
    }
    strings.emplace_back(start, static_cast<size_t>(out - start));
  }
}

}  // namespace latchkey::storage::postgres
