#include <unistd.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "client/cli/arguments.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "client/core/resource_names.h"
#include "client/core/text.h"

namespace latchkey::cli {
namespace {

constexpr char kKeyHelp[] = "Which key: ORGANIZATION/KEYID, its resource name, or KEYID with --organization";

struct KeyChoice {
  std::string key;
  std::string organization;
  std::string name;
  std::string reason;
};

struct ListOptions {
  std::string organization;
  bool show_deleted = false;
};

int PrintKey(const GlobalOptions& globals, const absl::StatusOr<v1::Key>& key) {
  if (!key.ok()) return Fail(key.status());
  return Print(globals.json() ? ToJson(*key) : KeySheet(*key)) ? kOk : kTrouble;
}

// Runs `call` on a session with the chosen key's resource name and prints the key it returns.
int WithKey(const GlobalOptions& globals, const KeyChoice& choice,
            const std::function<absl::StatusOr<v1::Key>(Session&, const std::string&)>& call) {
  const absl::StatusOr<std::string> name = KeyNameFrom(choice.key, choice.organization);
  if (!name.ok()) return Fail(name.status());
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  return PrintKey(globals, call(*session, *name));
}

int GetKey(const GlobalOptions& globals, const KeyChoice& choice) {
  return WithKey(globals, choice, [](Session& session, const std::string& name) {
    v1::GetKeyRequest request;
    request.set_name(name);
    return session.Call(&Stub::GetKey, request);
  });
}

int RenameKey(const GlobalOptions& globals, const KeyChoice& choice) {
  return WithKey(globals, choice, [&choice](Session& session, const std::string& name) {
    v1::UpdateKeyRequest request;
    request.mutable_key()->set_name(name);
    request.mutable_key()->set_display_name(choice.name);
    request.mutable_update_mask()->add_paths("display_name");
    return session.Call(&Stub::UpdateKey, request);
  });
}

int RevokeKey(const GlobalOptions& globals, const KeyChoice& choice) {
  v1::Reason reason = v1::REASON_UNSPECIFIED;
  if (!choice.reason.empty()) {
    const absl::StatusOr<v1::Reason> parsed = ParseReason(choice.reason);
    if (!parsed.ok()) return Fail(parsed.status());
    reason = *parsed;
  }
  return WithKey(globals, choice, [reason](Session& session, const std::string& name) {
    v1::DeleteKeyRequest request;
    request.set_name(name);
    request.set_reason(reason);
    return session.Call(&Stub::DeleteKey, request);
  });
}

// The organizations whose keys are listed: the one that was named, or all that the caller can see.
absl::StatusOr<std::vector<std::string>> ListedOrganizations(Session& session, const std::string& organization) {
  if (!organization.empty()) {
    if (!core::IsResourceId(organization)) return absl::InvalidArgumentError("--organization: an id is wanted: acme");
    return std::vector<std::string>{core::OrganizationNameOf(organization)};
  }
  std::vector<std::string> names;
  const absl::Status listed = ForEachPage(session, &Stub::ListOrganizations, v1::ListOrganizationsRequest(),
                                          [&names](const v1::ListOrganizationsResponse& page) {
                                            for (const auto& found : page.organizations())
                                              names.push_back(found.name());
                                          });
  if (!listed.ok()) return listed;
  return names;
}

int ListKeys(const GlobalOptions& globals, const ListOptions& options) {
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  const absl::StatusOr<std::vector<std::string>> organizations = ListedOrganizations(*session, options.organization);
  if (!organizations.ok()) return Fail(organizations.status());

  v1::ListKeysResponse all;
  for (const std::string& organization : *organizations) {
    v1::ListKeysRequest request;
    request.set_parent(organization);
    request.set_show_deleted(options.show_deleted);
    const absl::Status listed =
        ForEachPage(*session, &Stub::ListKeys, request,
                    [&all](const v1::ListKeysResponse& page) { all.mutable_keys()->MergeFrom(page.keys()); });
    if (!listed.ok()) return Fail(listed);
  }
  if (globals.json()) return Print(ToJson(all)) ? kOk : kTrouble;
  const bool for_people = isatty(STDOUT_FILENO) == 1;
  Table table({"KEY", "NAME", "ROLE", "STATE", "CREATED", "EXPIRES", "LAST USED"});
  for (const v1::Key& key : all.keys()) {
    const std::string name = for_people ? Shortened(core::Printable(key.display_name()), 40) : key.display_name();
    table.AddRow({ShortKeyName(key.name()), name, key.role(), StateText(key.state()),
                  TimeText(key.has_create_time(), key.create_time(), "-"),
                  TimeText(key.has_expire_time(), key.expire_time(), "never"),
                  TimeText(key.has_last_used_time(), key.last_used_time(), "-")});
  }
  return Print(table.ToString()) ? kOk : kTrouble;
}

using KeyCommand = int (*)(const GlobalOptions&, const KeyChoice&);

struct AddedCommand {
  CLI::App* command;
  std::shared_ptr<KeyChoice> choice;
};

// A command about one key that exists.
AddedCommand AddOnKey(CLI::App& keys, const char* name, const char* description, const char* footer, KeyCommand run,
                      const GlobalOptions& globals, int& exit_code) {
  CLI::App* command = keys.add_subcommand(name, description);
  auto choice = std::make_shared<KeyChoice>();
  command->add_option("KEY", choice->key, kKeyHelp)->required()->type_name("");
  command->add_option("--organization", choice->organization, "Whose key it is")->type_name("ORG");
  command->footer(footer);
  command->callback([&globals, &exit_code, choice, run] { exit_code = run(globals, *choice); });
  return {command, choice};
}

}  // namespace

void AddKeyCommands(CLI::App& app, const GlobalOptions& globals, int& exit_code) {
  CLI::App* keys = app.add_subcommand("keys", "Create, get, list, rename and revoke keys.");
  keys->require_subcommand(1);
  AddCreateKeyCommand(*keys, globals, exit_code);
  AddOnKey(*keys, "get", "Shows a key, also a revoked one. Never its key string: nobody can.",
           R"(Examples:
  latchkey keys get acme/0123456789ABCDEF
  latchkey keys get 0123456789ABCDEF --organization acme --output json)",
           GetKey, globals, exit_code);

