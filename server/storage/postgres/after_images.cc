#include "server/storage/postgres/after_images.h"

#include <algorithm>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/core/resource_names.h"
#include "server/model/built_in_roles.h"
#include "server/model/record_fields.h"
#include "server/storage/postgres/batch.h"
#include "server/storage/postgres/rows.h"
#include "server/storage/postgres/sql_failure.h"

namespace latchkey::storage::postgres {
namespace {

// A row that `state` shows is gone: somebody purged it meanwhile, so look again.
void MustChangeOne(const pqxx::result& result) {
  if (result.affected_rows() != 1) throw Contention();
}

void WriteVersions(Batch& batch, const keys::KeyRecord& key) {
  std::vector<std::string> ids;
  for (const keys::SecretVersion& version : key.versions) {
    ids.push_back(absl::StrCat(version.id));
    batch.Add("put_version",
              {key.kid, absl::StrCat(version.id), TimeText(version.created_at), TimeText(version.expires_at)});
  }
  batch.Add("drop_versions", {key.kid, ArrayText(ids)});
}

// With parameters of their own: the text of a statement that fails is in PostgreSQL's log.
void WriteSecret(Connection& connection, const std::string& kid, const keys::NewSecret& secret) {
  if (connection.Run("put_hash", kid, secret.version, Text(secret.hash), Text(secret.pepper_id)).affected_rows() != 1) {
    throw std::logic_error("a new secret whose version the key does not have");
  }
  // A proof of the secret that the version had before must not outlive it.
  if (!secret.proof) {
    connection.Run("drop_proof", kid, secret.version);
    return;
  }
  const std::string_view digest(secret.proof.digest.data(), secret.proof.digest.size());
  connection.Run("put_proof", kid, secret.version, Text(std::string(1, secret.proof.ring_id)), HexText(digest));
}

// Appends the value of each field that it visits, as statements.cc numbers the columns.
struct ColumnWriter {
  std::vector<std::string>& values;

  template <typename T>
  void operator()(const char*, const T& field, const keys::InBody& = {}) const {
    Put(field);
  }

 private:
  void Put(const std::string& text) const { values.push_back(Text(text)); }
  void Put(absl::Time time) const { values.push_back(TimeText(time)); }
  void Put(keys::DeleteReason reason) const { values.push_back(absl::StrCat(static_cast<int>(reason))); }
  void Put(const std::vector<std::string>& items) const { values.push_back(ArrayText(items)); }
  void Put(const std::map<std::string, std::string>& items) const { values.push_back(LabelsText(items)); }
  // They have a table of their own.
  void Put(const std::vector<keys::SecretVersion>&) const {}
};

void WriteKey(Batch& batch, const keys::KeyRecord& key, bool known) {
  std::vector<std::string> values;
  keys::VisitFields(key, ColumnWriter{values});
  batch.Add(known ? "update_key" : "insert_key", values, MustChangeOne);
  WriteVersions(batch, key);
}

void WriteOrganization(Batch& batch, const keys::OrganizationRecord& organization, bool known) {
  batch.Add(known ? "update_organization" : "insert_organization",
            {Text(organization.id), Text(organization.display_name), TimeText(organization.created_at),
             TimeText(organization.updated_at), TimeText(organization.deleted_at), absl::StrCat(organization.max_keys)},
            MustChangeOne);
}

void WriteRole(Batch& batch, const keys::RoleRecord& role) {
  if (role.removed) {
    batch.Add("drop_role", {Text(role.organization), Text(role.id)});
    return;
  }
  batch.Add("put_role", {Text(role.organization), Text(role.id), Text(role.display_name), Text(role.description),
                         Text(role.documentation_uri), ArrayText(role.permissions), TimeText(role.created_at),
                         TimeText(role.updated_at)});
}

void WriteSettings(Batch& batch, const keys::Settings& settings) {
  // The table refuses the same; but first it would be asked whether the previous bound is right.
  for (const absl::Duration bound : {settings.bound, settings.previous_bound}) {
    if (bound < keys::kShortestBound || bound > keys::kLongestBound) throw std::logic_error("a bound out of bounds");
  }
  batch.Add("put_settings",
            {absl::StrCat(absl::ToInt64Microseconds(settings.bound)),
             absl::StrCat(absl::ToInt64Microseconds(settings.previous_bound)), TimeText(settings.changed_at),
             absl::StrCat(settings.level)},
            MustChangeOne);
}

bool IsSystemOwner(const keys::KeyRecord& key) {
  return key.organization == core::kSystemOrganization && key.role == keys::kOwnerRole;
}

}  // namespace

void WriteAfterImages(Connection& connection, const LockPlan& plan, const LockedState& state,
                      const Mutation& mutation) {
  Batch batch(connection);
  // First, so that of two requests with one id the later waits here and then looks again.
  if (!plan.request_id.empty()) {
    batch.Add("insert_request_id", {Text(plan.request_scope), Text(plan.request_id), Text(mutation.request_name)});
  }
  std::set<std::string> known_keys;
  for (const auto& [kid, key] : state.keys) known_keys.insert(kid);
  std::set<std::string> known_organizations;
  if (state.organization.has_value()) known_organizations.insert(state.organization->id);
  bool owner_ever = state.owner_ever;

  for (const keys::Change& change : mutation.changes) {
    if (change.key.has_value()) {
      const bool known = !known_keys.insert(change.key->kid).second;
      WriteKey(batch, *change.key, known);
      if (!owner_ever && IsSystemOwner(*change.key)) {
        // Not ON CONFLICT: of two first owners one must look again and see that it is the second.
        batch.Add("first_system_owner", {});
        owner_ever = true;
      }
    } else if (change.organization.has_value()) {
      const bool known = !known_organizations.insert(change.organization->id).second;
      WriteOrganization(batch, *change.organization, known);
    } else if (change.role.has_value()) {
      WriteRole(batch, *change.role);
    } else if (change.settings.has_value()) {
      WriteSettings(batch, *change.settings);
    } else {
      throw std::logic_error("a change of nothing");
    }
  }
  batch.Run();
  for (const keys::Change& change : mutation.changes) {
    if (change.key.has_value() && change.new_secret.has_value()) {
      WriteSecret(connection, change.key->kid, *change.new_secret);
    }
  }
}

std::string AppendCall(const Connection& connection, const Mutation& mutation) {
  std::vector<std::string> bodies, kinds, organizations, ids;
  const auto add = [&](const char* kind, const std::string& organization, const std::string& id) {
    kinds.push_back(connection.Quote(kind));
    organizations.push_back(connection.Quote(organization));
    ids.push_back(connection.Quote(id));
  };
  for (const keys::Change& change : mutation.changes) {
    bodies.push_back(absl::StrCat("'\\x", HexText(change.body), "'::bytea"));
    if (change.key.has_value()) {
      add("key", change.key->organization, change.key->kid);
    } else if (change.organization.has_value()) {
      add("organization", "", change.organization->id);
    } else if (change.role.has_value()) {
      add("role", change.role->organization, change.role->id);
    } else {
      add("settings", "", "");
    }
  }
  const auto array = [](const std::vector<std::string>& items) {
    return absl::StrCat("ARRAY[", absl::StrJoin(items, ","), "]");
  };
  return absl::StrCat("append_changes(", array(bodies), ",", array(kinds), ",", array(organizations), ",", array(ids),
                      ")");
}

}  // namespace latchkey::storage::postgres
