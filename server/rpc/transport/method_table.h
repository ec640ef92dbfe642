#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/rpc/transport/connections.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// What a door serves: for each method of a service how a call of it begins. Filled once, then read by any thread.
class MethodTable {
 public:
  // Both on a thread of the transport's, which must not be blocked.
  using StartUnary = std::function<void(std::unique_ptr<UnaryCall> call, std::string request)>;
  // `call` lives until the handler's OnEnd. No hook comes before this has returned.
  using StartStream = std::function<std::shared_ptr<StreamHandler>(StreamCall& call)>;

  struct Entry {
    std::string method;  // "CreateKey".
    StartUnary unary;    // One of the two.
    StartStream stream;
    AnonymousClass before_caller = AnonymousClass::kUnproven;  // What it counts as until its caller is known.
  };

  // `service`: "latchkey.v1.KeyAdmin".
  explicit MethodTable(std::string service) : service_(std::move(service)) {}

  void AddUnary(std::string method, StartUnary start) { entries_.push_back({std::move(method), std::move(start), {}}); }
  void AddStream(std::string method, StartStream start, AnonymousClass before_caller = AnonymousClass::kUnproven) {
    entries_.push_back({std::move(method), {}, std::move(start), before_caller});
  }

  const std::string& service() const { return service_; }
  const std::vector<Entry>& entries() const { return entries_; }
  // nullptr if there is none of that name.
  const Entry* Find(const std::string& method) const {
    for (const Entry& entry : entries_) {
      if (entry.method == method) return &entry;
    }
    return nullptr;
  }

 private:
  const std::string service_;
  std::vector<Entry> entries_;
};

}  // namespace latchkey::rpc
