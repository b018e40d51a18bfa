# Compiles for other systems with zig, which brings each one's headers and C++ library: scripts/prebuilds.mjs.
# HEED_ZIG is its program, HEED_ZIG_TARGET what it calls the system: x86_64-linux-gnu.2.28.
list(APPEND CMAKE_TRY_COMPILE_PLATFORM_VARIABLES HEED_ZIG HEED_ZIG_TARGET)

if(HEED_ZIG_TARGET MATCHES "linux")
  set(CMAKE_SYSTEM_NAME Linux)
elseif(HEED_ZIG_TARGET MATCHES "macos")
  set(CMAKE_SYSTEM_NAME Darwin)
  set(CMAKE_INSTALL_NAME_TOOL ${CMAKE_COMMAND} -E true)
else()
  set(CMAKE_SYSTEM_NAME Windows)
endif()
string(REGEX MATCH "^[^-]+" CMAKE_SYSTEM_PROCESSOR ${HEED_ZIG_TARGET})
set(CMAKE_CXX_COMPILER ${HEED_ZIG} c++ -target ${HEED_ZIG_TARGET})
# Nothing is linked while CMake looks at the compiler: zig would compile its C++ library for that, which takes minutes.
set(CMAKE_TRY_COMPILE_TARGET_TYPE STATIC_LIBRARY)
set(CMAKE_CXX_COMPILER_TARGET "") # it would be given to clang as well
set(CMAKE_CXX_ARCHIVE_CREATE "\"${HEED_ZIG}\" ar qc <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_APPEND "\"${HEED_ZIG}\" ar q <TARGET> <OBJECTS>")
set(CMAKE_CXX_ARCHIVE_FINISH "\"${HEED_ZIG}\" ranlib <TARGET>")
set(HEED_X86_64_V x86_64_v CACHE STRING "")
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY NEVER)
set(CMAKE_CXX_FLAGS_INIT "-Wno-nullability-completeness") # of the headers that zig brings
set(CMAKE_MODULE_LINKER_FLAGS_INIT "-s") # names are two thirds of an addon
