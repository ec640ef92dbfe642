#pragma once

#include <string>

#include "absl/time/time.h"

namespace latchkey::app {

// Exit codes, after sysexits.h.
inline constexpr int kExitOk = 0;
inline constexpr int kExitUsage = 64;        // A wrong flag or value.
inline constexpr int kExitUnavailable = 69;  // The database, PostgreSQL or the listening address is not to be had.
inline constexpr int kExitSoftware = 70;     // Ours.
inline constexpr int kExitCantCreate = 73;   // A file could not be written.
inline constexpr int kExitBusy = 75;         // Another server uses the data directory.
inline constexpr int kExitConfig = 78;       // A wrong or missing key ring, or a database that doesn't fit this build.

// What serve and dev share.
struct ServiceOptions {
  std::string listen = "127.0.0.1:50051";
  std::string hash_profile = "owasp";
  std::string label;
  std::string log_level = "info";
  int database_connections = 16;
  int hash_workers = 0;  // 0 = max(1, cores / 2).
  int admin_workers = 8;
  double drain_seconds = 10;
  int max_connections = 10'000;
  int max_connections_per_address = 0;  // 0 = half of max_connections.
  std::string accept = "own";           // Or "library".
  double watchdog_seconds = 5;          // 0 = none.
  std::string proofs = "shared";        // Or "memory".
  std::string doorbell = "notify";      // Or "peer", "none".
  std::string doorbell_listen = "127.0.0.1:0";
  std::string doorbell_advertise;  // "" = what was bound.
  std::string state_dir;           // "" = nothing is remembered (serve); under the data directory (dev).
};

struct ServeOptions {
  ServiceOptions service;
  std::string database_url_file;
  std::string keyring_file;
  bool migrate = true;
};

struct DevOptions {
  ServiceOptions service;
  std::string data_dir = "var";
};

struct MigrateOptions {
  std::string database_url_file;
};

struct BootstrapOptions {
  std::string database_url_file;
  std::string keyring_file;
  std::string out;
};

struct AcceptHistoryOptions {
  std::string database_url_file;
  std::string state_dir;
};

struct SetBoundOptions {
  std::string database_url_file;
  int seconds = 0;
};

struct UpgradeFinishOptions {
  std::string database_url_file;
};

struct ReplicasOptions {
  std::string database_url_file;
};

struct KeyringInitOptions {
  std::string keyring_file;
};

}  // namespace latchkey::app
