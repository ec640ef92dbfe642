#include "tests/simulation/watch_wire.h"

#include <algorithm>
#include <utility>

#include "client/core/revision_token.h"
#include "server/rpc/verify/watch_messages.h"

namespace latchkey::simulation {

// --- The client's end ---

WatchWire::Connection::Connection(World& world, Server& server, const SimulatedKey& caller, const core::Clock& clock,
                                  std::function<void(std::function<void()>)> run, uint64_t cache_stream,
                                  const std::optional<core::RevisionToken>& resume, Events events)
    : WatchConnection(cache_stream),
      clock_(clock),
      run_(std::move(run)),
      events_(std::move(events)),
      wire_(std::make_shared<WatchWire>(world, server, caller, this)) {
  v1::WatchRequest first;
  first.mutable_subscribe();
  if (resume.has_value()) first.mutable_subscribe()->set_resume_revision(resume->Encode());
  wire_->Open(std::move(first));
}

WatchWire::Connection::~Connection() { wire_->client_ = nullptr; }

void WatchWire::Connection::Ping(const core::RevisionToken& acknowledged) {
  if (over_) return;
  v1::WatchRequest request;
  request.mutable_ping()->set_seq(sent_.Add(clock_.BootNow()));
  request.mutable_ping()->set_acknowledged_revision(acknowledged.Encode());
  wire_->ToServer([request](WatchWire& wire) { wire.Receive(request); });
}

void WatchWire::Connection::Cancel() {
  if (over_) return;
  wire_->ToServer([](WatchWire& wire) { wire.Close(); });
  End(absl::CancelledError("cancelled"));
}

void WatchWire::Connection::Break() {
  if (over_) return;
  wire_->ToServer([](WatchWire& wire) { wire.Close(); });
  End(absl::UnavailableError("connection reset"));
}

void WatchWire::Connection::AskServerToDrain() {
  wire_->ToServer([](WatchWire& wire) { wire.Drain(); });
}

void WatchWire::Connection::Hear(const v1::WatchResponse& message) {
  if (!over_) events_.heard(*this, message);
}

// `gone` follows and may destroy this.
void WatchWire::Connection::End(const absl::Status& status) {
  if (std::exchange(over_, true)) return;
  run_([wire = wire_, status] {
    if (wire->client_ == nullptr) return;
    const auto gone = wire->client_->events_.gone;
    gone(*wire->client_, status);
  });
}

// --- The network ---

WatchWire::WatchWire(World& world, Server& server, const SimulatedKey& caller, Connection* client)
    : world_(world), server_(server), caller_(caller), client_(client) {}

double WatchWire::Arrival(double& last) {
  const double healed = world_.HealedAt(server_.LinkToClient());
  last = std::max({last + 1e-6, world_.now() + world_.Delay(), healed + 0.01});
  return last - world_.now();
}

void WatchWire::ToServer(std::function<void(WatchWire&)> event) {
  world_.In(Arrival(last_to_server_), [self = shared_from_this(), event = std::move(event)] { event(*self); });
}

void WatchWire::ToClient(std::function<void(Connection&)> event) {
  world_.In(Arrival(last_to_client_), [self = shared_from_this(), event = std::move(event)] {
    if (self->client_ == nullptr) return;
    self->client_->run_([self, event] {
      if (self->client_ != nullptr) event(*self->client_);
    });
  });
}

void WatchWire::Open(v1::WatchRequest first) {
  world_.In(0, [self = shared_from_this(), first = std::move(first)] {
    if (!self->world_.Cross(self->server_.LinkToClient())) {
      self->ToClient([](Connection& client) { client.End(absl::UnavailableError("can't connect")); });
      return;
    }
    self->session_.emplace(self->server_.watch());
    self->Receive(first);
    self->CheckLiveness();
  });
}

// --- The server's end ---

bool WatchWire::Lock() {
  while (locked_ && !world_.ending()) world_.Sleep(0.0001);
  if (locked_ || !session_.has_value()) return false;
  locked_ = true;
  return true;
}

void WatchWire::Unlock() {
  locked_ = false;
  if (closed_) session_.reset();
}

void WatchWire::Close() {
  closed_ = true;
  if (!locked_) session_.reset();
}

void WatchWire::Receive(const v1::WatchRequest& request) {
  if (closed_) return;
  inbox_.push_back(request);
  TakeNext();
}

void WatchWire::TakeNext() {
  if (inbox_.empty() || !may_take_ || !Lock()) return;
  may_take_ = false;
  const v1::WatchRequest request = std::move(inbox_.front());
  inbox_.pop_front();
  session_->NoteHeard();
  const bool subscribed = session_->subscribed();
  Unlock();
  const absl::Status known = server_.JudgeCaller(caller_);
  judged_at_ = world_.now();
  // A stream begins with a caller who is known.
  if (!known.ok() && (absl::IsUnauthenticated(known) || !subscribed)) {
    EndServer(known);
    return;
  }
  if (!Lock()) return;
  const absl::Status taken = subscribed ? TakePing(request.ping(), known.ok()) : Subscribe(request.subscribe());
  Unlock();
  if (taken.ok()) {
    Pump();
  } else {
    EndServer(taken);
  }
}

absl::Status WatchWire::Subscribe(const v1::WatchRequest::Subscribe& wanted) {
  const auto resume = core::RevisionToken::Decode(wanted.resume_revision());
  return session_->Subscribe({}, resume.value_or(core::RevisionToken()), [weak = weak_from_this(), &world = world_] {
    world.In(0, [weak] {
      if (const auto self = weak.lock()) self->Pump();
    });
  });
}

absl::Status WatchWire::TakePing(const v1::WatchRequest::Ping& ping, bool may_lend) {
  return session_->OnPing(ping.seq(), core::RevisionToken::Decode(ping.acknowledged_revision()), may_lend);
}

void WatchWire::Pump() {
  if (writing_ || !Lock()) return;
  const std::optional<keys::WatchSession::Message> next = writing_ ? std::nullopt : session_->Next();
  const absl::Status ended = session_->ended();
  if (next.has_value()) Write(*next);
  Unlock();
  if (!ended.ok()) EndServer(ended);
}

void WatchWire::Write(keys::WatchSession::Message next) {
  const bool answers =
      std::holds_alternative<keys::WatchSession::Hello>(next) || std::holds_alternative<keys::WatchSession::Pong>(next);
  if (auto* const hello = std::get_if<keys::WatchSession::Hello>(&next)) {
    told_bound_ = hello->max_staleness;
    hello->history = server_.Told(hello->history);
  }
  if (auto* const pong = std::get_if<keys::WatchSession::Pong>(&next)) {
    pong->history = server_.Told(pong->history);
    server_.judge().Lend(caller_, judged_at_, pong->remaining, told_bound_);
  }
  v1::WatchResponse message;
  rpc::ToProto(next, &message);
  ToClient([message](Connection& client) { client.Hear(message); });
  // A peer that is slow to take it holds up the next.
  writing_ = true;
  const double takes = world_.Chance(0.03) ? world_.Uniform(0, 9) : 0;
  world_.In(takes, [self = shared_from_this(), answers] {
    self->writing_ = false;
    if (answers) self->may_take_ = true;
    self->TakeNext();
    self->Pump();
  });
}

void WatchWire::Drain() {
  if (!Lock()) return;
  session_->StartDraining();
  Unlock();
  Pump();
}

void WatchWire::CheckLiveness() {
  world_.In(1, [weak = weak_from_this()] {
    const auto self = weak.lock();
    if (self == nullptr || !self->Lock()) return;
    self->session_->CheckLiveness();
    self->Unlock();
    self->Pump();
    self->CheckLiveness();
  });
}

void WatchWire::EndServer(const absl::Status& status) {
  if (closed_) return;
  Close();
  ToClient([status](Connection& client) { client.End(status); });
}

}  // namespace latchkey::simulation
