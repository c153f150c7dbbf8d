//go:build race

package simulate

// usualLive is what the race detector, which has little to look at in one goroutine,
// gets through in a minute. The bounds hold at this size, too.
const usualLive = 1000
