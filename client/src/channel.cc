#include "client/src/channel.h"

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"

namespace latchkey::client {
namespace {

// Behind the last colon is no port that can be connected to. A service's name may be one.
bool LacksPort(const std::string& server) {
  const std::string port = server.substr(server.rfind(':') + 1);
  if (port.empty()) return true;
  if (port.find_first_not_of("0123456789") != std::string::npos) return false;
  int number = 0;
  return !absl::SimpleAtoi(port, &number) || number < 1 || number > 65'535;
}

// Mistakes that gRPC would take for a host's name, and look for it for ever. A name alone would get port 443.
bool IsMistaken(const std::string& server) {
  return server.empty() || server.find_first_of(" \t\r\n") != std::string::npos ||
         absl::StartsWithIgnoreCase(server, "http://") || absl::StartsWithIgnoreCase(server, "https://") ||
         server.find(':') == std::string::npos || LacksPort(server);
}

}  // namespace

absl::StatusOr<std::shared_ptr<grpc::Channel>> MakeChannel(const std::string& server, Sharing sharing) {
  if (IsMistaken(server)) {
    return absl::InvalidArgumentError(
        "a gRPC target is needed: HOST:PORT without http://, such as 127.0.0.1:50051, or unix:PATH");
  }
  grpc::ChannelArguments arguments;
  // gRPC's default backoff grows to two minutes: far too long to stay undecided after a server's restart.
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 2000);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 2000);
  // Also sets TCP_USER_TIMEOUT to the timeout. No pings while idle: servers answer those with GOAWAY.
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, 20'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, 5'000);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 0);
  // gRPC's own measuring of the bandwidth would cost a server as much as the Watch pings that it rides on. Instead a
  // window that a distant server's verdicts fit into.
  arguments.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  arguments.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 1 << 20);
  // Key strings travel in the messages: neither an http_proxy variable nor a DNS record may redirect them.
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  arguments.SetInt(GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1);
  arguments.SetServiceConfigJSON(R"({"loadBalancingConfig":[{"round_robin":{}}]})");
  if (sharing == Sharing::kOwn) arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(server, grpc::InsecureChannelCredentials(), arguments);
  // A new channel is idle, unless it is one that only repeats why it could not be made.
  if (channel->GetState(false) != GRPC_CHANNEL_IDLE) {
    return absl::InvalidArgumentError(absl::StrCat("not a gRPC target: ", server));
  }
  return channel;
}

}  // namespace latchkey::client
