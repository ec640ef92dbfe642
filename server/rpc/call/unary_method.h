#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "server/base/guarded.h"
#include "server/rpc/call/call.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// How a door serves a unary RPC. `Wanted`: what its requests are read into, before a call waits for its turn.
template <typename Request, typename Response, typename Wanted>
struct UnaryMethod {
  using TypedCall = CallOf<Request, Response, Wanted>;

  const Method& method;
  typename TypedCall::Parts parts;
  // Of a call whose caller set no deadline. Empty = kDefaultDeadline.
  std::function<absl::Duration(const Request&)> default_deadline = {};

  // What starts a call. `dependencies` outlive the calls.
  MethodTable::StartUnary Start(const CallDependencies& dependencies) && {
    return [self = std::move(*this), &dependencies](std::unique_ptr<UnaryCall> transport, const std::string& bytes) {
      Request request;
      if (!request.ParseFromString(bytes)) {
        // As gRPC's own classes answer what is no message of the method's.
        google::rpc::Status unimplemented;
        unimplemented.set_code(static_cast<int>(absl::StatusCode::kUnimplemented));
        transport->Finish(unimplemented, "");
        return;
      }
      const absl::Duration deadline = self.default_deadline ? self.default_deadline(request) : kDefaultDeadline;
      std::make_shared<TypedCall>(std::move(transport), self.method, dependencies, deadline, std::move(request),
                                  self.parts)
          ->Run();
    };
  }
};

// A handler that answers when it returns: top to bottom, with the call's status.
template <typename Request, typename Response, typename Wanted, typename Work>
auto Answering(Work work) {
  return [work = std::move(work)](const std::shared_ptr<CallOf<Request, Response, Wanted>>& call) {
    call->Complete(base::Guarded([&] { return work(*call, call->wanted(), call->response); }));
  };
}

}  // namespace latchkey::rpc
