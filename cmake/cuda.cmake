# The CUDA module, heed_cuda.so: opened at run time, so that the addon works without a GPU, a driver or this file.
# Every source for sm_80 and sm_90a; the sources named *_sm90.cu, which use what only Hopper has, for sm_90a alone.
set(HEED_CUDA_ARCHITECTURES 80-real 90a-real CACHE STRING "Architectures of the CUDA module")
find_program(HEED_NVCC nvcc PATHS /usr/local/cuda/bin)
if(NOT HEED_NVCC)
  message(FATAL_ERROR "HEED_CUDA is on, but nvcc was not found: install the CUDA toolkit (12.8 or newer)")
endif()
set(CMAKE_CUDA_COMPILER ${HEED_NVCC})
set(CMAKE_CUDA_ARCHITECTURES ${HEED_CUDA_ARCHITECTURES})
enable_language(CUDA)

file(GLOB HEED_CUDA_SOURCES CONFIGURE_DEPENDS native/cuda/*.cu)
set(HEED_CUDA_SM90 ${HEED_CUDA_SOURCES})
list(FILTER HEED_CUDA_SM90 INCLUDE REGEX "_sm90\\.cu$")
list(REMOVE_ITEM HEED_CUDA_SOURCES ${HEED_CUDA_SM90})
# -fmad=false: products and sums round where the source says so (fmaf where one rounding is meant), as on the CPU.
set(HEED_CUDA_FLAGS $<$<COMPILE_LANGUAGE:CUDA>:-fmad=false;-Xptxas=-v;-Xptxas=-warn-spills;-Xcompiler=-Wno-unused-parameter>)
add_library(heed_cuda_sm90 OBJECT ${HEED_CUDA_SM90})
set_target_properties(heed_cuda_sm90 PROPERTIES CUDA_ARCHITECTURES 90a-real CUDA_VISIBILITY_PRESET hidden)
target_compile_options(heed_cuda_sm90 PRIVATE ${HEED_CUDA_FLAGS})
add_library(heed_cuda_kernels OBJECT ${HEED_CUDA_SOURCES} native/ops/check.cpp native/ops/backend.cpp)
set_target_properties(heed_cuda_kernels PROPERTIES CUDA_VISIBILITY_PRESET hidden)
target_compile_options(heed_cuda_kernels PRIVATE ${HEED_CUDA_FLAGS})

function(heed_cuda_module name)
  add_library(${name} MODULE ${ARGN} $<TARGET_OBJECTS:heed_cuda_kernels> $<TARGET_OBJECTS:heed_cuda_sm90>)
  set_target_properties(${name} PROPERTIES PREFIX "" LINKER_LANGUAGE CUDA CUDA_RUNTIME_LIBRARY Static
                                           CUDA_VISIBILITY_PRESET hidden)
  target_link_options(${name} PRIVATE -Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,-z,defs)
endfunction()
heed_cuda_module(heed_cuda)

# What benchmarks/gpu.sh runs on a GPU: the kernels behind a C interface, and their tests.
heed_cuda_module(heed_cuda_bench benchmarks/cuda/bench.cu)
if(HEED_TESTS)
  find_package(CUDAToolkit REQUIRED)
  function(heed_cuda_program name)
    add_executable(${name} ${ARGN} $<TARGET_OBJECTS:heed_cuda_kernels> $<TARGET_OBJECTS:heed_cuda_sm90>)
    target_include_directories(${name} BEFORE PRIVATE test/native/cuda/include)
    target_link_libraries(${name} PRIVATE CUDA::cudart_static GTest::gtest)
  endfunction()
  file(GLOB HEED_CUDA_BITS CONFIGURE_DEPENDS test/native/cuda/bits*.cpp)
  heed_cuda_program(cuda_bits ${HEED_CUDA_BITS})
  file(GLOB HEED_CUDA_TESTS CONFIGURE_DEPENDS test/native/cuda/*_test.cpp)
  heed_cuda_program(cuda_device_test ${HEED_CUDA_TESTS})
  target_link_libraries(cuda_device_test PRIVATE GTest::gtest_main)
  # The tests of the ops, on the device.
  set(HEED_CUDA_OP_TESTS ${HEED_OP_TESTS})
  list(FILTER HEED_CUDA_OP_TESTS EXCLUDE REGEX "/(cancel|fields|packed_weight|pool)_test.cpp$")
  add_executable(cuda_device_ops_test ${HEED_CUDA_OP_TESTS} $<TARGET_OBJECTS:heed_cuda_kernels>
                 $<TARGET_OBJECTS:heed_cuda_sm90>)
  target_compile_definitions(cuda_device_ops_test PRIVATE HEED_TEST_CUDA)
  target_link_libraries(cuda_device_ops_test PRIVATE CUDA::cudart_static GTest::gtest_main)
endif()
