#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace latchkey::app {

// The PostgreSQL processes of user `uid` whose working directory is the one that `directory` has open. None of them
// trusts a pid file: a pid may be another's by now.
std::vector<pid_t> PostgresProcessesIn(int directory, uid_t uid);

// Ends them: fast shutdown, after 20 s immediate, after 5 s more by force; returns when none is left.
void StopPostgresProcessesIn(int directory, uid_t uid);

// Removes a socket directory that PostgreSQL left: only the files it makes, and only if the path is one that we could
// have made and `uid` owns. (The path comes from a file that the database's user could have written.)
void RemoveSocketDirectory(const std::string& path, uid_t uid);

// Where socket directories are made: this and six random characters.
inline constexpr char kSocketDirectoryPrefix[] = "/tmp/latchkey-pg-";

}  // namespace latchkey::app
