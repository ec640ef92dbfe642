#include "server/app/service_flags.h"

#include <string>

#include "client/core/key_format.h"

namespace latchkey::app {
namespace {

std::string CheckLabel(const std::string& label) {
  return core::IsLabel(label) ? "" : "wanted at most 15 of [a-z0-9_]";
}

}  // namespace

void AddServiceFlags(CLI::App& command, ServiceOptions& options) {
  command.add_option("--listen", options.listen, "HOST:PORT on loopback, or unix:PATH; port 0 picks a free one")
      ->envname("LATCHKEYD_LISTEN")
      ->capture_default_str();
  command
      .add_option(
          "--hash-profile", options.hash_profile,
          "Argon2id cost of new keys: owasp (19 MiB, 2 passes) or random-key (1 MiB, 1 pass; enough for 256-bit "
          "random secrets, for large fleets)")
      ->check(CLI::IsMember({"owasp", "random-key"}))
      ->envname("LATCHKEYD_HASH_PROFILE")
      ->capture_default_str();
  command
      .add_option("--hash-workers", options.hash_workers,
                  "threads that run Argon2, each with its own fixed memory; 0 = half the cores")
      ->check(CLI::Range(0, 64))
      ->envname("LATCHKEYD_HASH_WORKERS")
      ->capture_default_str();
  command.add_option("--label", options.label, "cosmetic text in front of new key strings, at most 15 of [a-z0-9_]")
      ->check(CheckLabel)
      ->envname("LATCHKEYD_LABEL");
  command
      .add_option("--admin-workers", options.admin_workers,
                  "how many CreateKeys run at a time, and how many other calls of KeyAdmin that revoke nothing")
      ->check(CLI::Range(1, 256))
      ->envname("LATCHKEYD_ADMIN_WORKERS")
      ->capture_default_str();
  command
      .add_option("--database-connections", options.database_connections,
                  "size of the connection pool, beside six for revocations, one for following the log and one for "
                  "--doorbell=notify")
      ->check(CLI::Range(2, 256))
      ->envname("LATCHKEYD_DATABASE_CONNECTIONS")
      ->capture_default_str();
  command
      .add_option(
          "--max-connections", options.max_connections,
          "connections at a time; lower where the limit of descriptors is lower (two each, and 256 are kept for "
          "other uses). Those on which nobody has authenticated are 256 at most: one more closes the oldest")
      ->check(CLI::Range(1, 1'000'000))
      ->envname("LATCHKEYD_MAX_CONNECTIONS")
      ->capture_default_str();
  command
      .add_option("--max-connections-per-address", options.max_connections_per_address,
                  "of these, from one IP address, which may be a proxy's; 0 = half")
      ->check(CLI::Range(0, 1'000'000))
      ->envname("LATCHKEYD_MAX_CONNECTIONS_PER_ADDRESS")
      ->capture_default_str();
  command
      .add_option("--accept", options.accept,
                  "who accepts connections: own (bounded as above) or library (gRPC: neither bounded nor shut when one "
                  "floods; only to rule out that a fault lies there)")
      ->check(CLI::IsMember({"own", "library"}))
      ->envname("LATCHKEYD_ACCEPT")
      ->capture_default_str();
  command
      .add_option(
          "--watchdog-seconds", options.watchdog_seconds,
          "how often the server dials its own listener; after three dials without an answer (twelve while it "
          "accepts connections) it exits with 70. 0 = never. systemd's WatchdogSec= is served by the same dials")
      ->check(CLI::Range(0.0, 3600.0))
      ->envname("LATCHKEYD_WATCHDOG_SECONDS")
      ->capture_default_str();
  command.add_option("--drain-seconds", options.drain_seconds, "how long calls in flight may take after TERM")
      ->check(CLI::Range(0.0, 600.0))
      ->envname("LATCHKEYD_DRAIN_SECONDS")
      ->capture_default_str();
  command
      .add_option("--proofs", options.proofs,
                  "where proofs of key strings are kept, 16 bytes a key that say nothing without the key ring: shared "
                  "(in the database, so that restarts and other servers need no Argon2 for a key that was proven once) "
                  "or memory (each server proves each key for itself)")
      ->check(CLI::IsMember({"shared", "memory"}))
      ->envname("LATCHKEYD_PROOFS")
      ->capture_default_str();
  command
      .add_option("--doorbell", options.doorbell,
                  "how servers tell each other of a change within milliseconds: notify (PostgreSQL's NOTIFY; wants a "
                  "connection that is no pooler's), peer (UDP between the servers, authenticated by the key ring) or "
                  "none. A hint only: without it a change is everywhere within a second, and the bound holds anyway")
      ->check(CLI::IsMember({"notify", "peer", "none"}))
      ->envname("LATCHKEYD_DOORBELL")
      ->capture_default_str();
  command
      .add_option("--doorbell-listen", options.doorbell_listen,
                  "with --doorbell=peer: HOST:PORT to hear rings on (UDP), port 0 = a free one; the default is of use "
                  "on one machine only")
      ->envname("LATCHKEYD_DOORBELL_LISTEN")
      ->capture_default_str();
  command
      .add_option("--doorbell-advertise", options.doorbell_advertise,
                  "with --doorbell=peer: HOST or HOST:PORT that the other servers ring at; default: what was bound. "
                  "Needed if --doorbell-listen is 0.0.0.0 or [::]")
      ->envname("LATCHKEYD_DOORBELL_ADVERTISE");
  command.add_option("--log-level", options.log_level, "debug, info, warning or error; JSON lines on stderr")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}))
      ->envname("LATCHKEYD_LOG_LEVEL")
      ->capture_default_str();
}

}  // namespace latchkey::app
