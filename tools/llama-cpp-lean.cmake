# Included by llama-cpp-python's own CMakeLists.txt (CMAKE_PROJECT_llama_cpp_INCLUDE): a normal variable shadows the
# cache entry it forces on, so that llama.cpp's `common` library (104 of 178 compile units), which the bindings never
# load, is not built.
set(LLAMA_BUILD_COMMON OFF)
