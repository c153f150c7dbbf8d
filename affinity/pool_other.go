//go:build !linux

package affinity

func adviseHuge([]byte) {}
