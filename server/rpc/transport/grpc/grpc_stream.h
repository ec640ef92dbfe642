#pragma once

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "server/rpc/transport/grpc/grpc_context.h"
#include "server/rpc/transport/method_table.h"

namespace latchkey::rpc {

// A bidirectional stream of gRPC's server. gRPC calls its reactor from several threads at a time; here the hooks that
// become due meanwhile wait for the one that runs. Lives from Start to OnEnd.
class GrpcStream final : public GrpcContext<StreamCall>,
                         private grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer> {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  // What gRPC's raw method handler calls.
  static Reactor* Start(const GrpcCallDependencies& dependencies, const MethodTable::Entry& entry,
                        grpc::CallbackServerContext& context);
  // A call that no door knows of: it only ends with `status`.
  static Reactor* Refuse(const GrpcCallDependencies& dependencies, const google::rpc::Status& status,
                         grpc::CallbackServerContext& context);

  void Read() override;
  size_t Write(std::string message) override;
  bool Reserve(size_t bytes) override;
  void Unreserve(size_t bytes) override;
  void Finish(const google::rpc::Status& status) override;
  void Cancel() override { context().TryCancel(); }
  void SetCaller(const std::string& organization, const std::string& kid) override;

 private:
  using GrpcContext::GrpcContext;

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;
  // The end of one that was refused needs no thread of gRPC's executor, whose queue has no limit.
  bool InternalInlineable() override { return handler_ == nullptr; }

  // In place of a handler: the call only ends.
  void RefuseWith(const google::rpc::Status& status);

  void StartWriteLocked(std::string message);
  void NoteCancelledLocked();
  void FinishIfSentLocked();
  // Runs the hooks that are due, unless a thread is at it already. Unlocks meanwhile.
  void RunHooks(std::unique_lock<std::mutex>& lock);

  std::shared_ptr<StreamHandler> handler_;  // nullptr: it was refused.
  grpc::ByteBuffer incoming_;
  grpc::ByteBuffer outgoing_;

  std::mutex mutex_;
  std::deque<std::string> queue_;  // Written after the one that gRPC has now.
  size_t writing_bytes_ = 0;       // Of that one.
  size_t unsent_bytes_ = 0;        // Of all.
  bool writing_ = false;
  bool cancelled_ = false;
  std::optional<google::rpc::Status> finish_;  // As it was asked for.
  bool finished_ = false;                      // gRPC has it.

  // Hooks that are due, in the order in which they run.
  std::optional<std::string> message_due_;
  bool half_close_due_ = false;
  bool written_due_ = false;
  bool cancel_due_ = false;
  bool running_hooks_ = false;
};

}  // namespace latchkey::rpc
