#include <fcntl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "client/core/secret.h"
#include "client/src/key_file.h"
#include "latchkey/v1/key_verify.pb.h"
#include "latchkey/verifier.h"

namespace latchkey::cli {
namespace {

struct VerifyOptions {
  std::string key_file;
  std::vector<std::string> permissions;
};

constexpr int kAllowed = 0;
constexpr int kDenied = 1;
constexpr int kUndecided = 2;

// Typing a key must not leave it on the screen.
class EchoOff {
 public:
  explicit EchoOff(int terminal) : terminal_(terminal) {
    if (tcgetattr(terminal_, &before_) != 0) return;
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = tcsetattr(terminal_, TCSAFLUSH, &silent) == 0;
  }
  ~EchoOff() {
    if (changed_) tcsetattr(terminal_, TCSAFLUSH, &before_);
  }

 private:
  const int terminal_;
  termios before_{};
  bool changed_ = false;
};

// What is under test need not be well-formed, nor its file private: it may come from a log or a pipe. Far more than a
// key's length is read, so that a long line is judged (malformed) and not cut into something else.
absl::StatusOr<core::Secret> ReadKeyUnderTest(const std::string& path) {
  const int file = path.empty() ? STDIN_FILENO : open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (file < 0) return absl::InvalidArgumentError(absl::StrCat("--key-file ", path, ": ", std::strerror(errno)));
  const absl::Cleanup close_file = [file, &path] {
    if (!path.empty()) close(file);
  };
  const bool terminal = isatty(file) == 1;
  if (terminal) std::fputs("Key string (not shown): ", stderr);
  const EchoOff silent(file);

  std::string text(4096, '\0');
  size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = read(file, text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error = errno;
      core::CleanseString(text);
      return absl::InvalidArgumentError(absl::StrCat("reading the key: ", std::strerror(error)));
    }
    if (got == 0) break;
    size += static_cast<size_t>(got);
    if (terminal && text[size - 1] == '\n') break;
  }
  if (terminal) std::fputs("\n", stderr);
  text.resize(size);
  client::DropLineEnd(text);
  // Most likely the command before the pipe failed, which says nothing about a key.
  if (text.empty()) return absl::InvalidArgumentError("no key to verify: neither on stdin nor in --key-file");
  return core::Secret(std::move(text));
}

std::string JsonOf(const Answer& answer) {
  v1::VerifyResponse response;
  response.set_decision(static_cast<v1::Decision>(answer.decision()));
  const Identity& from = answer.identity();
  if (!from.empty()) {
    v1::Identity& to = *response.mutable_identity();
    to.set_name(from.name());
    to.set_key_id(std::string(from.key_id()));
    to.set_organization(from.organization());
    to.set_display_name(std::string(from.display_name()));
    to.set_role(from.role());
    to.mutable_permissions()->Assign(from.permissions().begin(), from.permissions().end());
    to.set_owner(std::string(from.owner()));
    for (const auto& [name, value] : from.labels()) (*to.mutable_labels())[name] = value;
    to.set_secret_version(from.secret_version());
    if (from.expires_at() != absl::InfiniteFuture())
      to.mutable_expire_time()->set_seconds(absl::ToUnixSeconds(from.expires_at()));
    for (const std::string& block : from.allowed_cidrs()) to.add_allowed_cidrs(block);
  }
  return ToJson(response);
}

std::string TextOf(const Answer& answer) {
  const Identity& identity = answer.identity();
  std::string text =
      answer.allowed() ? "allowed\n" : absl::StrCat("denied: ", std::string(DecisionName(answer.decision())), "\n");
  if (identity.empty()) return text;
  std::vector<std::pair<std::string, std::string>> lines = {
      {"key", ShortKeyName(identity.name())},
      {"name", std::string(identity.display_name())},
      {"role", identity.role()},
      {"permissions", absl::StrJoin(identity.permissions(), " ")}};
  if (!identity.owner().empty()) lines.emplace_back("owner", identity.owner());
  for (const auto& [name, value] : identity.labels()) lines.emplace_back("label", absl::StrCat(name, "=", value));
  lines.emplace_back("expires",
                     identity.expires_at() == absl::InfiniteFuture()
                         ? "never"
                         : absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", identity.expires_at(), absl::UTCTimeZone()));
  return text + Sheet(lines);
}

// The library names its options; people here gave flags.
absl::Status InWordsOfTheCommandLine(const absl::Status& error) {
  return absl::Status(error.code(), absl::StrReplaceAll(error.message(), {{"VerifierOptions.key_file: ", ""},
                                                                          {"VerifierOptions.", "--"}}));
}

int Verify(const GlobalOptions& globals, const VerifyOptions& options) {
  const absl::StatusOr<absl::Duration> timeout = TimeoutFrom(globals);
  if (!timeout.ok()) return Fail(timeout.status()), kUndecided;
  if (globals.credentials.empty()) {
    Fail(absl::InvalidArgumentError("whose key is calling? Give --credentials FILE or set LATCHKEY_KEY_FILE"));
    return kUndecided;
  }
  const absl::StatusOr<std::unique_ptr<Verifier>> verifier = Verifier::Connect(
      {.server = globals.server, .key_file = globals.credentials, .timeout = *timeout, .cache = false});
  if (!verifier.ok()) return Fail(InWordsOfTheCommandLine(verifier.status())), kUndecided;
  const absl::StatusOr<core::Secret> key = ReadKeyUnderTest(options.key_file);
  if (!key.ok()) return Fail(key.status()), kUndecided;

  const Answer answer = (*verifier)->Verify(key->Expose(), {.required_permissions = options.permissions});
  if (answer.undecided()) return Fail(answer.error()), kUndecided;
  if (!Print(globals.json() ? JsonOf(answer) : TextOf(answer))) return kUndecided;
  return answer.allowed() ? kAllowed : kDenied;
}

}  // namespace

void AddVerifyCommand(CLI::App& app, const GlobalOptions& globals, int& exit_code) {
  CLI::App* command = app.add_subcommand("verify", "Asks whether a key string is good now.");
  auto options = std::make_shared<VerifyOptions>();
  command->add_option("--key-file", options->key_file, "The file with the key string to verify (default: stdin)")
      ->type_name("FILE");
  command->add_option("--permission", options->permissions, "A permission it must hold; may be given again, at most 32")
      ->type_name("PERMISSION")
      ->allow_extra_args(false);
  command->footer(R"(The key string is read from stdin or from --key-file, never from the command
line. The credentials must hold latchkey.verify.

Exit status:
  0  allowed
  1  denied, and the answer says why
  2  could not decide: no answer, bad credentials, or a mistake in the command

Examples:
  latchkey verify --key-file incoming.key
  latchkey verify --permission app.pages.publish < incoming.key
  latchkey verify --output json < incoming.key | jq -r .decision)");
  command->callback([&globals, &exit_code, options] { exit_code = Verify(globals, *options); });
}

}  // namespace latchkey::cli
