#pragma once

namespace latchkey::bench {

// A bare callback-API server on a free loopback port, the floor of every RPC: KeyVerify/Verify answers a request whose
// key has 90 characters (a message of 92 bytes) with a message of about that size, and any other with one canned
// verdict on a proven key, without looking at anything. Prints "echo on PORT" and runs until SIGTERM. Returns the exit
// code.
int RunEchoServer();

}  // namespace latchkey::bench
