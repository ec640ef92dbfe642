#include "server/keys/replication/key_index.h"

#include <algorithm>
#include <string>
#include <utility>

#include "client/core/published_table.h"
#include "server/keys/replication/named_slots.h"
#include "server/model/built_in_roles.h"

namespace latchkey::keys {
namespace {

constexpr int64_t kKeysPerProgress = 100'000;
// Built-in roles are every organization's, so they lie in slots of none.
constexpr std::string_view kEveryOrganization = "";

bool IsBuiltIn(std::string_view role) {
  const std::vector<RoleRecord>& roles = BuiltInRoles();
  return std::any_of(roles.begin(), roles.end(), [role](const RoleRecord& built_in) { return built_in.id == role; });
}

std::string_view HomeOf(std::string_view organization, std::string_view role) {
  return IsBuiltIn(role) ? kEveryOrganization : organization;
}

auto HasKid(std::string_view kid) {
  return [kid](const IndexedKey& key) { return key.kid() == kid; };
}

void RetireKey(IndexedKey* key) {
  core::Epochs::RetireRaw(key, [](void* retired) { IndexedKey::Destroy(static_cast<IndexedKey*>(retired)); });
}

}  // namespace

struct KeyIndex::View {
  View() {
    for (const RoleRecord& role : BuiltInRoles()) {
      roles.Put(roles.NumberOf(kEveryOrganization, role.id), std::make_unique<const RoleRecord>(role));
    }
  }
  ~View() { keys.ForEach(&IndexedKey::Destroy); }
  View(const View&) = delete;
  View& operator=(const View&) = delete;

  const IndexedKey* FindKey(std::string_view kid) const { return keys.Find(IndexedKey::HashOf(kid), HasKid(kid)); }

  void Put(const OrganizationRecord& organization) {
    organizations.Put(organizations.NumberOf(organization.id, ""),
                      std::make_unique<const OrganizationRecord>(organization));
  }
  void Put(const RoleRecord& role) {
    if (IsBuiltIn(role.id)) return;  // They have no rows, and no row may change them.
    roles.Put(roles.NumberOf(role.organization, role.id),
              role.removed ? nullptr : std::make_unique<const RoleRecord>(role));
  }
  void Put(const storage::SnapshotKey& key) {
    if (key.kid.size() > IndexedKey::kMaxKidLength) return;
    Put(IndexedKey::Make(key, organizations.NumberOf(key.organization, ""),
                         roles.NumberOf(HomeOf(key.organization, key.role), key.role)));
  }
  void Put(IndexedKey* key) {
    key_bytes.fetch_add(key->memory_bytes(), std::memory_order_relaxed);
    IndexedKey* const replaced = keys.Put(key, HasKid(key->kid()));
    if (replaced == nullptr) return;
    key_bytes.fetch_sub(replaced->memory_bytes(), std::memory_order_relaxed);
    RetireKey(replaced);
  }

