#pragma once

#include <string>

namespace latchkey::testing {

// A fresh 0700 directory, removed with all it holds at the end. Its parent can be walked by every user.
class TempDirectory {
 public:
  // Aborts the process if none can be made: no test can go on without.
  TempDirectory();
  ~TempDirectory();
  TempDirectory(const TempDirectory&) = delete;
  TempDirectory& operator=(const TempDirectory&) = delete;

  const std::string& path() const { return path_; }
  // path()/name.
  std::string Child(const std::string& name) const { return path_ + "/" + name; }
  // Writes path()/name with these permissions and returns the path; fails the test if it cannot.
  std::string WriteFile(const std::string& name, const std::string& content, unsigned mode = 0600) const;

 private:
  std::string path_;
};

// The whole file; fails the test and returns "" if it cannot be read.
std::string ReadFile(const std::string& path);

}  // namespace latchkey::testing