  CLI::App* list = keys->add_subcommand("list", "Lists keys, newest first, all pages.");
  auto options = std::make_shared<ListOptions>();
  list->add_option("--organization", options->organization, "Whose keys (default: every organization you can see)")
      ->type_name("ORG");
  list->add_flag("--show-deleted", options->show_deleted, "Revoked keys too");
  list->footer(R"(Examples:
  latchkey keys list --organization acme
  latchkey keys list --output json | jq -r '.keys[] | select(.owner == "") | .name')");
  list->callback([&globals, &exit_code, options] { exit_code = ListKeys(globals, *options); });

  const AddedCommand rename = AddOnKey(*keys, "rename", "Gives a key another name. Nothing else about it changes.",
                                       R"(Examples:
  latchkey keys rename acme/0123456789ABCDEF --name "Weekly export")",
                                       RenameKey, globals, exit_code);
  rename.command->add_option("--name", rename.choice->name, "The new name, 1..100 characters")
      ->required()
      ->type_name("TEXT");

  const AddedCommand revoke =
      AddOnKey(*keys, "revoke", "Deletes a key: it is refused from now on. Lost or leaked keys are deleted.",
               R"(Revoking a revoked key succeeds. Keys that it created are kept.

Examples:
  latchkey keys revoke acme/0123456789ABCDEF --reason rotated
  latchkey keys revoke acme/0123456789ABCDEF --reason compromised)",
               RevokeKey, globals, exit_code);
  revoke.command
      ->add_option("--reason", revoke.choice->reason, "Why: unused, rotated, compromised (can't be undone), owner-left")
      ->type_name("REASON");
}

}  // namespace latchkey::cli
