#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>

#include "client/src/watch_connection.h"
#include "server/keys/replication/watch_session.h"
#include "tests/simulation/server.h"
#include "tests/simulation/world.h"

namespace latchkey::simulation {

// Transport of one Watch over the simulated network, in both directions: messages arrive in order, and a cut link holds
// them up until it heals, as TCP does. What the messages are is the real classes' business: client::Watcher at one end,
// keys::WatchSession at the other.
class WatchWire : public std::enable_shared_from_this<WatchWire> {
 public:
  // The client's end.
  class Connection final : public client::WatchConnection {
   public:
    // `run`: how the client's timers run what is handed over. `caller`: whose key comes with the call.
    Connection(World& world, Server& server, const SimulatedKey& caller, const core::Clock& clock,
               std::function<void(std::function<void()>)> run, uint64_t cache_stream,
               const std::optional<core::RevisionToken>& resume, Events events);
    ~Connection() override;

    void Ping(const core::RevisionToken& acknowledged) override;
    std::optional<core::BootTime> TakeSentAt(uint64_t seq) override { return sent_.Take(seq); }
    void Cancel() override;
    const std::shared_ptr<grpc::Channel>& channel() const override { return no_channel_; }
    // The network loses the connection: both ends learn of it, in their time.
    void Break();
    // The server at the other end is about to stop, and says so.
    void AskServerToDrain();

   private:
    friend class WatchWire;
    void Hear(const v1::WatchResponse& message);
    void End(const absl::Status& status);

    const core::Clock& clock_;
    const std::function<void(std::function<void()>)> run_;
    const Events events_;
    const std::shared_ptr<grpc::Channel> no_channel_;
    std::shared_ptr<WatchWire> wire_;
    client::SentPings sent_;
    bool over_ = false;
  };

  WatchWire(World& world, Server& server, const SimulatedKey& caller, Connection* client);

  // The server is about to stop and says so.
  void Drain();

 private:
  // --- The server's end, as rpc drives a session ---
  // One lock over all calls of the session, whose fiber may pause in the middle. False: there is no session (any more).
  bool Lock();
  void Unlock();
  // The stream is gone: so is the session, once it is unlocked.
  void Close();
  void Receive(const v1::WatchRequest& request);
  void TakeNext();
  absl::Status Subscribe(const v1::WatchRequest::Subscribe& wanted);
  absl::Status TakePing(const v1::WatchRequest::Ping& ping, bool may_lend);
  void Pump();
  void Write(keys::WatchSession::Message next);
  void CheckLiveness();
  void EndServer(const absl::Status& status);

  void Open(v1::WatchRequest first);
  void ToServer(std::function<void(WatchWire&)> event);
  void ToClient(std::function<void(Connection&)> event);
  // When what is sent now arrives, after what was sent before.
  double Arrival(double& last);

  World& world_;
  Server& server_;
  const SimulatedKey& caller_;
  Connection* client_;  // nullptr once it is gone.
  double last_to_server_ = 0;
  double last_to_client_ = 0;

  std::optional<keys::WatchSession> session_;  // While the server's end is open.
  bool locked_ = false;
  bool closed_ = false;
  std::deque<v1::WatchRequest> inbox_;
  bool may_take_ = true;  // One message at a time: the next when this one's answer is written.
  bool writing_ = false;
  double judged_at_ = 0;  // When the caller of the last ping was judged.
  absl::Duration told_bound_;
};

}  // namespace latchkey::simulation
