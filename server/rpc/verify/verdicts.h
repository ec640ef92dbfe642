#pragma once

#include "latchkey/v1/key_verify.pb.h"
#include "server/keys/verify/key_verifier.h"

// Conversion of a verdict into KeyVerify's answer.
namespace latchkey::rpc {

// Writes every field of `out`, which may have been used before: that costs no memory anew.
void ToProto(const keys::Verdict& verdict, v1::VerifyResponse* out);
}  // namespace latchkey::rpc
