#include <openssl/rand.h>

#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/core/resource_names.h"
#include "client/core/secret.h"

namespace latchkey::cli {
namespace {

struct CreateOptions {
  std::string organization;
  std::string name;
  std::string role;
  std::string description;
  std::string owner;
  std::vector<std::string> labels;
  std::string ttl;
  std::string expire_time;
  std::string request_id;
};

std::string RandomUuid() {
  unsigned char bytes[16];
  if (RAND_bytes(bytes, sizeof bytes) != 1) return "";
  bytes[6] = (bytes[6] & 0x0F) | 0x40;
  bytes[8] = (bytes[8] & 0x3F) | 0x80;
  const std::string hex = absl::BytesToHexString(absl::string_view(reinterpret_cast<char*>(bytes), sizeof bytes));
  return absl::StrCat(hex.substr(0, 8), "-", hex.substr(8, 4), "-", hex.substr(12, 4), "-", hex.substr(16, 4), "-",
                      hex.substr(20));
}

absl::StatusOr<v1::CreateKeyRequest> ToRequest(const CreateOptions& from) {
  if (!core::IsResourceId(from.organization))
    return absl::InvalidArgumentError("--organization: an id is wanted: acme");
  v1::CreateKeyRequest request;
  request.set_parent(core::OrganizationNameOf(from.organization));
  request.set_request_id(from.request_id.empty() ? RandomUuid() : from.request_id);
  v1::Key& key = *request.mutable_key();
  key.set_display_name(from.name);
  key.set_role(from.role);
  key.set_description(from.description);
  key.set_owner(from.owner);
  for (const std::string& text : from.labels) {
    const auto label = ParseLabel(text);
    if (!label.ok()) return label.status();
    if (!key.mutable_labels()->insert({label->first, label->second}).second) {
      return absl::InvalidArgumentError("--label: the same name twice");
    }
  }
  if (!from.ttl.empty()) {
    const absl::StatusOr<absl::Duration> ttl = ParseDuration(from.ttl);
    if (!ttl.ok()) return absl::InvalidArgumentError(absl::StrCat("--ttl: ", ttl.status().message()));
    const absl::Duration seconds = absl::Floor(*ttl, absl::Seconds(1));
    key.mutable_ttl()->set_seconds(absl::ToInt64Seconds(seconds));
    key.mutable_ttl()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(*ttl - seconds)));
  }
  if (!from.expire_time.empty()) {
    const absl::StatusOr<absl::Time> time = ParseTime(from.expire_time);
    if (!time.ok()) return absl::InvalidArgumentError(absl::StrCat("--expire-time: ", time.status().message()));
    const absl::Time second = absl::FromUnixSeconds(absl::ToUnixSeconds(*time));
    key.mutable_expire_time()->set_seconds(absl::ToUnixSeconds(second));
    key.mutable_expire_time()->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(*time - second)));
  }
  return request;
}

int PrintCreated(v1::CreateKeyResponse& response, bool json) {
  std::string text = json ? ToJson(response) : response.key_string() + "\n";
  core::CleanseString(*response.mutable_key_string());
  if (!json) {
    // All but the key string goes to stderr, so that stdout can be a key file.
    std::fputs(KeySheet(response.key()).c_str(), stderr);
    std::fputs("This is the only time the key string is shown: nobody can retrieve it again. Store it now.\n", stderr);
  }
  const bool printed = Print(text);
  core::CleanseString(text);
  if (printed) return kOk;
  std::fputs(absl::StrCat("latchkey: the key was created, but its key string could not be written to stdout and is "
                          "lost; revoke it: latchkey keys revoke ",
                          ShortKeyName(response.key().name()), "\n")
                 .c_str(),
             stderr);
  return kTrouble;
}

int CreateKey(const GlobalOptions& globals, const CreateOptions& options) {
  const absl::StatusOr<v1::CreateKeyRequest> request = ToRequest(options);
  if (!request.ok()) return Fail(request.status());
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  absl::StatusOr<v1::CreateKeyResponse> response = session->Call(&Stub::CreateKey, *request);
  if (!response.ok()) {
    const int exit_code = Fail(response.status());
    if (absl::IsUnavailable(response.status()) || absl::IsDeadlineExceeded(response.status())) {
      std::fputs(absl::StrCat("  It may have been created all the same. Repeat with --request-id ",
                              request->request_id(), " to be told, and not to create a second one.\n")
                     .c_str(),
                 stderr);
    }
    return exit_code;
  }
  return PrintCreated(*response, globals.json());
}

}  // namespace

void AddCreateKeyCommand(CLI::App& keys, const GlobalOptions& globals, int& exit_code) {
  CLI::App* command = keys.add_subcommand("create", "Creates a key and prints its key string, once.");
  auto options = std::make_shared<CreateOptions>();
  command->add_option("--organization", options->organization, "Whose key it will be")->required()->type_name("ORG");
  command->add_option("--name", options->name, "A useful name, 1..100 characters")->required()->type_name("TEXT");
  command->add_option("--role", options->role, "What it may do: see `latchkey roles list`")
      ->required()
      ->type_name("ROLE");
  command->add_option("--description", options->description, "At most 1,000 characters")->type_name("TEXT");
  command->add_option("--owner", options->owner, "The person or system it belongs to")->type_name("TEXT");
  command->add_option("--label", options->labels, "A label; may be given again")
      ->type_name("NAME=VALUE")
      ->allow_extra_args(false);
  CLI::Option* ttl =
      command->add_option("--ttl", options->ttl, "Expires so long from now: 30d, 12h, 1d12h")->type_name("DURATION");
  command->add_option("--expire-time", options->expire_time, "Expires then: 2030-01-02T03:04:05Z")
      ->type_name("TIME")
      ->excludes(ttl);
  command
      ->add_option("--request-id", options->request_id,
                   "Makes a repeat safe: the same id never creates a second key (default: a new one)")
      ->type_name("UUID");
  command->footer(R"(The key string goes to stdout, alone; everything else to stderr. It is shown
this one time and can never be retrieved again. The role can only be equal to
or lesser than the caller's own. A key does not expire unless asked to.

Examples:
  latchkey keys create --organization acme --name "Nightly export" --role viewer
  (umask 077; latchkey keys create --organization acme --name CI --role editor \
     --owner build@acme.example --label team=web --ttl 90d > ci.key))");
  command->callback([&globals, &exit_code, options] { exit_code = CreateKey(globals, *options); });
}

}  // namespace latchkey::cli
