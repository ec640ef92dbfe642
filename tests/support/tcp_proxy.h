#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>

#include "absl/time/time.h"

namespace latchkey::testing {

// A link on loopback that can be broken: forwards TCP between whoever connects to port() and the target, and does to
// the bytes what its mode says. Thread-safe.
class TcpProxy {
 public:
  enum class Mode {
    kPass,
    kCut,            // Connections are reset, new ones refused (accepted and reset).
    kStall,          // Nothing moves, in either direction, and no end says why: a pulled cable.
    kStallToTarget,  // One direction only.
    kStallFromTarget,
  };

  // `target`: a port of 127.0.0.1, or the path of a Unix socket (absolute). It need not be there yet. Aborts if the
  // proxy can't listen.
  explicit TcpProxy(int target) : TcpProxy(std::to_string(target)) {}
  explicit TcpProxy(std::string target);
  ~TcpProxy();
  TcpProxy(const TcpProxy&) = delete;
  TcpProxy& operator=(const TcpProxy&) = delete;

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }
  // In effect when it returns. What was stalled moves on when it passes again, as TCP's retransmission would.
  void Set(Mode mode);
  // Holds every byte back for so long, in each direction.
  void SetLatency(absl::Duration latency);
  // Resets the connections there are, once.
  void Reset();
  // Where connections lead from now on; those there are stay where they are.
  void SetTarget(std::string target);

 private:
  struct Link;
  void Run();
  void Wake() const;
  std::string target() const;

  mutable std::mutex mutex_;
  std::string target_;
  int listener_ = -1;
  int wake_ = -1;
  int port_ = 0;
  std::atomic<Mode> mode_{Mode::kPass};
  std::atomic<int> modes_set_{0};
  std::atomic<int> modes_in_effect_{0};  // Of those set.
  std::atomic<int64_t> latency_ns_{0};
  std::atomic<int> resets_{0};
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace latchkey::testing
