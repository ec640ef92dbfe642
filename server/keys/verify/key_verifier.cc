#include "server/keys/verify/key_verifier.h"

#include <algorithm>
#include <future>
#include <utility>

#include "client/core/judge.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

using core::Decision;

Verdict Plain(Decision decision, const KeyIndex::Snapshot& snapshot) {
  Verdict verdict;
  verdict.decision = decision;
  verdict.revision = {snapshot.revision, snapshot.chain};
  verdict.history = snapshot.history;
  return verdict;
}

bool MayAsk(const MemoryQuery& question, const OrganizationRecord* organization) {
  if (question.asker_organization.empty() || question.asker_organization == core::kSystemOrganization) return true;
  return organization != nullptr && question.asker_organization == organization->id;
}

// On whose behalf the holder of a key is served: as Principal::share.
std::string ShareOf(const KeyIndex& index, const std::string& kid) {
  const KeyIndex::Pin pin(index);
  const IndexedKey* const key = pin.FindKey(kid);
  const OrganizationRecord* const organization = key == nullptr ? nullptr : pin.OrganizationOf(*key);
  return organization == nullptr || organization->id == core::kSystemOrganization ? kid : organization->id;
}

// Which version of a key a string is, as far as memory knows.
struct Match {
  std::optional<IndexedKey::Version> version;
  bool unproven = false;  // Some version's secret is not known here.
};

Match FindMatch(const KeyRing& ring, const core::KeyParts& parts, const Proof& presented, const IndexedKey& key) {
  Match match;
  for (int i = 0; i < key.version_count(); ++i) {
    const IndexedKey::Version version = key.version(i);
    const Proof other = version.proof && version.proof.ring_id != presented.ring_id
                            ? ring.ProofOf(parts, version.proof.ring_id)
                            : Proof();
    const Proof& comparable = version.proof.ring_id == presented.ring_id ? presented : other;
    if (!version.proof || !comparable) {
      match.unproven = true;
    } else if (core::ConstantTimeEqual(std::string_view(version.proof.digest.data(), version.proof.digest.size()),
                                       std::string_view(comparable.digest.data(), comparable.digest.size()))) {
      match.version = version;
    }
  }
  return match;
}

Identity IdentityOf(const IndexedKey& key, const OrganizationRecord* organization, const RoleRecord* role,
                    std::string_view role_id, const IndexedKey::Version& version) {
  Identity identity;
  if (organization != nullptr) identity.organization = organization->id;
  identity.kid = std::string(key.kid());
  identity.display_name = std::string(key.display_name());
  identity.role = std::string(role_id);
  identity.owner = std::string(key.owner());
  if (role != nullptr) identity.permissions = role->permissions;
  identity.labels = key.labels();
  for (const core::Cidr& block : key.allowed_cidrs()) identity.allowed_cidrs.push_back(block.ToString());
  identity.expires_at = key.expires_at();
  identity.secret_version = version.id;
  return identity;
}

}  // namespace

KeyVerifier::KeyVerifier(KeyIndex& index, const KeyRingHandle& ring, SecretChecker& checker, const base::Clock& clock,
                         UsageCounter* uses)
    : index_(index), ring_(ring), checker_(checker), clock_(clock), uses_(uses) {}

