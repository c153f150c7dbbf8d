// Package metrics counts what happened, for Prometheus. A [Monitor] owns a registry
// of its own and hands out one handle per service; a handle's methods cost
// nanoseconds and allocate nothing, so the request path may call them freely:
//
//	monitor, err := metrics.NewMonitor(metrics.MonitorOptions{Process: "extproc"})
//	if err != nil {
//		return err
//	}
//	http.Handle("/metrics", monitor.Handler())
//
//	chat := monitor.Service("chat")
//	chat.TableHit()
//	chat.Selected("chat-0", 3*time.Microsecond, true)
//	chat.Request("chat-0", "GET", 200, 18*time.Millisecond, "")
package metrics
