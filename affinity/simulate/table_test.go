package simulate

import (
	"testing"
	"time"
	"fmt"
	"os"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"github.com/maypok86/otter/v2"
	"github.com/stateful-route/stateful-route/affinity"
)

type plainLRU struct{ l *simplelru.LRU[uint64, struct{}] }
func (p plainLRU) Request(id uint64, _ time.Duration) bool {
	if _, ok := p.l.Get(id); ok { return true }
	p.l.Add(id, struct{}{})
	return false
}
type ott struct{ l *otter.Cache[uint64, struct{}] }
func (p ott) Request(id uint64, _ time.Duration) bool {
	if _, ok := p.l.GetIfPresent(id); ok { return true }
	p.l.Set(id, struct{}{})
	return false
}

func TestProto(t *testing.T) {
	live := 8000
	for _, bots := range []float64{0, 2, 7.6} {
		for _, ratio := range []int{4, 2} {
			w := Workload{Seed: 1, Live: live, Bots: bots}
			c := ratio * live
			l, _ := simplelru.NewLRU[uint64, struct{}](c, nil)
			r := Run(w, plainLRU{l})
			fmt.Printf("bots %v ratio %d plain %.2f%% ", bots, ratio, 100*r.BrokenShare())
			if os.Getenv("O") != "" { o := otter.Must(&otter.Options[uint64, struct{}]{MaximumSize: c, Executor: func(f func()) { f() }})
			r = Run(w, ott{o})
			fmt.Printf("otter %.2f%% ", 100*r.BrokenShare()) }
			for _, s := range affinity.NewRegistry().Names() {
				if only := os.Getenv("S"); only != "" && only != s { continue }
				cc, err := affinity.New(affinity.Options{Strategy: s, Capacity: c, Shards: 1})
				if err != nil { t.Fatal(err) }
				st := time.Now()
				r = Run(w, Affinity(cc))
				stt := cc.Stats()
				fmt.Printf("%s %.2f%% (%v, ghosts %d/%d) ", s, 100*r.BrokenShare(), time.Since(st).Round(time.Millisecond), stt.Broken, r.Broken)
			}
			fmt.Println()
		}
	}
}

func (p plainLRU) Has(id uint64, _ time.Duration) bool { return p.l.Contains(id) }
func (p ott) Has(id uint64, _ time.Duration) bool { _, ok := p.l.GetEntryQuietly(id); return ok }
func TestFl(t *testing.T) {
	live := 8000
	for _, ratio := range []int{4, 2} {
			w := Workload{Seed: 1, Live: live}
			c := ratio * live
			fl := Flood{IDs: 10*c, Over: w.withDefaults().meanDuration()}
			l, _ := simplelru.NewLRU[uint64, struct{}](c, nil)
			r := RunFlood(w, plainLRU{l}, fl)
			fmt.Printf("flood %d: plain %.2f%% proven %.2f%% %+v\n", ratio, 100*r.BrokenShare(), 100*r.ProvenShare(), r)
			l, _ = simplelru.NewLRU[uint64, struct{}](c, nil)
			r = RunFlood(w, plainLRU{l}, Flood{IDs:0, Over: fl.Over})
			fmt.Printf("NO flood %d: plain %.2f%% proven %.2f%% %+v\n", ratio, 100*r.BrokenShare(), 100*r.ProvenShare(), r)
			cc, _ := affinity.New(affinity.Options{Capacity: c, Shards: 1})
			r = RunFlood(w, Affinity(cc), Flood{IDs:0, Over: fl.Over})
			fmt.Printf("NO flood %d: lru %.2f%% proven %.2f%% %+v\n", ratio, 100*r.BrokenShare(), 100*r.ProvenShare(), r)
			cc, _ = affinity.New(affinity.Options{Capacity: c, Shards: 1})
			r = RunFlood(w, Affinity(cc), fl)
			fmt.Printf("flood %d: lru %.2f%% proven %.2f%% %+v\n", ratio, 100*r.BrokenShare(), 100*r.ProvenShare(), r)
	}
}
