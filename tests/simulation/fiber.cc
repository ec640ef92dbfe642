#include "tests/simulation/fiber.h"

#include <utility>

namespace latchkey::simulation {
namespace {

constexpr size_t kStack = 256 * 1024;
Fiber* current = nullptr;

// Stacks are used again: a schedule makes thousands of fibers.
std::vector<std::unique_ptr<char[]>>& SpareStacks() {
  static auto* const spare = new std::vector<std::unique_ptr<char[]>>();
  return *spare;
}

}  // namespace

Fiber::Fiber(std::function<void()> body) : body_(std::move(body)) {
  if (SpareStacks().empty()) {
    stack_.reset(new char[kStack]);  // Not make_unique: it would write all of it.
  } else {
    stack_ = std::move(SpareStacks().back());
    SpareStacks().pop_back();
  }
  getcontext(&context_);
  context_.uc_stack.ss_sp = stack_.get();
  context_.uc_stack.ss_size = kStack;
  context_.uc_link = nullptr;
  makecontext(&context_, &Fiber::Enter, 0);
}

Fiber::~Fiber() { SpareStacks().push_back(std::move(stack_)); }

Fiber* Fiber::Current() { return current; }

void Fiber::Enter() { current->Run(); }

void Fiber::Run() {
  body_();
  ended_ = true;
  Fiber* const self = current;
  current = nullptr;
  setcontext(&self->back_);
}

void Fiber::Resume() {
  current = this;
  swapcontext(&back_, &context_);
}

void Fiber::Yield() {
  Fiber* const self = current;
  current = nullptr;
  swapcontext(&self->context_, &self->back_);
}

}  // namespace latchkey::simulation
