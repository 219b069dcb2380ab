# What C++ and C programs link, static or shared (BUILD_SHARED_LIBS), and find by
# find_package(pathcond CONFIG).
include(GNUInstallDirs)

set(install_default OFF)
if(CMAKE_SOURCE_DIR STREQUAL CMAKE_CURRENT_SOURCE_DIR)
  set(install_default ON)
endif()
option(PATHCOND_INSTALL "Install the library for C++ and C" ${install_default})

add_library(pathcond csrc/bindings/c.cpp $<TARGET_OBJECTS:pathcond_core>)
add_library(pathcond::pathcond ALIAS pathcond)
target_include_directories(pathcond PUBLIC
  $<BUILD_INTERFACE:${CMAKE_CURRENT_SOURCE_DIR}/csrc/include> $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
target_link_libraries(pathcond PRIVATE Threads::Threads)
get_target_property(library_type pathcond TYPE)
if(library_type STREQUAL STATIC_LIBRARY)  # a project of C alone knows no C++ runtime
  target_link_libraries(pathcond
    INTERFACE "$<$<LINK_LANGUAGE:C>:${CMAKE_CXX_IMPLICIT_LINK_LIBRARIES}>")
endif()
target_compile_features(pathcond PUBLIC cxx_std_20)
target_compile_definitions(pathcond PRIVATE PATHCOND_VERSION="${PATHCOND_VERSION}")
target_compile_options(pathcond PRIVATE ${warnings})
if(PATHCOND_SANITIZE)
  target_sources(pathcond PRIVATE tests/fuzz/canary.cpp)
  target_include_directories(pathcond PRIVATE tests)
endif()
set_target_properties(pathcond PROPERTIES
  VERSION ${PROJECT_VERSION} SOVERSION ${PROJECT_VERSION_MAJOR}.${PROJECT_VERSION_MINOR})

if(PATHCOND_INSTALL)
  include(CMakePackageConfigHelpers)
  set(package_dir ${CMAKE_INSTALL_LIBDIR}/cmake/pathcond)
  write_basic_package_version_file(${CMAKE_CURRENT_BINARY_DIR}/pathcond-config-version.cmake
    COMPATIBILITY SameMinorVersion)
  install(TARGETS pathcond EXPORT pathcond-targets)
  install(EXPORT pathcond-targets NAMESPACE pathcond:: DESTINATION ${package_dir})
  install(FILES csrc/cmake/pathcond-config.cmake
    ${CMAKE_CURRENT_BINARY_DIR}/pathcond-config-version.cmake DESTINATION ${package_dir})
  install(DIRECTORY csrc/include/pathcond DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
  install(FILES LICENSE DESTINATION ${CMAKE_INSTALL_DOCDIR})
endif()
