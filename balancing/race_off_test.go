//go:build !race

package balancing_test

const raceEnabled = false
