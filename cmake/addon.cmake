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
target_link_libraries(heed_addon PRIVATE heed_model)
# The standard library is linked in, so that the addon does not depend on the machine's. Only what Node looks for is visible.
if(APPLE)
  if(HEED_ZIG)
    set(CMAKE_SHARED_MODULE_CREATE_CXX_FLAGS -dynamiclib) # zig leaves what is in archives out of a bundle; Node loads either
  endif()
  target_link_options(heed_addon PRIVATE -undefined dynamic_lookup -Wl,-dead_strip)
elseif(WIN32)
  target_link_libraries(heed_addon PRIVATE ${HEED_NODE_LIB})
else()
  target_link_options(heed_addon PRIVATE -Wl,--gc-sections -Wl,--version-script=${CMAKE_CURRENT_LIST_DIR}/addon.map
                                         -static-libstdc++ -static-libgcc)
  set_target_properties(heed_addon PROPERTIES LINK_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/addon.map)
endif()
