#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/time/time.h"
#include "google/rpc/status.pb.h"

// Seam between a transport (what carries calls: gRPC's server, server/rpc/transport/grpc) and the doors that answer
// them (rpc/admin, rpc/verify). Messages cross it as bytes; a door parses and serializes them itself.
//
// Threading contract:
// - The hooks of one call (StreamHandler) never overlap. OnMessage, OnHalfClose, OnWritten, OnCancel and OnEnd come on
// a
//   thread of the transport's, which must not be blocked. A hook may call anything of its call.
// - Everything that a call offers may be called from any thread, also while a hook of it runs. Finish is called exactly
//   once, whatever became of the call; after it no hook but OnEnd comes, and after OnEnd nothing is called, by either
//   side.
// - A message is owned by whoever got it: it is passed by value, in both directions.
// - Write says how many bytes are unsent; OnWritten comes when they are gone.
// - What calls hold is bounded (call_charge.h): a call that is above its limits is refused before the door hears of it,
//   an answer that is too much is replaced by WORKERS_BUSY (unary) or the call is cancelled (stream).
namespace latchkey::rpc {

// Where a call comes from.
struct Peer {
  std::string name;     // For the log: the transport's own text, with a port. Never empty.
  std::string address;  // The IP address, without port and zone; "" for a Unix socket.
};

// What came with a call, besides its messages.
class CallContext {
 public:
  virtual ~CallContext() = default;

  // The values of the metadata entry `name` (lower case), in the order in which they came. Valid as long as the call.
  using Values = absl::InlinedVector<std::string_view, 2>;
  virtual Values Metadata(std::string_view name) const = 0;
  // Until its deadline, negative once that has passed; nullopt = the caller set none.
  virtual std::optional<absl::Duration> TimeLeft() const = 0;
  // Nobody waits for the answer any more.
  virtual bool IsCancelled() const = 0;
  virtual const Peer& peer() const = 0;
  // The names that the peer's certificate proves (subject alternative names); empty without a certificate.
  virtual std::vector<std::string> CertificateNames() const = 0;
  // A number of its connection that no other connection of this process has.
  virtual uint64_t connection_serial() const = 0;
  // Who makes the call, once that is known: what the peer has not taken counts as that key's. The first time counts.
  virtual void SetCaller(const std::string& organization, const std::string& kid) = 0;
};

// A call of one message each way. It has no hooks: it begins with its request (MethodTable) and is over with Finish.
class UnaryCall : public CallContext {
 public:
  // The answer. `response` is sent only with OK. Afterwards nothing of the call may be used; it may be destroyed.
  virtual void Finish(const google::rpc::Status& status, std::string response) = 0;
};

// A call of any number of messages each way.
class StreamCall : public CallContext {
 public:
  // Asks for the next message: OnMessage or OnHalfClose follows unless the call ends first. Not before the one that was
  // asked for has come: what is not asked for stays with the sender.
  virtual void Read() = 0;
  // Sends `message` after those before it. Returns the bytes that are unsent with it. Dropped once the call is
  // cancelled.
  virtual size_t Write(std::string message) = 0;
  // Bytes that the door itself keeps for the client, counted as unsent ones until Unreserve. False: it holds too many.
  virtual bool Reserve(size_t bytes) = 0;
  virtual void Unreserve(size_t bytes) = 0;
  // Ends the call when everything that was written is sent.
  virtual void Finish(const google::rpc::Status& status) = 0;
  // Resets the call: what is unsent is dropped. A cancelled call must be finished too. Until OnEnd.
  virtual void Cancel() = 0;
};

// The door's end of a StreamCall.
class StreamHandler {
 public:
  virtual ~StreamHandler() = default;

  virtual void OnMessage(std::string message) = 0;
  // The client will send nothing more.
  virtual void OnHalfClose() = 0;
  // Nothing is unsent any more.
  virtual void OnWritten() = 0;
  // The caller is gone, its deadline has passed, or Cancel was called: nothing that is written arrives, and OnWritten
  // does not come. Once at most.
  virtual void OnCancel() = 0;
  // The call is over: the transport lets go of it, and of the handler. Always the last, once.
  virtual void OnEnd() = 0;
};

}  // namespace latchkey::rpc
