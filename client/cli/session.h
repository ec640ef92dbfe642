#pragma once

#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/core/secret.h"
#include "client/src/caller_metadata.h"
#include "client/src/convert.h"
#include "grpcpp/client_context.h"
#include "latchkey/v1/key_admin.grpc.pb.h"

namespace latchkey::cli {

// Options that every command takes.
struct GlobalOptions {
  std::string server = "127.0.0.1:50051";
  std::string credentials;  // The file with the caller's own key string.
  std::string timeout = "10s";
  std::string output = "table";

  bool json() const { return output == "json"; }
};

// How long one call may take, from --timeout: 1 ms .. 60 s.
absl::StatusOr<absl::Duration> TimeoutFrom(const GlobalOptions& options);

// Client of KeyAdmin, in the caller's name.
class Session {
 public:
  // Reads the credentials and prepares the channel; makes no call.
  static absl::StatusOr<Session> Open(const GlobalOptions& options);

  // One call, as in `session.Call(&Stub::GetKey, request)`: the response, or the server's error with its details.
  template <typename Request, typename Response>
  absl::StatusOr<Response> Call(grpc::Status (v1::KeyAdmin::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                           Response*),
                                const Request& request) {
    grpc::ClientContext context;
    client::PrepareCall(caller_key_, timeout_, context);
    Response response;
    const absl::Status status = client::ToStatus(((*stub_).*method)(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

 private:
  Session(std::unique_ptr<v1::KeyAdmin::Stub> stub, core::Secret caller_key, absl::Duration timeout)
      : stub_(std::move(stub)), caller_key_(std::move(caller_key)), timeout_(timeout) {}

  std::unique_ptr<v1::KeyAdmin::Stub> stub_;
  core::Secret caller_key_;
  absl::Duration timeout_;
};

using Stub = v1::KeyAdmin::Stub;

// Every page of a list: `request` is asked again with each next page's token until there is none, and `take` is given
// each page.
template <typename Request, typename Response, typename Take>
absl::Status ForEachPage(Session& session,
                         grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Request request,
                         Take take) {
  request.set_page_size(1000);
  while (true) {
    absl::StatusOr<Response> page = session.Call(method, request);
    if (!page.ok()) return page.status();
    const std::string next = page->next_page_token();
    take(*page);
    if (next.empty()) return absl::OkStatus();
    if (next == request.page_token()) return absl::InternalError("the server gave the same page token twice");
    request.set_page_token(next);
  }
}

}  // namespace latchkey::cli
