#include "tests/hostile/http2_peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

namespace latchkey::hostile {
namespace {

constexpr uint8_t kData = 0;
constexpr uint8_t kHeaders = 1;
constexpr uint8_t kReset = 3;
constexpr uint8_t kSettings = 4;
constexpr uint8_t kWindowUpdate = 8;
constexpr uint8_t kContinuation = 9;
constexpr uint8_t kEndStream = 1;
constexpr uint8_t kEndHeaders = 4;
constexpr size_t kMaxFrame = 16'384;

std::string BigEndian(uint64_t value, int bytes) {
  std::string out;
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out.push_back(static_cast<char>(value >> shift));
  return out;
}

// HPACK: a string literal without Huffman coding.
std::string Literal(const std::string& text) {
  constexpr size_t kPrefix = 127;
  std::string out;
  if (text.size() < kPrefix) {
    out.push_back(static_cast<char>(text.size()));
  } else {
    out.push_back(static_cast<char>(kPrefix));
    size_t left = text.size() - kPrefix;
    for (; left >= 128; left /= 128) out.push_back(static_cast<char>(left % 128 + 128));
    out.push_back(static_cast<char>(left));
  }
  return out + text;
}

int Connect(const std::string& address) {
  sockaddr_storage name{};
  socklen_t length = 0;
  if (address.rfind("unix:", 0) == 0) {
    auto& path = reinterpret_cast<sockaddr_un&>(name);
    path.sun_family = AF_UNIX;
    address.copy(path.sun_path, sizeof path.sun_path - 1, 5);
    length = sizeof path;
  } else {
    auto& v4 = reinterpret_cast<sockaddr_in&>(name);
    const size_t colon = address.rfind(':');
    v4.sin_family = AF_INET;
    v4.sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(colon + 1))));
    inet_pton(AF_INET, address.substr(0, colon).c_str(), &v4.sin_addr);
    length = sizeof v4;
  }
  const int descriptor = socket(name.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int small = 4096;
  setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  if (connect(descriptor, reinterpret_cast<const sockaddr*>(&name), length) == 0) return descriptor;
  close(descriptor);
  return -1;
}

bool Ready(int descriptor, short events, absl::Duration patience) {
  pollfd wait{descriptor, events, 0};
  return poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(patience))) > 0;
}

}  // namespace

Http2Peer::Http2Peer(const std::string& address) : descriptor_(Connect(address)) {
  Send("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + Frame(kSettings, 0, 0, ""));
}

Http2Peer::~Http2Peer() {
  if (descriptor_ >= 0) close(descriptor_);
}

bool Http2Peer::Send(const std::string& frames, absl::Duration patience) {
  size_t sent = 0;
  while (descriptor_ >= 0 && sent < frames.size()) {
    const ssize_t took = send(descriptor_, frames.data() + sent, frames.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (took > 0) {
      sent += static_cast<size_t>(took);
    } else if (errno != EAGAIN || !Ready(descriptor_, POLLOUT, patience)) {
      return false;
    }
  }
  return sent == frames.size();
}

bool Http2Peer::Discard() {
  std::array<char, 65536> buffer{};
  for (;;) {
    const ssize_t got = recv(descriptor_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got <= 0) return got < 0 && errno == EAGAIN;
  }
}

bool Http2Peer::WaitUntilClosed(absl::Duration patience) {
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(patience);
  while (descriptor_ >= 0 && Discard()) {
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= left.zero() || !Ready(descriptor_, POLLIN, absl::FromChrono(left))) return false;
  }
  return true;
}

bool Http2Peer::WaitFor(const std::string& text, absl::Duration patience) {
  const auto until = std::chrono::steady_clock::now() + absl::ToChronoMilliseconds(patience);
  std::string got;
  std::array<char, 65536> buffer{};
  while (got.find(text) == std::string::npos) {
    const auto left = until - std::chrono::steady_clock::now();
    if (left <= left.zero() || !Ready(descriptor_, POLLIN, absl::FromChrono(left))) return false;
    const ssize_t count = recv(descriptor_, buffer.data(), buffer.size(), 0);
    if (count <= 0) return false;
    got.append(buffer.data(), static_cast<size_t>(count));
  }
  return true;
}

std::string Http2Peer::Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload) {
  return BigEndian(payload.size(), 3) + static_cast<char>(type) + static_cast<char>(flags) + BigEndian(stream, 4) +
         payload;
}

std::string Http2Peer::Call(uint32_t stream, const std::string& method, const Headers& more, bool ends) {
  std::string block = "\x83\x86";  // :method POST, :scheme http.
  const auto add = [&block](const std::string& name, const std::string& value) {
    block += std::string(1, '\0') + Literal(name) + Literal(value);
  };
  add(":path", method);
  add(":authority", "latchkey");
  add("content-type", "application/grpc");
  add("te", "trailers");
  for (const auto& [name, value] : more) add(name, value);
  const uint8_t end = ends ? kEndStream : 0;
  if (block.size() <= kMaxFrame) return Frame(kHeaders, kEndHeaders | end, stream, block);
  std::string frames = Frame(kHeaders, end, stream, block.substr(0, kMaxFrame));
  for (size_t at = kMaxFrame; at < block.size(); at += kMaxFrame) {
    const bool last = at + kMaxFrame >= block.size();
    frames += Frame(kContinuation, last ? kEndHeaders : 0, stream, block.substr(at, kMaxFrame));
  }
  return frames;
}

std::string Http2Peer::Message(uint32_t stream, const std::string& message, bool ends) {
  const std::string data = std::string(1, '\0') + BigEndian(message.size(), 4) + message;
  std::string frames;
  for (size_t at = 0; at < data.size(); at += kMaxFrame) {
    const bool last = at + kMaxFrame >= data.size();
    frames += Frame(kData, last && ends ? kEndStream : 0, stream, data.substr(at, kMaxFrame));
  }
  return frames;
}

std::string Http2Peer::Reset(uint32_t stream) { return Frame(kReset, 0, stream, BigEndian(8, 4)); }

std::string Http2Peer::WindowUpdate(uint32_t stream, uint32_t bytes) {
  return Frame(kWindowUpdate, 0, stream, BigEndian(bytes, 4));
}

}  // namespace latchkey::hostile