std::optional<absl::StatusOr<Verdict>> KeyVerifier::VerifyFromMemory(const MemoryQuery& question) {
  // The read order: lease and revision first, then the records of that view, judge, the clock last.
  const KeyIndex::Pin pin(index_);
  const KeyIndex::Snapshot& snapshot = pin.snapshot();
  const core::KeyParts* const parts = question.key.native();
  if (parts == nullptr) return Plain(Decision::kMalformed, snapshot);

  Verdict verdict = Plain(Decision::kNotFound, snapshot);
  const KeyRingHandle::Pin ring(ring_);
  const KeyRing::TagCheck tag = ring->CheckTag(*parts);
  const bool may_exist = tag == KeyRing::TagCheck::kMinted || tag == KeyRing::TagCheck::kLostGeneration;
  const IndexedKey* const key = may_exist ? pin.FindKey(parts->kid) : nullptr;
  const OrganizationRecord* const organization = key == nullptr ? nullptr : pin.OrganizationOf(*key);
  if (key != nullptr && MayAsk(question, organization)) {
    const Proof presented = ring->ProofOf(*parts);
    const Match match = FindMatch(*ring, *parts, presented, *key);
    if (!match.version && match.unproven && !checker_.IsKnownInvalid(presented)) {
      // Without a lease the slow path could not answer either: refuse before its cost.
      if (clock_.BootNow() >= snapshot.lease_until) return errors::LeaseExpired();
      return std::nullopt;
    }
    if (match.version) {
      if (match.version->proof.ring_id != presented.ring_id) {
        checker_.Store(KeyProof{std::string(parts->kid), match.version->id, presented}, snapshot.view_id);
      }
      const RoleRecord* const role = pin.RoleOf(*key);
      const core::KeyStatus key_status{.revoked = key->deleted() || organization == nullptr || organization->deleted(),
                                       .permissions = role == nullptr ? nullptr : &role->permissions,
                                       .allowed_cidrs = key->allowed_cidrs()};
      verdict.decision =
          core::Judge(key_status, {.permissions = question.required_permissions, .client_ip = question.client_ip});
      verdict.identity = IdentityOf(*key, organization, role, pin.RoleIdOf(*key), *match.version);
      const absl::Time ends_at = std::min(key->expires_at(), match.version->expires_at);
      const absl::Time purge_at = key->purge_at();
      const base::BootTime now = clock_.BootNow();
      if (now >= snapshot.lease_until) return errors::LeaseExpired();
      const absl::Time database_now = snapshot.DatabaseTimeAt(now);
      verdict.lease_remaining = snapshot.lease_until - now;
      // Told before what the question asks for, after what somebody did to the key on purpose.
      if (verdict.decision != Decision::kRevoked && ends_at <= database_now) verdict.decision = Decision::kExpired;
      if (ends_at != Never()) verdict.expires_in = std::max(ends_at - database_now, absl::ZeroDuration());
      if (purge_at <= database_now) {
        verdict.decision = Decision::kNotFound;
        verdict.identity.reset();
      } else if (uses_ != nullptr && question.counted) {
        uses_->Count(parts->kid, match.version->id, verdict.decision, database_now);
      }
      return verdict;
    }
  }
  const base::BootTime now = clock_.BootNow();
  if (now >= snapshot.lease_until) return errors::LeaseExpired();
  verdict.lease_remaining = snapshot.lease_until - now;
  return verdict;
}

void KeyVerifier::Prove(const core::PresentedKey& key, absl::Duration time_left, SecretChecker::Asker asker,
                        std::function<void(absl::Status)> done) {
  const core::KeyParts* const parts = key.native();
  if (parts == nullptr) {
    done(absl::OkStatus());  // Memory says what it is.
    return;
  }
  const bool lost = KeyRingHandle::Pin(ring_)->CheckTag(*parts) == KeyRing::TagCheck::kLostGeneration;
  if (asker.share.empty()) asker.share = ShareOf(index_, std::string(parts->kid));
  checker_.Prove(*parts, lost ? HashPool::Priority::kBackground : HashPool::Priority::kInteractive, time_left, asker,
                 std::move(done));
}

absl::StatusOr<Verdict> KeyVerifier::Verify(const MemoryQuery& question, absl::Duration time_left) {
  if (std::optional<absl::StatusOr<Verdict>> verdict = VerifyFromMemory(question)) return *std::move(verdict);
  std::promise<absl::Status> done;
  Prove(question.key, time_left, {}, [&done](absl::Status status) { done.set_value(std::move(status)); });
  if (absl::Status proven = done.get_future().get(); !proven.ok()) return proven;
  // Time has passed: start over from the loads, so that a revocation of meanwhile is seen.
  if (std::optional<absl::StatusOr<Verdict>> verdict = VerifyFromMemory(question)) return *std::move(verdict);
  return errors::LeaseExpired();  // The view was replaced meanwhile and does not have this version: can't decide.
}

}  // namespace latchkey::keys
