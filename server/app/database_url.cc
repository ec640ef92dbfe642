#include "server/app/database_url.h"

#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/app/files.h"
#include "server/storage/postgres/migrations.h"

namespace latchkey::app {

absl::StatusOr<std::string> ReadDatabaseUrl(const std::string& path) {
  const absl::StatusOr<core::Secret> text = ReadSecretFile(path);
  if (!text.ok()) {
    return absl::FailedPreconditionError(absl::StrCat("--database-url-file: ", std::string(text.status().message())));
  }
  std::string url(text->Expose());
  absl::StripAsciiWhitespace(&url);
  if (url.empty() || url.find('\n') != std::string::npos) {
    return absl::FailedPreconditionError(
        absl::StrCat("--database-url-file: ", path, ": wanted one line with a PostgreSQL connection string"));
  }
  // A string that libpq can't read will not get better by waiting.
  if (const absl::Status readable = storage::CheckConnectionString(url); !readable.ok()) {
    return absl::FailedPreconditionError(
        absl::StrCat("--database-url-file: ", path, ": ", std::string(readable.message())));
  }
  return url;
}

}  // namespace latchkey::app
