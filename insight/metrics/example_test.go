package metrics_test

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stateful-route/stateful-route/insight/metrics"
)

// A program's own collector is served beside the built-in metrics.
func ExampleMonitor_Register() {
	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
	if err != nil {
		fmt.Println(err)
		return
	}
	rooms := prometheus.NewGauge(prometheus.GaugeOpts{Name: "game_rooms", Help: "Rooms open."})
	rooms.Set(7)
	if err := monitor.Register("rooms", rooms); err != nil {
		fmt.Println(err)
		return
	}
	monitor.Service("chat").TableHit()

	values, err := monitor.Snapshot()
	fmt.Println(values["game_rooms"], values[`stateful_route_cache_hits_total{service="chat"}`], err)
	fmt.Println(monitor.Register("rooms", rooms))
	// Output:
	// 7 1 <nil>
	// metrics: a collector named "rooms" is already registered
}
