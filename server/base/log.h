#pragma once

#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

// The one logger: a JSON object a line on stderr, {"ts": RFC 3339 in UTC, "level", "msg", ...fields}.
//
//   log::Info("key created", {{"key", name}, {"ms", 12}});
//
// A last line of defence, not a licence: whatever looks like a key string loses everything after its kid, in messages
// and values alike. Lines are ASCII (other characters as \u escapes), so that no name drives a terminal. Thread-safe;
// flushed at once from warning up, otherwise within a second.
namespace latchkey::log {

enum class Level { kDebug, kInfo, kWarning, kError };

// A named value. Text is quoted and escaped, numbers and booleans are written as such.
class Field {
 public:
  Field(std::string name, const char* value) : Field(std::move(name), std::string(value)) {}
  Field(std::string name, std::string_view value) : Field(std::move(name), std::string(value)) {}
  Field(std::string name, std::string value) : name_(std::move(name)), text_(std::move(value)) {}
  Field(std::string name, bool value) : name_(std::move(name)), text_(value ? "true" : "false"), literal_(true) {}
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number> && !std::is_same_v<Number, bool>>>
  Field(std::string name, Number value)
      : name_(std::move(name)), text_(std::to_string(value)), literal_(std::isfinite(static_cast<double>(value))) {}

  const std::string& name() const { return name_; }
  const std::string& text() const { return text_; }
  // Written without quotes.
  bool literal() const { return literal_; }

 private:
  std::string name_;
  std::string text_;
  bool literal_ = false;
};

using Fields = std::vector<Field>;

// Lines below `level` are dropped; kInfo from the start.
void SetLevel(Level level);
bool Enabled(Level level);

void Write(Level level, std::string_view message, const Fields& fields = {});
inline void Debug(std::string_view message, const Fields& fields = {}) { Write(Level::kDebug, message, fields); }
inline void Info(std::string_view message, const Fields& fields = {}) { Write(Level::kInfo, message, fields); }
inline void Warning(std::string_view message, const Fields& fields = {}) { Write(Level::kWarning, message, fields); }
inline void Error(std::string_view message, const Fields& fields = {}) { Write(Level::kError, message, fields); }

// `text` with the part after the kid of everything that looks like a key string (`lk1_`, 16 base62, `_`, base62)
// replaced by "[redacted]". Total: never fails, keeps all other bytes.
std::string Redacted(std::string_view text);

// The members of a line after ts and level: "msg":"…","name":value,… What Write writes; for tests.
std::string Members(std::string_view message, const Fields& fields);

}  // namespace latchkey::log
