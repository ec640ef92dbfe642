#include <memory>
#include <string>
#include <vector>

#include "client/cli/commands.h"
#include "client/cli/output.h"
#include "client/cli/table.h"
#include "client/core/resource_names.h"

namespace latchkey::cli {
namespace {

struct CreateOptions {
  std::string id;
  std::string name;
};

std::string OrganizationTable(const std::vector<v1::Organization>& organizations) {
  Table table({"ORGANIZATION", "NAME", "STATE", "CREATED"});
  for (const v1::Organization& organization : organizations) {
    const std::string state = v1::Organization::State_Name(organization.state());
    table.AddRow({LastSegment(organization.name()), organization.display_name(),
                  state.starts_with("STATE_") ? state.substr(6) : "UNKNOWN",
                  TimeText(organization.has_create_time(), organization.create_time(), "-")});
  }
  return table.ToString();
}

int CreateOrganization(const GlobalOptions& globals, const CreateOptions& options) {
  if (!core::IsResourceId(options.id)) {
    return Fail(
        absl::InvalidArgumentError("ID: 1..63 of a-z, 0-9 and -, a letter first and no - at the end, is wanted"));
  }
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  v1::CreateOrganizationRequest request;
  request.set_organization_id(options.id);
  request.mutable_organization()->set_display_name(options.name);
  const absl::StatusOr<v1::Organization> created = session->Call(&Stub::CreateOrganization, request);
  if (!created.ok()) return Fail(created.status());
  return Print(globals.json() ? ToJson(*created) : OrganizationTable({*created})) ? kOk : kTrouble;
}

int ListOrganizations(const GlobalOptions& globals) {
  absl::StatusOr<Session> session = Session::Open(globals);
  if (!session.ok()) return Fail(session.status());
  v1::ListOrganizationsResponse all;
  const absl::Status listed = ForEachPage(*session, &Stub::ListOrganizations, v1::ListOrganizationsRequest(),
                                          [&all](const v1::ListOrganizationsResponse& page) {
                                            all.mutable_organizations()->MergeFrom(page.organizations());
                                          });
  if (!listed.ok()) return Fail(listed);
  if (globals.json()) return Print(ToJson(all)) ? kOk : kTrouble;
  return Print(OrganizationTable({all.organizations().begin(), all.organizations().end()})) ? kOk : kTrouble;
}

}  // namespace

void AddOrganizationCommands(CLI::App& app, const GlobalOptions& globals, int& exit_code) {
  CLI::App* organizations = app.add_subcommand("orgs", "Create and list organizations.");
  organizations->require_subcommand(1);

  CLI::App* create = organizations->add_subcommand("create", "Creates an organization.");
  auto options = std::make_shared<CreateOptions>();
  create->add_option("ID", options->id, "1..63 of a-z, 0-9 and -")->required()->type_name("");
  create->add_option("--name", options->name, "Its name for people, 1..100 characters (default: the id)")
      ->type_name("TEXT");
  create->footer(R"(It has no key yet: an owner of `system` creates its first.

Examples:
  latchkey orgs create acme --name "Acme Corporation"
  latchkey keys create --organization acme --name "First owner" --role owner)");
  create->callback([&globals, &exit_code, options] { exit_code = CreateOrganization(globals, *options); });

  CLI::App* list = organizations->add_subcommand("list", "Lists the organizations that you can see, all pages.");
  list->footer(R"(Examples:
  latchkey orgs list
  latchkey orgs list --output json | jq -r '.organizations[].name')");
  list->callback([&globals, &exit_code] { exit_code = ListOrganizations(globals); });
}

}  // namespace latchkey::cli
