package balancing

import "math/bits"

// golden is 2^64 over the golden ratio, splitmix64's increment.
const golden = 0x9e3779b97f4a7c15

// The random numbers of one pick, by what they are for.
const (
	pickFirst = iota
	pickFallback
	pickMore
)

// mix is splitmix64's output function (Steele, Lea, Flood: Fast splittable
// pseudorandom number generators, 2014): every input bit reaches every output bit.
func mix(x uint64) uint64 {
	x += golden
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// below maps a random 64-bit number to [0, n) without a division (Lemire 2019);
// the bias is below n/2^64.
func below(random uint64, n int) int {
	hi, _ := bits.Mul64(random, uint64(n))
	return int(hi)
}
