#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/keys/crypto/key_ring_handle.h"
#include "server/model/doorbell.h"
#include "server/model/key_store.h"

namespace latchkey::doorbell {

// The doorbell from server to server, for databases without LISTEN: UDP datagrams {version 1, be64(revision), waiting,
// 16-byte MAC under the key ring's K_token} to the doorbell addresses in replica_lease. A datagram with a wrong MAC is
// dropped and counted. One that was recorded may be replayed, which makes a server read the log once more.
//
// Thread-safe but for Start.
class PeerDoorbell final : public keys::Doorbell {
 public:
  struct Options {
    std::string listen = "127.0.0.1:0";  // HOST:PORT; port 0 = a free one.
    // What the others are told: HOST or HOST:PORT, port 0 or none = the bound one. "" = what was bound.
    std::string advertise;
  };
  // Binds. INVALID_ARGUMENT for an address that can't be read or a wildcard that nothing is advertised for; UNAVAILABLE
  // if it can't be bound.
  static absl::StatusOr<std::unique_ptr<PeerDoorbell>> Bind(const Options& options);
  ~PeerDoorbell() override;
  PeerDoorbell(const PeerDoorbell&) = delete;
  PeerDoorbell& operator=(const PeerDoorbell&) = delete;

  // Begins to hear and to ring; `heard` is called on the doorbell's thread and must not block. `ring` outlives it.
  // Once.
  void Start(const keys::KeyRingHandle& ring, Heard heard);
  // Whom to ring: every row but `own`'s. Resolves names: may block.
  void SetPeers(const std::vector<storage::Replica>& replicas, const std::string& own);

  void Ring(int64_t revision, bool waiting) override;

  // Where the others reach it: HOST:PORT.
  const std::string& advertised() const { return advertised_; }
  // Datagrams dropped: wrong MAC, size or version.
  int64_t dropped() const { return dropped_; }

  // One datagram; for tests.
  static std::string Datagram(const keys::KeyRing& ring, int64_t revision, bool waiting);

 private:
  struct Address;
  PeerDoorbell(int socket, std::string advertised);
  void Run();
  void SendPending();
  void Receive();

  const int socket_;
  const int wake_;  // An eventfd: rings and the end.
  const std::string advertised_;
  const keys::KeyRingHandle* ring_ = nullptr;
  Heard heard_;
  std::atomic<int64_t> dropped_{0};
  std::mutex mutex_;
  bool stopping_ = false;
  bool pending_ = false;
  bool pending_waiting_ = false;
  int64_t pending_revision_ = 0;
  std::vector<Address> peers_;
  std::thread thread_;
};

}  // namespace latchkey::doorbell
