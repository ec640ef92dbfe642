#include "client/src/cache/lease_cache.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <mutex>
#include <string>
#include <utility>

#include "client/core/epochs.h"
#include "client/core/judge.h"
#include "client/core/key_format.h"
#include "client/core/published_table.h"
#include "client/core/resource_names.h"
#include "client/src/cache/cache_negatives.h"
#include "client/src/cache/cache_roles.h"
#include "client/src/cache/cache_tombstones.h"
#include "client/src/identity/hazard_slots.h"
#include "client/src/identity/identity_block.h"

namespace latchkey::client {
namespace {

// L is at most 60 s: what says more, is wrong, and must not overflow.
constexpr absl::Duration kLongestLease = absl::Seconds(60);
constexpr absl::Duration kLongestGrace = absl::Minutes(10);
// Counting this long, the clocks differ by 0.6 s at most: less than any L. What expires later is asked about again
// shortly before, with an answer that is counted anew.
constexpr absl::Duration kLongestExactCount = absl::Minutes(10);

absl::Duration Within(absl::Duration d, absl::Duration most) { return std::clamp(d, absl::ZeroDuration(), most); }

Kid KidOf(std::string_view canonical) {
  Kid kid;
  std::memcpy(kid.data(), canonical.data() + core::kMarker.size(), kid.size());
  return kid;
}

// std::array's == calls memcmp, which costs more than the rest of finding an entry.
bool IsSame(const Kid& a, const Kid& b) {
  uint64_t x[2], y[2];
  static_assert(sizeof(x) == sizeof(Kid));
  std::memcpy(x, a.data(), sizeof(x));
  std::memcpy(y, b.data(), sizeof(y));
  return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
}

std::string RoleOf(const std::string& organization, const std::string& role) {
  std::string name;
  name.reserve(organization.size() + 1 + role.size());
  return name.append(organization).append("/").append(role);
}

// The secret was right and the key is good: the rest depends on what is asked, and is judged here at every hit. What
// was asked carried no address, so that CLIENT_NOT_ALLOWED may mean no more than that, if there are blocks to compare
// one with. It asked for no permission either: any other denial has a reason that this build may not know.
bool IsGoodKey(const LeaseCache::ServerAnswer& answer) {
  if (answer.identity.empty()) return false;
  if (answer.decision == core::Decision::kAllowed) return true;
  return answer.decision == core::Decision::kClientNotAllowed && IdentityRefs::BlockOf(answer.identity)->has_cidrs;
}

bool IsNegative(core::Decision decision) {
  return decision == core::Decision::kNotFound || decision == core::Decision::kRevoked ||
         decision == core::Decision::kDisabled || decision == core::Decision::kExpired;
}

core::Decision JudgeGoodKey(const IdentityBlock& block, const VerifyParams& params) {
  core::KeyStatus key_status;
  key_status.permissions = &block.role->permissions;
  if (block.has_cidrs) {
    if (block.cidrs->empty()) return core::Decision::kClientNotAllowed;
    key_status.allowed_cidrs = *block.cidrs;
  }
  return core::Judge(key_status, {.permissions = &params.required_permissions, .client_ip = params.client_ip});
}

}  // namespace

struct LeaseCache::State {
  State(Options given, const core::Clock& of)
      : options(given),
        grace_ns(absl::ToInt64Nanoseconds(Within(given.grace, kLongestGrace))),
        clock(of),
        tombstones(given.tombstones),
        negatives(given.negatives) {}

  const Options options;
  const int64_t grace_ns;
  const core::Clock& clock;
  const core::SipHash digests = core::SipHash::Random();

  // --- Read by hits ---
  alignas(64) std::atomic<int64_t> lease_until_ns{core::BootTime::Never().nanoseconds()};
  core::PublishedTable<IdentityBlock> verified;

