package simulate

// Comparison is what several policies did with the same traces.
type Comparison struct {
	Setting Setting
	Ideal   Result
	Results []Result // in the order asked for
}

// Compare runs the policies and the ideal with the traces of seeds 1 to seeds, and
// pools each policy's requests.
func Compare(s Setting, policies []string, seeds int) (Comparison, error) {
	s = s.withDefaults()
	ideals := make([]Result, seeds)
	results := make([][]Result, len(policies))
	for seed := range seeds {
		s.Seed = uint64(seed) + 1
		trace := NewTrace(s)
		ideals[seed] = Ideal(s, trace)
		for i, policy := range policies {
			r, err := Run(s, trace, policy)
			if err != nil {
				return Comparison{}, err
			}
			results[i] = append(results[i], r)
		}
	}
	c := Comparison{Setting: s, Ideal: Merge(ideals)}
	for _, rs := range results {
		c.Results = append(c.Results, Merge(rs))
	}
	return c, nil
}

// Ratios returns the policy's p50, p99 and p99.9 over the ideal's.
func (c Comparison) Ratios(r Result) (p50, p99, p999 float64) {
	return float64(r.P50) / float64(c.Ideal.P50),
		float64(r.P99) / float64(c.Ideal.P99),
		float64(r.P999) / float64(c.Ideal.P999)
}

// NewRatio returns the p99 of the sessions that the policy placed in the measured time
// over the ideal's p99.
func (c Comparison) NewRatio(r Result) float64 { return float64(r.NewP99) / float64(c.Ideal.P99) }

// Suite is the settings of the table in design/: every load, replica count and mix
// of pods without a fault, then every fault at the usual load of its kind, and at last
// new sessions beside a slow pod in small services, where one pod is a larger part.
func Suite() []Setting {
	var out []Setting
	for _, sticky := range []bool{false, true} {
		for _, load := range []float64{.60, .75, .90} {
			for _, replicas := range []int{1, 3} {
				for _, mixed := range []bool{false, true} {
					out = append(out, Setting{Sticky: sticky, Load: load, Replicas: replicas, Mixed: mixed, Fault: Sound})
				}
			}
		}
		usual := .75
		if sticky {
			usual = .60
		}
		for _, fault := range []Fault{Slow, TurnsSlow, Failing, Churn} {
			for _, replicas := range []int{1, 3} {
				out = append(out, Setting{Sticky: sticky, Load: usual, Replicas: replicas, Mixed: true, Fault: fault})
			}
		}
	}
	for _, pods := range []int{8, 10} {
		for _, replicas := range []int{1, 3} {
			out = append(out, Setting{Sticky: true, Load: .60, Replicas: replicas, Mixed: true, Pods: pods, Fault: Slow})
		}
	}
	return out
}
