#include "server/app/listen_address.h"

#include <arpa/inet.h>

#include <charconv>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace latchkey::app {
namespace {

bool IsPort(const std::string& text) {
  int port = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  return !text.empty() && error == std::errc() && end == text.data() + text.size() && port >= 0 && port <= 65535;
}

bool IsLoopback(const std::string& host) {
  if (host == "localhost") return true;
  in_addr v4{};
  if (inet_pton(AF_INET, host.c_str(), &v4) == 1) return (ntohl(v4.s_addr) >> 24) == 127;
  in6_addr v6{};
  if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
    const std::string inner = host.substr(1, host.size() - 2);
    return inet_pton(AF_INET6, inner.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
  }
  return false;
}

}  // namespace

absl::Status CheckListenAddress(const std::string& address) {
  if (absl::StartsWith(address, "unix:") && address.size() > 5) return absl::OkStatus();
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos || colon == 0 || !IsPort(address.substr(colon + 1))) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", address, ": wanted HOST:PORT with a port of 0..65535, or unix:PATH"));
  }
  if (!IsLoopback(address.substr(0, colon))) {
    return absl::InvalidArgumentError(
        absl::StrCat("--listen ", address,
                     ": a plaintext listener must be on loopback (127.0.0.0/8, [::1], localhost) or a Unix socket; "
                     "TLS is not implemented yet"));
  }
  return absl::OkStatus();
}

}  // namespace latchkey::app
