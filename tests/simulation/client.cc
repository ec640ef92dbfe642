#include "tests/simulation/client.h"

#include <utility>

namespace latchkey::simulation {
namespace {

constexpr double kRateError = core::kClockRateError;

}  // namespace

Client::Client(World& world, std::vector<std::unique_ptr<Server>>& servers, std::vector<SimulatedKey>& keys,
               const SimulatedKey& caller, Judge& judge, double grace)
    : world_(world),
      servers_(servers),
      keys_(keys),
      caller_(caller),
      judge_(judge),
      grace_(grace),
      clock_(world, 1 + world.Uniform(-kRateError, kRateError)),
      cache_({.grace = absl::Seconds(grace)}, clock_),
      params_({.required_permissions = {"app.use"}}),
      timers_(world, clock_),
      watcher_(cache_, clock_, timers_,
               [this](uint64_t cache_stream, const std::optional<core::RevisionToken>& resume,
                      client::WatchConnection::Events events) { return Open(cache_stream, resume, std::move(events)); },
               nullptr, {.up = [](const std::shared_ptr<grpc::Channel>&) {}, .down = [] {}},
               {.caller_key = caller.text,
                .wall_now = [&world] { return world.wall_now(); },
                .seed = static_cast<uint32_t>(world.Pick(1'000'000))}) {}

std::unique_ptr<client::WatchConnection> Client::Open(uint64_t cache_stream,
                                                      const std::optional<core::RevisionToken>& resume,
                                                      client::WatchConnection::Events events) {
  auto gone = std::move(events.gone);
  events.gone = [this, gone = std::move(gone)](client::WatchConnection& stream, const absl::Status& status) {
    if (&stream == newest_) newest_ = nullptr;
    gone(stream, status);
  };
  auto connection = std::make_unique<WatchWire::Connection>(
      world_, AnyServer(), caller_, clock_, [this](std::function<void()> task) { timers_.Post(std::move(task)); },
      cache_stream, resume, std::move(events));
  newest_ = connection.get();
  return connection;
}

void Client::Run() {
  watcher_.Start();
  // Connections break now and then, and servers say that they are about to stop.
  world_.In(world_.Uniform(4, 15), [this] {
    while (!world_.ending()) {
      timers_.Post([this] {
        if (newest_ == nullptr) return;
        world_.Chance(0.8) ? newest_->Break() : newest_->AskServerToDrain();
      });
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

void Client::Undecided(const SimulatedKey& key) {
  ++judge_.outcome.undecided;
  if (grace_ == 0) return;
  const double began = world_.now();
  const auto hit = cache_.FindInGrace(key.text, params_);
  if (hit && hit->decision == core::Decision::kAllowed) judge_.Accept(key, "a cache in grace", began, grace_);
}

void Client::VerifyOne(const SimulatedKey& key) {
  const double began = world_.now();
  const auto hit = cache_.Find(key.text, params_);
  if (hit) {
    ++judge_.outcome.cache_hits;
    if (hit->decision == core::Decision::kAllowed) {
      judge_.Accept(key, "a cache", began);
    } else {
      ++judge_.outcome.denials;
    }
    return;
  }
  Server& server = AnyServer();
  const client::LeaseCache::PendingRequest request = cache_.BeginRequest(key.text);
  if (!world_.Cross(server.LinkToClient())) return Undecided(key);
  const absl::StatusOr<keys::Verdict> verdict = server.Verify(key);
  if (!world_.Cross(server.LinkToClient()) || !verdict.ok()) return Undecided(key);
  client::LeaseCache::ServerAnswer answer{.decision = verdict->decision,
                                          .revision = verdict->revision.revision,
                                          .lease_remaining = verdict->lease_remaining,
                                          .expires_in = verdict->expires_in,
                                          .history = server.Told(verdict->history)};
  if (verdict->identity) {
    answer.identity = Identity(Identity::Fields{.organization = verdict->identity->organization,
                                                .key_id = verdict->identity->kid,
                                                .role = verdict->identity->role,
                                                .permissions = verdict->identity->permissions,
                                                .secret_version = verdict->identity->secret_version});
  }
  const auto learnt = cache_.Insert(request, answer, params_);
  if (!learnt) return Undecided(key);
  if (learnt->decision == core::Decision::kAllowed) {
    // It was on its way when it began: whoever waits for all caches does not wait for answers in flight.
    judge_.Accept(key, "an answer", began);
  } else {
    ++judge_.outcome.denials;
  }
}

}  // namespace latchkey::simulation
