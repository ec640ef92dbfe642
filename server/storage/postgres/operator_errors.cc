#include "server/storage/postgres/operator_errors.h"

#include <libpq-fe.h>

#include <memory>
#include <string_view>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "server/base/errors.h"

namespace latchkey::storage::postgres {
namespace {

struct Parsed {
  std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options = {nullptr, &PQconninfoFree};
  std::string error;  // If there are no options.
};

Parsed Parse(const std::string& connection_string) {
  Parsed parsed;
  char* error = nullptr;
  parsed.options.reset(PQconninfoParse(connection_string.c_str(), &error));
  if (parsed.options == nullptr) parsed.error = error == nullptr ? "out of memory" : error;
  PQfreemem(error);
  return parsed;
}

// From the first quotation to the end of the last: what is quoted may hold quotation marks itself.
std::string WithoutQuotations(const std::string& text) {
  size_t from = text.find('"');
  while (from != std::string::npos &&
         (absl::StartsWith(text.substr(from), "\"=\"") || absl::StartsWith(text.substr(from), "\"]\""))) {
    from = text.find('"', from + 3);
  }
  if (from == std::string::npos) return text;
  // The one name at the end that is always libpq's own.
  size_t to = text.rfind("\" for connection option \"");
  if (to == std::string::npos || to <= from) to = text.rfind('"');
  return absl::StrCat(text.substr(0, from), "\"...\"", text.substr(to + 1));
}

// An unescaped @ or / in a URI's password makes libpq take the rest of it for a host or a database.
bool MayHoldPassword(const std::string& connection_string) {
  const Parsed parsed = Parse(connection_string);
  if (parsed.options == nullptr) return true;
  for (const PQconninfoOption* option = parsed.options.get(); option->keyword != nullptr; ++option) {
    const std::string_view name = option->keyword;
    if ((name == "host" || name == "hostaddr" || name == "port" || name == "dbname") && option->val != nullptr &&
        absl::StrContains(option->val, "@")) {
      return true;
    }
  }
  return false;
}

}  // namespace

absl::Status ParseConnectionString(const std::string& connection_string) {
  const Parsed parsed = Parse(connection_string);
  if (parsed.options != nullptr) return absl::OkStatus();
  // A NUL or a newline may be part of what is quoted, so lines are joined before anything is cut.
  const std::vector<std::string> lines = absl::StrSplit(parsed.error, '\n', absl::SkipWhitespace());
  return absl::FailedPreconditionError(
      absl::StrCat("the database's connection string can't be parsed: ", WithoutQuotations(absl::StrJoin(lines, " ")),
                   " (its parts are not shown, they may hold the password)"));
}

absl::Status CannotConnect(const std::string& connection_string, const std::string& libpq_text) {
  std::vector<std::string> lines;
  if (MayHoldPassword(connection_string)) {
    lines.push_back(
        "libpq's reason is not shown, it may hold the password: the host or the database has an @ in its name, is the "
        "password percent-encoded?");
  } else {
    for (const auto line : absl::StrSplit(libpq_text, '\n', absl::SkipWhitespace())) {
      std::string text(absl::StripAsciiWhitespace(line));
      // These quote where it connects to and what the server answers; others quote settings, which a password without
      // its @host may be taken for.
      const bool of_server =
          absl::StartsWith(text, "connection to server ") || absl::StartsWith(text, "could not translate host name ");
      lines.push_back(of_server ? std::move(text) : WithoutQuotations(text));
    }
  }
  const absl::Status catalogued = errors::DatabaseUnavailable();
  absl::Status status(catalogued.code(), absl::StrCat("can't connect to the database: ", absl::StrJoin(lines, "; ")));
  catalogued.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) { status.SetPayload(url, payload); });
  return status;
}

}  // namespace latchkey::storage::postgres
