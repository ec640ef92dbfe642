#include "tests/simulation/parties.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/resource_names.h"

namespace latchkey::simulation {
namespace {

constexpr double kRateError = core::kClockRateError;
constexpr double kPoll = 1;

// Never hashes: every key of a schedule has its proof stored.
keys::HashPool& NoHashes() {
  static auto* const clock = new core::SystemClock();
  static auto* const pool = new keys::HashPool({.workers = 1, .profile = keys::RandomKeyProfile()}, *clock);
  return *pool;
}

}  // namespace

void Judge::Accept(const SimulatedKey& key, const char* who, double more) {
  ++outcome.accepts;
  if (!key.dead_at) return;
  const double age = world_.now() - *key.dead_at;
  outcome.worst = std::max(outcome.worst, age - more);
  if (age < (kBound + more) * (1 + 4 * kRateError)) return;
  ++outcome.late_accepts;
  if (outcome.first_late.empty()) {
    outcome.first_late =
        absl::StrCat(who, " accepted ", key.role, " key ", age, " s after it was revoked, at ", world_.now(), " s");
  }
}

Server::Server(World& world, storage::KeyStore& database, const keys::KeyRing& ring, Judge& judge, int number, int page)
    : world_(world),
      judge_(judge),
      number_(number),
      clock_(world, 1 + world.Uniform(-kRateError, kRateError)),
      store_(database, world, absl::StrCat("db-s", number)),
      ring_(ring),
      follower_(store_, index_, hub_, clock_,
                {.replica = absl::StrCat("s", number), .page = page, .catch_up_pause = absl::ZeroDuration()}),
      checker_(store_, index_, ring, NoHashes(), clock_, {.workers = 1}),
      verifier_(index_, ring, checker_, clock_) {}

void Server::Run() {
  world_.In(world_.Uniform(0, kPoll), [this] {
    while (!world_.ending()) {
      if (!reading_) {
        reading_ = true;
        (void)follower_.Renew();  // It fails often here; the lease is what is judged.
        reading_ = false;
      }
      world_.Sleep(kPoll);
    }
  });
}

void Server::Ring() {
  if (reading_ || world_.ending()) return;
  reading_ = true;
  (void)follower_.CatchUp(clock_.BootNow() + absl::Seconds(4));
  reading_ = false;
}

void Server::Deliver(const std::vector<keys::LogRow>& rows) {
  while (reading_ && !world_.ending()) world_.Sleep(0.01);
  if (world_.ending()) return;
  reading_ = true;
  follower_.Deliver(rows);
  reading_ = false;
}

absl::StatusOr<keys::Verdict> Server::Verify(const SimulatedKey& key) {
  const std::optional<absl::StatusOr<keys::Verdict>> verdict =
      verifier_.VerifyFromMemory({.key_string = key.text, .asker_organization = "system"});
  if (!verdict) return absl::UnavailableError("not proven");
  if (!verdict->ok()) return verdict->status();
  // A caller that keeps nothing lets it in now. Permissions are the question's, here as in the cache.
  const auto& identity = (*verdict)->identity;
  if ((*verdict)->decision == core::Decision::kAllowed && identity &&
      std::find(identity->permissions.begin(), identity->permissions.end(), "app.use") != identity->permissions.end()) {
    judge_.Accept(key, "a server");
  }
  return **verdict;
}

std::shared_ptr<Server::Session> Server::Subscribe(Client& client, uint64_t stream,
                                                   std::optional<core::RevisionToken> resume) {
  auto session = std::make_shared<Session>(*this, client, stream);
  session->Begin(resume);
  return session;
}

void Server::Session::Begin(std::optional<core::RevisionToken> resume) {
  const std::weak_ptr<Session> weak = weak_from_this();
  World& world = server_.world_;
  auto subscription = server_.hub_.Subscribe({}, resume.value_or(core::RevisionToken()), [weak, &world] {
    world.In(0, [weak] {
      if (const auto self = weak.lock()) self->Drain();
    });
  });
  if (!subscription.ok()) return;  // The client will try again.
  watch_ = subscription->stream;
  Send([this, from = subscription->from, resumed = subscription->resumed] {
    client_.cache().Hello(stream_, from, resumed, absl::Seconds(kBound));
  });
  Drain();
}

void Server::Session::Drain() {
  if (watch_ == nullptr || closed_) return;
  const std::vector<keys::Invalidation> taken = watch_->Take(1000);
  if (!watch_->ended().ok()) {
    closed_ = true;
    return;
  }
  if (taken.empty()) return;
  client::LeaseCache::Invalidation message;
  for (const keys::Invalidation& change : taken) {
    message.revision = change.revision;
    switch (change.kind) {
      case keys::Invalidation::Kind::kKey:
        message.key_ids.push_back(change.id);
        break;
      case keys::Invalidation::Kind::kRole:
        message.roles.push_back(core::RoleNameOf(change.organization, change.id));
        break;
      case keys::Invalidation::Kind::kOrganization:
        message.organizations.push_back(change.organization);
        break;
      default:
        break;
    }
  }
  Send([this, message] { client_.cache().Invalidate(stream_, message); });
}

void Server::Session::Ping(core::BootTime sent_at, const core::RevisionToken& acknowledged) {
  if (watch_ == nullptr || closed_) return;
  // Position and reading first: what they cover is queued by now.
  const core::RevisionToken position = server_.hub_.position();
  const keys::KeyIndex::Snapshot snapshot = server_.index_.Read();
  watch_->Acknowledge(acknowledged.revision);
  Drain();
  if (closed_) return;
  const absl::Duration remaining = snapshot.lease_until - server_.clock_.BootNow();
  Send([this, sent_at, position, remaining] { client_.cache().Pong(stream_, sent_at, position, remaining); });
}

void Server::Session::Send(std::function<void()> deliver) {
  World& world = server_.world_;
  const double healed = world.HealedAt(server_.LinkToClient());
  const double arrival = std::max({last_arrival_ + 1e-6, world.now() + world.Delay(), healed + 0.01});
  last_arrival_ = arrival;
  world.In(arrival - world.now(), [self = shared_from_this(), deliver = std::move(deliver)] { deliver(); });
}

Client::Client(World& world, std::vector<std::unique_ptr<Server>>& servers, std::vector<SimulatedKey>& keys,
               Judge& judge, double grace)
    : world_(world),
      servers_(servers),
      keys_(keys),
      judge_(judge),
      grace_(grace),
      clock_(world, 1 + world.Uniform(-kRateError, kRateError)),
      cache_({.grace = absl::Seconds(grace)}, clock_),
      params_({.required_permissions = {"app.use"}}) {}

void Client::Run() {
  world_.In(0.1, [this] {
    while (!world_.ending()) {
      Connect();
      world_.Sleep(world_.Uniform(4, 15));
    }
  });
  world_.In(0.3, [this] {
    while (!world_.ending()) {
      const SimulatedKey& key = keys_[world_.Pick(static_cast<int>(keys_.size()))];
      world_.In(0, [this, &key] { VerifyOne(key); });
      world_.Sleep(world_.Exponential(0.08));
    }
  });
}

void Client::Connect() {
  if (session_ != nullptr) session_->Close();
  session_.reset();
  if (stream_ != 0) cache_.EndStream(stream_);
  stream_ = cache_.BeginStream();
  world_.In(0, [this, stream = stream_] {
    Server& server = *servers_[world_.Pick(static_cast<int>(servers_.size()))];
    const std::optional<core::RevisionToken> resume = cache_.ResumeFrom();
    if (!world_.Cross(server.LinkToClient()) || stream != stream_) return;
    session_ = server.Subscribe(*this, stream, resume);
    PingFor(stream, server, session_);
  });
}

void Client::PingFor(uint64_t stream, Server& server, std::shared_ptr<Server::Session> session) {
  while (stream == stream_ && !world_.ending()) {
    const core::BootTime sent_at = clock_.BootNow();
    const core::RevisionToken applied = cache_.Applied();
    world_.In(0, [this, &server, session, sent_at, applied, stream] {
      // Pings overtake each other here, which a stream does not allow: the worse case.
      if (world_.Cross(server.LinkToClient()) && stream == stream_) session->Ping(sent_at, applied);
    });
    world_.Sleep(kPoll);
  }
}

void Client::Undecided(const SimulatedKey& key) {
  ++judge_.outcome.undecided;
  if (grace_ == 0) return;
  const auto hit = cache_.FindInGrace(key.text, params_);
  if (hit && hit->decision == core::Decision::kAllowed) judge_.Accept(key, "a cache in grace", grace_);
}

void Client::VerifyOne(const SimulatedKey& key) {
  const auto hit = cache_.Find(key.text, params_);
  if (hit) {
    ++judge_.outcome.cache_hits;
    if (hit->decision == core::Decision::kAllowed) {
      judge_.Accept(key, "a cache");
    } else {
      ++judge_.outcome.denials;
    }
    return;
  }
  Server& server = *servers_[world_.Pick(static_cast<int>(servers_.size()))];
  const client::LeaseCache::Question question = cache_.Ask(key.text);
  if (!world_.Cross(server.LinkToClient())) return Undecided(key);
  const absl::StatusOr<keys::Verdict> verdict = server.Verify(key);
  if (!world_.Cross(server.LinkToClient()) || !verdict.ok()) return Undecided(key);
  client::LeaseCache::Fact fact{.decision = verdict->decision,
                                .revision = verdict->revision.revision,
                                .lease_remaining = verdict->lease_remaining,
                                .expires_in = verdict->expires_in};
  if (verdict->identity) {
    fact.identity = Identity(Identity::Fields{.organization = verdict->identity->organization,
                                              .key_id = verdict->identity->kid,
                                              .role = verdict->identity->role,
                                              .permissions = verdict->identity->permissions,
                                              .secret_version = verdict->identity->secret_version});
  }
  const auto learnt = cache_.Learn(question, fact, params_);
  if (!learnt) return Undecided(key);
  if (learnt->decision == core::Decision::kAllowed) {
    judge_.Accept(key, "an answer");
  } else {
    ++judge_.outcome.denials;
  }
}

}  // namespace latchkey::simulation
