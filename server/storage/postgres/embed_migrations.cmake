# Writes OUTPUT, a .cc that defines SchemaSteps() of schema.h: each of the migrations/*.sql in FOLDER as a raw string, byte
# for byte, in the order of their numbers. Run by `cmake -DFOLDER=... -DOUTPUT=... -P`.
file(GLOB steps ${FOLDER}/*.sql)
list(SORT steps)
set(strings)
set(number 0)
foreach(step ${steps})
  math(EXPR number "${number} + 1")
  get_filename_component(name ${step} NAME)
  string(REGEX MATCH "^[0-9][0-9][0-9][0-9]_[a-z0-9_]+\\.sql$" named ${name})
  string(SUBSTRING ${name} 0 4 prefix)
  string(REGEX REPLACE "^0+" "" prefix "${prefix}")
  if(NOT named OR NOT prefix STREQUAL number)
    message(FATAL_ERROR "migrations: ${name} is step ${number}; name it by its number, 0001_<what>.sql, with no gap")
  endif()
  file(READ ${step} sql)
  string(FIND "${sql}" ")sql\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "migrations: ${name} has the end of the raw string that it is embedded in")
  endif()
  string(APPEND strings "      // ${name}\n      R\"sql(${sql})sql\",\n")
endforeach()
file(WRITE ${OUTPUT} "// Made by embed_migrations.cmake of migrations/*.sql.
#include \"server/storage/postgres/schema.h\"

namespace latchkey::storage::postgres {

const std::vector<const char*>& SchemaSteps() {
  static const auto* const steps = new std::vector<const char*>{
${strings}  };
  return *steps;
}

}  // namespace latchkey::storage::postgres
")
