#include "client/cli/output.h"

#include <cstdio>
#include <map>
#include <utility>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/table.h"
#include "client/core/redaction.h"
#include "client/core/resource_names.h"
#include "client/core/text.h"
#include "client/src/convert.h"
#include "google/protobuf/util/json_util.h"
#include "google/rpc/error_details.pb.h"

namespace latchkey::cli {
namespace {

template <typename Detail>
bool ReadDetail(const absl::Status& error, const char* url, Detail& detail) {
  const auto payload = error.GetPayload(url);
  return payload.has_value() && detail.ParseFromString(std::string(*payload));
}

std::string ReasonOf(const absl::Status& error) {
  google::rpc::ErrorInfo info;
  return ReadDetail(error, client::kErrorInfoUrl, info) ? info.reason() : "";
}

}  // namespace

std::string ErrorText(const absl::Status& error) {
  std::string text = absl::StrCat("latchkey: ", core::Printable(core::Redacted(std::string(error.message()))), " (",
                                  absl::StatusCodeToString(error.code()));
  if (const std::string reason = ReasonOf(error); !reason.empty())
    absl::StrAppend(&text, ", ", core::Printable(reason));
  text += ")\n";
  google::rpc::BadRequest fields;
  if (ReadDetail(error, client::kBadRequestUrl, fields)) {
    for (const auto& violation : fields.field_violations()) {
      absl::StrAppend(&text, "  ", core::Printable(violation.field()), ": ", core::Printable(violation.description()),
                      "\n");
    }
  }
  return text;
}

int ExitCodeFor(const absl::Status& error) {
  // Only Latchkey's own errors have a reason: the others are of this program, of gRPC or of a proxy on the way.
  if (ReasonOf(error).empty()) return kTrouble;
  switch (error.code()) {
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kNotFound:
    case absl::StatusCode::kAlreadyExists:
    case absl::StatusCode::kPermissionDenied:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kAborted:
    case absl::StatusCode::kOutOfRange:
      return kRefused;
    default:
      return kTrouble;
  }
}

int Fail(const absl::Status& error) {
  std::fputs(ErrorText(error).c_str(), stderr);
  return ExitCodeFor(error);
}

bool Print(std::string_view text) {
  return std::fwrite(text.data(), 1, text.size(), stdout) == text.size() && std::fflush(stdout) == 0;
}

std::string ToJson(const google::protobuf::Message& response) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  std::string json;
  // Fails only for messages that hold an Any of an unknown type; no response has one.
  if (!google::protobuf::util::MessageToJsonString(response, &json, options).ok()) return "{}\n";
  if (json.empty() || json.back() != '\n') json += '\n';
  return json;
}

std::string TimeText(bool is_set, const google::protobuf::Timestamp& time, std::string_view unset) {
  if (!is_set) return std::string(unset);
  return absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", absl::FromUnixSeconds(time.seconds()), absl::UTCTimeZone());
}

std::string StateText(v1::Key::State state) {
  const std::string name = v1::Key::State_Name(state);
  return name.starts_with("STATE_") ? name.substr(6) : "UNKNOWN";
}

std::string ShortKeyName(std::string_view name) {
  const auto parsed = core::ParseKeyName(name);
  return parsed ? absl::StrCat(parsed->organization, "/", parsed->kid) : std::string(name);
}

std::string LastSegment(std::string_view name) { return std::string(name.substr(name.rfind('/') + 1)); }

std::string KeySheet(const v1::Key& key) {
  std::vector<std::pair<std::string, std::string>> lines = {
      {"key", ShortKeyName(key.name())}, {"name", key.display_name()}, {"role", key.role()},
      {"state", StateText(key.state())}, {"hint", key.key_hint()},
  };
  if (!key.owner().empty()) lines.emplace_back("owner", key.owner());
  if (!key.description().empty()) lines.emplace_back("description", key.description());
  for (const auto& [name, value] : std::map<std::string, std::string>(key.labels().begin(), key.labels().end())) {
    lines.emplace_back("label", absl::StrCat(name, "=", value));
  }
  lines.emplace_back("created", TimeText(key.has_create_time(), key.create_time(), "-"));
  lines.emplace_back("creator",
                     key.creator().find('/') == std::string::npos ? key.creator() : ShortKeyName(key.creator()));
  lines.emplace_back("expires", TimeText(key.has_expire_time(), key.expire_time(), "never"));
  lines.emplace_back("last used", TimeText(key.has_last_used_time(), key.last_used_time(), "-"));
  if (key.state() == v1::Key::STATE_DELETED) {
    lines.emplace_back("deleted", TimeText(key.has_delete_time(), key.delete_time(), "-"));
    const std::string reason = v1::Reason_Name(key.delete_reason());
    if (key.delete_reason() != v1::REASON_UNSPECIFIED)
      lines.emplace_back("reason", reason.substr(reason.find('_') + 1));
    lines.emplace_back("gone after", TimeText(key.has_purge_time(), key.purge_time(), "-"));
  }
  return Sheet(lines);
}

}  // namespace latchkey::cli
