#include "client/cli/session.h"

#include "absl/strings/str_cat.h"
#include "client/cli/arguments.h"
#include "client/src/channel.h"
#include "client/src/key_file.h"

namespace latchkey::cli {

absl::StatusOr<absl::Duration> TimeoutFrom(const GlobalOptions& options) {
  const absl::StatusOr<absl::Duration> timeout = ParseDuration(options.timeout);
  if (!timeout.ok() || *timeout > absl::Seconds(60)) {
    return absl::InvalidArgumentError("--timeout: a duration such as 10s or 500ms is wanted, at most 60s");
  }
  return *timeout;
}

absl::StatusOr<Session> Session::Open(const GlobalOptions& options) {
  const absl::StatusOr<absl::Duration> timeout = TimeoutFrom(options);
  if (!timeout.ok()) return timeout.status();
  if (options.credentials.empty()) {
    return absl::InvalidArgumentError("whose key is calling? Give --credentials FILE or set LATCHKEY_KEY_FILE");
  }
  absl::StatusOr<core::Secret> caller_key = client::ReadKeyFile(options.credentials);
  if (!caller_key.ok()) return caller_key.status();
  const absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = client::MakeChannel(options.server);
  if (!channel.ok()) {
    return absl::Status(channel.status().code(), absl::StrCat("--server: ", channel.status().message()));
  }
  return Session(v1::KeyAdmin::NewStub(*channel), *std::move(caller_key), *timeout);
}

}  // namespace latchkey::cli
