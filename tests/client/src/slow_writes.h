#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/client_interceptor.h"
#include "grpcpp/support/interceptor.h"

namespace latchkey::client {

// A channel to `server` on which `while_writing` runs within the writing of each message, before anything of it is
// sent: a thread may be descheduled there for as long as it takes.
inline std::shared_ptr<grpc::Channel> ChannelWithSlowWrites(const std::string& server,
                                                            std::function<void()> while_writing) {
  class Slow final : public grpc::experimental::Interceptor {
   public:
    explicit Slow(const std::function<void()>& write) : write_(write) {}
    void Intercept(grpc::experimental::InterceptorBatchMethods* methods) override {
      if (methods->QueryInterceptionHookPoint(grpc::experimental::InterceptionHookPoints::PRE_SEND_MESSAGE)) write_();
      methods->Proceed();
    }

   private:
    const std::function<void()>& write_;
  };
  class Factory final : public grpc::experimental::ClientInterceptorFactoryInterface {
   public:
    explicit Factory(std::function<void()> write) : write_(std::move(write)) {}
    grpc::experimental::Interceptor* CreateClientInterceptor(grpc::experimental::ClientRpcInfo* /*call*/) override {
      return new Slow(write_);  // gRPC's from then on.
    }

   private:
    const std::function<void()> write_;  // The channel keeps it longer than its calls.
  };
  std::vector<std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>> factories;
  factories.push_back(std::make_unique<Factory>(std::move(while_writing)));
  return grpc::experimental::CreateCustomChannelWithInterceptors(server, grpc::InsecureChannelCredentials(),
                                                                 grpc::ChannelArguments(), std::move(factories));
}

}  // namespace latchkey::client
