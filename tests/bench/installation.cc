#include "tests/bench/installation.h"

#include <signal.h>

#include <cstdio>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "server/app/files.h"
#include "server/app/first_keys.h"
#include "server/app/key_ring_file.h"
#include "server/storage/postgres/migrations.h"
#include "tests/bench/sql.h"

namespace latchkey::bench {
namespace {

constexpr char kReady[] = "latchkey ready on ";
constexpr int kChannels = 2;
const absl::Duration kPatience = absl::Minutes(3);

void Require(const absl::Status& status, const std::string& what) {
  if (status.ok()) return;
  std::fprintf(stderr, "bench: %s: %s\n", what.c_str(), std::string(status.message()).c_str());
  std::abort();
}

std::string KeyIn(const std::string& file) {
  const absl::StatusOr<core::Secret> secret = app::ReadSecretFile(file);
  Require(secret.status(), file);
  std::string key(secret->Expose());
  key.pop_back();  // The newline.
  return key;
}

}  // namespace

Server::Server(std::vector<std::string> arguments, int channels) {
  const int64_t began = NowNanoseconds();
  process_ = std::make_unique<testing::ChildProcess>(testing::ChildProcess::Options{.arguments = std::move(arguments)});
  const std::optional<std::string> line = process_->ReadLineStartingWith(kReady, kPatience);
  time_to_ready_ = absl::Nanoseconds(NowNanoseconds() - began);
  if (!line.has_value()) {
    const std::string log = process_->error();
    std::fprintf(stderr, "bench: latchkeyd is not ready; its log ends with:\n%s\n",
                 log.substr(log.size() - std::min<size_t>(log.size(), 2000)).c_str());
    std::abort();
  }
  address_ = line->substr(sizeof(kReady) - 1);
  channels_ = Connect(address_, channels);
}

Server::~Server() {
  channels_.clear();
  process_->Signal(SIGTERM);
  if (process_->WaitFor(absl::Seconds(60)) != 0) std::fprintf(stderr, "bench: latchkeyd did not end with 0\n");
}

Installation::Installation(app::EmbeddedPostgres& postgres, const std::string& name, const std::string& latchkeyd,
                           const std::string& directory, int64_t proven, int64_t unproven)
    : latchkeyd_(latchkeyd), directory_(directory) {
  Require(app::MakePrivateDirectory(directory).status(), directory);
  Sql(postgres.ConnectionString()).Run(absl::StrCat("CREATE DATABASE ", name));
  database_ = postgres.ConnectionString(name);
  Require(storage::Migrate(database_), "the schema");
  absl::StatusOr<keys::KeyRing> created = app::CreateKeyRing(directory + "/keyring.json");
  Require(created.status(), "the key ring");
  const keys::KeyRingHandle ring(*std::move(created));
  Require(app::WriteSecretFile(directory + "/database.url", core::Secret(database_ + "\n"), false), "the URL file");
  Require(app::MakeFirstKeys(database_, ring, {},
                             {{{"system", "First owner", "owner"}, directory + "/system.key"},
                              {{"acme", "First owner", "owner"}, directory + "/acme.key"},
                              {{"system", "First verifier", "verifier"}, directory + "/verifier.key"}},
                             false),
          "the first keys");
  owner_key_ = KeyIn(directory + "/acme.key");
  verifier_key_ = KeyIn(directory + "/verifier.key");
  const int64_t began = NowNanoseconds();
  keys_ = CopyKeys(database_, *keys::KeyRingHandle::Pin(ring), proven, unproven);
  time_to_fill_ = absl::Nanoseconds(NowNanoseconds() - began);
}

std::unique_ptr<Server> Installation::Start(const std::vector<std::string>& more_arguments) const {
  std::vector<std::string> arguments = {latchkeyd_,
                                        "serve",
                                        "--listen",
                                        "127.0.0.1:0",
                                        "--keyring",
                                        directory_ + "/keyring.json",
                                        "--database-url-file",
                                        directory_ + "/database.url"};
  arguments.insert(arguments.end(), more_arguments.begin(), more_arguments.end());
  return std::make_unique<Server>(std::move(arguments), kChannels);
}

}  // namespace latchkey::bench
