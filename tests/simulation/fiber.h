#pragma once

#include <ucontext.h>

#include <functional>
#include <memory>
#include <vector>

namespace latchkey::simulation {

// A function that can stop in the middle and go on later, on the one thread of a simulation: what looks like a blocking
// call to the code under test is a wait for an event here. Not thread-safe.
class Fiber {
 public:
  explicit Fiber(std::function<void()> body);
  ~Fiber();
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Runs it until it yields or ends. From outside of any fiber.
  void Resume();
  bool ended() const { return ended_; }

  // Back to whoever resumed. From inside of a fiber.
  static void Yield();
  // nullptr outside.
  static Fiber* Current();

 private:
  static void Enter();
  void Run();

  std::function<void()> body_;
  std::unique_ptr<char[]> stack_;
  ucontext_t context_{};
  ucontext_t back_{};
  bool ended_ = false;
};

}  // namespace latchkey::simulation
