#include "server/doorbell/peer_doorbell.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/core/secret.h"

namespace latchkey::doorbell {
namespace {

constexpr char kVersion = 1;
constexpr size_t kBody = 1 + 8 + 1;
constexpr size_t kMac = 16;
constexpr size_t kMostPeers = 256;
constexpr int kMostAtOnce = 256;  // Datagrams taken in before rings are sent again.

struct HostPort {
  std::string host;  // Without brackets.
  std::string port;  // "" = none was given.
};

HostPort Split(const std::string& text) {
  const size_t colon = text.rfind(':');
  // A bare IPv6 address has several and no brackets.
  const bool bare = text.find(':') != colon && !absl::StartsWith(text, "[");
  const bool has_port = colon != std::string::npos && !bare && text.find(']', colon) == std::string::npos;
  HostPort result{text.substr(0, has_port ? colon : std::string::npos), has_port ? text.substr(colon + 1) : ""};
  if (result.host.size() > 2 && result.host.front() == '[' && result.host.back() == ']') {
    result.host = result.host.substr(1, result.host.size() - 2);
  }
  return result;
}

std::string Join(const std::string& host, const std::string& port) {
  return absl::StrContains(host, ":") ? absl::StrCat("[", host, "]:", port) : absl::StrCat(host, ":", port);
}

using Addresses = std::unique_ptr<addrinfo, decltype(&freeaddrinfo)>;

Addresses Resolve(const std::string& text, int family) {
  const HostPort where = Split(text);
  addrinfo hints{};
  hints.ai_family = family;
  hints.ai_socktype = SOCK_DGRAM;
  hints.ai_flags = AI_NUMERICSERV;
  addrinfo* found = nullptr;
  if (where.host.empty() || where.port.empty() ||
      getaddrinfo(where.host.c_str(), where.port.c_str(), &hints, &found) != 0) {
    found = nullptr;
  }
  return Addresses(found, &freeaddrinfo);
}

bool IsWildcard(const sockaddr* address) {
  if (address->sa_family == AF_INET) {
    return reinterpret_cast<const sockaddr_in*>(address)->sin_addr.s_addr == htonl(INADDR_ANY);
  }
  return IN6_IS_ADDR_UNSPECIFIED(&reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr);
}

std::string MacOf(const keys::KeyRing& ring, std::string_view body) {
  return ring.TokenMac(absl::StrCat("lk1|doorbell|1|", absl::string_view(body.data(), body.size())));
}

}  // namespace

struct PeerDoorbell::Address {
  sockaddr_storage address{};
  socklen_t size = 0;
};

std::string PeerDoorbell::Datagram(const keys::KeyRing& ring, int64_t revision, bool waiting) {
  std::string text(kBody, '\0');
  text[0] = kVersion;
  for (int i = 0; i < 8; ++i) text[1 + i] = static_cast<char>(revision >> (8 * (7 - i)));
  text[kBody - 1] = waiting ? 1 : 0;
  return text + MacOf(ring, text);
}

absl::StatusOr<std::unique_ptr<PeerDoorbell>> PeerDoorbell::Bind(const Options& options) {
  const Addresses found = Resolve(options.listen, AF_UNSPEC);
  if (found == nullptr) {
    return absl::InvalidArgumentError(absl::StrCat("--doorbell-listen ", options.listen, ": wanted HOST:PORT"));
  }
  if (IsWildcard(found->ai_addr) && options.advertise.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(
        "--doorbell-listen ", options.listen, ": name what the other servers reach it by with --doorbell-advertise"));
  }
  const int socket = ::socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (socket < 0 || bind(socket, found->ai_addr, found->ai_addrlen) != 0 ||
      getsockname(socket, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
    const std::string why = std::strerror(errno);
    if (socket >= 0) close(socket);
    return absl::UnavailableError(absl::StrCat("--doorbell-listen ", options.listen, ": can't bind: ", why));
  }
  char host[NI_MAXHOST] = "";
  char port[NI_MAXSERV] = "";
  getnameinfo(reinterpret_cast<sockaddr*>(&bound), size, host, sizeof host, port, sizeof port,
              NI_NUMERICHOST | NI_NUMERICSERV);
  const HostPort wanted = Split(options.advertise.empty() ? host : options.advertise);
  const std::string told_port = wanted.port.empty() || wanted.port == "0" ? port : wanted.port;
  return std::unique_ptr<PeerDoorbell>(new PeerDoorbell(socket, Join(wanted.host, told_port)));
}

PeerDoorbell::PeerDoorbell(int socket, std::string advertised)
    : socket_(socket), wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), advertised_(std::move(advertised)) {}

