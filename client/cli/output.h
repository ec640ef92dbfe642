#pragma once

#include <string>
#include <string_view>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "latchkey/v1/resources.pb.h"

namespace latchkey::cli {

// Exit codes of every command. `verify` alone gives them meanings of its own (verify_command.cc).
inline constexpr int kOk = 0;
inline constexpr int kRefused = 1;  // The server understood who asked for what, and refused it.
inline constexpr int kTrouble = 2;  // A mistake on the command line, credentials not accepted, or no answer.

// An error for stderr: "latchkey: MESSAGE (CODE, REASON)" and an indented line for each field that was wrong. REASON is
// google.rpc.ErrorInfo's; without one there is none. Printable, ends with a newline.
std::string ErrorText(const absl::Status& error);

// kRefused if the server's error catalogue answered with INVALID_ARGUMENT, NOT_FOUND, ALREADY_EXISTS,
// PERMISSION_DENIED, FAILED_PRECONDITION, ABORTED or OUT_OF_RANGE; kTrouble otherwise.
int ExitCodeFor(const absl::Status& error);

// Prints ErrorText to stderr and returns ExitCodeFor.
int Fail(const absl::Status& error);

// Writes to stdout and flushes; false if not all of it could be written.
bool Print(std::string_view text);

// `response` as protojson (lowerCamelCase names, default values included) and a newline. Only for what goes to stdout.
std::string ToJson(const google::protobuf::Message& response);

// "2030-01-02T03:04:05Z"; `unset` if the timestamp is not set.
std::string TimeText(bool is_set, const google::protobuf::Timestamp& time, std::string_view unset);
// "ACTIVE", "DELETED", ...
std::string StateText(v1::Key::State state);
// "acme/0123456789ABCDEF" for a key's resource name: what KEY takes.
std::string ShortKeyName(std::string_view name);
// "acme" for "organizations/acme", "editor" for "organizations/acme/roles/editor".
std::string LastSegment(std::string_view name);
// A key in full, for people.
std::string KeySheet(const v1::Key& key);

}  // namespace latchkey::cli
