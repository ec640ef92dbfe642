#include "latchkey/verifier.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "client/core/secret.h"
#include "client/src/caching_verifier.h"
#include "client/src/channel.h"
#include "client/src/connection.h"
#include "client/src/key_file.h"
#include "client/src/remote_verifier.h"

namespace latchkey {
namespace {

absl::Status OptionError(const char* option, const absl::Status& error) {
  return absl::Status(error.code(), absl::StrCat("VerifierOptions.", option, ": ", error.message()));
}

absl::Status Wrong(const char* option, const char* want) {
  return OptionError(option, absl::InvalidArgumentError(want));
}

absl::Status CheckCacheOptions(const VerifierOptions& options) {
  if (options.cache_entries < 1 || options.cache_entries > 10'000'000) {
    return Wrong("cache_entries", "must be 1 .. 10,000,000");
  }
  if (options.negative_entries > 1'000'000) return Wrong("negative_entries", "must be 0 .. 1,000,000");
  const bool wants_grace = options.on_unavailable == VerifierOptions::OnUnavailable::kGrace;
  if (wants_grace && (options.grace <= absl::ZeroDuration() || options.grace > absl::Minutes(10))) {
    return Wrong("grace", "must be more than 0 and at most 10 min with kGrace");
  }
  if (!wants_grace && options.grace != absl::ZeroDuration()) {
    return Wrong("grace", "must be 0 unless on_unavailable is kGrace");
  }
  return absl::OkStatus();
}

}  // namespace

// Where the pieces are put together.
absl::StatusOr<std::unique_ptr<Verifier>> Verifier::Connect(const VerifierOptions& options) {
  if (options.timeout < absl::Milliseconds(1) || options.timeout > absl::Seconds(60)) {
    return Wrong("timeout", "must be 1 ms .. 60 s");
  }
  if (options.cache) {
    if (absl::Status checked = CheckCacheOptions(options); !checked.ok()) return checked;
  }
  if (options.key_file.empty()) return Wrong("key_file", "a file's path is needed");
  absl::StatusOr<core::Secret> caller_key = client::ReadKeyFile(options.key_file);
  if (!caller_key.ok()) return OptionError("key_file", caller_key.status());
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = client::MakeChannel(options.server);
  if (!channel.ok()) return OptionError("server", channel.status());
  auto connection = std::make_unique<client::Connection>(*std::move(channel), *std::move(caller_key));
  if (!options.cache) return std::make_unique<client::RemoteVerifier>(std::move(connection), options.timeout);
  return std::make_unique<client::CachingVerifier>(
      client::CachingVerifier::Options{
          .cache = {.capacity = options.cache_entries, .negatives = options.negative_entries, .grace = options.grace},
          .timeout = options.timeout,
          .report_usage = options.report_usage,
          .observer = options.observer},
      std::move(connection), [server = options.server] {
        // It was readable above.
        return client::MakeChannel(server, client::Sharing::kOwn).value();
      });
}

}  // namespace latchkey
