package balancing

import (
	"math"

	"github.com/cespare/xxhash/v2"
)

// home returns the index of key's weighted-rendezvous home: the pod of the lowest
// -ln(u)/weight, where u is a hash of key and pod name in (0, 1) (Schindelhauer
// and Schomaker, 2005). A pod that joins takes only its own share of the keys and
// one that leaves gives up only its own.
func (s *snapshot) home(key string) int {
	k := xxhash.Sum64String(key)
	if s.even {
		return s.evenHome(k)
	}
	best, least := 0, math.Inf(1)
	for i, h := range s.hash {
		// u = 1-v, and -ln(1-v) >= v: most pods lose without a logarithm.
		v := unit(mix(k ^ h))
		if w := s.weight[i]; v < least*w {
			if d := -math.Log1p(-v) / w; d < least {
				best, least = i, d
			}
		}
	}
	return best
}

// evenHome is home when all weights are equal: the lowest hash.
func (s *snapshot) evenHome(k uint64) int {
	best, least := 0, uint64(math.MaxUint64)
	for i, h := range s.hash {
		if x := mix(k ^ h); x < least {
			best, least = i, x
		}
	}
	return best
}

// unit maps 64 random bits to [0, 1).
func unit(x uint64) float64 { return float64(x>>11) / (1 << 53) }
