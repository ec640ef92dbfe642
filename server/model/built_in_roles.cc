#include "server/model/built_in_roles.h"

namespace latchkey::keys {

const std::vector<RoleRecord>& BuiltInRoles() {
  static const std::vector<RoleRecord>* const kRoles = [] {
    const auto role = [](const char* id, const char* name, const char* description,
                         std::vector<std::string> permissions) {
      RoleRecord record;
      record.id = id;
      record.display_name = name;
      record.description = description;
      record.permissions = std::move(permissions);
      return record;
    };
    return new std::vector<RoleRecord>{
        role(kOwnerRole, "Owner", "Everything.", {"*"}),
        role("admin", "Admin", "Manages keys and roles, reads the audit, and holds every application permission.",
             {"app.*", "latchkey.audit.read", "latchkey.keys.*", "latchkey.organizations.read", "latchkey.roles.*",
              "latchkey.verify"}),
        role("editor", "Editor", "Reads and writes the application; sees keys and roles.",
             {"app.read", "app.write", "latchkey.keys.read", "latchkey.roles.read"}),
        role("viewer", "Viewer", "Reads the application; sees roles.", {"app.read", "latchkey.roles.read"}),
        role(kVerifierRole, "Verifier", "Verifies keys: for services.", {"latchkey.verify"}),
    };
  }();
  return *kRoles;
}

const RoleRecord* FindBuiltInRole(const std::string& id) {
  for (const RoleRecord& role : BuiltInRoles()) {
    if (role.id == id) return &role;
  }
  return nullptr;
}

}  // namespace latchkey::keys
