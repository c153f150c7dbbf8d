//go:build race

package balancing_test

const raceEnabled = true
