#pragma once

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "server/rpc/transport/method_table.h"
#include "server/rpc/transport/transport.h"

// Test double of a transport (server/rpc/transport/transport.h): the client's side of calls, and hooks in any order
// that the threading contract allows.
namespace latchkey::testing {

// What comes with a call of the double.
template <typename Call>
class FakeContext : public Call {
 public:
  explicit FakeContext(const std::string& key_string) : authorization_("Bearer " + key_string) {}

  rpc::CallContext::Values Metadata(std::string_view name) const override {
    if (name == "authorization") return {authorization_};
    return {};
  }
  std::optional<absl::Duration> TimeLeft() const override { return std::nullopt; }
  bool IsCancelled() const override { return cancelled_; }
  const rpc::Peer& peer() const override { return peer_; }
  std::vector<std::string> CertificateNames() const override { return {}; }
  uint64_t connection_serial() const override { return 1; }
  void SetCaller(const std::string& /*organization*/, const std::string& /*kid*/) override {}

 protected:
  std::atomic<bool> cancelled_ = false;

 private:
  const std::string authorization_;
  const rpc::Peer peer_{.name = "ipv4:127.0.0.1:1", .address = "127.0.0.1"};
};

// How a unary call was answered.
class UnaryOutcome {
 public:
  void Set(const google::rpc::Status& status, std::string response) {
    const std::lock_guard lock(mutex_);
    ++answers_;
    status_ = status;
    response_ = std::move(response);
    answered_.notify_all();
  }
  // Waits for it. 1 = answered once.
  int Await() {
    std::unique_lock lock(mutex_);
    answered_.wait(lock, [this] { return answers_ > 0; });
    return answers_;
  }
  const google::rpc::Status& status() const { return status_; }
  const std::string& response() const { return response_; }

 private:
  std::mutex mutex_;
  std::condition_variable answered_;
  int answers_ = 0;
  google::rpc::Status status_;
  std::string response_;
};

class FakeUnaryCall final : public FakeContext<rpc::UnaryCall> {
 public:
  FakeUnaryCall(const std::string& key_string, std::shared_ptr<UnaryOutcome> outcome)
      : FakeContext(key_string), outcome_(std::move(outcome)) {}
  void Finish(const google::rpc::Status& status, std::string response) override {
    outcome_->Set(status, std::move(response));
  }
  void CancelByClient() { cancelled_ = true; }

 private:
  const std::shared_ptr<UnaryOutcome> outcome_;
};

// One stream. Its own thread is the transport's: while hooks are due it runs one of those that are legal now, drawn by
// lot. The client's functions may be called from any thread.
class FakeStream final : public FakeContext<rpc::StreamCall> {
 public:
  FakeStream(const rpc::MethodTable::StartStream& start, const std::string& key_string, uint32_t seed)
      : FakeContext(key_string), random_(seed) {
    handler_ = start(*this);
    thread_ = std::thread([this] { Run(); });
  }
  // A stream that a failed test leaves open is cancelled.
  ~FakeStream() override {
    CancelByClient();
    thread_.join();
  }

  // --- The client ---
  void Send(std::string message) {
    With([&] { inbox_.push_back(std::move(message)); });
  }
  void HalfClose() {
    With([&] { half_closed_ = true; });
  }
  void CancelByClient() {
    With([&] { cancelled_ = true; });
  }
  // It takes nothing while true.
  void Stall(bool stalled) {
    With([&] { stalled_ = stalled; });
  }
  // Waits for the message after those that were taken before; nullopt = the stream has ended.
  std::optional<std::string> Take() {
    std::unique_lock lock(mutex_);
    AwaitLocked(lock, [this] { return taken_ < arrived_.size() || over_; });
    if (taken_ == arrived_.size()) return std::nullopt;
    return arrived_[taken_++];
  }
  // Waits until the door has written something that the client, which is stalled, does not take.
  void AwaitUnsent() {
    std::unique_lock lock(mutex_);
    AwaitLocked(lock, [this] { return !unsent_.empty(); });
  }
  // Waits for the end.
  google::rpc::Status AwaitEnd() {
    std::unique_lock lock(mutex_);
    AwaitLocked(lock, [this] { return over_; });
    return *finish_;
  }

