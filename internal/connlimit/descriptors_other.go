//go:build !linux

package connlimit

func maxDescriptors() int { return 0 }
