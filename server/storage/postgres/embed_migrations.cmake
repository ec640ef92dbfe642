# Writes OUTPUT, a .cc that defines SchemaSteps() of schema.h: each of the migrations/NNNN_what.sql in FOLDER with its
# NNNN_what.contract.sql, if there is one, as raw strings, byte for byte, in the order of their numbers. Run by `cmake
# -DFOLDER=... -DOUTPUT=... -P`.
cmake_minimum_required(VERSION 3.25)

function(embed FILE RESULT)
  get_filename_component(name ${FILE} NAME)
  file(READ ${FILE} sql)
  string(FIND "${sql}" ")sql\"" end)
  if(NOT end EQUAL -1)
    message(FATAL_ERROR "migrations: ${name} has the end of the raw string that it is embedded in")
  endif()
  set(${RESULT} "R\"sql(${sql})sql\"" PARENT_SCOPE)
endfunction()

file(GLOB steps ${FOLDER}/*.sql)
file(GLOB contractions ${FOLDER}/*.contract.sql)
if(contractions)
  list(REMOVE_ITEM steps ${contractions})
endif()
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
  embed(${step} expand)
  file(STRINGS ${step} header LIMIT_COUNT 1 REGEX "^-- Level [0-9]+\\.$")
  string(REGEX REPLACE "[^0-9]" "" level "${header}")
  if(number LESS 3)
    set(level 2)
  elseif(NOT level)
    message(FATAL_ERROR "migrations: ${name} says for which feature level it is by its first line, -- Level N.")
  endif()
  set(contract "\"\"")
  string(REGEX REPLACE "\\.sql$" ".contract.sql" contraction ${step})
  if(contraction IN_LIST contractions)
    list(REMOVE_ITEM contractions ${contraction})
    embed(${contraction} contract)
  endif()
  string(APPEND strings "      // ${name}\n      {${level}, ${expand},\n       ${contract}},\n")
endforeach()
if(contractions)
  message(FATAL_ERROR "migrations: ${contractions} belong to no step; name them as the step, with .contract.sql")
endif()
file(WRITE ${OUTPUT} "// Made by embed_migrations.cmake of migrations/*.sql.
#include \"server/storage/postgres/schema.h\"

namespace latchkey::storage::postgres {

const std::vector<SchemaStep>& SchemaSteps() {
  static const auto* const steps = new std::vector<SchemaStep>{
${strings}  };
  return *steps;
}

}  // namespace latchkey::storage::postgres
")
