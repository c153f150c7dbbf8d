// Package ctest has the tests of the C core of Envoy's module: that it reads requests and
// tables as Go does, and that no table, however broken, ends the process that reads it.
package ctest
