#include "server/keys/key_verifier.h"

#include <algorithm>
#include <utility>

#include "client/core/permissions.h"
#include "client/core/resource_names.h"
#include "server/base/errors.h"

namespace latchkey::keys {
namespace {

using core::Decision;

Verdict Plain(Decision decision, int64_t revision) {
  Verdict verdict;
  verdict.decision = decision;
  verdict.revision = revision;
  return verdict;
}

bool MayAsk(const VerifyQuestion& question, const KeyRecord& key) {
  return question.asker_organization.empty() || question.asker_organization == core::kSystemOrganization ||
         question.asker_organization == key.organization;
}

// What is true of a key whose secret was right, but for time. kAllowed = nothing against it.
Decision Judge(const KeyRecord& key, const OrganizationRecord* organization, const RoleRecord* role,
               const std::vector<std::string>* required) {
  if (key.deleted() || organization == nullptr || organization->deleted()) return Decision::kRevoked;
  if (required != nullptr) {
    for (const std::string& permission : *required) {
      if (role == nullptr || !core::Covers(role->permissions, permission)) return Decision::kPermissionDenied;
    }
  }
  return Decision::kAllowed;
}

}  // namespace

KeyVerifier::KeyVerifier(storage::KeyStore& store, KeyIndex& index, const KeyRing& ring, HashPool& hashes,
                         const base::Clock& clock)
    : store_(store), index_(index), ring_(ring), hashes_(hashes), clock_(clock) {}

std::optional<absl::StatusOr<Verdict>> KeyVerifier::VerifyFromMemory(const VerifyQuestion& question) {
  // The read order: lease and revision first, then the records, judge, the clock last.
  const KeyIndex::Reading reading = index_.Read();
  const std::optional<core::KeyParts> parts = core::ParseKeyString(question.key_string);
  if (!parts) return Plain(Decision::kMalformed, reading.revision);

  Verdict verdict = Plain(Decision::kNotFound, reading.revision);
  if (ring_.CheckTag(*parts) == KeyRing::TagCheck::kMinted) {
    const std::shared_ptr<const KeyRecord> key = index_.FindKey(parts->kid);
    if (key != nullptr && MayAsk(question, *key)) {
      const std::optional<Proof> presented = ring_.ProofOf(*parts);
      if (!presented) return errors::KeyRingLacks("a proof secret");
      const SecretVersion* matched = nullptr;
      bool unproven = false;
      for (const SecretVersion& version : key->versions) {
        const std::optional<Proof> known = index_.FindProof(parts->kid, version.id);
        if (!known) {
          unproven = true;
        } else if (core::ConstantTimeEqual(*known, *presented)) {
          matched = &version;
        }
      }
      if (matched == nullptr && unproven) {
        // Without a lease the slow path could not answer either: refuse before its cost.
        if (clock_.BootNow() >= reading.lease_until) return errors::LeaseExpired();
        return std::nullopt;
      }
      if (matched != nullptr) {
        Identity identity{key, index_.FindRole(key->organization, key->role), matched->id};
        const std::shared_ptr<const OrganizationRecord> organization = index_.FindOrganization(key->organization);
        verdict.decision = Judge(*key, organization.get(), identity.role.get(), question.required_permissions);
        verdict.identity = std::move(identity);
        const absl::Time ends_at = std::min(key->expires_at, matched->expires_at);
        const base::BootTime now = clock_.BootNow();
        if (now >= reading.lease_until || Replaced(reading)) return errors::LeaseExpired();
        const absl::Time database_now = reading.DatabaseTimeAt(now);
        verdict.lease_remaining = reading.lease_until - now;
        if (verdict.decision != Decision::kRevoked && ends_at <= database_now) verdict.decision = Decision::kExpired;
        if (ends_at != Never()) verdict.expires_in = std::max(ends_at - database_now, absl::ZeroDuration());
        if (key->purge_at <= database_now) {
          verdict.decision = Decision::kNotFound;
          verdict.identity.reset();
        }
        return verdict;
      }
    }
  }
  const base::BootTime now = clock_.BootNow();
  if (now >= reading.lease_until || Replaced(reading)) return errors::LeaseExpired();
  verdict.lease_remaining = reading.lease_until - now;
  return verdict;
}

bool KeyVerifier::Replaced(const KeyIndex::Reading& reading) const {
  return index_.Read().generation != reading.generation;
}

absl::StatusOr<Verdict> KeyVerifier::VerifyUnproven(const VerifyQuestion& question, const HashPool::Ticket& ticket) {
  const std::optional<core::KeyParts> parts = core::ParseKeyString(question.key_string);
  if (!parts) return Plain(Decision::kMalformed, index_.Read().revision);
  const std::string kid(parts->kid);
  const absl::StatusOr<std::vector<StoredSecret>> secrets = store_.ReadSecrets(kid);
  if (!secrets.ok()) return secrets.status();
  for (const StoredSecret& secret : *secrets) {
    if (!ring_.HasPepper(secret.pepper_id)) return errors::KeyRingLacks("pepper/" + secret.pepper_id);
    const core::Secret input = ring_.PreHash(secret.pepper_id, parts->kid, parts->secret);
    const absl::StatusOr<bool> matches = hashes_.Matches(ticket, input, secret.hash);
    if (!matches.ok()) return matches.status();
    if (!*matches) continue;
    const std::optional<Proof> proof = ring_.ProofOf(*parts);
    if (!proof) return errors::KeyRingLacks("a proof secret");
    index_.RememberProof(kid, secret.version, *proof);
    // Time has passed: start over from the loads, so that a revocation of meanwhile is seen.
    if (std::optional<absl::StatusOr<Verdict>> verdict = VerifyFromMemory(question)) return *std::move(verdict);
    return errors::LeaseExpired();  // The view was replaced meanwhile and does not have this version: can't decide.
  }
  const KeyIndex::Reading reading = index_.Read();
  const base::BootTime now = clock_.BootNow();
  if (now >= reading.lease_until) return errors::LeaseExpired();
  Verdict verdict = Plain(Decision::kNotFound, reading.revision);
  verdict.lease_remaining = reading.lease_until - now;
  return verdict;
}

absl::StatusOr<Verdict> KeyVerifier::Verify(const VerifyQuestion& question, absl::Duration patience) {
  if (std::optional<absl::StatusOr<Verdict>> verdict = VerifyFromMemory(question)) return *std::move(verdict);
  const absl::StatusOr<HashPool::Ticket> ticket = hashes_.Admit(patience);
  if (!ticket.ok()) return ticket.status();
  return VerifyUnproven(question, *ticket);
}

}  // namespace latchkey::keys
