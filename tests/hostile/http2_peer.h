#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace latchkey::hostile {

// An HTTP/2 client whose frames a test writes by hand, so that it can do what no library would: it reads only when it
// is told to, acknowledges nothing, and its socket holds few unread bytes.
class Http2Peer {
 public:
  using Headers = std::vector<std::pair<std::string, std::string>>;

  // Connects to HOST:PORT (numbers) or unix:PATH and sends the preface and an empty SETTINGS frame.
  explicit Http2Peer(const std::string& address);
  ~Http2Peer();
  Http2Peer(const Http2Peer&) = delete;
  Http2Peer& operator=(const Http2Peer&) = delete;

  bool connected() const { return descriptor_ >= 0; }
  // Sends all of it; false when the server has closed the connection, or takes nothing for `patience`.
  bool Send(const std::string& frames, absl::Duration patience = absl::Seconds(2));
  // Reads and forgets what is there; false at the end of the connection.
  bool Discard();
  // Reads until the end of the connection; false if it does not come within `patience`.
  bool WaitUntilClosed(absl::Duration patience);
  // Reads until `text` has come.
  bool WaitFor(const std::string& text, absl::Duration patience);

  // The next stream: 1, 3, 5 …
  uint32_t NextStream() { return std::exchange(stream_, stream_ + 2); }

  static std::string Frame(uint8_t type, uint8_t flags, uint32_t stream, const std::string& payload);
  // The headers of a gRPC call of `method` ("/package.Service/Method"); `ends`: nothing more is sent on the stream.
  static std::string Call(uint32_t stream, const std::string& method, const Headers& more = {}, bool ends = false);
  // A message of a gRPC call.
  static std::string Message(uint32_t stream, const std::string& message, bool ends);
  static std::string Reset(uint32_t stream);
  // What has to be sent so that the server may be told to send more than 64 KiB.
  static std::string WindowUpdate(uint32_t stream, uint32_t bytes);
  static std::string SettingsAck() { return Frame(4, 1, 0, ""); }

 private:
  int descriptor_ = -1;
  uint32_t stream_ = 1;
};

}  // namespace latchkey::hostile
