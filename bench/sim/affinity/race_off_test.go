//go:build !race

package simulate

// usualLive is enough for what is tested to be a law and not chance.
const usualLive = 4000
