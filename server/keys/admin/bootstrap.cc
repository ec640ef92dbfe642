#include "server/keys/admin/bootstrap.h"

#include <set>
#include <utility>

#include "client/core/resource_names.h"
#include "server/base/errors.h"
#include "server/model/change_codec.h"

namespace latchkey::keys {
namespace {

constexpr char kBootstrap[] = "bootstrap";

storage::LockPlan SystemPlan() {
  storage::LockPlan plan;
  plan.organization = std::string(core::kSystemOrganization);
  plan.lock_organization = true;
  return plan;
}

}  // namespace

Bootstrap::Bootstrap(storage::KeyStore& store, const KeyMinter& minter, std::string server)
    : store_(store), minter_(minter), server_(std::move(server)) {}

absl::StatusOr<bool> Bootstrap::Done() {
  bool done = false;
  const auto look = [&done](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    done = state.owner_ever;
    return storage::Mutation();
  };
  const absl::StatusOr<storage::Committed> looked = store_.Commit(SystemPlan(), look);
  if (!looked.ok()) return looked.status();
  return done;
}

absl::Status Bootstrap::Run(const std::vector<FirstKey>& keys,
                            const std::function<absl::Status(const std::vector<MintedKey>&)>& keep) {
  const absl::StatusOr<bool> done = Done();
  if (!done.ok()) return done.status();
  if (*done) return errors::AlreadyBootstrapped();
  std::vector<MintedKey> minted;
  for (size_t i = 0; i < keys.size(); ++i) {
    absl::StatusOr<MintedKey> key = minter_.Mint("", absl::InfiniteDuration());
    if (!key.ok()) return key.status();
    minted.push_back(*std::move(key));
  }
  if (absl::Status kept = keep(minted); !kept.ok()) return kept;

  const Audit audit{kBootstrap, "", kBootstrap, "", server_};
  const auto decide = [&](const storage::LockedState& state) -> absl::StatusOr<storage::Mutation> {
    if (state.owner_ever) return errors::AlreadyBootstrapped();
    storage::Mutation mutation;
    std::set<std::string> organizations = {std::string(core::kSystemOrganization)};
    for (size_t i = 0; i < keys.size(); ++i) {
      if (organizations.insert(keys[i].organization).second) {
        Change change;
        change.organization = OrganizationRecord{.id = keys[i].organization,
                                                 .display_name = keys[i].organization,
                                                 .created_at = state.now,
                                                 .updated_at = state.now};
        change.body = EncodeBody(change, audit);
        mutation.changes.push_back(std::move(change));
      }
      Change change;
      change.key = minted[i].RecordFor(keys[i].organization, state.now);
      change.key->display_name = keys[i].display_name;
      change.key->role = keys[i].role;
      change.key->creator = kBootstrap;
      change.new_secret = minted[i].secret;
      change.body = EncodeBody(change, audit);
      mutation.changes.push_back(std::move(change));
    }
    return mutation;
  };
  return store_.Commit(SystemPlan(), decide).status();
}

}  // namespace latchkey::keys
