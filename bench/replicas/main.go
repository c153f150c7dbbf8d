// Command replicas measures what it costs that replicas share their bindings: callouts
// of known and of new sessions, over gRPC as Envoy makes them, with the memory store and with a
// Redis or Valkey of this machine, in interleaved rounds. It is what `make bench-replicas` runs;
// the figures are in design/replicas.md.
//
//	go run ./bench/replicas -rounds 5 -time 3s
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"time"
)

func main() {
	var p plan
	flag.IntVar(&p.rounds, "rounds", 5, "rounds; medians are shown")
	flag.DurationVar(&p.time, "time", 3*time.Second, "time of each measurement")
	flag.IntVar(&p.clients, "clients", 16, "callouts under way at a time")
	flag.IntVar(&p.sessions, "sessions", 10_000, "known sessions")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := p.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "replicas:", err)
		os.Exit(1)
	}
}

// plan is what is measured.
type plan struct {
	rounds, clients, sessions int
	time                      time.Duration
}

// row is one set-up.
type row struct {
	name  string
	fleet *fleet
	known []sample // by round
	new   []sample
}

func (p plan) run(ctx context.Context) error {
	store, err := startStore(ctx)
	if err != nil {
		return err
	}
	defer store.stop()
	var rows []*row
	defer func() {
		for _, r := range rows {
			if r.fleet != nil {
				r.fleet.stop()
			}
		}
	}()
	rows = []*row{{name: "memory, 1 replica"}, {name: "valkey, 1 replica"}, {name: "valkey, 3 replicas"}}
	for i, r := range rows {
		shared, replicas := "", 1
		if i > 0 {
			shared = store.address
		}
		if i == 2 {
			replicas = 3
		}
		if r.fleet, err = startFleet(ctx, shared, fmt.Sprintf("bench-%d:", i), replicas); err != nil {
			return err
		}
	}
	for round := range p.rounds {
		for i := range rows {
			r := rows[(i+round)%len(rows)]
			if err := p.measure(ctx, r, round); err != nil {
				return fmt.Errorf("%s: %w", r.name, err)
			}
		}
	}
	p.print(rows)
	return nil
}

func (p plan) measure(ctx context.Context, r *row, round int) error {
	known := func(i int) string { return fmt.Sprintf("known-%d", i%p.sessions) }
	if round == 0 { // every replica is to know them
		for i := range r.fleet.replicas {
			one := fleet{replicas: r.fleet.replicas[i : i+1]}
			if _, err := one.load(ctx, p.clients, p.sessions, 0, known); err != nil {
				return err
			}
		}
	}
	s, err := r.fleet.load(ctx, p.clients, 0, p.time, known)
	if err != nil {
		return err
	}
	r.known = append(r.known, s)
	s, err = r.fleet.load(ctx, p.clients, 0, p.time, func(i int) string { return fmt.Sprintf("new-%d-%d", round, i) })
	r.new = append(r.new, s)
	return err
}

func (p plan) print(rows []*row) {
	fmt.Println("Calls are the scripts that the server ran, those for leases and the log included, which do not depend on the load.")
	fmt.Printf("%d callouts at a time, %d known sessions, medians of %d rounds of %s\n\n", p.clients, p.sessions, p.rounds, p.time)
	fmt.Println("| | known: callouts/s | × memory | p99 | calls at the store's server each | new: callouts/s | × memory | p50 | p99 | calls each |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		k, n := medians(r.known), medians(r.new)
		fmt.Printf("| %s | %.0f | %.2f | %s | %.3f | %.0f | %.2f | %s | %s | %.3f |\n", r.name,
			k.rate, ratio(r.known, rows[0].known), k.p99, k.calls, n.rate, ratio(r.new, rows[0].new), n.p50, n.p99, n.calls)
	}
}

// ratio is the median of the rates of each round over those of another set-up.
func ratio(a, b []sample) float64 {
	var out []float64
	for i := range a {
		out = append(out, a[i].rate/b[i].rate)
	}
	return median(out)
}

func medians(all []sample) sample {
	pick := func(of func(sample) float64) float64 {
		var out []float64
		for _, s := range all {
			out = append(out, of(s))
		}
		return median(out)
	}
	return sample{
		rate:  pick(func(s sample) float64 { return s.rate }),
		calls: pick(func(s sample) float64 { return s.calls }),
		p50:   time.Duration(pick(func(s sample) float64 { return float64(s.p50) })).Round(time.Microsecond),
		p99:   time.Duration(pick(func(s sample) float64 { return float64(s.p99) })).Round(time.Microsecond),
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
