//go:build !cgo || !linux

package ctest

import "testing"

func TestTheModule(t *testing.T) { t.Skip("there is no C compiler: the module is not tested") }
