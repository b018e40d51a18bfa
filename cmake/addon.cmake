# The Node addon. No downloads: headers come from the packages node-api-headers (through cmake-js, or asked here) and node-addon-api.
function(heed_ask_node out expression)
  execute_process(COMMAND node -p "${expression}" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
                  OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "node -p \"${expression}\" failed: run npm ci first")
  endif()
  set(${out} ${answer} PARENT_SCOPE)
endfunction()

heed_ask_node(HEED_NODE_ADDON_API "require('node-addon-api').include_dir")
heed_ask_node(HEED_NODE_API_HEADERS "require('node-api-headers').include_dir")

file(GLOB HEED_BINDINGS CONFIGURE_DEPENDS bindings/*.cpp)
add_library(heed_addon MODULE ${HEED_BINDINGS})
set_target_properties(heed_addon PROPERTIES PREFIX "" SUFFIX ".node" OUTPUT_NAME heed)
target_include_directories(heed_addon SYSTEM PRIVATE ${HEED_NODE_API_HEADERS} ${HEED_NODE_ADDON_API})
# SWALLOW_UNTHROWABLE: a worker being terminated refuses to take exceptions; rethrowing there would end the process.
target_compile_definitions(heed_addon PRIVATE NAPI_VERSION=9 NODE_ADDON_API_CPP_EXCEPTIONS
                                              NODE_API_SWALLOW_UNTHROWABLE_EXCEPTIONS)
# nodelete: Node unloads an addon that only a worker loaded when that worker ends, and the pool's threads still run its code.
# The standard library is linked in, so that the addon does not depend on the machine's; gc-sections and exclude-libs keep it small.
target_link_options(heed_addon PRIVATE -Wl,-z,nodelete -Wl,--gc-sections -Wl,--exclude-libs,ALL -static-libstdc++ -static-libgcc)
target_link_libraries(heed_addon PRIVATE heed_model)
