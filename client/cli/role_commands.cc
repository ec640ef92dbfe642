#include <memory>
#include <string>

#include "absl/strings/str_join.h"
#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "client/core/resource_names.h"

namespace latchkey::cli {
namespace {

struct ListOptions {
  std::string organization;
  bool assignable = false;
};

int ListRoles(const GlobalOptions& globals, const ListOptions& options) {
  if (!core::IsResourceId(options.organization)) {
    return Fail(absl::InvalidArgumentError("--organization: an id is wanted: acme"));
  }
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  v1::ListRolesRequest request;
  request.set_parent(core::OrganizationNameOf(options.organization));
  request.set_assignable_only(options.assignable);
  v1::ListRolesResponse all;
  const absl::Status listed =
      ForEachPage(*session, &Stub::ListRoles, request,
                  [&all](const v1::ListRolesResponse& page) { all.mutable_roles()->MergeFrom(page.roles()); });
  if (!listed.ok()) return Fail(listed);
  if (globals.json()) return Print(ToJson(all)) ? kOk : kTrouble;
  Table table({"ROLE", "NAME", "BUILT IN", "PERMISSIONS"});
  for (const v1::Role& role : all.roles()) {
    table.AddRow({LastSegment(role.name()), role.display_name(), role.built_in() ? "yes" : "no",
                  absl::StrJoin(role.permissions(), " ")});
  }
  return Print(table.ToString()) ? kOk : kTrouble;
}

}  // namespace

void AddRoleCommands(CLI::App& app, const GlobalOptions& globals, int& exit_code) {
  CLI::App* roles = app.add_subcommand("roles", "List roles.");
  roles->require_subcommand(1);
  CLI::App* list = roles->add_subcommand("list", "Lists an organization's roles and their permissions, all pages.");
  auto options = std::make_shared<ListOptions>();
  list->add_option("--organization", options->organization, "Whose roles")->required()->type_name("ORG");
  list->add_flag("--assignable", options->assignable, "Only those you may give to a key: at or below your own");
  list->footer(R"(Examples:
  latchkey roles list --organization acme
  latchkey roles list --organization acme --assignable --output json)");
  list->callback([&globals, &exit_code, options] { exit_code = ListRoles(globals, *options); });
}

}  // namespace latchkey::cli