  // --- Written by who changes something; guarded by mutex where it is no atomic ---
  alignas(64) mutable std::mutex mutex;
  std::atomic<uint64_t> stream{0};  // The present one; 0 = none.
  uint64_t last_stream = 0;
  bool greeted = false;                        // The present stream has said Hello.
  core::HistoryId history = core::kNoHistory;  // The last Hello's.
  int64_t floor = 0;                           // Nothing is known any more of what an older answer may have missed.
  absl::Duration bound = kLongestLease;        // That the present stream's Hello told.
  int64_t settled_ns = 0;
  std::optional<core::RevisionToken> applied;
  // Applied, and certainly all of it: one revision may come in several Invalidates.
  std::optional<core::RevisionToken> complete;
  Tombstones tombstones;
  RoleTable roles;
  Negatives negatives;
  std::deque<IdentityBlock*> ring;  // Second chance; nullptr = free.
  std::vector<uint32_t> free_places;
  size_t clock_hand = 0;
  size_t block_bytes = 0;
  std::atomic<int64_t> evictions{0};

  std::optional<Hit> FindVerified(std::string_view canonical, const VerifyParams& params, int64_t grace) const;
  bool IsOfHistory(core::HistoryId other) const { return other == history && other != core::kNoHistory; }
  bool IsOfAnotherHistory(core::HistoryId other) const {
    return other != history && other != core::kNoHistory && history != core::kNoHistory;
  }
  bool IsOverridden(const PendingRequest& request, const ServerAnswer& answer) const;
  bool MayBeStored(const PendingRequest& request, const ServerAnswer& answer) const;
  void Store(const PendingRequest& request, const ServerAnswer& answer, core::BootTime believed_until);
  void Forget(IdentityBlock* block);
  void MakeRoom();
  void EraseKey(const Kid& kid);
  void EraseDigest(const Kid& kid, const core::Digest128& digest);
  void DropEverything();
  void Apply(const core::RevisionToken& revision, bool all_of_it);
};

// --- Hits ---

std::optional<LeaseCache::Hit> LeaseCache::State::FindVerified(std::string_view canonical, const VerifyParams& params,
                                                               int64_t grace) const {
  const int64_t lease = lease_until_ns.load();
  if (lease == core::BootTime::Never().nanoseconds()) return std::nullopt;
  // The kid alone leads to the entry, so that the processor fetches it while it computes the digest.
  const Kid kid = KidOf(canonical);
  std::optional<core::Digest128> digest;
  IdentityBlock* const entry = verified.Find(HashOfKid(kid), [&](const IdentityBlock& block) {
    if (!IsSame(block.kid, kid)) return false;
    if (!digest.has_value()) digest = digests.Of(canonical);
    return block.digest == *digest;
  });
  if (entry == nullptr) return std::nullopt;
  if (entry->revision < entry->role->invalidated.load()) return std::nullopt;
  core::Decision decision = JudgeGoodKey(*entry, params);
  const int64_t now = clock.BootNow().nanoseconds();  // Last.
  const int64_t believed_until = std::min(lease, entry->believed_until_ns());
  if (now >= believed_until + grace) return std::nullopt;
  if (now >= entry->expires_ns) {
    // A far expiry, whose own end is later, or an answer that is over: the server says which.
    if (now >= entry->believed_until_ns()) return std::nullopt;
    decision = core::Decision::kExpired;
  }
  if (!entry->touched.load(std::memory_order_relaxed)) entry->touched.store(true, std::memory_order_relaxed);
  return Hit{.decision = decision, .identity = ProtectIdentity(*entry), .in_grace = now >= believed_until};
}

std::optional<LeaseCache::Hit> LeaseCache::Find(const core::PresentedKey& key, const VerifyParams& params) {
  const std::string_view canonical = key.canonical();
  if (canonical.empty()) return std::nullopt;
  const core::Epochs::Pin pin;
  if (std::optional<Hit> hit = state_->FindVerified(canonical, params, 0)) return hit;
  if (state_->negatives.size() == 0) return std::nullopt;

  const int64_t lease = state_->lease_until_ns.load();
  const Negatives::Entry* const entry = state_->negatives.Find(state_->digests.Of(canonical), KidOf(canonical));
  if (entry == nullptr) return std::nullopt;
  const int64_t now = state_->clock.BootNow().nanoseconds();
  if (now >= lease || now >= entry->until_ns) return std::nullopt;
  return Hit{.decision = entry->decision, .identity = entry->identity};
}

std::optional<LeaseCache::Hit> LeaseCache::FindInGrace(const core::PresentedKey& key, const VerifyParams& params) {
  if (state_->grace_ns == 0) return std::nullopt;
  const std::string_view canonical = key.canonical();
  if (canonical.empty()) return std::nullopt;
  const core::Epochs::Pin pin;
  return state_->FindVerified(canonical, params, state_->grace_ns);
}

// --- Misses ---

LeaseCache::PendingRequest LeaseCache::BeginRequest(const core::PresentedKey& key) const {
  PendingRequest request;
  const std::string_view canonical = key.canonical();
  if (!canonical.empty()) {
    request.digest = state_->digests.Of(canonical);
    request.kid = KidOf(canonical);
    request.stream = state_->stream.load();
  }
  request.asked_at = state_->clock.BootNow();
  return request;
}

bool LeaseCache::State::IsOverridden(const PendingRequest& request, const ServerAnswer& answer) const {
  if (IsOfAnotherHistory(answer.history)) return false;
  if (answer.revision < floor || tombstones.OverridesKey(request.kid, answer.revision)) return true;
  if (answer.identity.empty()) return false;
  const std::string& organization = answer.identity.organization();
  return tombstones.OverridesName(organization, answer.revision) ||
         tombstones.OverridesName(RoleOf(organization, answer.identity.role()), answer.revision);
}

bool LeaseCache::State::MayBeStored(const PendingRequest& request, const ServerAnswer& answer) const {
  return greeted && request.stream != 0 && request.stream == stream.load() && !IsOfAnotherHistory(answer.history);
}

std::optional<LeaseCache::Hit> LeaseCache::Insert(const PendingRequest& request, const ServerAnswer& answer,
                                                  const VerifyParams& params) {
  State& state = *state_;
  const core::BootTime believed_until = request.asked_at + Within(answer.lease_remaining, kLongestLease);
  const bool good_key = IsGoodKey(answer);
  {
    const std::lock_guard lock(state.mutex);
    // Late or not, a denial is a reason to ask again before the next time.
    if (!good_key) state.EraseDigest(request.kid, request.digest);
    if (state.IsOverridden(request, answer)) return std::nullopt;
    if (state.clock.BootNow() >= believed_until) return std::nullopt;
    if (state.MayBeStored(request, answer)) {
      if (good_key) {
        state.Store(request, answer, believed_until);
      } else if (IsNegative(answer.decision)) {
        state.negatives.Put(request.digest, request.kid, answer.decision, answer.identity, answer.revision,
                            std::min(believed_until, request.asked_at + state.options.negative_ttl));
      }
    }
  }
  Hit hit{.decision = answer.decision, .identity = answer.identity};
  if (good_key) {
    hit.decision = JudgeGoodKey(*IdentityRefs::BlockOf(answer.identity), params);
  } else if (answer.decision == core::Decision::kAllowed) {
    hit.decision = core::Decision::kUnspecified;  // Allowed, but nobody: what it may do cannot be judged.
  }
  const core::BootTime now = state.clock.BootNow();  // Last.
  if (now >= believed_until) return std::nullopt;
  if (good_key && answer.expires_in != absl::InfiniteDuration() && now - request.asked_at >= answer.expires_in) {
    hit.decision = core::Decision::kExpired;
  }
  return hit;
}

bool LeaseCache::IsOverriddenByWatch(const PendingRequest& request, const ServerAnswer& answer) const {
  const std::lock_guard lock(state_->mutex);
  return state_->IsOverridden(request, answer);
}

void LeaseCache::State::Store(const PendingRequest& request, const ServerAnswer& answer,
                              core::BootTime believed_until) {
  const IdentityBlock& from = *IdentityRefs::BlockOf(answer.identity);
  if (options.capacity == 0 || from.kid != request.kid) return;
  IdentityBlock* block = IdentityBlock::Copy(from, roles.Intern(*from.role));
  block->digest = request.digest;
  block->revision = answer.revision;
  if (answer.expires_in <= kLongestExactCount) {
    block->expires_ns = (request.asked_at + answer.expires_in).nanoseconds();
  } else if (answer.expires_in < absl::Hours(24 * 365 * 100)) {
    block->expires_ns = (request.asked_at + answer.expires_in * (1 - 2 * core::kClockRateError)).nanoseconds();
    block->BelieveUntil(block->expires_ns);
  }
  const bool settled = IsOfHistory(answer.history) || request.asked_at.nanoseconds() >= settled_ns;
  if (!settled && believed_until.nanoseconds() < block->believed_until_ns()) {
    block->BelieveUntil(believed_until.nanoseconds());
  }
  negatives.Erase(request.digest);

  const auto same = [&block](const IdentityBlock& other) { return other.digest == block->digest; };
  if (const IdentityBlock* there = verified.Find(block->hash(), same)) {
    block->ring_index = there->ring_index;
  } else {
    if (verified.size() >= options.capacity) MakeRoom();
    if (free_places.empty()) {
      block->ring_index = static_cast<uint32_t>(ring.size());
      ring.push_back(nullptr);
    } else {
      block->ring_index = free_places.back();
      free_places.pop_back();
    }
  }
  ring[block->ring_index] = block;
  block_bytes += block->memory_bytes();
  if (IdentityBlock* replaced = verified.Put(block, same)) {
    block_bytes -= replaced->memory_bytes();
    RetireBlock(replaced);
  }
}

// After it was unlinked.
void LeaseCache::State::Forget(IdentityBlock* block) {
  ring[block->ring_index] = nullptr;
  free_places.push_back(block->ring_index);
  block_bytes -= block->memory_bytes();
  RetireBlock(block);
}

void LeaseCache::State::MakeRoom() {
  const int64_t now = clock.BootNow().nanoseconds();
  while (true) {
    if (++clock_hand >= ring.size()) clock_hand = 0;
    IdentityBlock* const block = ring[clock_hand];
    if (block == nullptr) continue;
    const bool useless = std::min(block->expires_ns, block->believed_until_ns()) <= now ||
                         block->revision < block->role->invalidated.load();
    if (!useless && block->touched.exchange(false, std::memory_order_relaxed)) continue;
    EraseDigest(block->kid, block->digest);
    if (!useless) evictions.fetch_add(1, std::memory_order_relaxed);
    return;
  }
}

void LeaseCache::State::EraseDigest(const Kid& kid, const core::Digest128& digest) {
  const auto same = [&digest](const IdentityBlock& block) { return block.digest == digest; };
  if (IdentityBlock* block = verified.Erase(HashOfKid(kid), same)) Forget(block);
}

void LeaseCache::State::EraseKey(const Kid& kid) {
  // More than one while a rotation's secrets overlap.
  const auto same = [&kid](const IdentityBlock& block) { return block.kid == kid; };
  while (IdentityBlock* block = verified.Erase(HashOfKid(kid), same)) Forget(block);
}

void LeaseCache::State::DropEverything() {
  verified.Clear(RetireBlock);
  ring.clear();
  free_places.clear();
  clock_hand = 0;
  block_bytes = 0;
  roles.Clear();
  negatives.Clear();
}

// --- Watch ---

uint64_t LeaseCache::BeginStream() {
  const std::lock_guard lock(state_->mutex);
  state_->greeted = false;
  state_->stream.store(++state_->last_stream);
  return state_->last_stream;
}

void LeaseCache::EndStream(uint64_t stream) {
  const std::lock_guard lock(state_->mutex);
  if (stream != state_->stream.load()) return;
  state_->greeted = false;
  state_->stream.store(0);
}

void LeaseCache::RefuseCaller(uint64_t stream) {
  const std::lock_guard lock(state_->mutex);
  if (stream != state_->stream.load()) return;
  state_->lease_until_ns.store(core::BootTime::Never().nanoseconds());
}

std::optional<core::RevisionToken> LeaseCache::ResumeFrom() const {
  const std::lock_guard lock(state_->mutex);
  return state_->complete;
}

core::RevisionToken LeaseCache::Applied() const {
  const std::lock_guard lock(state_->mutex);
  return state_->applied.value_or(core::RevisionToken());
}

void LeaseCache::State::Apply(const core::RevisionToken& revision, bool all_of_it) {
  if (!greeted || !applied.has_value()) return;
  if (revision.revision > applied->revision) {
    complete = applied;  // The stream is in order: what came before is over.
    applied = revision;
  }
  // Not `applied`: on a stream that resumed before it, the rest of that revision may still be to come.
  if (all_of_it && revision.revision > complete->revision) complete = revision;
}

bool LeaseCache::Hello(uint64_t stream, const core::RevisionToken& from, bool resumed, absl::Duration max_staleness,
                       core::HistoryId history) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (stream != state.stream.load()) return false;
  state.greeted = true;
  const bool said = max_staleness > absl::ZeroDuration();
  state.bound = said ? std::min(max_staleness, kLongestLease) : kLongestLease;
  state.settled_ns = (state.clock.BootNow() + core::WithClockError(state.bound)).nanoseconds();
  const bool same_history = state.IsOfHistory(history);
  // In another history what was answered may be lost, and then nobody will ever invalidate it.
  if (resumed && same_history) {
    state.applied = state.complete;
    return true;
  }
  // A hit may have loaded the lease before, and finds an entry that is stored after. That is no older than what the
  // lease covers: in one history tombstones and floor stay; of another, `from` has all that was before it began; and
  // what proves no history ends with its own answer's lease.
  state.lease_until_ns.store(core::BootTime::Never().nanoseconds());
  state.DropEverything();
  if (!same_history) {
    state.tombstones.Clear();
    state.floor = 0;
    state.applied.reset();
  }
  state.history = history;
  state.floor = std::max(state.floor, from.revision);
  // A server may be behind what was heard of before.
  if (!state.applied.has_value() || state.applied->revision < from.revision) state.applied = from;
  state.complete = from;
  return false;
}