  core::PublishedTable<IndexedKey> keys;
  std::atomic<size_t> key_bytes{0};
  NamedSlots<OrganizationRecord> organizations;
  NamedSlots<RoleRecord> roles;
};

// --- Readers ---

KeyIndex::Pin::Pin(const KeyIndex& index) : snapshot_(index.snapshot_.load()) {}

const IndexedKey* KeyIndex::Pin::FindKey(std::string_view kid) const { return snapshot_->view->FindKey(kid); }

const OrganizationRecord* KeyIndex::Pin::FindOrganization(std::string_view id) const {
  return snapshot_->view->organizations.Find(id, "");
}

const RoleRecord* KeyIndex::Pin::FindRole(std::string_view organization, std::string_view id) const {
  return snapshot_->view->roles.Find(HomeOf(organization, id), id);
}

const OrganizationRecord* KeyIndex::Pin::OrganizationOf(const IndexedKey& key) const {
  return snapshot_->view->organizations.Of(key.organization_slot());
}

const RoleRecord* KeyIndex::Pin::RoleOf(const IndexedKey& key) const {
  return snapshot_->view->roles.Of(key.role_slot());
}

std::string_view KeyIndex::Pin::RoleIdOf(const IndexedKey& key) const {
  return snapshot_->view->roles.IdOf(key.role_slot());
}

KeyIndex::Snapshot KeyIndex::Read() const {
  const Pin pin(*this);
  Snapshot copy = pin.snapshot();
  copy.view = nullptr;  // A copy that is kept must not keep a million keys.
  return copy;
}

LogPosition KeyIndex::position() const {
  const std::lock_guard lock(writing_);
  return position_;
}

size_t KeyIndex::key_count() const {
  const Pin pin(*this);
  return pin.snapshot().view->keys.size();
}

size_t KeyIndex::memory_bytes() const {
  const Pin pin(*this);
  const View& view = *pin.snapshot().view;
  return view.keys.memory_bytes() + view.key_bytes.load(std::memory_order_relaxed);
}

// --- The writer ---

KeyIndex::KeyIndex() : snapshot_(nullptr), view_(std::make_shared<View>()) {
  auto* const first = new Snapshot;
  first->view = view_;
  snapshot_.store(first);
}

KeyIndex::~KeyIndex() { delete snapshot_.load(); }

template <typename Edit>
void KeyIndex::PublishSnapshot(const Edit& edit) {
  const Snapshot* const replaced = snapshot_.load();
  auto fresh = std::make_unique<Snapshot>(*replaced);
  edit(*fresh);
  snapshot_.store(fresh.release());
  core::Epochs::Retire(replaced);
}

void KeyIndex::Apply(const LogPosition& position, const Change& change, const std::vector<KeyProof>& proofs) {
  const std::lock_guard lock(writing_);
  if (change.organization) view_->Put(*change.organization);
  if (change.role) view_->Put(*change.role);
  if (change.key) {
    const KeyRecord& key = *change.key;
    const IndexedKey* const known = view_->FindKey(key.kid);  // Stays: nobody else replaces it.
    std::vector<storage::SnapshotVersion> versions;
    for (const SecretVersion& version : key.versions) {
      storage::SnapshotVersion shown{.id = version.id, .expires_at = version.expires_at, .proof = {}};
      if (known != nullptr) shown.proof = known->ProofOf(version.id);
      for (const KeyProof& given : proofs) {
        if (given.proof && given.version == version.id && given.kid == key.kid) shown.proof = given.proof;
      }
      versions.push_back(shown);
    }
    const std::vector<std::pair<std::string_view, std::string_view>> labels(key.labels.begin(), key.labels.end());
    const std::vector<std::string_view> cidrs(key.allowed_cidrs.begin(), key.allowed_cidrs.end());
    view_->Put(storage::SnapshotKey{.organization = key.organization,
                                    .kid = key.kid,
                                    .display_name = key.display_name,
                                    .role = key.role,
                                    .owner = key.owner,
                                    .labels = labels,
                                    .allowed_cidrs = cidrs,
                                    .expires_at = key.expires_at,
                                    .purge_at = key.purge_at,
                                    .deleted = key.deleted(),
                                    .versions = versions});
  }
  position_ = position;
  PublishSnapshot([&position](Snapshot& snapshot) {
    snapshot.revision = position.rev;
    snapshot.chain = core::RevisionToken::Of(position.rev, position.chain).chain;
  });
}

void KeyIndex::SetHistory(core::HistoryId history) {
  const std::lock_guard lock(writing_);
  PublishSnapshot([history](Snapshot& snapshot) { snapshot.history = history; });
}

void KeyIndex::Extend(base::BootTime lease_until, absl::Time database_now, base::BootTime sampled_at,
                      base::BootTime now) {
  const std::lock_guard lock(writing_);
  PublishSnapshot([&](Snapshot& snapshot) {
    snapshot.lease_until = std::max(snapshot.lease_until, lease_until);
    // Where it was, not where it would go on to: else the slowest sample, and every drift, would count for ever.
    snapshot.not_before = snapshot.DatabaseTimeAt(std::max(now, sampled_at));
    snapshot.database_now = database_now;
    snapshot.sampled_at = sampled_at;
  });
}

void KeyIndex::EndLease() {
  const std::lock_guard lock(writing_);
  PublishSnapshot([](Snapshot& snapshot) { snapshot.lease_until = base::BootTime::Never(); });
}

void KeyIndex::RememberProof(const KeyProof& proof, std::optional<int64_t> view_id) {
  const std::lock_guard lock(writing_);
  if (!proof.proof || (view_id && *view_id != snapshot_.load()->view_id)) return;
  const IndexedKey* const known = view_->FindKey(proof.kid);
  if (known == nullptr || known->ProofOf(proof.version) == proof.proof) return;
  for (int i = 0; i < known->version_count(); ++i) {
    if (known->version(i).id != proof.version) continue;
    view_->Put(known->WithProofs(
        [&](int32_t version) { return version == proof.version ? proof.proof : known->ProofOf(version); }));
    return;
  }
}

// --- Loading ---

KeyIndex::SnapshotLoader::SnapshotLoader(KeyIndex& index) : index_(index), view_(std::make_shared<View>()) {}
KeyIndex::SnapshotLoader::~SnapshotLoader() = default;

void KeyIndex::SnapshotLoader::Begin(const LogPosition& position, int64_t key_count) {
  position_ = position;
  loaded_ = 0;
  expected_ = key_count;
  view_ = std::make_shared<View>();
  if (key_count > 0) view_->keys.Reserve(static_cast<size_t>(key_count));
}

void KeyIndex::SnapshotLoader::Add(const OrganizationRecord& organization) { view_->Put(organization); }
void KeyIndex::SnapshotLoader::Add(const RoleRecord& role) { view_->Put(role); }
void KeyIndex::SnapshotLoader::Add(const storage::SnapshotKey& key) {
  view_->Put(key);
  if (++loaded_ % kKeysPerProgress == 0 && progress_) progress_(loaded_, expected_);
}

void KeyIndex::SnapshotLoader::OnProgress(std::function<void(int64_t, int64_t)> progress) {
  progress_ = std::move(progress);
}

void KeyIndex::SnapshotLoader::Publish() {
  {
    const std::lock_guard lock(index_.writing_);
    index_.view_ = std::move(view_);
    index_.position_ = position_;
    // The lease of before is over with the view it spoke of.
    index_.PublishSnapshot([this](Snapshot& snapshot) {
      snapshot.lease_until = base::BootTime::Never();
      snapshot.revision = position_.rev;
      snapshot.chain = core::RevisionToken::Of(position_.rev, position_.chain).chain;
      ++snapshot.view_id;
      snapshot.view = index_.view_;
    });
  }
  core::Epochs::Collect();  // The old view may be hundreds of megabytes.
}

}  // namespace latchkey::keys