PeerDoorbell::~PeerDoorbell() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  eventfd_write(wake_, 1);
  if (thread_.joinable()) thread_.join();
  close(wake_);
  close(socket_);
}

void PeerDoorbell::Start(const keys::KeyRingHandle& ring, Heard heard) {
  ring_ = &ring;
  heard_ = std::move(heard);
  thread_ = std::thread([this] { Run(); });
}

void PeerDoorbell::SetPeers(const std::vector<storage::Replica>& replicas, const std::string& own) {
  sockaddr_storage bound{};
  socklen_t size = sizeof bound;
  if (getsockname(socket_, reinterpret_cast<sockaddr*>(&bound), &size) != 0) return;
  std::vector<Address> peers;
  for (const storage::Replica& replica : replicas) {
    if (replica.id == own || replica.doorbell.empty() || peers.size() == kMostPeers) continue;
    const Addresses found = Resolve(replica.doorbell, bound.ss_family);
    if (found == nullptr) continue;
    Address address;
    address.size = found->ai_addrlen;
    std::memcpy(&address.address, found->ai_addr, found->ai_addrlen);
    peers.push_back(address);
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  peers_ = std::move(peers);
}

void PeerDoorbell::Ring(int64_t revision, bool waiting) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    pending_ = true;
    pending_waiting_ = pending_waiting_ || waiting;
    pending_revision_ = std::max(pending_revision_, revision);
  }
  eventfd_write(wake_, 1);
}

void PeerDoorbell::SendPending() {
  std::vector<Address> peers;
  std::string datagram;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!std::exchange(pending_, false)) return;
    peers = peers_;
    datagram = Datagram(*keys::KeyRingHandle::Pin(*ring_), pending_revision_, std::exchange(pending_waiting_, false));
  }
  for (const Address& peer : peers) {
    // Lost is lost: a server that did not hear reads at its next renewal.
    [[maybe_unused]] const ssize_t sent = sendto(socket_, datagram.data(), datagram.size(), MSG_NOSIGNAL | MSG_DONTWAIT,
                                                 reinterpret_cast<const sockaddr*>(&peer.address), peer.size);
  }
}

void PeerDoorbell::Receive() {
  for (int i = 0; i < kMostAtOnce; ++i) {
    char buffer[kBody + kMac + 1];
    const ssize_t size = recv(socket_, buffer, sizeof buffer, MSG_DONTWAIT);
    if (size < 0) return;  // Nothing left, or a peer's port is closed.
    const std::string_view datagram(buffer, static_cast<size_t>(size));
    if (datagram.size() != kBody + kMac || datagram[0] != kVersion || datagram[kBody - 1] < 0 ||
        datagram[kBody - 1] > 1 ||
        !core::ConstantTimeEqual(datagram.substr(kBody),
                                 MacOf(*keys::KeyRingHandle::Pin(*ring_), datagram.substr(0, kBody)))) {
      ++dropped_;
      continue;
    }
    uint64_t revision = 0;
    for (int k = 0; k < 8; ++k) revision = revision << 8 | static_cast<unsigned char>(datagram[1 + k]);
    if (revision <= INT64_MAX) heard_(static_cast<int64_t>(revision), datagram[kBody - 1] == 1);
  }
}

void PeerDoorbell::Run() {
  for (;;) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (stopping_) return;
    }
    pollfd descriptors[] = {{.fd = wake_, .events = POLLIN, .revents = 0},
                            {.fd = socket_, .events = POLLIN, .revents = 0}};
    poll(descriptors, 2, -1);
    eventfd_t count = 0;
    if (descriptors[0].revents != 0) eventfd_read(wake_, &count);
    SendPending();
    if (descriptors[1].revents != 0) Receive();
  }
}

}  // namespace latchkey::doorbell
