#pragma once

#include <grpcpp/support/byte_buffer.h>

#include "latchkey/v1/key_verify.pb.h"

namespace grpc {
class ServerContextBase;
}

namespace latchkey::bench {

// What both echo servers say. Immutable; thread-safe.
class EchoAnswers {
 public:
  EchoAnswers();
  void Answer(const v1::VerifyRequest& request, v1::VerifyResponse& response) const;
  // One message of a stream: as long as the stream's metadata asks for.
  static grpc::ByteBuffer MessageFor(const grpc::ServerContextBase& context);

 private:
  v1::VerifyResponse verdict_;
};

// What both do first: stop signals are blocked in every thread, Abseil's deadlock detection is off.
void PrepareEcho();
// Prints "echo on PORT", waits for a stop signal.
void AnnounceAndWait(int port);

}  // namespace latchkey::bench
