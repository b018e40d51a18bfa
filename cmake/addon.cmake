# The Node addon. No downloads: the headers are in include/ in the published package, else those of the packages node-api-headers and
# node-addon-api, which are found by asking Node.
function(heed_headers out folder package)
  if(EXISTS ${CMAKE_SOURCE_DIR}/include/${folder})
    set(${out} ${CMAKE_SOURCE_DIR}/include/${folder} PARENT_SCOPE)
    return()
  endif()
  execute_process(COMMAND node -p "require('${package}').include_dir" WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
                  OUTPUT_VARIABLE answer OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
  if(failed)
    message(FATAL_ERROR "Node does not find the package ${package}: run npm ci first")
  endif()
  set(${out} ${answer} PARENT_SCOPE)
endfunction()

heed_headers(HEED_NODE_ADDON_API node-addon-api node-addon-api)
heed_headers(HEED_NODE_API_HEADERS node-api node-api-headers)

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
