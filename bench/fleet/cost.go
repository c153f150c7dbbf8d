package main

import (
	"context"
	"fmt"
	"runtime"
	"syscall"
	"time"

	"go.uber.org/zap"

	"github.com/stateful-route/stateful-route/xds/load"
	"github.com/stateful-route/stateful-route/xds/state"
)

// cost is what something took of this process.
type cost struct {
	wall, cpu time.Duration
	bytes     uint64
}

func measure(do func() error) (cost, error) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, began := cpuTime(), time.Now()
	err := do()
	out := cost{wall: time.Since(began), cpu: cpuTime() - cpu}
	runtime.ReadMemStats(&after)
	out.bytes = after.TotalAlloc - before.TotalAlloc
	return out, err
}

func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// change is one pod that is drained and made ready again, beside ever more
// services of ten pods.
func change(ctx context.Context, samples int) error {
	fmt.Printf("one pod's change, 10 pods a service (mean of %d; a change goes to an Envoy and an extproc in up to three publications)\n", 20*samples)
	fmt.Println("| services | clients | CPU | memory allocated | until the edit returns |\n|---|---|---|---|---|")
	for _, clients := range []bool{false, true} {
		for _, services := range []int{10, 100, 1000} {
			if err := changeBeside(ctx, services, 20*samples, clients); err != nil {
				return err
			}
		}
	}
	return nil
}

func changeBeside(ctx context.Context, services, samples int, clients bool) error {
	f, err := newFleet(ctx, services, 10)
	if err != nil {
		return err
	}
	defer f.close()
	if clients {
		if err := f.pair(ctx); err != nil {
			return err
		}
	}
	flip := func(i int) error {
		return f.server.SetHealth(ctx, map[string]map[string]state.HealthVerdict{"service-3": {"service-3-5": {Healthy: i%2 == 1}}})
	}
	for i := range 20 {
		if err := flip(i); err != nil {
			return err
		}
	}
	var edits time.Duration
	c, err := measure(func() error {
		for i := range samples {
			began := time.Now()
			if err := flip(i); err != nil {
				return err
			}
			edits += time.Since(began)
			if clients {
				time.Sleep(5 * time.Millisecond) // for the answers
			}
		}
		return nil
	})
	n := time.Duration(samples)
	fmt.Printf("| %d | %v | %v | %d B | %v |\n", services, clients, (c.cpu / n).Round(time.Microsecond), c.bytes/uint64(samples), (edits / n).Round(time.Microsecond))
	return err
}

// weights is one second's new weights of every pod.
func weights(ctx context.Context, samples int) error {
	fmt.Printf("one second's weights, all pods' (mean of %d)\n| services × pods | clients | until in force | CPU | memory allocated |\n|---|---|---|---|---|\n", samples)
	for _, clients := range []bool{false, true} {
		f, err := newFleet(ctx, 100, 100)
		if err != nil {
			return err
		}
		if clients {
			err = f.pair(ctx)
		}
		if err == nil {
			err = weighAll(ctx, f, samples, clients)
		}
		f.close()
		if err != nil {
			return err
		}
	}
	return nil
}

func weighAll(ctx context.Context, f *fleet, samples int, clients bool) error {
	var wall time.Duration
	c, err := measure(func() error {
		for i := range samples {
			all := map[string]map[string]uint32{}
			for _, svc := range f.server.Model().Services {
				all[svc.Name] = map[string]uint32{}
				for j, m := range svc.Members {
					all[svc.Name][m.Name] = uint32(1000 + i + j)
				}
			}
			began := time.Now()
			if err := f.server.SetWeights(ctx, all); err != nil {
				return err
			}
			wall += time.Since(began)
			if clients {
				time.Sleep(200 * time.Millisecond)
			}
		}
		return nil
	})
	n := time.Duration(samples)
	fmt.Printf("| 100 × 100 | %v | %v | %v | %.1f MB |\n", clients, (wall / n).Round(10*time.Microsecond), (c.cpu / n).Round(10*time.Microsecond), float64(c.bytes)/float64(samples)/1e6)
	return err
}

// slowStart is 10,000 pods that start slowly: every weight changes every second.
func slowStart(ctx context.Context, _ int) error {
	const lasts = 20 * time.Second
	f, err := newFleet(ctx, 100, 1)
	if err != nil {
		return err
	}
	defer f.close()
	if err := f.pair(ctx); err != nil {
		return err
	}
	runCtx, stop := context.WithCancel(ctx)
	controller := &load.WeightController{Logger: zap.NewNop(), Loads: load.NewStore(), Set: f.server, Prober: nobody{}, Model: f.server.Model}
	done := make(chan error, 1)
	go func() { done <- controller.Run(runCtx) }()
	defer func() {
		stop()
		<-done //nolint:errcheck // it ends with its context, without an error
	}()
	time.Sleep(2500 * time.Millisecond)
	if err := f.configure(ctx, 100, 100); err != nil {
		return err
	}
	time.Sleep(2500 * time.Millisecond)
	before := f.server.Model()
	c, err := measure(func() error { time.Sleep(lasts); return nil })
	if err != nil {
		return err
	}
	changed := 0
	for i, svc := range f.server.Model().Services {
		for j, m := range svc.Members {
			if m.EffectiveWeight != before.Services[i].Members[j].EffectiveWeight {
				changed++
			}
		}
	}
	fmt.Printf("starting 100 × 100 pods slowly, %v of it, an Envoy and an extproc in the same process: %.1f %% of one core, %.1f MB allocated a second; %d pods have another weight\n",
		lasts, 100*c.cpu.Seconds()/c.wall.Seconds(), float64(c.bytes)/lasts.Seconds()/1e6, changed)
	return nil
}