  // --- The door ---
  void Read() override {
    With([&] {
      EXPECT_FALSE(over_) << "Read after OnEnd";
      EXPECT_FALSE(read_asked_) << "a second Read before the first was answered";
      read_asked_ = true;
    });
  }
  size_t Write(std::string message) override {
    size_t unsent = 0;
    With([&] {
      EXPECT_FALSE(over_) << "Write after OnEnd";
      EXPECT_FALSE(finish_.has_value()) << "Write after Finish";
      if (!cancelled_) {
        unsent_.push_back(std::move(message));
        written_due_ = false;
      }
      for (const std::string& one : unsent_) unsent += one.size();
    });
    return unsent;
  }
  bool Reserve(size_t bytes) override {
    With([&] { reserved_ += bytes; });
    return true;
  }
  void Unreserve(size_t bytes) override {
    With([&] {
      EXPECT_LE(bytes, reserved_);
      reserved_ -= bytes;
    });
  }
  void Finish(const google::rpc::Status& status) override {
    With([&] {
      EXPECT_FALSE(finish_.has_value()) << "Finish twice";
      finish_ = status;
    });
  }
  void Cancel() override {
    With([&] {
      EXPECT_FALSE(over_) << "Cancel after OnEnd";
      cancelled_ = true;
    });
  }

 private:
  using Hook = std::function<void()>;

  // A door that does not bring it about fails the test, and is given up: its client cancels.
  template <typename Condition>
  void AwaitLocked(std::unique_lock<std::mutex>& lock, const Condition& condition) {
    if (changed_.wait_for(lock, std::chrono::seconds(30), condition)) return;
    ADD_FAILURE() << "the door does nothing for 30 s";
    cancelled_ = true;
    changed_.notify_all();
    changed_.wait(lock, [this] { return over_; });
  }

  template <typename Change>
  void With(const Change& change) {
    const std::lock_guard lock(mutex_);
    change();
    changed_.notify_all();
  }

  // What may happen next. Under mutex_.
  std::vector<Hook> LegalLocked() {
    std::vector<Hook> legal;
    if (!unsent_.empty() && cancelled_) unsent_.clear();
    if (!unsent_.empty() && !stalled_) {
      legal.emplace_back([this] {
        With([&] {
          if (unsent_.empty()) return;
          arrived_.push_back(std::move(unsent_.front()));
          unsent_.pop_front();
          written_due_ = unsent_.empty();
        });
      });
    }
    if (finish_.has_value()) return legal;
    if (read_asked_ && !inbox_.empty() && !cancelled_) {
      legal.emplace_back([this] {
        std::string message;
        With([&] {
          message = std::move(inbox_.front());
          inbox_.pop_front();
          read_asked_ = false;
        });
        handler_->OnMessage(std::move(message));
      });
    }
    if (read_asked_ && inbox_.empty() && half_closed_ && !cancelled_) {
      legal.emplace_back([this] {
        With([&] { read_asked_ = false; });
        handler_->OnHalfClose();
      });
    }
    if (written_due_ && !cancelled_) {
      legal.emplace_back([this] {
        With([&] { written_due_ = false; });
        handler_->OnWritten();
      });
    }
    if (cancelled_ && !cancel_told_) {
      legal.emplace_back([this] {
        With([&] { cancel_told_ = true; });
        handler_->OnCancel();
      });
    }
    return legal;
  }

  void Run() {
    std::unique_lock lock(mutex_);
    for (;;) {
      std::vector<Hook> legal = LegalLocked();
      if (legal.empty() && finish_.has_value() && (unsent_.empty() || cancelled_)) break;
      if (legal.empty()) {
        changed_.wait(lock);
        continue;
      }
      const Hook hook = std::move(legal[random_() % legal.size()]);
      const bool pause = random_() % 4 == 0;
      lock.unlock();
      if (pause) std::this_thread::yield();
      hook();
      lock.lock();
    }
    lock.unlock();
    handler_->OnEnd();
    handler_.reset();
    With([&] {
      EXPECT_EQ(reserved_, 0u);
      over_ = true;
    });
  }

  std::mutex mutex_;
  std::condition_variable changed_;
  std::mt19937 random_;
  std::shared_ptr<rpc::StreamHandler> handler_;
  std::deque<std::string> inbox_;
  std::deque<std::string> unsent_;
  std::vector<std::string> arrived_;
  size_t taken_ = 0;
  size_t reserved_ = 0;
  std::optional<google::rpc::Status> finish_;
  bool read_asked_ = false;
  bool half_closed_ = false;
  bool stalled_ = false;
  bool written_due_ = false;
  bool cancel_told_ = false;
  bool over_ = false;
  std::thread thread_;
};

}  // namespace latchkey::testing
