#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "tests/support/server_fixture.h"

namespace latchkey::hostile {

// What good callers meet for a while, and what it costs the server.
struct Figures {
  double p50_ms = 0;           // Of Verify on a connection that was there before.
  double p99_ms = 0;           // Likewise.
  double slowest_open_ms = 0;  // Of a StreamVerify stream, to the answer to its first batch; half of them on a new
                               // connection.
  int calls = 0;
  int failed = 0;  // Of both kinds, with the first failure's text.
  std::string failure;
  int64_t rss_kib = 0;  // The most that was seen.
  int64_t threads = 0;  // Likewise.
};

// A real latchkeyd on a real PostgreSQL, with a caller of the role verifier and a few keys to verify.
class Target {
 public:
  // `flags`: more of latchkeyd serve.
  explicit Target(std::vector<std::string> flags = {});

  const std::string& address() const { return server_->address(); }
  testing::RunningServer& server() { return *server_; }
  const testing::Installation& installation() const { return *installation_; }
  // Key strings of roles: system's owner; a verifier; an ordinary key.
  const std::string& owner() const { return owner_; }
  const std::string& verifier() const { return verifier_; }
  const std::string& key() const { return key_; }

  // Good calls for a while; meanwhile `attack`, if there is one, on a thread of its own. It must end by itself once
  // `over` is true. The good calls begin when it has said so by `begun`, or has ended.
  struct Moments {
    std::atomic<bool> begun = false;
    std::atomic<bool> over = false;
  };
  using Attack = std::function<void(Moments& moments)>;
  Figures Observe(absl::Duration how_long, const Attack& attack = nullptr);

  int64_t RssKib() const { return ProcessFigure("VmRSS:"); }
  int64_t Threads() const { return ProcessFigure("Threads:"); }

 private:
  int64_t ProcessFigure(const std::string& name) const;

  std::unique_ptr<testing::Installation> installation_;
  std::unique_ptr<testing::RunningServer> server_;
  std::string owner_;
  std::string verifier_;
  std::string key_;
};

// How long an attack lasts: 3 s, or 20 s with LATCHKEY_HOSTILE=long.
absl::Duration AttackTime();

// Attacks it and prints the figures beside those of the same server before.
struct Comparison {
  Figures quiet;
  Figures under;
};
Comparison Measure(const std::string& name, Target& target, const Target::Attack& attack);

// What good callers may notice, unless three times the quiet figure is more. Wide, because one attack may share two
// slow cores with its victims; the table has the figures, which are far below on an idle machine.
struct Tolerance {
  double p99_ms = 100;
  double slowest_open_ms = 500;
  int64_t growth_kib = 64 << 10;  // Of RSS, whatever the quiet figure is.
};
// Connections are accepted in the order in which they come, and each may send as much as is read at once before anybody
// counts it: whoever opens one meanwhile waits behind those of the attacker.
inline constexpr Tolerance kManyConnections = {.p99_ms = 500, .slowest_open_ms = 5000, .growth_kib = 128 << 10};

// The same, and expects that good callers notice little: no failure, the tolerance.
void ExpectUnharmed(const std::string& name, Target& target, const Target::Attack& attack,
                    const Tolerance& tolerance = {});

}  // namespace latchkey::hostile
