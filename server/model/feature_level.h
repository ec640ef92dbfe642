#pragma once

// Feature levels: by which versions of the server that share a database agree on what may be written to it. A level is
// the newest shape of change-log bodies, of the schema and of Watch's messages that is in use. The installation's is
// Settings::level; it rises by `latchkeyd upgrade finish` alone and never falls. A server writes nothing that needs
// more than the installation's level, and reads its own level and the one before.
//
// What is new at each, which server/model/record_fields.h has field by field:
//   1, 2  Release 0. It knows of no levels and reports none. 2: allowed_cidrs, settings.
//   3     settings.level; bodies that name critical fields (change_codec.h). Watch is as it was.
// What a reader may pass over needs none, such as the name of a history in answers: a client does without that of a
// server which does not send it.
namespace latchkey::keys {

// What release 0 reads and writes.
inline constexpr int kReleaseZeroLevel = 2;
// What this build reads and, once the installation is there, writes.
inline constexpr int kNewestLevel = 3;
// A build that is put beside the one before it must read what that one writes.
inline constexpr int kOldestLevel = kNewestLevel - 1;

}  // namespace latchkey::keys
