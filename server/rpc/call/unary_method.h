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

// How a door serves a unary RPC.
template <typename Request, typename Response>
struct UnaryMethod {
  using TypedCall = CallOf<Request, Response>;

  const Method& method;
  // Where the handler runs, because it may block; nullptr = on the transport's thread.
  base::WorkQueue* workers = nullptr;
  typename TypedCall::Handler handler;
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
      std::make_shared<TypedCall>(std::move(transport), self.method, dependencies, self.workers, deadline,
                                  std::move(request), self.handler)
          ->Run();
    };
  }
};

// A handler that answers when it returns: top to bottom, with the call's status.
template <typename Request, typename Response, typename Work>
typename CallOf<Request, Response>::Handler Answering(Work work) {
  return [work = std::move(work)](const std::shared_ptr<CallOf<Request, Response>>& call) {
    call->Complete(base::Guarded([&] { return work(*call, call->request, call->response); }));
  };
}

}  // namespace latchkey::rpc
