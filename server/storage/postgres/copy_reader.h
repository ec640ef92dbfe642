#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"

namespace latchkey::storage::postgres {

// Reads the messages of COPY … TO STDOUT (FORMAT binary), see "Binary Format" in PostgreSQL's manual on COPY: no
// escapes, no numbers in decimal, and times as PostgreSQL keeps them. Throws UnreadableRow on what is not that format.
class CopyReader {
 public:
  CopyReader() = default;
  // Of some fields without a row before them: the Rest() of another.
  static CopyReader OfFields(std::string_view fields);

  // Goes to the row in `message`, which must outlive the reading of its fields; false if it holds none.
  bool Next(std::string_view message);

  // The next field of the row.
  std::optional<std::string_view> Field();  // nullopt if NULL.
  std::string_view Text();                  // Not NULL, like those below. Or a bytea.
  bool Bool();
  absl::Time Time();  // A timestamptz, within the years of time_range.h or infinite.
  // The fields that were not read yet.
  std::string_view Rest() const { return rest_; }

  static int32_t Int32From(std::string_view field);

 private:
  std::string_view Take(size_t size);

  bool in_header_ = true;
  std::string_view rest_;
};

// The strings in a flat JSON array or object of strings as PostgreSQL prints it, in its order: for an object name,
// value, name, ... Unescapes `json` in place; the views point into it. `strings` is overwritten. Throws UnreadableRow.
void JsonStrings(std::string& json, std::vector<std::string_view>& strings);

}  // namespace latchkey::storage::postgres