void LeaseCache::Invalidate(uint64_t stream, const Invalidation& what) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (stream != state.stream.load()) return;
  const int64_t revision = what.revision.revision;
  bool all = what.all;
  for (const std::string& text : what.key_ids) {
    Kid kid;
    if (text.size() != kid.size()) continue;  // No entry has it.
    std::memcpy(kid.data(), text.data(), kid.size());
    state.tombstones.AddKey(kid, revision);
    state.EraseKey(kid);
    state.negatives.InvalidateKey(kid, revision);
  }
  for (const std::string& text : what.roles) {
    const std::optional<core::RoleName> name = core::ParseRoleName(text);
    if (!name.has_value()) {
      all = true;  // A newer server's way to say it.
      continue;
    }
    state.tombstones.AddName(RoleOf(name->organization, name->role), revision);
    state.roles.InvalidateRole(name->organization, name->role, revision);
  }
  for (const std::string& organization : what.organizations) {
    state.tombstones.AddName(organization, revision);
    state.roles.InvalidateOrganization(organization, revision);
    state.negatives.Clear();
  }
  if (all) {
    state.floor = std::max(state.floor, revision);
    state.DropEverything();
  }
  state.floor = std::max(state.floor, state.tombstones.forgotten());
  state.Apply(what.revision, false);
}

