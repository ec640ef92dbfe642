#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/base/clock.h"
#include "server/rpc/call/call.h"
#include "server/rpc/call/caller.h"
#include "server/rpc/transport/stream_registry.h"
#include "server/rpc/transport/transport.h"

namespace latchkey::rpc {

// A stream whose caller is judged when it begins and again at each message, which has a place among the streams of its
// key, and which ends once. What a message does, and what is written, is the derived class's. Lives until OnEnd, and
// until what it began is over. It finishes only when nothing that it began is under way, so that nothing of a door is
// used after the server has stopped. Thread-safe.
class AuthenticatedStream : public RegisteredStream, public std::enable_shared_from_this<AuthenticatedStream> {
 public:
  void Begin(const absl::Status& refused) final;
  void Drain() final;
  void Sweep(base::BootTime now, bool over) final;

  void OnMessage(std::string message) final;
  void OnHalfClose() final;
  void OnWritten() final;
  void OnCancel() final;
  void OnEnd() final;

 protected:
  struct Options {
    // A client that takes nothing of a message for so long is cancelled.
    absl::Duration longest_write = absl::InfiniteDuration();
    // After the client's half-close what it asked for is still answered.
    bool answers_after_half_close = false;
  };
  // All outlive it but `call`.
  AuthenticatedStream(StreamCall& call, const Method& method, const CallDependencies& calls, StreamRegistry& registry,
                      const base::Clock& clock, const Options& options);

  // --- The derived class's part; those named Locked are called under mutex_ ---
  // The bytes of the next message. False = they are no message: the stream ends as if the client had half-closed.
  virtual bool Parse(const std::string& message) = 0;
  // What was parsed, without the lock. `known`: OK, or the caller can't be judged now, which does not make it a bad
  // caller. caller() and what was parsed are its own until it calls LeaveLocked, once.
  virtual void Take(const absl::Status& known) = 0;
  // A message has come, before its caller is judged.
  virtual void NoteHeardLocked() {}
  // Writes what can be written now; called again when it may have become more.
  virtual void PumpLocked() = 0;
  // What was written last is gone.
  virtual void NoteWrittenLocked() {}
  // Whether there is room for the answer to one more message.
  virtual bool MayReadLocked() const { return true; }
  // Answers that wait to be written.
  virtual bool HasUnsentLocked() const { return false; }
  virtual void DropUnsentLocked() {}
  virtual void DrainLocked() = 0;
  virtual void SweepLocked(bool over) = 0;
  // The stream is over.
  virtual void ReleaseLocked() {}

  // --- For the derived class ---
  Caller& caller() { return caller_; }
  std::mutex& mutex() { return mutex_; }
  // One message at a time: not while writing().
  void WriteLocked(std::string message);
  bool writing() const { return writing_; }
  // StreamCall::Reserve and Unreserve, until the stream is over.
  bool ReserveLocked(size_t bytes) { return call_.Reserve(bytes); }
  void UnreserveLocked(size_t bytes) { call_.Unreserve(bytes); }
  // Nothing more is read, and once `drop` nothing more is written; otherwise what was read is answered first. The first
  // status stays, unless a later one drops what the first would have written.
  void EndLocked(const absl::Status& status, bool drop);
  bool ended() const { return end_.has_value(); }
  bool dropped() const { return drop_; }
  bool finished() const { return finished_; }
  // Something that must be over before the stream is: one for each message, which Take leaves.
  void EnterLocked(size_t count) { under_way_ += count; }
  // `took`: it was a message, or the beginning; caller() is free again.
  void LeaveLocked(bool took);
  // The next message may be read, when there is room.
  void AllowReadLocked() { read_due_ = true; }
  void ReadLocked();
  // The message that Take works on, or the beginning, has the caller: it must not be judged meanwhile.
  bool taking() const { return taking_; }
  void MaybeFinishLocked();

 private:
  // The caller is known: a place among its key's streams.
  absl::Status AcquirePlace();
  void End(const absl::Status& status, bool drop);

  StreamCall& call_;
  const CallDependencies& calls_;
  StreamRegistry& registry_;
  const base::Clock& clock_;
  const Options options_;
  Caller caller_;

  std::mutex mutex_;
  Charge place_;
  size_t under_way_ = 0;
  bool taking_ = true;
  bool read_due_ = false;
  bool writing_ = false;
  base::BootTime write_began_;  // If writing_.
  bool drop_ = false;
  bool dropped_at_last_sweep_ = false;
  bool finished_ = false;
  std::optional<absl::Status> end_;
};

}  // namespace latchkey::rpc
