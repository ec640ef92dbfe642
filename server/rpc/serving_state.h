#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace latchkey::rpc {

// Told when something of a ServingState may have changed. May be called on any thread and more often than needed.
class ServingListener {
 public:
  virtual ~ServingListener() = default;
  virtual void OnServingChange() = 0;
};

// What this server can do now, as grpc.health.v1 tells it. Everything is down from the start. Thread-safe.
class ServingState {
 public:
  enum class Status { kUnknownService, kServing, kNotServing };

  // "" and latchkey.v1.KeyVerify: this server can verify now (its lease is good).
  void SetVerify(bool up);
  // latchkey.v1.KeyAdmin: the database answers.
  void SetAdmin(bool up);
  // Everything goes down and stays down.
  void StartDraining();

  Status StatusOf(const std::string& service) const;
  bool draining() const;

  // Until `listener` is gone. Takes a constant time on average.
  void Subscribe(std::weak_ptr<ServingListener> listener);

 private:
  void Set(bool ServingState::*what, bool value);

  mutable std::mutex mutex_;
  bool verify_ = false;
  bool admin_ = false;
  bool draining_ = false;
  std::vector<std::weak_ptr<ServingListener>> listeners_;
  size_t tidy_at_ = 64;  // Listeners, some of them gone.
};

}  // namespace latchkey::rpc