bool LeaseCache::Pong(uint64_t stream, core::BootTime ping_sent_at, const core::RevisionToken& revision,
                      absl::Duration remaining, core::HistoryId history) {
  State& state = *state_;
  const std::lock_guard lock(state.mutex);
  if (stream != state.stream.load() || !state.greeted) return true;
  if (history != state.history) return false;
  state.Apply(revision, true);
  if (remaining <= absl::ZeroDuration()) return true;
  const int64_t until = (ping_sent_at + Within(remaining, state.bound)).nanoseconds();
  if (until > state.lease_until_ns.load()) state.lease_until_ns.store(until);
  return true;
}

// --- The rest ---

LeaseCache::LeaseCache(Options options, const core::Clock& clock) : state_(std::make_unique<State>(options, clock)) {}

LeaseCache::~LeaseCache() {
  const std::lock_guard lock(state_->mutex);
  state_->DropEverything();
}

core::BootTime LeaseCache::lease_until() const {
  return core::BootTime::FromNanoseconds(state_->lease_until_ns.load());
}

size_t LeaseCache::size() const { return state_->verified.size(); }

size_t LeaseCache::negative_count() const { return state_->negatives.size(); }

size_t LeaseCache::memory_bytes() const {
  const std::lock_guard lock(state_->mutex);
  return sizeof(State) + state_->block_bytes + state_->verified.memory_bytes() + state_->ring.size() * sizeof(void*) +
         state_->free_places.capacity() * sizeof(uint32_t) + state_->roles.size() * sizeof(RolePart) +
         state_->negatives.memory_bytes() + state_->tombstones.memory_bytes();
}

int64_t LeaseCache::evictions() const { return state_->evictions.load(std::memory_order_relaxed); }

}  // namespace latchkey::client
