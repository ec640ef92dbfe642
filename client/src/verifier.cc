#include "latchkey/verifier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/secret.h"
#include "client/src/channel.h"
#include "client/src/connection.h"
#include "client/src/key_file.h"
#include "client/src/remote_verifier.h"

namespace latchkey {
namespace {

absl::Status OptionError(const char* option, const absl::Status& error) {
  return absl::Status(error.code(), absl::StrCat("VerifierOptions.", option, ": ", error.message()));
}

}  // namespace

// Where the layers are put together; the cache will stand between RemoteVerifier and the caller.
absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Connect(const VerifierOptions& options) {
  if (options.timeout < absl::Milliseconds(1) || options.timeout > absl::Seconds(60)) {
    return OptionError("timeout", absl::InvalidArgumentError("must be 1 ms .. 60 s"));
  }
  if (options.key_file.empty()) return OptionError("key_file", absl::InvalidArgumentError("a file's path is needed"));
  absl::StatusOr<core::Secret> caller_key = client::ReadKeyFile(options.key_file);
  if (!caller_key.ok()) return OptionError("key_file", caller_key.status());
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = client::MakeChannel(options.server);
  if (!channel.ok()) return OptionError("server", channel.status());
  return std::make_unique<client::RemoteVerifier>(
      std::make_unique<client::Connection>(*std::move(channel), *std::move(caller_key)), options.timeout);
}

}  // namespace latchkey
